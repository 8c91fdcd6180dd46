//! Archives that `export` wrote, for `import`: taken whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use decklog_journal::portable::{self, Arrived, Content, Limits, PortableError, Unpacked};
use decklog_journal::{SessionId, SessionStore};
use decklog_text::format::counted;
use decklog_text::visible;
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;

/// An archive, and what became of the sessions in it.
#[derive(Serialize)]
pub(crate) struct Import {
    path: PathBuf,
    sessions: Vec<One>,
}

#[derive(Serialize)]
struct One {
    id: SessionId,
    arrived: Arrived,
    /// How many things `verify` finds wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<usize>,
    /// `false`: the archive says that it was not whole when it was packed. Set where nothing is unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

/// Whether the file at `path` is an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.is_file() && File::open(path).is_ok_and(portable::is_archive)
}

/// Unpacks the archive at `path`, seen from `cwd`, within `limits`, or reports what that would do.
pub(crate) fn unpack(
    path: &Path,
    cwd: &Path,
    store: &SessionStore,
    limits: Limits,
    dry_run: bool,
) -> Result<Import, CliError> {
    let failed = |error: PortableError| {
        let hint = match error {
            PortableError::Limit(_) => "if you trust it, raise the limits with --max-size and --max-ratio",
            _ => "nothing was taken from this archive",
        };
        CliError::new(format!("{}: {error}", path.display())).hint(hint)
    };
    let file = File::open(cwd.join(path)).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let limits = Limits { packed: file.metadata().ok().map(|meta| meta.len()), ..limits };
    let sessions = if dry_run {
        let arrives = |id: &SessionId| match store.entry(id).symlink_metadata() {
            Ok(_) => Arrived::AlreadyThere,
            Err(_) => Arrived::New,
        };
        let content = portable::contents(file, limits).map_err(failed)?;
        let one = |Content { id, verified }| {
            let verified = (!verified).then_some(false);
            One { arrived: arrives(&id), id, faults: None, verified }
        };
        content.into_iter().map(one).collect()
    } else {
        let unpacked = portable::unpack(store, file, limits).map_err(failed)?;
        let one = |Unpacked { id, arrived, faults }| One {
            id,
            arrived,
            faults: Some(faults).filter(|faults| *faults > 0),
            verified: None,
        };
        unpacked.into_iter().map(one).collect()
    };
    Ok(Import { path: path.to_owned(), sessions })
}

/// Warns of sessions that are not whole.
pub(crate) fn warn(archive: &Import, context: &Context) {
    for One { id, faults, verified, .. } in &archive.sessions {
        if let Some(faults) = faults {
            let count = counted(*faults as u64, "fault");
            context.warn(&format!("session {id} is not whole: {count}, which `decklog verify {id}` names"));
        }
        if *verified == Some(false) {
            context.warn(&format!("session {id} was not whole when it was packed"));
        }
    }
}

/// Tells what came of an archive.
pub(crate) fn print(archive: &Import, dry_run: bool, context: &Context) -> Result<(), CliError> {
    let new = archive.sessions.iter().filter(|one| one.arrived == Arrived::New).count();
    let would = if dry_run { "would be " } else { "" };
    let there = archive.sessions.len() - new;
    let path = archive.path.display().to_string();
    let count = counted(new as u64, "session");
    context.print(format!("{}: {count} {would}imported, {there} there already\n", visible(&path)))
}
