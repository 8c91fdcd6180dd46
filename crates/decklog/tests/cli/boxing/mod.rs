//! Containers: images, their servers as one, what agents do with them, and where they connect.

mod clients;
mod http;
mod misbehaving;
mod networking;
mod ordinary;
mod rootless;
mod serving;
pub(crate) mod world;
