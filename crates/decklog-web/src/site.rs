//! Sessions as pages that need no server: the list of them, for the pages of [`crate::page`] beside it.
//!
//! No script, nothing loaded from elsewhere: what lies in one directory works from any server, and from a disk.
//! Must not know: files.

use decklog_journal::Head;
use decklog_journal::store::Listed;
use decklog_query::show;
use decklog_text::format::{cost, counted, cut, thousands, time};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::html::escape;
use crate::page::{color, document};

/// The name of a session's page.
#[must_use]
pub fn name_of(head: &Head) -> String {
    format!("{}.html", head.id)
}

/// The list of these sessions, the newest first.
#[must_use]
pub fn index(sessions: &[Listed], now: Timestamp, zone: &TimeZone) -> String {
    let mut out = document("Sessions");
    let count = |word: &str| sessions.iter().filter(|one| show::outcome(one.status, one.head.outcome) == word).count();
    let (success, dollars) = (count("success"), sessions.iter().filter_map(|one| one.head.cost_usd).sum::<f64>());
    let tokens: u64 =
        sessions.iter().filter_map(|one| one.head.tokens).map(|tokens| tokens.input + tokens.output).sum();
    out.push_str(&format!(
        "</header>\n<main>\n<p>{}, {success} with success · {} tokens · {}</p>\n<div class=scroll tabindex=0 role=region \
         aria-label=Sessions>\n<table class=list>\n<thead><tr><th>Outcome<th>Prompt<th>Kind<th>Agent<th>Project<th>Took\
         <th>Started\n<tbody>\n",
        counted(sessions.len() as u64, "session"),
        thousands(tokens),
        cost(dollars)
    ));
    for session in sessions {
        row(session, now, zone, &mut out);
    }
    out + "</table></div>\n</main>\n<footer>Recorded by decklog.</footer>\n"
}

fn row(session: &Listed, now: Timestamp, zone: &TimeZone, out: &mut String) {
    let head = &session.head;
    let word = show::outcome(session.status, head.outcome);
    let prompt = head.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or("(no prompt)");
    out.push_str(&format!(
        "<tr><td><span class={}>{}</span><td><a href=\"{}\">{}</a><td>{}<td>{}<td>{}<td>{}<td>{}\n",
        color(word),
        escape(word),
        name_of(head),
        escape(&cut(prompt.trim(), 100)),
        head.kind,
        escape(&head.agents.as_deref().unwrap_or_default().join(", ")),
        escape(&head.project),
        show::took(head.started_at, head.ended_at.unwrap_or(head.last_event_at), session.status, now),
        time(head.started_at, zone)
    ));
}
