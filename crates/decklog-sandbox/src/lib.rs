//! The box: images, containers, the MCP servers in them as one, and every connection out of them.
//!
//! Must not know: agents, sessions' directories, the terminal, configuration files.

pub mod container;
pub mod gateway;
pub mod image;
pub mod network;
pub mod podman;
mod processes;
