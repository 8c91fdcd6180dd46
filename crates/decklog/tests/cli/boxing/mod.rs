//! Containers: images, their servers as one, what agents do with them, and where they connect.

mod http;
mod inside;
mod misbehaving;
mod networking;
mod serving;
pub(crate) mod world;
