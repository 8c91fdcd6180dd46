//! The paths before and after the replacement, each in a git index, by which git compares and writes files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Replacement, Step};
use crate::SnapshotError;
use crate::git::{Git, Stdin};
use crate::restore;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

impl Replacement<'_> {
    fn index(&self, side: Side) -> PathBuf {
        self.second.private.file(if side == Side::Old { "index-old" } else { "index-new" })
    }

    fn git(&self, git: &Git, side: Side) -> Git {
        let mut git = git.clone();
        git.env("GIT_INDEX_FILE", self.index(side));
        git
    }

    /// Writes an index of the paths as they are on one side, of those steps that `which` takes.
    fn write_index(
        &self,
        side: Side,
        which: impl Fn(&Step<'_>) -> bool,
        attributes: bool,
    ) -> Result<(), SnapshotError> {
        let line = |mode: u32, id: &str, path: &[u8]| [format!("{mode:o} {id}\t").as_bytes(), path].concat();
        let own = self.steps.iter().filter(|step| which(step)).filter_map(|step| {
            let (mode, id) = match side {
                Side::Old => (step.change.old_mode, &step.sides.old),
                Side::New => (step.change.new_mode, &step.sides.new),
            };
            (mode != 0).then(|| line(mode, id, step.path))
        });
        let more = self.attributes.iter().filter(|_| attributes);
        let info: Vec<Vec<u8>> = more.map(|entry| line(entry.mode, &entry.id, &entry.path)).chain(own).collect();
        restore::remove_if_there(&self.index(side))?;
        let info = Stdin::records(info.iter().map(Vec::as_slice), 0)?;
        self.git(&self.second.writer, side).run(&["update-index", "--add", "-z", "--index-info"], info).map(drop)
    }

    /// Has git write the files of one side into `directory`, as attributes and filters have them.
    pub(super) fn write_laid_out(
        &self,
        directory: &Path,
        side: Side,
        which: impl Fn(&Step<'_>) -> bool,
    ) -> Result<(), SnapshotError> {
        self.write_index(side, which, true)?;
        let git = self.git(&self.second.checkout, side).at(directory);
        git.run(&["checkout-index", "--all", "--quiet"], Stdin::none()).map(drop)
    }

    /// Paths that are not as one side has them, of those that it has.
    pub(super) fn modified(&self, side: Side) -> Result<HashSet<Vec<u8>>, SnapshotError> {
        self.write_index(side, |_| true, false)?;
        let listed = self.git(&self.second.git, side).run(&["ls-files", "--modified", "-z"], Stdin::none())?;
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(<[u8]>::to_vec).collect())
    }

    /// Sees that all paths are as the snapshot has them.
    pub(super) fn verify(&self) -> Result<(), SnapshotError> {
        let modified = self.modified(Side::Old)?;
        let is_other =
            |step: &&Step<'_>| modified.contains(step.path) || step.before.is_some() != (step.change.old_mode != 0);
        match self.steps.iter().find(is_other) {
            None => Ok(()),
            Some(step) => {
                let message =
                    format!("{:?} has changed since the tree was recorded", String::from_utf8_lossy(step.path));
                Err(SnapshotError::InTheWay { path: self.root.to_owned(), message })
            }
        }
    }
}
