//! Reaching files below an open directory without ever following a link, and copying one.
//!
//! Somebody else may be at work in either directory: whatever becomes of the names on the way, nothing outside is
//! reached. Knows nothing of git.

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::private::as_path;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory that is no link itself.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Opens the directory `path` below `top`; with `make`, what of it is absent is made.
pub(crate) fn directory(top: BorrowedFd<'_>, path: &[u8], make: bool) -> io::Result<OwnedFd> {
    let mut at = top.try_clone_to_owned()?;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let name = plain(part)?;
        if make {
            match rustix::fs::mkdirat(&at, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at = rustix::fs::openat(&at, name, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

/// Opens the directory of `path` below `top`, with the name that `path` has in it.
pub(crate) fn parent<'a>(top: BorrowedFd<'_>, path: &'a [u8]) -> io::Result<(OwnedFd, &'a Path)> {
    let (parent, name) = split(path)?;
    Ok((directory(top, parent, false)?, name))
}

/// Whether the error says that there is no such directory, or a link or a file in its place.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Opens the deepest directory on the way to `path` that is there, and says which it is.
pub(crate) fn nearest<'a>(top: BorrowedFd<'_>, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
    let (parent, _) = split(path)?;
    let mut at = top.try_clone_to_owned()?;
    let mut known = 0;
    let ends = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end).chain([parent.len()]);
    for end in ends.filter(|end| *end > 0) {
        let start = if known == 0 { 0 } else { known + 1 };
        match rustix::fs::openat(&at, plain(&path[start..end])?, DIRECTORY, Mode::empty()) {
            Ok(found) => (at, known) = (found, end),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((at, &path[..known]))
}

/// What stands at `path` below `top`.
pub(crate) fn kind(top: BorrowedFd<'_>, path: &[u8]) -> io::Result<FileType> {
    let (parent, name) = parent(top, path)?;
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Copies the file or link at `path` below `from` to the same path below `to`, with its permissions and
/// time, where nothing may stand yet.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let source = directory(from, parent, false)?;
    match kind(source.as_fd(), name.as_os_str().as_encoded_bytes())? {
        FileType::RegularFile => {
            // Should it have become a link or a fifo by now, it is neither followed nor waited for.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&source, name, flags, Mode::empty())?);
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file any more"));
            }
            let target = directory(to, parent, true)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut new = File::from(rustix::fs::openat(&target, name, flags, Mode::RUSR | Mode::WUSR)?);
            let copied = io::copy(&mut file, &mut new)
                // By an old time git knows that a file is as it was staged.
                .and_then(|_| new.set_times(FileTimes::new().set_modified(metadata.modified()?)))
                .and_then(|()| new.set_permissions(Permissions::from_mode(metadata.permissions().mode() & 0o777)));
            if copied.is_err() {
                // Half a file would pass for the whole.
                let _ = rustix::fs::unlinkat(&target, name, AtFlags::empty());
            }
            copied
        }
        FileType::Symlink => {
            let leads_to = rustix::fs::readlinkat(&source, name, Vec::new())?;
            let target = directory(to, parent, true)?;
            Ok(rustix::fs::symlinkat(leads_to, &target, name)?)
        }
        _ => Err(io::Error::other("it is neither a file nor a link")),
    }
}

/// A path's directory and its last part.
fn split(path: &[u8]) -> io::Result<(&[u8], &Path)> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    Ok((parent, plain(name)?))
}

/// A part of a path that leads down, and into no repository's own directory.
fn plain(part: &[u8]) -> io::Result<&Path> {
    if matches!(part, b"" | b"." | b"..") || part.eq_ignore_ascii_case(b".git") || part.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file in a working tree"));
    }
    Ok(as_path(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_down_is_a_path() {
        for bad in ["", "..", ".", "a/..", ".git", ".GIT/config", "a/.git", "../x", "a/"] {
            assert!(split(bad.as_bytes()).and_then(|(parent, _)| parts(parent)).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", ".gitignore", "...", "a..b/c"] {
            assert!(split(good.as_bytes()).and_then(|(parent, _)| parts(parent)).is_ok(), "{good:?}");
        }
    }

    fn parts(parent: &[u8]) -> io::Result<()> {
        parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).try_for_each(|part| plain(part).map(drop))
    }
}
