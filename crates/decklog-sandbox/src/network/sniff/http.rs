//! The host that an HTTP/1 request names (RFC 9110, RFC 9112), read strictly: what a lenient server would take for a request
//! is one, and what a strict one would refuse names no host.
//!
//! Pure. Must not know: anything but these bytes.

use std::net::Ipv6Addr;

use super::{Claim, Service, Sniffed};
use crate::network::rule::host_name;

/// Hosts that are kept of one request.
const HOSTS: usize = 4;

/// Digits of a length that are read.
const DIGITS: usize = 15;

/// A request's head: the bytes up to its empty line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// It is not whole.
    NeedMore,
    /// Two servers may read it differently; the hosts that were found.
    Unclear(Vec<String>),
    /// All servers read the same.
    Whole {
        /// How many bytes it has.
        length: usize,
        /// The host it names.
        host: Option<String>,
        /// What follows it.
        body: Body,
    },
}

/// What follows a request's head, before the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Bytes(u64),
    /// Chunks.
    Chunks,
    /// Another protocol, if the server agrees with a status that begins like this; else the next request.
    Tunnel(&'static [u8]),
}

/// What bytes that are not TLS are.
pub(super) fn sniff(bytes: &[u8], ended: bool) -> Sniffed {
    let blank = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let text = &bytes[blank..];
    let line = |end: &[u8]| text.windows(end.len()).position(|window| window == end).map(|at| &text[..at]);
    // A server ends the first line at one of these, or at the end of all.
    let lines = [line(b"\n"), line(b"\r\n"), ended.then_some(text)];
    let other = if bytes.starts_with(b"SSH-") { Service::Ssh } else { Service::Unknown };
    if lines.into_iter().flatten().any(is_request_line) {
        return match head(bytes) {
            Head::NeedMore => Sniffed::NeedMore(Service::Http),
            Head::Unclear(hosts) => Sniffed::Done(Service::Http, Claim::Unclear(hosts)),
            Head::Whole { host: Some(host), .. } => Sniffed::Done(Service::Http, Claim::One(host)),
            Head::Whole { host: None, .. } => Sniffed::Done(Service::Http, Claim::Missing),
        };
    }
    let is_text = text.iter().all(|byte| !byte.is_ascii_control() || is_space(*byte));
    let may_be_http = is_text && text.first().is_none_or(|first| is_token(*first)) && other == Service::Unknown;
    match line(b"\n") {
        // Its first line is not whole.
        None if may_be_http && !ended => Sniffed::NeedMore(Service::Unknown),
        _ => Sniffed::Other(other),
    }
}

/// Whether a server would take this for the first line of a request: by words, by pieces between spaces, or by the
/// version at its end. Some servers look at the method only, some at the target, and some at neither.
fn is_request_line(line: &[u8]) -> bool {
    let is_target =
        |word: &[u8]| word.starts_with(b"/") || word == b"*" || word.windows(3).any(|window| window == b"://");
    let words: Vec<&[u8]> = line.split(|byte| is_separator(*byte)).filter(|word| !word.is_empty()).collect();
    let [first, target, ..] = words[..] else { return false };
    let versions: [&[u8]; 3] = [b"HTTP/", b"RTSP/", b"ICE/"];
    let has_version = words.last().is_some_and(|last| {
        versions
            .iter()
            .any(|version| last.get(..version.len()).is_some_and(|start| start.eq_ignore_ascii_case(version)))
    });
    let second = line.split(|byte| *byte == b' ').nth(1);
    first == b"GET" || is_target(target) || second.is_some_and(is_target) || has_version
}

/// Reads the head of a request.
pub(crate) fn head(bytes: &[u8]) -> Head {
    let mut hosts = Vec::new();
    match read(bytes, &mut hosts) {
        Ok(Some((length, host, body))) => Head::Whole { length, host, body },
        Ok(None) => Head::NeedMore,
        Err(Unclear) => Head::Unclear(hosts),
    }
}

struct Unclear;

/// The length of the head, the host and what follows; `None`: it is not whole. `hosts` gets every host on the way, also
/// where it is unclear: one of them may be denied.
fn read(bytes: &[u8], hosts: &mut Vec<String>) -> Result<Option<(usize, Option<String>, Body)>, Unclear> {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    let (mut fields, mut connects, mut clear, mut whole) = (Fields::default(), None, true, false);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| !whole) {
        let (line, after) = rest.split_at(end + 1);
        rest = after;
        let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| {
            // Some wait for another end of this line.
            clear = false;
            line.trim_ascii_end()
        });
        if connects.is_none() {
            connects = Some(line.starts_with(b"CONNECT "));
            clear &= read_request_line(line, hosts);
            fields.is_old = line.ends_with(b" HTTP/1.0");
        } else if line.is_empty() {
            whole = true;
        } else {
            clear &= fields.take(line, hosts);
        }
    }
    let connects = connects.unwrap_or(false);
    if !clear || hosts.len() > 1 {
        return Err(Unclear);
    }
    if !whole {
        return Ok(None);
    }
    // Without the header some take the target's host, and some none.
    if !hosts.is_empty() && !fields.host && !connects {
        return Err(Unclear);
    }
    let body = fields.body(connects).ok_or(Unclear)?;
    Ok(Some((bytes.len() - rest.len(), hosts.first().cloned(), body)))
}

/// Whether a request's first line is what all servers accept. Notes the host of its target.
fn read_request_line(line: &[u8], hosts: &mut Vec<String>) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(8).collect();
    let scheme = |target: &[u8]| target.windows(3).position(|window| window == b"://");
    let [method, target, version] = words[..] else {
        // Whatever one server makes of it.
        for word in words {
            if let Some(at) = scheme(word).filter(|_| !word.starts_with(b"/")) {
                note(authority_of(&word[at + 3..]), hosts);
            }
        }
        return false;
    };
    let target_is_clear = match scheme(target) {
        _ if target.starts_with(b"/") => true,
        Some(at) => {
            let known = [&b"http"[..], b"https"].iter().any(|known| target[..at].eq_ignore_ascii_case(known));
            let authority = authority_of(&target[at + 3..]);
            note(authority, hosts) && known && !authority.is_empty()
        }
        None if method.eq_ignore_ascii_case(b"connect") => note(target, hosts) && method == b"CONNECT",
        None => target == b"*" && method == b"OPTIONS",
    };
    target_is_clear
        && !method.is_empty()
        && method.iter().all(|byte| is_token(*byte))
        && target.iter().all(|byte| !byte.is_ascii_control())
        && matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
}

fn authority_of(rest: &[u8]) -> &[u8] {
    rest.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).next().unwrap_or_default()
}

/// Notes the host of `HOST:PORT`, as well as it can be read; whether it is one and nothing else.
fn note(authority: &[u8], hosts: &mut Vec<String>) -> bool {
    let (host, is_clear) = match host_of(authority) {
        Some(host) => (host, true),
        None => (String::from_utf8_lossy(authority).to_lowercase(), authority.is_empty()),
    };
    if !host.is_empty() && !hosts.contains(&host) && hosts.len() < HOSTS {
        hosts.push(host);
    }
    is_clear
}

/// The host of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`, in lower case and without the dot at its end.
fn host_of(authority: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), after)
        }
        None => {
            let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host_name(host)?, after)
        }
    };
    let port_is_clear = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    port_is_clear.then_some(host)
}

/// The headers that decide where a request goes and what follows it.
#[derive(Default)]
pub(super) struct Fields {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    /// Whether the request is of HTTP/1.0, which has no chunks: Go's server then reads no body, and others read chunks.
    is_old: bool,
}

impl Fields {
    /// Takes in a header; whether all servers read it the same way.
    fn take(&mut self, line: &[u8], hosts: &mut Vec<String>) -> bool {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        let known = if is("host") {
            note(value, hosts) && !std::mem::replace(&mut self.host, true)
        } else if is("content-length") {
            let is_length = value.len() <= DIGITS && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| is_length).and_then(|text| text.parse().ok());
            length.is_some_and(|length| self.length.replace(length).is_none())
        } else if is("transfer-encoding") {
            value.eq_ignore_ascii_case(b"chunked") && !std::mem::replace(&mut self.chunked, true)
        } else {
            // HTTP/2 says its hosts in a way that is not read here, and would have to be.
            self.upgrade |= is("upgrade") && !value.to_ascii_lowercase().windows(2).any(|window| window == b"h2");
            true
        };
        // A name that begins with a space is a line that continues the one before, for some.
        known && !name.is_empty() && name.iter().all(|byte| is_token(*byte)) && is_value(value)
    }

    /// Whether a line behind the chunks is a header that decides nothing.
    pub(super) fn take_trailer(mut self, line: &[u8]) -> bool {
        self.take(line, &mut Vec::new()) && !self.host && !self.chunked && self.length.is_none()
    }

    fn body(&self, connects: bool) -> Option<Body> {
        match (self.length, self.chunked) {
            (Some(_), true) => None,
            (None, true) if self.is_old => None,
            (None, true) => Some(Body::Chunks),
            (None | Some(0), false) if connects => Some(Body::Tunnel(b"2")),
            (None | Some(0), false) if self.upgrade => Some(Body::Tunnel(b"101")),
            (length, false) => Some(Body::Bytes(length.unwrap_or(0))),
        }
    }
}

/// Whether a header's value has no character that ends it for some.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t')
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// What some server splits a first line at.
fn is_separator(byte: u8) -> bool {
    is_space(byte) || matches!(byte, 0x1c..=0x1f | 0x85 | 0xa0)
}

/// What methods and the names of headers are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
