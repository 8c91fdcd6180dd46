//! One session across agents: failover, `handoff`, `resume`, with agents that are shell scripts.

use serde_json::Value;

use crate::env::{TestEnv, eventually, is_alive, kill};

/// An agent's name, its protocol, and what it does.
type Agent<'a> = (&'a str, &'a str, &'a str);

/// A world with these agents. Each keeps what it was asked, and with which arguments.
fn world(agents: &[Agent<'_>]) -> TestEnv {
    let env = TestEnv::new();
    let config = env.home().join(".config/decklog");
    std::fs::create_dir_all(&config).unwrap();
    let mut text = String::new();
    for (name, protocol, script) in agents {
        let path = env.home().join(format!("{name}.sh"));
        let keep = format!(
            "echo \"$@\" >>\"$HOME/{name}.arguments\"; echo x >>\"$HOME/{name}.count\"\n\
             n=$(wc -l <\"$HOME/{name}.count\"); cat >\"$HOME/{name}.prompt.$n\"\n{script}\n"
        );
        std::fs::write(&path, keep).unwrap();
        let command = serde_json::json!(["sh", path]);
        text.push_str(&format!("[agents.{name}]\ncommand = {command}\nprotocol = \"{protocol}\"\n"));
    }
    std::fs::write(config.join("config.toml"), text).unwrap();
    env
}

fn prompt(env: &TestEnv, agent: &str, number: usize) -> String {
    std::fs::read_to_string(env.home().join(format!("{agent}.prompt.{number}"))).unwrap()
}

fn asked(env: &TestEnv, agent: &str) -> usize {
    std::fs::read_to_string(env.home().join(format!("{agent}.count"))).map_or(0, |lines| lines.lines().count())
}

fn events(env: &TestEnv) -> Vec<Value> {
    let shown = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(env: &TestEnv) -> Vec<String> {
    let story = ["turn_start", "turn_end", "checkpoint", "resumed", "handoff", "session_end"];
    let kinds = events(env).into_iter().map(|event| event["type"].as_str().unwrap().to_owned());
    kinds.filter(|kind| story.contains(&kind.as_str())).collect()
}

/// As Claude Code tells that it is limited, after an edit and a plan.
const LIMITED: &str = r#"echo half >>a.txt
cat <<'END'
{"type":"system","subtype":"init","session_id":"s-1","model":"m"}
{"type":"assistant","message":{"id":"1","content":[{"type":"tool_use","id":"t1","name":"TodoWrite","input":{"todos":[{"content":"Write half","status":"completed"},{"content":"Write the rest","status":"in_progress"}]}}]}}
{"type":"assistant","message":{"id":"2","content":[{"type":"tool_use","id":"t2","name":"Bash","input":{"command":"make test"}}]}}
{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"Exit code 2\nno rule"}]}}
{"type":"rate_limit_event","rate_limit_info":{"resetsAt":4070908800}}
{"type":"assistant","error":"rate_limit","message":{"id":"3","content":[{"type":"text","text":"limit reached"}]}}
{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached","usage":{},"session_id":"s-1"}
END
exit 1"#;

/// Claude Code, content.
const SAYS: &str = r#"echo more >>a.txt
cat <<'END'
{"type":"system","subtype":"init","session_id":"s-1","model":"m"}
{"type":"assistant","message":{"id":"9","content":[{"type":"text","text":"Done."}]}}
{"type":"result","subtype":"success","is_error":false,"result":"Done.","usage":{"input_tokens":5,"output_tokens":2},"session_id":"s-1"}
END"#;

const FINISHES: &str = "echo rest >>a.txt; echo finished";

#[test]
fn a_limited_agent_is_followed_by_the_next_in_the_same_session() {
    let env = world(&[("first", "claude-stream", LIMITED), ("second", "text", FINISHES)]);
    let ran =
        env.decklog(&["run", "first", "--then", "second", "--check", "grep -q rest a.txt", "Write a.txt."]).expect(0);
    assert!(ran.stderr.contains("first → second (rate_limit)"), "{}", ran.stderr);
    assert_eq!(
        kinds(&env),
        ["turn_start", "turn_end", "checkpoint", "resumed", "handoff", "turn_start", "turn_end", "session_end"]
    );
    let packet = prompt(&env, "second", 1);
    for told in ["Write a.txt.", "Write the rest", "`make test` still fails", "modified a.txt (+1 -0)", "rate limit"] {
        assert!(packet.contains(told), "{told}: {packet}");
    }
    let session = env.session();
    let json: Value = serde_json::from_slice(&std::fs::read(session.join("resume/001-second.json")).unwrap()).unwrap();
    assert_eq!(
        (&json["previous_agent"], &json["target_agent"], &json["checkpoint_reason"]),
        (&"first".into(), &"second".into(), &"rate_limit".into())
    );
    assert_eq!((&json["objective"], &json["next_task"]), (&"Write a.txt.".into(), &"Write the rest".into()));
    assert_eq!(std::fs::read_to_string(session.join("resume/001-second.md")).unwrap(), packet);
    assert_eq!(env.read("a.txt"), "one\nhalf\nrest\n");
    env.decklog(&["verify", "@"]).expect(0);
    // Known to be limited, it is passed over until then.
    let agents = env.decklog(&["agents", "--json"]).expect(0).json();
    let first = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "first").unwrap();
    assert_eq!(first["limited_until"], "2099-01-01T00:00:00Z");
    let ran = env.decklog(&["run", "second", "--then", "first", "Again."]).expect(0);
    assert!(ran.stderr.contains("first is left out: limited until"), "{}", ran.stderr);
    env.decklog(&["discard", "@2", "-y"]).expect(0);
    assert!(!session.exists(), "packets are decklog's own");
}

#[test]
fn when_nobody_is_left_it_waits_for_resume() {
    let env = world(&[
        ("first", "claude-stream", LIMITED),
        ("second", "claude-stream", LIMITED),
        ("third", "text", FINISHES),
    ]);
    let ran = env.decklog(&["run", "first", "--then", "second", "Write a.txt."]).expect(75);
    assert!(ran.stderr.contains("go on with: decklog resume"), "{}", ran.stderr);
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["status"], "checkpointed");
    env.decklog(&["resume", "@", "--agent", "third", "Only the rest."]).expect(0);
    let packet = prompt(&env, "third", 1);
    assert!(packet.contains("Only the rest.") && packet.contains("Write a.txt."), "{packet}");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["turns"], &head["outcome"]), (&3.into(), &"success".into()));
    assert_eq!(env.sessions().len(), 1);
}

#[test]
fn who_talks_of_limits_is_not_limited() {
    let talks = "echo 'RateLimitError 429: usage limit reached, try again at 8:43 AM'; echo 429 >&2";
    let env = world(&[("first", "text", talks), ("second", "text", FINISHES)]);
    env.decklog(&["run", "first", "--then", "second", "Explain rate limits."]).expect(0);
    assert_eq!((asked(&env, "first"), asked(&env, "second")), (1, 0));
}

#[test]
fn a_silent_agent_is_followed_too() {
    let env = world(&[("first", "text", "exec sleep 1000"), ("second", "text", FINISHES)]);
    env.decklog(&["run", "first", "--then", "second", "--stall-timeout", "1s", "Write."]).expect(0);
    assert_eq!(asked(&env, "second"), 1);
    assert!(prompt(&env, "second", 1).contains("Write."));
}

#[test]
fn a_session_is_handed_off_and_goes_on_with_another() {
    let env = world(&[("first", "text", "echo half >>a.txt; exit 3"), ("second", "text", FINISHES)]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(2);
    let ran = env.decklog(&["handoff", "--to", "second"]).expect(0);
    let id = env.session().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(ran.stdout, format!("decklog resume {id} --agent second\n"));
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["checkpoint_reason"]), (&"checkpointed".into(), &"handoff".into()));
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    let packet = prompt(&env, "second", 1);
    assert!(packet.contains("first failed") && packet.contains("Write a.txt."), "{packet}");
    env.decklog(&["verify", "@"]).expect(0);
    let refused = env.decklog(&["handoff", "--to", "nobody"]).expect(2);
    assert!(refused.stderr.contains("there is no agent"), "{}", refused.stderr);
}

#[test]
fn the_same_agent_goes_on_in_its_own_conversation() {
    let env = world(&[("first", "claude-stream", SAYS)]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(0);
    // A copy elsewhere goes on alike.
    let copy = env.home().join("copied");
    assert!(std::process::Command::new("cp").arg("-r").arg(env.root()).arg(&copy).status().unwrap().success());
    let copy = copy.to_string_lossy().into_owned();
    for arguments in [&["resume", "@", "Add a test."][..], &["--session-root", &copy, "resume", "@", "Add a test."]] {
        env.decklog(arguments).expect(0);
    }
    let arguments = std::fs::read_to_string(env.home().join("first.arguments")).unwrap();
    let resumed: Vec<bool> = arguments.lines().map(|line| line.contains("--resume s-1")).collect();
    assert_eq!(resumed, [false, true, true], "{arguments}");
    assert_eq!(prompt(&env, "first", 2), "Add a test.");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["turns"], &head["tokens"]["input"]), (&2.into(), &10.into()));
}

#[test]
fn a_killed_session_goes_on_and_one_at_work_is_left_alone() {
    let waits = "test -e \"$HOME/waits\" && exit 0; echo $$ >\"$HOME/waits\"; exec sleep 1000";
    let env = world(&[("first", "text", waits), ("second", "text", FINISHES)]);
    let mut decklog = env.start(&["run", "first", "Write a.txt."]);
    let file = env.home().join("waits");
    let agent = eventually("the agent", || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
    let refused = env.decklog(&["resume", "@", "--agent", "second"]).expect(2);
    assert!(refused.stderr.contains(&format!("being recorded now by process {}", decklog.id())), "{}", refused.stderr);
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    eventually("the agent's end", || (!is_alive(agent)).then_some(()));
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    assert!(prompt(&env, "second", 1).contains("first was cut off in the middle of its turn"));
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["outcome"], "success");
    env.decklog(&["verify", "@"]).expect(0);
}
