//! Reading JSON whose shape is somebody else's, and wording tool calls alike for every agent.

use decklog_journal::words::ToolKind;
use serde_json::Value;

/// The text at `key`, or an empty one.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The text at `key`, if there is one that says something.
pub(crate) fn some_text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The count at `key`, or 0.
pub(crate) fn count(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// The list at `key`, or an empty one.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Content that is a string, or blocks of which some are text, as one text.
pub(crate) fn content_text(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<String> = blocks
                .iter()
                .map(|block| match block.get("content") {
                    Some(inner) if block.get("text").is_none() => content_text(inner),
                    _ => match some_text(block, "text") {
                        Some(text) => text,
                        None => format!("[{}]", text(block, "type")),
                    },
                })
                .collect();
            texts.join("\n")
        }
        Value::Object(block) => match block.get("text").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => content.to_string(),
        },
        other => other.to_string(),
    }
}

/// What sort of tool has this name, by the names that agents in use give theirs.
pub(crate) fn tool_kind(name: &str) -> ToolKind {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["todo", "plan", "task", "think", "agent"]) {
        ToolKind::Think
    } else if has(&["web", "fetch", "http", "browser"]) {
        ToolKind::Fetch
    } else if has(&["bash", "shell", "exec", "command", "terminal"]) {
        ToolKind::Execute
    } else if has(&["write", "edit", "patch", "replace", "create", "notebook"]) {
        ToolKind::Edit
    } else if has(&["delete", "remove"]) {
        ToolKind::Delete
    } else if has(&["move", "rename"]) {
        ToolKind::Move
    } else if has(&["grep", "glob", "search", "find", "list", "ls"]) {
        ToolKind::Search
    } else if has(&["read", "view", "cat"]) {
        ToolKind::Read
    } else {
        ToolKind::Other
    }
}

/// One line on what a call does: its most telling argument.
pub(crate) fn tool_title(input: &Value) -> Option<String> {
    const TELLING: [&str; 14] = [
        "command",
        "cmd",
        "file_path",
        "filePath",
        "absolute_path",
        "path",
        "notebook_path",
        "pattern",
        "query",
        "url",
        "description",
        "subject",
        "prompt",
        "name",
    ];
    TELLING.iter().find_map(|key| match input.get(key)? {
        Value::String(text) if !text.is_empty() => text.lines().next().map(str::to_owned),
        Value::Array(parts) => {
            let words: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        _ => None,
    })
}

/// Whether a failed call's output is the agent's own word for a permission that was not given.
pub(crate) fn says_refused(output: &str) -> bool {
    ["denied by policy", "rejected permission", "specified a rule which prevents", "while in plan mode"]
        .iter()
        .any(|words| output.contains(words))
}
