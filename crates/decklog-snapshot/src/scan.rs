//! Looking at a file before it is recorded: is it one, is it small enough, does it hold a secret.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::private::as_path;
use crate::{FileScanner, WithheldReason};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// File times move in steps of up to ten milliseconds: a file changed this recently may change
/// again and look the same.
const CLOCK_STEP: Duration = Duration::from_millis(20);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change right after this stamp was taken would show in the next.
    fn settled(&self) -> bool {
        let Ok(seconds) = u64::try_from(self.changed.0) else {
            return false;
        };
        let nanos = u32::try_from(self.changed.1).unwrap_or(0);
        let changed = UNIX_EPOCH + Duration::new(seconds, nanos);
        SystemTime::now().duration_since(changed).is_ok_and(|age| age > CLOCK_STEP)
    }
}

/// What a path is, before it is opened.
pub(crate) enum Glance {
    /// A file or symbolic link of so many bytes.
    Content { bytes: u64 },
    /// A directory: what was here as a file is gone.
    Directory,
    /// Nothing.
    Gone,
    /// Something that is not recorded.
    Withheld(WithheldReason),
}

/// What became of a file that was read.
pub(crate) enum Verdict {
    /// It may be recorded as it is.
    Clean(Clean),
    /// It is no longer there.
    Gone,
    /// It is not to be recorded.
    Withheld(WithheldReason),
}

/// A file without secret.
pub(crate) struct Clean {
    stamp: Stamp,
    /// Whether a later change is bound to show in the stamp.
    sure: bool,
    /// Whether it holds CRLF.
    pub(crate) crlf: bool,
}

impl Clean {
    /// Whether the file at `path` may have changed since it was read.
    pub(crate) fn is_doubtful(&self, path: &Path) -> bool {
        !self.sure || fs::symlink_metadata(path).ok().map(|metadata| Stamp::of(&metadata)) != Some(self.stamp)
    }
}

/// Looks at `path` without opening it.
pub(crate) fn glance(path: &Path, max_bytes: u64) -> Glance {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Glance::Gone,
        Err(error) => return Glance::Withheld(unreadable(&error)),
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        Glance::Directory
    } else if !kind.is_file() && !kind.is_symlink() {
        Glance::Withheld(WithheldReason::Special)
    } else if metadata.len() > max_bytes {
        Glance::Withheld(WithheldReason::TooLarge { bytes: metadata.len() })
    } else {
        Glance::Content { bytes: metadata.len() }
    }
}

/// Reads the files of one working tree for secrets, and remembers those that hold one.
pub(crate) struct Inspector {
    root: PathBuf,
    /// Put before the names the scanner is told.
    prefix: Vec<u8>,
    secrets: HashMap<Vec<u8>, (Stamp, String)>,
}

impl Inspector {
    pub(crate) fn new(root: PathBuf, prefix: Vec<u8>) -> Self {
        Self { root, prefix, secrets: HashMap::new() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What is put before the names that the scanner gets.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Reads one file.
    pub(crate) fn inspect(&mut self, name: &[u8], scan: &mut dyn FileScanner) -> Verdict {
        let told = [&self.prefix, name].concat();
        match self.read(&self.root.join(as_path(name)), name, as_path(&told), scan) {
            Ok(verdict) => verdict,
            Err(error) if is_gone(&error) => Verdict::Gone,
            Err(error) => Verdict::Withheld(unreadable(&error)),
        }
    }

    fn read(&mut self, path: &Path, name: &[u8], told: &Path, scan: &mut dyn FileScanner) -> io::Result<Verdict> {
        let metadata = fs::symlink_metadata(path)?;
        let mut file: Option<File> = None;
        let stamp = if metadata.is_symlink() {
            Stamp::of(&metadata)
        } else {
            // Should it have become a link or a fifo by now, it is neither followed nor waited for.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
            let opened = OpenOptions::new().read(true).custom_flags(flags as i32).open(path)?;
            let metadata = opened.metadata()?;
            if !metadata.is_file() {
                return Ok(Verdict::Withheld(WithheldReason::Special));
            }
            file = Some(opened);
            Stamp::of(&metadata)
        };
        if let Some((known, rule)) = self.secrets.get(name)
            && *known == stamp
        {
            return Ok(Verdict::Withheld(WithheldReason::Secret { rule: rule.clone() }));
        }
        let sure = stamp.settled();
        let mut crlf = false;
        let found = match file {
            Some(file) => {
                let mut watched = CrlfWatch { content: file, after_cr: false, seen: false };
                let found = scan.secret_in(told, &mut watched)?;
                if found.is_none() {
                    io::copy(&mut watched, &mut io::sink())?;
                }
                crlf = watched.seen;
                found
            }
            None => scan.secret_in(told, &mut fs::read_link(path)?.as_os_str().as_bytes())?,
        };
        let Some(rule) = found else {
            self.secrets.remove(name);
            return Ok(Verdict::Clean(Clean { stamp, sure, crlf }));
        };
        if sure {
            self.secrets.insert(name.to_vec(), (stamp, rule.clone()));
        }
        Ok(Verdict::Withheld(WithheldReason::Secret { rule }))
    }
}

/// Passes content on and sees whether it holds CRLF.
struct CrlfWatch<R> {
    content: R,
    after_cr: bool,
    seen: bool,
}

impl<R: Read> Read for CrlfWatch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        let read_now = &buffer[..read];
        if !self.seen && !read_now.is_empty() {
            self.seen = (self.after_cr && read_now[0] == b'\n') || read_now.windows(2).any(|pair| pair == b"\r\n");
            self.after_cr = read_now.last() == Some(&b'\r');
        }
        Ok(read)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(error: &io::Error) -> WithheldReason {
    WithheldReason::Unreadable { error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crlf_is_seen_wherever_it_lies() {
        let seen = |parts: &[&str]| {
            // A chain is read part by part.
            let content = parts.iter().fold(Box::new(io::empty()) as Box<dyn Read>, |before, part| {
                Box::new(before.chain(io::Cursor::new(part.to_string())))
            });
            let mut watched = CrlfWatch { content, after_cr: false, seen: false };
            io::copy(&mut watched, &mut io::sink()).expect("memory is read");
            watched.seen
        };
        assert!(seen(&["a\r\nb"]));
        assert!(seen(&["a\r", "\nb"]));
        assert!(seen(&["a\r\n", "b", "c"]));
        assert!(!seen(&["a\n\r", "b\n"]));
        assert!(!seen(&["a\r", "b", "\n"]));
        assert!(!seen(&[]));
    }
}
