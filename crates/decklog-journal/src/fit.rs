//! Making an event fit its line: texts that are too long go to artifacts beside the journal.
//!
//! Must not know: what events mean, who writes them.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::append::JournalWriter;
use crate::artifacts::{ArtifactWriter, long_text_path};
use crate::event::{ArtifactRef, Event, EventBody, LongKey, Withheld};
use crate::files;
use crate::redact::Redactor;
use crate::wire::MAX_LINE;
use crate::withheld;

/// A text longer than this, in bytes, goes to an artifact.
pub const MAX_INLINE: usize = 64 * 1024;

/// Bytes of a long text that its line keeps.
const PREVIEW: usize = 1024;

/// Appends `body` to the journal of the session in `dir`.
pub(crate) fn append(dir: &Path, journal: &mut JournalWriter, at: Timestamp, mut body: EventBody) -> io::Result<Event> {
    // Escapes can make a line longer than its texts: then shorter texts go to artifacts too.
    for limit in [MAX_INLINE, MAX_INLINE / 4, MAX_INLINE / 16, PREVIEW] {
        spill(dir, journal, &mut body, limit)?;
        let line = journal.encode(at, &body)?;
        if line.bytes.len() <= MAX_LINE {
            journal.precede(dir, &body);
            return journal.append(at, body, line);
        }
    }
    // Names of files stand in no artifact. The record is to go on: of these there are fewer then.
    while shorten(&mut body) {
        let line = journal.encode(at, &body)?;
        if line.bytes.len() <= MAX_LINE {
            journal.precede(dir, &body);
            return journal.append(at, body, line);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("a {} event is too long for a line", body.kind())))
}

/// Halves a list that can be short of what it could name; says whether there was one. That something was withheld still
/// stands there.
fn shorten(body: &mut EventBody) -> bool {
    match body {
        EventBody::TurnStart(start) if start.withheld.len() > 1 => start.withheld = halved(&start.withheld),
        EventBody::TurnStart(start) if start.command.len() > 1 => start.command.truncate(start.command.len() / 2),
        EventBody::TurnEnd(end) if !end.files.is_empty() => end.files.truncate(end.files.len() / 2),
        EventBody::TurnEnd(end) if end.withheld.len() > 1 => end.withheld = halved(&end.withheld),
        _ => return false,
    }
    true
}

/// Names the same files in about half the room.
fn halved(files: &[Withheld]) -> Vec<Withheld> {
    let bytes: usize = files.iter().map(|file| file.path.len() + file.reason.len()).sum();
    let named = withheld::within(files, bytes / 2);
    // Nothing may come of a list that is not shorter.
    if named.len() < files.len() { named } else { withheld::within(files, 0) }
}

/// Moves texts longer than `limit` to artifacts.
fn spill(dir: &Path, journal: &JournalWriter, body: &mut EventBody, limit: usize) -> io::Result<()> {
    let (turn, seq, redactor) = (body.turn(), journal.next_seq(), journal.redactor());
    for key in body.long_keys() {
        match key {
            LongKey::Text(what, text, artifact) if text.len() > limit && artifact.is_none() => {
                // Before it is cut: half a secret would pass.
                let safe = redactor.redact_str(text);
                *artifact = Some(store(dir, redactor, long_text_path(turn, seq, what), safe.as_bytes())?);
                *text = safe[..safe.floor_char_boundary(PREVIEW)].to_owned();
            }
            LongKey::Json(what, value, artifact) if artifact.is_none() && !value.is_null() => {
                let text = value.to_string();
                if text.len() > limit {
                    let safe = redactor.redact_str(&text);
                    *artifact = Some(store(dir, redactor, long_text_path(turn, seq, what), safe.as_bytes())?);
                    *value = serde_json::Value::String(safe[..safe.floor_char_boundary(PREVIEW)].to_owned());
                }
            }
            LongKey::Text(..) | LongKey::Json(..) => {}
        }
    }
    Ok(())
}

/// Writes a whole artifact.
pub(crate) fn store(dir: &Path, redactor: &Redactor, path: String, bytes: &[u8]) -> io::Result<ArtifactRef> {
    // A try that failed before may have left a part of it.
    files::remove_in(dir, &path)?;
    let mut artifact = ArtifactWriter::create(dir, path, redactor)?;
    artifact.write(bytes)?;
    artifact.finish()
}
