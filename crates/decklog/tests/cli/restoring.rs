//! `restore`: into a directory, in place and back, and everything it refuses.

use serde_json::json;

use crate::env::{TestEnv, all_bytes, eventually, kill};
use crate::relaying;
use crate::web::server::serve;

/// Two turns' worth of sessions: the first makes and changes files, the second goes on.
fn env() -> TestEnv {
    let env = TestEnv::new();
    env.write(".gitignore", "*.log\n");
    env.decklog(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo two >> a.txt; mkdir -p d; echo new > d/b.txt; ln -s a.txt link; chmod +x a.txt",
    ])
    .expect(0);
    env.decklog(&["run", "--", "sh", "-c", "rm a.txt link; echo other > d/b.txt; echo more > c.txt"]).expect(0);
    env
}

fn files(env: &TestEnv) -> Vec<(String, String)> {
    let work = env.work();
    let mut all: Vec<_> = all_bytes(&work)
        .into_iter()
        .map(|(path, bytes)| {
            let path = path.strip_prefix(&work).unwrap().to_string_lossy().into_owned();
            (path, String::from_utf8_lossy(&bytes).into_owned())
        })
        .filter(|(path, _)| !path.starts_with(".git/"))
        .collect();
    all.sort();
    all
}

#[test]
fn into_a_directory_of_its_own() {
    let env = TestEnv::new().fixed();
    env.decklog(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo two >> a.txt; echo '#!/bin/sh' > run; chmod +x run; ln -s a.txt link",
    ])
    .expect(0);
    let before = all_bytes(&env.session());
    let ran = env.decklog(&["restore", "@"]).expect(0);
    assert_eq!(env.plain(&ran.stdout), "[TMP]/work/20260501T134412-3f2a-turn-1\n");
    assert_eq!(ran.stderr, "3 files written, after turn 1\n");
    assert_eq!(env.read("20260501T134412-3f2a-turn-1/a.txt"), "one\ntwo\n");
    use std::os::unix::fs::PermissionsExt;
    let there = env.work().join("20260501T134412-3f2a-turn-1");
    assert_eq!(there.join("run").metadata().unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(std::fs::read_link(there.join("link")).unwrap().to_str(), Some("a.txt"));
    let ran = env.decklog(&["restore", "3f2a@0", "--into", "empty", "--json"]).expect(0).json();
    assert_eq!(env.read("empty/a.txt"), "one\n");
    let there = env.work().canonicalize().unwrap().join("empty");
    assert_eq!(
        ran,
        json!({
            "id": "20260501T134412-3f2a", "turn": 0, "tree": ran["tree"], "directory": there.to_str(),
            "written": ["a.txt"], "removed": [], "left": [], "withheld": [],
        })
    );
    for (arguments, words) in [
        (&["restore"][..], "no session is named"),
        (&["restore", "@@2"], "there is no turn 2: the session has 1"),
        (&["restore", "@@x"], "write ID@N"),
        (&["restore", "@", "--into", "empty"], "is not empty"),
        (&["restore", "@", "--into", "a.txt"], "no directory"),
        (&["restore", "@", "--into", "no/where"], "its parent"),
        (&["restore", "@", "--into", "x", "--in-place"], "cannot be used with"),
        (&["restore", "@", "-y"], "--in-place"),
        (&["restore", "@", "--in-place"], "nobody is there to confirm it"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    let inside = env.session().join("new");
    let ran = env.decklog(&["restore", "@", "--into", inside.to_str().unwrap()]).expect(2);
    assert!(ran.stderr.contains("session's own directory"), "{}", ran.stderr);
    assert_eq!(all_bytes(&env.session()), before, "readers never write into a session");
    assert!(!env.work().join("x").exists());
    assert_eq!(env.sessions().len(), 1, "what was refused is not recorded");
}

#[test]
fn in_place_and_back() {
    let env = env();
    env.write("own.txt", "the user's, recorded by nobody yet\n");
    env.write("a.log", "ignored\n");
    let start = files(&env);
    let ran = env.decklog(&["restore", "@2@1", "--in-place", "-y"]).expect(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("3 files written, 2 removed, after turn 1"), "{}", ran.stderr);
    assert_eq!(env.read("a.txt"), "one\ntwo\n");
    assert_eq!(env.read("d/b.txt"), "new\n");
    assert_eq!(env.read("a.log"), "ignored\n");
    assert!(!env.work().join("c.txt").exists() && !env.work().join("own.txt").exists());
    assert!(env.work().join("link").is_symlink());
    // It tells the way back, and that is one.
    let back = ran.stderr.lines().find_map(|line| line.strip_prefix("to go back: decklog ")).unwrap();
    let mut words: Vec<_> = back.split(' ').collect();
    words.push("-y");
    env.decklog(&words).expect(0);
    assert_eq!(files(&env), start);
    // Both are sessions like others.
    let heads = env.decklog(&["ls", "--json"]).expect(0).json();
    assert_eq!(heads.as_array().unwrap().len(), 4);
    assert_eq!((&heads[0]["kind"], &heads[0]["outcome"]), (&"run".into(), &"success".into()));
    assert!(heads[1]["prompt"].as_str().unwrap().ends_with("@1 --in-place"), "{}", heads[1]);
    env.decklog(&["verify", "--all"]).expect(0);
    assert!(env.decklog(&["diff", "@", "--name-only"]).expect(0).stdout.contains("own.txt"));
    assert!(env.decklog(&["show", "@"]).expect(0).stdout.contains("3 written, 2 removed"));
    let told = env.decklog(&["restore", "@4@0", "--in-place", "-y", "--json"]).expect(0).json();
    assert_eq!(told["written"], json!(["a.txt"]));
    assert_eq!(told["go_back"], format!("decklog restore {}@0 --in-place", told["recorded_as"].as_str().unwrap()));
    assert_eq!(env.read("a.txt"), "one\n");
}

#[test]
fn in_place_is_where_the_session_worked() {
    let env = env();
    // From below, the whole repository; from elsewhere, nothing.
    let mut command = env.decklog_command(&["restore", "@2@0", "--in-place", "-y"]);
    command.current_dir(env.home());
    let ran = crate::env::finish(command).expect(2);
    assert!(ran.stderr.contains("not where you are"), "{}", ran.stderr);
    let mut command = env.decklog_command(&["restore", "@2@0", "--in-place", "-y"]);
    command.current_dir(env.work().join("d"));
    crate::env::finish(command).expect(0);
    assert_eq!(env.read("a.txt"), "one\n");
    // Another repository in the same place is not the one recorded.
    std::fs::rename(env.work().join(".git"), env.home().join("old.git")).unwrap();
    let ran = env.decklog(&["restore", "@2@0", "--in-place", "-y"]).expect(2);
    assert!(ran.stderr.contains("is in none now"), "{}", ran.stderr);
    env.git(&["init", "-q"]);
    let ran = env.decklog(&["restore", "@2@0", "--in-place", "-y"]).expect(2);
    assert!(ran.stderr.contains("does not have the commit"), "{}", ran.stderr);
    assert!(ran.stderr.contains("without --in-place"), "{}", ran.stderr);
}

#[test]
fn a_directory_without_repository_goes_back_too() {
    let env = TestEnv::without_repository();
    env.write("a.txt", "one\n");
    env.decklog(&["run", "--", "sh", "-c", "echo two > a.txt; echo b > b.txt"]).expect(0);
    env.decklog(&["restore", "@@0", "--in-place", "-y"]).expect(0);
    assert_eq!(files(&env), [("a.txt".to_owned(), "one\n".to_owned())]);
    env.git(&["init", "-q"]);
    env.decklog(&["restore", "@2", "--in-place", "-y"]).expect(0);
    assert_eq!(env.read("b.txt"), "b\n");
}

#[test]
fn not_while_a_recorder_is_at_work() {
    let env = env();
    let start = files(&env);
    let mut decklog = env.start(&["run", "--", "sleep", "1000"]);
    eventually("the session", || {
        let head = env.decklog(&["ls", "--json"]).json()[0].clone();
        (head["status"] == "active").then_some(())
    });
    let ran = env.decklog(&["restore", "@2@0", "--in-place", "-y"]).expect(2);
    assert!(ran.stderr.contains("is being recorded in"), "{}", ran.stderr);
    assert_eq!(files(&env), start);
    // Elsewhere it is in nobody's way.
    env.decklog(&["restore", "@2@0", "--into", "else"]).expect(0);
    std::fs::remove_dir_all(env.work().join("else")).unwrap();
    kill(decklog.id(), "TERM");
    decklog.wait().unwrap();
    // A session whose lock cannot be read may be at work.
    let lock = env.sessions()[0].join("lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let ran = env.decklog(&["restore", "@2@0", "--in-place", "-y"]).expect(2);
    assert!(ran.stderr.contains("cannot be told"), "{}", ran.stderr);
    assert_eq!(files(&env), start);
}

#[test]
fn what_is_missing_is_named() {
    let mut env = TestEnv::new();
    env.set("SERVICE_TOKEN", "hunter2-hunter2-hunter2");
    env.decklog(&["run", "--", "sh", "-c", "echo hunter2-hunter2-hunter2 > key.txt; echo two > a.txt"]).expect(0);
    let ran = env.decklog(&["restore", "@", "--into", "out"]).expect(0);
    assert!(ran.stderr.contains("key.txt is not in the snapshot as it was: holds a secret"), "{}", ran.stderr);
    assert!(!env.work().join("out/key.txt").exists());
    let told = env.decklog(&["restore", "@@0", "--in-place", "-y", "--json"]).expect(0).json();
    assert_eq!(told["not_recorded"][0]["path"], "key.txt");
    assert!(env.work().join("key.txt").exists(), "what no snapshot holds is not removed");
    // The repository's first commit is thrown away.
    let blob = env.git(&["rev-parse", "HEAD:a.txt"]);
    let object = env.work().join(".git/objects").join(&blob[..2]).join(blob[2..].trim());
    std::fs::remove_file(object).unwrap();
    env.write("a.txt", "three\n");
    for arguments in [&["restore", "@2@0", "--in-place", "-y"][..], &["restore", "@2@0", "--into", "new"]] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains("\"a.txt\" as it was then is no longer there"), "{}", ran.stderr);
    }
    assert_eq!(env.read("a.txt"), "three\n");
    assert!(!env.work().join("new").exists());
}

/// A session of two turns, both of which change `a.txt`, with `between` done to the files between them.
fn relayed(between: impl Fn(&TestEnv)) -> TestEnv {
    let env = relaying::world(&[
        ("first", "claude-stream", relaying::LIMITED),
        ("second", "text", "echo rest >>a.txt; echo new >b.txt"),
    ]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(75);
    between(&env);
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    env
}

#[test]
fn a_session_whose_repository_is_gone_still_tells_what_it_changed() {
    let env = relayed(|_| ());
    let was = env.decklog(&["diff", "@", "--json"]).expect(0).json();
    let session = env.session();
    let lost = env.root().join("lost");
    std::fs::rename(env.work().join(".git"), &lost).unwrap();
    env.write("a.txt", "one\n");
    std::fs::remove_file(env.work().join("b.txt")).unwrap();
    assert_eq!(env.decklog(&["diff", "@", "--json"]).expect(0).json(), was);
    let patch = env.decklog(&["diff", "@"]).expect(0).stdout;
    assert_eq!(patch.matches("diff --git a/a.txt b/a.txt").count(), 2, "{patch}");
    env.write("all.patch", &patch);
    env.git(&["apply", "all.patch"]);
    assert_eq!((env.read("a.txt"), env.read("b.txt")), ("one\nhalf\nrest\n".to_owned(), "new\n".to_owned()));
    let (_ui, client) = serve(&env);
    let id = session.file_name().unwrap().to_str().unwrap().to_owned();
    let changes = client.json(&format!("/sessions/{id}/changes"));
    let told: Vec<_> =
        changes["files"].as_array().unwrap().iter().map(|file| (&file["path"], &file["added"])).collect();
    assert_eq!(told, [(&json!("a.txt"), &json!(2)), (&json!("b.txt"), &json!(1))]);
    // Only some of it is gone: an object of the first commit.
    std::fs::rename(&lost, env.work().join(".git")).unwrap();
    assert_eq!(env.decklog(&["diff", "@"]).expect(0).stdout.matches("a/a.txt b/a.txt").count(), 1);
    let blob = env.git(&["rev-parse", "HEAD:a.txt"]);
    std::fs::remove_file(env.work().join(".git/objects").join(&blob[..2]).join(blob[2..].trim())).unwrap();
    assert_eq!(env.decklog(&["diff", "@"]).expect(0).stdout, patch);
    assert_eq!(env.decklog(&["diff", "@", "--json"]).expect(0).json(), was);
}

#[test]
fn what_nobody_recorded_is_not_made_up() {
    let env = relayed(|env| env.write("a.txt", "another\n"));
    assert!(env.decklog(&["diff", "@"]).expect(0).stdout.contains("+another"));
    std::fs::remove_dir_all(env.work().join(".git")).unwrap();
    for how in ["--name-only", "--stat"] {
        let ran = env.decklog(&["diff", "@", how]).expect(2);
        assert!(ran.stderr.contains("no longer there") && ran.stderr.contains("--turn"), "{}", ran.stderr);
    }
    assert!(env.decklog(&["diff", "@", "--turn", "2"]).expect(0).stdout.contains("+rest"));
    let (_ui, client) = serve(&env);
    let session = env.session();
    let id = session.file_name().unwrap().to_str().unwrap();
    let changes = client.json(&format!("/sessions/{id}/changes"));
    assert!(changes["missing"].as_str().unwrap().contains("no longer there"), "{changes}");
    let (status, error) = client.refusal(&format!("/sessions/{id}/diff"));
    assert!(status == 404 && error.contains("no longer there"), "{status} {error}");
}
