//! What every orchestration does with one session: make it or go on with it, run turns and checks in it, end it.
//!
//! Must not know: what comes after what.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use decklog_journal::artifacts::{OBJECTS_DIR, TurnFile};
use decklog_journal::event::{Checkpoint, EventBody, GitState, Notice, SessionEnd, SessionStart};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::{Redactor, credential_values};
use decklog_journal::store::{Place, StoreError};
use decklog_journal::time::{Clock, seconds_between};
use decklog_journal::wire::prompt_hash;
use decklog_journal::words::{Outcome, Permissions, Role, SessionKind, Status};
use decklog_journal::{Durability, SessionId, SessionStore, WriteError, WriterOptions};
use decklog_snapshot::Discovered;
use jiff::Timestamp;
use serde::Serialize;

use crate::agents::{AgentDefinition, TurnRequest, Used};
use crate::check::{CheckPlace, run_check};
use crate::finish::{compress_stream, write_state};
use crate::log::Log;
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::sandbox::{self, Sandbox, SandboxError, SandboxPlan, Told, Tools};
use crate::supervise::{Limits, Received, Signals, SpawnError};
use crate::trees::{Trees, git_state};
use crate::turn::{TurnPlan, TurnResult, not_kept, run_turn};

/// How often somebody who waits is looked after.
const WAITING: Duration = Duration::from_millis(100);

/// Where and how a session's agents work: decided before it begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What agents may do.
    pub permissions: Permissions,
    /// Where, absolute.
    pub working_dir: PathBuf,
    /// Checks, in order.
    pub checks: Vec<String>,
    /// Ends an agent after so long.
    pub timeout: Option<Duration>,
    /// Ends an agent when it is silent for so long.
    pub stall_timeout: Option<Duration>,
    /// The agents' whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Variables in it that hold a secret, whatever they are called.
    pub secrets: Vec<String>,
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
    /// Whether somebody is there to be asked for what the permissions do not allow.
    pub asks: bool,
    /// Whether decklog runs as root.
    pub as_root: bool,
    /// The container whose tools agents get; absent: none.
    pub sandbox: Option<SandboxPlan>,
}

impl Setup {
    /// Whether agents run in the session's container.
    pub(super) fn is_boxed(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|plan| plan.boxed.is_some())
    }
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
    /// The session could not be gone on with.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No process could be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There is no container.
    #[error("{error} (session {id})")]
    Sandbox {
        /// The session, which has failed.
        id: SessionId,
        /// Why not.
        error: SandboxError,
    },
    /// A signal came before the first turn.
    #[error("stopped while the container was being made (session {id})")]
    Stopped {
        /// The session, which was interrupted.
        id: SessionId,
        /// What the program exits with.
        exit_code: i32,
    },
}

/// Exit codes, the same in the record and of the program.
pub(super) mod exit {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const NOT_APPROVED: i32 = 1;
    pub(crate) const FAILED: i32 = 2;
    pub(crate) const LIMITED: i32 = 75;
    pub(crate) const INTERRUPTED: i32 = 130;
}

/// Who is asked what in a turn.
pub(super) struct Ask<'a> {
    pub(super) turn: u32,
    pub(super) agent: &'a AgentDefinition,
    pub(super) role: Role,
    pub(super) prompt: String,
    pub(super) model: Option<String>,
    pub(super) permissions: Permissions,
    /// The agent's own conversation to go on with, and what it has used so far.
    pub(super) resume: Option<(String, Used)>,
    /// Whether a new conversation may take that one's place.
    pub(super) begins_anew: bool,
    /// Ends the agent after so long, besides what the setup says.
    pub(super) at_most: Option<Duration>,
    /// Whether nothing ran and nobody was waited for since the turn before.
    pub(super) follows_at_once: bool,
}

/// How a session comes to its end.
pub(super) struct Ending {
    /// Absent: it waits until an agent may go on.
    pub(super) outcome: Option<Outcome>,
    pub(super) exit_code: i32,
    pub(super) iterations: Option<u32>,
    pub(super) summary: Option<String>,
    pub(super) confidence: Option<f64>,
    /// In a race: the turn whose change was applied.
    pub(super) picked: Option<u32>,
}

impl Ending {
    pub(super) fn of(outcome: Option<Outcome>, exit_code: i32) -> Self {
        Self { outcome, exit_code, iterations: None, summary: None, confidence: None, picked: None }
    }
}

/// How a session has been ended.
pub(super) struct Ended {
    /// What is recorded; absent: it waits until an agent may go on.
    pub(super) outcome: Option<Outcome>,
    /// Of the program: nothing succeeds that could not be recorded.
    pub(super) exit_code: i32,
    pub(super) duration_secs: f64,
    /// Whether all of it could be kept.
    pub(super) recorded: bool,
}

/// One session being recorded.
pub(super) struct Recording<'a> {
    // Dropped before the writer, whose lock keeps others away while these remove their scratch directory.
    pub(super) trees: Trees,
    pub(super) writer: Log,
    pub(super) setup: &'a Setup,
    pub(super) signals: &'a Signals,
    pub(super) observer: &'a mut dyn Observer,
    /// Whether everything could be kept so far.
    pub(super) kept: bool,
    /// The container, where there is one.
    pub(super) sandbox: Option<Sandbox>,
}

impl<'a> Recording<'a> {
    /// Makes a new session. `start` completes its first event.
    pub(super) fn begin(
        store: &SessionStore,
        setup: &'a Setup,
        redactor: &Redactor,
        signals: &'a Signals,
        observer: &'a mut dyn Observer,
        start: impl FnOnce(SessionStart) -> SessionStart,
        (kind, prompt): (SessionKind, &str),
    ) -> Result<Self, RunError> {
        let discovered = Discovered::at(&setup.working_dir);
        let git = git_state(&discovered);
        let writer = store.create(&setup.place, options(setup, redactor), setup.id_suffix, |id, dir| {
            let about = Beginning { kind, prompt, working_dir: &setup.working_dir, host: setup.host.clone(), git };
            start(about.start(id, dir, &setup.clock))
        })?;
        let objects = writer.dir().join(OBJECTS_DIR);
        let trees = Trees::open_discovered(discovered, &objects, redactor, &[store.root(), writer.dir()]);
        observer.started(writer.id(), writer.dir());
        Self { writer: writer.into(), trees, setup, signals, observer, kept: true, sandbox: None }.boxed(store)
    }

    /// Goes on with the session `id`.
    pub(super) fn resume(
        store: &SessionStore,
        id: &SessionId,
        setup: &'a Setup,
        redactor: &Redactor,
        signals: &'a Signals,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, RunError> {
        let pid = (!setup.clock.is_fixed()).then(std::process::id);
        let writer = store.resume(id, options(setup, redactor), pid, env!("CARGO_PKG_VERSION"))?;
        let objects = writer.dir().join(OBJECTS_DIR);
        let trees = Trees::open(&setup.working_dir, &objects, redactor, &[store.root(), writer.dir()]);
        observer.started(writer.id(), writer.dir());
        Self { writer: writer.into(), trees, setup, signals, observer, kept: true, sandbox: None }.boxed(store)
    }

    /// Opens the container, if there is to be one. A session that cannot have it is over.
    fn boxed(mut self, store: &SessionStore) -> Result<Self, RunError> {
        let Some(plan) = &self.setup.sandbox else { return Ok(self) };
        let told = Arc::new(Told::new(self.writer.clone(), None));
        let opened = Sandbox::open(plan, &self.writer, &place(store, self.setup), told, self.observer, |_| {})
            .and_then(|mut sandbox| sandbox.serve_agents().map(|()| sandbox));
        let error = match opened {
            Ok(sandbox) => {
                self.sandbox = Some(sandbox);
                return Ok(self);
            }
            Err(error) => error,
        };
        let id = self.writer.id().clone();
        let (outcome, exit_code) = match self.signals.received() {
            Some(signal) => (Outcome::Interrupted, signal.exit_code()),
            None => (Outcome::Failed, exit::FAILED),
        };
        let summary = Some(clip_safely(error.to_string(), 4096, self.writer.redactor()));
        self.close(Ending { summary, ..Ending::of(Some(outcome), exit_code) }, []);
        Err(match outcome {
            Outcome::Interrupted => RunError::Stopped { id, exit_code },
            _ => RunError::Sandbox { id, error },
        })
    }

    /// The number of the turn to come.
    pub(super) fn next_turn(&self) -> u32 {
        self.writer.state().last_turn() + 1
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.writer.clock().now()
    }

    /// Waits until `agent` may go on again. False: a signal came first.
    pub(super) fn wait_for(&mut self, agent: &str, until: Timestamp) -> bool {
        self.observer.waiting(agent, until);
        // By the time of day, which goes on while the machine sleeps.
        while Timestamp::now() < until {
            if self.signals.received().is_some() {
                return false;
            }
            self.signals.wait(WAITING);
            self.observer.idle();
        }
        true
    }

    /// Runs a turn.
    pub(super) fn turn(&mut self, ask: Ask<'_>) -> Result<TurnResult, SpawnError> {
        let Ask { turn, agent, role, prompt, model, permissions, resume, begins_anew, at_most, follows_at_once } = ask;
        let setup = self.setup;
        let (resume, used) = resume.unzip();
        let timeout = [setup.timeout, at_most].into_iter().flatten().min();
        let Tools { mcp, own_tools } =
            self.sandbox.as_ref().map(|sandbox| sandbox.tools(permissions)).unwrap_or_default();
        let inside = self.sandbox.as_ref().and_then(Sandbox::inside);
        let plan = TurnPlan {
            agent: agent.clone(),
            role,
            request: TurnRequest {
                prompt,
                prompt_dir: None,
                model,
                permissions,
                working_dir: inside
                    .as_ref()
                    .map_or_else(|| setup.working_dir.clone(), |inside| inside.workspace().into()),
                resume,
                used: used.unwrap_or_default(),
                begins_anew,
                asks: setup.asks,
                as_root: setup.as_root,
                mcp,
                own_tools,
            },
            limits: Limits { timeout, stall_timeout: setup.stall_timeout },
            env: setup.env.clone(),
            reaper: setup.reaper.clone(),
            working_dir: setup.working_dir.clone(),
            // What a container keeps running may work at any time.
            follows_at_once: follows_at_once && self.sandbox.is_none(),
            inside,
        };
        let result = run_turn(&self.writer, &mut self.trees, turn, &plan, self.signals, self.observer)?;
        self.kept &= result.kept;
        Ok(result)
    }

    /// Runs one check of a turn; says which signal stopped it, if one did.
    pub(super) fn check(&mut self, turn: u32, command: &str) -> Result<(CheckResult, Option<Received>), SpawnError> {
        self.observer.checking(command);
        let setup = self.setup;
        let inside = self.sandbox.as_ref().and_then(Sandbox::inside);
        let place = CheckPlace {
            working_dir: &setup.working_dir,
            env: &setup.env,
            inside: inside.as_ref(),
            reaper: &setup.reaper,
        };
        let observer = &mut *self.observer;
        let redactor = self.writer.redactor();
        let checked = run_check(command, turn, place, redactor, self.signals, &mut || observer.idle())?;
        let validation = checked.validation;
        let result = CheckResult {
            command: command.to_owned(),
            passed: validation.passed,
            exit_code: validation.exit_code,
            output: validation.output.clone(),
        };
        if checked.stopped_by.is_some() {
            // It says nothing about the turn, and is run again when the session goes on.
            let text = format!("the check was stopped: {command}");
            self.append(Notice { turn: Some(turn), code: "interrupted".into(), text, text_artifact: None });
        } else {
            self.append(validation);
        }
        Ok((result, checked.stopped_by))
    }

    /// Records an event, and says whether it is safe; one that is not is reported.
    pub(super) fn append(&mut self, body: impl Into<EventBody>) -> bool {
        match self.writer.append(body) {
            Ok(event) => {
                self.observer.event(&event);
                true
            }
            Err(error) => {
                self.kept = false;
                let lost = match self.writer.lost() {
                    0 => String::new(),
                    lost => format!(" ({lost} events are not in the record)"),
                };
                self.observer.trouble(&format!("{error}{lost}"));
                false
            }
        }
    }

    /// Removes the container, compresses the raw streams of `turns`, and records the end, unless the session is
    /// checkpointed already. The end is the last thing that is written. When the disk does not confirm it, it is
    /// corrected, or else taken away: the record and the exit code never disagree.
    pub(super) fn close(&mut self, ending: Ending, turns: impl IntoIterator<Item = u32>) -> Ended {
        self.close_sandbox();
        self.finish(turns);
        let Ending { outcome, exit_code, iterations, summary, confidence, picked } = ending;
        let (mut outcome, mut exit_code) = self.as_recorded(outcome, exit_code);
        let duration_secs = seconds_between(self.writer.started_at(), self.now());
        if self.writer.state().status() == Some(Status::Active) {
            let summary = &summary;
            let line = |outcome: Option<Outcome>, exit_code: i32| match outcome {
                Some(outcome) => {
                    let (outcome, exit_code, summary) = (Some(outcome), Some(exit_code), summary.clone());
                    SessionEnd { outcome, iterations, summary, confidence, picked, duration_secs, exit_code }.into()
                }
                None => EventBody::from(Checkpoint { reason: "rate_limit".into(), exit_code: Some(exit_code) }),
            };
            if !self.append(line(outcome, exit_code)) {
                let claimed = (outcome, exit_code);
                (outcome, exit_code) = self.as_recorded(outcome, exit_code);
                if claimed != (outcome, exit_code) {
                    self.append(line(outcome, exit_code));
                }
                // What the journal says counts, whether the disk confirmed it or not.
                let is_true = self.writer.exit_code() == Some(exit_code);
                if !is_true && self.writer.state().status() == Some(Status::Completed) {
                    self.withdraw_end();
                }
            }
        }
        self.kept &= self.writer.lost() == 0;
        let (outcome, exit_code) = self.as_recorded(outcome, exit_code);
        Ended { outcome, exit_code, duration_secs, recorded: self.kept }
    }

    /// What a session comes to in view of what could be kept: one that is not recorded whole is no success.
    fn as_recorded(&self, outcome: Option<Outcome>, exit_code: i32) -> (Option<Outcome>, i32) {
        match (self.kept, outcome, exit_code) {
            (false, Some(Outcome::Success), _) => (Some(Outcome::Failed), exit::FAILED),
            (false, outcome, exit::DONE) => (outcome, exit::FAILED),
            (_, outcome, exit_code) => (outcome, exit_code),
        }
    }

    fn withdraw_end(&mut self) {
        if let Err(error) = self.writer.withdraw_end() {
            self.observer.trouble(&format!("the record says more than is true: {error}"));
        }
    }

    /// Writes the state file of a turn that is over.
    pub(super) fn close_turn(&mut self, turn: u32, result: &TurnResult, checks: &[CheckResult]) {
        if let Err(error) = write_state(&self.writer, turn, result, checks) {
            self.kept = false;
            not_kept(&self.writer, Some(turn), &error.to_string(), self.observer);
        }
    }

    /// Removes the container, while the record can still say what of its logs could not be kept.
    pub(super) fn close_sandbox(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            self.kept &= sandbox.close(self.observer);
        }
    }

    /// Compresses the raw streams of `turns`. What is left of one that cannot be compressed is whole.
    pub(super) fn finish(&mut self, turns: impl IntoIterator<Item = u32>) {
        for turn in turns {
            if let Err(error) = compress_stream(self.writer.dir(), turn) {
                self.kept = false;
                let text = format!("{}: {error}", TurnFile::Stream.path(turn));
                not_kept(&self.writer, Some(turn), &text, self.observer);
            }
        }
        self.kept &= self.writer.lost() == 0;
    }
}

/// Where the session's container stands.
pub(super) fn place<'a>(store: &SessionStore, setup: &'a Setup) -> sandbox::Place<'a> {
    sandbox::Place {
        root: store.root().canonicalize().unwrap_or_else(|_| store.root().to_owned()),
        working_dir: &setup.working_dir,
        writable: setup.permissions != Permissions::ReadOnly,
        as_root: setup.as_root,
    }
}

fn options(setup: &Setup, redactor: &Redactor) -> WriterOptions {
    WriterOptions { clock: setup.clock.clone(), durability: setup.durability, redactor: redactor.clone() }
}

/// Keeps out what the environment holds that looks like a credential, and what the variables `secrets` hold.
pub(super) fn redactor<'a>(
    env: &[(OsString, OsString)],
    secrets: &[String],
    configured: impl IntoIterator<Item = &'a (String, String)>,
) -> Redactor {
    use std::os::unix::ffi::OsStrExt;
    let inherited = env.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value.as_bytes().to_vec()));
    let configured = configured.into_iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let named = inherited.chain(configured);
    let mut builder = Redactor::builder();
    let known = credential_values(named);
    for (name, value) in env.iter().filter(|(name, _)| secrets.iter().any(|secret| name == secret.as_str())) {
        let value = value.as_bytes().trim_ascii();
        if !known.iter().any(|(_, other)| other == value) {
            builder = builder.value(name.to_string_lossy(), value);
        }
    }
    builder = builder.values(known);
    builder.build()
}

/// What every session's first event says.
pub(super) struct Beginning<'a> {
    pub(super) kind: SessionKind,
    pub(super) prompt: &'a str,
    pub(super) working_dir: &'a Path,
    pub(super) host: Option<String>,
    pub(super) git: Option<GitState>,
}

impl Beginning<'_> {
    pub(super) fn start(self, id: SessionId, dir: &Path, clock: &Clock) -> SessionStart {
        SessionStart {
            format: FormatVersion::CURRENT,
            id,
            kind: self.kind,
            prompt: self.prompt.to_owned(),
            prompt_artifact: None,
            prompt_hash: prompt_hash(self.prompt.as_bytes()),
            working_dir: self.working_dir.to_string_lossy().into_owned(),
            session_dir: dir.to_string_lossy().into_owned(),
            agents: Vec::new(),
            actor_agent: None,
            critic_agent: None,
            actor_model: None,
            critic_model: None,
            max_iterations: None,
            rules: None,
            git: self.git,
            host: self.host,
            pid: (!clock.is_fixed()).then(std::process::id),
            decklog_version: env!("CARGO_PKG_VERSION").to_owned(),
            source: None,
        }
    }
}
