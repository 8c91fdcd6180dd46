//! Putting what was changed in a linked worktree over the user's tree, which may have moved on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use decklog_snapshot::{
    LeftReason, Limits, LinkedWorktree, Merged, NoSecrets, SnapshotError, Snapshotter, Taken, Tree, WithheldReason,
};

use crate::files::{copy_files, read_files};
use crate::linked::{Finder, Repository, create};
use crate::places::{Place, git_directory};
use crate::sandbox::{Sandbox, git_in, sandboxed, take_all};
use crate::turns::{Case, cases};

const LINES: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

/// An agent's work in a worktree of its own: the trees before and after, and a worktree to do it in.
struct Racer {
    linked: LinkedWorktree,
    snapshots: Snapshotter,
    objects: std::path::PathBuf,
    before: Tree,
}

impl Racer {
    fn start(sandbox: &Sandbox) -> Self {
        let linked = create(sandbox, "racer");
        Self::at(sandbox, linked)
    }

    fn at(sandbox: &Sandbox, linked: LinkedWorktree) -> Self {
        let objects = sandbox.spare.join("session/objects");
        let mut snapshots =
            Snapshotter::open(&linked.working_dir, &objects, Limits::default(), Box::new(NoSecrets)).unwrap();
        let before = take_all(&mut snapshots);
        Self { linked, snapshots, objects, before }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.linked.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.linked.root.join(path)).unwrap();
    }

    /// Ends it, and merges what it did into the user's tree, of which only files may be touched.
    fn merge(mut self, sandbox: &Sandbox) -> Result<Merged, SnapshotError> {
        let after = take_all(&mut self.snapshots);
        LinkedWorktree::remove(&self.linked.common_dir, &self.linked.root).unwrap();
        let own = sandbox.spare.join("own/objects");
        let mut users = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(Finder)).unwrap();
        let present = users.take().unwrap();
        merge_untouched(sandbox, &users, &present, &self.before, &after, &self.objects)
    }
}

/// Merges, and sees that the repository is as before; and the files as well if it is refused.
fn merge_untouched(
    sandbox: &Sandbox,
    users: &Snapshotter,
    present: &Taken,
    from: &Tree,
    to: &Tree,
    objects: &Path,
) -> Result<Merged, SnapshotError> {
    let untouched = git_directory(sandbox).map(|git| (Repository::of(&git), crate::linked::worktrees(&git)));
    let files = read_files(&sandbox.work, &|_| false);
    let merged = users.merge(present, from, to, objects);
    if let Some((untouched, worktrees)) = untouched {
        untouched.check(&worktrees.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if merged.is_err() {
        assert_eq!(read_files(&sandbox.work, &|_| false), files);
    }
    merged
}

fn refused(result: Result<Merged, SnapshotError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, SnapshotError::InTheWay { .. }), "{error}");
    error.to_string()
}

fn names(paths: &[Vec<u8>]) -> Vec<&str> {
    paths.iter().map(|path| std::str::from_utf8(path).unwrap()).collect()
}

fn clean(result: Result<Merged, SnapshotError>) -> Vec<String> {
    let merged = result.unwrap();
    assert_eq!((&merged.conflicts[..], &merged.left[..]), (&[][..], &[][..]));
    names(&merged.applied).into_iter().map(str::to_owned).collect()
}

fn prepare(sandbox: &Sandbox) {
    sandbox.init();
    sandbox.write(".gitignore", "*.log\n");
    for name in ["a", "b", "dir/c"] {
        sandbox.write(name, LINES);
    }
    sandbox.commit();
}

fn read(sandbox: &Sandbox, path: &str) -> String {
    fs::read_to_string(sandbox.work.join(path)).unwrap()
}

/// Each case of a turn is merged into the tree it started from, from one session into another.
fn check(place: Place, case: &Case) {
    let context = format!("{:?}, {place:?}", case.name);
    let mut sandbox = Sandbox::new();
    place.prepare(&mut sandbox, &case.start);
    let start = sandbox.spare.join("start");
    copy_files(&sandbox.work, &start);
    let mut snapshots = sandbox.open();
    let from = take_all(&mut snapshots);
    case.turn.iter().for_each(|step| step.run(&sandbox.work));
    let to = take_all(&mut snapshots);
    drop(snapshots);
    let ignored = |name: &[u8]| {
        case.name == "ignored" && (name.ends_with(b".o") || name.starts_with(b"out/") || name == b"sub/c")
    };
    let end = read_files(&sandbox.work, &ignored);
    // Back to the start, with something that was done meanwhile.
    for entry in fs::read_dir(&sandbox.work).unwrap().map(|entry| entry.unwrap().path()) {
        match fs::symlink_metadata(&entry).unwrap().is_dir() {
            true if entry.ends_with(".git") => {}
            true => fs::remove_dir_all(entry).unwrap(),
            false => fs::remove_file(entry).unwrap(),
        }
    }
    copy_files(&start, &sandbox.work);
    sandbox.write("meanwhile", "meanwhile\n");
    let own = sandbox.spare.join("own");
    let mut users = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(NoSecrets)).unwrap();
    let present = users.take().unwrap();
    let merged = merge_untouched(&sandbox, &users, &present, &from, &to, &sandbox.objects)
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!((&merged.conflicts[..], &merged.left[..]), (&[][..], &[][..]), "{context}");
    assert_eq!(merged.applied.is_empty(), from == to, "{context}");
    let now = read_files(&sandbox.work, &|name| ignored(name) || name == b"meanwhile");
    assert_eq!(now, end, "{context}");
    assert_eq!(read(&sandbox, "meanwhile"), "meanwhile\n");
}

sandboxed! {
    fn every_case_committed(_sandbox) { cases().iter().for_each(|case| check(Place::Committed, case)); }
    fn every_case_untracked(_sandbox) { cases().iter().for_each(|case| check(Place::Untracked, case)); }
    fn every_case_without_repository(_sandbox) { cases().iter().for_each(|case| check(Place::Plain, case)); }
    fn cases_with_longer_ids(_sandbox) { cases().iter().step_by(5).for_each(|case| check(Place::Sha256, case)); }
    fn cases_at_an_odd_path(_sandbox) { cases().iter().step_by(5).for_each(|case| check(Place::OddPath, case)); }

    fn onto_the_tree_it_started_from(sandbox) {
        prepare(sandbox);
        sandbox.write("b", "dirty\n");
        sandbox.write("staged", "staged\n");
        sandbox.git(&["add", "staged"]);
        let racer = Racer::start(sandbox);
        racer.write("a", LINES.replace('5', "five"));
        racer.write("b", "dirty\nchanged\n");
        racer.write("new/file", "new\n");
        racer.remove("staged");
        fs::rename(racer.linked.root.join("dir/c"), racer.linked.root.join("moved")).unwrap();
        let end = read_files(&racer.linked.root, &|_| false);
        assert_eq!(clean(racer.merge(sandbox)), ["a", "b", "dir/c", "moved", "new/file", "staged"]);
        assert_eq!(read_files(&sandbox.work, &|_| false), end);
        assert!(!sandbox.work.join("dir").exists());
        // The index has what it had.
        assert_eq!(sandbox.git(&["diff", "--cached", "--name-only"]), "staged\n");
    }

    fn nothing_to_merge(sandbox) {
        prepare(sandbox);
        assert_eq!(clean(Racer::start(sandbox).merge(sandbox)), [""; 0]);
        // What stands there as it should already.
        let racer = Racer::start(sandbox);
        racer.write("a", "the same\n");
        racer.write("new", "the same\n");
        for name in ["a", "new"] {
            sandbox.write(name, "the same\n");
        }
        assert_eq!(clean(racer.merge(sandbox)), [""; 0]);
    }

    fn onto_other_lines_of_the_same_file(sandbox) {
        prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.write("a", LINES.replace('2', "two"));
        sandbox.write("a", LINES.replace('8', "eight"));
        sandbox.git(&["add", "a"]);
        sandbox.write("a", LINES.replace('8', "eight").replace('9', "nine"));
        sandbox.write("b", "elsewhere\n");
        assert_eq!(clean(racer.merge(sandbox)), ["a"]);
        assert_eq!(read(sandbox, "a"), "1\ntwo\n3\n4\n5\n6\n7\neight\nnine\n");
        assert_eq!(sandbox.git(&["show", ":a"]), LINES.replace('8', "eight"));
    }

    /// The user changed what was renamed, and the other way round.
    fn onto_a_file_that_was_renamed(sandbox) {
        prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.remove("a");
        racer.write("renamed", LINES.replace('2', "two"));
        sandbox.write("a", LINES.replace('8', "eight"));
        assert_eq!(clean(racer.merge(sandbox)), ["a", "renamed"]);
        assert_eq!(read(sandbox, "renamed"), "1\ntwo\n3\n4\n5\n6\n7\neight\n9\n");
        assert!(!sandbox.work.join("a").exists());
        let racer = Racer::start(sandbox);
        racer.write("b", "changed\n");
        fs::rename(sandbox.work.join("b"), sandbox.work.join("users")).unwrap();
        assert!(refused(racer.merge(sandbox)).contains('b'));
    }

    fn onto_the_same_lines(sandbox) {
        prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.write("a", LINES.replace('5', "five"));
        racer.write("b", LINES.replace('5', "five"));
        racer.write("new", "new\n");
        sandbox.write("a", LINES.replace('5', "FIVE").replace('1', "one"));
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.applied), ["b", "new"]);
        assert_eq!(names(&merged.conflicts), ["a"]);
        assert_eq!(
            read(sandbox, "a"),
            "one\n2\n3\n4\n<<<<<<< ours\nFIVE\n=======\nfive\n>>>>>>> theirs\n6\n7\n8\n9\n"
        );
        assert_eq!(read(sandbox, "b"), LINES.replace('5', "five"));
        assert_eq!(sandbox.git(&["ls-files", "--unmerged"]), "");
    }

    fn added_on_both_sides(sandbox) {
        prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.write("new", "theirs\n");
        racer.write("other", "other\n");
        sandbox.write("new", "ours\n");
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.conflicts), ["new"]);
        assert_eq!(names(&merged.applied), ["other"]);
        assert_eq!(read(sandbox, "new"), "<<<<<<< ours\nours\n=======\ntheirs\n>>>>>>> theirs\n");
    }

    fn binary_files(sandbox) {
        let binary = |seed: u32| (0..3000_u32).map(|n| (n * seed % 251) as u8).collect::<Vec<u8>>();
        prepare(sandbox);
        for name in ["clean", "both", "gone"] {
            sandbox.write(name, binary(3));
        }
        sandbox.commit();
        let racer = Racer::start(sandbox);
        racer.write("clean", binary(5));
        racer.write("both", binary(5));
        racer.write("new", binary(9));
        racer.remove("gone");
        sandbox.write("both", binary(7));
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.applied), ["clean", "gone", "new"]);
        assert_eq!(names(&merged.conflicts), ["both"]);
        assert_eq!(fs::read(sandbox.work.join("clean")).unwrap(), binary(5));
        assert_eq!(fs::read(sandbox.work.join("new")).unwrap(), binary(9));
        // There is no way to hold both: it is the user's.
        assert_eq!(fs::read(sandbox.work.join("both")).unwrap(), binary(7));
    }

    fn removed_here_and_changed_there(sandbox) {
        prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.remove("a");
        racer.write("new", "new\n");
        sandbox.write("a", "changed\n");
        let said = refused(racer.merge(sandbox));
        assert!(said.contains("nothing in") && said.contains(": a: "), "{said}");
        let racer = Racer::start(sandbox);
        racer.write("b", "changed\n");
        racer.write("new", "new\n");
        fs::remove_file(sandbox.work.join("b")).unwrap();
        let said = refused(racer.merge(sandbox));
        assert!(said.contains("b: does not exist in index"), "{said}");
        assert!(!sandbox.work.join("new").exists());
        // Removed on both sides is removed, also when one of them has it under another name.
        let racer = Racer::start(sandbox);
        racer.remove("a");
        racer.write("new", "changed\n2\n");
        racer.write("other", "other\n");
        fs::remove_file(sandbox.work.join("a")).unwrap();
        assert_eq!(clean(racer.merge(sandbox)), ["new", "other"]);
    }

    fn modes_and_links(sandbox) {
        prepare(sandbox);
        symlink("a", sandbox.work.join("link")).unwrap();
        symlink("a", sandbox.work.join("both")).unwrap();
        sandbox.commit();
        let racer = Racer::start(sandbox);
        fs::set_permissions(racer.linked.root.join("a"), PermissionsExt::from_mode(0o755)).unwrap();
        racer.remove("link");
        symlink("b", racer.linked.root.join("link")).unwrap();
        symlink("/nowhere", racer.linked.root.join("new-link")).unwrap();
        sandbox.write("a", LINES.replace('5', "five"));
        assert_eq!(clean(racer.merge(sandbox)), ["a", "link", "new-link"]);
        assert_eq!(fs::metadata(sandbox.work.join("a")).unwrap().permissions().mode() & 0o111, 0o111);
        assert_eq!(read(sandbox, "a"), LINES.replace('5', "five"));
        assert_eq!(fs::read_link(sandbox.work.join("link")).unwrap(), Path::new("b"));
        assert_eq!(fs::read_link(sandbox.work.join("new-link")).unwrap(), Path::new("/nowhere"));
        // A link cannot hold markers.
        let racer = Racer::start(sandbox);
        racer.remove("both");
        symlink("theirs", racer.linked.root.join("both")).unwrap();
        racer.write("new", "new\n");
        fs::remove_file(sandbox.work.join("both")).unwrap();
        symlink("ours", sandbox.work.join("both")).unwrap();
        assert!(refused(racer.merge(sandbox)).contains("\"both\""));
    }

    /// The user's line ends, whatever the markers have.
    fn line_ends(sandbox) {
        sandbox.init();
        sandbox.write(".gitattributes", "*.t text eol=crlf\n");
        let lines = |from: &str, to: &str| LINES.replace(from, to).replace('\n', "\r\n");
        sandbox.write("a.t", lines("", ""));
        sandbox.write("b.t", lines("", ""));
        sandbox.write("raw", lines("", ""));
        for name in ["a.t", "b.t"] {
            sandbox.write(name, LINES.replace('\n', "\r\n"));
        }
        sandbox.write("raw", LINES.replace('\n', "\r\n"));
        sandbox.commit();
        let racer = Racer::start(sandbox);
        racer.write("a.t", lines("2", "two"));
        racer.write("b.t", lines("2", "two"));
        racer.write("raw", lines("2", "two"));
        sandbox.write("a.t", lines("8", "eight"));
        sandbox.write("raw", lines("8", "eight"));
        assert_eq!(clean(racer.merge(sandbox)), ["a.t", "b.t", "raw"]);
        for name in ["a.t", "raw"] {
            assert_eq!(read(sandbox, name), "1\r\ntwo\r\n3\r\n4\r\n5\r\n6\r\n7\r\neight\r\n9\r\n", "{name}");
        }
        assert_eq!(read(sandbox, "b.t"), lines("2", "two"));
    }

    /// How they are written is not mixed up when the change changes that too.
    fn line_ends_that_change(sandbox) {
        sandbox.init();
        sandbox.write(".gitattributes", "*.t text eol=crlf\n");
        sandbox.write("a.t", LINES.replace('\n', "\r\n"));
        sandbox.commit();
        let racer = Racer::start(sandbox);
        racer.write(".gitattributes", "*.t -text\n");
        racer.write("a.t", LINES.replace('5', "five"));
        sandbox.write("a.t", LINES.replace('5', "FIVE").replace('\n', "\r\n"));
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!((names(&merged.applied), names(&merged.conflicts)), (vec![".gitattributes"], vec!["a.t"]));
        assert_eq!(read(sandbox, "a.t"), "1\n2\n3\n4\n<<<<<<< ours\nFIVE\n=======\nfive\n>>>>>>> theirs\n6\n7\n8\n9\n");
    }

    /// git touches what it finds stored already, so it must not find it in the repository.
    fn what_the_repository_holds_already(sandbox) {
        prepare(sandbox);
        let both = LINES.replace('2', "two").replace('8', "eight");
        for content in [&both, LINES] {
            sandbox.write("a", content);
            sandbox.commit();
        }
        let racer = Racer::start(sandbox);
        racer.write("a", LINES.replace('2', "two"));
        sandbox.write("a", LINES.replace('8', "eight"));
        assert_eq!(clean(racer.merge(sandbox)), ["a"]);
        assert_eq!(read(sandbox, "a"), both);
    }

    /// How files are merged is the repository's to say.
    fn attributes_of_merging(sandbox) {
        prepare(sandbox);
        sandbox.write(".gitattributes", "*.union merge=union\n*.whole -merge\n");
        sandbox.write("dir/.gitattributes", "c -merge\n");
        for name in ["list.union", "lock.whole", "dir/c"] {
            sandbox.write(name, "1\n");
        }
        sandbox.commit();
        let racer = Racer::start(sandbox);
        for name in ["list.union", "lock.whole", "dir/c"] {
            racer.write(name, "1\ntheirs\n");
            sandbox.write(name, "1\nours\n");
        }
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.applied), ["list.union"]);
        assert_eq!(names(&merged.conflicts), ["dir/c", "lock.whole"]);
        assert_eq!(read(sandbox, "list.union"), "1\nours\ntheirs\n");
        assert_eq!(read(sandbox, "lock.whole"), "1\nours\n");
        assert_eq!(read(sandbox, "dir/c"), "1\nours\n");
    }

    /// What is ignored is in no snapshot: it is not to be had back.
    fn ignored_files_are_in_the_way(sandbox) {
        prepare(sandbox);
        sandbox.write("users.log", "the user's\n");
        let racer = Racer::start(sandbox);
        // Forced, as an agent can.
        racer.write(".gitignore", "");
        racer.write("users.log", "theirs\n");
        racer.write("a", "changed\n");
        let said = refused(racer.merge(sandbox));
        assert!(said.contains("users.log"), "{said}");
        assert_eq!(read(sandbox, "users.log"), "the user's\n");
        // A directory that a file is to replace.
        fs::remove_file(sandbox.work.join("users.log")).unwrap();
        sandbox.write("dir/users.log", "the user's\n");
        let racer = Racer::start(sandbox);
        racer.remove("dir/c");
        fs::remove_dir(racer.linked.root.join("dir")).unwrap();
        racer.write("dir", "a file\n");
        assert!(refused(racer.merge(sandbox)).contains("\"dir\""));
        assert_eq!(read(sandbox, "dir/users.log"), "the user's\n");
        // A file where a directory is to be.
        sandbox.write("out.log", "the user's\n");
        let racer = Racer::start(sandbox);
        racer.write(".gitignore", "");
        racer.write("out.log/x", "theirs\n");
        assert!(refused(racer.merge(sandbox)).contains("out.log/x"));
        // An ignored directory is no obstacle for what is beside.
        fs::remove_file(sandbox.work.join("out.log")).unwrap();
        sandbox.write("out.log/y", "the user's\n");
        let racer = Racer::start(sandbox);
        racer.write(".gitignore", "");
        racer.write("out.log/x", "theirs\n");
        assert_eq!(clean(racer.merge(sandbox)), [".gitignore", "out.log/x"]);
        assert_eq!(read(sandbox, "out.log/y"), "the user's\n");
    }

    fn nothing_is_written_through_a_link(sandbox) {
        prepare(sandbox);
        let outside = sandbox.spare.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("c"), LINES).unwrap();
        // One that is ignored.
        sandbox.write(".gitignore", "/linked\n");
        symlink(&outside, sandbox.work.join("linked")).unwrap();
        let racer = Racer::start(sandbox);
        racer.write(".gitignore", "");
        racer.write("linked/new", "new\n");
        assert!(refused(racer.merge(sandbox)).contains("linked/new"));
        // A directory that became one.
        let racer = Racer::start(sandbox);
        racer.write("dir/c", "changed\n");
        racer.write("dir/new", "new\n");
        fs::remove_dir_all(sandbox.work.join("dir")).unwrap();
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        refused(racer.merge(sandbox));
        assert_eq!(read_files(&outside, &|_| false).len(), 1);
        assert_eq!(fs::read_to_string(outside.join("c")).unwrap(), LINES);
        // And since the snapshot.
        fs::remove_file(sandbox.work.join("dir")).unwrap();
        sandbox.write("dir/c", LINES);
        let mut racer = Racer::start(sandbox);
        racer.write("dir/c", "changed\n");
        let after = take_all(&mut racer.snapshots);
        let mut users = sandbox.open();
        let present = users.take().unwrap();
        fs::remove_dir_all(sandbox.work.join("dir")).unwrap();
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        refused(merge_untouched(sandbox, &users, &present, &racer.before, &after, &racer.objects));
        assert_eq!(fs::read_to_string(outside.join("c")).unwrap(), LINES);
    }

    /// Changed since the snapshot was taken: what is there could not be had back.
    fn a_file_changed_meanwhile_stops_it(sandbox) {
        prepare(sandbox);
        let mut racer = Racer::start(sandbox);
        racer.write("a", LINES.replace('2', "two"));
        racer.write("new", "new\n");
        let after = take_all(&mut racer.snapshots);
        let mut users = sandbox.open();
        let present = users.take().unwrap();
        let merge = || refused(merge_untouched(sandbox, &users, &present, &racer.before, &after, &racer.objects));
        sandbox.write("a", LINES.replace('8', "eight"));
        assert!(merge().contains('a'));
        sandbox.write("a", LINES);
        sandbox.write("new", "the user's\n");
        assert!(merge().contains("new"));
        fs::remove_file(sandbox.work.join("new")).unwrap();
        let merged = merge_untouched(sandbox, &users, &present, &racer.before, &after, &racer.objects);
        assert_eq!(clean(merged), ["a", "new"]);
    }

    fn what_is_withheld_is_not_touched(sandbox) {
        prepare(sandbox);
        sandbox.write("key", "harmless\n");
        sandbox.commit();
        sandbox.write("key", "SECRET\n");
        sandbox.write(".env", "SECRET\n");
        // The agent's trees hold what the user's may not.
        let path = sandbox.spare.join("racer");
        let taken = sandbox.open_with(Limits::default(), Finder).take().unwrap();
        let linked =
            LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &taken.withheld).unwrap();
        let racer = Racer::at(sandbox, linked);
        racer.write("key", "other\n");
        racer.write(".env", "other\n");
        racer.write("a", "changed\n");
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.applied), ["a"]);
        let reason = LeftReason::Withheld(WithheldReason::Secret { rule: "test-key".to_owned() });
        let left: Vec<_> = merged.left.iter().map(|left| (left.path.as_slice(), &left.reason)).collect();
        assert_eq!(left, [(b".env".as_slice(), &reason), (b"key".as_slice(), &reason)]);
        for name in ["key", ".env"] {
            assert_eq!(read(sandbox, name), "SECRET\n");
        }
        // Nor is a directory around it replaced.
        sandbox.write("dir/.env", "SECRET\n");
        let taken = sandbox.open_with(Limits::default(), Finder).take().unwrap();
        let linked = LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &[]).unwrap();
        let racer = Racer::at(sandbox, linked);
        fs::remove_dir_all(racer.linked.root.join("dir")).unwrap();
        racer.write("dir", "a file\n");
        assert!(refused(racer.merge(sandbox)).contains("\"dir\""));
    }

    fn submodules_are_directories(sandbox) {
        crate::submodules::prepare(sandbox);
        let racer = Racer::start(sandbox);
        racer.write("libs/one/file", "changed\n");
        racer.write("libs/one/inner/new", "new\n");
        racer.write("absent/new", "new\n");
        let merged = racer.merge(sandbox).unwrap();
        assert_eq!(names(&merged.applied), ["libs/one/file", "libs/one/inner/new"]);
        assert!(merged.left.iter().all(|left| left.reason == LeftReason::Submodule));
        let left: Vec<_> = merged.left.iter().map(|left| left.path.as_slice()).collect();
        assert_eq!(left, [b"absent".as_slice(), b"absent/new"]);
        assert_eq!(read(sandbox, "libs/one/file"), "changed\n");
        assert!(!sandbox.work.join("absent/new").exists());
    }

    fn what_is_gone_is_named(sandbox) {
        prepare(sandbox);
        let mut racer = Racer::start(sandbox);
        racer.write("a", "changed\n");
        let after = take_all(&mut racer.snapshots);
        let mut users = sandbox.open();
        let present = users.take().unwrap();
        let nowhere = sandbox.spare.join("nowhere");
        let error = merge_untouched(sandbox, &users, &present, &racer.before, &after, &nowhere).unwrap_err();
        assert!(matches!(error, SnapshotError::Gone { .. }), "{error}");
        let blob = git_in(&racer.linked.root, &["hash-object", "a"]);
        fs::remove_file(racer.objects.join(&blob[..2]).join(blob[2..].trim())).unwrap();
        let error = merge_untouched(sandbox, &users, &present, &racer.before, &after, &racer.objects).unwrap_err();
        assert!(matches!(&error, SnapshotError::Gone { what } if what.contains("\"a\"")), "{error}");
    }
}
