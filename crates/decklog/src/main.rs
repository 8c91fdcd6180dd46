//! The `decklog` program. Only this crate has a command line, a terminal, an environment and exit codes.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

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
mod terminal;
mod way_back;

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
    if first == decklog_run::sandbox::WATCH_ARGUMENT {
        std::process::exit(decklog_run::sandbox::watch_main(arguments));
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
                let paint = context::paint(ColorChoice::Never, &std::io::stderr());
                error::CliError::new(message).hint("see decklog --help").report(true, paint);
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
            error.report(json, context::paint(color, &std::io::stderr()));
            error.exit_code
        }
    }
}
