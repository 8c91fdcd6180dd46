//! `shell`: prompts go to the active agent, and the session grows turn by turn.

use std::ffi::OsString;

use decklog_journal::SessionId;
use decklog_journal::SessionStore;
use decklog_journal::words::Permissions;

use crate::asking::{self, Relaying, parse_variable};
use crate::context::Context;
use crate::error::CliResult;
use crate::shell::editor::parse_delimiter;
use crate::shell::{Opening, Repl};

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Type a prompt, or a command: /help lists them (/use, /handoff, /resume, /status, /order, /check, /diff, /undo, …).
Ctrl-R searches what was typed before, Tab completes commands, agents and @paths, Alt-Enter begins a new line; what is pasted
stays one prompt. Ctrl-C stops the turn, not the shell; twice at an empty prompt it leaves, as Ctrl-D does.

With stdin from elsewhere each line is a prompt or a command, and stdout gets the replies alone:
  decklog shell claude <prompts.txt
  git log --format=%B%x00 -n 5 | decklog shell claude --delimiter '\\0'")]
pub(crate) struct Args {
    /// The agent that is asked first, as claude or claude:MODEL (default: the configured one, else the first installed)
    agent: Option<String>,
    /// What agents may do: look, edit the working directory, or anything; for more they ask you, where they can
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    /// Run this command after every turn and record whether it passes; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    #[command(flatten)]
    relaying: Relaying,
    /// Set a variable for the agents; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(OsString, OsString)>,
    /// What ends a prompt on stdin, where that is no terminal; \n, \0 and \t are understood
    #[arg(long, value_name = "TEXT", default_value = "\\n", hide_default_value = true, allow_hyphen_values = true)]
    delimiter: String,
}

impl Args {
    /// For a session that is gone on with.
    pub(crate) fn on_a_session(
        agent: Option<String>,
        permissions: Option<Permissions>,
        check: Vec<String>,
        relaying: Relaying,
    ) -> Self {
        Self { agent, permissions, check, relaying, ..Self::default() }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    open(args, None, context)
}

/// Opens a shell, on the session `id` if one is given. Also `resume`'s and `decklog`'s own way in.
pub(crate) fn open(args: Args, id: Option<&SessionId>, context: &Context) -> CliResult {
    let config = context.config()?;
    let env = asking::environment(&args.env, context);
    let party = match &args.agent {
        Some(name) => asking::party(name, &config, &env)?,
        None => decklog_run::orchestrate::Party::plain(asking::agent(None, &config, &env)?),
    };
    let delimiter = if args.delimiter.is_empty() { "\\n" } else { &args.delimiter };
    let delimiter =
        parse_delimiter(delimiter).map_err(|why| crate::error::CliError::new(format!("--delimiter: {why}")))?;
    let relay = args.relaying.resolve(&config, &env, context)?;
    let mut setup = asking::setup(args.permissions, args.check, None, env, &config, context)?;
    setup.asks = context.in_is_terminal && context.err_is_terminal;
    let store = SessionStore::open(&config.session_root.value);
    Repl::new(Opening { store, setup, party, relay, delimiter, wait: args.relaying.wait }, config, context)?.run(id)
}
