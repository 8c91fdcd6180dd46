//! One file per verb: its arguments and what it does.

pub(crate) mod agents;
pub(crate) mod archive;
pub(crate) mod blame;
pub(crate) mod chat;
pub(crate) mod clean;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod discard;
pub(crate) mod export;
pub(crate) mod handoff;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod looping;
pub(crate) mod ls;
mod otlp_client;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod trust;
pub(crate) mod verify;
pub(crate) mod watch;
