//! `demo`: decklog at work, with no account, no network, and nothing installed but git.

use std::path::{Path, PathBuf};
use std::process::Command;

use decklog_snapshot::unbind_repository;
use decklog_text::visible;

use crate::context::{Context, find_program};
use crate::demo_agent;
use crate::error::{CliError, CliResult};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show an actor and a critic, until the work is right
    #[arg(long = "loop")]
    of_loop: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    if find_program("git".as_ref(), &context.environment()).is_none() {
        return Err(CliError::new("git is not installed").hint("install it, for example: apt-get install git"));
    }
    // A name that nobody can guess, for its owner alone: what is in it is run.
    let base = tempfile::Builder::new().prefix("decklog-demo-").tempdir()?.keep();
    let (repository, root) = (base.join("hello"), base.join("sessions"));
    make_repository(&repository)?;
    let exe = std::env::current_exe()?;
    // An agent of the configuration like any other: what follows is what a user would type.
    let config = base.join("config/decklog");
    std::fs::create_dir_all(&config)?;
    let quoted = toml::Value::String(exe.to_string_lossy().into_owned());
    let agents = ["scripted", "hasty", "critic"].map(|name| {
        format!("[agents.{name}]\ncommand = [{quoted}, \"__demo-agent\", \"{name}\"]\nprotocol = \"acp\"\n")
    });
    std::fs::write(config.join("config.toml"), agents.concat())?;

    if args.of_loop {
        context.say("A small repository with a bug, an agent to mend it, and another to judge what it did.");
    } else {
        context.say("A small repository with a bug, and an agent to mend it.");
    }
    context.say("Agents are scripted here: real processes that speak ACP, with no model behind them.\n");
    let demo = Demo { exe, repository, root, config: base.join("config"), context };
    let check = "test \"$(sh greet.sh Ada)\" = \"Hello, Ada!\"";
    let task = "greet.sh greets nobody. Fix it.";
    let code = if args.of_loop {
        demo.step(&["loop", "--actor", "hasty", "--critic", "critic", "--check", check, task])?
    } else {
        demo.step(&["run", "--check", check, "scripted", task])?
    };
    if code != 0 {
        return Err(CliError::new(format!("the demo failed with exit code {code}")));
    }
    demo.step(&["ls"])?;
    demo.step(&["show", "@"])?;
    demo.step(&["diff", "@"])?;
    let root = format!("--session-root {}", demo.root.display());
    context.say("Try next:");
    let program = std::env::args_os().next().unwrap_or_else(|| "decklog".into());
    let program = visible(&program.to_string_lossy()).into_owned();
    for (arguments, what) in [
        (format!("{root} logs @"), "what lies beside the journal"),
        (format!("{root} show @ --json"), "the same for programs"),
        (format!("{root} verify @"), "every line is vouched for"),
        ("agents".to_owned(), "which agents are installed here"),
        ("run \"Fix the failing test\"".to_owned(), "the real thing, in a repository of yours"),
    ] {
        context.say(format!("  {what}:\n    {program} {arguments}"));
    }
    context.say(format!("\nAll of the demo is in {}; remove it when you like.", base.display()));
    Ok(0)
}

struct Demo<'a> {
    exe: PathBuf,
    repository: PathBuf,
    root: PathBuf,
    config: PathBuf,
    context: &'a Context,
}

impl Demo<'_> {
    fn step(&self, arguments: &[&str]) -> Result<i32, CliError> {
        let shown: Vec<String> = arguments
            .iter()
            .map(|word| if word.contains([' ', '$']) { format!("'{word}'") } else { (*word).to_owned() })
            .collect();
        self.context.say(self.context.err_paint.bold(&format!("$ decklog {}", shown.join(" "))));
        let status = Command::new(&self.exe)
            .arg("--session-root")
            .arg(&self.root)
            .args(arguments)
            .current_dir(&self.repository)
            .env("XDG_CONFIG_HOME", &self.config)
            .env("DECKLOG_PAGER", "cat")
            .status()?;
        self.context.say("");
        Ok(status.code().unwrap_or(2))
    }
}

fn make_repository(path: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(path)?;
    std::fs::write(path.join(demo_agent::FILE), demo_agent::BROKEN)?;
    for arguments in [
        ["init", "--quiet", "--initial-branch=main", "."].as_slice(),
        &["add", "."],
        &["-c", "user.name=demo", "-c", "user.email=demo@example.invalid", "commit", "--quiet", "-m", "A greeting"],
    ] {
        // The repository is the demo's own, whatever repository the caller's environment names.
        let mut env: Vec<_> = std::env::vars_os().collect();
        unbind_repository(&mut env);
        let output = Command::new("git").args(arguments).current_dir(path).env_clear().envs(env).output()?;
        if !output.status.success() {
            return Err(CliError::new(format!(
                "git {}: {}",
                arguments[0],
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
    }
    Ok(())
}
