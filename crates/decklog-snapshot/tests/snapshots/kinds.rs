//! Kinds of repository, what can be wrong with them, and what an agent may do with git.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use decklog_snapshot::{Limits, NoSecrets, Snapshotter, Tree, WithheldReason};

use crate::files::{Entry, copy_files, read_files};
use crate::sandbox::{Sandbox, apply, git_in, patch, sandboxed, take_all};
use crate::untouched::Fingerprint;

fn names(sandbox: &Sandbox, tree: &Tree) -> Vec<String> {
    sandbox.files_of(tree).keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn content(sandbox: &Sandbox, tree: &Tree, path: &str) -> String {
    match sandbox.files_of(tree).remove(path.as_bytes()) {
        Some(Entry::File { content, .. }) => String::from_utf8(content).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

sandboxed! {
    fn the_repository_is_described(sandbox) {
        sandbox.init();
        let snapshots = sandbox.open();
        let found = snapshots.repository().unwrap();
        assert_eq!((&found.root, &found.git_dir), (&sandbox.work, &sandbox.work.join(".git")));
        assert_eq!((&found.head, found.branch.as_deref()), (&None, Some("main")));
        drop(snapshots);

        sandbox.write("a", "a\n");
        sandbox.commit();
        let head = Some(sandbox.git(&["rev-parse", "HEAD"]).trim().to_owned());
        let found = sandbox.open().repository().unwrap().clone();
        assert_eq!((&found.head, found.branch.as_deref()), (&head, Some("main")));

        sandbox.git(&["checkout", "-q", "--detach"]);
        let found = sandbox.open().repository().unwrap().clone();
        assert_eq!((found.head, found.branch), (head.clone(), None));

        let linked = sandbox.spare.join("linked");
        sandbox.git(&["worktree", "add", "-q", "-b", "topic/x", linked.to_str().unwrap()]);
        let open = Snapshotter::open(&linked, &sandbox.objects, Limits::default(), Box::new(NoSecrets));
        let found = open.unwrap().repository().unwrap().clone();
        assert_eq!((found.head, found.branch.as_deref()), (head, Some("topic/x")));
        assert_eq!((found.root, found.common_dir), (linked, sandbox.work.join(".git")));
    }

    fn below_the_top_the_whole_repository_is_recorded(sandbox) {
        sandbox.init();
        sandbox.write("top", "1\n");
        sandbox.write("sub/inner", "1\n");
        sandbox.commit();
        let mut snapshots = Snapshotter::open(
            &sandbox.work.join("sub"), &sandbox.objects, Limits::default(), Box::new(NoSecrets)).unwrap();
        assert_eq!(snapshots.root(), sandbox.work);
        let before = take_all(&mut snapshots);
        sandbox.write("top", "2\n");
        let after = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&before, &after).unwrap()[0].path, b"top");
    }

    /// What an agent does with git changes nothing: only files count.
    fn what_happens_in_git_is_no_change(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write("b", "1\n");
        sandbox.commit();
        sandbox.write("a", "2\n");
        sandbox.write("c", "1\n");
        let mut snapshots = sandbox.open();
        let start = take_all(&mut snapshots);
        sandbox.commit();
        assert_eq!(take_all(&mut snapshots), start);
        sandbox.git(&["rm", "-q", "--cached", "b"]);
        assert_eq!(take_all(&mut snapshots), start);
        sandbox.git(&["checkout", "-q", "--orphan", "other"]);
        assert_eq!(take_all(&mut snapshots), start);
        sandbox.git(&["checkout", "-q", "-f", "main"]);
        sandbox.git(&["checkout", "-q", "HEAD~", "--", "a"]);
        let back = take_all(&mut snapshots);
        assert_eq!(content(sandbox, &back, "a"), "1\n");
        sandbox.git(&["reset", "-q", "--hard"]);
        assert_eq!(take_all(&mut snapshots), start);
        sandbox.write("a", "3\n");
        sandbox.git(&["stash", "-q"]);
        assert_eq!(take_all(&mut snapshots), start);
        fs::remove_dir_all(sandbox.work.join(".git/refs")).unwrap();
        fs::remove_file(sandbox.work.join(".git/index")).unwrap();
        assert_eq!(take_all(&mut snapshots), start);
    }

    /// A repository of any size: what a session stores is what changed.
    fn a_change_costs_what_it_is(sandbox) {
        sandbox.init();
        for n in 0..60 {
            sandbox.write(&format!("{}/{}/{n}", n % 3, n % 20), format!("{n}\n"));
        }
        sandbox.commit();
        let mut snapshots = sandbox.open();
        take_all(&mut snapshots);
        sandbox.write("1/1/1", "changed\n");
        let tree = take_all(&mut snapshots);
        drop(snapshots);
        // One file, its two directories, and the top.
        assert_eq!(read_files(&sandbox.objects, &|_| false).len(), 4);
        assert_eq!(tree.as_str(), sandbox.tree_by_git_add());
        // Nothing, when nothing changed, or only what the repository has.
        fs::remove_dir_all(&sandbox.objects).unwrap();
        sandbox.commit();
        take_all(&mut sandbox.open());
        assert_eq!(read_files(&sandbox.objects, &|_| false).len(), 0);
    }

    /// The history a session leaned on is thrown away while it runs.
    fn a_pruned_repository_does_not_stop_it(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        let mut snapshots = sandbox.open();
        take_all(&mut snapshots);
        sandbox.write("a", "2\n");
        sandbox.git(&["add", "a"]);
        sandbox.git(&["commit", "-q", "--amend", "-m", "other"]);
        sandbox.git(&["reflog", "expire", "--expire=now", "--all"]);
        sandbox.git(&["gc", "-q", "--prune=now"]);
        let second = take_all(&mut snapshots);
        sandbox.write("a", "3\n");
        let third = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&second, &third).unwrap().len(), 1);
        assert_eq!(content(sandbox, &third, "a"), "3\n");
    }

    fn a_conflict_is_recorded_as_it_lies_there(sandbox) {
        sandbox.init();
        for name in ["both", "deleted", "theirs-deleted"] {
            sandbox.write(name, "1\n");
        }
        sandbox.commit();
        sandbox.git(&["checkout", "-q", "-b", "topic"]);
        sandbox.write("both", "2\n");
        sandbox.write("deleted", "2\n");
        sandbox.git(&["rm", "-q", "theirs-deleted"]);
        sandbox.commit();
        sandbox.git(&["checkout", "-q", "main"]);
        sandbox.write("both", "3\n");
        sandbox.write("theirs-deleted", "3\n");
        sandbox.git(&["rm", "-q", "deleted"]);
        sandbox.commit();
        let merge = std::process::Command::new("git").args(["merge", "-q", "topic"]).current_dir(&sandbox.work).output();
        assert!(!merge.unwrap().status.success());
        fs::remove_file(sandbox.work.join("deleted")).unwrap();
        let untouched = Fingerprint::of(&sandbox.work.join(".git"));
        let mut snapshots = sandbox.open();
        let tree = take_all(&mut snapshots);
        assert_eq!(sandbox.files_of(&tree), read_files(&sandbox.work, &|_| false));
        assert!(content(sandbox, &tree, "both").contains("<<<<<<<"));
        sandbox.write("both", "resolved\n");
        let after = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&tree, &after).unwrap().len(), 1);
        untouched.check(&sandbox.work.join(".git"));
    }

    fn a_sparse_checkout_is_whole(_sandbox) {
        for index in ["false", "true"] {
            let sandbox = &Sandbox::new();
            sandbox.init();
            for name in ["a/1", "a/2", "b/1", "b/c/2", "top"] {
                sandbox.write(name, format!("{name}\n"));
            }
            sandbox.commit();
            sandbox.git(&["config", "index.sparse", index]);
            sandbox.git(&["sparse-checkout", "set", "--cone", "a"]);
            assert!(!sandbox.work.join("b").exists());
            let head = sandbox.git(&["rev-parse", "HEAD^{tree}"]);
            let untouched = Fingerprint::of(&sandbox.work.join(".git"));
            let mut snapshots = sandbox.open();
            let before = take_all(&mut snapshots);
            assert_eq!(before.as_str(), head.trim());
            sandbox.write("a/1", "changed\n");
            sandbox.write("b/c/new", "new\n");
            sandbox.write("b/1", "there again\n");
            let after = take_all(&mut snapshots);
            let changed: Vec<_> = snapshots.changes(&before, &after).unwrap().into_iter().map(|change| change.path).collect();
            assert_eq!(changed, [b"a/1".to_vec(), b"b/1".to_vec(), b"b/c/new".to_vec()]);
            untouched.check(&sandbox.work.join(".git"));
        }
    }

    fn staged_and_intended_files_are_there(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        sandbox.write("a", "2\n");
        sandbox.git(&["add", "a"]);
        sandbox.write("a", "3\n");
        sandbox.write("intended", "1\n");
        sandbox.git(&["add", "-N", "intended"]);
        sandbox.write("staged", "1\n");
        sandbox.git(&["add", "staged"]);
        fs::remove_file(sandbox.work.join("staged")).unwrap();
        let untouched = Fingerprint::of(&sandbox.work.join(".git"));
        let tree = take_all(&mut sandbox.open());
        assert_eq!(names(sandbox, &tree), ["a", "intended"]);
        assert_eq!(content(sandbox, &tree, "a"), "3\n");
        untouched.check(&sandbox.work.join(".git"));
    }

    fn nested_repositories_are_named_and_not_entered(_sandbox) {
        for plain in [true, false] {
            let sandbox = &Sandbox::new();
            if !plain {
                sandbox.init();
            }
            sandbox.write("a", "1\n");
            for name in ["nested", "deep/er/nested \u{e9}\n", "empty"] {
                fs::create_dir_all(sandbox.work.join(name)).unwrap();
                git_in(&sandbox.work.join(name), &["init", "-q"]);
            }
            sandbox.write("nested/inside", "1\n");
            git_in(&sandbox.work.join("nested"), &["add", "."]);
            git_in(&sandbox.work.join("nested"), &["commit", "-q", "-m", "x"]);
            sandbox.write("deep/er/nested \u{e9}\n/inside", "1\n");
            let mut snapshots = sandbox.open();
            let taken = snapshots.take().unwrap();
            assert_eq!(names(sandbox, &taken.tree), ["a"]);
            let withheld: Vec<_> = taken.withheld.iter().map(|withheld| (withheld.path.as_slice(), &withheld.reason)).collect();
            let nested = &WithheldReason::NestedRepository;
            let deep = "deep/er/nested \u{e9}\n".as_bytes();
            assert_eq!(withheld, [(deep, nested), (b"empty".as_slice(), nested), (b"nested".as_slice(), nested)]);
            // A tracked file makes way for a repository.
            fs::remove_file(sandbox.work.join("a")).unwrap();
            fs::rename(sandbox.work.join("nested"), sandbox.work.join("a")).unwrap();
            let taken = snapshots.take().unwrap();
            assert_eq!(names(sandbox, &taken.tree), [] as [&str; 0]);
            assert_eq!(taken.withheld[0].path, b"a");
        }
    }

    fn a_name_of_other_bytes_is_no_obstacle(sandbox) {
        let odd = sandbox.work.join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
        fs::create_dir(&odd).unwrap();
        git_in(&odd, &["init", "-q"]);
        fs::write(odd.join("a"), "1\n").unwrap();
        let mut snapshots = Snapshotter::open(&odd, &sandbox.objects, Limits::default(), Box::new(NoSecrets)).unwrap();
        let before = take_all(&mut snapshots);
        let start = sandbox.spare.join("start");
        copy_files(&odd, &start);
        fs::write(odd.join("a"), "2\n").unwrap();
        let after = take_all(&mut snapshots);
        apply(&start, &patch(&snapshots, &before, &after));
        assert_eq!(fs::read_to_string(start.join("a")).unwrap(), "2\n");
    }

    /// A session directory inside of what is recorded.
    fn the_session_itself_is_left_out(sandbox) {
        let objects = sandbox.work.join("log [1]/session/objects");
        for repository in [false, true] {
            if repository {
                sandbox.init();
            }
            let mut snapshots = Snapshotter::open(&sandbox.work, &objects, Limits::default(), Box::new(NoSecrets)).unwrap();
            sandbox.write(&format!("first {repository}"), "1\n");
            let first = take_all(&mut snapshots);
            let nothing = Tree::parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
            for change in snapshots.changes(&nothing, &first).unwrap() {
                assert!(!change.path.starts_with(b"log [1]/session/objects"), "{change:?}");
            }
            drop(snapshots);
            let mut snapshots =
                Snapshotter::open(&sandbox.work, &objects, Limits::default(), Box::new(NoSecrets)).unwrap();
            snapshots.exclude(objects.parent().unwrap()).unwrap();
            sandbox.write("a", "1\n");
            sandbox.write("log [1]/session/journal", "1\n");
            sandbox.write("log 1/session/journal", "1\n");
            let before = take_all(&mut snapshots);
            sandbox.write("log [1]/session/journal", "2\n");
            assert_eq!(take_all(&mut snapshots), before);
            sandbox.write(&format!("log [1]/other {repository}"), "2\n");
            let after = take_all(&mut snapshots);
            assert_eq!(snapshots.changes(&before, &after).unwrap().len(), 1);
        }
    }
}
