//! What a container may reach: rules, and what they come to for a connection, a name, a claim.
//!
//! Pure. Must not know: sockets, clocks, how names were resolved.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address;
use super::rule::{NameMatch, Rule, host_name};

/// The name of the host's loopback inside the container.
pub const HOST_NAME: &str = "host.containers.internal";

/// The address that [`HOST_NAME`] has inside the container; a connection to it goes to the host's `127.0.0.1`.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 1);

/// Characters of a name that only a glob allows, beyond which it is taken for data and not for a name.
const GLOB_NAME: usize = 100;

/// The same for each label.
const GLOB_LABEL: usize = 50;

/// How strict the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything is recorded. Names of any type are resolved, and what a client says of where it goes is noted.
    Audit,
    /// What was allowed by name must also be what the client asks for, and only a few types of names are resolved.
    Filter,
}

/// What is done with a connection or a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes through.
    Allow,
    /// It does not.
    Deny,
}

/// What a container may reach. A rule that denies goes before one that allows, and that before the default.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How strict it is.
    pub mode: Mode,
    /// What is done where no rule says anything.
    pub default: Action,
    /// What is allowed.
    pub allow: Vec<Rule>,
    /// What is not, whatever is allowed.
    pub deny: Vec<Rule>,
    /// The DNS servers that are asked; none: those of the host's `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
}

/// What the rules say of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes through.
    pub action: Action,
    /// The rule that says so, or `default`, or `address` for one that is refused for what it is.
    pub rule: String,
    /// The name it rests on: the one the rule is about, else the one that was resolved last to this address.
    pub host: Option<String>,
    /// Whether it is allowed by a rule about a name.
    pub by_name: bool,
}

/// What the rules say of a name that is to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameDecision {
    pub(crate) action: Action,
    pub(crate) rule: String,
    /// Whether a rule names exactly this host.
    pub(crate) exact: bool,
}

/// How what a client says of where it goes is held against the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Not at all: its bytes go on at once.
    Open,
    /// Names that are denied cut the connection; what cannot be read goes on.
    Denied,
    /// Only names that are allowed go on, and what cannot be read does not.
    Allowed,
}

impl Policy {
    /// Records everything and allows everything.
    #[must_use]
    pub fn audit() -> Self {
        Self { mode: Mode::Audit, default: Action::Allow, allow: Vec::new(), deny: Vec::new(), resolvers: Vec::new() }
    }

    /// Allows what `allow` says and nothing else.
    #[must_use]
    pub fn filter(allow: Vec<Rule>) -> Self {
        Self { mode: Mode::Filter, default: Action::Deny, allow, deny: Vec::new(), resolvers: Vec::new() }
    }

    /// What is done with a connection to `to`, an address that was resolved for `names` (the newest first) and, where
    /// `own` says so, is one of the host's.
    #[must_use]
    pub fn decide(&self, to: SocketAddr, names: &[String], own: impl Fn(IpAddr) -> bool) -> Decision {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let is_host = address == IpAddr::V4(HOST_ADDRESS);
        let host = [HOST_NAME.to_owned()];
        let names = if is_host { &host } else { names };
        let newest = || names.first().cloned();
        for rule in self.deny.iter().filter(|rule| rule.covers(port)) {
            if let Some(name) = names.iter().find(|name| rule.matches_name(name).is_some()) {
                return decision(Action::Deny, rule.to_string(), Some(name.clone()), false);
            }
            if rule.matches_any_form(address) {
                return decision(Action::Deny, rule.to_string(), newest(), false);
            }
        }
        let allow = || self.allow.iter().filter(|rule| rule.covers(port));
        if is_host {
            let rule = allow().find(|rule| rule.matches_name(HOST_NAME) == Some(NameMatch::Exact));
            return match rule {
                Some(rule) => decision(Action::Allow, rule.to_string(), newest(), true),
                None => decision(Action::Deny, "address".into(), newest(), false),
            };
        }
        if address::is_refused(address, own) {
            return match allow().find(|rule| rule.opens(address)) {
                Some(rule) => decision(Action::Allow, rule.to_string(), newest(), false),
                None => decision(Action::Deny, "address".into(), newest(), false),
            };
        }
        for rule in allow() {
            if rule.matches_address(address) {
                return decision(Action::Allow, rule.to_string(), newest(), false);
            }
            if let Some(name) = names.iter().find(|name| rule.matches_name(name).is_some()) {
                return decision(Action::Allow, rule.to_string(), Some(name.clone()), true);
            }
        }
        decision(self.default, "default".into(), newest(), false)
    }

    /// Whether a client may be told that a name has this address.
    pub(crate) fn may_be_told(&self, address: IpAddr, own: impl Fn(IpAddr) -> bool) -> bool {
        let address = address.to_canonical();
        !address::is_refused(address, own) || self.allow.iter().any(|rule| rule.opens(address))
    }

    /// The rule that refuses every question about `name`.
    pub(crate) fn denies_name(&self, name: &str) -> Option<&Rule> {
        self.deny.iter().find(|rule| rule.port().is_none() && rule.matches_name(name).is_some())
    }

    /// What is done with a question about `name`, which is in lower case and has no dot at its end. A rule about one
    /// port denies no question, and allows it: which port comes next is not known.
    pub(crate) fn decide_name(&self, name: &str) -> NameDecision {
        if let Some(rule) = self.denies_name(name) {
            return NameDecision { action: Action::Deny, rule: rule.to_string(), exact: false };
        }
        let matching = |kind| self.allow.iter().find(move |rule| rule.matches_name(name) == Some(kind));
        if let Some(rule) = matching(NameMatch::Exact) {
            return NameDecision { action: Action::Allow, rule: rule.to_string(), exact: true };
        }
        if let Some(rule) = matching(NameMatch::Glob) {
            let long = name.len() > GLOB_NAME || name.split('.').any(|label| label.len() > GLOB_LABEL);
            return match self.mode == Mode::Filter && long {
                true => NameDecision { action: Action::Deny, rule: "long name".into(), exact: false },
                false => NameDecision { action: Action::Allow, rule: rule.to_string(), exact: false },
            };
        }
        NameDecision { action: self.default, rule: "default".into(), exact: false }
    }

    /// How the first bytes of a connection that `decision` lets through are looked at.
    pub(crate) fn gate(&self, decision: &Decision) -> Gate {
        match self.mode {
            Mode::Filter if decision.by_name => Gate::Allowed,
            _ if self.deny.iter().any(Rule::is_host) => Gate::Denied,
            _ => Gate::Open,
        }
    }

    /// Whether a client may say that it goes to `claim` (in lower case) on a connection to `to` that `decision` let
    /// through.
    pub(crate) fn claim_stands(&self, decision: &Decision, claim: &str, to: SocketAddr) -> bool {
        let gate = self.gate(decision);
        let denied = || {
            self.deny.iter().any(|rule| rule.covers(to.port()) && rule.matches_name(claim).is_some())
                || claim.parse().is_ok_and(|address| self.deny.iter().any(|rule| rule.matches_any_form(address)))
        };
        let allowed = || {
            let name = host_name(claim);
            decision.host.as_deref() == Some(claim)
                || claim.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == to.ip().to_canonical())
                || self.allow.iter().filter(|rule| rule.covers(to.port())).any(|rule| {
                    name.as_deref().is_some_and(|name| rule.matches_name(name).is_some())
                        || claim.parse().is_ok_and(|address| rule.matches_address(address))
                })
        };
        match gate {
            Gate::Open => true,
            Gate::Denied => !denied(),
            Gate::Allowed => !denied() && allowed(),
        }
    }
}

fn decision(action: Action, rule: String, host: Option<String>, by_name: bool) -> Decision {
    Decision { action, rule, host, by_name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn filter(allow: &[&str], deny: &[&str]) -> Policy {
        Policy { deny: rules(deny), ..Policy::filter(rules(allow)) }
    }

    fn audit(allow: &[&str], deny: &[&str]) -> Policy {
        Policy { allow: rules(allow), deny: rules(deny), ..Policy::audit() }
    }

    /// The action and the rule, in one line, with the name.
    fn told(policy: &Policy, to: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let own = |address: IpAddr| address.to_string() == "192.0.2.2";
        let decision = policy.decide(to.parse().expect(to), &names, own);
        let action = if decision.action == Action::Allow { "allow" } else { "deny" };
        format!("{action} {} {}", decision.rule, decision.host.as_deref().unwrap_or("-"))
    }

    #[test]
    fn denied_then_allowed_then_default() {
        let policy = filter(
            &["example.com", "*.example.org:443", "10.0.0.0/8:80", "both.test"],
            &["both.test:22", "10.9.0.0/16"],
        );
        for (to, names, expected) in [
            ("1.1.1.1:80", &["example.com"][..], "allow example.com example.com"),
            ("1.1.1.1:80", &["other.com", "example.com"], "allow example.com example.com"),
            ("1.1.1.1:80", &["other.com"], "deny default other.com"),
            ("1.1.1.1:80", &[], "deny default -"),
            ("1.1.1.1:443", &["a.example.org"], "allow *.example.org:443 a.example.org"),
            ("1.1.1.1:80", &["a.example.org"], "deny default a.example.org"),
            ("10.1.1.1:80", &[], "allow 10.0.0.0/8:80 -"),
            ("10.1.1.1:81", &[], "deny default -"),
            ("10.9.1.1:80", &[], "deny 10.9.0.0/16 -"),
            ("[64:ff9b::10.9.1.1]:80", &["example.com"], "deny 10.9.0.0/16 example.com"),
            ("1.1.1.1:22", &["both.test"], "deny both.test:22 both.test"),
            ("1.1.1.1:23", &["both.test"], "allow both.test both.test"),
            ("1.1.1.1:22", &["example.com", "both.test"], "deny both.test:22 both.test"),
        ] {
            assert_eq!(told(&policy, to, names), expected, "{to} {names:?}");
        }
        let policy = audit(&[], &["*.evil.test", "203.0.113.0/24"]);
        assert_eq!(told(&policy, "1.1.1.1:80", &[]), "allow default -");
        assert_eq!(told(&policy, "1.1.1.1:80", &["a.test"]), "allow default a.test");
        assert_eq!(told(&policy, "1.1.1.1:80", &["x.evil.test"]), "deny *.evil.test x.evil.test");
        assert_eq!(told(&policy, "203.0.113.9:80", &[]), "deny 203.0.113.0/24 -");
    }

    #[test]
    fn special_addresses_need_a_rule_that_means_them() {
        let all = ["*", "0.0.0.0/0", "::/0", "rebind.test"];
        for to in
            ["127.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "192.0.2.2:80", "0.0.0.0:80"]
        {
            for policy in [filter(&all, &[]), audit(&all, &[])] {
                assert_eq!(told(&policy, to, &["rebind.test"]), "deny address rebind.test", "{to}");
            }
        }
        let policy = filter(&["127.0.0.2:80", "169.254.0.0/16", "192.0.2.2"], &[]);
        assert_eq!(told(&policy, "127.0.0.2:80", &[]), "allow 127.0.0.2:80 -");
        assert_eq!(told(&policy, "127.0.0.2:81", &[]), "deny address -");
        assert_eq!(told(&policy, "169.254.169.254:80", &[]), "allow 169.254.0.0/16 -");
        assert_eq!(told(&policy, "192.0.2.2:80", &[]), "allow 192.0.2.2 -");
        assert_eq!(told(&filter(&["192.0.2.0/24"], &[]), "192.0.2.2:80", &[]), "deny address -");
    }

    #[test]
    fn the_host_is_reached_by_its_name_alone() {
        let to = "169.254.77.1:5432";
        for allow in
            [&["*"][..], &["*.containers.internal"], &["169.254.77.1"], &["169.254.0.0/16"], &["0.0.0.0/0"], &[]]
        {
            for policy in [filter(allow, &[]), audit(allow, &[])] {
                assert_eq!(told(&policy, to, &["x.test"]), "deny address host.containers.internal", "{allow:?}");
            }
        }
        let policy = filter(&["host.containers.internal:5432"], &[]);
        assert_eq!(told(&policy, to, &[]), "allow host.containers.internal:5432 host.containers.internal");
        assert_eq!(told(&policy, "169.254.77.1:22", &[]), "deny address host.containers.internal");
        let policy = filter(&["host.containers.internal"], &["*.internal:22"]);
        assert_eq!(told(&policy, to, &[]), "allow host.containers.internal host.containers.internal");
        assert_eq!(told(&policy, "169.254.77.1:22", &[]), "deny *.internal:22 host.containers.internal");
    }

    #[test]
    fn questions() {
        let label = "a".repeat(51);
        let long = ["abcdefghi."; 10].concat() + "example.org";
        let policy = filter(&["example.com:443", "*.example.org", "bad.test"], &["bad.test", "ssh.example.org:22"]);
        for (name, expected) in [
            ("example.com", "allow example.com:443 exact"),
            ("a.example.org", "allow *.example.org"),
            ("ssh.example.org", "allow *.example.org"),
            ("bad.test", "deny bad.test"),
            ("other.com", "deny default"),
            (&format!("{label}.example.org"), "deny long name"),
            (&long, "deny long name"),
        ] {
            let NameDecision { action, rule, exact } = policy.decide_name(name);
            let action = if action == Action::Allow { "allow" } else { "deny" };
            assert_eq!(format!("{action} {rule}{}", if exact { " exact" } else { "" }), expected, "{name}");
        }
        assert_eq!(audit(&["*.example.org"], &[]).decide_name(&long).action, Action::Allow);
        let exact = format!("{label}.example.org");
        assert_eq!(filter(&[&exact], &[]).decide_name(&exact).action, Action::Allow, "it was written down");
    }

    #[test]
    fn claims() {
        let to: SocketAddr = "1.1.1.1:443".parse().expect("an address");
        let decide = |policy: &Policy| policy.decide(to, &["a.test".into()], |_| false);
        let policy = filter(&["a.test", "b.test:443", "c.test:80", "198.51.100.0/24"], &["bad.a.test"]);
        let decision = decide(&policy);
        assert_eq!(policy.gate(&decision), Gate::Allowed);
        for (claim, stands) in [
            ("a.test", true),
            ("b.test", true),
            ("c.test", false),
            ("bad.a.test", false),
            ("evil.test", false),
            ("1.1.1.1", true),
            ("1.1.1.2", false),
            ("198.51.100.1", true),
            ("", false),
            ("a.test.evil", false),
        ] {
            assert_eq!(policy.claim_stands(&decision, claim, to), stands, "{claim}");
        }
        let policy = filter(&["1.1.1.1"], &[]);
        assert_eq!(policy.gate(&decide(&policy)), Gate::Open, "an address is allowed whatever is said there");
        let policy = audit(&[], &["evil.test"]);
        assert_eq!(policy.gate(&decide(&policy)), Gate::Denied);
        assert!(
            !policy.claim_stands(&decide(&policy), "evil.test", to) && policy.claim_stands(&decide(&policy), "x", to)
        );
        assert_eq!(audit(&[], &["10.0.0.0/8"]).gate(&decide(&audit(&[], &[]))), Gate::Open);
    }
}
