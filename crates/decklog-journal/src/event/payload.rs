//! The keys of each type of event, as they stand on its line. See [`super`] for what they have in common.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ArtifactRef;
use crate::format::FormatVersion;
use crate::id::SessionId;
use crate::words::{Decision, Outcome, Permissions, Role, SessionKind, ToolKind, ToolStatus, TurnOutcome};

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

/// Where an imported session was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The tool that wrote it: `claude`, `codex`, `gemini`, `opencode`, `outrig`, `codeloops`, `agent-relay`.
    pub tool: String,
    /// That tool's own id for it. Tool and id together name a source.
    pub id: String,
    /// The file or directory it was read from.
    pub path: String,
    /// Bytes of all files that were read.
    pub bytes: u64,
    /// When the newest of them was last changed.
    pub modified: Timestamp,
    /// Further files that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
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
        /// In a loop or a chat: what else was decided before it began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<Box<SessionRules>>,
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
        /// In an imported session: where it comes from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
    }
}

payload! {
    /// What was decided before a loop or a chat began, so that it can be gone on with.
    SessionRules {
        /// What the actor or the speakers may do.
        permissions: Permissions,
        /// Commands that must pass, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<String>,
        /// Whether each iteration begins a new conversation of the actor's.
        fresh: bool,
        /// In a chat: who speaks, in order, as `claude` or `claude:opus`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        speakers: Vec<String>,
        /// In a chat: the most turns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_turns: Option<u32>,
        /// The most US dollars.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost_usd: Option<f64>,
        /// The most seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_time_secs: Option<f64>,
    }
}

payload! {
    /// `turn_start`: one prompt goes to one agent.
    TurnStart {
        /// Number of the turn, from 1.
        turn: u32,
        /// The agent's name; empty where there is none, in an `mcp` session.
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
        /// Whether the agent runs in the session's container (since 1.5).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        boxed: bool,
        /// In an imported session: the prompt, or the beginning of a long one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prompt: String,
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
        /// Where all that the agent printed stands, when this message ends before it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_artifact: Option<ArtifactRef>,
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
    /// `container`: where the tools, or the agents, of the session run from here on (since 1.4).
    Container {
        /// Name of the image in the configuration.
        image_config_name: String,
        /// What podman calls the image.
        image_tag: String,
        /// Name of the container.
        container_name: String,
        /// Where the working directory is mounted in it.
        workspace: String,
        /// What stands between it and the network: `default`, `audit` or `filter`.
        network: String,
        /// Whether the agents themselves run in it, and not their tools alone (since 1.5).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        boxed: bool,
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
        /// In an imported session: the patch itself, or the beginning of a long one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        patch: String,
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
        /// The actor's turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor_turn: Option<u32>,
        /// The critic's last turn; absent when there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        critic_turn: Option<u32>,
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
        /// Whether all checks passed; absent without checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checks_passed: Option<bool>,
        /// The verdict that counts.
        critic_decision: Decision,
        /// What the critic itself said, where that did not stand: `DONE` while checks fail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        critic_said: Option<Decision>,
        /// What is to be done, or what went wrong; absent for `DONE`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        feedback: Option<String>,
        /// What was done, in the critic's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
        /// The critic's confidence, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f64>,
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
        /// How it came out; absent in an imported session whose source does not report it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// Rounds of a loop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iterations: Option<u32>,
        /// A few words on what was done or what went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
        /// The critic's confidence, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f64>,
        /// In a race: the turn whose change was applied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picked: Option<u32>,
        /// Seconds from the session's start.
        duration_secs: f64,
        /// What the program exited with; absent where `outcome` is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    }
}
