//! Reading sessions for the index of words, batch by batch.
//!
//! Must not know: the database.

use std::collections::HashSet;

use decklog_journal::read::{Item, JournalReader, Position};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::{SessionId, SessionStore};

use super::IndexError;
use crate::text::{Passage, Passages};
use crate::words;

/// Bytes of words in a batch, and so between two commits: what is lost when a long first build is interrupted. Fewer and
/// larger ones make less merging, and take more memory.
const BATCH: usize = 24 << 20;

/// A session whose texts are not as they were read.
pub(super) struct Job {
    pub(super) number: i64,
    /// Length and time of its journal.
    pub(super) bytes: i64,
    pub(super) written: i64,
    /// Where its last whole passages ended.
    pub(super) from: Option<Position>,
}

/// Sessions read.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sessions: Vec<Session>,
    size: usize,
}

/// A session, or a part of one that does not fit into a batch.
pub(super) struct Session {
    pub(super) job: usize,
    /// Whether it begins here: and then whether it was read from its beginning, or only what was not whole before.
    pub(super) begins: Option<bool>,
    pub(super) passages: Vec<Words>,
    /// Set when it ends here.
    pub(super) end: Option<End>,
}

/// What is left to know of a session when it was read.
pub(super) struct End {
    /// Where reading goes on when more is written.
    pub(super) next: Position,
    /// Files that it changed.
    pub(super) touched: Vec<String>,
}

/// A passage as words.
pub(super) struct Words {
    /// When its turn began.
    pub(super) seconds: i64,
    pub(super) turn: u32,
    /// Where it stands in the journal.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Whether it will not change.
    pub(super) whole: bool,
    /// The words of each field, and the parts of them.
    pub(super) words: [String; 9],
}

/// Reads `jobs` in order and hands `write` what they hold.
pub(super) fn read(
    store: &SessionStore,
    jobs: &[Job],
    write: &mut dyn FnMut(Batch) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut out = Out { batch: Batch::default(), write };
    for (place, job) in jobs.iter().enumerate() {
        out.session(store, place, job)?;
    }
    out.write()
}

struct Out<'a> {
    batch: Batch,
    write: &'a mut dyn FnMut(Batch) -> Result<(), IndexError>,
}

impl Out<'_> {
    fn write(&mut self) -> Result<(), IndexError> {
        (self.write)(std::mem::take(&mut self.batch))
    }

    fn begin(&mut self, job: usize, begins: Option<bool>) {
        self.batch.sessions.push(Session { job, begins, passages: Vec::new(), end: None });
    }

    fn passages(&mut self, job: usize, passages: Vec<Passage>, whole: bool) -> Result<(), IndexError> {
        for passage in passages {
            if self.batch.size >= BATCH {
                self.write()?;
                self.begin(job, None);
            }
            let words = Words::of(&passage, whole);
            self.batch.size += words.words.iter().map(String::len).sum::<usize>();
            if let Some(session) = self.batch.sessions.last_mut() {
                session.passages.push(words);
            }
        }
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), IndexError> {
        if let Some(session) = self.batch.sessions.last_mut() {
            session.end = Some(end);
        }
        if self.batch.size >= BATCH { self.write() } else { Ok(()) }
    }

    fn session(&mut self, store: &SessionStore, place: usize, job: &Job) -> Result<(), IndexError> {
        if let Some(from) = &job.from
            && self.session_from(store, place, job, Some(from.clone()))?
        {
            return Ok(());
        }
        if !self.session_from(store, place, job, None)? {
            // It cannot be read now: nothing of it is kept, and it is looked at again when it changes.
            self.begin(place, Some(true));
            self.end(End { next: Position::default(), touched: Vec::new() })?;
        }
        Ok(())
    }

    /// Reads a session from `start`, or from its beginning. Whether that could be done: bytes before `start` may not be
    /// those that were read.
    fn session_from(
        &mut self,
        store: &SessionStore,
        place: usize,
        job: &Job,
        start: Option<Position>,
    ) -> Result<bool, IndexError> {
        let Some(id) = SessionId::from_number(job.number) else { return Ok(false) };
        let dir = store.entry(&id);
        let afresh = start.is_none();
        let mut next = start.unwrap_or_else(|| Position { sum: Some(String::new()), ..Position::default() });
        let Ok(mut reader) = JournalReader::resume(&dir.join(JOURNAL_FILE), next.clone()) else { return Ok(false) };
        let mut passages = Passages::new(&dir);
        let (mut begun, mut before) = (false, next.clone());
        while let Some(item) = reader.next() {
            let Ok(item) = item else { break };
            if !begun {
                // The first line vouches for all before it.
                if !afresh && matches!(item, Item::Fault(_)) {
                    return Ok(false);
                }
                self.begin(place, Some(afresh));
                begun = true;
            }
            let after = reader.position().clone();
            if let Item::Event(event) = item {
                let done = passages.event(&event, before.offset, after.offset);
                if !done.is_empty() {
                    next = before;
                    self.passages(place, done, true)?;
                }
            }
            before = after;
            // What came since is for the next time, when it is known how long the journal then is.
            if before.offset >= job.bytes.cast_unsigned() {
                break;
            }
        }
        if begun {
            self.passages(place, passages.finish(), false)?;
            self.end(End { next, touched: std::mem::take(&mut passages.touched) })?;
        }
        Ok(begun)
    }
}

impl Words {
    fn of(passage: &Passage, whole: bool) -> Self {
        let mut all: [String; 9] = Default::default();
        let mut known: HashSet<&str> = HashSet::new();
        let (texts, parts) = all.split_at_mut(8);
        let parts = &mut parts[0];
        for (text, out) in passage.texts.iter().zip(texts) {
            out.reserve(text.len());
            for word in words::words(text) {
                out.push_str(&word.folded);
                out.push(' ');
                words::parts(&text[word.range], |part| {
                    if known.insert(part) {
                        for word in words::words(part) {
                            parts.push_str(&word.folded);
                            parts.push(' ');
                        }
                    }
                });
            }
        }
        let seconds = passage.at.as_second();
        Self { seconds, turn: passage.turn, from: passage.from, to: passage.to, whole, words: all }
    }
}
