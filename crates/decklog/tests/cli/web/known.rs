//! What events of a session add up to, beside what is there without them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Client, Told};

/// What somebody knows of a session who follows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    pub(super) steps: BTreeMap<(u64, u64), Value>,
    pub(super) outline: Value,
    pub(super) last: Option<String>,
    pub(super) is_over: bool,
}

impl Known {
    pub(super) fn take(&mut self, told: Told) {
        match told.kind.as_str() {
            "steps" => {
                for one in told.data["steps"].as_array().unwrap() {
                    self.steps.insert((one[0].as_u64().unwrap(), one[1].as_u64().unwrap()), one[2].clone());
                }
            }
            "outline" => self.outline = unplaced(told.data),
            "end" => (self.outline, self.is_over) = (unplaced(told.data.clone()), true),
            other => panic!("{other}: {}", told.data),
        }
        self.last = told.id.or(self.last.take());
    }

    /// Follows on from what is known until the end, keeping what was known at each event that has an id.
    pub(super) fn follow(mut self, client: &Client, id: &str) -> (Self, Vec<Self>) {
        let mut stages = Vec::new();
        for told in client.follow(&format!("/sessions/{id}/live"), self.last.clone().as_deref()) {
            let is_stage = told.id.is_some();
            self.take(told);
            stages.extend(is_stage.then(|| self.clone()));
        }
        assert!(self.is_over, "the stream ends with the session");
        (self, stages)
    }

    /// What is known without following.
    pub(super) fn asked(client: &Client, id: &str) -> Self {
        let outline = client.json(&format!("/sessions/{id}/outline"));
        let mut steps = BTreeMap::new();
        for turn in outline["turns"].as_array().unwrap() {
            let (number, count) = (turn["turn"].as_u64().unwrap(), turn["steps"].as_u64().unwrap());
            let mut from = 0;
            while from < count {
                let page = client.json(&format!("/sessions/{id}/turns/{number}/steps?from={from}"));
                let cards = page.as_array().unwrap();
                assert!(!cards.is_empty() && cards.len() <= 200);
                steps.extend((from..).zip(cards).map(|(at, card)| ((number, at), card.clone())));
                from += cards.len() as u64;
            }
            assert_eq!(from, count);
        }
        Self { steps, outline: unplaced(outline), last: None, is_over: true }
    }

    #[track_caller]
    pub(super) fn is(&self, other: &Self, what: &str) {
        assert_eq!(self.outline, other.outline, "{what}");
        assert_eq!(self.steps, other.steps, "{what}");
    }
}

/// An outline but for how far the journal had been read.
fn unplaced(mut outline: Value) -> Value {
    assert!(outline.as_object_mut().unwrap().remove("position").unwrap().is_u64());
    outline
}
