//! What is decided before a race begins, and how it came out.

use std::path::PathBuf;

use decklog_journal::SessionId;
use decklog_journal::event::{Tokens, Withheld};
use decklog_journal::words::{Outcome, TurnOutcome};
use jiff::Timestamp;
use serde::Serialize;

use super::pick::Standing;
use crate::orchestrate::party::Party;
use crate::orchestrate::recording::{CheckResult, RunError, Setup};
use crate::orchestrate::relay::Limited;
use crate::orchestrate::restore::IncompleteRestore;
use crate::supervise::SpawnError;

/// Everything about a race that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct RacePlan {
    /// The task, whole.
    pub task: String,
    /// Who races: two or more.
    pub racers: Vec<Party>,
    /// A command that makes a new worktree ready, if one is needed.
    pub prepare: Option<String>,
    /// Who judges those that pass the checks.
    pub judge: Option<Party>,
    /// Who is picked.
    pub pick: Pick,
    /// Whether the worktrees stay.
    pub keep: bool,
    /// The directory below which worktrees are made.
    pub worktrees: PathBuf,
    /// Where and how.
    pub setup: Setup,
}

/// Who is picked in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Nobody: the user looks first.
    None,
    /// Who passes the checks, then whom the judge prefers, then who changed least.
    Best,
    /// Whom the user says, once they have seen what came out.
    Ask,
    /// This one, whatever came out.
    Racer(usize),
}

/// How a race came out. Its `Serialize` is what `race --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct RaceResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: PathBuf,
    /// How it came out; absent when it is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the program exits with.
    pub exit_code: i32,
    /// What came of it, in words.
    pub summary: String,
    /// Seconds from the session's start.
    pub duration_secs: f64,
    /// Each racer, in the order given.
    pub racers: Vec<Racer>,
    /// Whose change was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picked: Option<String>,
    /// Files that were written, added or removed in the working tree.
    pub applied: Vec<String>,
    /// Files left with conflict markers.
    pub conflicts: Vec<String>,
    /// Files of the change that were not brought into the working tree: the worktree is kept for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Withheld>,
    /// What became of the files, when the change could be applied in part only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Box<IncompleteRestore>>,
    /// What the judge said of its choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
    /// Agents that met a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Limited>,
    /// When all were limited: who is back first, if anybody told when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_back: Option<Limited>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// One racer, and what it came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Racer {
    /// Its name in this race.
    pub name: String,
    /// Its turn; absent when it never began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// How its turn came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TurnOutcome>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Checks, in order.
    pub checks: Vec<CheckResult>,
    /// Seconds its turn took.
    pub duration_secs: f64,
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as the agent told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Files changed.
    pub files_changed: u64,
    /// Lines added.
    pub lines_added: u64,
    /// Lines removed.
    pub lines_removed: u64,
    /// The agent's final text.
    pub text: String,
    /// Files it left that the record does not hold: its worktree is kept for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
    /// Its worktree, where that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<PathBuf>,
    /// The trees before and after its turn.
    #[serde(skip)]
    pub(super) trees: (Option<String>, Option<String>),
    /// Whether all of its turn could be kept.
    #[serde(skip)]
    pub(super) kept: bool,
    /// When it may go on, if it is limited.
    #[serde(skip)]
    pub(super) resets_at: Option<Timestamp>,
}

impl Racer {
    pub(super) fn standing(&self) -> Standing {
        Standing {
            finished: self.outcome == Some(TurnOutcome::Success) && self.trees.1.is_some(),
            passed: self.checks.iter().all(|check| check.passed),
            lines: self.lines_added.saturating_add(self.lines_removed),
            files: self.files_changed.saturating_add(self.withheld.len() as u64),
        }
    }

    /// Whether the record does not hold all that it did.
    pub(super) fn is_unsaved(&self) -> bool {
        self.turn.is_some() && (self.trees.1.is_none() || !self.kept || !self.withheld.is_empty())
    }
}

/// Why a race cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RaceError {
    /// Worktrees are made of commits.
    #[error("a race needs a git repository with a commit: each agent works in a worktree of it")]
    NoRepository,
    /// There is no room for worktrees.
    #[error("{path}: {error}")]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The session could not be made, or nothing could be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<SpawnError> for RaceError {
    fn from(error: SpawnError) -> Self {
        Self::Run(error.into())
    }
}
