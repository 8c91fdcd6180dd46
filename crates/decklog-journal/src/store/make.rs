//! Making sessions: a directory under a staging name, its lock, and then an id that nobody has.
//!
//! Whoever sees a session sees it locked, or whole. Must not know: what is recorded.

use std::io;
use std::path::{Path, PathBuf};

use super::{IdFor, Place, SessionStore, StoreError, current_head, is_unborn};
use crate::artifacts::{self, LOGS_DIR, OBJECTS_DIR, RESUME_DIR, TURNS_DIR};
use crate::bulk::BulkWriter;
use crate::event::{SessionStart, Source};
use crate::files;
use crate::id::SessionId;
use crate::lock::{self, Held, SessionLock};
use crate::redact::Redactor;
use crate::writer::{SessionWriter, WriterOptions};

/// The directory under the root in which sessions are made: `PID-hhhh`, by the process that makes one. It is there only
/// while there is one.
const STAGING_DIR: &str = ".staging";
/// How older versions named a directory under the root that was to become a session.
const OLD_STAGING: &str = ".new-";

impl SessionStore {
    /// Makes a new session: locks a directory, records the event that `start` makes, and then gives the directory an id
    /// that no other session has. `start` gets the id and the absolute session directory, which need not exist yet. A
    /// crash in between leaves what [`Self::sweep`] removes, and no session.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left behind.
    pub fn create(
        &self,
        place: &Place,
        options: WriterOptions,
        suffix: Option<u16>,
        start: impl FnOnce(SessionId, &Path) -> SessionStart,
    ) -> Result<SessionWriter, StoreError> {
        let io = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
        files::make_private_dirs(&self.root).map_err(|error| io(&self.root, error))?;
        let root = self.root.canonicalize().map_err(|error| io(&self.root, error))?;
        let target = match place {
            Place::Auto => None,
            Place::Dir(dir) => Some(Target::prepare(dir)?),
        };
        let now = options.clock.now();
        let mut suffix = suffix.unwrap_or_else(random_suffix);
        let (mut start, mut event) = (Some(start), None);
        for _ in 0..=u16::MAX {
            let id = SessionId::new(now, suffix);
            suffix = suffix.wrapping_add(1);
            let entry = root.join(id.as_str());
            if entry.symlink_metadata().is_ok() {
                continue;
            }
            let dir = target.as_ref().map_or_else(|| entry.clone(), |target| target.dir.clone());
            let first = match (start.take(), event.take()) {
                (Some(start), _) => start(id, &dir),
                (None, Some(first)) => SessionStart { id, session_dir: dir.to_string_lossy().into_owned(), ..first },
                (None, None) => break,
            };
            event = Some(first.clone());
            if let Some(writer) = begin(&root, target.as_ref(), &entry, &options, first)? {
                return Ok(writer);
            }
        }
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "all 65,536 ids of this second are taken");
        Err(StoreError::Io { path: self.root.clone(), error })
    }

    /// Goes on with a session whose recorder is gone; see [`SessionWriter::resume`]. The root is touched, so that whoever
    /// remembers the session as completed sees that something changed.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn resume(
        &self,
        id: &SessionId,
        options: WriterOptions,
        pid: Option<u32>,
        version: &str,
    ) -> Result<SessionWriter, StoreError> {
        // Before anything is written: a session that cannot be resumed stays as it is.
        files::touch(&self.root).map_err(|error| StoreError::Io { path: self.root.clone(), error })?;
        let writer = SessionWriter::resume(&self.entry(id), options, pid, version)?;
        // What was remembered of it in between is looked at again, or the next change does it.
        let _ = files::touch(&self.root);
        Ok(writer)
    }

    /// The first id, from `suffix` on, for a session that began at `at` and comes from `source`: one that nobody has,
    /// or that of the session that is made of this source already. `None` when all of that second are taken.
    #[must_use]
    pub fn id_for(&self, at: jiff::Timestamp, suffix: u16, source: &Source) -> Option<IdFor> {
        (0..=u16::MAX).find_map(|more| {
            let id = SessionId::new(at, suffix.wrapping_add(more));
            let entry = self.entry(&id);
            if entry.symlink_metadata().is_err() {
                return Some(IdFor::New(id));
            }
            let has = current_head(&entry).ok()?.source?;
            (has.tool == source.tool && has.id == source.id).then_some(IdFor::There(id))
        })
    }

    /// Begins a whole session that happened elsewhere, to have the id `id` once it is finished. `start` is given the
    /// absolute session directory that it will have.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left behind then.
    pub fn bulk(
        &self,
        id: &SessionId,
        redactor: Redactor,
        at: jiff::Timestamp,
        start: impl FnOnce(&Path) -> SessionStart,
    ) -> Result<BulkWriter, StoreError> {
        let io = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
        files::make_private_dirs(&self.root).map_err(|error| io(&self.root, error))?;
        let root = self.root.canonicalize().map_err(|error| io(&self.root, error))?;
        let (staging, lock) = stage(&root)?;
        let start = start(&root.join(id.as_str()));
        Ok(BulkWriter::create(root, staging, lock, redactor, at, start)?)
    }

    /// Waits until everything under the root is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk says so.
    pub fn sync(&self) -> Result<(), StoreError> {
        let io = |error| StoreError::Io { path: self.root.clone(), error };
        match std::fs::File::open(&self.root) {
            Ok(root) => rustix::fs::syncfs(&root).map_err(|errno| io(errno.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io(error)),
        }
    }

    /// Removes what recorders left that died before their session had a name, and the rest of sessions whose removal was
    /// cut off. Gives how many there were.
    pub fn sweep(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return 0 };
        // One that is this moment being made has no lock yet.
        let settled = |entry: &std::fs::DirEntry| {
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
            modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age.as_secs() > 60)
        };
        let is_abandoned = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if crate::remove::removed_id(&name).is_some() {
                return true;
            }
            // Older versions named a session before its first line.
            let unborn =
                name.starts_with(OLD_STAGING) || (name.parse::<SessionId>().is_ok() && is_unborn(&entry.path()));
            unborn && settled(entry) && lock::held(&entry.path()) == Held::No
        };
        let abandoned = entries.flatten().filter(is_abandoned);
        let removed = abandoned.filter(|entry| crate::remove::remove(&entry.path()).is_ok()).count();
        removed + sweep_staging(&self.root)
    }
}

/// A directory that was asked for with a path.
struct Target {
    dir: PathBuf,
    /// Whether it was created for the session.
    created: bool,
}

impl Target {
    fn prepare(dir: &Path) -> Result<Self, StoreError> {
        let io = |error| StoreError::Io { path: dir.to_owned(), error };
        let created = !dir.exists();
        files::make_private_dirs(dir).map_err(io)?;
        let dir = dir.canonicalize().map_err(io)?;
        // What has such a name later is known to be of this session.
        let is_taken = |name: &std::ffi::OsStr| {
            [TURNS_DIR, RESUME_DIR, LOGS_DIR, OBJECTS_DIR].iter().any(|dir| name == *dir)
                || artifacts::is_ours("", name.as_encoded_bytes())
        };
        for entry in std::fs::read_dir(&dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if is_taken(&name) {
                return Err(StoreError::Occupied { dir, name: name.to_string_lossy().into_owned() });
            }
        }
        Ok(Self { dir, created })
    }
}

/// Writes a session's first event in a staging directory, or in `target`, and then makes it the session at `entry`.
/// `None` when another session took that id meanwhile; nothing is left then.
fn begin(
    root: &Path,
    target: Option<&Target>,
    entry: &Path,
    options: &WriterOptions,
    first: SessionStart,
) -> Result<Option<SessionWriter>, StoreError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let io = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
    sweep_staging(root);
    let (made, lock) = match target {
        Some(target) => (target.dir.clone(), take_new_lock(&target.dir)?),
        None => stage(root)?,
    };
    let created = target.is_none_or(|target| target.created);
    // Ours alone and of no use to anybody. Whatever resists is swept up later.
    let clear = || {
        let _ = crate::remove::clear(&made, created);
        leave_staging(&made);
    };
    let mut writer = SessionWriter::create(made.clone(), lock, options.clone(), first).inspect_err(|_| clear())?;
    let named = match target {
        None => renameat_with(CWD, &made, CWD, entry, RenameFlags::NOREPLACE).map_err(io::Error::from),
        Some(target) => std::os::unix::fs::symlink(&target.dir, entry),
    };
    if let Err(error) = named {
        drop(writer);
        clear();
        return if error.kind() == io::ErrorKind::AlreadyExists { Ok(None) } else { Err(io(entry, error)) };
    }
    if target.is_none() {
        leave_staging(&made);
        writer.set_dir(entry.to_owned());
    }
    if options.durability != crate::append::Durability::Os
        && let Err(error) = files::sync_dir(root)
    {
        drop(writer);
        let _ = crate::remove::remove(entry);
        return Err(io(root, error));
    }
    Ok(Some(writer))
}

/// Removes what killed processes left in the staging directory, and that when it is empty. Gives how many there were.
fn sweep_staging(root: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(root.join(STAGING_DIR)) else { return 0 };
    let is_abandoned = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let is_gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        pid.is_some_and(is_gone) && lock::held(&entry.path()) == Held::No
    };
    let abandoned = entries.flatten().filter(is_abandoned);
    let removed = abandoned.filter(|entry| crate::remove::remove(&entry.path()).is_ok()).count();
    leave_staging(&root.join(STAGING_DIR).join("session"));
    removed
}

/// Removes the directory that `staging` was in, if it is empty.
pub(crate) fn leave_staging(staging: &Path) {
    if let Some(parent) = staging.parent().filter(|parent| parent.ends_with(STAGING_DIR)) {
        let _ = std::fs::remove_dir(parent);
    }
}

/// Creates a directory that is to become a session, for its owner alone.
pub(crate) fn make_staging(root: &Path) -> io::Result<PathBuf> {
    let mut left = 100;
    loop {
        let dir = root.join(STAGING_DIR).join(format!("{}-{:04x}", std::process::id(), random_suffix()));
        let made = match files::make_private_dir(&root.join(STAGING_DIR)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => files::make_private_dir(&dir),
        };
        match made {
            Ok(()) => return Ok(dir),
            // Another thread of this process has the name, or another process removed the empty staging directory.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) && left > 0 =>
            {
                left -= 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes a directory that is to become a session, and takes its lock.
fn stage(root: &Path) -> Result<(PathBuf, SessionLock), StoreError> {
    let dir = make_staging(root).map_err(|error| StoreError::Io { path: root.join(STAGING_DIR), error })?;
    let lock = take_new_lock(&dir).inspect_err(|_| {
        let _ = std::fs::remove_dir(&dir);
        leave_staging(&dir);
    })?;
    Ok((dir, lock))
}

fn take_new_lock(dir: &Path) -> Result<SessionLock, StoreError> {
    SessionLock::create(dir).map_err(|error| StoreError::Lock { path: dir.to_owned(), error })
}

fn random_suffix() -> u16 {
    let mut bytes = [0; 2];
    // Without a source of randomness the search for a free suffix starts at 0: no id is ever shared.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}
