//! `network`: where a session's container connected.

use decklog_query::network;

use crate::cli::{Json, Which};
use crate::context::Context;
use crate::error::CliResult;
use crate::render::network as render;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A session has such a record when its container ran with --network audit or filter. Names that were looked up are listed
where that was refused; --all lists the others, too. Every single connection, as Zeek's conn.log has it:
  decklog logs @ network.jsonl | jq .")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// List names that were looked up, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let dir = context.session_dir(args.which.id.as_deref(), args.which.session_dir.as_deref())?;
    let (network, _) = network::read(&dir)?;
    if context.json {
        context.print_json(&network)?;
    } else if network.is_empty() {
        let head = context.look(&dir)?.head;
        context.say(match head.container_name {
            Some(_) => "its container connected nowhere, or its network was not recorded (see --network)",
            None => "it had no container",
        });
    } else {
        context.page(&render::by_host(&network, args.all, context.width(), context.out_paint))?;
    }
    if network.unreadable > 0 {
        context.warn(&format!("{} lines of {} are no records", network.unreadable, network::CONNECTIONS_FILE));
    }
    Ok(0)
}
