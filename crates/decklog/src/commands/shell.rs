//! `shell`: prompts go to the active agent, and the session grows turn by turn.

use std::ffi::OsString;

use decklog_journal::SessionId;
use decklog_journal::SessionStore;
use decklog_journal::words::Permissions;
use decklog_run::orchestrate::last_agents_turn;

use crate::asking::{self, Relaying, parse_variable};
use crate::boxing::{self, Asked, Boxing};
use crate::context::Context;
use crate::error::{CliError, CliResult};
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
    boxing: Boxing,
    #[command(flatten)]
    relaying: Relaying,
    /// Set a variable for the agents; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(OsString, OsString)>,
    /// What ends a prompt on stdin, where that is no terminal; \n, \0 and \t are understood
    #[arg(long, value_name = "TEXT", default_value = "\\n", hide_default_value = true, allow_hyphen_values = true)]
    delimiter: String,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    open(args, None, context)
}

/// What a shell on a session is opened with.
pub(crate) struct On<'a> {
    pub(crate) id: &'a SessionId,
    /// Who goes on, if that was said.
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) permissions: Option<Permissions>,
    pub(crate) check: Vec<String>,
    pub(crate) boxing: Boxing,
    pub(crate) relaying: Relaying,
}

/// Opens a shell on a session. `resume`'s way in.
pub(crate) fn go_on(on: On<'_>, context: &Context) -> CliResult {
    let On { id, agent, model, permissions, check, boxing, relaying } = on;
    let delimiter = "\\n".to_owned();
    let args = Args { agent: agent.clone(), permissions, check, boxing, relaying, env: Vec::new(), delimiter };
    let is_given = agent.is_some() || model.is_some();
    open(args, Some((id, model, is_given)), context)
}

fn open(args: Args, on: Option<(&SessionId, Option<String>, bool)>, context: &Context) -> CliResult {
    let config = context.config()?;
    let env = asking::environment(&args.env, context);
    let store = SessionStore::open(&config.session_root.value);
    let past = on.as_ref().map(|(id, ..)| store.load(id)).transpose()?;
    let last = past.as_ref().and_then(|past| last_agents_turn(past));
    let name = args.agent.as_deref().or(last.map(|turn| turn.agent.as_str()));
    let programs = args.boxing.programs(past.as_ref().map(|past| &past.head), &env);
    let party = match name {
        Some(name) => asking::party(name, &config, programs),
        None => asking::agent(None, &config, programs).and_then(|agent| asking::with_model(agent, None)),
    };
    let mut party = party?;
    let on = on.map(|(id, model, is_given)| {
        party.model = model.or(party.model.take());
        (id, Some(party.clone()).filter(|_| is_given))
    });
    let delimiter = if args.delimiter.is_empty() { "\\n" } else { &args.delimiter };
    let delimiter = parse_delimiter(delimiter).map_err(|why| CliError::new(format!("--delimiter: {why}")))?;
    let relay = args.relaying.resolve(&config, programs, context)?;
    let permissions = args.permissions.or(last.and_then(|turn| turn.permissions));
    let mut setup = asking::setup(permissions, args.check, None, env, &config, context)?;
    let asked = Asked::new([&party], &relay, (&setup.env, &args.env));
    let sandbox = match &past {
        Some(past) => args.boxing.resolve_again(&past.head, &asked, &config, context)?,
        None => args.boxing.resolve(&asked, &config, context)?,
    };
    boxing::put(&mut setup, sandbox);
    setup.asks = context.in_is_terminal && context.err_is_terminal;
    let (boxing, wait) = (args.boxing, args.relaying.wait);
    Repl::new(Opening { store, setup, party, relay, boxing, delimiter, wait }, config, context)?.run(on)
}
