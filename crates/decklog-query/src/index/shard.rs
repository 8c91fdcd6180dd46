//! Words of one half of the sessions: which passages hold them.
//!
//! A passage is a document of a full-text table that keeps no texts: those stay in the journals. A session whose recorder
//! goes on is read from where its last whole passages ended. Must not know: the other half, how a query is written, or what
//! an excerpt is.

use std::collections::HashSet;
use std::path::Path;

use decklog_journal::SessionStore;
use decklog_journal::filter::Touched;
use decklog_journal::read::Position;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::IndexError;
use super::db::{self, Identity, Opened};
use super::packed::sum;
use super::rows::Changed;
use super::shard_read::{self, Batch, End, Job, Words};

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
    CREATE TABLE paths (id INTEGER PRIMARY KEY, path TEXT NOT NULL);
    CREATE TABLE touched (path INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (path, n)) WITHOUT ROWID;
    CREATE INDEX touched_by ON touched (n);
";

/// A document's number is the time of its turn, in units of 64 seconds, and one of sixteen places within; or the next free
/// number after these. So newer ones have higher numbers, and neighbours are near, which the index stores in fewer bytes.
pub(super) const UNIT_BITS: u32 = 6;
pub(super) const PLACE_BITS: u32 = 4;

/// Sessions whose reading is worth tidying up after.
const MANY: usize = 100;

/// The number of a path: made of it, so that one that was altered is noticed.
fn path_id(path: &str) -> i64 {
    sum(path.as_bytes(), 0, 0).cast_signed()
}

/// The words of half of the sessions under one root.
pub(super) struct Shard {
    db: Connection,
    store: SessionStore,
    /// The file that `db` was opened from.
    pub(super) opened: Option<Identity>,
}

/// The state of the rows up to which a shard is up to date, or is to be brought: which index it is, and its last change.
pub(super) type State = (String, i64);

/// What there is to do.
pub(super) struct Work {
    jobs: Vec<Job>,
    /// Sessions to forget.
    gone: Vec<i64>,
}

impl Work {
    /// How many sessions are to be read.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }
}

impl Shard {
    pub(super) fn open(path: &Path, store: &SessionStore) -> Result<Self, IndexError> {
        let Opened { db, file } = db::open(path, SCHEMA)?;
        Ok(Self { db, store: store.clone(), opened: file })
    }

    /// Rebuilds a shard where its file is damaged: see [`db::rebuild`]. `fill` brings the new one up to date.
    pub(super) fn rebuild(
        path: &Path,
        store: &SessionStore,
        damaged: Option<Identity>,
        fill: &mut dyn FnMut(&mut Self) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        db::rebuild(path, SCHEMA, damaged, |path| {
            let mut shard = Self::open(path, store)?;
            fill(&mut shard)?;
            Ok(shard.db)
        })
    }

    /// Up to where it is up to date.
    pub(super) fn state(&self) -> Result<Option<State>, IndexError> {
        let sql = "SELECT e.value, c.value FROM meta e, meta c WHERE e.key = 'epoch' AND c.key = 'change'";
        Ok(self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// What there is to do when these sessions changed and those went; `all` says that there are no others.
    pub(super) fn work(&self, present: &[Changed], gone: &[i64], all: bool) -> Result<Work, IndexError> {
        let mut work = Work { jobs: Vec::new(), gone: gone.to_vec() };
        if all {
            let there: HashSet<i64> = present.iter().map(|(number, _)| *number).collect();
            let mut select = self.db.prepare("SELECT n FROM texts")?;
            let known = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
            work.gone = known.into_iter().filter(|number| !there.contains(number)).collect();
        }
        for (number, journal) in present {
            match journal {
                Some((bytes, written)) => work.jobs.extend(self.job(*number, *bytes, *written)?),
                None => work.gone.push(*number),
            }
        }
        Ok(work)
    }

    /// Does the work that leads to `state`, and calls `progress` with how many sessions have been read. What is done stays
    /// done when it is interrupted.
    pub(super) fn refresh(
        &mut self,
        work: &Work,
        state: &State,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), IndexError> {
        if !work.gone.is_empty() {
            db::transaction(&self.db, || work.gone.iter().try_for_each(|number| self.forget(*number, true)))?;
        }
        self.build(&work.jobs, progress)?;
        db::transaction(&self.db, || {
            let mut set = self.db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?;
            set.execute(params!["epoch", state.0])?;
            set.execute(params!["change", state.1])?;
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

    /// Reads sessions and keeps their words.
    fn build(&self, jobs: &[Job], progress: &mut dyn FnMut(usize)) -> Result<(), IndexError> {
        // Goes on from one batch to the next only while a session is written that did not fit into one.
        let mut open: Option<(Transaction<'_>, bool)> = None;
        shard_read::read(&self.store, jobs, &mut |batch| {
            let (transaction, goes_on) = match open.take() {
                Some(open) => open,
                None => (Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?, false),
            };
            let Some(last) = batch.sessions.last() else { return Ok(()) };
            let (done, is_whole) = (last.job + 1, last.end.is_some());
            let is_ours = self.write(jobs, batch, goes_on)?;
            if is_whole {
                transaction.commit()?;
            } else {
                open = Some((transaction, is_ours));
            }
            progress(done);
            Ok(())
        })?;
        if jobs.len() >= MANY {
            db::tidy(&self.db)?;
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
            let id = path_id(path);
            self.db.prepare_cached("INSERT OR IGNORE INTO paths VALUES (?, ?)")?.execute(params![id, path])?;
            self.db.prepare_cached("INSERT OR IGNORE INTO touched VALUES (?, ?)")?.execute([id, job.number])?;
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

    /// The passages that hold what `expression` asks for, newest first.
    pub(super) fn find(&self) -> Result<CachedStatement<'_>, IndexError> {
        Ok(self.db.prepare_cached(
            "SELECT w.rowid, p.n, p.turn, p.begins, p.ends FROM words w JOIN passages p ON p.d = w.rowid
             WHERE w.words MATCH ? ORDER BY w.rowid DESC",
        )?)
    }

    /// How well each of the passages numbered from `oldest` on answers `expression`: higher is better.
    pub(super) fn scores(&self, expression: &str, oldest: i64) -> Result<Vec<(i64, f64)>, IndexError> {
        let mut select = self.db.prepare_cached(
            "SELECT rowid, -bm25(words, 4.0, 2.0, 1.0, 1.0, 1.5, 2.0, 3.0, 1.0, 1.0) FROM words
             WHERE words MATCH ? AND rowid >= ?",
        )?;
        let scores = select.query_map(params![expression, oldest], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(scores.collect::<Result<_, _>>()?)
    }

    /// How many passages there are from `oldest` on, counted up to `most`.
    pub(super) fn count_from(&self, oldest: i64, most: i64) -> Result<i64, IndexError> {
        let mut select =
            self.db.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM passages WHERE d >= ? LIMIT ?)")?;
        Ok(select.query_row(params![oldest, most], |row| row.get(0))?)
    }

    /// Adds the numbers of the sessions that changed a file which one of `patterns` names.
    pub(super) fn touched(&self, patterns: &[Touched], sessions: &mut HashSet<i64>) -> Result<(), IndexError> {
        // What is no number comes after all numbers, and would never be asked for.
        self.db.query_row("SELECT max(path) FROM touched", [], |row| row.get::<_, Option<i64>>(0))?;
        let mut select = self.db.prepare("SELECT id, path FROM paths")?;
        let mut rows = select.query([])?;
        let mut by = self.db.prepare("SELECT n FROM touched WHERE path = ?")?;
        while let Some(row) = rows.next()? {
            let (id, path): (i64, _) = (row.get(0)?, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
            if path_id(path) != id {
                return Err(rusqlite::Error::InvalidColumnType(1, "path".into(), rusqlite::types::Type::Text).into());
            }
            if patterns.iter().any(|pattern| pattern.matches(path)) {
                for number in by.query_map([id], |row| row.get(0))? {
                    sessions.insert(number?);
                }
            }
        }
        Ok(())
    }
}
