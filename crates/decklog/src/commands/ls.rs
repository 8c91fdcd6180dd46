//! `ls`: sessions, newest first.

use decklog_journal::{Row, SessionFilter};
use decklog_query::show::shown_head;
use decklog_text::visible;

use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::filters::FilterArgs;
use crate::listing::{self, Found};
use crate::render::session;
use crate::render::table::Cells;

/// How many are listed unless told otherwise.
const NEWEST: usize = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List only the newest N
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = NEWEST, conflicts_with = "all")]
    limit: usize,
    /// List all of them
    #[arg(long)]
    all: bool,
    /// Columns to show, separated by commas: id, started, duration, kind, agent, project, outcome, exit, model,
    /// turns, iterations, tokens, cost, files, dir, image, container, prompt
    #[arg(long, value_name = "NAMES")]
    columns: Option<String>,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let columns = args.columns.as_deref().unwrap_or(session::DEFAULT_COLUMNS);
    let columns = session::parse_columns(columns).map_err(CliError::new)?;
    let store = context.store()?;
    let filter = SessionFilter { limit: (!args.all).then_some(args.limit), ..args.filters.resolve(context, &store)? };
    let now = context.clock.now();
    let Found { entries, shown, unreadable } = if context.json {
        let mut list = context.json_list();
        let mut written = Ok(());
        let found = listing::rows(context, &store, &filter, |row| {
            // What is gone or spoiled since it was found is left out.
            if let (Ok(()), Ok(Some(listed))) = (&written, store.look(&row.id())) {
                written = shown_head(&listed).map_err(CliError::from).and_then(|head| list.push(&head));
            }
        })?;
        written?;
        list.finish()?;
        found
    } else {
        let add = |cells: &mut Cells, row: &Row<'_>| session::list_row(cells, row, &columns, now, &context.zone);
        let (found, cells) = listing::sums(context, &store, &filter, Cells::default, add)?;
        session::list(&cells, &columns, context.width(), context.out_paint, |piece| context.print(piece))?;
        found
    };
    if entries > 0 && shown == 0 && !filter.takes_all() {
        context.say("no session meets the filters");
    }
    if !context.json {
        let left = if filter.takes_all() { entries.saturating_sub(shown + unreadable.len()) } else { 0 };
        if entries == 0 {
            let root = store.root().to_string_lossy().into_owned();
            context.say(format!("no sessions under {} yet: start one with `decklog run`", visible(&root)));
        } else if left > 0 && context.err_is_terminal {
            context.say(format!("{left} more: `decklog ls --all`"));
        } else if shown == args.limit && !args.all && !filter.takes_all() && context.err_is_terminal {
            context.say("there may be more: `--all` lists every one");
        }
    }
    for unreadable in &unreadable {
        context.warn(&format!("{}: {}", unreadable.id, unreadable.reason));
    }
    if !unreadable.is_empty() && !context.json {
        context.say("look closer with `decklog verify ID`; remove one with `decklog discard ID`");
    }
    Ok(0)
}
