//! The sessions that were looked at last: a page asks many things of the same one, and its journal need not be read again
//! for each.
//!
//! Must not know: HTTP, what is asked.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use decklog_journal::lock::{self, Held};
use decklog_journal::session::JOURNAL_FILE;

use crate::story::Story;

/// Sessions that are kept.
const KEPT: usize = 2;

/// Bytes of a journal above which its session is read anew each time: what is kept is held in memory.
const LARGEST: u64 = 16 << 20;

/// Tells a journal that is as it was from one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(journal: &Metadata) -> Self {
        Self {
            file: (journal.dev(), journal.ino()),
            bytes: journal.len(),
            changed: (journal.mtime(), journal.mtime_nsec()),
        }
    }

    /// Whether a journal that was like this can have grown to be like `now`.
    fn leads_to(&self, now: &Self) -> bool {
        self == now || (self.file == now.file && self.bytes < now.bytes)
    }
}

/// A session that was read, and its journal as it was then.
struct Kept {
    story: Story,
    stamp: Stamp,
}

/// A place for one session; nothing while it was never read, or cannot be kept.
type Slot = Arc<Mutex<Option<Kept>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Stories(Mutex<VecDeque<(PathBuf, Slot)>>);

impl std::fmt::Debug for Stories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stories").finish()
    }
}

impl Stories {
    /// Asks the session in `dir`, read to its end; of one that nobody writes any more, an unfinished line is told.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn ask<T>(&self, dir: &Path, ask: impl FnOnce(&mut Story) -> io::Result<T>) -> io::Result<T> {
        let slot = self.slot(dir);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = dir.join(JOURNAL_FILE);
        let now = Stamp::of(&journal.symlink_metadata()?);
        // Taken out: what fails on the way is not kept.
        let mut story = match slot.take().filter(|kept| kept.stamp.leads_to(&now)) {
            Some(kept) => kept.story,
            None => Story::open(dir)?,
        };
        let is_over = lock::held(dir) != Held::Yes;
        if is_over { story.finish() } else { story.read(u64::MAX) }?;
        let answer = ask(&mut story)?;
        let stamp = Stamp::of(&journal.symlink_metadata()?);
        // Where more stands than was read, a line is unfinished, or has come since; whoever goes on with a journal may cut
        // off the one.
        *slot = (stamp.bytes == story.position() && stamp.bytes <= LARGEST).then_some(Kept { story, stamp });
        Ok(answer)
    }

    /// The place of the session in `dir`, which is now the one last looked at.
    fn slot(&self, dir: &Path) -> Slot {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(known, _)| known == dir).and_then(|at| kept.remove(at));
        let (dir, slot) = known.unwrap_or_else(|| (dir.to_owned(), Slot::default()));
        kept.truncate(KEPT - 1);
        kept.push_front((dir, Arc::clone(&slot)));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_grew_is_gone_on_with_and_another_is_not() {
        let was = Stamp { file: (1, 2), bytes: 10, changed: (5, 0) };
        for (now, is_same) in [
            (was, true),
            (Stamp { bytes: 11, changed: (6, 0), ..was }, true),
            (Stamp { changed: (6, 0), ..was }, false),
            (Stamp { bytes: 9, changed: (6, 0), ..was }, false),
            (Stamp { file: (1, 3), bytes: 11, ..was }, false),
        ] {
            assert_eq!(was.leads_to(&now), is_same, "{now:?}");
        }
    }
}
