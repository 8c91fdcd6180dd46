//! What is done inside submodules is seen as if they were directories.

use std::fs;
use std::path::PathBuf;

use decklog_snapshot::{SnapshotReader, Tree, WithheldReason};

use crate::files::{Entry, copy_files, read_files};
use crate::sandbox::{Sandbox, apply, git_in, patch, sandboxed, take_all};
use crate::untouched::Fingerprint;

/// A repository with the submodules `libs/one` and, in that, `inner`; and `absent`, which is not
/// checked out.
pub(crate) fn prepare(sandbox: &Sandbox) {
    let origin = |name: &str| -> PathBuf {
        let path = sandbox.spare.join(name);
        fs::create_dir(&path).unwrap();
        git_in(&path, &["init", "-q"]);
        fs::write(path.join("file"), format!("{name}\n")).unwrap();
        fs::write(path.join(".gitignore"), "*.o\n").unwrap();
        git_in(&path, &["add", "."]);
        git_in(&path, &["commit", "-q", "-m", name]);
        path
    };
    let (one, inner, absent) = (origin("one"), origin("inner"), origin("absent"));
    git_in(&one, &["submodule", "--quiet", "add", inner.to_str().unwrap(), "inner"]);
    git_in(&one, &["commit", "-q", "-m", "inner"]);
    sandbox.init();
    sandbox.write("top", "1\n");
    sandbox.git(&["submodule", "--quiet", "add", one.to_str().unwrap(), "libs/one"]);
    sandbox.git(&["submodule", "--quiet", "add", absent.to_str().unwrap(), "absent"]);
    sandbox.git(&["submodule", "--quiet", "update", "--init", "--recursive"]);
    sandbox.commit();
    sandbox.git(&["submodule", "--quiet", "deinit", "absent"]);
}

fn files(sandbox: &Sandbox, tree: &Tree) -> Vec<String> {
    sandbox.files_of(tree).keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn changed(snapshots: &decklog_snapshot::Snapshotter, from: &Tree, to: &Tree) -> Vec<String> {
    let changes = snapshots.changes(from, to).unwrap();
    changes.iter().map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect()
}

sandboxed! {
    fn filters_that_stand_in_them_are_not_run(sandbox) {
        prepare(sandbox);
        let (one, ran) = (sandbox.work.join("libs/one"), sandbox.spare.join("ran"));
        git_in(&one, &["config", "filter.x.clean", &format!("touch '{}'; tr a-z A-Z", ran.display())]);
        sandbox.write("libs/one/.gitattributes", "*.x filter=x\n");
        sandbox.write("libs/one/a.x", "as it is\n");
        let mut snapshots = sandbox.open();
        let tree = take_all(&mut snapshots);
        assert!(format!("{:?}", sandbox.files_of(&tree)).contains("as it is"));
        assert!(!ran.exists());
        // The user's own are.
        sandbox.git(&["config", "--global", "filter.x.clean", "tr a-z A-Z"]);
        let tree = take_all(&mut sandbox.open());
        assert!(format!("{:?}", sandbox.files_of(&tree)).contains("AS IT IS"));
        sandbox.git(&["config", "--global", "--unset", "filter.x.clean"]);
    }

    fn their_content_is_recorded(sandbox) {
        prepare(sandbox);
        sandbox.write("libs/one/dirty", "already\n");
        sandbox.write("libs/one/ignored.o", "1\n");
        let start = sandbox.spare.join("start");
        copy_files(&sandbox.work, &start);
        let untouched = Fingerprint::of(&sandbox.work.join(".git"));
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        assert_eq!(files(sandbox, &before), [".gitmodules", "libs/one/.gitignore", "libs/one/.gitmodules",
            "libs/one/dirty", "libs/one/file", "libs/one/inner/.gitignore", "libs/one/inner/file", "top"]);
        assert_eq!(take_all(&mut snapshots), before);

        sandbox.write("libs/one/file", "2\n");
        sandbox.write("libs/one/inner/file", "2\n");
        sandbox.write("libs/one/inner/new", "2\n");
        sandbox.write("libs/one/other.o", "2\n");
        sandbox.write("top", "2\n");
        let after = take_all(&mut snapshots);
        let all = ["libs/one/file", "libs/one/inner/file", "libs/one/inner/new", "top"];
        assert_eq!(changed(&snapshots, &before, &after), all);
        let patch = patch(&snapshots, &before, &after);
        untouched.check(&sandbox.work.join(".git"));
        apply(&start, &patch);
        let ignored = |name: &[u8]| name.ends_with(b".o");
        assert_eq!(read_files(&start, &ignored), read_files(&sandbox.work, &ignored));

        // Commits, there and here, change nothing.
        git_in(&sandbox.work.join("libs/one/inner"), &["commit", "-qam", "x"]);
        git_in(&sandbox.work.join("libs/one"), &["commit", "-qam", "x"]);
        sandbox.git(&["commit", "-qam", "x"]);
        assert_eq!(take_all(&mut snapshots), after);
        drop(snapshots);
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        assert_eq!(reader.changes(&before, &after).unwrap().len(), 4);
        assert!(!reader.missing(&before).unwrap() && !reader.missing(&after).unwrap());
    }

    /// They come, go, and become something else.
    fn they_may_change_their_state(sandbox) {
        prepare(sandbox);
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.git(&["submodule", "--quiet", "update", "--init", "absent"]);
        let there = take_all(&mut snapshots);
        assert_eq!(changed(&snapshots, &before, &there), ["absent", "absent/.gitignore", "absent/file"]);
        sandbox.git(&["submodule", "--quiet", "deinit", "absent"]);
        let gone = take_all(&mut snapshots);
        assert_eq!(changed(&snapshots, &there, &gone), ["absent/.gitignore", "absent/file"]);
        sandbox.git(&["submodule", "--quiet", "update", "--init", "absent"]);
        assert_eq!(take_all(&mut snapshots), there);

        // An ordinary directory.
        fs::remove_file(sandbox.work.join("absent/.git")).unwrap();
        sandbox.write("absent/file", "2\n");
        let ordinary = take_all(&mut snapshots);
        assert_eq!(changed(&snapshots, &there, &ordinary), ["absent/file"]);

        // A file; a link to somewhere else on the way.
        fs::remove_dir_all(sandbox.work.join("absent")).unwrap();
        sandbox.write("absent", "file\n");
        fs::rename(sandbox.work.join("libs"), sandbox.spare.join("libs")).unwrap();
        std::os::unix::fs::symlink(sandbox.spare.join("libs"), sandbox.work.join("libs")).unwrap();
        let linked = take_all(&mut snapshots);
        assert_eq!(files(sandbox, &linked), [".gitmodules", "absent", "libs", "top"]);
    }

    fn what_is_withheld_in_them_is_named_from_the_top(sandbox) {
        prepare(sandbox);
        let nested = sandbox.work.join("libs/one/nested");
        fs::create_dir(&nested).unwrap();
        git_in(&nested, &["init", "-q"]);
        let taken = sandbox.open().take().unwrap();
        assert_eq!(taken.withheld.len(), 1);
        assert_eq!(taken.withheld[0].path, b"libs/one/nested");
        fs::write(sandbox.work.join("libs/one/.git"), "gitdir: /nowhere\n").unwrap();
        let taken = sandbox.open().take().unwrap();
        assert_eq!(taken.withheld[0].path, b"libs/one");
        assert!(matches!(&taken.withheld[0].reason, WithheldReason::Unreadable { error } if error.contains("/nowhere")));
    }

    /// With no commit in it, and none in the outer repository either.
    fn new_ones_are_named_as_nested(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        let origin = sandbox.spare.join("origin");
        fs::create_dir(&origin).unwrap();
        git_in(&origin, &["init", "-q"]);
        git_in(&origin, &["commit", "-q", "--allow-empty", "-m", "x"]);
        sandbox.git(&["submodule", "--quiet", "add", origin.to_str().unwrap(), "sub"]);
        let taken = snapshots.take().unwrap();
        assert_eq!(changed(&snapshots, &before, &taken.tree), [".gitmodules"]);
        assert_eq!(taken.withheld[0].path, b"sub");
        // For the next session it is a submodule like any other.
        sandbox.write("sub/file", "1\n");
        drop(snapshots);
        let tree = take_all(&mut sandbox.open());
        assert!(matches!(sandbox.files_of(&tree)[b"sub/file".as_slice()], Entry::File { .. }));
    }
}
