//! Sessions in the formats of other tools: plain values made of a session's record, texts in them.
//!
//! What was redacted when it was recorded is redacted here. Nothing here prints or sends. Archives that decklog
//! itself takes back are `decklog-journal`'s ([`decklog_journal::portable`]).

pub mod atif;
mod inline;
pub mod jsonl;
pub mod markdown;
pub mod otlp;

use std::path::Path;

use decklog_journal::Session;
use decklog_journal::event::{EventBody, SessionEnd, SessionStart};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::{self, JOURNAL_FILE, LoadError};

use inline::Inline;

/// A session with all its texts, whatever their length up to 64 MiB each.
#[derive(Debug)]
pub struct Whole {
    /// The session; no text in it stands in an artifact any more, but for what could not be read.
    pub session: Session,
    /// How it began.
    pub start: SessionStart,
    /// How it ended, if it did.
    pub end: Option<SessionEnd>,
    /// For each turn: its prompt and its patch, if there are any.
    pub texts: Vec<TurnTexts>,
    /// When the first and, if it is the end, the last event was recorded.
    pub times: (jiff::Timestamp, Option<jiff::Timestamp>),
    /// Texts that could not be read, as sentences.
    pub unread: Vec<String>,
}

/// Texts beside a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnTexts {
    /// What was sent.
    pub prompt: Option<String>,
    /// What it changed.
    pub patch: Option<String>,
}

/// Reads the session in `dir` with all its texts.
///
/// # Errors
/// [`LoadError`]; a text that cannot be read is replaced by its beginning, and says so.
pub fn read(dir: &Path) -> Result<Whole, LoadError> {
    let mut session = session::load(dir)?;
    let (mut start, mut end) = (None, None);
    for item in JournalReader::open(&dir.join(JOURNAL_FILE))? {
        let Item::Event(event) = item? else { continue };
        match event.body {
            EventBody::SessionStart(body) if start.is_none() => start = Some((body, event.timestamp)),
            EventBody::SessionEnd(body) => end = Some((body, event.timestamp)),
            // It went on.
            EventBody::Resumed(_) => end = None,
            _ => {}
        }
    }
    let (mut start, began) = start.ok_or(LoadError::Empty)?;
    let mut inline = Inline::new(dir);
    inline.text(&mut start.prompt, &mut start.prompt_artifact);
    (session.prompt, session.prompt_artifact) = (start.prompt.clone(), None);
    let texts = session.turns.iter_mut().map(|turn| inline.turn(turn)).collect();
    for iteration in &mut session.iterations {
        inline.iteration(iteration);
    }
    for notice in &mut session.notices {
        inline.text(&mut notice.text, &mut notice.text_artifact);
    }
    let (end, ended) = end.unzip();
    Ok(Whole { session, start, end, texts, times: (began, ended), unread: inline.unread })
}
