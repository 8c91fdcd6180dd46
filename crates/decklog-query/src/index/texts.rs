//! Words of sessions: which passages hold them.
//!
//! A passage is a document of a full-text table that keeps no texts: those stay in the journals. A session whose recorder
//! goes on is read from where its last whole passages ended. Must not know: how a query is written, or what an excerpt is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use decklog_journal::SessionStore;
use decklog_journal::filter::Touched;
use decklog_journal::read::{Item, JournalReader, Position};
use decklog_journal::session::JOURNAL_FILE;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::RowIndex;
use super::{IndexError, Progress, db, file};
use crate::text::{Passage, Passages};
use crate::words::{self, BREAK};

/// `words`: a document for each passage, `passages`: where it stands. `texts`: how much of a session is in them, and from
/// where to go on. `paths` and `touched`: files that sessions changed.
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5 (
        prompt, output, reasoning, tool, diff, feedback, file, name, parts,
        content = '', contentless_delete = 1, tokenize = \"ascii tokenchars '_'\"
    );
    INSERT INTO words (words, rank) VALUES ('hashsize', 16777216);
    CREATE TABLE passages (
        d INTEGER PRIMARY KEY, n INTEGER NOT NULL, turn INTEGER NOT NULL,
        begins INTEGER NOT NULL, ends INTEGER NOT NULL, whole INTEGER NOT NULL
    );
    CREATE INDEX passages_of ON passages (n);
    CREATE TABLE texts (
        n INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, written INTEGER NOT NULL,
        lines INTEGER NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL, sum TEXT
    );
    CREATE TABLE paths (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
    CREATE TABLE touched (path INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (path, n)) WITHOUT ROWID;
    CREATE INDEX touched_by ON touched (n);
";

/// Bytes of words between two commits: what is lost when a long first build is interrupted.
const BATCH: usize = 16 << 20;

/// Passages on their way from the reader to the writer.
const IN_FLIGHT: usize = 8;

/// Bits of a document's number below its time.
const COUNTER_BITS: u32 = 31;

/// The words of the sessions under one root.
pub struct TextIndex {
    pub(super) db: Connection,
    store: SessionStore,
}

impl std::fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndex").field("root", &self.store.root()).finish_non_exhaustive()
    }
}

/// A passage that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) document: i64,
    pub(crate) number: i64,
    pub(crate) turn: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Found {
    /// When its turn began, in seconds.
    pub(crate) fn began(&self) -> i64 {
        self.document >> COUNTER_BITS
    }
}

/// A session whose texts are not as they were read.
struct Job {
    number: i64,
    bytes: i64,
    written: i64,
    from: Option<Position>,
}

/// From the reader to the writer.
enum Message {
    /// What follows is of this session; what was kept of it, or of its passages that were not whole, goes.
    Begin { job: usize, afresh: bool },
    /// A passage, as words; `whole` when it will not change.
    Passage { place: Place, words: [String; 9], whole: bool },
    /// That is all, and reading goes on at the position.
    End { job: usize, next: Position, touched: Vec<String> },
}

/// Where a passage stands.
struct Place {
    seconds: i64,
    turn: u32,
    from: u64,
    to: u64,
}

impl TextIndex {
    /// Opens the index of `store` in the directory `cache`, which is made if need be.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn open(cache: &Path, store: &SessionStore) -> Result<Self, IndexError> {
        let db = db::open(&file(cache, store, "texts")?, SCHEMA)?;
        Ok(Self { db, store: store.clone() })
    }

    /// Brings it up to date with `rows`, which must be so, telling `progress` how far that is. What is done stays done
    /// when it is interrupted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn refresh(&mut self, rows: &RowIndex, progress: &mut dyn FnMut(Progress)) -> Result<(), IndexError> {
        let change = rows.change()?;
        let epoch = rows.epoch()?;
        let seen: Option<(String, i64)> = self
            .db
            .query_row(
                "SELECT e.value, c.value FROM meta e, meta c WHERE e.key = 'epoch' AND c.key = 'change'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let since = seen.filter(|(known, _)| *known == epoch).map(|(_, change)| change);
        if since == Some(change) {
            return Ok(());
        }
        let (present, gone) = rows.changed(since)?;
        let gone = match since {
            Some(_) => gone,
            None => {
                let there: HashSet<i64> = present.iter().map(|(number, _)| *number).collect();
                let mut select = self.db.prepare("SELECT n FROM texts")?;
                let known = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
                known.into_iter().filter(|number| !there.contains(number)).collect()
            }
        };
        let mut jobs = Vec::new();
        let mut unreadable = Vec::new();
        for (number, journal) in present {
            match journal {
                Some((bytes, written)) => jobs.extend(self.job(number, bytes, written)?),
                None => unreadable.push(number),
            }
        }
        if !gone.is_empty() || !unreadable.is_empty() {
            db::transaction(&self.db, || {
                gone.iter().chain(&unreadable).try_for_each(|number| self.forget(*number, true))
            })?;
        }
        self.build(&jobs, progress)?;
        db::transaction(&self.db, || {
            let mut set = self.db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?;
            set.execute(params!["epoch", epoch])?;
            set.execute(params!["change", change])?;
            Ok(())
        })
    }

    /// What is to be read of a session; `None` when nothing is.
    fn job(&self, number: i64, bytes: i64, written: i64) -> Result<Option<Job>, IndexError> {
        let known = self
            .db
            .prepare_cached("SELECT bytes, written, lines, at, seq, sum FROM texts WHERE n = ?")?
            .query_row([number], |row| {
                let position = Position {
                    lines: row.get::<_, i64>(2)?.cast_unsigned(),
                    offset: row.get::<_, i64>(3)?.cast_unsigned(),
                    next_seq: row.get::<_, i64>(4)?.cast_unsigned(),
                    sum: row.get(5)?,
                };
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, position))
            })
            .optional()?;
        Ok(match known {
            Some((known, at, _)) if (known, at) == (bytes, written) => None,
            Some((known, _, from)) if known < bytes => Some(Job { number, bytes, written, from: Some(from) }),
            _ => Some(Job { number, bytes, written, from: None }),
        })
    }

    /// Reads on one thread and writes on this one.
    fn build(&self, jobs: &[Job], progress: &mut dyn FnMut(Progress)) -> Result<(), IndexError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let (sender, receiver) = sync_channel(IN_FLIGHT);
        let store = &self.store;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (place, job) in jobs.iter().enumerate() {
                    // An error of the writer's ends the reader.
                    if read_session(store, place, job, &sender).is_err() {
                        break;
                    }
                }
            });
            self.receive(jobs, &receiver, progress)
        })
    }

    fn receive(
        &self,
        jobs: &[Job],
        receiver: &Receiver<Message>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), IndexError> {
        let mut is_over = false;
        while !is_over {
            // A transaction holds whole sessions.
            let (mut size, mut done) = (0, None);
            db::transaction(&self.db, || {
                let mut current = None;
                loop {
                    let Ok(message) = receiver.recv() else {
                        is_over = true;
                        return Ok(());
                    };
                    match message {
                        Message::Begin { job, afresh } => {
                            let job = &jobs[job];
                            // Another process may have been here first.
                            let is_done = self.job(job.number, job.bytes, job.written)?.is_none();
                            current = (!is_done).then_some(job);
                            if !is_done {
                                self.forget(job.number, afresh)?;
                            }
                        }
                        Message::Passage { place, words, whole } => {
                            size += words.iter().map(String::len).sum::<usize>();
                            if let Some(job) = current {
                                self.keep(job.number, &place, &words, whole)?;
                            }
                        }
                        Message::End { job: place, next, touched } => {
                            if let Some(job) = current.take() {
                                self.end(job, &next, &touched)?;
                            }
                            done = Some(place + 1);
                            if size >= BATCH {
                                return Ok(());
                            }
                        }
                    }
                }
            })?;
            if let Some(done) = done
                && jobs.len() > 1
            {
                progress(Progress { done, all: jobs.len() });
            }
        }
        Ok(())
    }

    fn keep(&self, number: i64, place: &Place, words: &[String; 9], whole: bool) -> Result<(), IndexError> {
        let sql =
            "INSERT INTO meta VALUES ('documents', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value";
        let counter: i64 = self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        // Newer passages have higher numbers.
        let document =
            (place.seconds.clamp(0, i64::from(u32::MAX)) << COUNTER_BITS) | (counter & ((1 << COUNTER_BITS) - 1));
        self.db
            .prepare_cached("INSERT INTO passages (d, n, turn, begins, ends, whole) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![document, number, place.turn, place.from.cast_signed(), place.to.cast_signed(), whole])?;
        let [prompt, output, reasoning, tool, diff, feedback, file, name, parts] = words;
        self.db
            .prepare_cached(
                "INSERT INTO words (rowid, prompt, output, reasoning, tool, diff, feedback, file, name, parts)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![document, prompt, output, reasoning, tool, diff, feedback, file, name, parts])?;
        Ok(())
    }

    fn end(&self, job: &Job, next: &Position, touched: &[String]) -> Result<(), IndexError> {
        let (lines, at, seq) = (next.lines.cast_signed(), next.offset.cast_signed(), next.next_seq.cast_signed());
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO texts (n, bytes, written, lines, at, seq, sum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![job.number, job.bytes, job.written, lines, at, seq, next.sum])?;
        for path in touched {
            self.db.prepare_cached("INSERT OR IGNORE INTO paths (path) VALUES (?)")?.execute([path])?;
            self.db
                .prepare_cached("INSERT OR IGNORE INTO touched SELECT id, ? FROM paths WHERE path = ?")?
                .execute(params![job.number, path])?;
        }
        Ok(())
    }

    /// Forgets a session, or of one that goes on, what was not whole.
    fn forget(&self, number: i64, all: bool) -> Result<(), IndexError> {
        let which = if all { "" } else { "AND NOT whole" };
        self.db
            .prepare_cached(&format!("DELETE FROM words WHERE rowid IN (SELECT d FROM passages WHERE n = ? {which})"))?
            .execute([number])?;
        self.db.prepare_cached(&format!("DELETE FROM passages WHERE n = ? {which}"))?.execute([number])?;
        if all {
            self.db.prepare_cached("DELETE FROM texts WHERE n = ?")?.execute([number])?;
            self.db.prepare_cached("DELETE FROM touched WHERE n = ?")?.execute([number])?;
        }
        Ok(())
    }

    /// Hands on the passages that hold what `expression` asks for, those of the newest turns first, until `take` says that it
    /// has enough: their numbers in the index, and where they stand.
    pub(crate) fn find(&self, expression: &str, mut take: impl FnMut(Found) -> bool) -> Result<(), IndexError> {
        let mut select = self.db.prepare_cached(
            "SELECT w.rowid, p.n, p.turn, p.begins, p.ends FROM words w JOIN passages p ON p.d = w.rowid
             WHERE w.words MATCH ? ORDER BY w.rowid DESC",
        )?;
        let mut rows = select.query([expression])?;
        while let Some(row) = rows.next()? {
            let (from, to): (i64, i64) = (row.get(3)?, row.get(4)?);
            let (document, number, turn) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !take(Found { document, number, turn, from: from.cast_unsigned(), to: to.cast_unsigned() }) {
                break;
            }
        }
        Ok(())
    }

    /// How well each of the passages numbered from `oldest` on answers `expression`: higher is better.
    pub(crate) fn scores(&self, expression: &str, oldest: i64) -> Result<Vec<(i64, f64)>, IndexError> {
        let mut select = self.db.prepare_cached(
            "SELECT rowid, -bm25(words, 4.0, 2.0, 1.0, 1.0, 1.5, 2.0, 3.0, 1.0, 1.0) FROM words
             WHERE words MATCH ? AND rowid >= ?",
        )?;
        let scores = select.query_map(params![expression, oldest], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(scores.collect::<Result<_, _>>()?)
    }

    /// Numbers of the sessions that changed a file which one of `patterns` names.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn touched(&self, patterns: &[Touched]) -> Result<HashSet<i64>, IndexError> {
        let mut select = self.db.prepare("SELECT id, path FROM paths")?;
        let mut rows = select.query([])?;
        let mut sessions = HashSet::new();
        let mut by = self.db.prepare("SELECT n FROM touched WHERE path = ?")?;
        while let Some(row) = rows.next()? {
            let path = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            if patterns.iter().any(|pattern| pattern.matches(path)) {
                for number in by.query_map([row.get::<_, i64>(0)?], |row| row.get(0))? {
                    sessions.insert(number?);
                }
            }
        }
        Ok(sessions)
    }
}

/// The writer is gone.
struct Closed;

fn read_session(store: &SessionStore, place: usize, job: &Job, sender: &SyncSender<Message>) -> Result<(), Closed> {
    let send = |message| sender.send(message).map_err(|_| Closed);
    if let Some(from) = &job.from
        && read_from(store, place, job, Some(from.clone()), sender)?
    {
        return Ok(());
    }
    if !read_from(store, place, job, None, sender)? {
        // It cannot be read now: nothing of it is kept, and it is looked at again when it changes.
        send(Message::Begin { job: place, afresh: true })?;
        send(Message::End { job: place, next: Position::default(), touched: Vec::new() })?;
    }
    Ok(())
}

/// Reads a session from `start`, or from its beginning. Whether that could be done: bytes before `start` may not be those
/// that were read.
fn read_from(
    store: &SessionStore,
    place: usize,
    job: &Job,
    start: Option<Position>,
    sender: &SyncSender<Message>,
) -> Result<bool, Closed> {
    let send = |message| sender.send(message).map_err(|_| Closed);
    let Some(id) = decklog_journal::SessionId::from_number(job.number) else { return Ok(false) };
    let dir = store.entry(&id);
    let path = dir.join(JOURNAL_FILE);
    let afresh = start.is_none();
    let begin = Position { sum: Some(String::new()), ..Position::default() };
    let mut next = start.unwrap_or(begin);
    let Ok(mut reader) = JournalReader::resume(&path, next.clone()) else { return Ok(false) };
    let mut passages = Passages::new(&dir);
    let (mut begun, mut before) = (false, next.clone());
    while let Some(item) = reader.next() {
        let Ok(item) = item else { break };
        if !begun {
            // The first line vouches for all before it.
            if !afresh && matches!(item, Item::Fault(_)) {
                return Ok(false);
            }
            send(Message::Begin { job: place, afresh })?;
            begun = true;
        }
        let after = reader.position().clone();
        if let Item::Event(event) = item {
            let done = passages.event(&event, before.offset, after.offset);
            if !done.is_empty() {
                next = before;
                done.into_iter().try_for_each(|passage| send(message(&passage, true)))?;
            }
        }
        before = after;
        // What came since is for the next time, when it is known how long the journal then is.
        if before.offset >= job.bytes.cast_unsigned() {
            break;
        }
    }
    if !begun {
        return Ok(false);
    }
    passages.finish().into_iter().try_for_each(|passage| send(message(&passage, false)))?;
    send(Message::End { job: place, next, touched: std::mem::take(&mut passages.touched) })?;
    Ok(true)
}

/// A passage as words.
fn message(passage: &Passage, whole: bool) -> Message {
    let mut all: [String; 9] = Default::default();
    let mut known: HashSet<&str> = HashSet::new();
    let (texts, parts) = all.split_at_mut(8);
    let parts = &mut parts[0];
    for (text, out) in passage.texts.iter().zip(texts) {
        out.reserve(text.len());
        for word in words::words(text) {
            out.push_str(&word.folded);
            out.push(' ');
            let whole = &text[word.range];
            words::parts(whole, |part| {
                if known.insert(part) {
                    for word in words::words(part) {
                        parts.push_str(&word.folded);
                        parts.push(' ');
                    }
                    // Parts of different words make no phrase.
                    parts.push(BREAK);
                    parts.push(' ');
                }
            });
        }
    }
    let place = Place { seconds: passage.at.as_second(), turn: passage.turn, from: passage.from, to: passage.to };
    Message::Passage { place, words: all, whole }
}
