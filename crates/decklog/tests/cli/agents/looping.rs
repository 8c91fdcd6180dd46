//! Loops of two real agents, each with a model of its own: what they are told, how they go on, what is counted.

use std::time::Duration;

use decklog_testkit::{ModelServer, Step, agents};
use serde_json::Value;

use super::{AGENTS, told, with_environment, write};
use crate::env::{Ran, TestEnv, eventually, kill};

const CHECK: &str = "test \"$(cat hello.txt)\" = 'Hello, Ada!'";
const FEEDBACK: &str = "The greeting is for Bob; it has to be for Ada.";

/// An actor and its critic; every agent is each of them once.
const PAIRS: [(&str, &str); 8] = [
    ("claude", "codex"),
    ("codex", "claude"),
    ("gemini", "opencode"),
    ("opencode", "gemini"),
    ("claude-acp", "gemini-acp"),
    ("gemini-acp", "codex-acp"),
    ("codex-acp", "opencode-acp"),
    ("opencode-acp", "claude-acp"),
];

/// Two agents in one world.
struct Pair {
    actor: &'static str,
    critic: &'static str,
    env: TestEnv,
    actors_model: ModelServer,
    critics_model: ModelServer,
}

/// Runs `check` for `pairs`, two at a time; the models follow the actor's and the critic's script.
fn each_pair(pairs: &[(&'static str, &'static str)], actor: &[Step], critic: &[Step], check: impl Fn(&Pair) + Sync) {
    if agents::installed().is_none() {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "the agents are not installed");
        eprintln!("skipped: the agents are not installed (cargo xtask test installs them)");
        return;
    }
    let check = &check;
    std::thread::scope(|scope| {
        let (first, second) = pairs.split_at(pairs.len() / 2);
        for half in [first, second] {
            scope.spawn(move || {
                for names in half {
                    eprintln!("{names:?}");
                    check(&Pair::new(*names, actor, critic));
                }
            });
        }
    });
}

impl Pair {
    fn new((actor, critic): (&'static str, &'static str), acts: &[Step], judges: &[Step]) -> Self {
        let (actors_model, critics_model) = (ModelServer::start(acts.to_vec()), ModelServer::start(judges.to_vec()));
        let mut env = TestEnv::new();
        let home = env.home();
        for (agent, server) in [(actor, &actors_model), (critic, &critics_model)] {
            let program = AGENTS.iter().find(|(name, _)| *name == agent).unwrap().1;
            for (name, value) in agents::prepare(program, &home, server).unwrap() {
                env.set(&name, value);
            }
        }
        // The session root stays where the tests look for it.
        env.set("XDG_DATA_HOME", home.join(".local/share"));
        Self { actor, critic, env, actors_model, critics_model }
    }

    fn arguments(&self) -> [&'static str; 8] {
        ["loop", "--actor", self.actor, "--critic", self.critic, "--check", CHECK, "Greet Ada in hello.txt."]
    }

    fn run(&self) -> Ran {
        self.env.decklog(&self.arguments())
    }

    fn name(&self) -> String {
        format!("{} and {}", self.actor, self.critic)
    }

    /// The journal's events of one type, of a record without fault.
    fn events(&self, kind: &str) -> Vec<Value> {
        self.env.decklog(&["verify", "@"]).expect(0);
        let journal = std::fs::read_to_string(self.env.session().join("journal.jsonl")).unwrap();
        let events = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["type"] == kind).collect()
    }

    /// Who had which turn, and how it ended.
    fn turns(&self) -> Vec<String> {
        let (starts, ends) = (self.events("turn_start"), self.events("turn_end"));
        let end = |turn: &Value| ends.iter().find(|end| end["turn"] == *turn).map_or("cut", |end| word(end, "outcome"));
        starts.iter().map(|start| format!("{} {}", word(start, "role"), end(&start["turn"]))).collect()
    }

    /// The agents' own names of their conversations, by turn.
    fn conversations(&self) -> Vec<String> {
        self.events("turn_end").iter().map(|end| word(end, "agent_session_id").to_owned()).collect()
    }

    /// Fails unless each turn's tokens are those of so many model calls, each counted once.
    fn counted(&self, calls: &[(&str, u64)]) {
        let shown = self.env.decklog(&["show", "@", "--json"]).expect(0).json();
        let mut sum = (0, 0, 0);
        for (turn, (agent, calls)) in calls.iter().enumerate() {
            let (number, told) = (turn + 1, told(agent, *calls));
            assert_eq!(counts(&shown["turns"][turn]["tokens"]), told, "turn {number} of {}", self.name());
            sum = (sum.0 + told.0, sum.1 + told.1, sum.2 + told.2);
        }
        assert_eq!(counts(&shown["session"]["tokens"]), sum, "{}", self.name());
    }

    /// Fails if a turn that goes on with a conversation is charged for what went before: it costs what the first one did,
    /// and perhaps a side call. opencode tells the first turn's cost too late, and with the second's.
    fn paid_once(&self) {
        let shown = self.env.decklog(&["show", "@", "--json"]).expect(0).json();
        let cost = |turn: usize| shown["turns"][turn]["cost_usd"].as_f64().unwrap_or(0.0);
        let known = cost(0) > 0.0 || !self.actor.starts_with("claude");
        assert!(known && (cost(0) == 0.0 || cost(2) < 1.1 * cost(0)), "{}: {}, {}", self.name(), cost(0), cost(2));
    }

    /// Fails unless the loop has ended well, and nobody but its critic has had another word.
    fn is_done(&self, ran: &Ran, turns: &[&str], iterations: usize) {
        let name = self.name();
        assert_eq!(self.turns(), turns, "{name}: {}", ran.stderr);
        assert_eq!(self.events("iteration").len(), iterations, "{name}");
        assert_eq!(self.actors_model.main_requests().len(), 2 * iterations, "{name}");
        let head = &self.env.decklog(&["ls", "--json"]).expect(0).json()[0];
        assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"success".into()), "{name}");
        assert!(ran.stdout.contains("Ada is greeted."), "{name}: {}", ran.stdout);
        assert_eq!(self.env.read("hello.txt").trim_end(), "Hello, Ada!", "{name}");
        assert_eq!(self.left(), Vec::<u32>::new(), "{name} left processes behind");
    }

    /// Processes of this world that live.
    fn left(&self) -> Vec<u32> {
        with_environment(&format!("HOME={}", self.env.home().display()))
    }
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value:#}"))
}

fn counts(tokens: &Value) -> (u64, u64, u64) {
    let count = |key: &str| tokens[key].as_u64().unwrap_or(0);
    (count("input"), count("cached_input"), count("output"))
}

/// One turn of the actor.
fn greets(whom: &str) -> [Step; 2] {
    [write(&format!("Hello, {whom}!\n")), Step::Text(format!("I have greeted {whom}."))]
}

fn done() -> Step {
    let words = "All is well.\n\n```json\n{\"decision\": \"DONE\", \"summary\": \"Ada is greeted.\", \"confidence\": 0.9}\n```\n";
    Step::Text(words.into())
}

fn wants_more() -> Step {
    let object = format!("{{\"decision\": \"CONTINUE\", \"feedback\": \"{FEEDBACK}\", \"confidence\": 0.8}}");
    Step::Text(format!("I have read the diff.\n\n```json\n{object}\n```\n\nThat is my view.\n"))
}

/// Gemini, over ACP, spoils its own record of a conversation when it is to load it within the same minute.
fn forgets(agent: &str) -> bool {
    agent == "gemini-acp"
}

/// What a critic's command line has to say, where it is the command line that forbids it to write.
fn forbids(critic: &str) -> &'static [&'static str] {
    match critic {
        "claude" => &["--permission-mode", "plan"],
        "codex" => &["--sandbox", "read-only"],
        "gemini" => &["--approval-mode", "plan"],
        "opencode" => &["--agent", "plan"],
        _ => &[],
    }
}

#[test]
fn the_actor_mends_what_the_critic_found() {
    let acts = [greets("Bob"), greets("Ada")].concat();
    each_pair(&PAIRS, &acts, &[wants_more(), done()], |pair| {
        let (ran, name) = (pair.run().expect(0), pair.name());
        pair.is_done(&ran, &["actor success", "critic success", "actor success", "critic success"], 2);

        let [first, second]: [Value; 2] = pair.events("iteration").try_into().unwrap();
        assert_eq!((&first["actor_turn"], &first["critic_turn"]), (&1.into(), &2.into()), "{name}");
        assert_eq!((&first["critic_decision"], &first["checks_passed"]), (&"CONTINUE".into(), &false.into()), "{name}");
        assert_eq!((&first["feedback"], &first["actor_output"]), (&FEEDBACK.into(), &"I have greeted Bob.".into()));
        assert!(word(&first, "git_diff").contains("+Hello, Bob!"), "{name}: {first:#}");
        assert_eq!((&second["actor_turn"], &second["critic_turn"]), (&3.into(), &4.into()), "{name}");
        assert_eq!((&second["critic_decision"], &second["checks_passed"]), (&"DONE".into(), &true.into()), "{name}");
        // The words of the turn, and not those of the conversation it goes on with.
        assert_eq!((&second["feedback"], &second["actor_output"]), (&Value::Null, &"I have greeted Ada.".into()));
        assert!(word(&second, "git_diff").contains("-Hello, Bob!\n+Hello, Ada!"), "{name}: {second:#}");

        // The actor remembers; the critic comes to each iteration as to the first.
        let [actor, critic, actor_again, critic_again]: [String; 4] = pair.conversations().try_into().unwrap();
        assert!(actor == actor_again || forgets(pair.actor), "{name}");
        assert_ne!(critic, critic_again, "{name}");
        let asked = pair.actors_model.main_requests()[2].body.to_string();
        let remembered = ["A reviewer has looked at what you did", FEEDBACK, "I have greeted Bob."];
        for words in &remembered[..if forgets(pair.actor) { 2 } else { 3 }] {
            assert_eq!(asked.matches(words).count(), 1, "{name}: {words:?} in {asked}");
        }
        let judged = pair.critics_model.main_requests()[0].body.to_string();
        for words in ["+Hello, Bob!", "I have greeted Bob.", "The checks FAIL"] {
            assert!(judged.contains(words), "{name}: {words:?} in {judged}");
        }

        for start in pair.events("turn_start").iter().filter(|start| start["role"] == "critic") {
            assert_eq!(start["permissions"], "read-only", "{name}");
            let command: Vec<&str> = start["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let forbids = forbids(pair.critic);
            assert!(command.windows(forbids.len().max(1)).any(|part| part.starts_with(forbids)), "{name}: {command:?}");
        }
        let notices = pair.events("notice");
        assert!(notices.iter().all(|notice| notice["code"] != "no_read_only_mode"), "{name}: {notices:#?}");
        // A call's input and result are told once, however often the conversation is gone through.
        let calls = pair.events("tool_result");
        assert_eq!(calls.len(), 2, "{name}: {calls:#?}");
        pair.counted(&[(pair.actor, 2), (pair.critic, 1), (pair.actor, 2), (pair.critic, 1)]);
        pair.paid_once();

        let end = &pair.events("session_end")[0];
        assert_eq!((&end["outcome"], &end["exit_code"], &end["iterations"]), (&"success".into(), &0.into(), &2.into()));
        assert_eq!((&end["summary"], &end["confidence"]), (&"Ada is greeted.".into(), &0.9.into()), "{name}");
    });
}

#[test]
fn a_critic_without_a_decision_is_asked_once_more() {
    let unsure = Step::Text("It looks fine to me, by and large.".into());
    each_pair(&PAIRS, &greets("Ada"), &[unsure, done()], |pair| {
        let (ran, name) = (pair.run().expect(0), pair.name());
        pair.is_done(&ran, &["actor success", "critic success", "critic success"], 1);
        let [_, first, again]: [String; 3] = pair.conversations().try_into().unwrap();
        assert!(first == again || forgets(pair.critic), "{name}");
        let asked = pair.critics_model.main_requests()[1].body.to_string();
        for words in ["by and large", "Your decision could not be read"] {
            assert!(asked.contains(words), "{name}: {words:?} in {asked}");
        }
        assert_eq!(pair.events("iteration")[0]["critic_turn"], 3, "{name}");
        pair.counted(&[(pair.actor, 2), (pair.critic, 1), (pair.critic, 1)]);
    });
}

/// Those whose critic tells of its limit; opencode says nothing.
const LIMITED: [(&str, &str); 5] = [PAIRS[0], PAIRS[1], PAIRS[4], PAIRS[5], PAIRS[7]];

#[test]
fn a_limited_critic_is_waited_for() {
    let limit = Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }; // the beginning of 2099
    each_pair(&LIMITED, &greets("Ada"), &[limit], |pair| {
        let (ran, name) = (pair.run().expect(75), pair.name());
        assert!(ran.stderr.contains("go on with: decklog resume"), "{name}: {}", ran.stderr);
        assert_eq!(pair.turns(), ["actor success", "critic rate_limited"], "{name}");
        let head = &pair.env.decklog(&["ls", "--json"]).expect(0).json()[0];
        let stands = (&head["status"], &head["checkpoint_reason"], &head["exit_code"]);
        assert_eq!(stands, (&"checkpointed".into(), &"rate_limit".into(), &75.into()), "{name}");
        assert_eq!(pair.left(), Vec::<u32>::new(), "{name} left processes behind");

        pair.critics_model.set_script(vec![done()]);
        let ran = pair.env.decklog(&["resume", "@"]).expect(0);
        pair.is_done(&ran, &["actor success", "critic rate_limited", "critic success"], 1);
        pair.counted(&[(pair.actor, 2), (pair.critic, 0), (pair.critic, 1)]);
    });
}

#[test]
fn a_limited_actor_goes_on_with_its_conversation() {
    let acts = [greets("Bob").as_slice(), &[Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }]].concat();
    each_pair(&PAIRS[..2], &acts, &[wants_more(), done()], |pair| {
        pair.run().expect(75);
        let refused = pair.actors_model.main_requests().len();
        pair.actors_model.set_script(greets("Ada").to_vec());
        pair.env.decklog(&["resume", "@"]).expect(0);
        let turns = ["actor success", "critic success", "actor rate_limited", "actor success", "critic success"];
        assert_eq!(pair.turns(), turns, "{}", pair.name());
        let [first, _, limited, again, _]: [String; 5] = pair.conversations().try_into().unwrap();
        assert_eq!((&first, &first), (&limited, &again), "{}", pair.name());
        let asked = pair.actors_model.main_requests()[refused].body.to_string();
        assert!(asked.contains("I have greeted Bob.") && asked.contains(FEEDBACK), "{}: {asked}", pair.name());
        pair.counted(&[(pair.actor, 2), (pair.critic, 1), (pair.actor, 0), (pair.actor, 2), (pair.critic, 1)]);
    });
}

#[test]
fn an_actor_whose_conversation_is_gone_begins_anew() {
    let acts = [greets("Bob").as_slice(), &[Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }]].concat();
    each_pair(&PAIRS[..2], &acts, &[wants_more(), wants_more(), done()], |pair| {
        pair.run().expect(75);
        let refused = pair.actors_model.main_requests().len();
        for conversations in [".claude/projects", ".codex/sessions"] {
            std::fs::remove_dir_all(pair.env.home().join(conversations)).unwrap();
        }
        pair.actors_model.set_script(greets("Ada").to_vec());
        pair.env.decklog(&["resume", "@"]).expect(0);
        let before = ["actor success", "critic success", "actor rate_limited"];
        let after = ["actor failed", "critic success", "actor success", "critic success"];
        assert_eq!(pair.turns(), [before.as_slice(), &after].concat(), "{}", pair.name());
        let asked = pair.actors_model.main_requests()[refused].body.to_string();
        for words in ["What was done so far", "Greet Ada in hello.txt.", FEEDBACK] {
            assert!(asked.contains(words), "{}: {words:?} in {asked}", pair.name());
        }
        let (acts, judges, is_refused) = ((pair.actor, 2), (pair.critic, 1), (pair.actor, 0));
        pair.counted(&[acts, judges, is_refused, is_refused, judges, acts, judges]);
    });
}

#[test]
fn a_loop_killed_while_the_critic_works() {
    each_pair(&PAIRS, &greets("Ada"), &[Step::Stall], |pair| {
        let (mut decklog, name) = (pair.env.start(&pair.arguments()), pair.name());
        assert!(pair.critics_model.wait_for_main_requests(1, Duration::from_secs(60)), "{name}: no critic asked");
        kill(decklog.id(), "KILL");
        decklog.wait().unwrap();
        eventually("the end of the agents", || pair.left().is_empty().then_some(()));
        assert_eq!(pair.env.decklog(&["ls", "--json"]).json()[0]["status"], "crashed", "{name}");

        pair.critics_model.set_script(vec![done()]);
        let ran = pair.env.decklog(&["resume", "@"]).expect(0);
        pair.is_done(&ran, &["actor success", "critic cut", "critic success"], 1);
        pair.counted(&[(pair.actor, 2), (pair.critic, 0), (pair.critic, 1)]);
    });
}
