//! Lines of JSON-RPC that others write, repaired before the transport decodes them: it would drop a line for half of a character.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use decklog_text::json::LineRepair;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lines::LONGEST;

/// A stream whose lines are repaired as they are read; what is written to it is written as it is.
pub(super) struct Repaired<S> {
    inner: S,
    lines: LineRepair,
    /// Whole lines that were read from `inner`, and how many of their bytes were given.
    ready: Vec<u8>,
    given: usize,
    is_over: bool,
}

impl<S> Repaired<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, lines: LineRepair::new(LONGEST), ready: Vec::new(), given: 0, is_over: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Repaired<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        while this.given == this.ready.len() && !this.is_over {
            this.ready.clear();
            this.given = 0;
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() {
                this.is_over = true;
                this.lines.finish(&mut this.ready);
            } else {
                this.lines.feed(read, &mut this.ready);
            }
            buffer.set_filled(before);
        }
        let fits = (this.ready.len() - this.given).min(buffer.remaining());
        buffer.put_slice(&this.ready[this.given..this.given + fits]);
        this.given += fits;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Repaired<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn lines_are_repaired_and_all_of_them_are_read() {
        let long = format!("[\"{}\"]\n", "x".repeat(100_000));
        let sent = format!("{{\"a\":\"\\ud83d\"}}\n{long}[1]\n[\"\\ude00");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let mut read = String::new();
            Repaired::new(sent.as_bytes()).read_to_string(&mut read).await.map(|_| read)
        });
        assert_eq!(read.unwrap(), format!("{{\"a\":\"\\ufffd\"}}\n{long}[1]\n[\"\\ufffd"));
    }
}
