//! `diff`: what a session changed.

use decklog_query::diff::{self, DiffRange};
use decklog_text::format::counted;
use decklog_text::visible;

use crate::cli::{Json, Which};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::patch::{self, Layout, MIN_SPLIT};

/// Columns of characters where there is no terminal to ask.
const WIDTH: usize = 120;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// One turn (N) or a range of turns (N..M), instead of everything
    #[arg(long, value_name = "N|N..M")]
    turn: Option<String>,
    /// What one iteration of a loop changed
    #[arg(long, value_name = "N", conflicts_with_all = ["turn", "range"])]
    iteration: Option<u32>,
    /// The same, without --turn
    #[arg(value_name = "N..M", conflicts_with_all = ["turn", "session_dir"])]
    range: Option<String>,
    /// Only how much changed in each file
    #[arg(long, conflicts_with = "name_only")]
    stat: bool,
    /// Only the names of the changed files
    #[arg(long)]
    name_only: bool,
    /// What it was and what it is side by side, where the window has 80 columns
    #[arg(short = 'S', long, conflicts_with_all = ["stat", "name_only"])]
    side_by_side: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let range = match args.turn.as_deref().or(args.range.as_deref()) {
        None => DiffRange::All,
        Some(text) => parse_range(text)
            .ok_or_else(|| CliError::new(format!("{text:?} is no turn and no range of turns: write 2 or 1..3")))?,
    };
    let dir = context.session_dir(args.which.id.as_deref(), args.which.session_dir.as_deref())?;
    let session =
        decklog_journal::session::load(&dir).map_err(|error| CliError::new(format!("{}: {error}", dir.display())))?;
    let range = args.iteration.map_or(Ok(range), |number| diff::of_iteration(&session, number))?;
    let found = diff::find(&session, range)?;
    let mut left_out = Vec::new();
    let mut are_all = true;
    let mut files = || {
        let listed = diff::files(&dir, &session, &found)?;
        are_all = listed.are_all;
        Ok::<_, CliError>(listed.files)
    };
    if context.json {
        context.print_json(&files()?)?;
    } else if args.name_only {
        let names = files()?;
        let show = |name: &str| if context.out_is_terminal { visible(name).into_owned() } else { name.to_owned() };
        context.print(names.iter().map(|file| show(&file.path) + "\n").collect::<String>())?;
    } else if args.stat {
        stat(&files()?, context)?;
    } else if context.out_is_terminal || context.out_paint.0 || args.side_by_side {
        let mut bytes = Vec::new();
        left_out = diff::write_patch(&dir, &session, &found, &mut bytes)?;
        context.page(&patch::patch(&bytes, &layout(args.side_by_side, context)))?;
    } else {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        left_out = diff::write_patch(&dir, &session, &found, &mut out)?;
        std::io::Write::flush(&mut out)?;
    }
    if matches!(found, diff::Diff::Empty) && !context.json {
        context.say("nothing changed");
    }
    if !are_all {
        context.warn("not all changed files are named: the recorded list is cut, and the snapshots cannot be read");
    }
    let withheld = session.turns.iter().flat_map(|turn| &turn.withheld).chain(&left_out);
    let withheld: std::collections::BTreeSet<_> = withheld.map(|file| (&file.path, &file.reason)).collect();
    for (path, reason) in withheld {
        context.warn(&format!("{path} is not in it: {reason}"));
    }
    Ok(0)
}

/// How a patch is laid out for people.
fn layout(split: bool, context: &Context) -> Layout {
    let width = context.width().unwrap_or(WIDTH);
    if split && width < MIN_SPLIT {
        context.say(format!("{width} columns are too few for --side-by-side, which needs {MIN_SPLIT}"));
    }
    let split = split && width >= MIN_SPLIT;
    Layout { paint: context.out_paint, ground: context.ground(), width, split }
}

fn parse_range(text: &str) -> Option<DiffRange> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    match text.split_once("..") {
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(DiffRange::Turns(first, last))
        }
        None => number(text).map(|turn| DiffRange::Turns(turn, turn)),
    }
}

fn stat(files: &[decklog_journal::event::FileChange], context: &Context) -> Result<(), CliError> {
    let paint = context.out_paint;
    let width = files.iter().map(|file| visible(&file.path).chars().count()).max().unwrap_or(0);
    let (mut added, mut removed) = (0, 0);
    for file in files {
        let counts = match (file.added, file.removed) {
            (Some(plus), Some(minus)) => {
                added = u64::saturating_add(added, plus);
                removed = u64::saturating_add(removed, minus);
                format!("{} {}", paint.good(&format!("+{plus}")), paint.bad(&format!("-{minus}")))
            }
            _ => "binary".to_owned(),
        };
        context.print(format!("{:<width$}  {:<8}  {counts}\n", visible(&file.path), file.status))?;
    }
    if !files.is_empty() {
        context.print(format!("{} changed, +{added} -{removed}\n", counted(files.len() as u64, "file")))?;
    }
    Ok(())
}
