//! Rows of sessions for the verbs over many: from the index, or, where that cannot be used, from the sessions themselves.
//!
//! Must not know: which verb asks.

use std::io::Write;

use decklog_journal::store::Unreadable;
use decklog_journal::{Row, SessionFilter, SessionStore};
use decklog_query::index::{IndexError, Progress, Refreshed, RowIndex, TextIndex, each_row, sum_up};
use decklog_text::format::thousands;

use crate::context::Context;
use crate::error::CliError;

/// What a listing left to say.
pub(crate) struct Found {
    /// Entries with the shape of an id.
    pub(crate) entries: usize,
    /// How many rows were handed on.
    pub(crate) shown: usize,
    /// Entries that cannot be read: of those that a limit left out, nothing is said.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// Hands on the rows that `filter` takes, newest first.
pub(crate) fn rows(
    context: &Context,
    store: &SessionStore,
    filter: &SessionFilter,
    mut take: impl FnMut(&Row<'_>),
) -> Result<Found, CliError> {
    let (mut shown, mut last) = (0, None);
    let found = indexed(context, store, filter, |index, texts| {
        each_row(index, texts, filter, |row| {
            shown += 1;
            if filter.limit == Some(shown) {
                last = Some(row.id());
            }
            take(row);
        })
    });
    match found {
        Ok(((), mut refreshed)) => {
            if let Some(last) = last {
                refreshed.unreadable.retain(|unreadable| unreadable.id > last);
            }
            Ok(Found { entries: refreshed.entries, shown, unreadable: refreshed.unreadable })
        }
        // Rows that were handed on cannot be taken back.
        Err(error) if shown > 0 => Err(CliError::new(error).hint("it is made anew the next time")),
        Err(error) => unindexed(context, store, filter, error, take),
    }
}

/// Sums up all rows that `filter` takes: in one sum, or in several, the newer sessions in the first.
pub(crate) fn sums<S: Send>(
    context: &Context,
    store: &SessionStore,
    filter: &SessionFilter,
    new: impl Fn() -> S + Sync,
    add: impl Fn(&mut S, &Row<'_>) + Sync,
) -> Result<(Found, Vec<S>), CliError> {
    let counted = |(sum, shown): &mut (S, usize), row: &Row<'_>| {
        *shown += 1;
        add(sum, row);
    };
    match indexed(context, store, filter, |index, texts| sum_up(index, texts, filter, || (new(), 0), counted)) {
        Ok((sums, refreshed)) => {
            let shown = sums.iter().map(|(_, shown)| shown).sum();
            let found = Found { entries: refreshed.entries, shown, unreadable: refreshed.unreadable };
            Ok((found, sums.into_iter().map(|(sum, _)| sum).collect()))
        }
        Err(error) => {
            let mut sum = new();
            let found = unindexed(context, store, filter, error, |row| add(&mut sum, row))?;
            Ok((found, vec![sum]))
        }
    }
}

/// Asks the index, once it is up to date.
fn indexed<T>(
    context: &Context,
    store: &SessionStore,
    filter: &SessionFilter,
    ask: impl FnOnce(&mut RowIndex, Option<&TextIndex>) -> Result<T, IndexError>,
) -> Result<(T, Refreshed), IndexError> {
    let (mut index, refreshed) = index(context, store)?;
    let texts = if filter.touched.is_empty() { None } else { Some(texts(context, store, &index)?) };
    Ok((ask(&mut index, texts.as_ref())?, refreshed))
}

/// Reads every session, since the index cannot be used for this reason.
fn unindexed(
    context: &Context,
    store: &SessionStore,
    filter: &SessionFilter,
    error: IndexError,
    mut take: impl FnMut(&Row<'_>),
) -> Result<Found, CliError> {
    if let IndexError::Store(error) = error {
        return Err(error.into());
    }
    context.warn(&format!("{error}; every session is read instead"));
    let (mut shown, mut unreadable) = (0, Vec::new());
    let entries = store.each(filter, |read| match read {
        Ok(listed) => {
            shown += 1;
            take(&listed.row());
        }
        Err(error) => unreadable.push(error),
    })?;
    Ok(Found { entries, shown, unreadable })
}

/// The index of rows, up to date.
pub(crate) fn index(context: &Context, store: &SessionStore) -> Result<(RowIndex, Refreshed), IndexError> {
    let mut index = RowIndex::open(&context.cache(), store)?;
    let mut bar = Bar::new(context, "reading sessions");
    let refreshed = index.refresh(context.clock.now(), &mut |progress| bar.show(progress))?;
    bar.clear();
    index.map()?;
    Ok((index, refreshed))
}

/// The index of words, up to date with `rows`, which must be so.
pub(crate) fn texts(context: &Context, store: &SessionStore, rows: &RowIndex) -> Result<TextIndex, IndexError> {
    let mut texts = TextIndex::open(&context.cache(), store)?;
    let mut bar = Bar::new(context, "indexing texts (may be interrupted, and goes on the next time)");
    texts.refresh(rows, &mut |progress| bar.show(progress))?;
    bar.clear();
    Ok(texts)
}

/// A line on the terminal that says how far something is.
struct Bar {
    shows: bool,
    drawn: bool,
    what: &'static str,
}

impl Bar {
    fn new(context: &Context, what: &'static str) -> Self {
        Self { shows: context.err_is_terminal, drawn: false, what }
    }

    fn show(&mut self, progress: Progress) {
        if self.shows {
            self.drawn = true;
            let count = |count: usize| thousands(count as u64);
            let (done, all) = (count(progress.done), count(progress.all));
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K{} … {done} of {all}", self.what);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
        }
    }
}
