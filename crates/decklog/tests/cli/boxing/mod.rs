//! Containers: images, their servers as one, what agents do with them, and where they connect.

mod building;
mod clients;
mod confining;
mod http;
mod inside;
mod misbehaving;
mod networking;
mod ordinary;
mod rootless;
mod serving;
mod sessions;
pub(crate) mod world;
