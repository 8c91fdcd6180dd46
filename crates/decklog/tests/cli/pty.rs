//! decklog on a pseudoterminal whose other side the test holds and can close.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::env::TestEnv;

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// What a program hears of its terminal's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// SIGHUP: the terminal is its controlling one.
    Signal,
    /// SIGHUP, which it was started to ignore.
    Ignored,
    /// Nothing but what reading and writing come to: the terminal is not its controlling one.
    Silent,
}

impl Hangup {
    pub(crate) const ALL: [Self; 3] = [Self::Signal, Self::Ignored, Self::Silent];
}

/// A program on a pseudoterminal.
pub(crate) struct Pty {
    master: File,
    child: Child,
    shown: Vec<u8>,
}

impl Pty {
    /// Starts decklog on a terminal of 24 rows of 100 columns.
    pub(crate) fn start(env: &TestEnv, hangup: Hangup, arguments: &[impl AsRef<OsStr>]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        // `exec`, and `setsid` where it need not fork: the child is decklog.
        let script = match hangup {
            Hangup::Signal => r#"exec setsid --ctty "$@""#,
            Hangup::Ignored => r#"trap "" HUP; exec setsid --ctty "$@""#,
            Hangup::Silent => r#"exec "$@""#,
        };
        let mut command: Command = env.command("sh");
        command.args(["-c", script, "sh"]).arg(&env.program).args(arguments);
        command.env("TERM", "xterm-256color");
        if !env.vars.iter().any(|(name, _)| name == "PAGER") {
            command.env("PAGER", "cat");
        }
        let stdio = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio(&slave)).stdout(stdio(&slave)).stderr(stdio(&slave));
        let child = command.spawn().unwrap();
        Self { master: File::from(master), child, shown: Vec::new() }
    }

    /// Waits until these words have been shown since the last call, and forgets what came up to them.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) {
        let start = Instant::now();
        loop {
            let found = memchr::memmem::find(&self.shown, words.as_bytes());
            if let Some(at) = found {
                self.shown.drain(..at + words.len());
                return;
            }
            let shown = String::from_utf8_lossy(&self.shown);
            assert!(start.elapsed() < BOUND && is_ready(&self.master), "{words:?} never came: {shown}");
            let mut buffer = [0; 4096];
            let count = self.master.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "{words:?} never came: {shown}");
            self.shown.extend_from_slice(&buffer[..count]);
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// The process that is decklog.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the terminal's other side.
    pub(crate) fn close(self) -> Orphan {
        Orphan(self.child)
    }

    /// Waits for the end with the terminal there; the exit code as a shell gives it.
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        // What is shown must go somewhere, or the program waits.
        let mut buffer = [0; 4096];
        while is_ready(&self.master) && self.master.read(&mut buffer).is_ok_and(|count| count > 0) {}
        Orphan(self.child).end()
    }
}

/// A program whose terminal is gone.
pub(crate) struct Orphan(Child);

impl Orphan {
    /// Waits for its end; the exit code as a shell gives it.
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        if !is_ready(&process) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
            panic!("it never ended");
        }
        let status = self.0.wait().unwrap();
        status.code().or_else(|| Some(128 + status.signal()?)).unwrap()
    }
}

fn is_ready(fd: &impl AsFd) -> bool {
    let timeout = Timespec { tv_sec: BOUND.as_secs().cast_signed(), tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}
