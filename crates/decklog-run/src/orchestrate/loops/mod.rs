//! `loop`: an actor works, a critic judges what it really did, until the critic is content and the checks pass.
//!
//! What comes next is decided by `machine.rs`, from what `course.rs` reads in the record; here it is done. Every phase is
//! in the record as soon as it ends, so that a loop can be gone on with wherever it was cut off. Must not know: the
//! terminal, the configuration.

mod course;
mod decision;
mod machine;
mod plan;
mod prompts;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use decklog_journal::event::{Iteration, Notice, SessionRules};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::words::{Outcome, Permissions, Role, SessionKind, TurnOutcome};
use decklog_journal::{Event, SessionId, SessionStore};
use jiff::Timestamp;

use self::course::{Course, Turn};
use self::machine::{Decided, End, Event as Happened, Phase};
pub use self::plan::{IterationResult, LoopPlan, LoopResult, ResumeError};
use self::prompts::{Facts, Patch};
use super::party::Party;
use super::recording::{Ask, CheckResult, Ended, Ending, Recording, RunError, exit, redactor};
use super::relay::{Limited, Order, follow, with_prompt};
use super::text::{Keep, cut};
use crate::agents::{Asking, Leave, Used};
use crate::observe::{AgentStream, Observer};
use crate::record::clip_safely;
use crate::supervise::{Received, Signals};
use crate::turn::TurnResult;

/// Bytes of a critic's feedback, and of its summary, that are kept: an event has to fit into a line.
const FEEDBACK: usize = 16 * 1024;
const SUMMARY: usize = 4 * 1024;

/// Runs `plan` as a new session in `store`.
///
/// # Errors
/// [`RunError`] when the session cannot be made or no process can be started. Agents that fail are no error.
pub fn run_loop(
    store: &SessionStore,
    plan: &LoopPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<LoopResult, RunError> {
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, configured(plan));
    let course = Rc::new(RefCell::new(None));
    let mut noting = Noting { course: Rc::clone(&course), inner: observer };
    let rules = rules(plan);
    let start = |mut start: decklog_journal::event::SessionStart| {
        start.agents = [Some(&plan.actor), plan.critic.as_ref()]
            .into_iter()
            .flatten()
            .map(|party| party.agent.name.clone())
            .collect();
        start.agents.dedup();
        start.actor_agent = Some(plan.actor.agent.name.clone());
        start.actor_model.clone_from(&plan.actor.model);
        start.critic_agent = plan.critic.as_ref().map(|critic| critic.agent.name.clone());
        start.critic_model = plan.critic.as_ref().and_then(|critic| critic.model.clone());
        start.max_iterations = Some(plan.max_iterations);
        start.rules = Some(Box::new(rules.clone()));
        *course.borrow_mut() =
            Some(Course::new(start.session_dir.as_ref(), plan.max_iterations, &rules, plan.critic.is_some()));
        start
    };
    let about = (SessionKind::Loop, plan.task.as_str());
    let recording = Recording::begin(store, &plan.setup, &redactor, signals, &mut noting, start, about)?;
    Driver::new(plan, course, recording).run()
}

/// Goes on with the loop `id` where its record ends. `plan` is what was decided when it began.
///
/// # Errors
/// [`ResumeError`].
pub fn resume_loop(
    store: &SessionStore,
    id: &SessionId,
    plan: &LoopPlan,
    signals: &Signals,
    observer: &mut dyn Observer,
) -> Result<LoopResult, ResumeError> {
    let mut past = Course::new(&store.entry(id), plan.max_iterations, &rules(plan), plan.critic.is_some());
    let io = |error: std::io::Error| RunError::Write(decklog_journal::WriteError::Io { path: store.entry(id), error });
    for item in JournalReader::open(&store.entry(id).join(JOURNAL_FILE)).map_err(io)? {
        if let Item::Event(event) = item.map_err(io)? {
            past.apply(&event);
        }
    }
    if let Phase::Over(end) = &past.state.phase
        && end.is_final()
        && past.completed
    {
        return Err(ResumeError::Over(end.reason.clone()));
    }
    // What `resumed` does to it happens here: the event is written before anybody can look on.
    past.resumed();
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, configured(plan));
    let course = Rc::new(RefCell::new(Some(past)));
    let mut noting = Noting { course: Rc::clone(&course), inner: observer };
    let recording = Recording::resume(store, id, &plan.setup, &redactor, signals, &mut noting)?;
    Ok(Driver::new(plan, course, recording).run()?)
}

/// What the record keeps of a plan, so that it can be gone on with.
fn rules(plan: &LoopPlan) -> SessionRules {
    SessionRules {
        permissions: plan.setup.permissions,
        checks: plan.setup.checks.clone(),
        fresh: plan.fresh,
        speakers: Vec::new(),
        max_turns: None,
        max_cost_usd: plan.max_cost,
        max_time_secs: plan.max_time.map(|time| time.as_secs_f64()),
    }
}

fn configured(plan: &LoopPlan) -> impl Iterator<Item = &(String, String)> {
    let critic = plan.critic.iter().flat_map(|critic| &critic.agent.env);
    plan.relay.configured(&plan.actor).chain(critic)
}

/// Two trees, before and after.
type Trees = (Option<String>, Option<String>);

type Shared = Rc<RefCell<Option<Course>>>;

/// Notes what happens before others look on.
struct Noting<'a> {
    course: Shared,
    inner: &'a mut dyn Observer,
}

impl Observer for Noting<'_> {
    fn started(&mut self, id: &SessionId, dir: &std::path::Path) {
        self.inner.started(id, dir);
    }

    fn checking(&mut self, command: &str) {
        self.inner.checking(command);
    }

    fn waiting(&mut self, agent: &str, until: Timestamp) {
        self.inner.waiting(agent, until);
    }

    fn event(&mut self, event: &Event) {
        if let Some(course) = &mut *self.course.borrow_mut() {
            course.apply(event);
        }
        self.inner.event(event);
    }

    fn agent_bytes(&mut self, bytes: &[u8], from: AgentStream) {
        self.inner.agent_bytes(bytes, from);
    }

    fn asked(&mut self, asking: &Asking) -> Leave {
        self.inner.asked(asking)
    }

    fn trouble(&mut self, what: &str) {
        self.inner.trouble(what);
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}

struct Driver<'a> {
    plan: &'a LoopPlan,
    course: Shared,
    recording: Recording<'a>,
    /// Who works and who judges, and who takes their places.
    actors: Order,
    critics: Option<Order>,
    limited: Vec<Limited>,
    /// What the present actor is to know of the one before it.
    packet: Option<String>,
    /// Turns that ran, whose streams are compressed in the end.
    turns: Vec<u32>,
    /// The last turn, whose state is written once its checks are known.
    last: Option<(u32, TurnResult, Vec<CheckResult>)>,
    /// The patch that was made last, and between which trees.
    patch: RefCell<Option<(Trees, Patch)>>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a LoopPlan, course: Shared, recording: Recording<'a>) -> Self {
        Self {
            plan,
            course,
            recording,
            actors: Order::new(&plan.actor, &plan.relay),
            critics: plan.critic.as_ref().map(|critic| Order::new(critic, &plan.relay)),
            limited: Vec::new(),
            packet: None,
            turns: Vec::new(),
            last: None,
            patch: RefCell::default(),
        }
    }

    fn course<T>(&self, look: impl FnOnce(&mut Course) -> T) -> T {
        look(self.course.borrow_mut().as_mut().expect("it is made with the session"))
    }

    fn run(mut self) -> Result<LoopResult, RunError> {
        loop {
            let (phase, before) = self.course(|course| (course.state.phase.clone(), course.last_turn));
            let working = !matches!(phase, Phase::Close(_) | Phase::Over(_));
            if working && self.recording.signals.received().is_some() {
                self.course(|course| course.step(Happened::Stopped));
                continue;
            }
            if working && let Some(what) = self.exhausted() {
                self.course(|course| course.step(Happened::Exhausted { what }));
                continue;
            }
            match &phase {
                Phase::Act => self.act()?,
                Phase::Check => {
                    let (turn, at) = self.course(|course| (course.last_turn, course.checked()));
                    let command = &self.plan.setup.checks[at];
                    let (result, stopped) = self.recording.check(turn, command)?;
                    if let Some((_, _, checks)) = &mut self.last {
                        checks.push(result);
                    }
                    if stopped.is_some() {
                        self.course(|course| course.step(Happened::Stopped));
                    }
                }
                Phase::Judge => self.judge(false)?,
                Phase::JudgeAgain => self.judge(true)?,
                Phase::Close(decided) => self.close(decided),
                Phase::Over(end) if end.outcome.is_none() && self.is_relayed()? => continue,
                Phase::Over(end) => return Ok(self.finish(end)),
            }
            // A disk that refuses what a phase came to would have it begun anew for ever.
            let stuck = self.course(|course| {
                course.is_open() || (course.state.phase == phase && course.last_turn == before && phase != Phase::Check)
            });
            if stuck || !self.recording.kept && self.recording.writer.lost() > 0 {
                let reason = "what happened could not be recorded".to_owned();
                return Ok(self.finish_with(Some(Outcome::Failed), reason, None));
            }
        }
    }

    /// What is spent, if something is.
    fn exhausted(&self) -> Option<String> {
        self.course(|course| {
            let cost = self.plan.max_cost.filter(|limit| course.cost_usd.is_some_and(|cost| cost >= *limit));
            let time = self.plan.max_time.filter(|limit| course.seconds >= limit.as_secs_f64());
            cost.map(|limit| format!("not done when ${limit:.2} were spent"))
                .or_else(|| time.map(|limit| format!("not done after {} s", limit.as_secs_f64())))
        })
    }

    /// How much of the time is left.
    fn left(&self) -> Option<Duration> {
        let limit = self.plan.max_time?;
        Some(limit.saturating_sub(Duration::from_secs_f64(self.course(|course| course.seconds))))
    }

    /// Whether somebody goes on for the one who was refused.
    fn is_relayed(&mut self) -> Result<bool, RunError> {
        let Some((number, turn, checks)) = self.last.take() else { return Ok(false) };
        self.recording.close_turn(number, &turn, &checks);
        let role = self.course(|course| course.last_role);
        let order = if role == Role::Actor { Some(&mut self.actors) } else { self.critics.as_mut() };
        let Some(order) = order else { return Ok(false) };
        let Some(packet) = follow(&mut self.recording, order, &turn, &mut self.limited)? else { return Ok(false) };
        if role == Role::Actor {
            self.packet = Some(packet);
        }
        Ok(true)
    }

    fn act(&mut self) -> Result<(), RunError> {
        let party = self.actors.present().clone();
        let (turn, prompt, resume) = self.course(|course| {
            let resume = course.actor_session.clone().filter(|_| !self.plan.fresh);
            let resume = resume.filter(|_| course.actor.as_deref() == Some(party.agent.name.as_str()));
            let facts = Facts {
                task: &self.plan.task,
                history: &course.history,
                unchanged: course.state.unchanged,
                checked: course.state.checked.as_ref(),
                ..Facts::default()
            };
            (course.last_turn + 1, prompts::actor(&facts, resume.is_none()), resume)
        });
        let prompt = match self.packet.take().filter(|_| resume.is_none()) {
            Some(packet) => with_prompt(&packet, &prompt),
            None => prompt,
        };
        let stalled = self.turn(turn, &party, Role::Actor, prompt, self.plan.setup.permissions, resume)?;
        if stalled {
            // The critic judges what there is; the next iteration is somebody else's, if there is somebody.
            let now = self.recording.now();
            self.actors.refused(None, true, now);
        }
        Ok(())
    }

    fn judge(&mut self, again: bool) -> Result<(), RunError> {
        let Some(party) = self.critics.as_ref().map(|critics| critics.present().clone()) else { return Ok(()) };
        let turn = self.course(|course| course.last_turn + 1);
        let (prompt, resume) = if again {
            let (said, session) = self.course(|course| course.critic()).unwrap_or_default();
            // Agents lose conversations, and do not know it until they are to go on with them.
            (prompts::again(Some(said.as_str()).filter(|said| !said.trim().is_empty())), session)
        } else {
            (self.review(), None)
        };
        self.turn(turn, &party, Role::Critic, prompt, Permissions::ReadOnly, resume)?;
        Ok(())
    }

    /// What the critic is asked.
    fn review(&self) -> String {
        let patch = |from: &dyn Fn(&Course) -> Option<String>| {
            let trees = self.course(|course| (from(course), course.last_tree.clone()));
            self.patch(trees)
        };
        // The iteration's comes last: it is asked for again when the iteration is recorded.
        let whole_diff = patch(&|course| course.first_tree.clone());
        let diff = patch(&|course| course.iteration_tree.clone());
        self.course(|course| {
            let acted = course.acted.as_ref();
            let (text, stderr) = acted.map(|turn| (course.text_of(turn), course.stderr_of(turn))).unwrap_or_default();
            prompts::critic(&Facts {
                task: &self.plan.task,
                iteration: course.state.iteration,
                max_iterations: self.plan.max_iterations,
                history: &course.history,
                unchanged: course.state.unchanged,
                actor_failure: course.state.actor_failure(),
                actor_text: &text,
                actor_exit_code: acted.and_then(|turn| turn.end.as_ref()?.exit_code),
                actor_stderr: &stderr,
                diff,
                whole_diff,
                checked: course.state.checked.as_ref(),
            })
        })
    }

    /// What lies between two trees, as far as anybody is told of it.
    fn patch(&self, trees: Trees) -> Patch {
        let mut last = self.patch.borrow_mut();
        if let Some((known, patch)) = &*last
            && *known == trees
        {
            return patch.clone();
        }
        let recorded = self.course(|course| course.recorded_patch(&trees, prompts::PATCH as u64));
        let patch = recorded.unwrap_or_else(|| {
            let (text, bytes) = self.recording.trees.patch_text(trees.0.as_deref(), trees.1.as_deref(), prompts::PATCH);
            Patch { text, bytes }
        });
        *last = Some((trees, patch.clone()));
        patch
    }

    /// Runs a turn, and says whether it stalled.
    fn turn(
        &mut self,
        turn: u32,
        party: &Party,
        role: Role,
        prompt: String,
        permissions: Permissions,
        resume: Option<(String, Used)>,
    ) -> Result<bool, RunError> {
        let follows_at_once = self.last.as_ref().is_some_and(|(_, _, checks)| checks.is_empty());
        self.close_turn();
        self.turns.push(turn);
        let at_most = self.left();
        let (agent, model) = (&party.agent, party.model.clone());
        let ask =
            Ask { turn, agent, role, prompt, model, permissions, resume, begins_anew: true, at_most, follows_at_once };
        let result = self.recording.turn(ask)?;
        if role == Role::Critic && result.files_changed > 0 {
            let text = format!("the critic, who was to change nothing, changed {} files", result.files_changed);
            let notice = Notice { turn: Some(turn), code: "critic_changed_files".into(), text, text_artifact: None };
            self.recording.append(notice);
        }
        let stalled = result.outcome == TurnOutcome::Stalled;
        self.last = Some((turn, result, Vec::new()));
        Ok(stalled)
    }

    fn close_turn(&mut self) {
        if let Some((turn, result, checks)) = self.last.take() {
            self.recording.close_turn(turn, &result, &checks);
        }
    }

    /// Records the iteration.
    fn close(&mut self, decided: &Decided) {
        let iteration = self.iteration(decided);
        self.recording.append(iteration);
    }

    fn iteration(&self, decided: &Decided) -> Iteration {
        // Up to the actor's end: what a critic changed is not the actor's.
        let trees = self.course(|course| {
            let end = course.acted.as_ref().and_then(|turn| turn.end.as_ref());
            (course.iteration_tree.clone(), end.and_then(|end| end.snapshot.clone()))
        });
        let patch = self.patch(trees);
        self.course(|course| {
            let acted = course.acted.as_ref();
            let end = acted.and_then(|turn| turn.end.as_ref());
            let whole = patch.text.len() as u64 == patch.bytes;
            Iteration {
                iteration_number: course.state.iteration,
                actor_turn: acted.map(|turn| turn.number),
                critic_turn: course.judged.as_ref().map(|turn| turn.number),
                actor_output: acted.map(|turn| course.text_of(turn)).unwrap_or_default(),
                actor_output_artifact: None,
                actor_stderr: acted.map(|turn| course.stderr_of(turn)).unwrap_or_default(),
                actor_stderr_artifact: None,
                actor_exit_code: acted.map_or(-1, exit_code),
                actor_duration_secs: end.map_or(0.0, |end| end.duration_secs),
                git_diff: patch.text,
                git_diff_artifact: end.and_then(|end| end.patch_artifact.clone()).filter(|_| !whole),
                git_files_changed: end.map_or(0, |end| end.files_changed),
                checks_passed: course.state.checked.as_ref().map(Result::is_ok),
                critic_decision: decided.verdict.decision,
                critic_said: decided.overruled,
                feedback: decided.verdict.feedback.as_deref().map(|text| cut(text, FEEDBACK, Keep::Beginning)),
                summary: decided.verdict.summary.as_deref().map(|text| cut(text, SUMMARY, Keep::Beginning)),
                confidence: decided.verdict.confidence,
            }
        })
    }

    fn first_back(&self) -> Option<Limited> {
        let order = if self.course(|course| course.last_role) == Role::Actor {
            Some(&self.actors)
        } else {
            self.critics.as_ref()
        };
        order.and_then(Order::first_back)
    }

    fn finish(self, end: &End) -> LoopResult {
        self.finish_with(end.outcome, end.reason.clone(), end.confidence)
    }

    fn finish_with(mut self, outcome: Option<Outcome>, reason: String, confidence: Option<f64>) -> LoopResult {
        self.close_turn();
        let stopped = self.recording.signals.received();
        let exit_code = match outcome {
            Some(Outcome::Success) => exit::DONE,
            Some(Outcome::MaxIterationsReached) => exit::NOT_APPROVED,
            Some(Outcome::Failed) => exit::FAILED,
            Some(Outcome::Interrupted) => stopped.unwrap_or(Received::Interrupt).exit_code(),
            None => exit::LIMITED,
        };
        let rounds = self.course(|course| course.rounds.clone());
        let summary = clip_safely(reason, 4096, self.recording.writer.redactor());
        let ending = Ending {
            iterations: Some(u32::try_from(rounds.len()).unwrap_or(u32::MAX)),
            summary: Some(summary.clone()),
            confidence,
            ..Ending::of(outcome, exit_code)
        };
        let Ended { outcome, exit_code, duration_secs, recorded } =
            self.recording.close(ending, std::mem::take(&mut self.turns));
        let (tokens, cost_usd) = self.course(|course| (course.tokens, course.cost_usd));
        LoopResult {
            id: self.recording.writer.id().clone(),
            session_dir: self.recording.writer.dir().to_owned(),
            outcome,
            exit_code,
            summary,
            confidence,
            duration_secs,
            iterations: rounds.into_iter().filter_map(result).collect(),
            tokens,
            cost_usd,
            first_back: if outcome.is_none() { self.first_back() } else { None },
            limited: self.limited,
            recorded,
        }
    }
}

fn exit_code(turn: &Turn) -> i32 {
    let end = turn.end.as_ref();
    let of_signal = |end: &decklog_journal::event::TurnEnd| end.signal.map(|signal| 128 + signal);
    // An agent that lives on after its turn has no exit code, and did not fail.
    end.and_then(|end| end.exit_code.or_else(|| of_signal(end))).unwrap_or(0)
}

fn result(round: course::Round) -> Option<IterationResult> {
    let iteration = round.iteration?;
    Some(IterationResult {
        iteration: iteration.iteration_number,
        decision: iteration.critic_decision,
        feedback: iteration.feedback,
        duration_secs: round.seconds,
        files_changed: iteration.git_files_changed,
        tokens: round.tokens,
        cost_usd: round.cost_usd,
    })
}
