//! `trust`: lets this repository's configuration, as it stands, do what it says.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use decklog_text::{visible, visible_lines};

use crate::config::{REPOSITORY_FILE, trust_line};
use crate::context::Context;
use crate::error::{CliError, CliResult};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let places = context.places()?;
    let Some(repository) = &places.repository else {
        return Err(CliError::new("this is no repository: there is nothing to trust"));
    };
    let path = repository.join(REPOSITORY_FILE);
    if path.symlink_metadata().is_err() {
        return Err(CliError::new(format!("this repository has no {REPOSITORY_FILE}: there is nothing to trust")));
    }
    let bytes = decklog_journal::files::read_limited(&path, 1024 * 1024)
        .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let line = trust_line(&path, &bytes);
    let known = std::fs::read_to_string(&places.trusted).unwrap_or_default();
    if known.lines().any(|known| known == line) {
        context.say(format!("{} is trusted already", visible(&path.to_string_lossy())));
        return Ok(0);
    }
    context.say(format!(
        "{}:\n\n{}",
        visible(&path.to_string_lossy()),
        visible_lines(&String::from_utf8_lossy(&bytes))
    ));
    if !context.confirm("Let it run commands and point outside the repository, until it changes?", args.yes)? {
        context.say("nothing was changed");
        return Ok(0);
    }
    if let Some(parent) = places.trusted.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&places.trusted)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    context.say("trusted");
    Ok(0)
}
