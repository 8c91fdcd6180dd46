//! What each agent used, with each model: the sums that a session's totals are made of.
//!
//! Must not know: where the events come from.

use serde::{Deserialize, Serialize};

use crate::event::{Tokens, TurnEnd, TurnStart, Usage};

/// What one agent used with one model, over all of its turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentUsage {
    /// The agent's name; empty in a session without agents.
    pub agent: String,
    /// The model that was paid, or else the one that the turn ended with; absent when neither is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens.
    pub tokens: Tokens,
    /// Cost in US dollars, as reported by the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// Sums usage by agent and model, event by event.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsageFold {
    sums: Vec<AgentUsage>,
    /// Turns without an end.
    open: Vec<OpenTurn>,
}

#[derive(Debug, Clone)]
struct OpenTurn {
    turn: u32,
    agent: String,
    /// What names no model: whose it is, the end of the turn says.
    unnamed: Option<(Tokens, Option<f64>)>,
}

impl UsageFold {
    pub(crate) fn begin(&mut self, start: &TurnStart) {
        self.open.push(OpenTurn { turn: start.turn, agent: start.agent.clone(), unnamed: None });
    }

    pub(crate) fn add(&mut self, usage: &Usage) {
        let turn = self.open.iter_mut().rfind(|open| open.turn == usage.turn);
        match (turn, &usage.model) {
            (Some(open), None) => {
                let (tokens, cost) = open.unnamed.get_or_insert_default();
                *tokens += usage.tokens;
                *cost = add_cost(*cost, usage.cost_usd);
            }
            (turn, model) => {
                let agent = turn.map(|open| open.agent.clone()).unwrap_or_default();
                add(&mut self.sums, &agent, model.as_deref(), (usage.tokens, usage.cost_usd));
            }
        }
    }

    pub(crate) fn end(&mut self, end: &TurnEnd) {
        if let Some(at) = self.open.iter().rposition(|open| open.turn == end.turn) {
            let OpenTurn { agent, unnamed, .. } = self.open.remove(at);
            if let Some(unnamed) = unnamed {
                add(&mut self.sums, &agent, end.model.as_deref(), unnamed);
            }
        }
    }

    /// The sums so far, in the order in which they began.
    pub(crate) fn sums(&self) -> Vec<AgentUsage> {
        let mut sums = self.sums.clone();
        for open in &self.open {
            if let Some(unnamed) = open.unnamed {
                add(&mut sums, &open.agent, None, unnamed);
            }
        }
        sums
    }
}

fn add(sums: &mut Vec<AgentUsage>, agent: &str, model: Option<&str>, (tokens, cost_usd): (Tokens, Option<f64>)) {
    match sums.iter_mut().find(|sum| sum.agent == agent && sum.model.as_deref() == model) {
        Some(sum) => {
            sum.tokens += tokens;
            sum.cost_usd = add_cost(sum.cost_usd, cost_usd);
        }
        None => {
            let (agent, model) = (agent.to_owned(), model.map(str::to_owned));
            sums.push(AgentUsage { agent, model, tokens, cost_usd });
        }
    }
}

/// The sum of two costs, of which one that was not reported adds nothing.
pub(crate) fn add_cost(sum: Option<f64>, more: Option<f64>) -> Option<f64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}
