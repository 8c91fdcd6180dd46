//! File systems that are full, and a temporary directory that is not there.
//!
//! Must not know: scenes, verdicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::world::{World, copy};
use crate::Result;

/// A file system with so much room beside what is already on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    /// `data`, `tmp`, `work` or `state`: a directory of the world. `none`: `TMPDIR` names nothing.
    pub(crate) place: String,
    pub(crate) kilobytes: u64,
}

const SIZES: [u64; 9] = [0, 4, 16, 32, 64, 96, 160, 256, 512];

impl Full {
    pub(crate) fn all() -> Vec<Self> {
        let places = ["data", "tmp", "work", "state"].map(str::to_owned);
        let full = |place: &String, kilobytes| Self { place: place.clone(), kilobytes };
        let mut all: Vec<Self> = places.iter().flat_map(|place| SIZES.map(|size| full(place, size))).collect();
        all.push(Self { place: "none".into(), kilobytes: 0 });
        all
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (place, kilobytes) = text.split_once(':')?;
        Some(Self { place: place.to_owned(), kilobytes: kilobytes.parse().ok()? })
    }

    /// Fills the file system; [`clear`] undoes it.
    pub(crate) fn apply(&self, world: &World, command: &mut Command) -> Result<()> {
        if self.place == "none" {
            command.env("TMPDIR", world.path("none"));
            return Ok(());
        }
        let (at, aside) = (world.path(&self.place), world.path("aside"));
        fs::rename(&at, &aside)?;
        fs::create_dir(&at)?;
        mount("size=64m", &at)?;
        for name in super::world::names(&aside) {
            copy(&aside.join(name), &at)?;
        }
        fs::remove_dir_all(&aside)?;
        let stat = nix::sys::statvfs::statvfs(&at)?;
        let used = (stat.blocks() - stat.blocks_free()) * stat.fragment_size();
        // A size of 0 is none at all.
        let size = (used + self.kilobytes * 1024).max(4096);
        mount(&format!("remount,size={size}"), &at)
    }

    /// Gives the file system room again.
    pub(crate) fn relieve(&self, world: &World) -> Result<()> {
        if self.place == "none" { Ok(()) } else { mount("remount,size=64m", &world.path(&self.place)) }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.place, self.kilobytes)
    }
}

pub(crate) fn mount(options: &str, at: &Path) -> Result<()> {
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("mount of a tmpfs at {}: {}", at.display(), String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Unmounts what [`Full::apply`] mounted.
pub(crate) fn clear(world: &World) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return };
    for place in ["data", "tmp", "work", "state"] {
        let at = world.path(place);
        if mounts.lines().any(|line| line.split(' ').nth(1).map(PathBuf::from).as_ref() == Some(&at)) {
            unmount(&at);
        }
    }
}

pub(crate) fn unmount(at: &Path) {
    // Lazily: a process that is about to end may still be there.
    let _ = Command::new("umount").arg("-l").arg(at).status();
}
