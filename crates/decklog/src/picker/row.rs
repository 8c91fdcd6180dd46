//! A session as a line that can be picked: what is shown of it is what is searched.
//!
//! Must not know: the screen, where sessions come from.

use decklog_journal::SessionId;
use decklog_query::show;
use decklog_text::visible;
use jiff::Timestamp;

/// Characters of each part: the preview shows more.
const MAX_NAME: usize = 40;
const MAX_PROMPT: usize = 160;

/// A session in the list.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: SessionId,
    pub(crate) started_at: Timestamp,
    /// As `ls` shows it.
    pub(crate) outcome: &'static str,
    /// Outcome, agent, project, prompt, with one space between, safe to show.
    pub(crate) text: String,
    /// Where agent, project and prompt begin in `text`, in characters.
    pub(crate) starts: [u16; 3],
}

impl Row {
    pub(crate) fn new(of: &decklog_journal::Row<'_>) -> Self {
        let outcome = show::outcome(of.status, of.outcome);
        let mut row = Self { id: of.id(), started_at: of.started_at, outcome, text: outcome.into(), starts: [0; 3] };
        let agents = of.agents.join(",");
        let parts = [(agents.as_str(), MAX_NAME), (of.project, MAX_NAME), (of.prompt, MAX_PROMPT)];
        for (start, (part, limit)) in row.starts.iter_mut().zip(parts) {
            row.text.push(' ');
            *start = u16::try_from(row.text.chars().count()).unwrap_or(u16::MAX);
            let words = part.split_whitespace().collect::<Vec<_>>().join(" ");
            row.text.extend(visible(&words).chars().take(limit));
        }
        row
    }
}

/// How long ago, in as few characters as tell it: `now`, `5m`, `3h`, `12d`, `7w`, `2y`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        0..60 => "now".into(),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        172_800..5_184_000 => format!("{}d", seconds / 86_400),
        5_184_000..63_072_000 => format!("{}w", seconds / 604_800),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().expect("a time");
        for (then, shown) in [
            ("2026-05-01T12:00:09Z", "now"),
            ("2026-05-01T11:59:01Z", "now"),
            ("2026-05-01T11:55:00Z", "5m"),
            ("2026-04-30T12:00:00Z", "24h"),
            ("2026-04-19T12:00:00Z", "12d"),
            ("2026-01-01T12:00:00Z", "17w"),
            ("2023-01-01T12:00:00Z", "3y"),
        ] {
            assert_eq!(age(then.parse().expect("a time"), now), shown);
        }
    }

    #[test]
    fn nothing_hostile_is_shown_or_misplaced() {
        use decklog_journal::words::{Outcome, SessionKind, ShownStatus};
        let agents = ["a\u{1b}[31m".to_owned(), "b".to_owned()];
        let at = Timestamp::UNIX_EPOCH;
        let row = Row::new(&decklog_journal::Row {
            number: "20260501T134412-3f2a".parse::<SessionId>().expect("an id").to_number(),
            kind: SessionKind::Run,
            status: ShownStatus::Completed,
            outcome: Some(Outcome::Success),
            started_at: at,
            ended_at: None,
            last_event_at: at,
            duration_secs: None,
            exit_code: None,
            prompt: &format!("  fix\n\u{202e} it {}", "x".repeat(10_000)),
            prompt_hash: "",
            working_dir: "",
            project: "漢\u{9b}",
            agents: &agents,
            models: &[],
            actor: None,
            critic: None,
            turns: 1,
            iterations: None,
            iterations_judged: None,
            iterations_agreed: None,
            tokens: None,
            cost_usd: None,
            shares: std::borrow::Cow::Borrowed(&[]),
            files_changed: None,
            image: None,
            container: None,
            linked_to: None,
        });
        assert!(row.text.starts_with("success a␛[31m,b 漢<U+009B> fix <U+202E> it xxx"), "{}", row.text);
        assert!(row.text.chars().count() < 300);
        let part = |at: usize| row.text.chars().skip(row.starts[at].into()).collect::<String>();
        assert!(part(0).starts_with("a␛") && part(1).starts_with('漢') && part(2).starts_with("fix"));
    }
}
