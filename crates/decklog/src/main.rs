//! The `decklog` program. Only this crate has a command line, a terminal, an environment and exit codes.

mod asking;
mod boxing;
mod cli;
mod commands;
mod config;
mod context;
mod demo_agent;
mod error;
mod filters;
mod ledger;
mod listing;
mod picker;
mod race_story;
mod render;
mod shell;
mod story;
mod strays;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::cli::ColorChoice;

fn main() {
    let mut arguments = std::env::args_os();
    let first = arguments.nth(1).unwrap_or_default();
    if first == decklog_run::supervise::REAPER_ARGUMENT {
        std::process::exit(decklog_run::supervise::reaper_main(arguments));
    }
    if first == decklog_run::sandbox::NETWORK_ARGUMENT {
        // Before there is a second thread: whoever has one may not enter another user namespace.
        std::process::exit(decklog_run::sandbox::network_main(arguments));
    }
    std::process::exit(run());
}

fn run() -> i32 {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let wants_json = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
            if wants_json && !asked {
                let text = error.to_string();
                let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
                report(&error::CliError::new(message).hint("see decklog --help"), true, ColorChoice::Never);
            } else {
                let _ = error.print();
            }
            return if asked { 0 } else { 2 };
        }
    };
    let (json, color) = (cli.verb.as_ref().is_some_and(cli::Verb::json), cli.global.color);
    let result = context::Context::new(&cli.global, json).and_then(|context| match cli.verb {
        Some(verb) => verb.run(&context),
        None if context.in_is_terminal && context.err_is_terminal => {
            commands::shell::run(commands::shell::Args::default(), &context)
        }
        None => {
            context.say(cli::Cli::command().render_help().to_string());
            Ok(2)
        }
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            report(&error, json, color);
            error.exit_code
        }
    }
}

fn report(error: &error::CliError, json: bool, color: ColorChoice) {
    use std::io::Write;
    if error.message.is_empty() {
        return;
    }
    let mut err = std::io::stderr().lock();
    if json {
        let value = serde_json::json!({ "error": error.message, "hint": error.hint });
        let _ = writeln!(err, "{value}");
        return;
    }
    let paint = context::paint(color, &err);
    let _ = writeln!(err, "{} {}", paint.bad("error:"), decklog_text::visible_lines(&error.message));
    if let Some(hint) = &error.hint {
        let _ = writeln!(err, "{} {}", paint.dim(" hint:"), decklog_text::visible_lines(hint));
    }
}
