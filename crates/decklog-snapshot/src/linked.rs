//! Linked worktrees: another working tree of the user's repository, with the same files, for an agent of its own.
//!
//! git makes the worktree and its index, in which HEAD is staged, so that what differs from HEAD is told as in the
//! user's tree. The files come from a snapshot, by way of a git directory of ours. Of the user's repository nothing
//! is written but the worktree's own entry.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::git::{Git, Stdin};
use crate::private::{PrivateDir, copy_if_there};
use crate::repository::{self, Found};
use crate::restore::{self, Entry};
use crate::scratch::ScratchDir;
use crate::seed::seed;
use crate::trees::Trees;
use crate::{NoSecrets, SnapshotError, Tree, Withheld, WithheldReason, beneath, listing, registry, removal};
use rustix::fs::FileType;

/// A working tree beside the user's own, of the same repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWorktree {
    /// Its top.
    pub root: PathBuf,
    /// The directory in it that corresponds to the one in the user's tree it was made for.
    pub working_dir: PathBuf,
    /// The git directory it shares with the user's tree: what [`LinkedWorktree::remove`] is to be told.
    pub common_dir: PathBuf,
    /// What the user's tree holds and this one does not, or not as it stands there, in path order: repositories in
    /// the repository, files that cannot be read, fifos, sockets and devices.
    pub lacking: Vec<Withheld>,
}

impl LinkedWorktree {
    /// Makes a worktree at `path`, whose parent must be there, in the repository around `working_dir`, at the commit
    /// checked out there but on no branch. It gets the files of `tree`, a snapshot of the user's working tree whose
    /// objects lie in `objects` where the repository has not got them, and, copied from the user's working tree as
    /// they now stand there, those that the snapshot withheld.
    ///
    /// Line endings and encodings are made as the user's configuration has them made, and filters that the user
    /// configured are run, but for those of git-lfs and git-annex: files of git-lfs are copied from the user's tree,
    /// so that nothing is fetched (to see that they are as staged, git has its filter look at them, as `git status`
    /// has); of git-annex there are pointers. What is ignored is not there, and neither are
    /// empty directories. Of permissions git knows one, that to execute; files that were withheld keep theirs. Files
    /// that a sparse checkout leaves out are left out. Submodules are directories without a repository.
    ///
    /// The user's files, index, HEAD, branches and configuration stay as they are, and no hook is run. The index of
    /// the worktree is that of its HEAD: what the user had staged differs from it as if it were not.
    ///
    /// # Errors
    /// [`SnapshotError::NoRepository`]; [`SnapshotError::NoCommit`] before the first commit;
    /// [`SnapshotError::AlreadyThere`] when something is at `path`; [`SnapshotError::Gone`] when something of the
    /// tree is missing; [`SnapshotError::Git`] when git refuses; [`SnapshotError::Io`]; those of
    /// [`crate::Snapshotter::open`]. Nothing is left behind then, except with [`SnapshotError::NotRemoved`].
    pub fn create(
        working_dir: &Path,
        path: &Path,
        tree: &Tree,
        objects: &Path,
        withheld: &[Withheld],
    ) -> Result<Self, SnapshotError> {
        let working_dir = fs::canonicalize(working_dir).map_err(SnapshotError::io("find", working_dir))?;
        let Some(found) = repository::find(&working_dir)? else {
            return Err(SnapshotError::NoRepository { path: working_dir });
        };
        let Some(head) = found.repository.head.clone() else {
            return Err(SnapshotError::NoCommit { path: found.repository.root });
        };
        let objects = fs::canonicalize(objects).map_err(SnapshotError::io("find", objects))?;
        let root = claim(path)?;
        let common_dir = found.repository.common_dir.clone();
        let making = Making { found: &found, head, root: &root, objects: &objects };
        making.make(&working_dir, tree, withheld).map_err(|error| match Self::remove(&common_dir, &root) {
            Ok(()) => error,
            Err(problem) => {
                let path = root.clone();
                SnapshotError::NotRemoved { path, error: Box::new(error), problem: Box::new(problem) }
            }
        })
    }

    /// Removes the worktree at `path`, whatever an agent made of it, and the entry that the repository with this
    /// common directory has of it, locked or not. Nothing else: no link is followed, other entries stay, and what
    /// `.git` in the worktree says is not asked. What of it is gone already, be it the repository, is no error.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when something of it cannot be removed, after which it can be tried again; also when the
    /// repository lies in `path`, which is then not touched.
    pub fn remove(common_dir: &Path, path: &Path) -> Result<(), SnapshotError> {
        let path = std::path::absolute(path).map_err(SnapshotError::io("find", path))?;
        let common_dir = fs::canonicalize(common_dir).unwrap_or_else(|_| common_dir.to_owned());
        let Some((parent, name)) = path.parent().zip(path.file_name()) else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no worktree");
            return Err(SnapshotError::io("remove", &path)(error));
        };
        let root = match fs::canonicalize(parent) {
            Ok(parent) => parent.join(name),
            // Then only the entry can be left.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return registry::remove(&common_dir, &path);
            }
            Err(error) => return Err(SnapshotError::io("find", parent)(error)),
        };
        if common_dir.starts_with(&root) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the repository lies in it");
            return Err(SnapshotError::io("remove", &path)(error));
        }
        let parent = root.parent().unwrap_or(&root);
        let removed = beneath::open(parent).and_then(|parent| removal::remove(parent.as_fd(), Path::new(name)));
        removed.map_err(SnapshotError::io("remove", &root))?;
        registry::remove(&common_dir, &root)
    }
}

/// Makes the directory, which nobody else has then.
fn claim(path: &Path) -> Result<PathBuf, SnapshotError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = std::path::absolute(path).map_err(SnapshotError::io("find", path))?;
    let Some((parent, name)) = path.parent().zip(path.file_name()) else {
        return Err(SnapshotError::AlreadyThere { path });
    };
    let root = fs::canonicalize(parent).map_err(SnapshotError::io("find", parent))?.join(name);
    match fs::DirBuilder::new().mode(0o700).create(&root) {
        Ok(()) => Ok(root),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(SnapshotError::AlreadyThere { path: root }),
        Err(error) => Err(SnapshotError::io("create", &root)(error)),
    }
}

/// A worktree in the making.
struct Making<'a> {
    found: &'a Found,
    head: String,
    root: &'a Path,
    objects: &'a Path,
}

impl Making<'_> {
    fn make(&self, working_dir: &Path, tree: &Tree, withheld: &[Withheld]) -> Result<LinkedWorktree, SnapshotError> {
        let scratch = ScratchDir::new().map_err(SnapshotError::io("create", Path::new("a temporary directory")))?;
        let settings = repository::content_settings(working_dir, repository::Filters::All)?;
        let mut alternates = self.found.object_directories();
        alternates.push(self.objects.to_owned());
        let private = restore::private_in(scratch.path(), self.found.format)?;
        copy_if_there(&self.found.attributes, &private.file("info/attributes"))?;
        let git = private.git(self.root, &settings, &alternates);
        let entries = restore::writable(&git, tree)?;
        let skipped = self.skipped(scratch.path(), &alternates)?;
        self.add()?;

        let theirs = beneath::open(&self.found.repository.root)
            .map_err(SnapshotError::io("open", &self.found.repository.root))?;
        let ours = beneath::open(self.root).map_err(SnapshotError::io("open", self.root))?;
        let mut lacking = Vec::new();
        let copied = self.to_copy(&git, &entries, withheld, &theirs, &mut lacking)?;
        let elsewhere = copied.iter().map(|withheld| withheld.path.as_slice());
        let elsewhere = elsewhere.chain(skipped.iter().map(Vec::as_slice));
        git.run(&["update-index", "--force-remove", "-z", "--stdin"], Stdin::records(elsewhere, 0)?)?;
        git.run(&["checkout-index", "--all", "--quiet"], Stdin::none())?;
        for withheld in copied {
            if beneath::copy(theirs.as_fd(), ours.as_fd(), &withheld.path).is_err() {
                lacking.push(withheld);
            }
        }
        self.index(&skipped)?;

        let inside = working_dir.strip_prefix(&self.found.repository.root).unwrap_or(Path::new(""));
        let working_dir = self.root.join(inside);
        beneath::directory(ours.as_fd(), inside.as_os_str().as_bytes(), true)
            .map_err(SnapshotError::io("create", &working_dir))?;
        lacking.sort();
        let common_dir = self.found.repository.common_dir.clone();
        Ok(LinkedWorktree { root: self.root.to_owned(), working_dir, common_dir, lacking })
    }

    /// Has git make the worktree, without files.
    fn add(&self) -> Result<(), SnapshotError> {
        let mut git = Git::new(&self.found.repository.root);
        // For relative ones, newer gits change the configuration of the repository.
        git.set("worktree.useRelativePaths=false");
        let args = ["worktree", "add", "--detach", "--no-checkout"].map(std::ffi::OsStr::new);
        let _held = registry::hold();
        git.run(&[&args[..], &[self.root.as_os_str(), self.head.as_ref()]].concat(), Stdin::none()).map(drop)
    }

    /// What is to be copied from the user's tree instead of being written from the snapshot: what that withheld, and
    /// files of git-lfs, of which it has pointers. Of the former, what cannot be copied goes to `lacking`.
    fn to_copy(
        &self,
        git: &Git,
        entries: &[Entry],
        withheld: &[Withheld],
        theirs: &OwnedFd,
        lacking: &mut Vec<Withheld>,
    ) -> Result<Vec<Withheld>, SnapshotError> {
        let is_there = |path: &[u8]| {
            let kind = beneath::kind(theirs.as_fd(), path);
            matches!(kind, Ok(FileType::RegularFile | FileType::Symlink))
        };
        let (mut copied, absent): (Vec<_>, Vec<_>) =
            withheld.iter().cloned().partition(|withheld| is_there(&withheld.path));
        lacking.extend(absent);
        let names = Stdin::records(entries.iter().map(|entry| entry.path.as_slice()), 0)?;
        let said = git.run(&["check-attr", "-z", "--stdin", "filter"], names)?;
        let fields: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
        for field in fields.chunks_exact(3).filter(|field| field[2] == b"lfs" && is_there(field[0])) {
            let error = "git-lfs has its content, and it could not be copied".to_owned();
            let file = Withheld { path: field[0].to_vec(), reason: WithheldReason::Unreadable { error } };
            if !copied.iter().any(|other| other.path == file.path) {
                copied.push(file);
            }
        }
        Ok(copied)
    }

    /// What the user's index has and their working tree, being sparse, has not. Read from a copy: reading a split
    /// index where it is touches it.
    fn skipped(&self, scratch: &Path, alternates: &[PathBuf]) -> Result<HashSet<Vec<u8>>, SnapshotError> {
        let objects = scratch.join("seed-objects");
        crate::private::create_private(&objects)?;
        let mut trees = Trees::new(scratch.join("seed-trees"))?;
        let private = PrivateDir::create(scratch.join("seed"), objects, self.found.format)?;
        let root = &self.found.repository.root;
        let reader = private.git(root, &[], alternates);
        let writer = private.git(root, &[], &[trees.objects().to_owned()]);
        // Names alone are read from it, and none is stored.
        seed(self.found, &private, (&reader, &writer), &mut trees, b"", &mut NoSecrets)?;
        listing::sparse(&reader, root)
    }

    /// Makes the worktree's own index: that of HEAD, with what git needs to know that files are as there.
    fn index(&self, skipped: &HashSet<Vec<u8>>) -> Result<(), SnapshotError> {
        let mut git = Git::new(self.root);
        // Writing a sparse one, git stores its trees, and touches those that it finds stored.
        git.set("index.sparse=false");
        git.run(&["read-tree", &self.head], Stdin::none())?;
        if !skipped.is_empty() {
            let known = git.run(&["ls-files", "-z"], Stdin::none())?;
            let known: HashSet<&[u8]> = known.split(|byte| *byte == 0).collect();
            let skipped = skipped.iter().map(Vec::as_slice).filter(|path| known.contains(path));
            git.run(&["update-index", "--skip-worktree", "-z", "--stdin"], Stdin::records(skipped, 0)?)?;
        }
        // Says by its status that files differ; and the index is right without it, if a filter should fail.
        git.ask(&["update-index", "-q", "--refresh"], Stdin::none()).map(drop)
    }
}
