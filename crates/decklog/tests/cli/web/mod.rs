//! `ui`: the real server over sessions that the real program recorded, asked over sockets.

mod client;
mod discard;
mod door;
mod export;
mod files;
mod hostile;
mod kept;
mod known;
mod live;
mod opening;
mod page;
mod paging;
mod paths;
mod same;
pub(crate) mod server;
mod site;
mod tags;

use std::path::Path;

use serde_json::Value;

use crate::env::{TestEnv, eventually, kill};
use crate::relaying::world;

/// What is asked of a session.
const QUESTIONS: [&str; 13] = [
    "",
    "/outline",
    "/turns/1/steps",
    "/diff",
    "/changes",
    "/patch",
    "/events",
    "/network",
    "/live",
    "/logs",
    "/logs/001-stderr",
    "/files/turns/001-stderr.log",
    "/files/journal.jsonl",
];

/// The id of the session in `dir`.
fn id(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().into_owned()
}

/// What `decklog … --json` prints.
#[track_caller]
fn printed(env: &TestEnv, arguments: &[&str]) -> Value {
    env.decklog(&[arguments, &["--json"]].concat()).expect(0).json()
}

/// Lines of an agent that speaks the protocol `claude-stream`.
fn lines(of: &[Value]) -> String {
    of.iter().map(|line| format!("{line}\n")).collect()
}

/// What such an agent prints who says one thing at some cost.
fn says(model: &str, cost: f64, tokens: u64) -> String {
    let text = serde_json::json!([{"type": "text", "text": "Done, as was *asked* for."}]);
    let usage = serde_json::json!({"input_tokens": tokens, "output_tokens": 2});
    let said = lines(&[
        serde_json::json!({"type": "system", "subtype": "init", "session_id": "s-1", "model": model}),
        serde_json::json!({"type": "assistant", "message": {"id": "1", "content": text}}),
        serde_json::json!({"type": "result", "subtype": "success", "is_error": false, "result": "Done.", "usage": usage,
                           "total_cost_usd": cost, "session_id": "s-1"}),
    ]);
    format!("echo more >>src/a.rs\ncat <<'END'\n{said}END")
}

/// Sessions of six days and of several kinds and outcomes; the last one crashed.
fn six_days() -> TestEnv {
    let mut env = world(&[
        ("ada", "claude-stream", &says("opus-large", 0.5, 50)),
        ("bob", "claude-stream", &says("small", 0.25, 900)),
        ("actor", "text", "echo x >>src/made.rs; echo done"),
        (
            "critic",
            "text",
            "if [ $n = 1 ]; then printf 'Hm.\\n\\nDECISION: CONTINUE\\nFEEDBACK: *More* of it.\\n'\n\
             else echo '{\"decision\": \"DONE\", \"summary\": \"It is made.\"}'; fi",
        ),
    ]);
    std::fs::create_dir(env.work().join("src")).unwrap();
    for (day, code, arguments) in [
        (1, 0, &["run", "--check", "echo fine", "--", "sh", "-c", "echo parse_config; echo 1 >src/auth.rs"][..]),
        (2, 2, &["run", "--", "false"]),
        (3, 0, &["run", "ada", "Write more of it."]),
        (4, 0, &["loop", "--actor", "actor", "--critic", "critic", "Make it."]),
        (5, 0, &["race", "ada", "bob", "--pick", "ada", "Add a line."]),
    ] {
        env.set("DECKLOG_TEST_NOW", format!("2026-05-0{day}T12:00:00Z"));
        env.decklog(arguments).expect(code);
    }
    env.set("DECKLOG_TEST_NOW", "2026-05-06T12:00:00Z");
    let mut recorder = env.start(&["run", "--", "sleep", "1000"]);
    eventually("a turn", || {
        let journal = std::fs::read_to_string(env.sessions().get(5)?.join("journal.jsonl")).ok()?;
        journal.contains("turn_start").then_some(())
    });
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
    env.set("DECKLOG_TEST_NOW", "2026-05-07T12:00:00Z");
    env
}
