//! Questions over many sessions, answered from the index, or by reading every session where that cannot be used.
//!
//! Which of the two is decided here alone. A file of the index that turns out to be damaged is rebuilt, once for each
//! question; while another process does so, or the index is locked, or cannot be written, the sessions are read.
//!
//! Must not know: the terminal, where the cache directory is.

use std::path::PathBuf;

use decklog_journal::store::StoreError;
use decklog_journal::{Row, SessionFilter, SessionStore};
use jiff::Timestamp;

use super::{IndexError, Part, Place, Progress, Refreshed, RowIndex, TextIndex, each_row, place, sum_up};
use crate::query::Query;
use crate::scan;
use crate::search::{self, Hits};

/// What is being brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What lists and statistics ask.
    Rows,
    /// What searches ask.
    Texts,
}

/// How texts are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    Unneeded,
    UpToDate,
    /// As far as [`Lookup::refresh_texts`] has come.
    AsIndexed,
}

/// Reports the progress of an update.
pub type Tell<'a> = &'a mut dyn FnMut(Stage, Progress);

/// The sessions under one root, to be asked.
#[derive(Debug)]
pub struct Lookup {
    store: SessionStore,
    cache: PathBuf,
    is_mapped: bool,
    /// Whether the caller keeps texts indexed: then no query waits for that.
    is_served: bool,
    rows: Option<RowIndex>,
    texts: Option<TextIndex>,
    problem: Option<IndexError>,
}

impl Lookup {
    /// The sessions of `store`, whose index is in the directory `cache`, which is made if need be: for a few questions.
    #[must_use]
    pub fn new(cache: PathBuf, store: SessionStore) -> Self {
        Self { store, cache, is_mapped: true, is_served: false, rows: None, texts: None, problem: None }
    }

    /// The same, for repeated queries by a caller that calls [`Self::refresh_texts`] on a `Lookup` of its own.
    #[must_use]
    pub fn served(cache: PathBuf, store: SessionStore) -> Self {
        Self { is_mapped: false, is_served: true, ..Self::new(cache, store) }
    }

    /// Why the last question was not answered from the index, if it was not.
    pub fn problem(&mut self) -> Option<IndexError> {
        self.problem.take()
    }

    /// Brings the rows up to date. `now` is the time on the system's clock.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn refresh(&mut self, now: Timestamp, tell: Tell<'_>) -> Result<Refreshed, IndexError> {
        Ok(self.ask(now, Texts::Unneeded, tell, |_, _| Ok(()))?.1)
    }

    /// Identifies the present state of the root, and of the index: a rebuilt one has another.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn state(&mut self, now: Timestamp) -> Result<(String, i64), IndexError> {
        Ok(self.ask(now, Texts::Unneeded, &mut |_, _| {}, |rows, _| rows.state())?.0)
    }

    /// Brings the texts up to date, which may take minutes.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn refresh_texts(&mut self, now: Timestamp, tell: Tell<'_>) -> Result<(), IndexError> {
        self.ask(now, Texts::UpToDate, tell, |_, _| Ok(())).map(drop)
    }

    /// Rebuilds what a search could not use, which may take minutes. `error` is what [`Self::problem`] gave.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn heal(&mut self, error: &IndexError, now: Timestamp, tell: Tell<'_>) -> Result<(), IndexError> {
        let Some(part) = error.damage() else { return Ok(()) };
        self.rebuild(part, now, tell)
    }

    /// Hands on the rows that `filter` takes, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the root cannot be read.
    pub fn each(
        &mut self,
        filter: &SessionFilter,
        now: Timestamp,
        tell: Tell<'_>,
        mut take: impl FnMut(&Row<'_>),
    ) -> Result<Refreshed, StoreError> {
        // Rows that were handed on before a file turned out to be damaged are not handed on again.
        let (mut last, mut taken): (Option<Place>, usize) = (None, 0);
        let mut hand_on = |row: &Row<'_>, last: &mut Option<Place>, taken: &mut usize| {
            (*last, *taken) = (Some(place(row)), *taken + 1);
            take(row);
        };
        let left = |taken: usize| SessionFilter { limit: filter.limit.map(|limit| limit - taken), ..filter.clone() };
        let asked = self.ask(now, self.texts_for(filter), tell, |rows, texts| {
            let (filter, after) = (left(taken), last);
            each_row(rows, texts, &filter, after, |row| hand_on(row, &mut last, &mut taken))
        });
        match asked {
            Ok(((), refreshed)) => Ok(refreshed),
            Err(error) => {
                let (filter, after) = (left(taken), last);
                self.read_all(error, &filter, after, |row| hand_on(row, &mut last, &mut taken))
            }
        }
    }

    /// Sums up the rows that `filter` takes: many of them on two threads, each with a sum of its own. The sums come with that
    /// of the newer sessions first.
    ///
    /// # Errors
    /// [`StoreError`] when the root cannot be read.
    pub fn sum_up<S: Send>(
        &mut self,
        filter: &SessionFilter,
        now: Timestamp,
        tell: Tell<'_>,
        new: impl Fn() -> S + Sync,
        add: impl Fn(&mut S, &Row<'_>) + Sync,
    ) -> Result<(Vec<S>, Refreshed), StoreError> {
        let asked = self.ask(now, self.texts_for(filter), tell, |rows, texts| sum_up(rows, texts, filter, &new, &add));
        asked.or_else(|error| {
            let mut sum = new();
            let refreshed = self.read_all(error, filter, None, |row| add(&mut sum, row))?;
            Ok((vec![sum], refreshed))
        })
    }

    /// Searches the sessions that `filter` takes; its limit is the limit of hits. Read from the sessions themselves, hits come
    /// newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the root cannot be read.
    pub fn search(
        &mut self,
        query: &Query,
        filter: &SessionFilter,
        now: Timestamp,
        tell: Tell<'_>,
    ) -> Result<Hits, StoreError> {
        let texts = if self.is_served { Texts::AsIndexed } else { Texts::UpToDate };
        let store = self.store.clone();
        let asked = self.ask(now, texts, tell, |rows, texts| match texts {
            Some(texts) => search::search(&store, (rows, texts), query, filter, now),
            None => Ok(Hits::default()),
        });
        asked.map(|(hits, _)| hits).or_else(|error| {
            let all = SessionFilter { limit: None, ..filter.clone() };
            let mut sessions = Vec::new();
            self.read_all(error, &all, None, |row| sessions.push(row.id()))?;
            Ok(scan::query(&store, &sessions, query, filter.limit))
        })
    }

    fn texts_for(&self, filter: &SessionFilter) -> Texts {
        match (filter.touched.is_empty(), self.is_served) {
            (true, _) => Texts::Unneeded,
            (false, true) => Texts::AsIndexed,
            (false, false) => Texts::UpToDate,
        }
    }

    /// Asks the index, brought up to date; each file of it that is damaged is rebuilt once.
    fn ask<T>(
        &mut self,
        now: Timestamp,
        texts: Texts,
        tell: Tell<'_>,
        mut ask: impl FnMut(&mut RowIndex, Option<&TextIndex>) -> Result<T, IndexError>,
    ) -> Result<(T, Refreshed), IndexError> {
        self.problem = None;
        let (mut rebuilt, mut reopened) = (Vec::new(), false);
        loop {
            let error = match self.try_ask(now, texts, tell, &mut ask) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let waits = |part: &Part| matches!(part, Part::Texts(_)) && texts == Texts::AsIndexed;
            match error.damage() {
                Some(part) if !rebuilt.contains(&part) && !waits(&part) => {
                    rebuilt.push(part);
                    if let Err(error) = self.rebuild(part, now, tell) {
                        self.close();
                        return Err(error);
                    }
                }
                None if matches!(error, IndexError::Replaced) && !reopened => {
                    reopened = true;
                    self.close();
                }
                _ => {
                    // What is there then is opened for the next question.
                    self.close();
                    return Err(error);
                }
            }
        }
    }

    fn try_ask<T>(
        &mut self,
        now: Timestamp,
        with: Texts,
        tell: Tell<'_>,
        ask: &mut impl FnMut(&mut RowIndex, Option<&TextIndex>) -> Result<T, IndexError>,
    ) -> Result<(T, Refreshed), IndexError> {
        let Self { store, cache, is_mapped, rows, texts, .. } = self;
        let rows = match rows {
            Some(rows) => rows,
            None => rows.insert(RowIndex::open(cache, store)?),
        };
        let refreshed = rows.refresh(now, &mut |progress| tell(Stage::Rows, progress))?;
        if *is_mapped {
            rows.map()?;
        }
        if with != Texts::Unneeded && texts.is_none() {
            *texts = Some(TextIndex::open(cache, store)?);
        }
        if let (Texts::UpToDate, Some(texts)) = (with, texts.as_mut()) {
            texts.refresh(rows, &mut |progress| tell(Stage::Texts, progress))?;
        }
        Ok((ask(rows, texts.as_ref().filter(|_| with != Texts::Unneeded))?, refreshed))
    }

    fn rebuild(&mut self, part: Part, now: Timestamp, tell: Tell<'_>) -> Result<(), IndexError> {
        let (cache, store) = (self.cache.clone(), self.store.clone());
        match part {
            Part::Rows => {
                let damaged = self.rows.take().and_then(|rows| rows.opened);
                RowIndex::rebuild(&cache, &store, damaged, now, &mut |progress| tell(Stage::Rows, progress))
            }
            Part::Texts(which) => {
                let damaged = self.texts.take().and_then(|texts| texts.opened(which));
                let mut tell_texts = |progress| tell(Stage::Texts, progress);
                let mut rows = RowIndex::open(&cache, &store)?;
                rows.refresh(now, &mut |_| {})?;
                TextIndex::rebuild((&cache, &store), which, damaged, &rows, &mut tell_texts)
            }
        }
    }

    fn close(&mut self) {
        (self.rows, self.texts) = (None, None);
    }

    /// Reads every session, since the index cannot be used for this reason; from the one that follows `after`.
    fn read_all(
        &mut self,
        error: IndexError,
        filter: &SessionFilter,
        after: Option<Place>,
        mut take: impl FnMut(&Row<'_>),
    ) -> Result<Refreshed, StoreError> {
        let error = match error {
            IndexError::Store(error) => return Err(error),
            error => error,
        };
        self.problem = Some(error);
        let mut unreadable = Vec::new();
        let mut left = filter.limit.unwrap_or(usize::MAX);
        // Of those that come first some may have been handed on.
        let all = SessionFilter { limit: if after.is_some() { None } else { filter.limit }, ..filter.clone() };
        let entries = self.store.each(&all, |read| match read {
            Ok(mut listed) => {
                listed.read_usage();
                let row = listed.row();
                if left > 0 && after.is_none_or(|after| place(&row) < after) {
                    left -= 1;
                    take(&row);
                }
            }
            Err(error) => unreadable.push(error),
        })?;
        Ok(Refreshed { entries, unreadable })
    }
}
