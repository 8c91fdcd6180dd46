//! Real agents that race, and end in the middle of it.

use std::path::Path;
use std::time::Duration;

use decklog_testkit::Step;

use super::relaying::{Crew, text};
use super::{with_environment, write};
use crate::env::{eventually, kill};

/// The parent of a process.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The process that decklog has started as the agent that works in a worktree of this name.
fn agent_in(crew: &Crew, worktree: &str) -> u32 {
    let works_there = |pid: &u32| {
        let dir = std::fs::read_link(format!("/proc/{pid}/cwd"));
        dir.is_ok_and(|dir| dir.file_name().is_some_and(|name| name == worktree))
    };
    let is_decklog = |pid: u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_decklog")))
    };
    let all = with_environment(&format!("HOME={}", crew.env.home().display()));
    let mut agents =
        all.into_iter().filter(works_there).filter(|pid| !is_decklog(*pid) && parent(*pid).is_some_and(is_decklog));
    let agent = agents.next().expect("an agent");
    assert_eq!(agents.next(), None, "one agent has one process at its top");
    agent
}

#[test]
fn a_racer_that_is_killed_fails_and_the_other_one_wins() {
    for (dies, wins) in [("codex", "claude"), ("claude", "codex"), ("claude-acp", "gemini")] {
        let script = [write("half\n"), Step::Stall];
        let right = [write("right\n"), text("Done.")];
        let Some(crew) = Crew::new(&[(dies, &script), (wins, &right)]) else { return };
        let mut decklog = crew.env.start(&["race", dies, wins, "--pick", "best", "Write it."]);
        assert!(crew.model(dies).wait_for_main_requests(2, Duration::from_secs(60)), "{dies} does not work");
        kill(agent_in(&crew, &format!("1-{dies}")), "KILL");
        let code = decklog.wait().unwrap().code();
        assert_eq!(code, Some(0), "{dies}");
        eventually("the end of all they started", || crew.left().is_empty().then_some(()));
        assert_eq!(crew.turns(), [format!("{dies} failed"), format!("{wins} success")]);
        let shown = crew.env.decklog(&["show", "@", "--json"]).expect(0).json();
        let turn = &shown["turns"][0];
        assert!(turn["error"].as_str().unwrap().contains("signal 9"), "{dies}: {turn:#}");
        assert_eq!(shown["picked"], 2, "{dies}");
        assert_eq!(crew.env.read("hello.txt").trim_end(), "right", "{dies}");
        // What it had done until then is in the record.
        assert!(crew.env.decklog(&["diff", "@", "--turn", "1"]).expect(0).stdout.contains("+half"), "{dies}");
        assert_eq!(crew.env.git(&["worktree", "list"]).lines().count(), 1, "{dies}");
        crew.env.decklog(&["verify", "@"]).expect(0);
    }
}
