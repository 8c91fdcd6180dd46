//! `run`: one agent, one prompt, its checks.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{Checkpoint, SessionEnd, SessionStart, Tokens};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::{Redactor, credential_values};
use decklog_journal::store::{Place, StoreError};
use decklog_journal::time::{Clock, seconds_between};
use decklog_journal::wire::prompt_hash;
use decklog_journal::words::{Outcome, Permissions, Role, SessionKind, TurnOutcome};
use decklog_journal::{Durability, SessionId, SessionStore, SessionWriter, WriterOptions};
use jiff::Timestamp;
use serde::Serialize;

use crate::agents::{AgentDefinition, TurnRequest};
use crate::check::{CheckPlace, run_check};
use crate::finish::{compress_stream, write_state};
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::supervise::{Limits, Received, Signals, SpawnError};
use crate::trees::Trees;
use crate::turn::{TurnPlan, TurnResult, not_kept, run_turn};

/// Everything about a run that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Who.
    pub agent: AgentDefinition,
    /// The prompt, whole.
    pub prompt: String,
    /// The model wanted.
    pub model: Option<String>,
    /// What the agent may do.
    pub permissions: Permissions,
    /// Where, absolute.
    pub working_dir: PathBuf,
    /// Checks, in order.
    pub checks: Vec<String>,
    /// Ends the agent after so long.
    pub timeout: Option<Duration>,
    /// Ends the agent when it is silent for so long.
    pub stall_timeout: Option<Duration>,
    /// The agents' whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where the session directory is to be.
    pub place: Place,
    /// The program that can be a reaper: this one.
    pub reaper: PathBuf,
    /// The machine's name.
    pub host: Option<String>,
    /// What a power cut may take.
    pub durability: Durability,
    /// Where timestamps come from.
    pub clock: Clock,
    /// Last four digits of the id; absent: random.
    pub id_suffix: Option<u16>,
    /// Whether decklog runs as root.
    pub as_root: bool,
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
    /// The agent's own id for the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
    /// Files changed.
    pub files_changed: u64,
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

/// How a check came out.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// The command.
    pub command: String,
    /// Whether it exited with 0.
    pub passed: bool,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What it printed.
    #[serde(skip)]
    pub output: String,
}

/// Why nothing could be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The session could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No process could be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Exit codes, the same in the record and of the program.
mod exit {
    pub(super) const DONE: i32 = 0;
    pub(super) const CHECK_FAILED: i32 = 1;
    pub(super) const FAILED: i32 = 2;
    pub(super) const LIMITED: i32 = 75;
    pub(super) const INTERRUPTED: i32 = 130;
    pub(super) const TERMINATED: i32 = 143;
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
    let redactor = redactor(&plan.env, &plan.agent.env);
    let options = WriterOptions { clock: plan.clock.clone(), durability: plan.durability, redactor: redactor.clone() };
    let mut trees = None;
    let mut writer = store.create(&plan.place, options, plan.id_suffix, |id, dir| {
        let objects = dir.join(OBJECTS_DIR);
        let opened = Trees::open(&plan.working_dir, &objects, &redactor, &[store.root(), dir]);
        let start = session_start(plan, id, dir, &opened);
        trees = Some(opened);
        start
    })?;
    let mut trees = trees.unwrap_or_default();
    let started = writer.head().map_or_else(|| writer.clock().now(), |head| head.started_at);
    observer.started(writer.id(), writer.dir());

    let turn_plan = TurnPlan {
        agent: plan.agent.clone(),
        role: Role::Solo,
        request: TurnRequest {
            prompt: plan.prompt.clone(),
            prompt_dir: None,
            model: plan.model.clone(),
            permissions: plan.permissions,
            working_dir: plan.working_dir.clone(),
            resume: None,
            as_root: plan.as_root,
        },
        limits: Limits { timeout: plan.timeout, stall_timeout: plan.stall_timeout },
        env: plan.env.clone(),
        reaper: plan.reaper.clone(),
    };
    let turn = run_turn(&mut writer, &mut trees, 1, &turn_plan, signals, observer)?;
    drop(trees);
    let mut kept = turn.kept;
    let (checks, stopped_by) = if turn.outcome == TurnOutcome::Success {
        check_all(&mut writer, plan, signals, observer, &mut kept)?
    } else {
        (Vec::new(), turn.stopped_by)
    };
    let (outcome, mut exit_code) = decide(&turn, &checks, stopped_by);
    if !kept && exit_code == exit::DONE {
        exit_code = exit::FAILED;
    }
    // Before the end, so that the record can say it when this cannot be kept.
    if let Err(error) = write_state(&writer, 1, &turn, &checks) {
        kept = false;
        exit_code = if exit_code == exit::DONE { exit::FAILED } else { exit_code };
        not_kept(&mut writer, Some(1), &error.to_string(), observer);
    }
    let duration_secs = seconds_between(started, writer.clock().now());
    let mut append = |writer: &mut SessionWriter,
                      result: Result<decklog_journal::Event, decklog_journal::WriteError>| {
        match result {
            Ok(event) => observer.event(&event),
            Err(error) => {
                kept = false;
                let lost = writer.lost();
                observer.trouble(&format!("{error} ({lost} events are not in the record)"));
            }
        }
    };
    match outcome {
        Some(outcome) => {
            let summary = turn.error.clone().or_else(|| summary(&turn.facts.final_text, writer.redactor()));
            let end = SessionEnd { outcome, iterations: None, summary, confidence: None, duration_secs, exit_code };
            let result = writer.append(end);
            append(&mut writer, result);
        }
        None => {
            let result = writer.append(Checkpoint { reason: "rate_limit".into(), exit_code: Some(exit_code) });
            append(&mut writer, result);
        }
    }
    if let Err(error) = compress_stream(writer.dir(), 1) {
        kept = false;
        observer.trouble(&error.to_string());
    }
    kept &= writer.lost() == 0;
    if !kept && exit_code == exit::DONE {
        exit_code = exit::FAILED;
    }
    Ok(RunResult {
        id: writer.id().clone(),
        session_dir: writer.dir().to_owned(),
        agent: plan.agent.name.clone(),
        model: turn.facts.model,
        outcome,
        turn_outcome: turn.outcome,
        exit_code,
        duration_secs,
        text: turn.facts.final_text,
        error: turn.error,
        resets_at: turn.facts.limited.flatten(),
        agent_session_id: turn.facts.agent_session_id,
        files_changed: turn.files_changed,
        lines_added: turn.lines.0,
        lines_removed: turn.lines.1,
        tokens: turn.facts.tokens,
        cost_usd: turn.facts.cost_usd,
        checks,
        recorded: kept,
    })
}

/// Keeps out what the environment holds that looks like a credential.
pub(super) fn redactor(env: &[(OsString, OsString)], configured: &[(String, String)]) -> Redactor {
    use std::os::unix::ffi::OsStrExt;
    let inherited = env.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value.as_bytes().to_vec()));
    let configured = configured.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let named = inherited.chain(configured);
    let mut builder = Redactor::builder();
    for (name, value) in credential_values(named) {
        builder = builder.value(&name, &value);
    }
    builder.build()
}

fn session_start(plan: &RunPlan, id: SessionId, dir: &std::path::Path, trees: &Trees) -> SessionStart {
    SessionStart {
        format: FormatVersion::CURRENT,
        id,
        kind: SessionKind::Run,
        prompt: plan.prompt.clone(),
        prompt_artifact: None,
        prompt_hash: prompt_hash(plan.prompt.as_bytes()),
        working_dir: plan.working_dir.to_string_lossy().into_owned(),
        session_dir: dir.to_string_lossy().into_owned(),
        agents: vec![plan.agent.name.clone()],
        actor_agent: None,
        critic_agent: None,
        actor_model: None,
        critic_model: None,
        max_iterations: None,
        git: trees.git_state(),
        host: plan.host.clone(),
        pid: (!plan.clock.is_fixed()).then(std::process::id),
        decklog_version: env!("CARGO_PKG_VERSION").to_owned(),
        source: None,
    }
}

type Checks = (Vec<CheckResult>, Option<Received>);

fn check_all(
    writer: &mut SessionWriter,
    plan: &RunPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
    kept: &mut bool,
) -> Result<Checks, SpawnError> {
    let mut results = Vec::new();
    for command in &plan.checks {
        if let Some(signal) = signals.received() {
            return Ok((results, Some(signal)));
        }
        observer.checking(command);
        let place = CheckPlace { working_dir: &plan.working_dir, env: &plan.env, reaper: &plan.reaper };
        let checked = run_check(command, 1, place, writer.redactor(), signals, &mut || observer.idle())?;
        let validation = checked.validation;
        results.push(CheckResult {
            command: command.clone(),
            passed: validation.passed,
            exit_code: validation.exit_code,
            output: validation.output.clone(),
        });
        match writer.append(validation) {
            Ok(event) => observer.event(&event),
            Err(error) => {
                *kept = false;
                observer.trouble(&error.to_string());
            }
        }
        if checked.stopped_by.is_some() {
            return Ok((results, checked.stopped_by));
        }
    }
    Ok((results, None))
}

/// What a run comes to: no outcome means that it is checkpointed.
fn decide(turn: &TurnResult, checks: &[CheckResult], stopped_by: Option<Received>) -> (Option<Outcome>, i32) {
    match stopped_by {
        Some(Received::Interrupt) => return (Some(Outcome::Interrupted), exit::INTERRUPTED),
        Some(Received::Terminate) => return (Some(Outcome::Interrupted), exit::TERMINATED),
        None => {}
    }
    match turn.outcome {
        TurnOutcome::Success if checks.iter().all(|check| check.passed) => (Some(Outcome::Success), exit::DONE),
        TurnOutcome::Success => (Some(Outcome::Failed), exit::CHECK_FAILED),
        TurnOutcome::RateLimited => (None, exit::LIMITED),
        TurnOutcome::Interrupted => (Some(Outcome::Interrupted), exit::INTERRUPTED),
        TurnOutcome::Failed | TurnOutcome::Stalled | TurnOutcome::TimedOut => (Some(Outcome::Failed), exit::FAILED),
    }
}

/// The first line that says something.
fn summary(text: &str, redactor: &Redactor) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(clip_safely(line.to_owned(), 200, redactor))
}
