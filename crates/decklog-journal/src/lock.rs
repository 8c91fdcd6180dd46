//! The lock that makes one recorder the only writer of a session, and tells readers whether it lives.
//!
//! It is a `flock` on the file `lock`, held by the recorder for its whole life: the kernel lets go of it
//! when the process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::files;

/// Name of the lock file in the session directory.
pub const LOCK_FILE: &str = "lock";

/// Held: this process alone may write to, or remove, the session.
#[derive(Debug)]
pub struct SessionLock(#[expect(dead_code, reason = "dropping it lets go of the lock")] File);

/// Whether a recorder is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Somebody holds the lock.
    Yes,
    /// Nobody does.
    No,
    /// That cannot be told: no permission, or what stands there is no lock file.
    Unknown,
}

/// Why a lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("it is being recorded by another process")]
    Held,
    /// It cannot be told.
    #[error("it cannot be told whether it is being recorded: {0}")]
    Io(#[from] io::Error),
}

/// A reader's glance holds the lock for microseconds; a writer waits that out.
const PATIENCE: Duration = Duration::from_millis(200);

impl SessionLock {
    /// Makes the lock file of a new session and takes it.
    pub(crate) fn create(dir: &Path) -> Result<Self, LockError> {
        let file = files::create_private(&dir.join(LOCK_FILE))?;
        take(&file)?;
        Ok(Self(file))
    }

    /// Takes the lock of the session in `dir`. A session without a lock file gets one if `make` says so,
    /// else `None`: nobody can hold what is not there.
    pub(crate) fn take(dir: &Path, make: bool) -> Result<Option<Self>, LockError> {
        let path = dir.join(LOCK_FILE);
        loop {
            let file = match open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => match files::create_private(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    made => made?,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            take(&file)?;
            // Whoever held it may have put another session in the place of this one, or removed it.
            if stands_at(&file, &path)? {
                return Ok(Some(Self(file)));
            }
        }
    }
}

/// Whether `path` still leads to this file.
fn stands_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn take(file: &File) -> Result<(), LockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => return Err(LockError::Held),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(files::flag_bits(flags)).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "`lock` is not a regular file"))
    }
}

/// Whether a recorder holds the session in `dir`.
#[must_use]
pub fn held(dir: &Path) -> Held {
    match open(&dir.join(LOCK_FILE)) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Held::No,
            Err(TryLockError::WouldBlock) => Held::Yes,
            Err(TryLockError::Error(_)) => Held::Unknown,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Held::No,
        Err(_) => Held::Unknown,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn who_waited_holds_the_session_that_stands_there_then() {
        let root = tempfile::tempdir().unwrap();
        let [dir, old] = ["session", "old"].map(|name| root.path().join(name));
        std::fs::create_dir(&dir).unwrap();
        let first = SessionLock::create(&dir).unwrap();
        let file = dir.join(LOCK_FILE).canonicalize().unwrap();
        let opened = || {
            let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == file)).count()
        };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                loop {
                    match SessionLock::take(&dir, true) {
                        Err(LockError::Held) => {}
                        taken => return taken.unwrap(),
                    }
                }
            });
            // Once it has opened the file, it waits for that one.
            while opened() < 2 {
                std::thread::yield_now();
            }
            std::fs::rename(&dir, &old).unwrap();
            std::fs::create_dir(&dir).unwrap();
            drop(first);
            let second = second.join().unwrap();
            assert!(second.is_some());
            assert_eq!((held(&dir), held(&old)), (Held::Yes, Held::No));
        });
    }
}
