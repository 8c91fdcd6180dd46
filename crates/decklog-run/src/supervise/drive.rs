//! The one loop that moves bytes between decklog and a supervised program.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::process::{Exit, SpawnError, Supervised};
use super::signals::{Received, Signals};

/// When to end a program that does not end by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// It has run for so long.
    pub timeout: Option<Duration>,
    /// It has printed nothing for so long.
    pub stall_timeout: Option<Duration>,
}

/// Why a program was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The user, or the system, asked decklog to stop.
    Signal(Received),
    /// [`Limits::timeout`].
    TimedOut,
    /// [`Limits::stall_timeout`].
    Stalled,
    /// Its work is done, and it is of the kind that waits for more.
    Finished,
}

/// What a handler wants done.
#[derive(Debug, Default)]
pub struct Io {
    /// Bytes for the program's stdin.
    pub send: Vec<u8>,
    /// Close its stdin when all is sent.
    pub close_stdin: bool,
    /// The program has done its work and may end.
    pub finished: bool,
}

/// Takes what a program prints.
pub trait Handler {
    /// Bytes from its stdout, as they came.
    fn stdout(&mut self, chunk: &[u8], io: &mut Io);
    /// Bytes from its stderr, as they came.
    fn stderr(&mut self, chunk: &[u8], io: &mut Io);
    /// It is to stop. True when the handler has asked it to by way of `io`, false for a signal.
    fn stopping(&mut self, cause: StopCause, io: &mut Io) -> bool;
    /// Called now and then, also when nothing comes.
    fn idle(&mut self);
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The program's exit.
    pub exit: Exit,
    /// Why it was asked to stop, if it was.
    pub cause: Option<StopCause>,
}

/// How long a program that was asked to stop has before it is ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for one whose work is done: first for closing its stdin, then for SIGTERM.
const FINISHED_PATIENCE: Duration = Duration::from_secs(1);
/// Longest time between two calls of [`Handler::idle`].
const IDLE: Duration = Duration::from_millis(100);
/// How long output is waited for once the reaper is gone: a process it could not kill may hold the pipes open.
const LINGER: Duration = Duration::from_secs(1);
/// How long it is read at most from then on, where such a process goes on to print.
const DRAIN: Duration = Duration::from_secs(5);
/// How much is read in one go.
const CHUNK: usize = 256 * 1024;

/// How hard a program has been asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    None,
    /// Asked; at this time comes more.
    Asked(Instant),
    /// SIGTERM after a polite request; at this time comes more.
    Terminated(Instant),
    Killed,
}

/// Runs `process` to its end, handing what it prints to `handler`.
///
/// # Errors
/// When polling fails; the process is then ended.
pub fn drive(
    mut process: Supervised,
    handler: &mut dyn Handler,
    signals: &Signals,
    limits: Limits,
    mut io: Io,
) -> Result<Ended, SpawnError> {
    let start = Instant::now();
    let mut last_output = start;
    let mut cause = None;
    let mut pressure = Pressure::None;
    let mut sent = 0;
    let mut gone = None;
    let mut buffer = vec![0; CHUNK];
    loop {
        if process.control.is_none() && process.stdout.is_none() && process.stderr.is_none() {
            break;
        }
        let now = Instant::now();
        if process.control.is_none() {
            // Neither signals nor limits reach anybody now.
            let gone = *gone.get_or_insert(now);
            if now.duration_since(gone.max(last_output)) > LINGER || now.duration_since(gone) > DRAIN {
                break;
            }
        }
        // What is due by the clock.
        let due =
            |limit: Option<Duration>, since: Instant| limit.is_some_and(|limit| now.duration_since(since) >= limit);
        let mut stop = None;
        if io.finished && process.exit().is_none() {
            stop = Some(StopCause::Finished);
        } else if due(limits.timeout, start) {
            stop = Some(StopCause::TimedOut);
        } else if due(limits.stall_timeout, last_output) {
            stop = Some(StopCause::Stalled);
        }
        if let Some(received) = signals.take() {
            // A terminal that is closed sends SIGHUP more than once: from the shell, and from the kernel.
            if matches!(cause, Some(StopCause::Signal(_))) && received != Received::HangUp {
                process.kill();
                pressure = Pressure::Killed;
            }
            stop = Some(StopCause::Signal(received));
        }
        if let Some(why) = stop
            && (cause.is_none() || matches!((cause, why), (Some(StopCause::Finished), StopCause::Signal(_))))
        {
            cause = Some(why);
            pressure = ask(&process, handler, why, &mut io, now);
        }
        pressure = insist(&process, pressure, now);

        // Stdin.
        if sent == io.send.len() {
            io.send.clear();
            sent = 0;
            if io.close_stdin {
                process.stdin = None;
            }
        }
        let ready = wait(&process, signals, sent < io.send.len(), IDLE)?;
        if ready.stdin {
            sent += feed(&mut process, &io.send[sent..]);
            if process.stdin.is_none() {
                io.send.clear();
                sent = 0;
            }
        }
        if ready.stdout
            && let Some(stream) = &mut process.stdout
        {
            match pull(stream, &mut buffer)? {
                Pulled::Bytes(count) => {
                    handler.stdout(&buffer[..count], &mut io);
                    // The handler may have asked somebody, who took their time.
                    last_output = Instant::now();
                }
                Pulled::Nothing => {}
                Pulled::End => process.stdout = None,
            }
        }
        if ready.stderr
            && let Some(stream) = &mut process.stderr
        {
            match pull(stream, &mut buffer)? {
                Pulled::Bytes(count) => {
                    handler.stderr(&buffer[..count], &mut io);
                    // The handler may have asked somebody, who took their time.
                    last_output = Instant::now();
                }
                Pulled::Nothing => {}
                Pulled::End => process.stderr = None,
            }
        }
        if ready.control {
            process.listen();
        }
        handler.idle();
    }
    process.wait()?;
    let exit = process.exit().cloned().unwrap_or(Exit::Signal(9));
    Ok(Ended { exit, cause })
}

fn ask(process: &Supervised, handler: &mut dyn Handler, cause: StopCause, io: &mut Io, now: Instant) -> Pressure {
    let asked = handler.stopping(cause, io);
    match cause {
        StopCause::Finished => {
            io.close_stdin = true;
            return Pressure::Asked(now + FINISHED_PATIENCE);
        }
        _ if asked => {}
        StopCause::Signal(Received::Interrupt) => process.interrupt(),
        StopCause::Signal(Received::Terminate | Received::HangUp) | StopCause::TimedOut | StopCause::Stalled => {
            process.terminate();
        }
    }
    match cause {
        StopCause::Signal(_) => Pressure::Terminated(now + PATIENCE),
        _ => Pressure::Asked(now + FINISHED_PATIENCE),
    }
}

fn insist(process: &Supervised, pressure: Pressure, now: Instant) -> Pressure {
    match pressure {
        Pressure::Asked(until) if now >= until => {
            process.terminate();
            Pressure::Terminated(now + 2 * FINISHED_PATIENCE)
        }
        Pressure::Terminated(until) if now >= until => {
            process.kill();
            Pressure::Killed
        }
        unchanged => unchanged,
    }
}

struct Ready {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    control: bool,
}

fn wait(process: &Supervised, signals: &Signals, writing: bool, longest: Duration) -> io::Result<Ready> {
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(6);
    let stdin = add(&mut fds, process.stdin.as_ref().filter(|_| writing).map(AsFd::as_fd), PollFlags::OUT);
    let stdout = add(&mut fds, process.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN);
    let stderr = add(&mut fds, process.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN);
    let control = add(&mut fds, process.control.as_ref().map(AsFd::as_fd), PollFlags::IN);
    for stream in signals.streams() {
        add(&mut fds, Some(stream.as_fd()), PollFlags::IN);
    }
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(longest.subsec_nanos()) };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
    Ok(Ready { stdin: is_ready(stdin), stdout: is_ready(stdout), stderr: is_ready(stderr), control: is_ready(control) })
}

fn add<'fd>(fds: &mut Vec<PollFd<'fd>>, fd: Option<BorrowedFd<'fd>>, flags: PollFlags) -> Option<usize> {
    fds.push(PollFd::from_borrowed_fd(fd?, flags));
    Some(fds.len() - 1)
}

enum Pulled {
    Bytes(usize),
    Nothing,
    End,
}

fn pull(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<Pulled> {
    match stream.read(buffer) {
        Ok(0) => Ok(Pulled::End),
        Ok(count) => Ok(Pulled::Bytes(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
            Ok(Pulled::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// Writes what the program takes now. One that has closed its stdin wants no more.
fn feed(process: &mut Supervised, bytes: &[u8]) -> usize {
    let Some(stdin) = &mut process.stdin else { return 0 };
    match stdin.write(bytes) {
        Ok(count) => count,
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => 0,
        Err(_) => {
            process.stdin = None;
            0
        }
    }
}
