//! `chat`: agents take turns on one task until all of them agree.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use decklog_journal::SessionStore;
use decklog_journal::words::Permissions;
use decklog_run::orchestrate::{ChatPlan, ChatResult, Party, chat};
use decklog_run::supervise::Signals;
use decklog_text::format::{cost, counted, duration, thousands};
use decklog_text::visible_lines;

use crate::asking::{self, Relaying, parse_dollars, parse_variable};
use crate::boxing::{self, Asked, Boxing};
use crate::cli::Json;
use crate::config::{Config, parse_duration};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::story::Story;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each agent keeps its own conversation. In its turn it is told what the others said and changed since its last one, and does its
part. It ends with AGREED, or NOT AGREED and what remains. The chat is over when all agree to the same state of the files and
the checks pass, or a limit is reached.

Examples:
  decklog chat claude codex \"Design and write the cache\"
  decklog chat claude:opus claude:sonnet gemini -n 6 --check \"cargo test\" \"Make it faster\"
  decklog chat claude codex - <task.md

On stdout: why it ended. On stderr: what is said and done. Exit codes: 0 all agree, 1 a limit was reached first, 2 failed,
75 rate-limited, 130 interrupted; `decklog resume` goes on with any of them.")]
pub(crate) struct Args {
    /// Who speaks, in order, as claude or claude:MODEL (two or more), and the task last; - reads the task from stdin
    #[arg(required = true, value_names = ["AGENT", "TASK"])]
    words: Vec<String>,
    /// Read the task from a file
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The most turns
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    max_turns: u32,
    /// End once so many US dollars are spent, as far as the agents tell
    #[arg(long, value_name = "USD", value_parser = parse_dollars)]
    max_cost: Option<f64>,
    /// End after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_time: Option<Duration>,
    /// Run this command once all agree: it must pass; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    /// What the agents may do: look, edit the working directory, or anything
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    /// End an agent when it has printed nothing for so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stall_timeout: Option<Duration>,
    #[command(flatten)]
    boxing: Boxing,
    #[command(flatten)]
    relaying: Relaying,
    /// Set a variable for the agents; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(OsString, OsString)>,
    /// Keep the record in this directory, with a link to it under the session root
    #[arg(long, value_name = "DIR")]
    session_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let plan = resolve(args, &config, context)?;
    let store = SessionStore::open(&config.session_root.value);
    let signals = Signals::install()?;
    let mut story = Story::new(&names(&plan), false, context).in_full(context);
    let result = chat(&store, &plan, &signals, &mut story)?;
    story.finish();
    tell(&result, context)
}

fn resolve(mut args: Args, config: &Config, context: &Context) -> Result<ChatPlan, CliError> {
    let env = asking::environment(&args.env, context);
    let task = asking::task_last(&mut args.words, args.prompt_file.as_deref(), "chat", config, context)?;
    let programs = args.boxing.programs(None, &env);
    let speakers: Vec<Party> =
        args.words.iter().map(|name| asking::party(name, config, programs)).collect::<Result<_, _>>()?;
    if speakers.len() < 2 {
        return Err(CliError::new("a chat needs two agents or more")
            .hint("decklog chat claude codex \"Design and write the cache\""));
    }
    let relay = args.relaying.resolve(config, programs, context)?;
    let mut setup = asking::setup(args.permissions, args.check, args.session_dir, env, config, context)?;
    let asked = Asked::new(&speakers, &relay, (&setup.env, &args.env));
    let sandbox = args.boxing.resolve(&asked, config, context)?;
    boxing::put(&mut setup, sandbox);
    setup.stall_timeout = args.stall_timeout.or(setup.stall_timeout);
    let (max_turns, max_cost, max_time) = (args.max_turns, args.max_cost, args.max_time);
    Ok(ChatPlan { task, speakers, max_turns, max_cost, max_time, relay, setup })
}

/// Who speaks.
pub(crate) fn names(plan: &ChatPlan) -> String {
    plan.speakers.iter().map(Party::label).collect::<Vec<_>>().join(" ↔ ")
}

/// Tells how a chat came out. Also `resume`'s end.
pub(crate) fn tell(result: &ChatResult, context: &Context) -> CliResult {
    let paint = context.err_paint;
    asking::note_limits(&result.limited, None, context);
    let text = format!("{}\n", visible_lines(result.summary.trim_end()));
    let exit_code = context.print_result((&result.session_dir, result.exit_code), result, &text)?;
    let word = result.outcome.map_or("checkpointed", |outcome| outcome.as_str());
    let shown = match result.exit_code {
        0 => paint.good(word),
        2 => paint.bad(word),
        _ => paint.warn(word),
    };
    let turns = counted(result.turns.len() as u64, "turn");
    let mut parts = vec![paint.bold(result.id.as_str()), shown, turns, duration(result.duration_secs)];
    if !result.tokens.is_zero() {
        let (read, written) = (thousands(result.tokens.input), thousands(result.tokens.output));
        parts.push(format!("{read} tokens in, {written} out"));
    }
    parts.extend(result.cost_usd.map(cost));
    context.say(parts.join(" · "));
    if result.outcome.is_none() {
        asking::say_checkpointed(&result.id, result.first_back.as_ref(), "--then", context);
    } else if result.exit_code != 0 {
        context.say(format!("go on with: decklog resume {}", result.id));
    }
    if !result.recorded {
        context.say(paint.bad("the record is incomplete: see above for what was not kept"));
    }
    Ok(exit_code)
}
