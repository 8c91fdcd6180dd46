//! Races on disks that are full: what a racer did is in the record or in its worktree, and the user's tree is its own.

use std::path::PathBuf;

use super::disk::{SmallDisk, has};
use crate::env::{Ran, TestEnv, finish};
use crate::racing::left;
use crate::relaying::{asked, world};

/// More than goes onto any of the disks here, and not to be compressed.
const LARGE: &str =
    "head -c 3000000 /dev/urandom >large; echo more >>a.txt; head -c 300000 /dev/zero | tr '\\0' x; echo done";
const SMALL: &str = "echo small >>a.txt; echo done";

/// The disk, unless none can be mounted here and that may be.
fn disk(env: &TestEnv, size: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&env.home().join("small"), size);
    assert!(disk.is_some() || std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "a tmpfs cannot be mounted here");
    if disk.is_none() {
        println!("skipped: a tmpfs cannot be mounted here");
    }
    disk
}

fn decklog(env: &TestEnv, disk: &SmallDisk, arguments: &[&str]) -> Ran {
    let root = disk.0.join("root");
    env.decklog(&[&["--session-root", root.to_str().unwrap()], arguments].concat())
}

#[test]
fn what_the_record_has_no_room_for_stays_in_the_worktrees() {
    for size in ["256k", "1m"] {
        let env = world(&[("ada", "text", LARGE), ("bob", "text", LARGE)]);
        let Some(disk) = disk(&env, size) else { return };
        let ran = decklog(&env, &disk, &["race", "ada", "bob", "--pick", "best", "Add a line."]).expect(2);
        assert!(ran.stderr.contains("the record is incomplete"), "{size}: {}", ran.stderr);
        assert_eq!((env.read("a.txt").as_str(), env.git(&["status", "--porcelain"]).as_str()), ("one\n", ""), "{size}");
        let kept: Vec<PathBuf> = ["kept: ada in ", "kept: bob in "]
            .map(|kept| ran.stderr.lines().find_map(|line| line.strip_prefix(kept)).expect(kept).into())
            .into();
        let is_whole = |worktree: &PathBuf| {
            let text = std::fs::read_to_string(worktree.join("a.txt")).unwrap();
            let large = worktree.join("large").metadata().unwrap().len();
            assert_eq!((text.as_str(), large), ("one\nmore\n", 3_000_000), "{size}: {}", worktree.display());
        };
        kept.iter().for_each(is_whole);
        let head = &decklog(&env, &disk, &["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"failed".into()), "{size}");
        assert_eq!(head["turns"], 2, "{size}");
        let shown = decklog(&env, &disk, &["show", "@"]).expect(0).stdout;
        assert!(shown.contains("RECORD    incomplete"), "{size}");
        decklog(&env, &disk, &["verify", "@"]).expect(0);
        // What is nowhere else is not cleared away, not even with the record.
        decklog(&env, &disk, &["discard", "-y", "@"]).expect(0);
        decklog(&env, &disk, &["clean", "-y"]).expect(0);
        kept.iter().for_each(is_whole);
    }
}

#[test]
fn who_has_no_room_to_work_in_does_not_begin() {
    for (size, begin) in [("512k", &["ada"][..]), ("128k", &[])] {
        let mut env = world(&[("ada", "text", SMALL), ("bob", "text", SMALL)]);
        env.write("large", vec![b'x'; 400_000]);
        let Some(disk) = disk(&env, size) else { return };
        env.set("XDG_STATE_HOME", &disk.0);
        let code = if begin.is_empty() { 2 } else { 0 };
        let ran = env.decklog(&["race", "ada", "bob", "--pick", "best", "Add a line."]).expect(code);
        for name in ["ada", "bob"] {
            let refused = ran.stderr.contains(&format!("{name} could not begin: "));
            assert_eq!(refused, !begin.contains(&name), "{size} {name}: {}", ran.stderr);
            assert_eq!(asked(&env, name), usize::from(begin.contains(&name)), "{size} {name}");
        }
        let (said, text) = match begin {
            [] => ("nobody came through\n", "one\n"),
            _ => ("ada was picked\n", "one\nsmall\n"),
        };
        assert_eq!((ran.stdout.as_str(), env.read("a.txt").as_str()), (said, text), "{size}");
        assert_eq!(env.git(&["worktree", "list"]).lines().count(), 1, "{size}");
        let left = std::fs::read_dir(disk.0.join("decklog/worktrees")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{size}");
        env.decklog(&["verify", "@"]).expect(0);
    }
}

/// Each call that opens a worktree's directory, or git's entry of it, fails once: the next `clean` removes what stayed.
#[test]
fn a_worktree_that_cannot_be_opened_at_first_is_removed_later() {
    if !has("strace") {
        return;
    }
    for error in ["EACCES", "EIO"] {
        let mut count = 0;
        loop {
            let env = world(&[("ada", "text", SMALL), ("bob", "text", SMALL)]);
            let trace = env.home().join("trace");
            let mut command = env.command("timeout");
            command.args(["-s", "KILL", "100", "strace", "-f", "-qq", "-P", "1-ada", "-e", "trace=openat", "-o"]);
            command.arg(&trace).args(["-e", &format!("inject=openat:error={error}:when={}", count + 1)]);
            command.arg(&env.program).args(["race", "ada", "bob", "--pick", "none", "Add a line."]);
            let ran = finish(command);
            if !std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
                break;
            }
            count += 1;
            env.decklog(&["clean", "--crashed", "-y"]).expect(0);
            assert!(left(&env).is_empty(), "{error} {count}: {:?}: {}", left(&env), ran.stderr);
        }
        assert!(count > 0, "{error} was never injected");
    }
}
