//! Archives that `export` wrote, for `import`: taken whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use decklog_journal::portable::{self, Arrived, Limits};
use decklog_journal::{SessionId, SessionStore};
use decklog_text::format::counted;
use decklog_text::visible;
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;

/// An archive, and what became of the sessions in it.
#[derive(Serialize)]
pub(crate) struct Unpacked {
    path: PathBuf,
    sessions: Vec<One>,
}

#[derive(Serialize)]
struct One {
    id: SessionId,
    arrived: Arrived,
}

/// Whether the file at `path` is an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.is_file() && File::open(path).is_ok_and(portable::is_archive)
}

/// Unpacks the archive at `path`, seen from `cwd`, or tells what that would do.
pub(crate) fn unpack(path: &Path, cwd: &Path, store: &SessionStore, dry_run: bool) -> Result<Unpacked, CliError> {
    let failed = |error: portable::PortableError| {
        CliError::new(format!("{}: {error}", path.display())).hint("nothing was taken from this archive")
    };
    let file = File::open(cwd.join(path)).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let sessions = if dry_run {
        let arrives = |id: &SessionId| match store.entry(id).symlink_metadata() {
            Ok(_) => Arrived::AlreadyThere,
            Err(_) => Arrived::New,
        };
        let ids = portable::contents(file, Limits::default()).map_err(failed)?;
        ids.into_iter().map(|id| One { arrived: arrives(&id), id }).collect()
    } else {
        let unpacked = portable::unpack(store, file, Limits::default()).map_err(failed)?;
        unpacked.into_iter().map(|one| One { id: one.id, arrived: one.arrived }).collect()
    };
    Ok(Unpacked { path: path.to_owned(), sessions })
}

/// Tells what came of an archive.
pub(crate) fn print(archive: &Unpacked, dry_run: bool, context: &Context) -> Result<(), CliError> {
    let new = archive.sessions.iter().filter(|one| one.arrived == Arrived::New).count();
    let would = if dry_run { "would be " } else { "" };
    let there = archive.sessions.len() - new;
    let path = archive.path.display().to_string();
    let count = counted(new as u64, "session");
    context.print(format!("{}: {count} {would}imported, {there} there already\n", visible(&path)))
}
