//! The requests of one HTTP/1 connection, one after the other: where each ends, and the host that each names.
//!
//! Pure. Must not know: sockets, responses.

use super::http::{self, Body, Fields, Head};
use super::{Claim, ENOUGH};

/// Bytes of the line before a chunk.
const CHUNK_LINE: usize = 1024;

/// Digits of the length of a chunk.
const CHUNK_DIGITS: usize = 12;

/// What the next bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// So many bytes of a body.
    Bytes(u64),
    /// The line before a chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    /// What follows a request for another protocol.
    Tunnel(&'static [u8]),
}

/// Follows the requests of a connection.
#[derive(Debug)]
pub(crate) struct Requests {
    part: Part,
}

/// What the next bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// More bytes are needed.
    NeedMore,
    /// So many belong to a request that was judged.
    Pass(usize),
    /// So many are the head of a request that names this.
    Head(usize, Claim),
    /// They are a request, unless the response before them has a status that begins like this.
    Tunnel(&'static [u8]),
    /// Two servers may read them differently; the hosts that were found.
    Unclear(Vec<String>),
}

impl Requests {
    /// Begins before a first request.
    pub(crate) fn new() -> Self {
        Self { part: Part::Head }
    }

    /// The server did not agree to another protocol: requests follow.
    pub(crate) fn refuse_tunnel(&mut self) {
        self.part = Part::Head;
    }

    /// What `bytes` begin with, which are then behind.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Next {
        if bytes.is_empty() {
            return Next::NeedMore;
        }
        match self.part {
            Part::Head => self.head(bytes),
            Part::Bytes(left) => self.body(bytes, left, Part::Bytes, Part::Head),
            Part::Chunk(left) => self.body(bytes, left, Part::Chunk, Part::ChunkEnd),
            Part::ChunkLine => self.line(bytes, CHUNK_LINE, |line| {
                let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
                let (digits, extension) = line.split_at(end);
                let is_clear = extension.iter().all(|byte| !byte.is_ascii_control())
                    && (extension.is_empty() || extension.starts_with(b";"))
                    && (1..=CHUNK_DIGITS).contains(&digits.len());
                let length = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
                is_clear.then_some(if length == 0 { Part::Trailers } else { Part::Chunk(length) })
            }),
            Part::ChunkEnd => self.line(bytes, 2, |line| line.is_empty().then_some(Part::ChunkLine)),
            Part::Trailers => self.line(bytes, ENOUGH, |line| match line {
                [] => Some(Part::Head),
                line => Fields::default().take_trailer(line).then_some(Part::Trailers),
            }),
            Part::Tunnel(status) => Next::Tunnel(status),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Next {
        match http::head(bytes) {
            // Some clients send an empty line behind a body.
            Head::NeedMore if bytes.starts_with(b"\r\n") => Next::Pass(2),
            Head::NeedMore if bytes.len() < ENOUGH => Next::NeedMore,
            Head::NeedMore => Next::Unclear(Vec::new()),
            Head::Unclear(hosts) => Next::Unclear(hosts),
            Head::Whole { length, host, body } => {
                self.part = match body {
                    Body::Bytes(0) => Part::Head,
                    Body::Bytes(length) => Part::Bytes(length),
                    Body::Chunks => Part::ChunkLine,
                    Body::Tunnel(status) => Part::Tunnel(status),
                };
                Next::Head(length, host.map_or(Claim::Missing, Claim::One))
            }
        }
    }

    fn body(&mut self, bytes: &[u8], left: u64, part: fn(u64) -> Part, then: Part) -> Next {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - count as u64;
        self.part = if left == 0 { then } else { part(left) };
        Next::Pass(count)
    }

    /// A line of no more bytes than this, and what follows it.
    fn line(&mut self, bytes: &[u8], longest: usize, then: impl FnOnce(&[u8]) -> Option<Part>) -> Next {
        let Some(end) = bytes.iter().take(longest).position(|byte| *byte == b'\n') else {
            return if bytes.len() < longest { Next::NeedMore } else { Next::Unclear(Vec::new()) };
        };
        match bytes[..end].strip_suffix(b"\r").and_then(then) {
            Some(part) => {
                self.part = part;
                Next::Pass(end + 1)
            }
            None => Next::Unclear(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hosts of all requests in these bytes, given in pieces of so many; `Err`: those before what is unclear.
    fn hosts(bytes: &[u8], piece: usize) -> Result<Vec<String>, Vec<String>> {
        let (mut requests, mut held, mut hosts) = (Requests::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            loop {
                let count = match requests.next(&held) {
                    Next::NeedMore => break,
                    Next::Pass(count) => count,
                    Next::Head(count, claim) => {
                        hosts.push(claim.hosts().first().cloned().unwrap_or_default());
                        count
                    }
                    Next::Tunnel(_) => {
                        requests.refuse_tunnel();
                        0
                    }
                    Next::Unclear(_) => return Err(hosts),
                };
                held.drain(..count);
            }
        }
        assert!(held.is_empty(), "{:?}", String::from_utf8_lossy(&held));
        Ok(hosts)
    }

    #[test]
    fn each_request_names_its_host() {
        let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}");
        let (a, b) = (get("a.test"), get("b.test"));
        let both: Result<&[&str], &[&str]> = Ok(&["a.test", "b.test"]);
        let first: Result<&[&str], &[&str]> = Err(&["a.test"]);
        for (what, text, expected) in [
            ("one after the other", format!("{a}{b}"), both),
            ("an empty line between", format!("{a}\r\n\r\n{b}"), both),
            ("a body", post("Content-Length: 5\r\n", "hello") + &b, both),
            ("a body that looks like a request", post(&format!("Content-Length: {}\r\n", a.len()), &a) + &b, both),
            ("chunks", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n") + &b, both),
            ("extensions", post("Transfer-Encoding: chunked\r\n", "5;a=\"b\"\r\nhello\r\n00\r\n\r\n") + &b, both),
            ("trailers", post("Transfer-Encoding: Chunked\r\n", "1\r\nx\r\n0\r\nX: y\r\n\r\n") + &b, both),
            ("no chunk", post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n") + &b, both),
            ("an upgrade that is refused", post("Upgrade: websocket\r\n", "") + &b, both),
            (
                "chunks of HTTP/1.0",
                post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("/1.1", "/1.0") + &b,
                Err(&[]),
            ),
            ("both lengths", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") + &b, Err(&[])),
            ("two lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello") + &b, Err(&[])),
            ("a length with a sign", post("Content-Length: +5\r\n", "hello") + &b, Err(&[])),
            ("an empty length", post("Content-Length:\r\n", "") + &b, Err(&[])),
            ("a length that overflows", post("Content-Length: 18446744073709551616\r\n", "") + &b, Err(&[])),
            ("another coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n") + &b, Err(&[])),
            ("two codings", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n") + &b, Err(&[])),
            ("a coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "") + &b, Err(&[])),
            ("a space before the colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n") + &b, Err(&[])),
            ("a length on a second line", post("Content-Length: 0\r\n 5\r\n", "hello") + &b, Err(&[])),
            ("a chunk that ends early", post("Transfer-Encoding: chunked\r\n", "4\r\nhello\r\n0\r\n\r\n") + &b, first),
            ("a chunk's line end", post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n") + &b, first),
            ("a chunk in hex", post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n") + &b, first),
            ("a space behind it", post("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n") + &b, first),
            ("a host in the trailers", post("Transfer-Encoding: chunked\r\n", "0\r\nHost: b.test\r\n\r\n") + &b, first),
            ("two hosts", format!("{a}GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"), first),
            ("no request", format!("{a}nonsense\r\n\r\n"), first),
            ("HTTP/2", format!("{a}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), first),
        ] {
            let own = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
            for piece in [1, 7, text.len()] {
                let found = hosts(text.as_bytes(), piece);
                assert_eq!(found, expected.map(own).map_err(own), "{what}, in pieces of {piece}");
            }
        }
    }
}
