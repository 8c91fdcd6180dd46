//! What runs in a container besides what keeps it alive, and how it is ended.
//!
//! A program that podman was asked to run in a container lives on when that podman is ended. It is found by its PID
//! namespace, from outside. Must not know: podman.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long processes get to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel gets to end them.
const KILLED: Duration = Duration::from_secs(2);
/// New ones may come while others are ended: a fork bomb is left to the container's own end.
const ROUNDS: usize = 20;

/// Ends all processes of the container whose first process is `init`, but for that one and the child that keeps the container
/// alive. False: something may still run.
pub(crate) fn end_others(init: u32) -> bool {
    let Some(space) = space_of(init) else { return true };
    if space_of(std::process::id()).is_none_or(|own| own == space) {
        // That is no container.
        return false;
    }
    for round in 0..ROUNDS {
        let others: Vec<OwnedFd> = others(init, &space);
        if others.is_empty() {
            return true;
        }
        let (signal, patience) = if round == 0 { (Signal::TERM, GRACE) } else { (Signal::KILL, KILLED) };
        for process in &others {
            // One that has just ended needs no signal.
            let _ = pidfd_send_signal(process, signal);
        }
        wait(&others, patience);
    }
    false
}

/// The processes, held so that their numbers cannot come to mean others.
fn others(init: u32, space: &Path) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // The oldest child of the first process is what the container was started with.
    let mut keeper: Option<(u64, u32)> = None;
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if pid == init || space_of(pid).as_deref() != Some(space) {
            continue;
        }
        let Some((state, parent, started)) = stat(pid) else { continue };
        if parent == init && keeper.is_none_or(|(oldest, _)| started < oldest) {
            keeper = Some((started, pid));
        }
        if state != 'Z' {
            found.push(pid);
        }
    }
    let held = found.into_iter().filter(|pid| keeper.is_none_or(|(_, keeper)| keeper != *pid)).filter_map(|pid| {
        let held = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Looked at again, now that it cannot be another one.
        (space_of(pid).as_deref() == Some(space)).then_some(held)
    });
    held.collect()
}

fn space_of(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// State, parent, and when it began, from `/proc/PID/stat` (proc(5)); the name before them may hold anything.
fn stat(pid: u32) -> Option<(char, u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // The 22nd field; what follows the name begins with the third.
    let started = fields.nth(17)?.parse().ok()?;
    Some((state, parent, started))
}

/// Waits until all have ended, but not longer than `patience`.
fn wait(processes: &[OwnedFd], patience: Duration) {
    let end = Instant::now() + patience;
    for process in processes {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // One that cannot be waited for is looked for again.
        let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
    }
}
