//! A session as one HTML page that stands for itself: no script, nothing loaded from elsewhere.
//!
//! Everything in it may come from an agent: it passes [`escape`], or is markdown without HTML. Should something slip
//! through all the same, the page's own policy forbids scripts and connections.
//! Must not know: files; what the page needs is handed over.

use decklog_journal::Session;
use decklog_journal::words::{Outcome, ShownStatus};
use decklog_query::network::{Network, OfCalls};
use decklog_query::show;
use decklog_text::format::{cost, counted, cut, thousands, time};
use decklog_text::highlight::Highlighter;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{network, turn};
use crate::html::{escape, markdown};

/// Lines of patches on one page.
const PATCH_LINES: usize = 20_000;

/// What a page is made of.
pub(super) struct Page<'a> {
    pub(super) session: &'a Session,
    pub(super) status: ShownStatus,
    /// The whole prompt.
    pub(super) prompt: &'a str,
    /// The patch of each turn, or why there is none to show.
    pub(super) patches: &'a [Result<Vec<u8>, String>],
    /// Where its container connected, and what each call reached for; or why that cannot be shown.
    pub(super) network: Result<(Network, OfCalls), String>,
    pub(super) now: Timestamp,
    pub(super) zone: &'a TimeZone,
}

/// The beginning of a page that stands for itself, as far as its heading; `title` is HTML.
pub(crate) fn document(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width, \
         initial-scale=1\">\n<meta name=referrer content=no-referrer>\n<meta http-equiv=Content-Security-Policy \
         content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=generator content=decklog>\n<title>{title}</title>\n<style>\n{}</style>\n<body>\n<header>\n\
         <h1>{title}</h1>\n",
        include_str!("style.css")
    )
}

/// Renders the page.
pub(super) fn page(page: &Page<'_>) -> String {
    let session = page.session;
    let head = &session.head;
    let title = head.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or("(no prompt)");
    let title = escape(&cut(title.trim(), 100));
    let mut out = document(&title);
    facts(page, &mut out);
    out.push_str("</header>\n<main>\n");
    out.push_str(&format!("<h2>Prompt</h2>\n<pre class=prose>{}</pre>\n", escape(page.prompt.trim_end())));
    let mut highlighter = Highlighter::default();
    let mut lines = PATCH_LINES;
    for (at, turn) in session.turns.iter().enumerate() {
        let changes = page.patches.get(at);
        turn::turn(turn, changes, page.network.as_ref().ok(), &mut highlighter, &mut lines, &mut out);
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
    session.notices.iter().for_each(|one| turn::notice(one, &mut out));
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
    let word = show::outcome(page.status, head.outcome);
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
    show::took(head.started_at, head.ended_at.unwrap_or(head.last_event_at), page.status, page.now)
}

/// The class of how something came out.
pub(crate) fn color(word: &str) -> &'static str {
    match word {
        "success" => "good",
        "failed" | "crashed" | "stalled" | "timed_out" => "bad",
        "running" => "quiet",
        _ => "warn",
    }
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
        let css = include_str!("style.css");
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
