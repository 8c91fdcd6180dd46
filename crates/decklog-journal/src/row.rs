//! What listings, statistics and filters need to know of a session: a light view of its head, which a head gives at no
//! cost and an index can give without one.
//!
//! Must not know: where it comes from.

use std::borrow::Cow;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Tokens;
use crate::head::Head;
use crate::id::SessionId;
use crate::store::Listed;
use crate::time::seconds_between;
use crate::usage::{AgentUsage, add_cost};
use crate::words::{Outcome, SessionKind, ShownOutcome, ShownStatus};

/// The part of a session's usage that one agent had with one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Place of the agent in [`Row::agents`].
    pub agent: Option<u32>,
    /// Place of the model in [`Row::models`].
    pub model: Option<u32>,
    /// Tokens.
    pub tokens: Tokens,
    /// Cost in US dollars, as reported by the agent.
    pub cost_usd: Option<f64>,
}

/// What one agent or one model used in a session: tokens, and cost in US dollars.
pub type Used = (Option<Tokens>, Option<f64>);

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
    /// How `tokens` and `cost_usd` are shared out. Empty when all of it is the only agent's with the only model, and when the
    /// shares are not known.
    pub shares: Cow<'a, [Share]>,
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
        ShownOutcome::of(self.status, self.outcome)
    }

    /// What the agent at this place of `agents` used.
    #[must_use]
    pub fn used_by_agent(&self, place: usize) -> Used {
        let is_only = self.agents.len() <= 1;
        self.used(is_only, |share| share.agent.is_some_and(|agent| agent as usize == place))
    }

    /// What was used of the model at this place of `models`.
    #[must_use]
    pub fn used_of_model(&self, place: usize) -> Used {
        let is_only = self.models.len() <= 1 && self.agents.len() <= 1;
        self.used(is_only, |share| share.model.is_some_and(|model| model as usize == place))
    }

    fn used(&self, is_only: bool, takes: impl Fn(&Share) -> bool) -> Used {
        if self.shares.is_empty() {
            return if is_only { (self.tokens, self.cost_usd) } else { (None, None) };
        }
        self.shares.iter().filter(|share| takes(share)).fold((None, None), |(tokens, cost), share| {
            let mut sum = tokens.unwrap_or_default();
            sum += share.tokens;
            (Some(sum), add_cost(cost, share.cost_usd))
        })
    }

    /// Seconds from its start to its end, or to its last event while it has none.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.duration_secs.unwrap_or_else(|| seconds_between(self.started_at, self.last_event_at))
    }
}

impl Listed {
    /// Reads how usage is shared out from the journal, where the head is from a version that did not keep it. One that
    /// cannot be read leaves it unknown.
    pub fn read_usage(&mut self) {
        let several = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.len() > 1);
        let head = &self.head;
        let has_usage = head.tokens.is_some() || head.cost_usd.is_some();
        if has_usage && head.usage.is_none() && (several(&head.agents) || several(&head.models)) {
            self.head.usage = crate::session::rebuild_head(&self.entry).ok().and_then(|head| head.usage);
        }
    }

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
            shares: shares(head).into(),
            files_changed: head.files_changed,
            image: head.image_config_name.as_deref(),
            container: head.container_name.as_deref(),
            linked_to: self.linked_to.as_deref(),
        }
    }
}

fn shares(head: &Head) -> Vec<Share> {
    let place = |list: &Option<Vec<String>>, name: &str| {
        let place = list.as_ref()?.iter().position(|known| known == name)?;
        u32::try_from(place).ok()
    };
    let share = |usage: &AgentUsage| Share {
        agent: place(&head.agents, &usage.agent),
        model: usage.model.as_deref().and_then(|model| place(&head.models, model)),
        tokens: usage.tokens,
        cost_usd: usage.cost_usd,
    };
    head.usage.iter().flatten().map(share).collect()
}
