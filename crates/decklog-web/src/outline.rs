//! A session without its steps, as the page draws it: its head, its turns, the marks on its timeline, what critics decided.
//!
//! Must not know: HTTP, how a session is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use decklog_journal::Head;
use decklog_journal::event::{
    ArtifactRef, Container, EventBody, FileChange, Handoff, Notice, RateLimited, Tokens, Validation, Withheld,
};
use decklog_journal::session::{SoFar, Step, Turn};
use decklog_journal::store::listed;
use decklog_journal::verify::find_artifact;
use decklog_journal::words::{Permissions, Role, ShownOutcome, ShownStatus, TurnOutcome};
use decklog_query::show::shown_head;
use decklog_text::highlight::Highlighter;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::ansi;
use crate::cards;
use crate::html::markdown;

/// Bytes of a check's output that are shown.
const OUTPUT: usize = 32 * 1024;

/// Everything but the steps.
#[derive(Debug, Serialize)]
pub(crate) struct Outline<'a> {
    /// Bytes of the journal that it sums up.
    position: u64,
    session: BTreeMap<String, Value>,
    prompt: Cow<'a, str>,
    turns: Vec<ShownTurn<'a>>,
    marks: &'a [Mark],
    iterations: Value,
    handoffs: &'a [Handoff],
    containers: &'a [Container],
    picked: Option<u32>,
    notices: &'a [Notice],
    faults: Vec<String>,
}

impl<'a> Outline<'a> {
    /// Of the session in `dir` as far as it was read, `marks` being what happened at moments.
    pub(crate) fn of(dir: &Path, head: Head, so_far: &SoFar<'a>, marks: &'a [Mark]) -> io::Result<Self> {
        let mut iterations = serde_json::to_value(so_far.iterations)?;
        let mut highlighter = Highlighter::default();
        for (shown, iteration) in iterations.as_array_mut().into_iter().flatten().zip(so_far.iterations) {
            for long in ["actor_output", "actor_stderr", "git_diff"] {
                shown.as_object_mut().map(|shown| shown.remove(long));
            }
            shown["feedback_html"] =
                markdown(iteration.feedback.as_deref().unwrap_or_default(), &mut highlighter).into();
        }
        Ok(Self {
            position: head.journal_bytes,
            session: shown_head(&listed(head, dir.to_owned()))?,
            prompt: whole(dir, so_far.prompt, so_far.prompt_artifact),
            turns: so_far.turns.iter().map(|turn| ShownTurn::of(dir, turn)).collect(),
            marks,
            iterations,
            handoffs: so_far.handoffs,
            containers: so_far.containers,
            picked: so_far.picked,
            notices: so_far.notices,
            faults: so_far.faults.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A turn without its steps.
#[derive(Debug, Serialize)]
struct ShownTurn<'a> {
    turn: u32,
    agent: &'a str,
    role: Role,
    model: Option<&'a str>,
    permissions: Option<Permissions>,
    command: &'a [String],
    boxed: bool,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    outcome: Option<TurnOutcome>,
    duration_secs: Option<f64>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    error: Option<&'a str>,
    agent_session_id: Option<&'a str>,
    /// How many there are; so with tools.
    steps: usize,
    tools: usize,
    tokens: Tokens,
    cost_usd: Option<f64>,
    rate_limits: &'a [RateLimited],
    validations: Vec<Check<'a>>,
    files: &'a [FileChange],
    files_changed: u64,
    prompt: Cow<'a, str>,
    withheld: &'a [Withheld],
}

impl<'a> ShownTurn<'a> {
    fn of(dir: &Path, turn: &'a Turn) -> Self {
        Self {
            turn: turn.turn,
            agent: &turn.agent,
            role: turn.role,
            model: turn.model.as_deref(),
            permissions: turn.permissions,
            command: &turn.command,
            boxed: turn.boxed,
            started_at: turn.started_at,
            ended_at: turn.ended_at,
            outcome: turn.outcome,
            duration_secs: turn.duration_secs,
            exit_code: turn.exit_code,
            signal: turn.signal,
            error: turn.error.as_deref(),
            agent_session_id: turn.agent_session_id.as_deref(),
            steps: turn.steps.len(),
            tools: turn.steps.iter().filter(|step| matches!(step, Step::Tool(_))).count(),
            tokens: turn.tokens,
            cost_usd: turn.cost_usd,
            rate_limits: &turn.rate_limits,
            validations: turn.validations.iter().map(Check::of).collect(),
            files: &turn.files,
            files_changed: turn.files_changed,
            prompt: whole(dir, &turn.prompt, turn.prompt_artifact.as_ref()),
            withheld: &turn.withheld,
        }
    }
}

/// What a check said.
#[derive(Debug, Serialize)]
struct Check<'a> {
    command: &'a str,
    passed: bool,
    exit_code: Option<i32>,
    duration_secs: f64,
    output_html: String,
    /// Whether there is more than is shown.
    cut: bool,
    output_artifact: Option<&'a ArtifactRef>,
}

impl<'a> Check<'a> {
    fn of(check: &'a Validation) -> Self {
        let shown = cards::beginning(&check.output, OUTPUT);
        Self {
            command: &check.command,
            passed: check.passed,
            exit_code: check.exit_code,
            duration_secs: check.duration_secs,
            output_html: ansi(shown),
            cut: shown.len() < check.output.len() || check.output_artifact.is_some(),
            output_artifact: check.output_artifact.as_ref(),
        }
    }
}

/// What happened at a moment, for the timeline.
#[derive(Debug, Serialize)]
pub(crate) struct Mark {
    at: Timestamp,
    what: &'static str,
    turn: Option<u32>,
    label: String,
    good: Option<bool>,
    duration_secs: Option<f64>,
}

impl Mark {
    /// Nothing for events that are no moments.
    pub(crate) fn of(at: Timestamp, body: &EventBody) -> Option<Self> {
        let (what, turn, label, good, duration_secs) = match body {
            EventBody::Validation(check) => {
                ("check", Some(check.turn), check.command.clone(), Some(check.passed), Some(check.duration_secs))
            }
            EventBody::RateLimited(limit) => {
                ("rate_limited", Some(limit.turn), limit.message.clone(), Some(false), None)
            }
            EventBody::Handoff(handoff) => ("handoff", None, format!("{} → {}", handoff.from, handoff.to), None, None),
            EventBody::Checkpoint(checkpoint) => ("checkpoint", None, checkpoint.reason.clone(), None, None),
            EventBody::Resumed(_) => ("resumed", None, "resumed".to_owned(), None, None),
            EventBody::Iteration(iteration) => {
                let number = iteration.iteration_number;
                let label = format!("iteration {number}: {}", iteration.critic_decision);
                ("iteration", iteration.critic_turn.or(iteration.actor_turn), label, None, None)
            }
            EventBody::SessionEnd(end) => {
                let outcome = ShownOutcome::of(ShownStatus::Completed, end.outcome);
                ("end", None, outcome.map_or_else(String::new, |outcome| outcome.to_string()), None, None)
            }
            _ => return None,
        };
        Some(Self {
            at,
            what,
            turn,
            label: decklog_text::visible(cards::beginning(&label, 300)).into(),
            good,
            duration_secs,
        })
    }
}

/// A text, from its artifact where it is long, as far as a page holds it.
fn whole<'a>(dir: &Path, text: &'a str, artifact: Option<&ArtifactRef>) -> Cow<'a, str> {
    let Some(artifact) = artifact else { return text.into() };
    let mut bytes = Vec::new();
    let read = find_artifact(dir, &artifact.path)
        .and_then(|found| found.file.take(cards::MOST as u64).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned().into() } else { text.into() }
}
