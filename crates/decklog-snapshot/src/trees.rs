//! Writing the index as a tree, at the cost of what changed.
//!
//! git writes only those trees it does not find stored, but where it may write it must not see
//! the repository (see `store`). So it is given a copy of the trees to start from, which is
//! scratch: the first snapshot that differs makes it, and it goes when the session does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::git::{Git, Stdin};
use crate::{SnapshotError, Tree};

/// A scratch object directory with the trees a working tree started from.
pub(crate) struct Trees {
    objects: PathBuf,
    filled: bool,
}

impl Trees {
    pub(crate) fn new(objects: PathBuf) -> Result<Self, SnapshotError> {
        fs::create_dir_all(objects.join("pack")).map_err(SnapshotError::io("create", &objects))?;
        Ok(Self { objects, filled: false })
    }

    pub(crate) fn objects(&self) -> &Path {
        &self.objects
    }

    /// Writes the index of `writer` as a tree. `base` is one much like it that `reader` sees.
    pub(crate) fn write(&mut self, reader: &Git, writer: &Git, base: &Tree) -> Result<Tree, SnapshotError> {
        self.fill(reader, base, [])?;
        // Content that is only in the repository is not to be seen here, nor need it be: should it
        // be gone one day, that is for whoever reads the snapshot to find.
        let id = writer.run(&["write-tree", "--missing-ok"], Stdin::none())?;
        Tree::parse(String::from_utf8_lossy(&id).trim_end())
    }

    /// Copies the trees in `base` and `more`, if that was not done yet.
    pub(crate) fn fill<'a>(
        &mut self,
        reader: &Git,
        base: &'a Tree,
        more: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), SnapshotError> {
        if std::mem::replace(&mut self.filled, true) || *base == base.format().empty_tree() {
            return Ok(());
        }
        let roots = [base.as_str()].into_iter().chain(more.into_iter().map(String::as_str));
        let roots = Stdin::records(roots.map(str::as_bytes), b'\n')?;
        let list = ["rev-list", "--objects", "--no-object-names", "--filter=blob:none", "--stdin"];
        let listed = reader.ask(&list, roots)?;
        if !listed.status.success() {
            // A repository that lacks some: then all trees are written anew.
            return Ok(());
        }
        let ids = Stdin::records([listed.stdout.trim_ascii_end()], b'\n')?;
        let pack = self.objects.join("pack/pack");
        let args = ["pack-objects".as_ref(), "-q".as_ref(), "--window=0".as_ref(), pack.as_os_str()];
        reader.run(&args, ids).map(drop)
    }
}
