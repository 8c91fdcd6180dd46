//! What an agent can do to files, in every kind of place.
//!
//! Each case is checked five ways: the changes reported; the patch, applied to a copy of the
//! start, gives the end; the snapshots hold what the directory held; they are the trees `git add`
//! would make; the repository is untouched.

use std::fs;

use decklog_snapshot::{Change, ChangeStatus};

use crate::files::{copy_files, read_files};
use crate::places::{Place, git_directory};
use crate::sandbox::{Sandbox, apply, git_in, patch, sandboxed, take_all};
use crate::turns::{Case, cases};
use crate::untouched::Fingerprint;

fn describe(change: &Change) -> String {
    let letter = match change.status {
        ChangeStatus::Added => 'A',
        ChangeStatus::Modified => 'M',
        ChangeStatus::Deleted => 'D',
        ChangeStatus::Renamed => 'R',
        ChangeStatus::TypeChanged => 'T',
    };
    let mut line = format!("{letter} {}", change.path.escape_ascii());
    if let Some(old) = &change.old_path {
        line += &format!(" <- {}", old.escape_ascii());
    }
    line += &match (change.added, change.removed) {
        (Some(added), Some(removed)) => format!(" +{added} -{removed}"),
        _ => " -".to_owned(),
    };
    if change.old_mode != change.new_mode && change.old_mode != 0 && change.new_mode != 0 {
        line += &format!(" {:o} to {:o}", change.old_mode, change.new_mode);
    }
    line
}

fn check(place: Place, case: &Case) {
    let context = format!("{:?}, {place:?}", case.name);
    let mut sandbox = Sandbox::new();
    place.prepare(&mut sandbox, &case.start);
    let untouched = git_directory(&sandbox).map(|git| Fingerprint::of(&git));
    let start = sandbox.spare.join("start");
    copy_files(&sandbox.work, &start);

    let mut snapshots = sandbox.open();
    assert_eq!(snapshots.repository().is_some(), place != Place::Plain, "{context}");
    let before = take_all(&mut snapshots);
    for step in &case.turn {
        step.run(&sandbox.work);
    }
    let after = take_all(&mut snapshots);
    assert_eq!(take_all(&mut snapshots), after, "{context}: again");
    let changes = snapshots.changes(&before, &after).unwrap();
    let patch = patch(&snapshots, &before, &after);
    drop(snapshots);
    if let Some(untouched) = untouched {
        untouched.check(&git_directory(&sandbox).unwrap());
    }

    assert_eq!(changes.iter().map(describe).collect::<Vec<_>>(), case.changes, "{context}");
    let ignored = |name: &[u8]| {
        case.name == "ignored" && (name.ends_with(b".o") || name.starts_with(b"out/") || name == b"sub/c")
    };
    assert_eq!(sandbox.files_of(&before), read_files(&start, &ignored), "{context}: the snapshot before");
    let end = read_files(&sandbox.work, &ignored);
    assert_eq!(sandbox.files_of(&after), end, "{context}: the snapshot after");
    if place == Place::Sha256 {
        // Elsewhere, git apply knows no ids as long as these.
        git_in(&start, &["init", "-q", "--object-format=sha256"]);
    }
    apply(&start, &patch);
    assert_eq!(read_files(&start, &ignored), end, "{context}: the patch");
    if place != Place::Plain && place != Place::Hidden {
        assert_eq!(after.as_str(), sandbox.tree_by_git_add(), "{context}: git add");
    }
    assert_eq!(
        fs::read_dir(&sandbox.objects)
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("scratch") })
            .count(),
        0,
        "{context}: scratch"
    );
}

/// Cases that depend on more than the files.
const TELLING: &[&str] = &[
    "no change",
    "new, changed, deleted",
    "same size, same second",
    "renamed and changed",
    "executable and back",
    "file becomes directory",
    "directory becomes link",
    "odd names",
];

fn check_telling(place: Place) {
    let telling: Vec<Case> = cases().into_iter().filter(|case| TELLING.contains(&case.name)).collect();
    assert_eq!(telling.len(), TELLING.len());
    for case in telling {
        check(place, &case);
    }
}

fn check_all(place: Place) {
    for case in cases() {
        check(place, &case);
    }
}

sandboxed! {
    fn plain(_sandbox) { check_all(Place::Plain); }
    fn committed(_sandbox) { check_all(Place::Committed); }
    fn index_version_4(_sandbox) { check_telling(Place::IndexVersion4); }
    fn split_index(_sandbox) { check_telling(Place::SplitIndex); }
    fn sha256(_sandbox) { check_telling(Place::Sha256); }
    fn odd_path(_sandbox) { check_telling(Place::OddPath); }
    fn staged(_sandbox) { check_telling(Place::Staged); }
    fn untracked(_sandbox) { check_all(Place::Untracked); }
    fn linked(_sandbox) { check_telling(Place::Linked); }
    fn detached(_sandbox) { check_telling(Place::Detached); }
    fn hidden(_sandbox) { check_all(Place::Hidden); }
}
