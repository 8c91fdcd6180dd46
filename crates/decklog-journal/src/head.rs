//! The head, `session.json`: a journal's summary, so that listing need not read journals.
//!
//! A head is derived. It names the journal it sums up by length and last `sum`; where the journal has
//! another length, the journal wins and the head is made anew from it, in memory. Unset keys are absent.
//! A `null` means the same as absent.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Event, EventBody, GitState, Source, Tokens};
use crate::files;
use crate::format::FormatVersion;
use crate::id::SessionId;
use crate::state::State;
use crate::time::seconds_between;
use crate::usage::{AgentUsage, UsageFold, add_cost};
use crate::words::{Decision, Outcome, SessionKind, Status};

/// Name of the head in the session directory.
pub const HEAD_FILE: &str = "session.json";

/// No head that this crate writes comes near it; a larger file is not read.
const MAX_HEAD: u64 = 1024 * 1024;

/// Characters of the prompt that a head keeps.
pub(crate) const PREVIEW: usize = 200;

/// A session's summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Format of the record.
    pub format: FormatVersion,
    /// The session's id.
    pub id: SessionId,
    /// What sort of session.
    pub kind: SessionKind,
    /// Status as the journal says; see [`crate::store::Listed::status`] for what to show.
    pub status: Status,
    /// How it came out; absent while it is not completed, and of an imported session whose source does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was completed or checkpointed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Time of the last event summed up here.
    pub last_event_at: Timestamp,
    /// Seconds from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<f64>,
    /// What the program exited with; absent where `outcome` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The first 200 characters of the prompt.
    pub prompt: String,
    /// First 12 hex digits of the SHA-256 of the full prompt.
    pub prompt_hash: String,
    /// Absolute path the agents work in.
    pub working_dir: String,
    /// Last component of `working_dir`.
    pub project: String,
    /// Where the session directory was made.
    pub session_dir: String,
    /// Agents in the order they first came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<String>>,
    /// Models in the order they first came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// In a loop: who works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_agent: Option<String>,
    /// In a loop: who judges; absent when the checks do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic_agent: Option<String>,
    /// Turns begun.
    pub turns: u32,
    /// Iterations ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// Iterations in which both a critic and checks judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations_judged: Option<u32>,
    /// Of them, those in which the critic said `DONE` and the checks passed, or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations_agreed: Option<u32>,
    /// Tokens of all turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Cost in US dollars of all turns, as far as agents told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What each agent used with each model, in the order in which they began: of a session that has more than one of
    /// either, or usage that belongs to neither. Absent from heads before format 1.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<AgentUsage>>,
    /// Changed files, added up over the turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    /// Why it was checkpointed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_reason: Option<String>,
    /// A few words on how it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Name of the image in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_config_name: Option<String>,
    /// Tag of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// Name of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Whether the agents themselves run in it, and not their tools alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boxed: bool,
    /// The repository at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitState>,
    /// Name of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Process id of the recorder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Version of the program that recorded.
    pub decklog_version: String,
    /// In an imported session: where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// `recording_failed` notices: how often something could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_failures: Option<u32>,
    /// Events summed up.
    pub events: u64,
    /// Length in bytes of the journal summed up.
    pub journal_bytes: u64,
    /// `sum` of its last line: vouches for the whole journal.
    pub sum: String,
}

/// Why a head could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The file cannot be read, or is no regular file of sane size.
    #[error("session.json cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not a head.
    #[error("session.json is not a session head: {0}")]
    NotAHead(#[from] serde_json::Error),
    /// It is from a version with another major format.
    #[error("it is in format {0}, which this decklog cannot read: use a newer decklog")]
    Format(FormatVersion),
}

impl Head {
    /// Reads the head in `dir`.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn read(dir: &Path) -> Result<Self, HeadError> {
        #[derive(Deserialize)]
        struct Version {
            format: FormatVersion,
        }
        let bytes = files::read_limited(&dir.join(HEAD_FILE), MAX_HEAD)?;
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(mut head) if head.format.is_readable() => {
                head.forget_assumed_outcome();
                Ok(head)
            }
            Ok(head) => Err(HeadError::Format(head.format)),
            Err(error) => match serde_json::from_slice::<Version>(&bytes) {
                Ok(version) if !version.format.is_readable() => Err(HeadError::Format(version.format)),
                _ => Err(error.into()),
            },
        }
    }

    pub(crate) fn write(&self, dir: &Path, sync: bool) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        files::replace(dir, HEAD_FILE, &bytes, sync)
    }
}

/// Sums a journal up, event by event.
#[derive(Debug, Clone, Default)]
pub struct HeadFold {
    head: Option<Head>,
    state: State,
    usage: UsageFold,
}

impl HeadFold {
    /// The summary so far; `None` before `session_start`.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The summary so far, to be taken out.
    #[must_use]
    pub fn into_head(self) -> Option<Head> {
        self.head
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Says which journal this sums up.
    pub(crate) fn set_journal(&mut self, bytes: u64, sum: &str) {
        if let Some(head) = &mut self.head {
            head.journal_bytes = bytes;
            sum.clone_into(&mut head.sum);
        }
    }

    /// Takes in the next event. Events out of order do no harm: what is there counts.
    pub fn apply(&mut self, event: &Event) {
        self.state.apply(&event.body);
        if let (EventBody::SessionStart(start), None) = (&event.body, &self.head) {
            self.head = Some(Head::begin(event, start));
        }
        let Some(head) = &mut self.head else { return };
        head.events = event.seq.saturating_add(1);
        head.last_event_at = event.timestamp;
        if let Some(status) = self.state.status() {
            head.status = status;
        }
        match &event.body {
            EventBody::TurnStart(start) => {
                head.turns = head.turns.max(start.turn);
                // An `mcp` session has no agent.
                if !start.agent.is_empty() {
                    push_new(&mut head.agents, &start.agent);
                }
                self.usage.begin(start);
                head.set_usage(&self.usage);
            }
            EventBody::Container(container) => {
                head.image_config_name = Some(container.image_config_name.clone());
                head.image_tag = Some(container.image_tag.clone());
                head.container_name = Some(container.container_name.clone());
                head.boxed = container.boxed;
            }
            EventBody::Usage(usage) => {
                *head.tokens.get_or_insert_default() += usage.tokens;
                head.cost_usd = add_cost(head.cost_usd, usage.cost_usd);
                if let Some(model) = &usage.model {
                    push_new(&mut head.models, model);
                }
                self.usage.add(usage);
                head.set_usage(&self.usage);
            }
            EventBody::TurnEnd(end) => {
                if end.snapshot.is_some() || end.files_changed > 0 {
                    let count = head.files_changed.get_or_insert(0);
                    *count = count.saturating_add(end.files_changed);
                }
                if let Some(model) = &end.model {
                    push_new(&mut head.models, model);
                }
                self.usage.end(end);
                head.set_usage(&self.usage);
            }
            EventBody::Notice(notice) if notice.code == RECORDING_FAILED => {
                *head.recording_failures.get_or_insert(0) += 1;
            }
            EventBody::Iteration(iteration) => {
                let count = head.iterations.get_or_insert(0);
                *count = (*count).max(iteration.iteration_number);
                if let (Some(passed), Some(_)) = (iteration.checks_passed, iteration.critic_turn) {
                    let said = iteration.critic_said.unwrap_or(iteration.critic_decision);
                    *head.iterations_judged.get_or_insert(0) += 1;
                    *head.iterations_agreed.get_or_insert(0) += u32::from(passed == (said == Decision::Done));
                }
            }
            EventBody::Checkpoint(checkpoint) => {
                head.checkpoint_reason = Some(checkpoint.reason.clone());
                head.exit_code = checkpoint.exit_code;
                head.end(event.timestamp);
            }
            EventBody::Resumed(resumed) => {
                head.outcome = None;
                head.ended_at = None;
                head.duration_secs = None;
                head.exit_code = None;
                head.checkpoint_reason = None;
                head.pid = resumed.pid;
            }
            EventBody::SessionEnd(end) => {
                head.outcome = end.outcome;
                head.exit_code = end.exit_code;
                head.summary.clone_from(&end.summary);
                head.end(event.timestamp);
                head.forget_assumed_outcome();
            }
            _ => {}
        }
    }
}

/// `code` of the notice that says that something could not be recorded.
pub const RECORDING_FAILED: &str = "recording_failed";

fn push_new(list: &mut Option<Vec<String>>, name: &str) {
    let list = list.get_or_insert_default();
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
}

impl Head {
    /// Before format 1.6 an import said `success` of every source that reported nothing else. A recorder that
    /// resumed it, and whose process id it has, wrote its own.
    fn forget_assumed_outcome(&mut self) {
        let reports_outcome = FormatVersion { major: 1, minor: 6 };
        let is_assumed = self.kind == SessionKind::Import && self.format < reports_outcome && self.pid.is_none();
        if is_assumed && self.outcome == Some(Outcome::Success) {
            (self.outcome, self.exit_code) = (None, None);
        }
    }

    fn set_usage(&mut self, usage: &UsageFold) {
        let several = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.len() > 1);
        let sums = usage.sums();
        self.usage = (sums.len() > 1 || several(&self.agents) || several(&self.models)).then_some(sums);
    }

    fn end(&mut self, at: Timestamp) {
        self.ended_at = Some(at);
        self.duration_secs = Some(seconds_between(self.started_at, at));
    }

    fn begin(event: &Event, start: &crate::event::SessionStart) -> Self {
        let project = Path::new(&start.working_dir).file_name();
        Self {
            format: start.format,
            id: start.id.clone(),
            kind: start.kind,
            status: Status::Active,
            outcome: None,
            started_at: event.timestamp,
            ended_at: None,
            last_event_at: event.timestamp,
            duration_secs: None,
            exit_code: None,
            prompt: start.prompt.chars().take(PREVIEW).collect(),
            prompt_hash: start.prompt_hash.clone(),
            working_dir: start.working_dir.clone(),
            project: project.map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned()),
            session_dir: start.session_dir.clone(),
            agents: (!start.agents.is_empty()).then(|| start.agents.clone()),
            models: None,
            actor_agent: start.actor_agent.clone(),
            critic_agent: start.critic_agent.clone(),
            turns: 0,
            iterations: None,
            iterations_judged: None,
            iterations_agreed: None,
            tokens: None,
            cost_usd: None,
            usage: None,
            files_changed: None,
            checkpoint_reason: None,
            summary: None,
            image_config_name: None,
            image_tag: None,
            container_name: None,
            boxed: false,
            git: start.git.clone(),
            host: start.host.clone(),
            pid: start.pid,
            decklog_version: start.decklog_version.clone(),
            source: start.source.clone(),
            recording_failures: None,
            events: 0,
            journal_bytes: 0,
            sum: String::new(),
        }
    }
}
