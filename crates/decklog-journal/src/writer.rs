//! The recorder's hold on one session: lock, journal, head and artifacts.
//!
//! Must not know: agents, processes, the terminal.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::append::{Durability, JournalWriter};
use crate::artifacts::{ArtifactWriter, RESERVE_FILE, TORN_FILE};
use crate::event::{ArtifactRef, Event, EventBody, Notice, Resumed, SessionStart};
use crate::files;
use crate::fit;
use crate::head::{Head, HeadFold, RECORDING_FAILED};
use crate::id::SessionId;
use crate::lock::{LockError, SessionLock};
use crate::read::{Item, JournalReader};
use crate::redact::Redactor;
use crate::session::JOURNAL_FILE;
use crate::state::{IllegalEvent, State};
use crate::time::Clock;

pub use crate::fit::MAX_INLINE;

/// Room kept for the last events of a session on a full disk, in bytes.
const RESERVE: u64 = 128 * 1024;

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
    untold: Option<String>,
    /// Of the lost, those that are still to be written.
    owed: Vec<(Timestamp, EventBody)>,
    reserved: bool,
    // Dropped last, so that nobody finds the session free while files are still open.
    _lock: SessionLock,
}

impl SessionWriter {
    /// Makes the record of a new session in `dir`, which must hold none.
    pub(crate) fn create(
        dir: PathBuf,
        lock: SessionLock,
        options: WriterOptions,
        start: SessionStart,
    ) -> Result<Self, WriteError> {
        let path = dir.join(JOURNAL_FILE);
        let journal = JournalWriter::create(&path, options.durability, options.redactor.clone())
            .map_err(|error| WriteError::Io { path, error })?;
        let id = start.id.clone();
        let mut writer = Self {
            dir,
            id,
            journal,
            fold: HeadFold::default(),
            options,
            lost: 0,
            untold: None,
            owed: Vec::new(),
            reserved: false,
            _lock: lock,
        };
        writer.append(start)?;
        if writer.options.durability != Durability::Os {
            writer.io(&writer.dir, files::sync_dir(&writer.dir))?;
        }
        writer.reserved = reserve(&writer.dir.join(RESERVE_FILE)).is_ok();
        Ok(writer)
    }

    /// Goes on with the session in `dir`, whose recorder is gone: moves torn bytes to `journal.torn` and
    /// records that it was resumed.
    ///
    /// # Errors
    /// [`WriteError`] when another recorder holds it, it is from a newer version, or cannot be read.
    pub fn resume(dir: &Path, options: WriterOptions, pid: Option<u32>, version: &str) -> Result<Self, WriteError> {
        let io = |path: &Path, error| WriteError::Io { path: path.to_owned(), error };
        let lock = SessionLock::take(dir, true)
            .and_then(|lock| lock.ok_or(LockError::Held))
            .map_err(|error| WriteError::Lock { path: dir.to_owned(), error })?;
        let path = dir.join(JOURNAL_FILE);
        let mut reader = JournalReader::open(&path).map_err(|error| io(&path, error))?;
        let mut fold = HeadFold::default();
        for item in &mut reader {
            if let Item::Event(event) = item.map_err(|error| io(&path, error))? {
                fold.apply(&event);
            }
        }
        let Some(head) = fold.head() else {
            return Err(WriteError::Load { path: dir.to_owned(), error: crate::session::LoadError::Empty });
        };
        if !head.format.is_writable() {
            return Err(WriteError::Format { path: dir.to_owned(), format: head.format });
        }
        let id = head.id.clone();
        let torn = keep_torn(dir, &path, reader.offset()).map_err(|error| io(&path, error))?;
        let journal = JournalWriter::resume(&path, reader.position(), options.durability, options.redactor.clone())
            .map_err(|error| io(&path, error))?;
        let mut writer = Self {
            dir: dir.to_owned(),
            id,
            journal,
            fold,
            options,
            lost: 0,
            untold: None,
            owed: Vec::new(),
            reserved: false,
            _lock: lock,
        };
        writer.append(Resumed { pid, decklog_version: version.to_owned(), torn_bytes: torn })?;
        writer.write_head()?;
        Ok(writer)
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
            self.owe(self.options.clock.now(), body, &error);
            return Err(WriteError::Io { path: self.dir.join(JOURNAL_FILE), error });
        }
        if let Some(text) = self.untold.clone() {
            let text = if self.lost > 0 { format!("{} events could not be recorded: {text}", self.lost) } else { text };
            let notice = Notice { turn: None, code: RECORDING_FAILED.into(), text, text_artifact: None };
            let lost = self.lost;
            match self.write(notice.into()) {
                Ok(_) => self.untold = None,
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
        let over = matches!(body, EventBody::SessionEnd(_) | EventBody::Checkpoint(_));
        let event = self.write(body)?;
        if over {
            let _ = std::fs::remove_file(self.dir.join(RESERVE_FILE));
        }
        if milestone {
            self.write_head()?;
        }
        Ok(event)
    }

    fn write(&mut self, body: EventBody) -> Result<Event, WriteError> {
        let at = self.options.clock.now();
        let path = self.dir.join(JOURNAL_FILE);
        let again = body.clone();
        let first = self.try_write(at, body);
        let result = match first {
            Err(error) if is_full(&error) && self.reserved => {
                self.reserved = false;
                let _ = std::fs::remove_file(self.dir.join(RESERVE_FILE));
                self.try_write(at, again.clone())
            }
            result => result,
        };
        match result {
            Ok(event) => {
                self.fold.apply(&event);
                self.fold.set_journal(self.journal.length(), self.journal.sum());
                self.journal.settle(&event.body).map_err(|error| {
                    self.untold.get_or_insert_with(|| format!("a power cut may take what was recorded: {error}"));
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
        self.untold.get_or_insert_with(|| error.to_string());
        // One that fits no line never will: everything behind it would wait for ever.
        let may_fit = error.kind() != io::ErrorKind::InvalidData;
        if may_fit && matches!(body, EventBody::TurnStart(_) | EventBody::TurnEnd(_)) {
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
        self.io(&self.dir.join(path), artifact.write(bytes).and_then(|()| artifact.finish()))
    }

    /// Writes a whole artifact in one step: whoever looks sees all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn write_whole_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        let full = self.dir.join(path);
        let safe = self.redactor().redact_str(&String::from_utf8_lossy(bytes)).into_owned();
        let (Some(dir), Some(name)) = (full.parent(), full.file_name().and_then(std::ffi::OsStr::to_str)) else {
            return Err(WriteError::Io { path: full, error: io::ErrorKind::InvalidInput.into() });
        };
        let made = match files::make_private_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => files::replace(dir, name, safe.as_bytes(), self.options.durability == Durability::Event),
        };
        self.io(&full, made)?;
        Ok(ArtifactRef { path: path.to_owned(), bytes: safe.len() as u64 })
    }

    /// Begins an artifact that does not pass the redactor: its writer has seen to it that it holds no secret.
    ///
    /// # Errors
    /// As for [`Self::artifact`].
    pub fn exact_artifact(&self, path: &str) -> Result<std::fs::File, WriteError> {
        let full = self.dir.join(path);
        let made = match full.parent().map(files::make_private_dir) {
            Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => files::create_private(&full),
        };
        self.io(&full, made)
    }

    fn write_head(&mut self) -> Result<(), WriteError> {
        let Some(head) = self.fold.head() else { return Ok(()) };
        let sync = self.options.durability == Durability::Event;
        let mut result = head.write(&self.dir, sync);
        if result.as_ref().is_err_and(is_full) && self.reserved {
            self.reserved = false;
            let _ = std::fs::remove_file(self.dir.join(RESERVE_FILE));
            result = head.write(&self.dir, sync);
        }
        if let Err(error) = &result {
            self.untold.get_or_insert_with(|| format!("session.json could not be renewed: {error}"));
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

fn reserve(path: &Path) -> io::Result<()> {
    let file = files::create_private(path)?;
    Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE)?)
}

/// Moves what stands behind the last whole line to `journal.torn`; says how much it was.
fn keep_torn(dir: &Path, journal: &Path, whole: u64) -> io::Result<Option<u64>> {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut file = files::open_regular(journal)?;
    let length = file.metadata()?.len();
    if length <= whole {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(whole))?;
    let mut torn = std::fs::OpenOptions::new();
    let flags = rustix::fs::OFlags::NOFOLLOW;
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut torn, files::flag_bits(flags));
    std::os::unix::fs::OpenOptionsExt::mode(&mut torn, 0o600);
    let mut torn = torn.append(true).create(true).open(dir.join(TORN_FILE))?;
    io::copy(&mut file.take(length - whole), &mut torn)?;
    torn.write_all(b"\n")?;
    torn.sync_data()?;
    Ok(Some(length - whole))
}
