//! The verbs that ask agents, with a container: the built-in agent works with its tools, and the record has it once for each
//! time it was made.

use decklog_testkit::{ModelServer, Step};
use serde_json::{Value, json};

use super::world::{containers, notices, world};
use crate::env::{TestEnv, eventually, kill};
use crate::screen::Screen;

const SERVERS: &str = "fs = [\"mcp-server-filesystem\", \"/workspace\"]\nshell = [\"node\", \"/srv/shell-mcp.js\"]";

/// A world with the image and these servers in it, where the built-in agent asks `server`.
pub(super) fn asking(server: &ModelServer, servers: &str) -> TestEnv {
    let base = server.base_url();
    let provider = format!("[providers.local]\nstyle = \"openai\"\nbase-url = \"{base}/v1\"\n");
    world(servers, &format!("{provider}[models.fast]\nprovider = \"local\"\nmodel = \"fast-1\"\n"))
}

fn write(path: &str, content: &str) -> Step {
    let arguments = json!({ "path": format!("/workspace/{path}"), "content": content });
    Step::Tool { name: "fs__write_file".into(), arguments }
}

pub(super) fn text(words: &str) -> Step {
    Step::Text(words.into())
}

/// The container's own word for where it runs.
fn looks() -> Step {
    Step::Tool { name: "shell__run".into(), arguments: json!({ "command": "cat /etc/passwd" }) }
}

/// All that is in the container's passwd.
const INSIDE: &str = "root:x:0:0::/root:/bin/sh\n";

/// Events of a type in the newest session's record.
pub(super) fn events(env: &TestEnv, kind: &str) -> Vec<Value> {
    let shown = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    let all = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["type"] == kind).collect()
}

/// Each tool call of the newest session: its turn, its name, and what came of it.
fn calls(env: &TestEnv) -> Vec<(u64, String, String)> {
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut calls = Vec::new();
    for turn in shown["turns"].as_array().unwrap() {
        let tools = turn["steps"].as_array().unwrap().iter().filter(|step| step["type"] == "tool");
        calls.extend(tools.map(|tool| (turn["turn"].as_u64().unwrap(), word(&tool["name"]), word(&tool["status"]))));
    }
    calls
}

/// Names of the tools that the model was offered in its `number`-th request.
fn offered(server: &ModelServer, number: usize) -> Vec<String> {
    let body = server.requests()[number].body.clone();
    let tools = body["tools"].as_array().into_iter().flatten();
    tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The record is whole, it has so many containers, and none of them is left.
fn was_in(env: &TestEnv, times: usize) {
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    let name = format!("decklog-{}", head["id"].as_str().unwrap());
    assert_eq!((&head["image_config_name"], &head["container_name"]), (&json!("coding"), &json!(name)));
    let made = events(env, "container");
    assert_eq!(made.len(), times, "{made:#?}");
    for event in made {
        assert_eq!((&event["container_name"], &event["image_tag"]), (&json!(name), &head["image_tag"]), "{event}");
    }
    let log = env.decklog(&["logs", "@", "container"]).expect(0).stdout;
    for word in ["$ podman create", "is started", "is removed"] {
        assert_eq!(log.matches(word).count(), times, "{word}: {log}");
    }
    assert_eq!(containers(env), Vec::<String>::new());
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn a_run_writes_through_its_container() {
    let server =
        ModelServer::start_without_side_requests(vec![write("made.txt", "made\n"), looks(), text("It is written.")]);
    let env = asking(&server, SERVERS);
    let ran = env.decklog(&["run", "--image", "coding", "builtin", "Write it."]).expect(0);
    assert_eq!(ran.stdout, "It is written.\n");
    assert!(ran.stderr.contains("✎ fs__write_file /workspace/made.txt"), "{}", ran.stderr);
    assert_eq!(env.read("made.txt"), "made\n");
    was_in(&env, 1);
    let done = "completed".to_owned();
    assert_eq!(calls(&env), [(1, "fs__write_file".into(), done.clone()), (1, "shell__run".into(), done)]);
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    let tag = env.decklog(&["build"]).expect(0).stdout;
    let image = format!("image     coding ({}), in container decklog-", tag.trim());
    for told in [image.as_str(), "1 file changed", "/workspace/made.txt", INSIDE.trim()] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    assert!(env.decklog(&["diff", "@"]).expect(0).stdout.contains("+made"));
}

#[test]
fn a_session_that_is_gone_on_with_has_its_image_again_in_a_new_container() {
    let run = |command: &str| Step::Tool { name: "shell__run".into(), arguments: json!({ "command": command }) };
    let server = ModelServer::start_without_side_requests(vec![
        run("echo here >/tmp/mark; cat /tmp/mark"),
        text("Marked."),
        run("cat /tmp/mark 2>/dev/null || echo anew"),
        text("Looked."),
        text("I have no tools."),
        run("echo again"),
        text("Back."),
    ]);
    let env = asking(&server, SERVERS);
    env.decklog(&["run", "--image", "coding", "builtin", "Mark it."]).expect(0);
    env.decklog(&["resume", "@", "Is the mark there?"]).expect(0);
    was_in(&env, 2);
    let outputs = |turn: u64| -> Vec<String> {
        let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
        let turns = shown["turns"].as_array().unwrap().iter().filter(|known| known["turn"] == turn);
        let steps = turns.flat_map(|turn| turn["steps"].as_array().unwrap().clone());
        steps.filter_map(|step| step["output"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(outputs(1), ["here\n"]);
    assert_eq!(outputs(2), ["anew\n"], "it is the old container");

    // Without it for one turn, and what agents take no tools from is then no matter.
    env.decklog(&["resume", "--image", "none", "@", "And now?"]).expect(0);
    assert_eq!(offered(&server, 4), Vec::<String>::new());
    was_in(&env, 2);
    env.decklog(&["resume", "--image", "none", "--agent", "claude", "@", "x"]).expect(2);
    env.decklog(&["resume", "@", "Once more."]).expect(0);
    assert_eq!(outputs(4), ["again\n"]);
    was_in(&env, 3);
    assert_eq!(env.sessions().len(), 1);
}

#[test]
fn a_log_of_the_container_that_cannot_be_kept_is_no_success() {
    let server = ModelServer::start_without_side_requests(vec![text("One."), text("Two.")]);
    let env = asking(&server, SERVERS);
    env.decklog(&["run", "--image", "coding", "builtin", "Say one."]).expect(0);
    let log = env.session().join("logs/container.log");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let ran = env.decklog(&["resume", "@", "--json", "Say two."]).expect(2);
    assert_eq!((&ran.json()["recorded"], &ran.json()["exit_code"]), (&json!(false), &json!(2)));
    assert!(ran.stderr.contains("the record is incomplete"), "{}", ran.stderr);
    let [told] = notices(&env, "recording_failed").try_into().unwrap();
    assert!(told.contains("container.log"), "{told}");
    assert_eq!(events(&env, "session_end").last().unwrap()["exit_code"], 2);
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_session_whose_recorder_was_killed_goes_on_though_its_container_is_there() {
    let begins = json!({ "command": "echo begun >/workspace/begun; sleep 600" });
    let server = ModelServer::start_without_side_requests(vec![
        Step::Tool { name: "shell__run".into(), arguments: begins },
        text("Back."),
        text("Back."),
    ]);
    let env = asking(&server, SERVERS);
    let mut child = env.start(&["run", "--image", "coding", "builtin", "Begin."]);
    eventually("the command", || env.work().join("begun").exists().then_some(()));
    kill(child.id(), "KILL");
    child.wait().unwrap();
    // Its container is still there, or was just removed by the process that waits for the recorder's end.
    env.decklog(&["resume", "@", "Go on."]).expect(0);
    assert_eq!(containers(&env), Vec::<String>::new());
    assert_eq!(events(&env, "container").len(), 2);
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn a_loops_critic_reads_in_the_container_and_writes_nothing() {
    let server = ModelServer::start_without_side_requests(vec![
        write("made.txt", "half\n"),
        text("Half of it."),
        Step::Tool { name: "fs__read_text_file".into(), arguments: json!({ "path": "/workspace/made.txt" }) },
        text("DECISION: CONTINUE\nFEEDBACK: Write the other half."),
        write("made.txt", "whole\n"),
        text("All of it."),
        // It is not offered, and asked for all the same.
        Step::Calls {
            text: None,
            calls: vec![("shell__run".into(), r#"{"command":"touch /workspace/by-critic"}"#.into())],
        },
        text("{\"decision\": \"DONE\", \"summary\": \"It is whole.\", \"confidence\": 1}"),
    ]);
    let env = asking(&server, SERVERS);
    let task = ["loop", "--image", "coding", "--actor", "builtin", "--critic", "builtin", "Write it."];
    env.decklog(&task).expect(0);
    assert_eq!(env.read("made.txt"), "whole\n");
    assert!(!env.work().join("by-critic").exists());
    was_in(&env, 1);
    let names: Vec<_> = calls(&env).into_iter().map(|(turn, name, status)| format!("{turn} {name} {status}")).collect();
    assert_eq!(
        names,
        [
            "1 fs__write_file completed",
            "2 fs__read_text_file completed",
            "3 fs__write_file completed",
            "4 shell__run failed"
        ]
    );
    for (request, writes) in [(0, true), (2, false), (4, true), (6, false)] {
        let tools = offered(&server, request);
        for (tool, is_there) in [("fs__read_text_file", true), ("fs__write_file", writes), ("shell__run", writes)] {
            assert_eq!(tools.iter().any(|name| name == tool), is_there, "{tool} in request {request}: {tools:?}");
        }
    }
}

#[test]
fn speakers_share_one_container() {
    let server = ModelServer::start_without_side_requests(vec![
        write("made.txt", "one\n"),
        text("I wrote.\n\nAGREED"),
        looks(),
        text("I looked.\n\nAGREED"),
    ]);
    let env = asking(&server, SERVERS);
    let ran = env.decklog(&["chat", "--image", "coding", "builtin", "builtin:fast", "Write it."]).expect(0);
    assert_eq!(ran.stdout, "all agree after 2 turns\n", "{}", ran.stderr);
    assert_eq!(env.read("made.txt"), "one\n");
    was_in(&env, 1);
    let done = "completed".to_owned();
    assert_eq!(calls(&env), [(1, "fs__write_file".into(), done.clone()), (2, "shell__run".into(), done)]);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert!(shown["turns"][1]["steps"].to_string().contains("root:x:0:0::/root:/bin/sh"), "{shown:#}");
}

#[test]
fn all_prompts_of_a_shell_find_the_same_container() {
    let run = |command: &str| Step::Tool { name: "shell__run".into(), arguments: json!({ "command": command }) };
    let server = ModelServer::start_without_side_requests(vec![
        run("echo here >/tmp/mark"),
        text("Marked."),
        run("cat /tmp/mark"),
        text("Found."),
        run("cat /tmp/mark 2>/dev/null || echo anew"),
        text("Looked."),
    ]);
    let env = asking(&server, SERVERS);
    let ran = env.decklog_with_input(&["shell", "--image", "coding", "builtin"], b"Mark it.\nFind it.\n").expect(0);
    assert_eq!(ran.stdout, "Marked.\nFound.\n");
    was_in(&env, 1);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert!(shown["turns"][1]["steps"].to_string().contains("here\\n"), "{shown:#}");
    // Opened again on a terminal, it has its image again.
    let mut screen = Screen::new(&env, "resume @");
    screen.wait_for("❯ ");
    screen.press("Look.\r");
    screen.wait_for("Looked.");
    screen.wait_for_after("tokens in", "❯ ");
    screen.press("\u{4}");
    let (text, code) = screen.end();
    assert_eq!(code, 0, "{text}");
    was_in(&env, 2);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert!(shown["turns"][2]["steps"].to_string().contains("anew\\n"), "{shown:#}");
}

#[test]
fn what_a_shell_goes_on_with_has_the_image_it_had_and_not_the_shells() {
    let server = ModelServer::start_without_side_requests(vec![
        looks(),
        text("Looked."),
        text("I have no tools."),
        looks(),
        text("Looked again."),
    ]);
    let env = asking(&server, SERVERS);
    env.decklog(&["run", "--image", "coding", "builtin", "Look."]).expect(0);
    let id = env.session().file_name().unwrap().to_str().unwrap().to_owned();
    let lines = format!("What have you?\n/resume {id}\nLook again.\n");
    let ran = env.decklog_with_input(&["shell", "builtin"], lines.as_bytes()).expect(0);
    assert_eq!(ran.stdout, "I have no tools.\nLooked again.\n");
    assert!(offered(&server, 2).is_empty() && !offered(&server, 3).is_empty());
    let [boxed, plain] = env.sessions().try_into().unwrap();
    assert!(boxed.ends_with(&id) && !plain.join("logs").exists());
    let shown = env.decklog(&["show", &id, "--json"]).expect(0).json();
    assert!(shown["turns"][1]["steps"].to_string().contains("root:x:0:0::/root:/bin/sh"), "{shown:#}");
    let made = std::fs::read_to_string(boxed.join("journal.jsonl")).unwrap();
    assert_eq!(made.matches("\"type\":\"container\"").count(), 2);
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn who_takes_no_tools_is_refused_before_anything_begins() {
    let agent = |name: &str, protocol: &str| {
        format!("[agents.{name}]\ncommand = [\"touch\", \"on-the-host\"]\nprotocol = \"{protocol}\"\n")
    };
    let env = world(SERVERS, &format!("{}{}", agent("bob", "text"), agent("eve", "gemini-stream")));
    for (who, told) in [
        (&["bob", "x"][..], "bob takes no tools from a container"),
        (&["eve", "x"], "use gemini-acp"),
        (&["--", "touch", "on-the-host"], "touch takes no tools from a container"),
    ] {
        let ran = env.decklog(&[&["run", "--image", "coding"], who].concat()).expect(2);
        assert!(ran.stderr.contains(told) && ran.stderr.contains("hint"), "{told}: {}", ran.stderr);
    }
    assert!(env.sessions().is_empty() && !env.work().join("on-the-host").exists());
}
