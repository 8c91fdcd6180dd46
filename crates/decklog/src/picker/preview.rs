//! What the highlighted session was about: facts, prompt, last words, files. Read on a thread of its own.
//!
//! Must not know: the screen. Never reads more than a bounded part of a journal.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};

use decklog_journal::event::EventBody;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::{SessionId, SessionStore, store};
use decklog_query::show;
use decklog_text::format::{cost, counted, time};
use decklog_text::visible;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes of a longer journal that are read.
const MAX_JOURNAL: u64 = 16 * 1024 * 1024;
/// Characters of a text, and files, that are shown.
const MAX_TEXT: usize = 2000;
const MAX_FILES: usize = 50;

/// A line of the preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Title(&'static str),
    /// A fact and its name.
    Fact(&'static str, String),
    Text(String),
    /// `added`, `modified`, …, and a path.
    File(String, String),
}

/// What is known of a session; safe to show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preview {
    pub(crate) id: Option<SessionId>,
    pub(crate) lines: Vec<Line>,
}

/// Starts the thread. It ends when the sender is gone; of several that are asked for, it reads the last.
pub(crate) fn start(
    store: SessionStore,
    now: Timestamp,
    zone: TimeZone,
    mut tell: impl FnMut(Preview) + Send + 'static,
) -> io::Result<Sender<SessionId>> {
    let (ask, asked) = std::sync::mpsc::channel::<SessionId>();
    std::thread::Builder::new().spawn(move || {
        let mut next = asked.recv().ok();
        while let Some(id) = next.take() {
            let id = asked.try_iter().last().unwrap_or(id);
            match preview(&store.entry(&id), now, &zone, &asked) {
                Ok(lines) => tell(Preview { id: Some(id), lines }),
                Err(newer) => next = newer,
            }
            if next.is_none() {
                next = asked.recv().ok();
            }
        }
    })?;
    Ok(ask)
}

/// Reads a session, or gives what is asked for meanwhile.
fn preview(
    dir: &Path,
    now: Timestamp,
    zone: &TimeZone,
    asked: &Receiver<SessionId>,
) -> Result<Vec<Line>, Option<SessionId>> {
    let listed = match store::current_head(dir) {
        Ok(head) => store::listed(head, dir.to_owned()),
        Err(error) => return Ok(vec![Line::Text(visible(&error).into_owned())]),
    };
    let head = &listed.head;
    let show = |text: &str| visible(text).into_owned();
    let exit = head.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default();
    let end = head.ended_at.unwrap_or(head.last_event_at);
    let took = show::took(head.started_at, end, listed.status, now);
    let mut lines = vec![
        Line::Fact("session", head.id.to_string()),
        Line::Fact("outcome", format!("{}{exit}", show::outcome(listed.status, head.outcome))),
        Line::Fact("started", format!("{}, {}", time(head.started_at, zone), took)),
        Line::Fact("dir", show(&head.working_dir)),
    ];
    if let Some(agents) = &head.agents {
        let models = head.models.as_deref().map(|models| format!(" ({})", models.join(", "))).unwrap_or_default();
        lines.insert(2, Line::Fact("agent", show(&format!("{}{models}", agents.join(", ")))));
    }
    if let Some(dollars) = head.cost_usd {
        lines.push(Line::Fact("cost", cost(dollars)));
    }
    text("prompt", &head.prompt, &mut lines);
    let told = read(&dir.join(JOURNAL_FILE), asked)?;
    if !told.last_words.trim().is_empty() {
        text("last message", &told.last_words, &mut lines);
    }
    if !told.files.is_empty() {
        lines.push(Line::Title("files"));
        let shown = told.files.iter().take(MAX_FILES);
        lines.extend(shown.map(|(path, status)| Line::File(show(status), show(path))));
        if told.files.len() > MAX_FILES {
            lines.push(Line::Text(format!("… and {} more", counted((told.files.len() - MAX_FILES) as u64, "file"))));
        }
    }
    if told.cut {
        lines.push(Line::Text("(its journal is long: only its beginning was read)".into()));
    }
    Ok(lines)
}

fn text(title: &'static str, text: &str, lines: &mut Vec<Line>) {
    lines.push(Line::Title(title));
    let cut: String = text.trim().chars().take(MAX_TEXT).collect();
    lines.extend(cut.lines().map(|line| Line::Text(visible(&line.replace('\t', "    ")).into_owned())));
}

#[derive(Default)]
struct Told {
    last_words: String,
    files: BTreeMap<String, String>,
    cut: bool,
}

fn read(journal: &Path, asked: &Receiver<SessionId>) -> Result<Told, Option<SessionId>> {
    let mut told = Told::default();
    let Ok(reader) = JournalReader::open(journal) else { return Ok(told) };
    let mut read = 0_u64;
    for (count, item) in (0_usize..).zip(reader) {
        if count.is_multiple_of(256)
            && let Ok(newer) = asked.try_recv()
        {
            return Err(Some(newer));
        }
        if read > MAX_JOURNAL {
            told.cut = true;
            break;
        }
        let Ok(Item::Event(event)) = item else { continue };
        match event.body {
            EventBody::Message(message) => {
                read += message.text.len() as u64;
                if !message.continued {
                    told.last_words.clear();
                }
                if told.last_words.len() < 4 * MAX_TEXT {
                    told.last_words.push_str(&message.text);
                }
            }
            EventBody::ToolResult(result) => read += result.output.len() as u64,
            EventBody::TurnEnd(end) => {
                told.files.extend(end.files.into_iter().map(|file| (file.path, file.status)));
            }
            _ => {}
        }
        // What a line weighs beside its texts.
        read += 256;
    }
    Ok(told)
}
