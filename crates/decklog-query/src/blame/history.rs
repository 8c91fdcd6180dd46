//! The turns that may have written a file, from the journals of the sessions whose snapshots hold its place.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use decklog_journal::event::{ArtifactRef, EventBody, FileChange, Withheld};
use decklog_journal::lock::{self, Held};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::store::{Listed, StoreError};
use decklog_journal::verify::find_artifact;
use decklog_journal::withheld::Covered;
use decklog_journal::words::{Role, ShownStatus};
use decklog_journal::{Event, SessionFilter, SessionId, SessionStore, files, wire};
use jiff::Timestamp;

/// Characters of a prompt that are told.
const PROMPT: usize = 200;

/// What the sessions say.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Sessions, oldest first.
    pub(super) sessions: Vec<SessionAt>,
    pub(super) turns: Vec<Turn>,
    pub(super) unreadable: Vec<SessionId>,
}

/// A session, and where its trees stand.
#[derive(Debug)]
pub(super) struct SessionAt {
    pub(super) id: SessionId,
    pub(super) dir: PathBuf,
    pub(super) working_dir: PathBuf,
    /// Paths in its trees begin here.
    pub(super) root: PathBuf,
    /// The beginning of its prompt.
    prompt: String,
}

/// A turn, as far as files go.
#[derive(Debug)]
pub(super) struct Turn {
    /// Place of its session.
    pub(super) session: usize,
    pub(super) number: u32,
    pub(super) agent: String,
    pub(super) model: Option<String>,
    pub(super) started: Timestamp,
    /// Its end, or the last sign of it; absent: it is at work.
    pub(super) ended: Option<Timestamp>,
    /// Numbers of its first and last event: the order of what happened in one moment.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) is_over: bool,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) withheld_before: Vec<Withheld>,
    pub(super) withheld_after: Vec<Withheld>,
    files: Vec<FileChange>,
    files_changed: u64,
    prompt_artifact: Option<ArtifactRef>,
}

impl Turn {
    /// Whether it may have changed the file that it left at `path`.
    pub(super) fn touches(&self, path: &str) -> bool {
        !self.is_over
            || self.before.is_none()
            || self.after.is_none()
            || self.is_cut()
            || self.files.iter().any(|file| file.path == path || file.old_path.as_deref() == Some(path))
            || is_named(&self.withheld_before, path)
            || is_named(&self.withheld_after, path)
    }

    /// Whether it changed more than it names.
    pub(super) fn is_cut(&self) -> bool {
        (self.files.len() as u64) < self.files_changed
    }

    /// What it renamed to `path`.
    pub(super) fn renamed_from(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.old_path.as_deref()
    }
}

/// Whether `path`, or a directory it lies in, is among these.
pub(super) fn is_named(withheld: &[Withheld], path: &str) -> bool {
    Covered::by(withheld).holds(path)
}

/// Reads the turns of all sessions in whose trees `file` can lie.
pub(super) fn read(store: &SessionStore, file: &Path) -> Result<History, StoreError> {
    let mut history = History::default();
    let mut roots = HashMap::new();
    let mut found: Vec<(Listed, PathBuf)> = Vec::new();
    store.each(&SessionFilter::default(), |read| match read {
        Ok(listed) => {
            let key = (listed.head.working_dir.clone(), listed.head.git.is_some());
            let root = roots.entry(key).or_insert_with_key(|(dir, git)| root(Path::new(dir), *git));
            if file.starts_with(&*root) {
                found.push((listed, root.clone()));
            }
        }
        Err(unreadable) => history.unreadable.push(unreadable.id),
    })?;
    found.reverse();
    for (listed, root) in found {
        let session = SessionAt {
            id: listed.head.id.clone(),
            working_dir: PathBuf::from(&listed.head.working_dir),
            root,
            prompt: listed.head.prompt.clone(),
            dir: listed.entry.clone(),
        };
        history.sessions.push(session);
        if history.add(&listed).is_err() {
            history.unreadable.push(listed.head.id.clone());
        }
    }
    Ok(history)
}

/// Where the trees of a session begin that worked in `working_dir`, as things stand now.
fn root(working_dir: &Path, in_repository: bool) -> PathBuf {
    let real = working_dir.canonicalize().unwrap_or_else(|_| working_dir.to_owned());
    let top = real.ancestors().find(|dir| in_repository && dir.join(".git").exists());
    top.unwrap_or(&real).to_owned()
}

impl History {
    /// Reads the turns of the session added last.
    fn add(&mut self, listed: &Listed) -> io::Result<()> {
        let session = self.sessions.len() - 1;
        let first = self.turns.len();
        let mut racers = HashSet::new();
        for event in turn_events(&listed.entry.join(JOURNAL_FILE))? {
            match event.body {
                EventBody::TurnStart(start) => {
                    if start.role == Role::Racer {
                        racers.insert(start.turn);
                    }
                    self.turns.push(Turn {
                        session,
                        number: start.turn,
                        agent: start.agent,
                        model: start.model,
                        started: event.timestamp,
                        ended: None,
                        first: event.seq,
                        last: event.seq,
                        is_over: false,
                        before: start.snapshot,
                        after: None,
                        withheld_before: start.withheld,
                        withheld_after: Vec::new(),
                        files: Vec::new(),
                        files_changed: 0,
                        prompt_artifact: start.prompt_artifact,
                    });
                }
                EventBody::TurnEnd(end) => {
                    let turn = self.turns[first..].iter_mut().rev().find(|turn| turn.number == end.turn);
                    let Some(turn) = turn else { continue };
                    turn.ended = Some(event.timestamp);
                    (turn.last, turn.is_over) = (event.seq, true);
                    turn.model = end.model.or(turn.model.take());
                    turn.after = end.snapshot;
                    turn.withheld_after = end.withheld;
                    (turn.files, turn.files_changed) = (end.files, end.files_changed);
                }
                // Racers work in trees of their own. Whose change is picked writes it when the race ends.
                EventBody::SessionEnd(end) => {
                    let picked = self.turns[first..].iter_mut().find(|turn| Some(turn.number) == end.picked);
                    if let Some(turn) = picked.filter(|turn| racers.remove(&turn.number)) {
                        (turn.ended, turn.last) = (Some(event.timestamp), event.seq);
                    }
                }
                // The recorder had died, and what it had started with it.
                EventBody::Resumed(_) => {
                    for turn in self.turns[first..].iter_mut().filter(|turn| turn.ended.is_none()) {
                        (turn.ended, turn.last) = (Some(event.timestamp), event.seq);
                    }
                }
                _ => {}
            }
        }
        let mut at = 0;
        self.turns.retain(|turn| {
            at += 1;
            at <= first || !racers.contains(&turn.number)
        });
        let lives = listed.status == ShownStatus::Active && lock::held(&listed.entry) != Held::No;
        for turn in self.turns[first..].iter_mut().filter(|turn| turn.ended.is_none() && !lives) {
            // It was at work until then at least; what came until the next snapshot may be its.
            (turn.ended, turn.last) = (Some(listed.head.last_event_at.max(turn.started)), u64::MAX);
        }
        Ok(())
    }
}

/// Bytes of a journal's line that are read: no recorder writes a longer one.
const MAX_LINE: u64 = 1 << 20;

/// The events of a journal that tell of turns as such. The others, nearly all of it, are passed over unread. What is
/// damaged cannot be told, and the turns around it do not end.
fn turn_events(path: &Path) -> io::Result<Vec<Event>> {
    let mut source = BufReader::with_capacity(256 * 1024, files::open_regular(path)?);
    let mut events = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut source).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\n") else {
            if read as u64 == MAX_LINE {
                source.skip_until(b'\n')?;
                continue;
            }
            // Torn, or the end.
            return Ok(events);
        };
        if ["turn_start", "turn_end", "resumed", "session_end"].iter().any(|kind| is_of(line, kind)) {
            events.extend(wire::decode(line).ok().map(|(_, event)| event));
        }
    }
}

/// Whether a line is of an event of this type: the envelope comes first on it, and is short.
fn is_of(line: &[u8], kind: &str) -> bool {
    const TYPE: &[u8] = br#""type":""#;
    let envelope = &line[..line.len().min(120)];
    let at = envelope.windows(TYPE.len()).position(|window| window == TYPE);
    at.is_some_and(|at| {
        line[at + TYPE.len()..].strip_prefix(kind.as_bytes()).is_some_and(|rest| rest.starts_with(b"\""))
    })
}

/// The beginning of what a turn was asked.
pub(super) fn prompt(session: &SessionAt, turn: &Turn) -> String {
    if turn.number == 1 {
        return session.prompt.clone();
    }
    let Some(artifact) = &turn.prompt_artifact else { return String::new() };
    let mut bytes = Vec::new();
    let read = find_artifact(&session.dir, &artifact.path)
        .and_then(|found| found.file.take(PROMPT as u64 * 4).read_to_end(&mut bytes));
    if read.is_ok() { beginning(&String::from_utf8_lossy(&bytes)) } else { String::new() }
}

fn beginning(text: &str) -> String {
    text.chars().take(PROMPT).collect()
}
