//! Disks that refuse: the agent's work goes on, and what is not kept is said, at once and in the record.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env::{Ran, TestEnv, finish};

const ID: &str = "20260501T134412-3f2a";
const SCRIPT: &str = "echo out; echo err >&2; echo work > made; head -c 20000 /dev/zero | tr '\\0' x";

/// Whether `program` is there; a run that must not skip anything fails when it is not.
pub(super) fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    assert!(found || std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "{program} is not installed");
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs the agent with `call` failing with `error` on `file` in the session directory, at the `when`-th time.
fn with_fault(env: &TestEnv, call: &str, error: &str, when: &str, file: &str) -> Ran {
    let place = match file {
        "" => env.root().join(ID),
        "/" => env.root(),
        file => env.root().join(ID).join(file),
    };
    let mut command = env.command("timeout");
    command.args(["-s", "KILL", "100", "strace", "-f", "-qq", "-o"]).arg(env.home().join("trace"));
    command.arg("-P").arg(place).args(["-e", &format!("trace={call}")]);
    // Files are opened relative to the directory that holds them: strace compares the name that was given.
    if let Some(name) = Path::new(file).file_name() {
        command.arg("-P").arg(name);
    }
    command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
    command.arg(env!("CARGO_BIN_EXE_decklog")).args(["run", "--", "sh", "-c", SCRIPT]);
    let ran = finish(command);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

fn injected(env: &TestEnv) -> bool {
    std::fs::read_to_string(env.home().join("trace")).unwrap().contains("(INJECTED)")
}

/// What is written while the agent runs: each refusal costs only what it hits.
#[test]
fn the_agents_work_goes_on() {
    if !has("strace") {
        return;
    }
    // Call, file, what `show` can still say of it: the journal itself may be what fails for good.
    let mut cases = Vec::new();
    for file in [
        "turns/001-stream.jsonl",
        "turns/001-stderr.log",
        "turns/001-output.md",
        "turns/001-prompt.md",
        "turns/001-state.json",
    ] {
        cases.extend([("write", file, "1+", true), ("openat", file, "1+", true)]);
    }
    cases.extend([
        ("write", "turns/001.patch", "1+", true),
        ("openat", "turns/001.patch", "1+", true),
        ("mkdirat", "turns", "1+", true),
        // The first line is written before the session has its name.
        ("write", "journal.jsonl", "2", true),
        ("write", "journal.jsonl", "1..3", true),
        ("write", "journal.jsonl", "1+", false),
        ("write", "journal.jsonl", "3+", false),
        ("fdatasync", "journal.jsonl", "1", true),
        ("fdatasync", "journal.jsonl", "1+", true),
        ("fdatasync", "journal.jsonl", "2", true),
        ("/^rename", ".session.json.tmp", "2", true),
        ("/^rename", ".session.json.tmp", "2+", true),
        ("/^rename", ".session.json.tmp", "4", true),
        ("write", ".session.json.tmp", "2+", true),
        ("openat", ".session.json.tmp", "2+", true),
    ]);
    let cases: Vec<_> = cases.into_iter().flat_map(|case| ["EIO", "ENOSPC"].map(|error| (case, error))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((case, error)) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    goes_on(*case, error);
                }
            });
        }
    });
}

fn goes_on((call, file, when, told): (&str, &str, &str, bool), error: &str) {
    let what = format!("{call} of {file} fails with {error} ({when})");
    let env = TestEnv::new().fixed();
    let ran = with_fault(&env, call, error, when, file);
    assert!(injected(&env), "{what}: it was never asked for");
    assert_eq!(env.read("made"), "work\n", "{what}: {}", ran.stderr);
    assert_eq!(ran.stdout.len(), 20_004, "{what}: the agent's output is passed on whole");
    // One refusal for want of room is what the reserve is for: then nothing may be missing.
    if (call, file, when, error) == ("write", "journal.jsonl", "2", "ENOSPC") {
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
    }
    if error == "ENOSPC" && ran.code == 0 {
        assert!(!ran.stderr.contains("not recorded"), "{what}: {}", ran.stderr);
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["outcome"], head.get("recording_failures")), (&"success".into(), None), "{what}");
    } else {
        assert_eq!(ran.code, 2, "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("not recorded: "), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("the record is incomplete"), "{what}: {}", ran.stderr);
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_ne!(head["outcome"], "success", "{what}: {head}");
        assert!(head.get("exit_code").is_none_or(|code| *code == 2), "{what}: {head}");
        let shown = env.decklog(&["show", "@"]).expect(0).stdout;
        if told {
            assert!(shown.contains("RECORD") && shown.contains("incomplete"), "{what}: {shown}");
        } else {
            assert!(shown.contains("crashed"), "{what}: {shown}");
        }
    }
    let verified = env.decklog(&["verify", "@"]);
    let only_the_head =
        verified.stdout.lines().all(|line| line.contains("session.json") || line.contains("as recorded"));
    assert!(verified.code == 0 || only_the_head && file.contains("session.json"), "{what}: {}", verified.stdout);
    env.decklog(&["discard", "-y", "@"]).expect(0);
    assert!(env.sessions().is_empty(), "{what}");
}

#[test]
fn what_was_lost_is_counted_once() {
    if !has("strace") {
        return;
    }
    let env = crate::relaying::world(&[("ada", "claude-stream", crate::relaying::SAYS)]).fixed();
    // The agent's message is refused, and then the notice that says so.
    let mut command = env.command("strace");
    command.args(["-f", "-qq", "-o"]).arg(env.home().join("trace"));
    command.arg("-P").arg(env.root().join(ID).join("journal.jsonl"));
    command.args(["-e", "trace=write", "-e", "inject=write:error=EIO:when=2..3"]);
    command.arg(env!("CARGO_BIN_EXE_decklog")).args(["run", "ada", "Greet."]);
    finish(command).expect(2);
    let shown = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    assert!(!shown.contains("\"message\"") && shown.contains("\"1 events could not be recorded: "), "{shown}");
}

/// A record that cannot even be begun: the agent is not started, and nothing is left.
#[test]
fn what_cannot_be_recorded_is_not_begun() {
    if !has("strace") {
        return;
    }
    for (call, file) in [
        ("openat", "journal.jsonl"),
        ("/^rename", ".session.json.tmp"),
        ("openat", "lock"),
        ("/^rename", ""),
        ("fsync", "/"),
    ] {
        for error in ["EIO", "ENOSPC"] {
            let what = format!("{call} of {file:?} fails with {error}");
            let env = TestEnv::new().fixed();
            let ran = with_fault(&env, call, error, "1+", file);
            assert!(injected(&env), "{what}: it was never asked for");
            assert_eq!(ran.code, 2, "{what}: {}", ran.stderr);
            assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("os error"), "{what}: {}", ran.stderr);
            assert!(!env.work().join("made").exists(), "{what}");
            assert!(env.sessions().is_empty(), "{what}");
            let left = std::fs::read_dir(env.root()).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{what}: something is left under the root");
        }
    }
}

/// A file system of `size` bytes; unmounted at the end. `None` where mounting is not permitted.
pub(super) struct SmallDisk(pub(super) PathBuf);

impl SmallDisk {
    pub(super) fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_really_full() {
    for size in ["96k", "160k", "256k", "512k"] {
        let env = TestEnv::new();
        let at = env.home().join("small");
        let Some(disk) = SmallDisk::mount(&at, size) else {
            assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "a tmpfs cannot be mounted here");
            println!("skipped: a tmpfs cannot be mounted here; the injected ENOSPC stands for it");
            return;
        };
        let root = disk.0.join("root");
        let root = root.to_str().unwrap();
        let script = "for i in 1 2 3 4; do head -c 300000 /dev/zero | tr '\\0' x; echo; done; echo work > made";
        let ran = env.decklog(&["--session-root", root, "run", "--", "sh", "-c", script]).expect(2);
        assert_eq!(ran.stdout.len(), 1_200_004, "{size}");
        assert_eq!(env.read("made"), "work\n");
        assert!(ran.stderr.contains("001-stream.jsonl is kept only up to byte"), "{size}: {}", ran.stderr);
        let shown = env.decklog(&["--session-root", root, "show", "@"]).expect(0).stdout;
        assert!(shown.contains("incomplete") && shown.contains("failed"), "{size}: {shown}");
        let head = &env.decklog(&["--session-root", root, "ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["exit_code"]), (&"completed".into(), &2.into()), "{size}");
        env.decklog(&["--session-root", root, "verify", "@"]).expect(0);
        env.decklog(&["--session-root", root, "discard", "-y", "@"]).expect(0);
    }
}

/// The index has no room, from the start or when it is damaged and to be rebuilt: sessions are read instead.
#[test]
fn an_index_without_room_is_done_without() {
    let mut env = TestEnv::new();
    for number in 0..12 {
        env.decklog(&["run", "--", "echo", &format!("line {number}")]).expect(0);
    }
    let questions = [&["ls", "--all"][..], &["search", "line"], &["stats", "--by", "agent"]];
    // What is read instead is found in another order.
    let sorted = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let answers: Vec<_> = questions.iter().map(|question| sorted(&env.decklog(question).expect(0).stdout)).collect();
    let asked = |env: &TestEnv, when: &str| {
        for (question, answer) in questions.iter().zip(&answers) {
            let ran = env.decklog(question).expect(0);
            assert_eq!(sorted(&ran.stdout), *answer, "{question:?}, {when}: {}", ran.stderr);
        }
    };
    let at = env.home().join("small");
    let Some(disk) = SmallDisk::mount(&at, "64m") else {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "a tmpfs cannot be mounted here");
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let resize = |size: &str| {
        let remount = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &remount]).arg(&disk.0).status().unwrap().success());
    };
    env.set("XDG_CACHE_HOME", &at);
    for size in ["4k", "32k", "96k", "256k"] {
        resize(size);
        asked(&env, &format!("{size} from the start"));
        resize("64m");
        asked(&env, &format!("room again after {size}"));
        let used: u64 = walk(&at).iter().map(|file| file.metadata().unwrap().len().div_ceil(4096) * 4096).sum();
        for file in walk(&at) {
            std::fs::write(&file, vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()]).unwrap();
        }
        resize(&(used + 65536).to_string());
        asked(&env, &format!("damaged, and no room to rebuild it, after {size}"));
        resize("64m");
        asked(&env, &format!("rebuilt after {size}"));
        std::fs::remove_dir_all(at.join("decklog")).unwrap();
    }
}

/// All files below a directory.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_limit_on_the_size_of_files_ends_nothing() {
    let env = TestEnv::new();
    let mut command = env.command("sh");
    command.args(["-c", "ulimit -f 1000; exec \"$0\" run -- sh -c 'head -c 3000000 /dev/zero; echo work'"]);
    command.arg(env!("CARGO_BIN_EXE_decklog"));
    let ran = crate::env::finish(command).expect(2);
    assert_eq!(ran.stdout.len(), 3_000_005);
    assert!(ran.stderr.contains("001-stream.jsonl is kept only up to byte"), "{}", ran.stderr);
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!(head["status"], "completed");
    env.decklog(&["verify", "@"]).expect(0);
}
