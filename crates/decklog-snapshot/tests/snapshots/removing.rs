//! Removing linked worktrees, whatever an agent made of them, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use decklog_snapshot::{LinkedWorktree, SnapshotError};

use crate::files::read_files;
use crate::linked::{Repository, create, worktrees};
use crate::sandbox::{Sandbox, git_in, sandboxed};

/// A repository with a worktree of the user's own.
fn prepare(sandbox: &Sandbox) -> Repository {
    sandbox.init();
    sandbox.write("a", "1\n");
    sandbox.write("dir/b", "b\n");
    sandbox.commit();
    sandbox.git(&["worktree", "add", "-q", sandbox.spare.join("users").to_str().unwrap()]);
    // Another, which is gone for the moment: on a disk that is not plugged in, say.
    sandbox.git(&["worktree", "add", "-q", sandbox.spare.join("away").to_str().unwrap()]);
    fs::remove_dir_all(sandbox.spare.join("away")).unwrap();
    let outside = sandbox.spare.join("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("file"), "outside\n").unwrap();
    fs::write(outside.join("deep/file"), "outside\n").unwrap();
    Repository::of(&sandbox.work.join(".git"))
}

fn remove(sandbox: &Sandbox, path: &Path) -> Result<(), SnapshotError> {
    LinkedWorktree::remove(&sandbox.work.join(".git"), path)
}

/// Sees that it is gone and all else is there, and that removing it again is no error.
fn check(sandbox: &Sandbox, path: &Path, untouched: &Repository) {
    for _ in 0..2 {
        assert!(fs::symlink_metadata(path).is_err(), "it is there");
        untouched.check(&["away", "users"]);
        assert_eq!(read_files(&sandbox.spare.join("outside"), &|_| false).len(), 2);
        assert_eq!(read_files(&sandbox.work, &|_| false).len(), 2);
        assert_eq!(git_in(&sandbox.spare.join("users"), &["-c", "status.branch=false", "status", "--porcelain"]), "");
        remove(sandbox, path).unwrap();
    }
}

/// Nothing is closed to root: then somebody else is to do it, to whom all is given.
fn as_somebody(sandbox: &Sandbox, work: impl FnOnce() + Send) {
    const SOMEBODY: u32 = 12345;
    if !rustix::process::geteuid().is_root() {
        return work();
    }
    let mut pending = vec![sandbox.spare.parent().unwrap().to_owned()];
    while let Some(path) = pending.pop() {
        lchown(&path, Some(SOMEBODY), None).unwrap();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let somebody = rustix::process::Uid::from_raw(SOMEBODY);
            rustix::thread::set_thread_res_uid(somebody, somebody, somebody).unwrap();
            work();
        });
        thread.join().unwrap();
    });
}

sandboxed! {
    fn one_of_several(sandbox) {
        let untouched = prepare(sandbox);
        for directory in ["one", "two"] {
            fs::create_dir(sandbox.spare.join(directory)).unwrap();
        }
        let (one, two) = (create(sandbox, "one/tree"), create(sandbox, "two/tree"));
        untouched.check(&["away", "tree", "tree1", "users"]);
        fs::write(two.root.join("new"), "new\n").unwrap();
        remove(sandbox, &two.root).unwrap();
        untouched.check(&["away", "tree", "users"]);
        assert_eq!(git_in(&one.root, &["-c", "status.branch=false", "status", "--porcelain"]), "");
        // Named another way.
        symlink(sandbox.spare.join("one"), sandbox.spare.join("link")).unwrap();
        remove(sandbox, &sandbox.spare.join("link/tree")).unwrap();
        check(sandbox, &one.root, &untouched);
    }

    fn links_to_elsewhere(sandbox) {
        let untouched = prepare(sandbox);
        let linked = create(sandbox, "racer");
        let outside = sandbox.spare.join("outside");
        symlink(&outside, linked.root.join("link")).unwrap();
        symlink(outside.join("file"), linked.root.join("dir/file")).unwrap();
        symlink(&sandbox.work, linked.root.join("dir/work")).unwrap();
        fs::remove_dir_all(linked.root.join("dir")).unwrap();
        symlink(&outside, linked.root.join("dir")).unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
    }

    /// The worktree is a link itself, then a file.
    fn replaced_as_a_whole(sandbox) {
        let untouched = prepare(sandbox);
        let linked = create(sandbox, "racer");
        fs::remove_dir_all(&linked.root).unwrap();
        symlink(sandbox.spare.join("outside"), &linked.root).unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
        let linked = create(sandbox, "racer");
        fs::remove_dir_all(&linked.root).unwrap();
        fs::write(&linked.root, "a file\n").unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
    }

    fn half_there_or_gone(sandbox) {
        let untouched = prepare(sandbox);
        let linked = create(sandbox, "racer");
        fs::remove_file(linked.root.join(".git")).unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
        let linked = create(sandbox, "racer");
        fs::remove_dir_all(&linked.root).unwrap();
        assert_eq!(worktrees(&sandbox.work.join(".git")), ["away", "racer", "users"]);
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
        // With the directory around it.
        fs::create_dir(sandbox.spare.join("session")).unwrap();
        let linked = create(sandbox, "session/racer");
        fs::remove_dir_all(sandbox.spare.join("session")).unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
        // The entry is gone, or a part of it.
        for part in ["", "gitdir", "HEAD"] {
            let linked = create(sandbox, "racer");
            let entry = sandbox.work.join(".git/worktrees/racer");
            if part.is_empty() { fs::remove_dir_all(&entry) } else { fs::remove_file(entry.join(part)) }.unwrap();
            remove(sandbox, &linked.root).unwrap();
            assert!(!linked.root.exists());
            // An entry that names nothing is nobody's, and git's to clean up.
            let left = fs::remove_dir_all(&entry).is_ok();
            assert_eq!(left, part == "gitdir");
            check(sandbox, &linked.root, &untouched);
        }
    }

    fn locked(sandbox) {
        let untouched = prepare(sandbox);
        let linked = create(sandbox, "racer");
        git_in(&linked.root, &["worktree", "lock", "--reason", "mine", "."]);
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
    }

    /// Where the repository is, is not for the worktree to say.
    fn with_another_git_in_it(sandbox) {
        let untouched = prepare(sandbox);
        let other = sandbox.spare.join("other");
        git_in(&sandbox.spare, &["init", "-q", "other"]);
        git_in(&other, &["commit", "-q", "--allow-empty", "-m", "x"]);
        let users = fs::read_to_string(sandbox.spare.join("users/.git")).unwrap();
        let say = format!("gitdir: {}\n", other.join(".git").display());
        for (n, content) in [users.as_str(), say.as_str(), "gitdir: /\n", "garbage\0", ""].into_iter().enumerate() {
            let linked = create(sandbox, "racer");
            fs::write(linked.root.join(".git"), content).unwrap();
            remove(sandbox, &linked.root).unwrap();
            check(sandbox, &linked.root, &untouched);
            assert!(other.join(".git/HEAD").exists(), "{n}");
        }
        let linked = create(sandbox, "racer");
        fs::remove_file(linked.root.join(".git")).unwrap();
        git_in(&linked.root, &["init", "-q"]);
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
        let linked = create(sandbox, "racer");
        fs::remove_file(linked.root.join(".git")).unwrap();
        symlink(sandbox.work.join(".git"), linked.root.join(".git")).unwrap();
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
    }

    /// An entry is told by the path it names, not by its own name or what it says besides.
    fn entries_of_others_stay(sandbox) {
        prepare(sandbox);
        let linked = create(sandbox, "racer");
        let entries = sandbox.work.join(".git/worktrees");
        // The worktree was moved by git: the entry is another's now.
        let moved = sandbox.spare.join("moved");
        git_in(&sandbox.work, &["worktree", "move", linked.root.to_str().unwrap(), moved.to_str().unwrap()]);
        remove(sandbox, &linked.root).unwrap();
        assert_eq!(worktrees(&sandbox.work.join(".git")), ["away", "racer", "users"]);
        assert_eq!(git_in(&moved, &["-c", "status.branch=false", "status", "--porcelain"]), "");
        // A link among the entries, to one that names the path.
        let fake = sandbox.spare.join("fake");
        fs::create_dir(&fake).unwrap();
        let path = sandbox.spare.join("second");
        fs::write(fake.join("gitdir"), format!("{}\n", path.join(".git").display())).unwrap();
        symlink(&fake, entries.join("fake")).unwrap();
        fs::create_dir(entries.join("near")).unwrap();
        fs::write(entries.join("near/gitdir"), format!("{}/.git\n", sandbox.spare.join("second/..").display())).unwrap();
        // As newer gits may write it.
        fs::create_dir(entries.join("relative")).unwrap();
        fs::write(entries.join("relative/gitdir"), "../../../../spare/second/.git\n").unwrap();
        remove(sandbox, &path).unwrap();
        assert!(fake.join("gitdir").exists());
        assert_eq!(worktrees(&sandbox.work.join(".git")), ["away", "fake", "near", "racer", "users"]);
        // The directory of entries is somebody's link.
        let elsewhere = sandbox.spare.join("elsewhere");
        fs::rename(&entries, &elsewhere).unwrap();
        symlink(&elsewhere, &entries).unwrap();
        remove(sandbox, &moved).unwrap();
        assert!(!moved.exists());
        assert!(elsewhere.join("racer").exists() && entries.is_symlink());
    }

    fn without_the_repository(sandbox) {
        prepare(sandbox);
        let linked = create(sandbox, "racer");
        fs::remove_dir_all(&sandbox.work).unwrap();
        for _ in 0..2 {
            remove(sandbox, &linked.root).unwrap();
            assert!(!linked.root.exists());
        }
        assert!(!sandbox.work.exists());
    }

    fn never_the_repository(sandbox) {
        let untouched = prepare(sandbox);
        for path in [sandbox.work.clone(), sandbox.work.join(".git"), sandbox.spare.join("../work"), "/".into()] {
            let error = remove(sandbox, &path).unwrap_err();
            assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
        }
        check(sandbox, &sandbox.spare.join("nothing"), &untouched);
    }

    /// So deep that no path reaches it.
    fn however_deep(sandbox) {
        let untouched = prepare(sandbox);
        let linked = create(sandbox, "racer");
        let outside = sandbox.spare.join("outside");
        let mut made = rustix::fs::open(&linked.root, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        // Nor by as many files as may be open.
        let few = rustix::process::Rlimit { current: Some(200), maximum: Some(200) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let name = "d".repeat(100);
        for n in 0..1500 {
            rustix::fs::mkdirat(&made, &*name, rustix::fs::Mode::RWXU).unwrap();
            if n % 60 == 0 {
                rustix::fs::symlinkat(&outside, &made, "link").unwrap();
                rustix::fs::mkdirat(&made, "decklog-removed-1", rustix::fs::Mode::RWXU).unwrap();
            }
            made = rustix::fs::openat(&made, &*name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        }
        drop(made);
        remove(sandbox, &linked.root).unwrap();
        check(sandbox, &linked.root, &untouched);
    }

    /// Directories that are closed to their owner.
    fn closed_directories(sandbox) {
        prepare(sandbox);
        let linked = create(sandbox, "racer");
        for (name, mode) in [("none", 0o000), ("read", 0o500), ("write", 0o300), ("search", 0o100)] {
            let directory = linked.root.join(name);
            fs::create_dir_all(directory.join("inner")).unwrap();
            fs::write(directory.join("inner/file"), "x").unwrap();
            symlink(sandbox.spare.join("outside"), directory.join("link")).unwrap();
            fs::set_permissions(directory.join("inner"), PermissionsExt::from_mode(mode)).unwrap();
            fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&linked.root, PermissionsExt::from_mode(0o500)).unwrap();
        fs::set_permissions(sandbox.work.join(".git/worktrees/racer"), PermissionsExt::from_mode(0o500)).unwrap();
        as_somebody(sandbox, || remove(sandbox, &linked.root).unwrap());
        assert!(fs::symlink_metadata(&linked.root).is_err());
        assert_eq!(read_files(&sandbox.spare.join("outside"), &|_| false).len(), 2);
        assert_eq!(worktrees(&sandbox.work.join(".git")), ["away", "users"]);
    }
}
