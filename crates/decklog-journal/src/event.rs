//! The events of a journal: what each type means and which keys its line carries (format 1).
//!
//! These structs *are* the wire shape of a line's own keys; the envelope around them (`seq`,
//! `timestamp`, `type`, `sum`) is [`crate::wire`]'s. Keys that are not set are absent. A text that was
//! too long for its line stands in an artifact: the key then holds the beginning of the text, and
//! `<key>_artifact` says where the whole is. What the events add up to is [`crate::session`]'s.
//!
//! Must not know: files, clocks, how events are rendered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod payload;

pub use payload::*;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Position in the journal: 0, 1, 2, …
    pub seq: u64,
    /// When it was recorded (microseconds).
    pub timestamp: Timestamp,
    /// What happened.
    pub body: EventBody,
}

/// A file in the session directory that an event names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// Path relative to the session directory, with `/`.
    pub path: String,
    /// Size in bytes, before any compression.
    pub bytes: u64,
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($payload:ident) = $name:literal,)*) => {
        /// What happened, by type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum EventBody {
            $($(#[$doc])* $variant($payload),)*
            /// A type this version does not know: kept as it was.
            Unknown(UnknownEvent),
        }

        impl EventBody {
            /// The `type` on the line.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Unknown(event) => &event.kind,
                }
            }

            /// The JSON object of this event's own keys.
            pub(crate) fn payload_json(&self) -> serde_json::Result<String> {
                match self {
                    $(Self::$variant(payload) => serde_json::to_string(payload),)*
                    Self::Unknown(event) => serde_json::to_string(&event.fields),
                }
            }

            /// Reads the keys of an event of type `kind` from the whole line.
            pub(crate) fn from_line(kind: &str, line: &[u8]) -> serde_json::Result<Self> {
                Ok(match kind {
                    $($name => Self::$variant(serde_json::from_slice(line)?),)*
                    _ => Self::Unknown(UnknownEvent {
                        kind: kind.to_owned(),
                        fields: serde_json::from_slice(line)?,
                    }),
                })
            }
        }

        $(impl From<$payload> for EventBody {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })*
    };
}

events! {
    /// The session began: always the first line.
    SessionStart(SessionStart) = "session_start",
    /// A prompt went to an agent.
    TurnStart(TurnStart) = "turn_start",
    /// The agent said something.
    Message(Message) = "message",
    /// The agent reasoned.
    Thought(Thought) = "thought",
    /// The agent laid out or changed its plan.
    Plan(Plan) = "plan",
    /// The agent called a tool.
    ToolCall(ToolCall) = "tool_call",
    /// A tool call ended.
    ToolResult(ToolResult) = "tool_result",
    /// Tokens and cost to be added to the turn.
    Usage(Usage) = "usage",
    /// The agent's provider refused to go on for now.
    RateLimited(RateLimited) = "rate_limited",
    /// A container was made for the session's tools or agents.
    Container(Container) = "container",
    /// Something worth knowing that is none of the others.
    Notice(Notice) = "notice",
    /// All that a prompt gave rise to is over.
    TurnEnd(TurnEnd) = "turn_end",
    /// A check was run.
    Validation(Validation) = "validation",
    /// One round of actor and critic is over.
    Iteration(Iteration) = "iteration",
    /// A point from which another agent can continue.
    Checkpoint(Checkpoint) = "checkpoint",
    /// The session moved from one agent to another.
    Handoff(Handoff) = "handoff",
    /// A session that had stopped goes on.
    Resumed(Resumed) = "resumed",
    /// The session is over: the last line, unless it is resumed.
    SessionEnd(SessionEnd) = "session_end",
}

/// An event of a type that this version does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownEvent {
    /// Its `type`.
    pub kind: String,
    /// Every key of its line.
    pub fields: serde_json::Map<String, Value>,
}

/// A key of an event that may be too long for its line.
pub(crate) enum LongKey<'a> {
    Text(&'static str, &'a mut String, &'a mut Option<ArtifactRef>),
    Json(&'static str, &'a mut Value, &'a mut Option<ArtifactRef>),
}

impl EventBody {
    /// The turn this event belongs to.
    #[must_use]
    pub fn turn(&self) -> Option<u32> {
        match self {
            Self::TurnStart(e) => Some(e.turn),
            Self::Message(e) => Some(e.turn),
            Self::Thought(e) => Some(e.turn),
            Self::Plan(e) => Some(e.turn),
            Self::ToolCall(e) => Some(e.turn),
            Self::ToolResult(e) => Some(e.turn),
            Self::Usage(e) => Some(e.turn),
            Self::RateLimited(e) => Some(e.turn),
            Self::Notice(e) => e.turn,
            Self::TurnEnd(e) => Some(e.turn),
            Self::Validation(e) => Some(e.turn),
            _ => None,
        }
    }

    pub(crate) fn long_keys(&mut self) -> Vec<LongKey<'_>> {
        use LongKey::{Json, Text};
        match self {
            Self::SessionStart(e) => vec![Text("prompt", &mut e.prompt, &mut e.prompt_artifact)],
            Self::TurnStart(e) => vec![Text("prompt", &mut e.prompt, &mut e.prompt_artifact)],
            Self::TurnEnd(e) => vec![Text("patch", &mut e.patch, &mut e.patch_artifact)],
            Self::Message(e) => vec![Text("message", &mut e.text, &mut e.text_artifact)],
            Self::Thought(e) => vec![Text("thought", &mut e.text, &mut e.text_artifact)],
            Self::Notice(e) => vec![Text("notice", &mut e.text, &mut e.text_artifact)],
            Self::ToolCall(e) => vec![Json("input", &mut e.input, &mut e.input_artifact)],
            Self::ToolResult(e) => vec![Text("output", &mut e.output, &mut e.output_artifact)],
            Self::Validation(e) => vec![Text("check", &mut e.output, &mut e.output_artifact)],
            Self::Iteration(e) => vec![
                Text("actor-output", &mut e.actor_output, &mut e.actor_output_artifact),
                Text("actor-stderr", &mut e.actor_stderr, &mut e.actor_stderr_artifact),
                Text("diff", &mut e.git_diff, &mut e.git_diff_artifact),
            ],
            _ => Vec::new(),
        }
    }

    /// Every artifact this event names.
    #[must_use]
    pub fn artifacts(&self) -> Vec<&ArtifactRef> {
        let named: Vec<&Option<ArtifactRef>> = match self {
            Self::SessionStart(e) => vec![&e.prompt_artifact],
            Self::TurnStart(e) => vec![&e.prompt_artifact],
            Self::Message(e) => vec![&e.text_artifact, &e.cut_artifact],
            Self::Thought(e) => vec![&e.text_artifact],
            Self::Notice(e) => vec![&e.text_artifact],
            Self::ToolCall(e) => vec![&e.input_artifact],
            Self::ToolResult(e) => vec![&e.output_artifact],
            Self::Validation(e) => vec![&e.output_artifact],
            Self::Iteration(e) => {
                vec![&e.actor_output_artifact, &e.actor_stderr_artifact, &e.git_diff_artifact]
            }
            Self::Handoff(e) => vec![&e.packet_artifact],
            Self::TurnEnd(e) => vec![&e.patch_artifact, &e.stream_artifact, &e.stderr_artifact, &e.output_artifact],
            _ => Vec::new(),
        };
        named.into_iter().flatten().collect()
    }
}
