//! `race`: several agents at the same task at the same time, and one of them is picked.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use decklog_journal::words::{Permissions, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use decklog_run::orchestrate::{Party, Pick, RaceError, RacePlan, RaceResult, Racer, Sweeping, labels, race, sweep};
use decklog_run::supervise::Signals;
use decklog_text::format::{cost, duration, thousands};
use decklog_text::{visible, visible_lines};

use crate::asking::{self, Programs, parse_variable};
use crate::boxing;
use crate::cli::{Cli, Json};
use crate::config::{Config, parse_duration};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::race_story::RaceStory;
use crate::render::table::{Column, table};
use crate::terminal;
use crate::way_back;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each agent works in a git worktree of its own that begins where your working tree stands, uncommitted and untracked work included.
Your tree is not touched before one is picked; then its change is applied with `git apply --3way`. Every racer's patch stays in
the record. What a worktree lacks (ignored files, such as dependencies) a command can bring: `[race] setup = \"npm ci\"`.
Racers work on this machine, without a container, also where default-image is set.

--pick NAME picks that racer; best, who passes the checks, then whom the judge prefers, then who changed least; ask, whom you say
(the default on a terminal); none, nobody (the default elsewhere).

Examples:
  decklog race claude codex gemini --check \"cargo test\" \"Make the build pass\"
  decklog race claude:opus claude:sonnet --pick best --judge codex \"Simplify the parser\"
  decklog race claude claude --pick none --keep \"Try it twice\"

Exit codes: 0 done, 1 the pick left conflicts or could not bring every file, or with --pick best nobody who passed changed anything,
2 failed, or nobody came through (to the end, and through the checks), 75 all rate-limited, 130 interrupted.")]
pub(crate) struct Args {
    /// Who races, as claude or claude:MODEL (two or more, the same one twice if you like), and the task last; - reads the
    /// task from stdin
    #[arg(required = true, value_names = ["AGENT", "TASK"])]
    words: Vec<String>,
    /// Read the task from a file
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Run this command in each worktree in the end: who passes comes first; repeatable
    #[arg(long, value_name = "CMD")]
    check: Vec<String>,
    /// Who is picked
    #[arg(long, value_name = "NAME|best|ask|none")]
    pick: Option<String>,
    /// Who judges those that pass the checks; implies --pick best
    #[arg(long, value_name = "AGENT")]
    judge: Option<String>,
    /// Leave the worktrees where they are
    #[arg(long)]
    keep: bool,
    /// What the agents may do: look, edit the working directory, or anything
    #[arg(long, value_name = "read-only|edit|full")]
    permissions: Option<Permissions>,
    /// End an agent after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// End an agent when it has printed nothing for so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stall_timeout: Option<Duration>,
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
    boxing::say_on_the_host("racers work", &config, context);
    let store = SessionStore::open(&config.session_root.value);
    let signals = Signals::install()?;
    let names = labels(&plan.racers);
    let story = RefCell::new(RaceStory::new(&names, context));
    let mut choose = |racers: &[Racer]| {
        story.borrow_mut().finish();
        let session = story.borrow().session().cloned();
        show(racers, context);
        choose(racers, session.as_ref(), &store, &signals, context)
    };
    let mut looking = Looking(&story);
    let result = race(&store, &plan, &signals, &mut looking, &mut choose).map_err(|error| match error {
        RaceError::NoRepository => CliError::new(error).hint("git init && git add -A && git commit -m 'a beginning'"),
        error => CliError::new(error),
    })?;
    story.borrow_mut().finish();
    if plan.pick != Pick::Ask || result.racers.iter().all(|racer| racer.turn.is_none()) {
        show(&result.racers, context);
    }
    let exit_code = tell(&result, context)?;
    if let Some(incomplete) = &result.incomplete {
        way_back::offer(incomplete, &store, &plan.setup.working_dir, &signals, context);
    }
    Ok(exit_code)
}

/// Lets both the race and who picks look at one story.
struct Looking<'a>(&'a RefCell<RaceStory>);

impl decklog_run::observe::Observer for Looking<'_> {
    fn started(&mut self, id: &SessionId, dir: &std::path::Path) {
        self.0.borrow_mut().started(id, dir);
    }

    fn checking(&mut self, command: &str) {
        self.0.borrow_mut().checking(command);
    }

    fn event(&mut self, event: &decklog_journal::Event) {
        self.0.borrow_mut().event(event);
    }

    fn trouble(&mut self, what: &str) {
        self.0.borrow_mut().trouble(what);
    }

    fn idle(&mut self) {
        self.0.borrow_mut().idle();
    }
}

/// Clears away what races that were cut off have left. Also `clean`'s.
pub(crate) fn clear_away(context: &Context) -> Result<(), CliError> {
    let worktrees = worktrees(context)?;
    if !worktrees.exists() {
        return Ok(());
    }
    // What of it is refused is told by who needs it.
    let config = Config::load(&context.places()?)?;
    let configured: Vec<_> = config.agents.iter().flat_map(|agent| agent.value.env.clone()).collect();
    let env = context.environment();
    let secrets = config.models.variables();
    let sweeping = Sweeping { env: &env, secrets: &secrets, configured: &configured, clock: &context.clock };
    for swept in sweep(&worktrees, sweeping) {
        let id = &swept.session;
        for patch in &swept.patches {
            context.say(format!("{id} was cut off: what a racer had changed is in its {patch}"));
        }
        for path in &swept.kept {
            context.say(format!("kept, as it holds more than the record: {}", path.display()));
        }
        match swept.trouble {
            Some(why) => context.warn(&format!("worktrees of {id} are still there: {why}")),
            None if swept.kept.is_empty() => {
                context.say(format!("removed the worktrees of {id}, a race that was cut off"));
            }
            None => {}
        }
    }
    Ok(())
}

fn worktrees(context: &Context) -> Result<PathBuf, CliError> {
    Ok(context.state()?.join("worktrees"))
}

fn resolve(mut args: Args, config: &Config, context: &Context) -> Result<RacePlan, CliError> {
    let env = asking::environment(&args.env, context);
    let task = asking::task_last(&mut args.words, args.prompt_file.as_deref(), "race", config, context)?;
    let racers: Vec<Party> =
        args.words.iter().map(|name| asking::party(name, config, Programs::Here(&env))).collect::<Result<_, _>>()?;
    if racers.len() < 2 {
        return Err(CliError::new("a race needs two agents or more, which may be the same one twice")
            .hint("decklog race claude codex \"Make the build pass\""));
    }
    let names = labels(&racers);
    let pick = match args.pick.as_deref() {
        None if args.judge.is_some() => Pick::Best,
        None if context.in_is_terminal && context.err_is_terminal && !context.json => Pick::Ask,
        None | Some("none") => Pick::None,
        Some("best") => Pick::Best,
        Some("ask") if context.in_is_terminal && context.err_is_terminal => Pick::Ask,
        Some("ask") => return Err(CliError::new("nobody is there to be asked").hint("--pick best, or none")),
        Some(name) => match names.iter().position(|known| known == name) {
            Some(at) => Pick::Racer(at),
            None => {
                return Err(CliError::new(format!("{name:?} does not race: {} do", names.join(", "))));
            }
        },
    };
    if args.judge.is_some() && pick != Pick::Best {
        return Err(CliError::new("a judge decides who is best: --judge goes with --pick best"));
    }
    let judge = args.judge.as_deref().map(|name| asking::party(name, config, Programs::Here(&env))).transpose()?;
    let mut setup = asking::setup(args.permissions, args.check, args.session_dir, env, config, context)?;
    setup.timeout = args.timeout.or(setup.timeout);
    setup.stall_timeout = args.stall_timeout.or(setup.stall_timeout);
    let prepare = config.race_setup.as_ref().map(|set| set.value.clone());
    Ok(RacePlan { task, racers, prepare, judge, pick, keep: args.keep, worktrees: worktrees(context)?, setup })
}

/// How a racer's checks came out, in a word.
fn checked(racer: &Racer) -> &'static str {
    match (racer.checks.is_empty(), racer.checks.iter().all(|check| check.passed)) {
        (true, _) => "-",
        (false, true) => "passed",
        (false, false) => "failed",
    }
}

/// Shows what came out.
fn show(racers: &[Racer], context: &Context) {
    let columns = [
        ("#", 0),
        ("RACER", 0),
        ("OUTCOME", 0),
        ("CHECK", 1),
        ("DURATION", 3),
        ("TOKENS", 5),
        ("COST", 4),
        ("FILES", 2),
        ("LINES", 1),
    ]
    .map(|(title, priority)| Column { title, priority });
    let row = |(at, racer): (u32, &Racer)| {
        vec![
            at.to_string(),
            visible(&racer.name).into_owned(),
            racer.outcome.map_or("not begun", TurnOutcome::as_str).to_owned(),
            checked(racer).to_owned(),
            duration(racer.duration_secs),
            thousands(racer.tokens.input.saturating_add(racer.tokens.output)),
            racer.cost_usd.map(cost).unwrap_or_default(),
            racer.files_changed.to_string(),
            format!("+{} -{}", racer.lines_added, racer.lines_removed),
        ]
    };
    let rows: Vec<Vec<String>> = (1..).zip(racers).map(row).collect();
    let paint = context.err_paint;
    let shown = table(&columns, rows, context.err_width(), paint, |at, whole, cell| match (at, whole) {
        (2, "success") | (3, "passed") => paint.good(&cell),
        (2, _) | (3, "failed") => paint.bad(&cell),
        _ => cell,
    });
    context.say(shown.trim_end());
    for racer in racers {
        if let Some(error) = &racer.error {
            context.say(format!("{} {}", paint.bad(&format!("{}:", visible(&racer.name))), visible_lines(error)));
        }
    }
}

/// Asks the user which one is to be applied.
fn choose(
    racers: &[Racer],
    session: Option<&SessionId>,
    store: &SessionStore,
    signals: &Signals,
    context: &Context,
) -> Option<usize> {
    if racers.iter().all(|racer| racer.files_changed == 0) {
        return None;
    }
    // What was typed while they raced was not meant for this.
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
    loop {
        let _ = write!(std::io::stderr().lock(), "which one? [1-{}, d1 shows its diff, Enter: none] ", racers.len());
        let line = terminal::read_line(signals)?;
        let line = line.trim();
        let (shows, number) = line.strip_prefix('d').map_or((false, line), |number| (true, number.trim()));
        let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).filter(|at| *at < racers.len());
        let named = racers.iter().position(|racer| racer.name == number);
        match (at.or(named), shows) {
            _ if line.is_empty() => return None,
            (Some(at), true) => show_diff(racers[at].turn, session, store, context),
            (Some(at), false) => return Some(at),
            (None, _) => context.say("write the number of one, or its name"),
        }
    }
}

fn show_diff(turn: Option<u32>, session: Option<&SessionId>, store: &SessionStore, context: &Context) {
    let (Some(turn), Some(session)) = (turn, session) else { return context.say("it has no turn") };
    let (session, turn) = (session.to_string(), turn.to_string());
    let mut words: Vec<OsString> = vec!["decklog".into(), "--session-root".into(), store.root().into()];
    words.extend(["diff", &session, "--turn", &turn].map(Into::into));
    let shown = Cli::try_parse_from(words).map_err(CliError::new).and_then(|cli| match cli.verb {
        Some(verb) => verb.run(context),
        None => Ok(0),
    });
    if let Err(error) = shown {
        context.warn(&error.message);
    }
}

fn tell(result: &RaceResult, context: &Context) -> CliResult {
    let paint = context.err_paint;
    asking::note_limits(&result.limited, None, context);
    let text = format!("{}\n", visible_lines(&result.summary));
    let exit_code = context.print_result((&result.session_dir, result.exit_code), result, &text)?;
    if let Some(why) = &result.judged {
        context.say(format!("the judge prefers {}", visible(why)));
    }
    for path in &result.conflicts {
        context.say(paint.warn(&format!("in conflict: {} (look for <<<<<<<)", visible(path))));
    }
    for file in &result.left {
        let what = format!("not brought: {}: {}", visible(&file.path), visible(&file.reason));
        context.say(paint.warn(&what));
    }
    for racer in &result.racers {
        if let Some(worktree) = &racer.worktree {
            context.say(format!("kept: {} in {}", visible(&racer.name), worktree.display()));
            for file in &racer.withheld {
                let what = format!("  {} is not in the record: {}", visible(&file.path), visible(&file.reason));
                context.say(paint.warn(&what));
            }
        }
    }
    let word = result.outcome.map_or("checkpointed", |outcome| outcome.as_str());
    let shown = match result.exit_code {
        0 => paint.good(word),
        2 => paint.bad(word),
        _ => paint.warn(word),
    };
    context.say([paint.bold(result.id.as_str()), shown, duration(result.duration_secs)].join(" · "));
    if result.picked.is_none() && result.racers.iter().any(|racer| racer.files_changed > 0) {
        context.say(format!("take one with: decklog diff {} --turn N | git apply --3way", result.id));
    }
    if !result.recorded {
        context.say(paint.bad("the record is incomplete: see above for what was not kept"));
    }
    Ok(exit_code)
}
