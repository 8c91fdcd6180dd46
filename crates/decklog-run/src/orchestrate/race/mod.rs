//! `race`: several agents at the same task at the same time, each in a worktree of its own that begins where the user's
//! working tree stands; then one of them is picked, or none.
//!
//! All of them are turns of one session, open at once. The user's tree is not touched before the pick. Who wins is decided
//! in `pick.rs`, and where they work in `place.rs`. Must not know: the terminal, the configuration.

mod pick;
mod place;
mod plan;
mod side_by_side;
mod unsaved;

use std::path::{Path, PathBuf};

use decklog_journal::SessionStore;
use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{Notice, SessionStart, Withheld};
use decklog_journal::redact::Redactor;
use decklog_journal::words::{Outcome, Permissions, Role, SessionKind, TurnOutcome};
use decklog_snapshot::{Left, SnapshotReader, Tree};

use self::pick::{Entry, Standing};
use self::place::Places;
pub use self::place::{Sweeping, Swept, sweep};
pub use self::plan::{Pick, RaceError, RacePlan, RaceResult, Racer};
use self::side_by_side::{Teller, side_by_side};
use super::party::{Party, labels};
use super::recording::{Ask, CheckResult, Ended, Ending, Recording, Setup, exit, redactor};
use super::relay::Limited;
use super::restore::{IncompleteRestore, record_incomplete};
use super::run::check_all;
use crate::check::{CheckPlace, run_check};
use crate::log::Log;
use crate::observe::Observer;
use crate::record::clip_safely;
use crate::supervise::{Signals, SpawnError};
use crate::trees::{ReplaceError, Trees};
use crate::turn::TurnResult;

/// Bytes of what a setup command printed that are told when it fails.
const TOLD: usize = 4 * 1024;

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
    let redactor = redactor(&plan.setup.env, &plan.setup.secrets, configured);
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
    let mut all = names.clone();
    // The judge looks at nothing that anybody wants to keep as it is.
    all.extend(plan.judge.iter().map(|_| "judge".to_owned()));
    let places = Places::claim(&plan.worktrees, whose, &common_dir, &all)
        .map_err(|error| RaceError::Place { path: plan.worktrees.clone(), error });
    let kept = |places: Places| match plan.keep {
        // From the beginning: whatever happens to this program, they stay.
        true => {
            places.keep().map(|()| places).map_err(|error| RaceError::Place { path: plan.worktrees.clone(), error })
        }
        false => Ok(places),
    };
    let places = match places.and_then(kept) {
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

/// What became of the change that was picked.
type Applied = Result<Brought, NotApplied>;

/// What was brought into the user's tree of a racer's change.
#[derive(Default)]
struct Brought {
    /// Files that were written, added or removed.
    applied: Vec<String>,
    /// Files left in conflict.
    conflicts: Vec<String>,
    /// Files that were not brought, each with why.
    left: Vec<Withheld>,
}

/// Why a racer's change is not applied, and which files are changed nevertheless.
struct NotApplied {
    why: String,
    incomplete: Option<Box<IncompleteRestore>>,
}

impl From<String> for NotApplied {
    fn from(why: String) -> Self {
        Self { why, incomplete: None }
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
        let (mut all_kept, places) = (true, &self.places);
        let results = std::thread::scope(|scope| {
            side_by_side(&mut self.recording, scope, &ready, true, |(at, setup), signals, teller| {
                let trees = Trees::open(&setup.working_dir, objects, redactor, &[]);
                let party = &plan.racers[*at];
                let changed = |withheld: &[Withheld]| places.changed(*at, withheld);
                one(log.clone(), trees, setup, (party, &plan.task), &changed, (signals, teller))
            })
        })?;
        for ((at, _), result) in ready.iter().zip(results) {
            let (turn, result, checks, kept) = result?;
            all_kept &= kept;
            racers[*at] = Racer { kept, ..racer(&self.names[*at], turn, result, checks) };
        }
        self.recording.kept &= all_kept;
        Ok(racers)
    }

    /// Makes the worktrees and has each made ready; says where each works, or why not.
    fn prepare(&mut self, objects: &Path) -> Result<Vec<Result<PathBuf, String>>, RaceError> {
        let plan = self.plan;
        let mut lacking: Vec<Vec<u8>> = Vec::new();
        // One after the other: they share the repository's own files.
        let made: Vec<Result<PathBuf, String>> = (0..plan.racers.len())
            .map(|at| {
                let made = self.recording.trees.link(&plan.setup.working_dir, &self.places.path(at), objects);
                let made = made.inspect(|made| lacking.extend(made.lacking.iter().map(|it| it.path.clone())));
                made.map(|made| made.working_dir)
            })
            .collect();
        lacking.sort();
        lacking.dedup();
        if !lacking.is_empty() {
            let paths: Vec<_> = lacking.iter().take(20).map(|path| String::from_utf8_lossy(path)).collect();
            let text = format!("the worktrees lack what no copy can be made of: {}", paths.join(", "));
            self.recording.append(Notice { turn: None, code: "worktrees_lack".into(), text, text_artifact: None });
        }
        let Some(command) = &plan.prepare else { return Ok(made) };
        self.recording.observer.checking(command);
        let redactor = &self.redactor.clone();
        Ok(std::thread::scope(|scope| {
            side_by_side(&mut self.recording, scope, &made, false, |made, signals, _| {
                let working_dir = made.as_ref().map_err(Clone::clone)?;
                let place = CheckPlace { working_dir, env: &plan.setup.env, inside: None, reaper: &plan.setup.reaper };
                let checked = run_check(command, 0, place, redactor, signals, &mut || {}).map_err(|e| e.to_string())?;
                if checked.validation.passed {
                    return Ok(working_dir.clone());
                }
                let output = super::text::cut(checked.validation.output.trim(), TOLD, super::text::Keep::End);
                Err(format!("`{command}` failed: {output}"))
            })
        })?)
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
                // Whose work the record holds is not known here: the next race or `clean` reads it there.
                end(&mut self.recording, Some(Outcome::Failed), exit::FAILED, error.to_string(), None);
                return Err(error);
            }
        };
        let standings: Vec<Standing> = racers.iter().map(Racer::standing).collect();
        let is_stopped = |race: &Self| race.recording.signals.received().is_some();
        let judged = if is_stopped(&self) { None } else { self.judge(&racers, &standings) };
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
        let only_there = picked.filter(|_| !result.left.is_empty());
        self.clear_away(&mut racers, only_there);
        Ok(RaceResult { racers, ..result })
    }

    /// Removes the worktrees, but for those that are wanted, those that hold what the record does not, and that of the racer
    /// `picked`, from 0, whose change was not brought whole.
    fn clear_away(&mut self, racers: &mut [Racer], picked: Option<usize>) {
        let stays = |at: &usize| self.plan.keep || racers[*at].is_unsaved() || picked == Some(*at);
        let keep: Vec<usize> = (0..racers.len()).filter(stays).collect();
        for at in &keep {
            racers[*at].worktree = Some(self.places.path(*at)).filter(|path| path.is_dir());
        }
        if let Err(why) = self.places.remove(&keep) {
            self.recording.observer.trouble(&format!("a worktree is still there: {why}"));
        }
    }

    /// Asks the judge, if there is one and there is something to choose: in a worktree of its own.
    fn judge(&mut self, racers: &[Racer], standings: &[Standing]) -> Option<(usize, String)> {
        let eligible = pick::eligible(standings);
        let judge = self.plan.judge.as_ref().filter(|_| eligible.len() > 1)?;
        let room = pick::room(eligible.len());
        let entry = |at: &usize| {
            let (before, after) = &racers[*at].trees;
            let patch = self.recording.trees.patch_text(before.as_deref(), after.as_deref(), room);
            let said = self.redactor.redact_str(&racers[*at].text).into_owned();
            Entry { said, patch }
        };
        let prompt = pick::prompt(&self.plan.task, &eligible.iter().map(entry).collect::<Vec<_>>());
        let objects = self.recording.writer.dir().join(OBJECTS_DIR);
        let path = self.places.path(self.names.len());
        let judged = match self.recording.trees.link(&self.plan.setup.working_dir, &path, &objects) {
            Ok(made) => {
                let setup = Setup { working_dir: made.working_dir, checks: Vec::new(), ..self.plan.setup.clone() };
                self.judge_in(&setup, judge, prompt, &objects).map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        let (verdict, why) = match judged {
            Ok((TurnOutcome::Interrupted, _)) => return None,
            Ok((_, said)) => (pick::verdict(&said, eligible.len()), "its choice could not be read".to_owned()),
            Err(why) => (None, why),
        };
        if verdict.is_none() {
            let text = format!("the judge does not count, as {why}: the smallest change does");
            self.recording.append(Notice { turn: None, code: "no_choice".into(), text, text_artifact: None });
        }
        verdict.map(|(at, why)| (eligible[at], self.redactor.redact_str(&why).into_owned()))
    }

    /// The judge's turn: how it came out, and what it said.
    fn judge_in(
        &mut self,
        setup: &Setup,
        judge: &Party,
        prompt: String,
        objects: &Path,
    ) -> Result<(TurnOutcome, String), SpawnError> {
        let trees = Trees::open(&setup.working_dir, objects, &self.redactor, &[]);
        let (writer, signals) = (self.recording.writer.clone(), self.recording.signals);
        let observer = &mut *self.recording.observer;
        let mut recording = Recording { writer, trees, setup, signals, observer, kept: true, sandbox: None };
        let turn = recording.next_turn();
        let result = recording.turn(Ask {
            turn,
            agent: &judge.agent,
            role: Role::Judge,
            prompt,
            model: judge.model.clone(),
            permissions: Permissions::ReadOnly,
            resume: None,
            begins_anew: true,
            at_most: None,
            follows_at_once: false,
        })?;
        recording.close_turn(turn, &result, &[]);
        let kept = recording.kept;
        self.recording.kept &= kept;
        Ok((result.outcome, result.facts.final_text))
    }

    /// Brings a racer's change into the user's tree: what was applied, and what is in conflict.
    fn apply(&mut self, racer: &Racer) -> Applied {
        let tree = |id: &Option<String>| id.as_ref().and_then(|id| id.parse::<Tree>().ok());
        let (Some(from), Some(to)) = (tree(&racer.trees.0), tree(&racer.trees.1)) else {
            return Err(format!("what {} changed is not known", racer.name).into());
        };
        let before = self.recording.trees.take();
        let Some(present) = tree(&before.tree) else {
            return Err(before.trouble.map(|trouble| trouble.reason).unwrap_or_default().into());
        };
        let objects = self.recording.writer.dir().join(OBJECTS_DIR);
        let merged = match self.recording.trees.merge(&from, &to, &objects) {
            Ok(merged) => merged,
            Err(ReplaceError::Incomplete(files)) => {
                let Recording { writer, trees, observer, kept, .. } = &mut self.recording;
                let command = ["decklog", "race", "--pick", &racer.name].map(str::to_owned);
                let (incomplete, trouble) = record_incomplete(writer, trees, (&before, present), &command, files);
                if let Some(trouble) = trouble {
                    *kept = false;
                    observer.trouble(&trouble);
                }
                return Err(NotApplied { why: incomplete.error.clone(), incomplete: Some(Box::new(incomplete)) });
            }
            Err(error) => return Err(error.to_string().into()),
        };
        if let Some(leftover) = &merged.leftover {
            self.recording.observer.trouble(&format!("{} could not be removed", leftover.display()));
        }
        let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        let names = |paths: &[Vec<u8>]| paths.iter().map(name).collect();
        let left = |left: &Left| Withheld { path: name(&left.path), reason: left.reason.to_string() };
        let (applied, conflicts) = (names(&merged.applied), names(&merged.conflicts));
        Ok(Brought { applied, conflicts, left: merged.left.iter().map(left).collect() })
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
            (None, Some(signal)) => (Some(Outcome::Interrupted), signal.exit_code(), "interrupted".to_owned()),
            (Some(Err(NotApplied { why, .. })), _) => {
                (Some(Outcome::Failed), exit::FAILED, format!("{name} was picked, and could not be applied: {why}"))
            }
            (Some(Ok(Brought { conflicts, left, .. })), _) if !conflicts.is_empty() || !left.is_empty() => {
                let mut summary = format!("{name} was picked");
                if !conflicts.is_empty() {
                    summary += &format!("; in conflict: {}", conflicts.join(", "));
                }
                if !left.is_empty() {
                    let left: Vec<_> = left.iter().map(|file| file.path.as_str()).collect();
                    summary += &format!("; not brought: {}", left.join(", "));
                }
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
        let (brought, incomplete) = match applied {
            Some(Ok(brought)) => (brought, None),
            Some(Err(not_applied)) => (Brought::default(), not_applied.incomplete),
            None => Default::default(),
        };
        let Brought { applied, conflicts, left } = brought;
        RaceResult {
            id: self.recording.writer.id().clone(),
            session_dir: self.recording.writer.dir().to_owned(),
            outcome: ended.outcome,
            exit_code: ended.exit_code,
            summary,
            duration_secs: ended.duration_secs,
            racers: Vec::new(),
            picked: picked_turn.map(|_| name),
            applied,
            conflicts,
            left,
            incomplete,
            judged,
            limited,
            first_back: first_back.filter(|_| outcome.is_none()),
            recorded: ended.recorded,
        }
    }
}

fn end(
    recording: &mut Recording<'_>,
    outcome: Option<Outcome>,
    exit_code: i32,
    summary: String,
    picked: Option<u32>,
) -> Ended {
    let summary = Some(clip_safely(summary, 4096, recording.writer.redactor()));
    recording.close(Ending { summary, picked, ..Ending::of(outcome, exit_code) }, 1..recording.next_turn())
}

/// A racer's turn: its number and result, its checks, and whether all was kept.
type Ran = Result<(u32, TurnResult, Vec<CheckResult>, bool), SpawnError>;

/// One racer's turn and checks. `changed` says which of the files that were withheld before it changed.
fn one(
    writer: Log,
    trees: Trees,
    setup: &Setup,
    (party, task): (&Party, &str),
    changed: &dyn Fn(&[Withheld]) -> Vec<Withheld>,
    (signals, teller): (&Signals, &mut Teller),
) -> Ran {
    let mut recording = Recording { writer, trees, setup, signals, observer: teller, kept: true, sandbox: None };
    let turn = recording.next_turn();
    let mut result = recording.turn(Ask {
        turn,
        agent: &party.agent,
        role: Role::Racer,
        prompt: task.to_owned(),
        model: party.model.clone(),
        permissions: setup.permissions,
        resume: None,
        begins_anew: true,
        at_most: None,
        follows_at_once: false,
    })?;
    // Before the checks, which may write to them as well.
    result.withheld.extend(changed(&result.withheld_before));
    let checks = match result.outcome {
        TurnOutcome::Success => check_all(&mut recording, turn)?.0,
        _ => Vec::new(),
    };
    recording.close_turn(turn, &result, &checks);
    Ok((turn, result, checks, recording.kept))
}

fn racer(name: &str, turn: u32, result: TurnResult, checks: Vec<CheckResult>) -> Racer {
    let TurnResult { outcome, facts, error, files_changed, lines, withheld, trees, duration_secs, kept, .. } = result;
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
        withheld,
        worktree: None,
        kept,
        trees,
    }
}
