//! One rule of a policy: who is meant, as the user writes it.
//!
//! Must not know: sockets, DNS, what is decided with it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::{self, Net};

/// One rule: a host (`example.com`), all hosts under a name (`*.example.com`, which is not `example.com` itself), any
/// host that was resolved (`*`), an address or a network (`192.0.2.0/24`); each with a port or without
/// (`example.com:443`, `[2001:db8::/32]:443`).
///
/// Parsed from text and printed the same way, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Host(String),
    /// All names that end in this, which begins with a dot.
    Under(String),
    AnyHost,
    Net(Net),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no network rule: {why}; write HOST, *.HOST, ADDRESS or NETWORK/LENGTH, each with :PORT or without"
)]
pub struct RuleError {
    text: String,
    why: &'static str,
}

/// How a rule matches a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameMatch {
    /// It names exactly that host.
    Exact,
    /// It names a whole domain, or any host.
    Glob,
}

impl Rule {
    /// Whether it is about `port`.
    pub(crate) fn covers(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    /// The one port it is about, if it is not about all.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is about names, and not addresses.
    pub(crate) fn is_host(&self) -> bool {
        !matches!(self.target, Target::Net(_))
    }

    /// How it matches `name`, which is in lower case and has no dot at the end.
    pub(crate) fn matches_name(&self, name: &str) -> Option<NameMatch> {
        match &self.target {
            Target::Host(host) => (host == name).then_some(NameMatch::Exact),
            Target::Under(end) => (name.len() > end.len() && name.ends_with(end)).then_some(NameMatch::Glob),
            Target::AnyHost => Some(NameMatch::Glob),
            Target::Net(_) => None,
        }
    }

    /// Whether `address` is in its network.
    pub(crate) fn matches_address(&self, address: IpAddr) -> bool {
        matches!(&self.target, Target::Net(net) if net.contains(address))
    }

    /// The same for rules that deny: also what a translator would make of the address counts.
    pub(crate) fn matches_any_form(&self, address: IpAddr) -> bool {
        self.matches_address(address) || address::embedded(address).is_some_and(|inner| self.matches_address(inner))
    }

    /// Whether it opens an address that is refused without it: it is about that one address, or a network of nothing but
    /// refused ones. `0.0.0.0/0` does not open the host.
    pub(crate) fn opens(&self, address: IpAddr) -> bool {
        matches!(&self.target, Target::Net(net) if net.contains(address) && (net.is_one() || net.is_refused()))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match &self.target {
            Target::Host(host) => host.clone(),
            Target::Under(end) => format!("*{end}"),
            Target::AnyHost => "*".to_owned(),
            Target::Net(net) => net.to_string(),
        };
        match self.port {
            None => f.write_str(&target),
            Some(port) if target.contains(':') => write!(f, "[{target}]:{port}"),
            Some(port) => write!(f, "{target}:{port}"),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        parse(text.trim()).map_err(|why| RuleError { text: text.chars().take(300).collect(), why })
    }
}

fn parse(text: &str) -> Result<Rule, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (target, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']').ok_or("the ] is missing")? {
            (inner, "") => (inner, None),
            (inner, after) => (inner, Some(after.strip_prefix(':').ok_or("after ] comes :PORT or nothing")?)),
        },
        // More than one colon: an IPv6 address, which can have no port without brackets.
        None => match text.split_once(':') {
            Some((target, port)) if !port.contains(':') => (target, Some(port)),
            _ => (text, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err("the port is a number from 1 to 65535"),
    };
    Ok(Rule { target: parse_target(target)?, port })
}

fn parse_target(text: &str) -> Result<Target, &'static str> {
    if text == "*" {
        return Ok(Target::AnyHost);
    }
    if let Some((address, bits)) = text.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| "before the / comes an address")?;
        let bits = bits.parse().map_err(|_| "after the / comes a number of bits")?;
        let net = Net::new(address, bits).ok_or("that is more bits than the address has")?;
        return Ok(Target::Net(net));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Target::Net(Net::one(address.to_canonical())));
    }
    if text.contains(':') {
        return Err("that is no IPv6 address");
    }
    let (under, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    if name.contains('*') {
        return Err("a * stands alone or before the first dot");
    }
    let name = host_name(name).ok_or("that is no host name")?;
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("that is neither a host name nor a whole address");
    }
    Ok(if under { Target::Under(format!(".{name}")) } else { Target::Host(name) })
}

/// A host name in lower case without the dot at its end; `None` when it is none. Only letters, digits, `-` and `_`
/// count: with anything else a name could look like another one.
pub(crate) fn host_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (text.len() <= 253 && text.split('.').all(fits)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().expect(text)
    }

    #[test]
    fn printed_as_written() {
        let same = [
            "example.com",
            "example.com:443",
            "*.example.com",
            "*.example.com:80",
            "*",
            "*:443",
            "192.0.2.1",
            "192.0.2.1:22",
            "192.0.2.0/24",
            "192.0.2.0/24:80",
            "2001:db8::1",
            "2001:db8::/32",
            "[2001:db8::1]:443",
            "[2001:db8::/32]:443",
            "localhost",
            "a_b.example",
        ];
        for text in same {
            assert_eq!(rule(text).to_string(), text);
        }
        for (text, printed) in [
            ("Example.COM.", "example.com"),
            (" example.com ", "example.com"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[example.com]:80", "example.com:80"),
        ] {
            assert_eq!(rule(text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "it is empty"),
            ("example.com:", "the port is a number from 1 to 65535"),
            ("example.com:0", "the port is a number from 1 to 65535"),
            ("example.com:65536", "the port is a number from 1 to 65535"),
            ("example.com:http", "the port is a number from 1 to 65535"),
            ("[::1", "the ] is missing"),
            ("[::1]x", "after ] comes :PORT or nothing"),
            ("a*.example.com", "a * stands alone or before the first dot"),
            ("*.*.com", "a * stands alone or before the first dot"),
            ("10.0.0.0/33", "that is more bits than the address has"),
            ("10.0.0.0/x", "after the / comes a number of bits"),
            ("example.com/8", "before the / comes an address"),
            ("300.1.2.3", "that is neither a host name nor a whole address"),
            ("1.2.3", "that is neither a host name nor a whole address"),
            ("::g", "that is no IPv6 address"),
            ("http://example.com", "that is no IPv6 address"),
            ("a b", "that is no host name"),
            ("a..b", "that is no host name"),
            ("*.", "that is no host name"),
        ] {
            let error = text.parse::<Rule>().expect_err(text);
            let said = if text == "http://example.com" { "the port is a number from 1 to 65535" } else { why };
            assert_eq!(error.why, said, "{text}");
            assert!(error.to_string().contains("write HOST"), "{error}");
        }
    }

    #[test]
    fn names() {
        use NameMatch::{Exact, Glob};
        for (text, name, expected) in [
            ("example.com", "example.com", Some(Exact)),
            ("example.com", "a.example.com", None),
            ("*.example.com", "a.example.com", Some(Glob)),
            ("*.example.com", "a.b.example.com", Some(Glob)),
            ("*.example.com", "example.com", None),
            ("*.example.com", "badexample.com", None),
            ("*", "anything", Some(Glob)),
            ("192.0.2.1", "192.0.2.1", None),
        ] {
            assert_eq!(rule(text).matches_name(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(rule("10.0.0.0/8").matches_address(ip("10.1.1.1")));
        assert!(!rule("10.0.0.0/8").matches_address(ip("64:ff9b::10.0.0.1")));
        assert!(rule("10.0.0.0/8").matches_any_form(ip("64:ff9b::10.0.0.1")));
        assert!(!rule("*").matches_address(ip("10.1.1.1")));
        assert!(rule("127.0.0.2").opens(ip("127.0.0.2")) && rule("127.0.0.0/8").opens(ip("127.0.0.2")));
        assert!(!rule("127.0.0.2").opens(ip("127.0.0.3")) && !rule("0.0.0.0/0").opens(ip("127.0.0.2")));
        assert!(!rule("192.168.0.0/16").opens(ip("192.168.0.1")) && rule("192.168.0.1").opens(ip("192.168.0.1")));
    }
}
