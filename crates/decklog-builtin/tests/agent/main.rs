//! The built-in agent from outside: the agent as a process, a scripted model server in both styles, a real MCP server.

mod troubles;
mod turns;
mod world;
