//! What a server writes, line by line: an answer that is too long to be taken is answered for.
//!
//! The transport drops a line that is longer than it keeps, and whoever waits for the answer in it would wait for good. Behind
//! such a line goes another one, which says so. Must not know: what is asked and answered.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rmcp::transport::async_rw::DEFAULT_MAX_LINE_LENGTH;
use tokio::io::{AsyncRead, ReadBuf};

/// The error's code in the line behind one that is too long.
pub(super) const TOO_LONG: i32 = -32_099;
/// The longest line that the transport takes.
pub(super) const LONGEST: usize = DEFAULT_MAX_LINE_LENGTH;
/// Bytes of a key or a number that are looked at.
const WORD: usize = 24;

/// A server's stdout.
pub(super) struct Lines<R> {
    inner: R,
    line: Line,
    /// What is to be read before more of `inner` is.
    next: Vec<u8>,
}

impl<R> Lines<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, line: Line::default(), next: Vec::new() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Lines<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.next.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            let Some(read) = answered_for(&mut this.line, &buffer.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            buffer.set_filled(before);
            this.next = read;
        }
        let fits = this.next.len().min(buffer.remaining());
        buffer.put_slice(&this.next[..fits]);
        this.next.drain(..fits);
        Poll::Ready(Ok(()))
    }
}

/// Takes in what was read, and gives it with what belongs behind its lines, if anything does.
fn answered_for(line: &mut Line, read: &[u8]) -> Option<Vec<u8>> {
    if !read.contains(&b'\n') {
        line.take(read);
        return None;
    }
    let mut all: Option<Vec<u8>> = None;
    let mut taken = 0;
    for piece in read.split_inclusive(|byte| *byte == b'\n') {
        taken += piece.len();
        if let Some(all) = &mut all {
            all.extend_from_slice(piece);
        }
        line.take(piece);
        if !piece.ends_with(b"\n") {
            // Its end is to come.
            break;
        }
        if let Some(id) = std::mem::take(line).unanswered() {
            let error = format!("{{\"code\":{TOO_LONG},\"message\":\"the answer is too long\"}}");
            let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n");
            all.get_or_insert_with(|| read[..taken].to_vec()).extend(answer.into_bytes());
        }
    }
    all
}

/// What is known of a line of JSON that is not kept.
#[derive(Default)]
struct Line {
    length: usize,
    /// Whether it is no message at all.
    is_none: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last key, string or number of the outermost object.
    word: Vec<u8>,
    /// Whether the number to come is the message's id.
    id_comes: bool,
    id: Option<u64>,
    /// Whether it asks, and so answers nothing.
    asks: bool,
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        self.is_none |= self.length == 0 && bytes.first() != Some(&b'{');
        self.length += bytes.len();
        if !self.is_none {
            bytes.iter().for_each(|byte| self.look_at(*byte));
        }
    }

    fn look_at(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if self.in_string {
            match byte {
                b'"' => self.in_string = false,
                b'\\' => self.escaped = true,
                byte => self.spell(byte),
            }
        } else {
            self.take_outside(byte);
        }
    }

    fn take_outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.word.clear();
                }
            }
            b':' if self.depth == 1 => {
                self.id_comes = self.word == b"id";
                self.asks |= self.word == b"method";
                self.word.clear();
            }
            b'{' | b'[' => self.depth += 1,
            b',' | b'}' | b']' => {
                if self.depth == 1 {
                    if std::mem::take(&mut self.id_comes) {
                        self.id = std::str::from_utf8(&self.word).ok().and_then(|word| word.parse().ok());
                    }
                    self.word.clear();
                }
                if byte != b',' {
                    self.depth = self.depth.saturating_sub(1);
                }
            }
            byte => {
                if byte.is_ascii_digit() {
                    self.spell(byte);
                }
            }
        }
    }

    fn spell(&mut self, byte: u8) {
        if self.depth == 1 && self.word.len() < WORD {
            self.word.push(byte);
        }
    }

    /// The id of the request to which the line is an answer that is not taken.
    fn unanswered(self) -> Option<u64> {
        self.id.filter(|_| self.length > LONGEST && !self.asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(line: &str) -> Option<u64> {
        let mut seen = Line::default();
        seen.take(line.as_bytes());
        seen.length = LONGEST + 1;
        seen.unanswered()
    }

    #[test]
    fn an_answers_id_is_found_wherever_it_stands() {
        assert_eq!(id_of(r#"{"jsonrpc":"2.0","id":17,"result":{"id":3,"text":"{\"id\":4}"}}"#), Some(17));
        assert_eq!(id_of(r#"{"result":{"content":[{"id":3}],"a":"\"id\":5,"},"jsonrpc":"2.0", "id" : 18 }"#), Some(18));
        assert_eq!(id_of(r#"{"error":"id","x":"\\","id":0}"#), Some(0));
    }

    #[test]
    fn what_is_no_answer_has_none() {
        for line in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"id":1}}"#,
            r#"{"id":"a1","result":{}}"#,
            r#"[{"id":1}]"#,
            "xxxx",
            "}}}}",
            "",
        ] {
            assert_eq!(id_of(line), None, "{line}");
        }
    }

    #[test]
    fn only_a_line_that_is_too_long_is_answered_for() {
        let mut line = Line::default();
        assert_eq!(answered_for(&mut line, b"{\"id\":1,\"result\":1}\n{\"id\":2,\"result\":\""), None);
        assert_eq!(answered_for(&mut line, &vec![b'x'; LONGEST]), None);
        let read = answered_for(&mut line, b"\"}\n{\"id\":3,\"result\":1}\n").unwrap_or_default();
        let read = String::from_utf8(read).unwrap_or_default();
        let lines: Vec<&str> = read.split('\n').collect();
        assert_eq!((lines[0], lines[2], lines[3]), ("\"}", "{\"id\":3,\"result\":1}", ""));
        assert!(lines[1].contains("\"id\":2,\"error\""), "{read}");
    }
}
