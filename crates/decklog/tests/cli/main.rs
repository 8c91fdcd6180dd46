//! The program from outside: real processes, real git, real agents, whole output.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agents;
mod blaming;
mod boxing;
mod builtin;
mod chatting;
mod env;
mod exporting;
mod faults;
mod filters;
mod foreign;
mod hangup;
mod import;
mod looping;
mod page;
mod picking;
mod pty;
mod racing;
mod reading;
mod recipes;
mod recording;
mod relaying;
mod removing;
mod restoring;
mod screen;
mod search;
mod shelling;
mod showing;
mod web;
