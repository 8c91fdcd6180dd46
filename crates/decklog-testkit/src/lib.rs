//! Support for tests: a scripted model server, and the real agents wired to it.
//!
//! [`ModelServer`] answers the model protocols that the supported agents speak, from a script, on
//! loopback. [`agents`] installs the real agent programs at locked versions outside the checkout,
//! and prepares a home directory in which each of them talks to that server and to nothing else.
//!
//! [`atif`] is the reference validator of a format that sessions are exported in, [`page`] what builds decklog's page and looks
//! at it in a browser.
//!
//! The crate knows the agents' and the models' wires. It must not know decklog's own crates: what
//! is tested with it must not be able to agree with it by sharing code.

pub mod agents;
pub mod atif;
pub mod boxes;
mod npm;
pub mod page;
mod server;
pub mod usage;

pub use server::{ModelServer, Request, Step};
