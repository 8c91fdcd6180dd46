//! Where racers work: linked worktrees below one directory for each race, and a file that says whose they are.
//!
//! The file is written before the first worktree is made and goes last, so that a race that was cut off can be cleared
//! away by whoever looks here next: what its racers had done is kept in its record first. Must not know: agents.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{Notice, SessionEnd};
use decklog_journal::lock::{self, Held};
use decklog_journal::time::{Clock, seconds_between};
use decklog_journal::words::{Outcome, Status};
use decklog_journal::{Durability, SessionId, SessionStore, WriterOptions, files};
use decklog_snapshot::LinkedWorktree;
use serde::{Deserialize, Serialize};

use crate::log::Log;
use crate::orchestrate::recording::{exit, redactor};
use crate::trees::Trees;

/// Says whose worktrees these are.
const OWNER_FILE: &str = "race.json";
/// Its presence says that they are to stay.
const KEPT_FILE: &str = "kept";

/// Whose worktrees a directory holds.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    session_root: PathBuf,
    session: SessionId,
    /// The git directory of the repository they belong to.
    common_dir: PathBuf,
    racers: Vec<Slot>,
}

/// One racer's worktree.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slot {
    /// Directory name.
    name: String,
    /// Number of the racer's turn, once that is known.
    turn: Option<u32>,
}

/// The worktrees of one race.
#[derive(Debug)]
pub(super) struct Places {
    dir: PathBuf,
    owner: Owner,
}

impl Places {
    /// Claims places for racers with these names, below `worktrees`.
    pub(super) fn claim(
        worktrees: &Path,
        (session_root, session): (&Path, &SessionId),
        common_dir: &Path,
        names: &[String],
    ) -> io::Result<Self> {
        let dir = worktrees.join(session.as_str());
        let private = |recursive: bool| {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(worktrees)?;
        private(false).create(&dir)?;
        let racers =
            (1..).zip(names).map(|(at, name)| Slot { name: format!("{at}-{}", plain(name)), turn: None }).collect();
        let owner = Owner {
            session_root: session_root.to_owned(),
            session: session.clone(),
            common_dir: common_dir.to_owned(),
            racers,
        };
        let places = Self { dir, owner };
        places.write()?;
        Ok(places)
    }

    fn write(&self) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        serde_json::to_writer_pretty(&mut file, &self.owner)?;
        file.persist(self.dir.join(OWNER_FILE)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Notes that these racers, from 0, have the turns from 1 on.
    pub(super) fn number(&mut self, racers: &[usize]) -> io::Result<()> {
        for (turn, at) in (1..).zip(racers) {
            self.owner.racers[*at].turn = Some(turn);
        }
        self.write()
    }

    /// Where the racer `at`, from 0, works.
    pub(super) fn path(&self, at: usize) -> PathBuf {
        self.dir.join(&self.owner.racers[at].name)
    }

    /// Leaves the worktrees where they are.
    pub(super) fn keep(&self) -> io::Result<()> {
        fs::write(self.dir.join(KEPT_FILE), "")
    }

    /// Removes the worktrees; what cannot be is told.
    pub(super) fn remove(&self) -> Result<(), String> {
        for slot in &self.owner.racers {
            let path = self.dir.join(&slot.name);
            LinkedWorktree::remove(&self.owner.common_dir, &path).map_err(|error| error.to_string())?;
        }
        fs::remove_file(self.dir.join(OWNER_FILE))
            .and_then(|()| fs::remove_dir(&self.dir))
            .map_err(|error| format!("{}: {error}", self.dir.display()))
    }
}

/// A name as a part of a file's.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    name.chars().map(plain).take(40).collect()
}

/// A race that was cut off, and what became of its worktrees.
#[derive(Debug, PartialEq, Eq)]
pub struct Swept {
    /// Its session.
    pub session: SessionId,
    /// Patches that are now in its record, relative to its directory.
    pub patches: Vec<String>,
    /// Why they are still there, if they are.
    pub trouble: Option<String>,
}

/// Clears away the worktrees of races that were cut off. What racers had changed is kept in the record first; when it cannot
/// be, the worktree stays and is told.
pub fn sweep(worktrees: &Path, env: &[(std::ffi::OsString, std::ffi::OsString)], clock: &Clock) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(worktrees) else { return Vec::new() };
    let mut ids: Vec<SessionId> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort();
    ids.into_iter().filter_map(|id| sweep_one(&worktrees.join(id.as_str()), id, env, clock)).collect()
}

fn sweep_one(
    dir: &Path,
    id: SessionId,
    env: &[(std::ffi::OsString, std::ffi::OsString)],
    clock: &Clock,
) -> Option<Swept> {
    if dir.join(KEPT_FILE).exists() {
        return None;
    }
    // A directory without it was cut off before it held anything; only an empty one goes.
    let Ok(bytes) = files::read_limited(&dir.join(OWNER_FILE), 1 << 20) else {
        let _ = fs::remove_dir(dir);
        return None;
    };
    let trouble = |why: String| Some(Swept { session: id.clone(), patches: Vec::new(), trouble: Some(why) });
    let owner: Owner = match serde_json::from_slice(&bytes) {
        Ok(owner) => owner,
        Err(error) => return trouble(format!("{}: {error}", dir.join(OWNER_FILE).display())),
    };
    let is_ours = |slot: &Slot| slot.name == Path::new(&slot.name).file_name().unwrap_or_default().to_string_lossy();
    if owner.session != id || !owner.racers.iter().all(is_ours) {
        return trouble(format!("{} does not belong there", dir.join(OWNER_FILE).display()));
    }
    let store = SessionStore::open(&owner.session_root);
    let entry = store.entry(&id);
    let places = Places { dir: dir.to_owned(), owner };
    let patches = match entry.symlink_metadata() {
        // Whoever discarded the session wants none of it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        _ => match lock::held(&entry) {
            Held::Yes => return None,
            Held::Unknown => return trouble(format!("it cannot be told whether {id} is at work")),
            Held::No => match salvage(&store, &places, env, clock) {
                Ok(patches) => patches,
                Err(why) => return trouble(why),
            },
        },
    };
    match places.remove() {
        Ok(()) => Some(Swept { session: id, patches, trouble: None }),
        Err(why) => Some(Swept { session: id, patches, trouble: Some(why) }),
    }
}

/// Writes what racers had changed when they were cut off into the record, and ends the session.
fn salvage(
    store: &SessionStore,
    places: &Places,
    env: &[(std::ffi::OsString, std::ffi::OsString)],
    clock: &Clock,
) -> Result<Vec<String>, String> {
    let id = &places.owner.session;
    let past = store.load(id).map_err(|error| error.to_string())?;
    let open: Vec<_> = past.turns.iter().filter(|turn| turn.outcome.is_none()).collect();
    if open.is_empty() && past.head.status == Status::Completed {
        return Ok(Vec::new());
    }
    let redactor = redactor(env, []);
    let options = WriterOptions { clock: clock.clone(), durability: Durability::Turn, redactor: redactor.clone() };
    let pid = (!clock.is_fixed()).then(std::process::id);
    let writer = store.resume(id, options, pid, env!("CARGO_PKG_VERSION")).map_err(|error| error.to_string())?;
    let log = Log::from(writer);
    let mut patches = Vec::new();
    for turn in open {
        let Some(at) = places.owner.racers.iter().position(|slot| slot.turn == Some(turn.turn)) else { continue };
        let root = places.path(at);
        if !root.is_dir() {
            continue;
        }
        let mut trees = Trees::open(&root, &log.dir().join(OBJECTS_DIR), &redactor, &[]);
        let after = trees.take();
        let changes = trees.changes(&log, turn.turn, turn.snapshot_before.as_deref(), after.tree.as_deref());
        if let Some(why) = after.trouble.or(changes.trouble) {
            return Err(format!("what {} had done could not be kept: {why}", root.display()));
        }
        let text = match &changes.patch {
            Some(patch) => format!("the race was cut off; what {} had changed is in {}", turn.agent, patch.path),
            None => format!("the race was cut off; {} had changed nothing", turn.agent),
        };
        patches.extend(changes.patch.map(|patch| patch.path));
        let notice = Notice { turn: Some(turn.turn), code: "cut_off".into(), text, text_artifact: None };
        log.append(notice).map_err(|error| error.to_string())?;
    }
    let end = SessionEnd {
        outcome: Outcome::Interrupted,
        iterations: None,
        summary: Some("the race was cut off".into()),
        confidence: None,
        picked: None,
        duration_secs: seconds_between(log.started_at(), clock.now()),
        exit_code: exit::INTERRUPTED,
    };
    log.append(end).map_err(|error| error.to_string())?;
    Ok(patches)
}
