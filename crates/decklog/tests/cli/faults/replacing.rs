//! Files that cannot be replaced: by `restore --in-place`, `/undo` and a race's pick. Whatever fails, what is said of the
//! files is true, and the way back is one.

mod room;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::disk::has;
use super::screen::answered;
use crate::env::{Ran, TestEnv, finish};
use crate::relaying::world;

/// What an agent does: of each kind of change one, in directories of their own.
const WORK: &str = "echo two >a.txt; echo two >dir/b.txt; rm dir/gone; echo new >dir/new; mkdir -p more/deep; \
     echo new >more/deep/c; rm file; mkdir file; echo new >file/inside; rm -r tree; echo new >tree";

type Files = BTreeMap<String, Vec<u8>>;

/// All files but the repository's, links by where they lead.
fn files(env: &TestEnv) -> Files {
    fn collect(top: &Path, directory: &Path, all: &mut Files) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            match entry.file_type().unwrap() {
                _ if name == ".git" => {}
                kind if kind.is_dir() => collect(top, &path, all),
                kind if kind.is_symlink() => {
                    all.insert(name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
                }
                _ => {
                    all.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    let mut all = Files::new();
    collect(&env.work(), &env.work(), &mut all);
    all
}

fn prepare(env: &TestEnv) {
    for directory in ["dir", "tree"] {
        std::fs::create_dir(env.work().join(directory)).unwrap();
    }
    for file in ["dir/b.txt", "dir/gone", "file", "tree/leaf"] {
        env.write(file, "one\n");
    }
    env.write(".gitignore", "*.log\n");
    env.git(&["add", "."]);
    env.git(&["commit", "--quiet", "-m", "second"]);
}

/// A session that changed files, with the files before and after it.
fn session(env: &TestEnv) -> (Files, Files) {
    prepare(env);
    let before = files(env);
    env.decklog(&["run", "--", "sh", "-c", WORK]).expect(0);
    (before, files(env))
}

fn newest(env: &TestEnv) -> Value {
    env.decklog(&["ls", "--json"]).expect(0).json()[0].clone()
}

/// Sees that it was refused, with `word` for the reason, and that no file is another than in `unchanged`.
fn is_refused(env: &TestEnv, ran: Ran, word: &str, unchanged: &Files) {
    let ran = ran.expect(2);
    assert!(ran.stderr.contains("was changed: ") && ran.stderr.contains(word), "{word}: {}", ran.stderr);
    assert_eq!(&files(env), unchanged, "{word}: {}", ran.stderr);
}

/// The same of a restore, which is recorded.
fn restore_is_refused(env: &TestEnv, ran: Ran, word: &str, unchanged: &Files) {
    is_refused(env, ran, word, unchanged);
    let head = newest(env);
    assert_eq!(
        (&head["outcome"], &head["exit_code"], &head["files_changed"]),
        (&"failed".into(), &2.into(), &0.into())
    );
    env.decklog(&["verify", "@"]).expect(0);
}

/// Undoes what a test did to the tree.
struct Undo(Vec<Vec<std::ffi::OsString>>);

impl Drop for Undo {
    fn drop(&mut self) {
        for words in &self.0 {
            let _ = Command::new(&words[0]).args(&words[1..]).status();
        }
    }
}

/// Runs a program that only root may run; `false` where it may not be run, or does not work there.
fn as_root(words: &[&std::ffi::OsStr]) -> bool {
    Command::new(words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success())
}

/// Things that make a file or a directory unchangeable; what undoes them when dropped, `None`: not possible here.
fn unchangeable(env: &TestEnv, how: &str, path: &str) -> Option<Undo> {
    let path = env.work().join(path).into_os_string();
    let (set, undo): (Vec<std::ffi::OsString>, Vec<std::ffi::OsString>) = match how {
        "read-only mount" => {
            let words = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<_>>();
            if !as_root(&["mount".as_ref(), "--bind".as_ref(), &path, &path]) {
                return None;
            }
            let undo = [words(&["umount"]), vec![path.clone()]].concat();
            ([words(&["mount", "-o", "remount,bind,ro"]), vec![path]].concat(), undo)
        }
        "mount" => (vec!["mount".into(), "--bind".into(), path.clone(), path.clone()], vec!["umount".into(), path]),
        flag => (
            vec!["chattr".into(), format!("+{flag}").into(), path.clone()],
            vec!["chattr".into(), format!("-{flag}").into(), path],
        ),
    };
    let undo = Undo(vec![undo]);
    let words: Vec<&std::ffi::OsStr> = set.iter().map(AsRef::as_ref).collect();
    as_root(&words).then_some(undo)
}

const UNCHANGEABLE: &[(&str, &str, &str)] = &[
    ("i", "dir", "\"dir\" is immutable"),
    ("i", "dir/b.txt", "\"dir/b.txt\" is immutable"),
    ("i", "more/deep/c", "\"more/deep/c\" is immutable"),
    ("a", "dir", "\"dir\" is append-only"),
    ("a", "file/inside", "\"file/inside\" is append-only"),
    ("read-only mount", "dir", "\"dir\" cannot be written to: Read-only file system"),
    ("mount", "dir/b.txt", "\"dir/b.txt\" is a mount point"),
];

fn skipped(what: &str) {
    assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "{what} is not possible here");
    println!("skipped: {what} is not possible here");
}

#[test]
fn what_cannot_be_replaced_is_seen_before_a_restore() {
    let env = TestEnv::new();
    let (before, after) = session(&env);
    for (how, path, word) in UNCHANGEABLE {
        let Some(undo) = unchangeable(&env, how, path) else {
            skipped(how);
            continue;
        };
        restore_is_refused(&env, env.decklog(&["restore", "@@0", "--in-place", "-y"]), word, &after);
        drop(undo);
        // The newest session is the restore.
        let id = newest(&env)["id"].as_str().unwrap().to_owned();
        env.decklog(&["discard", "-y", &id]).expect(0);
    }
    env.decklog(&["restore", "@@0", "--in-place", "-y"]).expect(0);
    assert_eq!(files(&env), before);
}

#[test]
fn what_cannot_be_replaced_is_seen_before_an_undo_and_a_pick() {
    for (how, path, word) in [("i", "dir", "\"dir\" is immutable"), ("i", "dir/b.txt", "\"dir/b.txt\" is immutable")] {
        let env = world(&[("ada", "text", WORK), ("bob", "text", "echo bob >a.txt")]);
        prepare(&env);
        let before = files(&env);
        let Some(undo) = unchangeable(&env, how, path) else { return skipped(how) };
        let ran = env.decklog(&["race", "ada", "bob", "--pick", "ada", "Work."]).expect(2);
        assert!(ran.stdout.contains("could not be applied") && ran.stdout.contains(word), "{}", ran.stdout);
        assert!(ran.stdout.contains("nothing in ") && newest(&env)["outcome"] == "failed", "{}", ran.stdout);
        assert_eq!(files(&env), before);
        drop(undo);
        let ran = env.decklog_with_input(&["shell", "ada"], b"Work.\n").expect(0);
        let after = files(&env);
        assert_ne!(before, after, "{}", ran.stderr);
        let Some(undo) = unchangeable(&env, how, path) else { return skipped(how) };
        is_refused(&env, env.decklog_with_input(&["shell", "ada"], b"/resume @\n/undo\n"), word, &after);
        drop(undo);
        let turns = env.decklog(&["show", "@", "--json"]).expect(0).json()["turns"].clone();
        assert_eq!((&turns[1]["outcome"], &turns[1]["exit_code"]), (&"failed".into(), &2.into()));
        env.decklog_with_input(&["shell", "ada"], b"/resume @\n/undo\n").expect(0);
        assert_eq!(files(&env), before);
    }
}

/// Gives all below `directory` to a user.
fn give(directory: &Path, user: u32) {
    lchown(directory, Some(user), Some(user)).unwrap();
    if directory.is_dir() && !directory.is_symlink() {
        std::fs::read_dir(directory).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

/// An ordinary user cannot change what belongs to others, and hears of it before anything is changed.
#[test]
fn a_directory_of_another_owner() {
    const USER: u32 = 65534;
    let mut env = TestEnv::new();
    if !rustix::process::geteuid().is_root() {
        return skipped("to be another user");
    }
    let (before, after) = session(&env);
    env.program = env.home().join("decklog");
    std::fs::copy(env!("CARGO_BIN_EXE_decklog"), &env.program).unwrap();
    give(env.top(), USER);
    let user = format!("--reuid={USER}");
    env.through = ["setpriv", &user, "--regid=65534", "--clear-groups", "--"].map(Into::into).to_vec();
    let dir = env.work().join("dir");
    let set = |path: &Path, owner: u32, mode: u32| {
        chown(path, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let restore = |env: &TestEnv| env.decklog(&["restore", "@@0", "--in-place", "-y"]);
    let forget = |env: &TestEnv| {
        let id = newest(env)["id"].as_str().unwrap().to_owned();
        env.decklog(&["discard", "-y", &id]).expect(0);
    };
    for (mode, word) in [
        (0o755, "\"dir\" cannot be written to: Permission denied"),
        (0o1777, "\"dir/b.txt\" belongs to user 0 in a directory where only owners remove files"),
    ] {
        set(&dir, 0, mode);
        chown(dir.join("b.txt"), Some(0), Some(0)).unwrap();
        restore_is_refused(&env, restore(&env), word, &after);
        forget(&env);
    }
    // Its own directory that it closed itself.
    set(&dir, USER, 0o555);
    restore_is_refused(&env, restore(&env), "\"dir\" cannot be written to: Permission denied", &after);
    forget(&env);
    // Where only the top is closed, and nothing in it changes, files below it can be replaced.
    set(&dir, USER, 0o755);
    chown(dir.join("b.txt"), Some(USER), Some(USER)).unwrap();
    env.decklog(&["run", "--", "sh", "-c", "echo three >dir/b.txt"]).expect(0);
    set(&env.work(), USER, 0o555);
    restore(&env).expect(0);
    assert_eq!(files(&env), after);
    set(&env.work(), USER, 0o755);
    env.decklog(&["restore", "@3@0", "--in-place", "-y"]).expect(0);
    assert_eq!(files(&env), before);
}

/// An export that fails leaves its directory unchanged.
#[test]
fn an_export_that_fails_leaves_nothing() {
    for what in ["kill -KILL $$", "GIT \"$@\"; kill -KILL $$", "GIT \"$@\"; exit 1"] {
        let mut env = TestEnv::new();
        let (before, _) = session(&env);
        std::fs::create_dir(env.home().join("empty")).unwrap();
        with_git(&mut env, what);
        for target in ["../home/empty", "../home/absent"] {
            env.decklog(&["restore", "@@0", "--into", target]).expect(2);
        }
        assert_eq!(std::fs::read_dir(env.home().join("empty")).unwrap().count(), 0, "{what}");
        assert!(!env.home().join("absent").exists(), "{what}");
        std::fs::remove_dir_all(env.home().join("bin")).unwrap();
        for target in ["empty", "absent"] {
            env.decklog(&["restore", "@@0", "--into", &format!("../home/{target}")]).expect(0);
            let read = |path: &str| std::fs::read(env.home().join(target).join(path)).unwrap();
            assert!(before.iter().all(|(path, content)| read(path) == *content), "{target}");
        }
    }
}

/// A `git` that does `what` when it is to write files, before the one that is installed or instead of it.
fn with_git(env: &mut TestEnv, what: &str) {
    let bin = env.home().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let found = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let git = String::from_utf8(found.stdout).unwrap();
    let git = git.trim();
    let script =
        format!("#!/bin/sh\ncase \" $* \" in *\" checkout-index \"*|*\" -u \"*) {what};; esac\nexec {git} \"$@\"\n");
    let script = script.replace("GIT", git);
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    env.set("PATH", path);
}

#[test]
fn a_git_that_fails_midway_changes_nothing() {
    for (what, word) in [
        ("kill -KILL $$", "SIGKILL"),
        ("GIT \"$@\"; kill -KILL $$", "SIGKILL"),
        ("exit 0", "git did not write it"),
        ("echo broken >&2; exit 1", "broken"),
    ] {
        let mut env = TestEnv::new();
        let (before, after) = session(&env);
        with_git(&mut env, what);
        restore_is_refused(&env, env.decklog(&["restore", "@@0", "--in-place", "-y"]), word, &after);
        std::fs::remove_dir_all(env.home().join("bin")).unwrap();
        env.decklog(&["restore", "@2@0", "--in-place", "-y"]).expect(0);
        assert_eq!(files(&env), before, "{what}");
    }
}

/// Every call of git that writes a new file is refused in turn.
#[test]
fn a_git_whose_calls_fail_changes_nothing() {
    if !has("strace") {
        return;
    }
    for call in ["openat", "write", "mkdir", "symlink"] {
        for error in ["EACCES", "EIO", "ENOSPC", "EDQUOT"] {
            for when in [1, 2, 4] {
                let mut env = TestEnv::new();
                let (before, after) = session(&env);
                let trace = env.home().join("trace");
                let fault = format!(
                    "exec strace -qq -o '{}' -P ./a.txt -P ./dir/b.txt -P a.txt -P dir/b.txt -P dir -P tree -P tree/leaf \
                     -e trace={call} -e inject={call}:error={error}:when={when} GIT \"$@\"",
                    trace.display()
                );
                with_git(&mut env, &fault);
                let ran = env.decklog(&["restore", "@@0", "--in-place", "-y"]);
                let what = format!("{call} {error} {when}: {}", ran.stderr);
                let is_injected = std::fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("(INJECTED)"));
                match (ran.code, is_injected) {
                    (0, _) => assert_eq!(files(&env), before, "{what}"),
                    (_, true) => restore_is_refused(&env, ran, "", &after),
                    _ => panic!("{what}"),
                }
            }
        }
    }
}

/// Runs decklog with a system call that fails, or that ends it, when it concerns `dir`.
fn with_fault(env: &TestEnv, arguments: &[&str], call: &str, fault: &str) -> Ran {
    let mut command = env.command("timeout");
    command.args(["-s", "KILL", "100", "strace", "-f", "-qq", "-o"]).arg(env.home().join("trace"));
    command.arg("-P").arg(env.work().canonicalize().unwrap().join("dir"));
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{fault}")]);
    command.arg(&env.program).args(arguments);
    finish(command)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The call by which files change places fails, once or for good: all are put back, or what is reported is true, and the way
/// back is one.
#[test]
fn files_that_change_places_in_part() {
    if !has("strace") {
        return;
    }
    let (mut taken_back, mut incomplete) = (0, 0);
    for call in ["renameat2", "unlinkat", "statx"] {
        for error in ["EACCES", "EIO", "ENOSPC", "EDQUOT"] {
            for when in ["1", "2", "3", "4", "1+", "2+", "3+", "4+", "5+", "6+"] {
                // Each pair is enough for the longer ones.
                if (when.len() > 1) != (error == "EIO" || error == "ENOSPC") {
                    continue;
                }
                let env = TestEnv::new();
                let (before, after) = session(&env);
                let arguments = ["restore", "@@0", "--in-place", "-y", "--json"];
                let ran = with_fault(&env, &arguments, call, &format!("error={error}:when={when}"));
                let what = format!("{call} {error} {when}: {} {}", ran.stdout, ran.stderr);
                let now = files(&env);
                if ran.code == 0 {
                    assert_eq!(now, before, "{what}");
                    continue;
                }
                assert_eq!(ran.code, 2, "{what}");
                if ran.stdout.is_empty() {
                    taken_back += 1;
                    assert_eq!(now, after, "{what}");
                    assert_eq!(newest(&env)["outcome"], "failed", "{what}");
                    continue;
                }
                incomplete += 1;
                assert!(!ran.stderr.contains("nothing in "), "{what}");
                let told = ran.json();
                for path in strings(&told["changed"]) {
                    assert_eq!(now.get(&path), before.get(&path), "{path}: {what}");
                    assert_ne!(now.get(&path), after.get(&path), "{path}: {what}");
                }
                for path in strings(&told["unchanged"]) {
                    assert_eq!(now.get(&path), after.get(&path), "{path}: {what}");
                }
                for path in strings(&told["damaged"]) {
                    assert!(
                        now.get(&path) != before.get(&path) && now.get(&path) != after.get(&path),
                        "{path}: {what}"
                    );
                }
                let lists = ["changed", "unchanged", "damaged"].map(|list| strings(&told[list]).len());
                assert_eq!(lists.iter().sum::<usize>(), 9, "{what}");
                let head = newest(&env);
                assert_eq!((&head["outcome"], &head["exit_code"]), (&"failed".into(), &2.into()), "{what}");
                let counts = format!("{} changed, {} damaged, {} as before", lists[0], lists[2], lists[1]);
                assert!(head["summary"].as_str().is_none_or(|text| text.contains(&counts)), "{head}");
                assert!(env.decklog(&["show", "@"]).expect(0).stdout.contains(&counts), "{what}");
                let back = told["go_back"].as_str().unwrap().strip_prefix("decklog ").unwrap();
                let words: Vec<_> = back.split(' ').chain(["-y"]).collect();
                env.decklog(&words).expect(0);
                assert_eq!(files(&env), after, "{what}");
                env.decklog(&["verify", "--all"]).expect(0);
            }
        }
    }
    assert!(taken_back > 5 && incomplete > 5, "{taken_back} {incomplete}");
}

/// A recorder that is killed between two files leaves a session that has the way back.
#[test]
fn a_restore_that_is_killed_has_a_way_back() {
    if !has("strace") {
        return;
    }
    let mut kills = 0;
    for when in 1..=8 {
        let env = TestEnv::new();
        let (before, after) = session(&env);
        let arguments = ["restore", "@@0", "--in-place", "-y"];
        let ran = with_fault(&env, &arguments, "renameat2", &format!("signal=KILL:when={when}"));
        if ran.code == 0 {
            assert_eq!(files(&env), before);
            continue;
        }
        kills += 1;
        let id = newest(&env)["id"].as_str().unwrap().to_owned();
        env.decklog(&["restore", &format!("{id}@0"), "--in-place", "-y"]).expect(0);
        assert_eq!(files(&env), after, "killed at {when}");
    }
    assert!(kills > 1, "{kills}");
}

#[test]
fn a_terminal_is_asked_whether_to_go_back_at_once() {
    if !has("strace") {
        return;
    }
    for answer in ["y\n", "n\n"] {
        let mut env = TestEnv::new();
        let (_, after) = session(&env);
        let dir = env.work().canonicalize().unwrap().join("dir");
        // The file that goes from `dir` is put aside, the next one is not, and the first does not come back at first.
        let wrapper = env.home().join("traced");
        let script = format!(
            "#!/bin/sh\nexec strace -f -qq -o /dev/null -P '{}' -e trace=renameat2 -e inject=renameat2:error=EIO:when=2..3 \
             '{}' \"$@\"\n",
            dir.display(),
            env!("CARGO_BIN_EXE_decklog")
        );
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        env.program = wrapper;
        let shown = answered(&env, &["restore", "@@0", "--in-place", "-y"], answer);
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("changed:") && shown.contains("dir/new"), "{shown}");
        assert!(shown.contains("to go back: ") && shown.contains("Go back now? [y/N]"), "{shown}");
        assert_eq!(shown.contains("back again: "), answer == "y\n", "{shown}");
        assert_eq!(files(&env) == after, answer == "y\n", "{shown}");
    }
}

/// An undo and a pick that fail in part say so, record it, and lead back.
#[test]
fn an_undo_and_a_pick_in_part() {
    if !has("strace") {
        return;
    }
    let env = world(&[("ada", "text", WORK), ("bob", "text", "echo bob >a.txt")]);
    prepare(&env);
    let before = files(&env);
    let ran =
        with_fault(&env, &["race", "ada", "bob", "--pick", "ada", "--json", "Work."], "renameat2", "error=EIO:when=2+");
    let ran = ran.expect(2);
    let told = ran.json();
    assert_eq!((&told["outcome"], told.get("picked")), (&"failed".into(), None));
    assert_eq!(strings(&told["incomplete"]["changed"]), ["dir/gone"], "{told}");
    assert!(
        !ran.stderr.contains("nothing in ") && ran.stderr.contains("to go back: decklog restore "),
        "{}",
        ran.stderr
    );
    assert_ne!(files(&env), before);
    let back = told["incomplete"]["go_back"].as_str().unwrap().strip_prefix("decklog ").unwrap();
    let words: Vec<_> = back.split(' ').chain(["-y"]).collect();
    env.decklog(&words).expect(0);
    assert_eq!(files(&env), before);
    env.decklog(&["verify", "--all"]).expect(0);

    env.decklog_with_input(&["shell", "ada"], b"Work.\n").expect(0);
    let after = files(&env);
    let lines = env.home().join("lines");
    std::fs::write(&lines, "/resume @\n/undo\n").unwrap();
    let mut command = env.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(env.work().canonicalize().unwrap().join("dir"));
    command.args(["-e", "trace=renameat2", "-e", "inject=renameat2:error=EIO:when=2+"]);
    command.arg(&env.program).args(["shell", "ada"]).stdin(std::fs::File::open(lines).unwrap());
    let ran = finish(command).expect(2);
    assert!(ran.stderr.contains("changed: dir/new\n") && !ran.stderr.contains("nothing in "), "{}", ran.stderr);
    assert_ne!(files(&env), after);
    let back = ran.stderr.lines().find_map(|line| line.strip_prefix("to go back: decklog ")).unwrap();
    let words: Vec<_> = back.split(' ').chain(["-y"]).collect();
    env.decklog(&words).expect(0);
    assert_eq!(files(&env), after);
}

/// What the user has open, locked or running is no obstacle, and no obstacle is made of it.
#[test]
fn programs_that_run_and_an_index_that_is_locked() {
    let env = TestEnv::new();
    prepare(&env);
    let sleep: PathBuf =
        String::from_utf8(Command::new("sh").args(["-c", "command -v sleep"]).output().unwrap().stdout)
            .unwrap()
            .trim()
            .into();
    std::fs::copy(sleep, env.work().join("program")).unwrap();
    let before = files(&env);
    env.decklog(&["run", "--", "sh", "-c", "cp \"$(command -v cat)\" program.new; mv program.new program"]).expect(0);
    let mut running = Command::new(env.work().join("program")).stdin(std::process::Stdio::piped()).spawn().unwrap();
    env.write(".git/index.lock", "");
    env.decklog(&["restore", "@@0", "--in-place", "-y"]).expect(0);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(files(&env), before);
    assert!(env.work().join(".git/index.lock").exists());
}
