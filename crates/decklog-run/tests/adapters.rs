//! Every captured stream through its adapter: what the real agents printed, told as events.
//!
//! `streams/<agent>/<scenario>.jsonl` is stdout, `<scenario>.txt` holds exit code and stderr.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use decklog_journal::event::Tokens;
use decklog_journal::words::Permissions;
use decklog_run::agents::{
    Adapter, AgentDefinition, AgentEvent, BuiltinModel, BuiltinSetup, McpServer, Output, TurnRequest, Used,
    known_agents,
};

fn streams() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams")
}

fn agent(name: &str) -> AgentDefinition {
    known_agents().into_iter().find(|agent| agent.name == name).expect("a known agent")
}

fn request(permissions: Permissions) -> TurnRequest {
    TurnRequest {
        prompt: "Write hello".into(),
        prompt_dir: None,
        model: None,
        permissions,
        working_dir: "/work-dir".into(),
        resume: None,
        used: Used::default(),
        begins_anew: true,
        asks: false,
        as_root: false,
        mcp: Vec::new(),
        own_tools: true,
    }
}

fn feed(adapter: &mut dyn Adapter, stream: &[u8]) -> Output {
    let mut all = Output::default();
    for line in stream.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut out = Output::default();
        adapter.line(line, &mut out);
        all.events.append(&mut out.events);
        all.send.append(&mut out.send);
        all.finished |= out.finished;
    }
    all
}

fn cut(text: &str) -> String {
    let line = text.replace('\n', "⏎");
    if line.chars().count() > 110 { line.chars().take(110).chain(['…']).collect() } else { line }
}

/// Events as lines; tokens and cost are added up.
fn tell(events: &[AgentEvent]) -> String {
    let mut text = String::new();
    let (mut tokens, mut cost) = (Tokens::default(), 0.0);
    for event in events {
        let line = match event {
            AgentEvent::Session(_) => "session".into(),
            AgentEvent::ToolCall { name, kind, title, input, status, .. } => {
                format!(
                    "call {name} {kind:?} {status} {:?} {}",
                    title.as_deref().unwrap_or_default(),
                    cut(&input.to_string())
                )
            }
            AgentEvent::ToolResult { status, output, exit_code, .. } => {
                format!("result {status} {exit_code:?} {}", cut(output))
            }
            AgentEvent::Usage { tokens: more, cost_usd, .. } => {
                tokens += *more;
                cost += cost_usd.unwrap_or(0.0);
                continue;
            }
            AgentEvent::Notice { code, text } => format!("notice {code} {}", cut(text)),
            other => cut(&format!("{other:?}")),
        };
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(
        text,
        "tokens {} ({} cached) in, {} ({} reasoning) out, ${cost:.5}",
        tokens.input, tokens.cached_input, tokens.output, tokens.reasoning
    );
    text
}

fn exit_and_stderr(description: &str) -> (i32, String) {
    let exit =
        description.lines().find_map(|line| line.strip_prefix("exit: ")).and_then(|code| code.trim().parse().ok());
    let stderr = description.split_once("stderr:\n").map(|(_, stderr)| stderr.to_owned());
    (exit.unwrap_or(0), stderr.unwrap_or_default())
}

fn headless(name: &str) {
    let dir = streams().join(name);
    let mut scenarios: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("streams")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    scenarios.sort();
    assert!(scenarios.len() >= 8, "streams of {name} are missing");
    let mut told = String::new();
    for path in scenarios {
        let mut adapter = agent(name).adapter();
        let mut out = feed(adapter.as_mut(), &std::fs::read(&path).expect("a stream"));
        let (exit, stderr) =
            exit_and_stderr(&std::fs::read_to_string(path.with_extension("txt")).expect("a description"));
        adapter.end(exit, &stderr, &mut out);
        let scenario = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let limited = out.events.iter().any(|event| matches!(event, AgentEvent::RateLimited { .. }));
        let failed = out.events.iter().any(|event| matches!(event, AgentEvent::Failed(_)));
        if scenario.starts_with("prose") {
            assert!(!limited && !failed, "{name} {scenario}: prose is no signal");
        }
        let _ = writeln!(told, "== {scenario} (exit {exit})\n{}", tell(&out.events));
    }
    insta::assert_snapshot!(format!("headless-{name}"), told);
}

#[test]
fn claude() {
    headless("claude");
}

#[test]
fn codex() {
    headless("codex");
}

#[test]
fn gemini() {
    headless("gemini");
}

#[test]
fn opencode() {
    headless("opencode");
}

#[test]
fn builtin() {
    headless("builtin");
}

/// What the built-in agent is asked, and that a model that is not there is told as the turn's failure.
#[test]
fn builtin_is_asked() {
    let model = BuiltinModel {
        name: "fast".into(),
        provider: "local".into(),
        style: "openai".into(),
        base_url: "http://127.0.0.1:8080/v1".into(),
        allow_http: false,
        api_key_env: Some("LOCAL_KEY".into()),
        model: "qwen3-coder".into(),
        max_tokens: Some(8192),
        context_tokens: None,
    };
    let setup = BuiltinSetup { models: vec![model], default: None, state_dir: "/state".into() };
    let definition = AgentDefinition { builtin: Some(setup), ..agent("builtin") };
    let files = McpServer {
        name: "files".into(),
        command: vec!["server".into(), "--root".into()],
        env: vec![("NAME".into(), "value".into())],
    };
    let request = TurnRequest {
        resume: Some("0123456789abcdef0123456789abcdef".into()),
        mcp: vec![files],
        ..request(Permissions::ReadOnly)
    };
    let launch = definition.adapter().launch(&request);
    assert_eq!(launch.command, ["/proc/self/exe", "__builtin"]);
    assert!(!launch.keep_stdin && launch.stdin.ends_with(b"\n"));
    let asked: serde_json::Value = serde_json::from_slice(&launch.stdin).expect("JSON");
    insta::assert_json_snapshot!("builtin-request", asked);

    let request = TurnRequest { model: Some("best".into()), ..request };
    let mut adapter = definition.adapter();
    assert!(adapter.launch(&request).stdin.is_empty());
    adapter.begin(&request, &mut Output::default());
    let line = br#"{"type":"error","code":"request","message":"the request cannot be read"}"#;
    let out = feed(adapter.as_mut(), line);
    let expected = "there is no model \"best\": the configuration has fast".to_owned();
    assert_eq!(out.events, [AgentEvent::Failed(expected)]);
}

#[test]
fn acp() {
    let dir = streams().join("acp");
    let mut told = String::new();
    for name in ["claude-agent-acp", "codex-acp", "gemini", "opencode"] {
        for scenario in ["write", "tool-failed", "thinking", "rate-limited", "permission-denied"] {
            let Ok(stream) = std::fs::read(dir.join(name).join(format!("{scenario}.out.jsonl"))) else {
                continue;
            };
            let mut adapter = agent("claude-acp").adapter();
            let permissions = if scenario == "permission-denied" { Permissions::ReadOnly } else { Permissions::Edit };
            let mut opening = Output::default();
            adapter.begin(&request(permissions), &mut opening);
            let asked =
                std::fs::read(dir.join(name).join(format!("{scenario}.in.jsonl"))).expect("the other direction");
            let out = feed(adapter.as_mut(), &with_our_ids(&stream, &asked));
            let sent: Vec<String> = String::from_utf8(out.send)
                .expect("text")
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
                .map(|message| match message["method"].as_str() {
                    Some(method) => method.to_owned(),
                    None => format!("answer {}", message["result"]["outcome"]),
                })
                .collect();
            let _ = writeln!(
                told,
                "== {name} {scenario} (finished: {})\nsent {}\n{}",
                out.finished,
                sent.join(", "),
                tell(&out.events)
            );
        }
    }
    insta::assert_snapshot!("acp", told);
}

/// What an agent tells of a conversation that it loads is not told again, and one that it has lost is begun anew.
#[test]
fn acp_goes_on() {
    let old = r#"{"method":"session/update","params":{"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"old"}}}}"#;
    let new = old.replace("old", "new");
    let cost = r#"{"method":"session/update","params":{"update":{"sessionUpdate":"usage_update","cost":{"amount":0.75,"currency":"USD"}}}}"#;
    let end = r#"{"id":3,"result":{"stopReason":"end_turn"}}"#;
    let open = |loads: bool| format!(r#"{{"id":0,"result":{{"agentCapabilities":{{"loadSession":{loads}}}}}}}"#);
    let (modes, refusal) = (
        r#"{"id":1,"result":{"modes":{"currentModeId":"default"}}}"#,
        r#"{"id":1,"error":{"code":-32603,"message":"no such session"}}"#,
    );
    let (begun, set) = (r#"{"id":1,"result":{"sessionId":"s2"}}"#, r#"{"id":2,"result":{}}"#);
    let mut told = String::new();
    for (name, loads, lines) in [
        ("loaded", true, vec![old, modes, old, set, &new, cost, end]),
        ("lost", true, vec![old, refusal, begun, &new, cost, end]),
        ("not offered", false, vec![begun, &new, cost, end]),
    ] {
        let mut adapter = agent("claude-acp").adapter();
        let used = Used { cost_usd: 0.5, ..Used::default() };
        let request = TurnRequest { resume: Some("s1".into()), used, ..request(Permissions::Edit) };
        let mut opening = Output::default();
        adapter.begin(&request, &mut opening);
        let out = feed(adapter.as_mut(), [vec![open(loads).as_str()], lines].concat().join("\n").as_bytes());
        let sent = String::from_utf8(out.send).expect("text");
        let _ = writeln!(told, "== {name}\n{sent}{}", tell(&out.events));
    }
    insta::assert_snapshot!("acp-goes-on", told);
}

/// The captured client numbered its requests in its own way.
fn with_our_ids(stream: &[u8], asked: &[u8]) -> Vec<u8> {
    let lines = |bytes: &[u8]| -> Vec<serde_json::Value> {
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    };
    let asked = lines(asked);
    let ours = |id: &serde_json::Value| {
        let request = asked.iter().find(|request| request["id"] == *id && request["method"].is_string())?;
        ["initialize", "session/new", "-", "session/prompt"].iter().position(|method| request["method"] == *method)
    };
    let mut text = Vec::new();
    for mut message in lines(stream) {
        if message.get("method").is_none()
            && let Some(id) = ours(&message["id"])
        {
            message["id"] = id.into();
        }
        text.extend_from_slice(message.to_string().as_bytes());
        text.push(b'\n');
    }
    text
}

/// Whatever comes, no adapter panics, and what it cannot read is kept.
#[test]
fn hostile_lines() {
    let deep = "[".repeat(200_000);
    let lines: [&[u8]; 12] = [
        b"",
        b"not json",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"{\"type\":5}",
        b"{\"type\":\"assistant\"}",
        b"{\"type\":\"item.completed\",\"item\":{\"type\":\"command_execution\",\"exit_code\":99999999999}}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fs/read_text_file\",\"params\":{\"path\":\"/etc/shadow\"}}",
        deep.as_bytes(),
    ];
    for definition in known_agents() {
        let mut adapter = definition.adapter();
        adapter.begin(&request(Permissions::Edit), &mut Output::default());
        for line in lines {
            adapter.line(line, &mut Output::default());
        }
        let mut out = Output::default();
        adapter.line(b"{\"type\":\"from the future\",\"method\":\"future/notice\"}", &mut out);
        assert!(
            out.events.iter().any(|event| matches!(event, AgentEvent::Notice { code: "unknown_line", .. })),
            "{} drops a line it does not know",
            definition.name
        );
        adapter.end(1, "it broke", &mut Output::default());
    }
}

/// A line of each agent's stream whose text is cut in the middle of an emoji, and what comes with it.
#[test]
fn half_of_a_character_costs_no_line() {
    let lines: [(&str, &[&str]); 6] = [
        (
            "claude",
            &[
                r#"{"type":"assistant","message":{"id":"m","model":"c","usage":{"input_tokens":3,"output_tokens":4},"content":[{"type":"text","text":"TEXT"}]}}"#,
                r#"{"type":"result","subtype":"success","is_error":false,"result":"TEXT","usage":{"input_tokens":3,"output_tokens":4},"session_id":"s"}"#,
            ],
        ),
        (
            "codex",
            &[
                r#"{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"TEXT"}}"#,
                r#"{"type":"turn.completed","note":"TEXT","usage":{"input_tokens":3,"cached_input_tokens":0,"output_tokens":4}}"#,
            ],
        ),
        (
            "gemini",
            &[
                r#"{"type":"message","role":"assistant","content":"TEXT","delta":true}"#,
                r#"{"type":"result","status":"success","note":"TEXT","stats":{"total_tokens":7,"input_tokens":3,"output_tokens":4}}"#,
            ],
        ),
        (
            "opencode",
            &[
                r#"{"type":"text","sessionID":"s","part":{"id":"p","type":"text","text":"TEXT"}}"#,
                r#"{"type":"step_finish","sessionID":"s","part":{"type":"step-finish","reason":"stop","note":"TEXT","tokens":{"input":3,"output":4,"reasoning":0,"cache":{"read":0,"write":0}}}}"#,
            ],
        ),
        (
            "builtin",
            &[
                r#"{"type":"text_delta","text":"TEXT"}"#,
                r#"{"type":"usage","note":"TEXT","input":3,"output":4,"model":"m"}"#,
            ],
        ),
        (
            "claude-acp",
            &[
                r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"TEXT"}}}}"#,
            ],
        ),
    ];
    let cuts: [(&[u8], &str); 5] = [
        (br"cut \ud83d", "cut \u{fffd}"),
        (br"\ude00 cut", "\u{fffd} cut"),
        (br"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (br"\\ud83d \ud83d\ude00 \ud83d\n.", "\\ud83d \u{1f600} \u{fffd}\n."),
        (b"cut \xf0\x9f", "cut \u{fffd}"),
    ];
    for (name, lines) in lines {
        let whole = |text: &[u8]| -> Vec<u8> {
            let lines = lines.join("\n");
            let parts: Vec<&[u8]> = lines.split("TEXT").map(str::as_bytes).collect();
            parts.join(text)
        };
        let events = |stream: &[u8]| feed(agent(name).adapter().as_mut(), stream).events;
        for (cut, expected) in cuts {
            let expected = serde_json::to_string(expected).expect("JSON");
            let expected = expected.trim_matches('"');
            let told = events(&whole(cut));
            assert_eq!(told, events(&whole(expected.as_bytes())), "{name}: {expected}");
            let has = |wanted: &str| told.iter().any(|event| format!("{event:?}").contains(wanted));
            assert!(has("Text") && !has("Notice"), "{name}: {told:?}");
            assert!(has("Usage") || name == "claude-acp", "{name}: {told:?}");
        }
    }
}
