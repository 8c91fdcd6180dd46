//! Where a session's container connected: `logs/network.jsonl`, summed up by host.
//!
//! Must not know: who wrote it, how it is shown. Every value in it may be a stranger's.

use std::collections::BTreeMap;
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
    #[serde(rename = "decklog.calls", default)]
    calls: Vec<String>,
}

fn unknown() -> String {
    "-".into()
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
    let mut all = Sum::default();
    let mut calls: BTreeMap<(u32, String), Sum> = BTreeMap::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else {
            // The last line of a recorder at work may be half there.
            all.unreadable += u64::from(bytes.ends_with(b"\n"));
            continue;
        };
        // Over which connection questions came is told by the questions.
        if line.rule == "dns" && line.query.is_none() {
            continue;
        }
        for call in &line.calls {
            if let Some((turn, id)) = call.split_once('/')
                && let Ok(turn) = turn.parse()
            {
                calls.entry((turn, id.to_owned())).or_default().add(&line);
            }
        }
        all.add(&line);
    }
    Ok((all.finish(), calls.into_iter().map(|(call, sum)| (call, sum.finish())).collect()))
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
        let protocol = if line.query.is_some() { "dns" } else { &line.proto }.to_owned();
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
        place.connections += 1;
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

    #[test]
    fn a_session_without_a_record_has_connected_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let (all, calls) = read(dir.path()).expect("nothing");
        assert!(all.is_empty() && calls.is_empty());
    }
}
