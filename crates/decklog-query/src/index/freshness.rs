//! Bringing rows up to date: which sessions are new, changed or gone.
//!
//! A root whose own change time is the same holds the same entries, and none of its completed sessions was resumed. Else
//! its entries are listed and each looked at from outside. What may change without the root's doing so (a session that is
//! not completed, or stands elsewhere, or cannot be read) is looked at every time.
//!
//! Must not know: what rows are for.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use decklog_journal::SessionId;
use decklog_journal::lock::{self, Held};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::store::{Listed, Unreadable};
use decklog_journal::words::ShownStatus;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::differences::{self, BATCH, Differences, Journal, Known, Outside, Work};
use super::rows::RowIndex;
use super::{IndexError, Progress, Refreshed, db};

/// How far back a change time must lie before it can be told from a later one: of file systems that count well, and of
/// those that count whole seconds.
const FINE: SignedDuration = SignedDuration::from_millis(100);
const COARSE: SignedDuration = SignedDuration::from_millis(2100);

/// What a look at an entry gave.
enum Look {
    /// It is as it was kept.
    Same,
    /// Its recorder is still making it.
    Starting,
    /// With its journal as it was before, and whether it was the same after.
    Session(Box<Listed>, Option<Journal>, bool),
    Unreadable(Unreadable),
    Gone,
}

/// How often it is tried again when another process kept something of the same sessions meanwhile.
const TRIES: u32 = 5;

pub(super) fn refresh(
    index: &RowIndex,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Refreshed, IndexError> {
    for _ in 1..TRIES {
        if let Some(refreshed) = try_refresh(index, now, progress)? {
            return Ok(refreshed);
        }
    }
    Ok(try_refresh(index, now, progress)?.unwrap_or_default())
}

/// `None` when another process was at the same sessions: which of the two looked later cannot be told.
fn try_refresh(
    index: &RowIndex,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Refreshed>, IndexError> {
    let begun = index.change()?;
    let root = stamp(index.store.root(), now);
    let remembered: Option<String> =
        index.db.query_row("SELECT value FROM meta WHERE key = 'root'", [], |row| row.get(0)).optional()?;
    let same_root = root.is_some() && root == remembered;
    let Differences { mut work, known, gone, entries, middle } =
        if same_root { differences::unsettled(index)? } else { differences::compared(index)? };
    work.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let all = work.len();
    let (mut done, mut starting, mut alone) = (0, false, true);
    for batch in work.chunks(BATCH) {
        let looks = look_at_all(index, batch, &known);
        starting |= looks.iter().any(|(_, look)| matches!(look, Look::Starting));
        alone &= write(index, batch, looks, begun)?;
        done += batch.len();
        if all > BATCH {
            progress(Progress { done, all });
        }
    }
    if !alone {
        return Ok(None);
    }
    if !same_root {
        // One that is being made is looked for the next time, whether the root changes or not.
        leave(index, &gone, root.as_deref().filter(|_| !starting), entries, middle)?;
    }
    Ok(Some(Refreshed { entries, unreadable: unreadable(index)? }))
}

/// What tells this state of the root from any other; `None` when it is too fresh to be told, or there is no root.
fn stamp(root: &Path, now: Timestamp) -> Option<String> {
    let meta = std::fs::metadata(root).ok()?;
    let changed = Timestamp::new(meta.ctime(), i32::try_from(meta.ctime_nsec()).ok()?).ok()?;
    let least = if meta.ctime_nsec() == 0 { COARSE } else { FINE };
    let is_told = now.duration_since(changed) > least;
    is_told.then(|| format!("{}-{}-{}.{}", meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

/// What a batch looked like, before it was looked into, and what that gave.
type Looks = Vec<(Option<(Outside, bool)>, Look)>;

fn look_at_all(index: &RowIndex, batch: &[Work], known: &HashMap<i64, Known>) -> Looks {
    let store = &index.store;
    differences::all(batch, |(number, _)| {
        let Some(id) = SessionId::from_number(*number) else { return (None, Look::Gone) };
        let entry = store.entry(&id);
        // From outside first: what changes while it is read looks different the next time.
        let seen = differences::outside(&entry);
        let journal = journal(&entry);
        let known = known.get(number);
        if let (Some(known), Some((seen, _))) = (known, seen)
            && known.outside == seen
            && journal.is_some()
            && known.journal == journal
            // Of one that is recorded, that its recorder is there still; of another, that none has come.
            && lock::held(&entry) == if known.active { Held::Yes } else { Held::No }
        {
            return (None, Look::Same);
        }
        let (looked, still) = meanwhile(&entry, journal, || store.look(&id));
        let look = match looked {
            Ok(Some(mut listed)) => {
                listed.read_usage();
                Look::Session(Box::new(listed), journal, still)
            }
            // What stays of a removed session: files that are not decklog's.
            Ok(None) if known.is_some() => Look::Gone,
            Ok(None) => Look::Starting,
            Err(_) if entry.symlink_metadata().is_err() => Look::Gone,
            Err(it) if known.is_some_and(|known| known.reason.as_ref() == Some(&it.reason)) => Look::Same,
            Err(unreadable) => Look::Unreadable(unreadable),
        };
        (seen, look)
    })
}

/// What `look` gives, and whether the journal of `entry` was all the while as it was `before`.
fn meanwhile<T>(entry: &Path, before: Option<Journal>, look: impl FnOnce() -> T) -> (T, bool) {
    let looked = look();
    (looked, journal(entry) == before)
}

/// Length and time of a journal.
fn journal(entry: &Path) -> Option<Journal> {
    let meta = entry.join(JOURNAL_FILE).metadata().ok()?;
    let written = meta.mtime().checked_mul(1_000_000_000)?.checked_add(meta.mtime_nsec())?;
    Some((i64::try_from(meta.len()).ok()?, written))
}

/// Keeps what was seen of a batch, but for sessions of which somebody else kept something since `begun`. Whether there
/// were none of these.
fn write(index: &RowIndex, batch: &[Work], looks: Looks, begun: i64) -> Result<bool, IndexError> {
    if looks.iter().all(|(_, look)| matches!(look, Look::Same | Look::Starting)) {
        return Ok(true);
    }
    db::transaction(&index.db, || write_all(index, batch, looks, begun))
}

fn write_all(index: &RowIndex, batch: &[Work], looks: Looks, begun: i64) -> Result<bool, IndexError> {
    let mut alone = true;
    let change = next_change(index)?;
    for ((number, _), (outside, look)) in batch.iter().zip(looks) {
        let (outside, is_link) = outside.unwrap_or((Outside { inode: 0, modified: 0 }, true));
        let (settled, active, journal, reason) = match &look {
            Look::Same | Look::Starting => continue,
            Look::Gone => {
                depart(index, *number, change)?;
                continue;
            }
            Look::Session(listed, journal, still) => {
                // Of one that ended while it was looked at, the end is not in what is kept of its journal.
                let settled = listed.status == ShownStatus::Completed && !is_link && *still;
                (settled, listed.status == ShownStatus::Active, *journal, None)
            }
            Look::Unreadable(unreadable) => (false, false, None, Some(unreadable.reason.as_str())),
        };
        let (bytes, written) = journal.unzip();
        let kept = index
            .db
            .prepare_cached(
                "INSERT INTO entries (n, inode, modified, settled, active, bytes, written, reason, change)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET inode = excluded.inode, modified = excluded.modified,
                    settled = excluded.settled, active = excluded.active,
                    bytes = excluded.bytes, written = excluded.written, reason = excluded.reason,
                    change = excluded.change
                 WHERE change <= ?",
            )?
            .execute(params![
                number,
                outside.inode,
                outside.modified,
                settled,
                active,
                bytes,
                written,
                reason,
                change,
                begun
            ])?;
        if kept == 0 {
            alone = false;
            continue;
        }
        index.db.prepare_cached("DELETE FROM gone WHERE n = ?")?.execute([number])?;
        match &look {
            Look::Session(listed, ..) => index.keep(listed)?,
            _ => index.forget(*number)?,
        }
    }
    Ok(alone)
}

fn next_change(index: &RowIndex) -> Result<i64, IndexError> {
    let sql = "INSERT INTO meta VALUES ('change', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value";
    Ok(index.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn depart(index: &RowIndex, number: i64, change: i64) -> Result<(), IndexError> {
    index.forget(number)?;
    index.db.prepare_cached("DELETE FROM entries WHERE n = ?")?.execute([number])?;
    index.db.prepare_cached("INSERT OR REPLACE INTO gone VALUES (?, ?)")?.execute([number, change])?;
    Ok(())
}

/// Forgets what is gone, and remembers the root's state, how many entries it has, and the second of the one in the middle.
fn leave(
    index: &RowIndex,
    gone: &[i64],
    root: Option<&str>,
    entries: usize,
    middle: Option<i64>,
) -> Result<(), IndexError> {
    if gone.is_empty() && root.is_none() {
        return Ok(());
    }
    db::transaction(&index.db, || {
        let change = next_change(index)?;
        for number in gone {
            depart(index, *number, change)?;
        }
        if let Some(root) = root {
            let mut set = index.db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?;
            set.execute(params!["root", root])?;
            set.execute(params!["entries", i64::try_from(entries).unwrap_or(i64::MAX)])?;
            set.execute(params!["middle", middle])?;
        }
        Ok(())
    })
}

fn unreadable(index: &RowIndex) -> Result<Vec<Unreadable>, IndexError> {
    let mut select = index
        .db
        .prepare_cached("SELECT n, reason FROM entries WHERE NOT settled AND reason IS NOT NULL ORDER BY n DESC")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (number, reason) = row?;
        if let Some((id, path)) = index.entry(number) {
            all.push(Unreadable { id, path, reason });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_while_a_session_is_looked_at_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(JOURNAL_FILE);
        std::fs::write(&path, "turn_start\n").expect("a journal");
        let before = journal(dir.path());
        assert!(before.is_some());
        assert_eq!(meanwhile(dir.path(), before, || 1), (1, true));
        let end = || std::fs::write(&path, "turn_start\nturn_end\n").expect("a journal");
        assert_eq!(meanwhile(dir.path(), before, end), ((), false));
    }
}
