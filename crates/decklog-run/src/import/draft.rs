//! A session being made of somebody else's history: turns, what happened in them, when.
//!
//! Readers tell what they find, in order; this decides where a turn begins and ends, adds up tokens and changed
//! files, and keeps the order legal and time from running backwards. The first trouble with the disk ends the
//! writing; what the source lacks never does.
//!
//! Must not know: the formats of sources.

use std::path::Path;

use decklog_journal::artifacts::LOGS_DIR;
use decklog_journal::bulk::BulkWriter;
use decklog_journal::event::{
    EventBody, GitState, Handoff, Iteration, Message, Notice, Plan, PlanEntry, RateLimited, SessionEnd, SessionStart,
    Source, Thought, Tokens, ToolCall, ToolResult, TurnEnd, TurnStart, Usage,
};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::{IdFor, StoreError};
use decklog_journal::time::seconds_between;
use decklog_journal::wire::prompt_hash;
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{SessionId, SessionStore, WriteError};
use jiff::Timestamp;

use super::changes::{Changes, Edit};
use super::{Found, Unread};
use crate::agents::{AgentEvent, Output};
use crate::record::{clip, clip_safely};

/// Bytes of names, ids and titles that are kept.
const SHORT: usize = 1024;
/// Bytes of a directory's path that are kept: there are no longer ones.
const PATH: usize = 4096;
/// Bytes that are kept of what a critic says to the actor; the critic's own turn has all of it.
const FEEDBACK: usize = 32 * SHORT;
/// Unreadable places that are named.
const NAMED: usize = 20;
/// Notices that wait for the session's beginning.
const EARLY: usize = 100;

/// Where sessions are made.
pub(super) struct Desk<'a> {
    pub(super) store: &'a SessionStore,
    pub(super) redactor: &'a Redactor,
    /// Version of the program that imports.
    pub(super) version: &'a str,
}

/// What is known of the whole before its first turn.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Where the agents worked.
    pub(super) working_dir: String,
    /// The repository.
    pub(super) git: GitState,
    /// In a loop: actor and critic, each with the model asked for.
    pub(super) pair: Option<[(String, Option<String>); 2]>,
    /// In a loop: the limit.
    pub(super) max_iterations: Option<u32>,
}

/// How a session ended, where the source reports it.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Absent: the outcome that the source reports of the last turn, if that did not simply end.
    pub(super) outcome: Option<Outcome>,
    /// Absent: what decklog exits with after such an outcome.
    pub(super) exit_code: Option<i32>,
    pub(super) iterations: Option<u32>,
    pub(super) summary: Option<String>,
    pub(super) confidence: Option<f64>,
}

/// A session in the making.
pub(super) struct Draft<'a> {
    desk: &'a Desk<'a>,
    id: Option<SessionId>,
    suffix: u16,
    source: Source,
    agent: String,
    /// What the first turn is told before it begins.
    pub(super) opening: Opening,
    writer: Option<BulkWriter>,
    /// Somebody else made the session of this source meanwhile.
    there: Option<SessionId>,
    trouble: Option<StoreError>,
    first: Option<Timestamp>,
    at: Timestamp,
    early: Vec<Notice>,
    /// Hash of the session's prompt.
    asked: String,
    /// The agent's own id for the conversation.
    native: Option<String>,
    turn: u32,
    open: Option<OpenTurn>,
    unread: Unread,
    /// What the source reports of the last turn.
    last_outcome: Option<TurnOutcome>,
}

struct OpenTurn {
    since: Timestamp,
    usage: Vec<(Option<String>, Tokens, Option<f64>)>,
    changes: Changes,
    exit_code: Option<i32>,
    /// As the source reports it.
    outcome: Option<TurnOutcome>,
    is_cut_off: bool,
    error: Option<String>,
    model: Option<String>,
}

/// The name of a source as a session has it: as the tool's own id, unless that is no id any more.
pub(super) fn id_kept(id: &str, redactor: &Redactor) -> String {
    clip_safely(id.to_owned(), SHORT, redactor)
}

impl<'a> Draft<'a> {
    /// Begins the session of `found`, written by `agent`. `id` when there is one already that this is to replace.
    pub(super) fn new(desk: &'a Desk<'a>, found: &Found, agent: &str, id: Option<SessionId>, suffix: u16) -> Self {
        let source = Source { id: id_kept(&found.id, desk.redactor), ..found.source() };
        Self {
            desk,
            id,
            suffix,
            native: (!agent.is_empty()).then(|| source.id.clone()),
            source,
            agent: agent.to_owned(),
            opening: Opening::default(),
            writer: None,
            there: None,
            trouble: None,
            first: None,
            at: Timestamp::UNIX_EPOCH,
            early: Vec::new(),
            asked: String::new(),
            turn: 0,
            open: None,
            unread: Unread::default(),
            last_outcome: None,
        }
    }

    /// Says when what is told next happened. Sources may be out of order: a journal is not.
    pub(super) fn at(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at.filter(|at| plausible(*at)) {
            self.first.get_or_insert(at);
            self.at = self.at.max(at);
        }
    }

    /// Where the work was done, as far as the source says; may be empty.
    pub(super) fn working_dir(&self) -> &str {
        &self.opening.working_dir
    }

    /// Whether there is no sense in telling more.
    pub(super) fn is_broken(&self) -> bool {
        self.trouble.is_some()
    }

    /// Names the agent, where each source of a tool has its own.
    pub(super) fn agent(&mut self, name: &str) {
        self.agent = self.clip(name.to_owned());
    }

    /// The next turn is of another conversation of an agent's.
    pub(super) fn forget_native(&mut self) {
        self.native = None;
    }

    /// What a source names as its file is more than what was found: the whole as it is read.
    pub(super) fn read_bytes(&mut self, bytes: u64) {
        self.source.bytes = bytes;
    }

    /// Says that a place of the source could not be read.
    pub(super) fn unread(&mut self, place: String, why: impl std::fmt::Display) {
        self.unread.count += 1;
        if self.unread.places.len() < NAMED {
            self.unread.places.push(clip(format!("{place}: {why}"), SHORT));
        }
    }

    /// A prompt: the turn before is over, the next begins.
    pub(super) fn prompt(&mut self, text: &str) {
        self.prompt_to(text, None, Role::Solo);
    }

    /// The same, to an agent of its own in a role.
    pub(super) fn prompt_to(&mut self, text: &str, agent: Option<&str>, role: Role) {
        self.end_turn();
        self.begin(text);
        self.turn += 1;
        // The first turn's prompt is the session's, as a rule.
        let is_known = self.turn == 1 && prompt_hash(text.as_bytes()) == self.asked;
        let prompt = if is_known { String::new() } else { text.to_owned() };
        let start = TurnStart {
            boxed: false,
            turn: self.turn,
            agent: self.clip(agent.unwrap_or(&self.agent).to_owned()),
            role,
            model: None,
            permissions: None,
            command: Vec::new(),
            prompt,
            prompt_artifact: None,
            snapshot: None,
            withheld: Vec::new(),
        };
        self.append(start);
        self.open = Some(OpenTurn {
            since: self.at,
            usage: Vec::new(),
            changes: Changes::default(),
            exit_code: None,
            outcome: None,
            is_cut_off: false,
            error: None,
            model: None,
        });
    }

    /// Whether a turn is open.
    pub(super) fn in_turn(&self) -> bool {
        self.open.is_some()
    }

    /// What an adapter made of a line.
    pub(super) fn output(&mut self, out: Output) {
        out.events.into_iter().for_each(|event| self.event(event));
    }

    /// Something that happened in a turn. Without one, the source lacks its prompt: it begins without.
    pub(super) fn event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Notice { code, text } => return self.notice(code, text),
            // Its call belongs to a turn that is over.
            AgentEvent::ToolResult { id, output, .. } if self.open.is_none() => {
                return self.notice("late_result", format!("{id}: {}", clip(output, SHORT)));
            }
            _ if self.open.is_none() => self.prompt(""),
            _ => {}
        }
        let turn = self.turn;
        let body: EventBody = match event {
            AgentEvent::Text(text) | AgentEvent::TextPiece(text) => {
                if text.trim().is_empty() {
                    return;
                }
                Message { turn, text, text_artifact: None, cut_artifact: None, continued: false }.into()
            }
            AgentEvent::Thought(text) | AgentEvent::ThoughtPiece(text) => {
                if text.trim().is_empty() {
                    return;
                }
                Thought { turn, text, text_artifact: None, continued: false }.into()
            }
            AgentEvent::Plan(entries) => Plan { turn, entries: self.plan(entries) }.into(),
            AgentEvent::ToolCall { id, name, kind, title, input, status } => {
                let (call_id, name) = (self.clip(id), self.clip(name));
                let title = title.map(|title| self.clip(title));
                ToolCall { turn, call_id, name, kind, title, input, input_artifact: None, status }.into()
            }
            AgentEvent::ToolResult { id, status, output, exit_code, duration_secs } => {
                let call_id = self.clip(id);
                ToolResult { turn, call_id, status, output, output_artifact: None, exit_code, duration_secs }.into()
            }
            AgentEvent::RateLimited { message, resets_at } => {
                self.set_outcome(TurnOutcome::RateLimited, Some(message.clone()));
                let (agent, message) = (self.agent.clone(), self.clip(message));
                RateLimited { turn, agent, message, resets_at }.into()
            }
            AgentEvent::Usage { tokens, cost_usd, model } => return self.usage(model, tokens, cost_usd),
            AgentEvent::Failed(why) => return self.set_outcome(TurnOutcome::Failed, Some(why)),
            AgentEvent::Model(model) => {
                let model = self.clip(model);
                if let Some(open) = &mut self.open {
                    open.model = Some(model);
                }
                return;
            }
            AgentEvent::Session(id) => {
                self.native = Some(self.clip(id));
                return;
            }
            AgentEvent::Notice { .. } => return,
        };
        self.append(body);
    }

    /// The model that answers in the open turn.
    pub(super) fn model(&mut self, model: Option<String>) {
        if let (Some(model), true) = (model, self.open.is_some()) {
            self.event(AgentEvent::Model(model));
        }
    }

    /// Adds to what the turn has used.
    pub(super) fn usage(&mut self, model: Option<String>, tokens: Tokens, cost_usd: Option<f64>) {
        if tokens.is_zero() && cost_usd.is_none_or(|cost| cost == 0.0) {
            return;
        }
        if self.open.is_none() {
            self.prompt("");
        }
        let model = model.map(|model| self.clip(model));
        let Some(open) = &mut self.open else { return };
        match open.usage.iter_mut().find(|known| known.0 == model) {
            Some(known) => {
                known.1 += tokens;
                known.2 = known.2.zip(cost_usd).map(|(a, b)| a + b).or(known.2).or(cost_usd);
            }
            None => open.usage.push((model, tokens, cost_usd)),
        }
    }

    /// A changed file.
    pub(super) fn edit(&mut self, edit: Edit) {
        if let Some(open) = &mut self.open {
            open.changes.add(edit, &self.opening.working_dir);
        }
    }

    /// How the open turn comes out; the first word counts.
    pub(super) fn set_outcome(&mut self, outcome: TurnOutcome, error: Option<String>) {
        let error = error.map(|error| clip_safely(error, 8 * SHORT, self.desk.redactor));
        if let Some(open) = &mut self.open {
            open.outcome.get_or_insert(outcome);
            open.error = open.error.take().or(error);
        }
    }

    /// The source ends within the open turn: its agent is still at work, or was killed.
    pub(super) fn cut_off(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_cut_off = true;
        }
    }

    /// The patch that the source tells of the open turn, as git wrote it.
    pub(super) fn patch(&mut self, diff: &str) {
        if let Some(open) = &mut self.open {
            open.changes.add_diff(diff);
        }
    }

    /// The exit code of the open turn's agent.
    pub(super) fn exit_code(&mut self, code: Option<i32>) {
        if let Some(open) = &mut self.open {
            open.exit_code = code;
        }
    }

    /// The session moved to another agent.
    pub(super) fn handoff(&mut self, mut handoff: Handoff) {
        self.end_turn();
        handoff.reason = self.clip(handoff.reason);
        (handoff.from, handoff.to) = (self.clip(handoff.from), self.clip(handoff.to));
        self.append(handoff);
    }

    /// A log that belongs to the session: a file of its own, where decklog has such, or else a notice.
    pub(super) fn log(&mut self, path: &Path, bytes: &[u8]) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let named = matches!(name.as_str(), "container.log" | "network.jsonl") || name.ends_with(".stderr");
        let Some(writer) = self.writer.as_ref().filter(|_| self.trouble.is_none()) else { return };
        if plain && named && !name.starts_with('.') {
            if let Err(error) = writer.write_artifact(&format!("{LOGS_DIR}/{name}"), bytes) {
                self.trouble = Some(error.into());
            }
        } else {
            self.notice("log", format!("{name}\n{}", String::from_utf8_lossy(bytes)));
        }
    }

    /// The turn goes on after all: what seemed to be its end was not.
    pub(super) fn clear_outcome(&mut self) {
        if let Some(open) = &mut self.open {
            (open.outcome, open.error) = (None, None);
        }
    }

    /// Something else worth keeping.
    pub(super) fn notice(&mut self, code: &str, text: String) {
        let turn = self.open.is_some().then_some(self.turn);
        let notice = Notice { turn, code: code.to_owned(), text, text_artifact: None };
        if self.writer.is_some() {
            self.append(notice);
        } else if self.early.len() < EARLY {
            self.early.push(notice);
        }
    }

    /// One round of a loop.
    pub(super) fn iteration(&mut self, mut iteration: Iteration) {
        self.end_turn();
        let redactor = self.desk.redactor;
        iteration.feedback = iteration.feedback.map(|feedback| clip_safely(feedback, FEEDBACK, redactor));
        if self.writer.is_some() {
            self.append(iteration);
        }
    }

    /// The open turn is over.
    pub(super) fn end_turn(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        for (model, tokens, cost_usd) in std::mem::take(&mut open.usage) {
            self.append(Usage { turn: self.turn, tokens, cost_usd, model });
        }
        let told = open.changes.take();
        let assumed = if open.is_cut_off { TurnOutcome::Interrupted } else { TurnOutcome::Success };
        let outcome = open.outcome.unwrap_or(assumed);
        self.last_outcome = open.outcome;
        self.append(TurnEnd {
            turn: self.turn,
            outcome,
            exit_code: open.exit_code,
            signal: None,
            duration_secs: seconds_between(open.since, self.at),
            agent_session_id: self.native.clone(),
            model: open.model,
            error: open.error,
            snapshot: None,
            files: told.files,
            files_changed: told.count,
            patch: told.patch,
            patch_artifact: None,
            withheld: told.withheld,
            stream_artifact: None,
            stderr_artifact: None,
            output_artifact: None,
        });
    }

    /// Begins the session, with `prompt` as what was asked.
    pub(super) fn begin(&mut self, prompt: &str) {
        if self.writer.is_some() || self.trouble.is_some() {
            return;
        }
        // A source without any time has at least that of its file.
        let at = self.first.unwrap_or(self.source.modified);
        self.at = self.at.max(at);
        let opening = std::mem::take(&mut self.opening);
        let store = self.desk.store;
        let id = match self.id.clone().map(IdFor::New).or_else(|| store.id_for(at, self.suffix, &self.source)) {
            Some(IdFor::New(id)) => id,
            there => {
                if let Some(IdFor::There(id)) = there {
                    self.there = Some(id);
                }
                let error = std::io::Error::other("no id of this second is to be had");
                self.trouble = Some(StoreError::Io { path: store.root().to_owned(), error });
                return;
            }
        };
        let agents = match &opening.pair {
            Some([(actor, _), (critic, _)]) if actor != critic => {
                vec![self.clip(actor.clone()), self.clip(critic.clone())]
            }
            Some([(actor, _), _]) => vec![self.clip(actor.clone())],
            None if self.agent.is_empty() => Vec::new(),
            None => vec![self.agent.clone()],
        };
        self.asked = prompt_hash(prompt.as_bytes());
        let git = Some(opening.git.clone()).filter(|git| git.head.is_some() || git.branch.is_some());
        let git = git.map(|git| GitState {
            head: git.head.map(|head| self.clip(head)),
            branch: git.branch.map(|branch| self.clip(branch)),
        });
        let [actor, critic] = opening.pair.clone().map_or([None, None], |pair| pair.map(Some));
        let start = |dir: &Path| SessionStart {
            format: FormatVersion::CURRENT,
            id: id.clone(),
            kind: SessionKind::Import,
            prompt: prompt.to_owned(),
            prompt_artifact: None,
            prompt_hash: self.asked.clone(),
            working_dir: clip_safely(opening.working_dir.clone(), PATH, self.desk.redactor),
            session_dir: dir.to_string_lossy().into_owned(),
            agents,
            actor_agent: actor.as_ref().map(|(agent, _)| self.clip(agent.clone())),
            critic_agent: critic.as_ref().map(|(agent, _)| self.clip(agent.clone())),
            actor_model: actor.and_then(|(_, model)| model).map(|model| self.clip(model)),
            critic_model: critic.and_then(|(_, model)| model).map(|model| self.clip(model)),
            max_iterations: opening.max_iterations,
            rules: None,
            git,
            host: None,
            pid: None,
            decklog_version: self.desk.version.to_owned(),
            source: Some(self.source.clone()),
        };
        match self.desk.store.bulk(&id, self.desk.redactor.clone(), at, start) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => self.trouble = Some(error),
        }
        self.opening = opening;
        for notice in std::mem::take(&mut self.early) {
            self.append(notice);
        }
    }

    fn append(&mut self, body: impl Into<EventBody>) {
        let Some(writer) = &mut self.writer else { return };
        if self.trouble.is_some() {
            return;
        }
        match writer.append(self.at, body) {
            // An event that has no place here is the source's oddity: it is told, and the rest goes on.
            Err(WriteError::Illegal(illegal)) => {
                self.unread.count += 1;
                if self.unread.places.len() < NAMED {
                    self.unread.places.push(illegal.to_string());
                }
            }
            Err(error) => self.trouble = Some(error.into()),
            Ok(()) => {}
        }
    }

    /// The session that somebody else made of this source meanwhile.
    pub(super) fn there(&self) -> Option<&SessionId> {
        self.there.as_ref()
    }

    /// Ends the session. Gives it ready for its name, `None` when the source held none, and what could not be read.
    pub(super) fn finish(mut self, ending: Ending) -> Result<(Option<BulkWriter>, Unread), StoreError> {
        self.end_turn();
        if let Some(error) = self.trouble.take() {
            return Err(error);
        }
        if self.unread.count > 0 && self.writer.is_some() {
            let places = self.unread.places.join("\n");
            self.notice(
                "source_unreadable",
                format!("{} places of the source could not be read:\n{places}", self.unread.count),
            );
        }
        let outcome = ending.outcome.or(match self.last_outcome {
            None | Some(TurnOutcome::Success) => None,
            Some(TurnOutcome::Interrupted) => Some(Outcome::Interrupted),
            Some(_) => Some(Outcome::Failed),
        });
        let exit_code = ending.exit_code.or(outcome.map(|outcome| match outcome {
            Outcome::Success => 0,
            Outcome::MaxIterationsReached => 1,
            Outcome::Failed => 2,
            Outcome::Interrupted => 130,
        }));
        let start = self.first.unwrap_or(self.source.modified);
        self.append(SessionEnd {
            outcome,
            iterations: ending.iterations,
            summary: ending.summary.map(|summary| clip_safely(summary, 8 * SHORT, self.desk.redactor)),
            confidence: ending.confidence,
            picked: None,
            duration_secs: seconds_between(start, self.at),
            exit_code,
        });
        match self.trouble.take() {
            Some(error) => Err(error),
            None => Ok((self.writer.take(), self.unread)),
        }
    }

    fn plan(&self, mut entries: Vec<PlanEntry>) -> Vec<PlanEntry> {
        entries.truncate(100);
        for entry in &mut entries {
            entry.content = self.clip(std::mem::take(&mut entry.content));
            entry.status = clip(std::mem::take(&mut entry.status), 64);
        }
        entries
    }

    fn clip(&self, text: String) -> String {
        clip_safely(text, SHORT, self.desk.redactor)
    }
}

/// Whether a time can become an id and be written: years 1970 to 9999.
fn plausible(at: Timestamp) -> bool {
    at > Timestamp::UNIX_EPOCH && at.as_second() < 253_370_764_800
}
