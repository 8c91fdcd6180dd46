//! `clean`: removes old sessions, by a plan that is shown first.

use decklog_journal::SessionId;
use decklog_journal::retention::{self, Candidate, Policy};
use decklog_snapshot::ScratchDir;
use decklog_text::format::{counted, time};
use jiff::SignedDuration;
use serde_json::json;

use super::discard::remove_all;
use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::filters::FilterArgs;
use crate::render::table::{Column, table};
use crate::strays;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only sessions that ended at least this long ago: a number and s, m, h, d or w
    /// (default: 30d; with --crashed: any age)
    #[arg(long, value_name = "AGE", value_parser = retention::parse_age, allow_hyphen_values = true)]
    older_than: Option<SignedDuration>,
    /// Only crashed sessions
    #[arg(long)]
    crashed: bool,
    /// Show what would go, and stop
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let store = context.store()?;
    let listing = store.list(&args.filters.resolve(context, &store)?)?;
    let candidates: Vec<Candidate> =
        listing.sessions.iter().map(|listed| Candidate::new(&listed.head, listed.status)).collect();
    let default = if args.crashed { SignedDuration::ZERO } else { SignedDuration::from_hours(30 * 24) };
    let older_than = args.older_than.unwrap_or(default);
    let policy = Policy { older_than, only_crashed: args.crashed };
    let going = retention::plan(&candidates, policy, context.clock.now());
    let path = |id: &SessionId| store.entry(id);
    let strays = strays::find(&store, context);
    if args.dry_run && context.json {
        let containers = strays.iter().map(|stray| json!({ "id": stray.session, "container": stray.name }));
        let rows: Vec<_> = going
            .iter()
            .map(|c| json!({ "id": c.id, "status": c.status, "ended_at": c.last, "path": path(&c.id) }))
            .chain(containers)
            .collect();
        context.print_json(&rows)?;
        return Ok(0);
    }
    if !listing.unreadable.is_empty() {
        context
            .say(format!("{} unreadable: left alone, remove them with `decklog discard ID`", listing.unreadable.len()));
    }
    if !args.dry_run {
        store.sweep();
        ScratchDir::sweep();
        super::race::clear_away(context)?;
    }
    if !strays.is_empty() && (!args.yes || args.dry_run) {
        let text = strays::preview(&strays);
        if args.dry_run {
            context.print(text)?;
        } else {
            context.say(text.trim_end());
        }
    }
    if going.is_empty() && !strays.is_empty() {
        if args.dry_run {
            return Ok(0);
        }
        if !context.confirm(&format!("Remove {}?", counted(strays.len() as u64, "container")), args.yes)? {
            context.say("nothing was removed");
            return Ok(0);
        }
        let all = strays::remove(&strays, context);
        let done = if context.json { remove_all(&[], context)? } else { 0 };
        return Ok(if all { done } else { 2 });
    }
    if going.is_empty() {
        let days = older_than.as_hours() / 24;
        context.say(match args.older_than {
            None if !args.crashed => {
                format!("nothing to clean: no session ended more than {days} days ago (see --older-than)")
            }
            _ => "nothing to clean".to_owned(),
        });
        return if context.json { remove_all(&[], context) } else { Ok(0) };
    }
    if !args.yes || args.dry_run {
        let columns = [
            Column { title: "ID", priority: 0 },
            Column { title: "STATUS", priority: 1 },
            Column { title: "ENDED", priority: 0 },
            Column { title: "PATH", priority: 0 },
        ];
        let rows: Vec<Vec<String>> = going
            .iter()
            .map(|c| {
                vec![
                    c.id.to_string(),
                    c.status.to_string(),
                    time(c.last, &context.zone),
                    path(&c.id).display().to_string(),
                ]
            })
            .collect();
        let text = table(&columns, rows, context.width(), context.out_paint, |_, _, cell| cell);
        if args.dry_run {
            context.print(text)?;
            return Ok(0);
        }
        context.say(text.trim_end());
    }
    let containers = match strays.len() {
        0 => String::new(),
        count => format!(" and {}", counted(count as u64, "container")),
    };
    if !context.confirm(&format!("Remove {} sessions{containers}?", going.len()), args.yes)? {
        context.say("nothing was removed");
        return Ok(0);
    }
    let targets: Vec<_> = going.iter().map(|c| (c.id.to_string(), path(&c.id))).collect();
    let all = strays::remove(&strays, context);
    let result = remove_all(&targets, context).map(|code| if all { code } else { 2 });
    result.map_err(|error: CliError| error.hint("what was removed before stays removed"))
}
