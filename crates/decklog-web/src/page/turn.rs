//! One turn of a session on its page.
//!
//! Must not know: files.

use decklog_journal::event::{ArtifactRef, Notice, PlanEntry, RateLimited, Validation};
use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::words::{ToolStatus, TurnOutcome};
use decklog_query::network::{Network, OfCalls};
use decklog_query::show::{is_loud, is_output};
use decklog_text::format::{cut as shortened, duration, size};
use decklog_text::highlight::Highlighter;

use super::render::color;
use super::{network, patch};
use crate::html::{code, escape, markdown};

/// Bytes of a tool's input or output, or of a check's output, that are shown.
const OUTPUT: usize = 32 * 1024;

/// A turn: what was asked, done and said, and what it changed.
pub(super) fn turn(
    turn: &Turn,
    changes: Option<&Result<Vec<u8>, String>>,
    reached: Option<&(Network, OfCalls)>,
    highlighter: &mut Highlighter,
    lines: &mut usize,
    out: &mut String,
) {
    let model = turn.model.as_deref().map(|model| format!(" · {}", escape(model))).unwrap_or_default();
    let permissions = turn.permissions.map(|permissions| format!(" · {permissions}")).unwrap_or_default();
    out.push_str(&format!(
        "<section id=turn-{0}>\n<h2>Turn {0} · {1} <small>{2}{model}{permissions}</small></h2>\n",
        turn.turn,
        // An `mcp` session has no agent.
        if turn.agent.is_empty() { "MCP client".into() } else { escape(&turn.agent) },
        turn.role
    ));
    if !turn.prompt.is_empty() {
        let more = turn.prompt_artifact.as_ref().map_or("", |_| "…");
        out.push_str(&format!("<pre class=prose>{}{more}</pre>\n", escape(turn.prompt.trim_end())));
    }
    let last_plan = turn.steps.iter().rev().find_map(|step| match step {
        Step::Plan { entries } => Some(entries.as_slice()),
        _ => None,
    });
    let mut planned = false;
    let is_output = is_output(turn.permissions, &turn.command);
    for step in &turn.steps {
        match step {
            Step::Message(said) if is_output => {
                out.push_str(&format!("<pre class=prose>{}</pre>\n", escape(said.text.trim_end())));
                elsewhere(said.text_artifact.as_ref().or(said.cut_artifact.as_ref()), out);
            }
            Step::Message(said) => {
                out.push_str(&format!("<div class=md>{}</div>\n", markdown(&said.text, highlighter)));
                elsewhere(said.text_artifact.as_ref().or(said.cut_artifact.as_ref()), out);
            }
            Step::Thought(said) => {
                out.push_str("<details class=thought><summary>Reasoning</summary>\n<div class=md>");
                out.push_str(&markdown(&said.text, highlighter));
                out.push_str("</div></details>\n");
                elsewhere(said.text_artifact.as_ref(), out);
            }
            // Where it first came, as it was in the end.
            Step::Plan { .. } if !std::mem::replace(&mut planned, true) => plan(last_plan.unwrap_or_default(), out),
            Step::Plan { .. } => {}
            Step::Tool(tool) => {
                show_tool(tool, highlighter, out);
                if let Some(network) = reached.and_then(|(_, calls)| calls.get(&(turn.turn, tool.call_id.clone()))) {
                    network::under_call(network, out);
                }
            }
            Step::Notice(one) => notice(one, out),
        }
    }
    turn.rate_limits.iter().for_each(|limit| rate_limit(limit, out));
    ending(turn, out);
    turn.validations.iter().for_each(|check| validation(check, out));
    match changes {
        Some(Ok(bytes)) => {
            let shown = patch::patch(bytes, highlighter, lines);
            if !shown.is_empty() {
                out.push_str(&format!("<h3>Changes</h3>\n{shown}"));
            }
        }
        Some(Err(reason)) => {
            out.push_str(&format!("<p class=warn>Its changes cannot be shown: {}</p>\n", escape(reason)))
        }
        None => {}
    }
    for file in &turn.withheld {
        let (path, reason) = (escape(&file.path), escape(&file.reason));
        out.push_str(&format!("<p class=warn>withheld: <code>{path}</code> ({reason})</p>\n"));
    }
    out.push_str("</section>\n");
}

fn elsewhere(artifact: Option<&ArtifactRef>, out: &mut String) {
    if let Some(artifact) = artifact {
        let (bytes, path) = (size(artifact.bytes), escape(&artifact.path));
        out.push_str(&format!("<p class=quiet>… {bytes} in all, in <code>{path}</code> of the session</p>\n"));
    }
}

fn plan(entries: &[PlanEntry], out: &mut String) {
    out.push_str("<ul class=plan>\n");
    for entry in entries {
        let mark = match entry.status.as_str() {
            "completed" => "<span class=good>✓</span>",
            "in_progress" => "▸",
            _ => "·",
        };
        out.push_str(&format!("<li>{mark} {} <small>{}</small></li>\n", escape(&entry.content), escape(&entry.status)));
    }
    out.push_str("</ul>\n");
}

fn show_tool(tool: &ToolUse, highlighter: &mut Highlighter, out: &mut String) {
    let (class, mark, color) = match tool.status {
        ToolStatus::Failed => (" class=failed", "✗ failed", "bad"),
        ToolStatus::Completed => ("", "✓", "good"),
        ToolStatus::Pending | ToolStatus::InProgress => ("", "… unfinished", "warn"),
    };
    let took = tool.duration_secs.map(|secs| format!(" <small>{secs:.1}s</small>")).unwrap_or_default();
    let code_shown = tool.exit_code.filter(|code| *code != 0).map(|code| format!(" exit {code}")).unwrap_or_default();
    let title = tool.title.as_deref().unwrap_or_default();
    // Over ACP the name is but the sort of tool, and the title says the same in words.
    let name = if tool.name == tool.kind.as_str() && !title.is_empty() {
        String::new()
    } else {
        format!("<code>{}</code> ", escape(&tool.name))
    };
    out.push_str(&format!(
        "<details{class}><summary><span class={color}>{mark}{code_shown}</span> {name}{}{took}</summary>\n",
        escape(&shortened(title, 300))
    ));
    if !tool.input.is_null() {
        let input = serde_json::to_string_pretty(&tool.input).unwrap_or_default();
        out.push_str(&format!("<h4>Input</h4>\n{}", code(head_of(&input), "json", highlighter)));
        cut(&input, out);
    }
    elsewhere(tool.input_artifact.as_ref(), out);
    if !tool.output.is_empty() {
        out.push_str("<h4>Output</h4>\n");
        output(&tool.output, out);
    }
    elsewhere(tool.output_artifact.as_ref(), out);
    out.push_str("</details>\n");
}

/// The beginning of a long text.
fn head_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(OUTPUT)]
}

fn output(text: &str, out: &mut String) {
    out.push_str(&format!("<pre tabindex=0>{}</pre>\n", escape(head_of(text).trim_end())));
    cut(text, out);
}

/// Says that a text was cut, if it was.
fn cut(text: &str, out: &mut String) {
    if text.len() > OUTPUT {
        out.push_str(&format!("<p class=quiet>… {} in all</p>\n", size(text.len() as u64)));
    }
}

/// A notice.
pub(super) fn notice(notice: &Notice, out: &mut String) {
    let class = if is_loud(&notice.code) { "warn" } else { "quiet" };
    let text = shortened(&notice.text, 1000);
    out.push_str(&format!("<p class=\"notice {class}\">{}: {}</p>\n", escape(&notice.code), escape(&text)));
}

fn rate_limit(limit: &RateLimited, out: &mut String) {
    let until = limit.resets_at.map(|at| format!(" until {at:.0}")).unwrap_or_default();
    out.push_str(&format!("<p class=\"notice warn\">rate limited{until}: {}</p>\n", escape(&limit.message)));
}

fn ending(turn: &Turn, out: &mut String) {
    let Some(outcome) = turn.outcome else {
        out.push_str("<p class=warn>This turn has no end: it is still running, or was cut off.</p>\n");
        return;
    };
    let class = if outcome == TurnOutcome::Success { "good" } else { color(outcome.as_str()) };
    let took = turn.duration_secs.map(|secs| format!(" after {}", duration(secs))).unwrap_or_default();
    out.push_str(&format!("<p><span class={class}>{outcome}</span>{took}</p>\n"));
    if let Some(error) = &turn.error {
        out.push_str(&format!("<pre class=prose>{}</pre>\n", escape(error)));
    }
}

fn validation(check: &Validation, out: &mut String) {
    let (class, word) = if check.passed {
        ("", "<span class=good>✓ check passed")
    } else {
        (" class=failed open", "<span class=bad>✗ check failed")
    };
    out.push_str(&format!(
        "<details{class}><summary>{word}</span> <code>{}</code> <small>{:.1}s</small></summary>\n",
        escape(&check.command),
        check.duration_secs
    ));
    if check.output.is_empty() {
        out.push_str("<p class=quiet>It printed nothing.</p>\n");
    } else {
        output(&check.output, out);
    }
    elsewhere(check.output_artifact.as_ref(), out);
    out.push_str("</details>\n");
}
