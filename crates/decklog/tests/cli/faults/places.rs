//! Session roots in awkward places.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::env::{Ran, TestEnv, finish};

fn with_root(env: &TestEnv, root: &Path, arguments: &[&str]) -> Ran {
    let mut command = env.decklog_command(&[]);
    command.arg("--session-root").arg(root).args(arguments);
    finish(command)
}

/// Every verb on a session under `root`.
fn everything_works(env: &TestEnv, root: &Path) {
    let ran = with_root(env, root, &["run", "--check", "true", "--", "sh", "-c", "echo said; echo new > 'a b.txt'"])
        .expect(0);
    assert_eq!(ran.stdout, "said\n");
    assert_eq!(with_root(env, root, &["ls", "--json"]).expect(0).json()[0]["outcome"], "success");
    assert!(with_root(env, root, &["ls"]).expect(0).stdout.contains("success"));
    assert!(with_root(env, root, &["show", "@"]).expect(0).stdout.contains("said"));
    assert!(with_root(env, root, &["diff", "@"]).expect(0).stdout.contains("+new"));
    assert_eq!(with_root(env, root, &["diff", "@", "--name-only"]).expect(0).stdout, "a b.txt\n");
    assert_eq!(with_root(env, root, &["logs", "@", "stream"]).expect(0).stdout, "said\n");
    assert!(with_root(env, root, &["watch", "@"]).expect(0).stdout.contains("said"));
    with_root(env, root, &["verify", "--all"]).expect(0);
    assert!(with_root(env, root, &["clean", "--dry-run"]).expect(0).stderr.contains("nothing to clean"));
    with_root(env, root, &["discard", "-y", "@"]).expect(0);
    assert_eq!(std::fs::read_dir(root).unwrap().count(), 0);
}

#[test]
fn names_of_every_kind() {
    for name in [
        &b"with spaces and 'quotes'"[..],
        b"bytes \xff\xfe that are no text",
        "\u{202e}\u{1b}[31m\n \u{6f22}".as_bytes(),
        b"-dash",
        b"a=b:c",
    ] {
        let env = TestEnv::new();
        everything_works(&env, &env.home().join(OsStr::from_bytes(name)));
        // Also as the working directory, and as the session directory.
        let mut env = TestEnv::new();
        let work = env.work().join(OsStr::from_bytes(name));
        std::fs::create_dir(&work).unwrap();
        env.set("XDG_DATA_HOME", OsString::from(env.home().join(OsStr::from_bytes(name))));
        let mut run = env.decklog_command(&["run", "--session-dir"]);
        run.arg(env.home().join("dir").join(OsStr::from_bytes(name))).args(["--", "sh", "-c", "echo new > made"]);
        run.current_dir(&work);
        finish(run).expect(0);
        assert!(env.decklog(&["diff", "@", "--name-only"]).expect(0).stdout.ends_with("made\n"));
        env.decklog(&["verify", "--all"]).expect(0);
        env.decklog(&["discard", "-y", "@"]).expect(0);
        assert!(!env.home().join("dir").join(OsStr::from_bytes(name)).exists());
    }
}

/// Bind-mounts `root` read-only: permissions alone do not hold root back. Says whether that is permitted here.
struct ReadOnly(std::path::PathBuf);

impl ReadOnly {
    fn new(root: &Path) -> Option<Self> {
        let mount = |arguments: &[&OsStr]| {
            std::process::Command::new("mount").args(arguments).output().is_ok_and(|output| output.status.success())
        };
        if rustix::process::geteuid().is_root() {
            if !mount(&["--bind".as_ref(), root.as_os_str(), root.as_os_str()]) {
                return None;
            }
            let made = Self(root.to_owned());
            return mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), root.as_os_str()]).then_some(made);
        }
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o500)).unwrap();
        Some(Self(root.to_owned()))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        if rustix::process::geteuid().is_root() {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        } else {
            let _ = std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700));
        }
    }
}

#[test]
fn a_root_that_can_only_be_read() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "echo said; echo new > b.txt"]).expect(0);
    let Some(_read_only) = ReadOnly::new(&env.root()) else {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "nothing can be mounted here");
        println!("skipped: nothing can be mounted here");
        return;
    };
    // Reading writes nothing, so all of it works.
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["outcome"], "success");
    assert!(env.decklog(&["show", "@"]).expect(0).stdout.contains("said"));
    assert!(env.decklog(&["diff", "@"]).expect(0).stdout.contains("+new"));
    assert_eq!(env.decklog(&["logs", "@", "stream"]).expect(0).stdout, "said\n");
    assert!(env.decklog(&["watch", "@"]).expect(0).stdout.contains("said"));
    env.decklog(&["verify", "@"]).expect(0);
    // What would write is refused in words.
    let ran = env.decklog(&["run", "--", "sh", "-c", "echo > started"]).expect(2);
    assert!(ran.stderr.contains("ead-only") || ran.stderr.contains("denied"), "{}", ran.stderr);
    assert!(!env.work().join("started").exists());
    let ran = env.decklog(&["discard", "-y", "@"]).expect(2);
    assert!(ran.stderr.contains("not discarded:"), "{}", ran.stderr);
    assert_eq!(env.sessions().len(), 1);
}
