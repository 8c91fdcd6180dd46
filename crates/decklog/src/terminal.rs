//! Waiting on a terminal that can go away: for input, and between two outputs.
//!
//! A terminal that is gone reports a hangup for ever and reads as empty at once, so a loop that waits for a key without looking for
//! that uses a whole core and never ends.

use std::io::BufRead as _;
use std::os::fd::AsFd;
use std::process::Child;
use std::time::Duration;

use decklog_run::supervise::{Received, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::CliError;

/// How often signals are looked for while input is awaited.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a pager has to end by itself once its terminal is gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What ended a wait for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A read returns at once, with at least one byte.
    Ready,
    /// Nothing came in time.
    Timeout,
    /// No input can come any more: end of input, an error or a hangup.
    End,
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// Waits until `input` can be read, at most for `timeout`. A signal may end the wait early, as [`Input::Timeout`].
pub(crate) fn wait_for_input(input: impl AsFd, timeout: Duration) -> Input {
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut fds, Some(&timespec(timeout))) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Input::Timeout,
        Ok(_) => {}
        Err(_) => return Input::End,
    }
    // A pipe that hangs up can still hold bytes; a terminal that hangs up holds none.
    match rustix::io::ioctl_fionread(&input) {
        Ok(1..) => Input::Ready,
        Ok(0) | Err(_) => Input::End,
    }
}

/// Waits until `input` can be read, for as long as that takes. `None`: no input can come any more, or a signal is pending.
pub(crate) fn wait_for_key(input: impl AsFd, signals: &Signals) -> Option<()> {
    loop {
        if signals.is_pending() {
            return None;
        }
        match wait_for_input(&input, SIGNAL_INTERVAL) {
            Input::Ready => return Some(()),
            Input::Timeout => {}
            Input::End => return None,
        }
    }
}

/// A line from the terminal; `None` when a signal came, or when its input has ended.
pub(crate) fn read_line(signals: &Signals) -> Option<String> {
    let stdin = std::io::stdin();
    wait_for_key(&stdin, signals)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line).ok()?;
    (read > 0).then_some(line)
}

/// Whether the other end of `file` is gone: the terminal of a terminal device, the reader of a pipe.
pub(crate) fn is_gone(file: impl AsFd) -> bool {
    wait_until_gone(file, Duration::ZERO)
}

/// Waits for `duration`, but no longer than the other end of `file` exists; whether it is gone. A signal may end the wait early.
pub(crate) fn wait_until_gone(file: impl AsFd, duration: Duration) -> bool {
    // Hangups and errors are reported without being asked for.
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    poll(&mut fds, Some(&timespec(duration))).is_ok_and(|ready| ready > 0)
}

/// Ends `child` when the terminal of `output` goes away before it: SIGHUP, then, one second later, SIGKILL. Does nothing
/// where the system has no process descriptors.
pub(crate) fn end_with_terminal(child: &Child, output: impl AsFd) {
    let Some(process) = Pid::from_raw(child.id().cast_signed()) else { return };
    let (Ok(process), Ok(output)) = (pidfd_open(process, PidfdFlags::empty()), output.as_fd().try_clone_to_owned())
    else {
        return;
    };
    // Without the thread, the child reads the end of its input from the terminal instead.
    let _ = std::thread::Builder::new().spawn(move || {
        for signal in [Signal::HUP, Signal::KILL] {
            let mut fds = [PollFd::new(&process, PollFlags::IN), PollFd::new(&output, PollFlags::empty())];
            // With the terminal gone, only the process is waited for.
            let (awaited, timeout) =
                if signal == Signal::HUP { (&mut fds[..], None) } else { (&mut fds[..1], Some(timespec(PATIENCE))) };
            while poll(awaited, timeout.as_ref()) == Err(rustix::io::Errno::INTR) {}
            if !fds[0].revents().is_empty() {
                return;
            }
            // By descriptor: a number could have become another process's.
            let _ = pidfd_send_signal(&process, signal);
        }
    });
}

/// The silent end of a command whose terminal is gone: exit code 129, as of a program that SIGHUP ends.
pub(crate) fn hangup() -> CliError {
    CliError::silent(Received::HangUp.exit_code())
}
