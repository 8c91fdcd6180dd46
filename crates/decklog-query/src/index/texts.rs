//! Words of sessions: which passages hold them. Kept in two shards, since two threads build what one is too slow for.
//!
//! Must not know: how a query is written, or what an excerpt is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use decklog_journal::SessionStore;
use decklog_journal::filter::Touched;
use decklog_journal::parallel::both;
use rusqlite::Rows;

use super::db::Identity;
use super::rows::RowIndex;
use super::shard::{PLACE_BITS, Shard, State, UNIT_BITS, Work};
use super::{IndexError, Progress, file};

/// The words of the sessions under one root.
pub(crate) struct TextIndex {
    shards: [Shard; 2],
}

impl std::fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndex").finish_non_exhaustive()
    }
}

fn path(cache: &Path, store: &SessionStore, which: usize) -> Result<PathBuf, IndexError> {
    file(cache, store, ["texts-0", "texts-1"][which])
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
        Self::try_next(shard, rows).map_err(|error| IndexError::Texts(shard, error))
    }

    fn try_next(shard: usize, rows: &mut Rows<'_>) -> rusqlite::Result<Option<Self>> {
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
    pub(crate) fn open(cache: &Path, store: &SessionStore) -> Result<Self, IndexError> {
        let open = |which| Shard::open(&path(cache, store, which)?, store).map_err(|error| error.of_shard(which));
        Ok(Self { shards: [open(0)?, open(1)?] })
    }

    /// The file that a shard was opened from.
    pub(super) fn opened(&self, which: usize) -> Option<Identity> {
        self.shards[which].opened
    }

    /// Rebuilds the shard `which` where its file is damaged: see [`super::db::rebuild`]. `rows` must be up to date.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn rebuild(
        (cache, store): (&Path, &SessionStore),
        which: usize,
        damaged: Option<Identity>,
        rows: &RowIndex,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), IndexError> {
        let state: State = rows.state()?;
        Shard::rebuild(&path(cache, store, which)?, store, damaged, &mut |shard| {
            let Some(work) = work(rows, shard, which, &state)? else { return Ok(()) };
            let all = work.jobs();
            shard
                .refresh(&work, &state, &mut |done| progress(Progress { done, all }))
                .map_err(|error| error.of_shard(which))
        })
    }

    /// Brings it up to date with `rows`, which must be so, telling `progress` how far that is. What is done stays done
    /// when it is interrupted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn refresh(&mut self, rows: &RowIndex, progress: &mut dyn FnMut(Progress)) -> Result<(), IndexError> {
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
        let mut refresh_first = || match here {
            Some(work) => first.refresh(work, &state, &mut |done| tell(done + others.load(Ordering::Relaxed))),
            None => Ok(()),
        };
        let Some(there) = there else { return refresh_first().map_err(|error| error.of_shard(0)) };
        let refresh_second = || second.refresh(there, &state, &mut |done| others.store(done, Ordering::Relaxed));
        let (first, second) = both(refresh_first, refresh_second);
        first.map_err(|error| error.of_shard(0)).and(second.map_err(|error| error.of_shard(1)))
    }

    /// Hands on the passages that hold what `expression` asks for, those of the newest turns first, until `take` says that it
    /// has enough.
    pub(crate) fn find(&self, expression: &str, mut take: impl FnMut(Found) -> bool) -> Result<(), IndexError> {
        let [first, second] = &self.shards;
        let of = |which: usize| move |error: IndexError| error.of_shard(which);
        let mut statements = [first.find().map_err(of(0))?, second.find().map_err(of(1))?];
        let [first, second] = &mut statements;
        let query = |which: usize, error: rusqlite::Error| IndexError::Texts(which, error);
        let mut rows = [
            first.query([expression]).map_err(|error| query(0, error))?,
            second.query([expression]).map_err(|error| query(1, error))?,
        ];
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
            let of = shard.scores(expression, oldest >> 1).map_err(|error| error.of_shard(which))?;
            scores.extend(of.into_iter().map(|(document, score)| (numbered(document, which), score)));
        }
        Ok(scores)
    }

    /// How many passages there are from `oldest` on, counted up to `most` in each half of the index.
    pub(crate) fn count_from(&self, oldest: i64, most: i64) -> Result<i64, IndexError> {
        let count = |(which, shard): (usize, &Shard)| {
            shard.count_from(oldest >> 1, most).map_err(|error| error.of_shard(which))
        };
        self.shards.iter().enumerate().map(count).sum()
    }

    /// Numbers of the sessions that changed a file which one of `patterns` names.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn touched(&self, patterns: &[Touched]) -> Result<HashSet<i64>, IndexError> {
        let mut sessions = HashSet::new();
        for (which, shard) in self.shards.iter().enumerate() {
            shard.touched(patterns, &mut sessions).map_err(|error| error.of_shard(which))?;
        }
        Ok(sessions)
    }
}

/// What there is to do in a shard; `None` when it is up to date.
fn work(rows: &RowIndex, shard: &Shard, which: usize, state: &State) -> Result<Option<Work>, IndexError> {
    let known = shard.state().map_err(|error| error.of_shard(which))?;
    if known.as_ref() == Some(state) {
        return Ok(None);
    }
    let since = known.filter(|(epoch, _)| *epoch == state.0).map(|(_, change)| change);
    let (mut present, mut gone) = rows.changed(since)?;
    present.retain(|(number, _)| shard_of(*number) == which);
    gone.retain(|number| shard_of(*number) == which);
    shard.work(&present, &gone, since.is_none()).map(Some).map_err(|error| error.of_shard(which))
}
