//! Search by reading: a literal text, punctuation included, or a regular expression, in the texts of every session; and what a
//! query asks for, where there is no index.
//!
//! Sessions are read in parallel, newest first, until there are enough hits. A line of a journal that cannot hold what is
//! searched for is not parsed. Must not know: the terminal, the index of words.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use decklog_journal::parallel::on_two_threads;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::verify::find_artifact;
use decklog_journal::{SessionId, SessionStore};
use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

use crate::excerpt;
use crate::query::Query;
use crate::search::{Hit, Hits, RANKED};
use crate::text::{Passage, Passages};
use crate::words::BREAK;

/// A journal that is longer is not held in memory to be looked through.
const MAX_HELD: u64 = 64 << 20;

/// What is searched for.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    needle: Option<Needle>,
}

/// What must stand somewhere for a text to be found: as it is, and as it is in JSON.
#[derive(Debug)]
struct Needle {
    plain: Finder<'static>,
    json: Finder<'static>,
}

impl Pattern {
    /// A text as it stands.
    ///
    /// # Errors
    /// When it is empty, or too long to be searched for.
    pub fn exact(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("there is nothing to search for".into());
        }
        let json = serde_json::to_string(text).map_err(|error| error.to_string())?;
        let needle = Needle {
            plain: Finder::new(text).into_owned(),
            json: Finder::new(&json.as_bytes()[1..json.len() - 1]).into_owned(),
        };
        let regex = Regex::new(&regex::escape(text)).map_err(|error| error.to_string())?;
        Ok(Self { regex, needle: Some(needle) })
    }

    /// A regular expression in the syntax of the `regex` crate; `^` and `$` are the ends of lines.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn regex(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(text).multi_line(true).build().map_err(|error| error.to_string())?;
        if regex.is_match("") {
            Err("it matches nothing at all: every text would".into())
        } else {
            Ok(Self { regex, needle: None })
        }
    }
}

/// Turns of `sessions` that hold `pattern`, in the order of the sessions, until there are `limit`.
#[must_use]
pub fn scan(store: &SessionStore, sessions: &[SessionId], pattern: &Pattern, limit: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let look = |id: &SessionId| in_session(&store.entry(id), id, pattern);
    on_two_threads(sessions, look, |found| {
        hits.extend(found);
        if hits.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    hits.truncate(limit);
    hits
}

/// Turns of `sessions` that hold what `query` asks for, in the order of the sessions: up to `limit` of them, and how many there
/// are, counted up to [`RANKED`].
pub(crate) fn query(store: &SessionStore, sessions: &[SessionId], query: &Query, limit: Option<usize>) -> Hits {
    let mut hits = Vec::new();
    let look = |id: &SessionId| {
        let hit = |passage: &Passage| {
            let excerpt = excerpt::best(passage, |field, text| query.places(field, text));
            Hit { id: id.clone(), turn: passage.turn, at: passage.at, excerpt }
        };
        let mut found = Vec::new();
        each_passage(&store.entry(id), |passage| found.extend(query.takes(&passage).then(|| hit(&passage))));
        one_per_turn(&mut found);
        found.sort_by_key(|hit| std::cmp::Reverse(hit.at));
        found
    };
    on_two_threads(sessions, look, |found| {
        hits.extend(found);
        if hits.len() < RANKED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    hits.truncate(RANKED);
    let matching = hits.len();
    hits.truncate(limit.unwrap_or(usize::MAX));
    Hits { hits, matching }
}

/// Hands on the passages of the session in `dir`, as far as it can be read.
fn each_passage(dir: &Path, mut take: impl FnMut(Passage)) {
    let Ok(reader) = JournalReader::open(&dir.join(JOURNAL_FILE)) else { return };
    let mut passages = Passages::new(dir);
    for item in reader {
        match item {
            Ok(Item::Event(event)) => passages.event(&event, 0, 0).into_iter().for_each(&mut take),
            Ok(Item::Fault(_)) => {}
            Err(_) => break,
        }
    }
    passages.finish().into_iter().for_each(take);
}

fn in_session(dir: &Path, id: &SessionId, pattern: &Pattern) -> Vec<Hit> {
    let path = dir.join(JOURNAL_FILE);
    let held = decklog_journal::files::read_limited(&path, MAX_HELD).ok();
    match (&pattern.needle, &held) {
        (Some(needle), Some(journal)) if !needle.may_be_in(dir, journal) => return Vec::new(),
        _ => {}
    }
    let mut found = Vec::new();
    each_passage(dir, |mut passage| {
        for text in passage.texts.iter_mut().filter(|text| text.contains(BREAK)) {
            *text = text.replace(BREAK, "\n");
        }
        let excerpt = excerpt::best(&passage, |_, text| {
            pattern.regex.find_iter(text).filter(|found| !found.is_empty()).map(|found| (0, found.range())).collect()
        });
        if excerpt.field.is_some() {
            found.push(Hit { id: id.clone(), turn: passage.turn, at: passage.at, excerpt });
        }
    });
    one_per_turn(&mut found);
    found
}

/// Keeps the first hit of each turn. Turns can run side by side, so those of one need not be neighbours.
fn one_per_turn(found: &mut Vec<Hit>) {
    let mut known = HashSet::new();
    found.retain(|hit| known.insert(hit.turn));
}

impl Needle {
    /// Whether it may stand in a session's texts: in its journal or in a file that this names, or begin in one message and
    /// end in the next.
    fn may_be_in(&self, dir: &Path, journal: &[u8]) -> bool {
        const NAMES: &[u8] = br#"_artifact":{"path":""#;
        if self.json.find(journal).is_some() || memchr::memmem::find(journal, br#""continued":true"#).is_some() {
            return true;
        }
        memchr::memmem::find_iter(journal, NAMES).any(|at| {
            let path = &journal[at + NAMES.len()..];
            let path = std::str::from_utf8(&path[..memchr::memchr(b'"', path).unwrap_or(0)]).unwrap_or_default();
            let is_text = !RAW.iter().any(|end| path.ends_with(end));
            is_text && self.may_be_in_file(dir, path)
        })
    }

    fn may_be_in_file(&self, dir: &Path, path: &str) -> bool {
        use std::io::Read;
        let Ok(found) = find_artifact(dir, path) else { return false };
        let mut bytes = Vec::new();
        found.compressed
            || found.file.take(MAX_HELD).read_to_end(&mut bytes).is_err()
            || bytes.len() as u64 == MAX_HELD
            || self.plain.find(&bytes).is_some()
            || self.json.find(&bytes).is_some()
    }
}

/// Ends of the names of artifacts that are no text of a passage.
const RAW: [&str; 4] = ["-stream.jsonl", "-stderr.log", "-output.md", "-state.json"];
