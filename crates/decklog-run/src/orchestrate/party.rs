//! Who is asked: an agent, and the model wanted of it.

use crate::agents::AgentDefinition;

/// An agent, and the model wanted of it.
#[derive(Debug, Clone)]
pub struct Party {
    /// The agent.
    pub agent: AgentDefinition,
    /// The model wanted, in the agent's own spelling.
    pub model: Option<String>,
}

impl Party {
    /// The agent with the model it prefers.
    #[must_use]
    pub fn plain(agent: AgentDefinition) -> Self {
        Self { agent, model: None }
    }

    /// As users write it: `claude`, or `claude:opus`.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.model {
            Some(model) => format!("{}:{model}", self.agent.name),
            None => self.agent.name.clone(),
        }
    }
}

/// Names of several: as users wrote them, with a number where two are the same.
#[must_use]
pub fn labels(parties: &[Party]) -> Vec<String> {
    let labels: Vec<String> = parties.iter().map(Party::label).collect();
    let same = |at: usize| labels.iter().filter(|other| **other == labels[at]).count();
    let before = |at: usize| labels[..at].iter().filter(|other| **other == labels[at]).count();
    (0..labels.len())
        .map(|at| if same(at) > 1 { format!("{}#{}", labels[at], before(at) + 1) } else { labels[at].clone() })
        .collect()
}
