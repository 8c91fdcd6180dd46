//! How much room there is, and replacing files where there is too little for old and new ones.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::sides::Side;
use super::undo::Undo;
use super::{Replacement, Step, about};
use crate::file_stat::FileStat;
use crate::git::Stdin;
use crate::staging::{self, Staging};
use crate::{SnapshotError, beneath, restore};

/// Room is taken in blocks, at least of this size.
const BLOCK: u64 = 4096;

impl Replacement<'_> {
    /// Bytes that the new files take.
    pub(super) fn needed(&self) -> Result<u64, SnapshotError> {
        let ids = self.steps.iter().filter(|step| step.is_written()).map(|step| step.sides.new.as_bytes());
        let input = Stdin::records(ids, b'\n')?;
        let listed = self.second.viewer.run(&["cat-file", "--batch-check=%(objectsize)", "--buffer"], input)?;
        let sizes = listed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let size = |line: &[u8]| std::str::from_utf8(line).ok().and_then(|line| line.parse::<u64>().ok());
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK).max(1).saturating_mul(BLOCK);
        let sizes: Option<Vec<u64>> = sizes.map(|line| size(line).map(blocks)).collect();
        let sizes = sizes.ok_or_else(|| SnapshotError::unexpected("the output of git cat-file"))?;
        Ok(sizes.into_iter().fold(0, u64::saturating_add))
    }

    /// Bytes that are free, if known.
    pub(super) fn free(&self) -> Option<u64> {
        let disk = rustix::fs::fstatvfs(&self.top).ok()?;
        let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        Some(blocks.saturating_mul(disk.f_frsize))
    }

    /// Whether there is no room for so many bytes, or none within a quota: by trying.
    pub(super) fn is_short_of(&self, bytes: u64) -> bool {
        let Ok((base, _)) = self.base() else { return false };
        let name = format!("{}{}", staging::ROOM, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&base, &name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes.max(BLOCK));
                let _ = rustix::fs::unlinkat(&base, &name, AtFlags::empty());
                reserved.is_err_and(is_full)
            }
            Err(error) => is_full(error),
        }
    }

    /// Removes the old files, whose content is in the snapshot, before the new ones are written.
    pub(super) fn replace_without_room(&mut self, needed: u64) -> Result<Option<PathBuf>, SnapshotError> {
        let freed: u64 = self.steps.iter().filter_map(|step| step.before.as_ref()).map(FileStat::bytes_on_disk).sum();
        let free = self.free().unwrap_or(u64::MAX);
        let refuse = |message: String| SnapshotError::InTheWay { path: self.root.to_owned(), message };
        if freed == 0 || free.saturating_add(freed) < needed {
            let message = format!(
                "there is not enough room: {needed} bytes are needed, {free} are free, and the files that go or are \
                 replaced take {freed}"
            );
            return Err(refuse(message));
        }
        let recorded = self.steps.iter().filter(|step| step.before.is_some());
        restore::see(&self.second.viewer, recorded.map(|step| (step.sides.old.as_str(), step.path)))
            .map_err(|error| refuse(error.to_string()))?;
        let mut log = Vec::new();
        let mut staging = None;
        match self.try_without_room(&mut staging, &mut log) {
            Ok(()) => Ok(staging.and_then(|staging| self.finish(staging))),
            Err(cause) => Err(self.take_back(staging, log, cause)),
        }
    }

    fn try_without_room(&mut self, staging: &mut Option<Staging>, log: &mut Vec<Undo>) -> Result<(), String> {
        let staging = staging.insert(self.staging_by_room(log)?);
        // All are seen to be as they were found before the next is removed.
        for at in 0..self.steps.len() {
            if !self.steps[at].is_touched {
                self.park(staging, at, log).map_err(|error| about(self.steps[at].path, &error))?;
            }
        }
        for undo in log.iter_mut() {
            let Undo::Unpark { step, parked } = undo else { continue };
            staging.discard(parked).map_err(|error| about(self.steps[*step].path, &error))?;
            *undo = Undo::Rewrite { step: *step };
        }
        let staged = self.lay_out(staging, Side::New, |step| step.is_written())?;
        for (at, staged) in staged.iter().enumerate() {
            let Some(staged) = staged else { continue };
            self.place(staging, at, staged, log).map_err(|error| about(self.steps[at].path, &error))?;
        }
        Ok(())
    }

    /// The staging directory. Where there is not even room for that, the largest old files are removed before.
    fn staging_by_room(&mut self, log: &mut Vec<Undo>) -> Result<Staging, String> {
        let size = |step: &Step<'_>| step.before.as_ref().map_or(0, FileStat::bytes_on_disk);
        let mut large: Vec<usize> = (0..self.steps.len()).filter(|at| size(&self.steps[*at]) > 0).collect();
        large.sort_by_key(|at| size(&self.steps[*at]));
        loop {
            let error = match self.staging() {
                Ok(staging) => return Ok(staging),
                Err(error) => error,
            };
            let Some(at) = large.pop().filter(|_| Errno::from_io_error(&error).is_some_and(is_full)) else {
                return Err(self.no_staging(&error));
            };
            let removed = self.remove_at_once(&self.steps[at]);
            let now = FileStat::below(self.top.as_fd(), self.steps[at].path);
            self.steps[at].is_touched = matches!(now, Ok(None));
            removed.map_err(|error| about(self.steps[at].path, &error))?;
            log.push(Undo::Rewrite { step: at });
        }
    }

    /// Removes the old file of a step. It is renamed first, so that none that took its place is removed.
    fn remove_at_once(&self, step: &Step<'_>) -> io::Result<()> {
        let (directory, name) = beneath::parent(self.top.as_fd(), step.path)?;
        let aside = format!("{}{}-old", staging::PREFIX, std::process::id());
        staging::rename(directory.as_fd(), name, directory.as_fd(), aside.as_ref())?;
        let stat = FileStat::at(directory.as_fd(), aside.as_ref())?;
        if stat.zip(step.before.as_ref()).is_some_and(|(stat, before)| stat.is_same_content(before)) {
            return Ok(rustix::fs::unlinkat(&directory, &aside, AtFlags::empty())?);
        }
        let back = staging::rename(directory.as_fd(), aside.as_ref(), directory.as_fd(), name);
        back.map_err(|error| {
            io::Error::other(format!("it has changed meanwhile, and is called {aside} now: {error}"))
        })?;
        Err(staging::changed())
    }
}

/// Whether the error says that there is no room, or none within a quota.
fn is_full(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT)
}
