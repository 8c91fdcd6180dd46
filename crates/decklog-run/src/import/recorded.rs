//! Which histories decklog recorded itself: an agent writes its own of every recorded turn.
//!
//! A recorded session is looked into only when a history could be of it by time, and then once. An agent can write a history before
//! it says its id, and some say it only at the end. Until a live turn is over, a history that could be its own has to wait.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use decklog_journal::event::{EventBody, TurnStart};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::words::{SessionKind, ShownStatus, Status};
use decklog_journal::{Head, SessionId, files};
use jiff::{SignedDuration, Timestamp};

use super::{Found, Tool};

/// Agents' and recorders' clocks are the same; what they write comes a little before and after.
const SLACK: SignedDuration = SignedDuration::from_secs(60);
/// The same for what a history says of its own beginning, which no agent writes before its turn has started.
const START_SLACK: SignedDuration = SignedDuration::from_secs(1);
/// Bytes at the beginning of a turn's stream in which the agent tells its session's id.
const BEGINNING: u64 = 64 * 1024;

/// The sessions that decklog recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Oldest last, as they are listed.
    sessions: Vec<One>,
    /// What was looked up, by session.
    looked: Mutex<HashMap<SessionId, Contents>>,
}

/// What a recorded session's journal holds of its agents' conversations.
#[derive(Debug, Default, Clone)]
struct Contents {
    /// The agents' own ids that its turns name.
    ids: Vec<String>,
    /// Turns that have not ended.
    open: Vec<OpenTurn>,
}

#[derive(Debug, Clone)]
struct OpenTurn {
    started: Timestamp,
    start: TurnStart,
}

/// A live turn that may turn out to be the one a history is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveTurn {
    pub(super) session: SessionId,
    /// Where its agent works; `None`: not where its session does.
    working_dir: Option<PathBuf>,
}

impl LiveTurn {
    /// Whether a history of work in `dir` can be its own. Agents name the directory, one above it or one below it, or none.
    pub(super) fn is_at(&self, dir: &str) -> bool {
        let Some(own) = self.working_dir.as_deref().filter(|_| !dir.is_empty()) else { return true };
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (own, dir) = (canonical(own), canonical(Path::new(dir)));
        own.starts_with(&dir) || dir.starts_with(&own)
    }
}

#[derive(Debug)]
struct One {
    id: SessionId,
    dir: PathBuf,
    from: Timestamp,
    to: Timestamp,
    /// Its last turn may not have ended: the agent's id stands in the stream alone.
    cut_off: bool,
    /// A recorder is at work on it.
    is_live: bool,
    /// Where its agents work; `None`: elsewhere, each in a place of its own.
    working_dir: Option<PathBuf>,
}

impl Recorded {
    pub(super) fn add(&mut self, dir: PathBuf, head: &Head, status: ShownStatus) {
        if head.turns == 0 {
            return;
        }
        let live = status == ShownStatus::Active;
        let to = if live { Timestamp::MAX } else { head.last_event_at };
        let cut_off = head.status == Status::Active;
        let is_elsewhere = head.kind == SessionKind::Race;
        let working_dir = Some(PathBuf::from(&head.working_dir)).filter(|_| !is_elsewhere);
        let (id, from) = (head.id.clone(), head.started_at);
        self.sessions.push(One { id, dir, from, to, cut_off, is_live: live, working_dir });
    }

    /// The live turns that may be writing `found`, by agent and time: it cannot be known before they are over.
    pub(super) fn live_turns_of(&self, found: &Found) -> Vec<LiveTurn> {
        let is_later = |turn: &OpenTurn| {
            let started = found.started.unwrap_or(found.modified);
            turn.started.saturating_sub(START_SLACK).is_ok_and(|from| from <= started)
        };
        let owns = |turn: &OpenTurn| can_write(&turn.start, found.tool) && is_later(turn);
        let live = self.sessions.iter().filter(|one| one.is_live && self.contents(one).open.iter().any(owns));
        live.map(|one| {
            let is_boxed = self.contents(one).open.iter().any(|turn| turn.start.boxed);
            let working_dir = one.working_dir.clone().filter(|_| !is_boxed);
            LiveTurn { session: one.id.clone(), working_dir }
        })
        .collect()
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

    fn contents(&self, one: &One) -> Contents {
        let mut looked = self.looked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        looked.entry(one.id.clone()).or_insert_with(|| read(&one.dir)).clone()
    }

    fn ids(&self, one: &One, found: &Found) -> Vec<String> {
        let Contents { mut ids, open } = self.contents(one);
        // An agent that continues a conversation is started with its id.
        ids.extend(open.into_iter().flat_map(|turn| turn.start.command));
        if one.cut_off {
            ids.extend(found.also.iter().chain([&found.id]).filter(|id| in_a_stream(&one.dir, id)).cloned());
        }
        ids
    }
}

/// Reads the journal of a session.
fn read(dir: &Path) -> Contents {
    let mut contents = Contents::default();
    let Ok(reader) = JournalReader::open(&dir.join(JOURNAL_FILE)) else { return contents };
    for item in reader.flatten() {
        let Item::Event(event) = item else { continue };
        match event.body {
            EventBody::TurnStart(start) => contents.open.push(OpenTurn { started: event.timestamp, start }),
            EventBody::TurnEnd(end) => {
                contents.open.retain(|turn| turn.start.turn != end.turn);
                contents.ids.extend(end.agent_session_id.filter(|id| !contents.ids.contains(id)));
            }
            // What was open then was cut off.
            EventBody::Resumed(_) | EventBody::SessionEnd(_) => contents.open.clear(),
            _ => {}
        }
    }
    contents
}

/// Whether the agent of a turn can write histories of `tool`. A configured name proves nothing: whatever it runs may be
/// that tool.
fn can_write(start: &TurnStart, tool: Tool) -> bool {
    let own = [Tool::Claude, Tool::Codex, Tool::Gemini, Tool::Opencode];
    let is_other = own.iter().any(|other| *other != tool && start.agent == other.as_str());
    own.contains(&tool) && !start.agent.is_empty() && !is_other
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
