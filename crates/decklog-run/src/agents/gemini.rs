//! Gemini CLI, headless: `gemini --output-format stream-json`, prompt on stdin.
//!
//! Seen with version 0.61. Before it gives up on a rate limit it retries for about a minute, telling only stderr.

use std::ffi::OsString;

use decklog_journal::event::Tokens;
use decklog_journal::words::{Permissions, ToolStatus};
use jiff::Zoned;
use serde_json::Value;

use super::common::{content_text, count, some_text, text, tool_kind, tool_title};
use super::limits::{reset_time, says_limited};
use super::{Adapter, AgentEvent, Launch, Output, TurnRequest};

/// It exits with the provider's status, of which the system keeps the low eight bits: 429.
const LIMITED: i32 = 429 & 0xff;

/// Drives `gemini`.
#[derive(Debug)]
pub(super) struct Gemini {
    command: Vec<OsString>,
    /// Its verdict, kept until the exit code is known.
    failed: Option<String>,
}

impl Gemini {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command, failed: None }
    }

    fn result(&mut self, line: &Value, out: &mut Output) {
        let stats = &line["stats"];
        let per_model = stats.get("models").and_then(Value::as_object).filter(|models| !models.is_empty());
        // `output_tokens` leaves out what was thought, which is told only by what is missing from the total.
        let counts = |stats: &Value| {
            let (input, output) = (count(stats, "input_tokens"), count(stats, "output_tokens"));
            let reasoning = count(stats, "total_tokens").saturating_sub(input + output);
            Tokens { input, cached_input: count(stats, "cached"), output: output + reasoning, reasoning }
        };
        match per_model {
            Some(models) => {
                for (model, stats) in models {
                    let tokens = counts(stats);
                    out.push(AgentEvent::Usage { tokens, cost_usd: None, model: Some(model.clone()) });
                }
            }
            None if !counts(stats).is_zero() => {
                out.push(AgentEvent::Usage { tokens: counts(stats), cost_usd: None, model: None });
            }
            None => {}
        }
        if text(line, "status") == "error" {
            let message = some_text(&line["error"], "message").unwrap_or_else(|| "the agent gave up".into());
            self.failed = Some(message);
        }
    }
}

impl Adapter for Gemini {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let mut command = self.command.clone();
        command.extend(["--output-format", "stream-json", "--approval-mode"].map(OsString::from));
        command.push(match request.permissions {
            Permissions::ReadOnly => "plan".into(),
            Permissions::Edit => "auto_edit".into(),
            Permissions::Full => "yolo".into(),
        });
        if let Some(dir) = &request.prompt_dir {
            command.extend([OsString::from("--include-directories"), dir.into()]);
        }
        for (flag, value) in [("--model", &request.model), ("--resume", &request.resume)] {
            if let Some(value) = value {
                command.extend([OsString::from(flag), OsString::from(value)]);
            }
        }
        Launch { command, stdin: request.prompt.clone().into_bytes(), ..Launch::default() }
    }

    /// Its settings are files, and which of them it trusts depends on the directories above them.
    fn takes_tools(&self) -> bool {
        false
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(line) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        match text(&line, "type") {
            "init" => {
                out.events.extend(some_text(&line, "session_id").map(AgentEvent::Session));
                out.events.extend(some_text(&line, "model").map(AgentEvent::Model));
            }
            "message" if text(&line, "role") == "user" => {}
            "message" => {
                let words = text(&line, "content").to_owned();
                out.push(if line["delta"] == true { AgentEvent::TextPiece(words) } else { AgentEvent::Text(words) });
            }
            "tool_use" => {
                let (name, input) = (text(&line, "tool_name"), line["parameters"].clone());
                out.push(AgentEvent::ToolCall {
                    id: text(&line, "tool_id").to_owned(),
                    name: name.to_owned(),
                    kind: tool_kind(name),
                    title: tool_title(&input),
                    input,
                    status: ToolStatus::InProgress,
                });
            }
            "tool_result" => {
                let failed = text(&line, "status") != "success";
                let output = some_text(&line, "output").unwrap_or_else(|| content_text(&line["error"]["message"]));
                if matches!(text(&line["error"], "type"), "policy_violation" | "tool_not_registered") {
                    out.notice("permission_refused", output.clone());
                }
                out.push(AgentEvent::ToolResult {
                    id: text(&line, "tool_id").to_owned(),
                    status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
                    output,
                    exit_code: None,
                    duration_secs: None,
                });
            }
            "error" => out.notice("agent_error", text(&line, "message")),
            "result" => self.result(&line, out),
            _ => out.unknown_line(raw),
        }
    }

    fn end(&mut self, exit_code: i32, stderr: &str, out: &mut Output) {
        let message = match self.failed.take() {
            Some(message) => message,
            None if exit_code != 0 && !stderr.is_empty() => stderr.to_owned(),
            None => return,
        };
        if exit_code == LIMITED || stderr.contains("status: 429") || says_limited(&message) {
            let resets_at = reset_time(&message, &Zoned::now());
            out.push(AgentEvent::RateLimited { message: message.clone(), resets_at });
        }
        out.push(AgentEvent::Failed(message));
    }
}
