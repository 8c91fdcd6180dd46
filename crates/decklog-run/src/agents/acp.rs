//! Any agent that speaks the Agent Client Protocol, version 1, on stdin and stdout: JSON-RPC, one message a line.
//!
//! decklog is the client: it opens a session, sends one prompt, and answers what the agent asks. It offers neither
//! files nor terminals, so the agent uses its own. Messages are read leniently, as the JSON they are: agents in
//! use disagree on details, and what is not understood must be kept rather than refused.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{Permissions, ToolKind, ToolStatus};
use jiff::Zoned;
use serde_json::{Value, json};

use super::common::{content_text, count, list, says_refused, some_text, text, tool_title};
use super::limits::{reset_time, says_limited, timestamp};
use super::{Adapter, AgentEvent, Asking, Launch, Leave, McpServer, Output, TurnRequest, Used};

/// Our requests, by their JSON-RPC id.
mod ours {
    pub(super) const INITIALIZE: u64 = 0;
    pub(super) const SESSION: u64 = 1;
    pub(super) const SETTING: u64 = 2;
    pub(super) const PROMPT: u64 = 3;
}

/// Drives an ACP agent through one prompt.
#[derive(Debug)]
pub(super) struct Acp {
    command: Vec<OsString>,
    request: Option<TurnRequest>,
    session: Option<String>,
    /// What is still to be set before the prompt goes out.
    settings: VecDeque<Setting>,
    /// Calls seen, with what was last known of each.
    calls: HashMap<String, Call>,
    ended: HashSet<String>,
    /// Cost of the conversation from its beginning.
    cost: Option<f64>,
    /// Whether the prompt is out.
    prompted: bool,
    limit_signal: bool,
    over: bool,
}

/// A request that sets something of the session. What is wanted and cannot be had ends the turn.
#[derive(Debug)]
struct Setting {
    what: String,
    method: &'static str,
    params: Value,
}

/// What is known of a call: agents tell it bit by bit, and repeat themselves.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    name: String,
    kind: ToolKind,
    title: Option<String>,
    input: Value,
    status: ToolStatus,
}

impl Acp {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            request: None,
            session: None,
            settings: VecDeque::new(),
            calls: HashMap::new(),
            ended: HashSet::new(),
            cost: None,
            prompted: false,
            limit_signal: false,
            over: false,
        }
    }

    fn permissions(&self) -> Permissions {
        self.request.as_ref().map_or(Permissions::ReadOnly, |request| request.permissions)
    }

    /// Whether the agent tells of a conversation it is to go on with, from its beginning: that is in the record already.
    fn is_loading(&self) -> bool {
        !self.prompted && self.request.as_ref().is_some_and(|request| request.resume.is_some())
    }

    fn open_session(&mut self, agent: &Value, out: &mut Output) {
        let Some(request) = &self.request else { return };
        let can_load = agent.pointer("/agentCapabilities/loadSession") == Some(&Value::Bool(true));
        if let Some(session) = request.resume.as_ref().filter(|_| can_load) {
            send(out, ours::SESSION, "session/load", session_params(request, Some(session)));
        } else if !self.begins_anew("it cannot go on with one", out) {
            self.new_session(out);
        }
    }

    fn new_session(&self, out: &mut Output) {
        let Some(request) = &self.request else { return };
        send(out, ours::SESSION, "session/new", session_params(request, None));
    }

    fn prompt(&mut self, out: &mut Output) {
        self.prompted = true;
        let (Some(request), Some(session)) = (&self.request, &self.session) else { return };
        let prompt = json!([{ "type": "text", "text": request.prompt }]);
        send(out, ours::PROMPT, "session/prompt", json!({ "sessionId": session, "prompt": prompt }));
    }

    fn response(&mut self, id: u64, result: &Value, out: &mut Output) {
        match id {
            ours::INITIALIZE => self.open_session(result, out),
            ours::SESSION => {
                let loaded = self.request.as_ref().and_then(|request| request.resume.clone());
                self.session = some_text(result, "sessionId").or(loaded);
                out.events.extend(self.session.clone().map(AgentEvent::Session));
                out.events.extend(some_text(&result["models"], "currentModelId").map(AgentEvent::Model));
                out.events.extend(
                    option(result, "model").and_then(|option| some_text(option, "currentValue")).map(AgentEvent::Model),
                );
                self.plan_settings(result, out);
                self.set_next(out);
            }
            ours::SETTING => {
                self.settings.pop_front();
                self.set_next(out);
            }
            ours::PROMPT => self.prompt_over(result, out),
            _ => {}
        }
    }

    /// Model and mode, as the agent offers them: as options, or in the older way.
    fn plan_settings(&mut self, offered: &Value, out: &mut Output) {
        let Some(request) = self.request.clone() else { return };
        let session = self.session.clone();
        let set = |id: &Value, value: &str| json!({ "sessionId": session, "configId": id, "value": value });
        if let Some(model) = &request.model {
            let what = format!("the model {model:?}");
            let (method, params) = match option(offered, "model") {
                Some(option) => ("session/set_config_option", set(&option["id"], model)),
                None => ("session/set_model", json!({ "sessionId": session, "modelId": model })),
            };
            out.push(AgentEvent::Model(model.clone()));
            self.settings.push_back(Setting { what, method, params });
        }
        let wanted: &[&str] = match request.permissions {
            Permissions::ReadOnly => &["read-only", "plan"],
            // The agent asks, and is answered.
            Permissions::Edit => &[],
            Permissions::Full => &["agent-full-access", "yolo"],
        };
        let modes = list(&offered["modes"], "availableModes");
        let present = some_text(&offered["modes"], "currentModeId").filter(|_| request.resume.is_some());
        let choices = option(offered, "mode").map_or(&[][..], |option| list(option, "options"));
        let mode = wanted.iter().find(|mode| modes.iter().any(|known| known["id"] == **mode));
        let choice = wanted.iter().find(|mode| choices.iter().any(|known| known["value"] == **mode));
        if let Some(mode) = mode {
            let params = json!({ "sessionId": session, "modeId": mode });
            self.settings.push_back(Setting { what: format!("the mode {mode:?}"), method: "session/set_mode", params });
        } else if let (Some(mode), Some(option)) = (choice, option(offered, "mode")) {
            let params = set(&option["id"], mode);
            self.settings.push_back(Setting {
                what: format!("the mode {mode:?}"),
                method: "session/set_config_option",
                params,
            });
        } else if let (Permissions::Edit, Some(mode)) = (request.permissions, present) {
            // Gemini goes on telling of the old conversation when it has opened it; once it has answered this, that is over.
            let params = json!({ "sessionId": session, "modeId": mode });
            self.settings.push_back(Setting { what: format!("the mode {mode:?}"), method: "session/set_mode", params });
        } else if request.permissions == Permissions::ReadOnly {
            out.notice(
                "no_read_only_mode",
                "the agent has no read-only mode: what it asks for is refused, what it does unasked is not",
            );
        }
    }

    fn set_next(&mut self, out: &mut Output) {
        match self.settings.front() {
            Some(setting) => send(out, ours::SETTING, setting.method, setting.params.clone()),
            None => self.prompt(out),
        }
    }

    fn prompt_over(&mut self, result: &Value, out: &mut Output) {
        let tokens = match result.get("usage").filter(|usage| usage.is_object()) {
            Some(usage) => {
                let cached_input = count(usage, "cachedReadTokens");
                let reasoning = count(usage, "thoughtTokens");
                let input = count(usage, "inputTokens") + cached_input + count(usage, "cachedWriteTokens");
                let output = count(usage, "outputTokens");
                // Agents differ in whether thoughts are part of the output: their own total tells.
                let apart = count(usage, "totalTokens") >= input + output + reasoning;
                Tokens { input, cached_input, output: if apart { output + reasoning } else { output }, reasoning }
            }
            None => {
                let quota = &result["_meta"]["quota"]["token_count"];
                Tokens {
                    input: count(quota, "input_tokens"),
                    output: count(quota, "output_tokens"),
                    ..Tokens::default()
                }
            }
        };
        let before = self.request.as_ref().map_or(0.0, |request| request.used.cost_usd);
        let since = |cost: f64| if cost < before { cost } else { cost - before };
        let cost_usd = self.cost.take().map(since).filter(|cost| *cost > 0.0);
        if !tokens.is_zero() || cost_usd.is_some() {
            out.push(AgentEvent::Usage { tokens, cost_usd, model: None });
        }
        match text(result, "stopReason") {
            "end_turn" | "cancelled" | "" => {}
            "refusal" => out.push(AgentEvent::Failed("the agent refused to go on".into())),
            "max_tokens" => out.push(AgentEvent::Failed("the agent ran out of tokens".into())),
            "max_turn_requests" => out.push(AgentEvent::Failed("the agent reached its limit of model requests".into())),
            other => out.notice("stop_reason", other),
        }
        self.over(out);
    }

    /// Opens a new conversation instead of one that the agent no longer has.
    fn begins_anew(&mut self, why: &str, out: &mut Output) -> bool {
        let Some(request) = &mut self.request else { return false };
        if request.resume.take().is_none() {
            return false;
        }
        request.used = Used::default();
        if !request.begins_anew {
            out.push(AgentEvent::Failed(format!("the conversation is gone: {why}")));
            self.over(out);
            return true;
        }
        out.notice("conversation_lost", format!("the agent begins a new conversation: {why}"));
        self.new_session(out);
        true
    }

    fn over(&mut self, out: &mut Output) {
        self.over = true;
        out.finished = true;
    }

    fn error(&mut self, id: u64, error: &Value, out: &mut Output) {
        if let (ours::SETTING, Some(setting)) = (id, self.settings.pop_front()) {
            out.push(AgentEvent::Failed(format!(
                "the agent does not take {}: {}",
                setting.what,
                text(error, "message")
            )));
            return self.over(out);
        }
        if id == ours::SESSION && self.begins_anew(text(error, "message"), out) {
            return;
        }
        let mut message = text(error, "message").to_owned();
        let data = &error["data"];
        let details = some_text(data, "details")
            .or_else(|| some_text(data, "message"))
            .or_else(|| data.as_str().map(str::to_owned));
        if let Some(details) = details.filter(|details| !message.contains(details.as_str())) {
            message = format!("{message}: {details}");
        }
        let limited = text(data, "errorKind") == "rate_limit"
            || error["code"] == 429
            || data["httpStatusCode"] == 429
            || data["codexErrorInfo"] == "usageLimitExceeded"
            || self.limit_signal
            || says_limited(&message);
        if limited {
            let resets_at = timestamp(&data["resetsAt"]).or_else(|| reset_time(&message, &Zoned::now()));
            out.push(AgentEvent::RateLimited { message: message.clone(), resets_at });
        } else if error["code"] == -32000 {
            message = format!("{message}: the agent is not logged in; run it once by itself and log in");
        }
        out.push(AgentEvent::Failed(message));
        self.over(out);
    }

    fn update(&mut self, update: &Value, raw: &[u8], out: &mut Output) {
        match text(update, "sessionUpdate") {
            _ if self.is_loading() => {}
            "agent_message_chunk" => {
                let words = content_text(&update["content"]);
                // Gemini tells a change of mode as if it said it.
                match words.strip_prefix("[MODE_UPDATE] ") {
                    Some(mode) => out.notice("mode", mode),
                    None => out.push(AgentEvent::TextPiece(words)),
                }
            }
            "agent_thought_chunk" => out.push(AgentEvent::ThoughtPiece(content_text(&update["content"]))),
            "plan" => out.push(AgentEvent::Plan(
                list(update, "entries")
                    .iter()
                    .map(|entry| PlanEntry {
                        content: text(entry, "content").to_owned(),
                        status: text(entry, "status").to_owned(),
                    })
                    .collect(),
            )),
            "tool_call" | "tool_call_update" => self.tool(update, out),
            "usage_update" => {
                let cost = &update["cost"];
                if text(cost, "currency") == "USD" {
                    self.cost = cost["amount"].as_f64().filter(|cost| *cost > 0.0);
                }
            }
            "session_info_update" => {
                let status = update.pointer("/_meta/codex/error/httpStatusCode");
                self.limit_signal |= status.is_some_and(|status| *status == 429);
            }
            // What was sent, or what a client could offer to click on.
            "user_message_chunk" | "available_commands_update" | "current_mode_update" | "config_option_update" => {}
            _ => out.unknown_line(raw),
        }
    }

    fn tool(&mut self, update: &Value, out: &mut Output) {
        let id = text(update, "toolCallId").to_owned();
        let known = self.calls.get(&id).cloned();
        let kind = match some_text(update, "kind") {
            Some(kind) => serde_json::from_value(Value::String(kind)).unwrap_or(ToolKind::Other),
            None => known.as_ref().map_or(ToolKind::Other, |call| call.kind),
        };
        let name = some_text(&update["_meta"]["claudeCode"], "toolName")
            .or_else(|| known.as_ref().map(|call| call.name.clone()))
            .unwrap_or_else(|| kind.as_str().to_owned());
        let status = text(update, "status");
        let raw_input = &update["rawInput"];
        let input = match &known {
            _ if raw_input.as_object().is_some_and(|input| !input.is_empty()) => raw_input.clone(),
            Some(call) => call.input.clone(),
            None => Value::Null,
        };
        let known_title = known.as_ref().and_then(|call| call.title.clone());
        let title = some_text(update, "title").or(known_title).or_else(|| tool_title(&input));
        let over = matches!(status, "completed" | "failed");
        let status_now = if status == "pending" { ToolStatus::Pending } else { ToolStatus::InProgress };
        let call = Call { name, kind, title, input, status: status_now };
        // A change of status alone is told by the result.
        let news = known.as_ref().is_none_or(|known| Call { status: known.status, ..call.clone() } != *known);
        self.calls.insert(id.clone(), call.clone());
        if news && !self.ended.contains(&id) {
            let Call { name, kind, title, input, status } = call;
            out.push(AgentEvent::ToolCall { id: id.clone(), name, kind, title, input, status });
        }
        if over && self.ended.insert(id.clone()) {
            let raw = &update["rawOutput"];
            let exit = raw.get("exit_code").or_else(|| raw.get("exitCode")).or_else(|| raw.pointer("/metadata/exit"));
            let exit_code = exit.and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
            let failed = status == "failed" || exit_code.is_some_and(|code| code != 0);
            let output = tool_output(update);
            if failed && says_refused(&output) {
                out.notice("permission_refused", output.clone());
            }
            out.push(AgentEvent::ToolResult {
                id,
                status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
                output,
                exit_code,
                duration_secs: None,
            });
        }
    }

    fn asked(&mut self, id: &Value, method: &str, params: &Value, out: &mut Output) {
        if method != "session/request_permission" {
            let error = json!({ "code": -32601, "message": format!("decklog does not offer {method}") });
            return reply(out, id, "error", &error);
        }
        let call = &params["toolCall"];
        // Some agents tell of a call only by asking for it.
        self.tool(call, out);
        let known = self.calls.get(text(call, "toolCallId")).map(|call| call.kind);
        let kind = some_text(call, "kind")
            .and_then(|kind| serde_json::from_value(Value::String(kind)).ok())
            .or(known)
            .unwrap_or(ToolKind::Other);
        let title = some_text(call, "title").unwrap_or_else(|| text(call, "toolCallId").to_owned());
        let options = list(params, "options").to_vec();
        let can_always = options.iter().any(|option| text(option, "kind") == "allow_always");
        let input = call["rawInput"].clone();
        let asking = Asking { kind, title, input, can_always, question: (id.clone(), options) };
        // What a given server offers is what the turn may do.
        let given = self.request.as_ref().is_some_and(|request| is_of(&request.mcp, &asking.title));
        if given || allows(self.permissions(), kind) {
            return self.answer(&asking, Leave::Once, out);
        }
        if self.request.as_ref().is_some_and(|request| request.asks) {
            return out.asks.push(asking);
        }
        let text = format!("{}: {} (allowed is: {})", kind.as_str(), asking.title, self.permissions());
        out.notice("permission_refused", text);
        self.answer(&asking, Leave::Never, out);
    }
}

/// The option of a new session whose category is `category`.
/// What a conversation is begun with, or gone on with.
fn session_params(request: &TurnRequest, session: Option<&String>) -> Value {
    let server = |server: &McpServer| {
        let (program, arguments) = server.words();
        let env: Vec<_> = server.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        json!({ "name": server.name, "command": program, "args": arguments, "env": env })
    };
    let servers: Vec<Value> = request.mcp.iter().map(server).collect();
    let mut params = json!({ "cwd": request.working_dir.to_string_lossy(), "mcpServers": servers });
    if let Some(session) = session {
        params["sessionId"] = json!(session);
    }
    if !request.own_tools {
        // Known to claude-agent-acp; the protocol has no word for it.
        params["_meta"] = json!({ "disableBuiltInTools": true });
    }
    params
}

fn option<'a>(offered: &'a Value, category: &str) -> Option<&'a Value> {
    list(offered, "configOptions")
        .iter()
        .find(|option| text(option, "category") == category || option["id"] == category)
}

/// Whether a call is of a tool of `servers`, by the names that claude-agent-acp, codex-acp and gemini give such calls.
fn is_of(servers: &[McpServer], title: &str) -> bool {
    servers.iter().any(|McpServer { name, .. }| {
        title.starts_with(&format!("mcp__{name}__"))
            || title.starts_with(&format!("mcp.{name}."))
            || title.ends_with(&format!("({name} MCP Server)"))
    })
}

/// Whether an agent that asks may go on. It asks for what its own rules do not allow by themselves.
fn allows(permissions: Permissions, kind: ToolKind) -> bool {
    match permissions {
        Permissions::Full => true,
        Permissions::Edit => !matches!(kind, ToolKind::Execute | ToolKind::Other),
        Permissions::ReadOnly => matches!(kind, ToolKind::Read | ToolKind::Search | ToolKind::Think),
    }
}

fn tool_output(update: &Value) -> String {
    let blocks: Vec<String> = list(update, "content")
        .iter()
        .filter_map(|block| match text(block, "type") {
            "diff" => Some(format!("[diff of {}]", text(block, "path"))),
            "terminal" => None,
            _ => Some(content_text(&block["content"])),
        })
        .collect();
    if !blocks.is_empty() {
        return blocks.join("\n");
    }
    match &update["rawOutput"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        raw => {
            some_text(raw, "output").or_else(|| some_text(raw, "formatted_output")).unwrap_or_else(|| raw.to_string())
        }
    }
}

fn send(out: &mut Output, id: u64, method: &str, params: Value) {
    write(out, &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
}

fn reply(out: &mut Output, id: &Value, key: &str, value: &Value) {
    write(out, &json!({ "jsonrpc": "2.0", "id": id, key: value }));
}

fn write(out: &mut Output, message: &Value) {
    out.send.extend_from_slice(message.to_string().as_bytes());
    out.send.push(b'\n');
}

impl Adapter for Acp {
    fn launch(&self, _: &TurnRequest) -> Launch {
        Launch { command: self.command.clone(), keep_stdin: true, ..Launch::default() }
    }

    fn begin(&mut self, request: &TurnRequest, out: &mut Output) {
        self.request = Some(request.clone());
        let params = json!({
            "protocolVersion": 1,
            "clientCapabilities": { "fs": { "readTextFile": false, "writeTextFile": false }, "terminal": false },
            "clientInfo": { "name": "decklog", "version": env!("CARGO_PKG_VERSION") },
        });
        send(out, ours::INITIALIZE, "initialize", params);
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(message) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        let (id, method) = (&message["id"], text(&message, "method"));
        if method == "session/update" {
            self.update(&message["params"]["update"], raw, out);
        } else if !method.is_empty() && !id.is_null() {
            self.asked(id, method, &message["params"], out);
        } else if let (Some(id), true) = (id.as_u64(), method.is_empty()) {
            match message.get("error").filter(|error| !error.is_null()) {
                Some(error) => self.error(id, error, out),
                None => self.response(id, &message["result"], out),
            }
        } else if !method.starts_with('_') {
            out.unknown_line(raw);
        }
    }

    fn answer(&mut self, asking: &Asking, leave: Leave, out: &mut Output) {
        let wanted = match leave {
            Leave::Once => ["allow_once", "allow_always"],
            Leave::Always => ["allow_always", "allow_once"],
            Leave::Never => ["reject_once", "reject_always"],
        };
        let (id, options) = &asking.question;
        let pick = |kind: &str| options.iter().find(|option| text(option, "kind") == kind);
        let outcome = match wanted.into_iter().find_map(pick) {
            Some(option) => json!({ "outcome": "selected", "optionId": option["optionId"] }),
            None => json!({ "outcome": "cancelled" }),
        };
        reply(out, id, "result", &json!({ "outcome": outcome }));
    }

    fn cancel(&mut self, out: &mut Output) -> bool {
        let Some(session) = &self.session else { return false };
        write(out, &json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": { "sessionId": session } }));
        true
    }

    fn end(&mut self, _: i32, stderr: &str, out: &mut Output) {
        if !self.over {
            let words = if stderr.is_empty() { "the agent ended before it had answered" } else { stderr };
            out.push(AgentEvent::Failed(words.to_owned()));
        }
    }
}
