//! `resume`: goes on with a session where its record ends.

use std::io::Read;
use std::time::Duration;

use decklog_journal::artifacts::UNPACKED_FILE;
use decklog_journal::event::{EventBody, SessionStart};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::verify::find_artifact;
use decklog_journal::words::{Permissions, SessionKind};
use decklog_journal::{Head, SessionId, SessionStore};
use decklog_run::agents::Protocol;
use decklog_run::orchestrate::{
    ChatPlan, LoopPlan, Party, ResumeError, RunPlan, last_agents_turn, resume, resume_chat, resume_loop,
};
use decklog_run::supervise::Signals;
use decklog_text::visible;

use crate::asking::{self, Relaying};
use crate::boxing::{self, Asked, Boxing};
use crate::cli::Json;
use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::story::Story;

use super::looping::{names, tell};

/// Bytes of a task that are read.
const MAX_TASK: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The agent that had the session goes on in its own conversation; another one, or one whose conversation is not known, is handed a
packet of what the record tells. So a session that was rate-limited, interrupted, cut off by a power cut, or is done and to be
taken further, goes on, here or where its directory was copied to.

On a terminal, a session of the shell opens the shell again, unless there is a prompt for one more turn.

A loop or a chat goes on where it was cut off: what had ended is in the record and is not done again. Agents, models, checks
and limits are those it began with; --then and --wait can be given anew.

Of a session that came out of an archive, the checks, and permissions beyond yours, are shown first, and you are asked.

Examples:
  decklog resume                          pick one
  decklog resume @ --agent codex          the newest, with another agent
  decklog resume 3f2a \"Now add tests\"     one more turn")]
pub(crate) struct Args {
    /// The session's id, a unique part of it, or @ for the newest; without one, a terminal opens a picker
    id: Option<String>,
    /// What to do next (default: to finish the task); - reads it from stdin
    prompt: Option<String>,
    /// Who goes on (default: the agent that had it last)
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The model, in the agent's own spelling
    #[arg(long)]
    model: Option<String>,
    /// What the agent may do: look, edit the working directory, or anything
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    /// Run this command after the turn and record whether it passes; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    /// Do not ask whether a session that came out of an archive may do what its record says
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    boxing: Boxing,
    #[command(flatten)]
    relaying: Relaying,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let store = context.store()?;
    let id = context.find(&store, args.id.as_deref())?;
    let start = start(&store, &id)?;
    asking::not_recorded(&store, &id)?;
    if !is_trusted(&start, &args, &store, &id, &config, context)? {
        context.say("nothing was changed");
        return Ok(0);
    }
    match start.kind {
        SessionKind::Loop => go_on_looping(start, &args, &store, &id, &config, context),
        SessionKind::Chat => go_on_chatting(start, &args, &store, &id, &config, context),
        SessionKind::Shell if args.prompt.is_none() && context.in_is_terminal && context.err_is_terminal => {
            let Args { agent, model, permissions, check, boxing, relaying, .. } = args;
            super::shell::go_on(
                super::shell::On { id: &id, agent, model, permissions, check, boxing, relaying },
                context,
            )
        }
        SessionKind::Run | SessionKind::Shell | SessionKind::Import => go_on(args, &store, &id, &config, context),
        SessionKind::Race => Err(CliError::new(format!("{id} is a race, which is not gone on with"))
            .hint(format!("decklog diff {id} --turn N shows what a racer did; `decklog race` begins another one"))),
        kind => Err(CliError::new(format!("{id} is a {kind} session, which cannot be gone on with"))),
    }
}

/// Whether the session may do what its record says. One that came out of an archive somebody else may have written: what it
/// would run, and what it would let agents do beyond the configuration, is shown, and the user asked.
fn is_trusted(
    start: &SessionStart,
    args: &Args,
    store: &SessionStore,
    id: &SessionId,
    config: &Config,
    context: &Context,
) -> Result<bool, CliError> {
    if store.entry(id).join(UNPACKED_FILE).symlink_metadata().is_err() {
        return Ok(true);
    }
    let (checks, permissions) = match (&start.rules, start.kind) {
        (Some(rules), SessionKind::Loop | SessionKind::Chat) => (rules.checks.clone(), Some(rules.permissions)),
        _ if args.permissions.is_some() => (Vec::new(), None),
        _ => (Vec::new(), store.load(id)?.turns.iter().filter_map(|turn| turn.permissions).max()),
    };
    let raised = permissions.filter(|permissions| *permissions > config.permissions.value);
    if checks.is_empty() && raised.is_none() {
        return Ok(true);
    }
    context.say(format!("{id} came out of an archive. By its record it goes on in {}", visible(&start.working_dir)));
    for check in &checks {
        context.say(format!("  and runs: {}", visible(check)));
    }
    if let Some(permissions) = raised {
        context.say(format!("  and lets agents do more than you do: {permissions}"));
    }
    context.confirm("Let it do what its record says?", args.yes)
}

/// One more turn.
fn go_on(args: Args, store: &SessionStore, id: &SessionId, config: &Config, context: &Context) -> CliResult {
    let past = store.load(id)?;
    let env = asking::environment(&[], context);
    let last = last_agents_turn(&past).map(|turn| turn.agent.clone());
    if let (None, Some(last)) = (&args.agent, &last)
        && config.agent(last).is_none()
    {
        return Err(CliError::new(format!("{} is no agent that decklog can ask to go on", visible(last)))
            .hint(format!("name one: decklog resume {id} --agent AGENT; `decklog agents` lists those there are")));
    }
    let programs = args.boxing.programs(Some(&past.head), &env);
    let agent = asking::agent(args.agent.as_deref().or(last.as_deref()), config, programs)?;
    let prompt = match args.prompt.as_deref() {
        Some("-") => asking::from_stdin()?,
        prompt => prompt.unwrap_or_default().to_owned(),
    };
    let relay = args.relaying.resolve(config, programs, context)?;
    let before = past.turns.iter().rev().find_map(|turn| turn.permissions);
    let mut setup = asking::setup(args.permissions.or(before), args.check, None, env, config, context)?;
    setup.working_dir = asking::working_dir(store, id)?;
    let is_text = agent.protocol == Protocol::Text;
    let party = asking::with_model(agent, args.model)?;
    let asked = Asked::new([&party], &relay, (&setup.env, &[]));
    let sandbox = args.boxing.resolve_again(&past.head, &asked, config, context)?;
    boxing::put(&mut setup, sandbox);
    let plan = RunPlan { party, prompt, relay, setup };
    let signals = Signals::install()?;
    let mut story = Story::new(&plan.party.agent.name, is_text && !context.json, context);
    let result = resume(store, id, &plan, &signals, &mut story)?;
    story.finish();
    super::run::tell(&result, is_text, context)
}

fn go_on_looping(
    start: SessionStart,
    args: &Args,
    store: &SessionStore,
    id: &SessionId,
    config: &Config,
    context: &Context,
) -> CliResult {
    unchanged(args, id, "loop")?;
    let plan = plan(start, args, store, id, config, context)?;
    let signals = Signals::install()?;
    let mut story = Story::new(&names(&plan), false, context).of_loop(plan.max_iterations, done(store, id));
    let result = resume_loop(store, id, &plan, &signals, &mut story).map_err(|error| match error {
        ResumeError::Over(_) => CliError::new(error).hint("`decklog loop` begins a new one"),
        error => CliError::new(error),
    })?;
    story.finish();
    tell(&result, context)
}

fn go_on_chatting(
    start: SessionStart,
    args: &Args,
    store: &SessionStore,
    id: &SessionId,
    config: &Config,
    context: &Context,
) -> CliResult {
    unchanged(args, id, "chat")?;
    let rules = *start.rules.clone().ok_or_else(|| CliError::new(ResumeError::NoRules))?;
    let env = asking::environment(&[], context);
    let head = current_head(store, id)?;
    let programs = args.boxing.programs(Some(&head), &env);
    let speakers: Vec<Party> =
        rules.speakers.iter().map(|name| asking::party(name, config, programs)).collect::<Result<_, _>>()?;
    let relay = args.relaying.resolve(config, programs, context)?;
    let mut setup = asking::setup(Some(rules.permissions), Vec::new(), None, env, config, context)?;
    setup.checks = rules.checks;
    setup.working_dir = asking::working_dir(store, id)?;
    let asked = Asked::new(&speakers, &relay, (&setup.env, &[]));
    let sandbox = args.boxing.resolve_again(&head, &asked, config, context)?;
    boxing::put(&mut setup, sandbox);
    let plan = ChatPlan {
        task: task(&start, store, id)?,
        speakers,
        max_turns: rules.max_turns.unwrap_or(1),
        max_cost: rules.max_cost_usd,
        max_time: rules.max_time_secs.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        relay,
        setup,
    };
    let signals = Signals::install()?;
    let mut story = Story::new(&super::chat::names(&plan), false, context).in_full(context);
    let result = resume_chat(store, id, &plan, &signals, &mut story)?;
    story.finish();
    super::chat::tell(&result, context)
}

/// Refuses what would change how a session goes on that goes on as it began.
fn unchanged(args: &Args, id: &SessionId, kind: &str) -> Result<(), CliError> {
    let fixed = args.agent.is_some() || args.model.is_some() || args.permissions.is_some() || !args.check.is_empty();
    if fixed || args.prompt.is_some() {
        return Err(CliError::new(format!("{id} is a {kind}: it goes on as it began, with nothing changed"))
            .hint(format!("decklog resume {id}")));
    }
    Ok(())
}

fn current_head(store: &SessionStore, id: &SessionId) -> Result<Head, CliError> {
    decklog_journal::store::current_head(&store.entry(id)).map_err(CliError::new)
}

/// The first prompt, whole.
fn task(start: &SessionStart, store: &SessionStore, id: &SessionId) -> Result<String, CliError> {
    let Some(artifact) = &start.prompt_artifact else { return Ok(start.prompt.clone()) };
    let failed = |why: String| CliError::new(format!("the task of {id}, {}: {why}", visible(&artifact.path)));
    let found = find_artifact(&store.entry(id), &artifact.path).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    found.file.take(MAX_TASK).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".into()))
}

/// The first event.
fn start(store: &SessionStore, id: &SessionId) -> Result<SessionStart, CliError> {
    let path = store.entry(id).join(JOURNAL_FILE);
    let first = JournalReader::open(&path)
        .and_then(|mut reader| reader.next().transpose())
        .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let start = match first {
        Some(Item::Event(event)) => match event.body {
            EventBody::SessionStart(start) => Some(start),
            _ => None,
        },
        _ => None,
    };
    start.ok_or_else(|| {
        CliError::new(format!("the record of {id} has no beginning")).hint(format!("see `decklog verify {id}`"))
    })
}

/// How many iterations are over.
fn done(store: &SessionStore, id: &SessionId) -> u32 {
    current_head(store, id).ok().and_then(|head| head.iterations).unwrap_or(0)
}

/// What was decided when the loop began.
fn plan(
    start: SessionStart,
    args: &Args,
    store: &SessionStore,
    id: &SessionId,
    config: &Config,
    context: &Context,
) -> Result<LoopPlan, CliError> {
    let rules = *start.rules.clone().ok_or_else(|| CliError::new(ResumeError::NoRules))?;
    let env = asking::environment(&[], context);
    let head = current_head(store, id)?;
    let programs = args.boxing.programs(Some(&head), &env);
    let party =
        |name: &str, model: Option<String>| asking::with_model(asking::agent(Some(name), config, programs)?, model);
    let actor = party(start.actor_agent.as_deref().unwrap_or_default(), start.actor_model.clone())?;
    let critic = start.critic_agent.as_deref().map(|name| party(name, start.critic_model.clone())).transpose()?;
    let mut setup = asking::setup(Some(rules.permissions), Vec::new(), None, env.clone(), config, context)?;
    setup.checks = rules.checks;
    setup.working_dir = asking::working_dir(store, id)?;
    let relay = args.relaying.resolve(config, programs, context)?;
    let asked = Asked::new(std::iter::once(&actor).chain(&critic), &relay, (&setup.env, &[]));
    let sandbox = args.boxing.resolve_again(&head, &asked, config, context)?;
    boxing::put(&mut setup, sandbox);
    let task = task(&start, store, id)?;
    Ok(LoopPlan {
        task,
        actor,
        critic,
        max_iterations: start.max_iterations.unwrap_or(1),
        max_cost: rules.max_cost_usd,
        max_time: rules.max_time_secs.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        fresh: rules.fresh,
        relay,
        setup,
    })
}
