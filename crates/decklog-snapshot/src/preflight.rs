//! Looks for what makes a replacement of files impossible, before the first of them changes.
//!
//! What cannot be seen from here, such as a disk that fails, is for the replacement to take back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, StatxAttributes};
use rustix::io::Errno;

use crate::beneath;
use crate::file_stat::FileStat;
use crate::private::as_path;
use crate::replacement::Step;

/// Problems that are named one by one; more are counted.
const NAMED: usize = 5;

/// How the name of a directory begins that is made to see whether it can be made.
pub(crate) const TRY: &str = ".decklog-try-";

/// The set-user-ID-like bit by which entries of a directory can be removed by their owners alone.
const STICKY: u32 = 0o1000;

/// Says what stops one of `steps` below `top`, which is the directory `root`: directories in which no name can be made
/// or removed, and files that cannot be removed. `None`: nothing that can be seen.
pub(crate) fn problem(top: BorrowedFd<'_>, root: &Path, steps: &[Step<'_>]) -> io::Result<Option<String>> {
    let mut directories: HashMap<&[u8], FileStat> = HashMap::new();
    let mut problems = Vec::new();
    for step in steps {
        let (directory, path) = beneath::nearest(top, step.path)?;
        let stat = match directories.entry(path) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let stat = FileStat::of(directory.as_fd())?;
                if let Some(problem) = of_directory(directory.as_fd(), &stat) {
                    let shown = if path.is_empty() { root } else { as_path(path) };
                    problems.push(format!("{:?} {problem}", shown.to_string_lossy()));
                }
                new.insert(stat)
            }
        };
        if let Some(problem) = step.before.as_ref().and_then(|before| of_file(before, stat)) {
            problems.push(format!("{:?} {problem}", String::from_utf8_lossy(step.path)));
        }
    }
    let count = problems.len();
    problems.truncate(NAMED);
    let more = if count > NAMED { format!("; and {} more", count - NAMED) } else { String::new() };
    Ok((count > 0).then(|| problems.join("; ") + &more))
}

/// Why names cannot be made and removed in a directory, if they cannot.
pub(crate) fn of_directory(directory: BorrowedFd<'_>, stat: &FileStat) -> Option<String> {
    // First, as what would be made to try it could not be removed again.
    if let Some(flag) = flag(stat) {
        return Some(format!("is {flag}: no file in it can be replaced"));
    }
    let refused = |error: Errno| {
        let error = io::Error::from(error);
        Some(format!("cannot be written to: {error}; it belongs to user {}", stat.owner()))
    };
    if let Err(error) = rustix::fs::accessat(directory, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()) {
        return refused(error);
    }
    // Where the permissions alone do not decide, as on a network file system, trying does.
    let name = format!("{TRY}{}", std::process::id());
    match rustix::fs::mkdirat(directory, &name, Mode::RWXU) {
        Ok(()) => match rustix::fs::unlinkat(directory, &name, AtFlags::REMOVEDIR) {
            // Another process swept it away.
            Ok(()) | Err(Errno::NOENT) => None,
            Err(error) => refused(error),
        },
        // A full disk is dealt with where files are written.
        Err(Errno::EXIST | Errno::NOSPC | Errno::DQUOT) => None,
        Err(error) => refused(error),
    }
}

/// Why a file cannot be taken out of its directory, if it cannot.
fn of_file(file: &FileStat, directory: &FileStat) -> Option<String> {
    if let Some(flag) = flag(file) {
        return Some(format!("is {flag}"));
    }
    if file.has(StatxAttributes::MOUNT_ROOT) {
        return Some("is a mount point".to_owned());
    }
    let user = rustix::process::geteuid();
    let owners = [file.owner(), directory.owner()];
    let is_kept = directory.mode() & STICKY != 0 && !user.is_root() && !owners.contains(&user.as_raw());
    is_kept.then(|| format!("belongs to user {} in a directory where only owners remove files", file.owner()))
}

fn flag(stat: &FileStat) -> Option<&'static str> {
    if stat.has(StatxAttributes::IMMUTABLE) {
        return Some("immutable (chattr +i)");
    }
    stat.has(StatxAttributes::APPEND).then_some("append-only (chattr +a)")
}
