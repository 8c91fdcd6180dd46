//! The writing side of the interface: taking snapshots while a session runs.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::limits::Budget;
use crate::private::create_private;
use crate::worktree::{Discovered, Worktree};
use crate::{
    Change, FileScanner, Limits, Merged, Patch, Repository, Restored, SnapshotError, Taken, Tree, diff, merge, restore,
};

/// Takes snapshots of one working tree into one session's `objects/`.
pub struct Snapshotter {
    worktree: Worktree,
    objects: PathBuf,
    limits: Limits,
    scan: RefCell<Box<dyn FileScanner + Send>>,
}

impl Snapshotter {
    /// Looks at `working_dir` and prepares to snapshot the repository around it, or the directory
    /// itself if there is none. Takes no snapshot yet.
    ///
    /// `objects` is made if absent. It receives git objects and, as long as the value lives, one
    /// directory `scratch-*` with an index; objects need nothing from it. It is never itself part
    /// of a snapshot. The user's git configuration is read now and not again.
    ///
    /// # Errors
    /// [`SnapshotError::GitMissing`]; [`SnapshotError::NoWorkTree`] in a bare repository or a
    /// `.git`; [`SnapshotError::Refused`] when git will not work there;
    /// [`SnapshotError::Io`].
    pub fn open(
        working_dir: &Path,
        objects: &Path,
        limits: Limits,
        scan: Box<dyn FileScanner + Send>,
    ) -> Result<Self, SnapshotError> {
        Self::open_discovered(Discovered::at(working_dir)?, objects, limits, scan)
    }

    /// As [`Self::open`], for a directory that was looked at before.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_discovered(
        discovered: Discovered,
        objects: &Path,
        limits: Limits,
        scan: Box<dyn FileScanner + Send>,
    ) -> Result<Self, SnapshotError> {
        create_private(objects)?;
        let objects = fs::canonicalize(objects).map_err(SnapshotError::io("find", objects))?;
        let worktree = Worktree::open_discovered(discovered, &objects, &objects, Vec::new())?;
        let snapshotter = Self { worktree, objects, limits, scan: RefCell::new(scan) };
        snapshotter.exclude(&snapshotter.objects)?;
        Ok(snapshotter)
    }

    /// Leaves an untracked file or directory out of snapshots, as if `.gitignore` said so: for the
    /// session's own directory, should it lie in the working tree. To be called before the first
    /// snapshot; what is in that already stays. A path outside of the working tree changes nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn exclude(&self, path: &Path) -> Result<(), SnapshotError> {
        let Ok(path) = fs::canonicalize(path) else {
            return Ok(());
        };
        let Ok(inside) = path.strip_prefix(&self.worktree.root) else {
            return Ok(());
        };
        let mut pattern = vec![b'/'];
        for byte in inside.as_os_str().as_bytes() {
            match byte {
                // No pattern can hold a newline.
                b'\n' => pattern.push(b'?'),
                b'\\' | b'*' | b'?' | b'[' | b' ' => pattern.extend([b'\\', *byte]),
                _ => pattern.push(*byte),
            }
        }
        self.worktree.exclude(&pattern)
    }

    /// The repository around the working directory, as [`Snapshotter::open`] found it; `None` when
    /// there is none.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        self.worktree.repository()
    }

    /// The top of what is snapshotted: paths in snapshots are relative to it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.worktree.root
    }

    /// Snapshots the working tree as it is now. What changes while this runs is recorded as it was
    /// or as it became; nothing that holds a secret stays in `objects` either way.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] when it would copy more than the limits allow;
    /// [`SnapshotError::Git`] and [`SnapshotError::Io`] when something else keeps it from working.
    /// After an error another snapshot can be tried.
    pub fn take(&mut self) -> Result<Taken, SnapshotError> {
        let mut budget = Budget::new(&self.limits);
        self.worktree.take(&mut **self.scan.get_mut(), &mut budget)
    }

    /// Makes the working tree what `target` is, a tree whose objects lie in `objects` where the repository has not
    /// got them. `present` is the snapshot just taken of it: what is in neither is not touched, and of the files that
    /// differ those are left, and named, which `present` does not hold as they are. So are those of which `is_withheld`
    /// says that `target` does not hold them as they were, because its snapshot withheld them.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when something of `target` is missing, [`SnapshotError::InTheWay`] when files changed
    /// since `present`, cannot be replaced or have no room, or when writing failed and was taken back; nothing is changed
    /// then, as after [`SnapshotError::Git`] and [`SnapshotError::Io`]. [`SnapshotError::Incomplete`] when writing failed
    /// and could not be taken back.
    pub fn restore(
        &self,
        present: &Taken,
        target: &Tree,
        objects: &Path,
        is_withheld: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Restored, SnapshotError> {
        restore::in_place(&self.worktree, present, target, objects, is_withheld)
    }

    /// Puts the change from one tree to another over the working tree, of which `present` is the snapshot just taken,
    /// with `git apply --3way`: what was changed on both sides is merged, and where both changed the same lines,
    /// markers are left. `objects` has what of the trees neither the repository nor this session has. The
    /// repository's index is as before, and so are files that `present` withholds: what the change has for them is
    /// left out, and named.
    ///
    /// # Errors
    /// [`SnapshotError::InTheWay`] when something of the change cannot be merged, such as the removal of a file that
    /// was changed, when a file that no snapshot holds (an ignored one) stands in its place, or when files changed
    /// since `present`, cannot be replaced or have no room, or when writing failed and was taken back;
    /// [`SnapshotError::Gone`] when something of the trees is missing: nothing is changed then, as after
    /// [`SnapshotError::Git`] and [`SnapshotError::Io`]. [`SnapshotError::Incomplete`] as of [`Self::restore`].
    pub fn merge(&self, present: &Taken, from: &Tree, to: &Tree, objects: &Path) -> Result<Merged, SnapshotError> {
        merge::merge(&self.worktree, present, from, to, objects)
    }

    /// Writes the patch from one tree to another into `out`, as `git apply` takes it, and returns
    /// its size. For equal trees that is 0.
    ///
    /// Files whose content on either side holds a secret are left out and named.
    ///
    /// # Errors
    /// [`SnapshotError::Output`] when `out` fails; [`SnapshotError::Git`] when one of the trees is
    /// missing something. In both cases a part of the patch may have been written.
    pub fn patch(&self, from: &Tree, to: &Tree, out: &mut dyn Write) -> Result<Patch, SnapshotError> {
        self.diff(from, to, &[], out).map(|(_, patch)| patch)
    }

    /// [`Self::changes`] and [`Self::patch`] in one.
    ///
    /// # Errors
    /// As [`Self::patch`].
    pub fn changes_and_patch(
        &self,
        from: &Tree,
        to: &Tree,
        out: &mut dyn Write,
    ) -> Result<(Vec<Change>, Patch), SnapshotError> {
        self.diff(from, to, diff::COUNTS, out)
    }

    fn diff(
        &self,
        from: &Tree,
        to: &Tree,
        more: &[&str],
        out: &mut dyn Write,
    ) -> Result<(Vec<Change>, Patch), SnapshotError> {
        let scan = &mut **self.scan.borrow_mut();
        diff::patch(&self.worktree.viewer(), &self.objects, (from, to), more, scan, out)
    }

    /// What changed from one tree to another, in path order.
    ///
    /// # Errors
    /// [`SnapshotError::Git`] when one of the trees is missing something.
    pub fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, SnapshotError> {
        diff::changes(&self.worktree.viewer(), from, to)
    }
}
