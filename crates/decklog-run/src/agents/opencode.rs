//! opencode, headless: `opencode run --format json`, prompt on stdin.
//!
//! Seen with version 1.18. Tokens are told per step and added up; its `input` leaves out what was cached, its
//! `output` leaves out reasoning. A rate limit shows only as silence: the stall watchdog finds it.

use std::ffi::OsString;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{Permissions, ToolStatus};
use serde_json::{Map, Value, json};

use super::common::{count, list, says_refused, some_text, text, tool_kind, tool_title};
use super::limits::says_limited;
use super::{Adapter, AgentEvent, Launch, McpServer, Output, TurnRequest};

/// Drives `opencode run`.
#[derive(Debug)]
pub(super) struct Opencode {
    command: Vec<OsString>,
    session: Option<String>,
    failed: bool,
}

impl Opencode {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command, session: None, failed: false }
    }
}

impl Adapter for Opencode {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let mut command = self.command.clone();
        command.extend(["run", "--format", "json"].map(OsString::from));
        for (flag, value) in [("--model", &request.model), ("--session", &request.resume)] {
            if let Some(value) = value {
                command.extend([OsString::from(flag), OsString::from(value)]);
            }
        }
        // It needs no leave to edit or to run commands; its plan agent has none.
        let flags: &[&str] = match request.permissions {
            Permissions::ReadOnly => &["--agent", "plan"],
            Permissions::Edit => &[],
            Permissions::Full => &["--auto"],
        };
        command.extend(flags.iter().map(OsString::from));
        let env = configuration(request).map(|text| ("OPENCODE_CONFIG_CONTENT".to_owned(), text)).into_iter().collect();
        Launch { command, env, stdin: request.prompt.clone().into_bytes(), ..Launch::default() }
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(line) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        if self.session.is_none() {
            self.session = some_text(&line, "sessionID");
            out.events.extend(self.session.clone().map(AgentEvent::Session));
        }
        let part = &line["part"];
        match text(&line, "type") {
            "step_start" => {}
            "text" => out.push(AgentEvent::Text(text(part, "text").to_owned())),
            "reasoning" => out.push(AgentEvent::Thought(text(part, "text").to_owned())),
            "tool_use" => tool_use(part, out),
            "step_finish" => {
                let tokens = tokens(&part["tokens"]);
                let cost_usd = part.get("cost").and_then(Value::as_f64);
                out.push(AgentEvent::Usage { tokens, cost_usd, model: None });
            }
            "error" => {
                self.failed = true;
                let error = &line["error"];
                let message = some_text(&error["data"], "message").unwrap_or_else(|| text(error, "name").to_owned());
                if error["data"]["statusCode"] == 429 || says_limited(&message) {
                    out.push(AgentEvent::RateLimited { message: message.clone(), resets_at: None });
                }
                out.push(AgentEvent::Failed(message));
            }
            _ => out.unknown_line(raw),
        }
    }

    fn end(&mut self, exit_code: i32, stderr: &str, out: &mut Output) {
        if exit_code != 0 && !self.failed && !stderr.is_empty() {
            out.push(AgentEvent::Failed(stderr.to_owned()));
        }
    }
}

/// What is laid over the user's configuration for this turn.
fn configuration(request: &TurnRequest) -> Option<String> {
    let server = |server: &McpServer| {
        let (program, mut command) = server.words();
        command.insert(0, program);
        let entry = json!({ "type": "local", "command": command, "environment": server.env_json(), "enabled": true });
        (server.name.clone(), entry)
    };
    let mut whole = Map::new();
    if !request.mcp.is_empty() {
        whole.insert("mcp".into(), Value::Object(request.mcp.iter().map(server).collect()));
    }
    if !request.own_tools {
        let own = ["bash", "edit", "write", "read", "grep", "glob", "list", "patch", "webfetch", "task"];
        let off = own.iter().map(|tool| ((*tool).to_owned(), Value::Bool(false)));
        whole.insert("tools".into(), Value::Object(off.collect()));
    }
    (!whole.is_empty()).then(|| Value::Object(whole).to_string())
}

/// The counts of one step.
pub(crate) fn tokens(told: &Value) -> Tokens {
    let (read, written) = (count(&told["cache"], "read"), count(&told["cache"], "write"));
    let reasoning = count(told, "reasoning");
    Tokens {
        input: count(told, "input") + read + written,
        cached_input: read,
        output: count(told, "output") + reasoning,
        reasoning,
    }
}

/// A tool's part comes once, when it has ended.
pub(crate) fn tool_use(part: &Value, out: &mut Output) {
    let (name, id, state) = (text(part, "tool"), text(part, "callID").to_owned(), &part["state"]);
    let input = state["input"].clone();
    if name == "todowrite" {
        out.push(AgentEvent::Plan(
            list(&input, "todos")
                .iter()
                .map(|todo| PlanEntry {
                    content: text(todo, "content").to_owned(),
                    status: text(todo, "status").to_owned(),
                })
                .collect(),
        ));
    }
    out.push(AgentEvent::ToolCall {
        id: id.clone(),
        name: name.to_owned(),
        kind: tool_kind(name),
        title: tool_title(&input).or_else(|| some_text(state, "title")),
        input,
        status: ToolStatus::InProgress,
    });
    let exit_code = state["metadata"]["exit"].as_i64().and_then(|code| i32::try_from(code).ok());
    let failed = text(state, "status") == "error" || exit_code.is_some_and(|code| code != 0);
    let output = some_text(state, "output").or_else(|| some_text(state, "error")).unwrap_or_default();
    if text(state, "status") == "error" && says_refused(&output) {
        out.notice("permission_refused", format!("{name}: {output}"));
    }
    let (start, end) = (state["time"]["start"].as_f64(), state["time"]["end"].as_f64());
    out.push(AgentEvent::ToolResult {
        id,
        status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
        output,
        exit_code,
        duration_secs: start.zip(end).map(|(start, end)| ((end - start) / 1000.0).max(0.0)),
    });
}
