//! Putting a tree back: into a new directory, or over the working tree it was taken from.
//!
//! git does the writing, so links, modes and line endings come out as a checkout would make them, and nothing is
//! written through a link. Everything that could stand in the way is looked at before the first file changes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::diff::{self, Sides};
use crate::git::{Git, Stdin};
use crate::model::{Left, LeftReason};
use crate::private::{PrivateDir, as_path};
use crate::worktree::Worktree;
use crate::{Change, Restored, SnapshotError, Taken, Tree};

/// How git writes the mode of a submodule's entry.
const GITLINK: u32 = 0o160_000;

/// A file of a tree.
struct Entry {
    mode: u32,
    id: String,
    path: Vec<u8>,
}

/// All files of a tree, after seeing that each of them may be written. They are in the index then.
fn writable(git: &Git, tree: &Tree) -> Result<Vec<Entry>, SnapshotError> {
    let entries = whole(git, tree)?;
    // Refuses paths that lead out of the tree or into a repository; a record may come from anywhere.
    git.run(&["read-tree", tree.as_str()], Stdin::none())?;
    Ok(entries)
}

/// Sees that all of a tree is still there.
pub(crate) fn check(git: &Git, tree: &Tree) -> Result<(), SnapshotError> {
    whole(git, tree).map(drop)
}

/// All files of a tree, after seeing that each of them is still there.
fn whole(git: &Git, tree: &Tree) -> Result<Vec<Entry>, SnapshotError> {
    let said = git.ask(&["ls-tree", "-r", "-z", "--full-tree", tree.as_str()], Stdin::none())?;
    if !said.status.success() {
        return Err(SnapshotError::Gone { what: format!("the tree {tree}, or a directory in it,") });
    }
    let parse = |record: &[u8]| {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let id = words.nth(1)?.to_owned();
        Some(Entry { mode, id, path: record[tab + 1..].to_vec() })
    };
    let records = said.stdout.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    let entries: Option<Vec<Entry>> = records.map(parse).collect();
    let entries = entries.ok_or_else(|| SnapshotError::unexpected("the output of git ls-tree"))?;
    let files = entries.iter().filter(|entry| entry.mode != GITLINK);
    see(git, files.map(|entry| (entry.id.as_str(), entry.path.as_slice())))?;
    Ok(entries)
}

/// Sees that objects are there; the error names those that are not.
fn see<'a>(git: &Git, objects: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), SnapshotError> {
    let objects: Vec<_> = objects.collect();
    if objects.is_empty() {
        return Ok(());
    }
    let ids = Stdin::records(objects.iter().map(|(id, _)| id.as_bytes()), b'\n')?;
    let said = git.run(&["cat-file", "--batch-check=%(objecttype)", "--buffer"], ids)?;
    let lines = said.split(|byte| *byte == b'\n');
    let gone: Vec<String> = objects
        .iter()
        .zip(lines)
        .filter(|(_, line)| *line != b"blob")
        .map(|((_, path), _)| String::from_utf8_lossy(path).into_owned())
        .collect();
    match gone.as_slice() {
        [] => Ok(()),
        [one] => Err(SnapshotError::Gone { what: format!("{one:?} as it was then") }),
        [first, second] => Err(SnapshotError::Gone { what: format!("{first:?} and {second:?} as they were then") }),
        [first, second, more @ ..] => Err(SnapshotError::Gone {
            what: format!("{first:?}, {second:?} and {} more as they were then", more.len()),
        }),
    }
}

/// Writes all of `tree` into `directory`, which is there and empty. `git` works on that directory, with an index of
/// its own.
pub(crate) fn into_directory(git: &Git, tree: &Tree) -> Result<Restored, SnapshotError> {
    let entries = writable(git, tree)?;
    git.run(&["checkout-index", "--all", "--quiet"], Stdin::none())?;
    let (submodules, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.mode == GITLINK);
    Ok(Restored {
        written: files.into_iter().map(|entry| entry.path).collect(),
        removed: Vec::new(),
        left: submodules.into_iter().map(|entry| Left { path: entry.path, reason: LeftReason::Submodule }).collect(),
    })
}

/// Makes the working tree, of which `present` is the snapshot, what `target` is. `objects` has what of `target` the
/// repository does not.
pub(crate) fn in_place(
    worktree: &Worktree,
    present: &Taken,
    target: &Tree,
    objects: &Path,
) -> Result<Restored, SnapshotError> {
    let mut restored = Restored::default();
    let (private, git, writer) = worktree.second(objects)?;
    let git = &git;
    writable(git, target)?;
    let listed = diff::list(git, &present.tree, target, &["--no-renames"])?;
    let gone: HashSet<&[u8]> =
        listed.iter().filter(|(change, _)| change.new_mode == 0).map(|(change, _)| change.path.as_slice()).collect();
    let mut changes: Vec<&(Change, Sides)> = Vec::new();
    for one in &listed {
        match left(&one.0, present, &worktree.root, &gone) {
            Some(reason) => restored.left.push(Left { path: one.0.path.clone(), reason }),
            None => changes.push(one),
        }
    }
    if changes.is_empty() {
        return Ok(restored);
    }
    let mut trees = Vec::new();
    for old in [false, true] {
        let info = changes.iter().filter_map(|(change, sides)| {
            let (mode, id) = if old { (change.old_mode, &sides.old) } else { (change.new_mode, &sides.new) };
            (mode != 0).then(|| [format!("{mode:o} {id}\t").as_bytes(), &change.path].concat())
        });
        let info: Vec<Vec<u8>> = info.collect();
        remove_if_there(&private.index())?;
        writer.run(&["update-index", "-z", "--index-info"], Stdin::records(info.iter().map(Vec::as_slice), 0)?)?;
        let tree = writer.run(&["write-tree", "--missing-ok"], Stdin::none())?;
        trees.push(Tree::parse(String::from_utf8_lossy(&tree).trim_end())?);
    }
    // The index now names what stands there; git reads it to see that it does.
    git.ask(&["update-index", "-q", "--refresh"], Stdin::none())?;
    // It refuses, before it changes anything, when a file changed since or one that it does not know is in the way.
    let args = ["read-tree", "-m", "-u", trees[1].as_str(), trees[0].as_str()];
    let said = git.ask(&args, Stdin::none())?;
    if !said.status.success() {
        return Err(SnapshotError::InTheWay { path: worktree.root.clone(), message: said.stderr });
    }
    for (change, _) in changes {
        if change.new_mode == 0 { &mut restored.removed } else { &mut restored.written }.push(change.path.clone());
    }
    Ok(restored)
}

/// Why a path is left as it is, if it is.
fn left(change: &Change, present: &Taken, root: &Path, gone: &HashSet<&[u8]>) -> Option<LeftReason> {
    if change.old_mode == GITLINK || change.new_mode == GITLINK {
        return Some(LeftReason::Submodule);
    }
    let inside = |of: &[u8]| change.path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    if let Some(withheld) = present.withheld.iter().find(|withheld| inside(&withheld.path)) {
        return Some(LeftReason::Withheld(withheld.reason.clone()));
    }
    (change.old_mode == 0 && is_in_the_way(&change.path, root, gone)).then_some(LeftReason::Occupied)
}

/// Whether something that no snapshot holds stands where `path` is to be.
fn is_in_the_way(path: &[u8], root: &Path, gone: &HashSet<&[u8]>) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let Ok(metadata) = fs::symlink_metadata(root.join(as_path(&path[..end]))) else { return false };
        if !metadata.is_dir() {
            // A file or link of the snapshot makes room for a directory.
            return !gone.contains(&path[..end]);
        }
    }
    // Where a directory is, git sees whether something in it would be lost.
    false
}

fn remove_if_there(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SnapshotError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A git directory for restoring, in `scratch`, of objects that are read from `alternates`.
pub(crate) fn private_in(scratch: &Path, format: crate::model::ObjectFormat) -> Result<PrivateDir, SnapshotError> {
    let objects = scratch.join("restore-objects");
    crate::private::create_private(&objects)?;
    let path = scratch.join("restore");
    if path.exists() {
        fs::remove_dir_all(&path).map_err(SnapshotError::io("remove", &path))?;
    }
    PrivateDir::create(path, objects, format)
}
