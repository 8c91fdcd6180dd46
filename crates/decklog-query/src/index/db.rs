//! The files an index is kept in: opened, made, and replaced when they are damaged.
//!
//! Everything in them can be deleted at any time, also while it is in use: whoever has a file open goes on with it, and
//! whoever comes next makes a new one. Must not know: what the tables mean.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use super::IndexError;

/// How long one process waits for another's write. Who waits in vain reads the sessions themselves.
const PATIENCE: Duration = Duration::from_millis(400);

/// How often a lock that another holds is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Device and inode of a file: distinguishes it from another that takes its name.
pub(super) type Identity = (u64, u64);

/// A database, and the file that it was opened from.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) file: Option<Identity>,
}

/// Opens the database at `path` and makes its tables with `schema` where it has none.
pub(super) fn open(path: &Path, schema: &str) -> Result<Opened, IndexError> {
    // What SQLite opens by name must belong together: the file, its log, and the index of that.
    let _names = lock_names(path, FlockOperation::NonBlockingLockShared)?;
    let db = try_open(path, schema)?;
    Ok(Opened { db, file: identity(path) })
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
    checkpoint(db).map(drop)
}

/// Moves what was written from the log to where it belongs. `false`: another connection reads it.
fn checkpoint(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("PRAGMA wal_checkpoint (TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// Whether a new file helps: everything but what another process, the disk or memory is short of for now.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationInterrupted, OutOfMemory,
    };
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => !matches!(
            failure.code,
            DatabaseBusy | DatabaseLocked | DiskFull | FileLockingProtocolFailed | OperationInterrupted | OutOfMemory
        ),
        _ => true,
    }
}

/// Rebuilds the database at `path` with `build`, which is given the name of a file beside it, to be filled; the old one
/// stays until the new one is whole. `damaged` is the file that was found to be damaged, `None` when it could not be opened.
/// Does nothing when another process has replaced it meanwhile. What an interrupted rebuild left is continued.
///
/// # Errors
/// [`IndexError::Rebuilding`] while another process is at it; else why it could not be made.
pub(super) fn rebuild(
    path: &Path,
    schema: &str,
    damaged: Option<Identity>,
    mut build: impl FnMut(&Path) -> Result<Connection, IndexError>,
) -> Result<(), IndexError> {
    let lock = with_suffix(path, ".lock");
    let failed = |error| IndexError::Io { path: lock.clone(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(IndexError::Rebuilding);
    }
    let is_replaced = match damaged {
        Some(damaged) => identity(path).is_some_and(|there| there != damaged),
        None => open(path, schema).is_ok(),
    };
    if is_replaced {
        return Ok(());
    }
    let new = with_suffix(path, ".new");
    let mut filled = || {
        let db = build(&new)?;
        if checkpoint(&db)? { Ok(()) } else { Err(IndexError::Rebuilding) }
    };
    let done = filled().or_else(|error| {
        // What was left of an earlier attempt may be damaged, too.
        if !error.is_damage() {
            return Err(error);
        }
        remove(&new);
        filled()
    });
    if let Err(error) = done {
        remove(&new);
        return Err(error);
    }
    let _names = lock_names(path, FlockOperation::NonBlockingLockExclusive)?;
    remove_logs(&new);
    remove(path);
    std::fs::rename(&new, path).map_err(|error| IndexError::Io { path: path.to_owned(), error })
}

/// Locks the names in the directory of `path` as long as what is returned lives.
fn lock_names(path: &Path, operation: FlockOperation) -> Result<File, IndexError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| IndexError::Io { path: dir.to_owned(), error };
    let file = File::open(dir).map_err(failed)?;
    let since = Instant::now();
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(error) if since.elapsed() > PATIENCE => return Err(failed(error.into())),
            Err(_) => std::thread::sleep(RETRY),
        }
    }
}

/// The file at `path`.
fn identity(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Deletes a database and what belongs to it, whatever is in its place.
fn remove(path: &Path) {
    remove_one(path);
    remove_logs(path);
}

fn remove_logs(path: &Path) {
    remove_one(&with_suffix(path, "-wal"));
    remove_one(&with_suffix(path, "-shm"));
}

fn remove_one(path: &Path) {
    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let _ = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}
