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

use crate::format::FormatVersion;
use crate::id::SessionId;
use crate::words::{
    Decision, Outcome, Permissions, Role, SessionKind, ToolKind, ToolStatus, TurnOutcome,
};

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

macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

/// The commit and branch a repository stood at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitState {
    /// Commit id of `HEAD`; absent before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Branch name; absent when detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

payload! {
    /// `session_start`: who was asked what, where.
    SessionStart {
        /// Format of the whole record.
        format: FormatVersion,
        /// The session's id.
        id: SessionId,
        /// What sort of session.
        kind: SessionKind,
        /// The full prompt (its beginning when `prompt_artifact` is set).
        prompt: String,
        /// Where a prompt above 64 KiB stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt_artifact: Option<ArtifactRef>,
        /// First 12 hex digits of the SHA-256 of the full prompt.
        prompt_hash: String,
        /// Absolute path the agents work in.
        working_dir: String,
        /// Where the session directory was made.
        session_dir: String,
        /// Names of the agents known at the start.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        agents: Vec<String>,
        /// In a loop: the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor_agent: Option<String>,
        /// In a loop: the critic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        critic_agent: Option<String>,
        /// In a loop: the model asked for the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor_model: Option<String>,
        /// In a loop: the model asked for the critic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        critic_model: Option<String>,
        /// In a loop: the limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_iterations: Option<u32>,
        /// State of the repository, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git: Option<GitState>,
        /// Name of the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Process id of the recorder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Version of the program that recorded.
        decklog_version: String,
    }
}

payload! {
    /// `turn_start`: one prompt goes to one agent.
    TurnStart {
        /// Number of the turn, from 1.
        turn: u32,
        /// The agent's name.
        agent: String,
        /// What the agent is there for.
        role: Role,
        /// The model asked for; absent: the agent's own choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What the agent may do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<Permissions>,
        /// The program and its arguments, without the prompt.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// The prompt as it was sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt_artifact: Option<ArtifactRef>,
        /// Git tree id of the working tree when the turn began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
        /// Files left out of that tree, each with its reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        withheld: Vec<Withheld>,
    }
}

payload! {
    /// A file left out of a snapshot.
    Withheld {
        /// Path within the repository; bytes that are no UTF-8 are shown as U+FFFD.
        path: String,
        /// Why, in a few words.
        reason: String,
    }
}

payload! {
    /// `message`: text from the agent.
    Message {
        /// Number of the turn.
        turn: u32,
        /// The text.
        text: String,
        /// Where a long text stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_artifact: Option<ArtifactRef>,
        /// Whether this goes on where the message before it stopped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        continued: bool,
    }
}

payload! {
    /// `thought`: reasoning the agent showed.
    Thought {
        /// Number of the turn.
        turn: u32,
        /// The text.
        text: String,
        /// Where a long text stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_artifact: Option<ArtifactRef>,
        /// Whether this goes on where the thought before it stopped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        continued: bool,
    }
}

payload! {
    /// `plan`: the whole plan as it now stands.
    Plan {
        /// Number of the turn.
        turn: u32,
        /// Its steps in order.
        entries: Vec<PlanEntry>,
    }
}

payload! {
    /// One step of a plan.
    PlanEntry {
        /// What is to be done.
        content: String,
        /// How far it is, in the agent's word: usually `pending`, `in_progress` or `completed`.
        status: String,
    }
}

payload! {
    /// `tool_call`: the agent set a tool to work.
    ToolCall {
        /// Number of the turn.
        turn: u32,
        /// The agent's id for the call; its result carries the same.
        call_id: String,
        /// The tool's name.
        name: String,
        /// What sort of tool.
        kind: ToolKind,
        /// One line for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        input: Value,
        /// Where long arguments stand, as JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_artifact: Option<ArtifactRef>,
        /// How far it is.
        status: ToolStatus,
    }
}

payload! {
    /// `tool_result`: how a tool call ended.
    ToolResult {
        /// Number of the turn.
        turn: u32,
        /// The call it belongs to.
        call_id: String,
        /// `completed` or `failed`.
        status: ToolStatus,
        /// What the tool gave back, as text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
        /// Where a long output stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_artifact: Option<ArtifactRef>,
        /// Exit code, when the tool ran a command and the agent told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Seconds from call to result, as the recorder saw them or the agent told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_secs: Option<f64>,
    }
}

payload! {
    /// `usage`: to be *added* to what the turn has used so far.
    Usage {
        /// Number of the turn.
        turn: u32,
        /// The counts.
        tokens: Tokens,
        /// Cost in US dollars as the agent told it; absent: not told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<f64>,
        /// The model that was paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    }
}

/// Token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// All tokens read, cached ones included.
    pub input: u64,
    /// The part of `input` that came from a cache.
    pub cached_input: u64,
    /// All tokens written, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning, where the agent tells.
    pub reasoning: u64,
}

impl Tokens {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

payload! {
    /// `rate_limited`: told by a structured signal, never guessed from prose.
    RateLimited {
        /// Number of the turn.
        turn: u32,
        /// The agent that is limited.
        agent: String,
        /// The agent's own words.
        message: String,
        /// When it may go on, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resets_at: Option<Timestamp>,
    }
}

payload! {
    /// `notice`: anything else worth keeping.
    Notice {
        /// Number of the turn, if it belongs to one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<u32>,
        /// A stable word for programs, such as `unknown_line`, `permission_refused`, `stalled`.
        code: String,
        /// For people.
        text: String,
        /// Where a long text stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_artifact: Option<ArtifactRef>,
    }
}

payload! {
    /// `turn_end`: how the turn came out and what it left.
    TurnEnd {
        /// Number of the turn.
        turn: u32,
        /// How it came out.
        outcome: TurnOutcome,
        /// Exit code of the agent's process; absent when a signal ended it or it lives on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Number of the signal that ended the agent's process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Seconds from the turn's start.
        duration_secs: f64,
        /// The agent's own id for its conversation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_session_id: Option<String>,
        /// The model that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What went wrong, in the agent's own words where it had any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Git tree id of the working tree when the turn was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
        /// What the turn changed, in path order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<FileChange>,
        /// How many files it changed; `files` may name fewer.
        files_changed: u64,
        /// The patch, as `git apply` takes it; absent when nothing changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patch_artifact: Option<ArtifactRef>,
        /// Files left out of tree and patch, each with its reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        withheld: Vec<Withheld>,
        /// The agent's stdout as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream_artifact: Option<ArtifactRef>,
        /// The agent's stderr as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr_artifact: Option<ArtifactRef>,
        /// The turn as readable text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_artifact: Option<ArtifactRef>,
    }
}

payload! {
    /// One changed file.
    FileChange {
        /// Path within the repository; bytes that are no UTF-8 are shown as U+FFFD.
        path: String,
        /// Where it came from, if renamed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_path: Option<String>,
        /// `added`, `modified`, `deleted`, `renamed` or `type_changed`.
        status: String,
        /// Lines added; absent for a binary file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        added: Option<u64>,
        /// Lines removed; absent for a binary file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removed: Option<u64>,
    }
}

payload! {
    /// `validation`: a check was run.
    Validation {
        /// The turn it judged.
        turn: u32,
        /// The command, as the user gave it.
        command: String,
        /// Whether it exited with 0.
        passed: bool,
        /// Its exit code; absent when a signal or a limit ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Seconds it took.
        duration_secs: f64,
        /// What it printed, both streams as they came.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
        /// Where a long output stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_artifact: Option<ArtifactRef>,
    }
}

payload! {
    /// `iteration`: one actor turn, the diff it left, and one critic turn.
    Iteration {
        /// From 1.
        iteration_number: u32,
        /// The actor's final text.
        actor_output: String,
        /// Where a long one stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor_output_artifact: Option<ArtifactRef>,
        /// The actor's stderr.
        actor_stderr: String,
        /// Where a long one stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor_stderr_artifact: Option<ArtifactRef>,
        /// The actor's exit code.
        actor_exit_code: i32,
        /// Seconds the actor took.
        actor_duration_secs: f64,
        /// The diff of this iteration.
        git_diff: String,
        /// Where a long one stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git_diff_artifact: Option<ArtifactRef>,
        /// How many files it touches.
        git_files_changed: u64,
        /// The critic's verdict.
        critic_decision: Decision,
        /// What the critic wants; absent for `DONE`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        feedback: Option<String>,
    }
}

payload! {
    /// `checkpoint`: another agent can continue from here.
    Checkpoint {
        /// `rate_limit`, `manual`, `handoff` or `boundary`.
        reason: String,
        /// What the program exited with, if it ended here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    }
}

payload! {
    /// `handoff`: the session moved to another agent.
    Handoff {
        /// Who had it.
        from: String,
        /// Who has it now.
        to: String,
        /// Why, in a checkpoint's words.
        reason: String,
        /// The packet that was handed over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet_artifact: Option<ArtifactRef>,
    }
}

payload! {
    /// `resumed`: a session that had stopped goes on, with a new recorder.
    Resumed {
        /// Process id of the recorder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Version of the program that goes on.
        decklog_version: String,
        /// How many bytes of a torn line were moved to `journal.torn`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        torn_bytes: Option<u64>,
    }
}

payload! {
    /// `session_end`: how all of it came out.
    SessionEnd {
        /// How it came out.
        outcome: Outcome,
        /// Rounds of a loop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iterations: Option<u32>,
        /// A few words on what was done or what went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
        /// The critic's confidence, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f64>,
        /// Seconds from the session's start.
        duration_secs: f64,
        /// What the program exited with.
        exit_code: i32,
    }
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
            Self::Message(e) => vec![&e.text_artifact],
            Self::Thought(e) => vec![&e.text_artifact],
            Self::Notice(e) => vec![&e.text_artifact],
            Self::ToolCall(e) => vec![&e.input_artifact],
            Self::ToolResult(e) => vec![&e.output_artifact],
            Self::Validation(e) => vec![&e.output_artifact],
            Self::Iteration(e) => {
                vec![&e.actor_output_artifact, &e.actor_stderr_artifact, &e.git_diff_artifact]
            }
            Self::Handoff(e) => vec![&e.packet_artifact],
            Self::TurnEnd(e) => vec![
                &e.patch_artifact,
                &e.stream_artifact,
                &e.stderr_artifact,
                &e.output_artifact,
            ],
            _ => Vec::new(),
        };
        named.into_iter().flatten().collect()
    }
}
