//! Temporary directories that a killed process leaves for the next one to remove.
//!
//! All of a user's are in one directory below `TMPDIR`, each with a file whose lock its process holds while it lives. The
//! next one that is made removes those that no process holds.
//!
//! Must not know: what they are for.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary directory for its owner alone. Dropped, it is removed.
#[derive(Debug)]
pub struct ScratchDir {
    dir: TempDir,
    /// The directory it is in; absent where that could not be used.
    base: Option<PathBuf>,
    _lock: Option<File>,
}

/// The file in a scratch directory whose lock says that it is in use.
const LOCK: &str = ".in-use";

impl ScratchDir {
    /// Makes one, and removes those that killed processes left.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn new() -> io::Result<Self> {
        for _ in 0..8 {
            let Some(base) = base() else { break };
            sweep(&base);
            match make_locked(&base) {
                Ok((dir, lock)) => return Ok(Self { dir, base: Some(base), _lock: Some(lock) }),
                // Another process removed the empty base, or this directory before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { dir: TempDir::with_prefix("decklog-")?, base: None, _lock: None })
    }

    /// Removes those that killed processes left.
    pub fn sweep() {
        if let Some(base) = existing_base() {
            sweep(&base);
            // Only when it is empty.
            let _ = fs::remove_dir(base);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        remove(self.dir.path());
        if let Some(base) = &self.base {
            // Only when it is empty.
            let _ = fs::remove_dir(base);
        }
    }
}

/// The directory that holds this user's, made if absent; `None` when another user has the name.
fn base() -> Option<PathBuf> {
    match fs::DirBuilder::new().mode(0o700).create(base_path()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
        _ => existing_base(),
    }
}

fn base_path() -> PathBuf {
    std::env::temp_dir().join(format!("decklog-{}", rustix::process::geteuid().as_raw()))
}

/// The same, if it exists and is this user's.
fn existing_base() -> Option<PathBuf> {
    let (base, user) = (base_path(), rustix::process::geteuid().as_raw());
    let meta = base.symlink_metadata().ok()?;
    (meta.is_dir() && meta.uid() == user && meta.mode() & 0o022 == 0).then_some(base)
}

/// A new directory and its lock, which this process holds.
///
/// # Errors
/// `NotFound` when another process removed it before it was locked; else what the file system reports.
fn make_locked(base: &Path) -> io::Result<(TempDir, File)> {
    let dir = TempDir::new_in(base)?;
    let lock = File::options().write(true).create_new(true).mode(0o600).open(dir.path().join(LOCK))?;
    lock.lock()?;
    // `sweep` holds the lock while it removes: if it was first, the file is unlinked by now.
    if lock.metadata()?.nlink() == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((dir, lock))
}

/// Removes the directories in `base` whose lock no process holds.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        match File::open(entry.path().join(LOCK)) {
            Ok(lock) => match lock.try_lock() {
                // The lock is held until the directory is gone, so that `make_locked` notices.
                Ok(()) => remove(&entry.path()),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
            },
            // It is being made, or removed: should its process have died just then, only an empty directory is left.
            Err(_) => drop(fs::remove_dir(entry.path())),
        }
    }
}

/// Removes a scratch directory, its lock file last: a removal that is cut short is finished by the next sweep.
fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.file_name() != LOCK) {
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
    }
    if fs::remove_dir_all(dir).is_err() {
        // A child of a killed process may still write here: the next sweep knows it by its lock file.
        let _ = File::create(dir.join(LOCK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_stays() {
        let base = tempfile::tempdir().expect("a directory");
        let make = |name: &str, lock: bool| {
            let dir = base.path().join(name);
            fs::create_dir(&dir).expect("a directory");
            fs::write(dir.join("file"), "x").expect("a file");
            lock.then(|| {
                let file = File::create(dir.join(LOCK)).expect("a lock file");
                file.lock().expect("a lock");
                file
            })
        };
        let held = make("held", true);
        drop(make("left", true));
        make("foreign", false);
        fs::create_dir(base.path().join("empty")).expect("a directory");
        sweep(base.path());
        let mut names: Vec<_> =
            fs::read_dir(base.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["foreign", "held"]);
        drop(held);
        sweep(base.path());
        assert!(!base.path().join("held").exists());
    }

    #[test]
    fn one_that_is_being_made_is_either_kept_or_made_again() {
        let base = tempfile::tempdir().expect("a directory");
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                        sweep(base.path());
                    }
                });
            }
            let made = scope.spawn(|| {
                for _ in 0..500 {
                    match make_locked(base.path()) {
                        Ok((dir, _lock)) => fs::write(dir.path().join("file"), "x")?,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            });
            let made = made.join().expect("no panic");
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            made.expect("what was made stays");
        });
    }
}
