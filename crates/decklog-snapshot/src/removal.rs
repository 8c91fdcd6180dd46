//! Removing a directory with all in it, whatever somebody else made of it.
//!
//! Works relative to open directories and never through a link. Directories that are closed to their owner are
//! opened up, and depth is no obstacle.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Deeper directories are moved to the top and removed from there, so that files kept open stay few.
const MAX_DEPTH: usize = 64;

/// Removes what is called `name` in `parent`: a directory with all in it, or a file, or a link itself. That there is
/// nothing is no error.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    let name = CString::new(name.as_os_str().as_encoded_bytes())?;
    loop {
        match unlink(parent, &name)? {
            Unlinked::Gone => return Ok(()),
            Unlinked::Directory => {}
        }
        let Some(top) = enter(parent, &name)? else { continue };
        // What lay too deep has come up: look again until nothing does.
        let mut clear = Clear { top: top.as_fd(), moved: 0 };
        while clear.empty(top.as_fd(), 0)? {}
        match rustix::fs::unlinkat(parent, &*name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // It became something else meanwhile.
            Err(Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

enum Unlinked {
    Gone,
    Directory,
}

/// Removes anything but a directory.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Unlinked> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        // Linux says the first, POSIX the second.
        Err(error @ (Errno::ISDIR | Errno::PERM)) => {
            match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(Unlinked::Directory),
                Ok(_) => Err(error.into()),
                Err(Errno::NOENT) => Ok(Unlinked::Gone),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory for emptying it; `None` when it is none any more.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // By this name, since what is open without leave to read takes no other, and a path could lead elsewhere by
        // now.
        rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Some(rustix::fs::openat(&found, c".", flags, Mode::empty())?))
}

struct Clear<'a> {
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Clear<'_> {
    /// Empties a directory. Says whether something came up from below, to be emptied next.
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<bool> {
        let mut came_up = false;
        for name in names(directory)? {
            if let Unlinked::Gone = unlink(directory, &name)? {
                continue;
            }
            let Some(inner) = enter(directory, &name)? else {
                unlink(directory, &name)?;
                continue;
            };
            if depth == MAX_DEPTH {
                self.move_up(directory, &name)?;
                came_up = true;
                continue;
            }
            came_up |= self.empty(inner.as_fd(), depth + 1)?;
            drop(inner);
            match rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(came_up)
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let to = format!("decklog-removed-{}", self.moved);
            match rustix::fs::renameat_with(directory, name, self.top, to, rustix::fs::RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// The names in a directory.
pub(crate) fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
