//! One of the two that run trials: its world, and for each scene the prepared state and what happens without a fault.
//!
//! Must not know: which trials there are.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::inject::{self, Point};
use super::judge::{Baseline, Before, Case, Outcome, Violation};
use super::scenes::{self, Scene};
use super::trial::{Fault, Trial, Tried};
use super::world::{World, copy, tree};
use super::{disk, git};
use crate::{Result, root};

/// Worlds of violations that are kept, for each kind.
const KEPT: usize = 2;

pub(crate) struct Worker {
    world: World,
    ready: HashMap<&'static str, Ready>,
    kept: HashMap<String, usize>,
    /// Prints what the program says.
    pub(crate) is_loud: bool,
}

/// What is known of a scene before the first trial.
struct Ready {
    before: Before,
    baseline: Baseline,
    time: Duration,
}

/// What became of a trial.
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) missed: bool,
    pub(crate) violations: Vec<Violation>,
}

/// Points of a scene at which something can go wrong.
pub(crate) struct Points {
    pub(crate) calls: Vec<Point>,
    pub(crate) kills: Vec<Point>,
    pub(crate) git: u32,
}

impl Worker {
    pub(crate) fn new(scratch: &Path, number: usize, program: &Path, vars: &[(String, String)]) -> Result<Self> {
        let world = World::new(scratch.join(format!("s{number}")), program.to_owned(), vars.to_vec())?;
        Ok(Self { world, ready: HashMap::new(), kept: HashMap::new(), is_loud: false })
    }

    /// Prepares a scene: its world, and the trial without a fault, which must succeed.
    fn prepare(&mut self, scene: &'static Scene) -> Result<()> {
        if self.ready.contains_key(scene.name) {
            return Ok(());
        }
        scenes::prepare(scene, &self.world)?;
        self.world.processes();
        self.world.save(scene.name)?;
        let before = Before::look(&self.world);
        let trial = Trial { scene, fault: Fault::None };
        let mut times = Vec::new();
        for _ in 0..3 {
            self.world.reset(scene.name)?;
            let start = Instant::now();
            let tried = trial.run(&self.world, Duration::ZERO)?;
            times.push(start.elapsed());
            if tried.ran.code != Some(0) {
                return Err(format!("{}: it fails without a fault: {}", scene.name, tried.ran.stderr).into());
            }
        }
        times.sort_unstable();
        self.world.processes();
        let baseline =
            Baseline { work: tree(&self.world.path("work"), ".git"), outside: tree(&self.world.path("outside"), "") };
        self.ready.insert(scene.name, Ready { before, baseline, time: times[1] });
        let verdict = self.judge(&trial)?;
        match verdict.violations.first() {
            None => Ok(()),
            Some(violation) => {
                Err(format!("{}: without a fault: {}: {}", scene.name, violation.kind, violation.detail).into())
            }
        }
    }

    /// Where something can go wrong in a scene.
    pub(crate) fn points(&mut self, scene: &'static Scene, seed: u64) -> Result<Points> {
        self.prepare(scene)?;
        let trial = Trial { scene, fault: Fault::None };
        self.world.reset(scene.name)?;
        let mut command = inject::counting(&self.world);
        trial.complete(&mut command, &self.world)?;
        self.world.run(&mut command)?;
        self.world.processes();
        let trace = self.world.io("trace");
        let (calls, kills) = (inject::points(&trace, seed)?, inject::kill_points(&trace)?);
        self.world.reset(scene.name)?;
        let mut command = self.world.command(&self.world.program);
        trial.complete(&mut command, &self.world)?;
        git::install(&self.world, &git::Failure { call: 0, how: git::How::Fails }, &mut command)?;
        self.world.run(&mut command)?;
        self.world.processes();
        Ok(Points { calls, kills, git: git::calls(&self.world) })
    }

    /// Runs a trial and judges it.
    pub(crate) fn judge(&mut self, trial: &Trial) -> Result<Verdict> {
        self.prepare(trial.scene)?;
        let Some(ready) = self.ready.get(trial.scene.name) else { return Err("no such scene".into()) };
        self.world.reset(trial.scene.name)?;
        let tried = trial.run(&self.world, ready.time);
        let verdict = tried.and_then(|tried| judge(&self.world, trial, ready, tried, self.is_loud, &mut self.kept));
        disk::clear(&self.world);
        verdict.map_err(|error| format!("{trial}: {error}").into())
    }
}

fn judge(
    world: &World,
    trial: &Trial,
    ready: &Ready,
    tried: Tried,
    is_loud: bool,
    kept: &mut HashMap<String, usize>,
) -> Result<Verdict> {
    if is_loud {
        println!("{trial}: {:?}", tried.ran);
        if let Some(other) = &tried.other {
            println!("the other call: {other:?}");
        }
    }
    let mut case = Case {
        world,
        scene: trial.scene,
        before: &ready.before,
        baseline: Some(&ready.baseline),
        ran: &tried.ran,
        killed: tried.killed,
        muted: tried.muted,
        seen: tried.seen,
        violations: Vec::new(),
    };
    let left = world.processes();
    if !left.is_empty() {
        case.violation("a process is left", left.join(", "));
    }
    let outcome = match (&trial.fault, &tried.other) {
        (Fault::Pair { other, .. }, Some(ran)) => case.judge_pair(*other, ran)?,
        _ => case.judge()?,
    };
    let mut is_kept = false;
    if !case.violations.is_empty() {
        is_kept = keep(world, trial, &case.violations, kept)?;
    }
    if let Fault::Disk(full) = &trial.fault {
        full.relieve(world)?;
    }
    if !matches!(trial.fault, Fault::Pair { .. }) {
        case.aftermath(trial.fault.number())?;
    }
    if !case.violations.is_empty() && !is_kept {
        keep(world, trial, &case.violations, kept)?;
    }
    let mut violations = case.violations;
    if !tried.failed_call.is_empty() {
        violations.iter_mut().for_each(|violation| violation.detail.insert_str(0, &format!("{}: ", tried.failed_call)));
    }
    violations.sort();
    violations.dedup_by(|a, b| a.kind == b.kind);
    Ok(Verdict { outcome, missed: tried.missed, violations })
}

/// Keeps the world of a violation of which there are few.
fn keep(world: &World, trial: &Trial, violations: &[Violation], kept: &mut HashMap<String, usize>) -> Result<bool> {
    let few = |violation: &&Violation| kept.get(&violation.kind).is_none_or(|count| *count < KEPT);
    let Some(violation) = violations.iter().find(few) else { return Ok(false) };
    *kept.entry(violation.kind.clone()).or_default() += 1;
    let to = root().join("target/faults").join(trial.to_string().replace(['/', ':'], "-"));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to)?;
    for name in ["w", "trial.stdout", "trial.stderr", "trace"] {
        if world.io(name).exists() {
            copy(&world.io(name), &to)?;
        }
    }
    let text: String =
        violations.iter().map(|violation| format!("{}: {}\n", violation.kind, violation.detail)).collect();
    std::fs::write(to.join("violations"), text)?;
    Ok(true)
}
