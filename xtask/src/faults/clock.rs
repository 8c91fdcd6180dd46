//! The clock that a program sees, set while it runs: by libfaketime, from a file.
//!
//! Must not know: scenes, verdicts.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::World;
use crate::Result;

/// Where Debian's package `libfaketime` has the library for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The library, if it is installed.
fn library() -> Option<std::path::PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    places.iter().map(|place| Path::new(place).join(LIBRARY)).find(|path| path.exists())
}

pub(crate) fn is_there() -> bool {
    library().is_some()
}

/// Lets a program see the time that [`set`] sets.
pub(crate) fn prepare(world: &World, command: &mut Command) -> Result<()> {
    let file = world.path("home/clock");
    fs::write(&file, "+0\n")?;
    command
        .env("LD_PRELOAD", library().ok_or("libfaketime is not installed")?)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    Ok(())
}

/// Sets the clock so many seconds forward or back.
pub(crate) fn set(world: &World, seconds: i64) -> Result<()> {
    // Replaced whole: a program that reads meanwhile sees the one or the other.
    let next = world.path("home/clock.next");
    fs::write(&next, format!("{seconds:+}\n"))?;
    Ok(fs::rename(next, world.path("home/clock"))?)
}
