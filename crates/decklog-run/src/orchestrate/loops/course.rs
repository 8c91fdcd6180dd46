//! What a loop's record says: told event by event, as they are recorded, or when a session is gone on with.
//!
//! So a loop that was killed stands where its journal does. Must not know: how agents are run.

use std::path::{Path, PathBuf};

use decklog_journal::Event;
use decklog_journal::event::{ArtifactRef, EventBody, Iteration, Message, SessionRules, Tokens, TurnEnd, Validation};
use decklog_journal::time::seconds_between;
use decklog_journal::verify::{ArtifactFile, find_artifact};
use decklog_journal::words::{Decision, Role, TurnOutcome};
use jiff::Timestamp;

use super::machine::{Event as Happened, Phase, Rules, State};
use super::prompts::Patch;
use super::{Trees, decision};
use crate::agents::Used;
use crate::orchestrate::text::{Keep, cut};
use crate::trees::beginning_of_patch;

/// Bytes of a text that are read back from a file: its end.
const TEXT: usize = 256 * 1024;

/// Bytes of one check's output, and of an agent's stderr, that others are told.
const TOLD: usize = 8 * 1024;

/// A loop as far as it has come.
#[derive(Debug)]
pub(super) struct Course {
    dir: PathBuf,
    checks: usize,
    pub(super) state: State,
    /// Of iterations that are over: number, decision, feedback.
    pub(super) history: Vec<(u32, Decision, String)>,
    /// Number of the last turn begun.
    pub(super) last_turn: u32,
    /// The turn at work.
    open: Option<Turn>,
    /// The actor's turn of this iteration.
    pub(super) acted: Option<Turn>,
    /// The critic's.
    pub(super) judged: Option<Turn>,
    validations: Vec<Validation>,
    /// The tree before the first turn, before this iteration, and as it was seen last.
    pub(super) first_tree: Option<String>,
    pub(super) iteration_tree: Option<String>,
    pub(super) last_tree: Option<String>,
    /// What the last turn was for.
    pub(super) last_role: Role,
    /// Who acted last.
    pub(super) actor: Option<String>,
    /// The actor's conversation, and what it has used.
    pub(super) actor_session: Option<(String, Used)>,
    /// Whether it is in a container.
    actor_boxed: bool,
    pub(super) cost_usd: Option<f64>,
    pub(super) tokens: Tokens,
    /// Seconds in which the loop was at work, up to the last event.
    pub(super) seconds: f64,
    last_event: Option<Timestamp>,
    /// Whether the record says that it is over.
    pub(super) completed: bool,
    /// What each iteration took.
    pub(super) rounds: Vec<Round>,
    round: Round,
}

/// What an iteration took.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    pub(super) iteration: Option<Iteration>,
    pub(super) seconds: f64,
    pub(super) tokens: Tokens,
    pub(super) cost_usd: Option<f64>,
}

/// A turn of an actor or a critic.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) number: u32,
    role: Role,
    /// The tree that it began with.
    before: Option<String>,
    agent_session_id: Option<String>,
    used: Used,
    said: Option<Message>,
    /// How it ended, once it did.
    pub(super) end: Option<TurnEnd>,
}

impl Course {
    /// A loop that has not begun, in the session directory `dir`.
    pub(super) fn new(dir: &Path, max_iterations: u32, rules: &SessionRules, has_critic: bool) -> Self {
        let checks = rules.checks.len();
        Self {
            dir: dir.to_owned(),
            checks,
            state: State::new(Rules { max_iterations, has_checks: checks > 0, has_critic }),
            history: Vec::new(),
            last_turn: 0,
            open: None,
            acted: None,
            judged: None,
            validations: Vec::new(),
            first_tree: None,
            iteration_tree: None,
            last_tree: None,
            last_role: Role::Actor,
            actor: None,
            actor_session: None,
            actor_boxed: false,
            cost_usd: None,
            tokens: Tokens::default(),
            seconds: 0.0,
            last_event: None,
            completed: false,
            rounds: Vec::new(),
            round: Round::default(),
        }
    }

    /// How many checks of this iteration have run.
    pub(super) fn checked(&self) -> usize {
        self.validations.len()
    }

    /// Whether a turn is at work.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes in the next event.
    pub(super) fn apply(&mut self, event: &Event) {
        if let EventBody::Resumed(_) = event.body {
            self.resumed();
        }
        if let Some(last) = self.last_event.replace(event.timestamp) {
            let took = seconds_between(last, event.timestamp).max(0.0);
            self.seconds += took;
            self.round.seconds += took;
        }
        match &event.body {
            EventBody::TurnStart(start) => {
                self.last_turn = self.last_turn.max(start.turn);
                self.first_tree = self.first_tree.take().or_else(|| start.snapshot.clone());
                self.last_role = start.role;
                if start.role == Role::Actor {
                    if self.actor.as_ref().is_some_and(|actor| *actor != start.agent) {
                        self.actor_session = None;
                    }
                    self.actor = Some(start.agent.clone());
                    self.actor_boxed = start.boxed;
                    self.iteration_tree = self.iteration_tree.take().or_else(|| start.snapshot.clone());
                }
                self.open = Some(Turn {
                    number: start.turn,
                    role: start.role,
                    before: start.snapshot.clone(),
                    agent_session_id: None,
                    used: Used::default(),
                    said: None,
                    end: None,
                });
            }
            // What an agent kept in a container is gone with it, and what it kept outside is not in one.
            EventBody::Resumed(_) if self.actor_boxed => self.actor_session = None,
            EventBody::Container(container) if container.boxed => self.actor_session = None,
            EventBody::Message(message) => {
                let Some(turn) = &mut self.open else { return };
                match &mut turn.said {
                    Some(said) if message.continued => {
                        said.text.push_str(&message.text);
                        said.cut_artifact = message.cut_artifact.clone().or(said.cut_artifact.take());
                    }
                    said => *said = Some(message.clone()),
                }
            }
            EventBody::Usage(usage) => {
                self.tokens += usage.tokens;
                self.round.tokens += usage.tokens;
                for cost in [&mut self.cost_usd, &mut self.round.cost_usd] {
                    *cost = usage.cost_usd.map(|more| cost.unwrap_or(0.0) + more).or(*cost);
                }
                if let Some(turn) = &mut self.open {
                    turn.used += Used { tokens: usage.tokens, cost_usd: usage.cost_usd.unwrap_or(0.0) };
                }
            }
            EventBody::TurnEnd(end) => self.ended(end),
            EventBody::Validation(check) => self.validated(check),
            EventBody::Iteration(iteration) => self.recorded(iteration),
            EventBody::SessionEnd(_) => self.completed = true,
            _ => {}
        }
    }

    /// A new recorder goes on: what was at work is not, and the time in between does not count.
    pub(super) fn resumed(&mut self) {
        (self.open, self.last_event, self.completed) = (None, None, false);
        self.step(Happened::Resumed);
    }

    /// What a record says out of turn counts for nothing: the loop stands where the legal events have led it.
    pub(super) fn step(&mut self, event: Happened) {
        let _ = self.state.step(&event);
    }

    fn ended(&mut self, end: &TurnEnd) {
        let Some(mut turn) = self.open.take() else { return };
        turn.end = Some(end.clone());
        turn.agent_session_id.clone_from(&end.agent_session_id);
        self.last_tree = end.snapshot.clone().or(self.last_tree.take());
        if turn.role == Role::Actor {
            self.converse(&turn, end.outcome);
        }
        match (end.outcome, turn.role) {
            (TurnOutcome::Interrupted, _) => self.step(Happened::Stopped),
            (TurnOutcome::RateLimited, _) => self.step(Happened::Limited),
            (outcome, Role::Actor) => {
                let failure = (outcome != TurnOutcome::Success).then(|| failure(end));
                let changed = end.files_changed > 0 || self.iteration_tree != self.last_tree;
                self.acted = Some(turn);
                self.step(Happened::Acted { failure, changed });
            }
            (TurnOutcome::Success, _) => {
                let said = self.text_of(&turn);
                self.judged = Some(turn);
                let happened = match decision::read(&said) {
                    Some(verdict) => Happened::Judged(verdict),
                    None => Happened::Unreadable { said: cut(&said, TOLD, Keep::End) },
                };
                self.step(happened);
            }
            (_, _) => {
                self.judged = Some(turn);
                self.step(Happened::CriticFailed { reason: failure(end) });
            }
        }
    }

    /// Notes where the actor's conversation stands after its turn.
    fn converse(&mut self, turn: &Turn, outcome: TurnOutcome) {
        let known = self.actor_session.take();
        self.actor_session = match (&turn.agent_session_id, known) {
            (Some(id), Some((known, mut used))) if *id == known => {
                used += turn.used;
                Some((known, used))
            }
            // It was to go on with one, and could not: agents forget, or their files are cleared away.
            (_, Some(_)) if outcome == TurnOutcome::Failed => None,
            (Some(id), _) => Some((id.clone(), turn.used)),
            (None, known) => known,
        };
    }

    fn validated(&mut self, check: &Validation) {
        if self.state.phase != Phase::Check {
            return;
        }
        self.validations.push(check.clone());
        if self.validations.len() < self.checks {
            return;
        }
        let failed: Vec<String> = self
            .validations
            .iter()
            .filter(|check| !check.passed)
            .map(|check| {
                let code =
                    check.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
                format!("`{}` failed ({code}):\n\n{}", check.command, cut(check.output.trim_end(), TOLD, Keep::End))
            })
            .collect();
        self.step(Happened::Checked { passed: failed.is_empty(), failures: failed.join("\n\n") });
    }

    fn recorded(&mut self, iteration: &Iteration) {
        let feedback = iteration.feedback.clone().unwrap_or_default();
        self.history.push((iteration.iteration_number, iteration.critic_decision, feedback));
        let round = std::mem::take(&mut self.round);
        self.rounds.push(Round { iteration: Some(iteration.clone()), ..round });
        self.validations.clear();
        (self.acted, self.judged, self.iteration_tree) = (None, None, None);
        self.step(Happened::Recorded);
    }

    /// The last thing a turn's agent said.
    pub(super) fn text_of(&self, turn: &Turn) -> String {
        let Some(said) = &turn.said else { return String::new() };
        match said.text_artifact.as_ref().or(said.cut_artifact.as_ref()) {
            Some(artifact) => self.end_of(artifact, TEXT).unwrap_or_else(|| said.text.clone()),
            None => said.text.clone(),
        }
    }

    /// The end of a turn's stderr.
    pub(super) fn stderr_of(&self, turn: &Turn) -> String {
        let artifact = turn.end.as_ref().and_then(|end| end.stderr_artifact.as_ref());
        artifact.and_then(|artifact| self.end_of(artifact, TOLD)).unwrap_or_default()
    }

    /// What the critic said last, and the conversation in which it did.
    pub(super) fn critic(&self) -> Option<(String, Option<(String, Used)>)> {
        let turn = self.judged.as_ref()?;
        let session = turn.agent_session_id.clone().map(|id| (id, turn.used));
        Some((self.text_of(turn), session))
    }

    /// What lies between two trees, when that is what the actor's turn changed: its patch stands beside the journal.
    pub(super) fn recorded_patch(&self, (from, to): &Trees, limit: u64) -> Option<Patch> {
        use std::io::Read;
        let turn = self.acted.as_ref()?;
        let end = turn.end.as_ref()?;
        let artifact = end.patch_artifact.as_ref().filter(|_| (&turn.before, &end.snapshot) == (from, to))?;
        let ArtifactFile { file, compressed: false } = find_artifact(&self.dir, &artifact.path).ok()? else {
            return None;
        };
        let mut beginning = Vec::new();
        file.take(limit).read_to_end(&mut beginning).ok()?;
        Some(Patch { text: beginning_of_patch(&beginning, artifact.bytes), bytes: artifact.bytes })
    }

    fn end_of(&self, artifact: &ArtifactRef, limit: usize) -> Option<String> {
        use std::io::{Read, Seek, SeekFrom};
        let ArtifactFile { mut file, compressed: false } = find_artifact(&self.dir, &artifact.path).ok()? else {
            return None;
        };
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit as u64))).ok()?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// How a turn failed, in words that are the same when it fails alike.
fn failure(end: &TurnEnd) -> String {
    let how = match (end.outcome, end.exit_code, end.signal) {
        (TurnOutcome::Failed, Some(code), _) if code != 0 => format!("failed with exit code {code}"),
        (TurnOutcome::Failed, _, Some(signal)) => format!("failed, ended by signal {signal}"),
        (TurnOutcome::Stalled, ..) => "it said nothing for too long and was ended".into(),
        (TurnOutcome::TimedOut, ..) => "it took too long and was ended".into(),
        (outcome, ..) => outcome.as_str().replace('_', " "),
    };
    // Warnings come first, and what it ended with last.
    match end.error.as_deref().and_then(|error| error.lines().rfind(|line| !line.trim().is_empty())) {
        Some(line) => format!("{how}: {}", cut(line.trim(), 500, Keep::Beginning)),
        None => how,
    }
}
