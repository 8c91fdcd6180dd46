//! What has become of each path after a failure.

use std::collections::HashSet;
use std::os::fd::AsFd;

use super::Replacement;
use super::sides::Side;
use crate::file_stat::FileStat;
use crate::{Incomplete, SnapshotError};

impl Replacement<'_> {
    /// The error after something was changed, by what has become of each path.
    pub(super) fn failure(&self, message: String) -> SnapshotError {
        let mut incomplete = Incomplete { root: self.root.to_owned(), message, ..Incomplete::default() };
        let mut open = Vec::new();
        for step in &self.steps {
            let now = FileStat::below(self.top.as_fd(), step.path);
            let is_known = now.is_ok();
            let now = now.ok().flatten().filter(|now| !now.is_directory());
            // What others made of a path that was not touched is not for us to report.
            if !step.is_touched || is_known && step.is_before(now.as_ref()) {
                incomplete.unchanged.push(step.path.to_vec());
            } else if is_known && step.is_after(now.as_ref()) {
                incomplete.changed.push(step.path.to_vec());
            } else {
                open.push(step);
            }
        }
        if !open.is_empty() {
            let (old, new) = (self.modified(Side::Old), self.modified(Side::New));
            let is_as = |modified: &Result<HashSet<Vec<u8>>, _>, mode: u32, path: &[u8]| {
                let is_there = FileStat::below(self.top.as_fd(), path).is_ok_and(|now| now.is_some());
                mode != 0 && is_there && modified.as_ref().is_ok_and(|modified| !modified.contains(path))
            };
            for step in open {
                let into = if is_as(&old, step.change.old_mode, step.path) {
                    &mut incomplete.unchanged
                } else if is_as(&new, step.change.new_mode, step.path) {
                    &mut incomplete.changed
                } else {
                    &mut incomplete.damaged
                };
                into.push(step.path.to_vec());
            }
        }
        if incomplete.changed.is_empty() && incomplete.damaged.is_empty() {
            return SnapshotError::InTheWay { path: incomplete.root, message: incomplete.message };
        }
        for list in [&mut incomplete.changed, &mut incomplete.unchanged, &mut incomplete.damaged] {
            list.sort();
        }
        SnapshotError::Incomplete(Box::new(incomplete))
    }
}
