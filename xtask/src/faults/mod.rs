//! `cargo xtask faults`: every verb under every kind of fault, and what holds afterwards.
//!
//! A trial is a scene (a verb called in a prepared world) and a fault. After it, an independent reader and decklog's
//! own readers judge what was left, and the next command must work. A trial's name repeats it: `--only NAME`.
//!
//! Must not know: how decklog works inside.

mod aftermath;
mod agents;
mod clock;
mod disk;
mod git;
mod inject;
mod judge;
mod mcp;
mod pairs;
mod plan;
mod record;
mod report;
mod scenes;
mod sessions;
mod trial;
mod worker;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use crate::{Result, built, cargo, is_there};
use report::Report;
use trial::Trial;
use worker::Worker;

/// `--quick` begins no trial after so many minutes, so that a slow machine still ends within three.
const QUICK: f64 = 2.3;

/// Trials that run at the same time.
const WORKERS: usize = 2;

/// Whether decklog names the directories so in which it prepares the files of a restoration or an export.
fn is_staging(name: &str) -> bool {
    [".decklog-restore-", ".decklog-try-", ".decklog-tree-"].iter().any(|prefix| name.starts_with(prefix))
}

/// What the command line asks for.
struct Options {
    quick: bool,
    /// Takes the program that is built for tests and writes nothing.
    debug: bool,
    seed: u64,
    /// After this time no trial begins.
    minutes: f64,
    kills: usize,
    /// Verbs or scenes; none means all.
    verbs: Vec<String>,
    /// Kinds of faults; none means all.
    kinds: Vec<String>,
    only: Option<Trial>,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let quick = arguments.contains(&"--quick");
        let kills = if quick { 120 } else { 18_000 };
        let minutes = if quick { QUICK } else { f64::INFINITY };
        let mut options =
            Self { quick, debug: quick, seed: 1, minutes, kills, verbs: vec![], kinds: vec![], only: None };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} requires a value"));
            match *word {
                "--quick" => {}
                "--debug" => options.debug = true,
                "--seed" => options.seed = value()?.parse()?,
                "--minutes" => options.minutes = value()?.parse()?,
                "--kills" => options.kills = value()?.parse()?,
                "--kinds" => options.kinds = value()?.split(',').map(str::to_owned).collect(),
                "--only" => {
                    let name = value()?;
                    options.only = Some(Trial::parse(name).ok_or_else(|| format!("invalid trial {name:?}"))?);
                }
                verb if scenes::SCENES.iter().any(|scene| scene.verb == verb || scene.name == verb) => {
                    options.verbs.push(verb.to_owned());
                }
                other => {
                    let known: Vec<&str> = scenes::SCENES.iter().map(|scene| scene.name).collect();
                    return Err(format!("invalid verb {other:?}: expected one of: {}", known.join(", ")).into());
                }
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    for program in ["strace", "git", "zstd"] {
        if !is_there(program) {
            return Err(format!("{program} is not installed: cargo xtask setup installs it").into());
        }
    }
    let program = program(options.debug)?;
    let scratch = Scratch::new()?;
    println!("seed {}, program {}", options.seed, program.display());
    if let Some(trial) = &options.only {
        return only(trial, &scratch, &program, options.debug);
    }
    let (skipped, scenes) = (plan::skipped(), plan::scenes(&options));
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    let vars = scratch.container_vars(scenes.iter().any(|scene| scene.verb == "mcp"))?;
    let queues = Queues::default();
    let report = Mutex::new(Report::new(skipped.clone(), options.debug));
    std::thread::scope(|scope| -> Result<()> {
        let (queues, report, options) = (&queues, &report, &options);
        let (path, program, scenes, skipped, vars) = (&scratch.path, &program, &scenes, &skipped, &vars);
        let work = move |number: usize| -> Result<()> {
            let mut worker = Worker::new(path, number, program, vars)?;
            let own: Vec<_> = scenes.iter().skip(number).step_by(WORKERS).copied().collect();
            let kills = options.kills.div_ceil(scenes.len().max(1));
            queues.fill(number, plan::plan(options, &own, kills, skipped, &mut worker)?);
            while let Some(trial) = queues.take(number, options) {
                let verdict = worker.judge(&trial)?;
                if let Ok(mut report) = report.lock() {
                    report.add(&trial, &verdict);
                    if report.trials().is_multiple_of(500) {
                        eprintln!(
                            "{} trials, {} left, {} s",
                            report.trials(),
                            queues.left(),
                            queues.start.elapsed().as_secs()
                        );
                    }
                }
            }
            Ok(())
        };
        let second = scope.spawn(move || work(1).map_err(|error| error.to_string()));
        work(0)?;
        second.join().map_err(|_| "a worker panicked")?.map_err(Into::into)
    })?;
    let report = report.into_inner().map_err(|_| "a worker panicked")?;
    println!("{}", report.text());
    if queues.left() > 0 {
        println!("{} trials are left out: the time is over", queues.left());
    } else if !options.quick && !options.debug && options.verbs.is_empty() && options.kinds.is_empty() {
        report.write(options.seed, queues.start.elapsed())?;
    }
    report.verdict()
}

/// The trials of each worker, which it takes from the end.
struct Queues {
    trials: [Mutex<Vec<Trial>>; WORKERS],
    start: Instant,
}

impl Default for Queues {
    fn default() -> Self {
        Self { trials: Default::default(), start: Instant::now() }
    }
}

impl Queues {
    fn fill(&self, worker: usize, trials: Vec<Trial>) {
        if let Ok(mut queue) = self.trials[worker].lock() {
            *queue = trials;
        }
    }

    /// The worker's next trial; when it has no more, one of another worker's. The quick form has no time to prepare
    /// the other's scenes.
    fn take(&self, worker: usize, options: &Options) -> Option<Trial> {
        if self.start.elapsed().as_secs_f64() > options.minutes * 60.0 {
            return None;
        }
        let others = if options.quick { 1 } else { WORKERS };
        (0..others).find_map(|next| self.trials[(worker + next) % WORKERS].lock().ok()?.pop())
    }

    fn left(&self) -> usize {
        self.trials.iter().filter_map(|queue| Some(queue.lock().ok()?.len())).sum()
    }
}

/// One trial, with all that it says.
fn only(trial: &Trial, scratch: &Scratch, program: &Path, debug: bool) -> Result<()> {
    let mut worker = Worker::new(&scratch.path, 0, program, &scratch.container_vars(trial.scene.verb == "mcp")?)?;
    worker.is_loud = true;
    let verdict = worker.judge(trial)?;
    let mut report = Report::new(Vec::new(), debug);
    report.add(trial, &verdict);
    println!("{}", report.text());
    report.verdict()
}

/// The program under test, built if need be.
fn program(debug: bool) -> Result<PathBuf> {
    let (profile, directory) = if debug { ("dev", "debug") } else { ("release", "release") };
    let status = cargo(&["build", "--quiet", "--profile", profile, "--package", "decklog"]).status()?;
    if status.success() { Ok(built(directory)?.join("decklog")) } else { Err("the build failed".into()) }
}

/// The directory of all worlds, in memory where a file system can be mounted.
struct Scratch {
    path: PathBuf,
    dir: tempfile::TempDir,
    mounted: bool,
}

impl Scratch {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("decklog-faults-").tempdir()?;
        let path = dir.path().canonicalize()?;
        let mounted = match disk::mount("size=2g", &path) {
            Ok(()) => true,
            Err(error) => {
                println!("{error}: worlds are on disk");
                false
            }
        };
        Ok(Self { path, dir, mounted })
    }

    /// The variables for podman, where a container is `wanted`.
    fn container_vars(&self, wanted: bool) -> Result<Vec<(String, String)>> {
        if wanted { mcp::install(&self.path.join("shared")) } else { Ok(Vec::new()) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.mounted {
            disk::unmount(self.dir.path());
        }
    }
}
