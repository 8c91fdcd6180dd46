//! A repository's entries of its linked worktrees: the directories in `.git/worktrees`.
//!
//! An entry belongs to a worktree when its `gitdir` file names that one. What stands in the worktree itself, where
//! an agent worked, is never asked. Read and removed without git, whose own way (`worktree prune`) would take others.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::private::as_path;
use crate::{SnapshotError, beneath, removal};

/// Held while the directory of entries may come or go: git makes it, then an entry in it, and fails when another
/// worktree's removal takes it away in between.
static COMES_OR_GOES: Mutex<()> = Mutex::new(());

pub(crate) fn hold() -> MutexGuard<'static, ()> {
    COMES_OR_GOES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More is no path.
const MAX_LINK: u64 = 64 << 10;

/// Removes the entries of the worktree at `root`, and the directory of entries with the last. Those of others, also
/// of worktrees that are gone, stay. That there is none, or no repository, is no error.
pub(crate) fn remove(common_dir: &Path, root: &Path) -> Result<(), SnapshotError> {
    let _held = hold();
    let all = common_dir.join("worktrees");
    let failed = |error: io::Error| SnapshotError::io("remove the entry of a worktree in", &all)(error);
    let entries = match beneath::open(&all) {
        Ok(entries) => entries,
        // A link is none of git's, and leads elsewhere.
        Err(error) if is_none(&error) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let (mut ours, mut unread) = (Vec::new(), None);
    for entry in Dir::read_from(&entries).map_err(|error| failed(error.into()))? {
        let entry = entry.map_err(|error| failed(error.into()))?;
        let name = as_path(entry.file_name().to_bytes());
        let bytes = name.as_os_str().as_bytes();
        let is_rest = bytes.starts_with(REMOVED.as_bytes());
        if matches!(bytes, b"." | b"..") {
            continue;
        }
        match if is_rest { Ok(true) } else { names(&entries, name, &all, root) } {
            Ok(true) => ours.push((name.to_owned(), is_rest)),
            Ok(false) => {}
            Err(error) => unread = Some(error),
        }
    }
    // It may have been this worktree's.
    if let (Some(error), true) = (unread, ours.iter().all(|(_, is_rest)| *is_rest)) {
        return Err(failed(error));
    }
    for (name, is_rest) in ours {
        // An entry is known by a file in it: a removal that is cut off must leave one that is known by its name.
        let name = if is_rest { name } else { rename(&entries, &name).map_err(failed)? };
        removal::remove(entries.as_fd(), &name).map_err(failed)?;
    }
    drop(entries);
    match rustix::fs::unlinkat(rustix::fs::CWD, &all, AtFlags::REMOVEDIR) {
        // Others are in it.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

/// How the name of an entry begins that is being removed.
const REMOVED: &str = ".decklog-removed-";

fn rename(entries: &OwnedFd, name: &Path) -> io::Result<PathBuf> {
    let to = PathBuf::from(format!("{REMOVED}{}", std::process::id()));
    match rustix::fs::renameat_with(entries, name, entries, &to, rustix::fs::RenameFlags::NOREPLACE) {
        Ok(()) => Ok(to),
        // The rest of another entry has that name: this one goes under its own.
        Err(Errno::EXIST) => Ok(name.to_owned()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the entry `name` is that of the worktree at `root`.
///
/// # Errors
/// When its `gitdir` cannot be read and it may be that of the worktree.
fn names(entries: &OwnedFd, name: &Path, all: &Path, root: &Path) -> io::Result<bool> {
    let read = || -> io::Result<Vec<u8>> {
        let entry = beneath::directory(entries.as_fd(), name.as_os_str().as_bytes(), false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut content = Vec::new();
        let file = File::from(rustix::fs::openat(&entry, "gitdir", flags, Mode::empty())?);
        file.take(MAX_LINK).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = match read() {
        Ok(content) => content,
        Err(error) if is_passing(&error) || (is_denied(&error) && may_be_named(name, root)) => return Err(error),
        Err(_) => return Ok(false),
    };
    let content = content.strip_suffix(b"\n").unwrap_or(&content);
    // Newer gits may be told to write it relative to the entry.
    Ok(plain(&all.join(name).join(as_path(content))) == root.join(".git"))
}

/// A path without `..`, as far as its letters go.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Whether git can have named the entry of the worktree at `root` like this: by its last part, with a number where that
/// was taken (`add_worktree` in git's builtin/worktree.c).
fn may_be_named(name: &Path, root: &Path) -> bool {
    let last = root.file_name().unwrap_or_default().as_bytes();
    let number = name.as_os_str().as_bytes().strip_prefix(last);
    number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Whether an error is one of the system that another attempt may not meet.
fn is_passing(error: &io::Error) -> bool {
    let known = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::IO, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

fn is_none(error: &io::Error) -> bool {
    let link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    link || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
