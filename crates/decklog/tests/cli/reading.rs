//! The reading verbs on real records.

use crate::env::{TestEnv, eventually, ids, kill};

#[test]
fn ls_on_nothing_and_something() {
    let env = TestEnv::new();
    let ran = env.decklog(&["ls"]).expect(0);
    assert!(ran.stderr.contains("no sessions under"), "{}", ran.stderr);
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json(), serde_json::json!([]));
    for word in ["one", "two", "three"] {
        env.decklog(&["run", "--", "echo", word]).expect(0);
    }
    let mut listed = ids(&env.decklog(&["ls", "--json"]).json());
    listed.sort();
    let recorded: Vec<_> =
        env.sessions().iter().map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!((listed.len(), listed), (3, recorded));
    assert_eq!(env.decklog(&["ls", "-n", "1", "--json"]).json().as_array().unwrap().len(), 1);
    let bad = env.decklog(&["ls", "--columns", "id,nonsense"]).expect(2);
    assert!(bad.stderr.contains("choose from id, started"), "{}", bad.stderr);
    let prompts = env.decklog(&["ls", "--columns", "prompt"]).expect(0).stdout;
    assert!(prompts.contains("echo two"), "{prompts}");
}

#[test]
fn sessions_are_found_by_parts() {
    let env = TestEnv::new().fixed();
    env.decklog(&["run", "--", "true"]).expect(0);
    for selector in ["20260501T134412-3f2a", "3f2a", "20260501", "@", "@1"] {
        env.decklog(&["show", selector]).expect(0);
    }
    for (selector, words) in
        [("@2", "no session matches"), ("ffff", "no session matches"), ("../x", "is not a session id")]
    {
        let ran = env.decklog(&["show", selector]).expect(2);
        assert!(ran.stderr.contains(words), "{selector}: {}", ran.stderr);
    }
    env.decklog(&["run", "--", "true"]).expect(0);
    let ran = env.decklog(&["show", "2026"]).expect(2);
    assert!(ran.stderr.contains("matches 2 sessions"), "{}", ran.stderr);
    let ran = env.decklog(&["show"]).expect(2);
    assert!(ran.stderr.contains("no session is named"), "{}", ran.stderr);
}

#[test]
fn logs_by_name_and_followed() {
    let env = TestEnv::new();
    let mut decklog = env.start(&["run", "--", "sh", "-c", "echo first; read line < gate; echo last"]);
    finish_gate(&env);
    eventually("a session", || env.sessions().first().cloned());
    let follower = env.start(&["logs", "-f", "@", "stream"]);
    let watcher = env.start(&["watch", "@"]);
    eventually("the first line", || {
        std::fs::read_to_string(env.session().join("turns/001-stream.jsonl")).ok().filter(|text| text == "first\n")
    });
    std::fs::write(env.work().join("gate"), "go\n").unwrap();
    assert_eq!(decklog.wait().unwrap().code(), Some(0));
    // Both return by themselves, with everything.
    let followed = follower.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "first\nlast\n");
    let watched = String::from_utf8(watcher.wait_with_output().unwrap().stdout).unwrap();
    assert!(watched.contains("  first\n  last\n") && watched.contains("success"), "{watched}");
    let unknown = env.decklog(&["logs", "@", "nonsense"]).expect(2);
    assert!(unknown.stderr.contains("001-stderr"), "{}", unknown.stderr);
    let listed = env.decklog(&["logs", "@"]).expect(0).stdout;
    for name in ["journal", "001-output", "001-prompt", "001-state", "001-stderr", "001-stream"] {
        assert!(listed.contains(name), "{listed}");
    }
}

fn finish_gate(env: &TestEnv) {
    let status = std::process::Command::new("mkfifo").arg(env.work().join("gate")).status().unwrap();
    assert!(status.success());
}

#[test]
fn following_ends_with_a_killed_recorder() {
    let env = TestEnv::new();
    let mut decklog = env.start(&["run", "--", "sh", "-c", "echo first; exec sleep 1000"]);
    let session = eventually("a session", || env.sessions().first().cloned());
    eventually("output", || {
        std::fs::read(session.join("turns/001-stream.jsonl")).ok().filter(|bytes| !bytes.is_empty())
    });
    let follower = env.start(&["logs", "-f", "@", "stream"]);
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    assert_eq!(follower.wait_with_output().unwrap().stdout, b"first\n");
}

#[test]
fn verify_finds_a_flipped_byte_anywhere() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "hi"]).expect(0);
    let journal = env.session().join("journal.jsonl");
    let good = std::fs::read(&journal).unwrap();
    for at in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        std::fs::write(&journal, &bad).unwrap();
        assert!(!decklog_journal::verify::verify(&env.session()).is_clean(), "byte {at} is not missed");
    }
    let ran = env.decklog(&["verify", "@"]).expect(1);
    assert!(ran.stdout.contains("journal.jsonl"), "{}", ran.stdout);
    std::fs::write(&journal, &good).unwrap();
    std::fs::remove_file(env.session().join("turns/001-stderr.log")).unwrap();
    let ran = env.decklog(&["verify", "--all"]).expect(1);
    assert!(ran.stdout.contains("turns/001-stderr.log"), "{}", ran.stdout);
}

/// A turn that changes so many files that its list is cut.
#[test]
fn a_diff_names_every_file_or_says_that_it_does_not() {
    let env = TestEnv::new();
    let long = "n".repeat(200);
    let script = format!("for i in $(seq 100 399); do echo new > $i-{long}; done");
    env.decklog(&["run", "--", "sh", "-c", &script]).expect(0);
    let turn = &env.decklog(&["show", "@", "--json"]).expect(0).json()["turns"][0];
    let cut = turn["files"].as_array().unwrap().len();
    assert!(turn["files_changed"] == 300 && cut < 300, "{cut}");
    let told = |count: usize| {
        let of = |how: &str| env.decklog(&["diff", "@", how]).expect(0);
        let [json, names, stat] = ["--json", "--name-only", "--stat"].map(of);
        assert_eq!(json.json().as_array().unwrap().len(), count);
        assert_eq!(names.stdout.lines().count(), count);
        assert!(stat.stdout.ends_with(&format!("{count} files changed, +{count} -0\n")), "{}", stat.stdout);
        [json, names, stat].map(|ran| ran.stderr.contains("not all changed files are named"))
    };
    assert_eq!(told(300), [false; 3]);
    std::fs::remove_dir_all(env.session().join("objects")).unwrap();
    assert_eq!(told(cut), [true; 3]);
    assert!(env.decklog(&["diff", "@"]).expect(0).stdout.matches("diff --git ").count() == 300);
}
