//! `run` with plain commands: what is kept, what is told, what it exits with.

use std::io::Write as _;

use serde_json::Value;

use crate::env::{TestEnv, eventually, is_alive, kill};

#[test]
fn a_command_is_recorded_whole() {
    let env = TestEnv::new().fixed();
    let ran = env
        .decklog(&["run", "--", "sh", "-c", "echo out; echo err >&2; echo two >> a.txt; echo new > b.txt"])
        .expect(0);
    assert_eq!(ran.stdout, "out\n");
    insta::assert_snapshot!(env.plain(&ran.stderr));
    let session = env.session();
    assert_eq!(std::fs::read_to_string(session.join("turns/001-stream.jsonl")).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(session.join("turns/001-stderr.log")).unwrap(), "err\n");
    let shown = env.decklog(&["show", "@"]).expect(0);
    insta::assert_snapshot!("show_a_command", env.plain(&shown.stdout));
    insta::assert_snapshot!("diff_a_command", env.decklog(&["diff", "@"]).expect(0).stdout);
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn the_patch_applies_to_where_the_turn_started() {
    let env = TestEnv::new();
    env.write("dirty.txt", "the user's own\n");
    env.decklog(&["run", "--", "sh", "-c", "echo two >> a.txt; git mv a.txt moved.txt; git commit -qam agent; printf '\\0\\1' > 'bin file'; ln -s moved.txt link; chmod +x dirty.txt"]).expect(0);
    let names = env.decklog(&["diff", "@", "--name-only"]).expect(0).stdout;
    assert_eq!(names, "bin file\ndirty.txt\nlink\nmoved.txt\n");
    let patch = env.session().join("turns/001.patch");
    let diff = env.decklog(&["diff", "@"]).expect(0).stdout;
    assert_eq!(diff.into_bytes(), std::fs::read(&patch).unwrap(), "diff is the patch, byte for byte");
    // Back to where the turn started.
    env.git(&["reset", "-q", "--hard", "HEAD~1"]);
    env.git(&["clean", "-qfd"]);
    env.write("dirty.txt", "the user's own\n");
    env.git(&["apply", patch.to_str().unwrap()]);
    assert_eq!(env.read("moved.txt"), "one\ntwo\n");
    assert_eq!(std::fs::read_link(env.work().join("link")).unwrap().to_str(), Some("moved.txt"));
}

#[test]
fn exit_codes_are_told_and_recorded() {
    for (arguments, code, outcome) in [
        (&["run", "--", "true"][..], 0, "success"),
        (&["run", "--check", "true", "--", "true"], 0, "success"),
        (&["run", "--check", "true", "--check", "exit 7", "--", "true"], 1, "failed"),
        (&["run", "--", "false"], 2, "failed"),
        (&["run", "--", "/nonexistent"], 2, "failed"),
        (&["run", "--timeout", "1s", "--", "sleep", "60"], 2, "failed"),
        (&["run", "--stall-timeout", "1s", "--", "sh", "-c", "echo hi; sleep 60"], 2, "failed"),
    ] {
        let env = TestEnv::new();
        env.decklog(arguments).expect(code);
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["exit_code"], &head["outcome"]), (&code.into(), &outcome.into()), "{arguments:?}");
        env.decklog(&["verify", "@"]).expect(0);
    }
}

#[test]
fn an_interrupted_agent_is_asked_then_ended_with_all_it_started() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let env = TestEnv::new();
        // The agent ignores polite requests, and has a child that left its session.
        let script = "trap '' INT TERM; setsid sh -c 'echo $$ > orphan; exec sleep 1000' & echo $$ > agent; while true; do sleep 1; done";
        let mut decklog = env.start(&["run", "--", "sh", "-c", script]);
        let pid = |name: &str| {
            let path = env.work().join(name);
            eventually(name, || std::fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok())
        };
        let (agent, orphan) = (pid("agent"), pid("orphan"));
        kill(decklog.id(), signal);
        if signal == "INT" {
            // A second Ctrl-C insists at once.
            kill(decklog.id(), signal);
        }
        assert_eq!(decklog.wait().unwrap().code(), Some(code));
        assert!(!is_alive(agent) && !is_alive(orphan));
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["outcome"], &head["exit_code"]), (&"interrupted".into(), &code.into()));
    }
}

/// As another user's process that the agent has started does, which cannot be ended.
#[test]
fn who_goes_on_to_print_after_the_agent_does_not_hold_the_session() {
    let env = TestEnv::new();
    let mut decklog = env.start(&["run", "--", "sh", "-c", "echo $$ > agent; until test -e go; do sleep 0.01; done"]);
    let file = env.work().join("agent");
    let agent = eventually("the agent", || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
    let mut stdout = std::fs::OpenOptions::new().write(true).open(format!("/proc/{agent}/fd/1")).unwrap();
    let prints = std::thread::spawn(move || {
        while stdout.write_all(b".\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    env.write("go", "");
    let code = eventually("the end", || decklog.try_wait().unwrap()).code();
    assert_eq!(code, Some(0));
    prints.join().unwrap();
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn a_killed_recorder_leaves_a_crashed_session_and_no_agent() {
    let env = TestEnv::new();
    let script = "echo before; setsid sh -c 'echo $$ > orphan; exec sleep 1000' & echo $$ > agent; exec sleep 1000";
    let mut decklog = env.start(&["run", "--", "sh", "-c", script]);
    let pid = |name: &str| {
        let path = env.work().join(name);
        eventually(name, || std::fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok())
    };
    let (agent, orphan) = (pid("agent"), pid("orphan"));
    let session = env.session();
    eventually("the message in the journal", || {
        std::fs::read_to_string(session.join("journal.jsonl")).ok()?.contains("before").then_some(())
    });
    assert_eq!(env.decklog(&["ls", "--json"]).json()[0]["status"], "active");
    let refused = env.decklog(&["discard", "-y", "@"]).expect(2);
    assert!(refused.stderr.contains("being recorded"), "{}", refused.stderr);
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    eventually("the end of the agent", || (!is_alive(agent) && !is_alive(orphan)).then_some(()));
    eventually("crashed", || (env.decklog(&["ls", "--json"]).json()[0]["status"] == "crashed").then_some(()));
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert_eq!(shown["turns"][0]["steps"][0]["text"], "before\n");
    env.decklog(&["discard", "-y", "@"]).expect(0);
    assert!(env.sessions().is_empty());
}

#[test]
fn prompts_come_from_everywhere() {
    let mut env = TestEnv::new();
    let config = env.home().join(".config/decklog");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(
        config.join("config.toml"),
        "default-agent = \"cat\"\n[agents.cat]\ncommand = [\"cat\"]\nprotocol = \"text\"\n",
    )
    .unwrap();
    env.write("task.md", "from a file");
    for (arguments, input, prompt) in [
        (&["run", "cat", "as words"][..], "", "as words"),
        (&["run", "as words"], "", "as words"),
        (&["run", "cat", "-"], "from stdin", "from stdin"),
        (&["run", "-"], "from stdin", "from stdin"),
        (&["run", "cat"], "from a pipe", "from a pipe"),
        (&["run"], "from a pipe", "from a pipe"),
        (&["run", "cat", "--prompt-file", "task.md"], "", "from a file"),
        (&["run", "--prompt-file", "task.md"], "", "from a file"),
    ] {
        let ran = env.decklog_with_input(arguments, input.as_bytes()).expect(0);
        assert_eq!(ran.stdout, prompt, "{arguments:?}");
        assert_eq!(env.decklog(&["show", "@", "--json"]).json()["session"]["prompt"], prompt, "{arguments:?}");
    }
    let huge = "ab\u{1}Ü".repeat(1_000_000);
    let ran = env.decklog_with_input(&["run", "cat", "-"], huge.as_bytes()).expect(0);
    assert!(ran.stdout == huge, "5 MB go through");
    assert_eq!(env.decklog(&["show", "@", "--json"]).json()["session"]["prompt"], Value::String(huge));
    for (arguments, words) in [
        (&["run", "nobody", "a prompt"][..], "there is no agent \"nobody\""),
        (&["run", "cat", "a", "b"], "in quotes"),
        (&["run", "cat", "  "], "the prompt is empty"),
        (&["run", "cat", "x", "--", "y"], "no agent or prompt goes with it"),
        (&["run", "--prompt-file", "missing.md"], "missing.md"),
        (&["run", "claude", "x"], "npm install -g @anthropic-ai/claude-code"),
    ] {
        env.set("PATH", "/usr/bin:/bin");
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_session_directory_of_the_users_own() {
    let env = TestEnv::new();
    let dir = env.home().join("my run");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine.txt"), "mine").unwrap();
    let path = dir.to_str().unwrap();
    env.decklog(&["run", "--session-dir", path, "--", "echo", "hi"]).expect(0);
    let listed = env.decklog(&["ls"]).expect(0).stdout;
    assert!(listed.contains(&format!("-> {}", dir.canonicalize().unwrap().display())), "{listed}");
    assert_eq!(env.decklog(&["logs", "--session-dir", path, "stream"]).expect(0).stdout, "hi\n");
    let again = env.decklog(&["run", "--session-dir", path, "--", "true"]).expect(2);
    assert!(again.stderr.contains("holds a session already"), "{}", again.stderr);
    let ran = env.decklog(&["discard", "-y", "--session-dir", path]).expect(0);
    assert!(ran.stderr.contains("mine.txt: not decklog's"), "{}", ran.stderr);
    assert!(env.sessions().is_empty(), "the link is gone");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "only what was there before is left");
}

#[test]
fn the_final_result_as_json() {
    let env = TestEnv::new();
    let ran = env.decklog(&["run", "--json", "--check", "false", "--", "echo", "hi"]).expect(1);
    let result = ran.json();
    assert_eq!(result["text"], "hi\n");
    assert_eq!(result["exit_code"], 1);
    assert_eq!(result["checks"][0]["passed"], false);
    let error = env.decklog(&["run", "--json", "nobody", "x"]).expect(2);
    let error: Value = serde_json::from_str(&error.stderr).unwrap();
    assert!(error["error"].as_str().unwrap().contains("nobody"));
}

#[test]
fn records_that_lie_in_the_tree_are_no_part_of_it() {
    let env = TestEnv::new();
    for _ in 0..2 {
        env.decklog(&["--session-root", "kept here", "run", "--session-dir", "my dir", "--", "touch", "made"])
            .expect(0);
        let names = env.decklog(&["--session-root", "kept here", "diff", "@", "--name-only"]).expect(0).stdout;
        assert_eq!(names, "made\n");
        std::fs::remove_file(env.work().join("made")).unwrap();
        env.decklog(&["--session-root", "kept here", "run", "--", "true"]).expect(0);
        assert_eq!(env.decklog(&["--session-root", "kept here", "ls", "--json"]).json()[0]["files_changed"], 0);
        env.decklog(&["--session-root", "kept here", "discard", "-y", "--session-dir", "my dir"]).expect(0);
    }
    let ran = env.decklog(&["run", "--session-dir", ".", "--", "true"]).expect(2);
    assert!(ran.stderr.contains("must not be the working directory"), "{}", ran.stderr);
}
