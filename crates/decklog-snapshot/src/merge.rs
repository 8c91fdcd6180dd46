//! Putting a change that was made elsewhere, from one tree to another, over the working tree as it now is.
//!
//! `git apply --3way` does the merging, aside: on copies of the files concerned, with an index and objects of its
//! own, so that neither a dirty tree nor the user's index is an obstacle. What comes of it is then written over the
//! working tree as a restored snapshot is (see `replacement`): after seeing that nothing is lost, all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::diff::{self, Sides};
use crate::git::{Git, Stdin};
use crate::model::{Left, LeftReason};
use crate::private::{PrivateDir, create_private};
use crate::replacement;
use crate::restore::{self, Entry, GITLINK, is_inside};
use crate::worktree::Worktree;
use crate::{Change, ChangeStatus, Merged, SnapshotError, Taken, Tree};

const LINK: u32 = 0o120_000;

/// Content is merged as it is stored: attributes of the repository have a say in how files are merged, and none in
/// how they are written. Filters are not configured where this counts.
const STORED_AS_THEY_ARE: &str = "\n* -text !eol !crlf -ident !filter !working-tree-encoding\n";

/// Merges the change `from` to `to` into the working tree, of which `present` is the snapshot.
pub(crate) fn merge(
    worktree: &Worktree,
    present: &Taken,
    from: &Tree,
    to: &Tree,
    objects: &Path,
) -> Result<Merged, SnapshotError> {
    let mut merged = Merged::default();
    if from == to {
        return Ok(merged);
    }
    let aside = worktree.aside()?;
    let bench = Bench::new(aside.path(), present)?;
    let second = worktree.second(&[objects, &bench.objects])?;
    let now = restore::listed(&second.viewer, &present.tree)?;
    for tree in [from, to] {
        restore::listed(&second.viewer, tree)?;
    }
    let change = diff::list(&second.viewer, from, to, &["--no-renames"])?;
    let submodules: Vec<&[u8]> =
        now.iter().filter(|entry| entry.mode == GITLINK).map(|entry| entry.path.as_slice()).collect();
    let known: BTreeMap<&[u8], &Entry> = now.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    // What is there already, or gone on both sides. git would not have it that there is nothing to remove.
    let is_done = |(change, sides): &(Change, Sides)| match known.get(change.path.as_slice()) {
        Some(entry) => (entry.mode, &entry.id) == (change.new_mode, &sides.new),
        None => change.new_mode == 0,
    };
    let mut excluded = Vec::new();
    let mut concerned: Vec<(Change, Sides)> = Vec::new();
    for one in change {
        match left(&one.0, present, &submodules) {
            Some(reason) => {
                excluded.push(one.0.path.clone());
                merged.left.push(Left { path: one.0.path, reason });
            }
            None if is_done(&one) => excluded.push(one.0.path),
            None => concerned.push(one),
        }
    }
    if concerned.is_empty() {
        return Ok(merged);
    }
    let paths: BTreeSet<&[u8]> = concerned.iter().map(|(change, _)| change.path.as_slice()).collect();
    let laid_out: Vec<&Entry> = now
        .iter()
        .filter(|entry| {
            entry.mode != GITLINK && (paths.contains(&entry.path[..]) || restore::is_attributes(&entry.path))
        })
        .collect();

    bench.bring(&second.viewer, &laid_out, &concerned)?;
    bench.lay_out(&second.private, &laid_out)?;
    let conflicts = match bench.apply(&second.viewer, from, to, &excluded)? {
        Applied::Refused(message) => return Err(in_the_way(worktree, message)),
        Applied::Yes { conflicts } => conflicts,
    };
    let after = bench.entries()?;
    let (changes, in_the_way_of) = restore::sort_out(difference(&laid_out, &after), present, worktree)?;
    if let [first, ..] = in_the_way_of.as_slice() {
        let path = String::from_utf8_lossy(&first.path);
        return Err(in_the_way(worktree, format!("{path:?}: {}", first.reason)));
    }
    let attributes: Vec<&Entry> = after.iter().filter(|entry| restore::is_attributes(&entry.path)).collect();
    merged.leftover = replacement::replace(&second, &worktree.root, &attributes, &changes)?;
    let changed = changes.into_iter().map(|(change, _)| change.path);
    merged.applied = changed.filter(|path| !conflicts.contains(path)).collect();
    merged.conflicts = conflicts.into_iter().collect();
    Ok(merged)
}

/// Why a change is not merged, if it is not.
fn left(change: &Change, present: &Taken, submodules: &[&[u8]]) -> Option<LeftReason> {
    let is_submodule = change.old_mode == GITLINK || change.new_mode == GITLINK;
    if is_submodule || submodules.iter().any(|submodule| is_inside(&change.path, submodule)) {
        return Some(LeftReason::Submodule);
    }
    restore::withheld(&change.path, present).cloned().map(LeftReason::Withheld)
}

fn in_the_way(worktree: &Worktree, message: String) -> SnapshotError {
    SnapshotError::InTheWay { path: worktree.root.clone(), message }
}

/// What differs between the files laid out and those that came of them, in path order.
fn difference(before: &[&Entry], after: &[Entry]) -> Vec<(Change, Sides)> {
    let mut sides: BTreeMap<&[u8], [Option<&Entry>; 2]> = BTreeMap::new();
    before.iter().for_each(|entry| sides.entry(&entry.path).or_default()[0] = Some(entry));
    after.iter().for_each(|entry| sides.entry(&entry.path).or_default()[1] = Some(entry));
    let differ = |[old, new]: &[Option<&Entry>; 2]| {
        old.map(|entry| (entry.mode, &entry.id)) != new.map(|entry| (entry.mode, &entry.id))
    };
    let change = |(path, [old, new]): (&[u8], [Option<&Entry>; 2])| {
        let status = match (old, new) {
            (None, _) => ChangeStatus::Added,
            (_, None) => ChangeStatus::Deleted,
            _ => ChangeStatus::Modified,
        };
        let mode = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.mode);
        let id = |entry: Option<&Entry>| entry.map_or_else(String::new, |entry| entry.id.clone());
        let (old_mode, new_mode) = (mode(old), mode(new));
        let path = path.to_vec();
        let change = Change { path, old_path: None, status, added: None, removed: None, old_mode, new_mode };
        (change, Sides { old: id(old), new: id(new) })
    };
    sides.into_iter().filter(|(_, sides)| differ(sides)).map(change).collect()
}

/// What came of applying.
enum Applied {
    /// Nothing; in git's words, why.
    Refused(String),
    /// All of it, with these files in conflict.
    Yes { conflicts: BTreeSet<Vec<u8>> },
}

/// Where the merging is done.
struct Bench {
    private: PrivateDir,
    objects: PathBuf,
    /// git at work there. It sees no objects but those brought: of what it would store it touches what it finds, and
    /// the repository's are not to be touched.
    git: Git,
}

impl Bench {
    fn new(directory: &Path, present: &Taken) -> Result<Self, SnapshotError> {
        let (files, objects) = (directory.join("files"), directory.join("objects"));
        create_private(&files)?;
        create_private(&objects.join("pack"))?;
        let private = PrivateDir::create(directory.join("git"), objects.clone(), present.tree.format())?;
        let git = private.git(&files, &[], &[]);
        Ok(Self { private, objects, git })
    }

    /// Copies the objects that are needed; `from` has them, or the error names those that are gone.
    fn bring(&self, from: &Git, laid_out: &[&Entry], change: &[(Change, Sides)]) -> Result<(), SnapshotError> {
        let mut needed: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for entry in laid_out {
            needed.insert(&entry.id, &entry.path);
        }
        for (change, sides) in change {
            for (mode, id) in [(change.old_mode, &sides.old), (change.new_mode, &sides.new)] {
                if mode != 0 {
                    needed.insert(id, &change.path);
                }
            }
        }
        restore::see(from, needed.iter().map(|(id, path)| (*id, *path)))?;
        let ids = Stdin::records(needed.keys().map(|id| id.as_bytes()), b'\n')?;
        let pack = self.objects.join("pack/pack");
        let args = ["pack-objects".as_ref(), "-q".as_ref(), "--window=0".as_ref(), pack.as_os_str()];
        from.run(&args, ids).map(drop)
    }

    /// Writes the files that the change is to be applied to, as they are in the working tree, and an index of them.
    fn lay_out(&self, attributes: &PrivateDir, laid_out: &[&Entry]) -> Result<(), SnapshotError> {
        let path = attributes.file("info/attributes");
        let mut attributes =
            if path.exists() { fs::read(&path).map_err(SnapshotError::io("read", &path))? } else { Vec::new() };
        attributes.extend_from_slice(STORED_AS_THEY_ARE.as_bytes());
        let path = self.private.file("info/attributes");
        fs::write(&path, attributes).map_err(SnapshotError::io("write", &path))?;
        let info =
            laid_out.iter().map(|entry| [format!("{:o} {}\t", entry.mode, entry.id).as_bytes(), &entry.path].concat());
        let info: Vec<Vec<u8>> = info.collect();
        let info = Stdin::records(info.iter().map(Vec::as_slice), 0)?;
        self.git.run(&["update-index", "-z", "--index-info"], info)?;
        self.git.run(&["checkout-index", "--all", "--index", "--quiet"], Stdin::none()).map(drop)
    }

    fn apply(&self, viewer: &Git, from: &Tree, to: &Tree, excluded: &[Vec<u8>]) -> Result<Applied, SnapshotError> {
        let unnamed = || SnapshotError::io("buffer", Path::new("a patch"));
        let mut patch = tempfile::tempfile().map_err(unnamed())?;
        diff::patch_without(viewer, from, to, excluded, &mut patch)?;
        let patch = Stdin::written(patch).map_err(unnamed())?;
        let said = self.git.ask(&["apply", "--3way", "--whitespace=nowarn", "-"], patch)?;
        let unmerged = self.git.run(&["ls-files", "--unmerged", "-z"], Stdin::none())?;
        let mut conflicts = BTreeSet::new();
        for entry in parse(&unmerged)? {
            if entry.mode == LINK {
                let path = String::from_utf8_lossy(&entry.path);
                return Ok(Applied::Refused(format!("{path:?}: it is a link, which was changed on both sides")));
            }
            conflicts.insert(entry.path);
        }
        if !said.status.success() && conflicts.is_empty() {
            let reasons: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
            let reasons = if reasons.is_empty() { said.stderr } else { reasons.join("; ") };
            return Ok(Applied::Refused(reasons));
        }
        let paths = Stdin::records(conflicts.iter().map(Vec::as_slice), 0)?;
        self.git.run(&["update-index", "--add", "-z", "--stdin"], paths)?;
        Ok(Applied::Yes { conflicts })
    }

    /// What the index now holds.
    fn entries(&self) -> Result<Vec<Entry>, SnapshotError> {
        parse(&self.git.run(&["ls-files", "--stage", "-z"], Stdin::none())?)
    }
}

/// Reads `MODE ID STAGE<tab>PATH`, as often as it comes.
fn parse(listed: &[u8]) -> Result<Vec<Entry>, SnapshotError> {
    let parse = |record: &[u8]| {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        Some(Entry { mode, id: words.next()?.to_owned(), path: record[tab + 1..].to_vec() })
    };
    let records = listed.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    let entries: Option<Vec<Entry>> = records.map(parse).collect();
    entries.ok_or_else(|| SnapshotError::unexpected("the output of git ls-files"))
}
