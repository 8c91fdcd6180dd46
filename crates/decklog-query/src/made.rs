//! Turn files that a session does not have, made from its journal: thousands of imported histories are two files each.

use std::io::{self, Write};
use std::path::Path;

use decklog_journal::event::{ArtifactRef, EventBody};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::readable::ReadableTurn;
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::verify::find_artifact;

/// What can be made of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked.
    Prompt,
    /// What came back, readable.
    Output,
    /// What the source tells whole of what it changed.
    Patch,
}

/// What a name such as `001-output`, `001-output.md`, `output` (of turn 1) or `turns/001.patch` asks for.
#[must_use]
pub fn parse(name: &str) -> Option<(u32, Kind)> {
    let name = name.strip_prefix("turns/").unwrap_or(name);
    let kind = |word: &str| match word {
        "prompt" | "prompt.md" => Some(Kind::Prompt),
        "output" | "output.md" => Some(Kind::Output),
        "patch" => Some(Kind::Patch),
        _ => None,
    };
    match name.split_once(['-', '.']).and_then(|(number, word)| Some((number.parse().ok()?, kind(word)?))) {
        Some((turn, kind)) => (turn > 0).then_some((turn, kind)),
        None => Some((1, kind(name)?)),
    }
}

/// Writes that file of the session in `dir`. Says whether there was such a turn.
///
/// # Errors
/// When the journal cannot be read, or `out` written.
pub fn write(dir: &Path, turn: u32, kind: Kind, out: &mut dyn Write) -> io::Result<bool> {
    let mut found = false;
    let mut readable = ReadableTurn::default();
    // The session's prompt is the first turn's, where that has none of its own.
    let mut asked = None;
    for item in JournalReader::open(&dir.join(JOURNAL_FILE))? {
        let Item::Event(event) = item? else { continue };
        if let EventBody::SessionStart(start) = &event.body {
            asked = Some((start.prompt.clone(), start.prompt_artifact.clone()));
        }
        if event.body.turn() != Some(turn) {
            if found && matches!(event.body, EventBody::TurnStart(_)) {
                break;
            }
            continue;
        }
        found = true;
        match (&event.body, kind) {
            (EventBody::TurnStart(start), Kind::Prompt) => {
                let own = Some((start.prompt.clone(), start.prompt_artifact.clone()));
                let is_own = !start.prompt.is_empty() || start.prompt_artifact.is_some();
                if let Some((text, artifact)) = if is_own { own } else { asked.take().filter(|_| turn == 1) } {
                    whole(dir, &text, artifact.as_ref(), out)?;
                }
                return Ok(true);
            }
            (EventBody::TurnEnd(end), Kind::Patch) => whole(dir, &end.patch, end.patch_artifact.as_ref(), out)?,
            (_, Kind::Output) => out.write_all(readable.add(&event).as_bytes())?,
            _ => {}
        }
    }
    Ok(found)
}

/// A text, or all of one that was too long for its line.
fn whole(dir: &Path, text: &str, artifact: Option<&ArtifactRef>, out: &mut dyn Write) -> io::Result<()> {
    let Some(artifact) = artifact else { return out.write_all(text.as_bytes()) };
    let found = find_artifact(dir, &artifact.path)?;
    io::copy(&mut found.content(Some(artifact.bytes))?, out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_people_type() {
        for (name, means) in [
            ("output", Some((1, Kind::Output))),
            ("002-output", Some((2, Kind::Output))),
            ("turns/012-prompt.md", Some((12, Kind::Prompt))),
            ("1-patch", Some((1, Kind::Patch))),
            ("001.patch", Some((1, Kind::Patch))),
            ("000-output", None),
            ("x-output", None),
            ("stderr", None),
            ("../output", None),
        ] {
            assert_eq!(parse(name), means, "{name}");
        }
    }
}
