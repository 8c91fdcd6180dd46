//! The one caller of `podman`.
//!
//! Must not know: what images and containers are for.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Output, Stdio};

/// Bytes of what podman says that are kept to tell why it failed.
const SAID: usize = 8 * 1024;
/// Bytes of one line of a build; the rest of it is shown as a line of its own.
const LINE: u64 = 8 * 1024;

/// What podman says where it cannot do what it is asked as an ordinary user, and what to do then.
const HINTS: [(&str, &str); 6] = [
    ("\"newuidmap\": executable file not found", HELPERS),
    ("\"newgidmap\": executable file not found", HELPERS),
    ("/etc/subuid", IDS),
    // A build's first step that runs something, when the user is alone in there.
    ("setting supplemental groups list: operation not permitted", IDS),
    ("slirp4netns failed", OWN_NETWORK),
    ("the network namespace can't be configured", OWN_NETWORK),
];
const HELPERS: &str =
    "as an ordinary user it needs newuidmap and newgidmap: `apt install uidmap` or `dnf install shadow-utils`";
const IDS: &str = "an ordinary user needs ids to give away: `sudo usermod --add-subuids 100000-165535 \
                   --add-subgids 100000-165535 $USER`, then `podman system migrate`";
const OWN_NETWORK: &str = "podman's own network needs the package slirp4netns (newer ones: passt) and a /dev/net/tun that \
                           this user may open; `--network audit` and `--network filter` need neither";

/// Podman, and the environment it is called with.
#[derive(Debug, Clone)]
pub struct Podman {
    program: OsString,
    env: Vec<(OsString, OsString)>,
}

/// Why podman did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// It is not there.
    #[error("podman is not installed: images and containers need it (`apt install podman` or `dnf install podman`)")]
    Missing,
    /// It could not be started.
    #[error("podman could not be started: {0}")]
    Spawn(std::io::Error),
    /// It said no.
    #[error("podman {verb}: {said}{}", hint(said))]
    Failed {
        /// The first word of what was asked.
        verb: String,
        /// Its last words.
        said: String,
    },
    /// It answered what nobody understands.
    #[error("podman {verb} answered what is no answer: {what}")]
    Answer {
        /// The first word of what was asked.
        verb: String,
        /// What is wrong with the answer.
        what: String,
    },
}

impl Podman {
    /// Podman as found in the `PATH` of `env`, which is its whole environment. Nothing of it reaches a container.
    #[must_use]
    pub fn new(env: Vec<(OsString, OsString)>) -> Self {
        Self { program: "podman".into(), env }
    }

    /// What it is called with.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// A command, ready to be started: for what is spoken with at length.
    #[must_use]
    pub fn command(&self, arguments: &[OsString]) -> Command {
        // Looked up in the given environment, not in this process's.
        let path = self.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let program = path
            .iter()
            .flat_map(std::env::split_paths)
            .map(|dir| dir.join(&self.program))
            .find(|program| program.is_file())
            .map_or_else(|| self.program.clone(), Into::into);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs podman to its end, and gives its stdout.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, PodmanError> {
        said(arguments, &self.output(arguments)?)
    }

    /// As [`Self::run`], and out of reach of Ctrl-C on the terminal: for what clears away, which nobody would do after it.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn run_apart<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, PodmanError> {
        let mut command = self.command(&words(arguments));
        command.stdin(Stdio::null()).process_group(0);
        said(arguments, &output(&mut command).map_err(|error| spawn_error(&error))?)
    }

    /// Runs podman to its end with `input` on its stdin.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn feed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Result<(), PodmanError> {
        let arguments = words(arguments);
        let mut command = self.command(&arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| spawn_error(&error))?;
        // Podman that does not read to the end says why.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
        let output = child.wait_with_output().map_err(PodmanError::Spawn)?;
        match written {
            _ if !output.status.success() => Err(failed(&arguments, &output.stderr)),
            written => written.map_err(PodmanError::Spawn),
        }
    }

    /// Whether podman says yes with its exit code.
    ///
    /// # Errors
    /// [`PodmanError`] when it cannot be asked; any exit code but 0 and 1 is a failure.
    pub fn asks<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<bool, PodmanError> {
        let output = self.output(arguments)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(&words(arguments), &output.stderr)),
        }
    }

    /// Runs podman, and hands on each line it prints, of both streams as they come.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn tell<S: AsRef<OsStr>>(&self, arguments: &[S], line: &mut dyn FnMut(&str)) -> Result<(), PodmanError> {
        let arguments = words(arguments);
        let (reader, writer) = std::io::pipe().map_err(PodmanError::Spawn)?;
        let both = writer.try_clone().map_err(PodmanError::Spawn)?;
        let mut command = self.command(&arguments);
        command.stdin(Stdio::null()).stdout(writer).stderr(both);
        let mut child = command.spawn().map_err(|error| spawn_error(&error))?;
        // Its copies of the pipe's end would keep it open.
        drop(command);
        let mut reader = BufReader::new(reader);
        let mut tail = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(LINE).read_until(b'\n', &mut bytes).map_err(PodmanError::Spawn)?;
            if read == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&bytes);
            line(text.trim_end_matches(['\n', '\r']));
            tail.extend_from_slice(&bytes);
            let excess = tail.len().saturating_sub(SAID);
            tail.drain(..excess);
        }
        let status: ExitStatus = child.wait().map_err(PodmanError::Spawn)?;
        if status.success() { Ok(()) } else { Err(failed(&arguments, &tail)) }
    }

    fn output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output, PodmanError> {
        let mut command = self.command(&words(arguments));
        output(command.stdin(Stdio::null())).map_err(|error| spawn_error(&error))
    }
}

fn said<S: AsRef<OsStr>>(arguments: &[S], output: &Output) -> Result<String, PodmanError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(&words(arguments), &output.stderr))
}

fn words<S: AsRef<OsStr>>(arguments: &[S]) -> Vec<OsString> {
    arguments.iter().map(|word| word.as_ref().to_owned()).collect()
}

/// As `Command::output`, which panics when reading fails.
fn output(command: &mut Command) -> std::io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        err.map_or(Ok(0), |mut err| err.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let _ = child.kill();
            child.wait()?;
            return Err(error);
        }
    };
    let mut stdout = Vec::new();
    let read = out.map_or(Ok(0), |mut out| out.read_to_end(&mut stdout));
    let status = child.wait()?;
    let stderr = reader.join().unwrap_or_else(|_| Err(std::io::Error::other("the reader of its errors panicked")))?;
    read?;
    Ok(Output { status, stdout, stderr })
}

pub(crate) fn spawn_error(error: &std::io::Error) -> PodmanError {
    match error.kind() {
        std::io::ErrorKind::NotFound => PodmanError::Missing,
        kind => PodmanError::Spawn(std::io::Error::new(kind, error.to_string())),
    }
}

fn failed(arguments: &[OsString], said: &[u8]) -> PodmanError {
    let tail = &said[said.len().saturating_sub(SAID)..];
    let said = String::from_utf8_lossy(tail);
    // The last lines say why; those before tell what went well, and warnings what did not matter.
    let said_why = |line: &&str| !line.is_empty() && !line.contains(" level=warning ");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(said_why).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    let said = if last.is_empty() { "it failed without a word".to_owned() } else { last };
    PodmanError::Failed {
        verb: arguments.first().map_or_else(String::new, |verb| verb.to_string_lossy().into_owned()),
        said,
    }
}

/// What to do about it, as a message goes on.
fn hint(said: &str) -> String {
    let known = HINTS.iter().find(|(words, _)| said.contains(words));
    known.map_or_else(String::new, |(_, hint)| format!(" ({hint})"))
}
