//! Noticing that another process removed, replaced, cut or extended a journal while it is being written, and restoring
//! it from the open file and from memory.
//!
//! Must not know: what lines say.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::artifacts::{self, TORN_FILE};
use crate::files::{self, Access, open_in};
use crate::session::JOURNAL_FILE;

/// Bytes of the journal's end that stay in memory, at least; at most twice as many.
const KEEP: usize = 1 << 20;

/// The end of a journal and its first line, in memory.
#[derive(Debug, Default)]
pub(crate) struct RecentLines {
    /// Without its first line nothing of a journal can be read.
    first: Vec<u8>,
    /// The journal's bytes from `start` on.
    bytes: Vec<u8>,
    start: u64,
}

/// What another process did to a journal, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// What was done, as the rest of a sentence about the file.
    pub(crate) what: &'static str,
    /// Bytes of the record that could not be restored.
    pub(crate) lost: u64,
    /// How long the journal is now, in bytes.
    pub(crate) length: u64,
}

impl Damage {
    pub(crate) fn into_error(self) -> io::Error {
        let outcome = match self.lost {
            0 => "nothing of it is lost".to_owned(),
            lost => format!("{lost} bytes of it are lost"),
        };
        io::Error::other(format!("{} by another process during the recording; {outcome}", self.what))
    }
}

impl RecentLines {
    /// What `file`, a journal of `length` bytes, holds.
    pub(crate) fn read(file: &File, length: u64) -> io::Result<Self> {
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(KEEP)];
        file.read_exact_at(&mut bytes, 0)?;
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let first = bytes[..first].to_vec();
        if size > KEEP {
            bytes.clear();
        }
        let start = length - bytes.len() as u64;
        Ok(Self { first, bytes, start })
    }

    /// Takes in a line that was written.
    pub(crate) fn push(&mut self, line: &[u8]) {
        if self.first.is_empty() {
            self.first = line.to_vec();
        }
        self.bytes.extend_from_slice(line);
        if self.bytes.len() > 2 * KEEP {
            // From the start of a line on: what is restored from here must be whole lines.
            let from = self.bytes.len() - KEEP;
            let from = memchr::memchr(b'\n', &self.bytes[from..]).map_or(self.bytes.len(), |at| from + at + 1);
            self.bytes.drain(..from);
            self.start += from as u64;
        }
    }
}

/// Compares the journal of the session in `dir`, open as `file` and `length` bytes long, with what its writer wrote.
/// `thorough` also compares the directory entry. Repairs what is wrong; `file` is then the file at that entry.
///
/// # Errors
/// When the file system refuses the repair.
pub(crate) fn check(
    dir: &Path,
    file: &mut File,
    length: u64,
    recent: &RecentLines,
    thorough: bool,
) -> io::Result<Option<Damage>> {
    let meta = file.metadata()?;
    let size = meta.len();
    if meta.nlink() == 0 || (thorough && !files::is_at(file, dir, Path::new(JOURNAL_FILE))?) {
        let new = replacement(dir)?;
        // The open file outlives its name, and so does its content: it is kept until all of it is in the new one.
        let there = copy(file, &new, size.min(length))?;
        let (length, lost) = complete(&new, there, length, recent)?;
        *file = new;
        return Ok(Some(Damage { what: "removed or replaced", lost, length }));
    }
    if size < length {
        let (length, lost) = complete(file, size, length, recent)?;
        return Ok(Some(Damage { what: "truncated", lost, length }));
    }
    if size > length {
        set_aside(dir, file, length, size)?;
        file.set_len(length)?;
        return Ok(Some(Damage { what: "extended", lost: 0, length }));
    }
    Ok(None)
}

/// A new journal file at its place; what was there instead is set aside.
fn replacement(dir: &Path) -> io::Result<File> {
    match open_in(dir, JOURNAL_FILE, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            artifacts::set_aside(dir, JOURNAL_FILE)?;
            open_in(dir, JOURNAL_FILE, Access::Create)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::make_private_dirs(dir)?;
            open_in(dir, JOURNAL_FILE, Access::Create)
        }
        opened => opened,
    }
}

fn copy(from: &File, to: &File, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < length {
        let most = buffer.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        let count = from.read_at(&mut buffer[..most], at)?;
        if count == 0 {
            break;
        }
        to.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    Ok(at)
}

/// Writes what is missing behind the first `there` bytes of a journal that had `length`. Gives its length now, and how
/// many bytes could not be restored.
fn complete(file: &File, there: u64, length: u64, recent: &RecentLines) -> io::Result<(u64, u64)> {
    if recent.start <= there {
        // What is there may be another's bytes of the same length: all that is known is written.
        file.write_all_at(&recent.bytes, recent.start)?;
        file.set_len(length)?;
        return Ok((length, 0));
    }
    let first = recent.first.len() as u64;
    let kept = if there < first {
        file.write_all_at(&recent.first, 0)?;
        first
    } else {
        whole_lines(file, there)?
    };
    file.write_all_at(&recent.bytes, kept)?;
    let now = kept + recent.bytes.len() as u64;
    file.set_len(now)?;
    Ok((now, length - now))
}

/// Bytes of the whole lines among the first `length`.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends the bytes of `file` from `start` to `end` to `journal.torn` and waits for the disk; says how many they are.
pub(crate) fn set_aside(dir: &Path, file: &File, start: u64, end: u64) -> io::Result<u64> {
    let mut torn = match open_in(dir, TORN_FILE, Access::Append) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => open_in(dir, TORN_FILE, Access::Create)?,
        // A directory, a link or a fifo, which another process put there.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory) => {
            artifacts::set_aside(dir, TORN_FILE)?;
            open_in(dir, TORN_FILE, Access::Create)?
        }
        opened => opened?,
    };
    let mut buffer = vec![0; 1 << 16];
    let mut at = start;
    while at < end {
        let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let count = file.read_at(&mut buffer[..most], at)?;
        if count == 0 {
            break;
        }
        torn.write_all(&buffer[..count])?;
        at += count as u64;
    }
    torn.write_all(b"\n")?;
    torn.sync_data()?;
    Ok(at - start)
}
