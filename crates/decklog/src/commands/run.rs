//! `run`: one agent on one prompt, or any command, recorded.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use decklog_journal::SessionStore;
use decklog_journal::words::{Permissions, TurnOutcome};
use decklog_run::agents::{AgentDefinition, Protocol};
use decklog_run::orchestrate::{RunPlan, RunResult, run as record};
use decklog_run::supervise::Signals;
use decklog_text::format::{cost, counted, duration, thousands};
use decklog_text::visible_lines;

use crate::asking::{self, Relaying, from_file, from_stdin, parse_variable};
use crate::boxing::{self, Asked, Boxing};
use crate::cli::Json;
use crate::config::{Config, parse_duration};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::Paint;
use crate::story::Story;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  decklog run claude \"Fix the failing test\"
  decklog run --check \"cargo test\" --permissions full codex \"Make the build pass\"
  decklog run gemini --prompt-file task.md
  git diff | decklog run claude -
  decklog run claude --then codex,gemini \"Finish the migration\"
  decklog run -- cargo test

On stdout: the agent's final text. On stderr: what happens as it happens, and a summary.")]
pub(crate) struct Args {
    /// The agent (default: the configured one, else the first installed), and the prompt; - reads it from stdin
    #[arg(value_names = ["AGENT", "PROMPT"])]
    words: Vec<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// What the agent may do: look, edit the working directory, or anything
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    /// Run this command after the turn and record whether it passes; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    /// The model, in the agent's own spelling
    #[arg(long)]
    model: Option<String>,
    /// End the agent after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// End the agent when it has printed nothing for so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stall_timeout: Option<Duration>,
    /// Set a variable for the agent; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(OsString, OsString)>,
    #[command(flatten)]
    boxing: Boxing,
    #[command(flatten)]
    relaying: Relaying,
    /// Keep the record in this directory, with a link to it under the session root
    #[arg(long, value_name = "DIR")]
    session_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
    /// Any command, as the agent
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let env = asking::environment(&args.env, context);
    let (agent, prompt) = resolve(&args, &config, &env, context)?;
    execute(agent, prompt, args, &config, env, context).map(|result| result.exit_code)
}

/// Runs what has been resolved. Also `demo`'s way in.
fn execute(
    agent: AgentDefinition,
    prompt: String,
    args: Args,
    config: &Config,
    env: Vec<(OsString, OsString)>,
    context: &Context,
) -> Result<RunResult, CliError> {
    let is_text = agent.protocol == Protocol::Text;
    let party = asking::with_model(agent, args.model)?;
    let relay = args.relaying.resolve(config, args.boxing.programs(None, &env), context)?;
    let mut setup = asking::setup(args.permissions, args.check, args.session_dir, env, config, context)?;
    setup.timeout = args.timeout.or(setup.timeout);
    // A command knows of no tools but the machine's: the default image is not for it.
    let has_box = !is_text || args.boxing.boxed || args.boxing.image.is_some();
    let asked = Asked::new([&party], &relay, (&setup.env, &args.env));
    let sandbox = if has_box { args.boxing.resolve(&asked, config, context)? } else { None };
    if sandbox.as_ref().is_some_and(|plan| plan.boxed.is_none()) {
        boxing::takes_tools(&party.agent)?;
    }
    boxing::put(&mut setup, sandbox);
    setup.stall_timeout = args.stall_timeout.or(setup.stall_timeout);
    let plan = RunPlan { party, prompt, relay, setup };
    record_plan(&plan, &SessionStore::open(&config.session_root.value), is_text, context)
}

/// Runs `plan`, telling its story.
pub(crate) fn record_plan(
    plan: &RunPlan,
    store: &SessionStore,
    is_text: bool,
    context: &Context,
) -> Result<RunResult, CliError> {
    let signals = Signals::install()?;
    let mut story = Story::new(&plan.party.agent.name, is_text && !context.json, context);
    let result = record(store, plan, &signals, &mut story)?;
    story.finish();
    let exit_code = tell(&result, is_text, context)?;
    Ok(RunResult { exit_code, ..result })
}

/// Tells how a run came out. Also `resume`'s end.
pub(crate) fn tell(result: &RunResult, is_text: bool, context: &Context) -> CliResult {
    let well = (result.turn_outcome == TurnOutcome::Success).then_some(result.agent.as_str());
    asking::note_limits(&result.limited, well, context);
    let text = if is_text || result.text.is_empty() { String::new() } else { as_answer(&result.text, context) };
    let exit_code = context.print_result((&result.session_dir, result.exit_code), result, &text)?;
    summary(result, context);
    Ok(exit_code)
}

/// Prints what an agent said in the end.
pub(crate) fn answer(text: &str, context: &Context) -> Result<(), CliError> {
    context.print(as_answer(text, context))
}

fn as_answer(text: &str, context: &Context) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let text = if context.out_is_terminal { visible_lines(text) } else { text.into() };
    format!("{text}{end}")
}

fn summary(result: &RunResult, context: &Context) {
    let paint = context.err_paint;
    if let Some(error) = &result.error {
        context.say(format!("{} {}", paint.bad("agent:"), visible_lines(error)));
    }
    context.say(totals(result, paint));
    if result.outcome.is_none() {
        asking::say_checkpointed(&result.id, result.first_back.as_ref(), "--agent", context);
    }
    if !result.recorded {
        context.say(paint.bad("the record is incomplete: see above for what was not kept"));
    }
}

fn totals(result: &RunResult, paint: Paint) -> String {
    let word = result.outcome.map_or("checkpointed", |outcome| outcome.as_str());
    let detail = match result.turn_outcome.as_str() {
        turn if turn == word || result.outcome.is_none() && turn == "rate_limited" => String::new(),
        "success" if result.checks.iter().any(|check| !check.passed) => " (check failed)".to_owned(),
        "success" => " (not recorded whole)".to_owned(),
        turn => format!(" ({})", turn.replace('_', " ")),
    };
    let outcome = match word {
        "success" => paint.good(word),
        "failed" => paint.bad(&format!("{word}{detail}")),
        _ => paint.warn(&format!("{word}{detail}")),
    };
    let mut parts = vec![paint.bold(result.id.as_str()), outcome];
    // decklog's own exit code is 2 for every failure.
    if result.turn_outcome == TurnOutcome::Failed {
        parts.extend(result.agent_exit_code.map(|code| format!("exit code {code}")));
        parts.extend(result.agent_signal.map(|signal| format!("signal {signal}")));
    }
    parts.push(duration(result.duration_secs));
    match result.files_changed {
        None => parts.push("changes unknown".into()),
        Some(0) => {}
        Some(files) => parts.push(format!(
            "{} changed (+{} -{})",
            counted(files, "file"),
            result.lines_added,
            result.lines_removed
        )),
    }
    if !result.tokens.is_zero() {
        let tokens = result.tokens;
        let cached = if tokens.cached_input > 0 {
            format!(" ({} cached)", thousands(tokens.cached_input))
        } else {
            String::new()
        };
        parts.push(format!("{} tokens in{cached}, {} out", thousands(tokens.input), thousands(tokens.output)));
    }
    parts.extend(result.cost_usd.map(cost));
    parts.join(" · ")
}

/// Who is asked what.
fn resolve(
    args: &Args,
    config: &Config,
    env: &[(OsString, OsString)],
    context: &Context,
) -> Result<(AgentDefinition, String), CliError> {
    if !args.command.is_empty() {
        if !args.words.is_empty() || args.prompt_file.is_some() {
            return Err(CliError::new("a command after -- is the agent: no agent or prompt goes with it"));
        }
        if args.model.is_some() || args.permissions.is_some() {
            return Err(CliError::new("a command after -- runs as it is: --model and --permissions are for agents"));
        }
        let words: Vec<_> = args.command.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        return Ok((AgentDefinition::command(args.command.clone()), words.join(" ")));
    }
    let known = |name: &str| config.agent(name).is_some();
    let (agent, prompt) = match (args.words.as_slice(), &args.prompt_file) {
        ([], Some(file)) => (None, from_file(file, context)?),
        ([agent], Some(file)) => (Some(agent.as_str()), from_file(file, context)?),
        (_, Some(_)) => {
            return Err(CliError::new("give the prompt as an argument or with --prompt-file, not both"));
        }
        ([], None) if !context.in_is_terminal => (None, from_stdin()?),
        ([], None) => {
            return Err(CliError::new("what is the agent to do?")
                .hint("decklog run claude \"Fix the failing test\"; see decklog run --help"));
        }
        ([word], None) if word == "-" => (None, from_stdin()?),
        ([word], None) if known(word) && !context.in_is_terminal => (Some(word.as_str()), from_stdin()?),
        ([word], None) if known(word) => {
            return Err(CliError::new(format!("what is {word} to do?"))
                .hint(format!("decklog run {word} \"Fix the failing test\"")));
        }
        ([prompt], None) => (None, prompt.clone()),
        ([agent, dash], None) if dash == "-" => (Some(agent.as_str()), from_stdin()?),
        ([agent, prompt], None) => (Some(agent.as_str()), prompt.clone()),
        _ => {
            return Err(CliError::new("too many words: put the prompt in quotes")
                .hint("decklog run claude \"Fix the failing test\""));
        }
    };
    if prompt.trim().is_empty() {
        return Err(CliError::new("the prompt is empty").hint("give it in quotes, with --prompt-file, or on stdin"));
    }
    Ok((asking::agent(agent, config, args.boxing.programs(None, env))?, prompt))
}

/// A word as it could be typed.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Writes to stdout, until nobody reads any more.
pub(crate) fn pass_on(bytes: &[u8], is_terminal: bool, open: &mut bool) {
    if !*open {
        return;
    }
    let mut out = std::io::stdout().lock();
    let written = if is_terminal {
        out.write_all(visible_lines(&String::from_utf8_lossy(bytes)).as_bytes())
    } else {
        out.write_all(bytes)
    };
    *open = written.and_then(|()| out.flush()).is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_as_typed() {
        for (word, typed) in [("make", "make"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")] {
            assert_eq!(quoted(word), typed);
        }
    }
}
