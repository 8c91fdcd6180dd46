//! How turns make a session: one file for each kind of session.

mod chat;
mod lenient;
mod loops;
mod mcp;
mod party;
mod race;
mod recording;
mod relay;
mod restore;
mod run;
mod shell;
mod text;

pub use chat::{ChatPlan, ChatResult, Spoken, chat, resume_chat};
pub use loops::{IterationResult, LoopPlan, LoopResult, ResumeError, resume_loop, run_loop};
pub use mcp::{McpPlan, McpResult, mcp};
pub use party::{Party, labels};
pub use race::{Pick, RaceError, RacePlan, RaceResult, Racer, Sweeping, Swept, race, sweep};
pub use recording::{CheckResult, RunError, Setup};
pub use relay::{Candidate, HandedOff, Limited, Packet, Relay, UNTOLD, hand_off, resume};
pub use restore::{IncompleteRestore, RestoreError, RestorePlan, RestoreResult, last_agents_turn, restore};
pub use run::{RunPlan, RunResult, run};
pub use shell::{Finished, Reply, Shell, UndoError, Undone};
