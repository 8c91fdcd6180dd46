//! Who may come in: whoever has the link that was printed, from a page of this server's own, under a name of this machine's.
//!
//! The link's token is good once; it is exchanged for a cookie that scripts cannot read and that no other site's request
//! carries. `Host` is held to the names that were listened on, so that a name bound anew to this address is refused;
//! `Origin` and `Sec-Fetch-Site` are held to this server, so that no other page can ask in the user's name.
//! Must not know: what is asked.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::http::{HeaderMap, Method, header};

/// Bytes of a secret.
const SECRET: usize = 32;

/// What every answer says besides its content: nothing is run, loaded, sent or framed but by this server's own pages.
pub(crate) const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Under a name that is not this server's.
    Host,
    /// From another site's page.
    Origin,
    /// Without the cookie.
    Cookie,
}

/// The door.
#[derive(Debug)]
pub(crate) struct Guard {
    /// As `Host` may have them, with the port where it is not 80.
    hosts: Vec<String>,
    cookie: String,
    secret: String,
    link: Mutex<Option<String>>,
}

/// Letters and digits that nobody guesses.
fn random() -> io::Result<String> {
    let mut bytes = [0; SECRET];
    let mut got = 0;
    while got < SECRET {
        got += rustix::rand::getrandom(&mut bytes[got..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Compares in a time that does not tell how much of it is right.
fn is_same(shown: &[u8], secret: &[u8]) -> bool {
    shown.len() == secret.len() && shown.iter().zip(secret).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

impl Guard {
    /// For a server at `address` that is also called `name`.
    pub(crate) fn new(address: SocketAddr, name: Option<&str>) -> io::Result<Self> {
        let mut hosts = vec![address.to_string()];
        if address.ip().is_loopback() {
            hosts.push(format!("localhost:{}", address.port()));
        }
        hosts.extend(name.map(|name| format!("{}:{}", name.to_ascii_lowercase(), address.port())));
        if address.port() == 80 {
            let bare: Vec<String> =
                hosts.iter().filter_map(|host| host.strip_suffix(":80").map(str::to_owned)).collect();
            hosts.extend(bare);
        }
        // Cookies know no ports: two servers on one machine must not take each other's.
        let cookie = format!("decklog-{}", address.port());
        Ok(Self { hosts, cookie, secret: random()?, link: Mutex::new(None) })
    }

    /// The token of a new link, which is good once; one that was made before is good no more.
    pub(crate) fn new_token(&self) -> io::Result<String> {
        let token = random()?;
        *self.link.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// Takes a link's token, and gives the header that sets the cookie.
    pub(crate) fn exchange(&self, token: &str) -> Option<String> {
        let mut link = self.link.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !link.as_ref().is_some_and(|link| is_same(token.as_bytes(), link.as_bytes())) {
            return None;
        }
        *link = None;
        Some(format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.secret))
    }

    /// Whether a request is for this server and from no other site. A link that is opened from elsewhere is a plain GET for a
    /// page; what is asked of the API comes from a page of ours, or from no page at all.
    pub(crate) fn place(&self, method: &Method, headers: &HeaderMap, of_api: bool) -> Result<(), Refused> {
        let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("\u{fffd}"));
        let host = text(header::HOST).unwrap_or_default().to_ascii_lowercase();
        if !self.hosts.contains(&host) {
            return Err(Refused::Host);
        }
        if let Some(origin) = text(header::ORIGIN) {
            let ours = origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(&host));
            if !ours {
                return Err(Refused::Origin);
            }
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
        match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) if reads && !of_api => Ok(()),
            Some(_) => Err(Refused::Origin),
        }
    }

    /// Whether a request shows the cookie.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let shown = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = shown.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let is_ours =
            |(name, value): (&str, &str)| name == self.cookie && is_same(value.as_bytes(), self.secret.as_bytes());
        if pairs.any(is_ours) { Ok(()) } else { Err(Refused::Cookie) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new("127.0.0.1:4000".parse().expect("an address"), None).expect("a guard")
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn names_and_sites() {
        let ok = Ok(());
        let (host, origin) = (Err(Refused::Host), Err(Refused::Origin));
        for (of, page, api) in [
            (&[("host", "127.0.0.1:4000")][..], ok, ok),
            (&[("host", "LocalHost:4000")], ok, ok),
            (&[("host", "127.0.0.1")], host, host),
            (&[("host", "127.0.0.1:4001")], host, host),
            (&[("host", "evil.example:4000")], host, host),
            (&[("host", "127.0.0.1:4000.evil.example")], host, host),
            (&[], host, host),
            (&[("host", "127.0.0.1:4000"), ("origin", "http://127.0.0.1:4000")], ok, ok),
            (&[("host", "127.0.0.1:4000"), ("origin", "http://localhost:4000")], origin, origin),
            (&[("host", "127.0.0.1:4000"), ("origin", "https://127.0.0.1:4000")], origin, origin),
            (&[("host", "127.0.0.1:4000"), ("origin", "http://evil.example")], origin, origin),
            (&[("host", "127.0.0.1:4000"), ("origin", "null")], origin, origin),
            (&[("host", "127.0.0.1:4000"), ("sec-fetch-site", "same-origin")], ok, ok),
            (&[("host", "127.0.0.1:4000"), ("sec-fetch-site", "cross-site")], ok, origin),
            (&[("host", "127.0.0.1:4000"), ("sec-fetch-site", "same-site")], ok, origin),
        ] {
            let (guard, headers) = (guard(), headers(of));
            assert_eq!(guard.place(&Method::GET, &headers, false), page, "{of:?}");
            assert_eq!(guard.place(&Method::GET, &headers, true), api, "{of:?}");
            assert_eq!(guard.place(&Method::POST, &headers, false), api, "{of:?}");
        }
    }

    #[test]
    fn a_link_is_good_once_and_a_cookie_for_one_server() {
        let guard = guard();
        assert_eq!(guard.exchange(""), None);
        let (older, token) = (guard.new_token().expect("a token"), guard.new_token().expect("a token"));
        assert_eq!(guard.exchange(&older), None);
        assert_eq!(guard.exchange(&token[1..]), None);
        let set = guard.exchange(&token).expect("the cookie");
        assert_eq!(guard.exchange(&token), None);
        let (cookie, attributes) = set.split_once(';').expect("attributes");
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(guard.knows(&headers(&[("cookie", cookie)])), Ok(()));
        assert_eq!(guard.knows(&headers(&[("cookie", &format!("a=b; {cookie}"))])), Ok(()));
        let other = cookie.replace("4000", "4001");
        for wrong in ["", "decklog-4000=", "decklog-4000", other.as_str(), &cookie[..cookie.len() - 1]] {
            assert_eq!(guard.knows(&headers(&[("cookie", wrong)])), Err(Refused::Cookie), "{wrong}");
        }
    }

    #[test]
    fn other_names() {
        let guard = Guard::new("0.0.0.0:80".parse().expect("an address"), Some("Box.example")).expect("a guard");
        for (name, is_it) in
            [("box.example", true), ("box.example:80", true), ("localhost", false), ("127.0.0.1", false)]
        {
            assert_eq!(guard.place(&Method::GET, &headers(&[("host", name)]), false).is_ok(), is_it, "{name}");
        }
    }
}
