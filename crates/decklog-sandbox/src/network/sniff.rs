//! What a client's first bytes are: which protocol it speaks, and the one host that it names.
//!
//! Servers differ in what they forgive. Where one could read another host than is read here, no name is given: the
//! [`Claim`] is [`Claim::Unclear`].
//!
//! Pure. Must not know: sockets, rules. The bytes are a stranger's: whatever they are, it answers.

mod http;
mod requests;
mod tls;

pub(crate) use requests::{Next, Requests};

/// Bytes that are looked at before it is given up.
pub(crate) const ENOUGH: usize = 16 * 1024;

/// The header of the PROXY protocol, version 2.
const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Which protocol the first bytes are of.
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

/// What the first bytes are so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// More bytes are needed: it may become a protocol that names hosts.
    NeedMore(Service),
    /// No protocol that names hosts so far. Some servers skip such bytes, so that what follows decides.
    Other(Service),
    /// The end of the client's first message, with what it says of where the client goes.
    Done(Service, Claim),
}

/// What a client says of where it goes. Hosts are in lower case, without port and without the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Every server reads this host.
    One(String),
    /// Every server reads no host.
    Missing,
    /// This host, and another one that is encrypted.
    Encrypted(String),
    /// Two servers may read different hosts; those that were found.
    Unclear(Vec<String>),
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

impl Claim {
    /// The hosts in it.
    pub(crate) fn hosts(&self) -> &[String] {
        match self {
            Self::One(host) | Self::Encrypted(host) => std::slice::from_ref(host),
            Self::Missing => &[],
            Self::Unclear(hosts) => hosts,
        }
    }
}

/// What a connection begins with. `ended`: the client sends no more.
pub(crate) fn sniff(bytes: &[u8], ended: bool) -> Sniffed {
    let unclear = |service| Sniffed::Done(service, Claim::Unclear(Vec::new()));
    let sniffed = if is_proxied(bytes) {
        // What follows is the message of another client, at another place.
        unclear(Service::Unknown)
    } else {
        tls::sniff(bytes).unwrap_or_else(|| http::sniff(bytes, ended))
    };
    match sniffed {
        Sniffed::NeedMore(Service::Unknown) if ended => Sniffed::Other(Service::Unknown),
        Sniffed::NeedMore(service) if ended || bytes.len() >= ENOUGH => unclear(service),
        sniffed => sniffed,
    }
}

fn is_proxied(bytes: &[u8]) -> bool {
    bytes.starts_with(PROXY_2) || bytes.starts_with(b"PROXY ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(service: Service, host: &str) -> Sniffed {
        Sniffed::Done(service, Claim::One(host.into()))
    }

    fn unclear(service: Service, hosts: &[&str]) -> Sniffed {
        Sniffed::Done(service, Claim::Unclear(hosts.iter().map(ToString::to_string).collect()))
    }

    fn get(fields: &str) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes()
    }

    /// What every server reads as one request.
    #[test]
    fn requests() {
        use Service::Http;
        let missing = Sniffed::Done(Http, Claim::Missing);
        for (bytes, expected) in [
            (get("Host: example.com\r\n"), one(Http, "example.com")),
            (get("Host: Example.COM.:8080\r\n"), one(Http, "example.com")),
            (get("Host:example.com\r\n"), one(Http, "example.com")),
            (get("hOST: \t example.com \t\r\nX: y\r\n"), one(Http, "example.com")),
            (get("Host: a_b.example\r\n"), one(Http, "a_b.example")),
            (get("Host: [2001:DB8::1]:80\r\n"), one(Http, "2001:db8::1")),
            (get("Host: 198.51.100.7:80\r\n"), one(Http, "198.51.100.7")),
            (get("Host: a.test\r\nX: é\r\n"), one(Http, "a.test")),
            (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"GET /?u=http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"GET /\xc3\xa9 HTTP/1.0\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"GET http://a.test:1/x HTTP/1.1\r\nHost: A.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"CONNECT a.test:443 HTTP/1.0\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"A-LONG-METHOD!1 / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), one(Http, "a.test")),
            (b"GET / HTTP/1.0\r\n\r\n".to_vec(), missing.clone()),
            (get(""), missing.clone()),
            (get("Host:\r\n"), missing),
        ] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(sniff(&bytes, false), expected, "{text:?}");
            for end in 0..bytes.len() {
                assert!(matches!(sniff(&bytes[..end], false), Sniffed::NeedMore(_)), "{text:?} cut at {end}");
            }
        }
    }

    /// What one server reads and another does not, or reads as another host.
    #[test]
    fn requests_that_are_read_in_two_ways() {
        let line = |line: &str| format!("{line}\r\nHost: b.test\r\n\r\n").into_bytes();
        for (bytes, hosts) in [
            // Hosts that are none, or more than one.
            (get("Host: [a.test]b.test\r\n"), &["[a.test]b.test"][..]),
            (get("Host: [a.test]\r\n"), &["[a.test]"]),
            (get("Host: a.test@b.test\r\n"), &["a.test@b.test"]),
            (get("Host: a.test b.test\r\n"), &["a.test b.test"]),
            (get("Host: a.test,b.test\r\n"), &["a.test,b.test"]),
            (get("Host: a.test/b.test\r\n"), &["a.test/b.test"]),
            (get("Host: a.test\0b.test\r\n"), &["a.test\0b.test"]),
            (get("Host: a.test:80:80\r\n"), &["a.test:80:80"]),
            (get("Host: a.test:http\r\n"), &["a.test:http"]),
            (get("Host: a.test..\r\n"), &["a.test.."]),
            (get("Host: .a.test\r\n"), &[".a.test"]),
            (get("Host: http://a.test\r\n"), &["http://a.test"]),
            (get("Host: [::1%lo]\r\n"), &["[::1%lo]"]),
            (get("Host: bücher.test\r\n"), &["bücher.test"]),
            (get("Host: a.test\u{3002}b\r\n"), &["a.test\u{3002}b"]),
            (get("Host: a%2etest\r\n"), &["a%2etest"]),
            (get("Host: a.test\r\nHost: b.test\r\n"), &["a.test", "b.test"]),
            (get("Host: a.test\r\nHost: a.test\r\n"), &["a.test"]),
            (get("Host: a.test\r\nX: y\r\nhost:\r\n"), &["a.test"]),
            // Headers that begin or end elsewhere for some.
            (get("Host : a.test\r\n"), &["a.test"]),
            (get(" Host: a.test\r\n"), &["a.test"]),
            (get("A: b\r\n Host: a.test\r\n"), &["a.test"]),
            (get("Host: a.test\r\n b.test\r\n"), &["a.test"]),
            (get("A: b\r\n\tc\r\nHost: a.test\r\n"), &["a.test"]),
            (get("\x0bHost: a.test\r\n"), &[]),
            (get("A: b\rHost: b.test\r\nHost: a.test\r\n"), &["a.test"]),
            (get("A: b\nHost: b.test\r\nHost: a.test\r\n"), &["b.test", "a.test"]),
            (get("A: \0\r\nHost: a.test\r\n"), &["a.test"]),
            (get("A\0: b\r\nHost: a.test\r\n"), &["a.test"]),
            (get("Host\r\n"), &[]),
            (get(": b\r\nHost: a.test\r\n"), &["a.test"]),
            (get("A b: c\r\nHost: a.test\r\n"), &["a.test"]),
            (b"GET / HTTP/1.1\nHost: a.test\n\n".to_vec(), &["a.test"]),
            (b"GET / HTTP/1.1\rHost: a.test\r\n\r\n".to_vec(), &[]),
            (b"\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["a.test"]),
            (b"\r\n \r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["a.test"]),
            // Targets with a host of their own.
            (b"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n".to_vec(), &["a.test", "b.test"]),
            (b"GET http://a.test/ HTTP/1.1\r\n\r\n".to_vec(), &["a.test"]),
            (b"GET http://b.test@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["b.test@a.test", "a.test"]),
            (b"GET http://b.test\\@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["b.test", "a.test"]),
            (b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["a.test"]),
            (b"GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), &["a.test"]),
            (b"CONNECT a.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n".to_vec(), &["a.test", "b.test"]),
            (b"GET http://b.test/\r\n".to_vec(), &["b.test"]),
            // First lines that some take for one of a request.
            (line(" GET / HTTP/1.1"), &["b.test"]),
            (line("GET  / HTTP/1.1"), &["b.test"]),
            (line("GET\t/ HTTP/1.1"), &["b.test"]),
            (line("GET\u{a0}/ HTTP/1.1"), &["b.test"]),
            (line("\0GET / HTTP/1.1"), &["b.test"]),
            (line("GET / HTTP/1.1 "), &["b.test"]),
            (line("GET / HTTP/1.1 x"), &["b.test"]),
            (line("GET / x HTTP/1.1"), &["b.test"]),
            (line("GET x HTTP/1.1"), &["b.test"]),
            (line("GET /\x7f HTTP/1.1"), &["b.test"]),
            (line("get / http/1.1"), &["b.test"]),
            (line("GET / HTTP/2.0"), &["b.test"]),
            (line("GET / HTTP/0.9"), &["b.test"]),
            (line("GET / HTTP/1.1\0"), &["b.test"]),
            (line("GET / HTTP/01.1"), &["b.test"]),
            (line("GET / RTSP/1.0"), &["b.test"]),
            (line("SOURCE / ICE/1.0"), &["b.test"]),
            (line("GET / nonsense"), &["b.test"]),
            (line("X / y"), &["b.test"]),
            (line("\x01\x02 / y"), &["b.test"]),
            (line("SSH-2.0-x / y"), &["b.test"]),
            (line("A\nB / y"), &["b.test"]),
            (line("GET /"), &["b.test"]),
            (line("GET x"), &["b.test"]),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[]),
        ] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(sniff(&bytes, false), unclear(Service::Http, hosts), "{text:?}");
        }
        for proxied in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11"] {
            assert_eq!(sniff(proxied, false), unclear(Service::Unknown, &[]));
        }
    }

    #[test]
    fn what_names_no_host() {
        use Service::{Ssh, Unknown};
        for (bytes, service) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Unknown),
            (b"OPTIONS sip:a SIP/2.0\r\n", Unknown),
            (b"AMQP\0\0\x09\x01", Unknown),
            (b"SSH-2.0-OpenSSH_9\r\n", Ssh),
            (b"SSH-", Ssh),
            (b"EHLO example.com\r\n", Unknown),
            (b"PING\r\n", Unknown),
            (b"CONNECT {\"verbose\":false}\r\n", Unknown),
            (b"CONNECT\naccept-version:1.2\nhost:/\n\n\0", Unknown),
            (b"USER guest 0 * :Ronnie\r\n", Unknown),
            (b"get key\r\n", Unknown),
            (b"*3\r\n$3\r\nSET\r\n", Unknown),
            (b"<34>1 2003-10-11T22:14:15Z host app - - - \"GET / HTTP/1.1\" 200\n", Unknown),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Unknown),
            (b"0032git-upload-pack /project.git\0host=b.test\0", Unknown),
        ] {
            assert_eq!(sniff(bytes, false), Sniffed::Other(service), "{:?}", String::from_utf8_lossy(bytes));
        }
        for text in ["", "SS", "SSL", "GET", "hello", "a b"] {
            assert_eq!(sniff(text.as_bytes(), false), Sniffed::NeedMore(Unknown), "{text}");
            assert_eq!(sniff(text.as_bytes(), true), Sniffed::Other(Unknown), "{text}");
        }
    }

    #[test]
    fn the_end_of_the_bytes_makes_nothing_whole() {
        let http = unclear(Service::Http, &[]);
        for text in ["GET /", "GET x", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n", "x / y", "\0 / y"] {
            assert_eq!(sniff(text.as_bytes(), true), http, "{text:?}");
        }
        let whole = get("Host: b.test\r\n");
        let end = whole.len() - 1;
        assert_eq!(sniff(&whole[..end], true), http);
        assert_eq!(sniff(&whole, true), one(Service::Http, "b.test"));
        assert_eq!(sniff(b"\x16\x03\x01", true), unclear(Service::Ssl, &[]));
    }

    #[test]
    fn a_host_behind_too_much_is_not_waited_for() {
        let long = get(&format!("Cookie: {}\r\nHost: a.test\r\n", "x".repeat(ENOUGH)));
        assert_eq!(sniff(&long[..ENOUGH], false), unclear(Service::Http, &[]));
        assert_eq!(sniff(&[b'x'; ENOUGH], false), unclear(Service::Unknown, &[]));
    }

    #[test]
    fn any_bytes_are_answered() {
        // Every byte of a beginning replaced by every kind of byte.
        let whole = b"\r\nGET http://a/ HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\n\r\n";
        for at in 0..whole.len() {
            for byte in [0, b'\n', b'\r', b' ', b':', b'[', b'@', 0x16, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = byte;
                for end in 0..=bytes.len() {
                    let _ = (sniff(&bytes[..end], false), sniff(&bytes[..end], true));
                }
            }
        }
    }
}
