//! The plain types of this crate's interface. Nothing here touches a file or a process.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::SnapshotError;

/// The id of a git tree: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tree(String);

impl Tree {
    /// Accepts an id by its shape alone; whether such a tree exists is another question.
    ///
    /// # Errors
    /// [`SnapshotError::BadTree`] when it is no such id.
    pub fn parse(id: &str) -> Result<Self, SnapshotError> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if matches!(id.len(), 40 | 64) && id.bytes().all(hex) {
            Ok(Self(id.to_owned()))
        } else {
            Err(SnapshotError::BadTree(id.chars().take(80).collect()))
        }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn format(&self) -> ObjectFormat {
        if self.0.len() == 64 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tree {
    type Err = SnapshotError;

    fn from_str(id: &str) -> Result<Self, SnapshotError> {
        Self::parse(id)
    }
}

/// How a repository names its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectFormat {
    Sha1,
    Sha256,
}

impl ObjectFormat {
    /// The length in bytes of an id as the index stores it.
    pub(crate) fn raw_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The tree with nothing in it, which git knows without storing it.
    pub(crate) fn empty_tree(self) -> Tree {
        Tree(match self {
            Self::Sha1 => "4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned(),
            Self::Sha256 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321".to_owned(),
        })
    }
}

/// The repository around a working directory, as it was when looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The top of the working tree. All of it is snapshotted, wherever in it the agent works.
    pub root: PathBuf,
    /// The working tree's git directory (`.git`, or `.git/worktrees/NAME` of a linked one).
    pub git_dir: PathBuf,
    /// The git directory all linked working trees share.
    pub common_dir: PathBuf,
    /// The id of the commit checked out; `None` before the first commit.
    pub head: Option<String>,
    /// The branch checked out, without `refs/heads/`; `None` when HEAD is detached.
    pub branch: Option<String>,
    /// The tree of the commit checked out; the empty one before the first commit.
    pub head_tree: Tree,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The tree it was written as.
    pub tree: Tree,
    /// What the working tree holds that the tree does not, in path order.
    pub withheld: Vec<Withheld>,
}

/// A path whose present content is not in the snapshot. A tracked file keeps the content it had
/// in the snapshot before (in the first one: in the repository's index); others are absent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Withheld {
    /// Bytes, relative to the top of the working tree, `/` between parts.
    pub path: Vec<u8>,
    /// Why it was left out.
    pub reason: WithheldReason,
}

/// Why a path was left out of a snapshot or a patch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WithheldReason {
    /// Its content holds a secret.
    Secret {
        /// The name of the rule that found it, as [`FileScanner::secret_in`] gave it.
        rule: String,
    },
    /// Its path holds a secret.
    SecretName {
        /// The name of the rule that found it.
        rule: String,
    },
    /// It is larger than [`crate::Limits::max_file_bytes`].
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A directory that is a git repository of its own and no submodule of this one.
    NestedRepository,
    /// It cannot be read, or git cannot store it.
    Unreadable {
        /// The reason, in the system's or git's words.
        error: String,
    },
    /// A tracked file is now a fifo, a socket or a device.
    Special,
}

impl fmt::Display for WithheldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { rule } => write!(f, "holds a secret ({rule})"),
            Self::SecretName { rule } => write!(f, "its name holds a secret ({rule})"),
            Self::TooLarge { bytes } => write!(f, "too large ({bytes} bytes)"),
            Self::NestedRepository => f.write_str("a repository of its own"),
            Self::Unreadable { error } => write!(f, "cannot be recorded: {error}"),
            Self::Special => f.write_str("not a file (fifo, socket or device)"),
        }
    }
}

/// A patch that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Its size.
    pub bytes: u64,
    /// Changed files left out of it because one side or its name holds a secret, or may, in path order. This happens
    /// to content already in the repository, such as a key an agent has just removed.
    pub withheld: Vec<Withheld>,
}

/// One path that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is now, or was if it is gone: bytes, relative to the top of the working tree.
    pub path: Vec<u8>,
    /// Where it was before, if it was renamed.
    pub old_path: Option<Vec<u8>>,
    /// What became of it.
    pub status: ChangeStatus,
    /// Lines added; `None` when it is binary.
    pub added: Option<u64>,
    /// Lines removed; `None` when it is binary.
    pub removed: Option<u64>,
    /// Its mode before, as git writes it in octal (0o100644, 0o100755, 0o120000 for a symbolic
    /// link, 0o160000 for a submodule without content); 0 when it was not there.
    pub old_mode: u32,
    /// Its mode now; 0 when it is gone.
    pub new_mode: u32,
}

/// What became of a path between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// Its content or its mode changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It moved, with or without a change of content.
    Renamed,
    /// A file became a symbolic link, or the other way round.
    TypeChanged,
}

impl ChangeStatus {
    /// Its name, as records and programs read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Renamed => "renamed",
            Self::TypeChanged => "type_changed",
        }
    }
}

/// What restoring a tree did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files and links written, in path order.
    pub written: Vec<Vec<u8>>,
    /// Files and links removed, in path order.
    pub removed: Vec<Vec<u8>>,
    /// Paths that differ from the tree and were left as they are, in path order.
    pub left: Vec<Left>,
    /// The directory for work in progress, when it could not be removed in the end.
    pub leftover: Option<PathBuf>,
}

/// What has become of the files of a change that could neither be made as a whole nor be taken back. Each of its paths is
/// in one of the lists, by a comparison with the files before and after. They are in path order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// The top of the working tree.
    pub root: PathBuf,
    /// What failed.
    pub message: String,
    /// Paths that are as they were to be.
    pub changed: Vec<Vec<u8>>,
    /// Paths that are as they were.
    pub unchanged: Vec<Vec<u8>>,
    /// Paths that are neither, such as files that are missing or cut off.
    pub damaged: Vec<Vec<u8>>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, message, changed, unchanged, damaged } = self;
        let counts = format!("{} changed, {} damaged, {} as before", changed.len(), damaged.len(), unchanged.len());
        write!(f, "files in {} are changed in part ({counts}): {message}", root.display())
    }
}

/// What merging a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files and links written or removed, in path order. What stood as the change would have it already is not
    /// among them.
    pub applied: Vec<Vec<u8>>,
    /// Files changed on both sides in the same places, in path order: they hold both, between git's markers. One that
    /// is binary is left as it was.
    pub conflicts: Vec<Vec<u8>>,
    /// What of the change was left out, in path order.
    pub left: Vec<Left>,
    /// As of [`Restored::leftover`].
    pub leftover: Option<PathBuf>,
}

/// A path that was not restored or merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Bytes, relative to the top of the working tree.
    pub path: Vec<u8>,
    /// Why.
    pub reason: LeftReason,
}

/// Why a path was not restored or merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// What stands there is not in the snapshot of the present tree, so it could not be had back.
    Withheld(WithheldReason),
    /// A file stands there that no snapshot holds, such as an ignored one.
    Occupied,
    /// The snapshot to restore withholds it, so that it is not known whether it existed, and how.
    NotInTarget,
    /// A sparse checkout leaves it out of the working tree.
    Sparse,
    /// A submodule, of which the snapshot holds the commit's id alone.
    Submodule,
    /// A file whose content git-lfs or git-annex keeps: the snapshot holds the pointer to it alone.
    Pointer,
}

impl fmt::Display for LeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld(reason) => write!(f, "not in the snapshot of the present tree: {reason}"),
            Self::Occupied => f.write_str("a file that no snapshot holds stands there"),
            Self::NotInTarget => f.write_str("not in the snapshot to restore, which withholds it"),
            Self::Sparse => f.write_str("left out of the working tree by a sparse checkout"),
            Self::Submodule => f.write_str("a submodule: `git submodule update` brings it"),
            Self::Pointer => f.write_str(
                "git-lfs or git-annex has the content, and the snapshot a pointer to it: `git checkout` brings what is committed",
            ),
        }
    }
}

/// Looks for secrets in what is about to be recorded.
pub trait FileScanner {
    /// The name of the rule by which `content` holds a secret, or `None` when it holds none.
    /// `path` is relative to the top of the working tree. For a symbolic link, `content` is where
    /// it points. Names are looked at too: as content, with
    /// an empty path.
    ///
    /// # Errors
    /// Those of reading `content`; the file is then withheld as unreadable.
    fn secret_in(&mut self, path: &Path, content: &mut dyn Read) -> io::Result<Option<String>>;
}

/// A scanner that finds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl FileScanner for NoSecrets {
    fn secret_in(&mut self, _: &Path, _: &mut dyn Read) -> io::Result<Option<String>> {
        Ok(None)
    }
}
