//! `stats`: what many sessions add up to.

use decklog_query::stats::{By, StatsFold};

use crate::cli::Json;
use crate::context::Context;
use crate::error::CliResult;
use crate::filters::FilterArgs;
use crate::listing;
use crate::render::stats;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Averages are of completed sessions, and the success rate of those whose outcome is known; running, checkpointed and crashed
ones are counted and named beside them. Sums are of all. A session with two agents counts in the group of each, with the
tokens and the cost of that agent's turns. Days are those of the local time zone.

Examples:
  decklog stats --after 30d                      the last thirty days
  decklog stats --by model --agent claude        model by model
  decklog stats --by week --csv >weeks.csv       for a spreadsheet")]
pub(crate) struct Args {
    /// Group by this: project, agent, model, outcome, pair (a loop's actor and critic), kind, day, week or month
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// Print the groups as CSV, the first line naming the columns; without --by one line for all sessions
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What is shown when nothing is asked for.
const OVERVIEW: [By; 7] = [By::Agent, By::Model, By::Project, By::Pair, By::Day, By::Week, By::Month];

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let store = context.store()?;
    let filter = args.filters.resolve(context, &store)?;
    let by = args.by;
    let wanted: &[By] = match &by {
        Some(by) => std::slice::from_ref(by),
        None if context.json => &By::ALL,
        None => &OVERVIEW,
    };
    let new = || StatsFold::new(wanted, context.zone.clone());
    let (found, folds) = listing::sums(context, &store, &filter, new, StatsFold::add)?;
    let fold = folds.into_iter().reduce(StatsFold::merge).unwrap_or_else(new);
    let unreadable = found.unreadable.len();
    let days = fold.days();
    let counted = fold.finish();
    if context.json {
        context.print_json(&counted)?;
    } else if args.csv {
        let groups = by.and_then(|by| counted.by.get(by.as_str())).unwrap_or(const { &Vec::new() });
        let groups = if by.is_some() { groups.as_slice() } else { std::slice::from_ref(&counted.all) };
        context.print(stats::csv(groups))?;
    } else {
        context.page(&stats::text(&counted, by, days, context.width(), context.out_paint))?;
    }
    if counted.all.sessions == 0 {
        context.say(if filter.takes_all() {
            "no sessions yet: start one with `decklog run`"
        } else {
            "no session meets the filters"
        });
    }
    if unreadable > 0 {
        context.warn(&format!("{unreadable} unreadable, not counted: `decklog ls` names them"));
    }
    Ok(0)
}
