//! What a client says in its first bytes: which protocol it speaks, and where it believes it goes.
//!
//! Pure. Must not know: sockets, rules. The bytes are a stranger's: whatever they are, it answers.

mod tls;

/// Bytes that are looked at before it is given up.
pub(crate) const ENOUGH: usize = 16 * 1024;

/// Names that are kept of one beginning.
const CLAIMS: usize = 4;

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Service {
    /// HTTP/1, or the beginning of HTTP/2 in clear.
    Http,
    /// TLS.
    Ssl,
    /// SSH.
    Ssh,
    /// Something else.
    #[default]
    Unknown,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// More bytes could tell.
    NeedMore(Service),
    /// This is it: the hosts it names, in lower case and without port. None when it names none.
    Done(Service, Vec<String>),
    /// It begins like this protocol and then breaks its rules, so that two readers may read it differently.
    Malformed(Service),
}

impl Service {
    /// Its name in a record, if it has one.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Http => Some("http"),
            Self::Ssl => Some("ssl"),
            Self::Ssh => Some("ssh"),
            Self::Unknown => None,
        }
    }
}

/// What a connection begins with.
pub(crate) fn sniff(bytes: &[u8]) -> Sniffed {
    let seen = match bytes.first() {
        None => Sniffed::NeedMore(Service::Unknown),
        Some(0x16) => tls::sniff(bytes),
        Some(b'S') if b"SSH-".starts_with(bytes) => Sniffed::NeedMore(Service::Unknown),
        _ if bytes.starts_with(b"SSH-") => Sniffed::Done(Service::Ssh, Vec::new()),
        _ => http(bytes),
    };
    match seen {
        // A client that has said so much has not said where it goes.
        Sniffed::NeedMore(service) if bytes.len() >= ENOUGH => Sniffed::Malformed(service),
        seen => seen,
    }
}

/// Servers differ in what they forgive. Where one could read another host than is read here, it is malformed.
fn http(bytes: &[u8]) -> Sniffed {
    let unknown = Sniffed::Done(Service::Unknown, Vec::new());
    let malformed = Sniffed::Malformed(Service::Http);
    // Some pass over empty lines before a request.
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let (before, bytes) = bytes.split_at(start);
    if bytes.first().is_some_and(|first| !is_token(*first)) {
        return unknown;
    }
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let request = match lines.next().unwrap_or_default() {
        request if request.ends_with(b"\n") => without_end(request),
        request if request.iter().any(|byte| byte.is_ascii_control() && !is_space(*byte)) => return unknown,
        _ => return Sniffed::NeedMore(Service::Unknown),
    };
    let words: Vec<&[u8]> = request.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).take(8).collect();
    let is_version = |word: &&[u8]| word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"));
    if !words.iter().skip(1).any(is_version) {
        return unknown;
    }
    let odd = |byte: &u8| is_space(*byte) && *byte != b' ';
    let [method, target, version] = words[..] else { return malformed };
    if !is_version(&version) || request.iter().any(odd) || before.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
        return malformed;
    }
    let mut claims = Vec::new();
    let mut claim = |text: &[u8]| {
        let host = host_of(text);
        if !claims.contains(&host) {
            claims.push(host);
        }
        claims.len() <= CLAIMS
    };
    if let Some(scheme) = target.windows(3).position(|window| window == b"://") {
        let rest = &target[scheme + 3..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
        claim(&rest[..end]);
    } else if method.eq_ignore_ascii_case(b"connect") {
        claim(target);
    }
    for line in lines {
        if !line.ends_with(b"\n") {
            break;
        }
        let line = without_end(line);
        if line.is_empty() {
            return Sniffed::Done(Service::Http, claims);
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return malformed };
        let name = line[..colon].trim_ascii_end();
        // Among these are lines that go on the one before.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || line.contains(&b'\r') {
            return malformed;
        }
        if name.eq_ignore_ascii_case(b"host") && !claim(line[colon + 1..].trim_ascii()) {
            return malformed;
        }
    }
    Sniffed::NeedMore(Service::Http)
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// What methods and the names of headers are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The host of `user@host:port`, in lower case.
fn host_of(authority: &[u8]) -> String {
    let text = String::from_utf8_lossy(authority);
    let text = text.rsplit('@').next().unwrap_or_default();
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text.split(':').next().unwrap_or_default(),
    };
    host.strip_suffix('.').unwrap_or(host).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(service: Service, claims: &[&str]) -> Sniffed {
        Sniffed::Done(service, claims.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn protocols() {
        use Service::{Http, Ssh, Unknown};
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: Example.com:8080\r\n\r\n"[..], done(Http, &["example.com"])),
            (b"GET / HTTP/1.1\nhost:example.com.\n\n", done(Http, &["example.com"])),
            (b"\r\n\r\nGET / HTTP/1.1\r\nHost: example.com\r\n\r\n", done(Http, &["example.com"])),
            (b"get / http/1.1\r\nHost : example.com\r\n\r\n", done(Http, &["example.com"])),
            (b"GET http://user@a.test:1/x HTTP/1.1\r\nHost: b.test\r\n\r\n", done(Http, &["a.test", "b.test"])),
            (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\nHOST: b.test\r\n\r\n", done(Http, &["a.test", "b.test"])),
            (b"CONNECT a.test:443 HTTP/1.1\r\n\r\n", done(Http, &["a.test"])),
            (b"GET / HTTP/1.0\r\n\r\n", done(Http, &[])),
            (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", done(Http, &["2001:db8::1"])),
            (b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", done(Http, &["\u{fffd}\u{fffd}"])),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", done(Http, &[])),
            (b"GET / HTTP/1.1\r\nA: b\r\n Host: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\r\nA: b\rHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\r\nA: b\r\n \r\nHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\r\n\x0bHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\r\nHost:a\r\nHost:b\r\nHost:c\r\nHost:d\r\nHost:e\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1 x\r\nHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / x HTTP/1.1\r\nHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"GET / HTTP/1.1\rHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b" GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Sniffed::Malformed(Http)),
            (b"A-VERY-LONG-METHOD-THAT-NOBODY-KNOWS!1 / HTTP/1.1\r\nHost: a.test\r\n\r\n", done(Http, &["a.test"])),
            (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a.test\r\n\r\n", done(Http, &["a.test"])),
            (b"HTTP/1.1 200 OK\r\n\r\n", done(Unknown, &[])),
            (b"OPTIONS sip:a SIP/2.0\r\n", done(Unknown, &[])),
            (b"AMQP\0\0\x09\x01", done(Unknown, &[])),
            (b"SSH-2.0-OpenSSH_9\r\n", done(Ssh, &[])),
            (b"EHLO example.com\r\n", done(Unknown, &[])),
            (b"PING\r\n", done(Unknown, &[])),
            (b"GET /\r\n", done(Unknown, &[])),
            (b"*3\r\n$3\r\nSET\r\n", done(Unknown, &[])),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", done(Unknown, &[])),
            (b"", Sniffed::NeedMore(Unknown)),
            (b"SS", Sniffed::NeedMore(Unknown)),
            (b"SSL", Sniffed::NeedMore(Unknown)),
            (b"GET", Sniffed::NeedMore(Unknown)),
            (b"GET / HTTP/1.1\r\nHost: a.test", Sniffed::NeedMore(Http)),
        ] {
            assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn cut_anywhere_it_waits_or_knows() {
        let whole = b"GET /path HTTP/1.1\r\nAccept: */*\r\nHost: example.com\r\nX: y\r\n\r\n";
        for end in 0..whole.len() {
            assert!(matches!(sniff(&whole[..end]), Sniffed::NeedMore(_)), "{end}");
        }
        assert_eq!(sniff(whole), done(Service::Http, &["example.com"]));
    }

    #[test]
    fn a_host_behind_too_much_is_not_waited_for() {
        let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\nHost: a.test\r\n\r\n", "x".repeat(ENOUGH));
        assert_eq!(sniff(&long.as_bytes()[..ENOUGH]), Sniffed::Malformed(Service::Http));
    }

    #[test]
    fn any_bytes_are_answered() {
        // Every byte of a beginning replaced by every kind of byte.
        let whole = b"\r\nGET http://a/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";
        for at in 0..whole.len() {
            for byte in [0, b'\n', b'\r', b' ', b':', b'[', b'@', 0x16, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = byte;
                for end in 0..=bytes.len() {
                    let _ = sniff(&bytes[..end]);
                }
            }
        }
    }
}
