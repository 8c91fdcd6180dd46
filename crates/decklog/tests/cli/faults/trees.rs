//! Snapshots that cannot be taken: the recording is not whole, and says so everywhere.

use crate::env::{Ran, TestEnv, finish};
use crate::faults::disk::{SmallDisk, has};

/// Runs an agent that changes a file, with `prepare` on the command.
fn run(env: &TestEnv, prepare: impl FnOnce(&mut std::process::Command)) -> Ran {
    let mut command = env.decklog_command(&["run", "--json", "--", "sh", "-c", "echo work > made"]);
    prepare(&mut command);
    finish(command)
}

fn is_loud(env: &TestEnv, ran: &Ran, what: &str) {
    assert_eq!(ran.code, 2, "{what}: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("no snapshot of the working tree"), "{what}: {}", ran.stderr);
    let result = ran.json();
    assert_eq!((&result["recorded"], &result["exit_code"]), (&false.into(), &2.into()), "{what}");
    assert_ne!(result["outcome"], "success", "{what}");
    assert!(result.get("files_changed").is_none(), "{what}: {result}");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["exit_code"], &head["outcome"]), (&2.into(), &"failed".into()), "{what}");
    assert!(head["recording_failures"].as_u64() >= Some(1), "{what}: {head}");
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains("incomplete") && shown.contains("no snapshot"), "{what}: {shown}");
    env.decklog(&["verify", "@"]).expect(0);
}

/// The working tree is recorded without a file in `TMPDIR`.
#[test]
fn a_missing_or_full_tmpdir_costs_nothing() {
    let env = TestEnv::new();
    let ran = run(&env, |command| {
        command.env("TMPDIR", "/nonexistent/tmp");
    });
    assert_eq!((ran.code, &ran.json()["files_changed"]), (0, &1.into()), "{}", ran.stderr);
    let Some(disk) = SmallDisk::mount(&env.home().join("small"), "16k") else { return };
    let filled = std::fs::write(disk.0.join("fill"), vec![0; 64 * 1024]);
    assert!(filled.is_err(), "it is full");
    let ran = run(&env, |command| {
        command.env("TMPDIR", &disk.0);
    });
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    env.decklog(&["diff", "@2"]).expect(0);
}

#[test]
fn a_git_that_fails_is_loud() {
    for fails_on in ["rev-parse", "update-index", "write-tree", "status", "config"] {
        let env = TestEnv::new();
        let bin = env.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let git = real_git();
        let script = format!(
            "#!/bin/sh\nfor word; do [ \"$word\" = {fails_on} ] && {{ echo 'fatal: it fails' >&2; exit 128; }}; done\nexec '{git}' \"$@\"\n"
        );
        std::fs::write(bin.join("git"), script).unwrap();
        std::fs::set_permissions(bin.join("git"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let ran = run(&env, |command| {
            command.env("PATH", path);
        });
        // Some are not called for every tree.
        if ran.code != 0 {
            is_loud(&env, &ran, fails_on);
        } else if ran.json()["files_changed"] != 1 {
            // A file that git does not take is left out of the snapshot, and named.
            let shown = env.decklog(&["show", "@"]).expect(0).stdout;
            assert!(shown.contains("made") && shown.contains("it fails"), "{fails_on}: {shown}");
        }
    }
}

/// Where git is.
fn real_git() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let git = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|git| git.is_file());
    git.expect("git is in PATH").to_string_lossy().into_owned()
}

#[test]
fn without_git_the_record_says_what_it_lacks() {
    let env = TestEnv::new();
    let bin = env.home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["sh", "cat"] {
        std::os::unix::fs::symlink(format!("/bin/{program}"), bin.join(program)).unwrap();
    }
    let ran = run(&env, |command| {
        command.env("PATH", &bin);
    });
    is_loud(&env, &ran, "no git");
}

/// The first snapshot fails, or the second, or both: each is reported.
#[test]
fn each_snapshot_that_fails_is_reported() {
    if !has("strace") {
        return;
    }
    // Of the two snapshots' directories for new objects, one or both cannot be made.
    for (when, what) in [("1", "the first"), ("1+", "all"), ("2+", "the second")] {
        let env = TestEnv::new();
        env.write("new.txt", "untracked\n");
        let mut command = env.command("strace");
        command.args(["-f", "-qq", "-o"]).arg(env.home().join("trace"));
        command.args(["-e", "trace=memfd_create", "-e", &format!("inject=memfd_create:error=EMFILE:when={when}")]);
        command.arg(env!("CARGO_BIN_EXE_decklog")).args(["run", "--json", "--", "sh", "-c", "echo work > made"]);
        is_loud(&env, &finish(command), what);
    }
}

/// A tree that is not snapshotted by its nature is announced, and is no failure of the recording.
#[test]
fn a_bare_repository_is_announced() {
    let env = TestEnv::without_repository();
    env.git(&["init", "--quiet", "--bare", "."]);
    let ran = env.decklog(&["run", "--json", "--", "true"]).expect(0);
    assert!(ran.stderr.contains("no snapshot of the working tree"), "{}", ran.stderr);
    assert!(ran.json().get("files_changed").is_none());
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains("no snapshot"), "{shown}");
}
