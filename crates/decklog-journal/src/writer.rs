//! The recorder's hold on one session: lock, journal, head and artifacts.
//!
//! Must not know: agents, processes, the terminal.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::append::{Durability, JournalWriter, Trouble};
use crate::artifacts::{self, ArtifactWriter, RESERVE_FILE};
use crate::event::{ArtifactRef, Event, EventBody, Notice, SessionStart};
use crate::files::{self, Access, open_in};
use crate::fit;
use crate::head::{Head, HeadFold, RECORDING_FAILED};
use crate::id::SessionId;
use crate::lock::{LOCK_FILE, LockError, SessionLock};
use crate::named::Named;
use crate::redact::Redactor;
use crate::session::JOURNAL_FILE;
use crate::state::{IllegalEvent, State};
use crate::time::Clock;
use crate::words::Status;

mod reopen;

pub use crate::fit::MAX_INLINE;

/// Room kept for the last events of a session on a full disk, in bytes.
const RESERVE: u64 = 128 * 1024;
/// Of that, what is kept for the ends of turns and of the session.
const LAST_RESERVE: u64 = 32 * 1024;

/// How a session is to be written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Where timestamps come from.
    pub clock: Clock,
    /// What a power cut may take.
    pub durability: Durability,
    /// What must not reach the disk.
    pub redactor: Redactor,
}

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The event must not come here: a defect in the caller.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The session cannot be locked.
    #[error("{}: {error}", .path.display())]
    Lock {
        /// The session directory.
        path: PathBuf,
        /// Why.
        error: LockError,
    },
    /// It is from a newer version: reading is safe, adding is not.
    #[error("{}: the session is in format {format}, which this decklog only reads: use a newer decklog", .path.display())]
    Format {
        /// The session directory.
        path: PathBuf,
        /// Its format.
        format: crate::format::FormatVersion,
    },
    /// It cannot be read, so not be continued.
    #[error("{}: {error}", .path.display())]
    Load {
        /// The session directory.
        path: PathBuf,
        /// Why.
        error: crate::session::LoadError,
    },
}

/// Writes one session. Dropping it leaves the session as a crash would.
#[derive(Debug)]
pub struct SessionWriter {
    dir: PathBuf,
    id: SessionId,
    journal: JournalWriter,
    fold: HeadFold,
    options: WriterOptions,
    /// Events that could not be written.
    lost: u64,
    /// What the disk refused and the record does not say yet.
    pending_notice: Option<String>,
    /// Of the lost, those that are still to be written.
    owed: Vec<(Timestamp, EventBody)>,
    /// Bytes of room kept for the last events.
    reserved: u64,
    /// When the last event was recorded: none is recorded as earlier.
    last_at: Timestamp,
    named: Named,
    // Dropped last, so that the session is not free while files are still open.
    lock: SessionLock,
}

impl SessionWriter {
    /// Makes the record of a new session in `dir`, which must hold none.
    pub(crate) fn create(
        dir: PathBuf,
        lock: SessionLock,
        options: WriterOptions,
        start: SessionStart,
    ) -> Result<Self, WriteError> {
        let journal = JournalWriter::create(&dir, options.durability, options.redactor.clone())
            .map_err(|error| WriteError::Io { path: dir.join(JOURNAL_FILE), error })?;
        let id = start.id.clone();
        let mut writer = Self {
            dir,
            id,
            journal,
            fold: HeadFold::default(),
            options,
            lost: 0,
            pending_notice: None,
            owed: Vec::new(),
            reserved: 0,
            last_at: Timestamp::MIN,
            named: Named::default(),
            lock,
        };
        writer.append(start)?;
        if writer.options.durability != Durability::Os {
            writer.io(&writer.dir, files::sync_dir(&writer.dir))?;
        }
        writer.reserved = reserve(&writer.dir).map_or(0, |()| RESERVE);
        Ok(writer)
    }

    /// Says that the session directory has another name now.
    pub(crate) fn set_dir(&mut self, dir: PathBuf) {
        self.journal.set_dir(&dir);
        self.dir = dir;
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The session directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// The redactor.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.options.redactor
    }

    /// The summary of what is recorded so far.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.fold.head()
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> &State {
        self.fold.state()
    }

    /// How many events the disk refused.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Records an event. When this returns, a reader sees it, and a crash of this process cannot take it.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the disk refuses: the event is lost, the session goes on, and the next
    /// event that can be written is preceded by a notice that says so. [`WriteError::Illegal`] when the
    /// event must not come here.
    pub fn append(&mut self, body: impl Into<EventBody>) -> Result<Event, WriteError> {
        let body = body.into();
        if self.lost == 0 {
            self.fold.state().clone().advance(&body)?;
        }
        if let Err(error) = self.pay() {
            let at = self.now();
            self.owe(at, body, &error);
            return Err(WriteError::Io { path: self.dir.join(JOURNAL_FILE), error });
        }
        if let Some(text) = self.pending_notice.clone() {
            let text = if self.lost > 0 { format!("{} events could not be recorded: {text}", self.lost) } else { text };
            let notice = Notice { turn: None, code: RECORDING_FAILED.into(), text, text_artifact: None };
            let lost = self.lost;
            match self.write(notice.into()) {
                Ok(_) => self.pending_notice = None,
                // It is told of no less than before, and is none of what is lost.
                Err(_) => self.lost = lost,
            }
        }
        let milestone = matches!(
            body,
            EventBody::SessionStart(_)
                | EventBody::TurnStart(_)
                | EventBody::TurnEnd(_)
                | EventBody::Checkpoint(_)
                | EventBody::SessionEnd(_)
        );
        if milestone {
            self.keep_lock();
        }
        let over = matches!(body, EventBody::SessionEnd(_) | EventBody::Checkpoint(_));
        if (over || matches!(body, EventBody::TurnEnd(_)))
            && let Some((path, error)) = self.named.check(&self.dir, over)
        {
            let text = format!("{}: {error}", path.display());
            self.journal.note(self.dir.join(path), error, text);
        }
        let event = self.write(body)?;
        self.named.add(&event.body);
        if milestone {
            self.write_head()?;
        }
        if over {
            self.release_reserve();
        }
        Ok(event)
    }

    /// The time of the next event: a clock that was set back since the last recorder's makes none earlier.
    fn now(&mut self) -> Timestamp {
        self.last_at = self.last_at.max(self.options.clock.now());
        self.last_at
    }

    /// Takes the session's end away again, when what it says turned out to be false and cannot be corrected: the session
    /// is then one whose recorder died.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the disk refuses that, too.
    pub fn withdraw_end(&mut self) -> Result<(), WriteError> {
        let result = self.journal.withdraw();
        self.io(&self.dir.join(JOURNAL_FILE), result)
    }

    /// Takes a lock again whose file another process removed or replaced.
    fn keep_lock(&mut self) {
        let error = match self.lock.is_in_place(&self.dir) {
            Ok(true) => return,
            Ok(false) => match SessionLock::replace(&self.dir) {
                Ok(lock) => {
                    self.lock = lock;
                    io::Error::other("removed or replaced by another process during the recording; it is held again")
                }
                Err(error) => io::Error::other(error),
            },
            Err(error) => error,
        };
        let path = self.dir.join(LOCK_FILE);
        let text = format!("{LOCK_FILE}: {error}");
        self.journal.note(path, error, text);
    }

    /// Gives the room back that is kept for the last events.
    fn release_reserve(&mut self) {
        if std::mem::take(&mut self.reserved) > 0 {
            let _ = files::remove_in(&self.dir, RESERVE_FILE);
        }
    }

    /// Gives some of that room back on a full disk: all but the rest, and the rest when `last` says that it is for this.
    /// Says whether there was any.
    fn release_some(&mut self, last: bool) -> bool {
        if self.reserved > LAST_RESERVE {
            let file = open_in(&self.dir, RESERVE_FILE, Access::Update);
            if file.and_then(|file| file.set_len(LAST_RESERVE)).is_ok() {
                self.reserved = LAST_RESERVE;
                return true;
            }
        }
        let there = self.reserved > 0 && (last || self.reserved > LAST_RESERVE);
        if there {
            self.release_reserve();
        }
        there
    }

    fn write(&mut self, body: EventBody) -> Result<Event, WriteError> {
        let at = self.now();
        let path = self.dir.join(JOURNAL_FILE);
        let again = body.clone();
        let last = matches!(body, EventBody::TurnEnd(_) | EventBody::SessionEnd(_) | EventBody::Checkpoint(_));
        let mut result = self.try_write(at, body);
        while result.as_ref().is_err_and(is_full) && self.release_some(last) {
            result = self.try_write(at, again.clone());
        }
        match result {
            Ok(event) => {
                self.fold.apply(&event);
                self.fold.set_journal(self.journal.length(), self.journal.sum());
                self.journal.sync_line(&event.body).map_err(|Trouble { path, error, text }| {
                    self.pending_notice.get_or_insert(text);
                    WriteError::Io { path, error }
                })?;
                Ok(event)
            }
            Err(error) => {
                self.owe(at, again, &error);
                Err(WriteError::Io { path, error })
            }
        }
    }

    /// Counts an event that the disk refused. One that others make no sense without is kept to be tried again.
    fn owe(&mut self, at: Timestamp, body: EventBody, error: &io::Error) {
        self.lost += 1;
        self.pending_notice.get_or_insert_with(|| error.to_string());
        // One that fits no line never will: everything behind it would wait for ever.
        let may_fit = error.kind() != io::ErrorKind::InvalidData;
        if may_fit && matches!(body, EventBody::Resumed(_) | EventBody::TurnStart(_) | EventBody::TurnEnd(_)) {
            self.owed.push((at, body));
        }
    }

    /// Writes what is owed, before anything that comes after it.
    fn pay(&mut self) -> io::Result<()> {
        while let Some((at, body)) = self.owed.first().cloned() {
            let event = self.try_write(at, body)?;
            self.fold.apply(&event);
            self.fold.set_journal(self.journal.length(), self.journal.sum());
            self.owed.remove(0);
            self.lost -= 1;
        }
        Ok(())
    }

    fn try_write(&mut self, at: Timestamp, body: EventBody) -> io::Result<Event> {
        fit::append(&self.dir, &mut self.journal, at, body)
    }

    /// Begins an artifact; `path` is relative to the session directory, one of this crate's names.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn artifact(&self, path: &str) -> Result<ArtifactWriter, WriteError> {
        self.io(&self.dir.join(path), ArtifactWriter::create(&self.dir, path.to_owned(), &self.options.redactor))
    }

    /// Begins a log, or goes on with it where the session had it before; `path` as for [`Self::artifact`].
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn log_file(&self, path: &str) -> Result<ArtifactWriter, WriteError> {
        self.io(&self.dir.join(path), ArtifactWriter::append(&self.dir, path.to_owned(), &self.options.redactor))
    }

    /// Writes a whole artifact.
    ///
    /// # Errors
    /// As for [`Self::artifact`].
    pub fn write_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        let mut artifact = self.artifact(path)?;
        let written = artifact.write(bytes).and_then(|()| artifact.finish());
        if written.is_err() {
            // No event will name it.
            let _ = files::remove_in(&self.dir, path);
        }
        self.io(&self.dir.join(path), written)
    }

    /// Writes a whole artifact in one step: whoever looks sees all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn write_whole_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        let safe = self.redactor().redact_str(&String::from_utf8_lossy(bytes)).into_owned();
        let made = match Path::new(path).parent() {
            Some(parent) if parent != Path::new("") => files::make_dir_in(&self.dir, parent),
            _ => Ok(()),
        };
        let sync = self.options.durability == Durability::Event;
        let replaced = made.and_then(|()| files::replace(&self.dir, path, safe.as_bytes(), sync));
        self.io(&self.dir.join(path), replaced)?;
        Ok(ArtifactRef { path: path.to_owned(), bytes: safe.len() as u64 })
    }

    /// Begins an artifact that does not pass the redactor: its writer has seen to it that it holds no secret.
    ///
    /// # Errors
    /// As for [`Self::artifact`].
    pub fn exact_artifact(&self, path: &str) -> Result<std::fs::File, WriteError> {
        self.io(&self.dir.join(path), artifacts::create_file(&self.dir, path))
    }

    fn write_head(&mut self) -> Result<(), WriteError> {
        let sync = self.options.durability == Durability::Event;
        let write = |writer: &Self| writer.fold.head().map_or(Ok(()), |head| head.write(&writer.dir, sync));
        let is_over = self.fold.state().status() != Some(Status::Active);
        let mut result = write(self);
        while result.as_ref().is_err_and(is_full) && self.release_some(is_over) {
            result = write(self);
        }
        if let Err(error) = &result {
            self.pending_notice.get_or_insert_with(|| format!("session.json could not be renewed: {error}"));
        }
        self.io(&self.dir.join(crate::head::HEAD_FILE), result)
    }

    fn io<T>(&self, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
        result.map_err(|error| WriteError::Io { path: path.to_owned(), error })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reserve(dir: &Path) -> io::Result<()> {
    files::remove_in(dir, RESERVE_FILE)?;
    let file = open_in(dir, RESERVE_FILE, Access::Create)?;
    let kept = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE);
    if kept.is_err() {
        let _ = files::remove_in(dir, RESERVE_FILE);
    }
    Ok(kept?)
}

impl Drop for SessionWriter {
    fn drop(&mut self) {
        self.release_reserve();
    }
}
