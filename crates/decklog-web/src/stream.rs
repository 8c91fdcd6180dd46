//! Bodies that come while they are made: by a thread that writes, at the pace of whoever reads.
//!
//! Must not know: what is written.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use futures_core::Stream;
use tokio::sync::mpsc;

/// Pieces that may lie ready.
const READY: usize = 4;

/// The size of a piece.
const PIECE: usize = 128 * 1024;

type Piece = io::Result<Bytes>;

/// What a channel brings, as a stream.
pub(crate) struct Received<T>(pub(crate) mpsc::Receiver<T>);

impl<T> Stream for Received<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// A place to write to whose pieces are sent on.
struct Sending {
    pieces: mpsc::Sender<Piece>,
    piece: Vec<u8>,
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body of what `write` writes. What goes wrong in the middle cuts it off, so that nobody takes it for whole.
pub(crate) fn written_by(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (pieces, received) = mpsc::channel(READY);
    tokio::task::spawn_blocking(move || {
        let mut sending = Sending { pieces: pieces.clone(), piece: Vec::new() };
        if let Err(error) = write(&mut sending).and_then(|()| sending.flush()) {
            let _ = pieces.blocking_send(Err(error));
        }
    });
    Body::from_stream(Received(received))
}
