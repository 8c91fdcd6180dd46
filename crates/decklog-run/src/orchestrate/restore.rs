//! `restore --in-place`: an earlier tree over the present one, recorded as a session of one turn, so that the tree
//! before that turn is the way back.
//!
//! What is to be restored and where has been decided before: nothing is looked up here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use decklog_journal::artifacts::{OBJECTS_DIR, TurnFile};
use decklog_journal::event::{Message, SessionEnd, SessionStart, TurnEnd, TurnStart, Withheld};
use decklog_journal::session::{Session, Turn};
use decklog_journal::store::{Place, StoreError};
use decklog_journal::time::{Clock, seconds_between};
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{Durability, SessionId, SessionStore, WriteError, WriterOptions};
use decklog_snapshot::{Restored, Tree};
use jiff::Timestamp;

use super::recording::{Beginning, redactor};
use crate::log::Log;
use crate::supervise::Signals;
use crate::trees::{Changes, Taken, Trees};

/// The name of the agent in such a session.
pub(super) const AGENT: &str = "decklog";

/// The last turn that an agent had, and not decklog itself.
#[must_use]
pub fn last_agents_turn(past: &Session) -> Option<&Turn> {
    past.turns.iter().rev().find(|turn| turn.agent != AGENT)
}

/// A restoration, decided.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The command that says it, as its words.
    pub command: Vec<String>,
    /// Where the session that is restored from worked.
    pub working_dir: PathBuf,
    /// The tree.
    pub target: Tree,
    /// That session's objects.
    pub objects: PathBuf,
    /// The environment, for what must not be recorded.
    pub env: Vec<(OsString, OsString)>,
    /// Variables in it that hold a secret, whatever they are called.
    pub secrets: Vec<String>,
    /// The machine's name.
    pub host: Option<String>,
    /// What a power cut may take.
    pub durability: Durability,
    /// Where timestamps come from.
    pub clock: Clock,
    /// Last four digits of the id; absent: random.
    pub id_suffix: Option<u16>,
}

/// What came of it.
#[derive(Debug)]
pub struct RestoreResult {
    /// The session that has the tree as it was before.
    pub id: SessionId,
    /// What was written, removed and left.
    pub restored: Restored,
    /// Files of the tree as it was before that the session does not have.
    pub withheld: Vec<Withheld>,
    /// Why the record of it is not whole, if it is not.
    pub trouble: Option<String>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The session could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The present tree could not be recorded, so there would be no way back.
    #[error("the present tree could not be recorded, so nothing was changed: {0}")]
    NotRecorded(String),
    /// The tree could not be put in place.
    #[error("{0}")]
    Refused(String),
}

impl From<WriteError> for RestoreError {
    fn from(error: WriteError) -> Self {
        Self::NotRecorded(error.to_string())
    }
}

/// Restores as `plan` says, as a new session in `store`. A signal that comes before the first file changes stops it;
/// later ones wait, as half of a tree would be neither.
///
/// # Errors
/// [`RestoreError`]; then no file was changed unless it says so.
pub fn restore(store: &SessionStore, plan: &RestorePlan, signals: &Signals) -> Result<RestoreResult, RestoreError> {
    let redactor = redactor(&plan.env, &plan.secrets, &[]);
    let options = WriterOptions { clock: plan.clock.clone(), durability: plan.durability, redactor: redactor.clone() };
    let mut trees = Trees::default();
    let writer = store.create(&Place::Auto, options, plan.id_suffix, |id, dir| {
        trees = Trees::open(&plan.working_dir, &dir.join(OBJECTS_DIR), &redactor, &[store.root(), dir]);
        let prompt = plan.command.join(" ");
        let (kind, working_dir, host) = (SessionKind::Run, plan.working_dir.as_path(), plan.host.clone());
        let about = Beginning { kind, prompt: &prompt, working_dir, host };
        SessionStart { agents: vec![AGENT.into()], ..about.start(id, dir, &trees, &plan.clock) }
    })?;
    let writer = Log::from(writer);
    let about = Restoration { turn: 1, command: &plan.command, target: &plan.target, objects: &plan.objects };
    let turn = as_turn(&writer, &mut trees, &about, signals);
    let ended = end(&writer, &turn.restored);
    let trouble = turn.trouble.or_else(|| ended.err().map(|error| error.to_string()));
    Ok(RestoreResult { id: writer.id().clone(), restored: turn.restored?, withheld: turn.withheld, trouble })
}

/// A restoration as a turn of a session.
pub(super) struct Restoration<'a> {
    pub(super) turn: u32,
    /// The command that says it, as its words.
    pub(super) command: &'a [String],
    pub(super) target: &'a Tree,
    pub(super) objects: &'a Path,
}

/// What came of a restoration as a turn.
pub(super) struct Turned {
    pub(super) restored: Result<Restored, RestoreError>,
    /// Files of the tree as it was before that the session does not have.
    pub(super) withheld: Vec<Withheld>,
    /// Why the record of it is not whole, if it is not.
    pub(super) trouble: Option<String>,
}

/// Restores as a turn of the session, whose tree before is the way back.
pub(super) fn as_turn(writer: &Log, trees: &mut Trees, about: &Restoration<'_>, signals: &Signals) -> Turned {
    let started = writer.clock().now();
    let before = trees.take();
    let withheld = before.withheld.clone();
    let began = begin(writer, about, &before);
    let restored = match (began, before.tree.is_some()) {
        _ if signals.received().is_some() => Err(RestoreError::Refused("interrupted: nothing was changed".into())),
        (Ok(()), true) => trees.restore(about.target, about.objects).map_err(RestoreError::Refused),
        (Ok(()), false) => Err(RestoreError::NotRecorded(before.trouble.clone().unwrap_or_default())),
        (Err(error), _) => Err(error.into()),
    };
    // From here on files have changed: what cannot be recorded is told, and stops nothing.
    let after = trees.take();
    let changes = trees.changes(writer, about.turn, before.tree.as_deref(), after.tree.as_deref());
    let trouble = after.trouble.clone().or_else(|| changes.trouble.clone());
    let ended = end_turn(writer, (about.turn, started), &restored, after, changes);
    let trouble = trouble.or_else(|| ended.err().map(|error| error.to_string()));
    Turned { restored, withheld, trouble }
}

fn begin(writer: &Log, about: &Restoration<'_>, before: &Taken) -> Result<(), WriteError> {
    let prompt = about.command.join(" ");
    let prompt_artifact = Some(writer.write_artifact(&TurnFile::Prompt.path(about.turn), prompt.as_bytes())?);
    writer.append(TurnStart {
        boxed: false,
        prompt: String::new(),
        turn: about.turn,
        agent: AGENT.into(),
        role: Role::Solo,
        model: None,
        permissions: None,
        command: about.command.to_vec(),
        prompt_artifact,
        snapshot: before.tree.clone(),
        withheld: before.withheld.clone(),
    })?;
    Ok(())
}

fn end_turn(
    writer: &Log,
    (turn, started): (u32, Timestamp),
    restored: &Result<Restored, RestoreError>,
    after: Taken,
    changes: Changes,
) -> Result<(), WriteError> {
    let (outcome, exit_code) = match restored {
        Ok(_) => (TurnOutcome::Success, 0),
        Err(_) => (TurnOutcome::Failed, 2),
    };
    let mut withheld = after.withheld;
    withheld.extend(changes.withheld);
    let said = Message { turn, text: words(restored), text_artifact: None, cut_artifact: None, continued: false };
    let turn_end = TurnEnd {
        patch: String::new(),
        turn,
        outcome,
        exit_code: Some(exit_code),
        signal: None,
        duration_secs: seconds_between(started, writer.clock().now()),
        agent_session_id: None,
        model: None,
        error: restored.as_ref().err().map(ToString::to_string),
        snapshot: after.tree,
        files: changes.files,
        files_changed: changes.count,
        patch_artifact: changes.patch,
        withheld,
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    };
    if writer.state().open_turns().is_empty() {
        return Ok(());
    }
    let said = writer.append(said).map(drop);
    said.and(writer.append(turn_end).map(drop))
}

fn end(writer: &Log, restored: &Result<Restored, RestoreError>) -> Result<(), WriteError> {
    let started = writer.started_at();
    let (outcome, exit_code) = match restored {
        Ok(_) => (Outcome::Success, 0),
        Err(_) => (Outcome::Failed, 2),
    };
    let end = SessionEnd {
        outcome,
        iterations: None,
        summary: Some(words(restored)),
        confidence: None,
        picked: None,
        duration_secs: seconds_between(started, writer.clock().now()),
        exit_code,
    };
    writer.append(end).map(drop)
}

fn words(restored: &Result<Restored, RestoreError>) -> String {
    match restored {
        Ok(restored) => told(restored),
        Err(error) => error.to_string(),
    }
}

fn told(restored: &Restored) -> String {
    let mut text = format!("{} written, {} removed", restored.written.len(), restored.removed.len());
    if !restored.left.is_empty() {
        text += &format!(", {} left as they were", restored.left.len());
    }
    text
}
