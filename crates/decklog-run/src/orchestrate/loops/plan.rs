//! What is decided before a loop begins, and how it came out.

use std::path::PathBuf;
use std::time::Duration;

use decklog_journal::SessionId;
use decklog_journal::event::Tokens;
use decklog_journal::words::{Decision, Outcome};
use serde::Serialize;

use crate::orchestrate::party::Party;
use crate::orchestrate::recording::{RunError, Setup};
use crate::orchestrate::relay::{Limited, Relay};

/// Everything about a loop that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct LoopPlan {
    /// The task, whole.
    pub task: String,
    /// Who works.
    pub actor: Party,
    /// Who judges; absent: the checks.
    pub critic: Option<Party>,
    /// The most iterations.
    pub max_iterations: u32,
    /// Ends the loop once so many US dollars are spent.
    pub max_cost: Option<f64>,
    /// Ends the loop once it was at work for so long.
    pub max_time: Option<Duration>,
    /// Whether each iteration begins a new conversation of the actor's.
    pub fresh: bool,
    /// Who takes the place of one who is rate-limited.
    pub relay: Relay,
    /// Where and how.
    pub setup: Setup,
}

/// How a loop came out. Its `Serialize` is what `loop --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct LoopResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: PathBuf,
    /// How it came out; absent when it is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the program exits with.
    pub exit_code: i32,
    /// The outcome in words: the critic's, where it had any.
    pub summary: String,
    /// The critic's confidence, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Seconds from the session's start.
    pub duration_secs: f64,
    /// Each iteration that is over.
    pub iterations: Vec<IterationResult>,
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as agents told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Agents that met a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Limited>,
    /// When all are limited: who is back first, if anybody told when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_back: Option<Limited>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// One iteration.
#[derive(Debug, Clone, Serialize)]
pub struct IterationResult {
    /// From 1.
    pub iteration: u32,
    /// The decision that counted.
    pub decision: Decision,
    /// What is to be done next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<String>,
    /// Seconds it took.
    pub duration_secs: f64,
    /// Files it changed.
    pub files_changed: u64,
    /// Tokens used, of actor and critic.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as agents told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// Why a loop cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It is over for good.
    #[error("the loop is over: {0}")]
    Over(String),
    /// Nothing says how it was to be run.
    #[error("the session's record does not say how it was run")]
    NoRules,
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
}
