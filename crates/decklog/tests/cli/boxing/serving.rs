//! `decklog mcp` with real servers: the filesystem and the everything server, in an image built without a registry.

use std::time::Duration;

use serde_json::json;

use crate::env::eventually;

use super::world::{Client, containers, kill_with_watcher, world};

const REAL: &str = "fs = [\"mcp-server-filesystem\", \"/workspace\"]\nevery = { command = [\"mcp-server-everything\"], env = { FLAVOUR = \"a ${TASTE}\" } }";

#[test]
fn the_servers_of_a_container_are_one_server_and_every_call_is_recorded() {
    let mut env = world(REAL, "");
    env.set("TASTE", "bitter");
    env.set("SOMETHING_ELSE", "of the host");
    let mut client = Client::new(&env, &["--image", "coding"]);
    let tools = client.tools();
    for name in ["fs__read_text_file", "fs__write_file", "every__echo"] {
        assert!(tools.iter().any(|tool| tool == name), "{name} is not in {tools:?}");
    }
    assert_eq!(client.call("fs__read_text_file", json!({ "path": "/workspace/a.txt" })), (false, "one\n".into()));
    let (_, variables) = client.call("every__get-env", json!({}));
    assert!(variables.contains("\"FLAVOUR\": \"a bitter\""), "{variables}");
    assert!(!variables.contains("of the host"), "{variables}");
    client.call("fs__write_file", json!({ "path": "/workspace/new.txt", "content": "from the box\n" }));
    assert_eq!(env.read("new.txt"), "from the box\n");
    let (failed, said) = client.call("fs__read_text_file", json!({ "path": "/etc/passwd" }));
    assert!(failed && said.contains("Access denied"), "{said}");

    let prompts = client.ask("prompts/list", json!({}));
    assert!(prompts["prompts"].as_array().unwrap().iter().any(|prompt| prompt["name"] == "every__simple-prompt"));
    let prompt = client.ask("prompts/get", json!({ "name": "every__simple-prompt" }));
    assert!(prompt["messages"][0]["content"]["text"].is_string(), "{prompt}");
    let resources = client.ask("resources/list", json!({}));
    let uri = resources["resources"][0]["uri"].as_str().unwrap().to_owned();
    let resource = client.ask("resources/read", json!({ "uri": uri }));
    assert!(resource["contents"][0]["text"].is_string(), "{resource}");

    let (code, stderr) = client.leave();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("fs is ready") && stderr.contains("every is ready"), "{stderr}");
    assert_eq!(containers(&env), Vec::<String>::new());

    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["session"]["kind"], "mcp");
    assert_eq!(shown["session"]["outcome"], "success");
    assert!(shown["session"].get("agents").is_none(), "{}", shown["session"]);
    assert_eq!(shown["session"]["image_config_name"], "coding");
    assert_eq!(shown["session"]["files_changed"], 1);
    let steps = shown["turns"][0]["steps"].as_array().unwrap();
    let calls: Vec<_> = steps.iter().filter(|step| step["type"] == "tool").collect();
    let names: Vec<_> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "fs__read_text_file",
            "every__get-env",
            "fs__write_file",
            "fs__read_text_file",
            "prompts/get",
            "resources/read"
        ]
    );
    assert_eq!(calls[0]["output"], "one\n");
    assert_eq!(calls[0]["status"], "completed");
    assert_eq!(calls[3]["status"], "failed");
    assert!(calls.iter().all(|call| call["duration_secs"].as_f64().unwrap() >= 0.0));
    let diff = env.decklog(&["diff", "@"]).expect(0).stdout;
    assert!(diff.contains("+from the box"), "{diff}");
    let log = env.decklog(&["logs", "@", "container"]).expect(0).stdout;
    assert!(log.contains("$ podman create") && log.contains("is removed"), "{log}");
    let list = env.decklog(&["ls"]).expect(0).stdout;
    assert!(list.contains("IMAGE") && list.contains("CONTAINER") && list.contains("decklog-"), "{list}");
    assert!(!env.decklog(&["verify", "@"]).expect(0).stderr.contains("fault"));
}

#[test]
fn progress_comes_through_and_a_request_can_be_taken_back() {
    let env = world("every = [\"mcp-server-everything\"]\nshell = [\"node\", \"/srv/shell-mcp.js\"]", "");
    let mut client = Client::new(&env, &[]);
    let arguments = json!({ "duration": 0.2, "steps": 2 });
    let params = json!({ "name": "every__trigger-long-running-operation", "arguments": arguments, "_meta": { "progressToken": "mine" } });
    client.ask("tools/call", params);
    let progress = client.wait_for(|note| note["method"] == "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], "mine");

    let id = client.request(
        "tools/call",
        json!({ "name": "shell__run", "arguments": { "command": "echo begun >/workspace/begun; sleep 600" } }),
    );
    let began = std::time::Instant::now();
    while !env.work().join("begun").exists() {
        assert!(began.elapsed() < super::world::LONG);
        std::thread::sleep(Duration::from_millis(20));
    }
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }));
    // The same server answers: it was told, and goes on.
    assert_eq!(client.call("shell__run", json!({ "command": "echo there" })), (false, "there\n".into()));
    assert_eq!(client.leave().0, 0);
    let log = env.decklog(&["logs", "@", "shell.stderr"]).expect(0).stdout;
    assert!(log.contains("cancelled "), "{log}");
}

#[test]
fn a_client_without_a_handshake_is_served() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\"]", "");
    let mut client = Client::silent(&env, &[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "tester", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let found = client.ask("server/discover", json!({ "_meta": meta }));
    assert!(found["supportedVersions"].as_array().unwrap().iter().any(|version| version == "2026-07-28"), "{found}");
    let tools = client.ask("tools/list", json!({ "_meta": meta }));
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "shell__run"), "{tools}");
    let arguments = json!({ "command": "echo without" });
    let result = client.ask("tools/call", json!({ "name": "shell__run", "arguments": arguments, "_meta": meta }));
    assert_eq!(result["content"][0]["text"], "without\n");
    assert_eq!(client.leave().0, 0);
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    let steps = &shown["turns"][0]["steps"];
    assert!(steps[0]["text"].as_str().unwrap().contains("tester 1 is connected, and speaks MCP 2026-07-28"), "{steps}");
    assert_eq!(steps[1]["name"], "shell__run");
}

#[test]
fn a_container_whose_recorder_was_killed_is_found_and_no_other() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\"]", "");
    let mut client = Client::new(&env, &[]);
    client.tools();
    let [name] = containers(&env).try_into().unwrap();
    let refused = env.decklog(&["discard", "-y", "@"]).expect(2);
    assert!(refused.stderr.contains(&format!("its container is {name}")), "{}", refused.stderr);
    // While somebody records, nothing of it is taken away.
    env.decklog(&["clean", "-y"]).expect(0);
    assert_eq!(containers(&env), [name.as_str()]);
    kill_with_watcher(client.recorder());
    client.child.wait().unwrap();
    let elsewhere = env.home().join("other-root");
    std::fs::create_dir(&elsewhere).unwrap();
    env.decklog(&["--session-root", elsewhere.to_str().unwrap(), "clean", "-y"]).expect(0);
    assert_eq!(containers(&env), [name.as_str()], "another root's clean has taken it");
    let preview = env.decklog(&["clean", "--dry-run"]).expect(0);
    assert!(preview.stdout.contains(&format!("container {name}")), "{}", preview.stdout);
    assert_eq!(containers(&env), [name.as_str()]);
    let cleaned = env.decklog(&["clean", "-y"]).expect(0);
    assert!(cleaned.stderr.contains(&format!("removed container {name}")), "{}", cleaned.stderr);
    assert_eq!(containers(&env), Vec::<String>::new());
    assert!(env.decklog(&["ls"]).expect(0).stdout.contains("crashed"));

    // Nor is it there for ever when somebody has taken the record away by hand.
    let mut client = Client::new(&env, &[]);
    client.tools();
    let [name] = containers(&env).try_into().unwrap();
    kill_with_watcher(client.recorder());
    client.child.wait().unwrap();
    std::fs::remove_dir_all(env.root().join(name.strip_prefix("decklog-").unwrap())).unwrap();
    env.decklog(&["clean", "-y"]).expect(0);
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_client_that_kills_its_server_leaves_a_whole_session_and_no_container() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\"]", "");
    let mut client = Client::new(&env, &[]);
    assert_eq!(client.call("shell__run", json!({ "command": "echo there" })), (false, "there\n".into()));
    client.child.kill().unwrap();
    client.child.wait().unwrap();
    let shown = eventually("the session's end", || {
        let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
        (shown["session"]["status"] == "completed").then_some(shown)
    });
    assert_eq!(shown["session"]["outcome"], "success");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn an_agent_that_takes_no_tools_does_not_work_on_the_host_instead() {
    let bob = "[agents.bob]\ncommand = [\"touch\", \"on-the-host\"]\nprotocol = \"text\"";
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\"]", bob);
    let task = ["loop", "--image", "coding", "--actor", "bob", "--critic", "none", "--check", "true", "-n", "1", "x"];
    let ran = env.decklog(&task).expect(1);
    assert!(!env.work().join("on-the-host").exists(), "{}", ran.stderr);
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["turns"][0]["outcome"], "failed");
    let error = shown["turns"][0]["error"].as_str().unwrap();
    assert!(error.contains("bob takes no tools from a container"), "{error}");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn without_podman_everything_says_how_to_get_it() {
    let mut env = world("shell = [\"node\", \"/srv/shell-mcp.js\"]", "");
    let bin = env.home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/usr/bin/git", bin.join("git")).unwrap();
    env.set("PATH", bin);
    for arguments in [&["build"][..], &["mcp"]] {
        let ran = env.decklog(arguments).expect(2);
        assert!(
            ran.stderr.contains("podman is not installed") && ran.stderr.contains("apt install podman"),
            "{}",
            ran.stderr
        );
    }
    // And everything else works.
    env.decklog(&["ls"]).expect(0);
    env.decklog(&["clean", "-y"]).expect(0);
}
