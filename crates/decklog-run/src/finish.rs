//! What is made of a turn once it is over: its state file, and its raw stream compressed.

use std::io::{self, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::ArtifactRef;
use decklog_journal::files::{Access, open_in, remove_in, rename_in};
use serde_json::json;

use crate::log::Log;
use crate::orchestrate::CheckResult;
use crate::turn::TurnResult;

/// A stream shorter than this, in bytes, stays as it is: it is one block on disk either way.
const SMALL: u64 = 4096;
/// A stream longer than this stays as it is: compressing it would keep the user waiting for seconds.
const LARGE: u64 = 256 * 1024 * 1024;

/// Writes `NNN-state.json`.
pub(crate) fn write_state(
    writer: &Log,
    turn: u32,
    result: &TurnResult,
    checks: &[CheckResult],
) -> Result<ArtifactRef, decklog_journal::WriteError> {
    let facts = &result.facts;
    let tools: Vec<_> = facts
        .tools
        .iter()
        .map(|(id, name, title, status)| json!({ "call_id": id, "name": name, "title": title, "status": status }))
        .collect();
    let state = json!({
        "turn": turn,
        "outcome": result.outcome,
        "error": result.error,
        "duration_secs": result.duration_secs,
        "model": facts.model,
        "agent_session_id": facts.agent_session_id,
        "tokens": facts.tokens,
        "cost_usd": facts.cost_usd,
        "tools": tools,
        "files_changed": result.files_changed,
        "lines_added": result.lines.0,
        "lines_removed": result.lines.1,
        "validation": checks,
        "recorded": result.kept,
    });
    writer.write_artifact(&TurnFile::State.path(turn), format!("{state:#}\n").as_bytes())
}

/// Replaces the raw stream of `turn` by a compressed one, plain zstd. The journal names it without the suffix.
///
/// # Errors
/// When something else than the stream is there, or the disk refuses. The stream stays then.
pub(crate) fn compress_stream(dir: &Path, turn: u32) -> io::Result<()> {
    let raw = TurnFile::Stream.path(turn);
    let source = match open_in(dir, &raw, Access::Read) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let meta = source.metadata()?;
    if !(SMALL..=LARGE).contains(&meta.len()) {
        return Ok(());
    }
    if meta.nlink() != 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the file has a second name: another process linked it",
        ));
    }
    let whole = format!("{raw}.zst");
    let part = format!("{whole}.part");
    let made = (|| {
        remove_in(dir, &part)?;
        let target = open_in(dir, &part, Access::Create)?;
        let mut encoder = zstd::Encoder::new(target, 1)?;
        io::copy(&mut BufReader::with_capacity(1 << 20, source), &mut encoder)?;
        let mut target = encoder.finish()?;
        target.flush()?;
        // The raw bytes go next: what replaces them must be on the disk.
        target.sync_data()?;
        rename_in(dir, &part, &whole, true)
    })();
    if let Err(error) = made {
        let _ = remove_in(dir, &part);
        // The raw stream is whole: nothing is lost by keeping it.
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        return if is_full { Ok(()) } else { Err(error) };
    }
    remove_in(dir, &raw)
}
