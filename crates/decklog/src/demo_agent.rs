//! The scripted agent of `demo`: a real child process that speaks the Agent Client Protocol and edits real files.
//!
//! It does one thing: finds the bug that `demo` planted, mends it, and says so.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

use crate::error::CliResult;

pub(crate) const FILE: &str = "greet.sh";
pub(crate) const BROKEN: &str = "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, $2!\"\n";
const MENDED: &str = "#!/bin/sh\n# Greets whoever is named, or the world.\necho \"Hello, ${1:-world}!\"\n";
const SESSION: &str = "demo-session";

/// Answers requests on stdin until it is closed.
pub(crate) fn run() -> CliResult {
    let mut directory = std::path::PathBuf::from(".");
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => answer(id, json!({ "protocolVersion": 1, "agentCapabilities": {}, "authMethods": [] }))?,
            "session/new" => {
                directory = params["cwd"].as_str().unwrap_or(".").into();
                answer(id, json!({ "sessionId": SESSION }))?;
            }
            "session/prompt" => {
                work(&directory)?;
                let usage =
                    json!({ "inputTokens": 412, "cachedReadTokens": 1024, "outputTokens": 96, "totalTokens": 1532 });
                answer(id, json!({ "stopReason": "end_turn", "usage": usage }))?;
            }
            _ => {}
        }
    }
    Ok(0)
}

fn work(directory: &std::path::Path) -> Result<(), crate::error::CliError> {
    let path = directory.join(FILE);
    let text = |kind: &str, text: &str| json!({ "sessionUpdate": kind, "content": { "type": "text", "text": text } });
    let plan = |first: &str, second: &str| {
        let entry = |content: &str, status: &str| json!({ "content": content, "status": status, "priority": "medium" });
        json!({ "sessionUpdate": "plan", "entries": [entry("Read greet.sh", first), entry("Use the first argument", second)] })
    };
    update(plan("in_progress", "pending"))?;
    update(text("agent_thought_chunk", "The greeting uses the second argument, so a single name is never seen."))?;
    let call = |id: &str, title: String, kind: &str, input: Value| json!({ "sessionUpdate": "tool_call", "toolCallId": id, "title": title, "kind": kind, "status": "in_progress", "rawInput": input });
    let done = |id: &str, output: &str| {
        let content = json!([{ "type": "content", "content": { "type": "text", "text": output } }]);
        json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": "completed", "content": content })
    };
    update(call("call-1", format!("Read {FILE}"), "read", json!({ "path": FILE })))?;
    let before = std::fs::read_to_string(&path)?;
    update(done("call-1", &before))?;
    update(plan("completed", "in_progress"))?;
    update(call("call-2", format!("Edit {FILE}"), "edit", json!({ "path": FILE, "content": MENDED })))?;
    std::fs::write(&path, MENDED)?;
    update(done("call-2", "written"))?;
    update(plan("completed", "completed"))?;
    update(text("agent_message_chunk", "greet.sh now greets its first argument, and the world when there is none.\n"))
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
