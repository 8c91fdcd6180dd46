//! Working-tree snapshots: take one, tell two apart, print the patch between them.
//!
//! A snapshot is a git tree of everything in the working tree that is not ignored, tracked or
//! not. Its objects go to the session's own `objects/` directory and lean on the repository's
//! objects, which are only read. The user's `.git` is the same, byte for byte, before and after.
//!
//! This is the only crate that runs `git`. It knows nothing of sessions, journals, agents or the
//! terminal, and reads neither environment nor home directory (the `git` it starts does).

mod error;
mod limits;
mod model;

pub use error::SnapshotError;
pub use limits::Limits;
pub use model::{
    Change, ChangeStatus, FileScanner, NoSecrets, Patch, Repository, Taken, Tree, Withheld,
    WithheldReason,
};

use std::io::Write;
use std::path::Path;

/// Takes snapshots of one working tree into one session's `objects/`.
pub struct Snapshotter {}

impl Snapshotter {
    /// Looks at `working_dir` and prepares to snapshot it. `objects` (made if absent) receives
    /// git objects, and while this value lives one `scratch-*` directory, removed on drop.
    pub fn open(
        working_dir: &Path,
        objects: &Path,
        limits: Limits,
        scan: Box<dyn FileScanner + Send>,
    ) -> Result<Self, SnapshotError> {
        todo!()
    }
    /// The repository around the working directory; `None` when there is none.
    pub fn repository(&self) -> Option<&Repository> {
        todo!()
    }
    /// Snapshots the working tree as it is now.
    pub fn take(&mut self) -> Result<Taken, SnapshotError> {
        todo!()
    }
    /// Writes the patch from one tree to another into `out`, as `git apply` takes it.
    /// Returns its size, and the files left out because either side holds a secret.
    pub fn patch(&self, from: &Tree, to: &Tree, out: &mut dyn Write) -> Result<Patch, SnapshotError> {
        todo!()
    }
    /// What changed from one tree to another, in path order.
    pub fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, SnapshotError> {
        todo!()
    }
}

/// Reads the snapshots of a session, finished or not, and writes nothing.
pub struct SnapshotReader {}

impl SnapshotReader {
    /// `working_dir` is where the session worked, if it is still there: its repository's objects
    /// complete the snapshots.
    pub fn open(working_dir: Option<&Path>, objects: &Path) -> Result<Self, SnapshotError> {
        todo!()
    }
    /// Leaves files holding a secret out of patches, as `Snapshotter::patch` does.
    pub fn with_scanner(self, scan: Box<dyn FileScanner + Send>) -> Self {
        todo!()
    }
    /// As `Snapshotter::patch`.
    pub fn patch(&self, from: &Tree, to: &Tree, out: &mut dyn Write) -> Result<Patch, SnapshotError> {
        todo!()
    }
    /// As `Snapshotter::changes`.
    pub fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, SnapshotError> {
        todo!()
    }
    /// Whether anything the tree needs is no longer there.
    pub fn missing(&self, tree: &Tree) -> Result<bool, SnapshotError> {
        todo!()
    }
}
