//! One session across several agents: each is handed a packet of what the record knows.
//!
//! Must not know: which agent comes next (that was decided before), the terminal, the configuration.

mod answer;
mod order;
mod packet;
mod summary;

use std::io::Read;
use std::path::Path;

use decklog_journal::artifacts::RESUME_DIR;
use decklog_journal::event::{ArtifactRef, Checkpoint, GitState, Handoff, Notice, Resumed};
use decklog_journal::session::{self, Turn};
use decklog_journal::verify::{ArtifactFile, find_artifact};
use decklog_journal::words::{Permissions, Role};
use decklog_journal::{Session, SessionId, SessionStore, WriteError};

pub(super) use self::answer::{Answer, Question, answer, follow, has_worked};
pub(super) use self::order::Order;
pub use self::order::{Candidate, Limited, Relay, UNTOLD};
use self::packet::About;
pub use self::packet::Packet;

use decklog_snapshot::SnapshotReader;

use super::party::Party;
use super::recording::{Ask, Recording, RunError, Setup, exit, redactor};
use super::restore::AGENT;
use super::run::{Course, RunPlan, RunResult, go};
use crate::agents::Used;
use crate::observe::Observer;
use crate::supervise::Signals;

/// What stands between a packet and what is asked besides.
const NOW: &str = "\n# Now\n\n";

/// Bytes of a packet that an agent is given to read.
const BUDGET: usize = 24 * 1024;

/// A session checkpointed for another agent.
#[derive(Debug)]
pub struct HandedOff {
    /// What the next agent reads, relative to the session directory.
    pub packet: ArtifactRef,
    /// The same for programs.
    pub json: ArtifactRef,
    /// Whether everything could be recorded.
    pub recorded: bool,
}

/// Checkpoints the session, hands it to `to`, and gives what that agent is to read.
pub(super) fn hand_over(recording: &mut Recording<'_>, to: &str, reason: &str) -> Result<String, RunError> {
    recording.append(Checkpoint { reason: reason.to_owned(), exit_code: None });
    go_on_with(recording, to, reason)
}

/// Hands a session that is checkpointed to `to`, and gives what that agent is to read.
pub(super) fn go_on_with(recording: &mut Recording<'_>, to: &str, reason: &str) -> Result<String, RunError> {
    let (made, handed) = write_packet(recording, to, reason)?;
    let pid = (!recording.setup.clock.is_fixed()).then(std::process::id);
    recording.append(Resumed { pid, decklog_version: env!("CARGO_PKG_VERSION").into(), torn_bytes: None });
    let (from, to, reason) = (made.previous_agent.clone().unwrap_or_default(), to.to_owned(), reason.to_owned());
    recording.append(Handoff { from, to, reason, packet_artifact: Some(handed.packet) });
    Ok(made.markdown(BUDGET))
}

/// A packet, and what the agent is asked besides.
pub(super) fn with_prompt(packet: &str, prompt: &str) -> String {
    if prompt.is_empty() { packet.to_owned() } else { format!("{packet}{NOW}{prompt}\n") }
}

/// Makes the packet of the session as it stands.
pub(super) fn write_packet(recording: &Recording<'_>, to: &str, reason: &str) -> Result<(Packet, HandedOff), RunError> {
    let writer = &recording.writer;
    let dir = writer.dir();
    let session = loaded(dir)?;
    let place = dir.to_string_lossy();
    let asked = |turn: &Turn| asked(dir, turn);
    let repository = repository(&recording.setup.working_dir);
    let about = About { target: to, reason, now: writer.clock().now(), dir: &place, repository, asked: &asked };
    let packet = Packet::of(&session, &about);
    let number = std::fs::read_dir(dir.join(RESUME_DIR)).map_or(0, Iterator::count) / 2 + 1;
    let name = |ending: &str| format!("{RESUME_DIR}/{number:03}-{}.{ending}", file_name(to));
    let io = |error: serde_json::Error| WriteError::Io { path: dir.to_owned(), error: error.into() };
    let json = serde_json::to_string_pretty(&packet).map_err(io)? + "\n";
    let json = writer.write_whole_artifact(&name("json"), json.as_bytes())?;
    let text = writer.write_whole_artifact(&name("md"), packet.markdown(BUDGET).as_bytes())?;
    Ok((packet, HandedOff { packet: text, json, recorded: recording.kept }))
}

pub(super) fn loaded(dir: &Path) -> Result<Session, WriteError> {
    session::load(dir).map_err(|error| WriteError::Load { path: dir.to_owned(), error })
}

/// The repository around `working_dir` as it is now: agents commit, too.
fn repository(working_dir: &Path) -> Option<(GitState, String)> {
    let reader = SnapshotReader::open(Some(working_dir), working_dir).ok()?;
    let found = reader.repository()?;
    let state = GitState { head: found.head.clone(), branch: found.branch.clone() };
    Some((state, found.head_tree.to_string()))
}

/// What a turn's agent was asked, without the packet it was given with it.
fn asked(dir: &Path, turn: &Turn) -> String {
    let Some(artifact) = &turn.prompt_artifact else { return turn.prompt.clone() };
    // What is longer is cut anyway.
    let Some(text) = beginning(dir, artifact, 2 * BUDGET) else { return String::new() };
    match text.split_once(NOW) {
        Some((packet, prompt)) if packet.starts_with(packet::OPENING) => prompt.to_owned(),
        _ if text.starts_with(packet::OPENING) => String::new(),
        _ => text,
    }
}

/// Whether a turn's agent was given a packet.
fn began_by_packet(dir: &Path, turn: &Turn) -> bool {
    let artifact = turn.prompt_artifact.as_ref();
    let opening = artifact.and_then(|artifact| beginning(dir, artifact, packet::OPENING.len()));
    opening.is_some_and(|opening| opening == packet::OPENING)
}

/// The first `limit` bytes of an artifact.
fn beginning(dir: &Path, artifact: &ArtifactRef, limit: usize) -> Option<String> {
    let Ok(ArtifactFile { file, compressed: false }) = find_artifact(dir, &artifact.path) else { return None };
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An agent's name as a part of a file's.
fn file_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    agent.chars().map(plain).take(64).collect()
}

/// Asks `party`, who had the session, what the next one has to know: a turn of its own, in which it may write nothing.
/// What it tells is in the packets from then on. Without its conversation it knows nothing, and is not asked.
pub(super) fn summarize(
    recording: &mut Recording<'_>,
    party: &Party,
    own: Option<(String, Used)>,
) -> Result<(), RunError> {
    let Some(resume) = own else { return Ok(()) };
    let turn = recording.next_turn();
    let result = recording.turn(Ask {
        turn,
        agent: &party.agent,
        role: Role::Solo,
        prompt: summary::PROMPT.to_owned(),
        model: party.model.clone(),
        permissions: Permissions::ReadOnly,
        resume: Some(resume),
        begins_anew: false,
        at_most: None,
        follows_at_once: false,
    })?;
    let text = "asked what the next agent has to know".to_owned();
    recording.append(Notice { turn: Some(turn), code: summary::ASKED.into(), text, text_artifact: None });
    recording.close_turn(turn, &result, &[]);
    Ok(())
}

/// Checkpoints the session `id` for the agent `to`, after asking `outgoing`, if given, what there is to know.
///
/// # Errors
/// [`RunError`] when another recorder holds it, or it cannot be read or written.
pub fn hand_off(
    store: &SessionStore,
    id: &SessionId,
    (to, outgoing): (&str, Option<&Party>),
    setup: &Setup,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<HandedOff, RunError> {
    let redactor = redactor(&setup.env, &setup.secrets, outgoing.into_iter().flat_map(|party| &party.agent.env));
    let mut recording = Recording::resume(store, id, setup, &redactor, signals, observer)?;
    let first = recording.next_turn();
    if let Some(party) = outgoing {
        let past = loaded(recording.writer.dir())?;
        let own = conversation(&past, recording.writer.dir(), &party.agent.name, setup);
        summarize(&mut recording, party, own)?;
    }
    let (_, handed) = write_packet(&recording, to, "handoff")?;
    recording.close_sandbox();
    recording.finish(first..recording.next_turn());
    let exit_code = |kept: bool| Some(if kept { exit::DONE } else { exit::FAILED });
    let kept = recording.kept;
    recording.append(Checkpoint { reason: "handoff".into(), exit_code: exit_code(kept) });
    Ok(HandedOff { recorded: recording.kept, ..handed })
}

/// Goes on with the session `id`: `plan.party` in its own conversation, if it was the last one and told which that is;
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
    let dir = store.entry(id);
    let past = loaded(&dir)?;
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, plan.relay.configured(&plan.party));
    let mut recording = Recording::resume(store, id, &plan.setup, &redactor, signals, observer)?;
    let order = Order::new(&plan.party, &plan.relay);
    let own = conversation(&past, &dir, &plan.party.agent.name, &plan.setup);
    let course = match own {
        Some(resume) => {
            let prompt = if plan.prompt.is_empty() { GO_ON.to_owned() } else { plan.prompt.clone() };
            Course { prompt, besides: plan.prompt.clone(), resume: Some(resume), order }
        }
        None => {
            let packet = hand_over(&mut recording, &plan.party.agent.name, "manual")?;
            let prompt = with_prompt(&packet, &plan.prompt);
            Course { prompt, besides: plan.prompt.clone(), resume: None, order }
        }
    };
    go(recording, plan, course)
}

/// The conversation of `agent`, if it had the last turn and told which one that is, and is where it was.
pub(super) fn conversation(past: &Session, dir: &Path, agent: &str, setup: &Setup) -> Option<(String, Used)> {
    if setup.is_boxed() {
        // What the agent kept on the host is not in the container.
        return None;
    }
    // One that it had before another's turn, or before it was given a packet, does not know of what came between.
    let agents = past.turns.iter().rev().filter(|turn| turn.agent != AGENT);
    let mut own = agents.take_while(|turn| turn.agent == agent);
    let id = own.find(|turn| turn.agent_session_id.is_some() || began_by_packet(dir, turn))?.conversation()?;
    Some((id.to_owned(), used_by(past, id)))
}

const GO_ON: &str = "Your last turn was cut off. See what stands there, and finish the task.";

/// What a conversation has used so far.
pub(super) fn used_by(past: &Session, conversation: &str) -> Used {
    let mut used = Used::default();
    for turn in past.turns.iter().filter(|turn| turn.agent_session_id.as_deref() == Some(conversation)) {
        used += Used { tokens: turn.tokens, cost_usd: turn.cost_usd.unwrap_or(0.0) };
    }
    used
}
