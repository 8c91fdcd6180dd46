//! The real agent programs, at locked versions, wired to a scripted model server.
//!
//! The versions stand in `crates/decklog/tests/agents/package-lock.json`. [`install`] puts them
//! into the user's cache, never into the checkout; [`installed`] finds them there; [`prepare`]
//! makes a home directory and an environment in which one of them reaches nothing but the server.

mod home;
mod install;

pub use home::prepare;
pub use install::{install, installed};
