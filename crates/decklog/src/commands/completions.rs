//! `completions`: for a shell to read.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::CliResult;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "decklog", &mut text);
    context.print(text)?;
    Ok(0)
}
