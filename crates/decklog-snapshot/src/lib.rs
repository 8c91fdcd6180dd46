//! Working-tree snapshots: take one, tell two apart, print the patch between them, put one back.
//!
//! A snapshot is a git tree of everything in the working tree that is not ignored, tracked or
//! not, and whether or not the directory is a repository. Its objects go to the session's own
//! `objects/` directory and lean on the repository's objects, which are only read. The user's
//! `.git` is the same, byte for byte, before and after.
//!
//! ```no_run
//! # use decklog_snapshot::*;
//! # use std::path::Path;
//! # fn main() -> Result<(), SnapshotError> {
//! let (here, objects) = (Path::new("."), Path::new("session/objects"));
//! let mut snapshots = Snapshotter::open(here, objects, Limits::default(), Box::new(NoSecrets))?;
//! let before = snapshots.take()?.tree;
//! // An agent works.
//! let after = snapshots.take()?.tree;
//! snapshots.patch(&before, &after, &mut std::io::stdout())?;
//! # Ok(())
//! # }
//! ```
//!
//! This is the only crate that runs `git`, of which it needs 2.31 or newer. It knows nothing of
//! sessions, journals, agents or the terminal, and reads neither environment nor home directory
//! (the `git` it starts does).
//!
//! # How a snapshot is taken
//!
//! 1. `repository` asks git once where everything is and how the user has it configured.
//! 2. `private` sets up a git directory of our own: that configuration, no hooks, no refs.
//! 3. `seed` copies the user's index into it, so that unchanged files need not be read.
//! 4. `listing` has `git status` compare that index with the working tree.
//! 5. `names` looks at the names and `scan` at the content of what differs, `store` has git store what holds no secret, `recheck` sees that
//!    it was the same content.
//! 6. `worktree` does these in turn and has the index written as a tree, `submodule` puts those of
//!    submodules into it.
//!
//! When nothing differs, step 4 is all that runs.
//!
//! `restore` goes the other way: it writes a tree into a directory, or over the working tree. The latter is done by
//! `replacement`, which `merge` uses too: after `preflight`, git lays out new files in a `staging` directory, and they
//! change places with the old ones by renames, which can be taken back. `linked` makes another
//! working tree of the repository with a snapshot's files, and `merge` puts what was changed in one over the user's.
//! For the former git writes into the user's `.git` after all: one entry in `worktrees`, and nothing else.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod beneath;
mod blobs;
mod diff;
mod error;
mod file;
mod file_stat;
mod git;
mod index;
mod judge;
mod limits;
mod linked;
mod listing;
mod merge;
mod model;
mod names;
mod preflight;
mod private;
mod reader;
mod recheck;
mod registry;
mod removal;
mod replacement;
mod repository;
mod restore;
mod running;
mod scan;
mod scratch;
mod seed;
mod snapshotter;
mod staging;
mod store;
mod submodule;
mod trees;
mod worktree;

pub use error::SnapshotError;
pub use file::FileAt;
pub use git::unbind_repository;
pub use limits::Limits;
pub use linked::LinkedWorktree;
pub use model::{
    Change, ChangeStatus, FileScanner, Incomplete, Left, LeftReason, Merged, NoSecrets, Patch, Repository, Restored,
    Taken, Tree, Withheld, WithheldReason,
};
pub use reader::SnapshotReader;
pub use scratch::ScratchDir;
pub use snapshotter::Snapshotter;
pub use worktree::Discovered;
