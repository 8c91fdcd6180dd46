//! Taking back what was done of a replacement.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::sides::Side;
use super::{Replacement, Step, about};
use crate::file_stat::FileStat;
use crate::removal::names;
use crate::staging::{Parked, Staging};
use crate::{SnapshotError, beneath};

/// What takes back a part of what was done.
pub(super) enum Undo {
    Unpark {
        step: usize,
        parked: Parked,
    },
    /// The old file was removed, and is written again from the snapshot.
    Rewrite {
        step: usize,
    },
    Unplace {
        step: usize,
    },
    RemoveDirectory {
        path: Vec<u8>,
    },
    MakeDirectory {
        path: Vec<u8>,
        mode: u32,
    },
}

impl Replacement<'_> {
    /// Takes back what the log has, the last first, after it failed for `cause`. Gives the error that says what became of
    /// it.
    pub(super) fn take_back(&mut self, mut staging: Option<Staging>, log: Vec<Undo>, cause: String) -> SnapshotError {
        let mut problems = Vec::new();
        let mut removed = Vec::new();
        for undo in log.into_iter().rev() {
            let (step, done) = match undo {
                Undo::RemoveDirectory { path } => {
                    // Another program may have put a file there. An empty directory is no part of a tree.
                    let _ = beneath::parent(self.top.as_fd(), &path)
                        .map(|(directory, name)| rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR));
                    continue;
                }
                Undo::MakeDirectory { path, mode } => {
                    let _ = beneath::parent(self.top.as_fd(), &path).map(|(directory, name)| {
                        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(mode & 0o7777))
                    });
                    continue;
                }
                Undo::Rewrite { step } => {
                    removed.push(step);
                    continue;
                }
                Undo::Unplace { step } => {
                    let done = self.unplace(&self.steps[step]);
                    self.see_whether_it_is_back(step);
                    (step, done)
                }
                Undo::Unpark { step, parked } => {
                    let Some(staging) = &mut staging else { continue };
                    let back = beneath::parent(self.top.as_fd(), self.steps[step].path)
                        .and_then(|(directory, name)| staging.unpark(&parked, directory.as_fd(), name));
                    // Whatever was written to it meanwhile, it is the file that was there.
                    self.steps[step].is_touched = back.is_err();
                    (step, back)
                }
            };
            problems.extend(done.err().map(|error| about(self.steps[step].path, &error)));
        }
        if !removed.is_empty() {
            problems.extend(self.write_again(&mut staging, &removed).err());
        }
        let mut message = cause;
        if let Some(problem) = problems.first() {
            message += &format!("; taking it back failed: {problem}");
        }
        let held = staging.as_ref().map(Staging::held).unwrap_or_default();
        let held: Vec<String> = held.iter().map(|path| path.display().to_string()).collect();
        if !held.is_empty() {
            message += &format!(" (what was put aside is {})", held.join(", "));
        }
        drop(staging);
        self.failure(message)
    }

    fn see_whether_it_is_back(&mut self, step: usize) {
        let step = &mut self.steps[step];
        let now = FileStat::below(self.top.as_fd(), step.path).ok().flatten();
        step.is_touched = !step.is_before(now.as_ref().filter(|now| !now.is_directory()));
    }

    /// Removes a new file from its place, if it is that one.
    fn unplace(&self, step: &Step<'_>) -> io::Result<()> {
        let (directory, name) = beneath::parent(self.top.as_fd(), step.path)?;
        match FileStat::at(directory.as_fd(), name)? {
            Some(now) if step.is_after(Some(&now)) => Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?),
            Some(_) => Err(io::Error::other("it has changed meanwhile")),
            None => Ok(()),
        }
    }

    /// Has the old files of these steps, which were removed, written again.
    fn write_again(&mut self, staging: &mut Option<Staging>, removed: &[usize]) -> Result<(), String> {
        let staging = match staging {
            Some(staging) => {
                // The new files make room.
                staging.clear().map_err(|error| format!("new files cannot be removed: {error}"))?;
                staging
            }
            None => staging.insert(self.staging().map_err(|error| self.no_staging(&error))?),
        };
        let paths: Vec<&[u8]> = removed.iter().map(|step| self.steps[*step].path).collect();
        let staged = self.lay_out(staging, Side::Old, |step| paths.contains(&step.path))?;
        let mut problem = Ok(());
        for (at, staged) in staged.iter().enumerate() {
            let Some(staged) = staged else { continue };
            match self.place(staging, at, staged, &mut Vec::new()) {
                Ok(()) => self.see_whether_it_is_back(at),
                Err(error) => problem = problem.and(Err(about(self.steps[at].path, &error))),
            }
        }
        problem
    }
}

/// Removes a directory without files from the place of a file.
pub(super) fn make_way(top: BorrowedFd<'_>, path: &[u8], log: &mut Vec<Undo>) -> io::Result<()> {
    let Some(stat) = FileStat::below(top, path)?.filter(FileStat::is_directory) else { return Ok(()) };
    let inner = beneath::directory(top, path, false)?;
    for name in names(inner.as_fd())? {
        let inside = [path, b"/", name.as_bytes()].concat();
        if !FileStat::below(top, &inside)?.is_some_and(|stat| stat.is_directory()) {
            return Err(Errno::NOTEMPTY.into());
        }
        make_way(top, &inside, log)?;
    }
    let (directory, name) = beneath::parent(top, path)?;
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    log.push(Undo::MakeDirectory { path: path.to_vec(), mode: stat.mode() });
    Ok(())
}

/// Makes the directories on the way to a file.
pub(super) fn make_parents(top: BorrowedFd<'_>, path: &[u8], log: &mut Vec<Undo>) -> io::Result<()> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for slash in slashes {
        let (directory, name) = beneath::parent(top, &path[..slash])?;
        match rustix::fs::mkdirat(directory, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) => log.push(Undo::RemoveDirectory { path: path[..slash].to_vec() }),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
