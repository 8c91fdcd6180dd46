//! What of a name server's answers is passed on to the container, and what it grants.
//!
//! Pure. Must not know: sockets, the policy (it is told what is denied and what is kept).

use std::net::IpAddr;

use hickory_proto::rr::{Name, RData, Record as Answer, RecordType};

use crate::network::grants::LONGEST;

/// How many other names a name may stand for, one after the other.
const CHAIN: usize = 16;

/// What of a server's answers is passed on.
pub(super) struct Sorted {
    pub(super) answers: Vec<Answer>,
    /// The addresses that the name is granted for, and for how many seconds.
    pub(super) grants: Vec<(IpAddr, u32)>,
}

/// Passes on the answers to the question and no others, without addresses that are of no use. `Err`: the rule by which
/// another name is denied that this one stands for.
pub(super) fn sort_out(
    name: &str,
    kind: RecordType,
    answers: Vec<Answer>,
    denies: impl Fn(&str) -> Option<String>,
    keeps: impl Fn(IpAddr) -> bool,
) -> Result<Sorted, String> {
    let (mut kept, mut grants) = (Vec::new(), Vec::new());
    let (mut current, mut ttl) = (name.to_owned(), LONGEST);
    let is_of = |answer: &Answer, name: &str| text(&answer.name).as_deref() == Some(name);
    for _ in 0..CHAIN {
        let next = answers.iter().find_map(|answer| match &answer.data {
            RData::CNAME(target) if is_of(answer, &current) => Some((answer, text(&target.0)?)),
            _ => None,
        });
        let Some((answer, target)) = next else { break };
        if let Some(rule) = denies(&target) {
            return Err(rule);
        }
        ttl = ttl.min(answer.ttl);
        kept.push(answer.clone());
        current = target;
    }
    for answer in answers {
        let address = match &answer.data {
            RData::A(a) => Some(IpAddr::from(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
            _ => None,
        };
        match address {
            Some(address) => {
                if answer.data.record_type() == kind && is_of(&answer, &current) && keeps(address) {
                    grants.push((address, ttl.min(answer.ttl)));
                    kept.push(answer);
                }
            }
            // Of a question about addresses, nothing else is an answer; and aliases are there already.
            None if matches!(kind, RecordType::A | RecordType::AAAA | RecordType::CNAME) => {}
            None if answer.data.record_type() == RecordType::CNAME => {}
            None => kept.push(answer),
        }
    }
    for answer in &mut kept {
        answer.ttl = answer.ttl.min(LONGEST);
    }
    Ok(Sorted { answers: kept, grants })
}

/// A name as rules have it: in lower case, without the dot at its end. `None` for names with characters that no host has:
/// a dot inside a label would make a name look like another one.
pub(super) fn text(name: &Name) -> Option<String> {
    if name.iter().next().is_none() {
        return Some(String::new());
    }
    let mut text = String::new();
    for label in name.iter() {
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        text.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        text.push('.');
    }
    text.pop();
    Some(text)
}

/// What an answer says, as a record has it.
pub(super) fn data_text(data: &RData) -> String {
    match data {
        RData::A(a) => a.0.to_string(),
        RData::AAAA(aaaa) => aaaa.0.to_string(),
        RData::CNAME(name) => name.0.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept and granted of answers written as `NAME TTL DATA`.
    fn sorted(name: &str, kind: RecordType, answers: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let answers = answers.iter().map(|answer| {
            let [name, ttl, data] = answer.split(' ').collect::<Vec<_>>()[..] else { panic!("{answer}") };
            let to_name = |text: &str| Name::from_ascii(format!("{text}.")).expect("a name");
            let data = match data.parse() {
                Ok(IpAddr::V4(address)) => RData::A(address.into()),
                Ok(IpAddr::V6(address)) => RData::AAAA(address.into()),
                Err(_) => RData::CNAME(hickory_proto::rr::rdata::CNAME(to_name(data))),
            };
            Answer::from_rdata(to_name(name), ttl.parse().expect("seconds"), data)
        });
        let denies = |name: &str| name.starts_with("bad").then(|| "bad*".to_owned());
        let keeps = |address: IpAddr| !address.is_loopback();
        let Sorted { answers, grants } = sort_out(name, kind, answers.collect(), denies, keeps)?;
        let answers = answers.iter().map(|answer| {
            format!("{} {} {}", text(&answer.name).unwrap_or_default(), answer.ttl, data_text(&answer.data))
        });
        Ok((answers.collect(), grants.iter().map(|(address, ttl)| format!("{address} {ttl}")).collect()))
    }

    #[test]
    fn only_what_answers_the_question_is_passed_on_and_granted() {
        use RecordType::{A, AAAA, CNAME, TXT};
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (kind, answers, kept, grants) in [
            (A, &["a.test 60 192.0.2.1"][..], &["a.test 60 192.0.2.1"][..], &["192.0.2.1 60"][..]),
            (A, &["a.test 9999 192.0.2.1"], &["a.test 3600 192.0.2.1"], &["192.0.2.1 3600"]),
            (A, &["other.test 60 192.0.2.1"], &[], &[]),
            (A, &["a.test 60 2001:db8::1", "a.test 60 127.0.0.1"], &[], &[]),
            (AAAA, &["a.test 60 2001:db8::1", "a.test 60 192.0.2.1"], &["a.test 60 2001:db8::1"], &["2001:db8::1 60"]),
            (
                A,
                &[
                    "c.test 60 192.0.2.1",
                    "b.test 50 c.test",
                    "a.test 40 b.test",
                    "a.test 60 192.0.2.9",
                    "x.test 1 y.test",
                ],
                &["a.test 40 b.test", "b.test 50 c.test", "c.test 60 192.0.2.1"],
                &["192.0.2.1 40"],
            ),
            (CNAME, &["a.test 40 b.test", "b.test 60 192.0.2.1"], &["a.test 40 b.test"], &[]),
            (TXT, &["a.test 60 192.0.2.1"], &[], &[]),
        ] {
            assert_eq!(sorted("a.test", kind, answers), Ok((own(kept), own(grants))), "{answers:?}");
        }
        assert_eq!(sorted("a.test", A, &["a.test 60 bad.test"]), Err("bad*".to_owned()));
        let (kept, grants) = sorted("a.test", A, &["a.test 60 b.test", "b.test 60 a.test"]).expect("an answer");
        assert_eq!((kept.len(), grants.len()), (CHAIN, 0), "a circle comes to an end");
    }

    #[test]
    fn names_that_look_like_others_are_none() {
        let name = |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).expect("a name");
        assert_eq!(text(&name(&[b"WWW", b"Example", b"com"])).as_deref(), Some("www.example.com"));
        assert_eq!(text(&name(&[b"_dns", b"a-b"])).as_deref(), Some("_dns.a-b"));
        assert_eq!(text(&name(&[b"evil.glob", b"test"])), None, "a dot inside a label");
        assert_eq!(text(&name(&[b"a\0b"])), None);
        assert_eq!(text(&Name::root()).as_deref(), Some(""));
    }
}
