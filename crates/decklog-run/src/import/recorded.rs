//! Which histories decklog recorded itself: an agent writes its own of every recorded turn.
//!
//! A recorded session is looked into only when a history could be of it by time, and then once.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use decklog_journal::event::EventBody;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::words::{ShownStatus, Status};
use decklog_journal::{Head, SessionId, files};
use jiff::{SignedDuration, Timestamp};

use super::Found;

/// Agents' and recorders' clocks are the same; what they write comes a little before and after.
const SLACK: SignedDuration = SignedDuration::from_secs(60);
/// Bytes at the beginning of a turn's stream in which the agent tells its session's id.
const BEGINNING: u64 = 64 * 1024;

/// The sessions that decklog recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Oldest last, as they are listed.
    sessions: Vec<One>,
    /// What was looked up: the agents' own ids by session.
    looked: Mutex<HashMap<SessionId, Vec<String>>>,
}

#[derive(Debug)]
struct One {
    id: SessionId,
    dir: PathBuf,
    from: Timestamp,
    to: Timestamp,
    /// Its last turn may not have ended: the agent's id stands in the stream alone.
    cut_off: bool,
}

impl Recorded {
    pub(super) fn add(&mut self, dir: PathBuf, head: &Head, status: ShownStatus) {
        if head.turns == 0 {
            return;
        }
        let live = status == ShownStatus::Active;
        let to = if live { Timestamp::MAX } else { head.last_event_at };
        let cut_off = head.status == Status::Active;
        self.sessions.push(One { id: head.id.clone(), dir, from: head.started_at, to, cut_off });
    }

    /// The recorded session in which the agent wrote `found`.
    pub(super) fn session_of(&self, found: &Found) -> Option<SessionId> {
        let (started, modified) = (found.started.unwrap_or(Timestamp::MIN), found.modified);
        let could = |one: &&One| {
            one.from.saturating_sub(SLACK).is_ok_and(|from| from <= modified)
                && one.to.saturating_add(SLACK).is_ok_and(|to| started <= to)
        };
        let is_it = |id: &String| *id == found.id || found.also.contains(id);
        self.sessions.iter().filter(could).find(|one| self.ids(one, found).iter().any(is_it)).map(|one| one.id.clone())
    }

    fn ids(&self, one: &One, found: &Found) -> Vec<String> {
        let mut looked = self.looked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ids = looked.entry(one.id.clone()).or_insert_with(|| told(&one.dir)).clone();
        if one.cut_off {
            ids.extend(found.also.iter().chain([&found.id]).filter(|id| in_a_stream(&one.dir, id)).cloned());
        }
        ids
    }
}

/// The agents' own ids that the turns of a session name.
fn told(dir: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    let Ok(reader) = JournalReader::open(&dir.join(JOURNAL_FILE)) else { return ids };
    for item in reader.flatten() {
        if let Item::Event(event) = item
            && let EventBody::TurnEnd(end) = event.body
            && let Some(id) = end.agent_session_id
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    ids
}

/// Whether one of the session's raw streams names `id` at its beginning.
fn in_a_stream(dir: &Path, id: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(dir.join(decklog_journal::artifacts::TURNS_DIR)) else { return false };
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with("-stream.jsonl")).any(|entry| {
        let mut beginning = Vec::new();
        files::open_regular(&entry.path()).is_ok_and(|file| file.take(BEGINNING).read_to_end(&mut beginning).is_ok())
            && memchr::memmem::find(&beginning, id.as_bytes()).is_some()
    })
}
