//! `loop`: an actor and a critic, until the work is right.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use decklog_journal::SessionStore;
use decklog_journal::words::{Decision, Permissions};
use decklog_run::orchestrate::{LoopPlan, LoopResult, Party, run_loop};
use decklog_run::supervise::Signals;
use decklog_text::format::{cost, counted, duration, thousands};
use decklog_text::{visible, visible_lines};

use crate::asking::{self, Relaying, from_file, from_stdin, parse_dollars, parse_variable};
use crate::boxing::{self, Asked, Boxing};
use crate::cli::Json;
use crate::config::{Config, parse_duration};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::table::{Column, table};
use crate::story::Story;

/// What is read when no prompt is given and it is there.
const PROMPT_FILE: &str = "prompt.md";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The actor gets the task. The critic, who may not write, gets what the actor really did: its last words, the diff, what the
checks say; and decides DONE, CONTINUE with feedback, or ERROR. The actor gets the feedback, and so on. DONE counts only
while every check passes.

Examples:
  decklog loop \"Add input validation to the login endpoint\"
  decklog loop --actor claude --critic codex --check \"cargo test\" \"Make the build pass\"
  decklog loop --critic none --check \"make test\" -n 5 --max-cost 2 --prompt-file task.md

Exit codes: 0 done, 1 a limit was reached first, 2 failed, 75 rate-limited (go on with `decklog resume`),
130 interrupted (`decklog resume` goes on here, too).")]
pub(crate) struct Args {
    /// The task; - reads it from stdin (default: prompt.md, if it is there)
    prompt: Option<String>,
    /// Read the task from a file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// Actor and critic, unless named each (default: the configured agent, else the first installed)
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Who works
    #[arg(long, value_name = "AGENT")]
    actor: Option<String>,
    /// Who judges; none: the checks alone do
    #[arg(long, value_name = "AGENT|none")]
    critic: Option<String>,
    /// The actor's model, in the agent's own spelling
    #[arg(long, value_name = "MODEL")]
    actor_model: Option<String>,
    /// The critic's model
    #[arg(long, value_name = "MODEL")]
    critic_model: Option<String>,
    /// The most iterations
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    max_iterations: u32,
    /// End once so many US dollars are spent, as far as the agents tell
    #[arg(long, value_name = "USD", value_parser = parse_dollars)]
    max_cost: Option<f64>,
    /// End after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_time: Option<Duration>,
    /// Run this command after each of the actor's turns: it must pass; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    /// Begin each iteration with a new conversation, instead of going on with the actor's
    #[arg(long)]
    fresh: bool,
    /// What the actor may do: look, edit the working directory, or anything
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    #[command(flatten)]
    boxing: Boxing,
    #[command(flatten)]
    relaying: Relaying,
    /// Set a variable for the agents; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(OsString, OsString)>,
    /// Print what would be run, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the record in this directory, with a link to it under the session root
    #[arg(long, value_name = "DIR")]
    session_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let dry_run = args.dry_run;
    let plan = resolve(args, &config, context)?;
    if dry_run {
        return show_plan(&plan, &config, context);
    }
    let store = SessionStore::open(&config.session_root.value);
    let signals = Signals::install()?;
    let mut story = Story::new(&names(&plan), false, context).of_loop(plan.max_iterations, 0);
    let result = run_loop(&store, &plan, &signals, &mut story)?;
    story.finish();
    tell(&result, context)
}

fn resolve(args: Args, config: &Config, context: &Context) -> Result<LoopPlan, CliError> {
    let env = asking::environment(&args.env, context);
    let task = match (&args.prompt, &args.prompt_file) {
        (Some(dash), _) if dash == "-" => from_stdin()?,
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => from_file(file, context)?,
        (None, None) if context.cwd.join(PROMPT_FILE).is_file() => from_file(PROMPT_FILE.as_ref(), context)?,
        (None, None) if !context.in_is_terminal => from_stdin()?,
        (None, None) => {
            return Err(CliError::new("what is to be done?")
                .hint(format!("decklog loop \"Add input validation\", or write it into {PROMPT_FILE}")));
        }
    };
    if task.trim().is_empty() {
        return Err(CliError::new("the task is empty").hint("give it in quotes, with --prompt-file, or on stdin"));
    }
    let name = |own: &Option<String>| own.clone().or_else(|| args.agent.clone());
    let programs = args.boxing.programs(None, &env);
    let party =
        |name: Option<&str>, model: Option<String>| asking::with_model(asking::agent(name, config, programs)?, model);
    let actor = party(name(&args.actor).as_deref(), args.actor_model.clone())?;
    let critic = match name(&args.critic).as_deref() {
        Some("none") if args.critic_model.is_some() => {
            return Err(CliError::new("--critic-model is for a critic, and --critic none is none"));
        }
        Some("none") => None,
        name => Some(party(name, args.critic_model.clone())?),
    };
    let mut setup = asking::setup(args.permissions, args.check, args.session_dir, env.clone(), config, context)?;
    if critic.is_none() && setup.checks.is_empty() {
        return Err(CliError::new("nobody would judge: --critic none needs a --check")
            .hint("decklog loop --critic none --check \"make test\" …"));
    }
    let (max_iterations, max_cost, max_time) = (args.max_iterations, args.max_cost, args.max_time);
    let relay = args.relaying.resolve(config, programs, context)?;
    let asked = Asked::new(std::iter::once(&actor).chain(&critic), &relay, (&setup.env, &args.env));
    let sandbox = args.boxing.resolve(&asked, config, context)?;
    boxing::put(&mut setup, sandbox);
    Ok(LoopPlan { task, actor, critic, max_iterations, max_cost, max_time, fresh: args.fresh, relay, setup })
}

/// Who works, and who judges.
pub(crate) fn names(plan: &LoopPlan) -> String {
    let critic = plan.critic.as_ref().map_or("checks", |critic| critic.agent.name.as_str());
    format!("{} → {critic}", plan.actor.agent.name)
}

fn show_plan(plan: &LoopPlan, config: &Config, context: &Context) -> CliResult {
    let party = |party: &Party| {
        let model = party.model.as_ref().map(|model| format!(" ({})", visible(model))).unwrap_or_default();
        format!("{}{model}", visible(&party.agent.name))
    };
    let limits = [
        Some(counted(plan.max_iterations.into(), "iteration")),
        plan.max_cost.map(cost),
        plan.max_time.map(|time| duration(time.as_secs_f64())),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if context.json {
        context.print_json(&serde_json::json!({
            "task": plan.task,
            "actor": plan.actor.agent.name,
            "actor_model": plan.actor.model,
            "critic": plan.critic.as_ref().map(|critic| &critic.agent.name),
            "critic_model": plan.critic.as_ref().and_then(|critic| critic.model.as_ref()),
            "max_iterations": plan.max_iterations,
            "max_cost_usd": plan.max_cost,
            "max_time_secs": plan.max_time.map(|time| time.as_secs_f64()),
            "fresh": plan.fresh,
            "permissions": plan.setup.permissions,
            "checks": plan.setup.checks,
            "working_dir": plan.setup.working_dir,
            "session_root": config.session_root.value,
        }))?;
        return Ok(0);
    }
    let mut rows = vec![
        ("actor", format!("{}, {}", party(&plan.actor), plan.setup.permissions)),
        (
            "critic",
            plan.critic
                .as_ref()
                .map_or_else(|| "none: the checks decide".into(), |it| format!("{}, read-only", party(it))),
        ),
        ("ends", format!("after {}", limits.join(", or "))),
        ("context", if plan.fresh { "a new one each iteration".into() } else { "the actor's goes on".into() }),
        ("in", visible(&plan.setup.working_dir.to_string_lossy()).into_owned()),
        ("kept in", visible(&config.session_root.value.to_string_lossy()).into_owned()),
    ];
    rows.extend(plan.setup.checks.iter().map(|check| ("check", visible(check).into_owned())));
    let text: String = rows.iter().map(|(name, value)| format!("{name:<8} {value}\n")).collect();
    context.print(format!("{text}\n{}\n", visible_lines(plan.task.trim_end())))?;
    Ok(0)
}

/// Tells how a loop came out. Also `resume`'s end.
pub(crate) fn tell(result: &LoopResult, context: &Context) -> CliResult {
    let paint = context.err_paint;
    asking::note_limits(&result.limited, None, context);
    let text = format!("{}\n", visible_lines(result.summary.trim_end()));
    let exit_code = context.print_result((&result.session_dir, result.exit_code), result, &text)?;
    if !result.iterations.is_empty() {
        let columns = [("#", 0), ("DECISION", 0), ("DURATION", 3), ("FILES", 2), ("TOKENS", 4), ("COST", 5)]
            .map(|(title, priority)| Column { title, priority });
        let rows: Vec<Vec<String>> = result
            .iterations
            .iter()
            .map(|it| {
                vec![
                    it.iteration.to_string(),
                    it.decision.to_string(),
                    duration(it.duration_secs),
                    it.files_changed.to_string(),
                    thousands(it.tokens.input.saturating_add(it.tokens.output)),
                    it.cost_usd.map(cost).unwrap_or_default(),
                ]
            })
            .collect();
        let style = |at: usize, whole: &str, cell: String| match (at, whole.parse()) {
            (1, Ok(Decision::Done)) => paint.good(&cell),
            (1, Ok(Decision::Continue)) => paint.warn(&cell),
            (1, Ok(Decision::Error)) => paint.bad(&cell),
            _ => cell,
        };
        context.say(table(&columns, rows, None, paint, style).trim_end());
    }
    let word = result.outcome.map_or("checkpointed", |outcome| outcome.as_str());
    let shown = match result.exit_code {
        0 => paint.good(word),
        2 => paint.bad(word),
        _ => paint.warn(word),
    };
    let iterations = counted(result.iterations.len() as u64, "iteration");
    let mut parts = vec![paint.bold(result.id.as_str()), shown, iterations, duration(result.duration_secs)];
    parts.extend(result.confidence.map(|confidence| format!("confidence {:.0} %", confidence * 100.0)));
    parts.extend(result.cost_usd.map(cost));
    context.say(parts.join(" · "));
    if result.outcome.is_none() {
        asking::say_checkpointed(&result.id, result.first_back.as_ref(), "--then", context);
    } else if matches!(result.exit_code, 129 | 130 | 143) {
        context.say(format!("go on with: decklog resume {}", result.id));
    }
    if !result.recorded {
        context.say(paint.bad("the record is incomplete: see above for what was not kept"));
    }
    Ok(exit_code)
}
