//! Putting trees back: every case of the other tests, backwards and forwards, and what must stay as it is.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;

use decklog_snapshot::{
    FileScanner, LeftReason, Limits, NoSecrets, Restored, SnapshotError, SnapshotReader, Snapshotter, Taken, Tree,
    WithheldReason,
};

use crate::files::{Files, copy_files, read_files};
use crate::places::{Place, git_directory};
use crate::sandbox::{Sandbox, sandboxed, take_all};
use crate::turns::{Case, cases};
use crate::untouched::Fingerprint;

fn all(directory: &Path) -> Files {
    read_files(directory, &|_| false)
}

/// Snapshots what is there as a session of its own would, and restores `target` of the sandbox's session.
fn restore(sandbox: &Sandbox, target: &Tree) -> Result<Restored, SnapshotError> {
    let own = tempfile::TempDir::new_in(&sandbox.spare).unwrap();
    let objects = own.path().join("objects");
    let mut snapshots = Snapshotter::open(&sandbox.work, &objects, Limits::default(), Box::new(NoSecrets)).unwrap();
    let present = snapshots.take().unwrap();
    let restored = snapshots.restore(&present, target, &sandbox.objects, &|_| false)?;
    let after = snapshots.take().unwrap();
    // Without its .gitignore, what was ignored is not.
    if restored.left.is_empty() && !restored.removed.iter().any(|path| path.ends_with(b".gitignore")) {
        assert_eq!(after.tree, *target, "{restored:?}");
    }
    Ok(restored)
}

fn check(place: Place, case: &Case) {
    let context = format!("{:?}, {place:?}", case.name);
    let mut sandbox = Sandbox::new();
    place.prepare(&mut sandbox, &case.start);
    let start = sandbox.spare.join("start");
    copy_files(&sandbox.work, &start);
    let mut snapshots = sandbox.open();
    let before = take_all(&mut snapshots);
    for step in &case.turn {
        step.run(&sandbox.work);
    }
    let after = take_all(&mut snapshots);
    drop(snapshots);
    let end = sandbox.spare.join("end");
    copy_files(&sandbox.work, &end);
    let untouched = git_directory(&sandbox).map(|git| Fingerprint::of(&git));

    let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
    let ignored = |name: &[u8]| {
        case.name == "ignored" && (name.ends_with(b".o") || name.starts_with(b"out/") || name == b"sub/c")
    };
    for (n, (tree, files)) in [(&before, &start), (&after, &end)].into_iter().enumerate() {
        let into = sandbox.spare.join(format!("into{n}"));
        fs::create_dir(&into).unwrap();
        let restored = reader.restore_into(tree, &into).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(read_files(&into, &ignored), read_files(files, &ignored), "{context}: into");
        assert_eq!(restored.written.len(), all(&into).len(), "{context}");
    }
    for (tree, files) in [(&before, &start), (&after, &end), (&before, &start)] {
        let restored = restore(&sandbox, tree).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(restored.left, [], "{context}");
        assert_eq!(read_files(&sandbox.work, &ignored), read_files(files, &ignored), "{context}: in place");
    }
    if let Some(untouched) = untouched {
        untouched.check(&git_directory(&sandbox).unwrap());
    }
}

/// A session of two snapshots: `a` is changed, `new` is made.
fn session(sandbox: &Sandbox) -> (Tree, Tree) {
    sandbox.init();
    sandbox.write(".gitignore", "*.log\n");
    sandbox.write("a", "1\n");
    sandbox.write("dir/b", "b\n");
    sandbox.commit();
    let mut snapshots = sandbox.open();
    let before = take_all(&mut snapshots);
    sandbox.write("a", "2\n");
    sandbox.write("new", "new\n");
    let after = take_all(&mut snapshots);
    (before, after)
}

/// Cannot read `unread`.
struct Failing;

impl FileScanner for Failing {
    fn secret_in(&mut self, path: &Path, _: &mut dyn Read) -> io::Result<Option<String>> {
        if path == Path::new("unread") { Err(io::Error::other("a bad sector")) } else { Ok(None) }
    }
}

struct Finder;

impl FileScanner for Finder {
    fn secret_in(&mut self, _: &Path, content: &mut dyn Read) -> io::Result<Option<String>> {
        let mut all = String::new();
        content.read_to_string(&mut all)?;
        Ok(all.contains("SECRET").then(|| "test-key".to_owned()))
    }
}

sandboxed! {
    fn every_case_without_repository(_sandbox) {
        cases().iter().for_each(|case| check(Place::Plain, case));
    }

    fn every_case_committed(_sandbox) {
        cases().iter().for_each(|case| check(Place::Committed, case));
    }

    fn some_cases_elsewhere(_sandbox) {
        for case in cases().iter().filter(|case| ["new, changed, deleted", "file becomes directory"].contains(&case.name)) {
            for place in [Place::Sha256, Place::OddPath, Place::Linked, Place::SplitIndex] {
                check(place, case);
            }
        }
    }

    /// Ignored files, those made since, and what a snapshot withholds are left alone.
    fn what_no_snapshot_holds_is_not_touched(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write("key", "harmless\n");
        sandbox.write("out.log/x", "was no log then\n");
        sandbox.write("notes.log", "recorded\n");
        sandbox.commit();
        let before = take_all(&mut sandbox.open());
        fs::remove_file(sandbox.work.join("notes.log")).unwrap();
        fs::remove_dir_all(sandbox.work.join("out.log")).unwrap();
        sandbox.write(".gitignore", "*.log\n");
        sandbox.git(&["rm", "-q", "--cached", "-r", "out.log", "notes.log"]);
        sandbox.write("a", "2\n");
        sandbox.write("key", "SECRET\n");
        sandbox.write("env", "SECRET\n");
        sandbox.write("notes.log", "the user's\n");
        sandbox.write("out.log", "the user's too\n");
        sandbox.write("sub/.git/HEAD", "nested");
        let own = sandbox.spare.join("own");
        let mut snapshots = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(Finder)).unwrap();
        let present = snapshots.take().unwrap();
        let restored = snapshots.restore(&present, &before, &sandbox.objects, &|_| false).unwrap();
        let names = |paths: &[Vec<u8>]| paths.iter().map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>();
        assert_eq!(names(&restored.written), ["a"]);
        assert_eq!(names(&restored.removed), [".gitignore"]);
        let left: Vec<_> =
            restored.left.iter().map(|left| (left.path.escape_ascii().to_string(), &left.reason)).collect();
        assert_eq!(
            left,
            [("notes.log".to_owned(), &LeftReason::Occupied), ("out.log/x".to_owned(), &LeftReason::Occupied)]
        );
        for (path, content) in
            [("a", "1\n"), ("key", "SECRET\n"), ("env", "SECRET\n"), ("notes.log", "the user's\n"), ("out.log", "the user's too\n")]
        {
            assert_eq!(fs::read_to_string(sandbox.work.join(path)).unwrap(), content, "{path}");
        }
        // A tracked file that now holds a secret and differs from what is to be restored.
        sandbox.write("key", "harmless again\n");
        let other = snapshots.take().unwrap().tree;
        sandbox.write("key", "still harmless\n");
        snapshots.take().unwrap();
        sandbox.write("key", "SECRET\n");
        let present = snapshots.take().unwrap();
        let restored = snapshots.restore(&present, &other, &own, &|_| false).unwrap();
        let reason = LeftReason::Withheld(WithheldReason::Secret { rule: "test-key".to_owned() });
        assert_eq!(restored.left.iter().map(|left| left.reason.clone()).collect::<Vec<_>>(), [reason]);
        assert_eq!(fs::read_to_string(sandbox.work.join("key")).unwrap(), "SECRET\n");
    }

    fn a_file_changed_meanwhile_stops_it(sandbox) {
        let (before, _) = session(sandbox);
        let mut snapshots = sandbox.open();
        let present = snapshots.take().unwrap();
        sandbox.write("a", "meanwhile\n");
        let files = all(&sandbox.work);
        let error = snapshots.restore(&present, &before, &sandbox.objects, &|_| false).unwrap_err();
        assert!(matches!(error, SnapshotError::InTheWay { .. }) && error.to_string().contains('a'), "{error}");
        assert_eq!(all(&sandbox.work), files);
    }

    /// git itself would throw away what is ignored in a directory that a file takes the place of.
    fn ignored_files_in_a_directory_hold_its_place(sandbox) {
        sandbox.init();
        sandbox.write(".gitignore", "*.log\n");
        sandbox.write("d", "a file\n");
        sandbox.write("e", "a file\n");
        sandbox.commit();
        let before = take_all(&mut sandbox.open());
        for name in ["d", "e"] {
            fs::remove_file(sandbox.work.join(name)).unwrap();
            sandbox.write(&format!("{name}/deep/a"), "1\n");
        }
        sandbox.write("d/deep/x.log", "the user's\n");
        let restored = restore(sandbox, &before).unwrap();
        let left: Vec<_> = restored.left.iter().map(|left| (left.path.as_slice(), &left.reason)).collect();
        assert_eq!(left, [(b"d".as_slice(), &LeftReason::Occupied)]);
        assert_eq!(fs::read_to_string(sandbox.work.join("d/deep/x.log")).unwrap(), "the user's\n");
        assert_eq!(fs::read_to_string(sandbox.work.join("e")).unwrap(), "a file\n");
    }

    /// Of a file of git-lfs that had not changed, a snapshot has the pointer.
    fn a_pointer_takes_the_place_of_no_content(sandbox) {
        sandbox.init();
        let clean = "echo version https://git-lfs.github.com/spec/v1; sed s/^/oid:/";
        sandbox.git(&["config", "filter.lfs.clean", clean]);
        sandbox.git(&["config", "filter.lfs.smudge", "sed -n s/^oid://p"]);
        sandbox.write(".gitattributes", "*.bin filter=lfs -text\n");
        for name in ["changed.bin", "gone.bin", "a.txt"] {
            sandbox.write(name, "one\n");
            // So long ago that git need not look whether they have changed since they were staged.
            let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            let file = fs::File::options().write(true).open(sandbox.work.join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        sandbox.commit();
        assert!(sandbox.git(&["show", "HEAD:gone.bin"]).starts_with("version"));
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.write("changed.bin", "two\n");
        sandbox.write("a.txt", "two\n");
        fs::remove_file(sandbox.work.join("gone.bin")).unwrap();
        let after = take_all(&mut snapshots);
        let restored = restore(sandbox, &before).unwrap();
        let left: Vec<_> = restored.left.iter().map(|left| (left.path.as_slice(), &left.reason)).collect();
        assert_eq!(left, [(&b"changed.bin"[..], &LeftReason::Pointer), (b"gone.bin", &LeftReason::Pointer)]);
        assert_eq!(restored.written, [b"a.txt"]);
        let read = |name: &str| fs::read_to_string(sandbox.work.join(name)).unwrap();
        assert_eq!((read("a.txt"), read("changed.bin")), ("one\n".to_owned(), "two\n".to_owned()));
        // What it was changed to, a snapshot has whole.
        sandbox.write("changed.bin", "three\n");
        assert_eq!(restore(sandbox, &after).unwrap().left, []);
        assert_eq!(read("changed.bin"), "two\n");
    }

    /// A tracked file that is ignored and now holds a secret goes with no directory.
    fn withheld_files_in_a_directory_hold_its_place(sandbox) {
        sandbox.init();
        sandbox.write(".gitignore", "*.log\n");
        sandbox.write("d", "a file\n");
        sandbox.commit();
        let before = take_all(&mut sandbox.open());
        fs::remove_file(sandbox.work.join("d")).unwrap();
        sandbox.write("d/x.log", "harmless\n");
        sandbox.git(&["add", "-f", "d/x.log"]);
        sandbox.commit();
        sandbox.write("d/x.log", "SECRET\n");
        let own = sandbox.spare.join("own");
        let mut snapshots = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(Finder)).unwrap();
        let present = snapshots.take().unwrap();
        let restored = snapshots.restore(&present, &before, &sandbox.objects, &|_| false).unwrap();
        assert_eq!(restored.left.len(), 2);
        assert_eq!(fs::read_to_string(sandbox.work.join("d/x.log")).unwrap(), "SECRET\n");
    }

    /// What a snapshot withheld may have existed then, and a tracked file may have been another: restoring it neither
    /// removes nor replaces a file at such a path.
    fn what_the_target_withheld_stays(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write("tracked", "1\n");
        sandbox.commit();
        sandbox.write("key", "SECRET\n");
        sandbox.write("dir/key", "SECRET\n");
        sandbox.write("tracked", "SECRET\n");
        let own = sandbox.spare.join("own");
        let mut snapshots = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(Finder)).unwrap();
        let target = snapshots.take().unwrap();
        assert_eq!(target.withheld.len(), 3);
        for path in ["key", "dir/key", "new", "tracked"] {
            sandbox.write(path, "harmless\n");
        }
        let present = snapshots.take().unwrap();
        let is_withheld = |path: &[u8]| [&b"key"[..], b"tracked"].contains(&path) || path.starts_with(b"dir/");
        let restored = snapshots.restore(&present, &target.tree, &sandbox.objects, &is_withheld).unwrap();
        let left: Vec<_> = restored.left.iter().map(|left| (&*left.path, &left.reason)).collect();
        let named = [&b"dir/key"[..], b"key", b"tracked"].map(|path| (path, &LeftReason::NotInTarget));
        assert_eq!(left, named);
        assert_eq!(restored.removed, [b"new"]);
        for path in ["key", "dir/key", "tracked"] {
            assert_eq!(fs::read_to_string(sandbox.work.join(path)).unwrap(), "harmless\n");
        }
    }

    /// What a sparse checkout leaves out is left out, and named; the rest is restored.
    fn a_sparse_checkout_stays_sparse(sandbox) {
        sandbox.init();
        for path in ["a/x", "b/y", "b/z"] {
            sandbox.write(path, "1\n");
        }
        sandbox.commit();
        let before = take_all(&mut sandbox.open());
        sandbox.write("a/x", "2\n");
        sandbox.write("b/y", "2\n");
        sandbox.commit();
        sandbox.git(&["sparse-checkout", "set", "--cone", "a"]);
        assert!(!sandbox.work.join("b").exists());
        let restored = restore(sandbox, &before).unwrap();
        assert_eq!(restored.written, [b"a/x"]);
        let left: Vec<_> = restored.left.iter().map(|left| (&*left.path, &left.reason)).collect();
        assert_eq!(left, [(&b"b/y"[..], &LeftReason::Sparse)]);
        assert!(!sandbox.work.join("b").exists());
    }

    /// What killed restores left goes with the next one, wherever that replaces files; what is in use or another's stays.
    fn what_killed_restores_left_is_removed(sandbox) {
        let (before, _) = session(sandbox);
        sandbox.write(".git/info/exclude", ".decklog-*\n");
        sandbox.write("dir/b", "changed\n");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let (dead, alive) = (child.id(), std::process::id());
        child.wait().unwrap();
        for place in ["", "dir/"] {
            let directories = [
                format!(".decklog-try-{dead}"),
                format!(".decklog-try-{alive}"),
                ".decklog-try-theirs".into(),
                format!(".decklog-restore-{dead}-0/new/tree"),
                format!(".decklog-restore-{dead}-2/new"),
            ];
            for directory in directories {
                fs::create_dir_all(sandbox.work.join(format!("{place}{directory}"))).unwrap();
            }
            let files = [
                format!(".decklog-room-{dead}"),
                ".decklog-room-theirs".into(),
                format!(".decklog-restore-{dead}-0/new/tree/file"),
                format!(".decklog-restore-{dead}-2/1"),
            ];
            for file in files {
                sandbox.write(&format!("{place}{file}"), "\0\0");
            }
        }
        restore(sandbox, &before).unwrap();
        for place in [sandbox.work.clone(), sandbox.work.join("dir")] {
            let mut left: Vec<String> = fs::read_dir(&place)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with(".decklog"))
                .collect();
            left.sort();
            let restore = format!(".decklog-restore-{dead}-2");
            assert_eq!(left, [restore, ".decklog-room-theirs".into(), format!(".decklog-try-{alive}"), ".decklog-try-theirs".into()]);
        }
    }

    /// A file that cannot be read is in no list of changes, and is named all the same.
    fn what_cannot_be_read_is_named(sandbox) {
        let (before, _) = session(sandbox);
        sandbox.write("unread", "1\n");
        let own = sandbox.spare.join("own");
        let mut snapshots = Snapshotter::open(&sandbox.work, &own, Limits::default(), Box::new(Failing)).unwrap();
        let present = snapshots.take().unwrap();
        let restored = snapshots.restore(&present, &before, &sandbox.objects, &|_| false).unwrap();
        let unread = restored.left.iter().find(|left| left.path == b"unread").unwrap();
        assert!(matches!(&unread.reason, LeftReason::Withheld(WithheldReason::Unreadable { .. })), "{unread:?}");
        assert!(sandbox.work.join("unread").exists());
    }

    /// A directory that became a link since leads nowhere.
    fn nothing_is_written_through_a_link(sandbox) {
        let (before, _) = session(sandbox);
        let outside = sandbox.spare.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("b"), "outside\n").unwrap();
        fs::remove_dir_all(sandbox.work.join("dir")).unwrap();
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        restore(sandbox, &before).unwrap();
        assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "outside\n");
        assert_eq!(fs::read_to_string(sandbox.work.join("dir/b")).unwrap(), "b\n");
        assert!(!sandbox.work.join("dir").is_symlink());
        // An ignored link is in nobody's snapshot.
        fs::remove_dir_all(sandbox.work.join("dir")).unwrap();
        sandbox.write(".git/info/exclude", "/dir\n");
        sandbox.git(&["rm", "-rq", "--cached", "dir"]);
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        let restored = restore(sandbox, &before).unwrap();
        assert_eq!(restored.left.len(), 1);
        assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "outside\n");
    }

    fn hostile_trees_stay_inside(sandbox) {
        let (before, _) = session(sandbox);
        // A tree that no git would write: `..` and `.git` are names in it.
        for name in ["..", ".git", "a/../../x"] {
            let blob = sandbox.git(&["hash-object", "-w", "a"]);
            let raw: Vec<u8> = (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
            let mut tree = format!("100644 {name}\0").into_bytes();
            tree.extend(raw);
            fs::write(sandbox.spare.join("tree"), tree).unwrap();
            let path = sandbox.spare.join("tree");
            let tree = sandbox.git(&["hash-object", "-t", "tree", "--literally", "-w", path.to_str().unwrap()]);
            let tree = Tree::parse(tree.trim()).unwrap();
            let into = tempfile::TempDir::new_in(&sandbox.spare).unwrap();
            let directory = into.path().join("x/y");
            fs::create_dir_all(&directory).unwrap();
            let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
            reader.restore_into(&tree, &directory).unwrap_err();
            assert!(all(into.path()).is_empty(), "{name}");
            let files = all(&sandbox.work);
            restore(sandbox, &tree).unwrap_err();
            assert_eq!(all(&sandbox.work), files, "{name}");
        }
        restore(sandbox, &before).unwrap();
    }

    fn a_pruned_object_is_named_and_nothing_changes(sandbox) {
        let (before, after) = session(sandbox);
        let blob = sandbox.git(&["rev-parse", "HEAD:dir/b"]);
        fs::remove_file(sandbox.work.join(".git/objects").join(&blob[..2]).join(blob[2..].trim())).unwrap();
        sandbox.write("dir/b", "other\n");
        let files = all(&sandbox.work);
        let error = restore(sandbox, &before).unwrap_err();
        assert!(error.to_string().contains("\"dir/b\" as it was then is no longer there"), "{error}");
        assert_eq!(all(&sandbox.work), files);
        let into = sandbox.spare.join("into");
        fs::create_dir(&into).unwrap();
        // Without the repository, all that it held is gone.
        let reader = SnapshotReader::open(None, &sandbox.objects).unwrap();
        for tree in [&before, &after] {
            assert!(matches!(reader.restore_into(tree, &into), Err(SnapshotError::Gone { .. })));
        }
        assert!(all(&into).is_empty());
    }

    /// What git stores with LF and checks out with CRLF comes back as the user had it.
    fn line_endings_come_back(sandbox) {
        sandbox.init();
        sandbox.write(".gitattributes", "*.txt text eol=crlf\n");
        sandbox.write("a.txt", "1\r\n2\r\n");
        sandbox.commit();
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.write("a.txt", "3\r\n");
        let Taken { .. } = snapshots.take().unwrap();
        restore(sandbox, &before).unwrap();
        assert_eq!(fs::read(sandbox.work.join("a.txt")).unwrap(), b"1\r\n2\r\n");
        let into = sandbox.spare.join("into");
        fs::create_dir(&into).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        reader.restore_into(&before, &into).unwrap();
        assert_eq!(fs::read(into.join("a.txt")).unwrap(), b"1\r\n2\r\n");
    }

    /// Filters are run where the user's own git would run them, and by no other directory.
    fn filters_are_run_in_place_alone(sandbox) {
        sandbox.init();
        sandbox.git(&["config", "filter.up.clean", "tr a-z A-Z"]);
        sandbox.git(&["config", "filter.up.smudge", "tr A-Z a-z"]);
        sandbox.git(&["config", "filter.up.required", "true"]);
        sandbox.write(".gitattributes", "*.up filter=up\n");
        sandbox.write("a.up", "one\n");
        sandbox.commit();
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.write("a.up", "two\n");
        take_all(&mut snapshots);
        restore(sandbox, &before).unwrap();
        assert_eq!(fs::read_to_string(sandbox.work.join("a.up")).unwrap(), "one\n");
        let into = sandbox.spare.join("into");
        fs::create_dir(&into).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        reader.restore_into(&before, &into).unwrap();
        assert_eq!(fs::read_to_string(into.join("a.up")).unwrap(), "ONE\n");
    }

    /// A filter named from the top of the working tree is found there, as by the user's own git.
    fn filters_are_named_from_the_top(sandbox) {
        sandbox.init();
        sandbox.git(&["config", "filter.up.clean", "./tools/up a-z A-Z"]);
        sandbox.git(&["config", "filter.up.smudge", "./tools/up A-Z a-z"]);
        sandbox.write(".gitattributes", "*.up filter=up\n");
        sandbox.write("tools/up", "#!/bin/sh\ngit rev-parse --show-toplevel >>../spare/tops\nexec tr \"$@\"\n");
        fs::set_permissions(sandbox.work.join("tools/up"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        sandbox.write("a.up", "one\n");
        sandbox.commit();
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.write("a.up", "two\n");
        sandbox.write("sub/.gitattributes", "*.down filter=up\n");
        sandbox.write("sub/b.down", "three\n");
        let after = take_all(&mut snapshots);
        fs::remove_file(sandbox.work.join("sub/b.down")).unwrap();
        restore(sandbox, &before).unwrap();
        assert_eq!(fs::read_to_string(sandbox.work.join("a.up")).unwrap(), "one\n");
        restore(sandbox, &after).unwrap();
        assert_eq!(fs::read_to_string(sandbox.work.join("sub/b.down")).unwrap(), "three\n");
        let tops = fs::read_to_string(sandbox.spare.join("tops")).unwrap();
        assert!(tops.lines().all(|top| top == sandbox.work.to_str().unwrap()), "{tops}");
    }

    /// What was done inside submodules is undone as in directories; one without content is named.
    fn submodules_are_directories(sandbox) {
        crate::submodules::prepare(sandbox);
        let start = sandbox.spare.join("start");
        copy_files(&sandbox.work, &start);
        let before = take_all(&mut sandbox.open());
        sandbox.write("libs/one/file", "2\n");
        sandbox.write("libs/one/new", "new\n");
        fs::remove_file(sandbox.work.join("libs/one/inner/file")).unwrap();
        let after = take_all(&mut sandbox.open());
        let end = sandbox.spare.join("end");
        copy_files(&sandbox.work, &end);
        let untouched = Fingerprint::of(&sandbox.work.join(".git"));
        for (tree, files) in [(&before, &start), (&after, &end), (&before, &start)] {
            let restored = restore(sandbox, tree).unwrap();
            assert_eq!(restored.left, []);
            assert_eq!(all(&sandbox.work), all(files));
        }
        untouched.check(&sandbox.work.join(".git"));
        let into = sandbox.spare.join("into");
        fs::create_dir(&into).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        let restored = reader.restore_into(&before, &into).unwrap();
        assert_eq!(all(&into), all(&start));
        assert_eq!(restored.left.iter().map(|left| left.path.as_slice()).collect::<Vec<_>>(), [b"absent"]);
    }

    /// A file made in a directory that gives its group has that group; so has one that is put back.
    fn groups_come_from_directories(sandbox) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let (before, after) = session(sandbox);
        let dir = sandbox.work.join("dir");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        chown(&dir, None, Some(12345)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775)).unwrap();
        fs::remove_file(dir.join("b")).unwrap();
        fs::write(sandbox.work.join("dir/c"), "c\n").unwrap();
        let other = take_all(&mut sandbox.open());
        for (tree, name) in [(&before, "b"), (&other, "c"), (&after, "b")] {
            restore(sandbox, tree).unwrap();
            assert_eq!(fs::metadata(dir.join(name)).unwrap().gid(), 12345, "{name}");
            assert_eq!(fs::metadata(dir.join(name)).unwrap().mode() & 0o777, 0o644, "{name}");
        }
        assert_eq!(fs::read_dir(&sandbox.work).unwrap().count(), 5, "nothing of ours is left");
    }

    /// No rename leads from one mount to another.
    fn a_mount_in_the_tree(sandbox) {
        let (before, _) = session(sandbox);
        sandbox.write("dir/b", "changed\n");
        sandbox.write("dir/deep/new", "new\n");
        symlink("b", sandbox.work.join("dir/link")).unwrap();
        let dir = sandbox.work.join("dir");
        let run = |program: &str, words: &[&std::ffi::OsStr]| {
            std::process::Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
        };
        if !run("mount", &["--bind".as_ref(), dir.as_ref(), dir.as_ref()]) {
            assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "mounting is not possible here");
            return;
        }
        let after = take_all(&mut sandbox.open());
        let end = sandbox.spare.join("end");
        copy_files(&sandbox.work, &end);
        let back = restore(sandbox, &before);
        let middle = all(&sandbox.work);
        let forth = restore(sandbox, &after);
        let files = all(&sandbox.work);
        assert!(run("umount", &[dir.as_ref()]));
        back.unwrap();
        forth.unwrap();
        assert_eq!(files, all(&end));
        assert!(!middle.contains_key(b"dir/link".as_slice()));
        let ours = |entry: fs::DirEntry| entry.file_name().into_string().unwrap().starts_with(".decklog");
        assert!(!fs::read_dir(&dir).unwrap().any(|entry| ours(entry.unwrap())));
    }

    fn commits_are_known_by_the_repository(sandbox) {
        session(sandbox);
        let snapshots = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        let head = sandbox.git(&["rev-parse", "HEAD"]);
        assert!(snapshots.has_commit(head.trim()).unwrap());
        assert!(!snapshots.has_commit("HEAD").unwrap());
        assert!(!snapshots.has_commit(&"0".repeat(40)).unwrap());
        let tree = sandbox.git(&["rev-parse", "HEAD^{tree}"]);
        assert!(!snapshots.has_commit(tree.trim()).unwrap());
    }
}
