//! Who goes on when an agent may not: decided from what is known of everybody's limits.
//!
//! Must not know: how agents are run, the record, the clock (it is told the time).

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::orchestrate::party::Party;

/// How long an agent is taken for limited when it did not say until when.
pub const UNTOLD: SignedDuration = SignedDuration::from_mins(15);

/// After a wait of so long, what was refused before counts for nothing.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Who may go on with a session, decided before it begins.
#[derive(Debug, Clone, Default)]
pub struct Relay {
    /// Who follows, in order.
    pub others: Vec<Candidate>,
    /// Whether to wait for the first one back when all are limited.
    pub wait: bool,
}

impl Relay {
    /// What the definitions of `first` and all who may follow set for their agents.
    pub(in crate::orchestrate) fn configured<'a>(
        &'a self,
        first: &'a Party,
    ) -> impl Iterator<Item = &'a (String, String)> {
        let others = self.others.iter().map(|other| &other.party);
        std::iter::once(first).chain(others).flat_map(|party| &party.agent.env)
    }
}

/// Somebody who may go on.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who.
    pub party: Party,
    /// Known to be limited until then.
    pub limited_until: Option<Timestamp>,
}

/// An agent that may not go on for now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limited {
    /// Its name.
    pub agent: String,
    /// When it may go on, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::orchestrate) enum Next {
    /// The one who is now present goes on.
    Now,
    /// The same, but not before then.
    At(Timestamp),
    /// Nobody can, or the session only goes round.
    Nobody,
}

/// Somebody's place in the order.
#[derive(Debug, Clone)]
struct Seat {
    party: Party,
    /// Limited until then, and whether that was told or is only supposed.
    limit: Option<(Timestamp, bool)>,
}

/// The order in which a session's agents follow each other.
#[derive(Debug, Clone)]
pub(in crate::orchestrate) struct Order {
    seats: Vec<Seat>,
    present: usize,
    wait: bool,
    /// Agents in a row that were refused before they had done anything.
    idle: usize,
}

impl Order {
    /// `first`, then those of `relay` that are somebody else.
    pub(in crate::orchestrate) fn new(first: &Party, relay: &Relay) -> Self {
        let mut seats = vec![Seat { party: first.clone(), limit: None }];
        for other in &relay.others {
            if seats.iter().all(|seat| seat.party.label() != other.party.label()) {
                let limit = other.limited_until.map(|until| (until, true));
                seats.push(Seat { party: other.party.clone(), limit });
            }
        }
        Self { seats, present: 0, wait: relay.wait, idle: 0 }
    }

    /// Who is at work, or is to be.
    pub(in crate::orchestrate) fn present(&self) -> &Party {
        &self.seats[self.present].party
    }

    /// The same order, with `party` in the place of the present one.
    pub(in crate::orchestrate) fn replace_present(&mut self, party: Party) {
        self.seats[self.present] = Seat { party, limit: None };
    }

    /// The present one came to its end.
    pub(in crate::orchestrate) fn answered(&mut self) {
        self.idle = 0;
        self.seats[self.present].limit = None;
    }

    /// The present one may not go on, until then if that is known. `worked`: it had done something before.
    pub(in crate::orchestrate) fn refused(&mut self, until: Option<Timestamp>, worked: bool, now: Timestamp) -> Next {
        self.idle = if worked { 0 } else { self.idle + 1 };
        let supposed = || now.checked_add(UNTOLD).unwrap_or(Timestamp::MAX);
        self.seats[self.present].limit = Some((until.unwrap_or_else(supposed), until.is_some()));
        // Limits that are said to be over and are not would be tried for ever.
        if self.idle >= 2 * self.seats.len() {
            return Next::Nobody;
        }
        let free = |at: &usize| self.seats[*at].limit.is_none_or(|(until, _)| until <= now);
        // The one who was just refused comes last, even where its limit is said to be over.
        let others = (0..self.seats.len()).filter(|at| *at != self.present);
        if let Some(at) = others.chain([self.present]).find(free) {
            self.present = at;
            return Next::Now;
        }
        match self.seats.iter().enumerate().filter_map(|(at, seat)| Some((seat.limit?.0, at))).min() {
            Some((until, at)) if self.wait => {
                self.present = at;
                // Who waits is not bouncing.
                if until.duration_since(now) >= PAUSE {
                    self.idle = 0;
                }
                Next::At(until)
            }
            _ => Next::Nobody,
        }
    }

    /// Who is back first, of those that told when.
    pub(in crate::orchestrate) fn first_back(&self) -> Option<Limited> {
        let told = self.seats.iter().filter_map(|seat| Some((seat.limit.filter(|(_, told)| *told)?.0, seat)));
        let (until, seat) = told.min_by_key(|(until, _)| *until)?;
        Some(Limited { agent: seat.party.agent.name.clone(), resets_at: Some(until) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::AgentDefinition;

    fn party(name: &str) -> Party {
        let mut agent = AgentDefinition::command(vec![name.into()]);
        name.clone_into(&mut agent.name);
        Party::plain(agent)
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).expect("a time")
    }

    fn order(names: &[&str], wait: bool) -> Order {
        let others = names[1..].iter().map(|name| Candidate { party: party(name), limited_until: None }).collect();
        Order::new(&party(names[0]), &Relay { others, wait })
    }

    #[test]
    fn each_is_followed_by_the_first_that_may() {
        let mut order = order(&["a", "b", "a", "c"], false);
        assert_eq!(order.seats.len(), 3, "nobody follows themselves");
        assert_eq!((order.refused(Some(at(90)), true, at(0)), order.present().label().as_str()), (Next::Now, "b"));
        assert_eq!((order.refused(None, false, at(1)), order.present().label().as_str()), (Next::Now, "c"));
        // Who is back by then comes before who never was there.
        assert_eq!((order.refused(Some(at(200)), true, at(100)), order.present().label().as_str()), (Next::Now, "a"));
        assert_eq!(order.refused(Some(at(150)), true, at(101)), Next::Now);
        assert_eq!(order.present().label(), "b");
        assert_eq!(order.refused(Some(at(160)), true, at(102)), Next::Nobody);
        let first = order.first_back().expect("a is");
        assert_eq!((first.agent.as_str(), first.resets_at), ("a", Some(at(150))));
    }

    #[test]
    fn the_first_one_back_is_waited_for() {
        let mut order = order(&["a", "b"], true);
        assert_eq!(order.refused(Some(at(30)), true, at(0)), Next::Now);
        assert_eq!(order.refused(None, true, at(1)), Next::At(at(16)), "who did not say is tried after a while");
        assert_eq!(order.present().label(), "b");
        assert_eq!(order.first_back().map(|limited| limited.agent), Some("a".into()), "but nobody is told so");
    }

    #[test]
    fn a_limit_known_before_counts() {
        let limited = Candidate { party: party("b"), limited_until: Some(at(20)) };
        let mut order = Order::new(&party("a"), &Relay { others: vec![limited], wait: false });
        assert_eq!(order.clone().refused(Some(at(30)), true, at(0)), Next::Nobody);
        assert_eq!(order.refused(Some(at(30)), true, at(21)), Next::Now);
    }

    #[test]
    fn who_waits_long_enough_may_be_refused_for_ever() {
        let mut order = order(&["a"], true);
        for time in (0..100).step_by(15) {
            assert_eq!(order.refused(None, false, at(time)), Next::At(at(time + 15)));
        }
    }

    #[test]
    fn a_chain_that_only_bounces_stops() {
        let mut order = order(&["a", "b"], true);
        // Each says that it is back at once, and is not.
        let nexts: Vec<Next> = (1..=4).map(|time| order.refused(Some(at(time)), false, at(time))).collect();
        assert_eq!(nexts, [Next::Now, Next::Now, Next::Now, Next::Nobody]);
        order.answered();
        assert_ne!(order.refused(Some(at(9)), false, at(5)), Next::Nobody, "an answer begins anew");
    }
}
