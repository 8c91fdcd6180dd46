//! What is told of a session, wherever it is shown: in words and numbers, before anybody lays them out.
//!
//! Must not know: the terminal, HTML, the present time.

pub mod network;

use std::collections::BTreeMap;
use std::path::Path;

use decklog_journal::Session;
use decklog_journal::store::{Listed, listed};
use decklog_journal::words::{Outcome, Permissions, ShownOutcome, ShownStatus};
use decklog_text::format::duration;
use decklog_text::visible;
use jiff::Timestamp;
use serde_json::{Value, json, to_value};

/// A head as JSON, with the status that is shown, and the outcome where the record of a completed session has none: what
/// `ls --json` lists.
///
/// # Errors
/// Those of making JSON, of which none is known.
pub fn shown_head(listed: &Listed) -> serde_json::Result<BTreeMap<String, Value>> {
    let mut head: BTreeMap<String, Value> = serde_json::from_value(to_value(&listed.head)?)?;
    head.insert("status".into(), listed.status.as_str().into());
    let outcome = ShownOutcome::of(listed.status, listed.head.outcome);
    if let Some(unknown @ ShownOutcome::Unknown) = outcome {
        head.insert("outcome".into(), unknown.as_str().into());
    }
    Ok(head)
}

/// The session in `dir` as JSON: what `show --json` prints. With `turn`, of the turns only that one.
///
/// # Errors
/// Those of making JSON, of which none is known.
pub fn shown(dir: &Path, session: &Session, turn: Option<u32>) -> serde_json::Result<Value> {
    let turns: Vec<_> = session.turns.iter().filter(|known| turn.is_none_or(|wanted| known.turn == wanted)).collect();
    let mut head = shown_head(&listed(session.head.clone(), dir.to_owned()))?;
    head.insert("prompt".into(), full_prompt(dir, session).into());
    let mut shown = json!({
        "session": head,
        "turns": to_value(turns)?,
        "iterations": to_value(&session.iterations)?,
        "handoffs": to_value(&session.handoffs)?,
        "notices": to_value(&session.notices)?,
        "faults": to_value(&session.faults)?,
    });
    if !session.containers.is_empty() {
        shown["containers"] = to_value(&session.containers)?;
    }
    if let Some(picked) = session.picked {
        shown["picked"] = picked.into();
    }
    Ok(shown)
}

/// What a session is shown as: its outcome once it has one, else its status.
#[must_use]
pub fn outcome(status: ShownStatus, outcome: Option<Outcome>) -> &'static str {
    match status {
        ShownStatus::Active => "running",
        ShownStatus::Completed => ShownOutcome::of(status, outcome).map_or(status.as_str(), ShownOutcome::as_str),
        status => status.as_str(),
    }
}

/// How long it took, or has taken so far.
#[must_use]
pub fn took(start: Timestamp, end: Timestamp, status: ShownStatus, now: Timestamp) -> String {
    let until = if status == ShownStatus::Active { now } else { end };
    duration(decklog_journal::time::seconds_between(start, until))
}

/// Whether the messages of a turn are what a program printed, and no markdown: any command can be run, and only an agent
/// whose protocol is known is given permissions. Where no command was run, the record comes from another tool.
#[must_use]
pub fn is_output(permissions: Option<Permissions>, command: &[String]) -> bool {
    permissions.is_none() && !command.is_empty()
}

/// Whether a notice tells of something that people should not miss.
#[must_use]
pub fn is_loud(code: &str) -> bool {
    matches!(
        code,
        "recording_failed"
            | "permission_refused"
            | "stalled"
            | "timed_out"
            | "critic_changed_files"
            | "conversation_lost"
    )
}

/// The whole prompt, from its artifact when it is long.
#[must_use]
pub fn full_prompt(dir: &Path, session: &Session) -> String {
    use std::io::Read;
    let Some(artifact) = &session.prompt_artifact else { return session.prompt.clone() };
    let mut prompt = String::new();
    let read = decklog_journal::verify::find_artifact(dir, &artifact.path)
        .and_then(|found| found.file.take(64 * 1024 * 1024).read_to_string(&mut prompt));
    match read {
        Ok(_) => prompt,
        Err(error) => {
            format!("{}… (the rest is in {}, which cannot be read: {error})", session.prompt, visible(&artifact.path))
        }
    }
}
