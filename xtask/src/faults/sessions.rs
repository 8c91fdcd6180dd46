//! The verdict on what a trial recorded: the journal against the exit code, and what readers make of it.
//!
//! Must not know: how a fault is injected.

use std::path::Path;

use serde_json::Value;

use super::judge::{Case, Outcome};
use super::record::Record;
use super::world::names;
use crate::Result;

impl Case<'_> {
    /// A call that makes one session.
    pub(crate) fn recording(&mut self, turns: usize) -> Result<Outcome> {
        let new = self.new_ids();
        if new.len() > 1 {
            self.violation("more than one session", new.join(", "));
        }
        let Some(id) = new.first() else {
            if self.ran.code == Some(0) {
                self.violation("false success: there is no record", "");
            } else if self.scene.verb == "run"
                && !self.ran.stdout.is_empty()
                && !self.muted
                && self.ran.stdout.contains("line")
            {
                self.violation("an acknowledged event is lost", "there is no record");
            }
            return Ok(if self.ran.code == Some(0) { Outcome::Done } else { Outcome::Refused });
        };
        self.session(&id.clone(), turns)
    }

    /// A call that appends to the newest session.
    pub(crate) fn continuing(&mut self, turns: usize) -> Result<Outcome> {
        let new = self.new_ids();
        if !new.is_empty() {
            self.violation("more than one session", new.join(", "));
        }
        let Some(id) = self.before.ids.last().cloned() else { return Ok(Outcome::Refused) };
        let earlier = self.before.journals.get(&id).cloned().unwrap_or_default();
        let dir = self.world.root().join(&id);
        let now = std::fs::read(dir.join("journal.jsonl")).unwrap_or_default();
        // A torn line goes to its own file; whole lines stay.
        let whole = earlier.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if !now.starts_with(&earlier[..whole]) {
            self.violation("an acknowledged event is lost", "the journal no longer begins with what was there");
        }
        if now == earlier && self.ran.code != Some(0) {
            return Ok(Outcome::Refused);
        }
        // A turn that was cut off has no end, and needs none.
        let complete = if self.scene.name == "resume-crashed" { 1 } else { 1 + turns };
        self.session(&id, complete)
    }

    /// The session of this trial against its end.
    fn session(&mut self, id: &str, turns: usize) -> Result<Outcome> {
        let dir = self.world.root().join(id);
        let record = Record::read(&dir);
        self.acknowledged(&dir, id, &record);
        if !record.faults.is_empty() {
            self.violation("the journal has faults", record.faults.join("; "));
        }
        for wrong in record.backward_times() {
            self.violation("a time runs backwards", wrong);
        }
        if record.torn && !self.killed {
            self.violation("a torn line without a kill", id.to_owned());
        }
        let missing = self.missing(&record, turns);
        let faults = self.verify(id);
        let Some(code) = self.ran.code else {
            // Killed: what is there is whole, but for the last line.
            if let Some(faults) = faults.filter(|faults| !faults.contains("torn")) {
                self.violation("verify finds faults after a kill", faults);
            }
            return Ok(Outcome::Recorded);
        };
        let recorded = record.exit_code();
        if let Some(recorded) = recorded
            && recorded != i64::from(code)
        {
            self.violation("exit code and record differ", format!("{code}, recorded {recorded}: {}", self.ran.stderr));
        }
        if let (Some(end), Some(text)) = (record.end(), self.result())
            && !text["outcome"].is_null()
            && text["outcome"] != end["outcome"]
        {
            self.violation("--json and record differ", format!("{} and {}", text["outcome"], end["outcome"]));
        }
        if code == 0 {
            if !missing.is_empty() {
                self.violation("false success: the record is incomplete", missing.join("; "));
            }
            if record.admits_loss() {
                self.violation("false success: the record admits a loss", self.ran.stderr.clone());
            }
            if let Some(faults) = faults {
                self.violation("false success: verify finds faults", faults);
            }
            return Ok(Outcome::Done);
        }
        let claims = record.end().is_some_and(|end| end["outcome"] == "success");
        if claims && !missing.is_empty() && !record.admits_loss() {
            self.violation("the record claims success and is incomplete", missing.join("; "));
        }
        if let Some(faults) = faults
            && record.end().is_some()
            && !record.admits_loss()
            && !self.killed
        {
            self.violation("verify finds faults that the record does not admit", faults);
        }
        Ok(Outcome::Recorded)
    }

    /// What is missing in the record, its trees included.
    fn missing(&self, record: &Record, turns: usize) -> Vec<String> {
        let mut missing = record.missing(turns);
        if self.scene.name == "run" && record.all("validation").count() == 0 {
            missing.push("validation".into());
        }
        missing
    }

    /// What a reader saw, and what decklog printed, is in the record.
    fn acknowledged(&mut self, dir: &Path, id: &str, record: &Record) {
        if let Some(seen) = self.seen.get(id) {
            let whole = seen.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let now = std::fs::read(dir.join("journal.jsonl")).unwrap_or_default();
            if !now.starts_with(&seen[..whole]) {
                self.violation("an acknowledged event is lost", "a reader saw more of the journal before the kill");
            }
        }
        let printed: Vec<&str> = self.ran.stdout.lines().filter(|line| line.starts_with("line ")).collect();
        if self.scene.name == "run"
            && !printed.is_empty()
            && !record.admits_loss()
            && !self.ran.stderr.contains("not recorded")
        {
            let stream = std::fs::read_to_string(dir.join("turns/001-stream.jsonl")).unwrap_or_default();
            // The last line may be half printed.
            if let Some(lost) = printed.iter().rev().skip(1).find(|line| !stream.lines().any(|kept| kept == **line)) {
                self.violation("an acknowledged event is lost", format!("{lost:?} was printed"));
            }
        }
    }

    /// The result that a call with `--json` prints.
    fn result(&self) -> Option<Value> {
        self.scene.arguments.contains(&"--json").then(|| serde_json::from_str(&self.ran.stdout).ok())?
    }

    /// Faults that `decklog verify` finds.
    pub(crate) fn verify(&self, id: &str) -> Option<String> {
        let ran = match self.world.decklog(&["verify", "--json", id]) {
            Ok(ran) => ran,
            Err(error) => return Some(error.to_string()),
        };
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        match (ran.code, &answer[0]["ok"]) {
            (Some(0), Value::Bool(true)) => None,
            _ => Some(format!("{}{}", answer[0]["faults"], ran.stderr)),
        }
    }

    /// Readers list and show every session, whatever became of this one.
    pub(crate) fn readers(&mut self) -> Result<()> {
        let ids = self.world.ids();
        let ran = self.world.decklog(&["ls", "--all", "--json"])?;
        let listed: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let listed: Vec<&Value> = listed.as_array().map(Vec::as_slice).unwrap_or_default().iter().collect();
        if ran.code != Some(0) {
            self.violation("ls fails", ran.stderr.clone());
        }
        for id in &ids {
            let head = listed.iter().find(|head| head["id"] == id.as_str());
            let shown = self.world.decklog(&["show", "--json", id])?;
            if head.is_none() || shown.code != Some(0) {
                self.violation("a session cannot be read", format!("{id}: {}{}", ran.stderr, shown.stderr));
                continue;
            }
            if serde_json::from_str::<Value>(&shown.stdout).is_err() {
                self.violation("show --json is not JSON", id.clone());
            }
            let Some(head) = head else { continue };
            if let (Some(start), Some(end)) = (time(&head["started_at"]), time(&head["ended_at"]))
                && end < start
            {
                self.violation("a time runs backwards", format!("{id}: ended_at {end} < started_at {start}"));
            }
            let record = Record::read(&self.world.root().join(id));
            if head["status"] == "completed" && record.end().is_none() || head["status"] == "active" {
                self.violation("ls shows another status than the record", format!("{id}: {}", head["status"]));
            }
        }
        Ok(())
    }
}

fn time(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}

/// Files of a session that are there only while it is recorded.
pub(crate) fn internal_leftovers(dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for below in ["", "turns", "resume", "logs"] {
        for name in names(&dir.join(below)) {
            if name == ".reserve" || name.ends_with(".part") || name.ends_with(".tmp") {
                left.push(Path::new(below).join(name).display().to_string());
            }
        }
    }
    left
}
