//! Importing what was found: what is known stays, what grew is read anew, the rest becomes sessions.
//!
//! What is known comes from the heads of the sessions under the root. Two threads read at the same time, each one
//! source at a time. Must not know: the formats of sources, the terminal.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use decklog_journal::bulk::{Named, Replaced};
use decklog_journal::event::Source;
use decklog_journal::redact::Redactor;
use decklog_journal::store::StoreError;
use decklog_journal::wire::sha256_hex;
use decklog_journal::{SessionFilter, SessionId, SessionStore, WriteError};
use serde::Serialize;

use super::draft::{Desk, Draft, Ending, id_kept};
use super::recorded::{LiveTurn, Recorded};
use super::{Finds, Found, Tool, Trouble, Unread, is_failure};

/// Sources read at the same time.
const THREADS: usize = 2;
/// How often an id may be taken by somebody else before that is an error.
const TRIES: usize = 8;

/// Why a session is not made anew that is no copy any more.
const CONTINUED: &str = "its session was continued with decklog and stays as it is";

/// What became of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is a session now.
    Imported,
    /// Its session was made anew, with what was added.
    Updated,
    /// Its session holds all of it.
    Unchanged,
    /// decklog recorded it itself.
    AlreadyRecorded,
    /// It was left out, for the reason given.
    Skipped,
    /// It could not be read, or its session could not be made, for the reason given.
    Failed,
}

/// A history, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Imported {
    /// Who wrote it.
    pub tool: Tool,
    /// The tool's own id for it.
    pub id: String,
    /// The file or directory.
    pub path: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
    /// The session that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was left out until a live turn is over, which may be what wrote it: it is worth another look even unchanged.
    #[serde(skip)]
    pub waits: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// What of it could not be read.
    #[serde(skip_serializing_if = "is_none_unread")]
    pub unread: Unread,
}

fn is_none_unread(unread: &Unread) -> bool {
    unread.count == 0
}

/// What an import came to.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Every history, in the order of tools and paths.
    pub sources: Vec<Imported>,
    /// What stands where a history should, and cannot be looked at.
    pub troubles: Vec<Trouble>,
    /// How many known histories of the tools looked for are gone; their sessions stay.
    pub gone: usize,
}

impl Report {
    /// How many histories came out as `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.sources.iter().filter(|source| source.outcome == outcome).count()
    }

    /// Whether a history was not imported, or a place not looked at, because something failed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.count(Outcome::Failed) > 0 || self.troubles.iter().any(|trouble| trouble.is_failure)
    }
}

/// Told how far an import is.
pub trait Progress: Sync {
    /// `done` of `all` histories, `bytes` of sources read.
    fn progress(&self, done: usize, all: usize, bytes: u64);
}

/// Imports into a store.
pub struct Importer<'a> {
    /// Where sessions are made.
    pub store: &'a SessionStore,
    /// What must not reach the disk.
    pub redactor: &'a Redactor,
    /// Version of the program that imports.
    pub version: &'a str,
    /// Only tells what would be done.
    pub dry_run: bool,
    /// Set from outside: no further source is begun.
    pub stop: &'a AtomicBool,
}

/// Imported sessions by tool and the tool's own id.
type ByName = HashMap<(String, String), Known>;

/// What is known of an imported session.
struct Known {
    session: SessionId,
    source: Source,
    events: u64,
    /// The last sum of its journal.
    sum: String,
    /// Somebody went on with it: it is no copy any more.
    continued: bool,
}

/// What came of one source.
struct Came {
    outcome: Outcome,
    session: Option<SessionId>,
    reason: Option<String>,
    waits: bool,
    unread: Unread,
}

impl Importer<'_> {
    /// Imports what was found.
    ///
    /// # Errors
    /// [`StoreError`] when the session root cannot be read or written; what was imported before stays.
    pub fn import(&self, finds: Finds, progress: &dyn Progress) -> Result<Report, StoreError> {
        let (known, recorded) = self.known()?;
        let Finds { found, troubles } = finds;
        let (next, bytes, broken) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
        let (first, all) = (first_of_each(&found), found.len());
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(found) = found.get(at).filter(|_| !self.stop.load(Ordering::Relaxed)) else { return done };
                let id = id_kept(&found.id, self.redactor);
                let known = known.get(&(found.tool.as_str().to_owned(), id));
                let came = match first.get(&(found.tool, found.id.as_str())) {
                    Some(first) if *first != at => {
                        let session = known.map(|known| known.session.clone());
                        skipped(session, "another file holds the same history".into())
                    }
                    _ => match self.one(found, known, &recorded) {
                        Ok(came) => came,
                        Err(error) => {
                            // The disk refuses: no use in going on.
                            next.fetch_add(usize::MAX / 4, Ordering::Relaxed);
                            broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                            return done;
                        }
                    },
                };
                let size = found.bytes.unwrap_or(0);
                let read = bytes.fetch_add(usize::try_from(size).unwrap_or(usize::MAX), Ordering::Relaxed);
                progress.progress(at + 1, all, read as u64 + size);
                done.push((at, came));
            }
        };
        let mut done = std::thread::scope(|scope| {
            let others: Vec<_> = (1..THREADS.min(found.len()))
                .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut done = work();
            for other in others {
                done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            done
        });
        if !self.dry_run && done.iter().any(|(_, came)| matches!(came.outcome, Outcome::Imported | Outcome::Updated)) {
            self.store.sync()?;
        }
        if let Some(error) = broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(error);
        }
        done.sort_by_key(|(at, _)| *at);
        let gone = known.values().filter(|known| is_gone(known, &found)).count();
        let sources = done.into_iter().map(|(at, came)| {
            let found = &found[at];
            Imported {
                tool: found.tool,
                id: found.id.clone(),
                path: found.path.clone(),
                outcome: came.outcome,
                session: came.session,
                reason: came.reason,
                waits: came.waits,
                bytes: found.bytes.unwrap_or(0),
                unread: came.unread,
            }
        });
        Ok(Report { sources: sources.collect(), troubles, gone })
    }

    /// What the heads tell: imported sessions by tool and id, and those that decklog recorded.
    fn known(&self) -> Result<(ByName, Recorded), StoreError> {
        let (mut known, mut recorded) = (HashMap::new(), Recorded::default());
        self.store.each(&SessionFilter::default(), |read| {
            let Ok(listed) = read else { return };
            let head = listed.head;
            // An imported session that was continued is a recorded one besides.
            if head.source.is_none() || head.pid.is_some() {
                recorded.add(listed.entry, &head, listed.status);
            }
            let Some(source) = head.source else { return };
            let (session, events, sum, continued) = (head.id, head.events, head.sum, head.pid.is_some());
            known.insert((source.tool.clone(), source.id.clone()), Known { session, source, events, sum, continued });
        })?;
        Ok((known, recorded))
    }

    fn one(&self, found: &Found, known: Option<&Known>, recorded: &Recorded) -> Result<Came, StoreError> {
        let session = known.map(|known| known.session.clone());
        if let Some(known) = known {
            let same =
                known.source.modified == found.modified && found.bytes.is_none_or(|bytes| bytes == known.source.bytes);
            if same {
                return Ok(Came {
                    outcome: Outcome::Unchanged,
                    session,
                    reason: None,
                    waits: false,
                    unread: Unread::default(),
                });
            }
            if found.bytes.is_some_and(|bytes| bytes < known.source.bytes) {
                return Ok(skipped(
                    session,
                    "it is smaller than when it was imported: the session stays as it is".into(),
                ));
            }
            if known.continued {
                return Ok(skipped(session, CONTINUED.into()));
            }
        } else if let Some(by) = recorded.session_of(found) {
            let reason = Some(format!("recorded as session {by}"));
            return Ok(Came {
                outcome: Outcome::AlreadyRecorded,
                session: Some(by),
                reason,
                waits: false,
                unread: Unread::default(),
            });
        }
        let outcome = if known.is_some() { Outcome::Updated } else { Outcome::Imported };
        if self.dry_run {
            return Ok(Came { outcome, session, reason: None, waits: false, unread: Unread::default() });
        }
        let live = if known.is_some() { Vec::new() } else { recorded.live_turns_of(found) };
        self.read(found, known, outcome, &live)
    }

    /// Makes a session of `found`, unless it is of work where one of `live` is at work.
    fn read(
        &self,
        found: &Found,
        known: Option<&Known>,
        outcome: Outcome,
        live: &[LiveTurn],
    ) -> Result<Came, StoreError> {
        let old = known.map(|known| known.session.clone());
        let hash = sha256_hex(format!("{}\0{}", found.tool, found.id).as_bytes());
        let suffix = u16::from_str_radix(&hash[..4], 16).unwrap_or_default();
        let desk = Desk { store: self.store, redactor: self.redactor, version: self.version };
        for _ in 0..TRIES {
            let mut draft = Draft::new(&desk, found, agent_name(found.tool), old.clone(), suffix);
            let ending = match read_source(found, &mut draft) {
                Ok(ending) => ending,
                Err(error) if is_failure(&error) => return Ok(failed(old, error.to_string())),
                Err(error) => return Ok(skipped(old, error.to_string())),
            };
            if let Some(turn) = live.iter().find(|turn| turn.is_at(draft.working_dir())) {
                let reason = format!("it may be of session {}, which is being recorded", turn.session);
                return Ok(Came { waits: true, ..skipped(None, reason) });
            }
            if let Some(there) = draft.there() {
                // Another import was faster.
                let session = Some(there.clone());
                let unread = Unread::default();
                return Ok(Came { outcome: Outcome::Unchanged, session, reason: None, waits: false, unread });
            }
            let (writer, unread) = match draft.finish(ending) {
                // It is the source that does not fit, not the disk that refuses.
                Err(StoreError::Write(WriteError::Io { error, .. })) if error.kind() == io::ErrorKind::InvalidData => {
                    return Ok(skipped(old, error.to_string()));
                }
                finished => finished?,
            };
            let Some(writer) = writer else {
                let reason = "nothing in it is a conversation".to_owned();
                return Ok(Came { unread, ..skipped(old, reason) });
            };
            let session = Some(writer.id().clone());
            let events = writer.head().map_or(0, |head| head.events);
            let Some(known) = known else {
                match writer.finish()? {
                    Named::Done => return Ok(Came { outcome, session, reason: None, waits: false, unread }),
                    Named::Taken => continue,
                }
            };
            if events < known.events {
                let reason = "it tells less than when it was imported: the session stays as it is".to_owned();
                return Ok(Came { unread, ..skipped(old, reason) });
            }
            return match writer.replace(&known.sum) {
                Ok(Replaced::Changed { continued: true }) => Ok(Came { unread, ..skipped(old, CONTINUED.into()) }),
                // Another import was faster.
                Ok(Replaced::Changed { continued: false }) => {
                    Ok(Came { outcome: Outcome::Unchanged, session, reason: None, waits: false, unread })
                }
                Ok(Replaced::Done(removed)) => {
                    let kept = removed.kept.first().map(|path| {
                        format!("what was not decklog's in the session directory was kept: {}", path.display())
                    });
                    Ok(Came { outcome, session, reason: kept, waits: false, unread })
                }
                Err(error @ (WriteError::Lock { .. } | WriteError::Io { .. })) if !is_full(&error) => {
                    Ok(failed(old, error.to_string()))
                }
                Err(error) => Err(error.into()),
            };
        }
        Ok(failed(old, "others take every id that it tries".into()))
    }
}

fn skipped(session: Option<SessionId>, reason: String) -> Came {
    Came { outcome: Outcome::Skipped, session, reason: Some(reason), waits: false, unread: Unread::default() }
}

fn failed(session: Option<SessionId>, reason: String) -> Came {
    Came { outcome: Outcome::Failed, ..skipped(session, reason) }
}

fn is_full(error: &WriteError) -> bool {
    matches!(error, WriteError::Io { error, .. }
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Which of those with the same tool and id is taken: the largest, or else the first.
fn first_of_each(found: &[Found]) -> HashMap<(Tool, &str), usize> {
    let mut first: HashMap<(Tool, &str), usize> = HashMap::new();
    for (at, one) in found.iter().enumerate() {
        let known = first.entry((one.tool, &one.id)).or_insert(at);
        if one.bytes > found[*known].bytes {
            *known = at;
        }
    }
    first
}

/// Whether a known source, of a tool that was looked for, stands nowhere any more.
fn is_gone(known: &Known, found: &[Found]) -> bool {
    found.iter().any(|found| found.tool.as_str() == known.source.tool)
        && std::fs::symlink_metadata(&known.source.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The agent's name as decklog knows it; empty where a history has none, or names its own.
fn agent_name(tool: Tool) -> &'static str {
    match tool {
        Tool::Claude => "claude",
        Tool::Codex => "codex",
        Tool::Gemini => "gemini",
        Tool::Opencode => "opencode",
        Tool::Outrig | Tool::Codeloops | Tool::AgentRelay => "",
    }
}

fn read_source(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    match found.tool {
        Tool::Claude => super::claude::read(found, draft),
        Tool::Codex => super::codex::read(found, draft),
        Tool::Gemini => super::gemini::read(found, draft),
        Tool::Opencode => super::opencode::read(found, draft),
        Tool::Outrig => super::outrig::read(found, draft),
        Tool::Codeloops => super::codeloops::read(found, draft),
        Tool::AgentRelay => super::relay::read(found, draft),
    }
}
