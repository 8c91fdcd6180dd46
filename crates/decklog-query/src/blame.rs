//! Who wrote each line of a file: which turn of which session, as the snapshots tell.
//!
//! The sessions are those whose snapshots hold the file's place. Their journals say which turns may have touched it;
//! only for these are snapshots read, newest first, until every line is explained.

mod history;
mod trace;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::store::StoreError;
use decklog_journal::{SessionId, SessionStore};
use decklog_snapshot::{FileAt, SnapshotError, SnapshotReader, Tree};
use jiff::Timestamp;
use serde::Serialize;

use history::{History, Turn};
use trace::{Content, Moment, Past, Side};

/// A file longer than this is not blamed, in bytes.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;

/// So many turns are named that may have written a line.
const MAX_AMONG: usize = 20;

/// Who wrote the lines of a file.
#[derive(Debug, Clone, Serialize)]
pub struct Blame {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its lines, in order.
    pub lines: Vec<Line>,
    /// The turns named in them, newest first.
    pub turns: Vec<Author>,
    /// Sessions that could not be read, which may have written anything.
    pub unreadable: Vec<SessionId>,
}

/// A line.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its number, from 1.
    pub line: usize,
    /// It, without its end; bytes that are no UTF-8 are shown as U+FFFD.
    pub text: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum Origin {
    /// A turn wrote it.
    Turn {
        /// The session.
        id: SessionId,
        /// The turn.
        turn: u32,
    },
    /// No recorded turn did.
    Outside {
        /// It came after this; absent: before anything was recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Timestamp>,
        /// It came before this; absent: it came last.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Timestamp>,
    },
    /// It cannot be told.
    Unknown {
        /// Turns that may have written it, as `ID@N`, if a turn did: the newest 20, newest first.
        among: Vec<String>,
        /// Why it cannot be told.
        why: String,
    },
}

/// A turn that wrote lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Author {
    /// The session.
    pub id: SessionId,
    /// The turn.
    pub turn: u32,
    /// The agent.
    pub agent: String,
    /// Its model, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When the turn ended.
    pub at: Timestamp,
    /// The beginning of its prompt.
    pub prompt: String,
}

/// Why there is no blame.
#[derive(Debug, thiserror::Error)]
pub enum BlameError {
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no text, or too long.
    #[error("{}: {problem}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What about it.
        problem: String,
    },
    /// The sessions cannot be listed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// git cannot be run.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Says who wrote each line of the file at `path`.
///
/// # Errors
/// [`BlameError`].
pub fn blame(store: &SessionStore, path: &Path) -> Result<Blame, BlameError> {
    let io = |error| BlameError::Io { path: path.to_owned(), error };
    let path = path.canonicalize().map_err(io)?;
    let refuse = |problem: &str| BlameError::File { path: path.clone(), problem: problem.into() };
    if !path.is_file() {
        return Err(refuse("is no file"));
    }
    if path.metadata().map_err(io)?.len() > MAX_FILE {
        return Err(refuse("is longer than 16 MiB, which is more than is compared"));
    }
    let now = decklog_journal::files::read_limited(&path, MAX_FILE).map_err(io)?;
    if now.contains(&0) {
        return Err(refuse("is binary: it has no lines"));
    }
    let history = history::read(store, &path)?;
    let mut moments = Vec::new();
    let mut open = Vec::new();
    for (at, turn) in history.turns.iter().enumerate() {
        moments.push((
            (turn.started, turn.session, turn.first),
            Moment { turn: at, side: Side::Before, at: turn.started },
        ));
        match turn.ended {
            Some(ended) => {
                moments.push(((ended, turn.session, turn.last), Moment { turn: at, side: Side::After, at: ended }));
            }
            None => open.push(at),
        }
    }
    moments.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
    let moments: Vec<Moment> = moments.into_iter().map(|(_, moment)| moment).collect();
    let mut past = Recorded { history: &history, readers: HashMap::new() };
    let origins = trace::trace(&now, &path, &moments, &open, &mut past)?;
    Ok(told(path, &now, &history, origins))
}

fn told(path: PathBuf, now: &[u8], history: &History, origins: Vec<trace::Origin>) -> Blame {
    let name = |at: usize| {
        let turn = &history.turns[at];
        (history.sessions[turn.session].id.clone(), turn.number)
    };
    let mut authors: Vec<usize> = Vec::new();
    let lines = trace::lines(now).into_iter().zip(origins).enumerate().map(|(at, (text, origin))| {
        let origin = match origin {
            trace::Origin::Turn(turn) => {
                authors.push(turn);
                let (id, turn) = name(turn);
                Origin::Turn { id, turn }
            }
            trace::Origin::Outside { after, before } => Origin::Outside { after, before },
            trace::Origin::Unknown { among, why } => {
                // The newest: there may be a thousand that nothing is known of.
                let among = among
                    .into_iter()
                    .rev()
                    .take(MAX_AMONG)
                    .map(name)
                    .map(|(id, turn)| format!("{id}@{turn}"))
                    .collect();
                Origin::Unknown { among, why }
            }
        };
        Line { line: at + 1, text: String::from_utf8_lossy(text).into_owned(), origin }
    });
    let lines = lines.collect();
    authors.sort_by_key(|at| std::cmp::Reverse((history.turns[*at].ended, *at)));
    authors.dedup();
    let turns = authors.into_iter().map(|at| {
        let turn = &history.turns[at];
        let session = &history.sessions[turn.session];
        Author {
            id: session.id.clone(),
            turn: turn.number,
            agent: turn.agent.clone(),
            model: turn.model.clone(),
            at: turn.ended.unwrap_or(turn.started),
            prompt: history::prompt(session, turn),
        }
    });
    Blame { path, lines, turns: turns.collect(), unreadable: history.unreadable.clone() }
}

/// The past as sessions have it. What was read of a snapshot is not kept: each is read once.
struct Recorded<'a> {
    history: &'a History,
    readers: HashMap<usize, SnapshotReader>,
}

impl Recorded<'_> {
    fn reader(&mut self, session: usize) -> Result<&SnapshotReader, SnapshotError> {
        use std::collections::hash_map::Entry;
        // Sessions come one after the other, few at once: a reader holds a temporary directory.
        if self.readers.len() > 8 && !self.readers.contains_key(&session) {
            self.readers.clear();
        }
        match self.readers.entry(session) {
            Entry::Occupied(reader) => Ok(reader.into_mut()),
            Entry::Vacant(place) => {
                let session = &self.history.sessions[session];
                let reader = SnapshotReader::open(Some(&session.working_dir), &session.dir.join(OBJECTS_DIR))?;
                Ok(place.insert(reader))
            }
        }
    }

    fn relative(&self, turn: &Turn, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.history.sessions[turn.session].root).ok().map(Path::to_owned)
    }
}

impl Past for Recorded<'_> {
    type Error = SnapshotError;

    fn touches(&self, turn: usize, path: &Path) -> bool {
        let turn = &self.history.turns[turn];
        self.relative(turn, path).is_some_and(|path| turn.touches(&path.to_string_lossy()))
    }

    fn content(&mut self, turn: usize, side: Side, path: &Path) -> Result<Content, SnapshotError> {
        use std::os::unix::ffi::OsStrExt;
        let unknown = |why: &str| Ok(Content::Unknown(why.to_owned()));
        let at = &self.history.turns[turn];
        let (tree, withheld) = match side {
            Side::Before => (&at.before, &at.withheld_before),
            Side::After => (&at.after, &at.withheld_after),
        };
        let Some(tree) = tree.as_deref().and_then(|tree| Tree::parse(tree).ok()) else {
            return unknown(if at.is_over { "it has no snapshot" } else { "it did not end" });
        };
        let Some(path) = self.relative(at, path) else { return unknown("the file was elsewhere") };
        if history::is_named(withheld, &path.to_string_lossy()) {
            return unknown("the file was withheld from its snapshot");
        }
        let session = at.session;
        Ok(match self.reader(session)?.file(&tree, path.as_os_str().as_bytes(), MAX_FILE)? {
            FileAt::Content(content) => Content::Known(content),
            FileAt::Absent => Content::Absent,
            FileAt::TooLarge => Content::Unknown("the file was too long".into()),
            FileAt::Gone => Content::Unknown("its snapshot is no longer there".into()),
        })
    }

    fn name_before(&mut self, turn: usize, path: &Path) -> Result<Option<PathBuf>, SnapshotError> {
        use std::os::unix::ffi::OsStrExt;
        let at = &self.history.turns[turn];
        let root = &self.history.sessions[at.session].root;
        let Some(path) = self.relative(at, path) else { return Ok(None) };
        if let Some(old) = at.renamed_from(&path.to_string_lossy()) {
            return Ok(Some(root.join(old)));
        }
        // The list of what it changed is cut off: git tells.
        let tree = |id: &Option<String>| id.as_deref().and_then(|id| Tree::parse(id).ok());
        let (Some(before), Some(after), true) = (tree(&at.before), tree(&at.after), at.is_cut()) else {
            return Ok(None);
        };
        let (session, root) = (at.session, root.clone());
        let Ok(changes) = self.reader(session)?.changes(&before, &after) else { return Ok(None) };
        let renamed = changes.into_iter().find(|change| change.path == path.as_os_str().as_bytes());
        let old = renamed.and_then(|change| change.old_path);
        Ok(old.map(|old| root.join(std::ffi::OsStr::from_bytes(&old))))
    }
}
