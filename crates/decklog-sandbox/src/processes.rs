//! What runs in a container besides what keeps it alive, and how it is ended.
//!
//! A program that podman was asked to run in a container lives on when that podman is ended. It is found by its PID
//! namespace, from outside. The namespace and the first process are held open from the container's beginning: neither's
//! number can come to mean another one. Must not know: podman.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long processes get to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel gets to end them.
const KILLED: Duration = Duration::from_secs(2);
/// New ones may come while others are ended: a fork bomb is left to the container's own end.
const ROUNDS: usize = 20;

/// What may still run in a container that was to be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing but what keeps the container alive.
    Nothing,
    /// Something, perhaps.
    Something,
    /// The container has ended.
    Ended,
}

/// A container's processes.
#[derive(Debug)]
pub(crate) struct Space {
    /// Its first process.
    init: u32,
    first: OwnedFd,
    /// Its PID namespace, and what that is known by while it is held.
    _held: File,
    known_by: (u64, u64),
}

/// A process as `/proc` tells of it.
struct Seen {
    parent: u32,
    started: u64,
    in_space: bool,
    is_over: bool,
}

impl Space {
    /// The one whose first process is `init`, which must be there and stay while this is asked.
    ///
    /// # Errors
    /// When it is not the first process of a PID namespace other than this process's.
    pub(crate) fn of(init: u32) -> io::Result<Self> {
        let pid = i32::try_from(init).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let first = pidfd_open(pid, PidfdFlags::empty())?;
        let held = File::open(format!("/proc/{init}/ns/pid"))?;
        let meta = held.metadata()?;
        let known_by = (meta.dev(), meta.ino());
        let status = fs::read_to_string(format!("/proc/{init}/status"))?;
        // The number within is the last: proc(5).
        let number = status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last());
        if number != Some("1") || known(std::process::id()).is_none_or(|own| own == known_by) {
            return Err(io::Error::other(format!("the process {init} is not the first of a container")));
        }
        Ok(Self { init, first, _held: held, known_by })
    }

    /// Ends all processes but the first and the child of it that keeps the container alive.
    pub(crate) fn end_others(&self) -> Left {
        for round in 0..ROUNDS {
            if ended(&self.first, Duration::ZERO) {
                return Left::Ended;
            }
            let Ok(others) = self.others() else { return Left::Something };
            if others.is_empty() {
                return Left::Nothing;
            }
            let (signal, patience) = if round == 0 { (Signal::TERM, GRACE) } else { (Signal::KILL, KILLED) };
            for process in &others {
                // One that has just ended needs no signal; what cannot be signalled is there in the next round.
                let _ = pidfd_send_signal(process, signal);
            }
            let end = Instant::now() + patience;
            for process in &others {
                ended(process, end.saturating_duration_since(Instant::now()));
            }
        }
        Left::Something
    }

    /// The processes, held so that their numbers cannot come to mean others. Those in namespaces within, too.
    fn others(&self) -> io::Result<Vec<OwnedFd>> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if let Some(seen) = self.look(pid) {
                all.insert(pid, seen);
            }
        }
        // The oldest child of the first process is what the container was started with.
        let children = all.iter().filter(|(_, seen)| seen.in_space && seen.parent == self.init);
        let Some((&keeper, _)) = children.min_by_key(|(_, seen)| seen.started) else {
            return Err(io::Error::other("nothing keeps the container alive"));
        };
        let mut held = Vec::new();
        for (&pid, seen) in &all {
            let stays = pid == self.init || pid == keeper || seen.is_over;
            if stays || !(seen.in_space || descends(pid, &all)) {
                continue;
            }
            let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            match pidfd_open(raw, PidfdFlags::empty()) {
                // Looked at again, now that it cannot be another one.
                Ok(process) if self.look(pid).is_some_and(|now| now.started == seen.started) => held.push(process),
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(held)
    }

    fn look(&self, pid: u32) -> Option<Seen> {
        let (parent, started, is_over) = stat(pid)?;
        Some(Seen { parent, started, in_space: known(pid) == Some(self.known_by), is_over })
    }
}

/// Whether a process comes from one that is in the container.
fn descends(pid: u32, all: &HashMap<u32, Seen>) -> bool {
    let mut at = pid;
    // No chain of parents is longer than there are processes.
    for _ in 0..all.len() {
        let Some(seen) = all.get(&at) else { return false };
        if seen.in_space {
            return true;
        }
        at = seen.parent;
    }
    false
}

fn known(pid: u32) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Parent, when it began, and whether it has ended, from `/proc/PID/stat` (proc(5)); the name before them may hold anything.
fn stat(pid: u32) -> Option<(u32, u64, bool)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What follows the name begins with the third field, the state.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    // One whose first thread is over may have others.
    let is_over = field(3)? == "Z" && field(20)?.parse::<u32>().ok()? <= 1;
    Some((field(4)?.parse().ok()?, field(22)?.parse().ok()?, is_over))
}

/// Whether a process has ended, or does within `patience`.
fn ended(process: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_has_a_space() {
        // This process, and one that is in its namespace.
        assert!(Space::of(std::process::id()).is_err());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        assert!(Space::of(child.id()).is_err());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(Space::of(u32::MAX).is_err() && Space::of(0).is_err());
    }
}
