//! The scripted agents of `demo`: real child processes that speak the Agent Client Protocol and edit real files.
//!
//! One finds the bug that `demo` planted, mends it, and says so. Another mends half of it at first, and a third reads what
//! stands there and judges it. Must not know: who runs it.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

use crate::error::CliResult;

pub(crate) const FILE: &str = "greet.sh";
pub(crate) const BROKEN: &str = "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, $2!\"\n";
const MENDED: &str = "#!/bin/sh\n# Greets whoever is named, or the world.\necho \"Hello, ${1:-world}!\"\n";
const HALF: &str = "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, $1!\"\n";
const SESSION: &str = "demo-session";

/// Which part an agent plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Mends all of it.
    Scripted,
    /// Mends all of it when somebody has asked for more.
    Hasty,
    /// Judges.
    Critic,
}

/// Answers requests on stdin until it is closed.
pub(crate) fn run(part: Part) -> CliResult {
    let mut directory = std::path::PathBuf::from(".");
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => answer(
                id,
                json!({ "protocolVersion": 1, "agentCapabilities": { "loadSession": true }, "authMethods": [] }),
            )?,
            // It remembers nothing, and need not: what it is told each time suffices.
            "session/new" | "session/load" => {
                directory = params["cwd"].as_str().unwrap_or(".").into();
                let modes =
                    [json!({ "id": "edit", "name": "Edit" }), json!({ "id": "read-only", "name": "Read only" })];
                let modes = json!({ "currentModeId": "edit", "availableModes": modes });
                answer(id, json!({ "sessionId": SESSION, "modes": modes }))?;
            }
            // The critic never writes; the others are not asked for less.
            "session/set_mode" => answer(id, json!({}))?,
            "session/prompt" => {
                let prompt = params["prompt"][0]["text"].as_str().unwrap_or_default();
                match part {
                    Part::Critic => judge(&directory)?,
                    Part::Hasty if !prompt.contains("reviewer") => work(&directory, HALF)?,
                    Part::Scripted | Part::Hasty => work(&directory, MENDED)?,
                }
                let usage =
                    json!({ "inputTokens": 412, "cachedReadTokens": 1024, "outputTokens": 96, "totalTokens": 1532 });
                answer(id, json!({ "stopReason": "end_turn", "usage": usage }))?;
            }
            _ => {}
        }
    }
    Ok(0)
}

fn text(kind: &str, text: &str) -> Value {
    json!({ "sessionUpdate": kind, "content": { "type": "text", "text": text } })
}

fn call(id: &str, title: String, kind: &str, input: Value) -> Value {
    json!({
        "sessionUpdate": "tool_call", "toolCallId": id, "title": title, "kind": kind, "status": "in_progress", "rawInput": input
    })
}

fn done(id: &str, output: &str) -> Value {
    let content = json!([{ "type": "content", "content": { "type": "text", "text": output } }]);
    json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": "completed", "content": content })
}

fn judge(directory: &std::path::Path) -> Result<(), crate::error::CliError> {
    update(call("call-1", format!("Read {FILE}"), "read", json!({ "path": FILE })))?;
    let now = std::fs::read_to_string(directory.join(FILE))?;
    update(done("call-1", &now))?;
    let (said, decision) = if now == MENDED {
        let summary = "greet.sh greets its first argument, and the world when there is none.";
        ("Both cases hold.", json!({ "decision": "DONE", "summary": summary, "confidence": 0.95 }))
    } else {
        let feedback = "Without an argument it says \"Hello, !\". Greet the world then.";
        (
            "A name is greeted now. Nobody is not.",
            json!({ "decision": "CONTINUE", "feedback": feedback, "confidence": 0.8 }),
        )
    };
    update(text("agent_message_chunk", &format!("{said}\n\n```json\n{decision}\n```\n")))
}

fn work(directory: &std::path::Path, content: &str) -> Result<(), crate::error::CliError> {
    let path = directory.join(FILE);
    let plan = |first: &str, second: &str| {
        let entry = |content: &str, status: &str| json!({ "content": content, "status": status, "priority": "medium" });
        json!({ "sessionUpdate": "plan", "entries": [entry("Read greet.sh", first), entry("Use the first argument", second)] })
    };
    update(plan("in_progress", "pending"))?;
    update(text("agent_thought_chunk", "The greeting uses the second argument, so a single name is never seen."))?;
    update(call("call-1", format!("Read {FILE}"), "read", json!({ "path": FILE })))?;
    let before = std::fs::read_to_string(&path)?;
    update(done("call-1", &before))?;
    update(plan("completed", "in_progress"))?;
    update(call("call-2", format!("Edit {FILE}"), "edit", json!({ "path": FILE, "content": content })))?;
    std::fs::write(&path, content)?;
    update(done("call-2", "written"))?;
    update(plan("completed", "completed"))?;
    let said = if content == MENDED {
        "greet.sh now greets its first argument, and the world when there is none.\n"
    } else {
        "greet.sh now greets its first argument.\n"
    };
    update(text("agent_message_chunk", said))
}

fn update(update: Value) -> Result<(), crate::error::CliError> {
    send(&json!({ "jsonrpc": "2.0", "method": "session/update", "params": { "sessionId": SESSION, "update": update } }))
}

fn answer(id: &Value, result: Value) -> Result<(), crate::error::CliError> {
    send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

fn send(message: &Value) -> Result<(), crate::error::CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()?;
    Ok(())
}
