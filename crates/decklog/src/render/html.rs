//! A session as one HTML page that stands for itself: no script, nothing loaded from elsewhere.
//!
//! Everything in it may come from an agent: it passes [`text::escape`], or is markdown without HTML. Should something
//! slip through all the same, the page's own policy forbids scripts and connections.
//! Must not know: files; what the page needs is handed over.

mod network;
mod patch;
mod text;

use decklog_journal::Session;
use decklog_journal::event::{Notice, PlanEntry, RateLimited, Validation};
use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::words::{Outcome, ShownStatus, ToolStatus, TurnOutcome};
use decklog_query::network::{Network, OfCalls};
use decklog_text::format::{cost, counted, duration, size, thousands, time};
use decklog_text::highlight::Highlighter;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::text::{code, escape, markdown};
use super::{session, transcript};

/// Lines of patches on one page.
const PATCH_LINES: usize = 20_000;
/// Bytes of a tool's input or output, or of a check's output, that are shown.
const OUTPUT: usize = 32 * 1024;

/// What a page is made of.
pub(crate) struct Page<'a> {
    pub(crate) session: &'a Session,
    pub(crate) status: ShownStatus,
    /// The whole prompt.
    pub(crate) prompt: &'a str,
    /// The patch of each turn, or why there is none to show.
    pub(crate) patches: &'a [Result<Vec<u8>, String>],
    /// Where its container connected, and what each call reached for; or why that cannot be shown.
    pub(crate) network: Result<(Network, OfCalls), String>,
    pub(crate) now: Timestamp,
    pub(crate) zone: &'a TimeZone,
}

/// Renders the page.
pub(crate) fn page(page: &Page<'_>) -> String {
    let session = page.session;
    let head = &session.head;
    let title = head.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or("(no prompt)");
    let title = escape(&decklog_text::format::cut(title.trim(), 100));
    let mut out = format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width, \
         initial-scale=1\">\n<meta name=referrer content=no-referrer>\n<meta http-equiv=Content-Security-Policy \
         content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=generator content=decklog>\n<title>{title}</title>\n<style>\n{}</style>\n<body>\n<header>\n\
         <h1>{title}</h1>\n",
        include_str!("html/style.css")
    );
    facts(page, &mut out);
    out.push_str("</header>\n<main>\n");
    out.push_str(&format!("<h2>Prompt</h2>\n<pre class=prose>{}</pre>\n", escape(page.prompt.trim_end())));
    let mut highlighter = Highlighter::default();
    let mut lines = PATCH_LINES;
    for (at, turn) in session.turns.iter().enumerate() {
        let changes = page.patches.get(at);
        show_turn(turn, changes, page.network.as_ref().ok(), &mut highlighter, &mut lines, &mut out);
    }
    for iteration in &session.iterations {
        let feedback = iteration.feedback.as_deref().unwrap_or_default();
        out.push_str(&format!(
            "<section>\n<h2>Iteration {} <small>· {}</small></h2>\n<div class=md>{}</div>\n</section>\n",
            iteration.iteration_number,
            iteration.critic_decision,
            markdown(feedback, &mut highlighter)
        ));
    }
    if !session.handoffs.is_empty() {
        out.push_str("<h2>Handoffs</h2>\n<ul>\n");
        for handoff in &session.handoffs {
            let (from, to, reason) = (escape(&handoff.from), escape(&handoff.to), escape(&handoff.reason));
            out.push_str(&format!("<li>{from} → {to} <small>{reason}</small></li>\n"));
        }
        out.push_str("</ul>\n");
    }
    network::section(page, &mut out);
    session.notices.iter().for_each(|one| notice(one, &mut out));
    for fault in &session.faults {
        out.push_str(&format!("<p class=\"notice bad\">journal: {}</p>\n", escape(&fault.to_string())));
    }
    out.push_str(&format!(
        "</main>\n<footer>Session <code>{}</code>, recorded by decklog {}.</footer>\n",
        head.id,
        escape(&head.decklog_version)
    ));
    out
}

fn facts(page: &Page<'_>, out: &mut String) {
    let head = &page.session.head;
    let word = session::outcome(page.status, head.outcome);
    let exit = head.exit_code.map(|code| format!(" <small>exit {code}</small>")).unwrap_or_default();
    let mut facts = vec![
        ("outcome", format!("<span class={}>{}</span>{exit}", color(word), escape(word))),
        ("session", format!("<code>{}</code> <small>{}</small>", head.id, head.kind)),
    ];
    if let Some(agents) = &head.agents {
        let models = head.models.as_deref().unwrap_or_default().join(", ");
        facts.push(("agent", format!("{} <small>{}</small>", escape(&agents.join(", ")), escape(&models))));
    }
    network::facts(page, &mut facts);
    // Whoever reads the page may live elsewhere: the hour alone would not tell.
    let offset = head.started_at.to_zoned(page.zone.clone()).strftime("%:z").to_string();
    let started = time(head.started_at, page.zone);
    facts.push(("started", format!("{started} <small>{offset}</small>, took {}", took(page))));
    let git = head.git.as_ref().map(|git| {
        let commit = git.head.as_deref().map_or("no commit", |id| id.get(..10).unwrap_or(id));
        format!(" <small>{} at {}</small>", escape(git.branch.as_deref().unwrap_or("detached")), escape(commit))
    });
    facts.push(("directory", format!("<code>{}</code>{}", escape(&head.working_dir), git.unwrap_or_default())));
    if let Some(files) = head.files_changed {
        facts.push(("changed", counted(files, "file")));
    }
    if let Some(tokens) = head.tokens {
        let dollars = head.cost_usd.map(|dollars| format!(" · {}", cost(dollars))).unwrap_or_default();
        facts.push(("tokens", format!("{} in, {} out{dollars}", thousands(tokens.input), thousands(tokens.output))));
    }
    if let Some(reason) = &head.checkpoint_reason {
        facts.push(("stopped", escape(reason)));
    }
    if let (Some(summary), Some(Outcome::Failed)) = (&head.summary, head.outcome) {
        facts.push(("summary", escape(summary)));
    }
    if let Some(failures) = head.recording_failures {
        let what = format!("incomplete: recording failed {}", counted(failures.into(), "time"));
        facts.push(("record", format!("<span class=bad>{what}</span>")));
    }
    out.push_str("<dl>\n");
    for (name, value) in facts {
        out.push_str(&format!("<dt>{name}<dd>{value}\n"));
    }
    out.push_str("</dl>\n");
}

fn took(page: &Page<'_>) -> String {
    let head = &page.session.head;
    session::took(head.started_at, head.ended_at.unwrap_or(head.last_event_at), page.status, page.now)
}

fn color(word: &str) -> &'static str {
    match word {
        "success" => "good",
        "failed" | "crashed" | "stalled" | "timed_out" => "bad",
        "running" => "quiet",
        _ => "warn",
    }
}

fn show_turn(
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
    let is_output = transcript::is_output(turn.permissions, &turn.command);
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

fn elsewhere(artifact: Option<&decklog_journal::event::ArtifactRef>, out: &mut String) {
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
        escape(&decklog_text::format::cut(title, 300))
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

fn notice(notice: &Notice, out: &mut String) {
    let class = if super::transcript::is_loud(&notice.code) { "warn" } else { "quiet" };
    let text = decklog_text::format::cut(&notice.text, 1000);
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    /// Relative luminance, as WCAG 2 has it.
    fn luminance(color: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).expect("two digits")) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn every_colour_is_legible_on_every_ground() {
        let css = include_str!("html/style.css");
        let themes: Vec<HashMap<&str, &str>> = css
            .split(":root {")
            .skip(1)
            .map(|theme| {
                let body = theme.split('}').next().unwrap_or_default();
                body.split(';').filter_map(|line| line.trim().strip_prefix("--")?.split_once(": ")).collect()
            })
            .collect();
        assert_eq!(themes.len(), 2);
        let on_page = ["text", "quiet", "link", "good", "bad", "warn"];
        let in_code = ["text", "comment", "string", "constant", "keyword", "type", "function"];
        for theme in themes {
            let pairs = on_page.iter().flat_map(|text| ["ground", "card"].map(|ground| (*text, ground))).chain(
                in_code.iter().flat_map(|text| {
                    ["ground", "card", "added", "added-word", "removed", "removed-word"].map(|ground| (*text, ground))
                }),
            );
            for (text, ground) in pairs {
                let (a, b) = (luminance(theme[text]), luminance(theme[ground]));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{text} {} on {ground} {}: {contrast:.2}", theme[text], theme[ground]);
            }
        }
    }
}
