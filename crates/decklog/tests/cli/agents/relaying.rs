//! Several real agents, each with a model of its own, in one session: failover, handoff, shell, chat, race.

use std::time::Duration;

use decklog_testkit::{ModelServer, Step, agents};
use serde_json::Value;

use super::{AGENTS, with_environment, write};
use crate::env::{Ran, TestEnv, eventually, kill};
use crate::screen::Screen;

/// The beginning of 2099.
const LIMIT: Step = Step::RateLimit { reset_at_epoch: Some(4_070_908_800) };

/// How a packet begins.
const PACKET: &str = "You take over a session of work from";

/// Agents in one world.
pub(super) struct Crew {
    pub(super) env: TestEnv,
    models: Vec<(&'static str, ModelServer)>,
}

impl Crew {
    /// `None`, and a word, where the agents are not installed.
    pub(super) fn new(scripts: &[(&'static str, &[Step])]) -> Option<Self> {
        if agents::installed().is_none() {
            assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "the agents are not installed");
            eprintln!("skipped: the agents are not installed (cargo xtask test installs them)");
            return None;
        }
        let mut env = TestEnv::new();
        let home = env.home();
        let mut models = Vec::new();
        for (agent, script) in scripts {
            let server = ModelServer::start(script.to_vec());
            let program = AGENTS.iter().find(|(name, _)| name == agent).unwrap().1;
            for (name, value) in agents::prepare(program, &home, &server).unwrap() {
                env.set(&name, value);
            }
            models.push((*agent, server));
        }
        // The session root stays where the tests look for it.
        env.set("XDG_DATA_HOME", home.join(".local/share"));
        Some(Self { env, models })
    }

    pub(super) fn decklog(&self, arguments: &[&str], code: i32) -> Ran {
        let ran = self.env.decklog(arguments).expect(code);
        self.env.decklog(&["verify", "@"]).expect(0);
        assert_eq!(self.left(), Vec::<u32>::new(), "processes were left behind: {arguments:?}");
        ran
    }

    pub(super) fn model(&self, agent: &str) -> &ModelServer {
        &self.models.iter().find(|(name, _)| *name == agent).unwrap().1
    }

    /// What an agent's model was asked, request by request.
    fn asked(&self, agent: &str) -> Vec<String> {
        self.model(agent).main_requests().iter().map(|request| request.body.to_string()).collect()
    }

    /// Whose turns the newest session has, and how they came out.
    pub(super) fn turns(&self) -> Vec<String> {
        let shown = self.env.decklog(&["show", "@", "--json"]).expect(0).json();
        let word = |turn: &Value, key: &str| turn[key].as_str().unwrap_or("cut").to_owned();
        let turns = shown["turns"].as_array().unwrap().iter();
        turns.map(|turn| format!("{} {}", word(turn, "agent"), word(turn, "outcome"))).collect()
    }

    pub(super) fn left(&self) -> Vec<u32> {
        with_environment(&format!("HOME={}", self.env.home().display()))
    }
}

pub(super) fn text(words: &str) -> Step {
    Step::Text(words.into())
}

#[test]
fn a_limited_agent_is_followed_and_the_next_finishes_its_edit() {
    for (first, second) in
        [("claude", "codex"), ("codex", "claude"), ("claude-acp", "codex-acp"), ("codex-acp", "gemini")]
    {
        let Some(crew) =
            Crew::new(&[(first, &[write("half\n"), LIMIT]), (second, &[write("half\nwhole\n"), text("It is whole.")])])
        else {
            return;
        };
        let ran =
            crew.decklog(&["run", first, "--then", second, "--check", "grep -q whole hello.txt", "Write hello."], 0);
        assert!(ran.stderr.contains(&format!("{first} → {second} (rate_limit)")), "{first}: {}", ran.stderr);
        assert_eq!(crew.turns(), [format!("{first} rate_limited"), format!("{second} success")]);
        assert_eq!(crew.env.sessions().len(), 1);
        assert_eq!(crew.env.read("hello.txt").trim_end(), "half\nwhole", "{second}");
        let asked = &crew.asked(second)[0];
        for told in [PACKET, "Write hello.", "hello.txt (+1 -0)", "rate-limited"] {
            assert!(asked.contains(told), "{first} → {second}: {told:?} in {asked}");
        }
        let agents = crew.env.decklog(&["agents", "--json"]).expect(0).json();
        let limited = agents.as_array().unwrap().iter().find(|agent| agent["name"] == first).unwrap();
        assert!(limited["limited_until"].is_string(), "{limited}");
    }
}

#[test]
fn when_all_are_limited_it_says_who_is_back_first() {
    let Some(crew) = Crew::new(&[("claude", &[LIMIT]), ("codex", &[LIMIT])]) else { return };
    let ran = crew.decklog(&["run", "claude", "--then", "codex", "Write hello."], 75);
    assert!(ran.stderr.contains("the first one back is codex at "), "{}", ran.stderr);
    let head = &crew.env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["exit_code"]), (&"checkpointed".into(), &75.into()));
    // Later, and elsewhere.
    let copy = crew.env.home().join("copied");
    assert!(std::process::Command::new("cp").arg("-r").arg(crew.env.root()).arg(&copy).status().unwrap().success());
    crew.model("codex").set_script(vec![write("hello\n"), text("Done.")]);
    crew.env.decklog(&["--session-root", &copy.to_string_lossy(), "resume", "@"]).expect(0);
    assert_eq!(crew.env.read("hello.txt").trim_end(), "hello");
}

#[test]
fn a_silent_agent_is_followed() {
    let Some(crew) = Crew::new(&[("opencode", &[Step::Stall]), ("claude", &[write("hello\n"), text("Done.")])]) else {
        return;
    };
    crew.decklog(&["run", "opencode", "--then", "claude", "--stall-timeout", "8s", "Write hello."], 0);
    assert_eq!(crew.turns(), ["opencode stalled", "claude success"]);
    assert!(crew.asked("claude")[0].contains(PACKET));
}

#[test]
fn who_talks_of_limits_is_not_followed() {
    let talk = [text("A RateLimitError 429 means: usage limit reached, try again at 8:43 AM.")];
    let Some(crew) = Crew::new(&[("claude", &talk), ("codex", &talk)]) else { return };
    for (first, second) in [("claude", "codex"), ("codex", "claude")] {
        crew.decklog(&["run", first, "--then", second, "Explain rate limits."], 0);
        assert_eq!(crew.turns(), [format!("{first} success")]);
    }
}

#[test]
fn a_conversation_that_is_gone_is_replaced_by_a_packet() {
    let homes = [
        ("claude", ".claude/projects"),
        ("codex", ".codex/sessions"),
        ("gemini", ".gemini/tmp"),
        ("opencode", ".local/share/opencode"),
        ("claude-acp", ".claude/projects"),
        ("codex-acp", ".codex/sessions"),
    ];
    for (agent, home) in homes {
        let Some(crew) = Crew::new(&[(agent, &[write("hello\n"), text("Done."), text("As you say.")])]) else { return };
        crew.decklog(&["run", agent, "Write hello."], 0);
        std::fs::remove_dir_all(crew.env.home().join(home)).unwrap();
        crew.decklog(&["resume", "@", "And now?"], 0);
        let turns = crew.turns();
        assert_eq!(turns.last(), Some(&format!("{agent} success")), "{turns:?}");
        let asked = crew.asked(agent);
        let last = asked.last().unwrap();
        assert!(last.contains(PACKET) && last.contains("And now?"), "{agent}: {last}");
    }
}

#[test]
fn the_shell_uses_one_after_the_other() {
    let claude = [write("one\n"), text("I wrote one."), text("I see two.")];
    let codex = [write("two\n"), text("I wrote two.")];
    let Some(crew) = Crew::new(&[("claude", &claude), ("codex", &codex)]) else { return };
    let mut screen = Screen::new(&crew.env, "shell claude");
    screen.wait_for("❯ ");
    screen.press("Write one.\r");
    screen.wait_for("I wrote one.");
    screen.wait_for("tokens in");
    screen.forget();
    screen.press("/use codex\r");
    screen.wait_for("claude → codex (manual)");
    screen.press("Write two.\r");
    screen.wait_for("I wrote two.");
    screen.wait_for("tokens in");
    screen.forget();
    screen.press("/use claude\r");
    screen.wait_for("codex → claude (manual)");
    screen.press("What is there?\r");
    screen.wait_for("I see two.");
    screen.wait_for_after("tokens in", "❯ ");
    screen.press("\u{4}");
    let (shown, code) = screen.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(crew.turns(), ["claude success", "codex success", "claude success"]);
    let handed = &crew.asked("codex")[0];
    assert!(handed.contains(PACKET) && handed.contains("I wrote one.") && handed.contains("Write two."), "{handed}");
    // Back in its own conversation, with what happened since.
    let back = crew.asked("claude").pop().unwrap();
    assert!(back.contains("Write one.") && back.contains("I wrote two.") && back.contains("What is there?"), "{back}");
    crew.env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn two_talk_until_they_agree() {
    let claude =
        [write("hello\n"), text("I wrote hello.txt.\n\nNOT AGREED: look at it, please"), text("Thank you.\n\nAGREED")];
    let codex = [text("It is good.\n\nAGREED"), text("Still good.\n\nAGREED")];
    let Some(crew) = Crew::new(&[("claude", &claude), ("codex", &codex)]) else { return };
    let ran = crew.decklog(&["chat", "claude", "codex", "Write hello."], 0);
    assert_eq!(ran.stdout, "all agree after 3 turns\n", "{}", ran.stderr);
    assert_eq!(crew.turns(), ["claude success", "codex success", "claude success"]);
    let told = &crew.asked("codex")[0];
    assert!(told.contains("I wrote hello.txt.") && told.contains("+hello"), "{told}");
    let again = crew.asked("claude").pop().unwrap();
    // It goes on with its conversation, which holds the task and its own words already.
    assert!(again.contains("It is good.") && again.contains("What was said since your last turn"), "{again}");
    assert_eq!(
        again.matches("do what brings the task further").count()
            + again.matches("does what brings the task further").count(),
        1
    );
}

#[test]
fn of_three_racers_the_one_that_passes_is_applied() {
    let right = [write("right\n"), text("Done.")];
    let wrong = [write("wrong\n"), text("Done.")];
    let Some(crew) = Crew::new(&[("codex", &wrong), ("gemini", &[Step::Unauthorized]), ("claude", &right)]) else {
        return;
    };
    let check = "grep -q right hello.txt";
    let ran = crew.decklog(&["race", "codex", "gemini", "claude", "--check", check, "--pick", "best", "Write it."], 0);
    assert_eq!(ran.stdout, "claude was picked\n", "{}", ran.stderr);
    assert_eq!(crew.turns(), ["codex success", "gemini failed", "claude success"]);
    assert_eq!(crew.env.read("hello.txt").trim_end(), "right");
    assert!(crew.env.decklog(&["diff", "@", "--turn", "1"]).expect(0).stdout.contains("+wrong"));
    assert_eq!(crew.env.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_race_killed_in_the_middle_is_cleared_away_by_the_next() {
    let stuck = [write("half\n"), Step::Stall];
    let Some(crew) = Crew::new(&[("claude", &stuck), ("codex", &stuck)]) else { return };
    let mut decklog = crew.env.start(&["race", "claude", "codex", "Write it."]);
    for agent in ["claude", "codex"] {
        assert!(crew.model(agent).wait_for_main_requests(2, Duration::from_secs(60)), "{agent} does not work");
    }
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    eventually("the end of the agents", || crew.left().is_empty().then_some(()));
    assert_eq!(crew.env.git(&["worktree", "list"]).lines().count(), 3);
    for agent in ["claude", "codex"] {
        crew.model(agent).set_script(vec![write("whole\n"), text("Done.")]);
    }
    let ran = crew.decklog(&["race", "claude", "codex", "--pick", "claude", "Write it."], 0);
    assert!(ran.stderr.contains("a race that was cut off"), "{}", ran.stderr);
    assert_eq!(crew.env.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(crew.env.read("hello.txt").trim_end(), "whole");
    for turn in ["001", "002"] {
        let patch = crew.env.sessions()[0].join(format!("turns/{turn}.patch"));
        assert!(std::fs::read_to_string(patch).unwrap().contains("+half"));
    }
}
