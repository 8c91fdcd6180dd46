//! `handoff`: checkpoints a session for another agent.

use decklog_journal::words::SessionKind;
use decklog_journal::{SessionId, SessionStore};
use decklog_run::orchestrate::{Party, hand_off, last_agents_turn};
use decklog_run::supervise::Signals;

use crate::asking::{self, Programs};
use crate::boxing;
use crate::cli::Json;
use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::story::Story;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes what the next agent has to know (the task, what is in the way, the plan, checks, files, the last turns), made from the
record alone, so that it works when the agent before is gone: resume/NNN-AGENT.md for the agent, and .json for programs.

For sessions of `run` and of the shell, and imported ones: a loop or a chat goes on as it began (`decklog resume ID --then AGENT`),
a race or a session of `mcp` not at all.")]
pub(crate) struct Args {
    /// The session's id, a unique part of it, or @ for the newest (default: the newest)
    id: Option<String>,
    /// Who is to go on
    #[arg(long, value_name = "AGENT")]
    to: String,
    /// Ask the agent that had the session for decisions, for what is in the way and what comes next, in one more turn (on this
    /// machine, without a container)
    #[arg(long)]
    summarize: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let store = context.store()?;
    let id = context.find(&store, Some(args.id.as_deref().unwrap_or("@")))?;
    let agent = config.agent(&args.to).ok_or_else(|| {
        CliError::new(format!("there is no agent {:?}", args.to)).hint("`decklog agents` lists those there are")
    })?;
    goes_on_with_another(&store, &id, &agent.name)?;
    asking::not_recorded(&store, &id)?;
    let outgoing = if args.summarize { Some(outgoing(&store, &id, &config, context)?) } else { None };
    let mut setup = asking::setup(None, Vec::new(), None, asking::environment(&[], context), &config, context)?;
    setup.working_dir = asking::working_dir(&store, &id)?;
    if let Some(party) = &outgoing {
        boxing::say_on_the_host(&format!("{} is asked", party.agent.name), &config, context);
    }
    let signals = Signals::install()?;
    let mut story = Story::new(&args.to, false, context);
    let handed = hand_off(&store, &id, (&agent.name, outgoing.as_ref()), &setup, &signals, &mut story)?;
    story.finish();
    let command = format!("decklog resume {id} --agent {}", agent.name);
    let result = serde_json::json!({
        "id": id,
        "agent": agent.name,
        "packet": handed.packet.path,
        "packet_json": handed.json.path,
        "command": command,
    });
    let dir = store.entry(&id);
    let exit_code = if handed.recorded { 0 } else { 2 };
    let exit_code = context.print_result((&dir, exit_code), &result, &format!("{command}\n"))?;
    context.say(format!("what it will read: {}", dir.join(&handed.packet.path).display()));
    Ok(exit_code)
}

/// Refuses a session that no other agent can take up.
fn goes_on_with_another(store: &SessionStore, id: &SessionId, to: &str) -> Result<(), CliError> {
    let kind = store.load(id)?.head.kind;
    let hint = match kind {
        SessionKind::Run | SessionKind::Shell | SessionKind::Import => return Ok(()),
        SessionKind::Loop | SessionKind::Chat => {
            format!("decklog resume {id} --then {to}: {to} takes the place of an agent that is rate-limited")
        }
        SessionKind::Race => format!("`decklog diff {id} --turn N | git apply --3way` takes what a racer did"),
        _ => format!("`decklog show {id}` shows it"),
    };
    Err(CliError::new(format!("{id} is a {kind} session, which is not handed to another agent")).hint(hint))
}

/// Who had the session last.
fn outgoing(store: &SessionStore, id: &SessionId, config: &Config, context: &Context) -> Result<Party, CliError> {
    let past = store.load(id)?;
    let turn = last_agents_turn(&past).filter(|turn| turn.conversation().is_some()).ok_or_else(|| {
        let gone = last_agents_turn(&past).is_some_and(|turn| turn.boxed);
        CliError::new(match gone {
            true => "nobody can be asked: the conversation went with the container that it was in",
            false => "nobody can be asked: no agent has told which conversation was its own",
        })
        .hint("without --summarize the packet is made from the record alone")
    })?;
    // In its own conversation it has its model.
    asking::agent(Some(&turn.agent), config, Programs::Here(&asking::environment(&[], context))).map(Party::plain)
}
