//! Real agents and containers: as clients of `decklog mcp`, and with a container's tools in their runs.

use std::io::{BufRead as _, BufReader};

use decklog_testkit::{ModelServer, Step};
use serde_json::json;

use super::{each_of, tools};
use crate::boxing::world::{configure, containers};
use crate::env::{Ran, TestEnv, kill};

const FS: &str = "fs = [\"mcp-server-filesystem\", \"/workspace\"]";

fn script() -> Vec<Step> {
    let arguments = json!({ "path": "/workspace/hello.txt", "content": "hello from the box\n" });
    vec![Step::Tool { name: "fs__write_file".into(), arguments }, Step::Text("It is written.".into())]
}

/// A copy of the world that has the image, with its variables on top.
fn boxed(env: &TestEnv, more: &str) -> TestEnv {
    let mut boxed = TestEnv::new();
    for (name, value) in &env.vars {
        boxed.set(&name.to_string_lossy(), value.clone());
    }
    // Records are this world's; the agents' homes, and the configuration in them, the other's.
    boxed.set("XDG_DATA_HOME", boxed.home().join(".local/share"));
    configure(&mut boxed, FS, more);
    boxed
}

#[test]
fn agents_work_with_a_containers_tools_and_not_with_their_own() {
    let agents =
        [("claude", "claude"), ("codex", "codex"), ("opencode", "opencode"), ("claude-acp", "claude-agent-acp")];
    each_of(
        &agents,
        |_| script(),
        |agent, env, server| {
            let env = boxed(env, "");
            let ran = env.decklog(&["run", "--image", "coding", agent, "write hello"]).expect(0);
            assert!(ran.stdout.contains("It is written."), "{agent}: {}", ran.stdout);
            assert_eq!(env.read("hello.txt"), "hello from the box\n", "{agent}");
            let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
            assert_eq!(shown["session"]["image_config_name"], "coding", "{agent}");
            assert_eq!(shown["session"]["files_changed"], 1, "{agent}");
            let calls = tools(&shown["turns"][0]);
            assert_eq!(calls.len(), 1, "{agent}: {calls:#?}");
            assert!(calls[0]["name"].as_str().unwrap().ends_with("fs__write_file"), "{agent}: {calls:#?}");
            assert_eq!(calls[0]["status"], "completed", "{agent}");
            assert_eq!(containers(&env), Vec::<String>::new(), "{agent}");
            no_own_tools(agent, server);
        },
    );
}

/// The model was offered nothing with which the agent itself touches the machine.
fn no_own_tools(agent: &str, server: &ModelServer) {
    let requests = server.requests();
    let request = requests.iter().find(|request| request.main_loop).unwrap();
    let offered = request.body["tools"].to_string();
    for own in [
        "\"Bash\"",
        "\"Write\"",
        "\"Edit\"",
        "\"exec_command\"",
        "\"shell\"",
        "\"apply_patch\"",
        "\"bash\"",
        "\"write\"",
        "\"edit\"",
    ] {
        assert!(!offered.contains(&format!("\"name\":{own}")), "{agent} still offers {own}");
    }
}

#[test]
fn a_turn_that_may_only_read_is_offered_nothing_that_writes() {
    each_of(
        &[("claude", "claude"), ("codex", "codex")],
        |_| script(),
        |agent, env, server| {
            let env = boxed(env, "");
            env.decklog(&["run", "--image", "coding", "--permissions", "read-only", agent, "write hello"]);
            assert!(!env.work().join("hello.txt").exists(), "{agent}");
            let requests = server.requests();
            let request = requests.iter().find(|request| request.main_loop).unwrap();
            let offered = request.body["tools"].to_string();
            assert!(offered.contains("fs__read_text_file") && !offered.contains("fs__write_file"), "{agent}");
        },
    );
}

/// What is pasted into `client`'s configuration, with the program that is tested in it.
fn pasted(env: &TestEnv, client: &str) -> String {
    let pasted = env.decklog(&["mcp", "config", "--client", client]).expect(0).stdout;
    pasted.replace("command = \"decklog\"", &format!("command = {:?}", env!("CARGO_BIN_EXE_decklog")))
}

#[test]
fn codex_is_a_client_of_decklog_mcp() {
    each_of(
        &[("codex", "codex")],
        |_| script(),
        |agent, env, _| {
            let env = boxed(env, "");
            let file = command_home(&env).join("config.toml");
            // It hands its servers few variables: these tell podman where the test's storage is.
            let names = "env_vars = [\"CONTAINERS_CONF\", \"CONTAINERS_STORAGE_CONF\", \"BUILDAH_ISOLATION\", \"XDG_CONFIG_HOME\", \"XDG_DATA_HOME\"]";
            let known = std::fs::read_to_string(&file).unwrap();
            let text =
                format!("{known}\n{}{names}\ndefault_tools_approval_mode = \"approve\"\n", pasted(&env, "codex"));
            std::fs::write(&file, text).unwrap();
            let mut command = env.command(agent);
            command.args(["exec", "--skip-git-repo-check", "write hello"]);
            let ran = crate::env::finish(command).expect(0);
            served(&env, agent, &ran);
        },
    );
}

#[test]
fn claude_is_a_client_of_decklog_mcp_over_http() {
    each_of(
        &[("claude", "claude")],
        |_| script(),
        |agent, env, _| {
            let env = boxed(env, "");
            let mut server = env.start(&["mcp", "--listen", "127.0.0.1:0"]);
            let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
            let url = lines.next().unwrap().unwrap();
            let header = lines.next().unwrap().unwrap();
            let token = header.strip_prefix("Authorization: ").unwrap();
            let entry = json!({ "type": "http", "url": url, "headers": { "Authorization": token } });
            env.write("mcp.json", json!({ "mcpServers": { "decklog": entry } }).to_string());
            let mut command = env.command(agent);
            // Else it tells its model of such tools only when that searches for them.
            command.env("ENABLE_TOOL_SEARCH", "false");
            command.args(["-p", "--mcp-config", "mcp.json", "--strict-mcp-config"]);
            command.args(["--allowedTools=mcp__decklog", "write hello"]);
            let ran = crate::env::finish(command).expect(0);
            kill(server.id(), "TERM");
            assert_eq!(server.wait().unwrap().code(), Some(143));
            served(&env, agent, &ran);
        },
    );
}

/// The client wrote the file through the one tool, and all of it is in the record.
fn served(env: &TestEnv, agent: &str, ran: &Ran) {
    let shown = crate::env::eventually("the session's end", || {
        let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
        (shown["session"]["status"] == "completed").then_some(shown)
    });
    let written = std::fs::read_to_string(env.work().join("hello.txt"));
    assert_eq!(written.ok().as_deref(), Some("hello from the box\n"), "{agent}: {ran:?} {shown:#}");
    assert_eq!(shown["session"]["kind"], "mcp", "{agent}");
    let calls = tools(&shown["turns"][0]);
    assert_eq!(calls.len(), 1, "{agent}: {calls:#?}");
    assert_eq!(calls[0]["name"], "fs__write_file", "{agent}");
    let told = shown["turns"][0]["steps"].to_string();
    assert!(told.contains("is connected, and speaks MCP"), "{agent}: {told}");
    assert_eq!(containers(env), Vec::<String>::new(), "{agent}");
}

/// Codex's own directory in this world.
fn command_home(env: &TestEnv) -> std::path::PathBuf {
    let home = env.vars.iter().find(|(name, _)| name == "CODEX_HOME").unwrap();
    home.1.clone().into()
}
