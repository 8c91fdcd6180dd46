//! Replaces files of a working tree by others: all of them, or none.
//!
//! git writes the new files into a staging directory first, so that a full disk, a quota or a failing git changes nothing.
//! Then old and new files change places by renames, which need no room and which are taken back when one of them fails.
//! Only where there is no room for both are the old files removed first; their content is in the snapshot just taken, and
//! comes back from it. No file is removed or overwritten that changed since it was found, or was put there. After a
//! failure each path is compared with what it was and what it was to be.

mod failure;
mod room;
mod sides;
mod undo;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use crate::diff::Sides;
use crate::file_stat::FileStat;
use crate::private::as_path;
use crate::restore::Entry;
use crate::staging::{self, Staged, Staging};
use crate::worktree::Second;
use crate::{Change, SnapshotError, beneath, preflight};
use sides::Side;
use undo::Undo;

/// Makes these changes, without renames among them, in the working tree `root`: all or none. `attributes` are the files
/// called `.gitattributes` of the tree that comes of it. Gives the directory that could not be removed in the end, if
/// there is one.
///
/// # Errors
/// [`SnapshotError::InTheWay`]: no file is changed. [`SnapshotError::Incomplete`]: some are.
pub(crate) fn replace(
    second: &Second,
    root: &Path,
    attributes: &[&Entry],
    changes: &[(Change, Sides)],
) -> Result<Option<PathBuf>, SnapshotError> {
    let refuse = |message: String| SnapshotError::InTheWay { path: root.to_owned(), message };
    let prepared = Replacement::open(second, root, attributes, changes).and_then(|replacement| {
        replacement.sweep();
        if changes.is_empty() {
            return Ok(replacement);
        }
        replacement.verify()?;
        let problem = preflight::problem(replacement.top.as_fd(), root, &replacement.steps);
        match problem.map_err(SnapshotError::io("look into", root))? {
            None => Ok(replacement),
            Some(problem) => Err(refuse(problem)),
        }
    });
    let mut replacement = prepared.map_err(|error| match error {
        known @ SnapshotError::InTheWay { .. } => known,
        other => refuse(other.to_string()),
    })?;
    if changes.is_empty() {
        return Ok(None);
    }
    match replacement.stage() {
        Ok((staging, staged)) => replacement.swap(staging, &staged),
        Err(Unstaged::Short { needed }) => replacement.replace_without_room(needed),
        Err(Unstaged::Failed(message)) => Err(refuse(message)),
    }
}

/// One path that is to be replaced.
pub(crate) struct Step<'a> {
    pub(crate) path: &'a [u8],
    change: &'a Change,
    sides: &'a Sides,
    /// The file or link there at first.
    pub(crate) before: Option<FileStat>,
    /// The file or link that takes its place.
    after: Option<FileStat>,
    /// Whether this replacement changed it.
    is_touched: bool,
}

impl Step<'_> {
    fn is_written(&self) -> bool {
        self.change.new_mode != 0
    }

    fn is_before(&self, now: Option<&FileStat>) -> bool {
        match (&self.before, now) {
            (Some(before), Some(now)) => now.is_same_content(before),
            (before, now) => before.is_none() && now.is_none(),
        }
    }

    fn is_after(&self, now: Option<&FileStat>) -> bool {
        match (&self.after, now) {
            (Some(after), Some(now)) => now.is_same_content(after),
            (_, now) => !self.is_written() && now.is_none(),
        }
    }
}

/// Why new files could not be staged. Nothing is changed.
enum Unstaged {
    /// There is no room for them beside the old ones.
    Short {
        needed: u64,
    },
    Failed(String),
}

struct Replacement<'a> {
    second: &'a Second,
    root: &'a Path,
    top: OwnedFd,
    steps: Vec<Step<'a>>,
    /// Files called `.gitattributes` that stay as they are.
    attributes: Vec<&'a Entry>,
}

impl<'a> Replacement<'a> {
    fn open(
        second: &'a Second,
        root: &'a Path,
        attributes: &[&'a Entry],
        changes: &'a [(Change, Sides)],
    ) -> Result<Self, SnapshotError> {
        let top = beneath::open(root).map_err(SnapshotError::io("open", root))?;
        let mut steps = Vec::new();
        for (change, sides) in changes {
            let path = change.path.as_slice();
            let now = FileStat::below(top.as_fd(), path).map_err(SnapshotError::io("look at", as_path(path)))?;
            let before = now.filter(|now| !now.is_directory());
            steps.push(Step { path, change, sides, before, after: None, is_touched: false });
        }
        // Those that only go come first: they make room, also for directories in their places.
        steps.sort_by_key(Step::is_written);
        let changed: HashSet<&[u8]> = steps.iter().map(|step| step.path).collect();
        let attributes = attributes.iter().copied().filter(|entry| !changed.contains(entry.path.as_slice())).collect();
        Ok(Self { second, root, top, steps, attributes })
    }

    /// Removes what killed processes left where files are to be replaced. What cannot be removed stays for the next one.
    fn sweep(&self) {
        let mut swept = HashSet::new();
        let _ = staging::sweep(self.top.as_fd());
        for step in &self.steps {
            for end in step.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at) {
                if swept.insert(&step.path[..end]) {
                    let _ = beneath::directory(self.top.as_fd(), &step.path[..end], false)
                        .and_then(|directory| staging::sweep(directory.as_fd()));
                }
            }
        }
    }

    /// Has git write the new files into a directory of ours, in order of the steps.
    fn stage(&mut self) -> Result<(Staging, Vec<Option<Staged>>), Unstaged> {
        let needed = self.needed().map_err(|error| Unstaged::Failed(error.to_string()))?;
        if self.free().is_some_and(|free| free < needed) {
            return Err(Unstaged::Short { needed });
        }
        self.try_stage().map_err(|message| match self.is_short_of(needed) {
            true => Unstaged::Short { needed },
            false => Unstaged::Failed(message),
        })
    }

    fn try_stage(&mut self) -> Result<(Staging, Vec<Option<Staged>>), String> {
        let mut staging = self.staging().map_err(|error| self.no_staging(&error))?;
        let staged = self.lay_out(&mut staging, Side::New, |step| step.is_written())?;
        for step in self.steps.iter().filter(|step| step.before.is_some()) {
            let failed = |error: io::Error| about(step.path, &error);
            let (directory, _) = beneath::parent(self.top.as_fd(), step.path).map_err(failed)?;
            staging.area(directory.as_fd(), &self.parent_path(step.path)).map_err(failed)?;
        }
        Ok((staging, staged))
    }

    fn staging(&self) -> io::Result<Staging> {
        let (base, path) = self.base()?;
        Staging::create(base.as_fd(), &path)
    }

    fn no_staging(&self, error: &io::Error) -> String {
        format!("cannot make a directory in {}: {error}", self.root.display())
    }

    /// The directory to stage in: the top, or one in which files are replaced where the top cannot be written to.
    fn base(&self) -> io::Result<(OwnedFd, PathBuf)> {
        let stat = FileStat::of(self.top.as_fd())?;
        if preflight::of_directory(self.top.as_fd(), &stat).is_none() {
            return Ok((self.top.try_clone()?, self.root.to_owned()));
        }
        let step = self.steps.iter().find(|step| step.is_written()).unwrap_or(&self.steps[0]);
        let (directory, path) = beneath::nearest(self.top.as_fd(), step.path)?;
        Ok((directory, self.root.join(as_path(path))))
    }

    fn parent_path(&self, path: &[u8]) -> PathBuf {
        let path = self.root.join(as_path(path));
        path.parent().unwrap_or(self.root).to_owned()
    }

    /// Has git write the files of one side, of those steps that `which` takes, and makes them ready to be placed.
    fn lay_out(
        &mut self,
        staging: &mut Staging,
        side: Side,
        which: impl Fn(&Step<'_>) -> bool,
    ) -> Result<Vec<Option<Staged>>, String> {
        let mut all = vec![None; self.steps.len()];
        if !self.steps.iter().any(&which) {
            return Ok(all);
        }
        self.write_laid_out(&staging.laid_out(), side, &which).map_err(|error| error.to_string())?;
        for (step, staged) in self.steps.iter_mut().zip(&mut all).filter(|(step, _)| which(step)) {
            let stage = staging.stage(self.top.as_fd(), self.root, step.path);
            let stage = stage.map_err(|error| about(step.path, &error))?;
            let stat = Some(stage.stat.clone());
            if side == Side::New {
                step.after = stat
            } else {
                step.before = stat
            }
            *staged = Some(stage);
        }
        Ok(all)
    }

    /// Has old and new files change places.
    fn swap(&mut self, mut staging: Staging, staged: &[Option<Staged>]) -> Result<Option<PathBuf>, SnapshotError> {
        let mut log = Vec::new();
        match self.try_swap(&mut staging, staged, &mut log) {
            Ok(()) => Ok(self.finish(staging)),
            Err(cause) => Err(self.take_back(Some(staging), log, cause)),
        }
    }

    fn try_swap(
        &mut self,
        staging: &mut Staging,
        staged: &[Option<Staged>],
        log: &mut Vec<Undo>,
    ) -> Result<(), String> {
        for (at, staged) in staged.iter().enumerate() {
            self.park(staging, at, log).map_err(|error| about(self.steps[at].path, &error))?;
            if let Some(staged) = staged {
                self.place(staging, at, staged, log).map_err(|error| about(self.steps[at].path, &error))?;
            }
        }
        // Who had an old file open may have written to it until now.
        for undo in log.iter() {
            if let Undo::Unpark { step, parked } = undo {
                staging.check(parked).map_err(|error| about(self.steps[*step].path, &error))?;
            }
        }
        Ok(())
    }

    /// Takes the old file of a step out of its place, if there is one.
    fn park(&mut self, staging: &mut Staging, at: usize, log: &mut Vec<Undo>) -> io::Result<()> {
        let step = &self.steps[at];
        let Some(before) = &step.before else { return Ok(()) };
        let (directory, name) = beneath::parent(self.top.as_fd(), step.path)?;
        let count = staging.count();
        let parked = staging.park(directory.as_fd(), &self.parent_path(step.path), name, before);
        self.steps[at].is_touched = staging.count() > count;
        log.push(Undo::Unpark { step: at, parked: parked? });
        Ok(())
    }

    /// Renames the new file of a step into its place.
    fn place(&mut self, staging: &Staging, at: usize, staged: &Staged, log: &mut Vec<Undo>) -> io::Result<()> {
        let path = self.steps[at].path;
        undo::make_way(self.top.as_fd(), path, log)?;
        undo::make_parents(self.top.as_fd(), path, log)?;
        let (directory, name) = beneath::parent(self.top.as_fd(), path)?;
        staging.place(staged, directory.as_fd(), name)?;
        self.steps[at].is_touched = true;
        log.push(Undo::Unplace { step: at });
        Ok(())
    }

    /// Removes what is not wanted any more, after all is in its place. Gives what could not be removed.
    fn finish(&self, staging: Staging) -> Option<PathBuf> {
        self.prune();
        let leftover = staging.remove();
        // Old files that a killed process held may have been among those replaced.
        self.sweep();
        leftover
    }

    /// Removes directories that hold no file any more.
    fn prune(&self) {
        for step in &self.steps {
            let mut path = step.path;
            while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
                path = &path[..slash];
                let Ok((directory, name)) = beneath::parent(self.top.as_fd(), path) else { continue };
                if rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR).is_err() {
                    break;
                }
            }
        }
    }
}

fn about(path: &[u8], error: &io::Error) -> String {
    format!("{:?}: {error}", String::from_utf8_lossy(path))
}
