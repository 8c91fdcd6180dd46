//! One trial: a scene, a fault, a number. Its name is enough to repeat it.
//!
//! Must not know: what a verdict is made of.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::inject::{self, Injected, Point};
use super::judge::journals;
use super::scenes::{Scene, fill};
use super::world::{Ran, World};
use super::{clock, disk, git, mcp};
use crate::Result;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: what the other trials are compared with.
    None,
    /// A signal at a random moment, to the recorder or to its process group.
    Signal { signal: Signal, group: bool, seed: u64 },
    /// The recorder is killed in a system call.
    KillAt(Point),
    /// A system call of decklog's own fails.
    Call(Point),
    /// The n-th call of git goes wrong.
    Git(git::Failure),
    /// A file system is full.
    Disk(disk::Full),
    /// The clock is set while the program runs.
    Clock { seconds: i64, seed: u64 },
    /// Another call on the same session at the same time.
    Pair { other: usize, seed: u64 },
}

/// A scene and what goes wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) scene: &'static Scene,
    pub(crate) fault: Fault,
}

/// What a trial's program did.
pub(crate) struct Tried {
    pub(crate) ran: Ran,
    pub(crate) killed: bool,
    pub(crate) muted: bool,
    /// The fault did not come about: the program ended earlier, or never made the call.
    pub(crate) missed: bool,
    /// The call that failed: its number differs a little from run to run.
    pub(crate) failed_call: String,
    pub(crate) seen: BTreeMap<String, Vec<u8>>,
    /// The other call, where there are two.
    pub(crate) other: Option<Ran>,
}

const SIGNALS: [(&str, Signal, bool); 5] = [
    ("kill", Signal::SIGKILL, false),
    ("kill-group", Signal::SIGKILL, true),
    ("term", Signal::SIGTERM, false),
    ("int", Signal::SIGINT, true),
    ("hup", Signal::SIGHUP, false),
];

impl Fault {
    /// The name of its kind, and what tells it from others of the kind.
    pub(crate) fn name(&self) -> (&'static str, String) {
        match self {
            Self::None => ("none", "0".into()),
            Self::Signal { signal, group, seed } => {
                let named = SIGNALS.iter().find(|(_, known, all)| known == signal && all == group);
                (named.map_or("kill", |(name, ..)| *name), seed.to_string())
            }
            Self::KillAt(point) => ("kill-at", point.to_string()),
            Self::Call(point) => ("call", point.to_string()),
            Self::Git(failure) => ("git", failure.to_string()),
            Self::Disk(full) => ("disk", full.to_string()),
            Self::Clock { seconds, seed } => ("clock", format!("{seconds}:{seed}")),
            Self::Pair { other, seed } => ("pair", format!("{other}:{seed}")),
        }
    }

    pub(crate) fn parse(kind: &str, rest: &str) -> Option<Self> {
        if let Some((_, signal, group)) = SIGNALS.iter().find(|(name, ..)| *name == kind) {
            return Some(Self::Signal { signal: *signal, group: *group, seed: rest.parse().ok()? });
        }
        let pair = || rest.split_once(':');
        Some(match kind {
            "none" => Self::None,
            "kill-at" => Self::KillAt(Point::parse(rest)?),
            "call" => Self::Call(Point::parse(rest)?),
            "git" => Self::Git(git::Failure::parse(rest)?),
            "disk" => Self::Disk(disk::Full::parse(rest)?),
            "clock" => Self::Clock { seconds: pair()?.0.parse().ok()?, seed: pair()?.1.parse().ok()? },
            "pair" => Self::Pair { other: pair()?.0.parse().ok()?, seed: pair()?.1.parse().ok()? },
            _ => return None,
        })
    }

    /// A number that stands for this fault alone.
    pub(crate) fn number(&self) -> u64 {
        let (kind, rest) = self.name();
        // FNV-1a.
        kind.bytes()
            .chain(rest.bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// A signal fault of the kind that `number` chooses: mostly kills.
    pub(crate) fn signal(number: u64, seed: u64) -> Self {
        let (_, signal, group) = SIGNALS[[0, 0, 1, 0, 2, 0, 1, 3, 0, 4][(number % 10) as usize]];
        Self::Signal { signal, group, seed }
    }

    pub(crate) fn is_kill(&self) -> bool {
        matches!(self, Self::KillAt(_) | Self::Signal { signal: Signal::SIGKILL, .. })
    }
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, rest) = self.fault.name();
        write!(f, "{}/{kind}/{rest}", self.scene.name)
    }
}

impl Trial {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, '/');
        let name = words.next()?;
        let scene = super::scenes::SCENES.iter().find(|scene| scene.name == name)?;
        Some(Self { scene, fault: Fault::parse(words.next()?, words.next()?)? })
    }

    /// Runs the scene in a world that was put back, with the fault; `time` is how long it takes without one.
    pub(crate) fn run(&self, world: &World, time: Duration) -> Result<Tried> {
        let mut random = fastrand::Rng::with_seed(self.fault.number());
        let mut command = match &self.fault {
            Fault::Call(point) | Fault::KillAt(point) => inject::failing(world, point),
            _ => world.command(&world.program),
        };
        self.complete(&mut command, world)?;
        let mut tried = Tried {
            ran: Ran::default(),
            killed: false,
            muted: false,
            missed: false,
            failed_call: String::new(),
            seen: BTreeMap::new(),
            other: None,
        };
        match &self.fault {
            Fault::Git(failure) => git::install(world, failure, &mut command)?,
            Fault::Disk(full) => full.apply(world, &mut command)?,
            Fault::Clock { .. } => clock::prepare(world, &mut command)?,
            _ => {}
        }
        command.process_group(0);
        let client = (self.scene.verb == "mcp").then(|| mcp::client(world, &mut command)).transpose()?;
        let mut child = world.start(&mut command, "trial")?;
        let moment = time.mul_f64(random.f64() * 1.1);
        match &self.fault {
            Fault::Signal { signal, group, .. } => {
                std::thread::sleep(moment);
                tried.seen = journals(world);
                tried.missed = child.try_wait()?.is_some();
                tried.killed = send(&child, *signal, *group);
            }
            Fault::Clock { seconds, .. } => {
                std::thread::sleep(moment);
                clock::set(world, *seconds)?;
            }
            Fault::Pair { other, .. } => {
                std::thread::sleep(moment);
                tried.other = super::pairs::other(world, *other)?;
            }
            _ => {}
        }
        tried.ran = world.wait(child, "trial")?;
        if let Some(mut client) = client {
            let _ = client.kill();
            client.wait()?;
        }
        match &self.fault {
            Fault::Call(_) => match inject::injected(world) {
                Injected::No => tried.missed = true,
                Injected::Muted => tried.muted = true,
                Injected::Yes(call) => tried.failed_call = call,
            },
            Fault::KillAt(_) => {
                tried.killed = tried.ran.signal.is_some();
                tried.missed = !tried.killed;
            }
            Fault::Git(_) => tried.missed = !git::failed(world),
            _ => {}
        }
        Ok(tried)
    }

    /// Gives a command the scene's arguments and stdin.
    pub(crate) fn complete(&self, command: &mut Command, world: &World) -> Result<()> {
        command.args(fill(self.scene.arguments, world));
        if !self.scene.stdin.is_empty() {
            command.stdin(std::fs::File::open(world.path("home/stdin"))?);
        }
        Ok(())
    }
}

/// Sends a signal to a program that may have ended. Whether it may have met it.
fn send(child: &Child, signal: Signal, group: bool) -> bool {
    let Ok(pid) = i32::try_from(child.id()) else { return false };
    kill(Pid::from_raw(if group { -pid } else { pid }), signal).is_ok()
}
