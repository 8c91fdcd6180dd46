//! One turn: snapshot, prompt, everything that comes back, snapshot.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::{Notice, TurnEnd, TurnStart, Withheld};
use decklog_journal::head::RECORDING_FAILED;
use decklog_journal::redact::RedactStream;
use decklog_journal::time::seconds_between;
use decklog_journal::words::{Role, TurnOutcome};

use crate::agents::{Adapter, AgentDefinition, AgentEvent, Output, TurnRequest};
use crate::launch::prepare;
use crate::log::Log;
use crate::observe::{AgentStream, Observer};
use crate::record::{TurnFacts, TurnRecorder, clip_safely};
use crate::sandbox::Inside;
use crate::supervise::{Ended, Exit, Handler, Io, Limits, Received, Signals, SpawnError, StopCause, Supervised, drive};
use crate::trees::{NoTree, Trees, named};

/// How a turn is to be run.
pub(crate) struct TurnPlan<'a> {
    /// Who.
    pub(crate) agent: AgentDefinition,
    /// What it is there for.
    pub(crate) role: Role,
    /// What it is asked.
    pub(crate) request: TurnRequest,
    /// When to end it.
    pub(crate) limits: Limits,
    /// The environment, before what the agent's definition and adapter add.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// The program that can be a reaper: this one.
    pub(crate) reaper: PathBuf,
    /// Where it is started on the host.
    pub(crate) working_dir: PathBuf,
    /// Whether nobody worked since the turn before: this one begins with the tree that was its last.
    pub(crate) follows_at_once: bool,
    /// The container it runs in, if it does.
    pub(crate) inside: Option<Inside<'a>>,
}

/// How a turn came out.
#[derive(Debug)]
pub(crate) struct TurnResult {
    /// How.
    pub(crate) outcome: TurnOutcome,
    /// The signal that stopped it, if one did.
    pub(crate) stopped_by: Option<Received>,
    /// Exit code of the agent's process, and the signal that ended it.
    pub(crate) exit: (Option<i32>, Option<i32>),
    /// What is known of it.
    pub(crate) facts: TurnFacts,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// How many files it changed.
    pub(crate) files_changed: u64,
    /// Lines added and removed in them.
    pub(crate) lines: (u64, u64),
    /// Files it left that no snapshot holds, and that were not there before.
    pub(crate) withheld: Vec<Withheld>,
    /// Those that no snapshot held before either: whether it changed them is not known.
    pub(crate) withheld_before: Vec<Withheld>,
    /// The trees before and after, as far as they could be taken.
    pub(crate) trees: (Option<String>, Option<String>),
    /// Whether everything could be kept.
    pub(crate) kept: bool,
    /// Seconds it took.
    pub(crate) duration_secs: f64,
}

impl TurnResult {
    /// Whether what it changed is known.
    pub(crate) fn has_diff(&self) -> bool {
        self.trees.0.is_some() && self.trees.1.is_some()
    }
}

/// Bytes of a JSON line that are read; longer ones are only kept raw.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// Bytes of a text agent's output that become messages.
const MAX_TEXT: usize = 64 * 1024;
/// Bytes of stderr that are looked at for the agent's last words.
const STDERR_TAIL: usize = 8 * 1024;

/// Runs turn `turn`, recording it in `writer`.
///
/// # Errors
/// [`SpawnError`] when no process can be started at all; the turn is then closed as failed.
pub(crate) fn run_turn(
    writer: &Log,
    trees: &mut Trees,
    turn: u32,
    plan: &TurnPlan<'_>,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<TurnResult, SpawnError> {
    let mut adapter = plan.agent.adapter();
    let started = writer.clock().now();
    let prepared = prepare(plan, adapter.as_ref(), &writer.dir().join(TurnFile::Prompt.path(turn)));
    let request = &prepared.request;
    let mut kept = true;

    let prompt_path = TurnFile::Prompt.path(turn);
    let written = writer.write_artifact(&prompt_path, plan.request.prompt.as_bytes());
    let prompt_artifact = written
        .map_err(|error| {
            kept = false;
            not_kept(writer, None, &error.to_string(), observer);
        })
        .ok();
    let before = if plan.follows_at_once { trees.last_or_take() } else { trees.take() };
    let known: HashSet<String> = before.withheld.iter().map(|file| file.path.clone()).collect();
    let start = TurnStart {
        boxed: plan.inside.is_some(),
        turn,
        agent: plan.agent.name.clone(),
        role: plan.role,
        model: plan.request.model.clone(),
        permissions: (!adapter.is_text()).then_some(plan.request.permissions),
        command: prepared
            .command
            .iter()
            .map(|word| clip_safely(word.to_string_lossy().into_owned(), 4096, writer.redactor()))
            .take(64)
            .collect(),
        prompt: String::new(),
        prompt_artifact,
        snapshot: before.tree.clone(),
        withheld: named(&before.withheld),
    };
    if let Some(event) = keep(writer.append(start), &mut kept, observer) {
        observer.event(&event);
    }

    let mut recorder = TurnRecorder::new(writer, observer, turn, &plan.agent.name);
    if let Some(trouble) = &before.trouble {
        recorder.no_tree(trouble);
    }
    let mut opening = Output::default();
    adapter.begin(request, &mut opening);
    let mut send = prepared.stdin.clone();
    send.append(&mut opening.send);
    let io = Io { send, close_stdin: !prepared.keep_stdin, finished: false };
    let redact = recorder.redact_stream();
    let mut conversation = Conversation {
        adapter: adapter.as_mut(),
        recorder: &mut recorder,
        line: Vec::new(),
        skipped: 0,
        text: 0,
        stderr: Vec::new(),
        redact,
    };
    let ended = match &prepared.spec {
        Ok(spec) => {
            Supervised::spawn(spec).and_then(|process| drive(process, &mut conversation, signals, plan.limits, io))
        }
        Err(why) => Ok(Ended { exit: Exit::NotStarted(why.clone()), cause: None }),
    };
    conversation.end(ended.as_ref().ok());
    let stderr = last_words(&conversation.stderr);
    let ended = ended.map(|ended| told_apart(ended, plan, &stderr, &prepared.command));
    let (cut, text_bytes) = (conversation.text > MAX_TEXT as u64, conversation.text);
    let files = recorder.close_raw();
    if cut {
        let text = format!("\n… {} more bytes", text_bytes - MAX_TEXT as u64);
        recorder.cut_text(text, files.stream.clone());
    }
    if let Some(trouble) = plan.inside.as_ref().and_then(Inside::tidy) {
        recorder.notice("left_running", trouble);
    }
    if let Ok(Ended { cause: Some(cause), .. }) = &ended {
        stop_notice(&mut recorder, *cause, plan.limits);
    }
    let (facts, output, recorded) = recorder.finish();
    kept &= recorded;

    let (outcome, error) = verdict(&ended, &facts, &stderr);
    let after = trees.take();
    let changes = trees.changes(writer, turn, before.tree.as_deref(), after.tree.as_deref());
    // One that was reported at the turn's start is not reported again.
    let is_new = |trouble: &NoTree| before.trouble.as_ref().is_none_or(|known| known.reason != trouble.reason);
    let missing = after.trouble.filter(is_new).map(|trouble| (trouble.reason, trouble.is_limitation));
    if let Some((reason, is_limitation)) = missing.or(changes.trouble.map(|reason| (reason, false))) {
        not_kept(writer, Some(turn), &reason, observer);
        kept &= is_limitation;
    }
    let (exit_code, signal) = match &ended {
        Ok(Ended { exit: Exit::Code(code), .. }) => (Some(*code), None),
        Ok(Ended { exit: Exit::Signal(signal), .. }) => (None, Some(*signal)),
        _ => (None, None),
    };
    let duration_secs = seconds_between(started, writer.clock().now());
    let mut withheld = after.withheld;
    withheld.extend(changes.withheld);
    let (withheld_before, mut left): (Vec<Withheld>, Vec<Withheld>) =
        withheld.iter().cloned().partition(|file| known.contains(&file.path));
    left.dedup_by(|a, b| a.path == b.path);
    let end = TurnEnd {
        turn,
        outcome,
        exit_code,
        signal,
        duration_secs,
        agent_session_id: facts.agent_session_id.clone(),
        model: facts.model.clone(),
        error: error.clone(),
        snapshot: after.tree.clone(),
        files: changes.files,
        files_changed: changes.count,
        patch: String::new(),
        patch_artifact: changes.patch,
        withheld: named(&withheld),
        stream_artifact: files.stream,
        stderr_artifact: files.stderr,
        output_artifact: output,
    };
    if let Some(event) = keep(writer.append(end), &mut kept, observer) {
        observer.event(&event);
    }
    let stopped_by = match &ended {
        Ok(Ended { cause: Some(StopCause::Signal(signal)), .. }) => Some(*signal),
        _ => None,
    };
    ended?;
    Ok(TurnResult {
        outcome,
        stopped_by,
        exit: (exit_code, signal),
        facts,
        error,
        files_changed: changes.count,
        lines: changes.lines,
        withheld: left,
        withheld_before,
        trees: (before.tree, after.tree),
        kept,
        duration_secs,
    })
}

/// Says that something beside the journal could not be kept: to the user at once, and in the record.
pub(crate) fn not_kept(writer: &Log, turn: Option<u32>, what: &str, observer: &mut dyn Observer) {
    observer.trouble(what);
    let notice = Notice { turn, code: RECORDING_FAILED.into(), text: what.to_owned(), text_artifact: None };
    // What the journal refuses it tells by itself, as soon as it can.
    let _ = writer.append(notice);
}

fn keep<T>(result: Result<T, decklog_journal::WriteError>, kept: &mut bool, observer: &mut dyn Observer) -> Option<T> {
    result
        .map_err(|error| {
            *kept = false;
            observer.trouble(&error.to_string());
        })
        .ok()
}

fn stop_notice(recorder: &mut TurnRecorder<'_>, cause: StopCause, limits: Limits) {
    let seconds = |limit: Option<std::time::Duration>| limit.map_or(0.0, |limit| limit.as_secs_f64());
    match cause {
        StopCause::Stalled => {
            recorder
                .notice("stalled", format!("no output for {} s: the agent was ended", seconds(limits.stall_timeout)));
        }
        StopCause::TimedOut => {
            recorder.notice("timed_out", format!("not done after {} s: the agent was ended", seconds(limits.timeout)));
        }
        StopCause::Signal(Received::Interrupt) => recorder.notice("interrupted", "stopped by Ctrl-C".into()),
        StopCause::Signal(Received::Terminate) => recorder.notice("interrupted", "stopped by a signal".into()),
        StopCause::Signal(Received::HangUp) => {
            recorder.notice("interrupted", "stopped by the terminal's hangup".into())
        }
        StopCause::Finished => {}
    }
}

/// Stopped beats limited beats failed.
fn verdict(ended: &Result<Ended, SpawnError>, facts: &TurnFacts, stderr: &str) -> (TurnOutcome, Option<String>) {
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return (TurnOutcome::Failed, Some(error.to_string())),
    };
    match ended.cause {
        Some(StopCause::Signal(_)) => return (TurnOutcome::Interrupted, None),
        Some(StopCause::TimedOut) => return (TurnOutcome::TimedOut, facts.failed.clone()),
        Some(StopCause::Stalled) => return (TurnOutcome::Stalled, facts.failed.clone()),
        // What an agent that was told to go exits with says nothing.
        Some(StopCause::Finished) if facts.failed.is_none() => return (TurnOutcome::Success, None),
        Some(StopCause::Finished) | None => {}
    }
    let own_words = || if stderr.is_empty() { None } else { Some(stderr.to_owned()) };
    let error = match &ended.exit {
        Exit::NotStarted(reason) => Some(format!("the agent could not be started: {reason}")),
        Exit::Code(0) if facts.failed.is_none() => return (TurnOutcome::Success, None),
        Exit::Code(code) => facts.failed.clone().or_else(own_words).or(Some(format!("exit code {code}"))),
        Exit::Signal(signal) => facts.failed.clone().or(Some(format!("ended by signal {signal}"))),
    };
    let outcome = if facts.limited.is_some() { TurnOutcome::RateLimited } else { TurnOutcome::Failed };
    (outcome, error)
}

/// An agent that was never there, though podman was.
fn told_apart(ended: Ended, plan: &TurnPlan<'_>, stderr: &str, command: &[OsString]) -> Ended {
    let (Exit::Code(code), Some(inside)) = (&ended.exit, &plan.inside) else { return ended };
    let program = command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    match inside.explain(*code, stderr, &program) {
        Some(reason) => Ended { exit: Exit::NotStarted(reason), ..ended },
        None => ended,
    }
}

fn last_words(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().to_owned()
}

/// Moves bytes from the process to the recorder, raw first, then through the adapter.
struct Conversation<'a, 'b> {
    adapter: &'a mut dyn Adapter,
    recorder: &'a mut TurnRecorder<'b>,
    line: Vec<u8>,
    /// Bytes of the present line that are too many to read.
    skipped: u64,
    /// Bytes of text so far, for an agent that prints text.
    text: u64,
    /// The end of stderr, without secrets: cutting them in half must not make them unknown.
    stderr: Vec<u8>,
    redact: RedactStream,
}

impl Conversation<'_, '_> {
    fn text(&mut self, chunk: &[u8]) {
        let room = MAX_TEXT.saturating_sub(usize::try_from(self.text).unwrap_or(MAX_TEXT));
        self.text += chunk.len() as u64;
        self.recorder.pass_on(chunk, AgentStream::Stdout);
        self.line.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let whole = match std::str::from_utf8(&self.line) {
            Ok(_) => self.line.len(),
            // An unfinished character at the end waits for its rest; anything else is shown as broken.
            Err(error) if error.error_len().is_none() && room > chunk.len() => error.valid_up_to(),
            Err(_) => self.line.len(),
        };
        if whole > 0 {
            let piece: Vec<u8> = self.line.drain(..whole).collect();
            self.recorder.event(AgentEvent::TextPiece(String::from_utf8_lossy(&piece).into_owned()));
        }
    }

    fn lines(&mut self, mut chunk: &[u8], io: &mut Io) {
        while let Some(at) = memchr::memchr(b'\n', chunk) {
            self.gather(&chunk[..at]);
            self.finish_line(io);
            chunk = &chunk[at + 1..];
        }
        self.gather(chunk);
    }

    fn gather(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len().min(MAX_LINE);
        let take = bytes.len().min(room);
        self.line.extend_from_slice(&bytes[..take]);
        self.skipped += (bytes.len() - take) as u64;
    }

    fn finish_line(&mut self, io: &mut Io) {
        let line = std::mem::take(&mut self.line);
        if self.skipped > 0 {
            let bytes = line.len() as u64 + std::mem::take(&mut self.skipped);
            let text = format!("a line of {bytes} bytes was kept only in the raw stream");
            self.recorder.event(AgentEvent::Notice { code: "long_line", text });
        } else if !line.trim_ascii().is_empty() {
            let mut out = Output::default();
            self.adapter.line(line.strip_suffix(b"\r").unwrap_or(&line), &mut out);
            self.take(out, io);
        }
        // Keeps the memory for the next line.
        self.line = line;
        self.line.clear();
        self.line.shrink_to(MAX_TEXT);
    }

    fn take(&mut self, mut out: Output, io: &mut Io) {
        for event in std::mem::take(&mut out.events) {
            self.recorder.event(event);
        }
        for asking in std::mem::take(&mut out.asks) {
            let leave = self.recorder.ask(&asking);
            self.adapter.answer(&asking, leave, &mut out);
        }
        io.send.append(&mut out.send);
        io.finished |= out.finished;
    }

    /// Stdout has ended.
    fn end(&mut self, ended: Option<&Ended>) {
        let mut io = Io::default();
        self.redact.finish(&mut self.stderr);
        if self.adapter.is_text() {
            if !self.line.is_empty() {
                let rest = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                self.recorder.event(AgentEvent::TextPiece(rest));
            }
        } else if !self.line.is_empty() || self.skipped > 0 {
            self.finish_line(&mut io);
        }
        let mut out = Output::default();
        if let Some(Ended { exit: Exit::Code(code), cause: None }) = ended {
            self.adapter.end(*code, &last_words(&self.stderr), &mut out);
        }
        self.take(out, &mut io);
    }
}

impl Handler for Conversation<'_, '_> {
    fn stdout(&mut self, chunk: &[u8], io: &mut Io) {
        self.recorder.raw_stdout(chunk);
        if self.adapter.is_text() { self.text(chunk) } else { self.lines(chunk, io) }
    }

    fn stderr(&mut self, chunk: &[u8], _: &mut Io) {
        self.recorder.raw_stderr(chunk);
        if self.adapter.is_text() {
            self.recorder.pass_on(chunk, AgentStream::Stderr);
        }
        self.redact.push(chunk, &mut self.stderr);
        let too_many = self.stderr.len().saturating_sub(STDERR_TAIL);
        if too_many > STDERR_TAIL {
            self.stderr.drain(..too_many);
        }
    }

    fn stopping(&mut self, cause: StopCause, io: &mut Io) -> bool {
        let mut out = Output::default();
        let asked = cause != StopCause::Finished && self.adapter.cancel(&mut out);
        io.send.append(&mut out.send);
        asked
    }

    fn idle(&mut self) {
        self.recorder.idle();
    }
}
