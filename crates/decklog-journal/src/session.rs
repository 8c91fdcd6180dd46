//! What a journal adds up to: turns, what happened in them, iterations, handoffs.
//!
//! Domain types. They are made from events by [`SessionFold`] and never read back from a file; their
//! `Serialize` is what `show --json` prints.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{
    ArtifactRef, Container, Event, EventBody, FileChange, Handoff, Iteration, Notice, PlanEntry, RateLimited, Tokens,
    ToolCall, TurnEnd, TurnStart, Validation, Withheld,
};
use crate::head::{Head, HeadFold};
use crate::read::{Fault, Item, JournalReader};
use crate::words::{Permissions, Role, ToolKind, ToolStatus, TurnOutcome};

/// Name of the journal in the session directory.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// A session, read whole.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// The summary, made from the journal.
    #[serde(rename = "session")]
    pub head: Head,
    /// The full prompt's artifact, when it was too long for its line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_artifact: Option<ArtifactRef>,
    /// The full prompt, or its beginning when `prompt_artifact` is set.
    pub prompt: String,
    /// Turns in order.
    pub turns: Vec<Turn>,
    /// Iterations in order.
    pub iterations: Vec<Iteration>,
    /// Handoffs in order.
    pub handoffs: Vec<Handoff>,
    /// The containers of its tools, or its agents, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// In a race: the turn whose change was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picked: Option<u32>,
    /// Notices that belong to no turn.
    pub notices: Vec<Notice>,
    /// What is wrong with the journal.
    pub faults: Vec<Fault>,
}

/// One prompt to one agent and all that came back.
#[derive(Debug, Clone, Serialize)]
pub struct Turn {
    /// From 1.
    pub turn: u32,
    /// The agent's name.
    pub agent: String,
    /// What the agent was there for.
    pub role: Role,
    /// The model that answered, or else the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the agent was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// The program and its arguments, without the prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it came out; absent when it is still open or was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TurnOutcome>,
    /// Seconds it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<f64>,
    /// Exit code of the agent's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the agent's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The agent's own id for its conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
    /// Whether the agent ran in the session's container.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub boxed: bool,
    /// What was said and done, in order.
    pub steps: Vec<Step>,
    /// What it used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as the agent told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Rate limits met.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimited>,
    /// Checks run on it.
    pub validations: Vec<Validation>,
    /// Changed files.
    pub files: Vec<FileChange>,
    /// How many files changed.
    pub files_changed: u64,
    /// The patch, or its beginning, where it stands in the journal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub patch: String,
    /// The patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_artifact: Option<ArtifactRef>,
    /// The prompt, or its beginning, where it stands in the journal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// Prompt as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_artifact: Option<ArtifactRef>,
    /// Git tree before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_before: Option<String>,
    /// Git tree after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_after: Option<String>,
    /// Files left out of one of the trees, or of the patch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
    /// Those left out of the tree before.
    #[serde(skip)]
    pub withheld_before: Vec<Withheld>,
    /// Those left out of the tree after, or of the patch.
    #[serde(skip)]
    pub withheld_after: Vec<Withheld>,
}

/// Something said or done within a turn.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Step {
    /// The agent said something.
    Message(Said),
    /// The agent reasoned.
    Thought(Said),
    /// The agent's plan as it stood.
    Plan {
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// A tool call, with its result once that is there.
    Tool(Box<ToolUse>),
    /// A notice.
    Notice(Notice),
}

/// A text.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    /// When it began to come.
    pub at: Timestamp,
    /// The text, or its beginning.
    pub text: String,
    /// Where the whole stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_artifact: Option<ArtifactRef>,
    /// Where all that the agent printed stands, when the text ends before it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_artifact: Option<ArtifactRef>,
}

/// A tool call and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ToolUse {
    /// The agent's id for it.
    pub call_id: String,
    /// When it was called.
    pub at: Timestamp,
    /// The tool's name.
    pub name: String,
    /// What sort of tool.
    pub kind: ToolKind,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub input: serde_json::Value,
    /// Where long arguments stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_artifact: Option<ArtifactRef>,
    /// How far it is.
    pub status: ToolStatus,
    /// What it gave back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Where a long output stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_artifact: Option<ArtifactRef>,
    /// Exit code of its command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Seconds it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<f64>,
}

/// Why a session could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be read.
    #[error("its journal cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is no `session_start` in it.
    #[error("its journal holds no session")]
    Empty,
    /// It is from a version with another major format.
    #[error("it is in format {0}, which this decklog cannot read: use a newer decklog")]
    Format(crate::format::FormatVersion),
}

/// Makes a [`Session`] of events, one by one.
#[derive(Debug, Default)]
pub struct SessionFold {
    fold: HeadFold,
    prompt: String,
    prompt_artifact: Option<ArtifactRef>,
    turns: Vec<Turn>,
    /// Where a call stands: index of its turn, index of its step.
    calls: HashMap<(u32, String), (usize, usize)>,
    iterations: Vec<Iteration>,
    handoffs: Vec<Handoff>,
    containers: Vec<Container>,
    picked: Option<u32>,
    notices: Vec<Notice>,
    faults: Vec<Fault>,
}

/// What an event changed of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// The turn's index among the turns.
    pub turn: usize,
    /// The step that came or changed, as its index in [`Turn::steps`]; `None` for the turn itself.
    pub step: Option<usize>,
}

/// A session as far as a fold has come; see [`Session`] for its parts.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "they are a session's")]
pub struct SoFar<'a> {
    pub head: &'a Head,
    pub prompt: &'a str,
    pub prompt_artifact: Option<&'a ArtifactRef>,
    pub turns: &'a [Turn],
    pub iterations: &'a [Iteration],
    pub handoffs: &'a [Handoff],
    pub containers: &'a [Container],
    pub picked: Option<u32>,
    pub notices: &'a [Notice],
    pub faults: &'a [Fault],
}

impl SessionFold {
    /// Takes in what a reader gave, and says what that changed of a turn.
    pub fn item(&mut self, item: Item) -> Option<Changed> {
        match item {
            Item::Event(event) => self.apply(event),
            Item::Fault(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// The session so far; `None` before `session_start`.
    #[must_use]
    pub fn so_far(&self) -> Option<SoFar<'_>> {
        Some(SoFar {
            head: self.fold.head()?,
            prompt: &self.prompt,
            prompt_artifact: self.prompt_artifact.as_ref(),
            turns: &self.turns,
            iterations: &self.iterations,
            handoffs: &self.handoffs,
            containers: &self.containers,
            picked: self.picked,
            notices: &self.notices,
            faults: &self.faults,
        })
    }

    fn turn(&mut self, number: u32) -> Option<(Changed, &mut Turn)> {
        let turn = self.turns.iter().rposition(|turn| turn.turn == number)?;
        Some((Changed { turn, step: None }, &mut self.turns[turn]))
    }

    fn apply(&mut self, event: Event) -> Option<Changed> {
        self.fold.apply(&event);
        let at = event.timestamp;
        match event.body {
            EventBody::SessionStart(start) => {
                self.prompt = start.prompt;
                self.prompt_artifact = start.prompt_artifact;
            }
            EventBody::TurnStart(start) => {
                self.turns.push(Turn::begin(start, at));
                return Some(Changed { turn: self.turns.len() - 1, step: None });
            }
            EventBody::Message(e) => {
                let said = Said { at, text: e.text, text_artifact: e.text_artifact, cut_artifact: e.cut_artifact };
                return self.say(e.turn, Step::Message(said), e.continued);
            }
            EventBody::Thought(e) => {
                let said = Said { at, text: e.text, text_artifact: e.text_artifact, cut_artifact: None };
                return self.say(e.turn, Step::Thought(said), e.continued);
            }
            EventBody::Plan(plan) => return self.say(plan.turn, Step::Plan { entries: plan.entries }, false),
            EventBody::ToolCall(call) => return self.tool_call(call, at),
            EventBody::ToolResult(result) => {
                let (turn, step) = *self.calls.get(&(result.turn, result.call_id.clone()))?;
                let tool = self.tool(turn, step)?;
                tool.status = result.status;
                tool.output = result.output;
                tool.output_artifact = result.output_artifact;
                tool.exit_code = result.exit_code;
                tool.duration_secs = result.duration_secs;
                return Some(Changed { turn, step: Some(step) });
            }
            EventBody::Usage(usage) => {
                let (changed, turn) = self.turn(usage.turn)?;
                turn.tokens += usage.tokens;
                if let Some(cost) = usage.cost_usd {
                    *turn.cost_usd.get_or_insert(0.0) += cost;
                }
                if usage.model.is_some() {
                    turn.model = usage.model;
                }
                return Some(changed);
            }
            EventBody::RateLimited(limit) => {
                let (changed, turn) = self.turn(limit.turn)?;
                turn.rate_limits.push(limit);
                return Some(changed);
            }
            EventBody::Notice(notice) => match notice.turn {
                Some(turn) if self.turn(turn).is_some() => return self.say(turn, Step::Notice(notice), false),
                _ => self.notices.push(notice),
            },
            EventBody::TurnEnd(end) => {
                let (changed, turn) = self.turn(end.turn)?;
                turn.finish(end, at);
                return Some(changed);
            }
            EventBody::Validation(check) => {
                let (changed, turn) = self.turn(check.turn)?;
                turn.validations.push(check);
                return Some(changed);
            }
            EventBody::Iteration(iteration) => self.iterations.push(iteration),
            EventBody::Handoff(handoff) => self.handoffs.push(handoff),
            EventBody::Container(container) => self.containers.push(container),
            EventBody::SessionEnd(end) => self.picked = end.picked,
            _ => {}
        }
        None
    }

    fn tool(&mut self, turn: usize, step: usize) -> Option<&mut ToolUse> {
        match self.turns.get_mut(turn)?.steps.get_mut(step)? {
            Step::Tool(tool) => Some(tool),
            _ => None,
        }
    }

    fn say(&mut self, turn: u32, step: Step, continued: bool) -> Option<Changed> {
        let (changed, turn) = self.turn(turn)?;
        let last_changed = Changed { step: turn.steps.len().checked_sub(1), ..changed };
        if continued {
            match (turn.steps.last_mut(), &step) {
                (Some(Step::Message(last)), Step::Message(more)) | (Some(Step::Thought(last)), Step::Thought(more)) => {
                    last.text.push_str(&more.text);
                    last.cut_artifact = more.cut_artifact.clone().or(last.cut_artifact.take());
                    return Some(last_changed);
                }
                _ => {}
            }
        }
        turn.steps.push(step);
        Some(Changed { step: Some(turn.steps.len() - 1), ..changed })
    }

    /// A call that comes again with the same id says more of the same call.
    fn tool_call(&mut self, call: ToolCall, at: Timestamp) -> Option<Changed> {
        let key = (call.turn, call.call_id.clone());
        let known = self.calls.get(&key).copied();
        if let Some((turn, step)) = known
            && let Some(tool) = self.tool(turn, step)
        {
            tool.name = call.name;
            tool.kind = call.kind;
            tool.status = call.status;
            tool.title = call.title.or(tool.title.take());
            if !call.input.is_null() {
                tool.input = call.input;
                tool.input_artifact = call.input_artifact;
            }
            return Some(Changed { turn, step: Some(step) });
        }
        let index = self.turns.iter().rposition(|turn| turn.turn == call.turn)?;
        let steps = &mut self.turns[index].steps;
        let place = (index, steps.len());
        self.calls.insert(key, place);
        steps.push(Step::Tool(Box::new(ToolUse {
            call_id: call.call_id,
            at,
            name: call.name,
            kind: call.kind,
            title: call.title,
            input: call.input,
            input_artifact: call.input_artifact,
            status: call.status,
            output: String::new(),
            output_artifact: None,
            exit_code: None,
            duration_secs: None,
        })));
        Some(Changed { turn: place.0, step: Some(place.1) })
    }

    /// The session so far; `None` before `session_start`.
    #[must_use]
    pub fn finish(self) -> Option<Session> {
        Some(Session {
            head: self.fold.into_head()?,
            prompt: self.prompt,
            prompt_artifact: self.prompt_artifact,
            turns: self.turns,
            iterations: self.iterations,
            handoffs: self.handoffs,
            containers: self.containers,
            picked: self.picked,
            notices: self.notices,
            faults: self.faults,
        })
    }
}

impl Turn {
    fn begin(start: TurnStart, at: Timestamp) -> Self {
        Self {
            turn: start.turn,
            agent: start.agent,
            role: start.role,
            model: start.model,
            permissions: start.permissions,
            command: start.command,
            started_at: at,
            ended_at: None,
            outcome: None,
            duration_secs: None,
            exit_code: None,
            signal: None,
            error: None,
            agent_session_id: None,
            boxed: start.boxed,
            steps: Vec::new(),
            tokens: Tokens::default(),
            cost_usd: None,
            rate_limits: Vec::new(),
            validations: Vec::new(),
            files: Vec::new(),
            files_changed: 0,
            patch: String::new(),
            patch_artifact: None,
            prompt: start.prompt,
            prompt_artifact: start.prompt_artifact,
            snapshot_before: start.snapshot,
            snapshot_after: None,
            withheld: start.withheld.clone(),
            withheld_before: start.withheld,
            withheld_after: Vec::new(),
        }
    }

    fn finish(&mut self, end: TurnEnd, at: Timestamp) {
        self.ended_at = Some(at);
        self.outcome = Some(end.outcome);
        self.duration_secs = Some(end.duration_secs);
        self.exit_code = end.exit_code;
        self.signal = end.signal;
        self.error = end.error;
        self.agent_session_id = end.agent_session_id;
        self.model = end.model.or(self.model.take());
        self.files = end.files;
        self.files_changed = end.files_changed;
        self.patch = end.patch;
        self.patch_artifact = end.patch_artifact;
        self.snapshot_after = end.snapshot;
        for withheld in &end.withheld {
            if !self.withheld.contains(withheld) {
                self.withheld.push(withheld.clone());
            }
        }
        self.withheld_after = end.withheld;
    }

    /// The agent's own conversation, if whoever goes on with the session can go on with that. What an agent kept in a
    /// container is gone with the container.
    #[must_use]
    pub fn conversation(&self) -> Option<&str> {
        self.agent_session_id.as_deref().filter(|_| !self.boxed)
    }

    /// The agent's last words, or what there is of them.
    #[must_use]
    pub fn final_text(&self) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Message(said) => Some(said.text.as_str()),
            _ => None,
        })
    }
}

/// Reads the session in `dir` whole, from its journal alone.
///
/// # Errors
/// [`LoadError`]; damaged lines are no error but [`Session::faults`].
pub fn load(dir: &Path) -> Result<Session, LoadError> {
    let mut reader = JournalReader::open(&dir.join(JOURNAL_FILE))?;
    let mut fold = SessionFold::default();
    for item in &mut reader {
        fold.item(item?);
    }
    fold.fold.set_journal(reader.offset(), reader.last_sum().unwrap_or_default());
    check_format(fold.finish().ok_or(LoadError::Empty)?, |session| session.head.format)
}

/// Makes the head of the session in `dir` from its journal.
///
/// # Errors
/// [`LoadError`].
pub fn rebuild_head(dir: &Path) -> Result<Head, LoadError> {
    let mut reader = JournalReader::open(&dir.join(JOURNAL_FILE))?;
    let mut fold = HeadFold::default();
    for item in &mut reader {
        if let Item::Event(event) = item? {
            fold.apply(&event);
        }
    }
    fold.set_journal(reader.offset(), reader.last_sum().unwrap_or_default());
    check_format(fold.into_head().ok_or(LoadError::Empty)?, |head| head.format)
}

fn check_format<T>(read: T, format: impl Fn(&T) -> crate::format::FormatVersion) -> Result<T, LoadError> {
    let format = format(&read);
    if format.is_readable() { Ok(read) } else { Err(LoadError::Format(format)) }
}
