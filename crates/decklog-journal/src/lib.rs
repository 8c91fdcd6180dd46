//! The record of a session on disk: written so that a crash loses nothing that was accepted, read so that
//! damage hides nothing else.
//!
//! A *session* is a directory. Its *journal* (`journal.jsonl`) is the truth: one event per line, appended and
//! never changed, each line vouched for by a chained checksum ([`wire`]). Its *head* (`session.json`) is the
//! journal's summary ([`head`]). *Artifacts* are files beside them that events name ([`artifacts`]).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use decklog_journal::{SessionFilter, SessionStore};
//! # let root = tempfile::tempdir()?;
//! # let root = root.path();
//!
//! let store = SessionStore::open(root);
//! for listed in store.list(&SessionFilter::default())?.sessions {
//!     let session = store.load(&listed.head.id)?;
//!     println!("{} {} {} turns", session.head.id, listed.status, session.turns.len());
//!     for turn in &session.turns {
//!         println!("  {}: {} files changed", turn.agent, turn.files_changed);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The events themselves, one by one:
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use decklog_journal::read::{Item, JournalReader};
//!
//! for item in JournalReader::open("journal.jsonl".as_ref())? {
//!     match item? {
//!         Item::Event(event) => println!("{} {} {}", event.seq, event.timestamp, event.body.kind()),
//!         Item::Fault(fault) => eprintln!("{fault}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Must not know: the network, the terminal, the home directory, the environment. Nothing here is
//! asynchronous, and nothing prints.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod append;
pub mod artifacts;
mod beside;
pub mod bulk;
pub mod event;
pub mod expand;
pub mod files;
pub mod filter;
mod fit;
pub mod format;
pub mod head;
pub mod id;
mod intact;
pub mod lock;
mod named;
pub mod parallel;
pub mod portable;
pub mod read;
pub mod readable;
pub mod redact;
pub mod remove;
pub mod retention;
pub mod row;
pub mod session;
pub mod state;
pub mod store;
pub mod time;
pub mod usage;
pub mod verify;
pub mod wire;
pub mod withheld;
pub mod words;
pub mod writer;

pub use append::Durability;
pub use event::{Event, EventBody};
pub use filter::SessionFilter;
pub use head::Head;
pub use id::{Selector, SessionId};
pub use row::Row;
pub use session::Session;
pub use store::{Listed, Listing, SessionStore};
pub use writer::{SessionWriter, WriteError, WriterOptions};
