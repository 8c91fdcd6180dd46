//! `chat`: agents take turns on one task until all of them agree.
//!
//! What comes next is decided by `machine.rs`; here it is done. Each keeps its own conversation, and is told what the others
//! said and changed since its last turn. Must not know: the terminal, the configuration.

mod machine;
mod prompts;

use std::collections::HashMap;
use std::time::Duration;

use decklog_journal::event::{SessionRules, SessionStart, Tokens};
use decklog_journal::session::Session;
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use serde::Serialize;

use self::machine::{Event, Phase, Rules, State};
use self::prompts::{Facts, PATCH};
use super::party::{Party, labels};
use super::recording::{Ended, Ending, Recording, RunError, Setup, exit, redactor};
use super::relay::{Answer, Limited, Order, Question, Relay, answer, loaded};
use super::text::{Keep, cut};
use crate::agents::Used;
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::supervise::{Received, Signals};
use crate::turn::TurnResult;

/// Bytes of a speaker's words that the others may be told.
const WORDS: usize = 64 * 1024;
/// Bytes of one check's output that speakers are told.
const TOLD: usize = 8 * 1024;

/// Everything about a chat that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// The task, whole.
    pub task: String,
    /// Who speaks, in order: two or more.
    pub speakers: Vec<Party>,
    /// The most turns.
    pub max_turns: u32,
    /// Ends the chat once so many US dollars are spent.
    pub max_cost: Option<f64>,
    /// Ends the chat once it was at work for so long.
    pub max_time: Option<Duration>,
    /// Who takes the place of one who is rate-limited.
    pub relay: Relay,
    /// Where and how.
    pub setup: Setup,
}

/// How a chat came out. Its `Serialize` is what `chat --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct ChatResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: std::path::PathBuf,
    /// How it came out; absent when it is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the program exits with.
    pub exit_code: i32,
    /// Why it ended.
    pub summary: String,
    /// Seconds from the session's start.
    pub duration_secs: f64,
    /// Each turn that came to its end.
    pub turns: Vec<Spoken>,
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as agents told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Agents that met a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Limited>,
    /// When nobody can speak for now: who is back first, if anybody told when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_back: Option<Limited>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// One turn of a chat.
#[derive(Debug, Clone, Serialize)]
pub struct Spoken {
    /// Its number.
    pub turn: u32,
    /// Who.
    pub agent: String,
    /// What it said in the end.
    pub text: String,
    /// Whether it agreed.
    pub agreed: bool,
    /// Files it changed.
    pub files_changed: u64,
}

/// Runs `plan` as a new session in `store`.
///
/// # Errors
/// [`RunError`] when the session cannot be made or no process can be started. Agents that fail are no error.
pub fn chat(
    store: &SessionStore,
    plan: &ChatPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<ChatResult, RunError> {
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, configured(plan));
    let start = |mut start: SessionStart| {
        start.agents = plan.speakers.iter().map(|party| party.agent.name.clone()).collect();
        let mut seen = std::collections::HashSet::new();
        start.agents.retain(|name| seen.insert(name.clone()));
        start.rules = Some(Box::new(rules(plan)));
        start
    };
    let about = (SessionKind::Chat, plan.task.as_str());
    let recording = Recording::begin(store, &plan.setup, &redactor, signals, observer, start, about)?;
    Driver::new(plan, recording).run()
}

/// Goes on with the chat `id`. `plan` is what was decided when it began; a chat that was over goes on for as many turns again.
///
/// # Errors
/// [`RunError`] when another recorder holds it, or it cannot be read or written.
pub fn resume_chat(
    store: &SessionStore,
    id: &SessionId,
    plan: &ChatPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<ChatResult, RunError> {
    let past = loaded(&store.entry(id))?;
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, configured(plan));
    let recording = Recording::resume(store, id, &plan.setup, &redactor, signals, observer)?;
    let mut driver = Driver::new(plan, recording);
    driver.recall(&past);
    driver.run()
}

fn configured(plan: &ChatPlan) -> impl Iterator<Item = &(String, String)> {
    let others = plan.relay.others.iter().map(|other| &other.party);
    plan.speakers.iter().chain(others).flat_map(|party| &party.agent.env)
}

/// What the record keeps of a plan, so that it can be gone on with.
fn rules(plan: &ChatPlan) -> SessionRules {
    SessionRules {
        permissions: plan.setup.permissions,
        checks: plan.setup.checks.clone(),
        fresh: false,
        speakers: plan.speakers.iter().map(Party::label).collect(),
        max_turns: Some(plan.max_turns),
        max_cost_usd: plan.max_cost,
        max_time_secs: plan.max_time.map(|time| time.as_secs_f64()),
    }
}

/// Where somebody sits.
struct Seat {
    /// Who was to speak there, told apart from the others.
    name: String,
    /// Who speaks there, and who takes the place.
    order: Order,
    /// The conversation of the agent that spoke there last.
    conversation: Option<(String, String)>,
    /// How many turns it knows of.
    knows: usize,
    /// The tree as it left it.
    tree: Option<String>,
}

impl Seat {
    /// How the agent `name` is called that speaks there, where `first` was to.
    fn who(&self, name: &str, first: &Party) -> String {
        if name == first.agent.name { self.name.clone() } else { name.to_owned() }
    }
}

struct Driver<'a> {
    plan: &'a ChatPlan,
    recording: Recording<'a>,
    state: State,
    seats: Vec<Seat>,
    said: Vec<Spoken>,
    /// What each conversation has used.
    used: HashMap<String, Used>,
    tokens: Tokens,
    cost_usd: Option<f64>,
    /// Seconds at work.
    seconds: f64,
    first_tree: Option<String>,
    last_tree: Option<String>,
    failures: String,
    limited: Vec<Limited>,
    first_turn: u32,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a ChatPlan, recording: Recording<'a>) -> Self {
        let rules = Rules {
            speakers: plan.speakers.len(),
            max_turns: plan.max_turns,
            has_checks: !plan.setup.checks.is_empty(),
        };
        let seat = |(party, name): (&Party, String)| Seat {
            name,
            order: Order::new(party, &plan.relay),
            conversation: None,
            knows: 0,
            tree: None,
        };
        Self {
            first_turn: recording.next_turn(),
            plan,
            recording,
            state: State::new(rules),
            seats: plan.speakers.iter().zip(labels(&plan.speakers)).map(seat).collect(),
            said: Vec::new(),
            used: HashMap::new(),
            tokens: Tokens::default(),
            cost_usd: None,
            seconds: 0.0,
            first_tree: None,
            last_tree: None,
            failures: String::new(),
            limited: Vec::new(),
        }
    }

    /// Takes in what the record tells. Turns that did not come to their end are had again.
    fn recall(&mut self, past: &Session) {
        for turn in past.turns.iter().filter(|turn| turn.role == Role::Speaker) {
            let used = Used { tokens: turn.tokens, cost_usd: turn.cost_usd.unwrap_or(0.0) };
            self.count(turn.agent_session_id.as_deref(), used, turn.cost_usd, turn.duration_secs.unwrap_or(0.0));
            self.first_tree = self.first_tree.take().or_else(|| turn.snapshot_before.clone());
            self.last_tree = turn.snapshot_after.clone().or(self.last_tree.take());
            if turn.outcome == Some(TurnOutcome::Success) {
                let text = turn.final_text().unwrap_or_default().to_owned();
                let conversation = turn.conversation().filter(|_| !self.plan.setup.is_boxed()).map(str::to_owned);
                self.note(turn.turn, turn.agent.clone(), conversation, text, turn.files_changed);
                // What ended it then does not end it now.
                self.state.go_on(u32::MAX);
            }
        }
        self.state.go_on(self.plan.max_turns);
        if matches!(past.head.outcome, Some(Outcome::Success | Outcome::MaxIterationsReached)) {
            self.state.begin_anew(self.plan.max_turns);
        }
    }

    fn count(&mut self, conversation: Option<&str>, used: Used, cost_usd: Option<f64>, seconds: f64) {
        self.tokens += used.tokens;
        self.cost_usd = cost_usd.map(|more| self.cost_usd.unwrap_or(0.0) + more).or(self.cost_usd);
        self.seconds += seconds;
        if let Some(id) = conversation {
            *self.used.entry(id.to_owned()).or_default() += used;
        }
    }

    /// Takes in a turn that came to its end.
    fn note(&mut self, turn: u32, agent: String, conversation: Option<String>, text: String, files_changed: u64) {
        let text = cut(&text, WORDS, Keep::End);
        let agreed = prompts::agrees(&text);
        let at = self.state.seat();
        let who = self.seats[at].who(&agent, &self.plan.speakers[at]);
        self.said.push(Spoken { turn, agent: who, text, agreed, files_changed });
        let seat = &mut self.seats[at];
        seat.conversation = conversation.map(|id| (agent, id));
        seat.knows = self.said.len();
        seat.tree.clone_from(&self.last_tree);
        self.state.step(&Event::Spoke { agreed, changed: files_changed > 0 });
    }

    fn run(mut self) -> Result<ChatResult, RunError> {
        loop {
            if let Phase::Over(end) = &self.state.phase {
                let end = end.clone();
                return Ok(self.finish(end.outcome, end.reason));
            }
            if self.recording.signals.received().is_some() {
                self.state.step(&Event::Stopped);
            } else if let Some(what) = self.exhausted() {
                self.state.step(&Event::Exhausted(what));
            } else if self.state.phase == Phase::Check {
                self.check()?;
            } else {
                self.speak()?;
            }
            if self.recording.writer.lost() > 0 {
                return Ok(self.finish(Some(Outcome::Failed), "what happened could not be recorded".to_owned()));
            }
        }
    }

    /// What is spent, if something is.
    fn exhausted(&self) -> Option<String> {
        let cost = self.plan.max_cost.filter(|limit| self.cost_usd.is_some_and(|cost| cost >= *limit));
        let time = self.plan.max_time.filter(|limit| self.seconds >= limit.as_secs_f64());
        cost.map(|limit| format!("not agreed when ${limit:.2} were spent"))
            .or_else(|| time.map(|limit| format!("not agreed after {} s", limit.as_secs_f64())))
    }

    fn speak(&mut self) -> Result<(), RunError> {
        let at = self.state.seat();
        let party = self.seats[at].order.present().clone();
        let own = self.seats[at].conversation.clone().filter(|(agent, _)| *agent == party.agent.name);
        let fresh = self.prompt(at, true);
        let prompt = if own.is_some() { self.prompt(at, false) } else { fresh.clone() };
        let resume = own.map(|(_, id)| (id.clone(), self.used.get(&id).copied().unwrap_or_default()));
        let left = self.plan.max_time.map(|limit| limit.saturating_sub(Duration::from_secs_f64(self.seconds)));
        let permissions = self.plan.setup.permissions;
        let question = Question { role: Role::Speaker, prompt, besides: fresh, permissions, resume, at_most: left };
        let order = &mut self.seats[at].order;
        let Answer { turn, result, limited, closed } = answer(&mut self.recording, order, question)?;
        if !closed {
            self.recording.close_turn(turn, &result, &[]);
        }
        self.limited.extend(limited);
        let agent = self.seats[at].order.present().agent.name.clone();
        self.took(turn, agent, result);
        Ok(())
    }

    /// Takes in a turn that was had.
    fn took(&mut self, turn: u32, agent: String, result: TurnResult) {
        let TurnResult { outcome, facts, error, files_changed, trees, duration_secs, .. } = result;
        let used = Used { tokens: facts.tokens, cost_usd: facts.cost_usd.unwrap_or(0.0) };
        self.count(facts.agent_session_id.as_deref(), used, facts.cost_usd, duration_secs);
        self.first_tree = self.first_tree.take().or(trees.0);
        self.last_tree = trees.1.or(self.last_tree.take());
        let why = || error.unwrap_or_else(|| outcome.as_str().replace('_', " "));
        match outcome {
            TurnOutcome::Success => {
                // Others are told of it.
                let text = self.recording.writer.redactor().redact_str(&facts.final_text).into_owned();
                self.note(turn, agent, facts.agent_session_id, text, files_changed);
            }
            TurnOutcome::Interrupted => self.state.step(&Event::Stopped),
            TurnOutcome::RateLimited => self.state.step(&Event::Limited),
            // The next step says what is spent.
            TurnOutcome::TimedOut if self.exhausted().is_some() => {}
            TurnOutcome::Failed | TurnOutcome::Stalled | TurnOutcome::TimedOut => {
                self.state.step(&Event::Failed(format!("{agent} failed: {}", why())));
            }
        }
    }

    /// What the speaker in a seat is asked.
    fn prompt(&self, at: usize, fresh: bool) -> String {
        let seat = &self.seats[at];
        let who = |at: usize| self.seats[at].who(&self.seats[at].order.present().agent.name, &self.plan.speakers[at]);
        let others: Vec<String> = (0..self.seats.len()).filter(|other| *other != at).map(who).collect();
        let you = &who(at);
        let (known, tree) = if fresh { (0, &self.first_tree) } else { (seat.knows, &seat.tree) };
        let said: Vec<_> = self.said[known..].iter().map(|it| (it.turn, it.agent.clone(), it.text.clone())).collect();
        let patch = self.recording.trees.patch_text(tree.as_deref(), self.last_tree.as_deref(), PATCH);
        let facts = Facts { task: &self.plan.task, you, others: &others, said: &said, patch, failures: &self.failures };
        prompts::speaker(&facts, fresh)
    }

    fn check(&mut self) -> Result<(), RunError> {
        let Some(turn) = self.said.last().map(|it| it.turn) else { return Ok(()) };
        let mut failures = Vec::new();
        for command in &self.plan.setup.checks {
            let (result, stopped) = self.recording.check(turn, command)?;
            if stopped.is_some() {
                self.state.step(&Event::Stopped);
                return Ok(());
            }
            if !result.passed {
                let output = cut(result.output.trim_end(), TOLD, Keep::End);
                failures.push(format!("`{command}` failed:\n\n{output}"));
            }
        }
        self.failures = failures.join("\n\n");
        self.state.step(&Event::Checked { passed: self.failures.is_empty() });
        Ok(())
    }

    fn finish(mut self, outcome: Option<Outcome>, reason: String) -> ChatResult {
        let exit_code = match outcome {
            Some(Outcome::Success) => exit::DONE,
            Some(Outcome::MaxIterationsReached) => exit::NOT_APPROVED,
            Some(Outcome::Failed) => exit::FAILED,
            Some(Outcome::Interrupted) => self.recording.signals.received().unwrap_or(Received::Interrupt).exit_code(),
            None => exit::LIMITED,
        };
        let summary = clip_safely(reason, 4096, self.recording.writer.redactor());
        let ending = Ending { summary: Some(summary.clone()), ..Ending::of(outcome, exit_code) };
        let turns = self.first_turn..self.recording.next_turn();
        let Ended { outcome, exit_code, duration_secs, recorded } = self.recording.close(ending, turns);
        let first_back = outcome.is_none().then(|| self.seats[self.state.seat()].order.first_back()).flatten();
        ChatResult {
            id: self.recording.writer.id().clone(),
            session_dir: self.recording.writer.dir().to_owned(),
            outcome,
            exit_code,
            summary,
            duration_secs,
            turns: self.said,
            tokens: self.tokens,
            cost_usd: self.cost_usd,
            limited: self.limited,
            first_back,
            recorded,
        }
    }
}
