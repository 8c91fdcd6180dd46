//! The container's name server: which questions are answered, asked elsewhere, or refused, and what the answers grant.
//!
//! Nothing of what a client sends goes on but the name and the type it asks for, in a question of our own.
//!
//! Must not know: who sends the bytes on (UDP and TCP look alike here).

mod answers;
pub(super) mod upstream;

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record as Answer, RecordType};

use super::policy::{Action, HOST_ADDRESS, HOST_NAME, Mode, Policy};
use super::record::{Record, seconds};
use super::shared::{Kind, Shared};
use answers::{Sorted, data_text, sort_out, text};

/// The longest answer over UDP, whatever the client says it can take.
const UDP_ANSWER: usize = 4096;

/// What is done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is asked elsewhere.
    Ask,
    /// There is nothing of this type, without asking.
    Nothing,
    /// It is the host.
    Host,
    /// It is refused.
    Refuse,
}

/// What comes of a question.
struct Outcome {
    action: &'static str,
    rule: String,
    code: ResponseCode,
    answers: Vec<Answer>,
}

impl Outcome {
    fn denied(rule: impl Into<String>, code: ResponseCode) -> Self {
        Self { action: "deny", rule: rule.into(), code, answers: Vec::new() }
    }
}

/// Who asks: both ends, over which protocol, on which connection.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) proto: &'static str,
    /// The connection's name, where there is one.
    pub(super) uid: Option<String>,
}

/// Answers a question, and records it; without waiting for a server any longer when it is over. `None`: what was sent
/// deserves no answer.
pub(super) async fn answer(
    shared: &Shared,
    asked: &Asked,
    question: &[u8],
    over: impl Future<Output = ()>,
) -> Option<Vec<u8>> {
    let (ts, began, calls) = (SystemTime::now(), Instant::now(), shared.calls());
    let decoded =
        Message::from_vec(question).ok().filter(|message| message.metadata.message_type == MessageType::Query);
    let query = decoded.as_ref().and_then(|message| match &message.queries[..] {
        [query] => Some(query),
        _ => None,
    });
    let opcode = decoded.as_ref().map_or(OpCode::Query, |message| message.metadata.op_code);
    let name = query.and_then(|query| text(&query.name));
    let mut record = Record::new(ts, asked.proto, asked.from, asked.to);
    if let Some(uid) = &asked.uid {
        record.uid.clone_from(uid);
    }
    record.service = Some("dns");
    record.orig_bytes = question.len() as u64;
    record.query = query.map(|query| name.clone().unwrap_or_else(|| query.name.to_ascii()));
    record.qtype_name = query.map(|query| query.query_type.to_string());
    record.host.clone_from(&name);
    record.calls = calls;
    let outcome = match (query, &name) {
        (None, _) => Outcome::denied("malformed", ResponseCode::FormErr),
        _ if opcode != OpCode::Query => Outcome::denied("type", ResponseCode::NotImp),
        (Some(query), _) if query.query_class != DNSClass::IN => Outcome::denied("type", ResponseCode::Refused),
        (Some(_), None) => Outcome::denied("malformed", ResponseCode::Refused),
        (Some(query), Some(name)) => tokio::select! {
            outcome = outcome(shared, query, name, &record) => outcome,
            () = over => Outcome::denied("over", ResponseCode::ServFail),
        },
    };
    let reply = reply(question, decoded.as_ref(), query, &outcome, asked.proto == "udp");
    record.duration = seconds(began.elapsed());
    record.resp_bytes = reply.as_ref().map_or(0, |reply| reply.len() as u64);
    record.conn_state = if reply.is_some() { "SF" } else { "S0" };
    record.rcode_name = Some(code_name(outcome.code));
    record.answers = (!outcome.answers.is_empty())
        .then(|| outcome.answers.iter().take(64).map(|answer| data_text(&answer.data)).collect());
    record.action = outcome.action;
    record.rule = outcome.rule;
    shared.record(Kind::Question, record);
    reply
}

/// What is done with a question of this type about this name, and the rule that says so.
fn judge(policy: &Policy, name: &str, kind: RecordType) -> (Verdict, String) {
    let decision = policy.decide_name(name);
    let filter = policy.mode == Mode::Filter;
    let verdict = match kind {
        _ if policy.denies_name(name).is_some() => Verdict::Refuse,
        _ if name == HOST_NAME => return (Verdict::Host, HOST_NAME.to_owned()),
        // Who an address belongs to is asked out of habit; that is answered without asking anybody.
        RecordType::PTR if filter => return (Verdict::Nothing, "type".into()),
        _ if decision.action == Action::Deny => Verdict::Refuse,
        RecordType::A | RecordType::AAAA | RecordType::CNAME => Verdict::Ask,
        // These name addresses, and keys that hide where a client goes.
        RecordType::HTTPS | RecordType::SVCB if filter => Verdict::Nothing,
        RecordType::MX | RecordType::TXT | RecordType::SRV if decision.exact => Verdict::Ask,
        _ if filter => return (Verdict::Refuse, "type".into()),
        _ => Verdict::Ask,
    };
    (verdict, decision.rule)
}

/// What comes of a question. `record` is what it has so far: what is asked elsewhere is recorded first.
async fn outcome(shared: &Shared, query: &Query, name: &str, record: &Record) -> Outcome {
    let (verdict, rule) = judge(&shared.policy, name, query.query_type);
    if verdict == Verdict::Ask {
        let record = Record { action: "allow", rule: rule.clone(), ..record.clone() };
        if let Err(rule) = shared.open(&record) {
            return Outcome::denied(rule, ResponseCode::ServFail);
        }
    }
    let allowed = |code, answers| Outcome { action: "allow", rule: rule.clone(), code, answers };
    match verdict {
        Verdict::Refuse => Outcome::denied(rule, ResponseCode::Refused),
        Verdict::Nothing => allowed(ResponseCode::NoError, Vec::new()),
        Verdict::Host if query.query_type == RecordType::A => {
            let data = RData::A(HOST_ADDRESS.into());
            allowed(ResponseCode::NoError, vec![Answer::from_rdata(query.name.clone(), 60, data)])
        }
        Verdict::Host => allowed(ResponseCode::NoError, Vec::new()),
        Verdict::Ask => match upstream::ask(&shared.resolvers, &query.name.to_lowercase(), query.query_type).await {
            Ok(message) => {
                let denies = |target: &str| shared.policy.denies_name(target).map(ToString::to_string);
                let keeps = |address| shared.is_of_use(address);
                match sort_out(name, query.query_type, message.answers, denies, keeps) {
                    Ok(Sorted { answers, grants }) => {
                        for (address, ttl) in grants {
                            shared.grant(address, name, ttl);
                        }
                        allowed(message.metadata.response_code, answers)
                    }
                    Err(rule) => Outcome::denied(rule, ResponseCode::Refused),
                }
            }
            Err(error) => {
                shared.trouble(&error.to_string());
                if error.is_local() {
                    return Outcome::denied("limit", ResponseCode::ServFail);
                }
                allowed(ResponseCode::ServFail, Vec::new())
            }
        },
    }
}

/// The bytes of the answer.
fn reply(
    question: &[u8],
    decoded: Option<&Message>,
    query: Option<&Query>,
    outcome: &Outcome,
    udp: bool,
) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes(question.get(..2)?.try_into().ok()?);
    let is_question = question.len() >= 12 && question[2] & 0x80 == 0;
    if !is_question {
        return None;
    }
    let opcode = decoded.map_or(OpCode::Query, |message| message.metadata.op_code);
    let mut message = Message::response(id, opcode);
    message.metadata.recursion_desired = decoded.is_some_and(|message| message.metadata.recursion_desired);
    message.metadata.recursion_available = true;
    message.metadata.response_code = outcome.code;
    if let Some(query) = query {
        message.add_query(query.clone());
    }
    message.answers.clone_from(&outcome.answers);
    let mut limit = if udp { 512 } else { usize::from(u16::MAX) };
    if let Some(edns) = decoded.and_then(|message| message.edns.as_ref()) {
        if udp {
            limit = usize::from(edns.max_payload()).clamp(512, UDP_ANSWER);
        }
        let mut own = Edns::new();
        own.set_max_payload(1232);
        message.set_edns(own);
    }
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    message.answers.clear();
    message.metadata.truncation = true;
    message.to_vec().ok()
}

/// The name of a response code in Zeek's dns.log.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_in_both_modes() {
        use RecordType as T;
        use Verdict::{Ask, Host, Nothing, Refuse};
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().expect(text)).collect();
        let filter = Policy::filter(rules(&["exact.test", "*.glob.test"]));
        let audit = Policy { deny: rules(&["bad.test"]), ..Policy::audit() };
        for (policy, name, kind, expected) in [
            (&filter, "exact.test", T::A, Ask),
            (&filter, "exact.test", T::AAAA, Ask),
            (&filter, "exact.test", T::CNAME, Ask),
            (&filter, "exact.test", T::TXT, Ask),
            (&filter, "exact.test", T::MX, Ask),
            (&filter, "exact.test", T::SRV, Ask),
            (&filter, "exact.test", T::HTTPS, Nothing),
            (&filter, "exact.test", T::SVCB, Nothing),
            (&filter, "exact.test", T::NULL, Refuse),
            (&filter, "exact.test", T::ANY, Refuse),
            (&filter, "exact.test", T::NS, Refuse),
            (&filter, "exact.test", T::Unknown(65280), Refuse),
            (&filter, "a.glob.test", T::A, Ask),
            (&filter, "a.glob.test", T::TXT, Refuse),
            (&filter, "a.glob.test", T::HTTPS, Nothing),
            (&filter, "other.test", T::A, Refuse),
            (&filter, "other.test", T::HTTPS, Refuse),
            (&filter, "7.100.51.198.in-addr.arpa", T::PTR, Nothing),
            (&filter, HOST_NAME, T::A, Host),
            (&audit, "any.test", T::TXT, Ask),
            (&audit, "any.test", T::Unknown(65280), Ask),
            (&audit, "bad.test", T::A, Refuse),
            (&audit, "bad.test", T::TXT, Refuse),
            (&audit, HOST_NAME, T::AAAA, Host),
        ] {
            assert_eq!(judge(policy, name, kind).0, expected, "{name} {kind}");
        }
    }
}
