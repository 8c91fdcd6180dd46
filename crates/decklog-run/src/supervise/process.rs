//! Starting a program under a reaper, and the handles on it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};
use decklog_snapshot::unbind_repository;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::reaper::{CONTROL_FD, REAPER_ARGUMENT, REAPER_NAME, end_orphans, request};

/// What to run.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    /// Program: a path, or a name looked up in the `PATH` of `env`.
    pub program: OsString,
    /// Arguments, without the program.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Directory to run in.
    pub working_dir: PathBuf,
    /// The program that has [`super::reaper_main`]: this one.
    pub reaper: PathBuf,
    /// A file that it inherits, as [`INHERITED_FD`].
    pub inherited: Option<Arc<File>>,
}

/// The number under which a program inherits the file that it is given.
pub const INHERITED_FD: i32 = 4;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It never began, for this reason.
    NotStarted(String),
}

/// Why a program was not started, or not seen to its end.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// It was not started.
    #[error("cannot start a process: {0}")]
    Start(#[from] io::Error),
    /// It was started, and ended because its output could not be waited for.
    #[error("cannot wait for the output of a process, which was ended: {0}")]
    Wait(#[source] io::Error),
}

/// A running program with its reaper.
#[derive(Debug)]
pub struct Supervised {
    reaper: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    pub(super) control: Option<UnixStream>,
    told: Vec<u8>,
    pid: Option<u32>,
    exit: Option<Exit>,
}

/// The kernel keeps so much of the agent's output while decklog is busy; the default is 64 KiB.
const PIPE_BYTES: usize = 1024 * 1024;

impl Supervised {
    /// Starts `spec`.
    ///
    /// # Errors
    /// [`SpawnError`] when not even the reaper can be started. A program that cannot be started is seen
    /// later, as [`Exit::NotStarted`].
    pub fn spawn(spec: &CommandSpec) -> Result<Self, SpawnError> {
        // Should the reaper be killed, its orphans come to this process.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let mut env = spec.env.clone();
        // Whatever started decklog (a hook, an alias), a child works on the repository around its own directory.
        unbind_repository(&mut env);
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&spec.reaper);
        command
            .arg0(REAPER_NAME)
            .arg(REAPER_ARGUMENT)
            .arg(&spec.program)
            .args(&spec.arguments)
            .env_clear()
            .envs(env)
            .current_dir(&spec.working_dir)
            // Some programs believe it rather than the system.
            .env("PWD", &spec.working_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut mappings = vec![FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: CONTROL_FD }];
        if let Some(file) = &spec.inherited {
            // The reaper keeps it open, and so hands it on.
            mappings.push(FdMapping { parent_fd: file.try_clone()?.into(), child_fd: INHERITED_FD });
        }
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let mut reaper = command.spawn()?;
        // The command holds the reaper's end of the socket: while it is open, no end is seen.
        drop(command);
        let (stdin, stdout, stderr) = (reaper.stdin.take(), reaper.stdout.take(), reaper.stderr.take());
        for fd in [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)]
            .into_iter()
            .flatten()
        {
            let flags = fcntl_getfl(fd).map_err(io::Error::from)?;
            fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(io::Error::from)?;
            let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES);
        }
        Ok(Self { reaper, stdin, stdout, stderr, control: Some(ours), told: Vec::new(), pid: None, exit: None })
    }

    /// Process id of the program, once it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(super) fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// Asks the program to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.ask(request::INTERRUPT);
    }

    /// Asks the program to end.
    pub fn terminate(&self) {
        self.ask(request::TERMINATE);
    }

    /// Ends the program and all it started.
    pub fn kill(&self) {
        self.ask(request::KILL);
    }

    fn ask(&self, what: u8) {
        if let Some(mut control) = self.control.as_ref() {
            let _ = control.write(&[what]);
        }
    }

    /// Reads what the reaper tells.
    pub(super) fn listen(&mut self) {
        let Some(control) = &mut self.control else { return };
        let mut buffer = [0; 512];
        loop {
            match control.read(&mut buffer) {
                Ok(0) => {
                    self.control = None;
                    break;
                }
                Ok(count) => self.told.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.control = None;
                    break;
                }
            }
        }
        while let Some(at) = memchr::memchr(b'\n', &self.told) {
            let line: Vec<u8> = self.told.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(' ') {
                Some(("P", pid)) => self.pid = pid.parse().ok(),
                Some(("X", code)) => self.exit = code.parse().ok().map(Exit::Code),
                Some(("S", signal)) => self.exit = signal.parse().ok().map(Exit::Signal),
                Some(("F", reason)) => self.exit = Some(Exit::NotStarted(reason.to_owned())),
                _ => {}
            }
        }
        if self.control.is_none() && self.exit.is_none() {
            // Somebody killed the reaper: what it led must not live on. Its orphans are this process's now.
            let _ = self.reaper.wait();
            end_orphans();
            self.exit = Some(Exit::Signal(9));
        }
    }

    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.reaper.wait().map(drop)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Closing the socket makes the reaper end everything.
        self.control = None;
        self.stdin = None;
        let _ = self.reaper.wait();
    }
}
