//! Agents that reach into the directory of their own session.

use crate::env::{Ran, TestEnv, finish};

/// Runs `script` as an agent; `$S` is its session directory.
fn run(env: &TestEnv, script: &str) -> Ran {
    let script = format!("S=$(echo \"$HOME\"/.local/share/decklog/sessions/2*); {script}");
    let mut command = env.command("timeout");
    command.args(["-s", "KILL", "60"]).arg(env!("CARGO_BIN_EXE_decklog")).args(["run", "--", "sh", "-c", &script]);
    finish(command)
}

const LONG: &str = "head -c 9000 /dev/zero | tr '\\0' x; echo;";

#[test]
fn what_takes_the_place_of_a_stream_neither_hangs_nor_leaks() {
    let secret = "user's own notes, nothing of the record\n".repeat(400);
    for (name, put) in [
        ("a fifo", "rm \"$F\"; mkfifo \"$F\""),
        ("a link", "rm \"$F\"; ln -s \"$HOME/notes\" \"$F\""),
        ("a hard link", "rm \"$F\"; ln \"$HOME/notes\" \"$F\""),
        ("a directory", "rm \"$F\"; mkdir \"$F\""),
        ("nothing", "rm \"$F\""),
    ] {
        for file in ["001-stream.jsonl", "001-stderr.log", "001-output.md"] {
            let env = TestEnv::new();
            std::fs::write(env.home().join("notes"), &secret).unwrap();
            let ran = run(&env, &format!("{LONG} F=\"$S/turns/{file}\"; {put}; echo said; echo err >&2"));
            let what = format!("{name} for {file}");
            assert!(matches!(ran.code, 0 | 2), "{what}: {} {}", ran.code, ran.stderr);
            let shown = env.decklog(&["show", "@", "--full"]);
            let shown = if shown.code == 0 { shown } else { env.decklog(&["show", "@"]).expect(0) };
            assert!(!shown.stdout.contains("user's own notes"), "{what}");
            let log = env.decklog(&["logs", "@", file.split('.').next().unwrap()]);
            assert!(!log.stdout.contains("user's own notes"), "{what}: {}", log.stdout);
            assert!(log.stdout.contains("said") || log.stdout.contains("err"), "{what}: it is whole: {}", log.stdout);
            assert_eq!(std::fs::read_to_string(env.home().join("notes")).unwrap(), secret, "{what}: untouched");
            env.decklog(&["verify", "@"]).expect(0);
        }
    }
}

/// Files that are finished, and files that are written on after they were cut: no success, whatever they hold.
#[test]
fn files_that_the_agent_destroys_fail_the_run() {
    for (name, script) in [
        ("the prompt removed", "rm \"$S/turns/001-prompt.md\""),
        ("the prompt changed", "echo mine >> \"$S/turns/001-prompt.md\""),
        ("all removed", "rm -r \"$S/turns\""),
        ("the stream cut", "wait_for 001-stream.jsonl; : > \"$S/turns/001-stream.jsonl\"; echo more"),
        (
            "the errors cut",
            "{ head -c 9000 /dev/zero | tr '\\0' x; echo; } >&2; wait_for 001-stderr.log; : > \"$S/turns/001-stderr.log\"; \
             echo more >&2",
        ),
    ] {
        let env = TestEnv::new();
        let wait = "wait_for() { until [ \"$(wc -c <\"$S/turns/$1\")\" -ge 9000 ]; do sleep 0.01; done; }";
        let ran = run(&env, &format!("{wait}; {LONG} {script}; echo after"));
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("another process"), "{name}: {}", ran.stderr);
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["exit_code"]), (&"completed".into(), &2.into()), "{name}");
        assert_eq!(head["outcome"], "failed", "{name}");
    }
}

#[test]
fn a_journal_that_the_agent_destroys_is_restored_and_the_run_fails() {
    for (name, script) in [
        ("removed", "rm \"$S/journal.jsonl\""),
        ("emptied", ": > \"$S/journal.jsonl\""),
        ("replaced", "rm \"$S/journal.jsonl\"; echo mine > \"$S/journal.jsonl\""),
        ("extended", "echo mine >> \"$S/journal.jsonl\""),
        ("lock removed", "rm \"$S/lock\""),
    ] {
        let env = TestEnv::new();
        let ran = run(&env, &format!("echo before; {script}; echo after; echo work > made"));
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("by another process"), "{name}: {}", ran.stderr);
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["exit_code"]), (&"completed".into(), &2.into()), "{name}");
        assert_ne!(head["outcome"], "success", "{name}");
        let shown = env.decklog(&["show", "@"]).expect(0).stdout;
        assert!(shown.contains("before") && shown.contains("after"), "{name}: {shown}");
        assert!(env.decklog(&["diff", "@"]).expect(0).stdout.contains("+work"), "{name}");
        env.decklog(&["verify", "@"]).expect(0);
    }
}

/// Files for a turn to come, and directories that lead elsewhere.
#[test]
fn what_an_agent_prepares_for_later_is_set_aside() {
    let env = crate::relaying::world(&[(
        "ada",
        "text",
        "S=$(echo \"$HOME\"/.local/share/decklog/sessions/2*); [ -e \"$S/turns/002-prompt.md\" ] || { \
         mkfifo \"$S/turns/002-prompt.md\"; ln -s \"$HOME/notes\" \"$S/turns/002-stream.jsonl\"; }; echo done",
    )]);
    std::fs::write(env.home().join("notes"), "mine\n").unwrap();
    env.decklog(&["run", "ada", "First."]).expect(0);
    env.decklog(&["resume", "@", "Second."]).expect(0);
    assert_eq!(std::fs::read_to_string(env.home().join("notes")).unwrap(), "mine\n");
    assert!(env.decklog(&["logs", "@", "002-prompt"]).expect(0).stdout.contains("Second."));
    env.decklog(&["verify", "@"]).expect(0);
}

/// A prompt that was written for a turn that never began is not taken for the next turn's.
#[test]
fn the_prompt_of_a_killed_recorder_spoils_no_resume() {
    let env = crate::relaying::world(&[("ada", "text", "echo done")]);
    env.decklog(&["run", "ada", "First."]).expect(0);
    let turns = env.session().join("turns");
    for file in ["002-prompt.md", "002-stream.jsonl", "002.patch"] {
        std::fs::write(turns.join(file), "of another time\n").unwrap();
    }
    env.decklog(&["resume", "@", "Second."]).expect(0);
    assert!(env.decklog(&["logs", "@", "002-prompt"]).expect(0).stdout.contains("Second."));
    assert!(turns.join("002-prompt.md.orphan").exists(), "it is kept");
    let verified = env.decklog(&["verify", "@"]).expect(0).stdout;
    assert!(verified.contains("002-prompt.md.orphan"), "{verified}");
    env.decklog(&["discard", "-y", "@"]).expect(0);
    assert!(env.sessions().is_empty());
}

/// What older versions left when they were killed between an id and the first event.
#[test]
fn a_session_without_an_event_is_none() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let id = env.session().file_name().unwrap().to_string_lossy().into_owned();
    let unborn = env.root().join("29990101T000000-0001");
    std::fs::create_dir_all(unborn.join("objects")).unwrap();
    std::fs::write(unborn.join("lock"), "").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(120);
    std::fs::File::open(&unborn).unwrap().set_modified(old).unwrap();
    assert!(env.decklog(&["show", "@"]).expect(0).stdout.contains(&id), "@ is the newest session");
    let listed = env.decklog(&["ls", "--json"]).expect(0);
    assert_eq!((listed.json().as_array().unwrap().len(), listed.stderr.as_str()), (1, ""));
    let verified = env.decklog(&["verify", "29990101T000000-0001"]).expect(1).stdout;
    assert!(verified.contains("decklog clean"), "{verified}");
    env.decklog(&["clean", "-y"]).expect(0);
    assert!(!unborn.exists());
    env.decklog(&["show", &id]).expect(0);
}

/// The clock is set back while an agent works.
#[test]
fn a_clock_that_is_set_back_changes_no_duration() {
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|arch| format!("/usr/lib/{arch}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let Some(library) = library else {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "faketime is not installed");
        println!("skipped: faketime is not installed");
        return;
    };
    for change in ["-3600", "+3600"] {
        let env = TestEnv::new();
        let file = env.home().join("faketime");
        std::fs::write(&file, "+0\n").unwrap();
        let script = format!("echo before; echo '{change}' > \"$FAKETIME_TIMESTAMP_FILE\"; sleep 0.2; echo after");
        let mut command = env.decklog_command(&["run", "--", "sh", "-c", &script]);
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &file).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        finish(command).expect(0);
        let journal = std::fs::read_to_string(env.session().join("journal.jsonl")).unwrap();
        let events: Vec<serde_json::Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let times: Vec<&str> = events.iter().map(|event| event["timestamp"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{change}: {times:?}");
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        let took = head["duration_secs"].as_f64().unwrap();
        assert!((0.2..600.0).contains(&took), "{change}: {head}");
        assert!(head["ended_at"].as_str() > head["started_at"].as_str(), "{change}: {head}");
        env.decklog(&["verify", "@"]).expect(0);
    }
}

/// What decklog exits with is 2 for each failure: the agent's own code is on the screen and in JSON.
#[test]
fn the_exit_code_of_the_agent_is_shown() {
    let env = TestEnv::new();
    let ran = env.decklog(&["run", "--", "sh", "-c", "echo why >&2; exit 7"]).expect(2);
    assert!(ran.stderr.contains("exit code 7"), "{}", ran.stderr);
    let ran = env.decklog(&["run", "--json", "--", "sh", "-c", "exit 7"]).expect(2);
    assert_eq!(ran.json()["agent_exit_code"], 7);
    let ran = env.decklog(&["run", "--", "sh", "-c", "kill -9 $$"]).expect(2);
    assert!(ran.stderr.contains("signal 9"), "{}", ran.stderr);
}
