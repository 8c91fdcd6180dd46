//! Where no snapshot can be taken, and what is said about it.

use std::fs;
use std::path::Path;

use decklog_snapshot::{Limits, NoSecrets, SnapshotError, Snapshotter};

use crate::sandbox::{Sandbox, git_in, in_own_process, sandboxed};

fn open_error(sandbox: &Sandbox, directory: &Path) -> SnapshotError {
    match Snapshotter::open(directory, &sandbox.objects, Limits::default(), Box::new(NoSecrets)) {
        Ok(_) => panic!("{} was accepted", directory.display()),
        Err(error) => error,
    }
}

sandboxed! {
    fn the_inside_of_a_repository_is_no_place(sandbox) {
        sandbox.init();
        sandbox.commit();
        let bare = sandbox.spare.join("bare.git");
        git_in(&sandbox.spare, &["init", "-q", "--bare", "bare.git"]);
        for directory in [sandbox.work.join(".git"), sandbox.work.join(".git/refs"), bare] {
            let error = open_error(sandbox, &directory);
            assert!(matches!(&error, SnapshotError::NoWorkTree { path } if *path == directory), "{error}");
        }
        let error = open_error(sandbox, &sandbox.work.join("nowhere"));
        assert!(matches!(error, SnapshotError::Io { .. }) && error.to_string().contains("nowhere"));
    }

    fn git_says_itself_why_it_refuses(sandbox) {
        sandbox.write(".git", "gitdir: /nowhere/at/all\n");
        let error = open_error(sandbox, &sandbox.work);
        assert!(matches!(error, SnapshotError::Refused { .. }));
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        fs::remove_file(sandbox.work.join(".git")).unwrap();
        sandbox.init();
        if std::os::unix::fs::chown(&sandbox.work, Some(12345), None).is_ok() {
            let error = open_error(sandbox, &sandbox.work).to_string();
            assert!(error.contains("dubious ownership") && error.contains("safe.directory"), "{error}");
        }
    }
}

#[test]
fn without_git_it_says_what_to_install() {
    let name = concat!(module_path!(), "::", "without_git_it_says_what_to_install");
    in_own_process(name, &[("PATH", "/nowhere".as_ref())], |sandbox| {
        let error = open_error(sandbox, &sandbox.work);
        assert!(matches!(error, SnapshotError::GitMissing { .. }));
        assert!(error.to_string().contains("install git"), "{error}");
    });
}

/// A git whose output is lost is not taken for one that finds no working tree.
#[test]
fn an_empty_answer_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let bin = tempfile::TempDir::new().unwrap();
    let git = bin.path().join("git");
    fs::write(&git, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&git, PermissionsExt::from_mode(0o755)).unwrap();
    let name = concat!(module_path!(), "::", "an_empty_answer_is_an_error");
    in_own_process(name, &[("PATH", bin.path().as_os_str())], |sandbox| {
        let error = open_error(sandbox, &sandbox.work);
        assert!(!error.is_limitation() && error.to_string().contains("git rev-parse"), "{error}");
    });
}

#[test]
fn an_old_git_is_recognised() {
    use std::os::unix::fs::PermissionsExt;
    let bin = tempfile::TempDir::new().unwrap();
    let git = bin.path().join("git");
    // An older rev-parse repeats the option it does not know.
    fs::write(&git, "#!/bin/sh\nprintf '%s\\n' --path-format=absolute false false true\n").unwrap();
    fs::set_permissions(&git, PermissionsExt::from_mode(0o755)).unwrap();
    let name = concat!(module_path!(), "::", "an_old_git_is_recognised");
    in_own_process(name, &[("PATH", bin.path().as_os_str())], |sandbox| {
        let error = open_error(sandbox, &sandbox.work);
        assert!(error.to_string().contains("older than 2.31"), "{error}");
    });
}
