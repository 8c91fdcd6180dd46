//! Asking the record: each question is a plain request with a plain answer.
//!
//! Listing and loading are `decklog-journal`'s; here is what needs more than one session file, or the snapshots.
//! Must not know: `decklog-run`, the terminal. Nothing here prints, and nothing writes into a session.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod blame;
pub mod charts;
pub mod diff;
pub mod excerpt;
pub mod export;
pub mod filters;
pub mod follow;
pub mod index;
pub mod logs;
pub mod made;
pub mod network;
pub mod query;
pub mod restore;
pub mod scan;
pub mod search;
pub mod show;
pub mod stats;
pub mod text;
pub mod words;
