//! The index: what lists, statistics and searches would otherwise have to read from every session, kept in the cache
//! directory. It is derived: whatever it says, the sessions said, and it is brought up to date before it is asked.
//!
//! Three files per session root: one of rows, brought up to date by every list, and two shards of texts, brought up to date
//! by searches. All can be deleted at any time. The process that finds one damaged rebuilds it beside the old one;
//! everybody else reads the sessions meanwhile.
//!
//! Must not know: the terminal, where the cache directory is. Nothing here writes into a session.

mod db;
mod differences;
mod freshness;
mod lookup;
mod packed;
mod rows;
mod shard;
mod shard_read;
mod texts;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use decklog_journal::store::Unreadable;
use decklog_journal::{Row, SessionFilter, SessionStore};

pub use lookup::{Lookup, Stage, Tell};
pub(crate) use rows::RowIndex;
pub(crate) use texts::{Found, TextIndex};

/// Version of what is kept: a part of the files' names, so that an older or newer decklog uses its own.
const VERSION: u32 = 4;

/// Why an index could not be used. The sessions can always be read without one.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The cache directory cannot be used.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database of rows refused.
    #[error("the index cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database of a shard of texts refused.
    #[error("the index of texts cannot be used: {1}")]
    Texts(usize, rusqlite::Error),
    /// A file of it was damaged, and another process is rebuilding it.
    #[error("the index is being rebuilt")]
    Rebuilding,
    /// It was deleted while it was read, and there is another.
    #[error("the index was made anew meanwhile")]
    Replaced,
    /// The sessions cannot be listed.
    #[error(transparent)]
    Store(#[from] decklog_journal::store::StoreError),
}

impl IndexError {
    /// The damaged file, if a new one helps.
    fn damage(&self) -> Option<Part> {
        match self {
            Self::Database(error) if db::is_damage(error) => Some(Part::Rows),
            Self::Texts(shard, error) if db::is_damage(error) => Some(Part::Texts(*shard)),
            _ => None,
        }
    }

    fn is_damage(&self) -> bool {
        self.damage().is_some()
    }

    /// The same, where the error is a shard's.
    fn of_shard(self, shard: usize) -> Self {
        match self {
            Self::Database(error) => Self::Texts(shard, error),
            error => error,
        }
    }
}

/// A file of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Rows,
    Texts(usize),
}

/// How far bringing up to date has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Sessions read.
    pub done: usize,
    /// Sessions to read.
    pub all: usize,
}

/// What bringing up to date found.
#[derive(Debug, Clone, Default)]
pub struct Refreshed {
    /// Entries with the shape of an id.
    pub entries: usize,
    /// Those that cannot be read, newest first.
    pub unreadable: Vec<Unreadable>,
}

/// Hands on the rows that `filter` takes, newest first: of indexes that are up to date, and from the one that follows `after`.
/// `texts` decides about files touched; without it the journals do.
///
/// # Errors
/// [`IndexError`].
pub(crate) fn each_row(
    rows: &mut RowIndex,
    texts: Option<&TextIndex>,
    filter: &SessionFilter,
    after: Option<Place>,
    take: impl FnMut(&Row<'_>),
) -> Result<(), IndexError> {
    let rest = Rest::new(rows, texts, filter)?;
    rows.each(filter, |row| after.is_none_or(|after| place(row) < after) && rest.takes(row), take)
}

/// Where a row is in the order of lists: what is newer is greater.
pub(crate) type Place = (i64, i64, i64);

pub(crate) fn place(row: &Row<'_>) -> Place {
    (rows::second(row.number), row.started_at.as_microsecond(), row.number)
}

/// Sums up the rows that [`each_row`] would hand on: many of them on two threads, each with a sum of its own. The sums come
/// with that of the newer sessions first.
///
/// # Errors
/// [`IndexError`].
pub(crate) fn sum_up<S: Send>(
    rows: &mut RowIndex,
    texts: Option<&TextIndex>,
    filter: &SessionFilter,
    new: impl Fn() -> S + Sync,
    add: impl Fn(&mut S, &Row<'_>) + Sync,
) -> Result<Vec<S>, IndexError> {
    let rest = Rest::new(rows, texts, filter)?;
    rows.sum_up(filter, |row| rest.takes(row), new, add)
}

/// What a filter asks that rows do not tell.
struct Rest {
    store: SessionStore,
    filter: SessionFilter,
    /// Sessions that touched the files asked for, if that is known.
    touched: Option<HashSet<i64>>,
}

impl Rest {
    fn new(rows: &RowIndex, texts: Option<&TextIndex>, filter: &SessionFilter) -> Result<Self, IndexError> {
        let (store, mut filter) = (rows.store.clone(), filter.clone());
        let texts = texts.filter(|_| !filter.touched.is_empty());
        let touched = texts.map(|texts| texts.touched(&filter.touched)).transpose()?;
        if touched.is_some() {
            filter.touched.clear();
        }
        Ok(Self { store, filter, touched })
    }

    fn takes(&self, row: &Row<'_>) -> bool {
        self.touched.as_ref().is_none_or(|touched| touched.contains(&row.number))
            && (self.filter.needs_only_heads() || self.filter.takes_rest(row, &self.store.entry(&row.id())))
    }
}

/// The file for the sessions under `store`'s root of which `kind` is kept, its directory made.
fn file(cache: &Path, store: &SessionStore, kind: &str) -> Result<PathBuf, IndexError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::DirBuilderExt;
    let dir = cache.join("index");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&dir)
        .map_err(|error| IndexError::Io { path: dir.clone(), error })?;
    let root = store.root().canonicalize().unwrap_or_else(|_| store.root().to_owned());
    let hash = decklog_journal::wire::sha256_hex(root.as_os_str().as_bytes());
    Ok(dir.join(format!("{}-{kind}-{VERSION}.sqlite", &hash[..16])))
}
