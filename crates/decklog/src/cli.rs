//! The command line: every verb, its arguments, and what `--help` teaches.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    agents, blame, build, chat, clean, completions, config, demo, diff, discard, export, handoff, import, logs,
    looping, ls, mcp, network, race, restore, resume, run, search, shell, show, stats, trust, ui, verify, watch,
};
use crate::context::Context;
use crate::error::CliResult;

/// Runs coding agents and keeps the log.
///
/// Every session is a directory with a journal: what was asked, what each agent said and did, what it changed, what
/// it cost, and how it ended.
#[derive(Debug, Parser)]
#[command(name = "decklog", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  decklog demo                                a first look, with nothing installed
  decklog                                     the shell: ask agents, prompt by prompt
  decklog run claude \"Fix the failing test\"   record an agent at work
  decklog run --check \"cargo test\" codex \"…\"  and see whether it held
  decklog loop --check \"make test\" \"…\"      until a critic and the check agree
  decklog run -- make test                    record any command
  decklog ls                                  what ran, newest first
  decklog show @                              the newest session, turn by turn
  decklog diff @                              what it changed
  decklog search auth middleware              where that came up, ever
  decklog ui                                  all of it in the browser

A session is named by its id, any unique beginning or end of it, or @ (newest), @2, @3, …
Without a name, show, resume, diff, logs, watch, restore, export, network, verify and discard open a picker on a terminal.
Data goes to stdout, the story to stderr. Exit codes: 0 done, 1 a check, a critic or verification says no,
2 failed or bad usage, 75 rate-limited (try later), 129 hung up, 130 interrupted, 143 terminated.";

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where sessions are kept, instead of the configured place
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) session_root: Option<PathBuf>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

/// `--json`, of every reading verb.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A session, by id or by directory.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// A session's id, a unique part of it, or @ for the newest; without one, a terminal opens a picker
    pub(crate) id: Option<String>,
    /// A session directory, instead of an id
    #[arg(long, value_name = "DIR", conflicts_with = "id")]
    pub(crate) session_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run one agent on one prompt, or any command, and record it
    Run(run::Args),
    /// Ask agents prompt by prompt, in one session; `decklog` alone does so, too
    Shell(shell::Args),
    /// Let one agent work and another judge, until the work is right
    Loop(looping::Args),
    /// Let agents take turns on one task, until all of them agree
    Chat(chat::Args),
    /// Let agents race at one task, each in a worktree of its own, and pick one
    Race(race::Args),
    /// Serve the MCP servers of a container as one, and record every call
    Mcp(mcp::Args),
    /// Build an image of the configuration
    Build(build::Args),
    /// Go on with a session that was stopped, cut off or rate-limited, or is to be taken further
    Resume(resume::Args),
    /// Checkpoint a session, with a packet for the agent that is to go on
    Handoff(handoff::Args),
    /// List sessions, newest first
    Ls(ls::Args),
    /// Find the turns that hold a text
    Search(search::Args),
    /// Count sessions: rates, averages, sums, over time and by group
    Stats(stats::Args),
    /// Show a session: prompt, turns, tool calls, checks, changes, outcome
    Show(show::Args),
    /// List a session's logs and artifacts, or print one
    Logs(logs::Args),
    /// Show where a session's container connected
    Network(network::Args),
    /// Show what a session changed
    Diff(diff::Args),
    /// Follow a session as it happens
    Watch(watch::Args),
    /// Look at sessions in the browser
    Ui(ui::Args),
    /// Tell which session, turn and agent wrote each line of a file
    Blame(blame::Args),
    /// Bring back the tree as it stood after a turn
    Restore(restore::Args),
    /// Write sessions in another format, or in one archive
    Export(export::Args),
    /// Take over histories that agents and other tools wrote themselves
    Import(import::Args),
    /// Check that a record is what was written
    Verify(verify::Args),
    /// Remove sessions by name
    Discard(discard::Args),
    /// Remove old sessions
    Clean(clean::Args),
    /// List the agents decklog knows, and which are installed
    Agents(agents::Args),
    /// Print the configuration in force, and where each value came from
    Config(config::Args),
    /// Trust this repository's configuration as it stands
    Trust(trust::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// See decklog at work, with a scripted agent and nothing to install
    Demo(demo::Args),
    /// Connects an agent on stdin and stdout with the session's servers
    #[command(hide = true, name = "__mcp")]
    Bridge {
        /// The session's socket
        socket: PathBuf,
    },
    /// The scripted agent of `demo`, speaking ACP on stdin and stdout
    #[command(hide = true, name = "__demo-agent")]
    DemoAgent {
        /// Which part it plays
        #[arg(default_value = "scripted")]
        part: crate::demo_agent::Part,
    },
    /// The built-in agent: a request on stdin, what happens on stdout
    #[command(hide = true, name = "__builtin")]
    Builtin,
}

impl Verb {
    /// Whether the user asked for JSON; then errors are JSON too.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json.json,
            Self::Loop(args) => args.json.json,
            Self::Chat(args) => args.json.json,
            Self::Race(args) => args.json.json,
            Self::Resume(args) => args.json.json,
            Self::Handoff(args) => args.json.json,
            Self::Ls(args) => args.json.json,
            Self::Search(args) => args.json.json,
            Self::Stats(args) => args.json.json,
            Self::Show(args) => args.json.json,
            Self::Logs(args) => args.json.json,
            Self::Network(args) => args.json.json,
            Self::Diff(args) => args.json.json,
            Self::Blame(args) => args.json.json,
            Self::Restore(args) => args.json.json,
            Self::Export(args) => args.json.json,
            Self::Import(args) => args.json.json,
            Self::Verify(args) => args.json.json,
            Self::Discard(args) => args.json.json,
            Self::Clean(args) => args.json.json,
            Self::Agents(args) => args.json.json,
            Self::Config(args) => args.json.json,
            Self::Shell(_)
            | Self::Mcp(_)
            | Self::Build(_)
            | Self::Watch(_)
            | Self::Ui(_)
            | Self::Trust(_)
            | Self::Completions(_)
            | Self::Demo(_)
            | Self::Bridge { .. }
            | Self::DemoAgent { .. }
            | Self::Builtin => false,
        }
    }

    pub(crate) fn run(self, context: &Context) -> CliResult {
        match self {
            Self::Run(args) => run::run(args, context),
            Self::Shell(args) => shell::run(args, context),
            Self::Loop(args) => looping::run(args, context),
            Self::Chat(args) => chat::run(args, context),
            Self::Race(args) => race::run(args, context),
            Self::Mcp(args) => mcp::run(args, context),
            Self::Build(args) => build::run(&args, context),
            Self::Resume(args) => resume::run(args, context),
            Self::Handoff(args) => handoff::run(&args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Search(args) => search::run(args, context),
            Self::Stats(args) => stats::run(args, context),
            Self::Show(args) => show::run(args, context),
            Self::Logs(args) => logs::run(args, context),
            Self::Network(args) => network::run(&args, context),
            Self::Diff(args) => diff::run(args, context),
            Self::Watch(args) => watch::run(args, context),
            Self::Ui(args) => ui::run(&args, context),
            Self::Blame(args) => blame::run(&args, context),
            Self::Restore(args) => restore::run(args, context),
            Self::Export(args) => export::run(args, context),
            Self::Import(args) => import::run(args, context),
            Self::Verify(args) => verify::run(args, context),
            Self::Discard(args) => discard::run(args, context),
            Self::Clean(args) => clean::run(args, context),
            Self::Agents(args) => agents::run(&args, context),
            Self::Config(args) => config::run(&args, context),
            Self::Trust(args) => trust::run(&args, context),
            Self::Completions(args) => completions::run(&args, context),
            Self::Demo(args) => demo::run(&args, context),
            Self::Bridge { socket } => mcp::bridge(&socket),
            Self::DemoAgent { part } => crate::demo_agent::run(part),
            Self::Builtin => {
                let env = |name: &str| std::env::var_os(name);
                Ok(decklog_builtin::serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock(), &env))
            }
        }
    }
}
