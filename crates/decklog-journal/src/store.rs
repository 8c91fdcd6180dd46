//! The sessions under one session root: make, find, list, read.
//!
//! The root is flat. An entry is a session when its name is an id: a real directory, or a link to one
//! that was asked for by path. Anything else is foreign and passed over. One unreadable session never
//! hides another.
//!
//! Must not know: the environment, the home directory, where the root comes from.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bulk::BulkWriter;
use crate::event::{SessionStart, Source};
use crate::files;
use crate::filter::SessionFilter;
use crate::head::{HEAD_FILE, Head, HeadError};
use crate::id::{SelectError, Selector, SessionId};
use crate::lock::{self, Held, LockError, SessionLock};
use crate::redact::Redactor;
use crate::session::{self, JOURNAL_FILE, LoadError, Session};
use crate::wire;
use crate::words::{ShownStatus, Status};
use crate::writer::{SessionWriter, WriteError, WriterOptions};

/// How many heads are read before they are handed on.
const BATCH: usize = 1024;

/// How the name of a directory begins that is to become a session.
const STAGING: &str = ".new-";

/// The sessions under one root.
#[derive(Debug, Clone)]
pub struct SessionStore {
    root: PathBuf,
}

/// Where a new session is to be.
#[derive(Debug, Clone)]
pub enum Place {
    /// A new directory under the root.
    Auto,
    /// This directory, made if absent, with a link to it under the root.
    Dir(PathBuf),
}

/// An id for a session that comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdFor {
    /// Nobody has it.
    New(SessionId),
    /// The session of the same source has it.
    There(SessionId),
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A session directory that was asked for holds a session already.
    #[error("{} holds a session already: give another --session-dir, or discard that one first", .0.display())]
    Occupied(PathBuf),
    /// The new session could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The new session could not be locked.
    #[error("{}: {error}", .path.display())]
    Lock {
        /// The session directory.
        path: PathBuf,
        /// Why.
        error: LockError,
    },
    /// No single session is named.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The session cannot be read.
    #[error("session {id}: {error}")]
    Load {
        /// Which.
        id: String,
        /// Why.
        error: LoadError,
    },
}

/// A session in a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its summary.
    pub head: Head,
    /// What to show as its status.
    pub status: ShownStatus,
    /// Its entry under the root.
    pub entry: PathBuf,
    /// Where the entry leads, when it is a link.
    pub linked_to: Option<PathBuf>,
}

/// An entry that looks like a session and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its id.
    pub id: SessionId,
    /// Its entry under the root.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub reason: String,
}

/// What listing gave.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Sessions, newest first.
    pub sessions: Vec<Listed>,
    /// Entries that cannot be read, newest first.
    pub unreadable: Vec<Unreadable>,
    /// How many entries have the shape of an id.
    pub entries: usize,
}

impl SessionStore {
    /// The store under `root`, which need not exist yet. Nothing is made until a session is.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The session root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Ids under the root, oldest first. A root that does not exist holds none.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the root cannot be read.
    pub fn ids(&self) -> Result<Vec<SessionId>, StoreError> {
        let io = |error| StoreError::Io { path: self.root.clone(), error };
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name();
            if let Some(Ok(id)) = name.to_str().map(str::parse) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Ids, newest first, as many as asked for. Within one second the heads tell which is newer.
    fn newest(&self, mut ids: Vec<SessionId>, limit: usize) -> Vec<SessionId> {
        ids.reverse();
        fn second(id: &SessionId) -> &str {
            &id.as_str()[..15]
        }
        let mut from = 0;
        while from < ids.len().min(limit) {
            let length = ids[from..].iter().take_while(|id| second(id) == second(&ids[from])).count();
            if length > 1 {
                let group = &mut ids[from..from + length];
                group.sort_by_cached_key(|id| {
                    std::cmp::Reverse(current_head(&self.entry(id)).ok().map(|head| head.started_at))
                });
            }
            from += length;
        }
        ids.truncate(limit);
        ids
    }

    /// The one session that `selector` names.
    ///
    /// # Errors
    /// [`StoreError::Select`] when none, or more than one, is named.
    pub fn find(&self, selector: &Selector) -> Result<SessionId, StoreError> {
        let ids = self.ids()?;
        // A full id is found even when it is also the end of nothing else.
        if let Selector::Part(part) = selector
            && let Ok(id) = part.parse()
            && ids.binary_search(&id).is_ok()
        {
            return Ok(id);
        }
        if let Selector::Newest(n) = selector {
            let not_found = || SelectError::NotFound { selector: format!("@{n}") };
            return Ok(self.newest(ids, *n).get(n - 1).ok_or_else(not_found)?.clone());
        }
        Ok(selector.pick(&ids)?.clone())
    }

    /// The entry of a session under the root.
    #[must_use]
    pub fn entry(&self, id: &SessionId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Reads a session whole.
    ///
    /// # Errors
    /// [`StoreError::Load`].
    pub fn load(&self, id: &SessionId) -> Result<Session, StoreError> {
        session::load(&self.entry(id)).map_err(|error| StoreError::Load { id: id.to_string(), error })
    }

    /// Lists sessions, newest first, from their heads, or their journals where those say more.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the root cannot be read; an unreadable session is no error.
    pub fn list(&self, filter: &SessionFilter) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        listing.entries = self.each(filter, |read| match read {
            Ok(listed) => listing.sessions.push(listed),
            Err(unreadable) => listing.unreadable.push(unreadable),
        })?;
        Ok(listing)
    }

    /// Hands on the sessions that [`Self::list`] would list, and the entries that cannot be read, newest first and
    /// few at a time: memory does not grow with the store. Gives how many entries have the shape of an id.
    ///
    /// # Errors
    /// As for [`Self::list`].
    pub fn each(
        &self,
        filter: &SessionFilter,
        mut take: impl FnMut(Result<Listed, Unreadable>),
    ) -> Result<usize, StoreError> {
        let ids = self.ids()?;
        let entries = ids.len();
        let ids = self.newest(ids, usize::MAX);
        let wanted = filter.limit.unwrap_or(usize::MAX);
        let (mut rest, mut taken) = (ids.as_slice(), 0);
        while !rest.is_empty() && taken < wanted {
            let (batch, later) = rest.split_at(rest.len().min(wanted - taken).min(BATCH));
            rest = later;
            for read in on_two_threads(batch, |id| self.look(id)) {
                match read {
                    Ok(Some(listed)) if filter.takes(&listed) => {
                        taken += 1;
                        take(Ok(listed));
                    }
                    Ok(_) => {}
                    Err(unreadable) => take(Err(unreadable)),
                }
            }
        }
        Ok(entries)
    }

    /// Looks at one session; `None` while its recorder is still making it.
    ///
    /// # Errors
    /// [`Unreadable`] with the reason.
    pub fn look(&self, id: &SessionId) -> Result<Option<Listed>, Unreadable> {
        let entry = self.entry(id);
        let unreadable = |reason: String| Unreadable { id: id.clone(), path: entry.clone(), reason };
        let head = match current_head(&entry) {
            Ok(head) => head,
            Err(reason) => {
                // The lock comes first, then the journal: a session in the making is held and empty.
                let starting = lock::held(&entry) == Held::Yes && !entry.join(HEAD_FILE).exists();
                return if starting { Ok(None) } else { Err(unreadable(reason)) };
            }
        };
        if head.id != *id {
            return Err(unreadable(format!("it says that it is session {}", head.id)));
        }
        Ok(Some(listed(head, entry)))
    }

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
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        let writer = SessionWriter::resume(&self.entry(id), options, pid, version)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        utimensat(CWD, &self.root, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty())
            .map_err(|error| StoreError::Io { path: self.root.clone(), error: error.into() })?;
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

/// Does `work` on each of `items`, in order: on two threads when there are many.
pub fn on_two_threads<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let each = |items: &[T]| items.iter().map(&work).collect::<Vec<_>>();
    if items.len() < 256 {
        return each(items);
    }
    let (first, second) = items.split_at(items.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| each(second));
        let mut all = each(first);
        all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        all
    })
}

/// What `head`, read at `entry`, is to be shown as: active on disk with no recorder holding the lock is crashed.
#[must_use]
pub fn listed(head: Head, entry: PathBuf) -> Listed {
    let status = match head.status {
        Status::Active if lock::held(&entry) == Held::No => ShownStatus::Crashed,
        Status::Active => ShownStatus::Active,
        Status::Checkpointed => ShownStatus::Checkpointed,
        Status::Completed => ShownStatus::Completed,
    };
    // A session that stands where it was made needs no second look.
    let linked_to = if entry.as_os_str() == head.session_dir.as_str() { None } else { std::fs::read_link(&entry).ok() };
    Listed { head, status, entry, linked_to }
}

/// The head of the session in `dir` as it is now: the stored one when it sums up the whole journal, else one
/// made from the journal.
///
/// # Errors
/// The reason, when neither can be read.
pub fn current_head(dir: &Path) -> Result<Head, String> {
    let stored = Head::read(dir);
    if let Err(HeadError::Format(_)) = &stored {
        return stored.map_err(|error| error.to_string());
    }
    if let Ok(head) = &stored
        && sums_up(head, dir)
    {
        return stored.map_err(|error| error.to_string());
    }
    session::rebuild_head(dir).map_err(|error| match stored {
        Ok(_) => error.to_string(),
        Err(head) => format!("{head}; {error}"),
    })
}

/// Whether the journal in `dir` has the length and the last sum that `head` names. After a power cut the length
/// can be right and the bytes zeros.
fn sums_up(head: &Head, dir: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let Some(from) = head.journal_bytes.checked_sub(wire::END as u64) else { return false };
    let Ok(journal) = files::open_any(&dir.join(JOURNAL_FILE)) else { return false };
    // One byte more than there may be: it must not come. What is no regular file cannot be read at a place.
    let mut end = [0; wire::END + 1];
    let read = journal.read_at(&mut end, from).unwrap_or_default();
    read == wire::END
        && end[..read].strip_suffix(b"\n").and_then(wire::split_sum).is_some_and(|(_, sum)| sum == head.sum)
}

/// Makes a directory that is to become a session, and takes its lock.
fn staging(root: &Path) -> PathBuf {
    root.join(format!("{STAGING}{}-{:04x}", std::process::id(), random_suffix()))
}

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
