//! The lock that makes one recorder the only writer of a session, and tells readers whether it lives.
//!
//! It is a `flock` on the file `lock`, held by the recorder for its whole life: the kernel lets go of it
//! when the process dies, however it dies.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::artifacts;
use crate::files::{self, Access, is_at, open_in};

/// Name of the lock file in the session directory.
pub const LOCK_FILE: &str = "lock";

/// Held: this process alone may write to, or remove, the session.
#[derive(Debug)]
pub struct SessionLock(File);

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
        // One that exists is another recorder's.
        let file = open_in(dir, LOCK_FILE, Access::Create)?;
        take(&file).inspect_err(|_| drop(files::remove_in(dir, LOCK_FILE)))?;
        Ok(Self(file))
    }

    /// Whether the lock file in `dir` is the one that is held.
    pub(crate) fn is_in_place(&self, dir: &Path) -> io::Result<bool> {
        is_at(&self.0, dir, Path::new(LOCK_FILE))
    }

    /// Takes a lock in `dir` for its holder, whose lock file is gone or is another's.
    ///
    /// # Errors
    /// [`LockError::Held`] when another recorder holds the lock that is there.
    pub(crate) fn replace(dir: &Path) -> Result<Self, LockError> {
        if let Ok(there) = open_in(dir, LOCK_FILE, Access::Read) {
            take(&there)?;
        }
        let file = artifacts::create_file(dir, LOCK_FILE)?;
        take(&file)?;
        Ok(Self(file))
    }

    /// Takes the lock of the session in `dir`. A session without a lock file gets one if `make` says so,
    /// else `None`: nobody can hold what is not there.
    pub(crate) fn take(dir: &Path, make: bool) -> Result<Option<Self>, LockError> {
        loop {
            let file = match open_in(dir, LOCK_FILE, Access::Read) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                    match open_in(dir, LOCK_FILE, Access::Create) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        made => made?,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            take(&file)?;
            // Whoever held it may have put another session in the place of this one, or removed it.
            if is_at(&file, dir, Path::new(LOCK_FILE))? {
                return Ok(Some(Self(file)));
            }
        }
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

/// Whether a recorder holds the session in `dir`.
#[must_use]
pub fn held(dir: &Path) -> Held {
    match open_in(dir, LOCK_FILE, Access::Read) {
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
