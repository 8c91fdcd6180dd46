//! How turns make a session: one file for each kind of session.

mod restore;
mod run;

pub use restore::{RestoreError, RestorePlan, RestoreResult, restore};
pub use run::{CheckResult, RunError, RunPlan, RunResult, run};
