//! An independent reader of a session's journal: lines of JSON and their `seq`, nothing else of decklog's.
//!
//! Must not know: decklog's own reader, faults, scenes.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// What a journal holds.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) events: Vec<Value>,
    /// The last line is not whole.
    pub(crate) torn: bool,
    /// Lines before the last that cannot be read, and gaps of `seq`.
    pub(crate) faults: Vec<String>,
}

impl Record {
    /// Reads the journal in `dir`; an absent one holds nothing.
    pub(crate) fn read(dir: &Path) -> Self {
        Self::parse(&fs::read(dir.join("journal.jsonl")).unwrap_or_default())
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut record = Self::default();
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for (number, line) in lines.iter().enumerate() {
            match serde_json::from_slice::<Value>(line) {
                Ok(event) if line.ends_with(b"\n") => {
                    let seq = record.events.len() as u64;
                    if event["seq"].as_u64() != Some(seq) {
                        record.faults.push(format!("line {}: seq {} instead of {seq}", number + 1, event["seq"]));
                    }
                    record.events.push(event);
                }
                _ if number + 1 == lines.len() => record.torn = true,
                _ => record.faults.push(format!("line {} is not an event", number + 1)),
            }
        }
        record
    }

    /// The session's end, if that is the last event but for notices of what failed after it.
    pub(crate) fn end(&self) -> Option<&Value> {
        self.last().filter(|event| event["type"] == "session_end")
    }

    fn last(&self) -> Option<&Value> {
        self.events.iter().rev().find(|event| event["code"] != "recording_failed")
    }

    /// The event that says how the session stopped: its end, or a checkpoint.
    pub(crate) fn exit_code(&self) -> Option<i64> {
        let last = self.last().filter(|event| event["type"] == "session_end" || event["type"] == "checkpoint")?;
        last["exit_code"].as_i64()
    }

    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    /// Whether the record itself says that something is missing in it.
    pub(crate) fn admits_loss(&self) -> bool {
        self.all("notice").any(|notice| notice["code"] == "recording_failed")
    }

    /// What is missing in a session of `turns` turns, as far as the journal alone shows it.
    pub(crate) fn missing(&self, turns: usize) -> Vec<String> {
        // A racer whose worktree cannot be made has no turn, and a notice instead.
        let absent = self.all("notice").filter(|notice| notice["code"] == "not_prepared").count();
        let turns = turns.saturating_sub(absent);
        let mut missing = Vec::new();
        let mut want = |holds: bool, what: String| {
            if !holds {
                missing.push(what);
            }
        };
        want(self.faults.is_empty() && !self.torn, format!("whole lines: {:?}", self.faults));
        want(self.end().is_some(), "session_end".into());
        for kind in ["turn_start", "turn_end"] {
            let count = self.all(kind).count();
            want(count >= turns, format!("{kind}: {count} of {turns}"));
            want(self.all(kind).all(|event| event["snapshot"].is_string()), format!("the snapshot of a {kind}"));
        }
        for end in self.all("turn_end") {
            let agent = self.all("turn_start").find(|start| start["turn"] == end["turn"]).map(|start| &start["agent"]);
            let text = self.text(&end["turn"]);
            let expected: Vec<String> = match agent.and_then(Value::as_str) {
                Some("ada" | "bob") => (1..=super::agents::MESSAGES).map(|n| format!("event {n}.")).collect(),
                Some("sh") => (1..=super::agents::LINES).map(|n| format!("line {n}\n")).collect(),
                _ => Vec::new(),
            };
            let is_over = end["outcome"] == "success";
            want(
                !is_over || expected.iter().all(|part| text.contains(part)),
                format!("messages of turn {}", end["turn"]),
            );
        }
        missing
    }

    /// All that an agent says in a turn.
    fn text(&self, turn: &Value) -> String {
        self.all("message").filter(|event| event["turn"] == *turn).filter_map(|event| event["text"].as_str()).collect()
    }

    /// Events that end before they begin, by the recorded times.
    pub(crate) fn backward_times(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for event in &self.events {
            if event["duration_secs"].as_f64().is_some_and(|seconds| seconds < 0.0) {
                wrong.push(format!("{} with duration_secs {}", event["type"], event["duration_secs"]));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_lines_and_gaps() {
        let record = Record::parse(b"{\"seq\":0,\"type\":\"a\"}\n{\"seq\":2,\"type\":\"session_end\"}\n{\"se");
        assert!(record.torn && record.end().is_some());
        assert_eq!(record.faults, ["line 2: seq 2 instead of 1"]);
        let record = Record::parse(b"x\n{\"seq\":0,\"type\":\"notice\",\"code\":\"recording_failed\"}\n");
        assert!(!record.torn && record.admits_loss() && record.end().is_none());
        assert_eq!(record.faults, ["line 1 is not an event"]);
    }
}
