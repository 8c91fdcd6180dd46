//! A session that grows prompt by prompt, as its user says: what the shell does besides asking and showing.
//!
//! Between two prompts nobody looks on and nothing runs, but the session's lock is held. Must not know: the terminal, the
//! configuration.

use std::collections::HashMap;
use std::path::PathBuf;

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{Checkpoint, Resumed, SessionStart, Tokens};
use decklog_journal::redact::Redactor;
use decklog_journal::session::{Session, Turn};
use decklog_journal::words::{Outcome, Role, SessionKind, Status, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use decklog_snapshot::{Restored, Tree};

use super::party::Party;
use super::recording::{CheckResult, Ended, Ending, Recording, RunError, Setup, exit, redactor};
use super::relay::{
    Answer, HandedOff, Limited, Order, Question, Relay, answer, conversation, hand_over, has_worked, loaded, summarize,
    used_by, with_prompt, write_packet,
};
use super::restore::{AGENT, IncompleteRestore, Restoration, RestoreError, as_turn, last_agents_turn};
use super::run::check_all;
use crate::agents::Used;
use crate::log::Log;
use crate::observe::Observer;
use crate::sandbox::Sandbox;
use crate::supervise::Signals;
use crate::trees::Trees;

/// The command that an undo is recorded under.
const UNDO: &str = "/undo";

/// A shell's session: none before the first prompt.
pub struct Shell {
    store: SessionStore,
    /// Where and how; what may be changed is changed here.
    pub setup: Setup,
    /// What agents' definitions set, for what must not be recorded.
    configured: Vec<(String, String)>,
    order: Order,
    live: Option<Live>,
    /// Each agent's own conversation, and what it has used.
    conversations: HashMap<String, (String, Used)>,
    /// What the next agent is to read before it is asked.
    packet: Option<String>,
    /// What happened between two turns, for the agent that is asked next.
    remark: String,
    /// Whether the agent that is asked next knows nothing of the session but what a packet tells it: it keeps no conversation.
    forgets: bool,
    last: Option<TurnOutcome>,
}

/// A session that is being recorded, between two turns.
struct Live {
    writer: Log,
    trees: Trees,
    kept: bool,
    sandbox: Option<Sandbox>,
    /// The first turn of this recorder.
    first: u32,
}

/// What came of a prompt.
#[derive(Debug)]
pub struct Reply {
    /// The turn that answered, or the last one that did not.
    pub turn: u32,
    /// Who.
    pub agent: String,
    /// How it came out.
    pub outcome: TurnOutcome,
    /// The agent's final text.
    pub text: String,
    /// What went wrong.
    pub error: Option<String>,
    /// Seconds it took.
    pub duration_secs: f64,
    /// Files changed.
    pub files_changed: u64,
    /// Lines added and removed.
    pub lines: (u64, u64),
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as the agent told.
    pub cost_usd: Option<f64>,
    /// Checks, in order.
    pub checks: Vec<CheckResult>,
    /// Agents that met a limit.
    pub limited: Vec<Limited>,
    /// When nobody could answer: who is back first, if anybody told when.
    pub first_back: Option<Limited>,
    /// Whether everything was kept so far.
    pub recorded: bool,
    /// Whether events are missing in the journal: then nothing more should be asked.
    pub lost: bool,
}

/// How a shell's session ended.
#[derive(Debug)]
pub struct Finished {
    /// The session.
    pub id: SessionId,
    /// How it came out; absent when it is checkpointed.
    pub outcome: Option<Outcome>,
    /// What the program exits with.
    pub exit_code: i32,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// What an undo did.
#[derive(Debug)]
pub struct Undone {
    /// The turn that was undone.
    pub turn: u32,
    /// The turn after which the tree stood as it did before the undo.
    pub before: u32,
    /// What was written, removed and left.
    pub restored: Restored,
    /// Why the record of it is not whole, if it is not.
    pub trouble: Option<String>,
}

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// No turn changed anything, or all that did were undone.
    #[error("there is nothing to undo")]
    Nothing,
    /// The turn's tree was not recorded.
    #[error("the tree before turn {0} is not in the record")]
    NoTree(u32),
    /// Somebody else worked in the tree since: these files would be lost.
    #[error("the tree has changed since then: {}", .0.join(", "))]
    Changed(Vec<String>),
    /// The session cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The tree could not be put in place.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Who looks on, and what may stop it.
type Watch<'w> = (&'w Signals, &'w mut dyn Observer);

impl Shell {
    /// A shell that asks `party`. `configured` are variables of agents' definitions.
    #[must_use]
    pub fn new(
        store: SessionStore,
        setup: Setup,
        party: &Party,
        relay: &Relay,
        configured: Vec<(String, String)>,
    ) -> Self {
        Self {
            store,
            setup,
            configured,
            order: Order::new(party, relay),
            live: None,
            conversations: HashMap::new(),
            packet: None,
            remark: String::new(),
            forgets: false,
            last: None,
        }
    }

    /// What keeps secrets out of what is recorded.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        redactor(&self.setup.env, &self.setup.secrets, &self.configured)
    }

    /// Who is asked next.
    #[must_use]
    pub fn party(&self) -> &Party {
        self.order.present()
    }

    /// The session, once there is one.
    #[must_use]
    pub fn id(&self) -> Option<&SessionId> {
        self.live.as_ref().map(|live| live.writer.id())
    }

    /// Goes on with the session `id`.
    ///
    /// # Errors
    /// [`RunError`] when another recorder holds it, or it cannot be read or written.
    pub fn resume(&mut self, id: &SessionId, watch: Watch<'_>) -> Result<(), RunError> {
        let dir = self.store.entry(id);
        let past = loaded(&dir)?;
        let redactor = self.redactor();
        let recording = Recording::resume(&self.store, id, &self.setup, &redactor, watch.0, &mut *watch.1)?;
        let first = recording.next_turn();
        self.live = Some(Live::of(recording, first));
        self.recall(&past);
        let name = self.party().agent.name.clone();
        if !past.turns.is_empty() && conversation(&past, &dir, &name, &self.setup).is_none() {
            self.hand_over(&name, "manual", watch)?;
        }
        Ok(())
    }

    /// Learns what conversations a session has.
    fn recall(&mut self, past: &Session) {
        self.conversations.clear();
        for turn in &past.turns {
            if self.setup.is_boxed() || turn.boxed {
                self.conversations.remove(&turn.agent);
            } else if let Some(id) = turn.conversation() {
                self.conversations.insert(turn.agent.clone(), (id.to_owned(), used_by(past, id)));
            }
        }
        (self.packet, self.remark, self.forgets) = (None, String::new(), false);
        self.last = last_agents_turn(past).and_then(|turn| turn.outcome);
    }

    /// Puts `prompt` to the present agent, and, when it may not answer, to those that follow.
    ///
    /// # Errors
    /// [`RunError`] when there can be no session, or no process. An agent that fails is no error.
    pub fn ask(&mut self, prompt: &str, (signals, observer): Watch<'_>) -> Result<Reply, RunError> {
        if self.live.is_none() {
            self.live = Some(self.begin(prompt, signals, observer)?);
        }
        let name = self.order.present().agent.name.clone();
        if self.forgets {
            self.hand_over(&name, "boundary", (signals, &mut *observer))?;
        }
        let (packet, remark) = (self.packet.take(), std::mem::take(&mut self.remark));
        let said = format!("{remark}{prompt}");
        let question = Question {
            role: Role::Solo,
            prompt: packet.as_ref().map_or_else(|| said.clone(), |packet| with_prompt(packet, &said)),
            besides: said,
            permissions: self.setup.permissions,
            resume: self.conversations.get(&name).cloned(),
            at_most: None,
        };
        let asked = self.record((signals, observer), |recording, order| {
            let first = recording.next_turn();
            let asked = put(recording, order, question);
            (asked, first, recording.kept && recording.writer.lost() == 0, recording.writer.lost() > 0)
        });
        let Some((asked, first, recorded, lost)) = asked else { unreachable!("it has just been begun") };
        let (Answer { turn, result, limited, .. }, checks) = match asked {
            Ok(answered) => answered,
            Err(error) => {
                (self.packet, self.remark) = (packet, remark);
                self.last = Some(TurnOutcome::Failed);
                return Err(error);
            }
        };
        let agent = self.order.present().agent.name.clone();
        self.last = Some(if checks.iter().all(|check| check.passed) { result.outcome } else { TurnOutcome::Failed });
        let is_alone = turn == first;
        let got_going =
            result.outcome == TurnOutcome::Success || has_worked(&result) || !result.facts.final_text.is_empty();
        let facts = result.facts;
        if let Some(id) = &facts.agent_session_id {
            let more = Used { tokens: facts.tokens, cost_usd: facts.cost_usd.unwrap_or(0.0) };
            let known = self.conversations.remove(&agent).filter(|(known, _)| known == id);
            let mut used = known.map(|(_, used)| used).unwrap_or_default();
            used += more;
            self.conversations.insert(agent.clone(), (id.clone(), used));
        } else if is_alone && !got_going {
            // It has read nothing, and is to read it with the next prompt.
            (self.packet, self.remark) = (packet, remark);
        } else {
            // Whoever followed was handed a packet, of which what it had before does not know.
            self.forgets = !is_alone || !self.conversations.contains_key(&agent);
        }
        Ok(Reply {
            turn,
            agent,
            outcome: result.outcome,
            text: facts.final_text,
            error: result.error,
            duration_secs: result.duration_secs,
            files_changed: result.files_changed,
            lines: result.lines,
            tokens: facts.tokens,
            cost_usd: facts.cost_usd,
            checks,
            first_back: if result.outcome == TurnOutcome::Success { None } else { self.order.first_back() },
            limited,
            recorded,
            lost,
        })
    }

    fn begin(&self, prompt: &str, signals: &Signals, observer: &mut dyn Observer) -> Result<Live, RunError> {
        let redactor = self.redactor();
        let start = |mut start: SessionStart| {
            start.agents = vec![self.party().agent.name.clone()];
            start
        };
        let about = (SessionKind::Shell, prompt);
        let recording = Recording::begin(&self.store, &self.setup, &redactor, signals, observer, start, about)?;
        let first = recording.next_turn();
        Ok(Live::of(recording, first))
    }

    /// Runs the checks now, on the last turn.
    ///
    /// # Errors
    /// [`RunError`] when no process can be started.
    pub fn check(&mut self, watch: Watch<'_>) -> Result<Vec<CheckResult>, RunError> {
        let checked = self.record(watch, |recording, _| {
            let turn = recording.writer.state().last_turn();
            check_all(recording, turn)
        });
        Ok(checked.transpose()?.map(|(results, _)| results).unwrap_or_default())
    }

    /// Asks `party` from now on. Where there is something to know, it is handed a packet; with `ask_first` the one who had
    /// the session tells what it knows before.
    ///
    /// # Errors
    /// [`RunError`] when the packet cannot be made.
    pub fn switch(&mut self, party: Party, ask_first: bool, watch: Watch<'_>) -> Result<(), RunError> {
        let name = party.agent.name.clone();
        if self.has_turns() && name != self.party().agent.name {
            if ask_first {
                self.summarize((watch.0, &mut *watch.1))?;
            }
            self.hand_over(&name, "manual", watch)?;
        }
        self.order.replace_present(party);
        Ok(())
    }

    /// Changes who follows when an agent is limited.
    pub fn set_relay(&mut self, relay: &Relay) {
        self.order = Order::new(&self.party().clone(), relay);
    }

    fn has_turns(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.writer.state().last_turn() > 0)
    }

    fn hand_over(&mut self, to: &str, reason: &str, watch: Watch<'_>) -> Result<(), RunError> {
        let packet = self.record(watch, |recording, _| hand_over(recording, to, reason));
        self.packet = packet.transpose()?;
        self.forgets = false;
        Ok(())
    }

    /// Asks the present agent what another one has to know.
    fn summarize(&mut self, watch: Watch<'_>) -> Result<(), RunError> {
        let party = self.party().clone();
        let own = self.conversations.get(&party.agent.name).cloned();
        self.record(watch, |recording, _| summarize(recording, &party, own)).transpose()?;
        Ok(())
    }

    /// Leaves the session checkpointed for the agent `to`. The next prompt begins another one. `None`: there is no session.
    ///
    /// # Errors
    /// [`RunError`] when the packet cannot be made.
    pub fn hand_off(
        &mut self,
        to: &str,
        ask_first: bool,
        watch: Watch<'_>,
    ) -> Result<Option<(SessionId, HandedOff)>, RunError> {
        if !self.has_turns() {
            return Ok(None);
        }
        if ask_first {
            self.summarize((watch.0, &mut *watch.1))?;
        }
        let first = self.live.as_ref().map_or(1, |live| live.first);
        let handed = self.record(watch, |recording, _| {
            let (_, handed) = write_packet(recording, to, "handoff")?;
            recording.close_sandbox();
            recording.finish(first..recording.next_turn());
            let exit_code = if recording.kept { exit::DONE } else { exit::FAILED };
            recording.append(Checkpoint { reason: "handoff".into(), exit_code: Some(exit_code) });
            Ok::<_, RunError>((recording.writer.id().clone(), HandedOff { recorded: recording.kept, ..handed }))
        });
        let handed = handed.transpose()?;
        self.live = None;
        self.forget();
        Ok(handed)
    }

    /// Brings back the tree before the last turn that is not undone, as a turn of its own.
    ///
    /// # Errors
    /// [`UndoError`]; only with [`RestoreError::Incomplete`] files were changed.
    pub fn undo(&mut self, signals: &Signals) -> Result<Undone, UndoError> {
        signals.forget_interrupt();
        let live = self.live.as_mut().ok_or(UndoError::Nothing)?;
        let past = loaded(live.writer.dir()).map_err(RunError::from)?;
        let turn = to_undo(&past.turns).ok_or(UndoError::Nothing)?;
        let tree = turn.snapshot_before.as_ref().and_then(|tree| tree.parse::<Tree>().ok());
        let target = tree.ok_or(UndoError::NoTree(turn.turn))?;
        // What the user, or another program, did since is not the turn's to take back.
        let before = past.turns.last().map_or(0, |turn| turn.turn);
        let stood = past.turns.last().and_then(|turn| turn.snapshot_after.clone()).ok_or(UndoError::NoTree(before))?;
        let present = live.trees.take();
        let changed = live.trees.changed(Some(&stood), present.tree.as_deref()).map_err(RestoreError::NotRecorded)?;
        if !changed.is_empty() {
            return Err(UndoError::Changed(changed));
        }
        live.go_on(&self.setup)?;
        let objects = live.writer.dir().join(OBJECTS_DIR);
        let about = Restoration {
            turn: live.writer.state().last_turn() + 1,
            command: &[UNDO.to_owned()],
            target: &target,
            objects: &objects,
            withheld: &turn.withheld_before,
        };
        let done = as_turn(&live.writer, &mut live.trees, &about, present, signals);
        live.kept &= done.trouble.is_none();
        let restored = done.restored?;
        let turn = turn.turn;
        self.remark =
            format!("(The user has undone what turn {turn} changed: the files are as they were before it.)\n\n");
        Ok(Undone { turn, before, restored, trouble: done.trouble })
    }

    /// Puts back the tree before an undo that was done in part, as a turn of its own. Says what was done, and why the record
    /// of it is not whole, if it is not.
    ///
    /// # Errors
    /// [`UndoError`], as of [`Self::undo`].
    pub fn go_back(
        &mut self,
        undo: &IncompleteRestore,
        signals: &Signals,
    ) -> Result<(Restored, Option<String>), UndoError> {
        signals.forget_interrupt();
        let live = self.live.as_mut().ok_or(UndoError::Nothing)?;
        let objects = live.writer.dir().join(OBJECTS_DIR);
        let about = Restoration {
            turn: live.writer.state().last_turn() + 1,
            command: &[UNDO.to_owned(), "back".to_owned()],
            target: &undo.tree,
            objects: &objects,
            withheld: &undo.withheld,
        };
        live.go_on(&self.setup)?;
        let before = live.trees.take();
        let done = as_turn(&live.writer, &mut live.trees, &about, before, signals);
        live.kept &= done.trouble.is_none();
        Ok((done.restored?, done.trouble))
    }

    /// Ends the session, as its last turn came out. `exits_with`: the exit code that the program is about to end with, where
    /// that is not the last turn's. `is_cut_off`: whether there was more to ask.
    pub fn finish(
        &mut self,
        exits_with: Option<i32>,
        is_cut_off: bool,
        (signals, observer): Watch<'_>,
    ) -> Option<Finished> {
        let live = self.live.take()?;
        let first = live.first;
        let mut recording = live.recording(&self.setup, signals, observer);
        let (outcome, exit_code) = match self.last {
            _ if recording.writer.state().status() == Some(Status::Checkpointed) => (None, exit::LIMITED),
            None | Some(TurnOutcome::Success) => (Some(Outcome::Success), exit::DONE),
            Some(TurnOutcome::RateLimited) => (None, exit::LIMITED),
            Some(TurnOutcome::Interrupted) => {
                let code = signals.received().map_or(exit::INTERRUPTED, crate::supervise::Received::exit_code);
                (Some(Outcome::Interrupted), code)
            }
            Some(TurnOutcome::Failed | TurnOutcome::Stalled | TurnOutcome::TimedOut) => {
                (Some(Outcome::Failed), exit::FAILED)
            }
        };
        let outcome = match (outcome, exits_with) {
            (Some(Outcome::Success), Some(exit::FAILED)) => Some(Outcome::Failed),
            // A signal ended the program before its input did.
            (Some(Outcome::Success), Some(_)) if is_cut_off => Some(Outcome::Interrupted),
            (outcome, _) => outcome,
        };
        let exit_code = exits_with.unwrap_or(exit_code);
        let turns = first..recording.next_turn();
        let Ended { outcome, exit_code, recorded, .. } = recording.close(Ending::of(outcome, exit_code), turns);
        let id = recording.writer.id().clone();
        self.forget();
        Some(Finished { id, outcome, exit_code, recorded })
    }

    fn forget(&mut self) {
        self.conversations.clear();
        (self.packet, self.remark, self.forgets, self.last) = (None, String::new(), false, None);
    }

    /// Does something with the session, if there is one.
    fn record<T>(
        &mut self,
        (signals, observer): Watch<'_>,
        act: impl FnOnce(&mut Recording<'_>, &mut Order) -> T,
    ) -> Option<T> {
        signals.forget_interrupt();
        let live = self.live.take()?;
        let first = live.first;
        let mut recording = live.recording(&self.setup, signals, observer);
        reopen(&mut recording);
        let done = act(&mut recording, &mut self.order);
        self.live = Some(Live::of(recording, first));
        Some(done)
    }

    /// Where the session is, once there is one.
    #[must_use]
    pub fn session_dir(&self) -> Option<PathBuf> {
        self.live.as_ref().map(|live| live.writer.dir().to_owned())
    }
}

impl Live {
    fn of(recording: Recording<'_>, first: u32) -> Self {
        let Recording { writer, trees, kept, sandbox, .. } = recording;
        Self { writer, trees, kept, first, sandbox }
    }

    /// See [`reopen`].
    fn go_on(&self, setup: &Setup) -> Result<(), RestoreError> {
        resumed(&self.writer, setup).map_or(Ok(()), |resumed| Ok(self.writer.append(resumed).map(drop)?))
    }

    fn recording<'r>(self, setup: &'r Setup, signals: &'r Signals, observer: &'r mut dyn Observer) -> Recording<'r> {
        let Self { writer, trees, kept, sandbox, .. } = self;
        Recording { writer, trees, setup, signals, observer, kept, sandbox }
    }
}

/// Puts a question, and runs the checks on its answer.
fn put(
    recording: &mut Recording<'_>,
    order: &mut Order,
    question: Question,
) -> Result<(Answer, Vec<CheckResult>), RunError> {
    let answer = answer(recording, order, question)?;
    let checks = match answer.result.outcome {
        TurnOutcome::Success => check_all(recording, answer.turn)?.0,
        _ => Vec::new(),
    };
    if !answer.closed {
        recording.close_turn(answer.turn, &answer.result, &checks);
    }
    Ok((answer, checks))
}

/// Goes on with a session that was left waiting for a limit to pass.
fn reopen(recording: &mut Recording<'_>) {
    if let Some(resumed) = resumed(&recording.writer, recording.setup) {
        recording.append(resumed);
    }
}

/// The event by which that is recorded, if the session was left so.
fn resumed(writer: &Log, setup: &Setup) -> Option<Resumed> {
    let pid = (!setup.clock.is_fixed()).then(std::process::id);
    let is_left = writer.state().status() == Some(Status::Checkpointed);
    is_left.then(|| Resumed { pid, decklog_version: env!("CARGO_PKG_VERSION").into(), torn_bytes: None })
}

/// The last turn that changed something and is not undone: each undo takes back one.
fn to_undo(turns: &[Turn]) -> Option<&Turn> {
    let mut standing = Vec::new();
    for turn in turns {
        if turn.agent == AGENT && turn.command.first().is_some_and(|word| word == UNDO) {
            // What was done in part, or taken back, leaves the remark before it.
            if turn.command.len() == 1 && turn.outcome == Some(TurnOutcome::Success) {
                standing.pop();
            }
        } else if turn.files_changed > 0 || turn.snapshot_before != turn.snapshot_after {
            standing.push(turn);
        }
    }
    standing.pop()
}
