//! Every way in which a file of a session directory is opened. An agent can write there: a link, a fifo or a device
//! in the place of a file is refused, and no link leads out of the directory.
//!
//! Must not know: the format.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What a file of a session directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing a file that must not exist yet, for its owner alone. Missing directories are created.
    Create,
    /// Writing at the end of a file that exists.
    Append,
    /// Reading and writing a file that exists, from its start.
    Update,
}

impl Access {
    fn flags(self) -> OFlags {
        // Opening a fifo blocks, and opening a device may have effects: neither is opened to examine it.
        let common = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        common
            | match self {
                Self::Read => OFlags::RDONLY,
                Self::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
                Self::Append => OFlags::WRONLY | OFlags::APPEND,
                Self::Update => OFlags::RDWR,
            }
    }
}

/// Opens the regular file `path`, relative to the session directory `dir`. `dir` may be reached through links; nothing
/// below it may be one.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when `path` leads out of `dir`, passes a link, or is no regular file; else what the
/// file system reports.
pub fn open_in(dir: &Path, path: impl AsRef<Path>, access: Access) -> io::Result<File> {
    let path = path.as_ref();
    let (parent, name) = parent_of(dir, path, access == Access::Create)?;
    let file = match rustix::fs::openat(&parent, name, access.flags(), Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular()),
        Err(errno) => return Err(errno.into()),
    };
    // What was just created is a regular file: should looking at it fail, it would stay.
    if access == Access::Create || file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Opens the directory that holds `path`, component by component; gives it and the file's name.
fn parent_of<'a>(dir: &Path, path: &'a Path, create: bool) -> io::Result<(OwnedFd, &'a Path)> {
    let outside = || io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the session directory");
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    let name = path.file_name().map(Path::new).ok_or_else(outside)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut parent = rustix::fs::open(dir, flags, Mode::empty())?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        let open =
            |parent: &OwnedFd| rustix::fs::openat(parent, part.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty());
        let next = match open(&parent) {
            Err(Errno::NOENT) if create => {
                match rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                open(&parent)
            }
            next => next,
        };
        parent = match next {
            Ok(next) => next,
            // What Linux reports for a link where only a directory is taken.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(outside()),
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok((parent, name))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// Removes the file `path` of the session directory `dir`; a link or a fifo there is removed itself. One that is not
/// there is no error.
///
/// # Errors
/// What the file system reports.
pub fn remove_in(dir: &Path, path: impl AsRef<Path>) -> io::Result<()> {
    let (parent, name) = match parent_of(dir, path.as_ref(), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    unlink_at(&parent, name)
}

/// Renames the entry `from` of the session directory `dir` to `to`, whatever it is; both are relative to `dir`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when `replace` is false and `to` exists; else what the file system reports.
pub fn rename_in(dir: &Path, from: impl AsRef<Path>, to: impl AsRef<Path>, replace: bool) -> io::Result<()> {
    let (from, from_name) = parent_of(dir, from.as_ref(), false)?;
    let (to, to_name) = parent_of(dir, to.as_ref(), false)?;
    let flags = if replace { rustix::fs::RenameFlags::empty() } else { rustix::fs::RenameFlags::NOREPLACE };
    Ok(rustix::fs::renameat_with(&from, from_name, &to, to_name, flags)?)
}

/// Whether the entry `path` of the session directory `dir` is the file that is open as `file`.
///
/// # Errors
/// What the file system reports.
pub(crate) fn is_at(file: &File, dir: &Path, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match dir.join(path).symlink_metadata() {
        Ok(entry) => Ok((entry.dev(), entry.ino()) == (open.dev(), open.ino())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens `path` for reading if it is a regular file; never follows a link there, never blocks on a fifo.
///
/// # Errors
/// When it is something else, or cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_sized(path).map(|(file, _)| file)
}

/// Opens whatever stands at `path`; never follows a link there, never blocks on a fifo.
pub(crate) fn open_any(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flag_bits(flags)).open(path)
}

/// The same, with its length: a listing of thousands asks no file twice.
pub(crate) fn open_sized(path: &Path) -> io::Result<(File, u64)> {
    let file = open_any(path)?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(not_regular()) }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// When it is larger, no regular file, or cannot be read.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open_sized(path)?;
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes long, more than the {limit} that are read"),
        ));
    }
    // A file that says how long it is need not be asked for more; those of /proc do not say.
    let length = if length == 0 { limit } else { length };
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(64 * 1024)).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn flag_bits(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Creates the directory `path` of the session directory `dir`, and those above it, for their owner alone. One that
/// exists is left as it is.
pub(crate) fn make_dir_in(dir: &Path, path: &Path) -> io::Result<()> {
    parent_of(dir, &path.join("file"), true).map(drop)
}

/// Makes one directory for its owner alone.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

/// Makes a directory and its parents for their owner alone; one that is there is left as it is.
pub(crate) fn make_private_dirs(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Name of the file in which a new `name` is prepared.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Replaces the file `path` of the session directory `dir` in one step: a reader sees the old file or the new one, never
/// a part.
pub(crate) fn replace(dir: &Path, path: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    // All is done by this descriptor: removing the temporary file must not need another one.
    let (parent, name) = parent_of(dir, Path::new(path), true)?;
    let temporary = format!(".{}{TEMPORARY_SUFFIX}", name.display());
    // One writer per directory: a file of this name is from one that died.
    unlink_at(&parent, &temporary)?;
    let result = (|| -> io::Result<()> {
        let file = rustix::fs::openat(&parent, &temporary, Access::Create.flags(), Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        if sync {
            file.sync_data()?;
        }
        Ok(rustix::fs::renameat(&parent, &temporary, &parent, name)?)
    })();
    if result.is_err() {
        let _ = unlink_at(&parent, &temporary);
    }
    result?;
    if sync { Ok(rustix::fs::fsync(&parent)?) } else { Ok(()) }
}

/// Removes the temporary files that a killed [`replace`] left in the directory `sub` of the session directory `dir`.
pub(crate) fn remove_temporary(dir: &Path, sub: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(dir.join(sub)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            remove_in(dir, format!("{sub}/{name}"))?;
        }
    }
    Ok(())
}

fn unlink_at(parent: &OwnedFd, name: impl rustix::path::Arg) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Sets the times of a directory to now, so that whoever remembers it sees that something in it changed.
pub(crate) fn touch(dir: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(utimensat(CWD, dir, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty())?)
}
