//! The agents, models and projects that there are, and how many sessions each has: what menus offer.
//!
//! Must not know: HTTP.

use std::collections::{BTreeMap, HashMap};

use decklog_journal::Row;
use decklog_query::stats::By;
use serde_json::{Value, json};

/// Values that a menu offers.
const VALUES: usize = 200;

/// Values by the name of the menu, as JSON.
pub(crate) type Menus = BTreeMap<&'static str, Value>;

/// Sessions counted by what menus tell them apart by.
#[derive(Debug, Default)]
pub(crate) struct Facets {
    sessions: u64,
    agents: HashMap<String, u64>,
    models: HashMap<String, u64>,
    projects: HashMap<String, u64>,
}

impl Facets {
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        self.sessions += 1;
        row.agents.iter().for_each(|agent| count(&mut self.agents, agent));
        row.models.iter().for_each(|model| count(&mut self.models, model));
        count(&mut self.projects, row.project);
    }

    /// By name: all sessions, and of each kind the most used values, these first.
    pub(crate) fn into_json(self) -> Menus {
        let mut json = BTreeMap::from([("sessions", self.sessions.into())]);
        for (by, counts) in [(By::Agent, self.agents), (By::Model, self.models), (By::Project, self.projects)] {
            let mut all: Vec<_> = counts.into_iter().collect();
            all.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
            let value = |(value, sessions)| json!({ "value": value, "sessions": sessions });
            json.insert(by.as_str(), all.into_iter().take(VALUES).map(value).collect());
        }
        json
    }
}

fn count(counts: &mut HashMap<String, u64>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}
