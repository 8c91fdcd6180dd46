//! How much a snapshot may copy, and giving up early on a directory that holds more.

use std::path::Path;
use std::time::Duration;

use crate::SnapshotError;

/// How much one snapshot may copy. What is already in the repository, unchanged, never counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file of more bytes than this is withheld.
    pub max_file_bytes: u64,
    /// A snapshot that would copy more files than this is an error.
    pub max_new_files: usize,
    /// A snapshot that would copy more bytes than this, withheld files aside, is an error.
    pub max_new_bytes: u64,
    /// A snapshot for which git takes longer than this to look through the working tree is an error.
    pub max_listing: Duration,
}

impl Default for Limits {
    /// 64 MiB a file, 100,000 files, 1 GiB in all, one minute.
    fn default() -> Self {
        Self {
            max_file_bytes: 64 << 20,
            max_new_files: 100_000,
            max_new_bytes: 1 << 30,
            max_listing: Duration::from_secs(60),
        }
    }
}

/// What is left of the limits in the course of one snapshot.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    files: usize,
    bytes: u64,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self { limits, files: 0, bytes: 0 }
    }

    pub(crate) fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Counts one more file, as it is listed.
    pub(crate) fn file(&mut self, root: &Path) -> Result<(), SnapshotError> {
        self.files += 1;
        if self.files > self.limits.max_new_files { Err(self.too_many(root)) } else { Ok(()) }
    }

    /// Counts the bytes of a file about to be copied.
    pub(crate) fn bytes(&mut self, root: &Path, bytes: u64) -> Result<(), SnapshotError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.max_new_bytes {
            let what = format!("more than {} bytes in new or changed files", self.limits.max_new_bytes);
            return Err(SnapshotError::TooLarge { root: root.to_owned(), what });
        }
        Ok(())
    }

    pub(crate) fn too_slow(&self, root: &Path) -> SnapshotError {
        let what = format!("git was not through with it after {} seconds", self.limits.max_listing.as_secs());
        SnapshotError::TooLarge { root: root.to_owned(), what }
    }

    fn too_many(&self, root: &Path) -> SnapshotError {
        let what = format!("more than {} new or changed files", self.limits.max_new_files);
        SnapshotError::TooLarge { root: root.to_owned(), what }
    }

    /// Refuses a directory without repository that holds too many files for certain, which a
    /// plain count finds in a moment where git would look through all of a home directory first.
    ///
    /// Only files no `.gitignore` can touch are counted: those in directories which, like all
    /// above them, have none. So what passes may still be refused by git's own listing.
    pub(crate) fn refuse_at_a_glance(&self, root: &Path) -> Result<(), SnapshotError> {
        let mut files = 0;
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            // What cannot be read holds nothing to copy.
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            let entries: Vec<_> = entries.flatten().collect();
            if entries.iter().any(|entry| entry.file_name() == ".gitignore" || entry.file_name() == ".git") {
                continue;
            }
            for entry in entries {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                    Ok(kind) if kind.is_file() || kind.is_symlink() => files += 1,
                    _ => {}
                }
            }
            if files > self.limits.max_new_files {
                return Err(self.too_many(root));
            }
        }
        Ok(())
    }
}
