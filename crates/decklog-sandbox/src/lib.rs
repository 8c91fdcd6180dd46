//! The box: images, containers, the MCP servers in them as one, and every connection out of them.
//!
//! Must not know: agents, sessions' directories, the terminal, configuration files.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod container;
pub mod gateway;
pub mod image;
pub mod network;
pub mod podman;
mod processes;
mod seccomp;
