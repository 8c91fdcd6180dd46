//! Which names an address was resolved for, and until when.
//!
//! Must not know: rules, DNS messages, the clock (it is told what time it is).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The longest a name is good for, in seconds. Clients are told no more either.
pub(crate) const LONGEST: u32 = 3600;

/// How much longer a name is good for than its records say: a client connects after it was answered.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Addresses that are kept at most.
const ADDRESSES: usize = 4096;

/// Names that are kept of one address at most.
const NAMES: usize = 16;

/// The names that addresses were resolved for.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    names: HashMap<IpAddr, Vec<(String, Instant)>>,
}

impl Grants {
    /// `name` was resolved to `address`, for `ttl` seconds from `now`.
    pub(crate) fn grant(&mut self, address: IpAddr, name: &str, ttl: u32, now: Instant) {
        let address = address.to_canonical();
        let until = now + Duration::from_secs(ttl.min(LONGEST).into()) + GRACE;
        if self.names.len() >= ADDRESSES && !self.names.contains_key(&address) {
            self.make_room(now);
        }
        let names = self.names.entry(address).or_default();
        let before = names.iter().position(|(known, _)| known == name).map(|at| names.remove(at).1);
        // An answer that came earlier may have promised more.
        names.insert(0, (name.to_owned(), before.map_or(until, |before| before.max(until))));
        names.truncate(NAMES);
    }

    /// The names of `address` that are good `now`; the one that was resolved last is first.
    pub(crate) fn names(&self, address: IpAddr, now: Instant) -> Vec<String> {
        let names = self.names.get(&address.to_canonical()).map_or(&[][..], Vec::as_slice);
        names.iter().filter(|(_, until)| *until > now).map(|(name, _)| name.clone()).collect()
    }

    /// Forgets what is over; and if all is good, the address that is over first.
    fn make_room(&mut self, now: Instant) {
        let last = |names: &[(String, Instant)]| names.iter().map(|(_, until)| *until).max();
        self.names.retain(|_, names| last(names).is_some_and(|until| until > now));
        if self.names.len() >= ADDRESSES
            && let Some(address) = self.names.iter().min_by_key(|(_, names)| last(names)).map(|(address, _)| *address)
        {
            self.names.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_name_is_good_for_its_time() {
        let (mut grants, now) = (Grants::default(), Instant::now());
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        grants.grant(ip(1), "a.test", 60, now);
        assert_eq!(grants.names(ip(1), now), ["a.test"]);
        assert_eq!(grants.names(ip(1), after(64)), ["a.test"]);
        assert!(grants.names(ip(1), after(65)).is_empty() && grants.names(ip(2), now).is_empty());
        grants.grant(ip(2), "zero.test", 0, now);
        assert_eq!(grants.names(ip(2), after(4)), ["zero.test"], "there is time to connect");
        assert!(grants.names(ip(2), after(5)).is_empty());
        grants.grant(ip(3), "long.test", u32::MAX, now);
        assert!(grants.names(ip(3), after(3606)).is_empty(), "an hour at most");
        grants.grant("::ffff:0.0.0.4".parse().expect("an address"), "mapped.test", 9, now);
        assert_eq!(grants.names(ip(4), now), ["mapped.test"]);
    }

    #[test]
    fn the_newest_is_first_and_nothing_gets_shorter() {
        let (mut grants, now) = (Grants::default(), Instant::now());
        grants.grant(ip(1), "a.test", 60, now);
        grants.grant(ip(1), "b.test", 60, now);
        assert_eq!(grants.names(ip(1), now), ["b.test", "a.test"]);
        grants.grant(ip(1), "a.test", 1, now);
        assert_eq!(grants.names(ip(1), now + Duration::from_secs(30)), ["a.test", "b.test"]);
    }

    #[test]
    fn it_is_bounded() {
        let (mut grants, now) = (Grants::default(), Instant::now());
        for number in 0..NAMES as u32 + 5 {
            grants.grant(ip(0), &format!("{number}.test"), 60, now);
        }
        assert_eq!(grants.names(ip(0), now).len(), NAMES);
        for number in 0..ADDRESSES as u32 + 10 {
            grants.grant(ip(number), "x.test", 60 + number % 7, now);
        }
        assert_eq!(grants.names.len(), ADDRESSES);
        assert_eq!(grants.names(ip(ADDRESSES as u32 + 9), now), ["x.test"], "the newest has its place");
        grants.grant(ip(u32::MAX), "y.test", 60, now + Duration::from_secs(1000));
        assert_eq!(grants.names.len(), 1, "what is over goes first");
    }
}
