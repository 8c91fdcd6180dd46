//! Codex's rollouts: `sessions/Y/M/D/rollout-<time>-<id>.jsonl`, `archived_sessions/`, also compressed.
//!
//! Seen with version 0.169. Most things are told twice: as `response_item`, what went to and came from the model, and
//! as `event_msg`, what happened. Versions differ in which of the two they write, so both are read, and what one told
//! the other does not tell again: calls by their id, texts by counting how often each was told. Token counts are
//! cumulative: what counts is by how much they grew.

mod words;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{ToolKind, ToolStatus, TurnOutcome};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use self::words::{command_line, edit, exit_code, output_text, patched, texts, words_line};
use super::draft::{Draft, Ending};
use super::lines::{Line, Lines};
use super::{Finds, Found, Tool, stat, walk};
use crate::agents::AgentEvent;
use crate::agents::common::{content_text, count, list, some_text, text, tool_kind, tool_title};

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    payload: Value,
}

impl Entry<'_> {
    fn at(&self) -> Option<Timestamp> {
        self.timestamp.as_deref()?.parse().ok()
    }
}

/// Rollouts below `root`, or `root` itself.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let take = |path: &Path, finds: &mut Finds| {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
        if !name.starts_with("rollout-") || !(name.ends_with(".jsonl") || name.ends_with(".jsonl.zst")) {
            return;
        }
        match stat(path).and_then(|stat| Ok((stat, identity(path, name)?))) {
            Ok(((bytes, modified), Some((id, started)))) => finds.found.push(Found {
                tool: Tool::Codex,
                id,
                path: path.to_owned(),
                parts: Vec::new(),
                also: Vec::new(),
                bytes: Some(bytes),
                modified,
                started,
            }),
            Ok((_, None)) => {}
            Err(error) => finds.failed(path.to_owned(), &error),
        }
    };
    if root.is_file() {
        take(root, finds);
    } else {
        walk(root, finds, &mut |path, finds| take(&path, finds));
    }
}

/// A rollout's id and beginning: its name tells the id, or else its first line.
fn identity(path: &Path, name: &str) -> io::Result<Option<(String, Option<Timestamp>)>> {
    let stem = name.split('.').next().unwrap_or_default();
    let uuid = stem.len().checked_sub(36).and_then(|at| stem.get(at..)).filter(|id| id.matches('-').count() == 4);
    if let Some(id) = uuid {
        // A version 7 UUID begins with its time in milliseconds.
        let hex: String = id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
        let millis = i64::from_str_radix(&hex, 16).ok().filter(|_| id.as_bytes().get(14) == Some(&b'7'));
        return Ok(Some((id.to_owned(), millis.and_then(|at| Timestamp::from_millisecond(at).ok()))));
    }
    let mut lines = Lines::open(path)?;
    let Some(Line::Whole(line)) = lines.next()? else { return Ok(None) };
    let mut repaired = Vec::new();
    let Ok(entry) = decklog_text::json::from_slice_in::<Entry<'_>>(line, &mut repaired) else { return Ok(None) };
    Ok(some_text(&entry.payload, "id").map(|id| (id, entry.at())))
}

/// Reads a rollout.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let mut lines = Lines::open(&found.path)?;
    let mut reader = Reader::default();
    loop {
        let number = lines.number() + 1;
        match lines.next() {
            Ok(Some(Line::Whole(line))) => {
                match decklog_text::json::from_slice_in::<Entry<'_>>(line, &mut Vec::new()) {
                    Ok(entry) => reader.entry(entry, draft),
                    Err(error) => draft.unread(format!("line {number}"), error),
                }
            }
            Ok(Some(Line::TooLong(bytes))) => {
                draft.unread(format!("line {number}"), format!("it is {bytes} bytes long"));
            }
            Ok(None) => break,
            Err(error) if number > 1 => {
                draft.unread(format!("line {number}"), error);
                break;
            }
            Err(error) => return Err(error),
        }
        if draft.is_broken() {
            break;
        }
    }
    // A turn that was begun and not completed was cut off.
    if reader.at_work {
        draft.cut_off();
    }
    Ok(Ending::default())
}

/// What two channels told of one text: what one said is not said again by the other.
#[derive(Default)]
struct Told {
    by_channel: [HashMap<u64, u32>; 2],
    passed: HashMap<u64, u32>,
}

impl Told {
    fn is_new(&mut self, channel: usize, text: &str) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        text.trim().hash(&mut hasher);
        let hash = hasher.finish();
        let count = self.by_channel[channel].entry(hash).or_default();
        *count += 1;
        let passed = self.passed.entry(hash).or_default();
        let new = *count > *passed;
        *passed = (*passed).max(*count);
        new
    }
}

/// The channels of [`Told`].
const ITEM: usize = 0;
const EVENT: usize = 1;

#[derive(Default)]
struct Reader {
    meta_seen: bool,
    prompts: Told,
    texts: Told,
    thoughts: Told,
    /// Calls whose result was told.
    done: HashSet<String>,
    /// Calls that were told.
    called: HashSet<String>,
    /// Patches in the model's words, until it is known what became of them.
    patches: HashMap<String, String>,
    total: Tokens,
    model: Option<String>,
    at_work: bool,
}

impl Reader {
    fn entry(&mut self, entry: Entry<'_>, draft: &mut Draft<'_>) {
        draft.at(entry.at());
        let payload = &entry.payload;
        match &*entry.kind {
            "session_meta" => self.meta(payload, draft),
            "turn_context" => {
                self.model = some_text(payload, "model").or(self.model.take());
                if draft.opening.working_dir.is_empty() {
                    draft.opening.working_dir = text(payload, "cwd").to_owned();
                }
                draft.model(self.model.clone());
            }
            "response_item" => self.item(payload, draft),
            "event_msg" => self.event(payload, draft),
            "token_usage_record" => self.usage(&payload["thread_token_usage"], &payload["usage"], draft),
            "compacted" => draft.notice("compacted", text(payload, "message").to_owned()),
            _ => {}
        }
    }

    fn meta(&mut self, meta: &Value, draft: &mut Draft<'_>) {
        // A fork holds its parent's too.
        if std::mem::replace(&mut self.meta_seen, true) {
            return;
        }
        draft.opening.working_dir = text(meta, "cwd").to_owned();
        draft.opening.git.head = some_text(&meta["git"], "commit_hash");
        draft.opening.git.branch = some_text(&meta["git"], "branch");
        if let Some(parent) = some_text(meta, "forked_from_id") {
            draft.notice("forked", format!("it begins as a copy of {parent}"));
        }
        if !meta["source"]["subagent"].is_null() {
            draft.notice("subagent", format!("a subagent's own session: {}", meta["source"]["subagent"]));
        }
    }

    fn prompt(&mut self, channel: usize, said: &str, draft: &mut Draft<'_>) {
        if said.trim().is_empty() || !self.prompts.is_new(channel, said) {
            return;
        }
        draft.prompt(said);
        draft.model(self.model.clone());
        // Within a turn the same may be said as often as before.
        (self.prompts, self.texts, self.thoughts) = <(Told, Told, Told)>::default();
        self.prompts.is_new(channel, said);
    }

    fn say(&mut self, channel: usize, said: String, draft: &mut Draft<'_>) {
        if self.texts.is_new(channel, &said) {
            draft.event(AgentEvent::Text(said));
        }
    }

    fn think(&mut self, channel: usize, thought: String, draft: &mut Draft<'_>) {
        if self.thoughts.is_new(channel, &thought) {
            draft.event(AgentEvent::Thought(thought));
        }
    }

    /// What went to or came from the model.
    fn item(&mut self, item: &Value, draft: &mut Draft<'_>) {
        match text(item, "type") {
            "message" => match text(item, "role") {
                "user" => self.prompt(ITEM, &texts(&item["content"]), draft),
                "assistant" => self.say(ITEM, content_text(&item["content"]), draft),
                _ => {}
            },
            "reasoning" => {
                for part in list(item, "summary").iter().chain(list(item, "content")) {
                    self.think(ITEM, text(part, "text").to_owned(), draft);
                }
            }
            "function_call" | "custom_tool_call" | "local_shell_call" => self.call(item, draft),
            "function_call_output" | "custom_tool_call_output" => self.output(item, draft),
            "web_search_call" => {
                let input = item["action"].clone();
                let id = some_text(item, "id").unwrap_or_else(|| text(&input, "query").to_owned());
                self.start(id.clone(), "web_search", ToolKind::Fetch, tool_title(&input), input, draft);
                self.end(id, ToolStatus::Completed, String::new(), None, None, draft);
            }
            _ => {}
        }
    }

    /// A call in the model's words, told as the live stream tells it.
    fn call(&mut self, item: &Value, draft: &mut Draft<'_>) {
        let id = some_text(item, "call_id").or_else(|| some_text(item, "id")).unwrap_or_default();
        let name = some_text(item, "name").unwrap_or_else(|| "shell".into());
        let input = match (some_text(item, "arguments"), some_text(item, "input")) {
            (Some(arguments), _) => decklog_text::json::from_str(&arguments).unwrap_or(Value::String(arguments)),
            (None, Some(input)) => Value::String(input),
            (None, None) => item["action"].clone(),
        };
        if name == "update_plan" {
            draft.event(AgentEvent::Plan(
                list(&input, "plan")
                    .iter()
                    .map(|step| PlanEntry {
                        content: text(step, "step").to_owned(),
                        status: text(step, "status").to_owned(),
                    })
                    .collect(),
            ));
        }
        if !self.called.insert(id.clone()) {
            return;
        }
        let line = command_line(&input);
        let patch = match (name.as_str(), &line) {
            ("apply_patch", _) => input.as_str().map(str::to_owned).or_else(|| some_text(&input, "input")),
            (_, Some(line)) if line.trim_start().starts_with("apply_patch") => Some(line.clone()),
            _ => None,
        };
        if let Some(patch) = patch {
            let paths: Vec<_> = patched(&patch).into_iter().map(|edit| edit.path).collect();
            self.start(id.clone(), "apply_patch", ToolKind::Edit, Some(paths.join(", ")), input, draft);
            self.patches.insert(id, patch);
        } else if let Some(line) = line {
            let title = line.lines().next().map(str::to_owned);
            self.start(id, "shell", ToolKind::Execute, title, json!({ "command": line }), draft);
        } else {
            let title = tool_title(&input).or_else(|| input.as_str()?.lines().next().map(str::to_owned));
            self.start(id, &name, tool_kind(&name), title, input, draft);
        }
    }

    fn output(&mut self, item: &Value, draft: &mut Draft<'_>) {
        let id = text(item, "call_id").to_owned();
        let patch = self.patches.remove(&id);
        if self.done.contains(&id) {
            return;
        }
        let output = output_text(&item["output"]);
        let exit_code = exit_code(&output);
        let failed = exit_code.is_some_and(|code| code != 0) || item["output"]["success"] == false;
        self.end(id, if failed { ToolStatus::Failed } else { ToolStatus::Completed }, output, exit_code, None, draft);
        if let Some(patch) = patch.filter(|_| !failed) {
            patched(&patch).into_iter().for_each(|edit| draft.edit(edit));
        }
    }

    fn start(
        &mut self,
        id: String,
        name: &str,
        kind: ToolKind,
        title: Option<String>,
        input: Value,
        draft: &mut Draft<'_>,
    ) {
        draft.event(AgentEvent::ToolCall {
            id,
            name: name.to_owned(),
            kind,
            title,
            input,
            status: ToolStatus::InProgress,
        });
    }

    fn end(
        &mut self,
        id: String,
        status: ToolStatus,
        output: String,
        exit_code: Option<i32>,
        duration_secs: Option<f64>,
        draft: &mut Draft<'_>,
    ) {
        self.done.insert(id.clone());
        draft.event(AgentEvent::ToolResult { id, status, output, exit_code, duration_secs });
    }

    /// What happened.
    fn event(&mut self, event: &Value, draft: &mut Draft<'_>) {
        match text(event, "type") {
            "task_started" | "turn_started" => self.at_work = true,
            "task_complete" | "turn_complete" => {
                self.at_work = false;
                if let Some(last) = some_text(event, "last_agent_message") {
                    // What no other line told.
                    if draft.in_turn() && self.texts.passed.is_empty() {
                        draft.event(AgentEvent::Text(last));
                    }
                }
            }
            "turn_aborted" => {
                self.at_work = false;
                draft.set_outcome(TurnOutcome::Interrupted, some_text(event, "reason"));
            }
            "user_message" => self.prompt(EVENT, text(event, "message"), draft),
            "agent_message" => self.say(EVENT, text(event, "message").to_owned(), draft),
            "agent_reasoning" => self.think(EVENT, text(event, "text").to_owned(), draft),
            "token_count" => {
                let info = &event["info"];
                self.usage(&info["total_token_usage"], &info["last_token_usage"], draft);
            }
            "exec_command_end" => self.command(event, text(event, "call_id").to_owned(), draft),
            "patch_apply_end" => self.patch(event, text(event, "call_id").to_owned(), draft),
            "mcp_tool_call_end" => {
                let (id, call) = (text(event, "call_id").to_owned(), &event["invocation"]);
                self.mcp(
                    id,
                    text(call, "server"),
                    text(call, "tool"),
                    call["arguments"].clone(),
                    &event["result"],
                    draft,
                );
            }
            "item_completed" => self.completed(&event["item"], draft),
            "error" | "stream_error" => {
                let message = text(event, "message");
                draft.notice("agent_error", message.to_owned());
                let limited = text(event, "codex_error_info") == "usage_limit_exceeded"
                    || event["codex_error_info"]["http_status_code"] == 429;
                if limited {
                    draft.event(AgentEvent::RateLimited { message: message.to_owned(), resets_at: None });
                } else if text(event, "type") == "error" && draft.in_turn() {
                    draft.event(AgentEvent::Failed(message.to_owned()));
                }
            }
            "warning" => draft.notice("agent_warning", text(event, "message").to_owned()),
            "context_compacted" => draft.notice("compacted", "the conversation so far was summarised".into()),
            _ => {}
        }
    }

    fn completed(&mut self, item: &Value, draft: &mut Draft<'_>) {
        let id = text(item, "id").to_owned();
        let said = || content_text(&item["content"]);
        match text(item, "type") {
            "UserMessage" => self.prompt(EVENT, &texts(&item["content"]), draft),
            "AgentMessage" => self.say(EVENT, said(), draft),
            "Reasoning" => {
                for part in list(item, "summary_text").iter().chain(list(item, "raw_content")) {
                    self.think(EVENT, part.as_str().unwrap_or_default().to_owned(), draft);
                }
            }
            "CommandExecution" => self.command(item, id, draft),
            "FileChange" => self.patch(item, id, draft),
            "McpToolCall" => {
                let arguments = item["arguments"].clone();
                self.mcp(id, text(item, "server"), text(item, "tool"), arguments, &item["result"], draft);
            }
            _ => {}
        }
    }

    fn command(&mut self, event: &Value, id: String, draft: &mut Draft<'_>) {
        let line = words_line(list(event, "command"));
        if self.called.insert(id.clone()) {
            let title = line.lines().next().map(str::to_owned);
            self.start(id.clone(), "shell", ToolKind::Execute, title, json!({ "command": line }), draft);
        }
        let exit_code = event["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        let failed = text(event, "status") == "failed" || exit_code.is_some_and(|code| code != 0);
        let output = some_text(event, "aggregated_output")
            .unwrap_or_else(|| format!("{}{}", text(event, "stdout"), text(event, "stderr")));
        let took = &event["duration"];
        let duration = took["secs"].as_f64().map(|secs| secs + count(took, "nanos") as f64 / 1e9);
        let status = if failed { ToolStatus::Failed } else { ToolStatus::Completed };
        self.end(id, status, output, exit_code, duration.map(|secs| (secs * 1000.0).round() / 1000.0), draft);
    }

    fn patch(&mut self, event: &Value, id: String, draft: &mut Draft<'_>) {
        let failed = event["success"] == false || matches!(text(event, "status"), "failed" | "declined");
        let changes = event["changes"].as_object();
        if self.called.insert(id.clone()) {
            let paths: Vec<_> = changes.into_iter().flatten().map(|(path, _)| path.as_str()).collect();
            let input = json!({ "changes": event["changes"] });
            self.start(id.clone(), "apply_patch", ToolKind::Edit, Some(paths.join(", ")), input, draft);
        }
        let output = format!("{}{}", text(event, "stdout"), text(event, "stderr"));
        self.end(id, if failed { ToolStatus::Failed } else { ToolStatus::Completed }, output, None, None, draft);
        if !failed {
            changes.into_iter().flatten().for_each(|(path, change)| edit(path, change, draft));
        }
    }

    fn mcp(&mut self, id: String, server: &str, tool: &str, input: Value, result: &Value, draft: &mut Draft<'_>) {
        let name = format!("{server}__{tool}");
        if self.called.insert(id.clone()) {
            self.start(id.clone(), &name, ToolKind::Other, Some(name.clone()), input, draft);
        }
        let inner = result.get("Ok").unwrap_or(result);
        let failed = result.get("Err").is_some() || inner["isError"] == true || inner["is_error"] == true;
        let output = match result.get("Err") {
            Some(error) => content_text(error),
            None => content_text(&inner["content"]),
        };
        self.end(id, if failed { ToolStatus::Failed } else { ToolStatus::Completed }, output, None, None, draft);
    }

    /// Adds by how much the counts of the whole thread grew.
    fn usage(&mut self, total: &Value, last: &Value, draft: &mut Draft<'_>) {
        if !total.is_object() {
            return;
        }
        let total = tokens(total);
        let grew = total.input >= self.total.input && total.output >= self.total.output;
        let more = if grew {
            Tokens {
                input: total.input - self.total.input,
                cached_input: total.cached_input.saturating_sub(self.total.cached_input),
                output: total.output - self.total.output,
                reasoning: total.reasoning.saturating_sub(self.total.reasoning),
            }
        } else {
            // The thread's count began anew.
            tokens(last)
        };
        self.total = total;
        draft.usage(self.model.clone(), more, None);
    }
}

fn tokens(usage: &Value) -> Tokens {
    Tokens {
        input: count(usage, "input_tokens"),
        cached_input: count(usage, "cached_input_tokens"),
        output: count(usage, "output_tokens"),
        reasoning: count(usage, "reasoning_output_tokens"),
    }
}
