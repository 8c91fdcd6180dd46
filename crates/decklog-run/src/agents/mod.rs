//! Agents, and the adapters that drive them: one file each.
//!
//! An adapter is a state machine without effects. It says how its agent is started ([`Adapter::launch`]), turns
//! each line the agent prints into [`AgentEvent`]s, and, for agents that talk back, into bytes to send. It never
//! sees a process, a file or a clock, so a recorded stream tests it whole. Lines it does not know become notices.
//!
//! Must not know: journals, sessions, the terminal.

mod acp;
mod builtin;
pub(crate) mod claude;
mod codex;
pub(crate) mod common;
mod gemini;
mod limits;
mod needs;
pub(crate) mod opencode;
mod registry;
mod text;

use std::ffi::OsString;
use std::path::PathBuf;

use decklog_journal::event::{PlanEntry, Tokens};
use decklog_journal::words::{Permissions, ToolKind, ToolStatus};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use builtin::{BUILTIN_ARGUMENT, BuiltinModel, BuiltinSetup, ChooseError};
pub use needs::{HomeFile, Luggage, Needs};
pub use registry::{AgentDefinition, BUILT_IN, Protocol, known_agents};

/// What an agent is asked in one turn.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The prompt: whole, or, when it is longer than agents take, a word on where it stands.
    pub prompt: String,
    /// The directory of the file that `prompt` then names; the agent must be let in there.
    pub prompt_dir: Option<PathBuf>,
    /// The model wanted, in the agent's own spelling.
    pub model: Option<String>,
    /// What it may do.
    pub permissions: Permissions,
    /// Where it works.
    pub working_dir: PathBuf,
    /// The agent's own conversation to go on with.
    pub resume: Option<String>,
    /// What of that conversation has been counted.
    pub used: Used,
    /// Whether a new one may take that one's place when it is gone; else the turn fails, as the prompt tells too little.
    pub begins_anew: bool,
    /// Whether somebody is there to be asked for what the permissions do not allow.
    pub asks: bool,
    /// Whether decklog runs as root, which some agents want told apart.
    pub as_root: bool,
    /// MCP servers that the agent is given for this turn, besides none of its own.
    pub mcp: Vec<McpServer>,
    /// Whether it keeps the tools that it brings itself; else they are off, where it can do without them.
    pub own_tools: bool,
}

/// An MCP server on stdio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// Its name, with which agents begin its tools' names.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables set for it.
    pub env: Vec<(String, String)>,
}

impl McpServer {
    /// Program and arguments as text: what is no UTF-8 cannot stand in an agent's configuration.
    fn words(&self) -> (String, Vec<String>) {
        let mut words = self.command.iter().map(|word| word.to_string_lossy().into_owned());
        (words.next().unwrap_or_default(), words.collect())
    }

    /// Its variables as a JSON object.
    fn env_json(&self) -> Value {
        let pairs = self.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        Value::Object(pairs.collect())
    }

    /// The entry that several agents have in common, by its name.
    fn entry(&self) -> (String, Value) {
        let (program, arguments) = self.words();
        (self.name.clone(), json!({ "command": program, "args": arguments, "env": self.env_json() }))
    }
}

/// What a conversation has used: some agents tell it from the conversation's beginning each time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    /// Tokens.
    pub tokens: Tokens,
    /// Cost in US dollars.
    pub cost_usd: f64,
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        self.tokens += more.tokens;
        self.cost_usd += more.cost_usd;
    }
}

/// How an agent is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Program and arguments. The prompt is in none of them.
    pub command: Vec<OsString>,
    /// Variables set on top of the environment.
    pub env: Vec<(String, String)>,
    /// What goes to its stdin at once.
    pub stdin: Vec<u8>,
    /// Whether its stdin stays open after that.
    pub keep_stdin: bool,
}

/// Something an agent told, before it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentEvent {
    /// The agent's own id for the conversation.
    Session(String),
    /// The model that answers.
    Model(String),
    /// A whole text.
    Text(String),
    /// A piece of a text; pieces that follow each other belong together.
    TextPiece(String),
    /// A whole piece of reasoning.
    Thought(String),
    /// A piece of reasoning; pieces that follow each other belong together.
    ThoughtPiece(String),
    /// The plan as it now is.
    Plan(Vec<PlanEntry>),
    /// A tool call began, or more is known of it.
    ToolCall {
        /// The agent's id for it.
        id: String,
        /// The tool.
        name: String,
        /// What sort.
        kind: ToolKind,
        /// One line for people.
        title: Option<String>,
        /// Its arguments; null when not known yet.
        input: Value,
        /// How far it is.
        status: ToolStatus,
    },
    /// A tool call ended.
    ToolResult {
        /// The agent's id for it.
        id: String,
        /// Completed or failed.
        status: ToolStatus,
        /// What it gave back.
        output: String,
        /// Exit code of its command.
        exit_code: Option<i32>,
        /// Seconds it took, if the agent told.
        duration_secs: Option<f64>,
    },
    /// Tokens and cost to add.
    Usage {
        /// The counts.
        tokens: Tokens,
        /// In US dollars.
        cost_usd: Option<f64>,
        /// Who is paid.
        model: Option<String>,
    },
    /// The provider refuses for now: by a structured signal.
    RateLimited {
        /// The agent's words.
        message: String,
        /// When it may go on.
        resets_at: Option<Timestamp>,
    },
    /// The agent's own verdict that the turn failed.
    Failed(String),
    /// Anything else to keep.
    Notice {
        /// A stable word.
        code: &'static str,
        /// For people.
        text: String,
    },
}

/// What an adapter makes of a line.
#[derive(Debug, Default)]
pub struct Output {
    /// What the agent told.
    pub events: Vec<AgentEvent>,
    /// Bytes for the agent's stdin.
    pub send: Vec<u8>,
    /// What it asks leave for, to be answered with [`Adapter::answer`].
    pub asks: Vec<Asking>,
    /// The turn is over, though the process lives on.
    pub finished: bool,
}

/// A tool call that an agent asks leave for.
#[derive(Debug, Clone)]
pub struct Asking {
    /// What sort of tool.
    pub kind: ToolKind,
    /// One line for people.
    pub title: String,
    /// Its arguments, where the agent told them.
    pub input: Value,
    /// Whether it can be told that such calls are allowed from now on.
    pub can_always: bool,
    /// The agent's id for the question, and the answers it takes.
    question: (Value, Vec<Value>),
}

/// What an agent that asks is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// This time.
    Once,
    /// From now on.
    Always,
    /// No.
    Never,
}

impl Output {
    pub(crate) fn push(&mut self, event: AgentEvent) {
        self.events.push(event);
    }

    pub(crate) fn notice(&mut self, code: &'static str, text: impl Into<String>) {
        self.push(AgentEvent::Notice { code, text: text.into() });
    }

    /// Keeps a line that nobody understands.
    pub(crate) fn unknown_line(&mut self, line: &[u8]) {
        self.notice("unknown_line", String::from_utf8_lossy(line));
    }
}

/// Drives one kind of agent through one turn.
pub trait Adapter {
    /// How to start it.
    fn launch(&self, request: &TurnRequest) -> Launch;

    /// Whether its stdout is text for people rather than lines for programs.
    fn is_text(&self) -> bool {
        false
    }

    /// Whether it can be given MCP servers for one turn alone. One that cannot would work with its own tools instead.
    fn takes_tools(&self) -> bool {
        true
    }

    /// What it prints besides events when it begins; ACP's opening request.
    fn begin(&mut self, request: &TurnRequest, out: &mut Output) {
        let _ = (request, out);
    }

    /// One line of stdout, without its newline.
    fn line(&mut self, line: &[u8], out: &mut Output);

    /// Answers what it asked leave for.
    fn answer(&mut self, asking: &Asking, leave: Leave, out: &mut Output) {
        let _ = (asking, leave, out);
    }

    /// Asks it to stop in its own protocol. False when it has no way.
    fn cancel(&mut self, out: &mut Output) -> bool {
        let _ = out;
        false
    }

    /// The process has ended by itself with `exit_code`. `stderr`: its last words there.
    fn end(&mut self, exit_code: i32, stderr: &str, out: &mut Output) {
        let _ = (exit_code, stderr, out);
    }
}
