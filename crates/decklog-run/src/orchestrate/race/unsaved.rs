//! Whose work the record of a race does not hold whole: their worktrees are the only copy of it.
//!
//! Told from the journal alone, so that it is known also when whoever ran the race is gone. Must not know: worktrees.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use decklog_journal::EventBody;

use decklog_journal::head::RECORDING_FAILED;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;

/// The code of the notice that tells what a racer had done when it was cut off.
pub(super) const CUT_OFF: &str = "cut_off";
/// What that notice says when its worktree holds more.
pub(super) const STAYS: &str = "; its worktree is kept";

/// The turns of the session in `dir` that left something which its record does not hold.
pub(super) fn unsaved(dir: &Path) -> io::Result<Vec<u32>> {
    let mut known: HashSet<(u32, String)> = HashSet::new();
    // Those that were cut off, and of which nobody has told, are not saved.
    let mut turns: BTreeMap<u32, bool> = BTreeMap::new();
    let mut failed = HashSet::new();
    for item in JournalReader::open(&dir.join(JOURNAL_FILE))? {
        let Item::Event(event) = item? else { continue };
        match event.body {
            EventBody::TurnStart(start) => {
                known.extend(start.withheld.into_iter().map(|file| (start.turn, file.path)));
                turns.insert(start.turn, true);
            }
            EventBody::TurnEnd(end) => {
                let is_new = end.withheld.into_iter().any(|file| !known.contains(&(end.turn, file.path)));
                turns.insert(end.turn, end.snapshot.is_none() || is_new);
            }
            EventBody::Notice(notice) if notice.code == RECORDING_FAILED => {
                failed.insert(notice.turn);
            }
            EventBody::Notice(notice) if notice.code == CUT_OFF => {
                turns.extend(notice.turn.map(|turn| (turn, notice.text.contains(STAYS))));
            }
            _ => {}
        }
    }
    // What is not said of one turn can be of any.
    let is_unsaved = |turn: u32, unsaved: bool| unsaved || failed.contains(&Some(turn)) || failed.contains(&None);
    Ok(turns.into_iter().filter(|(turn, unsaved)| is_unsaved(*turn, *unsaved)).map(|(turn, _)| turn).collect())
}
