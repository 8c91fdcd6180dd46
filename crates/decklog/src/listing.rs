//! Rows of sessions for the verbs over many: from the index, or, where that cannot be used, from the sessions themselves.
//!
//! Must not know: which verb asks.

use std::io::Write;

use decklog_journal::store::{StoreError, Unreadable};
use decklog_journal::{Row, SessionFilter, SessionStore};
use decklog_query::index::{IndexError, Lookup, Progress, Stage};
use decklog_query::query::Query;
use decklog_query::search::Hits;
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
    let mut refreshed = ask(context, store, |lookup, bars| {
        lookup.each(filter, context.clock.now(), &mut |stage, progress| bars.show(stage, progress), |row| {
            shown += 1;
            if filter.limit == Some(shown) {
                last = Some(row.id());
            }
            take(row);
        })
    })?;
    if let Some(last) = last {
        refreshed.unreadable.retain(|unreadable| unreadable.id > last);
    }
    Ok(Found { entries: refreshed.entries, shown, unreadable: refreshed.unreadable })
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
    let (sums, refreshed) = ask(context, store, |lookup, bars| {
        let tell = &mut |stage, progress| bars.show(stage, progress);
        lookup.sum_up(filter, context.clock.now(), tell, || (new(), 0), counted)
    })?;
    let shown = sums.iter().map(|(_, shown)| shown).sum();
    let found = Found { entries: refreshed.entries, shown, unreadable: refreshed.unreadable };
    Ok((found, sums.into_iter().map(|(sum, _)| sum).collect()))
}

/// The turns of sessions that `filter` takes which hold what `query` asks for, the best first.
pub(crate) fn search(
    context: &Context,
    store: &SessionStore,
    query: &Query,
    filter: &SessionFilter,
) -> Result<Hits, CliError> {
    ask(context, store, |lookup, bars| {
        lookup.search(query, filter, context.clock.now(), &mut |stage, progress| bars.show(stage, progress))
    })
}

/// Asks, shows how far that is, and warns where the index could not answer.
fn ask<T>(
    context: &Context,
    store: &SessionStore,
    ask: impl FnOnce(&mut Lookup, &mut Bars) -> Result<T, StoreError>,
) -> Result<T, CliError> {
    let (mut lookup, mut bars) = (Lookup::new(context.cache(), store.clone()), Bars::new(context));
    let answer = ask(&mut lookup, &mut bars);
    bars.clear();
    if let Some(problem) = lookup.problem() {
        context.warn(&format!("{problem}; every session is read instead"));
    }
    Ok(answer?)
}

/// Brings the index of rows up to date.
pub(crate) fn refresh(context: &Context, store: &SessionStore) -> Result<(), IndexError> {
    let (mut lookup, mut bars) = (Lookup::new(context.cache(), store.clone()), Bars::new(context));
    let refreshed = lookup.refresh(context.clock.now(), &mut |stage, progress| bars.show(stage, progress));
    bars.clear();
    refreshed.map(drop)
}

/// A line on the terminal that says how far something is.
struct Bars {
    shows: bool,
    drawn: bool,
}

impl Bars {
    fn new(context: &Context) -> Self {
        Self { shows: context.err_is_terminal, drawn: false }
    }

    fn show(&mut self, stage: Stage, progress: Progress) {
        if self.shows {
            self.drawn = true;
            let what = match stage {
                Stage::Rows => "reading sessions",
                Stage::Texts => "indexing texts (may be interrupted, and goes on the next time)",
            };
            let count = |count: usize| thousands(count as u64);
            let (done, all) = (count(progress.done), count(progress.all));
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K{what} … {done} of {all}");
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
        }
    }
}
