//! Who speaks next in a chat, and when it is over: a pure function from state and event to state.
//!
//! | phase | what is being done | goes to |
//! | --- | --- | --- |
//! | `Speak` | the speaker of a seat has its turn | `Speak` of the next seat; `Check` or `Over` when all agree |
//! | `Check` | the checks run | `Over` when they pass, else `Speak` |
//! | `Over` | the session's end is recorded | nowhere |
//!
//! All agree when each has agreed in turn, and none has changed a file after another one agreed to it. Must not know:
//! agents, prompts, files, the clock.

use decklog_journal::words::Outcome;

/// What was decided before the chat began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) speakers: usize,
    pub(super) max_turns: u32,
    pub(super) has_checks: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Speak,
    Check,
    Over(End),
}

/// How it ends, for now or for good.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    /// Absent: it waits for a limit to pass.
    pub(super) outcome: Option<Outcome>,
    /// Why, in words.
    pub(super) reason: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The speaker came to its end.
    Spoke { agreed: bool, changed: bool },
    /// It did not.
    Failed(String),
    /// Nobody can speak for now.
    Limited,
    /// A signal came.
    Stopped,
    /// Time or money is spent.
    Exhausted(String),
    /// The checks ran.
    Checked { passed: bool },
}

/// Where a chat stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    rules: Rules,
    pub(super) phase: Phase,
    /// Turns that came to their end.
    pub(super) turns: u32,
    /// How many in a row agree to what there is now.
    agreed: usize,
}

impl State {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, phase: Phase::Speak, turns: 0, agreed: 0 }
    }

    /// Whose turn it is, from 0.
    pub(super) fn seat(&self) -> usize {
        self.turns as usize % self.rules.speakers
    }

    /// Moves on by one event. One that cannot come in this phase changes nothing.
    pub(super) fn step(&mut self, event: &Event) {
        self.phase = match (&self.phase, event) {
            (Phase::Speak, Event::Spoke { agreed, changed }) => self.spoke(*agreed, *changed),
            (Phase::Speak, Event::Failed(reason)) => over(Outcome::Failed, reason),
            (Phase::Speak, Event::Limited) => Phase::Over(End { outcome: None, reason: "rate_limit".into() }),
            (Phase::Check, Event::Checked { passed: true }) => self.done(),
            (Phase::Check, Event::Checked { passed: false }) => {
                self.agreed = 0;
                match self.next() {
                    Phase::Over(End { outcome: Some(outcome), .. }) => {
                        over(outcome, &format!("all agreed after {} turns, but the checks fail", self.turns))
                    }
                    phase => phase,
                }
            }
            (Phase::Speak | Phase::Check, Event::Stopped) => over(Outcome::Interrupted, "interrupted"),
            (Phase::Speak | Phase::Check, Event::Exhausted(what)) => over(Outcome::MaxIterationsReached, what),
            (phase, _) => phase.clone(),
        };
    }

    /// Speaks on, whatever ended it, until so many turns were had.
    pub(super) fn go_on(&mut self, max_turns: u32) {
        self.rules.max_turns = max_turns;
        if self.phase != Phase::Speak {
            self.phase = self.next();
        }
    }

    /// Goes on after its end: for so many turns more, and until all agree once more.
    pub(super) fn begin_anew(&mut self, more_turns: u32) {
        self.agreed = 0;
        self.rules.max_turns = self.turns.saturating_add(more_turns);
        self.phase = self.next();
    }

    fn spoke(&mut self, agreed: bool, changed: bool) -> Phase {
        self.turns += 1;
        self.agreed = match (agreed, changed) {
            (false, _) => 0,
            // The others have not seen it yet.
            (true, true) => 1,
            (true, false) => self.agreed + 1,
        };
        if self.agreed < self.rules.speakers {
            self.next()
        } else if self.rules.has_checks {
            Phase::Check
        } else {
            self.done()
        }
    }

    fn next(&self) -> Phase {
        if self.turns < self.rules.max_turns {
            return Phase::Speak;
        }
        over(Outcome::MaxIterationsReached, &format!("not agreed after {} turns", self.turns))
    }

    fn done(&self) -> Phase {
        over(Outcome::Success, &format!("all agree after {} turns", self.turns))
    }
}

fn over(outcome: Outcome, reason: &str) -> Phase {
    Phase::Over(End { outcome: Some(outcome), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a`: agrees, `A`: changes something and agrees, `n`: does not agree, `p` and `f`: the checks pass or fail.
    fn end(rules: Rules, events: &str) -> (u32, Option<End>) {
        let mut state = State::new(rules);
        for event in events.chars() {
            state.step(&match event {
                'a' => Event::Spoke { agreed: true, changed: false },
                'A' => Event::Spoke { agreed: true, changed: true },
                'n' => Event::Spoke { agreed: false, changed: true },
                'p' => Event::Checked { passed: true },
                _ => Event::Checked { passed: false },
            });
        }
        (state.turns, if let Phase::Over(end) = state.phase { Some(end) } else { None })
    }

    #[test]
    fn it_ends_when_all_agree_to_the_same_or_turns_are_spent() {
        let two = Rules { speakers: 2, max_turns: 10, has_checks: false };
        let three = Rules { speakers: 3, ..two };
        let checked = Rules { has_checks: true, ..two };
        for (rules, events, turns, outcome) in [
            (two, "a", 1, None),
            (two, "aa", 2, Some(Outcome::Success)),
            (two, "na", 2, None),
            (two, "nana", 4, None),
            (two, "nAa", 3, Some(Outcome::Success)),
            (two, "aAAA", 4, None),
            (two, "aAa", 3, Some(Outcome::Success)),
            (three, "aaAaa", 5, Some(Outcome::Success)),
            (three, "aana", 4, None),
            (two, "nnnnnnnnnn", 10, Some(Outcome::MaxIterationsReached)),
            (two, "nnnnnnnnnnn", 10, Some(Outcome::MaxIterationsReached)),
            (checked, "aap", 2, Some(Outcome::Success)),
            (checked, "aaf", 2, None),
            (checked, "aafa", 3, None),
            (checked, "aafaap", 4, Some(Outcome::Success)),
            (checked, "nnnnnnnnaaf", 10, Some(Outcome::MaxIterationsReached)),
            // Out of turn.
            (two, "p", 0, None),
        ] {
            let (spoken, end) = end(rules, events);
            assert_eq!((spoken, end.and_then(|end| end.outcome)), (turns, outcome), "{events}");
        }
    }

    #[test]
    fn whatever_else_happens_ends_it() {
        let rules = Rules { speakers: 2, max_turns: 10, has_checks: true };
        for (event, outcome) in [
            (Event::Failed("exit 3".into()), Some(Outcome::Failed)),
            (Event::Limited, None),
            (Event::Stopped, Some(Outcome::Interrupted)),
            (Event::Exhausted("not agreed when $1 was spent".into()), Some(Outcome::MaxIterationsReached)),
        ] {
            let mut state = State::new(rules);
            state.step(&event);
            let Phase::Over(end) = &state.phase else { panic!("{event:?}") };
            assert_eq!(end.outcome, outcome);
            let before = state.clone();
            state.step(&Event::Spoke { agreed: true, changed: true });
            assert_eq!(state, before, "nothing comes after the end");
        }
    }
}
