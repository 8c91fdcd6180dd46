//! Which trials there are: every scene with every fault that fits it, in an order that the seed chooses.
//!
//! Must not know: verdicts.

use super::scenes::{SCENES, Scene};
use super::trial::{Fault, Trial};
use super::worker::{Points, Worker};
use super::{Options, clock, disk, git, mcp, pairs};
use crate::Result;

/// Trials of each kind of fault in the quick form, for each scene; kills are counted by their own option.
const QUICK: [(&str, usize); 5] = [("call", 8), ("git", 1), ("disk", 1), ("clock", 1), ("pair", 1)];

/// Failures of git that are tried in one scene, at most.
const GIT: usize = 60;

/// Jumps of the clock, in seconds.
const JUMPS: [i64; 4] = [-3600, -2, 3600, -86_400];

/// The scenes that are asked for.
pub(crate) fn scenes(options: &Options) -> Vec<&'static Scene> {
    let is_wanted = |scene: &&Scene| options.verbs.iter().any(|verb| verb == scene.verb || verb == scene.name);
    let all = SCENES.iter().filter(|scene| options.verbs.is_empty() || is_wanted(scene));
    all.filter(|scene| scene.verb != "mcp" || mcp::obstacle().is_none()).collect()
}

/// What cannot be tried on this machine: the fault or verb, and the reason.
pub(crate) fn skipped() -> Vec<String> {
    let mut skipped = Vec::new();
    if !clock::is_there() {
        skipped.push("clock: libfaketime is not installed".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        skipped.push("disk: only root can mount a tmpfs here".to_owned());
    }
    skipped.extend(mcp::obstacle().map(|why| format!("mcp: {why}")));
    skipped
}

/// The trials of some scenes, prepared by the worker that will run them.
pub(crate) fn plan(
    options: &Options,
    scenes: &[&'static Scene],
    kills: usize,
    skipped: &[String],
    worker: &mut Worker,
) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    let mut random = fastrand::Rng::with_seed(options.seed);
    for scene in scenes {
        let points = worker.points(scene, options.seed)?;
        let (calls, ends) = (points.calls.len(), points.kills.len());
        eprintln!("{}: {calls} failing calls, {ends} points for a kill, {} calls of git", scene.name, points.git);
        let mut all = faults(scene, &points, options, kills, &mut random);
        all.retain(|fault| {
            let kind = fault.name().0;
            let is_wanted = options.kinds.is_empty() || options.kinds.iter().any(|wanted| kind == wanted);
            is_wanted && !skipped.iter().any(|reason| reason.split(':').next() == Some(kind))
        });
        random.shuffle(&mut all);
        if options.quick {
            sample(&mut all);
        }
        if scene.verb == "mcp" {
            // A container takes a hundred times as long as the rest.
            all.truncate(all.len() / if options.quick { 3 } else { 4 });
        }
        trials.extend(all.into_iter().map(|fault| Trial { scene, fault }));
    }
    random.shuffle(&mut trials);
    Ok(trials)
}

/// Keeps what the quick form tries of a scene.
fn sample(all: &mut Vec<Fault>) {
    let mut left = QUICK;
    all.retain(|fault| {
        let Some((_, count)) = left.iter_mut().find(|(kind, _)| *kind == fault.name().0) else { return true };
        let is_left = *count > 0;
        *count = count.saturating_sub(1);
        is_left
    });
}

/// Every fault of a scene.
fn faults(scene: &Scene, points: &Points, options: &Options, kills: usize, random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut all: Vec<Fault> = points.calls.iter().cloned().map(Fault::Call).collect();
    let mut failures = git::Failure::all(points.git);
    random.shuffle(&mut failures);
    // Every call of git is tried in a few ways; where there are many calls, they are alike.
    failures.truncate(GIT);
    all.extend(failures.into_iter().map(Fault::Git));
    all.extend(disk::Full::all().into_iter().map(Fault::Disk));
    let seeds = |count: usize| (0..count as u64).map(|number| options.seed * 1_000_000 + number);
    for seconds in JUMPS {
        all.extend(seeds(4).map(|seed| Fault::Clock { seconds, seed }));
    }
    for other in pairs::others(scene) {
        all.extend(seeds(15).map(|seed| Fault::Pair { other, seed }));
    }
    // A third of the kills is put into calls; the rest comes at random moments.
    let mut at = points.kills.clone();
    random.shuffle(&mut at);
    at.truncate(kills / 3);
    let rest = kills - at.len();
    all.extend(at.into_iter().map(Fault::KillAt));
    all.extend(seeds(rest).map(|seed| Fault::signal(random.u64(..), seed)));
    all
}
