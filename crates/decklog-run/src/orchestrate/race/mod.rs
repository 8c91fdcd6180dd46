//! `race`: several agents at the same task at the same time, each in a worktree of its own that begins where the user's
//! working tree stands; then one of them is picked, or none.
//!
//! All of them are turns of one session, open at once. The user's tree is not touched before the pick. Who wins is decided
//! in `pick.rs`, and where they work in `place.rs`. Must not know: the terminal, the configuration.

mod pick;
mod place;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{Checkpoint, EventBody, Notice, SessionEnd, SessionStart, Tokens};
use decklog_journal::redact::Redactor;
use decklog_journal::time::seconds_between;
use decklog_journal::words::{Outcome, Permissions, Role, SessionKind, TurnOutcome};
use decklog_journal::{Event, SessionId, SessionStore};
use decklog_snapshot::{SnapshotReader, Tree};
use jiff::Timestamp;
use serde::Serialize;

use self::pick::{Entry, Standing};
use self::place::Places;
pub use self::place::{Swept, sweep};
use super::party::Party;
use super::recording::{Ask, CheckResult, Recording, RunError, Setup, exit, redactor};
use super::relay::Limited;
use super::run::check_all;
use crate::check::{CheckPlace, run_check};
use crate::log::Log;
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::supervise::{Raise, Signals, SpawnError};
use crate::trees::Trees;
use crate::turn::TurnResult;

/// How often signals are looked for while racers work.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of what a setup command printed that are told when it fails.
const TOLD: usize = 4 * 1024;

/// Everything about a race that has been decided before it begins.
#[derive(Debug, Clone)]
pub struct RacePlan {
    /// The task, whole.
    pub task: String,
    /// Who races: two or more.
    pub racers: Vec<Party>,
    /// A command that makes a new worktree ready, if one is needed.
    pub prepare: Option<String>,
    /// Who judges those that pass the checks.
    pub judge: Option<Party>,
    /// Who is picked.
    pub pick: Pick,
    /// Whether the worktrees stay.
    pub keep: bool,
    /// The directory below which worktrees are made.
    pub worktrees: PathBuf,
    /// Where and how.
    pub setup: Setup,
}

/// What was written, and what is left in conflict; or why nothing was.
type Applied = Result<(Vec<String>, Vec<String>), String>;

/// Who is picked in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Nobody: the user looks first.
    None,
    /// Who passes the checks, then whom the judge prefers, then who changed least.
    Best,
    /// Whom the user says, once they have seen what came out.
    Ask,
    /// This one, whatever came out.
    Racer(usize),
}

/// Names of racers: as users wrote them, with a number where two are the same.
#[must_use]
pub fn labels(racers: &[Party]) -> Vec<String> {
    let labels: Vec<String> = racers.iter().map(Party::label).collect();
    let same = |at: usize| labels.iter().filter(|other| **other == labels[at]).count();
    let before = |at: usize| labels[..at].iter().filter(|other| **other == labels[at]).count();
    (0..labels.len())
        .map(|at| if same(at) > 1 { format!("{}#{}", labels[at], before(at) + 1) } else { labels[at].clone() })
        .collect()
}

/// How a race came out. Its `Serialize` is what `race --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct RaceResult {
    /// The session.
    pub id: SessionId,
    /// Where it is.
    pub session_dir: PathBuf,
    /// How it came out; absent when it is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the program exits with.
    pub exit_code: i32,
    /// What came of it, in words.
    pub summary: String,
    /// Seconds from the session's start.
    pub duration_secs: f64,
    /// Each racer, in the order given.
    pub racers: Vec<Racer>,
    /// Whose change was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picked: Option<String>,
    /// Files that were written, added or removed in the working tree.
    pub applied: Vec<String>,
    /// Files left with conflict markers.
    pub conflicts: Vec<String>,
    /// What the judge said of its choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
    /// Agents that met a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Limited>,
    /// When all were limited: who is back first, if anybody told when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_back: Option<Limited>,
    /// Whether all of it could be recorded.
    pub recorded: bool,
}

/// One racer, and what it came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Racer {
    /// Its name in this race.
    pub name: String,
    /// Its turn; absent when it never began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// How its turn came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TurnOutcome>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Checks, in order.
    pub checks: Vec<CheckResult>,
    /// Seconds its turn took.
    pub duration_secs: f64,
    /// Tokens used.
    pub tokens: Tokens,
    /// Cost in US dollars, as far as the agent told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Files changed.
    pub files_changed: u64,
    /// Lines added.
    pub lines_added: u64,
    /// Lines removed.
    pub lines_removed: u64,
    /// The agent's final text.
    pub text: String,
    /// Its worktree, where that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<PathBuf>,
    /// The trees before and after its turn.
    #[serde(skip)]
    trees: (Option<String>, Option<String>),
    #[serde(skip)]
    resets_at: Option<Timestamp>,
}

impl Racer {
    fn standing(&self) -> Standing {
        Standing {
            finished: self.outcome == Some(TurnOutcome::Success) && self.trees.1.is_some(),
            passed: self.checks.iter().all(|check| check.passed),
            lines: self.lines_added.saturating_add(self.lines_removed),
            files: self.files_changed,
        }
    }
}

/// Why a race cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RaceError {
    /// Worktrees are made of commits.
    #[error("a race needs a git repository with a commit: each agent works in a worktree of it")]
    NoRepository,
    /// There is no room for worktrees.
    #[error("{path}: {error}")]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The session could not be made, or nothing could be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<SpawnError> for RaceError {
    fn from(error: SpawnError) -> Self {
        Self::Run(error.into())
    }
}

/// Runs `plan` as a new session in `store`. `choose` is asked for [`Pick::Ask`].
///
/// # Errors
/// [`RaceError`]. Agents that fail are no error.
pub fn race(
    store: &SessionStore,
    plan: &RacePlan,
    signals: &Signals,
    observer: &mut dyn Observer,
    choose: &mut dyn FnMut(&[Racer]) -> Option<usize>,
) -> Result<RaceResult, RaceError> {
    let common_dir = common_dir(&plan.setup.working_dir).ok_or(RaceError::NoRepository)?;
    let configured = plan.racers.iter().chain(&plan.judge).flat_map(|party| &party.agent.env);
    let redactor = redactor(&plan.setup.env, configured);
    let names = labels(&plan.racers);
    let start = |mut start: SessionStart| {
        start.agents = plan.racers.iter().map(|party| party.agent.name.clone()).collect();
        start.agents.sort();
        start.agents.dedup();
        start
    };
    let about = (SessionKind::Race, plan.task.as_str());
    let mut recording = Recording::begin(store, &plan.setup, &redactor, signals, observer, start, about)?;
    recording.trees.take();
    let whose = (store.root(), recording.writer.id());
    let places = Places::claim(&plan.worktrees, whose, &common_dir, &names)
        .map_err(|error| RaceError::Place { path: plan.worktrees.clone(), error });
    let places = match places {
        Ok(places) => places,
        Err(error) => {
            end(&mut recording, Some(Outcome::Failed), exit::FAILED, error.to_string(), None);
            return Err(error);
        }
    };
    let mut race = Race { plan, recording, redactor, places, names };
    let racers = race.run();
    race.finish(racers, choose)
}

/// The git directory of the repository around `working_dir`, if that has a commit.
fn common_dir(working_dir: &Path) -> Option<PathBuf> {
    let reader = SnapshotReader::open(Some(working_dir), working_dir).ok()?;
    let repository = reader.repository()?;
    repository.head.as_ref()?;
    Some(repository.common_dir.clone())
}

/// What a racer's thread tells the one that looks after all of them.
enum Told {
    Event(Box<Event>),
    Trouble(String),
    /// It is through with what it was at.
    Done,
}

/// Hands what happens to the thread that looks after all.
struct Teller(Sender<Told>);

impl Observer for Teller {
    fn event(&mut self, event: &Event) {
        let _ = self.0.send(Told::Event(Box::new(event.clone())));
    }

    fn trouble(&mut self, what: &str) {
        let _ = self.0.send(Told::Trouble(what.to_owned()));
    }
}

struct Race<'a> {
    plan: &'a RacePlan,
    recording: Recording<'a>,
    redactor: Redactor,
    places: Places,
    names: Vec<String>,
}

impl Race<'_> {
    /// Has all of them run, and says what each came to.
    fn run(&mut self) -> Result<Vec<Racer>, RaceError> {
        let objects = self.recording.writer.dir().join(OBJECTS_DIR);
        let prepared = self.prepare(&objects)?;
        let mut racers: Vec<Racer> =
            self.names.iter().map(|name| Racer { name: name.clone(), ..Racer::default() }).collect();
        let mut ready = Vec::new();
        for (at, prepared) in prepared.into_iter().enumerate() {
            match prepared {
                Ok(working_dir) => ready.push((at, Setup { working_dir, ..self.plan.setup.clone() })),
                Err(why) => {
                    let text = format!("{} could not begin: {why}", self.names[at]);
                    let notice = Notice { turn: None, code: "not_prepared".into(), text, text_artifact: None };
                    self.recording.append(notice);
                    racers[at].error = Some(why);
                }
            }
        }
        if self.recording.signals.received().is_some() {
            return Ok(racers);
        }
        let plan = self.plan;
        let ready_at: Vec<usize> = ready.iter().map(|(at, _)| *at).collect();
        self.places.number(&ready_at).map_err(|error| RaceError::Place { path: plan.worktrees.clone(), error })?;
        let (log, redactor) = (self.recording.writer.clone(), &self.redactor.clone());
        let objects = &objects;
        let mut all_kept = true;
        let results = std::thread::scope(|scope| {
            self.together(scope, &ready, true, |(at, setup), signals, teller| {
                let trees = Trees::open(&setup.working_dir, objects, redactor, &[]);
                let party = &plan.racers[*at];
                one(log.clone(), trees, setup, party, &plan.task, signals, teller)
            })
        })?;
        for ((at, _), result) in ready.iter().zip(results) {
            let (turn, result, checks, kept) = result?;
            all_kept &= kept;
            racers[*at] = racer(&self.names[*at], turn, result, checks);
        }
        self.recording.kept &= all_kept;
        Ok(racers)
    }

    /// Makes the worktrees and has each made ready; says where each works, or why not.
    fn prepare(&mut self, objects: &Path) -> Result<Vec<Result<PathBuf, String>>, RaceError> {
        let plan = self.plan;
        // One after the other: they share the repository's own files.
        let made: Vec<Result<PathBuf, String>> = (0..plan.racers.len())
            .map(|at| {
                let made = self.recording.trees.link(&plan.setup.working_dir, &self.places.path(at), objects);
                made.map(|made| made.working_dir).map_err(|error| error.to_string())
            })
            .collect();
        let Some(command) = &plan.prepare else { return Ok(made) };
        self.recording.observer.checking(command);
        let redactor = &self.redactor.clone();
        std::thread::scope(|scope| {
            self.together(scope, &made, false, |made, signals, _| {
                let working_dir = made.as_ref().map_err(Clone::clone)?;
                let place = CheckPlace { working_dir, env: &plan.setup.env, reaper: &plan.setup.reaper };
                let checked = run_check(command, 0, place, redactor, signals, &mut || {}).map_err(|e| e.to_string())?;
                if checked.validation.passed {
                    return Ok(working_dir.clone());
                }
                let output = super::text::cut(checked.validation.output.trim(), TOLD, super::text::Keep::End);
                Err(format!("`{command}` failed: {output}"))
            })
        })
    }

    /// Does `work` with each of `items` at once, on a thread of its own, telling the observer what happens meanwhile. With
    /// `in_order` the next one begins when a turn of the one before has.
    fn together<'scope, 'env, I: Sync, T: Send + 'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        items: &'env [I],
        in_order: bool,
        work: impl Fn(&'env I, &Signals, &mut Teller) -> T + Clone + Send + 'scope,
    ) -> Result<Vec<T>, RaceError> {
        let signals: std::io::Result<Vec<(Signals, Raise)>> = items.iter().map(|_| Signals::relayed()).collect();
        let mut signals = signals.map_err(SpawnError::from)?.into_iter();
        let (sender, told) = channel();
        let mut threads: Vec<(ScopedJoinHandle<'scope, T>, Raise)> = Vec::new();
        let (mut begun, mut done) = (0, 0);
        let mut stopped = None;
        while done < items.len() {
            while threads.len() < items.len() && (!in_order || threads.len() == begun.max(done)) {
                let Some((signals, raise)) = signals.next() else { break };
                if let Some(signal) = stopped {
                    raise.raise(signal);
                }
                let (item, work, sender) = (&items[threads.len()], work.clone(), sender.clone());
                let thread = scope.spawn(move || {
                    let result = work(item, &signals, &mut Teller(sender.clone()));
                    let _ = sender.send(Told::Done);
                    result
                });
                threads.push((thread, raise));
            }
            match told.recv_timeout(LOOK) {
                Ok(Told::Event(event)) => {
                    begun += usize::from(matches!(event.body, EventBody::TurnStart(_)));
                    self.recording.observer.event(&event);
                }
                Ok(Told::Trouble(what)) => self.recording.observer.trouble(&what),
                Ok(Told::Done) => {
                    done += 1;
                    begun = begun.max(done);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.recording.observer.idle();
            while let Some(signal) = self.recording.signals.take() {
                stopped = Some(signal);
                threads.iter().for_each(|(_, raise)| raise.raise(signal));
            }
        }
        // What was told last.
        while let Ok(told) = told.try_recv() {
            match told {
                Told::Event(event) => self.recording.observer.event(&event),
                Told::Trouble(what) => self.recording.observer.trouble(&what),
                Told::Done => {}
            }
        }
        let join = |(thread, _): (ScopedJoinHandle<'scope, T>, Raise)| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        Ok(threads.into_iter().map(join).collect())
    }

    /// Picks one, and ends the session.
    fn finish(
        mut self,
        racers: Result<Vec<Racer>, RaceError>,
        choose: &mut dyn FnMut(&[Racer]) -> Option<usize>,
    ) -> Result<RaceResult, RaceError> {
        let mut racers = match racers {
            Ok(racers) => racers,
            Err(error) => {
                end(&mut self.recording, Some(Outcome::Failed), exit::FAILED, error.to_string(), None);
                self.clear_away();
                return Err(error);
            }
        };
        let standings: Vec<Standing> = racers.iter().map(Racer::standing).collect();
        let is_stopped = |race: &Self| race.recording.signals.received().is_some();
        let judged = if is_stopped(&self) { None } else { self.judge(&racers, &standings)? };
        let picked = match &self.plan.pick {
            _ if is_stopped(&self) => None,
            Pick::None => None,
            Pick::Best => pick::best(&standings, judged.as_ref().map(|(at, _)| *at)),
            Pick::Ask => choose(&racers),
            Pick::Racer(at) => Some(*at),
        };
        let applied = picked.map(|at| self.apply(&racers[at]));
        let why = judged.map(|(at, why)| format!("{}: {why}", racers[at].name));
        let result = self.result(&racers, picked, applied, why);
        if self.plan.keep {
            for (at, racer) in racers.iter_mut().enumerate() {
                racer.worktree = Some(self.places.path(at)).filter(|path| path.is_dir());
            }
            if let Err(error) = self.places.keep() {
                self.recording.observer.trouble(&error.to_string());
            }
        } else {
            self.clear_away();
        }
        Ok(RaceResult { racers, ..result })
    }

    fn clear_away(&mut self) {
        if let Err(why) = self.places.remove() {
            self.recording.observer.trouble(&format!("a worktree is still there: {why}"));
        }
    }

    /// Asks the judge, if there is one and there is something to choose.
    fn judge(&mut self, racers: &[Racer], standings: &[Standing]) -> Result<Option<(usize, String)>, RaceError> {
        let eligible = pick::eligible(standings);
        let Some(judge) = self.plan.judge.as_ref().filter(|_| eligible.len() > 1) else { return Ok(None) };
        let room = pick::room(eligible.len());
        let entry = |at: &usize| {
            let (before, after) = &racers[*at].trees;
            let patch = self.recording.trees.patch_text(before.as_deref(), after.as_deref(), room);
            let said = self.redactor.redact_str(&racers[*at].text).into_owned();
            Entry { said, patch }
        };
        let entries: Vec<Entry> = eligible.iter().map(entry).collect();
        let turn = self.recording.next_turn();
        let result = self.recording.turn(Ask {
            turn,
            agent: &judge.agent,
            role: Role::Judge,
            prompt: pick::prompt(&self.plan.task, &entries),
            model: judge.model.clone(),
            permissions: Permissions::ReadOnly,
            resume: None,
            begins_anew: true,
            at_most: None,
        })?;
        let verdict = pick::verdict(&result.facts.final_text, eligible.len());
        if verdict.is_none() {
            let text = "the judge's choice could not be read: the smallest change counts".to_owned();
            self.recording.append(Notice { turn: Some(turn), code: "no_verdict".into(), text, text_artifact: None });
        }
        self.recording.close_turn(turn, &result, &[]);
        Ok(verdict.map(|(at, why)| (eligible[at], why)))
    }

    /// Brings a racer's change into the user's tree: what was applied, and what is in conflict.
    fn apply(&mut self, racer: &Racer) -> Applied {
        let tree = |id: &Option<String>| id.as_ref().and_then(|id| id.parse::<Tree>().ok());
        let (Some(from), Some(to)) = (tree(&racer.trees.0), tree(&racer.trees.1)) else {
            return Err(format!("what {} changed is not known", racer.name));
        };
        if let Some(why) = self.recording.trees.take().trouble {
            return Err(why);
        }
        let objects = self.recording.writer.dir().join(OBJECTS_DIR);
        let merged = self.recording.trees.merge(&from, &to, &objects)?;
        let names = |paths: Vec<Vec<u8>>| paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        Ok((names(merged.applied), names(merged.conflicts)))
    }

    fn result(
        &mut self,
        racers: &[Racer],
        picked: Option<usize>,
        applied: Option<Applied>,
        judged: Option<String>,
    ) -> RaceResult {
        let stopped = self.recording.signals.received();
        let finished = racers.iter().filter(|racer| racer.standing().finished && racer.standing().passed).count();
        let all_limited = racers.iter().all(|racer| racer.outcome == Some(TurnOutcome::RateLimited));
        let name = picked.map(|at| racers[at].name.clone()).unwrap_or_default();
        let (outcome, exit_code, summary) = match (&applied, stopped) {
            (_, Some(signal)) => (Some(Outcome::Interrupted), exit::stopped(signal), "interrupted".to_owned()),
            (Some(Err(why)), _) => {
                (Some(Outcome::Failed), exit::FAILED, format!("{name} was picked, and could not be applied: {why}"))
            }
            (Some(Ok((_, conflicts))), _) if !conflicts.is_empty() => {
                let summary = format!("{name} was picked; in conflict: {}", conflicts.join(", "));
                (Some(Outcome::Failed), exit::NOT_APPROVED, summary)
            }
            (Some(Ok(_)), _) => (Some(Outcome::Success), exit::DONE, format!("{name} was picked")),
            (None, _) if all_limited => (None, exit::LIMITED, "rate_limit".to_owned()),
            (None, _) if finished == 0 => (Some(Outcome::Failed), exit::FAILED, "nobody came through".to_owned()),
            (None, _) if self.plan.pick == Pick::Best => {
                (Some(Outcome::Failed), exit::NOT_APPROVED, "nobody changed anything that passes".to_owned())
            }
            (None, _) => (Some(Outcome::Success), exit::DONE, format!("{finished} came through; nobody was picked")),
        };
        let picked_turn = picked.filter(|_| matches!(applied, Some(Ok(_)))).and_then(|at| racers[at].turn);
        let ended = end(&mut self.recording, outcome, exit_code, summary.clone(), picked_turn);
        let limited: Vec<Limited> = racers
            .iter()
            .zip(&self.plan.racers)
            .filter(|(racer, _)| racer.outcome == Some(TurnOutcome::RateLimited))
            .map(|(racer, party)| Limited { agent: party.agent.name.clone(), resets_at: racer.resets_at })
            .collect();
        let first_back = limited.iter().filter(|it| it.resets_at.is_some()).min_by_key(|it| it.resets_at).cloned();
        let (applied, conflicts) = applied.and_then(Result::ok).unwrap_or_default();
        RaceResult {
            id: self.recording.writer.id().clone(),
            session_dir: self.recording.writer.dir().to_owned(),
            outcome,
            exit_code: ended.exit_code,
            summary,
            duration_secs: ended.duration_secs,
            racers: Vec::new(),
            picked: picked_turn.map(|_| name),
            applied,
            conflicts,
            judged,
            limited,
            first_back: first_back.filter(|_| outcome.is_none()),
            recorded: ended.recorded,
        }
    }
}

/// How the session was ended.
struct Ended {
    exit_code: i32,
    duration_secs: f64,
    recorded: bool,
}

fn end(
    recording: &mut Recording<'_>,
    outcome: Option<Outcome>,
    mut exit_code: i32,
    summary: String,
    picked: Option<u32>,
) -> Ended {
    if !recording.kept && exit_code == exit::DONE {
        exit_code = exit::FAILED;
    }
    let duration_secs = seconds_between(recording.writer.started_at(), recording.now());
    let summary = Some(clip_safely(summary, 4096, recording.writer.redactor()));
    let body: EventBody = match outcome {
        Some(outcome) => {
            SessionEnd { outcome, iterations: None, summary, confidence: None, picked, duration_secs, exit_code }.into()
        }
        None => Checkpoint { reason: "rate_limit".into(), exit_code: Some(exit_code) }.into(),
    };
    recording.end(body);
    let recorded = recording.finish(1..recording.next_turn());
    if !recorded && exit_code == exit::DONE {
        exit_code = exit::FAILED;
    }
    Ended { exit_code, duration_secs, recorded }
}

/// A racer's turn: its number and result, its checks, and whether all was kept.
type Ran = Result<(u32, TurnResult, Vec<CheckResult>, bool), SpawnError>;

/// One racer's turn and checks.
fn one(
    writer: Log,
    trees: Trees,
    setup: &Setup,
    party: &Party,
    task: &str,
    signals: &Signals,
    teller: &mut Teller,
) -> Ran {
    let mut recording = Recording { writer, trees, setup, signals, observer: teller, kept: true };
    let turn = recording.next_turn();
    let result = recording.turn(Ask {
        turn,
        agent: &party.agent,
        role: Role::Racer,
        prompt: task.to_owned(),
        model: party.model.clone(),
        permissions: setup.permissions,
        resume: None,
        begins_anew: true,
        at_most: None,
    })?;
    let checks = match result.outcome {
        TurnOutcome::Success => check_all(&mut recording, turn)?.0,
        _ => Vec::new(),
    };
    recording.close_turn(turn, &result, &checks);
    Ok((turn, result, checks, recording.kept))
}

fn racer(name: &str, turn: u32, result: TurnResult, checks: Vec<CheckResult>) -> Racer {
    let TurnResult { outcome, facts, error, files_changed, lines, trees, duration_secs, .. } = result;
    Racer {
        name: name.to_owned(),
        turn: Some(turn),
        outcome: Some(outcome),
        error,
        checks,
        duration_secs,
        tokens: facts.tokens,
        cost_usd: facts.cost_usd,
        files_changed,
        lines_added: lines.0,
        lines_removed: lines.1,
        resets_at: facts.limited.flatten(),
        text: facts.final_text,
        worktree: None,
        trees,
    }
}
