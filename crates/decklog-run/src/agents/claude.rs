//! Claude Code, headless: `claude -p --output-format stream-json --verbose`, prompt on stdin.
//!
//! Seen with version 2.1. One message comes as several lines, one per content block, each repeating the
//! message's usage as it stood when the message began: only the closing `result` is counted. When the stream was
//! cut off before it, each message's input is counted once, and the output is not known.

use std::collections::HashMap;
use std::ffi::OsString;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{Permissions, ToolStatus};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{content_text, count, list, some_text, text, tool_kind, tool_title};
use super::limits::timestamp;
use super::{Adapter, AgentEvent, Launch, McpServer, Output, TurnRequest};

/// Drives `claude -p`.
#[derive(Debug)]
pub(super) struct Claude {
    command: Vec<OsString>,
    usage_by_message: HashMap<String, (Tokens, Option<String>)>,
    limited: Option<String>,
    resets_at: Option<Timestamp>,
    result_seen: bool,
    refused: Vec<String>,
}

impl Claude {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            usage_by_message: HashMap::new(),
            limited: None,
            resets_at: None,
            result_seen: false,
            refused: Vec::new(),
        }
    }

    fn system(&mut self, line: &Value, raw: &[u8], out: &mut Output) {
        match text(line, "subtype") {
            "init" => {
                out.events.extend(some_text(line, "session_id").map(AgentEvent::Session));
                out.events.extend(some_text(line, "model").map(AgentEvent::Model));
            }
            "api_retry" => {
                let status = line.get("error_status").map_or_else(|| "no answer".into(), Value::to_string);
                let attempt = count(line, "attempt");
                let of = count(line, "max_retries");
                out.notice("api_retry", format!("the provider answered {status}: try {attempt} of {of}"));
            }
            "permission_denied" => {
                self.refuse(
                    text(line, "tool_use_id"),
                    &format!("{}: {}", text(line, "tool_name"), text(line, "message")),
                    out,
                );
            }
            "compact_boundary" => out.notice("compacted", "the conversation so far was summarised"),
            // Progress for people at a terminal.
            "status" | "task_progress" | "task_started" | "task_notification" | "task_updated" | "thinking_tokens" => {}
            _ => out.unknown_line(raw),
        }
    }

    fn assistant(&mut self, line: &Value, out: &mut Output) {
        let message = &line["message"];
        let model = some_text(message, "model").filter(|model| model != "<synthetic>");
        if let (Some(id), Some(usage)) = (some_text(message, "id"), message.get("usage")) {
            self.usage_by_message.insert(id, (tokens(usage), model));
        }
        if text(line, "error") == "rate_limit" {
            self.limited = Some(content_text(&message["content"]));
            return;
        }
        for block in list(message, "content") {
            match text(block, "type") {
                "text" => out.push(AgentEvent::Text(text(block, "text").to_owned())),
                "thinking" => out.push(AgentEvent::Thought(text(block, "thinking").to_owned())),
                "redacted_thinking" => {}
                "tool_use" | "server_tool_use" | "mcp_tool_use" => tool_use(block, out),
                _ => out.notice("unknown_block", block.to_string()),
            }
        }
    }

    fn user(&mut self, line: &Value, out: &mut Output) {
        let Some(blocks) = line["message"]["content"].as_array() else { return };
        for block in blocks {
            if text(block, "type") != "tool_result" {
                continue;
            }
            out.push(tool_result(block));
        }
    }

    fn result(&mut self, line: &Value, out: &mut Output) {
        self.result_seen = true;
        self.usage(line, out);
        for denial in list(line, "permission_denials") {
            let title = tool_title(&denial["tool_input"]).unwrap_or_default();
            self.refuse(text(denial, "tool_use_id"), &format!("{} {title}", text(denial, "tool_name")), out);
        }
        let failed = line.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        let words = some_text(line, "result").unwrap_or_else(|| {
            let errors: Vec<_> = list(line, "errors").iter().map(content_text).collect();
            if errors.is_empty() { text(line, "subtype").to_owned() } else { errors.join("\n") }
        });
        if failed && (line["api_error_status"] == 429 || self.limited.is_some()) {
            let message = self.limited.take().unwrap_or_else(|| words.clone());
            out.push(AgentEvent::RateLimited { message, resets_at: self.resets_at });
        }
        if failed {
            out.push(AgentEvent::Failed(words));
        }
    }

    /// Says once that a call was refused: the stream may tell it when it happens and again at the end.
    fn refuse(&mut self, call: &str, what: &str, out: &mut Output) {
        if !self.refused.iter().any(|known| known == call) {
            out.notice("permission_refused", what);
            self.refused.push(call.to_owned());
        }
    }

    /// The bill: by model where the agent tells, for then its side calls and subagents are in it.
    fn usage(&mut self, line: &Value, out: &mut Output) {
        // `modelUsage` goes back to the conversation's beginning when it is resumed; `usage` leaves out side calls.
        let of_models = |key: &str| line.get(key).and_then(Value::as_object);
        // Empty, it says that nothing was used: a turn that was refused.
        let since = of_models("model_usage_since_last_result");
        let by_model = since.or_else(|| of_models("modelUsage").filter(|models| !models.is_empty()));
        if let Some(models) = by_model {
            for (model, usage) in models {
                let cached = count(usage, "cacheReadInputTokens");
                let tokens = Tokens {
                    input: count(usage, "inputTokens") + cached + count(usage, "cacheCreationInputTokens"),
                    cached_input: cached,
                    output: count(usage, "outputTokens"),
                    reasoning: count(usage, "thinkingTokens"),
                };
                let cost_usd = usage.get("costUSD").and_then(Value::as_f64);
                if !tokens.is_zero() || cost_usd.is_some_and(|cost| cost > 0.0) {
                    out.push(AgentEvent::Usage { tokens, cost_usd, model: Some(model.clone()) });
                }
            }
        } else if let Some(usage) = line.get("usage") {
            let cost_usd = line.get("total_cost_usd").and_then(Value::as_f64);
            let tokens = tokens(usage);
            if !tokens.is_zero() {
                out.push(AgentEvent::Usage { tokens, cost_usd, model: None });
            }
        }
    }
}

impl Adapter for Claude {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let mut command = self.command.clone();
        command.extend(["-p", "--output-format", "stream-json", "--verbose"].map(OsString::from));
        let mut env = Vec::new();
        let flags: &[&str] = match request.permissions {
            Permissions::ReadOnly => &["--permission-mode", "plan"],
            Permissions::Edit => &["--permission-mode", "acceptEdits"],
            Permissions::Full => &["--dangerously-skip-permissions"],
        };
        command.extend(flags.iter().map(OsString::from));
        if request.permissions == Permissions::Full && request.as_root {
            // Without it the flag is refused to root.
            env.push(("IS_SANDBOX".to_owned(), "1".to_owned()));
        }
        if let Some(dir) = &request.prompt_dir {
            command.extend([OsString::from("--add-dir"), dir.into()]);
        }
        if !request.mcp.is_empty() {
            command.extend(["--strict-mcp-config", "--mcp-config"].map(OsString::from));
            let servers: serde_json::Map<_, _> = request.mcp.iter().map(McpServer::entry).collect();
            command.push(json!({ "mcpServers": servers }).to_string().into());
            // What is in the container is what the user lets it use.
            let allowed: Vec<String> = request.mcp.iter().map(|server| format!("mcp__{}", server.name)).collect();
            command.push(format!("--allowedTools={}", allowed.join(",")).into());
        }
        if !request.own_tools {
            command.push("--tools=".into());
        }
        for (flag, value) in [("--model", &request.model), ("--resume", &request.resume)] {
            if let Some(value) = value {
                command.extend([OsString::from(flag), OsString::from(value)]);
            }
        }
        Launch { command, env, stdin: request.prompt.clone().into_bytes(), ..Launch::default() }
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(line) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        match text(&line, "type") {
            "system" => self.system(&line, raw, out),
            "assistant" => self.assistant(&line, out),
            "user" => self.user(&line, out),
            "result" => self.result(&line, out),
            "rate_limit_event" => {
                // Comes with every answer; the reset time matters only once the turn has failed.
                self.resets_at = line.pointer("/rate_limit_info/resetsAt").and_then(timestamp).or(self.resets_at);
            }
            "stream_event" | "keep_alive" => {}
            _ => out.unknown_line(raw),
        }
    }

    fn end(&mut self, _: i32, stderr: &str, out: &mut Output) {
        if !self.result_seen {
            for (_, (tokens, model)) in self.usage_by_message.drain() {
                if !tokens.is_zero() {
                    out.push(AgentEvent::Usage { tokens, cost_usd: None, model });
                }
            }
            if let Some(message) = self.limited.take() {
                out.push(AgentEvent::RateLimited { message, resets_at: self.resets_at });
            }
            if !stderr.is_empty() {
                out.push(AgentEvent::Failed(stderr.to_owned()));
            }
        }
    }
}

/// A call, as a block of a message tells it.
pub(crate) fn tool_use(block: &Value, out: &mut Output) {
    let (name, input) = (text(block, "name"), block["input"].clone());
    if name == "TodoWrite" {
        let entries = list(&input, "todos").iter();
        out.push(AgentEvent::Plan(
            entries
                .map(|todo| PlanEntry {
                    content: text(todo, "content").to_owned(),
                    status: text(todo, "status").to_owned(),
                })
                .collect(),
        ));
    }
    out.push(AgentEvent::ToolCall {
        id: text(block, "id").to_owned(),
        name: name.to_owned(),
        kind: tool_kind(name),
        title: tool_title(&input),
        input,
        status: ToolStatus::InProgress,
    });
}

/// A result, as a block of a message tells it.
pub(crate) fn tool_result(block: &Value) -> AgentEvent {
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let output = content_text(&block["content"]);
    let exit_code = failed.then(|| exit_code(&output)).flatten();
    AgentEvent::ToolResult {
        id: text(block, "tool_use_id").to_owned(),
        status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
        output,
        exit_code,
        duration_secs: None,
    }
}

/// The counts of one answer of the model.
pub(crate) fn tokens(usage: &Value) -> Tokens {
    let cached = count(usage, "cache_read_input_tokens");
    Tokens {
        input: count(usage, "input_tokens") + cached + count(usage, "cache_creation_input_tokens"),
        cached_input: cached,
        output: count(usage, "output_tokens"),
        reasoning: 0,
    }
}

/// Claude puts a failed command's exit code in the first line: `Exit code 3`.
fn exit_code(output: &str) -> Option<i32> {
    output.strip_prefix("Exit code ")?.lines().next()?.trim().parse().ok()
}
