//! Checks: commands of the user's that validate a turn by their exit code.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use decklog_journal::event::Validation;
use decklog_journal::redact::{RedactStream, Redactor};

use crate::sandbox::Inside;
use crate::supervise::{
    CommandSpec, Exit, Handler, Io, Limits, Received, Signals, SpawnError, StopCause, Supervised, drive,
};

/// Bytes of a check's output that are kept: the end, where failures are told.
const OUTPUT: usize = 1024 * 1024;

/// How a check came out.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What is recorded of it.
    pub(crate) validation: Validation,
    /// The signal that stopped it, if one did.
    pub(crate) stopped_by: Option<Received>,
}

/// Where checks run: where the agent did.
#[derive(Clone, Copy)]
pub(crate) struct CheckPlace<'a> {
    pub(crate) working_dir: &'a Path,
    pub(crate) env: &'a [(OsString, OsString)],
    /// The container, if the agent ran in one.
    pub(crate) inside: Option<&'a Inside<'a>>,
    /// The program that can be a reaper: this one.
    pub(crate) reaper: &'a Path,
}

/// Runs `command` in a shell as a check of turn `turn`.
///
/// # Errors
/// [`SpawnError`] when no process can be started.
pub(crate) fn run_check(
    command: &str,
    turn: u32,
    place: CheckPlace<'_>,
    redactor: &Redactor,
    signals: &Signals,
    idle: &mut dyn FnMut(),
) -> Result<Checked, SpawnError> {
    let start = Instant::now();
    let words = ["sh", "-c", command].map(OsString::from);
    let (words, env, inherited) = match place.inside {
        Some(inside) => {
            let entering = inside.enter(None, &words, &[]).map_err(std::io::Error::other)?;
            (entering.words, entering.env, Some(entering.variables))
        }
        None => (words.to_vec(), place.env.to_vec(), None),
    };
    let mut words = words.into_iter();
    let spec = CommandSpec {
        program: words.next().unwrap_or_default(),
        arguments: words.collect(),
        env,
        working_dir: place.working_dir.to_owned(),
        reaper: place.reaper.to_owned(),
        inherited,
    };
    let mut output = Tail { kept: Vec::new(), left_out: 0, redact: [redactor.stream(), redactor.stream()], idle };
    let io = Io { close_stdin: true, ..Io::default() };
    let ended = drive(Supervised::spawn(&spec)?, &mut output, signals, Limits::default(), io)?;
    if let Some(trouble) = place.inside.and_then(Inside::tidy) {
        output.add(trouble.as_bytes(), 1);
    }
    let exit_code = match &ended.exit {
        Exit::Code(code) => Some(*code),
        Exit::Signal(_) | Exit::NotStarted(_) => None,
    };
    let stopped_by = match ended.cause {
        Some(StopCause::Signal(signal)) => Some(signal),
        _ => None,
    };
    let validation = Validation {
        turn,
        command: command.to_owned(),
        passed: exit_code == Some(0) && stopped_by.is_none(),
        exit_code,
        duration_secs: (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        output: output.text(),
        output_artifact: None,
    };
    Ok(Checked { validation, stopped_by })
}

struct Tail<'a> {
    /// Without secrets: cutting one in half must not make it unknown.
    kept: Vec<u8>,
    /// For stdout and for stderr.
    redact: [RedactStream; 2],
    left_out: usize,
    idle: &'a mut dyn FnMut(),
}

impl Tail<'_> {
    fn add(&mut self, chunk: &[u8], stream: usize) {
        self.redact[stream].push(chunk, &mut self.kept);
        if self.kept.len() > 2 * OUTPUT {
            let too_many = self.kept.len() - OUTPUT;
            self.kept.drain(..too_many);
            self.left_out += too_many;
        }
    }

    fn text(&mut self) -> String {
        for redact in &mut self.redact {
            redact.finish(&mut self.kept);
        }
        let text = String::from_utf8_lossy(&self.kept);
        if self.left_out > 0 { format!("… {} bytes left out\n{text}", self.left_out) } else { text.into_owned() }
    }
}

impl Handler for Tail<'_> {
    fn stdout(&mut self, chunk: &[u8], _: &mut Io) {
        self.add(chunk, 0);
    }

    fn stderr(&mut self, chunk: &[u8], _: &mut Io) {
        self.add(chunk, 1);
    }

    fn stopping(&mut self, _: StopCause, _: &mut Io) -> bool {
        false
    }

    fn idle(&mut self) {
        (self.idle)();
    }
}
