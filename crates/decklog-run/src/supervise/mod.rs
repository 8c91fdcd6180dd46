//! Running a program so that it, and all it starts, can be watched, asked to stop, and ended, and so that
//! nothing of it outlives decklog.
//!
//! ```text
//! decklog ──control socket── reaper ── agent ── whatever the agent starts
//!    └────────── stdin, stdout, stderr ───┘
//! ```
//!
//! The *reaper* is this same program started anew. It leads a session of its own and adopts orphans, so
//! every process the agent starts stays below it, however it detaches. When the control socket closes,
//! because decklog ended, even by SIGKILL, it ends all of them.
//!
//! Must not know: agents, journals.

mod drive;
mod process;
mod reaper;
mod signals;

pub use drive::{Ended, Handler, Io, Limits, StopCause, drive};
pub use process::{CommandSpec, Exit, INHERITED_FD, SpawnError, Supervised};
pub use reaper::{REAPER_ARGUMENT, reaper_main};
pub use signals::{CaughtSignals, Raise, Received, Signals, stop_signals};
