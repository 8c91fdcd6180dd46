//! `chat`: agents that are shell scripts take turns.

use serde_json::Value;

use crate::env::{TestEnv, eventually, kill};
use crate::relaying::{LIMITED, asked, prompt, world};

/// An agent that keeps a conversation, and says what the script puts into `said`.
fn speaks(name: &str, script: &str) -> String {
    format!(
        r#"{script}
cat <<END
{{"type":"system","subtype":"init","session_id":"{name}-1","model":"m"}}
{{"type":"assistant","message":{{"id":"$n","content":[{{"type":"text","text":"$said"}}]}}}}
{{"type":"result","subtype":"success","is_error":false,"result":"$said","usage":{{"input_tokens":5,"output_tokens":2}},"total_cost_usd":0.5,"session_id":"{name}-1"}}
END"#
    )
}

fn two(first: &str, second: &str) -> TestEnv {
    world(&[("ada", "claude-stream", &speaks("ada", first)), ("bob", "claude-stream", &speaks("bob", second))])
}

const WRITES_THEN_AGREES: &str = r"if [ $n = 1 ]; then echo two >>a.txt; said='I wrote two.\n\nNOT AGREED: look at it'; else said='Fine.\n\nAGREED'; fi";
const ADDS_THEN_AGREES: &str =
    r"if [ $n = 1 ]; then echo three >b.txt; said='I added b.txt.\n\nAGREED'; else said='AGREED'; fi";
const NEVER: &str = "said='NOT AGREED: never'";
const ALWAYS: &str = "said='AGREED'";

fn head(env: &TestEnv) -> Value {
    env.decklog(&["ls", "--json"]).expect(0).json()[0].clone()
}

#[test]
fn they_speak_in_turn_until_all_agree_to_the_same() {
    let env = two(WRITES_THEN_AGREES, ADDS_THEN_AGREES);
    let ran = env.decklog(&["chat", "ada", "bob", "Write it."]).expect(0);
    assert_eq!(ran.stdout, "all agree after 3 turns\n");
    assert!(ran.stderr.contains("I added b.txt."), "{}", ran.stderr);
    // The first prompt has the task, the second besides what was said and changed, the third only what is new.
    let prompts = [prompt(&env, "ada", 1), prompt(&env, "bob", 1), prompt(&env, "ada", 2)];
    for (prompt, has, has_not) in [
        (&prompts[0], &["Write it.", "You are ada", "with bob", "NOT AGREED:"][..], &["What was"][..]),
        (&prompts[1], &["Write it.", "ada, in turn 1:", "I wrote two.", "+two"][..], &["b.txt"][..]),
        (&prompts[2], &["bob, in turn 2:", "I added b.txt.", "+three"][..], &["Write it.", "I wrote two.", "+two"][..]),
    ] {
        assert!(has.iter().all(|text| prompt.contains(text)), "{has:?}: {prompt}");
        assert!(!has_not.iter().any(|text| prompt.contains(text)), "{has_not:?}: {prompt}");
    }
    let arguments = std::fs::read_to_string(env.home().join("ada.arguments")).unwrap();
    assert!(arguments.lines().nth(1).unwrap().contains("--resume ada-1"), "{arguments}");
    let head = head(&env);
    assert_eq!((&head["kind"], &head["outcome"], &head["turns"]), (&"chat".into(), &"success".into(), &3.into()));
    assert_eq!((&head["agents"], &head["cost_usd"]), (&serde_json::json!(["ada", "bob"]), &1.5.into()));
    let turns = env.decklog(&["show", "@", "--json"]).expect(0).json()["turns"].clone();
    let who: Vec<_> = turns.as_array().unwrap().iter().map(|turn| (&turn["agent"], &turn["role"])).collect();
    let speaker = Value::from("speaker");
    assert_eq!(who, [(&"ada".into(), &speaker), (&"bob".into(), &speaker), (&"ada".into(), &speaker)]);
    assert!(env.decklog(&["diff", "@", "--turn", "2"]).expect(0).stdout.contains("b.txt"));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn the_same_agent_twice_is_two_speakers() {
    let env = two(ALWAYS, ALWAYS);
    let ran = env.decklog(&["chat", "ada:one", "ada:two", "bob", "Write it.", "--json"]).expect(0).json();
    let who: Vec<_> = ran["turns"].as_array().unwrap().iter().map(|turn| turn["agent"].as_str().unwrap()).collect();
    assert_eq!(who, ["ada:one", "ada:two", "bob"]);
    let told = prompt(&env, "ada", 2);
    assert!(told.contains("You are ada:two, and work on a task together with ada:one, bob"), "{told}");
    assert!(told.contains("ada:one, in turn 1:"), "{told}");
    let ran = env.decklog(&["chat", "ada", "ada", "Write it.", "--json"]).expect(0).json();
    assert_eq!((&ran["turns"][0]["agent"], &ran["turns"][1]["agent"]), (&"ada#1".into(), &"ada#2".into()));
}

#[test]
fn limits_end_it_and_it_goes_on_later() {
    let env = two(NEVER, ALWAYS);
    for (options, turns, code, summary) in [
        (&["-n", "3"][..], 3, 1, "not agreed after 3 turns\n"),
        (&["--max-cost", "0.9"], 2, 1, "not agreed when $0.90 were spent\n"),
    ] {
        let ran = env.decklog(&[&["chat", "ada", "bob"][..], options, &["Write it."]].concat()).expect(code);
        assert_eq!(ran.stdout, summary);
        assert_eq!((&head(&env)["turns"], &head(&env)["outcome"]), (&turns.into(), &"max_iterations_reached".into()));
    }
    // For as many turns again, and with whose turn it is.
    env.decklog(&["resume", "@2"]).expect(1);
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[1];
    assert_eq!(head["turns"], 6);
    let shown = env.decklog(&["show", "@2", "--json"]).expect(0).json();
    assert_eq!(shown["turns"][3]["agent"], "bob");
    assert!(prompt(&env, "bob", 3).contains("ada, in turn 3"));
    let refused = env.decklog(&["resume", "@2", "Something else."]).expect(2);
    assert!(refused.stderr.contains("is a chat: it goes on as it began"), "{}", refused.stderr);
}

#[test]
fn agreement_counts_only_while_the_checks_pass() {
    let mends = r"if [ $n = 2 ]; then echo ok >ok.txt; fi; said=AGREED";
    let env = two(mends, ALWAYS);
    let ran =
        env.decklog(&["chat", "ada", "bob", "--check", "test -e ok.txt || { echo no ok; false; }", "Go."]).expect(0);
    assert_eq!(ran.stdout, "all agree after 4 turns\n");
    let ran = env.decklog(&["chat", "ada", "bob", "--check", "false", "-n", "4", "Go."]).expect(1);
    assert_eq!(ran.stdout, "all agreed after 4 turns, but the checks fail\n");
    let told = prompt(&env, "ada", 2);
    assert!(told.contains("All agreed, but these checks fail") && told.contains("no ok"), "{told}");
}

#[test]
fn who_is_limited_is_replaced_and_who_fails_ends_it() {
    let env = world(&[
        ("ada", "claude-stream", &speaks("ada", ALWAYS)),
        ("bob", "claude-stream", LIMITED),
        ("eve", "claude-stream", &speaks("eve", ALWAYS)),
        ("bad", "text", "echo broken >&2; exit 3"),
    ]);
    let ran = env.decklog(&["chat", "ada", "bob", "--then", "eve", "Write it."]).expect(0);
    assert!(ran.stderr.contains("bob → eve (rate_limit)"), "{}", ran.stderr);
    let told = prompt(&env, "eve", 1);
    assert!(
        told.contains("You take over") && told.contains("You are bob") && told.contains("ada, in turn 1"),
        "{told}"
    );
    let ran = env.decklog(&["chat", "ada", "bob", "Write it."]).expect(75);
    assert!(ran.stderr.contains("the first one back is bob at 2099"), "{}", ran.stderr);
    env.decklog(&["resume", "@", "--then", "eve"]).expect(0);
    assert_eq!(asked(&env, "ada"), 2, "what was said is not said again");
    let ran = env.decklog(&["chat", "ada", "bad", "Write it."]).expect(2);
    assert_eq!(ran.stdout, "bad failed: broken\n");
    for id in ["@", "@2", "@3"] {
        env.decklog(&["verify", id]).expect(0);
    }
}

#[test]
fn an_interrupted_or_killed_chat_goes_on_where_it_was() {
    for (signal, code) in [("INT", Some(130)), ("KILL", None)] {
        let waits = r#"if [ $n = 1 ]; then echo $$ >"$HOME/waits"; exec sleep 1000; fi; said=AGREED"#;
        let env = two(ALWAYS, waits);
        let mut decklog = env.start(&["chat", "ada", "bob", "Write it."]);
        let file = env.home().join("waits");
        eventually("bob", || std::fs::read_to_string(&file).ok().filter(|pid| !pid.trim().is_empty()));
        kill(decklog.id(), signal);
        assert_eq!(decklog.wait().unwrap().code(), code);
        eventually("the lock", || (head(&env)["status"] != "active").then_some(()));
        env.decklog(&["resume", "@"]).expect(0);
        assert_eq!((asked(&env, "ada"), asked(&env, "bob")), (1, 2), "{signal}");
        env.decklog(&["verify", "@"]).expect(0);
    }
}

#[test]
fn what_makes_no_chat_is_refused() {
    let env = two(ALWAYS, ALWAYS);
    for (arguments, told) in [
        (&["chat", "ada", "Write it."][..], "a chat needs two agents or more"),
        (&["chat", "ada", "bob"], "what is the task?"),
        (&["chat", "ada", "nobody", "Write it."], "there is no agent \"nobody\""),
        (&["chat", "ada", "bob", " "], "the task is empty"),
        (&["chat", "ada", "bob", "-n", "0", "Write it."], "0 is not in 1.."),
    ] {
        let refused = env.decklog(arguments).expect(2);
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    assert!(env.sessions().is_empty());
}
