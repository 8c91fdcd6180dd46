//! Removing a session: only names that decklog makes, never through a link, never while it is recorded.
//!
//! The entry under the root is renamed first, to a name that no reader lists: a session is there whole or not at all,
//! and a removal that is cut off is completed by the next sweep. Then everything is done relative to open directories,
//! so that nothing outside the session can be reached however the tree is changed meanwhile. What another process
//! removes at the same time is removed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::artifacts::{self, LOGS_DIR, OBJECTS_DIR, RESUME_DIR, TURNS_DIR};
use crate::id::SessionId;
use crate::lock::{LOCK_FILE, LockError, SessionLock};
use crate::session::JOURNAL_FILE;
use crate::store::current_head;

/// What removing a session left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Entries that are not decklog's, kept where they were, in path order.
    pub kept: Vec<PathBuf>,
}

/// Why a session was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is being recorded, or that cannot be told.
    #[error("{}: {error}", .path.display())]
    Lock {
        /// The session directory.
        path: PathBuf,
        /// Why.
        error: LockError,
    },
    /// What stands there is no session directory.
    #[error("{}: not a session directory: nothing was removed", .0.display())]
    NotASession(PathBuf),
    /// The file system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// How the entry of a session is named that is being removed: this, its id, and random hex digits.
const REMOVED: &str = ".removed-";

/// The session that an entry of this name under a root was.
pub(crate) fn removed_id(name: &str) -> Option<SessionId> {
    name.strip_prefix(REMOVED)?.rsplit_once('.')?.0.parse().ok()
}

/// Removes the session at `entry`: a session directory, or a link to one, which then goes as well. One that is not there
/// is removed. An entry that an earlier removal renamed is removed likewise.
///
/// # Errors
/// [`RemoveError`]; when it is [`RemoveError::Lock`] or [`RemoveError::NotASession`], nothing was removed.
pub fn remove(entry: &Path) -> Result<Removed, RemoveError> {
    let io = |error: io::Error| RemoveError::Io { path: entry.to_owned(), error };
    let is_link = match std::fs::symlink_metadata(entry) {
        Ok(meta) => meta.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::default()),
        Err(error) => return Err(io(error)),
    };
    let dir = match entry.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Of a session that was asked for by path, the link can be all that is left.
            if is_link {
                unlink(entry).map_err(io)?;
            }
            return Ok(Removed::default());
        }
        Err(error) => return Err(io(error)),
    };
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(&dir, open, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Removed::default()),
        Err(_) => return Err(RemoveError::NotASession(entry.to_owned())),
    };
    let name = entry.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let removed_before = removed_id(name);
    if let (true, Some(id)) = (is_link, &removed_before)
        && !current_head(&dir).is_ok_and(|head| head.id == *id)
    {
        // Its directory holds another session by now, or nothing of this one.
        unlink(entry).map_err(io)?;
        return Ok(Removed::default());
    }
    let lock = SessionLock::take(&dir, false).map_err(|error| RemoveError::Lock { path: entry.to_owned(), error })?;
    let Some(hidden) = hide(entry, name).map_err(io)? else { return Ok(Removed::default()) };
    let remains = |error: io::Error| RemoveError::Io { path: hidden.clone(), error };
    let mut removed = Removed::default();
    let cleared = Clear { kept: &mut removed.kept }.session(fd.as_fd(), &dir);
    let cleared = cleared.map_err(|errno| remains(errno.into()))?;
    drop(lock);
    let real = if is_link { &dir } else { &hidden };
    if cleared {
        remove_dir(real).map_err(remains)?;
    } else if !is_link {
        put_back(&hidden, entry, removed_before, &mut removed.kept).map_err(remains)?;
    }
    if is_link {
        unlink(&hidden).map_err(remains)?;
    }
    removed.kept.sort();
    Ok(removed)
}

/// Empties the session directory `dir` of what is decklog's, and removes it if that empties it and `whole` says so.
pub(crate) fn clear(dir: &Path, whole: bool) -> Result<Removed, RemoveError> {
    let io = |error: io::Error| RemoveError::Io { path: dir.to_owned(), error };
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, open, Mode::empty()).map_err(|errno| io(errno.into()))?;
    let mut removed = Removed::default();
    let cleared = Clear { kept: &mut removed.kept }.session(fd.as_fd(), dir).map_err(|errno| io(errno.into()))?;
    if cleared && whole {
        remove_dir(dir).map_err(io)?;
    }
    Ok(removed)
}

/// Renames the entry of a session to one that no reader lists. `None` when it is gone. What has no id is not listed.
fn hide(entry: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    if name.parse::<SessionId>().is_err() {
        return Ok(Some(entry.to_owned()));
    }
    loop {
        let mut random = [0; 4];
        let _ = getrandom::fill(&mut random);
        let hidden = entry.with_file_name(format!("{REMOVED}{name}.{:08x}", u32::from_le_bytes(random)));
        match renameat_with(CWD, entry, CWD, &hidden, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(hidden)),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Gives a directory in which foreign files stay its name again.
fn put_back(hidden: &Path, entry: &Path, id: Option<SessionId>, kept: &mut Vec<PathBuf>) -> io::Result<()> {
    let entry = id.map_or_else(|| entry.to_owned(), |id| entry.with_file_name(id.as_str()));
    if hidden == entry {
        return Ok(());
    }
    renameat_with(CWD, hidden, CWD, &entry, RenameFlags::NOREPLACE)?;
    for path in kept {
        if let Ok(inside) = path.strip_prefix(hidden) {
            *path = entry.join(inside);
        }
    }
    Ok(())
}

fn unlink(path: &Path) -> io::Result<()> {
    gone_is_removed(std::fs::remove_file(path))
}

fn remove_dir(path: &Path) -> io::Result<()> {
    gone_is_removed(std::fs::remove_dir(path))
}

fn gone_is_removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

struct Clear<'a> {
    kept: &'a mut Vec<PathBuf>,
}

impl Clear<'_> {
    /// Empties a session directory of what is ours; the lock goes last. Says whether it is now empty.
    fn session(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
        let mut last = Vec::new();
        let mut empty = true;
        for (name, kind) in entries(dir)? {
            let text = name.to_str().unwrap_or_default();
            if [JOURNAL_FILE, LOCK_FILE].contains(&text) && kind == FileType::RegularFile {
                last.push(name);
                continue;
            }
            let ours = match text {
                TURNS_DIR | RESUME_DIR | LOGS_DIR if kind == FileType::Directory => {
                    self.sub(dir, &name, &path.join(text), |clear, fd, path| clear.named(fd, path, text))?
                }
                OBJECTS_DIR if kind == FileType::Directory => self.sub(dir, &name, &path.join(text), Self::objects)?,
                _ => self.file(dir, &name, kind, path, artifacts::is_ours("", name.as_bytes()))?,
            };
            empty &= ours;
        }
        // The journal identifies the session while anything of it is left, and the lock keeps others away. Foreign
        // files may stay in the directory, but it is no session any more.
        last.sort();
        for name in last {
            unlink_at(dir, &name, AtFlags::empty())?;
        }
        Ok(empty)
    }

    /// Removes one regular file if it is ours, else keeps it. Says whether it is gone.
    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        path: &Path,
        ours: bool,
    ) -> Result<bool, Errno> {
        if ours && kind == FileType::RegularFile {
            unlink_at(dir, name, AtFlags::empty())?;
            return Ok(true);
        }
        self.kept.push(path.join(os(name)));
        Ok(false)
    }

    /// Clears a directory with `clear`, then removes it if that emptied it.
    fn sub(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        clear: impl FnOnce(&mut Self, BorrowedFd<'_>, &Path) -> Result<bool, Errno>,
    ) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(true),
            opened => opened?,
        };
        let empty = clear(self, fd.as_fd(), path)?;
        if empty {
            unlink_at(dir, name, AtFlags::REMOVEDIR)?;
        }
        Ok(empty)
    }

    fn named(&mut self, dir: BorrowedFd<'_>, path: &Path, which: &str) -> Result<bool, Errno> {
        let mut empty = true;
        for (name, kind) in entries(dir)? {
            empty &= self.file(dir, &name, kind, path, artifacts::is_ours(which, name.as_bytes()))?;
        }
        Ok(empty)
    }

    /// An object directory of git: `ab/<hex>`, `pack/`, `info/`.
    fn objects(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
        let mut empty = true;
        for (name, kind) in entries(dir)? {
            let bytes = name.as_bytes();
            let fan_out = bytes.len() == 2 && bytes.iter().all(u8::is_ascii_hexdigit);
            let known = fan_out || bytes == b"pack" || bytes == b"info";
            // What a snapshot that was cut off had in hand.
            empty &= if bytes.starts_with(b"scratch-") && kind == FileType::Directory {
                self.sub(dir, &name, &path.join(os(&name)), Self::everything)?
            } else if known && kind == FileType::Directory {
                let path = path.join(os(&name));
                self.sub(dir, &name, &path, |clear, fd, path| {
                    let mut empty = true;
                    for (name, kind) in entries(fd)? {
                        empty &= clear.file(fd, &name, kind, path, is_git_object(name.as_bytes()))?;
                    }
                    Ok(empty)
                })?
            } else {
                self.file(dir, &name, kind, path, is_git_object(bytes))?
            };
        }
        Ok(empty)
    }

    /// A directory that only decklog, and git on its behalf, writes to.
    fn everything(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
        let mut empty = true;
        for (name, kind) in entries(dir)? {
            let path = path.join(os(&name));
            empty &= if kind == FileType::Directory {
                self.sub(dir, &name, &path, Self::everything)?
            } else {
                unlink_at(dir, &name, AtFlags::empty())?;
                true
            };
        }
        Ok(empty)
    }
}

fn unlink_at(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn is_git_object(name: &[u8]) -> bool {
    let hex = name.len() >= 38 && name.iter().all(u8::is_ascii_hexdigit);
    // What git had in hand when it ended: `tmp_obj_…`, `tmp_pack_…`, `tmp_rev_…` and others.
    hex || name.starts_with(b"tmp_") || name.starts_with(b"pack-") || name == b"packs" || name == b"commit-graph"
}

fn os(name: &CStr) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes())
}

fn entries(dir: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
            kind => kind,
        };
        all.push((name.to_owned(), kind));
    }
    Ok(all)
}
