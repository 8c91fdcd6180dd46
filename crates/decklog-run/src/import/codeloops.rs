//! codeloops' loops: JSONL files, `sessions/<time>_<hash>.jsonl`, and its SQLite database, `codeloops.db`.
//!
//! Both the documented words and those it really wrote are read: `DONE (confidence: 95%)`, `CONTINUE (3 issues)`,
//! `user_interrupted`, keys in camelCase. An iteration becomes the actor's turn with its diff, the critic's turn, and
//! the iteration itself.

use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::event::Iteration;
use decklog_journal::words::{Decision, Outcome, Role, TurnOutcome};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, types::ValueRef};
use serde_json::{Map, Value};

use super::draft::{Draft, Ending};
use super::lines::{Line, Lines};
use super::sqlite::{self, has_table, is_database};
use super::{Finds, Found, Tool, stat, walk};
use crate::agents::AgentEvent;
use crate::agents::common::{count, some_text, text};

/// Lines at the beginning of a file in which it must be recognised.
const BEGINNING: usize = 20;

/// Loops below `root`, or in the file `root`.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let take = |path: PathBuf, finds: &mut Finds| {
        let found = if path.extension().is_some_and(|extension| extension == "jsonl") {
            in_file(&path)
        } else if is_database(&path) {
            in_database(&path)
        } else {
            return;
        };
        match found {
            Ok(found) => finds.found.extend(found),
            Err(error) => finds.failed(path, &error),
        }
    };
    if root.is_file() {
        take(root.to_owned(), finds);
    } else {
        walk(root, finds, &mut |path, finds| take(path, finds));
    }
}

fn in_file(path: &Path) -> io::Result<Vec<Found>> {
    let mut lines = Lines::open(path)?;
    let (mut first, mut is_loop) = (Value::Null, false);
    for _ in 0..BEGINNING {
        let Some(line) = lines.next()? else { break };
        let Line::Whole(line) = line else { continue };
        let line: Value = decklog_text::json::from_slice(line).unwrap_or_default();
        if is_start(&line) {
            (first, is_loop) = (line, true);
            break;
        }
        // Its first line is lost.
        is_loop |= line["type"] == "iteration" && line.get("critic_decision").is_some() && line.get("sum").is_none();
    }
    if !is_loop {
        return Ok(Vec::new());
    }
    let id = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (bytes, modified) = stat(path)?;
    Ok(vec![Found {
        tool: Tool::Codeloops,
        id,
        path: path.to_owned(),
        parts: Vec::new(),
        also: Vec::new(),
        bytes: Some(bytes),
        modified,
        started: text(&first, "timestamp").parse().ok(),
    }])
}

/// Whether a line is the first of a loop; of a decklog session it is not.
pub(super) fn is_start(line: &Value) -> bool {
    line["type"] == "session_start" && line.get("actor_agent").is_some() && line.get("sum").is_none()
}

fn in_database(path: &Path) -> io::Result<Vec<Found>> {
    let db = sqlite::open(path)?;
    if !is_ours(&db) {
        return Ok(Vec::new());
    }
    let ask = || -> rusqlite::Result<Vec<Found>> {
        let mut rows = db.prepare(
            "SELECT id, started_at, ended_at, (SELECT MAX(timestamp) FROM iterations WHERE session_id = s.id) \
             FROM sessions s ORDER BY started_at, id",
        )?;
        let found = rows.query_map([], |row| {
            let time = |at: usize| -> rusqlite::Result<Option<Timestamp>> {
                Ok(row.get::<_, Option<String>>(at)?.and_then(|text| text.parse().ok()))
            };
            let (started, ended, last) = (time(1)?, time(2)?, time(3)?);
            Ok(Found {
                tool: Tool::Codeloops,
                id: row.get(0)?,
                path: path.to_owned(),
                parts: Vec::new(),
                also: Vec::new(),
                bytes: None,
                modified: ended.max(last).or(started).map_or(Timestamp::UNIX_EPOCH, micros),
                started,
            })
        })?;
        found.collect()
    };
    ask().map_err(sqlite::error)
}

/// A time as exact as a journal holds it.
fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// Whether a database is codeloops'.
pub(super) fn is_ours(db: &Connection) -> bool {
    has_table(db, "iterations") && sqlite::has_column(db, "sessions", "actor_agent")
}

/// Reads a loop.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let mut reader = Reader::default();
    if is_database(&found.path) {
        reader.database(&*sqlite::open(&found.path)?, &found.id, draft).map_err(sqlite::error)?;
    } else {
        reader.file(&found.path, draft)?;
    }
    // Without its end it is at work, or was cut off.
    Ok(reader.ending.unwrap_or(Ending { iterations: Some(reader.iterations), ..Ending::default() }))
}

#[derive(Default)]
struct Reader {
    prompt: String,
    pair: [String; 2],
    iterations: u32,
    confidence: Option<f64>,
    ending: Option<Ending>,
}

impl Reader {
    fn file(&mut self, path: &Path, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut lines = Lines::open(path)?;
        loop {
            let number = lines.number() + 1;
            match lines.next() {
                Ok(Some(Line::Whole(line))) => match decklog_text::json::from_slice::<Value>(line) {
                    Ok(line) => match text(&line, "type") {
                        "session_start" => self.start(&line, draft),
                        "iteration" => self.iteration(&line, draft),
                        "session_end" => self.end(&line, draft),
                        other => draft.unread(format!("line {number}"), format!("{other:?} is no type that is known")),
                    },
                    Err(error) => draft.unread(format!("line {number}"), error),
                },
                Ok(Some(Line::TooLong(bytes))) => {
                    draft.unread(format!("line {number}"), format!("it is {bytes} bytes long"));
                }
                Ok(None) => return Ok(()),
                Err(error) if number > 1 => {
                    draft.unread(format!("line {number}"), error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn database(&mut self, db: &Connection, id: &str, draft: &mut Draft<'_>) -> rusqlite::Result<()> {
        let session = db.query_row("SELECT * FROM sessions WHERE id = ?1", [id], object)?;
        self.start(&session, draft);
        let mut rows = db.prepare("SELECT * FROM iterations WHERE session_id = ?1 ORDER BY iteration_number, id")?;
        for iteration in rows.query_map([id], object)? {
            self.iteration(&iteration?, draft);
        }
        if some_text(&session, "outcome").is_some() {
            self.end(&session, draft);
        }
        Ok(())
    }

    fn start(&mut self, start: &Value, draft: &mut Draft<'_>) {
        draft.at(time(start, &["timestamp", "started_at"]));
        self.prompt = text(start, "prompt").to_owned();
        let agent = |key: &str| agent_name(text(start, key));
        let pair = [
            (agent("actor_agent"), some_text(start, "actor_model")),
            (agent("critic_agent"), some_text(start, "critic_model")),
        ];
        self.pair = [pair[0].0.clone(), pair[1].0.clone()];
        draft.opening.working_dir = text(start, "working_dir").to_owned();
        draft.opening.pair = Some(pair);
        draft.opening.max_iterations = u32::try_from(count(start, "max_iterations")).ok().filter(|limit| *limit > 0);
        draft.begin(&self.prompt);
    }

    fn iteration(&mut self, told: &Value, draft: &mut Draft<'_>) {
        let at = time(told, &["timestamp"]);
        let secs = told["actor_duration_secs"].as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0).unwrap_or(0.0);
        // The line was written when it was over.
        let took = SignedDuration::try_from_secs_f64(secs).unwrap_or(SignedDuration::ZERO);
        draft.at(at.and_then(|at| at.checked_sub(took).ok()));
        let number = u32::try_from(count(told, "iteration_number")).unwrap_or(u32::MAX).max(1);
        self.iterations = self.iterations.max(number);
        let prompt = if number == 1 { self.prompt.clone() } else { String::new() };
        for agent in self.pair.iter_mut().filter(|agent| agent.is_empty()) {
            *agent = agent_name("");
        }
        draft.prompt_to(&prompt, Some(&self.pair[0]), Role::Actor);
        let output = text(told, "actor_output").to_owned();
        draft.event(AgentEvent::Text(output.clone()));
        draft.at(at);
        let exit_code = told["actor_exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        if exit_code.is_some_and(|code| code != 0) {
            draft.set_outcome(TurnOutcome::Failed, some_text(told, "actor_stderr"));
        }
        draft.exit_code(exit_code);
        draft.patch(text(told, "git_diff"));
        draft.end_turn();
        let Some(verdict) = some_text(told, "critic_decision") else {
            // It never came to the critic.
            return draft.notice("no_verdict", format!("iteration {number} was not judged"));
        };
        let feedback = some_text(told, "feedback");
        draft.prompt_to("", Some(&self.pair[1]), Role::Critic);
        draft.event(AgentEvent::Text(
            format!("{verdict}\n{}", feedback.as_deref().unwrap_or_default()).trim().to_owned(),
        ));
        let (decision, confidence) = decision(&verdict);
        self.confidence = confidence.or(self.confidence);
        draft.iteration(Iteration {
            iteration_number: number,
            actor_turn: None,
            critic_turn: None,
            actor_output: output,
            actor_output_artifact: None,
            actor_stderr: text(told, "actor_stderr").to_owned(),
            actor_stderr_artifact: None,
            actor_exit_code: exit_code.unwrap_or(0),
            actor_duration_secs: secs,
            git_diff: text(told, "git_diff").to_owned(),
            git_diff_artifact: None,
            git_files_changed: count(told, "git_files_changed"),
            checks_passed: None,
            critic_decision: decision,
            critic_said: None,
            feedback: feedback.filter(|_| decision != Decision::Done),
            summary: None,
            confidence: None,
        });
    }

    fn end(&mut self, end: &Value, draft: &mut Draft<'_>) {
        draft.end_turn();
        draft.at(time(end, &["ended_at", "timestamp"]));
        let outcome = some_text(end, "outcome").map(|outcome| match outcome.as_str() {
            "success" => Outcome::Success,
            "interrupted" | "user_interrupted" => Outcome::Interrupted,
            "max_iterations_reached" | "max_iterations" => Outcome::MaxIterationsReached,
            _ => Outcome::Failed,
        });
        let told = end.get("iterations").or_else(|| end.get("iteration_count")).and_then(Value::as_u64);
        self.ending = Some(Ending {
            outcome,
            iterations: Some(told.and_then(|told| u32::try_from(told).ok()).unwrap_or(self.iterations)),
            summary: some_text(end, "summary"),
            confidence: end["confidence"].as_f64().or(self.confidence).filter(|value| (0.0..=1.0).contains(value)),
            exit_code: None,
        });
    }
}

/// A verdict, and the confidence that may stand behind it.
fn decision(verdict: &str) -> (Decision, Option<f64>) {
    let word = verdict.trim_start().to_ascii_uppercase();
    let decision = match word.as_str() {
        word if word.starts_with("DONE") => Decision::Done,
        word if word.starts_with("CONTINUE") => Decision::Continue,
        _ => Decision::Error,
    };
    let percent = verdict
        .split_once("confidence:")
        .and_then(|(_, rest)| rest.trim_start().split(['%', ')']).next()?.trim().parse::<f64>().ok());
    (decision, percent.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share)))
}

/// `Claude Code` is `claude` here.
pub(super) fn agent_name(told: &str) -> String {
    match told.to_ascii_lowercase().as_str() {
        "claude code" | "claude" | "claude-code" | "claude gateway" => "claude".into(),
        "opencode" => "opencode".into(),
        "codex" => "codex".into(),
        "gemini" | "gemini cli" => "gemini".into(),
        "" => "unknown".into(),
        other => other.to_owned(),
    }
}

fn time(value: &Value, keys: &[&str]) -> Option<Timestamp> {
    keys.iter().find_map(|key| text(value, key).parse().ok())
}

/// A row as JSON, by the names of its columns.
fn object(row: &Row<'_>) -> rusqlite::Result<Value> {
    let mut object = Map::new();
    for (at, name) in row.as_ref().column_names().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null => continue,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_as_documented_and_as_written() {
        for (verdict, means) in [
            ("DONE", (Decision::Done, None)),
            ("DONE (confidence: 95%)", (Decision::Done, Some(0.95))),
            ("DONE (confidence: 950%)", (Decision::Done, None)),
            ("CONTINUE", (Decision::Continue, None)),
            ("CONTINUE (3 issues)", (Decision::Continue, None)),
            ("ERROR", (Decision::Error, None)),
            ("something else", (Decision::Error, None)),
        ] {
            assert_eq!(decision(verdict), means, "{verdict}");
        }
    }
}
