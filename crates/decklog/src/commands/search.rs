//! `search`: which turns hold a text.

use decklog_journal::{SessionFilter, SessionId, SessionStore};
use decklog_query::query::Query;
use decklog_query::scan::{self, Pattern};
use decklog_query::search::{Hit, RANKED};
use serde_json::Value;

use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::filters::FilterArgs;
use crate::listing;
use crate::render::search as render;

/// How many hits are shown unless told otherwise.
const BEST: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Searched are prompts, answers, reasoning, tool calls and their results, checks, changed lines, feedback of critics, and names of
files and tools. A turn is found when it holds every word, letter case and accents aside. An identifier is found whole and by
its parts: config finds parse_config and parseConfig. The best and newest come first.

  word other         both, anywhere in one turn
  \"in this order\"    a phrase
  -word              not this one (put -- before a query that begins so)
  file:auth.rs       a file that was changed, or that a tool was given
  tool:bash          a tool, by its name or kind

Examples:
  decklog search auth middleware --after 4w
  decklog search '\"connection reset\" -test' --agent claude
  decklog search --exact 'fn parse(' --touched 'src/**/*.rs'
  decklog search --regex 'TODO\\(\\w+\\)'")]
pub(crate) struct Args {
    /// What to search for
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    /// Search for the text as it stands, letter case and signs included, inside words too
    #[arg(long, conflicts_with = "regex")]
    exact: bool,
    /// Search for a regular expression, line by line
    #[arg(long)]
    regex: bool,
    /// Show only the best N (with --exact and --regex: the newest)
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = BEST, conflicts_with = "all")]
    limit: usize,
    /// Show all of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What is shown of a session beside its hits.
pub(crate) struct About {
    pub(crate) agent: String,
    pub(crate) project: String,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let text = args.query.join(" ");
    let bad = |error: String| CliError::new(error).hint("`decklog search --help` shows how to search");
    let store = context.store()?;
    let limit = (!args.all).then_some(args.limit);
    let filter = SessionFilter { limit, ..args.filters.resolve(context, &store)? };
    let (hits, matching) = if args.exact || args.regex {
        let pattern = if args.exact { Pattern::exact(&text) } else { Pattern::regex(&text) }.map_err(bad)?;
        let hits = read(context, &store, &filter, &pattern)?;
        let matching = hits.len();
        (hits, matching)
    } else {
        let query = Query::parse(&text).map_err(bad)?;
        let found = listing::search(context, &store, &query, &filter)?;
        (found.hits, found.matching)
    };
    if context.json {
        let hits: Vec<Value> = hits.iter().map(Hit::to_json).collect();
        context.print_json(&hits)?;
    } else {
        let about = hits.iter().map(|hit| about(&store, &hit.id));
        let text: String = hits
            .iter()
            .zip(about)
            .map(|(hit, about)| render::hit(hit, &about, context.width(), &context.zone, context.out_paint))
            .collect();
        context.page(&text)?;
    }
    let left = matching.saturating_sub(hits.len());
    if hits.is_empty() {
        context.say("nothing found");
    } else if left > 0 && context.err_is_terminal && !context.json {
        let at_least = if matching >= RANKED { "at least " } else { "" };
        context.say(format!("{at_least}{left} more: `--all` shows every one, a filter or another word fewer"));
    }
    Ok(0)
}

fn read(
    context: &Context,
    store: &SessionStore,
    filter: &SessionFilter,
    pattern: &Pattern,
) -> Result<Vec<Hit>, CliError> {
    let mut sessions: Vec<SessionId> = Vec::new();
    let all = SessionFilter { limit: None, ..filter.clone() };
    listing::rows(context, store, &all, |row| sessions.push(row.id()))?;
    Ok(scan::scan(store, &sessions, pattern, filter.limit.unwrap_or(usize::MAX)))
}

fn about(store: &SessionStore, id: &SessionId) -> About {
    let head = decklog_journal::store::current_head(&store.entry(id)).ok();
    let agent = head.as_ref().and_then(|head| head.agents.clone()).unwrap_or_default().join(",");
    About { agent, project: head.map(|head| head.project).unwrap_or_default() }
}
