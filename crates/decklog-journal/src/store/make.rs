//! Making sessions: a directory under a staging name, its lock, and then an id that nobody has.
//!
//! Whoever sees a session sees it locked, or whole. Must not know: what is recorded.

use std::io;
use std::path::{Path, PathBuf};

use super::{IdFor, Place, SessionStore, StoreError, current_head};
use crate::bulk::BulkWriter;
use crate::event::{SessionStart, Source};
use crate::files;
use crate::head::HEAD_FILE;
use crate::id::SessionId;
use crate::lock::{self, Held, SessionLock};
use crate::redact::Redactor;
use crate::session::JOURNAL_FILE;
use crate::writer::{SessionWriter, WriterOptions};

/// How the name of a directory begins that is to become a session.
const STAGING: &str = ".new-";

impl SessionStore {
    /// Makes a new session: reserves an id that nobody has, in the root and in `place`, takes its lock, and
    /// records the event that `start` makes. The event is given the id and the absolute session directory.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left behind when the directory could not be made or was occupied.
    pub fn create(
        &self,
        place: &Place,
        options: WriterOptions,
        suffix: Option<u16>,
        start: impl FnOnce(SessionId, &Path) -> SessionStart,
    ) -> Result<SessionWriter, StoreError> {
        let io = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
        files::make_private_dirs(&self.root).map_err(|error| io(&self.root, error))?;
        let target = match place {
            Place::Auto => None,
            Place::Dir(dir) => Some(prepare_dir(dir)?),
        };
        let (id, dir, lock) = self.reserve(target, &options, suffix)?;
        let start = start(id.clone(), &dir);
        let made = SessionWriter::create(dir.clone(), lock, options.clone(), start);
        if made.is_err() {
            // Ours alone and of no use to anybody: take it back.
            let _ = crate::remove::remove(&self.entry(&id));
        }
        let writer = made?;
        if options.durability != crate::append::Durability::Os {
            files::sync_dir(&self.root).map_err(|error| io(&self.root, error))?;
        }
        Ok(writer)
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
        let writer = SessionWriter::resume(&self.entry(id), options, pid, version)?;
        files::touch(&self.root).map_err(|error| StoreError::Io { path: self.root.clone(), error })?;
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

    /// Removes what recorders left that died before their session had a name. Gives how many there were.
    pub fn sweep(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return 0 };
        // One that is this moment being made has no lock yet.
        let settled = |entry: &std::fs::DirEntry| {
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
            modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age.as_secs() > 60)
        };
        let abandoned = entries.flatten().filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(STAGING)
                && settled(entry)
                && lock::held(&entry.path()) == Held::No
        });
        abandoned.filter(|entry| crate::remove::remove(&entry.path()).is_ok()).count()
    }

    /// A name under the root for a session that is on its way to one.
    pub(crate) fn staging(&self) -> PathBuf {
        staging(&self.root)
    }

    /// Takes the lock of a directory, then gives it an id that nobody has: whoever sees a session sees it locked.
    fn reserve(
        &self,
        target: Option<PathBuf>,
        options: &WriterOptions,
        suffix: Option<u16>,
    ) -> Result<(SessionId, PathBuf, SessionLock), StoreError> {
        let io = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
        let root = self.root.canonicalize().map_err(|error| io(&self.root, error))?;
        let (staging, lock) = match &target {
            Some(dir) => (dir.clone(), take_new_lock(dir)?),
            None => stage(&root)?,
        };
        match self.name(&root, target.as_deref(), &staging, options, suffix) {
            Ok(id) => {
                let dir = target.unwrap_or_else(|| root.join(id.as_str()));
                Ok((id, dir, lock))
            }
            Err(error) => {
                let _ = std::fs::remove_file(staging.join(lock::LOCK_FILE));
                if target.is_none() {
                    let _ = std::fs::remove_dir(&staging);
                }
                Err(error)
            }
        }
    }

    fn name(
        &self,
        root: &Path,
        target: Option<&Path>,
        staging: &Path,
        options: &WriterOptions,
        suffix: Option<u16>,
    ) -> Result<SessionId, StoreError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let now = options.clock.now();
        let mut suffix = suffix.unwrap_or_else(random_suffix);
        for _ in 0..=u16::MAX {
            let id = SessionId::new(now, suffix);
            let entry = root.join(id.as_str());
            let made = match target {
                None => renameat_with(CWD, staging, CWD, &entry, RenameFlags::NOREPLACE).map_err(io::Error::from),
                Some(dir) => std::os::unix::fs::symlink(dir, &entry),
            };
            match made {
                Ok(()) => return Ok(id),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => suffix = suffix.wrapping_add(1),
                Err(error) => return Err(StoreError::Io { path: entry, error }),
            }
        }
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "all 65,536 ids of this second are taken");
        Err(StoreError::Io { path: self.root.clone(), error })
    }
}

fn staging(root: &Path) -> PathBuf {
    root.join(format!("{STAGING}{}-{:04x}", std::process::id(), random_suffix()))
}

/// Makes a directory that is to become a session, and takes its lock.
fn stage(root: &Path) -> Result<(PathBuf, SessionLock), StoreError> {
    let mut left = 100;
    loop {
        let dir = staging(root);
        match files::make_private_dir(&dir) {
            Ok(()) => {
                let lock = take_new_lock(&dir).inspect_err(|_| drop(std::fs::remove_dir(&dir)))?;
                return Ok((dir, lock));
            }
            // Somebody of this process makes one too.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && left > 0 => left -= 1,
            Err(error) => return Err(StoreError::Io { path: dir, error }),
        }
    }
}

fn take_new_lock(dir: &Path) -> Result<SessionLock, StoreError> {
    SessionLock::create(dir).map_err(|error| {
        let _ = std::fs::remove_file(dir.join(lock::LOCK_FILE));
        StoreError::Lock { path: dir.to_owned(), error }
    })
}

fn prepare_dir(dir: &Path) -> Result<PathBuf, StoreError> {
    let io = |error| StoreError::Io { path: dir.to_owned(), error };
    files::make_private_dirs(dir).map_err(io)?;
    let dir = dir.canonicalize().map_err(io)?;
    for name in [HEAD_FILE, JOURNAL_FILE, lock::LOCK_FILE] {
        if dir.join(name).symlink_metadata().is_ok() {
            return Err(StoreError::Occupied(dir));
        }
    }
    Ok(dir)
}

fn random_suffix() -> u16 {
    let mut bytes = [0; 2];
    // Without a source of randomness the search for a free suffix starts at 0: no id is ever shared.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}
