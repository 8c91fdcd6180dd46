//! Removing a session: only names that decklog makes, never through a link, never while it is recorded.
//!
//! Everything is done relative to open directories, so that nothing outside the session can be reached
//! however the tree is changed meanwhile.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::artifacts::{self, LOGS_DIR, OBJECTS_DIR, RESUME_DIR, TURNS_DIR};
use crate::files;
use crate::lock::{LOCK_FILE, LockError, SessionLock};

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

/// Removes the session at `entry`: a session directory, or a link to one, which then goes as well.
///
/// # Errors
/// [`RemoveError`]; when it is [`RemoveError::Lock`] or [`RemoveError::NotASession`], nothing was removed.
pub fn remove(entry: &Path) -> Result<Removed, RemoveError> {
    let io = |error: io::Error| RemoveError::Io { path: entry.to_owned(), error };
    let is_link = std::fs::symlink_metadata(entry).map_err(io)?.is_symlink();
    let dir = match entry.canonicalize() {
        Ok(dir) => dir,
        // The directory is gone already: the link is all there is.
        Err(error) if is_link && error.kind() == io::ErrorKind::NotFound => {
            std::fs::remove_file(entry).map_err(io)?;
            return Ok(Removed::default());
        }
        Err(error) => return Err(io(error)),
    };
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&dir, open, Mode::empty()).map_err(|_| RemoveError::NotASession(entry.to_owned()))?;
    let lock = SessionLock::take(&dir, false).map_err(|error| RemoveError::Lock { path: entry.to_owned(), error })?;
    let mut removed = Removed::default();
    let mut clear = Clear { kept: &mut removed.kept };
    let cleared = clear.session(fd.as_fd(), &dir).map_err(|errno| io(errno.into()))?;
    drop(lock);
    if cleared {
        std::fs::remove_dir(&dir).map_err(io)?;
    } else if let Some(root) = entry.parent() {
        // The root holds the same entries as before: so whoever remembers the session would not look at it again. It is
        // removed all the same when this fails.
        let _ = files::touch(root);
    }
    if is_link {
        std::fs::remove_file(entry).map_err(io)?;
    }
    removed.kept.sort();
    Ok(removed)
}

struct Clear<'a> {
    kept: &'a mut Vec<PathBuf>,
}

impl Clear<'_> {
    /// Empties a session directory of what is ours; the lock goes last. Says whether it is now empty.
    fn session(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
        let mut lock_is_ours = false;
        let mut empty = true;
        for (name, kind) in entries(dir)? {
            let text = name.to_str().unwrap_or_default();
            if text == LOCK_FILE && kind == FileType::RegularFile {
                lock_is_ours = true;
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
        if lock_is_ours {
            // Foreign files may stay in the directory, but it is no session any more.
            rustix::fs::unlinkat(dir, LOCK_FILE, AtFlags::empty())?;
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
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
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
        let fd: OwnedFd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let empty = clear(self, fd.as_fd(), path)?;
        if empty {
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
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
                rustix::fs::unlinkat(dir, &*name, AtFlags::empty())?;
                true
            };
        }
        Ok(empty)
    }
}

fn is_git_object(name: &[u8]) -> bool {
    let hex = name.len() >= 38 && name.iter().all(u8::is_ascii_hexdigit);
    hex || name.starts_with(b"tmp_obj_")
        || name.starts_with(b"pack-")
        || name.starts_with(b"tmp_pack_")
        || name.starts_with(b"tmp_idx_")
        || name == b"packs"
        || name == b"commit-graph"
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
            FileType::Unknown => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        all.push((name.to_owned(), kind));
    }
    Ok(all)
}
