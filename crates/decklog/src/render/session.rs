//! A session's head as text: rows of `ls`, the top and bottom of `show`.

use decklog_journal::words::{Outcome, ShownStatus};
use decklog_journal::{Head, Row};
use decklog_query::show::{outcome, took};
use decklog_text::format::{cost, counted, push_time, thousands, time};
use decklog_text::{visible, visible_lines};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Paint;
use super::table::{Cells, Column, WHEN_FILLED, pieces};

/// Columns of `ls`, by name. Those with a lower number stay longer on a narrow terminal.
const COLUMNS: [Column; 18] = [
    Column { title: "ID", priority: 0 },
    Column { title: "STARTED", priority: 5 },
    Column { title: "DURATION", priority: 4 },
    Column { title: "KIND", priority: 7 },
    Column { title: "AGENT", priority: 2 },
    Column { title: "PROJECT", priority: 3 },
    Column { title: "OUTCOME", priority: 1 },
    Column { title: "EXIT", priority: 8 },
    Column { title: "MODEL", priority: 9 },
    Column { title: "TURNS", priority: 9 },
    Column { title: "ITERATIONS", priority: 9 },
    Column { title: "TOKENS", priority: 9 },
    Column { title: "COST", priority: 9 },
    Column { title: "FILES", priority: 9 },
    Column { title: "DIR", priority: 9 },
    Column { title: "IMAGE", priority: WHEN_FILLED },
    Column { title: "CONTAINER", priority: WHEN_FILLED + 1 },
    Column { title: "PROMPT", priority: 0 },
];

/// What `ls` shows unless told otherwise.
pub(crate) const DEFAULT_COLUMNS: &str = "id,started,duration,kind,agent,project,outcome,exit,image,container,prompt";

/// Reads a list of column names.
pub(crate) fn parse_columns(text: &str) -> Result<Vec<usize>, String> {
    let names = || COLUMNS.iter().map(|column| column.title.to_lowercase()).collect::<Vec<_>>().join(", ");
    text.split(',')
        .map(|name| {
            let name = name.trim();
            COLUMNS
                .iter()
                .position(|column| column.title.eq_ignore_ascii_case(name))
                .ok_or_else(|| format!("unknown column {name:?}: choose from {}", names()))
        })
        .collect()
}

fn paint_outcome(word: &str, cell: String, paint: Paint) -> String {
    match word {
        "success" => paint.good(&cell),
        "failed" | "crashed" => paint.bad(&cell),
        "interrupted" | "checkpointed" | "max_iterations_reached" => paint.warn(&cell),
        "running" => paint.accent(&cell),
        _ => cell,
    }
}

fn cell(text: &mut String, column: usize, row: &Row<'_>, now: Timestamp, zone: &TimeZone) {
    match COLUMNS[column].title {
        "ID" => text.push_str(row.id().as_str()),
        "STARTED" => push_time(text, row.started_at, zone),
        "DURATION" => {
            text.push_str(&took(row.started_at, row.ended_at.unwrap_or(row.last_event_at), row.status, now));
        }
        "KIND" => {
            text.push_str(row.kind.as_str());
            if let Some(count) = row.iterations {
                text.push_str(&format!(" ×{count}"));
            }
        }
        "ITERATIONS" => text.extend(row.iterations.map(|count| count.to_string())),
        "AGENT" => join(text, row.agents),
        "PROJECT" => text.push_str(row.project),
        "OUTCOME" => text.push_str(outcome(row.status, row.outcome)),
        "EXIT" => text.extend(row.exit_code.map(|code| code.to_string())),
        "MODEL" => join(text, row.models),
        "TURNS" => text.push_str(&row.turns.to_string()),
        "TOKENS" => text.extend(row.tokens.map(|tokens| thousands(tokens.input.saturating_add(tokens.output)))),
        "COST" => text.extend(row.cost_usd.map(cost)),
        "FILES" => text.extend(row.files_changed.map(|count| count.to_string())),
        "DIR" => text.push_str(row.working_dir),
        "IMAGE" => text.extend(row.image),
        "CONTAINER" => text.extend(row.container),
        _ => {
            one_line(text, row.prompt);
            if let Some(target) = row.linked_to {
                text.push_str(&format!(" -> {}", target.display()));
            }
        }
    }
}

fn join(text: &mut String, names: &[String]) {
    for (at, name) in names.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(name);
    }
}

/// Adds `more` with a space for each run of white space.
fn one_line(text: &mut String, more: &str) {
    let (bytes, mut from) = (more.as_bytes(), 0);
    let start = text.len();
    for (at, byte) in bytes.iter().enumerate() {
        // Most white space is one space, which goes with the words around it.
        let is_plain = *byte != b' ' || bytes.get(at + 1).is_some_and(|next| *next > b' ');
        if *byte > b' ' || (is_plain && *byte == b' ' && at > from) {
            continue;
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r') {
            push_word(text, start, &more[from..at]);
            from = at + 1;
        }
    }
    push_word(text, start, &more[from..]);
}

fn push_word(text: &mut String, start: usize, word: &str) {
    if !word.is_empty() {
        text.push_str(if text.len() == start { "" } else { " " });
        text.push_str(word);
    }
}

/// Adds the cells of one session in `ls`.
pub(crate) fn list_row(cells: &mut Cells, row: &Row<'_>, columns: &[usize], now: Timestamp, zone: &TimeZone) {
    for column in columns {
        cells.cell(|text| cell(text, *column, row, now, zone));
    }
}

/// The table of `ls`, of rows that [`list_row`] made, handed on piece by piece.
///
/// # Errors
/// Those of `take`.
pub(crate) fn list<E>(
    cells: &[Cells],
    columns: &[usize],
    width: Option<usize>,
    paint: Paint,
    take: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let chosen: Vec<Column> =
        columns.iter().map(|at| Column { title: COLUMNS[*at].title, priority: COLUMNS[*at].priority }).collect();
    let style = |at: usize, whole: &str, cell| {
        if chosen[at].title == "OUTCOME" { paint_outcome(whole, cell, paint) } else { cell }
    };
    pieces(&chosen, cells, width, paint, style, take)
}

fn row(name: &str, value: &str, paint: Paint) -> String {
    format!("{} {value}\n", paint.dim(&format!("{name:<9}")))
}

/// The top of `show` and `watch`.
pub(crate) fn header(
    head: &Head,
    prompt: &str,
    status: ShownStatus,
    now: Timestamp,
    zone: &TimeZone,
    paint: Paint,
) -> String {
    let word = outcome(status, head.outcome);
    let exit = head.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default();
    let mut text = row(
        "session",
        &format!(
            "{} · {} · {}{exit}",
            paint.bold(head.id.as_str()),
            head.kind,
            paint_outcome(word, word.to_owned(), paint)
        ),
        paint,
    );
    if let Some(agents) = &head.agents {
        let models =
            head.models.as_deref().map(|models| format!(" ({})", visible(&models.join(", ")))).unwrap_or_default();
        text.push_str(&row("agent", &format!("{}{models}", visible(&agents.join(", "))), paint));
    }
    if let (Some(image), Some(container)) = (&head.image_config_name, &head.container_name) {
        let tag = head.image_tag.as_deref().map(|tag| format!(" ({})", visible(tag))).unwrap_or_default();
        let what = if head.boxed { ", agents and all, " } else { ", " };
        text.push_str(&row(
            "image",
            &format!("{}{tag}{what}in container {}", visible(image), visible(container)),
            paint,
        ));
    }
    let age = if status == ShownStatus::Active { "running for" } else { "took" };
    text.push_str(&row(
        "started",
        &format!(
            "{}, {age} {}",
            time(head.started_at, zone),
            took(head.started_at, head.ended_at.unwrap_or(head.last_event_at), status, now)
        ),
        paint,
    ));
    let git = head.git.as_ref().map(|git| {
        let branch = git.branch.as_deref().unwrap_or("detached");
        let commit = git.head.as_deref().map_or("no commit", |id| id.get(..10).unwrap_or(id));
        format!(" ({} at {})", visible(branch), visible(commit))
    });
    text.push_str(&row("dir", &format!("{}{}", visible(&head.working_dir), git.unwrap_or_default()), paint));
    if let Some(reason) = &head.checkpoint_reason {
        text.push_str(&row("stopped", &visible(reason), paint));
    }
    if let Some(failures) = head.recording_failures {
        text.push_str(&row(
            "RECORD",
            &paint.bad(&format!("incomplete: recording failed {}", counted(failures.into(), "time"))),
            paint,
        ));
    }
    text.push('\n');
    text.push_str(&paint.bold("prompt"));
    text.push('\n');
    for line in visible_lines(prompt).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push('\n');
    text
}

/// The bottom of `show`, and the summary of `run`.
pub(crate) fn totals(head: &Head, paint: Paint) -> String {
    let mut parts = Vec::new();
    if let Some(files) = head.files_changed {
        parts.push(format!("{} changed", counted(files, "file")));
    }
    if let Some(tokens) = head.tokens {
        let cached = if tokens.cached_input > 0 {
            format!(" ({} cached)", thousands(tokens.cached_input))
        } else {
            String::new()
        };
        parts.push(format!("{} tokens in{cached}, {} out", thousands(tokens.input), thousands(tokens.output)));
    }
    if let Some(dollars) = head.cost_usd {
        parts.push(cost(dollars));
    }
    if parts.is_empty() { String::new() } else { paint.dim(&parts.join(" · ")) + "\n" }
}

/// One line on how a session ended.
pub(crate) fn ending(head: &Head, status: ShownStatus, paint: Paint) -> String {
    let word = outcome(status, head.outcome);
    let summary = match (&head.summary, head.outcome) {
        (Some(summary), Some(Outcome::Failed)) => format!(": {}", visible(summary)),
        _ => String::new(),
    };
    format!("{}{summary}\n", paint_outcome(word, word.to_owned(), paint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_one_space() {
        for text in ["a b", " a", "a ", "a  b", "a\nb\t\tc", "\n", "", "a \n b", "ä ö\r\nü  ", "\u{1}a \u{2}"] {
            let mut line = String::from("before:");
            one_line(&mut line, text);
            assert_eq!(
                line,
                format!("before:{}", text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
                "{text:?}"
            );
        }
    }
}
