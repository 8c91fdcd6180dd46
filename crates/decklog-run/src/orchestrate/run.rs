//! `run`: one agent, one prompt, its checks.

use std::path::PathBuf;

use decklog_journal::event::Tokens;
use decklog_journal::redact::Redactor;
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use jiff::Timestamp;
use serde::Serialize;

use super::party::Party;
use super::recording::{CheckResult, Ended, Ending, Recording, RunError, Setup, exit, redactor};
use super::relay::{Answer, Limited, Order, Question, Relay, answer};
use crate::agents::Used;
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::supervise::{Received, Signals, SpawnError};
use crate::turn::TurnResult;

/// Everything about a run that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Who.
    pub party: Party,
    /// The prompt, whole.
    pub prompt: String,
    /// Who goes on when an agent is rate-limited.
    pub relay: Relay,
    /// Where and how.
    pub setup: Setup,
}

/// How a run came out. Its `Serialize` is what `run --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: PathBuf,
    /// Who.
    pub agent: String,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the session came out; absent when it is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How the turn came out.
    pub turn_outcome: TurnOutcome,
    /// What the program exits with.
    pub exit_code: i32,
    /// Exit code of the agent's process; absent when a signal ended it, or it was never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_exit_code: Option<i32>,
    /// The signal that ended the agent's process, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_signal: Option<i32>,
    /// Seconds the session took.
    pub duration_secs: f64,
    /// The agent's final text.
    pub text: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When a limited agent may go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
    /// Agents that met a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Limited>,
    /// When all are limited: who is back first, if anybody told when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_back: Option<Limited>,
    /// The agent's own id for the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
    /// Files changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    /// Lines added.
    pub lines_added: u64,
    /// Lines removed.
    pub lines_removed: u64,
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as the agent told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Checks, in order.
    pub checks: Vec<CheckResult>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// Where a run goes on.
pub(super) struct Course {
    /// What the agent is asked then.
    pub(super) prompt: String,
    /// What another agent is asked besides reading its packet: nothing, where the packet's objective says all.
    pub(super) besides: String,
    /// The agent's own conversation, and what it has used.
    pub(super) resume: Option<(String, Used)>,
    /// Who is asked, and who follows.
    pub(super) order: Order,
}

/// Runs `plan` as a new session in `store`.
///
/// # Errors
/// [`RunError`] when the session cannot be made or no process can be started. An agent that fails is no error.
pub fn run(
    store: &SessionStore,
    plan: &RunPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<RunResult, RunError> {
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, plan.relay.configured(&plan.party));
    let start = |mut start: decklog_journal::event::SessionStart| {
        start.agents = vec![plan.party.agent.name.clone()];
        start
    };
    let about = (SessionKind::Run, plan.prompt.as_str());
    let recording = Recording::begin(store, &plan.setup, &redactor, signals, observer, start, about)?;
    let order = Order::new(&plan.party, &plan.relay);
    go(recording, plan, Course { prompt: plan.prompt.clone(), besides: String::new(), resume: None, order })
}

/// Goes on from `course` to the session's end.
pub(super) fn go(mut recording: Recording<'_>, plan: &RunPlan, course: Course) -> Result<RunResult, RunError> {
    let Course { prompt, besides, resume, mut order } = course;
    let first = recording.next_turn();
    let permissions = plan.setup.permissions;
    let question = Question { role: Role::Solo, prompt, besides, permissions, resume, at_most: None };
    let Answer { turn: number, result: turn, limited, closed } = answer(&mut recording, &mut order, question)?;
    let (checks, stopped_by) = if turn.outcome == TurnOutcome::Success {
        check_all(&mut recording, number)?
    } else {
        (Vec::new(), turn.stopped_by)
    };
    // Before the end, so that the record can say it when this cannot be kept.
    if !closed {
        recording.close_turn(number, &turn, &checks);
    }
    let (outcome, exit_code) = decide(&turn, &checks, stopped_by, !limited.is_empty());
    let summary = turn.error.clone().or_else(|| summary(&turn.facts.final_text, recording.writer.redactor()));
    let ended = recording.close(Ending { summary, ..Ending::of(outcome, exit_code) }, first..=number);
    let Ended { outcome, exit_code, duration_secs, recorded: kept } = ended;
    let files_changed = turn.has_diff().then_some(turn.files_changed);
    let writer = &recording.writer;
    Ok(RunResult {
        id: writer.id().clone(),
        session_dir: writer.dir().to_owned(),
        agent: order.present().agent.name.clone(),
        model: turn.facts.model,
        outcome,
        turn_outcome: turn.outcome,
        exit_code,
        agent_exit_code: turn.exit.0,
        agent_signal: turn.exit.1,
        duration_secs,
        text: turn.facts.final_text,
        error: turn.error,
        resets_at: turn.facts.limited.flatten(),
        limited,
        first_back: if outcome.is_none() { order.first_back() } else { None },
        agent_session_id: turn.facts.agent_session_id,
        files_changed,
        lines_added: turn.lines.0,
        lines_removed: turn.lines.1,
        tokens: turn.facts.tokens,
        cost_usd: turn.facts.cost_usd,
        checks,
        recorded: kept,
    })
}

pub(super) fn check_all(
    recording: &mut Recording<'_>,
    turn: u32,
) -> Result<(Vec<CheckResult>, Option<Received>), SpawnError> {
    let mut results = Vec::new();
    for command in &recording.setup.checks {
        if let Some(signal) = recording.signals.received() {
            return Ok((results, Some(signal)));
        }
        let (result, stopped_by) = recording.check(turn, command)?;
        results.push(result);
        if stopped_by.is_some() {
            return Ok((results, stopped_by));
        }
    }
    Ok((results, None))
}

/// What a run comes to: no outcome means that it is checkpointed.
fn decide(
    turn: &TurnResult,
    checks: &[CheckResult],
    stopped_by: Option<Received>,
    limited: bool,
) -> (Option<Outcome>, i32) {
    if let Some(signal) = stopped_by {
        return (Some(Outcome::Interrupted), signal.exit_code());
    }
    match turn.outcome {
        TurnOutcome::Success if checks.iter().all(|check| check.passed) => (Some(Outcome::Success), exit::DONE),
        TurnOutcome::Success => (Some(Outcome::Failed), exit::NOT_APPROVED),
        TurnOutcome::RateLimited => (None, exit::LIMITED),
        // The last of several, when those before it were refused.
        TurnOutcome::Stalled if limited => (None, exit::LIMITED),
        TurnOutcome::Interrupted => (Some(Outcome::Interrupted), exit::INTERRUPTED),
        TurnOutcome::Failed | TurnOutcome::Stalled | TurnOutcome::TimedOut => (Some(Outcome::Failed), exit::FAILED),
    }
}

/// The first line that says something.
fn summary(text: &str, redactor: &Redactor) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(clip_safely(line.to_owned(), 200, redactor))
}
