//! `mcp`: the servers of a container as one, for a client that is not ours; every call in the record.
//!
//! The session has no agent, and one turn: from the first server's start to the client's leaving, so that what the tools
//! changed is a turn's change like any other. Must not know: MCP, podman.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use decklog_journal::event::{TurnEnd, TurnStart};
use decklog_journal::redact::Redactor;
use decklog_journal::time::seconds_between;
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use decklog_sandbox::gateway::{Gateway, HttpPlace};
use serde::Serialize;

use super::recording::{Ended, Ending, Recording, RunError, Setup, exit, place, redactor};
use crate::observe::Observer;
use crate::sandbox::{Sandbox, SandboxPlan, Told};
use crate::supervise::{Received, Signals};
use crate::trees::named;
use crate::turn::not_kept;

/// How often it is looked whether the client has left.
const LOOKING: Duration = Duration::from_millis(50);
/// The one turn.
const TURN: u32 = 1;

/// Everything about it that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct McpPlan {
    /// The container.
    pub sandbox: SandboxPlan,
    /// Where HTTP is served; absent: stdio alone.
    pub listen: Option<HttpPlace>,
    /// Where and how.
    pub setup: Setup,
}

/// How it came out.
#[derive(Debug, Clone, Serialize)]
pub struct McpResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: PathBuf,
    /// How the session came out.
    pub outcome: Outcome,
    /// What the program exits with.
    pub exit_code: i32,
    /// Seconds it took.
    pub duration_secs: f64,
    /// Calls that came.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Files changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// Why it stopped.
enum Stopped {
    Left,
    Signal(Received),
    Failed(String),
}

/// Serves until the client leaves or a signal comes.
///
/// # Errors
/// [`RunError`] when the session cannot be made. A container that cannot be had is no error here but a failed session.
pub fn mcp(
    store: &SessionStore,
    plan: &McpPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<McpResult, RunError> {
    let names: Vec<&str> = plan.sandbox.image.servers.iter().map(|server| server.name.as_str()).collect();
    let prompt = format!("MCP servers of image {}: {}", plan.sandbox.image.name, names.join(", "));
    let redactor: Redactor = redactor(
        &plan.setup.env,
        &plan.setup.secrets,
        plan.sandbox.image.servers.iter().flat_map(|server| &server.env),
    );
    let about = (SessionKind::Mcp, prompt.as_str());
    let mut recording = Recording::begin(store, &plan.setup, &redactor, signals, observer, |start| start, about)?;
    let before = recording.trees.take();
    if let Some(trouble) = &before.trouble {
        not_kept(&recording.writer, None, &trouble.reason, recording.observer);
        recording.kept &= trouble.is_limitation;
    }
    recording.append(TurnStart {
        boxed: false,
        turn: TURN,
        agent: String::new(),
        role: Role::Solo,
        model: None,
        permissions: None,
        command: Vec::new(),
        prompt: String::new(),
        prompt_artifact: None,
        snapshot: before.tree.clone(),
        withheld: named(&before.withheld),
    });
    let told = Arc::new(Told::new(recording.writer.clone(), Some(TURN)));
    let stopped = serve(store, plan, &mut recording, &told);
    let seen = told.seen();
    Ok(end(recording, stopped, before.tree.as_deref(), (seen.calls, seen.failed)))
}

fn serve(store: &SessionStore, plan: &McpPlan, recording: &mut Recording<'_>, told: &Arc<Told>) -> Stopped {
    let place = place(store, &plan.setup);
    let mut address = Ok(None);
    let early = |gateway: &Gateway| match &plan.listen {
        Some(place) => address = gateway.serve_http(place.clone()).map(Some),
        None => gateway.serve_stdio(),
    };
    let observer = &mut *recording.observer;
    let opened = Sandbox::open(&plan.sandbox, &recording.writer, &place, Arc::clone(told), observer, early);
    let sandbox = match opened {
        Ok(sandbox) => sandbox,
        Err(error) => {
            return recording.signals.received().map_or_else(|| Stopped::Failed(error.to_string()), Stopped::Signal);
        }
    };
    let address = match address {
        Ok(address) => address,
        Err(error) => {
            recording.kept &= sandbox.close(recording.observer);
            return Stopped::Failed(error.to_string());
        }
    };
    let gateway = sandbox.gateway();
    let mut told_of = false;
    let stopped = loop {
        // First: who leaves at once is told, too.
        if !told_of && let Some(states) = gateway.states() {
            told_of = true;
            recording.observer.serving(&states, address);
        }
        if let Some(signal) = recording.signals.received() {
            // Most clients end their servers with a signal: what is over when it comes was not cut off by it.
            break if gateway.calls_open() == 0 && address.is_none() { Stopped::Left } else { Stopped::Signal(signal) };
        }
        if gateway.is_over() {
            break Stopped::Left;
        }
        recording.signals.wait(LOOKING);
        recording.observer.idle();
    };
    recording.kept &= sandbox.close(recording.observer);
    stopped
}

fn end(mut recording: Recording<'_>, stopped: Stopped, before: Option<&str>, (calls, failed): (u64, u64)) -> McpResult {
    let (ending, turn_outcome, exit_code, error) = match stopped {
        Stopped::Left => (Outcome::Success, TurnOutcome::Success, exit::DONE, None),
        Stopped::Signal(signal) => (Outcome::Interrupted, TurnOutcome::Interrupted, signal.exit_code(), None),
        Stopped::Failed(error) => (Outcome::Failed, TurnOutcome::Failed, exit::FAILED, Some(error)),
    };
    let after = recording.trees.take();
    let changes = recording.trees.changes(&recording.writer, TURN, before, after.tree.as_deref());
    let missing = after.trouble.map(|trouble| (trouble.reason, trouble.is_limitation));
    if let Some((reason, is_limitation)) = missing.or(changes.trouble.map(|reason| (reason, false))) {
        not_kept(&recording.writer, Some(TURN), &reason, recording.observer);
        recording.kept &= is_limitation;
    }
    let duration_secs = seconds_between(recording.writer.started_at(), recording.now());
    let after_tree = after.tree.clone();
    let mut withheld = after.withheld;
    withheld.extend(changes.withheld);
    recording.append(TurnEnd {
        turn: TURN,
        outcome: turn_outcome,
        exit_code: None,
        signal: None,
        duration_secs,
        agent_session_id: None,
        model: None,
        error: error.clone(),
        snapshot: after.tree,
        files: changes.files,
        files_changed: changes.count,
        patch: String::new(),
        patch_artifact: changes.patch,
        withheld: named(&withheld),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    });
    let summary = error.clone().unwrap_or_else(|| match failed {
        0 => format!("{calls} calls"),
        failed => format!("{calls} calls, {failed} of them failed"),
    });
    let ending = Ending { summary: Some(summary), ..Ending::of(Some(ending), exit_code) };
    let Ended { outcome, exit_code, recorded, .. } = recording.close(ending, []);
    McpResult {
        id: recording.writer.id().clone(),
        session_dir: recording.writer.dir().to_owned(),
        outcome: outcome.unwrap_or(Outcome::Failed),
        exit_code,
        duration_secs,
        calls,
        failed,
        files_changed: before.and(after_tree.as_deref()).map(|_| changes.count),
        error,
        recorded,
    }
}
