//! Small file operations that must not be fooled by what lies in a session directory.
//!
//! Must not know: the format.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

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
    if meta.is_file() {
        Ok((file, meta.len()))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
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

/// Makes one directory for its owner alone.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

/// Makes a directory and its parents for their owner alone; one that is there is left as it is.
pub(crate) fn make_private_dirs(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Makes a new file for its owner alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flag_bits(OFlags::NOFOLLOW)).open(path)
}

/// Opens a file that decklog made, to go on with it.
pub(crate) fn append_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).custom_flags(flag_bits(OFlags::NOFOLLOW)).open(path)
}

/// Name of the file in which a new `name` is prepared.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Replaces `dir/name` in one step: a reader sees the old file or the new one, never a part.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}{TEMPORARY_SUFFIX}"));
    // One writer per directory, so a leftover of this name is from one that died.
    let _ = std::fs::remove_file(&temporary);
    let result = (|| {
        let mut file = create_private(&temporary)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_data()?;
        }
        std::fs::rename(&temporary, dir.join(name))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result?;
    if sync { sync_dir(dir) } else { Ok(()) }
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
