//! What listings, statistics and filters need to know of a session: a light view of its head, which a head gives at no
//! cost and an index can give without one.
//!
//! Must not know: where it comes from.

use std::path::Path;

use jiff::Timestamp;

use crate::event::Tokens;
use crate::id::SessionId;
use crate::store::Listed;
use crate::time::seconds_between;
use crate::words::{Outcome, SessionKind, ShownOutcome, ShownStatus};

/// A session in a list. See [`crate::Head`] for what the fields mean.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "they are a head's")]
pub struct Row<'a> {
    /// The id, as [`SessionId::to_number`] gives it: most who ask do not show it.
    pub number: i64,
    pub kind: SessionKind,
    /// What to show as its status.
    pub status: ShownStatus,
    pub outcome: Option<Outcome>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub last_event_at: Timestamp,
    pub duration_secs: Option<f64>,
    pub exit_code: Option<i32>,
    pub prompt: &'a str,
    pub prompt_hash: &'a str,
    pub working_dir: &'a str,
    pub project: &'a str,
    pub agents: &'a [String],
    pub models: &'a [String],
    pub actor: Option<&'a str>,
    pub critic: Option<&'a str>,
    pub turns: u32,
    pub iterations: Option<u32>,
    pub iterations_judged: Option<u32>,
    pub iterations_agreed: Option<u32>,
    pub tokens: Option<Tokens>,
    pub cost_usd: Option<f64>,
    pub files_changed: Option<u64>,
    /// Name of its image in the configuration, when it has a container.
    pub image: Option<&'a str>,
    pub container: Option<&'a str>,
    /// Where its entry leads, when that is a link.
    pub linked_to: Option<&'a Path>,
}

impl Row<'_> {
    /// Its id.
    ///
    /// # Panics
    /// Never: rows are made of ids.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::from_number(self.number).expect("a row's number is an id's")
    }

    /// How it came out, as it is shown: a crashed session came out so.
    #[must_use]
    pub fn shown_outcome(&self) -> Option<ShownOutcome> {
        match self.status {
            ShownStatus::Crashed => Some(ShownOutcome::Crashed),
            _ => self.outcome.map(ShownOutcome::from),
        }
    }

    /// Seconds from its start to its end, or to its last event while it has none.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.duration_secs.unwrap_or_else(|| seconds_between(self.started_at, self.last_event_at))
    }
}

impl Listed {
    /// The view of it that lists need.
    #[must_use]
    pub fn row(&self) -> Row<'_> {
        let head = &self.head;
        Row {
            number: head.id.to_number(),
            kind: head.kind,
            status: self.status,
            outcome: head.outcome,
            started_at: head.started_at,
            ended_at: head.ended_at,
            last_event_at: head.last_event_at,
            duration_secs: head.duration_secs,
            exit_code: head.exit_code,
            prompt: &head.prompt,
            prompt_hash: &head.prompt_hash,
            working_dir: &head.working_dir,
            project: &head.project,
            agents: head.agents.as_deref().unwrap_or_default(),
            models: head.models.as_deref().unwrap_or_default(),
            actor: head.actor_agent.as_deref(),
            critic: head.critic_agent.as_deref(),
            turns: head.turns,
            iterations: head.iterations,
            iterations_judged: head.iterations_judged,
            iterations_agreed: head.iterations_agreed,
            tokens: head.tokens,
            cost_usd: head.cost_usd,
            files_changed: head.files_changed,
            image: head.image_config_name.as_deref(),
            container: head.container_name.as_deref(),
            linked_to: self.linked_to.as_deref(),
        }
    }
}
