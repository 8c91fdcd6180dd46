//! A snapshot in the wrong place, such as a home directory, copies nothing and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use decklog_snapshot::{Limits, NoSecrets, SnapshotError, Withheld, WithheldReason};

use crate::files::read_files;
use crate::sandbox::{Sandbox, git_in, sandboxed};

fn limits() -> Limits {
    Limits { max_file_bytes: 1000, max_new_files: 10, max_new_bytes: 5000, ..Limits::default() }
}

fn too_large(sandbox: &Sandbox, limits: Limits) -> String {
    let mut snapshots = sandbox.open_with(limits, NoSecrets);
    let error = snapshots.take().unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
    drop(snapshots);
    assert_eq!(read_files(&sandbox.objects, &|_| false).len(), 0, "something was written");
    error.to_string()
}

sandboxed! {
    fn too_many_files(_sandbox) {
        for repository in [false, true] {
            let sandbox = &Sandbox::new();
            if repository {
                sandbox.init();
            }
            for n in 0..10 {
                sandbox.write(&format!("d{}/{n}", n % 3), "x");
            }
            assert!(sandbox.open_with(limits(), NoSecrets).take().is_ok());
            fs::remove_dir_all(&sandbox.objects).unwrap();
            sandbox.write("one/more", "x");
            let error = too_large(sandbox, limits());
            assert!(error.contains("more than 10 new or changed files") && error.contains(".gitignore"), "{error}");
        }
    }

    /// What is committed or ignored does not count.
    fn only_new_files_count(sandbox) {
        sandbox.write(".gitignore", "/ignored\n");
        sandbox.write("sub/.gitignore", "*.o\n");
        for n in 0..20 {
            sandbox.write(&format!("ignored/{n}"), "x");
            sandbox.write(&format!("sub/{n}.o"), "x");
        }
        assert!(sandbox.open_with(limits(), NoSecrets).take().is_ok());
        sandbox.init();
        sandbox.git(&["add", "-f", "."]);
        assert!(sandbox.open_with(limits(), NoSecrets).take().is_ok());
        sandbox.git(&["rm", "-q", "-r", "--cached", "sub"]);
        sandbox.write("sub/.gitignore", "");
        fs::remove_dir_all(&sandbox.objects).unwrap();
        assert!(too_large(sandbox, limits()).contains("10"));
    }

    fn too_many_bytes(sandbox) {
        for n in 0..6 {
            sandbox.write(&n.to_string(), [0; 900]);
        }
        assert!(too_large(sandbox, limits()).contains("more than 5000 bytes"));
    }

    fn large_files_are_left_out(sandbox) {
        sandbox.init();
        sandbox.write("tracked", "small\n");
        sandbox.write("large-tracked", [1; 1001]);
        sandbox.commit();
        for n in 0..9 {
            sandbox.write(&format!("large{n}"), [0; 1001]);
        }
        let mut snapshots = sandbox.open_with(limits(), NoSecrets);
        let before = snapshots.take().unwrap();
        assert_eq!(before.withheld.len(), 9);
        assert_eq!(before.withheld[0], Withheld { path: b"large0".to_vec(), reason: WithheldReason::TooLarge { bytes: 1001 } });
        assert_eq!(sandbox.files_of(&before.tree).len(), 2);
        sandbox.write("tracked", [0; 2000]);
        let after = snapshots.take().unwrap();
        assert_eq!((after.tree, after.withheld.len()), (before.tree, 10));
    }

    fn git_is_not_waited_for_without_end(sandbox) {
        sandbox.write("a", "1\n");
        let limits = Limits { max_listing: Duration::ZERO, ..Limits::default() };
        assert!(too_large(sandbox, limits).contains("not through"));
    }

    /// Without a repository the count comes first: git, which looks through everything before it
    /// says a word, is not even started.
    fn a_directory_with_too_many_is_refused_at_a_glance(sandbox) {
        for n in 0..11 {
            sandbox.write(&format!("{}/{n}", n % 7), "");
        }
        let limits = Limits { max_listing: Duration::ZERO, ..limits() };
        assert!(too_large(sandbox, limits.clone()).contains("more than 10"));
        // What may be ignored does not count, nor do other repositories.
        sandbox.write("3/.gitignore", "*");
        assert!(too_large(sandbox, limits.clone()).contains("not through"));
        fs::remove_file(sandbox.work.join("3/.gitignore")).unwrap();
        git_in(&sandbox.work.join("4"), &["init", "-q"]);
        assert!(too_large(sandbox, limits).contains("not through"));
    }

    /// After an error the next snapshot is as good as any.
    fn it_recovers(sandbox) {
        for n in 0..11 {
            sandbox.write(&n.to_string(), "x");
        }
        let mut snapshots = sandbox.open_with(limits(), NoSecrets);
        assert!(snapshots.take().is_err());
        fs::remove_file(sandbox.work.join("3")).unwrap();
        let taken = snapshots.take().unwrap();
        assert_eq!(sandbox.files_of(&taken.tree).len(), 10);
    }

    fn what_cannot_be_read_is_named(sandbox) {
        sandbox.init();
        sandbox.write("fifo", "1\n");
        sandbox.write("socket", "1\n");
        sandbox.write("plain", "1\n");
        sandbox.commit();
        for name in ["fifo", "socket"] {
            fs::remove_file(sandbox.work.join(name)).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, sandbox.work.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, sandbox.work.join("untracked"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(sandbox.work.join("socket")).unwrap();
        let mut snapshots = sandbox.open();
        let taken = snapshots.take().unwrap();
        let withheld = |path: &str| Withheld { path: path.into(), reason: WithheldReason::Special };
        assert_eq!(taken.withheld, [withheld("fifo"), withheld("socket")]);
        assert_eq!(sandbox.files_of(&taken.tree).len(), 3);

        sandbox.write("secretive/a", "1\n");
        sandbox.write("plain", "2\n");
        fs::set_permissions(sandbox.work.join("secretive"), PermissionsExt::from_mode(0o0)).unwrap();
        fs::set_permissions(sandbox.work.join("plain"), PermissionsExt::from_mode(0o0)).unwrap();
        if fs::read(sandbox.work.join("plain")).is_err() {
            let taken = snapshots.take().unwrap();
            let names: Vec<_> = taken.withheld.iter().map(|withheld| String::from_utf8_lossy(&withheld.path)).collect();
            assert_eq!(names, ["fifo", "plain", "secretive", "socket"]);
        }
        fs::set_permissions(sandbox.work.join("secretive"), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// One file that git cannot store does not take the others with it.
    fn a_failing_filter_withholds_its_files(sandbox) {
        sandbox.init();
        git_in(&sandbox.work, &["config", "filter.broken.clean", "echo no >&2; false"]);
        git_in(&sandbox.work, &["config", "filter.broken.required", "true"]);
        sandbox.write(".gitattributes", "*.x filter=broken\n");
        for n in 0..20 {
            sandbox.write(&format!("{n}.{}", if n % 7 == 0 { "x" } else { "y" }), format!("{n}\n"));
        }
        let taken = sandbox.open().take().unwrap();
        let names: Vec<_> = taken.withheld.iter().map(|withheld| String::from_utf8_lossy(&withheld.path)).collect();
        assert_eq!(names, ["0.x", "14.x", "7.x"]);
        assert!(matches!(&taken.withheld[0].reason, WithheldReason::Unreadable { error } if error.contains("no; ") && error.contains("clean filter 'broken' failed")));
        assert_eq!(sandbox.files_of(&taken.tree).len(), 18);
    }
}
