//! One line of the network's record, in the manner of Zeek's conn.log.
//!
//! Must not know: sockets, rules.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Characters that are kept of what a stranger said.
const VALUE: usize = 256;

/// Answers that are kept of one question.
const ANSWERS: usize = 64;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One connection, question, or row of packets that were dropped. Keys are as in Zeek's conn.log and dns.log; those that
/// begin with `decklog.` are ours.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Record {
    pub(crate) ts: f64,
    pub(crate) uid: String,
    #[serde(rename = "id.orig_h")]
    pub(crate) orig_h: IpAddr,
    #[serde(rename = "id.orig_p")]
    pub(crate) orig_p: u16,
    #[serde(rename = "id.resp_h")]
    pub(crate) resp_h: IpAddr,
    #[serde(rename = "id.resp_p")]
    pub(crate) resp_p: u16,
    pub(crate) proto: &'static str,
    /// Left out where it is not known, as Zeek does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<&'static str>,
    pub(crate) duration: f64,
    pub(crate) orig_bytes: u64,
    pub(crate) resp_bytes: u64,
    pub(crate) conn_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orig_pkts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qtype_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rcode_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<Vec<String>>,
    #[serde(rename = "decklog.action")]
    pub(crate) action: &'static str,
    #[serde(rename = "decklog.rule")]
    pub(crate) rule: String,
    #[serde(rename = "decklog.host", skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    #[serde(rename = "decklog.claimed", skip_serializing_if = "Option::is_none")]
    pub(crate) claimed: Option<String>,
    /// How many refusals this is the sum of.
    #[serde(rename = "decklog.count", skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    #[serde(rename = "decklog.session")]
    pub(crate) session: String,
    #[serde(rename = "decklog.container")]
    pub(crate) container: String,
    #[serde(rename = "decklog.calls", skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<String>,
}

impl Record {
    /// A record of something between two ends that began at `ts`.
    pub(crate) fn new(ts: SystemTime, proto: &'static str, from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            ts: seconds(ts.duration_since(UNIX_EPOCH).unwrap_or_default()),
            uid: uid(),
            orig_h: from.ip().to_canonical(),
            orig_p: from.port(),
            resp_h: to.ip().to_canonical(),
            resp_p: to.port(),
            proto,
            service: None,
            duration: 0.0,
            orig_bytes: 0,
            resp_bytes: 0,
            conn_state: "OTH",
            orig_pkts: None,
            query: None,
            qtype_name: None,
            rcode_name: None,
            answers: None,
            action: "deny",
            rule: String::new(),
            host: None,
            claimed: None,
            count: None,
            session: String::new(),
            container: String::new(),
            calls: Vec::new(),
        }
    }

    /// One JSON object in one line, with what strangers said cut to a bearable length.
    pub(crate) fn line(mut self) -> Vec<u8> {
        for text in [&mut self.query, &mut self.host, &mut self.claimed].into_iter().flatten() {
            clip(text);
        }
        clip(&mut self.rule);
        if let Some(answers) = &mut self.answers {
            answers.truncate(ANSWERS);
            answers.iter_mut().for_each(clip);
        }
        // Numbers, strings and lists of strings: there is nothing in it that JSON could not hold.
        escape(&serde_json::to_string(&self).unwrap_or_default())
    }
}

/// The same JSON in printable ASCII. Names are: what is not was chosen by a stranger, and could act on a terminal that it
/// is read on, or look like something else there.
fn escape(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out
}

fn clip(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(VALUE) {
        text.truncate(end);
    }
}

/// Seconds to the microsecond.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

/// A name for one connection that no other has: `C` and 17 characters, as Zeek's.
pub(crate) fn uid() -> String {
    let mut random = [0; 17];
    random_bytes(&mut random);
    let characters = random.iter().map(|byte| char::from(BASE62[usize::from(*byte) % 62]));
    std::iter::once('C').chain(characters).collect()
}

/// Fills `bytes` with what nobody can guess.
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // Only a kernel without getrandom: then ids can be guessed, which the port still makes hard.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let ts = UNIX_EPOCH + Duration::from_micros(1_763_773_285_123_456);
        let (from, to) = ("10.200.0.2:40000", "[::ffff:198.51.100.7]:443");
        Record {
            uid: "C0123456789abcdefg".into(),
            service: Some("ssl"),
            duration: seconds(Duration::from_nanos(1_500_000_999)),
            orig_bytes: 517,
            resp_bytes: 4096,
            conn_state: "SF",
            action: "allow",
            rule: "example.com".into(),
            host: Some("example.com".into()),
            session: "20261121T225842-3e1f".into(),
            container: "c1".into(),
            ..Record::new(ts, "tcp", from.parse().expect("an address"), to.parse().expect("an address"))
        }
    }

    fn line(record: Record) -> String {
        String::from_utf8(record.line()).expect("text")
    }

    #[test]
    fn a_connection() {
        assert_eq!(
            line(record()),
            concat!(
                r#"{"ts":1763773285.123456,"uid":"C0123456789abcdefg","id.orig_h":"10.200.0.2","id.orig_p":40000,"#,
                r#""id.resp_h":"198.51.100.7","id.resp_p":443,"proto":"tcp","service":"ssl","duration":1.5,"#,
                r#""orig_bytes":517,"resp_bytes":4096,"conn_state":"SF","decklog.action":"allow","#,
                r#""decklog.rule":"example.com","decklog.host":"example.com","#,
                r#""decklog.session":"20261121T225842-3e1f","decklog.container":"c1"}"#,
            )
        );
    }

    #[test]
    fn a_question_and_a_claim() {
        let record = Record {
            query: Some("example.com".into()),
            qtype_name: Some("A".into()),
            rcode_name: Some("NOERROR".into()),
            answers: Some(vec!["198.51.100.7".into()]),
            claimed: Some("other.test".into()),
            calls: vec!["call-1".into(), "call-2".into()],
            orig_pkts: Some(3),
            ..record()
        };
        let line = line(record);
        let (_, rest) = line.split_once(r#""conn_state":"SF","#).expect("what follows");
        assert_eq!(
            rest,
            concat!(
                r#""orig_pkts":3,"query":"example.com","qtype_name":"A","rcode_name":"NOERROR","#,
                r#""answers":["198.51.100.7"],"decklog.action":"allow","decklog.rule":"example.com","#,
                r#""decklog.host":"example.com","decklog.claimed":"other.test","#,
                r#""decklog.session":"20261121T225842-3e1f","decklog.container":"c1","#,
                r#""decklog.calls":["call-1","call-2"]}"#,
            )
        );
    }

    #[test]
    fn what_strangers_say_is_cut() {
        let long = "\u{1f600}\n".repeat(10_000);
        let record = Record {
            query: Some(long.clone()),
            claimed: Some(long.clone()),
            host: Some(long.clone()),
            answers: Some(vec![long; 1000]),
            ..record()
        };
        let line = line(record);
        assert!(!line.contains('\n'), "one line");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        for key in ["query", "decklog.claimed", "decklog.host"] {
            assert_eq!(value[key].as_str().expect(key).chars().count(), VALUE, "{key}");
        }
        assert_eq!(value["answers"].as_array().expect("a list").len(), ANSWERS);
        assert!(line.len() < 256 * 1024, "a reader reads no longer ones: {}", line.len());
    }

    #[test]
    fn nothing_in_a_line_acts_on_a_terminal() {
        let hostile =
            "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{feff}\u{e0041}\u{1f600}é\t\n\0";
        let line = line(Record {
            query: Some(hostile.into()),
            claimed: Some(hostile.into()),
            host: Some(hostile.into()),
            answers: Some(vec![hostile.into()]),
            calls: vec![hostile.into()],
            rule: hostile.into(),
            ..record()
        });
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        for key in ["query", "decklog.claimed", "decklog.host", "decklog.rule"] {
            assert_eq!(value[key], hostile, "{key} is what was said");
        }
        assert_eq!((&value["answers"][0], &value["decklog.calls"][0]), (&hostile.into(), &hostile.into()));
    }

    #[test]
    fn uids_are_zeeks_and_differ() {
        let uids: std::collections::HashSet<String> = (0..1000).map(|_| uid()).collect();
        assert_eq!(uids.len(), 1000);
        assert!(uids.iter().all(|uid| uid.len() == 18
            && uid.starts_with('C')
            && uid.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }
}
