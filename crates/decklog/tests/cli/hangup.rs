//! What becomes of each interactive part when its terminal goes away: it ends.

use std::io::Read as _;

use crate::env::{TestEnv, eventually, is_alive, kill};
use crate::pty::{Hangup, Pty};
use crate::shelling::asking_agent;

/// When the picker shows its keys, the terminal is raw and is read.
const PICKER: &str = "enter takes it";
const HUNG_UP: i32 = 129;

/// Two sessions of long ago: of a command that changes nothing, and of one that changes a file.
fn two() -> TestEnv {
    let mut env = TestEnv::new();
    env.set("DECKLOG_TEST_NOW", "2020-05-01T13:44:12Z");
    env.decklog(&["run", "--", "echo", "one"]).expect(0);
    env.decklog(&["run", "--", "sh", "-c", "echo two >>a.txt"]).expect(0);
    env.vars.clear();
    env
}

/// Closes the terminal of decklog once it shows `words`, in every way a terminal can go; it must end each time.
#[track_caller]
fn ends(env: &TestEnv, arguments: &[&str], words: &str) {
    for hangup in Hangup::ALL {
        let mut pty = Pty::start(env, hangup, arguments);
        pty.wait_for(words);
        assert_eq!(pty.close().end(), HUNG_UP, "{arguments:?}: {hangup:?}");
    }
}

#[test]
fn a_picker_ends_with_its_terminal() {
    let env = two();
    for verb in ["show", "diff", "discard", "restore"] {
        ends(&env, &[verb], PICKER);
    }
    assert_eq!(env.sessions().len(), 2);
}

#[test]
fn a_picker_that_was_typed_into_ends_with_its_terminal() {
    let env = two();
    for hangup in Hangup::ALL {
        // Half of a key, of a paste and of a letter: what is to come of them never comes.
        for typed in ["on", "\u{1b}[", "\u{1b}[200~half"] {
            let mut pty = Pty::start(&env, hangup, &["show"]);
            pty.wait_for(PICKER);
            pty.press(typed);
            assert_eq!(pty.close().end(), HUNG_UP, "{typed:?}: {hangup:?}");
        }
    }
}

#[test]
fn confirmations_end_with_their_terminal_and_change_nothing() {
    let env = two();
    std::fs::create_dir(env.work().join(".decklog")).unwrap();
    env.write(".decklog/config.toml", "[agents.x]\ncommand = [\"true\"]\nprotocol = \"text\"\n");
    for arguments in [&["discard", "@"][..], &["clean"], &["restore", "@", "--in-place"]] {
        ends(&env, arguments, "[y/N]");
    }
    ends(&env, &["trust"], "[y/N]");
    assert_eq!(env.sessions().len(), 2);
    assert_eq!(env.read("a.txt"), "one\ntwo\n");
    // The end of input alone is a no.
    let mut pty = Pty::start(&env, Hangup::Signal, &["discard", "@"]);
    pty.wait_for("[y/N]");
    pty.press("\u{4}");
    assert_ne!(pty.end(), HUNG_UP);
    assert_eq!(env.sessions().len(), 2);
}

#[test]
fn a_pager_ends_with_its_terminal_even_one_that_would_not() {
    let mut env = TestEnv::new();
    env.decklog(&["run", "--", "seq", "100"]).expect(0);
    // The first hears SIGHUP; the second reads nothing and ignores it.
    env.set("PAGER", "echo paging; exec sleep 1000");
    ends(&env, &["show", "@"], "paging");
    env.set("PAGER", "trap '' HUP; echo $$ >\"$HOME/pager\"; echo paging; exec sleep 1000");
    for hangup in [Hangup::Ignored, Hangup::Silent] {
        let mut pty = Pty::start(&env, hangup, &["show", "@"]);
        pty.wait_for("paging");
        assert_eq!(pty.close().end(), HUNG_UP, "{hangup:?}");
        let pager = std::fs::read_to_string(env.home().join("pager")).unwrap().trim().parse().unwrap();
        assert!(!is_alive(pager), "{hangup:?}");
    }
}

#[test]
fn what_follows_a_session_ends_with_its_terminal() {
    let env = TestEnv::new();
    let mut run = env.start(&["run", "--", "sh", "-c", "echo begun; echo begun >&2; exec sleep 1000"]);
    let session = eventually("a session", || env.sessions().pop());
    eventually("its output", || std::fs::read(session.join("turns/001-stderr.log")).ok().filter(|log| !log.is_empty()));
    ends(&env, &["watch", "@"], "begun");
    ends(&env, &["logs", "@", "001-stderr", "-f"], "begun");
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn following_ends_when_nobody_reads_it() {
    let env = TestEnv::new();
    let mut run = env.start(&["run", "--", "sh", "-c", "echo begun >&2; exec sleep 1000"]);
    let session = eventually("a session", || env.sessions().pop());
    eventually("its output", || std::fs::read(session.join("turns/001-stderr.log")).ok().filter(|log| !log.is_empty()));
    for arguments in [&["watch", "@"][..], &["logs", "@", "001-stderr", "-f"]] {
        let mut follows = env.start(arguments);
        // The reader goes while nothing is written any more.
        let mut stdout = follows.stdout.take().unwrap();
        let mut shown = Vec::new();
        while memchr::memmem::find(&shown, b"begun").is_none() {
            let mut buffer = [0; 4096];
            let count = stdout.read(&mut buffer).unwrap();
            assert!(count > 0, "{arguments:?}");
            shown.extend_from_slice(&buffer[..count]);
        }
        drop(stdout);
        assert_eq!(follows.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn an_import_that_watches_ends_with_its_terminal() {
    let env = TestEnv::new();
    ends(&env, &["import", "--all", "--watch"], "watching");
}

#[test]
fn the_page_ends_with_its_terminal_unless_hangups_are_ignored() {
    let env = TestEnv::new();
    for hangup in [Hangup::Signal, Hangup::Silent] {
        let mut pty = Pty::start(&env, hangup, &["ui", "--no-open"]);
        pty.wait_for("Enter prints another link");
        assert_eq!(pty.close().end(), HUNG_UP, "{hangup:?}");
    }
    let mut pty = Pty::start(&env, Hangup::Ignored, &["ui", "--no-open"]);
    pty.wait_for("Enter prints another link");
    let pid = pty.pid();
    let orphan = pty.close();
    kill(pid, "TERM");
    assert_eq!(orphan.end(), 143);
}

#[test]
fn the_shell_ends_with_its_terminal() {
    let env = crate::shelling::two();
    ends(&env, &["shell", "ada"], "ada ❯");
    // After a turn, and with half a line typed, its session is completed.
    for hangup in Hangup::ALL {
        let mut pty = Pty::start(&env, hangup, &["shell", "ada"]);
        pty.wait_for("ada ❯");
        pty.press("one\r");
        pty.wait_for("5 tokens in");
        pty.wait_for("ada ❯");
        pty.press("half");
        assert_eq!(pty.close().end(), HUNG_UP, "{hangup:?}");
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"success".into()), "{hangup:?}");
    }
}

#[test]
fn a_hangup_in_the_middle_of_a_turn_of_the_shell_ends_agent_and_session() {
    let env = crate::shelling::two();
    let mut pty = Pty::start(&env, Hangup::Signal, &["shell", "ada"]);
    pty.wait_for("ada ❯");
    pty.press("wait for it\r");
    let agent = eventually("the agent", || std::fs::read_to_string(env.home().join("waits")).ok()?.trim().parse().ok());
    assert_eq!(pty.close().end(), HUNG_UP);
    assert!(!is_alive(agent));
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!(
        (&head["status"], &head["outcome"], &head["exit_code"]),
        (&"completed".into(), &"interrupted".into(), &HUNG_UP.into())
    );
}

#[test]
fn a_permission_prompt_ends_with_its_terminal() {
    for hangup in Hangup::ALL {
        let env = asking_agent();
        let mut pty = Pty::start(&env, hangup, &["shell", "asks"]);
        pty.wait_for("asks ❯");
        pty.press("go\r");
        pty.wait_for("[y]es, [a]lways, [n]o");
        assert_eq!(pty.close().end(), HUNG_UP, "{hangup:?}");
        let events = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
        assert!(events.contains("refused by the user") || events.contains("\"interrupted\""), "{hangup:?}: {events}");
    }
}

#[test]
fn the_question_after_a_race_ends_with_its_terminal() {
    for hangup in Hangup::ALL {
        let env = crate::racing::three();
        let mut pty = Pty::start(&env, hangup, &["race", "bob", "ada", "Add a line."]);
        pty.wait_for("which one? [1-2");
        pty.close().end();
        assert_eq!(env.read("a.txt"), "one\n", "{hangup:?}");
        let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!(head["status"], "completed", "{hangup:?}");
    }
}

#[test]
fn a_hangup_while_an_agent_runs_is_recorded_as_interrupted() {
    let env = TestEnv::new();
    let script = "echo $$ >\"$HOME/agent\"; echo begun; exec sleep 1000";
    let mut pty = Pty::start(&env, Hangup::Signal, &["run", "--", "sh", "-c", script]);
    pty.wait_for("begun");
    let agent = std::fs::read_to_string(env.home().join("agent")).unwrap().trim().parse().unwrap();
    assert_eq!(pty.close().end(), HUNG_UP);
    assert!(!is_alive(agent));
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    let head = &shown["session"];
    assert_eq!(
        (&head["status"], &head["outcome"], &head["exit_code"]),
        (&"completed".into(), &"interrupted".into(), &HUNG_UP.into())
    );
    assert_eq!(shown["turns"][0]["outcome"], "interrupted");
    env.decklog(&["verify", "@"]).expect(0);
}

/// Whatever runs agents stops them, and records that.
#[test]
fn a_hangup_ends_loops_chats_and_races() {
    for arguments in [
        &["loop", "--actor", "slow", "--critic", "slow", "Go."][..],
        &["chat", "slow", "slow", "Go."],
        &["race", "slow", "slow", "--pick", "none", "Go."],
        &["run", "slow", "Go."],
    ] {
        let env = TestEnv::new();
        let config = env.home().join(".config/decklog");
        std::fs::create_dir_all(&config).unwrap();
        let script = "echo $$ >>\"$HOME/agents\"; exec sleep 1000";
        let command = serde_json::json!(["sh", "-c", script]);
        let agent = format!("[agents.slow]\ncommand = {command}\nprotocol = \"text\"\n");
        std::fs::write(config.join("config.toml"), agent).unwrap();
        let pty = Pty::start(&env, Hangup::Signal, arguments);
        let count = if arguments[0] == "race" { 2 } else { 1 };
        let agents: Vec<u32> = eventually("the agents", || {
            let pids = std::fs::read_to_string(env.home().join("agents")).ok()?;
            let pids: Vec<u32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
            (pids.len() == count).then_some(pids)
        });
        assert_eq!(pty.close().end(), HUNG_UP, "{arguments:?}");
        assert!(!agents.into_iter().any(is_alive), "{arguments:?}");
        let head = &env.decklog(&["show", "@", "--json"]).expect(0).json()["session"];
        assert_eq!((&head["status"], &head["exit_code"]), (&"completed".into(), &HUNG_UP.into()), "{arguments:?}");
        assert_eq!(head["outcome"], "interrupted", "{arguments:?}");
        env.decklog(&["verify", "@"]).expect(0);
        let left = std::fs::read_dir(env.home().join(".local/state/decklog/worktrees")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{arguments:?}");
    }
}

#[test]
fn with_hangups_ignored_an_agent_works_on_to_its_end() {
    for hangup in [Hangup::Ignored, Hangup::Silent] {
        let env = TestEnv::new();
        let mut pty = Pty::start(
            &env,
            hangup,
            &["run", "--", "sh", "-c", "echo begun; until test -e go; do sleep 0.02; done; echo after; echo x >b.txt"],
        );
        pty.wait_for("begun");
        let pid = pty.pid();
        let orphan = pty.close();
        assert!(is_alive(pid));
        env.write("go", "");
        orphan.end();
        let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
        assert_eq!((&shown["session"]["outcome"], &shown["session"]["exit_code"]), (&"success".into(), &0.into()));
        assert_eq!(env.read("b.txt"), "x\n");
    }
}

#[test]
fn after_a_picker_signals_still_reach_the_agent() {
    let env = TestEnv::new();
    let config = env.home().join(".config/decklog");
    std::fs::create_dir_all(&config).unwrap();
    let command = serde_json::json!(["sh", "-c", "echo begun; exec sleep 1000"]);
    std::fs::write(config.join("config.toml"), format!("[agents.slow]\ncommand = {command}\nprotocol = \"text\"\n"))
        .unwrap();
    env.decklog(&["run", "--", "sh", "-c", "exit 3"]).expect(2);
    let mut pty = Pty::start(&env, Hangup::Signal, &["resume", "--agent", "slow"]);
    pty.wait_for(PICKER);
    pty.press("\r");
    pty.wait_for("begun");
    // Ctrl-C on a terminal that is no longer raw.
    pty.press("\u{3}");
    assert_eq!(pty.end(), 130);
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"interrupted".into()));
}
