//! The files an index is kept in: opened, made, and made anew when they are damaged.
//!
//! Everything in them can be deleted at any time, also while it is in use: whoever has a file open goes on with it, and
//! whoever comes next makes a new one. Must not know: what the tables mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::IndexError;

/// How long one process waits for another's write.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens the database at `path` and makes its tables with `schema` where they are not there. One that cannot be used is
/// deleted and made anew.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, IndexError> {
    match try_open(path, schema) {
        Err(error) if is_damage(&error) => {
            remove(path);
            Ok(try_open(path, schema)?)
        }
        opened => Ok(opened?),
    }
}

fn try_open(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // The last one to close it would delete the log by its name, and that may by then be another file's.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    if is_empty(&db)? {
        // What merging leaves free at the end of a long build can then be given back.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Immediate)?;
        // Somebody else may have made them meanwhile.
        if is_empty(&db)? {
            db.execute_batch(schema)?;
        }
        transaction.commit()?;
    }
    Ok(db)
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Runs `work` as one change of the database: all of it or nothing, and nobody else's in between.
pub(crate) fn transaction<T>(db: &Connection, work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let result = work()?;
    transaction.commit()?;
    Ok(result)
}

/// After so much was written at once: gives back what is free, and moves what was written from the log to where it belongs.
pub(crate) fn tidy(db: &Connection) -> rusqlite::Result<()> {
    // Each step gives one page back.
    let mut give = db.prepare("PRAGMA incremental_vacuum")?;
    let mut pages = give.query([])?;
    while pages.next()?.is_some() {}
    db.query_row("PRAGMA wal_checkpoint (TRUNCATE)", [], |_| Ok(()))
}

/// Whether the file is to blame, and a new one helps.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            matches!(failure.code, DatabaseCorrupt | NotADatabase)
                // A table that is not there, or is not as it should be: it was never finished, or is not ours.
                || message.as_deref().is_some_and(|text| text.contains("no such") || text.contains("malformed"))
        }
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..) => true,
        _ => false,
    }
}

/// Deletes a database and what belongs to it.
pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}
