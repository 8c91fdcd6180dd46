//! The streaming side: holds back what could still become part of a secret, passes on the rest.
//!
//! What it must not know: why something is held back. The engine decides that.

use std::fmt;
use std::sync::Arc;

use super::Redactor;
use super::engine::{Engine, Piece};
use super::state::State;

/// The first piece of a chunk that is put behind held bytes; doubled until they are settled.
const FIRST_PIECE: usize = 256;

/// Redacts a stream chunk by chunk; see [`Redactor::stream`].
///
/// What is still held when the stream is dropped is lost: call [`RedactStream::finish`].
pub struct RedactStream {
    work: Option<(Arc<Engine>, State)>,
    /// Undecided bytes, from the position the state stands at.
    held: Vec<u8>,
}

impl RedactStream {
    pub(super) fn new(redactor: &Redactor, strong_only: bool) -> RedactStream {
        let work = redactor.engine.as_ref().map(|e| (Arc::clone(e), e.state(strong_only)));
        RedactStream { work, held: Vec::new() }
    }

    /// Takes a chunk and appends to `out` what is now known to be safe.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.push_with(chunk, |bytes| out.extend_from_slice(bytes));
    }

    /// Takes a chunk and hands out what is now known to be safe, in order.
    ///
    /// Where nothing is held back these are slices of the chunk itself: one, for text without secrets.
    pub fn push_with(&mut self, chunk: &[u8], mut sink: impl FnMut(&[u8])) {
        let Some((engine, state)) = &mut self.work else {
            if !chunk.is_empty() {
                sink(chunk);
            }
            return;
        };
        let mut sink = |piece: Piece<'_>| match piece {
            Piece::Text(bytes) | Piece::Marker(bytes) => sink(bytes),
        };
        let mut rest = chunk;
        let mut piece = FIRST_PIECE;
        while !self.held.is_empty() && !rest.is_empty() {
            let (head, tail) = rest.split_at(piece.min(rest.len()));
            piece *= 2;
            self.held.extend_from_slice(head);
            let done = engine.run(state, &self.held, false, &mut sink);
            let open = self.held.len() - done;
            if open <= head.len() {
                // All that is undecided lies in this chunk: go on in place.
                rest = &rest[head.len() - open..];
                self.held.clear();
            } else {
                rest = tail;
                self.held.drain(..done);
            }
        }
        if !rest.is_empty() {
            let done = engine.run(state, rest, false, &mut sink);
            self.held.extend_from_slice(&rest[done..]);
        }
    }

    /// Ends the stream: appends what was held back. The next push begins a new stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.finish_with(|bytes| out.extend_from_slice(bytes));
    }

    /// [`RedactStream::finish`] into a sink.
    pub fn finish_with(&mut self, mut sink: impl FnMut(&[u8])) {
        let Some((engine, state)) = &mut self.work else {
            return;
        };
        engine.run(state, &self.held, true, &mut |piece| match piece {
            Piece::Text(bytes) | Piece::Marker(bytes) => sink(bytes),
        });
        self.held.clear();
        state.restart();
    }

    /// How many bytes are held back now; at most [`MAX_HELD`](super::MAX_HELD).
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The name of the first secret met since this stream was made.
    pub fn first_found(&self) -> Option<&str> {
        let (engine, state) = self.work.as_ref()?;
        state.first_found.map(|name| engine.name(name))
    }
}

impl fmt::Debug for RedactStream {
    /// Says how much is held, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactStream").field("held", &self.held.len()).finish_non_exhaustive()
    }
}
