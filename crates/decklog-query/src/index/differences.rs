//! Which entries of a root are not as they are remembered, from outside.
//!
//! Must not know: what is in a session.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use decklog_journal::SessionId;
use decklog_journal::parallel::on_two_threads;
use rusqlite::OptionalExtension;

use super::IndexError;
use super::rows::{RowIndex, second};

/// Entries looked at at a time.
pub(super) const BATCH: usize = 2048;

/// What an entry looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) inode: i64,
    pub(super) modified: i64,
}

/// What is remembered of an entry.
pub(super) struct Known {
    pub(super) outside: Outside,
    pub(super) settled: bool,
    pub(super) active: bool,
    pub(super) journal: Option<Journal>,
    pub(super) reason: Option<String>,
}

/// Length and time of a journal.
pub(super) type Journal = (i64, i64);

/// An entry, and what it looks like where that is known.
pub(super) type Work = (i64, Option<Outside>);

/// Entries that must be looked into.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) work: Vec<Work>,
    /// What is remembered of those.
    pub(super) known: HashMap<i64, Known>,
    /// Entries that are there no more.
    pub(super) gone: Vec<i64>,
    /// How many entries there are.
    pub(super) entries: usize,
    /// The second of the one in the middle, when all were listed.
    pub(super) middle: Option<i64>,
}

const REMEMBERED: &str = "SELECT n, inode, modified, settled, active, bytes, written, reason FROM entries";

fn remembered(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Known)> {
    let outside = Outside { inode: row.get(1)?, modified: row.get(2)? };
    let journal = row.get::<_, Option<i64>>(5)?.zip(row.get(6)?);
    let (settled, active, reason): (_, _, Option<String>) = (row.get(3)?, row.get(4)?, row.get(7)?);
    // Nothing is kept of the journal of what cannot be read.
    if reason.is_some() && journal.is_some() {
        return Err(rusqlite::Error::InvalidColumnType(7, "reason".into(), rusqlite::types::Type::Text));
    }
    Ok((row.get(0)?, Known { outside, settled, active, journal, reason }))
}

/// Where the root is as it was: what may change all the same.
pub(super) fn unsettled(index: &RowIndex) -> Result<Differences, IndexError> {
    let mut select = index.db.prepare_cached(&format!("{REMEMBERED} WHERE NOT settled"))?;
    let known = select.query_map([], remembered)?.collect::<Result<HashMap<_, _>, _>>()?;
    let entries = index
        .db
        .query_row("SELECT value FROM meta WHERE key = 'entries'", [], |row| row.get::<_, u32>(0))
        .optional()?;
    let work = known.keys().map(|number| (*number, None)).collect();
    Ok(Differences { work, known, entries: entries.unwrap_or(0) as usize, ..Differences::default() })
}

/// What is there beside what is remembered, both in order: of the many that are the same nothing is kept.
pub(super) fn compared(index: &RowIndex) -> Result<Differences, IndexError> {
    // What is remembered is what was so before the root is read: an entry that is made in between is then not taken for gone.
    let _snapshot = index.db.unchecked_transaction()?;
    let mut select = index.db.prepare_cached(&format!("{REMEMBERED} ORDER BY n"))?;
    let mut rows = select.query_map([], remembered)?;
    let mut next = rows.next().transpose()?;
    let mut numbers: Vec<i64> = index.store.ids()?.iter().map(SessionId::to_number).collect();
    numbers.sort_unstable();
    let middle = numbers.get(numbers.len() / 2).map(|number| second(*number));
    let mut all = Differences { entries: numbers.len(), middle, ..Differences::default() };
    for batch in numbers.chunks(BATCH) {
        for (&number, outside) in batch.iter().zip(look_outside(index, batch)) {
            while let Some((gone, _)) = next.take_if(|(known, _)| *known < number) {
                all.gone.push(gone);
                next = rows.next().transpose()?;
            }
            let known = next.take_if(|(known, _)| *known == number);
            if known.is_some() {
                next = rows.next().transpose()?;
            }
            if known.as_ref().is_none_or(|(_, known)| !known.settled || Some(known.outside) != outside) {
                all.work.push((number, outside));
                all.known.extend(known);
            }
        }
    }
    all.gone.extend(next.map(|(gone, _)| gone));
    for row in rows {
        all.gone.push(row?.0);
    }
    Ok(all)
}

/// What `entry` looks like, and whether it is a link: what that leads to may change unseen.
pub(super) fn outside(entry: &Path) -> Option<(Outside, bool)> {
    let meta = entry.symlink_metadata().ok()?;
    let modified = meta.mtime().checked_mul(1_000_000_000)?.checked_add(meta.mtime_nsec())?;
    Some((Outside { inode: meta.ino().cast_signed(), modified }, meta.is_symlink()))
}

fn look_outside(index: &RowIndex, numbers: &[i64]) -> Vec<Option<Outside>> {
    let store = &index.store;
    all(numbers, |number| {
        SessionId::from_number(*number).and_then(|id| outside(&store.entry(&id))).map(|(outside, _)| outside)
    })
}

/// What `work` gave on each of `items`.
pub(super) fn all<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    on_two_threads(items, work, |result| {
        results.push(result);
        ControlFlow::Continue(())
    });
    results
}
