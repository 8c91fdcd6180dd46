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
use decklog_snapshot::{Discovered, Incomplete, Left, LeftReason, Restored, Tree, WithheldReason};
use jiff::Timestamp;
use serde::Serialize;

use super::recording::{Beginning, exit, redactor};
use crate::log::Log;
use crate::supervise::Signals;
use crate::trees::{Changes, ReplaceError, Taken, Trees, git_state, named};

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
    /// Files that the tree lacks because its snapshot withheld them.
    pub withheld: Vec<Withheld>,
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
    /// Its directory.
    pub session_dir: PathBuf,
    /// The exit code that its end has: not 0 where a file could not be read, or the record is not whole.
    pub exit_code: i32,
    /// What was written, removed and left.
    pub restored: Restored,
    /// Files of the tree as it was before that the session does not have.
    pub withheld: Vec<Withheld>,
    /// Why the record of it is not whole, if it is not.
    pub trouble: Option<String>,
}

/// Files of which some are changed and some are not, or are damaged, and the way back.
#[derive(Debug, Clone, Serialize)]
pub struct IncompleteRestore {
    /// What failed.
    pub error: String,
    /// Paths that are as they were to be.
    pub changed: Vec<String>,
    /// Paths that are as they were.
    pub unchanged: Vec<String>,
    /// Paths that are neither, such as files that are missing or cut off.
    pub damaged: Vec<String>,
    /// The command that puts everything back.
    pub go_back: String,
    /// The session that records the tree before the restoration.
    #[serde(skip)]
    pub id: SessionId,
    /// The turn after which the tree was so; 0: before turn 1.
    #[serde(skip)]
    pub turn: u32,
    /// That tree.
    #[serde(skip)]
    pub tree: Tree,
    /// Files that it lacks because its snapshot withheld them.
    #[serde(skip)]
    pub withheld: Vec<Withheld>,
}

impl IncompleteRestore {
    pub(super) fn new(files: Incomplete, id: &SessionId, turn: u32, (before, tree): (&Taken, Tree)) -> Self {
        let names = |paths: &[Vec<u8>]| paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        let (changed, unchanged, damaged) = (names(&files.changed), names(&files.unchanged), names(&files.damaged));
        let go_back = format!("decklog restore {id}@{turn} --in-place");
        let withheld = before.withheld.clone();
        Self { error: files.to_string(), changed, unchanged, damaged, go_back, id: id.clone(), turn, tree, withheld }
    }
}

/// Why a tree was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The session could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The present tree could not be recorded, so there would be no way back.
    #[error("the present tree could not be recorded, so nothing was changed: {0}")]
    NotRecorded(String),
    /// The tree could not be put in place, and no file was changed.
    #[error("{0}")]
    Refused(String),
    /// Some files were changed, and could not be put back.
    #[error("{}", .0.error)]
    Incomplete(Box<IncompleteRestore>),
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
/// [`RestoreError`]; only with [`RestoreError::Incomplete`] files were changed.
pub fn restore(store: &SessionStore, plan: &RestorePlan, signals: &Signals) -> Result<RestoreResult, RestoreError> {
    let redactor = redactor(&plan.env, &plan.secrets, &[]);
    let options = WriterOptions { clock: plan.clock.clone(), durability: plan.durability, redactor: redactor.clone() };
    let discovered = Discovered::at(&plan.working_dir);
    let git = git_state(&discovered);
    let writer = store.create(&Place::Auto, options, plan.id_suffix, |id, dir| {
        let prompt = plan.command.join(" ");
        let (kind, working_dir, host) = (SessionKind::Run, plan.working_dir.as_path(), plan.host.clone());
        let about = Beginning { kind, prompt: &prompt, working_dir, host, git };
        SessionStart { agents: vec![AGENT.into()], ..about.start(id, dir, &plan.clock) }
    })?;
    let objects = writer.dir().join(OBJECTS_DIR);
    let mut trees = Trees::open_discovered(discovered, &objects, &redactor, &[store.root(), writer.dir()]);
    let writer = Log::from(writer);
    let RestorePlan { command, target, objects, withheld, .. } = plan;
    let about = Restoration { turn: 1, command, target, objects, withheld };
    let before = trees.take();
    let turn = as_turn(&writer, &mut trees, &about, before, signals);
    let exit_code = exit_code(&turn);
    let ended = end(&writer, &turn.restored, exit_code);
    let trouble = turn.trouble.or_else(|| ended.err().map(|error| error.to_string()));
    // What failed after the end was written corrects it.
    let exit_code = match (exit_code, &trouble) {
        (0, Some(_)) => {
            let _ = end(&writer, &turn.restored, exit::FAILED);
            exit::FAILED
        }
        (known, _) => known,
    };
    let (id, session_dir) = (writer.id().clone(), writer.dir().to_owned());
    Ok(RestoreResult { id, session_dir, exit_code, restored: turn.restored?, withheld: turn.withheld, trouble })
}

fn exit_code(turn: &Turned) -> i32 {
    let is_unread = |left: &Left| matches!(left.reason, LeftReason::Withheld(WithheldReason::Unreadable { .. }));
    match &turn.restored {
        Ok(restored) if turn.trouble.is_none() && !restored.left.iter().any(is_unread) => exit::DONE,
        _ => exit::FAILED,
    }
}

/// A restoration as a turn of a session.
pub(super) struct Restoration<'a> {
    pub(super) turn: u32,
    /// The command that says it, as its words.
    pub(super) command: &'a [String],
    pub(super) target: &'a Tree,
    pub(super) objects: &'a Path,
    /// As of [`RestorePlan::withheld`].
    pub(super) withheld: &'a [Withheld],
}

/// What came of a restoration as a turn.
pub(super) struct Turned {
    pub(super) restored: Result<Restored, RestoreError>,
    /// Files of the tree as it was before that the session does not have.
    pub(super) withheld: Vec<Withheld>,
    /// Why the record of it is not whole, if it is not.
    pub(super) trouble: Option<String>,
}

/// Restores as a turn of the session. The tree `before`, which was just taken, is the way back.
pub(super) fn as_turn(
    writer: &Log,
    trees: &mut Trees,
    about: &Restoration<'_>,
    before: Taken,
    signals: &Signals,
) -> Turned {
    let started = writer.clock().now();
    let withheld = before.withheld.clone();
    let began = begin(writer, about, &before);
    let restored = match (began, before.tree.is_some()) {
        _ if signals.received().is_some() => Err(RestoreError::Refused("interrupted: nothing was changed".into())),
        (Ok(()), true) => trees
            .restore(about.target, about.objects, about.withheld)
            .map_err(|error| refused(error, writer, about, &before)),
        (Ok(()), false) => {
            Err(RestoreError::NotRecorded(before.trouble.clone().map(|trouble| trouble.reason).unwrap_or_default()))
        }
        (Err(error), _) => Err(error.into()),
    };
    // From here on files have changed: what cannot be recorded is told, and stops nothing.
    let after = trees.take();
    let changes = trees.changes(writer, about.turn, before.tree.as_deref(), after.tree.as_deref());
    let trouble = after.trouble.clone().map(|trouble| trouble.reason).or_else(|| changes.trouble.clone());
    let ended = end_turn(writer, (about.turn, started), &restored, after, changes);
    let trouble = trouble.or_else(|| ended.err().map(|error| error.to_string()));
    Turned { restored, withheld, trouble }
}

fn refused(error: ReplaceError, writer: &Log, about: &Restoration<'_>, before: &Taken) -> RestoreError {
    let tree = before.tree.as_ref().and_then(|tree| tree.parse().ok());
    match (error, tree) {
        (ReplaceError::Incomplete(files), Some(tree)) => RestoreError::Incomplete(Box::new(IncompleteRestore::new(
            files,
            writer.id(),
            about.turn - 1,
            (before, tree),
        ))),
        (error, _) => RestoreError::Refused(error.to_string()),
    }
}

/// Records a change of the working tree that was made in part as two turns of the session: the first one has the tree
/// `before`, which is the way back, the second one what has become of it. Also says why the record of it is not whole,
/// if it is not.
pub(super) fn record_incomplete(
    writer: &Log,
    trees: &mut Trees,
    (before, tree): (&Taken, Tree),
    command: &[String],
    files: Incomplete,
) -> (IncompleteRestore, Option<String>) {
    let turn = writer.state().last_turn() + 1;
    let incomplete = IncompleteRestore::new(files, writer.id(), turn, (before, tree));
    let started = writer.clock().now();
    let about = |turn| Restoration { turn, command, target: &incomplete.tree, objects: Path::new(""), withheld: &[] };
    let unchanged = Taken { tree: before.tree.clone(), withheld: Vec::new(), trouble: None };
    let first = begin(writer, &about(turn), before).and_then(|()| {
        let nothing = Ok(Restored::default());
        end_turn(writer, (turn, started), &nothing, unchanged, Changes::default())
    });
    let second = begin(writer, &about(turn + 1), before).and_then(|()| {
        let after = trees.take();
        let changes = trees.changes(writer, turn + 1, before.tree.as_deref(), after.tree.as_deref());
        let failed = Err(RestoreError::Incomplete(Box::new(incomplete.clone())));
        end_turn(writer, (turn + 1, started), &failed, after, changes)
    });
    let trouble = first.and(second).err().map(|error| error.to_string());
    (incomplete, trouble)
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
        withheld: named(&before.withheld),
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
        withheld: named(&withheld),
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

fn end(writer: &Log, restored: &Result<Restored, RestoreError>, exit_code: i32) -> Result<(), WriteError> {
    let started = writer.started_at();
    let outcome = if exit_code == exit::DONE { Outcome::Success } else { Outcome::Failed };
    let end = SessionEnd {
        outcome: Some(outcome),
        iterations: None,
        summary: Some(words(restored)),
        confidence: None,
        picked: None,
        duration_secs: seconds_between(started, writer.clock().now()),
        exit_code: Some(exit_code),
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
