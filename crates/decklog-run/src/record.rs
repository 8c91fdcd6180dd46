//! Recording one turn: raw bytes first, then the events made of them.
//!
//! A disk that refuses never stops the agent: what is lost is told at once, counted, and, as soon as the disk
//! takes it, recorded. Must not know: processes, agents' protocols.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use decklog_journal::WriteError;
use decklog_journal::artifacts::{ArtifactWriter, TurnFile};
use decklog_journal::event::{
    ArtifactRef, EventBody, Message, Notice, Plan, RateLimited, Thought, Tokens, ToolCall, ToolResult, Usage,
};
use decklog_journal::head::RECORDING_FAILED;
use decklog_journal::readable::ReadableTurn;
use decklog_journal::redact::{RedactStream, Redactor};
use decklog_journal::words::ToolStatus;
use jiff::Timestamp;

use crate::agents::{AgentEvent, Asking, Leave};
use crate::log::Log;
use crate::observe::{AgentStream, Observer};
use crate::trees::NoTree;

/// Pieces of a text wait so long for more before they are recorded.
const GATHER: Duration = Duration::from_millis(200);
/// Bytes of a gathered text that are recorded without waiting.
const GATHER_BYTES: usize = 4 * 1024;
/// Bytes of a gathered text that one event holds.
const PIECE_BYTES: usize = 32 * 1024;
/// Bytes of names, ids and titles that are kept.
const SHORT: usize = 1024;

/// What is known of a turn beyond what is in the journal.
#[derive(Debug, Default)]
pub(crate) struct TurnFacts {
    /// The agent's own id for its conversation.
    pub(crate) agent_session_id: Option<String>,
    /// The model that answers.
    pub(crate) model: Option<String>,
    /// The agent's verdict that it failed.
    pub(crate) failed: Option<String>,
    /// The provider refuses for now; when it may go on.
    pub(crate) limited: Option<Option<Timestamp>>,
    /// The last text of the agent.
    pub(crate) final_text: String,
    /// Tokens used.
    pub(crate) tokens: Tokens,
    /// Cost in US dollars.
    pub(crate) cost_usd: Option<f64>,
    /// Each tool call: id, name, title, status.
    pub(crate) tools: Vec<(String, String, Option<String>, ToolStatus)>,
}

/// A tool call of the turn.
struct Call {
    began: Instant,
    /// Its place in [`TurnFacts::tools`].
    place: usize,
}

struct Pieces {
    thought: bool,
    redact: RedactStream,
    safe: Vec<u8>,
    since: Instant,
    begun: bool,
}

/// Records one turn.
pub(crate) struct TurnRecorder<'a> {
    writer: &'a Log,
    observer: &'a mut dyn Observer,
    turn: u32,
    agent: String,
    stream: Option<ArtifactWriter>,
    stderr: Option<ArtifactWriter>,
    output: Option<ArtifactWriter>,
    readable: ReadableTurn,
    pieces: Option<Pieces>,
    calls: HashMap<String, Call>,
    facts: TurnFacts,
    trouble: bool,
    /// The failure to write that was reported last.
    reported: Option<String>,
}

/// Files that a turn left.
#[derive(Debug, Default)]
pub(crate) struct TurnFiles {
    /// The agent's stdout.
    pub(crate) stream: Option<ArtifactRef>,
    /// The agent's stderr.
    pub(crate) stderr: Option<ArtifactRef>,
}

impl<'a> TurnRecorder<'a> {
    /// Begins recording turn `turn` of `agent`; its `turn_start` stands in the journal already.
    pub(crate) fn new(writer: &'a Log, observer: &'a mut dyn Observer, turn: u32, agent: &str) -> Self {
        let mut recorder = Self {
            writer,
            observer,
            turn,
            agent: agent.to_owned(),
            stream: None,
            stderr: None,
            output: None,
            readable: ReadableTurn::default(),
            pieces: None,
            calls: HashMap::new(),
            facts: TurnFacts::default(),
            trouble: false,
            reported: None,
        };
        recorder.stream = recorder.open(TurnFile::Stream);
        recorder.stderr = recorder.open(TurnFile::Stderr);
        recorder.output = recorder.open(TurnFile::Output);
        recorder
    }

    fn open(&mut self, file: TurnFile) -> Option<ArtifactWriter> {
        match self.writer.artifact(&file.path(self.turn)) {
            Ok(artifact) => Some(artifact),
            Err(error) => {
                self.lost(&error.to_string());
                None
            }
        }
    }

    fn clip(&self, text: String, limit: usize) -> String {
        clip_safely(text, limit, self.writer.redactor())
    }

    /// A redactor for one more stream of bytes.
    pub(crate) fn redact_stream(&self) -> RedactStream {
        self.writer.redactor().stream()
    }

    /// Keeps bytes of the agent's stdout.
    pub(crate) fn raw_stdout(&mut self, chunk: &[u8]) {
        self.raw(TurnFile::Stream, chunk);
    }

    /// Keeps bytes of the agent's stderr.
    pub(crate) fn raw_stderr(&mut self, chunk: &[u8]) {
        self.raw(TurnFile::Stderr, chunk);
    }

    /// Hands on bytes of a text agent.
    pub(crate) fn pass_on(&mut self, chunk: &[u8], from: AgentStream) {
        self.observer.agent_bytes(chunk, from);
    }

    fn raw(&mut self, file: TurnFile, chunk: &[u8]) {
        let slot = match file {
            TurnFile::Stream => &mut self.stream,
            TurnFile::Stderr => &mut self.stderr,
            _ => &mut self.output,
        };
        let Some(artifact) = slot else { return };
        if let Err(error) = artifact.write(chunk) {
            // What came after a gap would only mislead.
            let (path, bytes) = (artifact.path().to_owned(), artifact.bytes());
            *slot = None;
            self.lost(&format!("{path} is kept only up to byte {bytes}: {error}"));
        }
    }

    /// Records that there is no tree from before the turn, and so no diff of it.
    pub(crate) fn no_tree(&mut self, why: &NoTree) {
        if why.is_limitation {
            self.observer.trouble(&why.reason);
            self.notice("no_snapshot", why.reason.clone());
        } else {
            self.lost(&why.reason);
        }
    }

    fn lost(&mut self, what: &str) {
        self.tell(what);
        let notice =
            Notice { turn: Some(self.turn), code: RECORDING_FAILED.into(), text: what.into(), text_artifact: None };
        let _ = self.writer.append(notice);
    }

    fn tell(&mut self, what: &str) {
        self.trouble = true;
        self.observer.trouble(what);
    }

    fn append(&mut self, body: impl Into<EventBody>) {
        let body = body.into();
        match self.writer.append(body) {
            Ok(event) => {
                let text = self.readable.add(&event);
                if !text.is_empty() {
                    self.raw(TurnFile::Output, text.as_bytes());
                }
                self.observer.event(&event);
            }
            Err(error @ WriteError::Illegal(_)) => self.tell(&error.to_string()),
            Err(error) => {
                // A full disk is reported once, however many events it costs; the count is recorded later.
                let text = error.to_string();
                if self.reported.as_ref() != Some(&text) {
                    self.tell(&text);
                    self.reported = Some(text);
                }
                self.trouble = true;
            }
        }
    }

    /// Records what the agent told.
    pub(crate) fn event(&mut self, event: AgentEvent) {
        match &event {
            AgentEvent::TextPiece(text) => return self.piece(false, text),
            AgentEvent::ThoughtPiece(text) => return self.piece(true, text),
            AgentEvent::Session(_) | AgentEvent::Model(_) => {}
            _ => self.flush_pieces(),
        }
        let turn = self.turn;
        match event {
            AgentEvent::Session(id) => self.facts.agent_session_id = Some(self.clip(id, SHORT)),
            AgentEvent::Model(model) => self.facts.model = Some(self.clip(model, SHORT)),
            AgentEvent::Text(text) => {
                self.facts.final_text.clone_from(&text);
                self.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false });
            }
            AgentEvent::Thought(text) => {
                if !text.is_empty() {
                    self.append(Thought { turn, text, text_artifact: None, continued: false });
                }
            }
            AgentEvent::Plan(entries) => self.plan(entries),
            AgentEvent::ToolCall { id, name, kind, title, input, status } => {
                let (id, name) = (self.clip(id, SHORT), self.clip(name, SHORT));
                let title = title.map(|title| self.clip(title, SHORT));
                let tools = &mut self.facts.tools;
                match self.calls.get(&id) {
                    Some(call) => tools[call.place].3 = status,
                    None => {
                        self.calls.insert(id.clone(), Call { began: Instant::now(), place: tools.len() });
                        tools.push((id.clone(), name.clone(), title.clone(), status));
                    }
                }
                self.append(ToolCall { turn, call_id: id, name, kind, title, input, input_artifact: None, status });
            }
            AgentEvent::ToolResult { id, status, output, exit_code, duration_secs } => {
                let id = self.clip(id, SHORT);
                let seen = self.calls.get(&id).map(|call| millis(call.began.elapsed()));
                if let Some(call) = self.calls.get(&id) {
                    self.facts.tools[call.place].3 = status;
                }
                let duration_secs = duration_secs.or(seen).filter(|_| !self.writer.clock().is_fixed());
                self.append(ToolResult {
                    turn,
                    call_id: id,
                    status,
                    output,
                    output_artifact: None,
                    exit_code,
                    duration_secs,
                });
            }
            AgentEvent::Usage { tokens, cost_usd, model } => {
                self.facts.tokens += tokens;
                if let Some(cost) = cost_usd {
                    *self.facts.cost_usd.get_or_insert(0.0) += cost;
                }
                self.append(Usage { turn, tokens, cost_usd, model: model.or_else(|| self.facts.model.clone()) });
            }
            AgentEvent::RateLimited { message, resets_at } => {
                let known = self.facts.limited.is_some();
                self.facts.limited = Some(resets_at.or(self.facts.limited.flatten()));
                if !known {
                    let (agent, message) = (self.agent.clone(), self.clip(message, 8 * SHORT));
                    self.append(RateLimited { turn, agent, message, resets_at });
                }
            }
            AgentEvent::Failed(why) => {
                let why = self.clip(why, 8 * SHORT);
                self.facts.failed.get_or_insert(why);
            }
            AgentEvent::Notice { code, text } => self.notice(code, text),
            AgentEvent::TextPiece(_) | AgentEvent::ThoughtPiece(_) => {}
        }
    }

    /// Asks whoever is there for what the agent asks leave for, and records the answer.
    pub(crate) fn ask(&mut self, asking: &Asking) -> Leave {
        self.flush_pieces();
        let leave = self.observer.asked(asking);
        let (code, answer) = match leave {
            Leave::Once => ("permission_granted", "allowed this time"),
            Leave::Always => ("permission_granted", "allowed from now on"),
            Leave::Never => ("permission_refused", "refused"),
        };
        let text = self.clip(format!("{}: {} ({answer} by the user)", asking.kind.as_str(), asking.title), 8 * SHORT);
        self.notice(code, text);
        leave
    }

    /// Records a notice.
    pub(crate) fn notice(&mut self, code: &str, text: String) {
        self.append(Notice { turn: Some(self.turn), code: code.to_owned(), text, text_artifact: None });
    }

    fn plan(&mut self, mut entries: Vec<decklog_journal::event::PlanEntry>) {
        entries.truncate(100);
        for entry in &mut entries {
            entry.content = self.clip(std::mem::take(&mut entry.content), SHORT);
            entry.status = self.clip(std::mem::take(&mut entry.status), 64);
        }
        self.append(Plan { turn: self.turn, entries });
    }

    /// Gathers pieces, past the redactor, so that a secret told in pieces is found too.
    fn piece(&mut self, thought: bool, text: &str) {
        if self.pieces.as_ref().is_some_and(|pieces| pieces.thought != thought) {
            self.flush_pieces();
        }
        if !thought {
            let begun = self.pieces.is_some();
            if !begun {
                self.facts.final_text.clear();
            }
            self.facts.final_text.push_str(text);
        }
        let redact = self.writer.redactor().clone();
        let pieces = self.pieces.get_or_insert_with(|| Pieces {
            thought,
            redact: redact.stream(),
            safe: Vec::new(),
            since: Instant::now(),
            begun: false,
        });
        pieces.redact.push(text.as_bytes(), &mut pieces.safe);
        if pieces.safe.len() >= GATHER_BYTES {
            self.record_pieces();
        }
    }

    /// Records the last words of a text that was cut short, saying where the whole stands.
    pub(crate) fn cut_text(&mut self, text: String, whole: Option<ArtifactRef>) {
        let continued = self.pieces.as_ref().is_some_and(|pieces| pieces.begun || !pieces.safe.is_empty());
        // What is held back may be the beginning of a secret whose end was cut off: it goes with the rest.
        self.record_pieces();
        self.pieces = None;
        self.append(Message { turn: self.turn, text, text_artifact: None, cut_artifact: whole, continued });
    }

    /// Called now and then: gathered pieces do not wait for ever.
    pub(crate) fn idle(&mut self) {
        if self.pieces.as_ref().is_some_and(|pieces| !pieces.safe.is_empty() && pieces.since.elapsed() >= GATHER) {
            self.record_pieces();
        }
        self.observer.idle();
    }

    fn record_pieces(&mut self) {
        let turn = self.turn;
        let Some(pieces) = &mut self.pieces else { return };
        let whole = match std::str::from_utf8(&pieces.safe) {
            Ok(_) => pieces.safe.len(),
            Err(error) => error.valid_up_to(),
        };
        let text: Vec<u8> = pieces.safe.drain(..whole).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        pieces.since = Instant::now();
        let (thought, mut begun) = (pieces.thought, pieces.begun);
        pieces.begun |= !text.is_empty();
        // None so long that it would need an artifact: the pieces are the text.
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            rest = later;
            let (text, continued) = (piece.to_owned(), std::mem::replace(&mut begun, true));
            if thought {
                self.append(Thought { turn, text, text_artifact: None, continued });
            } else {
                self.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued });
            }
        }
    }

    fn flush_pieces(&mut self) {
        if let Some(pieces) = &mut self.pieces {
            pieces.redact.finish(&mut pieces.safe);
            self.record_pieces();
            self.pieces = None;
        }
    }

    /// Closes the stdout and stderr files: nothing more comes from the process.
    pub(crate) fn close_raw(&mut self) -> TurnFiles {
        let mut files = TurnFiles::default();
        for (artifact, place) in [(self.stream.take(), &mut files.stream), (self.stderr.take(), &mut files.stderr)] {
            let Some(artifact) = artifact else { continue };
            let path = artifact.path().to_owned();
            match artifact.finish() {
                Ok(artifact) => *place = Some(artifact),
                Err(error) => self.lost(&format!("the end of {path}: {error}")),
            }
        }
        files
    }

    /// Ends recording; gives what is known and whether everything could be kept.
    pub(crate) fn finish(mut self) -> (TurnFacts, Option<ArtifactRef>, bool) {
        self.flush_pieces();
        let output = self.output.take().and_then(|artifact| {
            let path = artifact.path().to_owned();
            artifact.finish().map_err(|error| self.lost(&format!("the end of {path}: {error}"))).ok()
        });
        (self.facts, output, !self.trouble)
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// [`clip`] for what may hold a secret: half of one would pass every later look.
pub(crate) fn clip_safely(text: String, limit: usize, redactor: &Redactor) -> String {
    if text.len() > limit { clip(redactor.redact_str(&text).into_owned(), limit) } else { text }
}

/// At most `limit` bytes of `text`, and a sign that there was more.
pub(crate) fn clip(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}
