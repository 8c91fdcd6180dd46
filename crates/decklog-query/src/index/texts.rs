//! Words of sessions: which passages hold them. Kept in two shards, since two threads build what one is too slow for.
//!
//! Must not know: how a query is written, or what an excerpt is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use decklog_journal::SessionStore;
use decklog_journal::filter::Touched;
use rusqlite::Rows;

use super::rows::RowIndex;
use super::shard::{PLACE_BITS, Shard, State, UNIT_BITS, Work};
use super::{IndexError, Progress, file};

/// The words of the sessions under one root.
pub struct TextIndex {
    shards: [Shard; 2],
}

impl std::fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndex").finish_non_exhaustive()
    }
}

/// In which shard a session is: ids end in chance.
fn shard_of(number: i64) -> usize {
    usize::from(number & 1 == 1)
}

/// A passage that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Its number in the index: newer ones are higher.
    pub(crate) document: i64,
    pub(crate) number: i64,
    pub(crate) turn: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Found {
    /// When its turn began, in seconds.
    pub(crate) fn began(&self) -> i64 {
        (self.document >> (PLACE_BITS + 1)) << UNIT_BITS
    }

    fn next(shard: usize, rows: &mut Rows<'_>) -> Result<Option<Self>, IndexError> {
        let Some(row) = rows.next()? else { return Ok(None) };
        let (from, to): (i64, i64) = (row.get(3)?, row.get(4)?);
        let (document, number, turn) = (numbered(row.get(0)?, shard), row.get(1)?, row.get(2)?);
        Ok(Some(Self { document, number, turn, from: from.cast_unsigned(), to: to.cast_unsigned() }))
    }
}

/// The number of a document among those of both shards.
fn numbered(document: i64, shard: usize) -> i64 {
    document << 1 | i64::from(shard == 1)
}

impl TextIndex {
    /// Opens the index of `store` in the directory `cache`, which is made if need be.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn open(cache: &Path, store: &SessionStore) -> Result<Self, IndexError> {
        let open = |kind| Shard::open(&file(cache, store, kind)?, store);
        Ok(Self { shards: [open("texts-0")?, open("texts-1")?] })
    }

    /// Brings it up to date with `rows`, which must be so, telling `progress` how far that is. What is done stays done
    /// when it is interrupted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn refresh(&mut self, rows: &RowIndex, progress: &mut dyn FnMut(Progress)) -> Result<(), IndexError> {
        let state: State = rows.state()?;
        let [first, second] = &mut self.shards;
        let works = [work(rows, first, 0, &state)?, work(rows, second, 1, &state)?];
        let all = works.iter().flatten().map(Work::jobs).sum();
        let (others, mut tell) = (AtomicUsize::new(0), |done| {
            if all > 1 {
                progress(Progress { done, all });
            }
        });
        let [here, there] = &works;
        std::thread::scope(|scope| {
            let other = there.as_ref().map(|work| {
                let refresh = || second.refresh(work, &state, &mut |done| others.store(done, Ordering::Relaxed));
                scope.spawn(refresh)
            });
            if let Some(work) = here {
                first.refresh(work, &state, &mut |done| tell(done + others.load(Ordering::Relaxed)))?;
            }
            other.map_or(Ok(()), |other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// Hands on the passages that hold what `expression` asks for, those of the newest turns first, until `take` says that it
    /// has enough.
    pub(crate) fn find(&self, expression: &str, mut take: impl FnMut(Found) -> bool) -> Result<(), IndexError> {
        let [first, second] = &self.shards;
        let mut statements = [first.find()?, second.find()?];
        let [first, second] = &mut statements;
        let mut rows = [first.query([expression])?, second.query([expression])?];
        let mut next = [Found::next(0, &mut rows[0])?, Found::next(1, &mut rows[1])?];
        loop {
            let newer = usize::from(next[1].map(|it| it.document) > next[0].map(|it| it.document));
            let Some(found) = next[newer] else { return Ok(()) };
            if !take(found) {
                return Ok(());
            }
            next[newer] = Found::next(newer, &mut rows[newer])?;
        }
    }

    /// How well each of the passages numbered from `oldest` on answers `expression`: higher is better.
    pub(crate) fn scores(&self, expression: &str, oldest: i64) -> Result<Vec<(i64, f64)>, IndexError> {
        let mut scores = Vec::new();
        for (which, shard) in self.shards.iter().enumerate() {
            let of = shard.scores(expression, oldest >> 1)?;
            scores.extend(of.into_iter().map(|(document, score)| (numbered(document, which), score)));
        }
        Ok(scores)
    }

    /// How many passages there are from `oldest` on, counted up to `most` in each half of the index.
    pub(crate) fn count_from(&self, oldest: i64, most: i64) -> Result<i64, IndexError> {
        self.shards.iter().map(|shard| shard.count_from(oldest >> 1, most)).sum()
    }

    /// Numbers of the sessions that changed a file which one of `patterns` names.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn touched(&self, patterns: &[Touched]) -> Result<HashSet<i64>, IndexError> {
        let mut sessions = HashSet::new();
        self.shards.iter().try_for_each(|shard| shard.touched(patterns, &mut sessions))?;
        Ok(sessions)
    }
}

/// What there is to do in a shard; `None` when it is up to date.
fn work(rows: &RowIndex, shard: &Shard, which: usize, state: &State) -> Result<Option<Work>, IndexError> {
    let known = shard.state()?;
    if known.as_ref() == Some(state) {
        return Ok(None);
    }
    let since = known.filter(|(epoch, _)| *epoch == state.0).map(|(_, change)| change);
    let (mut present, mut gone) = rows.changed(since)?;
    present.retain(|(number, _)| shard_of(*number) == which);
    gone.retain(|number| shard_of(*number) == which);
    shard.work(&present, &gone, since.is_none()).map(Some)
}
