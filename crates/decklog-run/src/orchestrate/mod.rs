//! How turns make a session: one file for each kind of session.

mod loops;
mod recording;
mod relay;
mod restore;
mod run;
mod text;

pub use loops::{IterationResult, LoopPlan, LoopResult, Party, ResumeError, resume_loop, run_loop};
pub use recording::{CheckResult, RunError, Setup};
pub use relay::{HandedOff, Packet, hand_off, resume};
pub use restore::{RestoreError, RestorePlan, RestoreResult, restore};
pub use run::{Limited, RunPlan, RunResult, run};
