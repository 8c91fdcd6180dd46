//! A directory in the working tree in which new files wait to be renamed into their places, and old ones are kept until
//! that is done.
//!
//! It lies in the working tree because a rename works only within a mount; for files of another mount there is one
//! there too. A new file has the group and the access list that its place gives it. When the program is killed, the
//! directory stays until the next replacement: git and snapshots ignore new files in it, and see old ones. An old file
//! is removed only when it is unchanged.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::beneath;
use crate::file_stat::{FileStat, Mount};
use crate::private::as_path;
use crate::{preflight, removal};

/// How the names of these directories begin.
pub(crate) const PREFIX: &str = ".decklog-restore-";
/// How the name of a file begins that is made to see whether there is room.
pub(crate) const ROOM: &str = ".decklog-room-";

/// The directory for new files, which ignores itself.
const NEW: &str = "new";
/// The directory that git lays new files out in.
const LAID_OUT: &str = "new/tree";

/// A file ready to be renamed into its place.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    area: usize,
    /// Below the area.
    at: Vec<u8>,
    pub(crate) stat: FileStat,
}

/// An old file that was taken out of its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parked {
    area: usize,
    name: String,
}

/// A directory of ours on one mount.
struct Area {
    parent: OwnedFd,
    /// Its path, to be shown.
    path: PathBuf,
    name: String,
    fd: OwnedFd,
    /// The directory it is in.
    place: FileStat,
    mount: Mount,
}

pub(crate) struct Staging {
    areas: Vec<Area>,
    names: u64,
    /// The old files it holds, as they were found.
    parked: BTreeMap<Parked, FileStat>,
}

impl Staging {
    /// Makes the directory in `directory`, whose path is `path`.
    pub(crate) fn create(directory: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let staging = Self { areas: vec![Area::create(directory, path)?], names: 0, parked: BTreeMap::new() };
        rustix::fs::mkdirat(&staging.areas[0].fd, LAID_OUT, Mode::RWXU)?;
        Ok(staging)
    }

    /// Where git is to write new files.
    pub(crate) fn laid_out(&self) -> PathBuf {
        self.areas[0].path.join(LAID_OUT)
    }

    /// Removes all new files, so that others can be laid out.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        for area in &self.areas {
            removal::remove(area.fd.as_fd(), Path::new(NEW))?;
            make_new(area.fd.as_fd())?;
        }
        Ok(rustix::fs::mkdirat(&self.areas[0].fd, LAID_OUT, Mode::RWXU)?)
    }

    /// Takes the new file for `path` below `top`, which is the directory `root`, that git laid out, and makes it ready to
    /// be renamed there.
    pub(crate) fn stage(&mut self, top: BorrowedFd<'_>, root: &Path, path: &[u8]) -> io::Result<Staged> {
        let laid_out = [LAID_OUT.as_bytes(), b"/", path].concat();
        let stat = FileStat::below(self.areas[0].fd.as_fd(), &laid_out)?.filter(|stat| !stat.is_directory());
        let stat = stat.ok_or_else(|| io::Error::other("git did not write it"))?;
        let (directory, shown) = beneath::nearest(top, path)?;
        let shown = root.join(as_path(shown));
        let place = FileStat::of(directory.as_fd())?;
        let is_special = !stat.is_link() && gives_access(directory.as_fd(), &place, &stat)?;
        let area = match is_special {
            // Only in its own directory a file gets the group and the access list of that.
            true => self.area_in(directory.as_fd(), &shown, |area| area.place.is_same_file(&place))?,
            false => self.area(directory.as_fd(), &shown)?,
        };
        if area == 0 && !is_special {
            return Ok(Staged { area, at: laid_out, stat });
        }
        let at = format!("{NEW}/{}", self.name());
        let (parent, from) = beneath::parent(self.areas[0].fd.as_fd(), &laid_out)?;
        let (target, name) = beneath::parent(self.areas[area].fd.as_fd(), at.as_bytes())?;
        if stat.is_link() {
            let leads_to = rustix::fs::readlinkat(&parent, from, Vec::new())?;
            rustix::fs::symlinkat(leads_to, &target, name)?;
        } else {
            copy(parent.as_fd(), from, target.as_fd(), name, stat.mode())?;
        }
        rustix::fs::unlinkat(&parent, from, AtFlags::empty())?;
        let stat = FileStat::at(target.as_fd(), name)?;
        let stat = stat.ok_or_else(|| io::Error::other("it is not there any more"))?;
        Ok(Staged { area, at: at.into_bytes(), stat })
    }

    /// Renames a staged file into its place, where nothing may be.
    pub(crate) fn place(&self, staged: &Staged, directory: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let (parent, from) = beneath::parent(self.areas[staged.area].fd.as_fd(), &staged.at)?;
        rename(parent.as_fd(), from, directory, name)
    }

    /// Takes a file out of `directory`, whose path is `path`; it must be `expected`.
    pub(crate) fn park(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        name: &Path,
        expected: &FileStat,
    ) -> io::Result<Parked> {
        let area = self.area(directory, path)?;
        let parked = Parked { area, name: self.name() };
        if !FileStat::at(directory, name)?.is_some_and(|stat| stat.is_same(expected)) {
            return Err(changed());
        }
        rename(directory, name, self.areas[area].fd.as_fd(), Path::new(&parked.name))?;
        self.parked.insert(parked.clone(), expected.clone());
        // What was changed in the last moment is known by this, and goes back.
        if let Err(error) = self.check(&parked) {
            self.unpark(&parked, directory, name)?;
            return Err(error);
        }
        Ok(parked)
    }

    /// Checks that a parked file is unchanged.
    pub(crate) fn check(&self, parked: &Parked) -> io::Result<()> {
        let stat = FileStat::at(self.areas[parked.area].fd.as_fd(), Path::new(&parked.name))?;
        match (stat, self.parked.get(parked)) {
            (Some(stat), Some(expected)) if stat.is_same_content(expected) => Ok(()),
            _ => Err(changed()),
        }
    }

    /// Puts a parked file back into its place, where nothing may be.
    pub(crate) fn unpark(&mut self, parked: &Parked, directory: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        rename(self.areas[parked.area].fd.as_fd(), Path::new(&parked.name), directory, name)?;
        self.parked.remove(parked);
        Ok(())
    }

    /// Removes a parked file, which must be unchanged.
    pub(crate) fn discard(&mut self, parked: &Parked) -> io::Result<()> {
        self.check(parked)?;
        rustix::fs::unlinkat(&self.areas[parked.area].fd, &parked.name, AtFlags::empty())?;
        self.parked.remove(parked);
        Ok(())
    }

    /// How many old files it holds.
    pub(crate) fn count(&self) -> usize {
        self.parked.len()
    }

    /// Where they are.
    pub(crate) fn held(&self) -> Vec<PathBuf> {
        self.parked.keys().map(|parked| self.areas[parked.area].path.join(&parked.name)).collect()
    }

    /// Removes all there is but old files that are not as they were found. Gives what could not be removed.
    pub(crate) fn remove(mut self) -> Option<PathBuf> {
        for parked in self.parked.keys().cloned().collect::<Vec<_>>() {
            let _ = self.discard(&parked);
        }
        self.clean_up()
    }

    fn clean_up(&mut self) -> Option<PathBuf> {
        let mut leftover = None;
        for (at, area) in self.areas.drain(..).enumerate() {
            let removed = match self.parked.keys().any(|parked| parked.area == at) {
                true => removal::remove(area.fd.as_fd(), Path::new(NEW)).and(Err(changed())),
                false => area.remove(),
            };
            if removed.is_err() {
                leftover.get_or_insert(area.path);
            }
        }
        leftover
    }

    fn name(&mut self) -> String {
        self.names += 1;
        self.names.to_string()
    }

    /// The area on the mount of a directory, whose path is `path`; made in that where there is none.
    pub(crate) fn area(&mut self, directory: BorrowedFd<'_>, path: &Path) -> io::Result<usize> {
        let mount = FileStat::of(directory)?.mount();
        self.area_in(directory, path, |area| area.mount == mount)
    }

    fn area_in(&mut self, directory: BorrowedFd<'_>, path: &Path, is_it: impl Fn(&Area) -> bool) -> io::Result<usize> {
        if let Some(known) = self.areas.iter().position(is_it) {
            return Ok(known);
        }
        self.areas.push(Area::create(directory, path)?);
        Ok(self.areas.len() - 1)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.clean_up();
    }
}

impl Area {
    fn create(directory: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let parent = directory.try_clone_to_owned()?;
        let place = FileStat::of(directory)?;
        for number in 0u32.. {
            let name = format!("{PREFIX}{}-{number}", std::process::id());
            match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            }
            let path = path.join(&name);
            match claim(directory, &name) {
                Ok(Some((fd, mount))) => {
                    let area = Self { parent, path, name, fd, place, mount };
                    return match make_new(area.fd.as_fd()) {
                        Ok(()) => Ok(area),
                        Err(error) => area.remove().and(Err(error)),
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
                    return Err(error);
                }
            }
        }
        Err(Errno::EXIST.into())
    }

    fn remove(&self) -> io::Result<()> {
        removal::remove(self.parent.as_fd(), Path::new(&self.name))
    }
}

/// Makes the directory for new files in an area.
fn make_new(area: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::mkdirat(area, NEW, Mode::RWXU)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut ignore = File::from(rustix::fs::openat(area, "new/.gitignore", flags, Mode::RUSR | Mode::WUSR)?);
    ignore.write_all(b"*\n")
}

/// Opens a directory that was just made, and holds its lock, which says that a process is at work in it. `None`: another
/// process has swept it away.
fn claim(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<(OwnedFd, Mount)>> {
    let fd = match beneath::directory(parent, name.as_bytes(), false) {
        Err(error) if beneath::is_absent(&error) => return Ok(None),
        fd => fd?,
    };
    // Where the file system has no locks, nothing is swept.
    if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Ok(None);
    }
    let stat = FileStat::of(fd.as_fd())?;
    let is_there = FileStat::at(parent, Path::new(name))?.is_some_and(|now| now.is_same_file(&stat));
    Ok(is_there.then(|| (fd, stat.mount())))
}

/// Removes from a directory what programs that were killed left of staging and of looking whether files can be replaced:
/// new files alone. Old ones are not ours.
pub(crate) fn sweep(directory: BorrowedFd<'_>) -> io::Result<()> {
    for name in removal::names(directory)? {
        let is_left = |prefix: &str| {
            let number = name.to_bytes().strip_prefix(prefix.as_bytes()).and_then(|bytes| str::from_utf8(bytes).ok());
            let process = number.and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
            process.is_some_and(|process| rustix::process::test_kill_process(process) == Err(Errno::SRCH))
        };
        // A directory is removed only when it is empty, as at its creation.
        for (prefix, flags) in [(preflight::TRY, AtFlags::REMOVEDIR), (ROOM, AtFlags::empty())] {
            if is_left(prefix) {
                let _ = rustix::fs::unlinkat(directory, &*name, flags);
            }
        }
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(found) = beneath::directory(directory, name.to_bytes(), false) else { continue };
        let is_free = rustix::fs::flock(&found, FlockOperation::NonBlockingLockExclusive).is_ok();
        let is_empty = |inner: Vec<CString>| inner.iter().all(|name| name.as_bytes() == NEW.as_bytes());
        if is_free && removal::names(found.as_fd()).is_ok_and(is_empty) {
            removal::remove(directory, as_path(name.to_bytes()))?;
        }
    }
    Ok(())
}

pub(crate) fn changed() -> io::Error {
    io::Error::other("it has changed meanwhile")
}

/// Renames where nothing may be yet.
pub(crate) fn rename(from: BorrowedFd<'_>, name: &Path, to: BorrowedFd<'_>, new_name: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        // Some file systems cannot see to it themselves.
        Err(Errno::INVAL | Errno::NOSYS) => match FileStat::at(to, new_name)? {
            Some(_) => Err(Errno::EXIST.into()),
            None => Ok(rustix::fs::renameat(from, name, to, new_name)?),
        },
        renamed => Ok(renamed?),
    }
}

/// Whether a file made in the directory gets a group or an access list that `file` has not got.
fn gives_access(directory: BorrowedFd<'_>, place: &FileStat, file: &FileStat) -> io::Result<bool> {
    const SET_GROUP: u32 = 0o2000;
    if place.mode() & SET_GROUP != 0 && place.group() != file.group() {
        return Ok(true);
    }
    match rustix::fs::fgetxattr(directory, c"system.posix_acl_default", &mut [0u8; 0][..]) {
        Ok(bytes) => Ok(bytes > 0),
        Err(Errno::RANGE) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn copy(from: BorrowedFd<'_>, name: &Path, to: BorrowedFd<'_>, new_name: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The system takes away what the user's mask or the directory's access list does not give.
    let mode = Mode::from_raw_mode(if mode & 0o111 == 0 { 0o666 } else { 0o777 });
    let mut target = File::from(rustix::fs::openat(to, new_name, flags, mode)?);
    io::copy(&mut source, &mut target).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A parked file that another program has open and writes to is not removed, and what holds it is named.
    #[test]
    fn what_was_written_to_a_parked_file_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = beneath::open(dir.path()).expect("a directory");
        for name in ["written", "other"] {
            fs::write(dir.path().join(name), "old").expect("a file");
        }
        let mut staging = Staging::create(top.as_fd(), dir.path()).expect("a staging directory");
        let mut open = File::options().append(true).open(dir.path().join("written")).expect("a file");
        let mut park = |name: &str| {
            let stat = FileStat::at(top.as_fd(), Path::new(name)).expect("metadata").expect("a file");
            staging.park(top.as_fd(), dir.path(), Path::new(name), &stat).expect("parked")
        };
        let (written, other) = (park("written"), park("other"));
        open.write_all(b" and new").expect("written");
        assert!(staging.check(&other).is_ok() && staging.check(&written).is_err());
        assert!(staging.discard(&written).is_err());
        let held = staging.held();
        let leftover = staging.remove().expect("a directory");
        assert_eq!(fs::read_dir(&leftover).expect("a directory").count(), 1);
        let kept = held.iter().filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>();
        assert_eq!(kept, ["old and new"]);
    }
}
