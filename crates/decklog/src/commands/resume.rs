//! `resume`: goes on with a loop where its record ends.

use std::time::Duration;

use decklog_journal::event::{EventBody, SessionStart};
use decklog_journal::lock::{self, Held};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::words::SessionKind;
use decklog_journal::{SessionId, SessionStore};
use decklog_run::orchestrate::{LoopPlan, Party, ResumeError, resume_loop};
use decklog_run::supervise::Signals;

use crate::asking;
use crate::cli::Json;
use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::visible;
use crate::story::Story;

use super::looping::{names, tell};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A loop that was rate-limited, interrupted or killed goes on at the phase in which it was cut off: what had ended is in the
record and is not done again. Agents, models, checks and limits are those it began with.")]
pub(crate) struct Args {
    /// The session's id, a unique part of it, or @ for the newest; without one, a terminal opens a picker
    id: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let store = SessionStore::open(&config.session_root.value);
    let id = context.find(&store, args.id.as_deref())?;
    let start = start(&store, &id)?;
    if start.kind != SessionKind::Loop {
        return Err(CliError::new(format!("{id} is a {} session, and only loops are gone on with", start.kind))
            .hint("begin anew with `decklog run`, and tell the agent what `decklog show` tells"));
    }
    if lock::held(&store.entry(&id)) == Held::Yes {
        return Err(
            CliError::new(format!("{id} is being recorded now")).hint(format!("look on with `decklog watch {id}`"))
        );
    }
    let plan = plan(start, &store, &id, &config, context)?;
    let signals = Signals::install()?;
    let mut story = Story::new(&names(&plan), false, context).of_loop(plan.max_iterations, done(&store, &id));
    let result = resume_loop(&store, &id, &plan, &signals, &mut story).map_err(|error| match error {
        ResumeError::Over(_) => CliError::new(error).hint("`decklog loop` begins a new one"),
        error => CliError::new(error),
    })?;
    story.finish();
    tell(&result, context)
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
    decklog_journal::store::current_head(&store.entry(id)).ok().and_then(|head| head.iterations).unwrap_or(0)
}

/// What was decided when the loop began.
fn plan(
    start: SessionStart,
    store: &SessionStore,
    id: &SessionId,
    config: &Config,
    context: &Context,
) -> Result<LoopPlan, CliError> {
    let rules = *start.rules.clone().ok_or_else(|| CliError::new(ResumeError::NoRules))?;
    let env = asking::environment(&[], context);
    let party =
        |name: &str, model: Option<String>| asking::agent(Some(name), config, &env).map(|agent| Party { agent, model });
    let actor = party(start.actor_agent.as_deref().unwrap_or_default(), start.actor_model.clone())?;
    let critic = start.critic_agent.as_deref().map(|name| party(name, start.critic_model.clone())).transpose()?;
    let mut setup = asking::setup(Some(rules.permissions), Vec::new(), None, env.clone(), config, context)?;
    setup.checks = rules.checks;
    setup.working_dir = start.working_dir.clone().into();
    if !setup.working_dir.is_dir() {
        return Err(CliError::new(format!("{} is gone: the loop worked there", visible(&start.working_dir))));
    }
    let task = match &start.prompt_artifact {
        None => start.prompt.clone(),
        Some(artifact) => asking::from_file(&store.entry(id).join(&artifact.path), context)?,
    };
    Ok(LoopPlan {
        task,
        actor,
        critic,
        max_iterations: start.max_iterations.unwrap_or(1),
        max_cost: rules.max_cost_usd,
        max_time: rules.max_time_secs.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        fresh: rules.fresh,
        setup,
    })
}
