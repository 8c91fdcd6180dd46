//! Where racers work: linked worktrees below one directory for each race, and a file that says whose they are.
//!
//! The file is written before the first worktree is made and goes last, so that a race that was cut off can be cleared
//! away by whoever looks here next: what its racers had done is kept in its record first. Must not know: agents.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use decklog_journal::artifacts::{OBJECTS_DIR, TurnFile};
use decklog_journal::event::{Notice, SessionEnd, Withheld};
use decklog_journal::head::Head;
use decklog_journal::lock::{self, Held};
use decklog_journal::session::{Session, Step, Turn};
use decklog_journal::time::{Clock, seconds_between};
use decklog_journal::withheld::is_exact;
use decklog_journal::words::{Outcome, Status};
use decklog_journal::{Durability, SessionId, SessionStore, WriterOptions, files};
use decklog_snapshot::LinkedWorktree;
use serde::{Deserialize, Serialize};

use super::unsaved::{CUT_OFF, STAYS, unsaved};
use crate::log::Log;
use crate::orchestrate::recording::{exit, redactor};
use crate::trees::Trees;

/// Says whose worktrees these are.
const OWNER_FILE: &str = "race.json";
/// Its presence says that they are to stay.
const KEPT_FILE: &str = "kept";
/// How the name of a directory ends that is not yet in place.
const STAGED: &str = ".new";
/// How often a directory is made again that a sweep removed.
const TRIES: usize = 8;

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
        let private = |recursive: bool| {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(worktrees)?;
        let racers =
            (1..).zip(names).map(|(at, name)| Slot { name: format!("{at}-{}", plain(name)), turn: None }).collect();
        let owner = Owner {
            session_root: session_root.to_owned(),
            session: session.clone(),
            common_dir: common_dir.to_owned(),
            racers,
        };
        // The name appears with the file in it.
        let staged = worktrees.join(format!("{session}{STAGED}"));
        let mut places = Self { dir: staged.clone(), owner };
        for _ in 0..TRIES {
            private(false).create(&staged)?;
            let lock = match fs::File::open(&staged) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            lock.lock()?;
            // A sweep that had the lock first has removed the directory.
            if !staged.exists() {
                continue;
            }
            places.dir = worktrees.join(session.as_str());
            let made = write(&staged, &places.owner).and_then(|()| fs::rename(&staged, &places.dir));
            if made.is_err() {
                let _ = remove_dir(&staged);
            }
            return made.map(|()| places);
        }
        Err(io::Error::other(format!("{}: another process removes it again and again", staged.display())))
    }

    /// Notes that these racers, from 0, have the turns from 1 on.
    pub(super) fn number(&mut self, racers: &[usize]) -> io::Result<()> {
        for (turn, at) in (1..).zip(racers) {
            self.owner.racers[*at].turn = Some(turn);
        }
        write(&self.dir, &self.owner)
    }

    /// Where the racer `at`, from 0, works.
    pub(super) fn path(&self, at: usize) -> PathBuf {
        self.dir.join(&self.owner.racers[at].name)
    }

    /// Of `withheld`, the files in the worktree of the racer `at`, from 0, that were changed since [`Self::number`], which is
    /// when racers begin: no record holds them. Files for which that is unknown are among them.
    pub(super) fn changed(&self, at: usize, withheld: &[Withheld]) -> Vec<Withheld> {
        let began = fs::symlink_metadata(self.dir.join(OWNER_FILE)).map(|meta| changed_at(&meta)).ok();
        let is_changed = |file: &&Withheld| match newest(&self.path(at).join(&file.path)) {
            Ok(Some(newest)) => began.is_none_or(|began| newest > began),
            // It was removed, unless it is called otherwise.
            Ok(None) => !is_exact(&file.path),
            Err(_) => true,
        };
        withheld.iter().filter(is_changed).cloned().collect()
    }

    /// Leaves the worktrees where they are.
    pub(super) fn keep(&self) -> io::Result<()> {
        fs::write(self.dir.join(KEPT_FILE), "")
    }

    /// Removes the worktrees but for those to `keep`, by their place from 0; what cannot be is told. One that is still there
    /// is tried again by the next [`sweep`].
    pub(super) fn remove(&self, keep: &[usize]) -> Result<(), String> {
        let mut troubles = Vec::new();
        for (at, slot) in self.owner.racers.iter().enumerate().filter(|(at, _)| !keep.contains(at)) {
            let removed = LinkedWorktree::remove(&self.owner.common_dir, &self.path(at));
            troubles.extend(removed.err().map(|error| format!("{}: {error}", slot.name)));
        }
        if !troubles.is_empty() {
            return Err(troubles.join("; "));
        }
        if !keep.is_empty() {
            return self.keep().map_err(|error| error.to_string());
        }
        remove_dir(&self.dir).map_err(|error| format!("{}: {error}", self.dir.display()))
    }
}

/// Seconds and nanoseconds at which the file or its metadata were changed last, which no program can set.
fn changed_at(meta: &fs::Metadata) -> (i64, i64) {
    (meta.ctime(), meta.ctime_nsec())
}

/// When the file at `path`, or something in the directory there, was changed last; `None`: there is nothing.
fn newest(path: &Path) -> io::Result<Option<(i64, i64)>> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        meta => meta?,
    };
    let mut found = changed_at(&meta);
    let mut directories = if meta.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            found = found.max(changed_at(&meta));
            if meta.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(Some(found))
}

fn write(dir: &Path, owner: &Owner) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer_pretty(&mut file, owner)?;
    file.persist(dir.join(OWNER_FILE)).map_err(|error| error.error)?;
    Ok(())
}

/// Removes a directory without worktrees, and its files. The one that says whose it is goes last.
fn remove_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != OWNER_FILE {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_file(dir.join(OWNER_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::remove_dir(dir),
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
    /// Worktrees that are still there, since the record does not hold all that was done in them.
    pub kept: Vec<PathBuf>,
    /// Why nothing could be done, if nothing could.
    pub trouble: Option<String>,
}

/// What a race that was cut off is cleared away with.
#[derive(Debug, Clone, Copy)]
pub struct Sweeping<'a> {
    /// The environment, and what agents' definitions set: what must not be recorded.
    pub env: &'a [(OsString, OsString)],
    /// Variables in it that hold a secret, whatever they are called.
    pub secrets: &'a [String],
    /// The same of agents' definitions.
    pub configured: &'a [(String, String)],
    /// Where timestamps come from.
    pub clock: &'a Clock,
}

/// Clears away the worktrees of races that were cut off. What racers had changed is kept in the record first; a worktree that
/// holds more than that stays, and is told.
pub fn sweep(worktrees: &Path, sweeping: Sweeping<'_>) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(worktrees) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().filter_map(|name| sweep_one(worktrees, &name, sweeping)).collect()
}

fn sweep_one(worktrees: &Path, name: &str, sweeping: Sweeping<'_>) -> Option<Swept> {
    let dir = worktrees.join(name);
    if let Some(id) = name.strip_suffix(STAGED) {
        id.parse::<SessionId>().ok()?;
        // It was cut off before there was a worktree, unless it is being made just now.
        let lock = fs::File::open(&dir).ok()?;
        if lock.try_lock().is_ok() {
            let _ = remove_dir(&dir);
        }
        return None;
    }
    let id: SessionId = name.parse().ok()?;
    let trouble =
        |why: String| Some(Swept { session: id.clone(), patches: Vec::new(), kept: Vec::new(), trouble: Some(why) });
    let bytes = match files::read_limited(&dir.join(OWNER_FILE), 1 << 20) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() == io::ErrorKind::NotFound {
                // A removal that was cut off leaves it empty.
                let _ = fs::remove_dir(&dir);
            }
            return None;
        }
    };
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
    let places = Places { dir: dir.clone(), owner };
    let is_kept = dir.join(KEPT_FILE).exists();
    let is_gone = match entry.symlink_metadata() {
        Ok(_) => false,
        // Whoever discarded the session wants none of it; a root that is not there may come back.
        Err(error) if error.kind() == io::ErrorKind::NotFound && places.owner.session_root.is_dir() => true,
        Err(error) => return trouble(format!("{}: {error}", entry.display())),
    };
    if !is_gone {
        match lock::held(&entry) {
            Held::Yes => return None,
            Held::Unknown => return trouble(format!("it cannot be told whether {id} is at work")),
            Held::No => {}
        }
    }
    let is_over = |head: &Head| head.status != Status::Active;
    if is_kept && (is_gone || decklog_journal::store::current_head(&entry).is_ok_and(|head| is_over(&head))) {
        return None;
    }
    let saved = if is_gone { Saved::default() } else { salvage(&store, &places, sweeping).unwrap_or_else(Saved::none) };
    if let Some(why) = saved.trouble {
        return trouble(why);
    }
    let keep: Vec<usize> = if is_kept { (0..places.owner.racers.len()).collect() } else { saved.unsaved };
    let kept = keep.iter().map(|at| places.path(*at)).filter(|path| path.is_dir()).collect();
    let trouble = places.remove(&keep).err();
    Some(Swept { session: id, patches: saved.patches, kept, trouble })
}

/// What of a race that was cut off is in its record.
#[derive(Debug, Default)]
struct Saved {
    patches: Vec<String>,
    /// Racers, from 0, of whom it is not all.
    unsaved: Vec<usize>,
    trouble: Option<String>,
}

impl Saved {
    fn none(why: String) -> Self {
        Self { trouble: Some(why), ..Self::default() }
    }
}

/// Has the record hold what racers had done, and says of whom it does not hold all.
fn salvage(store: &SessionStore, places: &Places, sweeping: Sweeping<'_>) -> Result<Saved, String> {
    let id = &places.owner.session;
    let past = store.load(id).map_err(|error| error.to_string())?;
    let patches = if past.head.status == Status::Active { record(store, &past, places, sweeping)? } else { Vec::new() };
    let turns = unsaved(&store.entry(id)).map_err(|error| error.to_string())?;
    // What was withheld when the turn began, and changed since, is in the worktree alone.
    let is_changed = |at: usize, number: u32| {
        let turn = past.turns.iter().find(|turn| turn.turn == number);
        turn.is_some_and(|turn| !places.changed(at, &turn.withheld).is_empty())
    };
    let is_unsaved = |at: &usize| {
        let turn = places.owner.racers[*at].turn;
        turn.is_some_and(|turn| turns.contains(&turn) || is_changed(*at, turn)) && places.path(*at).is_dir()
    };
    let unsaved = (0..places.owner.racers.len()).filter(is_unsaved).collect();
    Ok(Saved { patches, unsaved, trouble: None })
}

/// Writes what the racers of a session that is not over had changed into it, and ends it; says which patches were written.
fn record(
    store: &SessionStore,
    past: &Session,
    places: &Places,
    sweeping: Sweeping<'_>,
) -> Result<Vec<String>, String> {
    let (id, clock) = (&places.owner.session, sweeping.clock);
    let mut patches = Vec::new();
    let redactor = redactor(sweeping.env, sweeping.secrets, sweeping.configured);
    let options = WriterOptions { clock: clock.clone(), durability: Durability::Turn, redactor: redactor.clone() };
    let pid = (!clock.is_fixed()).then(std::process::id);
    let writer = store.resume(id, options, pid, env!("CARGO_PKG_VERSION")).map_err(|error| error.to_string())?;
    let log = Log::from(writer);
    for turn in past.turns.iter().filter(|turn| turn.outcome.is_none()) {
        let Some(at) = places.owner.racers.iter().position(|slot| slot.turn == Some(turn.turn)) else { continue };
        let root = places.path(at);
        if !root.is_dir() || is_told(turn) {
            continue;
        }
        // No event names it: somebody died while it was written.
        let _ = files::remove_in(log.dir(), TurnFile::Patch.path(turn.turn));
        let mut trees = Trees::open(&root, &log.dir().join(OBJECTS_DIR), &redactor, &[]);
        let after = trees.take();
        let changes = trees.changes(&log, turn.turn, turn.snapshot_before.as_deref(), after.tree.as_deref());
        let (known, mut left): (Vec<Withheld>, Vec<Withheld>) = after
            .withheld
            .into_iter()
            .chain(changes.withheld)
            .partition(|file| turn.withheld.iter().any(|known| known.path == file.path));
        left.extend(places.changed(at, &known));
        let left: Vec<String> = left.into_iter().map(|file| file.path).collect();
        let trouble = after.trouble.map(|trouble| trouble.reason).or(changes.trouble);
        let mut text = match (&changes.patch, &trouble) {
            (_, Some(why)) => {
                format!("the race was cut off; what {} had changed is not in the record: {why}", turn.agent)
            }
            (Some(patch), None) => {
                format!("the race was cut off; what {} had changed is in {}", turn.agent, patch.path)
            }
            (None, None) => format!("the race was cut off; {} had changed nothing", turn.agent),
        };
        if trouble.is_some() || !left.is_empty() {
            text.push_str(STAYS);
            if !left.is_empty() {
                text.push_str(&format!(" for {}", left.join(", ")));
            }
        }
        patches.extend(changes.patch.map(|patch| patch.path));
        let notice = Notice { turn: Some(turn.turn), code: CUT_OFF.into(), text, text_artifact: None };
        log.append(notice).map_err(|error| error.to_string())?;
    }
    let end = SessionEnd {
        outcome: Some(Outcome::Interrupted),
        iterations: None,
        summary: Some("the race was cut off".into()),
        confidence: None,
        picked: None,
        duration_secs: seconds_between(log.started_at(), clock.now()),
        exit_code: Some(exit::INTERRUPTED),
    };
    log.append(end).map_err(|error| error.to_string())?;
    Ok(patches)
}

/// Whether the record says already what became of a turn that was cut off.
fn is_told(turn: &Turn) -> bool {
    turn.steps.iter().any(|step| matches!(step, Step::Notice(notice) if notice.code == CUT_OFF))
}
