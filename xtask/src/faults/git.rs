//! A git that goes wrong at its n-th call: a script in front of the real one.
//!
//! Must not know: scenes, verdicts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::world::World;
use crate::Result;

/// Which call of git goes wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) call: u32,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It exits with 128 and a message, having done nothing.
    Fails,
    /// A signal ends it before it does anything.
    Dies,
    /// It does its work, and then fails.
    FailsLate,
    /// Its own writes fail for want of room.
    NoRoom,
    /// It is not there.
    Absent,
}

const HOWS: [(&str, How); 5] = [
    ("fails", How::Fails),
    ("dies", How::Dies),
    ("fails-late", How::FailsLate),
    ("no-room", How::NoRoom),
    ("absent", How::Absent),
];

impl Failure {
    /// Every failure of the first `calls` calls.
    pub(crate) fn all(calls: u32) -> Vec<Self> {
        (1..=calls).flat_map(|call| HOWS.map(|(_, how)| Self { call, how })).collect()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (how, call) = text.split_once(':')?;
        let how = HOWS.iter().find(|(name, _)| *name == how)?.1;
        Some(Self { call: call.parse().ok()?, how })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = HOWS.iter().find(|(_, how)| *how == self.how).map_or("", |(name, _)| *name);
        write!(f, "{how}:{}", self.call)
    }
}

/// Puts the script into the `PATH` of a command.
pub(crate) fn install(world: &World, failure: &Failure, command: &mut Command) -> Result<()> {
    let dir = world.path("home/bin");
    fs::create_dir_all(&dir)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|file| file.is_file());
    let real = real.ok_or("git is not installed")?;
    let act = match failure.how {
        How::Fails => "echo 'fatal: injected' >&2; exit 128".to_owned(),
        How::Dies => "kill -9 $$".to_owned(),
        How::FailsLate => format!("'{}' \"$@\"; exit 128", real.display()),
        How::NoRoom => format!(
            "exec strace -f -qq -o /dev/null -e trace=write -e inject=write:error=ENOSPC:when=1+ '{}' \"$@\"",
            real.display()
        ),
        How::Absent => "exit 127".to_owned(),
    };
    let (count, failed) = (count_file(world), failed_file(world));
    let script = format!(
        "#!/bin/sh\necho x >>'{}'\nif [ \"$(wc -l <'{}')\" = {} ]; then echo x >'{}'; {act}; fi\nexec '{}' \"$@\"\n",
        count.display(),
        count.display(),
        failure.call,
        failed.display(),
        real.display()
    );
    let file = dir.join("git");
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let dirs = std::iter::once(dir).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(dirs)?);
    Ok(())
}

/// Whether the call that fails came about.
pub(crate) fn failed(world: &World) -> bool {
    failed_file(world).exists()
}

/// How often git was called.
pub(crate) fn calls(world: &World) -> u32 {
    let lines = fs::read_to_string(count_file(world)).unwrap_or_default().lines().count();
    u32::try_from(lines).unwrap_or(u32::MAX)
}

fn count_file(world: &World) -> PathBuf {
    world.path("home/git.count")
}

fn failed_file(world: &World) -> PathBuf {
    world.path("home/git.failed")
}
