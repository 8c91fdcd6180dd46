//! Where a session's container connected: `logs/network.jsonl`, summed up by host.
//!
//! Must not know: who wrote it, how it is shown. Every value in it may be a stranger's.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use decklog_journal::verify::find_artifact;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The record, in the session directory.
pub const CONNECTIONS_FILE: &str = "logs/network.jsonl";

/// Bytes of a line that are read; a longer one is no record of decklog's.
const MAX_LINE: u64 = 256 * 1024;

/// A line, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Line {
    ts: f64,
    #[serde(rename = "id.resp_h")]
    resp_h: String,
    #[serde(rename = "id.resp_p")]
    resp_p: u16,
    proto: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    conn_state: String,
    #[serde(default = "unknown")]
    service: String,
    #[serde(default)]
    orig_bytes: u64,
    #[serde(default)]
    resp_bytes: u64,
    query: Option<String>,
    #[serde(rename = "decklog.action")]
    action: String,
    #[serde(rename = "decklog.rule")]
    rule: String,
    #[serde(rename = "decklog.host")]
    host: Option<String>,
    #[serde(rename = "decklog.claimed")]
    claimed: Option<String>,
    #[serde(rename = "decklog.count", default = "one")]
    count: u64,
    #[serde(rename = "decklog.calls", default)]
    calls: Vec<String>,
}

fn unknown() -> String {
    "-".into()
}

fn one() -> u64 {
    1
}

/// What an opening and its end have in common: the connection, and when the connection or a question over it began.
type Flow = (String, u64);

impl Line {
    /// Whether it is an opening; another line has the end.
    fn is_opening(&self) -> bool {
        self.conn_state == "OPEN"
    }

    fn flow(&self) -> Flow {
        (self.uid.clone(), self.ts.to_bits())
    }

    /// The calls during which it began: their turns and ids.
    fn calls(&self) -> impl Iterator<Item = (u32, String)> {
        self.calls.iter().filter_map(|call| {
            let (turn, id) = call.split_once('/')?;
            Some((turn.parse().ok()?, id.to_owned()))
        })
    }
}

/// The record in a line. Where half of a record precedes a whole one in it, as after a full disk: the whole one, and
/// that there was something else.
fn parse(bytes: &[u8]) -> (Option<Line>, bool) {
    /// How every record begins; inside of one, the quotes would be escaped.
    const BEGINNING: &[u8] = b"{\"ts\":";
    if let Ok(line) = serde_json::from_slice(bytes) {
        return (Some(line), false);
    }
    let last = bytes.windows(BEGINNING.len()).rposition(|window| window == BEGINNING).filter(|at| *at > 0);
    (last.and_then(|at| serde_json::from_slice(&bytes[at..]).ok()), true)
}

/// Connections to one place that came out alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// The name that the decision rested on, or the one that was asked for, else the address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `tcp`, `udp`, `icmp`, …; `dns` for questions.
    pub protocol: String,
    /// What was spoken: `http`, `ssl`, `ssh`, `dns`, or `-`.
    pub service: String,
    /// `allow`, `deny`, or `drop`.
    pub action: String,
    /// The rule that said so.
    pub rule: String,
    /// What the client itself said where it went, when that was something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// How many there were.
    pub connections: u64,
    /// Bytes that the container sent.
    pub bytes_out: u64,
    /// Bytes that it got.
    pub bytes_in: u64,
    /// When the first began.
    pub first: Timestamp,
    /// When the last began.
    pub last: Timestamp,
}

/// What a container's network did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Network {
    /// By place, those with the most bytes first.
    pub places: Vec<Place>,
    /// Lines that are no record.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Network {
    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// What was reached for during each tool call, by turn and the agent's id for the call.
pub type OfCalls = BTreeMap<(u32, String), Network>;

/// Reads what the container of the session in `dir` did: all of it, and what was reached for during each tool call, by
/// turn and the agent's id for the call. A session without such a record has done nothing.
///
/// # Errors
/// When the record is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<(Network, OfCalls)> {
    let file = match find_artifact(dir, CONNECTIONS_FILE) {
        Ok(found) => found.file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut sums = Sums::default();
    // What has begun and has not ended: the recorder is at work, or was killed.
    let mut open: HashMap<Flow, Line> = HashMap::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let (line, is_torn) = parse(&bytes);
        // The last line of a recorder at work may be half there.
        sums.all.unreadable += u64::from(is_torn && (bytes.ends_with(b"\n") || line.is_some()));
        // Over which connection questions came is told by the questions.
        let Some(line) = line.filter(|line| line.rule != "dns" || line.query.is_some()) else { continue };
        if line.is_opening() {
            open.insert(line.flow(), line);
        } else {
            open.remove(&line.flow());
            sums.add(&line);
        }
    }
    for line in open.into_values() {
        sums.add(&line);
    }
    Ok((sums.all.finish(), sums.calls.into_iter().map(|(call, sum)| (call, sum.finish())).collect()))
}

/// The sums of a whole record.
#[derive(Default)]
struct Sums {
    all: Sum,
    calls: BTreeMap<(u32, String), Sum>,
}

impl Sums {
    fn add(&mut self, line: &Line) {
        for call in line.calls() {
            self.calls.entry(call).or_default().add(line);
        }
        self.all.add(line);
    }
}

/// What makes connections alike.
type Key = (String, u16, String, String, String, String, Option<String>);

#[derive(Default)]
struct Sum {
    places: BTreeMap<Key, Place>,
    unreadable: u64,
}

impl Sum {
    fn add(&mut self, line: &Line) {
        let host = line.host.as_ref().or(line.query.as_ref()).unwrap_or(&line.resp_h).clone();
        // A sum of refused questions has no one name.
        let is_question = line.query.is_some() || line.service == "dns";
        let protocol = if is_question { "dns" } else { &line.proto }.to_owned();
        #[expect(clippy::cast_possible_truncation, reason = "it saturates, and such a time is nobody's")]
        let at = Timestamp::from_microsecond((line.ts * 1e6) as i64).unwrap_or_default();
        let Line { resp_p, service, action, rule, claimed, orig_bytes, resp_bytes, .. } = line;
        let key =
            (host.clone(), *resp_p, protocol.clone(), service.clone(), action.clone(), rule.clone(), claimed.clone());
        let place = self.places.entry(key).or_insert_with(|| Place {
            host,
            port: *resp_p,
            protocol,
            service: service.clone(),
            action: action.clone(),
            rule: rule.clone(),
            claimed: claimed.clone(),
            connections: 0,
            bytes_out: 0,
            bytes_in: 0,
            first: at,
            last: at,
        });
        place.connections = place.connections.saturating_add(line.count);
        place.bytes_out = place.bytes_out.saturating_add(*orig_bytes);
        place.bytes_in = place.bytes_in.saturating_add(*resp_bytes);
        place.first = place.first.min(at);
        place.last = place.last.max(at);
    }

    fn finish(self) -> Network {
        let mut places: Vec<Place> = self.places.into_values().collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.bytes_out.saturating_add(place.bytes_in)));
        Network { places, unreadable: self.unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_summed_up_by_place_and_by_call() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("logs")).expect("a directory");
        let line = |host: &str, action: &str, calls: &str, bytes: u64| {
            format!(
                r#"{{"ts":1795311786.5,"uid":"C1","id.orig_h":"10.200.0.2","id.orig_p":1,"id.resp_h":"198.51.100.7","id.resp_p":80,"proto":"tcp","service":"http","duration":0.1,"orig_bytes":{bytes},"resp_bytes":1,"conn_state":"SF","decklog.action":"{action}","decklog.rule":"r","decklog.host":"{host}","decklog.session":"s","decklog.container":"c","decklog.calls":[{calls}]}}"#
            )
        };
        let text = [
            line("a.example", "allow", "\"1/x\"", 10),
            line("a.example", "allow", "\"1/x\",\"2/x\"", 10),
            line("b.example", "deny", "", 0).replace("\"service\":\"http\",", ""),
            "no json".into(),
            line("torn", "allow", "", 1)[..40].to_owned(),
        ]
        .join("\n");
        std::fs::write(dir.path().join(CONNECTIONS_FILE), text).expect("a file");
        let (all, calls) = read(dir.path()).expect("a record");
        let shown: Vec<_> = all.places.iter().map(|p| (p.host.as_str(), p.connections, p.bytes_out)).collect();
        assert_eq!(shown, [("a.example", 2, 20), ("b.example", 1, 0)]);
        assert_eq!((&*all.places[0].service, &*all.places[1].service), ("http", "-"));
        assert_eq!(all.unreadable, 1, "the torn line at the end is not counted");
        let of = |turn: u32| calls[&(turn, "x".to_owned())].places[0].connections;
        assert_eq!((of(1), of(2), calls.len()), (2, 1, 2));
    }

    /// What is read of these lines: host, connections and bytes out of each place, and lines that are none.
    fn places(lines: &[String]) -> (Vec<(String, u64, u64)>, u64) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("logs")).expect("a directory");
        std::fs::write(dir.path().join(CONNECTIONS_FILE), lines.join("\n")).expect("a file");
        let (all, calls) = read(dir.path()).expect("a record");
        let connections: u64 = all.places.iter().map(|place| place.connections).sum();
        let of_calls: u64 = calls.values().flat_map(|network| &network.places).map(|place| place.connections).sum();
        assert_eq!(connections, of_calls, "each has one call");
        let mut places: Vec<_> = all.places.into_iter().map(|p| (p.host, p.connections, p.bytes_out)).collect();
        places.sort();
        (places, all.unreadable)
    }

    fn flow(uid: &str, ts: u64, state: &str, bytes: u64, more: &str) -> String {
        format!(
            r#"{{"ts":{ts}.5,"uid":"{uid}","id.resp_h":"198.51.100.7","id.resp_p":80,"proto":"tcp","orig_bytes":{bytes},"resp_bytes":1,"conn_state":"{state}","decklog.action":"allow","decklog.rule":"r",{more}"decklog.calls":["1/x"]}}"#
        )
    }

    #[test]
    fn a_flow_counts_once_whether_its_end_is_there_or_not() {
        let host = r#""decklog.host":"a.test","#;
        let question = r#""query":"b.test","#;
        let lines = [
            flow("C1", 1, "OPEN", 0, host),
            flow("C2", 2, "OPEN", 0, host),
            flow("C3", 3, "OPEN", 0, question),
            flow("C1", 1, "SF", 10, host),
            // Questions over one connection share its name.
            flow("C3", 4, "OPEN", 0, question),
            flow("C3", 4, "SF", 20, question),
            flow("C3", 3, "SF", 20, question),
            flow("C3", 5, "OPEN", 0, question),
        ];
        let expected = vec![("a.test".to_owned(), 2, 10), ("b.test".to_owned(), 3, 40)];
        assert_eq!(places(&lines), (expected, 0));
    }

    #[test]
    fn a_sum_counts_for_all_of_it() {
        let lines = [
            flow("C1", 1, "REJ", 0, r#""decklog.host":"a.test","#),
            flow("C2", 2, "REJ", 5, r#""decklog.host":"a.test","decklog.count":1000,"#),
            flow("C3", 3, "SF", 5, r#""service":"dns","decklog.count":70,"#),
        ];
        let expected = vec![("198.51.100.7".to_owned(), 70, 5), ("a.test".to_owned(), 1001, 5)];
        assert_eq!(places(&lines), (expected, 0));
    }

    #[test]
    fn half_a_line_hides_no_other() {
        let whole = |uid: &str| flow(uid, 1, "SF", 10, r#""decklog.host":"a.test","decklog.claimed":"x{\"ts\":1}","#);
        let half = whole("C9")[..70].to_owned();
        let long = "x".repeat(600 * 1024);
        let lines =
            [whole("C1"), format!("{half}{}", whole("C2")), half, long, whole("C3"), "{\"ts\":1}".into(), whole("C4")];
        let (found, unreadable) = places(&lines);
        assert_eq!(found, [("a.test".to_owned(), 4, 40)]);
        assert!(unreadable >= 4, "{unreadable}");
    }

    #[test]
    fn a_session_without_a_record_has_connected_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let (all, calls) = read(dir.path()).expect("nothing");
        assert!(all.is_empty() && calls.is_empty());
    }
}
