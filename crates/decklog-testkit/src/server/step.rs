//! The script's language: one [`Step`] per main-loop model request.

use std::time::Duration;

/// What the server answers to one main-loop model request.
///
/// Paths are passed to the agent as given. A relative one is meant from the agent's working
/// directory.
#[derive(Clone, Debug)]
pub enum Step {
    /// A call of the agent's own tool for writing a file.
    Write {
        /// The file to write.
        path: String,
        /// Its whole content.
        content: String,
    },
    /// A text, and in the same reply the tool call of [`Step::Write`].
    TextThenWrite {
        /// What the agent says before it writes.
        text: String,
        /// The file to write.
        path: String,
        /// Its whole content.
        content: String,
    },
    /// A call of the agent's own tool for running a shell command.
    Shell {
        /// The command line, as for `sh -c`.
        command: String,
    },
    /// A call of a tool that the agent was given.
    Tool {
        /// How the tool's name ends: agents put names of their own before it.
        name: String,
        /// What it is given.
        arguments: serde_json::Value,
    },
    /// Calls of tools by their names, all in one reply.
    Calls {
        /// What the agent says before, if anything.
        text: Option<String>,
        /// The tools, and their arguments as the model writes them: JSON, if it is to be read.
        calls: Vec<(String, String)>,
    },
    /// A text and nothing more: agents take it for the end of their turn.
    Text(String),
    /// A reasoning block, then a text.
    Thinking {
        /// The reasoning, shown by agents that show any.
        thinking: String,
        /// The final text.
        text: String,
    },
    /// HTTP 429 in the provider's own shape. It stays: every later request gets it too, as agents
    /// retry, unless it stands in [`Step::Once`] or [`ModelServer::set_script`] replaces it.
    ///
    /// [`ModelServer::set_script`]: crate::ModelServer::set_script
    RateLimit {
        /// When the limit ends, in seconds since 1970, where the provider can say so.
        reset_at_epoch: Option<u64>,
    },
    /// HTTP 401 in the provider's own shape. It stays, as [`Step::RateLimit`] does.
    Unauthorized,
    /// An HTTP status, with headers, and a message in the shape that most providers share. For one request only.
    Status {
        /// The status.
        status: u16,
        /// Headers, such as `retry-after`.
        headers: Vec<(&'static str, String)>,
        /// The message.
        message: String,
    },
    /// HTTP 200 with a body that is neither JSON nor an event stream.
    Garbage,
    /// Sends the headers and the first event of a reply, then nothing until the server is dropped.
    Stall,
    /// Closes the connection in the middle of a reply.
    Cut,
    /// A text in several pieces.
    Slow {
        /// The whole text.
        text: String,
        /// How many pieces it is sent in, at least one.
        chunks: usize,
        /// The pause after each piece.
        every: Duration,
    },
    /// The step within, for one request only, where it would else stay.
    Once(Box<Step>),
}

impl Step {
    /// Whether the step answers all later requests too.
    pub(crate) fn stays(&self) -> bool {
        matches!(self, Step::RateLimit { .. } | Step::Unauthorized)
    }
}
