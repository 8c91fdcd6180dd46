//! Sessions as pages for a browser.
//!
//! Everything shown may come from an agent and is hostile: nothing of it becomes a tag or an attribute of its own making.
//! Must not know: the terminal, `decklog-run`, the environment. Nothing here prints, and nothing writes into a session.

pub mod html;
pub mod page;
