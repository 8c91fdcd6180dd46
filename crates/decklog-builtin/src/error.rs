//! Why a turn fails, in words that say what to do.
//!
//! Must not know: how it is told.

use jiff::Timestamp;

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// What stood on stdin is no request.
    #[error("the request cannot be read: {0}")]
    Request(String),
    /// The key's variable is not set.
    #[error("{var} is not set: it is to hold the API key of provider {provider}")]
    NoKey {
        /// The variable.
        var: String,
        /// The provider.
        provider: String,
    },
    /// The provider's address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The conversation to go on with is not there.
    #[error("conversation {0} is gone")]
    Gone(String),
    /// The conversation cannot be kept or read.
    #[error("the conversation {path}: {error}")]
    Conversation {
        /// Its file.
        path: String,
        /// Why not.
        error: String,
    },
    /// An MCP server could not be started.
    #[error("the MCP server {name} could not be started: {why}")]
    Server {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The provider says no, and would again.
    #[error("{0}")]
    Refused(String),
    /// The provider refuses for now.
    #[error("{message}")]
    Limited {
        /// Its words, and who it is.
        message: String,
        /// When it may be asked again, where that is known.
        resets_at: Option<Timestamp>,
    },
    /// The provider cannot be reached, or is in trouble, and was when it was asked again.
    #[error("{0}")]
    Unavailable(String),
    /// The answer broke off.
    #[error("{0}")]
    Broken(String),
    /// What came is no answer.
    #[error("{0}")]
    BadAnswer(String),
    /// The turn took all that one turn may.
    #[error("the turn was ended after {count} {what}: ask it to go on, if it was on its way")]
    Cap {
        /// How many.
        count: u32,
        /// Of what.
        what: &'static str,
    },
    /// A signal came.
    #[error("stopped by signal {0}")]
    Stopped(i32),
    /// Reading the request or telling failed, or the system gave no event loop.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl TurnError {
    /// A stable word for it, as the `error` line tells it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::NoKey { .. } => "no_key",
            Self::Address(_) => "address",
            Self::Gone(_) => "conversation_gone",
            Self::Conversation { .. } => "conversation",
            Self::Server { .. } => "mcp_server",
            Self::Refused(_) => "refused",
            Self::Limited { .. } => "rate_limited",
            Self::Unavailable(_) => "unavailable",
            Self::Broken(_) => "broken",
            Self::BadAnswer(_) => "bad_answer",
            Self::Cap { .. } => "cap",
            Self::Stopped(_) => "stopped",
            Self::System(_) => "system",
        }
    }
}
