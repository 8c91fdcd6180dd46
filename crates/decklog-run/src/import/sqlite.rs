//! Reading somebody else's SQLite database without leaving a trace beside it.
//!
//! Must not know: what is in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::TempDir;

/// A database open for reading.
pub(super) struct Database {
    db: Connection,
    /// Where a copy of it lies, when it could not be read where it stands.
    _copy: Option<TempDir>,
}

impl std::ops::Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

/// Opens a database for reading.
///
/// A program that is at work keeps its newest rows in a log beside the database, and its index in shared memory. With
/// both the database is read where it stands; a log alone could only be read by making the index, so it is copied;
/// without a log nothing can be missing, and SQLite need not even take locks.
pub(super) fn open(path: &Path) -> io::Result<Database> {
    let meta = path.symlink_metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
    let logged = log.metadata().is_ok_and(|meta| meta.len() > 0);
    if logged && !index.exists() {
        let copy = tempfile::tempdir()?;
        let own = copy.path().join("copy.db");
        std::fs::copy(path, &own)?;
        std::fs::copy(&log, beside(&own, "-wal"))?;
        return Ok(Database { db: connect(&own, "?mode=rw")?, _copy: Some(copy) });
    }
    let how = if logged { "?mode=ro" } else { "?mode=ro&immutable=1" };
    Ok(Database { db: connect(path, how)?, _copy: None })
}

fn connect(path: &Path, how: &str) -> io::Result<Connection> {
    let mut name: String = "file:".into();
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name.push_str(how);
    let write = if how == "?mode=rw" { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let open = || {
        let flags = write | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(name, flags)?;
        db.busy_timeout(Duration::from_secs(5))?;
        // A schema is somebody else's text: it must not run functions of its choice.
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "cell_size_check", true)?;
        // What is no database says so only when it is read.
        db.query_row("SELECT COUNT(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(db)
    };
    open().map_err(error)
}

/// Whether a file is a SQLite database.
pub(super) fn is_database(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 16];
    decklog_journal::files::open_regular(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && &magic == b"SQLite format 3\0"
}

/// Whether there is a table of this name.
pub(super) fn has_table(db: &Connection, name: &str) -> bool {
    db.query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1", [name], |_| Ok(())).is_ok()
}

/// Whether a table has this column.
pub(super) fn has_column(db: &Connection, table: &str, column: &str) -> bool {
    db.query_row("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2", [table, column], |_| Ok(())).is_ok()
}

/// [`io::ErrorKind::InvalidData`] where the file is at fault, and not reading it.
pub(super) fn error(error: rusqlite::Error) -> io::Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the database cannot be read: {error}"))
}
