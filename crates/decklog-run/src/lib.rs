//! Doing: starting agents, watching over them, and recording what they do.
//!
//! Must not know: `decklog-query` (the journal is the interface), the terminal, the home directory.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod agents;
mod check;
mod finish;
pub mod import;
pub mod launch;
mod log;
pub mod observe;
pub mod orchestrate;
mod record;
pub mod sandbox;
pub mod supervise;
mod trees;
mod turn;
