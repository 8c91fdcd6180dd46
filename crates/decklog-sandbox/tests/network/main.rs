//! The network of a container, with real namespaces, real rules and real programs.
//!
//! Each test has a small world of its own: a box, the host that decklog runs on, and an internet. They need root, `nft`
//! and `ip`, and fail where these are missing.

mod attacks;
mod names;
mod reach;
mod recording;
mod server;
mod servers;
mod setup;
mod world;
