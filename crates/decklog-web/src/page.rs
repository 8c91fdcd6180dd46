//! A session as one HTML page that stands for itself: what it needs is gathered here, and rendered in `render`.
//!
//! Must not know: where the page goes, the clock.

mod network;
mod patch;
mod render;
mod turn;

pub(crate) use render::{color, document};
use std::path::Path;

use decklog_journal::Session;
use decklog_query::diff::{self, Diff, DiffRange};
use decklog_query::network::{CONNECTIONS_FILE, read};
use decklog_query::show::full_prompt;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::render::Page;

/// Bytes of one turn's patch that are read for the page.
const MAX_PATCH: usize = 4 * 1024 * 1024;

/// The page of the session in `dir`, as it stands at `now`; times are told in `zone`.
#[must_use]
pub fn page(dir: &Path, session: &Session, now: Timestamp, zone: &TimeZone) -> String {
    let patches: Vec<_> = session.turns.iter().map(|turn| patch(dir, session, turn.turn)).collect();
    let status = decklog_journal::store::listed(session.head.clone(), dir.to_owned()).status;
    render::page(&Page {
        session,
        status,
        prompt: &full_prompt(dir, session),
        patches: &patches,
        network: read(dir).map_err(|error| format!("{}: {error}", CONNECTIONS_FILE)),
        now,
        zone,
    })
}

/// What a turn changed; a turn without snapshots has nothing to show.
fn patch(dir: &Path, session: &Session, turn: u32) -> Result<Vec<u8>, String> {
    let found = match diff::find(session, DiffRange::Turns(turn, turn)) {
        Ok(Diff::Empty) | Err(diff::DiffError::NoSnapshot(_) | diff::DiffError::NotEnded(_)) => return Ok(Vec::new()),
        found => found.map_err(|error| error.to_string())?,
    };
    let mut out = Bounded(Vec::new());
    diff::write_patch(dir, session, &found, &mut out).map_err(|error| error.to_string())?;
    Ok(out.0)
}

/// Keeps the beginning of what is written to it.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = MAX_PATCH.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
