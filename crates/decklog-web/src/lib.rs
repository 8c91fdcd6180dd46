//! The record as pages: `decklog ui`'s server with its API and its page, and the one page that stands for itself.
//!
//! Everything that is shown was written by agents, repositories and peers: it becomes HTML in [`html`] alone, which makes
//! no tag of it, and each answer forbids the browser whatever else could act.
//! Must not know: the terminal, the environment, how sessions are recorded.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod ansi;
mod api;
mod assets;
mod cards;
mod changes;
mod connections;
mod facets;
mod feed;
mod guard;
pub mod html;
mod live;
mod outline;
pub mod page;
mod server;
pub mod site;
mod stories;
mod story;
mod stream;
mod views;

pub use ansi::ansi;
pub use server::{Links, ServeError, Server, Setup};
