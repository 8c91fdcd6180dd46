//! Rows of sessions: what lists and statistics ask.
//!
//! Must not know: how it is found out what changed.

use std::path::{Path, PathBuf};

use decklog_journal::parallel::both;
use decklog_journal::store::Listed;
use decklog_journal::{Row, SessionFilter, SessionId, SessionStore};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::db::{self, Identity, Opened};
use super::packed::{Names, Numbers, Packed};
use super::{IndexError, Progress, Refreshed, file, freshness};

/// `entries`: what was seen of each entry under the root, and when; `settled` ones change only when the root does.
/// `sessions`: a row each, in the order of lists. `gone` and `change`: what changed since when, for other indexes.
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', hex(randomblob(16)));
    CREATE TABLE names (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE);
    CREATE TABLE entries (
        n INTEGER PRIMARY KEY,
        inode INTEGER NOT NULL, modified INTEGER NOT NULL, settled INTEGER NOT NULL, active INTEGER NOT NULL,
        bytes INTEGER, written INTEGER, reason TEXT, change INTEGER NOT NULL
    );
    CREATE INDEX unsettled ON entries (n) WHERE NOT settled;
    CREATE INDEX changes ON entries (change);
    CREATE TABLE gone (n INTEGER PRIMARY KEY, change INTEGER NOT NULL);
    CREATE INDEX departures ON gone (change);
    CREATE TABLE sessions (
        second INTEGER NOT NULL, started INTEGER NOT NULL, n INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (second DESC, started DESC, n DESC)
    ) WITHOUT ROWID;
";

/// From how many entries on they are read on two threads.
const MANY: u32 = 4096;

/// The second in which a session began, of those in ids, from its number.
pub(super) fn second(number: i64) -> i64 {
    number >> 16
}

/// Which rows.
#[derive(Debug, Clone, Copy)]
enum Seconds {
    All,
    /// Of sessions that began then or later.
    From(i64),
    /// Of those that began earlier.
    Before(i64),
}

/// A session's number, with length and time of its journal if it can be read.
pub(super) type Changed = (i64, Option<(i64, i64)>);

/// Bytes of a file that [`RowIndex::map`] maps: all of it.
const MAPPED: i64 = 1 << 30;

/// The rows of the sessions under one root.
pub(crate) struct RowIndex {
    pub(super) store: SessionStore,
    path: PathBuf,
    pub(super) db: Connection,
    is_mapped: bool,
    /// The file that `db` was opened from.
    pub(super) opened: Option<Identity>,
    names: Names,
}

impl std::fmt::Debug for RowIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowIndex").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RowIndex {
    /// Opens the index of `store` in the directory `cache`, which is made if need be.
    ///
    /// # Errors
    /// [`IndexError`]: then read the store itself.
    pub(crate) fn open(cache: &Path, store: &SessionStore) -> Result<Self, IndexError> {
        Self::open_file(&file(cache, store, "rows")?, store, false)
    }

    /// Brings it up to date, telling `progress` how far that is. `now` is the time on the system's clock: what changed a
    /// moment before it is looked at again the next time.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn refresh(
        &mut self,
        now: Timestamp,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Refreshed, IndexError> {
        freshness::refresh(self, now, progress)
    }

    /// Rebuilds the index where its file is damaged: see [`db::rebuild`].
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn rebuild(
        cache: &Path,
        store: &SessionStore,
        damaged: Option<Identity>,
        now: Timestamp,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), IndexError> {
        db::rebuild(&file(cache, store, "rows")?, SCHEMA, damaged, |path| {
            let mut index = Self::open_file(path, store, false)?;
            index.refresh(now, progress)?;
            Ok(index.db)
        })
    }

    fn open_file(path: &Path, store: &SessionStore, is_mapped: bool) -> Result<Self, IndexError> {
        let Opened { db, file } = db::open(path, SCHEMA)?;
        if is_mapped {
            db.pragma_update(None, "mmap_size", MAPPED)?;
        }
        let (store, path, names) = (store.clone(), path.to_owned(), Names::default());
        Ok(Self { store, path, db, is_mapped, opened: file, names })
    }

    /// Has the file in memory while it is read: what reads all of it once is faster then. Who stays, and asks again and
    /// again, takes less memory without.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn map(&mut self) -> Result<(), IndexError> {
        self.db.pragma_update(None, "mmap_size", MAPPED)?;
        self.is_mapped = true;
        Ok(())
    }

    /// Hands on the rows that `filter` takes, newest first, as they were when it was last brought up to date. What `also`
    /// says must hold besides; it is asked last.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn each(
        &mut self,
        filter: &SessionFilter,
        also: impl FnMut(&Row<'_>) -> bool,
        take: impl FnMut(&Row<'_>),
    ) -> Result<(), IndexError> {
        self.read(Seconds::All, filter, also, take)
    }

    /// The same with many rows on two threads, each of which sums its own part up: the newer part first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn sum_up<S: Send>(
        &mut self,
        filter: &SessionFilter,
        also: impl Fn(&Row<'_>) -> bool + Sync,
        new: impl Fn() -> S + Sync,
        add: impl Fn(&mut S, &Row<'_>) + Sync,
    ) -> Result<Vec<S>, IndexError> {
        let part = |index: &mut Self, seconds| {
            let mut sum = new();
            index.read(seconds, filter, &also, |row| add(&mut sum, row)).map(|()| sum)
        };
        let Some(middle) = self.middle()?.filter(|_| filter.limit.is_none()) else {
            return Ok(vec![part(self, Seconds::All)?]);
        };
        let (epoch, path, store, is_mapped) = (self.epoch()?, &self.path.clone(), self.store.clone(), self.is_mapped);
        let older = || {
            let mut index = Self::open_file(path, &store, is_mapped)?;
            // The file may have been deleted meanwhile, and another been made.
            let is_other = index.epoch()? != epoch;
            if is_other { Err(IndexError::Replaced) } else { part(&mut index, Seconds::Before(middle)) }
        };
        let (newer, older) = both(|| part(self, Seconds::From(middle)), older);
        Ok(vec![newer?, older?])
    }

    /// The second in which about half of the sessions had begun, if there are many.
    fn middle(&self) -> Result<Option<i64>, IndexError> {
        let sql = "SELECT middle.value FROM meta AS middle, meta AS entries
                   WHERE middle.key = 'middle' AND entries.key = 'entries' AND entries.value >= ?";
        Ok(self.db.query_row(sql, [MANY], |row| row.get(0)).optional()?.flatten())
    }

    /// Hands on the rows of the sessions that began within `seconds`, newest first.
    fn read(
        &mut self,
        seconds: Seconds,
        filter: &SessionFilter,
        mut also: impl FnMut(&Row<'_>) -> bool,
        mut take: impl FnMut(&Row<'_>),
    ) -> Result<(), IndexError> {
        let Self { db, names, .. } = self;
        let mut names_of = db.prepare_cached("SELECT list FROM names WHERE id = ?")?;
        // Every row is in one part, whatever it holds: what is no second is none that may be left out.
        let (part, bound) = match seconds {
            Seconds::All => ("", None),
            Seconds::From(second) => ("WHERE second >= ?", Some(second)),
            Seconds::Before(second) => ("WHERE second < ?", Some(second)),
        };
        let mut select = db.prepare_cached(&format!("SELECT n, started, packed, second FROM sessions {part}"))?;
        let mut rows = select.query(rusqlite::params_from_iter(bound))?;
        let mut left = filter.limit.unwrap_or(usize::MAX);
        while left > 0
            && let Some(found) = rows.next()?
        {
            let packed = found.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let damaged = || rusqlite::Error::InvalidColumnType(2, "packed".into(), rusqlite::types::Type::Blob);
            let (number, started) = (found.get(0)?, found.get(1)?);
            let packed = Packed::read(packed, number, started)
                .filter(|_| found.get(3).is_ok_and(|began: i64| began == second(number)))
                .ok_or_else(damaged)?;
            for number in packed.names() {
                if !names.has(number) {
                    let list: String = names_of.query_row([number], |row| row.get(0))?;
                    names.learn(number, &list).ok_or_else(damaged)?;
                }
            }
            let row = packed.row(number, started, names).ok_or_else(damaged)?;
            if filter.takes_row(&row) && also(&row) {
                left -= 1;
                take(&row);
            }
        }
        Ok(())
    }

    /// What tells what it holds now from whatever it held before, and from an index made anew.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn state(&self) -> Result<(String, i64), IndexError> {
        Ok((self.epoch()?, self.change()?))
    }

    /// The number of the last change.
    pub(super) fn change(&self) -> Result<i64, IndexError> {
        let change = self.db.query_row("SELECT value FROM meta WHERE key = 'change'", [], |row| row.get(0));
        Ok(change.optional()?.unwrap_or(0))
    }

    /// What tells this index from one made anew.
    pub(super) fn epoch(&self) -> Result<String, IndexError> {
        Ok(self.db.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))?)
    }

    /// Sessions that came or changed after a change (all without one), newest first, with length and time of their journals
    /// unless they cannot be read; and those that went.
    pub(super) fn changed(&self, since: Option<i64>) -> Result<(Vec<Changed>, Vec<i64>), IndexError> {
        let since = since.unwrap_or(-1);
        let mut select = self.db.prepare_cached(
            "SELECT n, CASE WHEN reason IS NULL THEN bytes END, written FROM entries WHERE change > ? ORDER BY n DESC",
        )?;
        let here =
            select.query_map([since], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.zip(row.get(2)?))))?;
        let mut select = self.db.prepare_cached("SELECT n FROM gone WHERE change > ?")?;
        let gone = select.query_map([since], |row| row.get(0))?;
        Ok((here.collect::<Result<_, _>>()?, gone.collect::<Result<_, _>>()?))
    }

    /// The number of a list of names, given one if it has none.
    fn number(&self, list: &[impl serde::Serialize]) -> Result<i64, IndexError> {
        let list = serde_json::to_string(list).unwrap_or_default();
        let known = self.db.prepare_cached("SELECT id FROM names WHERE list = ?")?.query_row([&list], |row| row.get(0));
        if let Some(number) = known.optional()? {
            return Ok(number);
        }
        self.db.prepare_cached("INSERT INTO names (list) VALUES (?)")?.execute([&list])?;
        Ok(self.db.last_insert_rowid())
    }

    /// Keeps the row of a session instead of what was kept of it.
    pub(super) fn keep(&self, listed: &Listed) -> Result<(), IndexError> {
        let row = listed.row();
        let numbers = Numbers {
            agents: self.number(row.agents)?,
            models: self.number(row.models)?,
            project: self.number(&[row.project])?,
            working_dir: self.number(&[row.working_dir])?,
            pair: self.number(&row.actor.into_iter().chain(row.critic).collect::<Vec<_>>())?,
        };
        let number = row.number;
        let packed = Packed::pack(&row, &numbers);
        self.forget(number)?;
        self.db
            .prepare_cached("INSERT INTO sessions (second, started, n, packed) VALUES (?, ?, ?, ?)")?
            .execute(params![second(number), row.started_at.as_microsecond(), number, packed])?;
        Ok(())
    }

    /// Forgets the row of a session.
    pub(super) fn forget(&self, number: i64) -> Result<(), IndexError> {
        self.db
            .prepare_cached("DELETE FROM sessions WHERE second = ? AND n = ?")?
            .execute(params![second(number), number])?;
        Ok(())
    }

    /// The entry of a session under the root.
    pub(super) fn entry(&self, number: i64) -> Option<(SessionId, PathBuf)> {
        let id = SessionId::from_number(number)?;
        let entry = self.store.entry(&id);
        Some((id, entry))
    }
}
