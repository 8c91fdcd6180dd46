//! A session's writer, for one turn at a time or for several at once.
//!
//! Each event is appended whole under the lock; files beside the journal are each one turn's own. Must not know: what is
//! written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use decklog_journal::artifacts::ArtifactWriter;
use decklog_journal::event::{ArtifactRef, EventBody};
use decklog_journal::redact::Redactor;
use decklog_journal::state::State;
use decklog_journal::time::Clock;
use decklog_journal::words::ToolStatus;
use decklog_journal::{Event, SessionId, SessionWriter, WriteError};
use jiff::Timestamp;

/// Calls in progress that are kept in mind. No agent has so many.
const MOST_CALLS: usize = 256;

/// A session's writer, shared.
#[derive(Clone)]
pub(crate) struct Log {
    writer: Arc<Mutex<SessionWriter>>,
    id: SessionId,
    dir: PathBuf,
    clock: Clock,
    redactor: Redactor,
    /// Tool calls that have begun and not ended: turn and the agent's id.
    calls: Arc<Mutex<Vec<(u32, String)>>>,
}

impl From<SessionWriter> for Log {
    fn from(writer: SessionWriter) -> Self {
        Self {
            id: writer.id().clone(),
            dir: writer.dir().to_owned(),
            clock: writer.clock().clone(),
            redactor: writer.redactor().clone(),
            writer: Arc::new(Mutex::new(writer)),
            calls: Arc::default(),
        }
    }
}

impl Log {
    fn writer(&self) -> MutexGuard<'_, SessionWriter> {
        // A writer is whole between two events, whoever panicked.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// When the session began.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.writer().head().map_or_else(|| self.clock.now(), |head| head.started_at)
    }

    /// The exit code that the journal states, once it states one.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.writer().head().and_then(|head| head.exit_code)
    }

    /// Where the session stands.
    pub(crate) fn state(&self) -> State {
        self.writer().state().clone()
    }

    /// Events that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.writer().lost()
    }

    pub(crate) fn append(&self, body: impl Into<EventBody>) -> Result<Event, WriteError> {
        let body = body.into();
        self.follow(&body);
        self.writer().append(body)
    }

    pub(crate) fn withdraw_end(&self) -> Result<(), WriteError> {
        self.writer().withdraw_end()
    }

    fn follow(&self, body: &EventBody) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match body {
            EventBody::ToolCall(call) if !matches!(call.status, ToolStatus::Completed | ToolStatus::Failed) => {
                let key = (call.turn, call.call_id.clone());
                if !calls.contains(&key) && calls.len() < MOST_CALLS {
                    calls.push(key);
                }
            }
            EventBody::ToolCall(call) => calls.retain(|known| *known != (call.turn, call.call_id.clone())),
            EventBody::ToolResult(end) => calls.retain(|known| *known != (end.turn, end.call_id.clone())),
            EventBody::TurnEnd(end) => calls.retain(|(turn, _)| *turn != end.turn),
            _ => {}
        }
    }

    /// Tool calls in progress, each as its turn's number and the agent's id for it: `2/toolu_01`.
    pub(crate) fn calls_in_progress(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|(turn, id)| format!("{turn}/{}", self.redactor.redact_str(id))).collect()
    }

    pub(crate) fn artifact(&self, path: &str) -> Result<ArtifactWriter, WriteError> {
        self.writer().artifact(path)
    }

    pub(crate) fn log_file(&self, path: &str) -> Result<ArtifactWriter, WriteError> {
        self.writer().log_file(path)
    }

    pub(crate) fn write_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        self.writer().write_artifact(path, bytes)
    }

    pub(crate) fn write_whole_artifact(&self, path: &str, bytes: &[u8]) -> Result<ArtifactRef, WriteError> {
        self.writer().write_whole_artifact(path, bytes)
    }

    pub(crate) fn exact_artifact(&self, path: &str) -> Result<std::fs::File, WriteError> {
        self.writer().exact_artifact(path)
    }
}
