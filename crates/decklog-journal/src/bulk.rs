//! Writing a whole session that happened elsewhere: every event with the time it had there.
//!
//! It is made under a staging name, locked, and gets its id only when it is whole: no reader ever sees a part of it,
//! and a crash leaves what [`crate::SessionStore::sweep`] removes. The journal is the same as a recorded one: chained
//! sums, legal transitions, through the redactor. The disk is not waited for: the source is still there.
//!
//! Must not know: whose histories these are.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::append::JournalWriter;
use crate::event::{ArtifactRef, EventBody, SessionStart};
use crate::files;
use crate::fit;
use crate::head::{HEAD_FILE, Head, HeadFold};
use crate::id::SessionId;
use crate::lock::{LOCK_FILE, LockError, SessionLock};
use crate::redact::Redactor;
use crate::remove::{self, Removed};
use crate::session::JOURNAL_FILE;
use crate::state::State;
use crate::store::{current_head, leave_staging};
use crate::writer::WriteError;

/// What came of a session that was to get its name.
#[derive(Debug)]
pub enum Named {
    /// It has it.
    Done,
    /// Another session took the id meanwhile: make it anew with another one.
    Taken,
}

/// What came of a session that was to take the place of another.
#[derive(Debug)]
pub enum Replaced {
    /// It stands there now. Of the old one it has what was not decklog's.
    Done(Removed),
    /// The old one is not what it was known as any more, and stays.
    Changed {
        /// Somebody went on with it.
        continued: bool,
    },
}

/// Writes one whole session. Dropping it before it has its name leaves nothing.
#[derive(Debug)]
pub struct BulkWriter {
    /// The session root.
    root: PathBuf,
    /// Where it stands until it has its name.
    staging: Option<PathBuf>,
    id: SessionId,
    journal: JournalWriter,
    fold: HeadFold,
    lock: Option<SessionLock>,
}

impl BulkWriter {
    /// Begins in `staging`, an empty directory under `root`, whose lock is `lock`.
    pub(crate) fn create(
        root: PathBuf,
        staging: PathBuf,
        lock: SessionLock,
        redactor: Redactor,
        at: Timestamp,
        start: SessionStart,
    ) -> Result<Self, WriteError> {
        let journal = JournalWriter::create_unseen(&staging, redactor).map_err(|error| {
            remove_staging(&staging);
            WriteError::Io { path: staging.join(JOURNAL_FILE), error }
        })?;
        let id = start.id.clone();
        let (staging, lock) = (Some(staging), Some(lock));
        let mut writer = Self { root, staging, id, journal, fold: HeadFold::default(), lock };
        writer.append(at, start)?;
        Ok(writer)
    }

    /// The id it will have.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> &State {
        self.fold.state()
    }

    /// The summary of what is written so far.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.fold.head()
    }

    /// What must not reach the disk.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        self.journal.redactor()
    }

    /// Writes an event that happened at `at`.
    ///
    /// # Errors
    /// [`WriteError::Illegal`] when it must not come here, [`WriteError::Io`] when the disk refuses.
    pub fn append(&mut self, at: Timestamp, body: impl Into<EventBody>) -> Result<(), WriteError> {
        let body = body.into();
        self.fold.state().clone().advance(&body)?;
        let dir = self.dir().to_owned();
        let event = fit::append(&dir, &mut self.journal, at, body)
            .map_err(|error| WriteError::Io { path: dir.join(JOURNAL_FILE), error })?;
        self.fold.apply(&event);
        Ok(())
    }

    /// Writes a whole artifact; `path` is relative to the session directory, one of this crate's names.
    ///
    /// # Errors
    /// [`WriteError::Io`] when it is there already or the disk refuses.
    pub fn write_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        fit::store(self.dir(), self.journal.redactor(), path.to_owned(), bytes)
            .map_err(|error| WriteError::Io { path: self.dir().join(path), error })
    }

    /// Ends the session and gives it its id, if nobody has that.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the disk refuses; nothing is left then.
    pub fn finish(mut self) -> Result<Named, WriteError> {
        self.settle()?;
        let (staging, entry) = (self.dir().to_owned(), self.root.join(self.id.as_str()));
        match renameat_with(CWD, &staging, CWD, &entry, RenameFlags::NOREPLACE).map_err(io::Error::from) {
            Ok(()) => {
                self.staging = None;
                leave_staging(&staging);
                Ok(Named::Done)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Named::Taken),
            Err(error) => Err(WriteError::Io { path: entry, error }),
        }
    }

    /// Ends the session and puts it in the place of the one that has its id, in one step: a reader sees the old one
    /// or the new one. Only one whose journal still ends with the sum `known` is replaced. What of it was not decklog's
    /// stays, in the new one's directory.
    ///
    /// # Errors
    /// [`WriteError::Lock`] when the old one is being recorded, [`WriteError::Io`] when it is no directory of the
    /// root or the disk refuses. The old one stays then.
    pub fn replace(mut self, known: &str) -> Result<Replaced, WriteError> {
        let entry = self.root.join(self.id.as_str());
        let io = |error| WriteError::Io { path: entry.clone(), error };
        if !std::fs::symlink_metadata(&entry).map_err(io)?.is_dir() {
            return Err(io(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a session that stands elsewhere stays as it is",
            )));
        }
        // One that was imported has no lock yet: somebody could go on with it meanwhile.
        let held = SessionLock::take(&entry, true)
            .map_err(|error: LockError| WriteError::Lock { path: entry.clone(), error })?;
        let head = current_head(&entry).map_err(|reason| io(io::Error::new(io::ErrorKind::InvalidData, reason)))?;
        if head.sum != known {
            return Ok(Replaced::Changed { continued: head.pid.is_some() });
        }
        self.settle()?;
        let staging = self.dir().to_owned();
        renameat_with(CWD, &staging, CWD, &entry, RenameFlags::EXCHANGE).map_err(|errno| io(errno.into()))?;
        self.staging = None;
        drop(held);
        let mut removed = remove::remove(&staging).unwrap_or_default();
        // What somebody laid into the session directory goes on lying in it.
        for kept in &mut removed.kept {
            let Ok(inside) = kept.strip_prefix(&staging).map(|inside| entry.join(inside)) else { continue };
            let _ = inside.parent().map(files::make_private_dirs);
            if renameat_with(CWD, &*kept, CWD, &inside, RenameFlags::NOREPLACE).is_ok() {
                *kept = inside;
            }
        }
        if !removed.kept.is_empty() {
            let _ = remove_empty_dirs(&staging);
        }
        leave_staging(&staging);
        Ok(Replaced::Done(removed))
    }

    /// Writes what is gathered and the head. Nobody records it from here on: it is held no more.
    fn settle(&mut self) -> Result<(), WriteError> {
        let io = |path: PathBuf| move |error| WriteError::Io { path, error };
        self.journal.flush().map_err(io(self.dir().join(JOURNAL_FILE)))?;
        self.fold.set_journal(self.journal.length(), self.journal.sum());
        if let Some(head) = self.fold.head() {
            head.write(self.dir(), false).map_err(io(self.dir().join(HEAD_FILE)))?;
        }
        self.lock = None;
        let lock = self.dir().join(LOCK_FILE);
        std::fs::remove_file(&lock).map_err(io(lock.clone()))
    }

    fn dir(&self) -> &Path {
        self.staging.as_deref().unwrap_or(&self.root)
    }
}

impl Drop for BulkWriter {
    fn drop(&mut self) {
        self.lock = None;
        if let Some(staging) = &self.staging {
            remove_staging(staging);
        }
    }
}

fn remove_staging(staging: &Path) {
    // Ours alone; whatever resists is swept up later.
    let _ = remove::remove(staging);
    leave_staging(staging);
}

/// Removes `dir` and the directories in it, as far as they are empty.
fn remove_empty_dirs(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty_dirs(&entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}
