//! The sessions under one session root: find, list, read. Making them is in `store/make.rs`.
//!
//! The root is flat. An entry is a session when its name is an id: a real directory, or a link to one
//! that was asked for by path. Anything else is foreign and passed over. One unreadable session never
//! hides another.
//!
//! Must not know: the environment, the home directory, where the root comes from.

mod make;

pub(crate) use make::{leave_staging, make_staging};

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files;
use crate::filter::SessionFilter;
use crate::head::{HEAD_FILE, Head, HeadError};
use crate::id::{SelectError, Selector, SessionId};
use crate::lock::{self, Held, LockError};
use crate::parallel::on_two_threads;
use crate::session::{self, JOURNAL_FILE, LoadError, Session};
use crate::wire;
use crate::words::{ShownStatus, Status};
use crate::writer::WriteError;

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
    /// A session directory that was asked for holds a session already, or an entry with a name that sessions use.
    #[error(
        "{} holds a session already, or a part of one ({name}): give another --session-dir, or discard that one first",
        .dir.display()
    )]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// The entry.
        name: String,
    },
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
            // As many as are asked for, and the rest of the oldest one's second.
            let mut newest: Vec<SessionId> = Vec::new();
            for id in ids.into_iter().rev() {
                if newest.len() >= *n && newest.last().is_some_and(|last| last.as_str()[..15] != id.as_str()[..15]) {
                    break;
                }
                if holds_session(&self.entry(&id)) {
                    newest.push(id);
                }
            }
            newest.reverse();
            return Ok(self.newest(newest, *n).get(n - 1).ok_or_else(not_found)?.clone());
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
            let (batch, later) = rest.split_at(rest.len().min(wanted - taken));
            rest = later;
            let look = |id: &SessionId| self.look(id).map(|listed| listed.filter(|listed| filter.takes(listed)));
            on_two_threads(batch, look, |read| {
                if let Some(read) = read.transpose() {
                    taken += usize::from(read.is_ok());
                    take(read);
                }
                ControlFlow::Continue(())
            });
        }
        Ok(entries)
    }

    /// Looks at one session; `None` when its entry holds none: neither a journal nor a head.
    ///
    /// # Errors
    /// [`Unreadable`] with the reason.
    pub fn look(&self, id: &SessionId) -> Result<Option<Listed>, Unreadable> {
        let entry = self.entry(id);
        let unreadable = |reason: String| Unreadable { id: id.clone(), path: entry.clone(), reason };
        let head = match current_head(&entry) {
            Ok(head) => head,
            Err(reason) => {
                // What has neither is no session: files that a removal kept, or one that an older version was making.
                return if holds_session(&entry) { Err(unreadable(reason)) } else { Ok(None) };
            }
        };
        if head.id != *id {
            return Err(unreadable(format!("it says that it is session {}", head.id)));
        }
        Ok(Some(listed(head, entry)))
    }
}

/// Whether there is anything of a session at `entry`. A link that leads nowhere, say to a disk that is not mounted, is
/// taken for one.
fn holds_session(entry: &Path) -> bool {
    let is_absent =
        |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if is_absent(entry) {
        return false;
    }
    !entry.is_dir() || [JOURNAL_FILE, HEAD_FILE].iter().any(|name| !is_absent(&entry.join(name)))
}

/// Whether the directory `entry` was about to become a session when its recorder was killed: it has a lock and no event.
#[must_use]
pub fn is_unborn(entry: &Path) -> bool {
    !holds_session(entry) && entry.join(lock::LOCK_FILE).symlink_metadata().is_ok()
}

/// What `head`, read at `entry`, is to be shown as: active on disk with no recorder holding the lock is crashed.
#[must_use]
pub fn listed(head: Head, entry: PathBuf) -> Listed {
    let status = match head.status {
        Status::Active if lock::held(&entry) == Held::No => ShownStatus::Crashed,
        status => status.into(),
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
