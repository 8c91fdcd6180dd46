//! Words of sessions: which passages hold them.
//!
//! A passage is a document of a full-text table that keeps no texts: those stay in the journals. A session whose recorder
//! goes on is read from where its last whole passages ended. Must not know: how a query is written, or what an excerpt is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use decklog_journal::SessionStore;
use decklog_journal::filter::Touched;
use decklog_journal::read::Position;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::rows::RowIndex;
use super::texts_read::{self, Batch, End, Job, Words};
use super::{IndexError, Progress, db, file};

/// `words`: a document for each passage, `passages`: where it stands. `texts`: how much of a session is in them, and from
/// where to go on. `paths` and `touched`: files that sessions changed.
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5 (
        prompt, output, reasoning, tool, diff, feedback, file, name, parts,
        content = '', contentless_delete = 1, tokenize = \"ascii tokenchars '_'\"
    );
    INSERT INTO words (words, rank) VALUES ('hashsize', 33554432);
    INSERT INTO words (words, rank) VALUES ('automerge', 8);
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

/// A document's number is the time of its turn, in units of 64 seconds, and one of sixteen places within; or the next free
/// number after these. So newer ones have higher numbers, and neighbours are near, which the index stores in fewer bytes.
const UNIT_BITS: u32 = 6;
const PLACE_BITS: u32 = 4;

/// Sessions whose reading is worth tidying up after.
const MANY: usize = 100;

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
        (self.document >> PLACE_BITS) << UNIT_BITS
    }
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
        // One batch is read while another is written.
        let (sender, receiver) = sync_channel(0);
        let store = &self.store;
        std::thread::scope(|scope| {
            scope.spawn(move || texts_read::read(store, jobs, sender));
            self.receive(jobs, receiver, progress)
        })?;
        if jobs.len() >= MANY {
            // So much was written at once: from the log to where it belongs.
            self.db.query_row("PRAGMA wal_checkpoint (TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Writes batches as they come. An error ends the reader, too.
    fn receive(
        &self,
        jobs: &[Job],
        receiver: Receiver<Batch>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), IndexError> {
        // Goes on from one batch to the next only while a session is written that did not fit into one.
        let mut open: Option<(Transaction<'_>, bool)> = None;
        for batch in receiver {
            let (transaction, goes_on) = match open.take() {
                Some(open) => open,
                None => (Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?, false),
            };
            let Some(last) = batch.sessions.last() else { continue };
            let (done, is_whole) = (last.job + 1, last.end.is_some());
            let is_ours = self.write(jobs, batch, goes_on)?;
            if is_whole {
                transaction.commit()?;
            } else {
                open = Some((transaction, is_ours));
            }
            if jobs.len() > 1 {
                progress(Progress { done, all: jobs.len() });
            }
        }
        Ok(())
    }

    /// Keeps what was read, but for sessions that another process did meanwhile; `goes_on` says whether the one that an
    /// earlier batch began is ours. Whether the last one is.
    fn write(&self, jobs: &[Job], batch: Batch, goes_on: bool) -> Result<bool, IndexError> {
        let mut is_ours = goes_on;
        let mut passages = Vec::new();
        let mut ends = Vec::new();
        for session in batch.sessions {
            let job = &jobs[session.job];
            if let Some(afresh) = session.begins {
                is_ours = self.job(job.number, job.bytes, job.written)?.is_some();
                if is_ours {
                    self.forget(job.number, afresh)?;
                }
            }
            if is_ours {
                passages.extend(session.passages.into_iter().map(|passage| (job.number, passage)));
                ends.extend(session.end.map(|end| (job, end)));
            }
        }
        // The table of words takes them without effort when they come oldest first.
        passages.sort_by_key(|(_, passage)| passage.seconds);
        for (number, passage) in &passages {
            self.keep(*number, passage)?;
        }
        ends.iter().try_for_each(|(job, end)| self.end(job, end))?;
        Ok(is_ours)
    }

    fn keep(&self, number: i64, passage: &Words) -> Result<(), IndexError> {
        let Words { seconds, turn, from, to, whole, words } = passage;
        let first = ((*seconds).clamp(0, i64::from(u32::MAX)) >> UNIT_BITS) << PLACE_BITS;
        let sql = "SELECT d + 1 FROM passages p WHERE d >= ?1 AND EXISTS (SELECT 1 FROM passages WHERE d = ?1)
             AND NOT EXISTS (SELECT 1 FROM passages WHERE d = p.d + 1) ORDER BY d LIMIT 1";
        let free = self.db.prepare_cached(sql)?.query_row([first], |row| row.get(0)).optional()?;
        let document: i64 = free.unwrap_or(first);
        self.db
            .prepare_cached("INSERT INTO passages (d, n, turn, begins, ends, whole) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![document, number, turn, from.cast_signed(), to.cast_signed(), whole])?;
        let [prompt, output, reasoning, tool, diff, feedback, file, name, parts] = words;
        self.db
            .prepare_cached(
                "INSERT INTO words (rowid, prompt, output, reasoning, tool, diff, feedback, file, name, parts)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![document, prompt, output, reasoning, tool, diff, feedback, file, name, parts])?;
        Ok(())
    }

    fn end(&self, job: &Job, end: &End) -> Result<(), IndexError> {
        let End { next, touched } = end;
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
