//! The closed vocabularies of a record. Each serialises to the word the user reads.
//!
//! A word that this version does not know, from a newer minor version, reads as the vocabulary's
//! `other`-like member where it has one.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let allowed: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    format!("{text:?} is none of: {}", allowed.join(", "))
                })
            }
        }
    };
}

words! {
    /// What sort of session it is.
    SessionKind {
        /// One agent, one prompt; or any command.
        Run = "run",
        /// Prompts typed one after the other.
        Shell = "shell",
        /// Agents taking turns on one task.
        Chat = "chat",
        /// Agents competing in worktrees.
        Race = "race",
        /// Actor and critic.
        Loop = "loop",
        /// MCP servers served to a client; has no agent.
        Mcp = "mcp",
        /// Taken over from another tool's history.
        Import = "import",
    }
}

words! {
    /// Where a session stands, as its journal says.
    Status {
        /// Being recorded, or cut off.
        Active = "active",
        /// Stopped at a point from which it can go on.
        Checkpointed = "checkpointed",
        /// Over.
        Completed = "completed",
    }
}

words! {
    /// Where a session stands, as a reader shows it: `active` on disk with no recorder holding the lock
    /// is `crashed`.
    ShownStatus {
        /// A recorder is at work.
        Active = "active",
        /// Stopped at a point from which it can go on.
        Checkpointed = "checkpointed",
        /// Over.
        Completed = "completed",
        /// Its recorder died. Derived on reading, never written.
        Crashed = "crashed",
    }
}

words! {
    /// How a completed session came out.
    Outcome {
        /// What was asked for was done, as far as was checked.
        Success = "success",
        /// It was not.
        Failed = "failed",
        /// The user, or a signal, stopped it.
        Interrupted = "interrupted",
        /// A loop ran out of iterations.
        MaxIterationsReached = "max_iterations_reached",
    }
}

words! {
    /// How a session came out, as a reader shows it.
    ShownOutcome {
        /// What was asked for was done, as far as was checked.
        Success = "success",
        /// It was not.
        Failed = "failed",
        /// The user, or a signal, stopped it.
        Interrupted = "interrupted",
        /// A loop ran out of iterations.
        MaxIterationsReached = "max_iterations_reached",
        /// Its recorder died. Derived on reading, never written.
        Crashed = "crashed",
        /// It is completed, and its record does not say how: the source that it was imported from did not. Derived on
        /// reading, never written.
        Unknown = "unknown",
    }
}

impl ShownOutcome {
    /// What a session with this status and this recorded outcome came to; `None` while it may go on.
    #[must_use]
    pub fn of(status: ShownStatus, outcome: Option<Outcome>) -> Option<Self> {
        match (status, outcome) {
            (ShownStatus::Crashed, _) => Some(Self::Crashed),
            (_, Some(outcome)) => Some(outcome.into()),
            (ShownStatus::Completed, None) => Some(Self::Unknown),
            (ShownStatus::Active | ShownStatus::Checkpointed, None) => None,
        }
    }
}

impl From<Status> for ShownStatus {
    /// The status as recorded, whether or not its recorder is still there.
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Checkpointed => Self::Checkpointed,
            Status::Completed => Self::Completed,
        }
    }
}

impl From<Outcome> for ShownOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failed => Self::Failed,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::MaxIterationsReached => Self::MaxIterationsReached,
        }
    }
}

words! {
    /// How a turn came out.
    TurnOutcome {
        /// The agent finished.
        Success = "success",
        /// The agent failed or could not be started.
        Failed = "failed",
        /// The user, or a signal, stopped it.
        Interrupted = "interrupted",
        /// The agent's provider refused to go on for now.
        RateLimited = "rate_limited",
        /// The agent said nothing for too long and was ended.
        Stalled = "stalled",
        /// The agent took too long and was ended.
        TimedOut = "timed_out",
    }
}

words! {
    /// What a turn's agent was there for.
    Role {
        /// The only one.
        Solo = "solo",
        /// Does the work in a loop.
        Actor = "actor",
        /// Judges the work in a loop.
        Critic = "critic",
        /// One voice of a chat.
        Speaker = "speaker",
        /// One of several competing.
        Racer = "racer",
        /// Picks the best of a race.
        Judge = "judge",
    }
}

words! {
    /// What the agent may do to the machine.
    Permissions {
        /// Look, not touch.
        ReadOnly = "read-only",
        /// Edit the working directory and run what the agent's own rules allow.
        Edit = "edit",
        /// Anything.
        Full = "full",
    }
}

words! {
    /// The critic's verdict.
    Decision {
        /// The task is done.
        Done = "DONE",
        /// Another round is needed.
        Continue = "CONTINUE",
        /// Something went wrong that is to be told before another round.
        Error = "ERROR",
    }
}

words! {
    /// How far a tool call is (Agent Client Protocol's words).
    ToolStatus {
        /// Not begun: waiting for input or permission.
        Pending = "pending",
        /// At work.
        InProgress = "in_progress",
        /// Ended well.
        Completed = "completed",
        /// Ended badly.
        Failed = "failed",
    }
}

/// What sort of tool (Agent Client Protocol's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// Reads files.
    Read,
    /// Changes files.
    Edit,
    /// Removes files.
    Delete,
    /// Moves files.
    Move,
    /// Looks for something.
    Search,
    /// Runs a command.
    Execute,
    /// Reasons or plans.
    Think,
    /// Gets something from elsewhere.
    Fetch,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl ToolKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::Search => "search",
            Self::Execute => "execute",
            Self::Think => "think",
            Self::Fetch => "fetch",
            Self::Other => "other",
        }
    }
}
