//! The reaper's side: see [`super`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

/// First argument that makes the program a reaper; the agent's command follows.
pub const REAPER_ARGUMENT: &str = "__reap";

/// What a reaper is called among processes.
pub(super) const REAPER_NAME: &str = "decklog-reaper";

/// The control socket's number in the reaper.
pub(super) const CONTROL_FD: i32 = 3;

/// Requests, one byte each, from decklog to the reaper.
pub(super) mod request {
    pub(in crate::supervise) const INTERRUPT: u8 = b'i';
    pub(in crate::supervise) const TERMINATE: u8 = b't';
    pub(in crate::supervise) const KILL: u8 = b'k';
}

/// How long what an agent left running has to end by itself.
const GRACE: Duration = Duration::from_millis(300);

/// How long it is tried to kill what will not die.
const INSISTENCE: Duration = Duration::from_secs(5);

/// Runs as the reaper of the command in `arguments` and returns the exit code.
#[must_use]
pub fn reaper_main(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let Some(program) = arguments.next() else { return 2 };
    let Some(mut control) = control_socket() else { return 2 };
    // Signals to this group are meant for the agent; a handler, unlike ignoring, is not inherited.
    for signal in super::stop_signals() {
        let _ = signal_hook::flag::register(*signal, Arc::new(AtomicBool::new(false)));
    }
    let _ = rustix::process::setsid();
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = writeln!(control, "F {error}");
            return 2;
        }
    };
    drop_stdio();
    let _ = writeln!(control, "P {}", child.id());
    let Some(agent) = Pid::from_raw(child.id().cast_signed()) else { return 2 };
    let status = watch(agent, &mut control);
    let _ = match status.and_then(|status| status.code()) {
        Some(code) => writeln!(control, "X {code}"),
        None => writeln!(control, "S {}", status.and_then(|status| status.signal()).unwrap_or(9)),
    };
    if !end_descendants(Some(GRACE)) {
        end_descendants(None);
    }
    0
}

#[expect(unsafe_code, reason = "taking over a descriptor by number has no safe form")]
fn control_socket() -> Option<UnixStream> {
    // Only decklog starts a reaper, with the socket at this number; anybody else has nothing there.
    let is_socket = std::fs::read_link(format!("/proc/self/fd/{CONTROL_FD}"))
        .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
    if !is_socket {
        return None;
    }
    // SAFETY: the descriptor is open (just seen), and nothing else in this process owns it: this runs first.
    let fd = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(UnixStream::from(fd))
}

/// Lets go of the agent's stdio, so that its end is seen.
fn drop_stdio() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Waits for the agent to end, passing on what decklog asks. `None`: it was killed because decklog is gone.
fn watch(agent: Pid, control: &mut UnixStream) -> Option<ExitStatus> {
    let exited = rustix::process::pidfd_open(agent, PidfdFlags::empty()).ok();
    loop {
        if let Some(status) = reap(agent) {
            return Some(status);
        }
        let mut fds = vec![PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN)];
        if let Some(exited) = &exited {
            fds.push(PollFd::new(exited, PollFlags::IN));
        }
        // Orphans that ended are collected once a second, and when the agent ends.
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        let asked = !fds[0].revents().is_empty();
        if !asked {
            continue;
        }
        let mut byte = [0];
        match control.read(&mut byte) {
            Ok(1) => match byte[0] {
                request::INTERRUPT => signal_group(Signal::INT),
                request::TERMINATE => signal_group(Signal::TERM),
                request::KILL => {
                    end_descendants_but(agent);
                    let _ = rustix::process::kill_process(agent, Signal::KILL);
                }
                _ => {}
            },
            Ok(_) => {
                let _ = rustix::process::kill_process(agent, Signal::KILL);
                end_descendants(None);
                return None;
            }
            Err(_) => {}
        }
    }
}

fn signal_group(signal: Signal) {
    let _ = rustix::process::kill_process_group(rustix::process::getpid(), signal);
}

/// Collects what has ended; the agent's status if it is among it.
fn reap(agent: Pid) -> Option<ExitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == agent {
            found = Some(exit_status(status));
        }
    }
    found
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.as_raw())
}

/// Ends every process below this one: politely first if there is a grace, and waits until none is left.
/// Says whether all are gone.
fn end_descendants(grace: Option<Duration>) -> bool {
    let start = Instant::now();
    let mut asked = false;
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        match grace {
            Some(_) if !asked => {
                asked = true;
                signal_all(Signal::TERM, None);
            }
            Some(grace) if start.elapsed() > grace => return false,
            Some(_) => {}
            // A process of somebody else's, such as one that sudo started, is not ours to kill.
            None if start.elapsed() > INSISTENCE => return false,
            // Again each round: a process may have been started between looking and killing.
            None => signal_all(Signal::KILL, None),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends what a killed reaper left to this process: all below it but living reapers, and what these lead.
pub(super) fn end_orphans() {
    let start = Instant::now();
    let is_reaper = |pid: Pid| {
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        command.split(|byte| *byte == 0).next() == Some(REAPER_NAME.as_bytes())
    };
    loop {
        let orphans = below(rustix::process::getpid(), is_reaper);
        if orphans.is_empty() || start.elapsed() > INSISTENCE {
            break;
        }
        for pid in orphans {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn end_descendants_but(agent: Pid) {
    signal_all(Signal::KILL, Some(agent));
}

fn signal_all(signal: Signal, but: Option<Pid>) {
    for pid in descendants(rustix::process::getpid()) {
        if Some(pid) != but {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Every process below `root`.
fn descendants(root: Pid) -> Vec<Pid> {
    below(root, |_| false)
}

/// Every process below `root`, by parent links in `/proc`, but those that `but` takes and what is below them.
fn below(root: Pid, but: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(i32, i32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything; what follows the last one is well-formed.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z").then_some((pid, parent))
        })
        .collect();
    let mut below = vec![root.as_raw_nonzero().get()];
    let mut at = 0;
    while let Some(parent) = below.get(at).copied() {
        below.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid)
                .filter(|pid| !Pid::from_raw(*pid).is_some_and(&but)),
        );
        at += 1;
    }
    below.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}
