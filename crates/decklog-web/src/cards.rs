//! A step of a transcript as the page shows it: texts as markdown, edits as lines, commands as terminals.
//!
//! What tools are called and how they name their arguments is each agent's own affair: what is recognised gets a form, and
//! anything else is shown as the JSON that it is. Must not know: files, HTTP.

use decklog_journal::session::{Said, Step, ToolUse, Turn};
use decklog_journal::words::ToolKind;
use decklog_query::network::OfCalls;
use decklog_query::show::is_output;
use decklog_text::highlight::Highlighter;
use serde_json::{Value, json};

use crate::html::{code, escape, markdown};
use crate::{ansi, changes};

/// Bytes of a text on a card; the rest is for a download.
pub(crate) const MOST: usize = 64 * 1024;

/// Bytes of a tool's input or output on a card.
const OUTPUT: usize = 32 * 1024;

/// The beginning of `text`, of at most so many bytes and whole characters.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The card of a step.
pub(crate) fn card(
    turn: &Turn,
    step: &Step,
    calls: &OfCalls,
    highlighter: &mut Highlighter,
) -> serde_json::Result<Value> {
    Ok(match step {
        Step::Message(text) => said("message", text, is_output(turn.permissions, &turn.command), highlighter),
        Step::Thought(text) => said("thought", text, false, highlighter),
        Step::Plan { entries } => json!({ "type": "plan", "entries": entries }),
        Step::Notice(notice) => json!({
            "type": "notice",
            "code": notice.code,
            "text": decklog_text::visible_lines(beginning(&notice.text, MOST)),
            "artifact": notice.text_artifact,
        }),
        Step::Tool(tool) => {
            let mut card = tool_card(tool, highlighter);
            if let Some(reached) = calls.get(&(turn.turn, tool.call_id.clone())) {
                card["network"] = serde_json::to_value(&reached.places)?;
            }
            card
        }
    })
}

fn said(kind: &str, said: &Said, is_output: bool, highlighter: &mut Highlighter) -> Value {
    let text = beginning(&said.text, MOST);
    let html =
        if is_output { format!("<pre class=\"term\">{}</pre>", ansi(text)) } else { markdown(text, highlighter) };
    json!({
        "type": kind,
        "at": said.at,
        "html": html,
        "artifact": said.text_artifact.as_ref().or(said.cut_artifact.as_ref()),
    })
}

fn tool_card(tool: &ToolUse, highlighter: &mut Highlighter) -> Value {
    let form = Form::of(tool, highlighter);
    let output = beginning(&tool.output, OUTPUT);
    let mut card = json!({
        "type": "tool",
        "at": tool.at,
        "call_id": tool.call_id,
        "name": tool.name,
        "kind": tool.kind,
        "title": tool.title,
        "status": tool.status,
        "exit_code": tool.exit_code,
        "duration_secs": tool.duration_secs,
        "lines": output.lines().count(),
        "output_html": ansi(output),
        "output_cut": output.len() < tool.output.len() || tool.output_artifact.is_some(),
        "output_artifact": tool.output_artifact,
        "input_artifact": tool.input_artifact,
    });
    match form {
        Form::Command(command) => card["command"] = command.into(),
        Form::Edit { path, hunks } => {
            card["path"] = path.into();
            card["hunks"] = hunks;
        }
        Form::Path { path, rest } => {
            card["path"] = path.into();
            card["input_html"] = rest.into();
        }
        Form::Json(html) => card["input_html"] = html.into(),
        Form::Nothing => {}
    }
    card
}

/// What a call's arguments are.
enum Form {
    Command(String),
    Edit { path: String, hunks: Value },
    Path { path: String, rest: Option<String> },
    Json(String),
    Nothing,
}

impl Form {
    fn of(tool: &ToolUse, highlighter: &mut Highlighter) -> Self {
        let input = &tool.input;
        let text = |names: &[&str]| names.iter().find_map(|name| input[*name].as_str());
        if tool.kind == ToolKind::Execute
            && let Some(command) = command(input)
        {
            return Self::Command(decklog_text::visible_lines(beginning(&command, OUTPUT)).into_owned());
        }
        let path = text(&["file_path", "filePath", "path", "absolute_path", "target_file", "notebook_path"]);
        let shown = |path: &str| decklog_text::visible(path).into_owned();
        if tool.kind == ToolKind::Edit {
            let before = text(&["old_string", "oldString", "old_str", "oldText", "old_text"]);
            let after = text(&["new_string", "newString", "new_str", "newText", "new_text"]);
            let whole = text(&["content", "file_text", "contents"]);
            let name = path.unwrap_or_default();
            let hunks = match (before, after, whole) {
                (Some(before), Some(after), _) => Some(changes::edit(name, before, after, highlighter)),
                (_, _, Some(whole)) => Some(changes::edit(name, "", beginning(whole, OUTPUT), highlighter)),
                _ => text(&["patch", "diff", "unified_diff"]).and_then(|patch| changes::written(patch, highlighter)),
            };
            if let Some(hunks) = hunks.or_else(|| several(input, name, highlighter)) {
                return Self::Edit { path: shown(name), hunks };
            }
        }
        let Some(arguments) = input.as_object().filter(|arguments| !arguments.is_empty()) else {
            return if input.is_null() { Self::Nothing } else { Self::Json(pretty(input, highlighter)) };
        };
        match path.filter(|_| matches!(tool.kind, ToolKind::Read | ToolKind::Edit | ToolKind::Delete)) {
            Some(path) => {
                let rest: serde_json::Map<_, _> = arguments
                    .iter()
                    .filter(|(_, value)| value.as_str() != Some(path))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                Self::Path { path: shown(path), rest: (!rest.is_empty()).then(|| pretty(&rest.into(), highlighter)) }
            }
            None => Self::Json(pretty(input, highlighter)),
        }
    }
}

/// Edits in a list: `edits` with texts before and after, or `changes` with a patch for each file.
fn several(input: &Value, path: &str, highlighter: &mut Highlighter) -> Option<Value> {
    let mut all = Vec::new();
    for one in input["edits"].as_array().into_iter().flatten() {
        let text = |names: [&str; 3]| names.iter().find_map(|name| one[*name].as_str());
        let before = text(["old_string", "oldText", "old_text"])?;
        let after = text(["new_string", "newText", "new_text"])?;
        all.extend(changes::edit(path, before, after, highlighter).as_array().cloned().unwrap_or_default());
    }
    (!all.is_empty()).then(|| all.into())
}

/// A command line, which is a text or a list of words.
fn command(input: &Value) -> Option<String> {
    ["command", "cmd", "script"].iter().find_map(|name| match &input[*name] {
        Value::String(command) => Some(command.clone()),
        Value::Array(words) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            // A shell that is given a script adds nothing to it.
            Some(match words?.as_slice() {
                [shell, flags, script] if shell.ends_with("sh") && flags.starts_with('-') => (*script).to_owned(),
                words => words.join(" "),
            })
        }
        _ => None,
    })
}

fn pretty(value: &Value, highlighter: &mut Highlighter) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let shown = beginning(&text, OUTPUT);
    // Arguments of one line of text read better as that.
    match value {
        Value::String(text) => format!("<pre><code>{}</code></pre>", escape(beginning(text, OUTPUT))),
        _ => code(shown, "json", highlighter),
    }
}
