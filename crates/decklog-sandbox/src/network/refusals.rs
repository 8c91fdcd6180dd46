//! Refusals: each has a record, until there are so many that they are summed up.
//!
//! Pure. Must not know: files, clocks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::record::Record;

/// Refusals of a container that have a record each.
const EACH: u64 = 4096;

/// Sums that are kept at the same time. There are as many as rules refuse.
const SUMS: usize = 256;

/// Tool calls that are kept of one sum.
const CALLS: usize = 16;

/// Protocol, service, action and rule.
type Key = (&'static str, Option<&'static str>, &'static str, String);

/// The refusals of a container.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: u64,
    sums: HashMap<Key, Record>,
}

impl Refusals {
    /// Takes in a refusal. Gives it back to be recorded by itself, or adds it to a sum.
    pub(super) fn take(&mut self, record: Record) -> Option<Record> {
        self.count += 1;
        if self.count <= EACH {
            return Some(record);
        }
        let mut key = (record.proto, record.service, record.action, record.rule.clone());
        if self.sums.len() >= SUMS && !self.sums.contains_key(&key) {
            key.3 = "other".into();
        }
        match self.sums.get_mut(&key) {
            Some(sum) => add(sum, record),
            None => {
                let rule = key.3.clone();
                self.sums.insert(key, Record { rule, count: Some(1), ..record });
            }
        }
        None
    }

    /// The sums, which are then forgotten.
    pub(super) fn drain(&mut self) -> Vec<Record> {
        self.sums.drain().map(|(_, sum)| sum).collect()
    }
}

/// Adds a refusal to a sum, which keeps what all have in common.
fn add(sum: &mut Record, record: Record) {
    sum.count = sum.count.map(|count| count + 1);
    let until = (sum.ts + sum.duration).max(record.ts + record.duration);
    sum.ts = sum.ts.min(record.ts);
    sum.duration = until - sum.ts;
    sum.orig_bytes = sum.orig_bytes.saturating_add(record.orig_bytes);
    sum.resp_bytes = sum.resp_bytes.saturating_add(record.resp_bytes);
    sum.orig_pkts = sum.orig_pkts.map(|packets| packets.saturating_add(record.orig_pkts.unwrap_or(1)));
    for (ours, theirs) in [(&mut sum.orig_h, record.orig_h), (&mut sum.resp_h, record.resp_h)] {
        if *ours != theirs {
            *ours = if ours.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        }
    }
    for (ours, theirs) in [(&mut sum.orig_p, record.orig_p), (&mut sum.resp_p, record.resp_p)] {
        if *ours != theirs {
            *ours = 0;
        }
    }
    for (ours, theirs) in [
        (&mut sum.query, record.query),
        (&mut sum.qtype_name, record.qtype_name),
        (&mut sum.rcode_name, record.rcode_name),
        (&mut sum.host, record.host),
        (&mut sum.claimed, record.claimed),
    ] {
        if *ours != theirs {
            *ours = None;
        }
    }
    for call in record.calls {
        if sum.calls.len() < CALLS && !sum.calls.contains(&call) {
            sum.calls.push(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn refusal(at: u64, to: &str, host: &str) -> Record {
        let ts = UNIX_EPOCH + Duration::from_secs(at);
        let from = format!("10.200.0.2:{}", 1000 + at % 7);
        Record {
            rule: "default".into(),
            host: Some(host.into()),
            orig_bytes: 10,
            calls: vec![format!("1/{host}")],
            ..Record::new(ts, "tcp", from.parse().expect("an address"), to.parse().expect("an address"))
        }
    }

    #[test]
    fn after_many_they_are_summed_up_by_what_refuses_them() {
        let mut refusals = Refusals::default();
        for number in 0..EACH {
            assert!(refusals.take(refusal(number, "198.51.100.7:80", "a.test")).is_some(), "{number}");
        }
        for number in 0..100_000 {
            let to = if number % 2 == 0 { "198.51.100.7:80" } else { "198.51.100.8:80" };
            assert!(refusals.take(refusal(number, to, "a.test")).is_none());
        }
        let other = Record { rule: "address".into(), ..refusal(7, "127.0.0.1:1", "b.test") };
        assert!(refusals.take(other).is_none());
        let mut sums = refusals.drain();
        sums.sort_by_key(|sum| sum.count);
        let [one, many] = &sums[..] else { panic!("{sums:?}") };
        assert_eq!((one.count, one.resp_p, one.host.as_deref()), (Some(1), 1, Some("b.test")));
        assert_eq!((many.count, many.orig_bytes, many.rule.as_str()), (Some(100_000), 1_000_000, "default"));
        assert_eq!((many.resp_h.to_string(), many.resp_p, many.orig_p), ("0.0.0.0".into(), 80, 0));
        assert_eq!((many.host.as_deref(), &many.calls[..]), (Some("a.test"), &["1/a.test".to_owned()][..]));
        assert_eq!((many.ts, many.duration), (0.0, 99_999.0));
        assert!(refusals.drain().is_empty(), "they are forgotten");
    }

    #[test]
    fn there_are_never_many_sums() {
        let mut refusals = Refusals::default();
        for number in 0..EACH + 10_000 {
            let record = Record { rule: number.to_string(), ..refusal(number, "198.51.100.7:80", "a.test") };
            refusals.take(record);
        }
        let sums = refusals.drain();
        assert!(sums.len() <= SUMS + 1, "{}", sums.len());
        assert_eq!(sums.iter().filter_map(|sum| sum.count).sum::<u64>(), 10_000);
        assert!(sums.iter().any(|sum| sum.rule == "other"));
    }
}
