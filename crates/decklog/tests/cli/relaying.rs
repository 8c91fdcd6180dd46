//! One session across agents: failover, `handoff`, `resume`, with agents that are shell scripts.

use serde_json::Value;

use crate::env::{TestEnv, eventually, is_alive, kill};

/// An agent's name, its protocol, and what it does.
type Agent<'a> = (&'a str, &'a str, &'a str);

/// A world with these agents. Each keeps what it was asked, and with which arguments.
pub(crate) fn world(agents: &[Agent<'_>]) -> TestEnv {
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

pub(crate) fn prompt(env: &TestEnv, agent: &str, number: usize) -> String {
    std::fs::read_to_string(env.home().join(format!("{agent}.prompt.{number}"))).unwrap()
}

pub(crate) fn asked(env: &TestEnv, agent: &str) -> usize {
    std::fs::read_to_string(env.home().join(format!("{agent}.count"))).map_or(0, |lines| lines.lines().count())
}

fn events(env: &TestEnv) -> Vec<Value> {
    let shown = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Sees that every packet is what docs/packet.schema.json says.
fn check_packets(env: &TestEnv) -> usize {
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/packet.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let mut count = 0;
    for session in env.sessions() {
        for file in std::fs::read_dir(session.join("resume")).into_iter().flatten().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "json") {
                let packet: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
                let faults: Vec<String> = validator.iter_errors(&packet).map(|fault| fault.to_string()).collect();
                assert!(faults.is_empty(), "{}: {faults:?}", file.display());
                count += 1;
            }
        }
    }
    count
}

fn kinds(env: &TestEnv) -> Vec<String> {
    let story = ["turn_start", "turn_end", "checkpoint", "resumed", "handoff", "session_end"];
    let kinds = events(env).into_iter().map(|event| event["type"].as_str().unwrap().to_owned());
    kinds.filter(|kind| story.contains(&kind.as_str())).collect()
}

/// As Claude Code tells that it is limited, after an edit and a plan.
pub(crate) const LIMITED: &str = r#"echo half >>a.txt
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
pub(crate) const SAYS: &str = r#"echo more >>a.txt
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
    assert_eq!(
        (&json["git"]["branch"], &json["git"]["dirty"]),
        (&env.git(&["branch", "--show-current"]).trim().into(), &true.into())
    );
    assert_eq!((&json["objective"], &json["next_task"]), (&"Write a.txt.".into(), &"Write the rest".into()));
    assert_eq!(std::fs::read_to_string(session.join("resume/001-second.md")).unwrap(), packet);
    assert_eq!(env.read("a.txt"), "one\nhalf\nrest\n");
    env.decklog(&["verify", "@"]).expect(0);
    assert_eq!(check_packets(&env), 1);
    // Known to be limited, it is passed over until then.
    let agents = env.decklog(&["agents", "--json"]).expect(0).json();
    let first = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "first").unwrap();
    assert_eq!(first["limited_until"], "2099-01-01T00:00:00Z");
    let ran = env.decklog(&["run", "second", "--then", "first", "Again."]).expect(0);
    assert!(ran.stderr.contains("first is passed over for now: limited until"), "{}", ran.stderr);
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
    assert!(ran.stderr.contains("the first one back is first at 2099-01-01 00:00"), "{}", ran.stderr);
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
fn a_limited_loop_or_chat_goes_on_at_once_as_it_says() {
    for verb in [
        &["loop", "--actor", "first", "--critic", "none", "--check", "grep -q rest a.txt", "Write a.txt."][..],
        &["chat", "first", "second", "Write a.txt."],
        &["run", "first", "Write a.txt."],
    ] {
        let agrees = "grep -q rest a.txt || echo rest >>a.txt; echo AGREED";
        let env = world(&[("first", "claude-stream", LIMITED), ("second", "text", agrees), ("third", "text", agrees)]);
        let ran = env.decklog(verb).expect(75);
        let flag = if verb[0] == "run" { "--agent" } else { "--then" };
        assert!(ran.stderr.contains(&format!("or at once with {flag} AGENT")), "{verb:?}: {}", ran.stderr);
        env.decklog(&["resume", "@", flag, "third"]).expect(0);
        assert!(asked(&env, "third") > 0, "{verb:?}");
        assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["outcome"], "success", "{verb:?}");
    }
}

#[test]
fn what_no_other_agent_takes_up_is_not_handed_off() {
    for (verb, kind, hint) in [
        (&["loop", "--actor", "first", "--critic", "none", "--check", "true", "x"][..], "loop", "--then second: "),
        (&["chat", "-n", "2", "first", "second", "x"], "chat", "--then second: "),
        (&["race", "--pick", "none", "first", "second", "x"], "race", "--turn N | git apply"),
    ] {
        let env = world(&[("first", "text", FINISHES), ("second", "text", FINISHES)]);
        env.decklog(verb);
        let journal = std::fs::read(env.session().join("journal.jsonl")).unwrap();
        let refused = env.decklog(&["handoff", "--to", "second"]).expect(2);
        let told = format!("is a {kind} session, which is not handed to another agent");
        assert!(refused.stderr.contains(&told) && refused.stderr.contains(hint), "{}", refused.stderr);
        assert!(journal == std::fs::read(env.session().join("journal.jsonl")).unwrap(), "{kind}: it was written to");
    }
}

#[test]
fn verbs_without_a_container_say_so_where_one_is_configured() {
    let env = world(&[("first", "claude-stream", SAYS), ("second", "text", FINISHES)]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(0);
    let config = env.home().join(".config/decklog/config.toml");
    let agents = std::fs::read_to_string(&config).unwrap();
    let image = "[images.coding]\nimage = \"localhost/coding\"\n";
    std::fs::write(&config, format!("default-image = \"coding\"\n{agents}{image}")).unwrap();
    for (verb, who) in [
        (&["handoff", "--to", "second", "--summarize"][..], Some("first is asked")),
        (&["handoff", "--to", "second"], None),
        (&["race", "--pick", "none", "second", "second", "x"], Some("racers work")),
    ] {
        let ran = env.decklog(verb).expect(0);
        let told = "on this machine: default-image (coding) does not count here";
        match who {
            Some(who) => assert!(ran.stderr.contains(&format!("{who} {told}")), "{}", ran.stderr),
            None => assert!(!ran.stderr.contains(told), "{}", ran.stderr),
        }
    }
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
    env.git(&["commit", "-qam", "half"]);
    let ran = env.decklog(&["handoff", "--to", "second"]).expect(0);
    let json: Value =
        serde_json::from_slice(&std::fs::read(env.session().join("resume/001-second.json")).unwrap()).unwrap();
    assert_eq!(
        (&json["git"]["head"], &json["git"]["dirty"]),
        (&env.git(&["rev-parse", "HEAD"]).trim().into(), &false.into())
    );
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

/// As Claude Code tells that it is limited until the second `$1` from now, having done nothing.
fn refused(seconds: i64) -> String {
    format!(
        r#"cat <<END
{{"type":"system","subtype":"init","session_id":"s-1","model":"m"}}
{{"type":"rate_limit_event","rate_limit_info":{{"resetsAt":$(($(date +%s)+{seconds}))}}}}
{{"type":"assistant","error":"rate_limit","message":{{"id":"3","content":[{{"type":"text","text":"limit reached"}}]}}}}
{{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached","usage":{{}},"session_id":"s-1"}}
END
exit 1"#
    )
}

#[test]
fn the_configured_order_follows_and_none_switches_it_off() {
    let env = world(&[("first", "claude-stream", LIMITED), ("second", "text", FINISHES)]);
    let config = env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("then = [\"second\"]\n{text}")).unwrap();
    env.decklog(&["run", "first", "--then", "none", "Write a.txt."]).expect(75);
    env.decklog(&["run", "first", "Write a.txt."]).expect(0);
    assert_eq!((asked(&env, "first"), asked(&env, "second")), (2, 1));
    let unknown = env.decklog(&["run", "first", "--then", "nobody", "Write a.txt."]).expect(2);
    assert!(unknown.stderr.contains("there is no agent \"nobody\""), "{}", unknown.stderr);
    // A repository that is not trusted does not decide who gets the prompt.
    std::fs::create_dir(env.work().join(".decklog")).unwrap();
    env.write(".decklog/config.toml", "then = [\"first\"]\n");
    let told = env.decklog(&["run", "second", "Write a.txt."]).expect(0);
    assert!(told.stderr.contains("then decides who gets your prompt: refused"), "{}", told.stderr);
}

#[test]
fn the_first_one_back_is_waited_for() {
    let script = format!("if [ $n = 1 ]; then\n{}\nfi\n{SAYS}", refused(2));
    let env = world(&[("first", "claude-stream", &script), ("second", "claude-stream", LIMITED)]);
    let ran = env.decklog(&["run", "first", "--then", "second", "--wait", "Write a.txt."]).expect(0);
    assert!(ran.stderr.contains("waiting for first until"), "{}", ran.stderr);
    assert_eq!((asked(&env, "first"), asked(&env, "second")), (2, 1));
    assert!(prompt(&env, "first", 2).contains("You take over a session of work from second"));
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["turns"], &head["outcome"]), (&3.into(), &"success".into()));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn who_waits_can_be_stopped_and_the_session_goes_on_later() {
    let script = format!("if [ $n = 1 ]; then\n{}\nfi\n{SAYS}", refused(100_000));
    let env = world(&[("first", "claude-stream", &script)]);
    let mut decklog = env.start(&["run", "first", "--wait", "Write a.txt."]);
    eventually("the checkpoint", || {
        let heads = env.decklog(&["ls", "--json"]).expect(0).json();
        (heads[0]["status"] == "checkpointed").then_some(())
    });
    kill(decklog.id(), "INT");
    assert_eq!(decklog.wait().unwrap().code(), Some(75));
    env.decklog(&["verify", "@"]).expect(0);
    env.decklog(&["resume", "@"]).expect(0);
}

#[test]
fn a_chain_that_only_bounces_stops() {
    let back_at_once = refused(-1);
    let env = world(&[("first", "claude-stream", &back_at_once), ("second", "claude-stream", &back_at_once)]);
    env.decklog(&["run", "first", "--then", "second", "--wait", "Write a.txt."]).expect(75);
    assert_eq!((asked(&env, "first"), asked(&env, "second")), (2, 2));
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["status"], "checkpointed");
}

#[test]
fn a_loop_goes_on_with_the_next_actor_and_the_next_critic() {
    let done = "echo '{\"decision\": \"DONE\", \"summary\": \"well\", \"confidence\": 0.9}'";
    let env =
        world(&[("first", "claude-stream", LIMITED), ("judge", "claude-stream", LIMITED), ("other", "text", done)]);
    // Who takes the actor's place may take the critic's, too.
    let ran =
        env.decklog(&["loop", "--actor", "first", "--critic", "judge", "--then", "other", "Write a.txt."]).expect(0);
    assert!(ran.stderr.contains("first → other (rate_limit)"), "{}", ran.stderr);
    assert!(ran.stderr.contains("judge → other (rate_limit)"), "{}", ran.stderr);
    assert!(prompt(&env, "other", 1).contains("Write the rest"), "the packet");
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn the_agent_that_hands_over_is_asked_what_there_is_to_know() {
    let told = r#"if [ $n = 2 ]; then
cat <<'END'
{"type":"system","subtype":"init","session_id":"s-1","model":"m"}
{"type":"assistant","message":{"id":"9","content":[{"type":"text","text":"{\"decisions\":[{\"summary\":\"Two spaces\",\"why\":\"the file has them\"}],\"blockers\":[\"no linter\"],\"next_task\":\"Write b.txt\"}"}]}}
{"type":"result","subtype":"success","is_error":false,"result":"","usage":{},"session_id":"s-1"}
END
exit 0
fi
"#;
    let script = format!("{told}{SAYS}");
    let env = world(&[("first", "claude-stream", &script), ("second", "text", FINISHES)]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(0);
    env.decklog(&["handoff", "--to", "second", "--summarize"]).expect(0);
    assert!(prompt(&env, "first", 2).starts_with("Another agent will go on with this work."));
    let arguments = std::fs::read_to_string(env.home().join("first.arguments")).unwrap();
    assert!(arguments.lines().nth(1).unwrap().contains("--resume s-1"), "{arguments}");
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    let packet = prompt(&env, "second", 1);
    for told in ["Two spaces: the file has them", "- no linter", "# What comes next\n\nWrite b.txt"] {
        assert!(packet.contains(told), "{told}: {packet}");
    }
    assert!(!packet.contains("Another agent will go on"), "{packet}");
    // Decisions stand; what came next was done by now.
    env.decklog(&["handoff", "--to", "first"]).expect(0);
    let packet = std::fs::read_to_string(env.session().join("resume/003-first.md")).unwrap();
    assert!(packet.contains("Two spaces") && !packet.contains("Write b.txt"), "{packet}");
    assert_eq!(check_packets(&env), 3);
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn a_conversation_that_is_gone_is_replaced_by_a_packet() {
    let lost = "case \"$*\" in *--resume*) echo 'No conversation found with session ID: s-1' >&2; exit 1;; esac\n";
    let script = format!("{lost}{SAYS}");
    let env = world(&[("first", "claude-stream", &script)]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(0);
    env.decklog(&["resume", "@", "Add a test."]).expect(0);
    let asked: Vec<String> = (2..=3).map(|number| prompt(&env, "first", number)).collect();
    assert_eq!(asked[0], "Add a test.");
    assert!(asked[1].starts_with("You take over") && asked[1].ends_with("# Now\n\nAdd a test.\n"), "{}", asked[1]);
    assert!(env.decklog(&["show", "@", "--events"]).expect(0).stdout.contains("conversation_lost"));
    assert_eq!(check_packets(&env), 1);
}

#[test]
fn a_conversation_that_does_not_know_what_came_since_is_not_gone_on_with() {
    // Each conversation has an id of its own; in turn "$waits" the agent tells none, and is killed.
    let first = r#"if [ $n = "$WAITS" ]; then echo $$ >"$HOME/waits"; exec sleep 1000; fi
case "$*" in *--resume*gone*) echo 'No conversation found with session ID' >&2; exit 1;; esac
id=s-$n; test -e "$HOME/go" && id=gone
cat <<END
{"type":"system","subtype":"init","session_id":"$id","model":"m"}
{"type":"assistant","message":{"id":"9","content":[{"type":"text","text":"Done."}]}}
{"type":"result","subtype":"success","is_error":false,"result":"Done.","usage":{"input_tokens":5,"output_tokens":2},"session_id":"$id"}
END"#;
    let another_between: &[&[&str]] = &[&["resume", "@", "--agent", "second", "Write b.txt."]];
    for (loses, between, waits) in [(false, another_between, 2), (true, &[], 3)] {
        let mut env = world(&[("first", "claude-stream", first), ("second", "text", FINISHES)]);
        env.set("WAITS", waits.to_string());
        if loses {
            std::fs::write(env.home().join("go"), "").unwrap();
        }
        env.decklog(&["run", "first", "Write a.txt."]).expect(0);
        for arguments in between {
            env.decklog(arguments).expect(0);
        }
        let mut decklog = env.start(&["resume", "@", "--agent", "first", "Add a test."]);
        let file = env.home().join("waits");
        let agent = eventually("the agent", || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
        kill(decklog.id(), "KILL");
        decklog.wait().unwrap();
        eventually("the agent's end", || (!is_alive(agent)).then_some(()));
        let _ = std::fs::remove_file(env.home().join("go"));
        env.decklog(&["resume", "@"]).expect(0);
        let packet = prompt(&env, "first", waits + 1);
        assert!(packet.starts_with("You take over") && packet.contains("Add a test."), "{packet}");
        let last = || {
            let arguments = std::fs::read_to_string(env.home().join("first.arguments")).unwrap();
            arguments.lines().last().unwrap().to_owned()
        };
        assert!(!last().contains("--resume"), "{}", last());
        // The conversation that was begun then knows all.
        env.decklog(&["resume", "@", "Once more."]).expect(0);
        assert!(last().contains(&format!("--resume s-{}", waits + 1)), "{}", last());
        assert_eq!(prompt(&env, "first", waits + 2), "Once more.");
        env.decklog(&["verify", "@"]).expect(0);
    }
}
