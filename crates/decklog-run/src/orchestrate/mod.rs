//! How turns make a session: one file for each kind of session.

mod run;

pub use run::{CheckResult, RunError, RunPlan, RunResult, run};
