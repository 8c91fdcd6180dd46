//! `discard`: removes sessions by name.

use std::path::{Path, PathBuf};

use decklog_journal::remove::{Removed, remove};
use decklog_journal::words::ShownStatus;
use decklog_snapshot::ScratchDir;
use decklog_text::visible;
use serde_json::json;

use crate::cli::Json;
use crate::context::Context;
use crate::error::CliResult;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sessions: ids, unique parts, @ for the newest; without any, a terminal opens a picker
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// A session directory, instead of ids
    #[arg(long, value_name = "DIR", conflicts_with = "ids")]
    session_dir: Option<PathBuf>,
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    // What is left of removals that were cut off goes first.
    context.store()?.sweep();
    ScratchDir::sweep();
    let mut targets: Vec<(String, PathBuf)> = Vec::new();
    match &args.session_dir {
        Some(dir) => {
            let dir = context.session_dir(None, Some(dir))?;
            targets.push((dir.display().to_string(), link_to(&dir, context).unwrap_or(dir)));
        }
        None if args.ids.is_empty() => {
            let store = context.store()?;
            let id = context.find(&store, None)?;
            targets.push((id.to_string(), store.entry(&id)));
        }
        None => {
            let store = context.store()?;
            // All are found before one is removed: a mistyped one changes nothing.
            for id in &args.ids {
                let id = context.find(&store, Some(id))?;
                if !targets.iter().any(|(known, _)| known == id.as_str()) {
                    targets.push((id.to_string(), store.entry(&id)));
                }
            }
        }
    }
    if !args.yes {
        for (name, path) in &targets {
            let prompt = context.look(path).map(|listed| listed.head.prompt).unwrap_or_default();
            context.say(format!("{}  {}", visible(name), visible(&prompt)));
        }
    }
    let noun = if targets.len() == 1 { "this session".to_owned() } else { format!("these {} sessions", targets.len()) };
    if !context.confirm(&format!("Discard {noun}?"), args.yes)? {
        context.say("nothing was discarded");
        return Ok(0);
    }
    remove_all(&targets, context)
}

/// The link under the session root that leads to `dir`, if there is one.
fn link_to(dir: &Path, context: &Context) -> Option<PathBuf> {
    let store = context.store().ok()?;
    let id = decklog_journal::store::current_head(dir).ok()?.id;
    let entry = store.entry(&id);
    (entry.is_symlink() && entry.canonicalize().ok()? == dir.canonicalize().ok()?).then_some(entry)
}

/// Removes sessions, going on after one that cannot be; 2 if there was one.
pub(crate) fn remove_all(targets: &[(String, PathBuf)], context: &Context) -> CliResult {
    let mut failures = Vec::new();
    let mut removed = Vec::new();
    for (name, path) in targets {
        match remove(path) {
            Ok(Removed { kept }) => {
                for path in &kept {
                    context.say(format!("kept {}: not decklog's", visible(&path.to_string_lossy())));
                }
                removed.push(name);
            }
            Err(error) => {
                let head = context.look(path).ok().filter(|listed| listed.status == ShownStatus::Active);
                let container = head.and_then(|listed| listed.head.container_name);
                let container = container.map(|name| format!("; its container is {name}")).unwrap_or_default();
                failures.push((name, format!("{error}{container}")));
            }
        }
    }
    if context.json {
        let failed: Vec<_> = failures.iter().map(|(id, why)| json!({ "id": id, "error": why })).collect();
        context.print_json(&json!({ "removed": removed, "failed": failed }))?;
    } else if !removed.is_empty() {
        context.say(if removed.len() == 1 {
            format!("discarded {}", visible(removed[0]))
        } else {
            format!("discarded {} sessions", removed.len())
        });
    }
    for (name, why) in &failures {
        context.say(format!("{} {}: {}", context.err_paint.bad("not discarded:"), visible(name), visible(why)));
    }
    Ok(if failures.is_empty() { 0 } else { 2 })
}
