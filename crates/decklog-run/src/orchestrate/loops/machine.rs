//! The loop's phases: a pure function from (state, event) to state.
//!
//! | phase | what is being done | goes to |
//! | --- | --- | --- |
//! | `Act` | the actor works | `Check` with checks, else `Judge`; `Close` when it failed alike three times |
//! | `Check` | the checks run | `Judge` with a critic, else `Close` |
//! | `Judge` | the critic judges | `Close`; `JudgeAgain` when its decision cannot be read |
//! | `JudgeAgain` | it is asked for the decision alone | `Close` |
//! | `Close` | the iteration is recorded | `Act` of the next one, or `Over` |
//! | `Over` | the session's end is recorded | where it was, when it was stopped or limited and is resumed |
//!
//! A signal or a spent budget leads from any of the first four to `Over`, and a rate limit from those in which an agent
//! works. Every other pair of phase and event is refused.
//!
//! Must not know: agents, prompts, files, the clock.

use decklog_journal::words::{Decision, Outcome};

/// So many times in a row the same may happen before the loop gives up.
const TIMES: u32 = 3;

/// What was decided before the loop began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) max_iterations: u32,
    pub(super) has_checks: bool,
    pub(super) has_critic: bool,
}

/// What is to be done, or being done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Act,
    Check,
    Judge,
    JudgeAgain,
    Close(Decided),
    Over(End),
}

/// What a critic said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) decision: Decision,
    /// What was done.
    pub(super) summary: Option<String>,
    /// What is to be done; for an error, what went wrong and how to recover.
    pub(super) feedback: Option<String>,
    /// From 0 to 1.
    pub(super) confidence: Option<f64>,
}

/// How an iteration came out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    /// What the critic itself said, where that did not stand.
    pub(super) overruled: Option<Decision>,
}

/// How the loop ends, for now or for good.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    /// Absent: it waits for a limit to pass.
    pub(super) outcome: Option<Outcome>,
    /// The outcome in words.
    pub(super) reason: String,
    pub(super) confidence: Option<f64>,
    /// Where it goes on when it is resumed; absent: nowhere.
    resumes: Option<Box<Phase>>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The actor ended; `failure` says how, in words that are the same when it is the same.
    Acted { failure: Option<String>, changed: bool },
    /// All checks ran; `failures` is for whoever has to mend them.
    Checked { passed: bool, failures: String },
    /// The critic decided.
    Judged(Verdict),
    /// The critic said something that is no decision.
    Unreadable { said: String },
    /// The critic did not come to its end.
    CriticFailed { reason: String },
    /// The agent at work may not go on for now.
    Limited,
    /// A signal came.
    Stopped,
    /// Time or money is spent.
    Exhausted { what: String },
    /// The iteration stands in the record.
    Recorded,
    /// A new recorder goes on.
    Resumed,
}

/// Where a loop stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) phase: Phase,
    /// From 1.
    pub(super) iteration: u32,
    /// The actor's last failure, and how often it came in a row.
    failure: Option<(String, u32)>,
    /// Iterations in a row without a change.
    pub(super) unchanged: u32,
    /// Errors of the critic in a row.
    errors: u32,
    /// What checks said in this iteration.
    pub(super) checked: Option<Result<(), String>>,
}

/// An event that cannot come in this phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unexpected;

impl State {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, phase: Phase::Act, iteration: 1, failure: None, unchanged: 0, errors: 0, checked: None }
    }

    /// Whether the actor failed in this iteration.
    pub(super) fn actor_failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|(what, _)| what.as_str())
    }

    /// Moves on by one event.
    ///
    /// # Errors
    /// [`Unexpected`]; the state is then unchanged.
    pub(super) fn step(&mut self, event: &Event) -> Result<(), Unexpected> {
        let next = match (&self.phase, event) {
            (Phase::Act, Event::Acted { failure, changed }) => self.acted(failure.clone(), *changed),
            (Phase::Check, Event::Checked { passed, failures }) => self.checked(*passed, failures),
            (Phase::Judge | Phase::JudgeAgain, Event::Judged(verdict)) => Phase::Close(self.decided(verdict.clone())),
            (Phase::Judge, Event::Unreadable { .. }) => Phase::JudgeAgain,
            (Phase::JudgeAgain, Event::Unreadable { said }) => {
                error(format!("the critic's decision could not be read. It said:\n\n{said}"))
            }
            (Phase::Judge | Phase::JudgeAgain, Event::CriticFailed { reason }) => {
                error(format!("the critic failed: {reason}"))
            }
            (Phase::Act | Phase::Judge | Phase::JudgeAgain, Event::Limited) => self.over(None, "rate_limit".into()),
            (Phase::Act | Phase::Check | Phase::Judge | Phase::JudgeAgain, Event::Stopped) => {
                self.over(Some(Outcome::Interrupted), "interrupted".into())
            }
            (Phase::Act | Phase::Check | Phase::Judge | Phase::JudgeAgain, Event::Exhausted { what }) => {
                over_for_good(Outcome::MaxIterationsReached, what.clone(), None)
            }
            (Phase::Close(decided), Event::Recorded) => {
                let decided = decided.clone();
                self.recorded(&decided)
            }
            // What an agent was at when its recorder went is begun anew; a conversation with the critic is not gone on with.
            (Phase::JudgeAgain, Event::Resumed) => Phase::Judge,
            (Phase::Over(End { resumes: Some(phase), .. }), Event::Resumed) => match &**phase {
                Phase::JudgeAgain => Phase::Judge,
                phase => phase.clone(),
            },
            (Phase::Act | Phase::Check | Phase::Judge | Phase::Close(_), Event::Resumed) => self.phase.clone(),
            _ => return Err(Unexpected),
        };
        self.phase = next;
        Ok(())
    }

    fn over(&self, outcome: Option<Outcome>, reason: String) -> Phase {
        Phase::Over(End { outcome, reason, confidence: None, resumes: Some(Box::new(self.phase.clone())) })
    }

    fn acted(&mut self, failure: Option<String>, changed: bool) -> Phase {
        self.unchanged = if changed { 0 } else { self.unchanged + 1 };
        self.failure = failure.map(|what| match &self.failure {
            Some((last, times)) if *last == what => (what, times + 1),
            _ => (what, 1),
        });
        match &self.failure {
            Some((what, TIMES..)) => error(format!("the actor failed alike {TIMES} times in a row: {what}")),
            _ if self.rules.has_checks => Phase::Check,
            _ => Phase::Judge,
        }
    }

    fn checked(&mut self, passed: bool, failures: &str) -> Phase {
        self.checked = Some(if passed { Ok(()) } else { Err(failures.to_owned()) });
        if self.rules.has_critic {
            return Phase::Judge;
        }
        let verdict = match (passed, &self.failure) {
            (true, None) => Verdict {
                decision: Decision::Done,
                summary: Some("the checks pass".into()),
                feedback: None,
                confidence: None,
            },
            (true, Some((what, _))) => go_on(format!("The checks pass, but you did not come to your end: {what}")),
            (false, _) => go_on(failures.to_owned()),
        };
        Phase::Close(Decided { verdict, overruled: None })
    }

    /// Done counts only when the checks pass.
    fn decided(&self, verdict: Verdict) -> Decided {
        match (&self.checked, verdict.decision) {
            (Some(Err(failures)), Decision::Done) => Decided {
                verdict: go_on(format!("The reviewer is content, but the checks are not.\n\n{failures}")),
                overruled: Some(Decision::Done),
            },
            _ => Decided { verdict, overruled: None },
        }
    }

    fn recorded(&mut self, decided: &Decided) -> Phase {
        let verdict = &decided.verdict;
        self.errors = if verdict.decision == Decision::Error { self.errors + 1 } else { 0 };
        let end = |outcome, reason: String| over_for_good(outcome, reason, verdict.confidence);
        let failed_alike = self.failure.as_ref().is_some_and(|(_, times)| *times >= TIMES);
        if verdict.decision == Decision::Done {
            return end(Outcome::Success, verdict.summary.clone().unwrap_or_else(|| "done".into()));
        }
        if failed_alike {
            return end(Outcome::Failed, verdict.feedback.clone().unwrap_or_default());
        }
        if self.errors >= TIMES {
            let last = verdict.feedback.clone().unwrap_or_default();
            return end(Outcome::Failed, format!("{TIMES} iterations in a row ended in an error: {last}"));
        }
        if self.unchanged >= TIMES {
            return end(Outcome::Failed, format!("nothing changed in {TIMES} iterations in a row"));
        }
        (self.iteration, self.checked) = (self.iteration + 1, None);
        if self.iteration > self.rules.max_iterations {
            let reason = format!("not done after {} iterations", self.rules.max_iterations);
            return over_for_good(Outcome::MaxIterationsReached, reason, None);
        }
        Phase::Act
    }
}

impl End {
    /// Whether the loop can go on after it.
    pub(super) fn is_final(&self) -> bool {
        self.resumes.is_none()
    }
}

fn over_for_good(outcome: Outcome, reason: String, confidence: Option<f64>) -> Phase {
    Phase::Over(End { outcome: Some(outcome), reason, confidence, resumes: None })
}

fn go_on(feedback: String) -> Verdict {
    Verdict { decision: Decision::Continue, summary: None, feedback: Some(feedback), confidence: None }
}

/// An iteration that ends in an error of ours to tell.
fn error(feedback: String) -> Phase {
    let verdict = Verdict { decision: Decision::Error, summary: None, feedback: Some(feedback), confidence: None };
    Phase::Close(Decided { verdict, overruled: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { max_iterations: 3, has_checks: true, has_critic: true };

    fn verdict(decision: Decision) -> Verdict {
        let feedback = (decision != Decision::Done).then(|| "more".into());
        Verdict { decision, summary: None, feedback, confidence: Some(0.9) }
    }

    fn acted() -> Event {
        Event::Acted { failure: None, changed: true }
    }

    fn checked(passed: bool) -> Event {
        Event::Checked { passed, failures: "it fails".into() }
    }

    fn all_events() -> Vec<(&'static str, Event)> {
        vec![
            ("acted", acted()),
            ("acted: failed", Event::Acted { failure: Some("exit code 1".into()), changed: true }),
            ("checked: pass", checked(true)),
            ("checked: fail", checked(false)),
            ("DONE", Event::Judged(verdict(Decision::Done))),
            ("CONTINUE", Event::Judged(verdict(Decision::Continue))),
            ("ERROR", Event::Judged(verdict(Decision::Error))),
            ("unreadable", Event::Unreadable { said: "well".into() }),
            ("critic failed", Event::CriticFailed { reason: "exit code 1".into() }),
            ("limited", Event::Limited),
            ("stopped", Event::Stopped),
            ("exhausted", Event::Exhausted { what: "$1 spent".into() }),
            ("recorded", Event::Recorded),
            ("resumed", Event::Resumed),
        ]
    }

    fn name(phase: &Phase) -> String {
        match phase {
            Phase::Close(decided) => {
                let overruled = if decided.overruled.is_some() { ", overruled" } else { "" };
                format!("Close {}{overruled}", decided.verdict.decision)
            }
            Phase::Over(end) => {
                let outcome = end.outcome.map_or("checkpointed", Outcome::as_str);
                format!("Over {outcome}{}", if end.is_final() { ", for good" } else { "" })
            }
            phase => format!("{phase:?}"),
        }
    }

    /// A state in each phase.
    fn all_phases() -> Vec<(&'static str, State)> {
        let after = |rules, events: &[Event]| {
            let mut state = State::new(rules);
            events.iter().for_each(|event| state.step(event).expect("a legal step"));
            state
        };
        let judge = [acted(), checked(true)];
        let again = [acted(), checked(true), Event::Unreadable { said: String::new() }];
        let close = |decision| [acted(), checked(true), Event::Judged(verdict(decision))];
        let last = Rules { max_iterations: 1, ..RULES };
        vec![
            ("Act", after(RULES, &[])),
            ("Act, no checks", after(Rules { has_checks: false, ..RULES }, &[])),
            ("Check", after(RULES, &[acted()])),
            ("Check, no critic", after(Rules { has_critic: false, ..RULES }, &[acted()])),
            ("Judge", after(RULES, &judge)),
            ("Judge, check failed", after(RULES, &[acted(), checked(false)])),
            ("JudgeAgain", after(RULES, &again)),
            ("Close DONE", after(RULES, &close(Decision::Done))),
            ("Close CONTINUE", after(RULES, &close(Decision::Continue))),
            ("Close CONTINUE, the last", after(last, &close(Decision::Continue))),
            ("Over interrupted in Act", after(RULES, &[Event::Stopped])),
            ("Over limited in Judge", after(RULES, &[acted(), checked(true), Event::Limited])),
            ("Over limited in JudgeAgain", after(RULES, &[again.as_slice(), &[Event::Limited]].concat())),
            ("Over success", after(RULES, &[close(Decision::Done).as_slice(), &[Event::Recorded]].concat())),
            ("Over, the last", after(last, &[close(Decision::Continue).as_slice(), &[Event::Recorded]].concat())),
        ]
    }

    #[test]
    fn every_pair_of_phase_and_event() {
        let mut table = String::new();
        for (phase, state) in all_phases() {
            for (event, happened) in all_events() {
                let mut next = state.clone();
                let line = match next.step(&happened) {
                    Ok(()) => format!("{phase} + {event} -> {} ({})\n", name(&next.phase), next.iteration),
                    Err(_) => {
                        assert_eq!(next, state, "what is refused changes nothing");
                        continue;
                    }
                };
                table.push_str(&line);
            }
        }
        insta::assert_snapshot!(table);
    }

    /// Goes through iterations, each an actor's end and a decision.
    fn go(rules: Rules, iterations: &[(Option<&str>, bool, Decision)]) -> State {
        let mut state = State::new(rules);
        for (failure, changed, decision) in iterations {
            let failure = failure.map(str::to_owned);
            state.step(&Event::Acted { failure, changed: *changed }).expect("it acts");
            if state.phase == Phase::Judge {
                state.step(&Event::Judged(verdict(*decision))).expect("it judges");
            }
            state.step(&Event::Recorded).expect("it is recorded");
        }
        state
    }

    #[test]
    fn what_happens_three_times_in_a_row_ends_it() {
        let rules = Rules { max_iterations: 9, has_checks: false, has_critic: true };
        let (again, error) = (Decision::Continue, Decision::Error);
        for (iterations, expected) in [
            (vec![(Some("a"), true, again); 3], "Over failed, for good"),
            (vec![(Some("a"), true, again), (Some("b"), true, again), (Some("a"), true, again)], "Act"),
            (vec![(Some("a"), true, again), (None, true, again), (Some("a"), true, again)], "Act"),
            (vec![(None, false, again); 2], "Act"),
            (vec![(None, false, again); 3], "Over failed, for good"),
            (vec![(None, false, again), (None, false, again), (None, false, Decision::Done)], "Over success, for good"),
            (vec![(None, false, again), (None, true, again), (None, false, again)], "Act"),
            (vec![(None, true, error); 2], "Act"),
            (vec![(None, true, error); 3], "Over failed, for good"),
            (vec![(None, true, error), (None, true, again), (None, true, error)], "Act"),
        ] {
            assert_eq!(name(&go(rules, &iterations).phase), expected, "{iterations:?}");
        }
    }
}
