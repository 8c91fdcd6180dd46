//! What differs between our index and the working tree, as `git status` tells it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::SnapshotError;
use crate::git::{Git, Stdin};
use crate::limits::Budget;
use crate::private::as_path;

/// The differences, by what is to be done about them.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files whose content may be new.
    pub(crate) present: Vec<Candidate>,
    /// Paths of the index that are no longer there.
    pub(crate) gone: Vec<Vec<u8>>,
    /// Untracked directories that are repositories of their own, without the slash.
    pub(crate) nested: Vec<Vec<u8>>,
    /// Directories that cannot be read, with the reason.
    pub(crate) unreadable: Vec<(Vec<u8>, String)>,
    /// Whether the index differs from the tree it was compared with.
    pub(crate) index_differs: bool,
}

/// A file to be looked at.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: Vec<u8>,
    pub(crate) known: Known,
}

/// What the index holds for a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    No,
    /// An object, as `MODE ID`.
    As(Vec<u8>),
    /// Several, in conflict.
    Conflict,
}

const STATUS: &[&str] = &[
    "status",
    "--porcelain=v2",
    "-z",
    "--untracked-files=all",
    "--ignored=no",
    "--no-renames",
    // Submodules have snapshots of their own.
    "--ignore-submodules=all",
];

/// Lists the differences in the working tree `root`.
pub(crate) fn list(git: &Git, root: &Path, budget: &mut Budget<'_>) -> Result<Listing, SnapshotError> {
    let deadline = Instant::now() + budget.limits().max_listing;
    let mut running = git.start(STATUS, Stdin::none())?;
    let mut listing = Listing::default();
    let mut buffer = vec![0; 64 << 10];
    let mut pending: Vec<u8> = Vec::new();
    loop {
        let read = running.read_until(&mut buffer, deadline).map_err(SnapshotError::io("run git status in", root))?;
        let Some(read) = read else {
            return Err(budget.too_slow(root));
        };
        if read == 0 {
            break;
        }
        pending.extend_from_slice(&buffer[..read]);
        let mut start = 0;
        while let Some(len) = pending[start..].iter().position(|byte| *byte == 0) {
            listing.take_in(&pending[start..start + len], root, budget)?;
            start += len + 1;
        }
        pending.drain(..start);
    }
    for line in running.finish()?.lines() {
        let line = line.strip_prefix("warning: could not open directory '");
        if let Some((path, error)) = line.and_then(|line| line.split_once("': ")) {
            let path = path.trim_end_matches('/').as_bytes().to_vec();
            listing.unreadable.push((path, error.to_owned()));
        }
    }
    Ok(listing)
}

impl Listing {
    fn take_in(&mut self, record: &[u8], root: &Path, budget: &mut Budget<'_>) -> Result<(), SnapshotError> {
        let unknown = || SnapshotError::unexpected(format!("git status: {}", String::from_utf8_lossy(record)));
        let field = |n: usize| record.splitn(n + 2, |byte| *byte == b' ').nth(n);
        let rest = |n: usize| record.splitn(n + 1, |byte| *byte == b' ').nth(n);
        match record.first() {
            Some(b'#' | b'!') => return Ok(()),
            Some(b'?') => {
                let path = rest(1).ok_or_else(unknown)?;
                match path.strip_suffix(b"/") {
                    Some(directory) => self.nested.push(directory.to_vec()),
                    None => self.present.push(Candidate { path: path.to_vec(), known: Known::No }),
                }
            }
            Some(b'1') => {
                let [staged, unstaged] = field(1).ok_or_else(unknown)? else {
                    return Err(unknown());
                };
                self.index_differs |= *staged != b'.';
                let path = rest(8).ok_or_else(unknown)?.to_vec();
                match *unstaged {
                    b'.' => return Ok(()),
                    b'D' => {
                        self.gone.push(path);
                        return Ok(());
                    }
                    _ => {}
                }
                let (mode, id) = (field(4).ok_or_else(unknown)?, field(7).ok_or_else(unknown)?);
                let known = if id.iter().all(|digit| *digit == b'0') {
                    Known::No
                } else {
                    Known::As([mode, b" ", id].concat())
                };
                self.present.push(Candidate { path, known });
            }
            Some(b'u') => {
                self.index_differs = true;
                let path = rest(10).ok_or_else(unknown)?.to_vec();
                if field(6).ok_or_else(unknown)? == b"000000" {
                    self.gone.push(path);
                    return Ok(());
                }
                self.present.push(Candidate { path, known: Known::Conflict });
            }
            _ => return Err(unknown()),
        }
        budget.file(root)
    }
}

/// What the index of `git` has and the working tree `root`, being sparse, has not.
pub(crate) fn sparse(git: &Git, root: &Path) -> Result<HashSet<Vec<u8>>, SnapshotError> {
    let listed = git.run(&["ls-files", "-t", "-z"], Stdin::none())?;
    let skipped = listed.split(|byte| *byte == 0).filter_map(|entry| entry.strip_prefix(b"S "));
    let is_absent = |path: &&[u8]| fs::symlink_metadata(root.join(as_path(path))).is_err();
    Ok(skipped.filter(is_absent).map(<[u8]>::to_vec).collect())
}
