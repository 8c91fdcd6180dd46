//! The `decklog` program. Only this crate has a command line, a terminal, an environment and exit codes.

mod cli;
mod commands;
mod config;
mod context;
mod demo_agent;
mod error;
mod render;
mod story;

use clap::Parser;
use clap::error::ErrorKind;

fn main() {
    let mut arguments = std::env::args_os();
    let is_reaper = arguments.nth(1).is_some_and(|first| first == decklog_run::supervise::REAPER_ARGUMENT);
    if is_reaper {
        std::process::exit(decklog_run::supervise::reaper_main(arguments));
    }
    std::process::exit(run());
}

fn run() -> i32 {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if asked { 0 } else { 2 };
        }
    };
    let json = cli.verb.json();
    let result = context::Context::new(&cli.global, json).and_then(|context| cli.verb.run(&context));
    match result {
        Ok(code) => code,
        Err(error) => {
            report(&error, json);
            error.exit_code
        }
    }
}

fn report(error: &error::CliError, json: bool) {
    use std::io::{IsTerminal, Write};
    let mut err = std::io::stderr().lock();
    if json {
        let value = serde_json::json!({ "error": error.message, "hint": error.hint });
        let _ = writeln!(err, "{value}");
        return;
    }
    let paint = render::Paint(err.is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let _ = writeln!(err, "{} {}", paint.bad("error:"), render::visible_lines(&error.message));
    if let Some(hint) = &error.hint {
        let _ = writeln!(err, "{} {}", paint.dim(" hint:"), render::visible_lines(hint));
    }
}
