//! Gemini CLI's chats: `tmp/<project>/chats/session-<time>-<id>.jsonl`, with older versions one `.json` of the same.
//!
//! Seen with version 0.61. The file is a log of changes to a list of messages: a message takes the place of an earlier
//! one with its `id`, `{"$set": …}` changes the whole, `{"$rewindTo": id}` cuts it off. So the list is made first, then
//! told. A chat that is resumed begins by setting the list to what the model is told, which is less than what was
//! there: what was there counts. What a tool gave comes back as a `user` message too, which is no prompt.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use decklog_journal::event::Tokens;
use decklog_journal::words::ToolStatus;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::changes::{Edit, count_lines, hunks_of, whole_file};
use super::draft::{Draft, Ending};
use super::lines::{Line, Lines, MAX_LINE};
use super::{Finds, Found, Tool, stat, walk};
use crate::agents::AgentEvent;
use crate::agents::common::{content_text, count, list, some_text, text, tool_kind, tool_title};
use decklog_journal::files;

/// Bytes of messages that are held at a time; a chat with more is told as far as that.
const MAX_HELD: usize = 256 * 1024 * 1024;

/// Lines at the beginning of a file in which its session must be named.
const BEGINNING: usize = 100;

/// Chats below `root`, or `root` itself.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let take = |path: &Path, finds: &mut Finds| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let in_chats = path.ancestors().skip(1).take(2).any(|dir| dir.ends_with("chats"));
        let ends = name.ends_with(".jsonl") || name.ends_with(".json");
        if !ends || !(path == root || in_chats) {
            return;
        }
        match stat(path).and_then(|stat| Ok((stat, header(path)?))) {
            Ok(((bytes, modified), header)) => {
                let Some(id) = some_text(&header, "sessionId") else {
                    if bytes > 0 {
                        finds.not_understood(path.to_owned());
                    }
                    return;
                };
                finds.found.push(Found {
                    tool: Tool::Gemini,
                    id,
                    path: path.to_owned(),
                    parts: Vec::new(),
                    also: Vec::new(),
                    bytes: Some(bytes),
                    modified,
                    started: text(&header, "startTime").parse().ok(),
                });
            }
            Err(error) => finds.failed(path.to_owned(), &error),
        }
    };
    if root.is_file() {
        take(root, finds);
    } else {
        walk(root, finds, &mut |path, finds| take(&path, finds));
    }
}

/// The first line, or the whole of an old file.
fn header(path: &Path) -> io::Result<Value> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return whole(path);
    }
    let mut lines = Lines::open(path)?;
    let mut is_chat = false;
    for _ in 0..BEGINNING {
        let Some(line) = lines.next()? else { break };
        let Line::Whole(line) = line else { continue };
        let line: Value = decklog_text::json::from_slice(line).unwrap_or_default();
        if some_text(&line, "sessionId").is_some() {
            return Ok(line);
        }
        is_chat |= line.get("$set").is_some() || line.get("id").is_some() && line.get("type").is_some();
    }
    // Its head is lost: the file's name tells it from others.
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
    Ok(name.filter(|_| is_chat).map_or(Value::Null, |name| json!({ "sessionId": name })))
}

fn whole(path: &Path) -> io::Result<Value> {
    let bytes = files::read_limited(path, MAX_LINE as u64)?;
    decklog_text::json::from_slice(&bytes).map_err(io::Error::from)
}

/// Messages in order, and where each stands.
#[derive(Default)]
struct Chat {
    messages: Vec<Value>,
    places: HashMap<String, usize>,
    held: usize,
}

impl Chat {
    fn put(&mut self, message: Value) {
        let id = text(&message, "id").to_owned();
        match self.places.get(&id) {
            Some(at) if !id.is_empty() => {
                // Told again when a chat is resumed, in the model's words: without counts and results.
                let is_rich = |message: &Value| message.get("tokens").is_some() || message.get("toolCalls").is_some();
                let known = &mut self.messages[*at];
                if is_rich(&message) || !is_rich(known) && text(known, "type") != "user" {
                    *known = message;
                }
            }
            _ => {
                self.places.insert(id, self.messages.len());
                self.messages.push(message);
            }
        }
    }

    fn line(&mut self, mut line: Value) {
        if let Some(set) = line.get_mut("$set") {
            if let Some(Value::Array(messages)) = set.get_mut("messages").map(Value::take) {
                // What went before was said all the same.
                messages.into_iter().for_each(|message| self.put(message));
            }
        } else if let Some(to) = line.get("$rewindTo") {
            let to = to.as_str().unwrap_or_default();
            if let Some(at) = self.places.get(to).copied() {
                self.messages.truncate(at);
                self.places.retain(|_, place| *place < at);
            }
        } else if line.get("id").is_some() {
            self.put(line);
        }
    }
}

/// Reads a chat.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    draft.at(found.started);
    draft.opening.working_dir = project(&found.path).unwrap_or_default();
    let mut chat = Chat::default();
    if found.path.extension().is_some_and(|extension| extension == "json") {
        let mut old = whole(&found.path)?;
        if let Some(Value::Array(messages)) = old.get_mut("messages").map(Value::take) {
            messages.into_iter().for_each(|message| chat.put(message));
        }
    } else {
        lines(found, &mut chat, draft)?;
    }
    for message in &chat.messages {
        draft.at(text(message, "timestamp").parse::<Timestamp>().ok());
        tell(message, draft);
        if draft.is_broken() {
            break;
        }
    }
    Ok(Ending::default())
}

fn lines(found: &Found, chat: &mut Chat, draft: &mut Draft<'_>) -> io::Result<()> {
    let mut lines = Lines::open(&found.path)?;
    loop {
        let number = lines.number() + 1;
        match lines.next() {
            Ok(Some(Line::Whole(line))) => {
                chat.held += line.len();
                if chat.held > MAX_HELD {
                    draft.unread(format!("line {number}"), "the chat is too large: what follows is left out");
                    return Ok(());
                }
                match decklog_text::json::from_slice::<Value>(line) {
                    Ok(line) => chat.line(line),
                    Err(error) => draft.unread(format!("line {number}"), error),
                }
            }
            Ok(Some(Line::TooLong(bytes))) => {
                draft.unread(format!("line {number}"), format!("it is {bytes} bytes long"))
            }
            Ok(None) => return Ok(()),
            Err(error) if number > 1 => {
                draft.unread(format!("line {number}"), error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// The directory of a chat: `.project_root` beside `chats`, or `projects.json` above.
fn project(path: &Path) -> Option<String> {
    let dir = path.ancestors().find(|dir| dir.ends_with("chats"))?.parent()?;
    if let Ok(root) = files::read_limited(&dir.join(".project_root"), 64 * 1024) {
        return Some(String::from_utf8_lossy(&root).trim().to_owned());
    }
    let known = files::read_limited(&dir.parent()?.parent()?.join("projects.json"), 16 * 1024 * 1024).ok()?;
    let known: Value = decklog_text::json::from_slice(&known).ok()?;
    let name = dir.file_name()?.to_str()?;
    known["projects"].as_object()?.iter().find(|(_, short)| short.as_str() == Some(name)).map(|(path, _)| path.clone())
}

fn tell(message: &Value, draft: &mut Draft<'_>) {
    let content = &message["content"];
    match text(message, "type") {
        "user" => {
            let is_result = |part: &Value| part.get("functionResponse").is_some();
            if content.as_array().is_some_and(|parts| parts.iter().any(is_result)) {
                return;
            }
            let said = content_text(content);
            if said.trim_start().starts_with("<state_snapshot>") {
                draft.notice("compacted", said);
            } else if !said.trim().is_empty() && !said.trim_start().starts_with("<session_context>") {
                draft.prompt(&said);
            }
        }
        "gemini" => {
            let model = some_text(message, "model");
            for thought in list(message, "thoughts") {
                let words = [text(thought, "subject"), text(thought, "description")];
                draft.event(AgentEvent::Thought(words.join("\n").trim().to_owned()));
            }
            draft.model(model.clone());
            let said = content_text(content);
            draft.event(AgentEvent::Text(said));
            let told = &message["tokens"];
            let reasoning = count(told, "thoughts");
            let tokens = Tokens {
                input: count(told, "input") + count(told, "tool"),
                cached_input: count(told, "cached"),
                output: count(told, "output") + reasoning,
                reasoning,
            };
            draft.usage(model, tokens, None);
            list(message, "toolCalls").iter().for_each(|call| tool(call, draft));
        }
        "error" => draft.notice("agent_error", content_text(content)),
        "warning" | "info" => draft.notice("agent_warning", content_text(content)),
        "" => {}
        _ => draft.notice("unknown_line", message.to_string()),
    }
}

fn tool(call: &Value, draft: &mut Draft<'_>) {
    let (id, name, input) = (text(call, "id").to_owned(), text(call, "name"), call["args"].clone());
    draft.event(AgentEvent::ToolCall {
        id: id.clone(),
        name: name.to_owned(),
        kind: tool_kind(name),
        title: tool_title(&input),
        input,
        status: ToolStatus::InProgress,
    });
    draft.at(text(call, "timestamp").parse::<Timestamp>().ok());
    let status = text(call, "status");
    if status.is_empty() || matches!(status, "executing" | "scheduled" | "validating" | "awaiting_approval") {
        return;
    }
    let shown = &call["resultDisplay"];
    let responses = list(call, "result").iter().map(|part| {
        let response = &part["functionResponse"]["response"];
        some_text(response, "output").or_else(|| some_text(response, "error")).unwrap_or_else(|| content_text(response))
    });
    // What people were shown is the tool's own words; what the model got has a frame around it.
    let output = match shown {
        Value::String(text) if !text.is_empty() => text.clone(),
        _ => responses.collect::<Vec<_>>().join("\n"),
    };
    let failed = status != "success";
    draft.event(AgentEvent::ToolResult {
        id,
        status: if failed { ToolStatus::Failed } else { ToolStatus::Completed },
        output,
        exit_code: None,
        duration_secs: None,
    });
    let Some(path) = some_text(shown, "filePath").filter(|_| !failed) else { return };
    if shown["originalContent"].is_string() && shown["originalContent"] == shown["newContent"] {
        // Written as it was.
        return;
    }
    draft.edit(if shown["isNewFile"] == true {
        let (hunk, lines) = whole_file(text(shown, "newContent"), '+');
        Edit { path, status: "added", lines: Some((lines, 0)), hunks: Some(hunk), ..Edit::default() }
    } else {
        let hunks = hunks_of(text(shown, "fileDiff"));
        Edit { path, status: "modified", lines: hunks.as_deref().map(count_lines), hunks, ..Edit::default() }
    });
}
