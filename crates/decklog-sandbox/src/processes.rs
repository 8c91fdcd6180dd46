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
        let Some((&keeper, _)) = children.min_by_key(|(pid, seen)| (seen.started, **pid)) else {
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

    /// The number, seen from here, of the process with these words in its command.
    fn find(words: &str) -> Option<u32> {
        let all = fs::read_dir("/proc").expect("processes");
        let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.into_iter().find(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).replace('\0', " ").trim_end() == words
        })
    }

    fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "{what} did not come");
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_but_the_keeper_is_ended_and_nothing_outside() {
        // Like a container: a first process, the child that keeps it alive, and others, one deaf, one in a namespace within.
        let keeper = "sleep 86401.5";
        let others = ["sleep 86402.5", "sleep 86403.5", "sleep 86404.5"];
        let script = format!(
            "{keeper} & {} & (trap '' TERM; {} & wait; wait) & \
             unshare --user --pid --fork sh -c '{} & wait' & wait",
            others[0], others[1], others[2],
        );
        let mut container = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
            .spawn()
            .expect("unshare");
        let mut outside = std::process::Command::new("sleep").arg("86405.5").spawn().expect("sleep");
        let pids: Vec<u32> = others.iter().map(|words| eventually(words, || find(words))).collect();
        let keeper = eventually("the keeper", || find(keeper));
        let (init, ..) = stat(keeper).expect("it runs");
        let space = Space::of(init).expect("a namespace of its own");
        assert_eq!(space.end_others(), Left::Nothing);
        for (words, pid) in others.iter().zip(pids) {
            assert!(stat(pid).is_none_or(|(.., is_over)| is_over), "{words} goes on");
        }
        assert!(stat(keeper).is_some_and(|(.., is_over)| !is_over));
        assert!(outside.try_wait().expect("it is ours").is_none(), "what is outside was ended");
        // The first process knows of no more to wait for than its keeper; it ends with it.
        pidfd_send_signal(
            pidfd_open(Pid::from_raw(keeper.cast_signed()).expect("a pid"), PidfdFlags::empty()).expect("it runs"),
            Signal::KILL,
        )
        .expect("it is ours");
        container.wait().expect("it is ours");
        assert_eq!(space.end_others(), Left::Ended);
        outside.kill().expect("it is ours");
        outside.wait().expect("it is ours");
    }
}
