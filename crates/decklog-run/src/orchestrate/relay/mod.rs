//! One session across several agents: each is handed a packet of what the record knows.
//!
//! Must not know: which agent comes next (that was decided before), the terminal, the configuration.

mod packet;

use decklog_journal::artifacts::RESUME_DIR;
use decklog_journal::event::{ArtifactRef, Checkpoint, Handoff, Resumed};
use decklog_journal::session;
use decklog_journal::{SessionId, SessionStore, WriteError};

use self::packet::About;
pub use self::packet::Packet;

use super::recording::{Recording, RunError, Setup, redactor};
use super::run::{Course, RunPlan, RunResult, go};
use crate::observe::Observer;
use crate::supervise::Signals;

/// Bytes of a packet that an agent is given to read.
const BUDGET: usize = 24 * 1024;

/// A session checkpointed for another agent.
#[derive(Debug)]
pub struct HandedOff {
    /// What the next agent reads, relative to the session directory.
    pub packet: ArtifactRef,
    /// The same for programs.
    pub json: ArtifactRef,
}

/// Checkpoints the session, hands it to `to`, and gives what that agent is to read.
pub(super) fn hand_over(recording: &mut Recording<'_>, to: &str, reason: &str) -> Result<String, RunError> {
    recording.append(Checkpoint { reason: reason.to_owned(), exit_code: None });
    let (made, handed) = write_packet(recording, to, reason)?;
    let pid = (!recording.setup.clock.is_fixed()).then(std::process::id);
    recording.append(Resumed { pid, decklog_version: env!("CARGO_PKG_VERSION").into(), torn_bytes: None });
    let (from, to, reason) = (made.previous_agent.clone().unwrap_or_default(), to.to_owned(), reason.to_owned());
    recording.append(Handoff { from, to, reason, packet_artifact: Some(handed.packet) });
    Ok(made.markdown(BUDGET))
}

/// Makes the packet of the session as it stands.
fn write_packet(recording: &Recording<'_>, to: &str, reason: &str) -> Result<(Packet, HandedOff), RunError> {
    let writer = &recording.writer;
    let dir = writer.dir();
    let load = |error| WriteError::Load { path: dir.to_owned(), error };
    let session = session::load(dir).map_err(load)?;
    let place = dir.to_string_lossy();
    let about = About { target: to, reason, now: writer.clock().now(), dir: &place };
    let packet = Packet::of(&session, &about);
    let number = std::fs::read_dir(dir.join(RESUME_DIR)).map_or(0, Iterator::count) / 2 + 1;
    let name = |ending: &str| format!("{RESUME_DIR}/{number:03}-{}.{ending}", file_name(to));
    let io = |error: serde_json::Error| WriteError::Io { path: dir.to_owned(), error: error.into() };
    let json = serde_json::to_string_pretty(&packet).map_err(io)? + "\n";
    let json = writer.write_whole_artifact(&name("json"), json.as_bytes())?;
    let text = writer.write_whole_artifact(&name("md"), packet.markdown(BUDGET).as_bytes())?;
    Ok((packet, HandedOff { packet: text, json }))
}

/// An agent's name as a part of a file's.
fn file_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    agent.chars().map(plain).take(64).collect()
}

/// Checkpoints the session `id` for the agent `to`.
///
/// # Errors
/// [`RunError`] when another recorder holds it, or it cannot be read or written.
pub fn hand_off(
    store: &SessionStore,
    id: &SessionId,
    to: &str,
    setup: &Setup,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<HandedOff, RunError> {
    let redactor = redactor(&setup.env, []);
    let mut recording = Recording::resume(store, id, setup, &redactor, signals, observer)?;
    let (_, handed) = write_packet(&recording, to, "handoff")?;
    recording.append(Checkpoint { reason: "handoff".into(), exit_code: Some(0) });
    recording.finish([]);
    Ok(handed)
}

/// Goes on with the session `id`: `plan.agent` in its own conversation, if it was the last one and told which that is;
/// else by a packet. `plan.prompt` may be empty: then the task goes on.
///
/// # Errors
/// [`RunError`] when another recorder holds it, or it cannot be read or written.
pub fn resume(
    store: &SessionStore,
    id: &SessionId,
    plan: &RunPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<RunResult, RunError> {
    let path = store.entry(id);
    let past = session::load(&path).map_err(|error| WriteError::Load { path, error })?;
    let redactor = redactor(&plan.setup.env, &plan.agent.env);
    let mut recording = Recording::resume(store, id, &plan.setup, &redactor, signals, observer)?;
    let turn = past.head.turns + 1;
    let own = past.turns.iter().rev().find(|turn| turn.agent_session_id.is_some());
    let is_last = past.turns.last().is_some_and(|turn| turn.agent == plan.agent.name);
    let own = own.filter(|turn| is_last && turn.agent == plan.agent.name);
    let course = if let Some((id, used)) = own.and_then(|turn| {
        let id = turn.agent_session_id.clone()?;
        Some((id.clone(), used_by(&past, &id)))
    }) {
        let prompt = if plan.prompt.is_empty() { GO_ON.to_owned() } else { plan.prompt.clone() };
        Course { turn, prompt, resume: Some((id, used)) }
    } else {
        let packet = hand_over(&mut recording, &plan.agent.name, "manual")?;
        let prompt = if plan.prompt.is_empty() { packet } else { format!("{packet}\n# Now\n\n{}\n", plan.prompt) };
        Course { turn, prompt, resume: None }
    };
    go(recording, plan, course)
}

const GO_ON: &str = "Your last turn was cut off. See what stands there, and finish the task.";

/// What a conversation has used so far.
fn used_by(past: &decklog_journal::Session, conversation: &str) -> crate::agents::Used {
    let mut used = crate::agents::Used::default();
    for turn in past.turns.iter().filter(|turn| turn.agent_session_id.as_deref() == Some(conversation)) {
        used += crate::agents::Used { tokens: turn.tokens, cost_usd: turn.cost_usd.unwrap_or(0.0) };
    }
    used
}
