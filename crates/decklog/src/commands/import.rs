//! `import`: histories of agents and other tools become sessions.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use decklog_journal::SessionStore;
use decklog_journal::portable::Limits;
use decklog_journal::redact::{Redactor, credential_values};
use decklog_run::import::{self, Finds, Found, Imported, Importer, Outcome, Progress, Report, Root, Tool};
use decklog_run::supervise::{Received, stop_signals};
use decklog_text::format::{counted, parse_size, size};
use decklog_text::visible;
use jiff::Timestamp;
use serde_json::json;

use super::archive;
use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Unreadable places and reasons that are printed.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// claude, codex, gemini, opencode, outrig, codeloops or agent-relay, for what it keeps in its usual place; then,
    /// or instead, files and directories
    #[arg(value_name = "TOOL|PATH")]
    what: Vec<PathBuf>,
    /// Import the histories of every tool that keeps some on this machine
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Go on importing what is added, until Ctrl-C
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Largest total size that an archive may unpack to, such as 10GiB [default: 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Largest ratio of unpacked to packed bytes beyond the first 64 MiB [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: Option<u64>,
    /// Show what would be imported, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

const EXAMPLES: &str = "\
Examples:
  decklog import --all                  every history there is; again, only what is new
  decklog import --all --watch          and whatever is added from now on
  decklog import claude                 what Claude Code keeps in its usual place
  decklog import codex ~/old/sessions   Codex's, elsewhere
  decklog import backup/                whatever can be recognised in there
  decklog import sessions.tar.zst       what decklog export wrote elsewhere

Sources are only read. A session that decklog recorded itself is not imported a second time. A source that cannot
be read is named, the others are imported, and the exit code is 2.";

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let (packed, what): (Vec<PathBuf>, Vec<PathBuf>) =
        args.what.iter().cloned().partition(|path| archive::is_archive(&context.cwd.join(path)));
    let args = Args { what, ..args };
    let store = context.store()?;
    let roots = if packed.is_empty() || !args.what.is_empty() { roots(&args, context)? } else { Vec::new() };
    let redactor = redactor(context);
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for signal in stop_signals() {
        // The second one ends it at once.
        signal_hook::flag::register_conditional_shutdown(*signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(*signal, Arc::clone(&stop))?;
        signal_hook::flag::register_usize(*signal, Arc::clone(&last), signal.unsigned_abs() as usize)?;
    }
    if !args.dry_run {
        store.sweep();
    }
    let importer = Importer {
        store: &store,
        redactor: &redactor,
        version: env!("CARGO_PKG_VERSION"),
        dry_run: args.dry_run,
        stop: &stop,
    };
    let defaults = Limits::default();
    let limits = Limits {
        bytes: args.max_size.unwrap_or(defaults.bytes),
        ratio: args.max_ratio.unwrap_or(defaults.ratio),
        ..defaults
    };
    let unpacked = packed.iter().map(|path| archive::unpack(path, &context.cwd, &store, limits, args.dry_run));
    let unpacked = unpacked.collect::<Result<Vec<_>, _>>()?;
    unpacked.iter().for_each(|unpacked| archive::warn(unpacked, context));
    let report = once(&importer, import::find(&roots), context)?;
    if !context.json {
        unpacked.iter().try_for_each(|unpacked| archive::print(unpacked, args.dry_run, context))?;
    }
    if context.json || packed.is_empty() || !roots.is_empty() {
        print(&report, &unpacked, args.dry_run, context)?;
    }
    let has_failures = match args.watch {
        true => watch(&importer, &roots, &report, &store, context)?,
        false => report.has_failures(),
    };
    if i32::try_from(last.load(Ordering::Relaxed)) == Ok(Received::HangUp.number()) {
        return Ok(Received::HangUp.exit_code());
    }
    Ok(match stop.load(Ordering::Relaxed) && !args.watch {
        true => 130,
        false if has_failures => 2,
        false => 0,
    })
}

/// What to look through.
fn roots(args: &Args, context: &Context) -> Result<Vec<Root>, CliError> {
    if args.all {
        let homes = context.homes()?;
        return Ok(Tool::ALL.iter().flat_map(|tool| homes.roots(*tool)).collect());
    }
    if args.what.is_empty() {
        return Err(CliError::new("nothing is named that is to be imported")
            .hint("decklog import --all takes over every history there is; see decklog import --help"));
    }
    let tool = args.what.first().and_then(|word| word.to_str()).and_then(|word| word.parse::<Tool>().ok());
    let paths: Vec<PathBuf> =
        args.what[usize::from(tool.is_some())..].iter().map(|path| context.cwd.join(path)).collect();
    if let Some(missing) = paths.iter().find(|path| path.symlink_metadata().is_err()) {
        let known: Vec<_> = Tool::ALL.iter().map(|tool| tool.as_str()).collect();
        return Err(CliError::new(format!("{}: there is no such file or directory", missing.display()))
            .hint(format!("give a path, or one of: {}", known.join(", "))));
    }
    match tool {
        Some(tool) if paths.is_empty() => Ok(context.homes()?.roots(tool)),
        Some(tool) => Ok(paths.into_iter().map(|path| Root { tool, path }).collect()),
        None => {
            let mut roots = Vec::new();
            for path in paths {
                let tools = import::recognise(&path);
                if tools.is_empty() {
                    return Err(CliError::new(format!("{}: nothing in it is a history that is known", path.display()))
                        .hint("name the tool that wrote it: decklog import claude PATH"));
                }
                roots.extend(tools.into_iter().map(|tool| Root { tool, path: path.clone() }));
            }
            Ok(roots)
        }
    }
}

/// What stands in the user's environment as a credential must not come into the record from a history either.
fn redactor(context: &Context) -> Redactor {
    let environment = context.environment();
    let named =
        environment.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value.as_bytes().to_vec()));
    Redactor::builder().values(credential_values(named)).build()
}

fn once(importer: &Importer<'_>, finds: Finds, context: &Context) -> Result<Report, CliError> {
    let bar =
        Bar { shown: context.err_is_terminal && !context.json, start: Instant::now(), last: AtomicBool::new(false) };
    let report = importer.import(finds, &bar);
    bar.clear();
    report.map_err(|error| CliError::new(error).hint("what was imported before stays; run it again to go on"))
}

/// How far it is, on a terminal.
struct Bar {
    shown: bool,
    start: Instant,
    last: AtomicBool,
}

impl Progress for Bar {
    fn progress(&self, done: usize, all: usize, bytes: u64) {
        if self.shown && self.start.elapsed() > Duration::from_millis(300) {
            self.last.store(true, Ordering::Relaxed);
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K{done} of {all} histories, {}", size(bytes));
        }
    }
}

impl Bar {
    fn clear(&self) {
        if self.last.swap(false, Ordering::Relaxed) {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
        }
    }
}

/// Imports whatever is new or grew, each second, until a signal stops it. Says whether something failed in the last look.
fn watch(
    importer: &Importer<'_>,
    roots: &[Root],
    first: &Report,
    store: &SessionStore,
    context: &Context,
) -> Result<bool, CliError> {
    let key = |found: &Found| (found.path.clone(), found.id.clone());
    let mut seen: HashMap<(PathBuf, String), (Option<u64>, Timestamp)> = HashMap::new();
    if first.sources.is_empty() {
        context.say("nothing to import yet");
    }
    context.say(format!("watching; sessions come to {}; Ctrl-C ends it", visible(&store.root().display().to_string())));
    let mut last = None;
    // Histories that have to wait for a recorder, or failed: they are looked at again though nothing changes in them.
    let waits = |report: &Report| -> HashSet<(PathBuf, String)> {
        let waiting = report.sources.iter().filter(|source| source.waits || source.outcome == Outcome::Failed);
        waiting.map(|source| (source.path.clone(), source.id.clone())).collect()
    };
    let mut waiting = waits(first);
    let mut has_failures = first.has_failures();
    let mut known: HashSet<(PathBuf, String)> = failures(first).collect();
    while !importer.stop.load(Ordering::Relaxed) {
        let stamp = import::stamp(roots);
        if last.replace(stamp) == Some(stamp) && waiting.is_empty() {
            pause(importer, context)?;
            continue;
        }
        let mut finds = import::find(roots);
        finds.found.retain(|found| {
            let now = (found.bytes, found.modified);
            seen.insert(key(found), now) != Some(now) || waiting.contains(&key(found))
        });
        finds.troubles.retain(|trouble| trouble.is_failure);
        if finds.found.is_empty() && finds.troubles.is_empty() {
            (has_failures, waiting) = (false, HashSet::new());
            known.clear();
        } else {
            let mut report = once(importer, finds, context)?;
            waiting = waits(&report);
            has_failures = report.has_failures();
            // Each failure is reported once, until it is another one.
            let now: HashSet<(PathBuf, String)> = failures(&report).collect();
            for (path, reason) in now.difference(&known) {
                context.warn(&format!("{}: {reason}", path.display()));
            }
            known = now;
            report.troubles.clear();
            if report.sources.iter().any(|source| matches!(source.outcome, Outcome::Imported | Outcome::Updated)) {
                print(&report, &[], false, context)?;
            }
        }
        pause(importer, context)?;
    }
    Ok(has_failures)
}

/// What failed, with the reasons.
fn failures(report: &Report) -> impl Iterator<Item = (PathBuf, String)> {
    let failed = report.sources.iter().filter(|source| source.outcome == Outcome::Failed);
    let failed = failed.map(|source| (source.path.clone(), source.reason.clone().unwrap_or_default()));
    let troubles = report.troubles.iter().filter(|trouble| trouble.is_failure);
    failed.chain(troubles.map(|trouble| (trouble.path.clone(), trouble.reason.clone())))
}

/// Waits until it is time to look again, or to stop.
fn pause(importer: &Importer<'_>, context: &Context) -> Result<(), CliError> {
    let until = Instant::now() + LOOK;
    while Instant::now() < until && !importer.stop.load(Ordering::Relaxed) {
        context.wait(Duration::from_millis(50))?;
    }
    Ok(())
}

fn print(report: &Report, unpacked: &[archive::Import], dry_run: bool, context: &Context) -> Result<(), CliError> {
    let count = |outcome| report.count(outcome);
    let unread: u64 = report.sources.iter().map(|source| source.unread.count).sum();
    if context.json {
        return context.print_json(&json!({
            "dry_run": dry_run,
            "imported": count(Outcome::Imported),
            "updated": count(Outcome::Updated),
            "unchanged": count(Outcome::Unchanged),
            "already_recorded": count(Outcome::AlreadyRecorded),
            "skipped": count(Outcome::Skipped),
            "failed": count(Outcome::Failed),
            "gone": report.gone,
            "unread": unread,
            "sources": report.sources,
            "troubles": report.troubles,
            "archives": unpacked,
        }));
    }
    let mut text = String::new();
    if dry_run {
        for source in report.sources.iter().filter(|source| source.outcome != Outcome::Unchanged) {
            let word = match source.outcome {
                Outcome::Imported => "import",
                Outcome::Updated => "update",
                Outcome::AlreadyRecorded => "recorded",
                _ => "skip",
            };
            text.push_str(&format!(
                "{word:<9} {:<12} {:>10}  {}\n",
                source.tool,
                size(source.bytes),
                visible(&source.path.display().to_string())
            ));
        }
    }
    let would = if dry_run { "would be " } else { "" };
    let mut parts = vec![format!("{} {would}imported", counted(count(Outcome::Imported) as u64, "session"))];
    for (outcome, word) in [
        (Outcome::Updated, "updated"),
        (Outcome::Unchanged, "unchanged"),
        (Outcome::AlreadyRecorded, "already recorded"),
        (Outcome::Skipped, "skipped"),
        (Outcome::Failed, "failed"),
    ] {
        if count(outcome) > 0 {
            parts.push(format!("{} {word}", count(outcome)));
        }
    }
    if report.gone > 0 {
        parts.push(format!("{} whose source is gone", report.gone));
    }
    text.push_str(&format!("{}\n", parts.join(", ")));
    context.print(text)?;
    let is_left_out = |source: &&Imported| matches!(source.outcome, Outcome::Skipped | Outcome::Failed);
    let left_out = report.sources.iter().filter(is_left_out);
    let reasons = left_out
        .map(|source| (&source.path, source.reason.clone().unwrap_or_default()))
        .chain(report.troubles.iter().map(|trouble| (&trouble.path, trouble.reason.clone())));
    for (path, reason) in reasons.take(NAMED) {
        context.warn(&format!("{}: {reason}", path.display()));
    }
    if unread > 0 {
        context.warn(&format!("{} could not be read", counted(unread, "line")));
        let places =
            report.sources.iter().flat_map(|source| source.unread.places.iter().map(move |place| (source, place)));
        for (source, place) in places.take(NAMED) {
            context.say(format!("  {}: {}", visible(&source.path.display().to_string()), visible(place)));
        }
    }
    Ok(())
}
