//! Putting a tree back: into a new directory, or over the working tree it was taken from.
//!
//! git does the writing, so links, modes and line endings come out as a checkout would make them. What is to change in a
//! working tree, and what is to be left, is decided here; `replacement` makes the change.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::blobs;
use crate::diff::{self, Sides};
use crate::git::{Git, Stdin};
use crate::model::{Left, LeftReason};
use crate::private::{PrivateDir, as_path};
use crate::replacement;
use crate::repository::KEEPING_FILTERS;
use crate::worktree::{Second, Worktree};
use crate::{Change, FileScanner, Restored, SnapshotError, Taken, Tree, WithheldReason};

/// How git writes the mode of a submodule's entry.
pub(crate) const GITLINK: u32 = 0o160_000;

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) id: String,
    pub(crate) path: Vec<u8>,
}

/// All files of a tree, after seeing that each of them may be written. They are in the index then.
pub(crate) fn writable(git: &Git, tree: &Tree) -> Result<Vec<Entry>, SnapshotError> {
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
    let entries = listed(git, tree)?;
    let files = entries.iter().filter(|entry| entry.mode != GITLINK);
    see(git, files.map(|entry| (entry.id.as_str(), entry.path.as_slice())))?;
    Ok(entries)
}

/// All files of a tree, be they there or not.
pub(crate) fn listed(git: &Git, tree: &Tree) -> Result<Vec<Entry>, SnapshotError> {
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
    entries.ok_or_else(|| SnapshotError::unexpected("the output of git ls-tree"))
}

/// Sees that objects are there; the error names those that are not.
pub(crate) fn see<'a>(git: &Git, objects: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), SnapshotError> {
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
        leftover: None,
        left: submodules.into_iter().map(|entry| Left { path: entry.path, reason: LeftReason::Submodule }).collect(),
    })
}

/// Makes the working tree, of which `present` is the snapshot, what `target` is. `objects` has what of `target` the
/// repository does not. `is_withheld` says which paths `target` does not hold as they were, whether they existed or not.
pub(crate) fn in_place(
    worktree: &Worktree,
    present: &Taken,
    target: &Tree,
    objects: &Path,
    is_withheld: &dyn Fn(&[u8]) -> bool,
) -> Result<Restored, SnapshotError> {
    let second = worktree.second(&[objects])?;
    let entries = writable(&second.git, target)?;
    let listed = diff::list(&second.git, &present.tree, target, &["--no-renames"])?;
    let (unknown, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(change, _)| is_withheld(&change.path));
    let (changes, mut left) = sort_out(listed, present, worktree)?;
    left.extend(unknown.into_iter().map(|(change, _)| Left { path: change.path, reason: LeftReason::NotInTarget }));
    // Whether the tree has them as they are is not known: in neither list of changes, they would stay unnoticed.
    let unreadable = present.withheld.iter().filter(|file| matches!(file.reason, WithheldReason::Unreadable { .. }));
    for file in unreadable.filter(|file| !left.iter().any(|known| known.path == file.path)).collect::<Vec<_>>() {
        left.push(Left { path: file.path.clone(), reason: LeftReason::Withheld(file.reason.clone()) });
    }
    left.sort_by(|one, other| one.path.cmp(&other.path));
    let changes = without_pointers(&second, changes, &mut left)?;
    let attributes: Vec<&Entry> = entries.iter().filter(|entry| is_attributes(&entry.path)).collect();
    let leftover = replacement::replace(&second, &worktree.root, &attributes, &changes)?;
    let mut restored = Restored { left, leftover, ..Restored::default() };
    for (change, _) in changes {
        if change.new_mode == 0 { &mut restored.removed } else { &mut restored.written }.push(change.path);
    }
    Ok(restored)
}

/// Changes that may be made, and what is to be left.
pub(crate) type Sorted = (Vec<(Change, Sides)>, Vec<Left>);

/// Tells changes of the working tree that may be made from those that are to be left.
pub(crate) fn sort_out(
    listed: Vec<(Change, Sides)>,
    present: &Taken,
    worktree: &Worktree,
) -> Result<Sorted, SnapshotError> {
    let sparse = worktree.sparse()?;
    let goes = |change: &Change| change.new_mode == 0 && withheld(&change.path, present).is_none();
    let gone: HashSet<Vec<u8>> =
        listed.iter().filter(|(change, _)| goes(change)).map(|(change, _)| change.path.clone()).collect();
    let (mut changes, mut leave) = (Vec::new(), Vec::new());
    for one in listed {
        match left(&one.0, present, (&worktree.root, &sparse), &gone) {
            Some(reason) => leave.push(Left { path: one.0.path, reason }),
            None => changes.push(one),
        }
    }
    Ok((changes, leave))
}

/// Moves to `left` files of git-lfs and git-annex of which the tree has a pointer alone. Their filters are not run here,
/// so the pointer would take the place of the content.
fn without_pointers(
    second: &Second,
    changes: Vec<(Change, Sides)>,
    left: &mut Vec<Left>,
) -> Result<Vec<(Change, Sides)>, SnapshotError> {
    let written = |change: &Change| change.new_mode & 0o170_000 == 0o100_000;
    let paths = changes.iter().filter(|(change, _)| written(change)).map(|(change, _)| change.path.as_slice());
    let said = second.git.run(&["check-attr", "-z", "--stdin", "filter"], Stdin::records(paths, 0)?)?;
    let fields: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
    let filtered: HashSet<&[u8]> =
        fields.chunks_exact(3).filter(|field| KEEPING_FILTERS.contains(&field[2])).map(|field| field[0]).collect();
    let kept: Vec<&(Change, Sides)> =
        changes.iter().filter(|(change, _)| written(change) && filtered.contains(change.path.as_slice())).collect();
    let ids: Vec<&str> = kept.iter().map(|(_, sides)| sides.new.as_str()).collect();
    let paths: Vec<&Path> = kept.iter().map(|(change, _)| as_path(&change.path)).collect();
    let found = blobs::secrets_in(&second.viewer, &ids, &paths, &mut Pointers)?;
    let pointers: HashSet<Vec<u8>> = kept
        .into_iter()
        .zip(found)
        .filter(|(_, found)| found.is_some())
        .map(|((change, _), _)| change.path.clone())
        .collect();
    let (pointed, changes) = changes.into_iter().partition(|(change, _)| pointers.contains(&change.path));
    let pointed: Vec<(Change, Sides)> = pointed;
    left.extend(pointed.into_iter().map(|(change, _)| Left { path: change.path, reason: LeftReason::Pointer }));
    left.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}

/// Finds pointers of git-lfs and git-annex.
struct Pointers;

impl FileScanner for Pointers {
    fn secret_in(&mut self, _: &Path, content: &mut dyn Read) -> io::Result<Option<String>> {
        let mut start = Vec::new();
        content.take(64).read_to_end(&mut start)?;
        let known: [&[u8]; 2] = [b"version https://git-lfs.github.com/spec/", b"/annex/objects/"];
        Ok(known.iter().any(|known| start.starts_with(known)).then(String::new))
    }
}

/// Why a path is left as it is, if it is.
fn left(
    change: &Change,
    present: &Taken,
    (root, sparse): (&Path, &HashSet<Vec<u8>>),
    gone: &HashSet<Vec<u8>>,
) -> Option<LeftReason> {
    if change.old_mode == GITLINK || change.new_mode == GITLINK {
        return Some(LeftReason::Submodule);
    }
    if let Some(reason) = withheld(&change.path, present) {
        return Some(LeftReason::Withheld(reason.clone()));
    }
    if sparse.contains(&change.path) {
        return Some(LeftReason::Sparse);
    }
    (change.old_mode == 0 && is_in_the_way(&change.path, root, gone)).then_some(LeftReason::Occupied)
}

/// Why what stands at `path` is not in a snapshot, if it is not.
pub(crate) fn withheld<'a>(path: &[u8], present: &'a Taken) -> Option<&'a WithheldReason> {
    present.withheld.iter().find(|withheld| is_inside(path, &withheld.path)).map(|withheld| &withheld.reason)
}

/// Whether git reads attributes in the file at `path`.
pub(crate) fn is_attributes(path: &[u8]) -> bool {
    path == b".gitattributes" || path.ends_with(b"/.gitattributes")
}

/// Whether `path` is `directory` or in it.
pub(crate) fn is_inside(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Whether something that no snapshot holds stands where `path` is to be.
fn is_in_the_way(path: &[u8], root: &Path, gone: &HashSet<Vec<u8>>) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let Ok(metadata) = fs::symlink_metadata(root.join(as_path(&path[..end]))) else { return false };
        if !metadata.is_dir() {
            // A file or link of the snapshot makes room for a directory.
            return !gone.contains(&path[..end]);
        }
    }
    // A directory makes room for a file when all in it goes. git would take along what is ignored there.
    !all_goes(path, root, gone)
}

/// Whether everything in a directory goes.
fn all_goes(directory: &[u8], root: &Path, gone: &HashSet<Vec<u8>>) -> bool {
    let mut pending = vec![directory.to_vec()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = fs::read_dir(root.join(as_path(&directory))) else { return false };
        for entry in entries {
            let Ok((name, kind)) = entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) else {
                return false;
            };
            let path = [&directory[..], b"/", name.as_bytes()].concat();
            match kind.is_dir() {
                true => pending.push(path),
                false if !gone.contains(&path) => return false,
                false => {}
            }
        }
    }
    true
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), SnapshotError> {
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
