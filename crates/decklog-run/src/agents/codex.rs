//! Codex, headless: `codex exec --json -`, prompt on stdin.
//!
//! Seen with version 0.169. An `item` of type `error` can be a harmless warning; only `turn.failed`, or the
//! exit code, is a failure. The usage of `turn.completed` goes back to the thread's beginning: what was counted before it
//! was resumed is taken off.

use std::collections::HashSet;
use std::ffi::OsString;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{Permissions, ToolKind, ToolStatus};
use jiff::Zoned;
use serde_json::{Value, json};

use super::common::{content_text, count, list, some_text, text};
use super::limits::{reset_time, says_limited};
use super::{Adapter, AgentEvent, Launch, Output, TurnRequest};

/// Drives `codex exec`.
#[derive(Debug)]
pub(super) struct Codex {
    command: Vec<OsString>,
    called: HashSet<String>,
    turn_seen: bool,
    /// What the thread had used before.
    used: Tokens,
}

impl Codex {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command, called: HashSet::new(), turn_seen: false, used: Tokens::default() }
    }

    fn item(&mut self, stage: &str, item: &Value, raw: &[u8], out: &mut Output) {
        let done = stage == "item.completed";
        match text(item, "type") {
            "agent_message" if done => out.push(AgentEvent::Text(text(item, "text").to_owned())),
            "reasoning" if done => out.push(AgentEvent::Thought(text(item, "text").to_owned())),
            "agent_message" | "reasoning" => {}
            "error" => out.notice("agent_warning", text(item, "message")),
            "todo_list" => out.push(AgentEvent::Plan(
                list(item, "items")
                    .iter()
                    .map(|todo| PlanEntry {
                        content: text(todo, "text").to_owned(),
                        status: if todo["completed"] == true { "completed" } else { "pending" }.to_owned(),
                    })
                    .collect(),
            )),
            "command_execution" => {
                let command = text(item, "command");
                self.tool(item, done, "shell", ToolKind::Execute, command, json!({ "command": command }), out);
            }
            "file_change" => {
                let paths: Vec<_> = list(item, "changes").iter().map(|change| text(change, "path")).collect();
                let input = json!({ "changes": item["changes"] });
                self.tool(item, done, "apply_patch", ToolKind::Edit, &paths.join(", "), input, out);
            }
            "mcp_tool_call" => {
                let name = format!("{}__{}", text(item, "server"), text(item, "tool"));
                self.tool(item, done, &name, ToolKind::Other, &name, item["arguments"].clone(), out);
            }
            "web_search" => {
                let query = text(item, "query");
                self.tool(item, done, "web_search", ToolKind::Fetch, query, json!({ "query": query }), out);
            }
            _ => out.unknown_line(raw),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the keys of one call")]
    fn tool(
        &mut self,
        item: &Value,
        done: bool,
        name: &str,
        kind: ToolKind,
        title: &str,
        input: Value,
        out: &mut Output,
    ) {
        let id = text(item, "id").to_owned();
        if self.called.insert(id.clone()) {
            out.push(AgentEvent::ToolCall {
                id: id.clone(),
                name: name.to_owned(),
                kind,
                title: title.lines().next().map(str::to_owned),
                input,
                status: ToolStatus::InProgress,
            });
        }
        if !done {
            return;
        }
        let exit_code = item.get("exit_code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
        let failed = text(item, "status") == "failed" || exit_code.is_some_and(|code| code != 0);
        if text(item, "status") == "declined" {
            out.notice("permission_refused", format!("{name} {title}"));
        }
        let output = some_text(item, "aggregated_output")
            .or_else(|| item.get("error").filter(|error| !error.is_null()).map(|error| content_text(&error["message"])))
            .unwrap_or_else(|| content_text(&item["result"]["content"]));
        out.push(AgentEvent::ToolResult {
            id,
            status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
            output,
            exit_code,
            duration_secs: None,
        });
    }
}

impl Adapter for Codex {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let mut command = self.command.clone();
        command.push("exec".into());
        command.extend(["--json", "--skip-git-repo-check", "--sandbox"].map(OsString::from));
        command.push(match request.permissions {
            Permissions::ReadOnly => "read-only".into(),
            Permissions::Edit => "workspace-write".into(),
            Permissions::Full => "danger-full-access".into(),
        });
        if let Some(model) = &request.model {
            command.extend(["--model", model].map(OsString::from));
        }
        for server in &request.mcp {
            let key = format!("mcp_servers.{}", server.name);
            let (program, arguments) = server.words();
            // A JSON text is a TOML text, and a list of them a list of them.
            let mut settings = vec![
                format!("{key}.command={}", json!(program)),
                format!("{key}.args={}", json!(arguments)),
                // What is in the container is what the user lets it use.
                format!("{key}.default_tools_approval_mode=\"approve\""),
                // Else it begins to work before it has the tools, when the machine is slow.
                format!("{key}.required=true"),
                format!("{key}.startup_timeout_sec=600"),
            ];
            settings.extend(server.env.iter().map(|(name, value)| format!("{key}.env.{name}={}", json!(value))));
            command.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
        }
        if !request.own_tools {
            let off = ["shell_tool", "unified_exec", "view_image", "multi_agent", "browser_use", "computer_use"];
            command.extend(off.iter().flat_map(|feature| ["--disable", feature]).map(OsString::from));
        }
        // `resume` takes fewer flags than `exec`: it stands behind them.
        if let Some(session) = &request.resume {
            command.extend(["resume", session].map(OsString::from));
        }
        command.push("-".into());
        Launch { command, stdin: request.prompt.clone().into_bytes(), ..Launch::default() }
    }

    fn begin(&mut self, request: &TurnRequest, _: &mut Output) {
        self.used = request.used.tokens;
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(line) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        match text(&line, "type") {
            "thread.started" => out.events.extend(some_text(&line, "thread_id").map(AgentEvent::Session)),
            "turn.started" => {}
            stage @ ("item.started" | "item.updated" | "item.completed") => self.item(stage, &line["item"], raw, out),
            "turn.completed" => {
                self.turn_seen = true;
                let usage = &line["usage"];
                let more = |key: &str, before: u64| count(usage, key).saturating_sub(before);
                let tokens = Tokens {
                    input: more("input_tokens", self.used.input),
                    cached_input: more("cached_input_tokens", self.used.cached_input),
                    output: more("output_tokens", self.used.output),
                    reasoning: more("reasoning_output_tokens", self.used.reasoning),
                };
                if !tokens.is_zero() {
                    out.push(AgentEvent::Usage { tokens, cost_usd: None, model: None });
                }
            }
            "turn.failed" => {
                self.turn_seen = true;
                let message = text(&line["error"], "message").to_owned();
                if says_limited(&message) {
                    let resets_at = reset_time(&message, &Zoned::now());
                    out.push(AgentEvent::RateLimited { message: message.clone(), resets_at });
                }
                out.push(AgentEvent::Failed(message));
            }
            // Connection trouble while it still tries; the verdict is `turn.failed`.
            "error" => out.notice("agent_error", text(&line, "message")),
            _ => out.unknown_line(raw),
        }
    }

    fn end(&mut self, exit_code: i32, stderr: &str, out: &mut Output) {
        // What its sandbox refused is told on stderr alone.
        for line in stderr.lines().filter(|line| line.contains("rejected by user approval settings")) {
            out.notice("permission_refused", line);
        }
        if exit_code != 0 && !self.turn_seen && !stderr.is_empty() {
            out.push(AgentEvent::Failed(stderr.to_owned()));
        }
    }
}
