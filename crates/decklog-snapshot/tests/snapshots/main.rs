//! Snapshots of real working trees with the real `git`.
//!
//! Every test runs in a process of its own with a home directory of its own, whose git
//! configuration is as unhelpful as can be: see `sandbox`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod configuration;
mod files;
mod kinds;
mod limits;
mod linked;
mod merging;
mod places;
mod random;
mod reading;
mod refusals;
mod removing;
mod restoring;
mod sandbox;
mod secrets;
mod submodules;
mod turns;
mod untouched;
