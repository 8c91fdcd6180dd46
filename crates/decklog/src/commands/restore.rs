//! `restore`: the tree as it stood after a turn, in a new directory or in place.

use std::path::{Path, PathBuf};

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::Withheld;
use decklog_journal::lock::{self, Held};
use decklog_journal::store::current_head;
use decklog_journal::{Session, SessionStore, session as journal_session};
use decklog_query::restore::{self, Point, RestoreError};
use decklog_run::orchestrate::{self, RestorePlan};
use decklog_run::supervise::Signals;
use decklog_snapshot::Restored;
use decklog_text::format::counted;
use decklog_text::visible;
use serde_json::{Value, json};

use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::way_back;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  decklog restore @                      the newest session's last tree, in a new directory here
  decklog restore 3f2a@2 --into ../then  as it stood after turn 2
  decklog restore 3f2a@0 --in-place      undo the session: as it stood before turn 1
  cd \"$(decklog restore @2@1)\"           the second newest session, after turn 1

On stdout: the directory. In place, the present tree is recorded first, as a session of its own, and
the command that goes back is printed. Files that are ignored, or withheld from snapshots, are not touched; where one
could not be read, the exit code is 2.")]
pub(crate) struct Args {
    /// A session and a turn: ID@N is the tree after turn N, ID@0 the one before turn 1, ID alone the one after
    /// the last turn; without one, a terminal opens a picker
    #[arg(value_name = "ID[@N]")]
    point: Option<String>,
    /// Write it into this directory, which must be absent or empty (default: ID-turn-N, here)
    #[arg(long, value_name = "DIR", conflicts_with = "in_place")]
    into: Option<PathBuf>,
    /// Put it where the session worked, over what is there now
    #[arg(long)]
    in_place: bool,
    /// Do not ask
    #[arg(short = 'y', long, requires = "in_place")]
    yes: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let (id, turn) = match &args.point {
        Some(text) => split(text).map(|(id, turn)| (Some(id), turn))?,
        None => (None, None),
    };
    let store = context.store()?;
    let id = context.find(&store, id)?;
    let dir = store.entry(&id);
    let session = journal_session::load(&dir).map_err(|error| {
        CliError::new(format!("{}: {error}", dir.display())).hint("`decklog verify` says what is wrong with it")
    })?;
    let point = restore::find(&session, turn).map_err(|error| {
        let before = match error {
            RestoreError::NotEnded(turn) => format!("{id}@{} is the tree before it", turn - 1),
            _ => format!("`decklog show {id}` shows its turns"),
        };
        CliError::new(error).hint(before)
    })?;
    if args.in_place {
        in_place(&store, &session, &point, args.yes, context)
    } else {
        into(&dir, &session, &point, args.into.as_deref(), context)
    }
}

/// The session and the turn of `ID@N`; `@` and `@2` are sessions.
fn split(text: &str) -> Result<(&str, Option<u32>), CliError> {
    match text.rfind('@') {
        None | Some(0) => Ok((text, None)),
        Some(at) => {
            let turn = text[at + 1..].parse().map_err(|_| {
                CliError::new(format!("{text:?} is no session and turn"))
                    .hint("write ID@N, N being the number of a turn, or 0 for the tree before turn 1")
            })?;
            Ok((&text[..at], Some(turn)))
        }
    }
}

fn into(dir: &Path, session: &Session, point: &Point, target: Option<&Path>, context: &Context) -> CliResult {
    let id = &session.head.id;
    let target = match target {
        Some(target) => context.cwd.join(target),
        None => context.cwd.join(format!("{id}-turn-{}", point.turn)),
    };
    let restored = restore::write_into(dir, session, point, &target).map_err(|error| {
        let hint = match &error {
            RestoreError::Directory { .. } => Some("name another directory with --into"),
            _ => None,
        };
        let error = CliError::new(error);
        if let Some(hint) = hint { error.hint(hint) } else { error }
    })?;
    let target = target.canonicalize().unwrap_or(target);
    if context.json {
        let mut told = told(session, point, &restored);
        told["directory"] = target.to_string_lossy().into();
        context.print_json(&told)?;
    } else {
        let shown = target.to_string_lossy();
        let shown = if context.out_is_terminal { visible(&shown) } else { shown };
        context.print(format!("{shown}\n"))?;
        context.say(format!("{} written, {}", counted(restored.written.len() as u64, "file"), stood(point)));
    }
    warn(&point.withheld, &restored, context);
    Ok(0)
}

fn in_place(store: &SessionStore, session: &Session, point: &Point, yes: bool, context: &Context) -> CliResult {
    let id = &session.head.id;
    let dir = store.entry(id);
    let into = "without --in-place it is written into a directory of its own";
    let root = restore::place(&dir, session, point).map_err(|error| CliError::new(error).hint(into))?;
    if !context.cwd.canonicalize()?.starts_with(&root) {
        return Err(CliError::new(format!("the session worked in {}, which is not where you are", root.display()))
            .hint(format!("cd there first; {into}")));
    }
    nobody_at_work(store, &root)?;
    let words = ["decklog", "restore", &format!("{id}@{}", point.turn), "--in-place"];
    let question = format!(
        "Make {} what it was {}? (The present tree is recorded first.)",
        visible(&root.to_string_lossy()),
        stood(point)
    );
    if !context.confirm(&question, yes)? {
        context.say("nothing was restored");
        return Ok(0);
    }
    // The answer may have taken long.
    nobody_at_work(store, &root)?;
    let config = context.config()?;
    let plan = RestorePlan {
        command: words.map(str::to_owned).to_vec(),
        working_dir: PathBuf::from(&session.head.working_dir),
        target: point.tree.clone(),
        objects: dir.canonicalize()?.join(OBJECTS_DIR),
        withheld: point.withheld.clone(),
        env: context.environment(),
        secrets: config.models.variables(),
        host: context.host(),
        durability: config.durability.value,
        clock: context.clock.clone(),
        id_suffix: context.id_suffix,
    };
    let signals = Signals::install()?;
    let result = match orchestrate::restore(store, &plan, &signals) {
        Ok(result) => result,
        Err(orchestrate::RestoreError::Incomplete(incomplete)) => {
            if context.json {
                let mut shown = serde_json::to_value(&incomplete)?;
                shown["id"] = id.as_str().into();
                shown["turn"] = point.turn.into();
                shown["tree"] = point.tree.as_str().into();
                shown["directory"] = root.to_string_lossy().into();
                shown["recorded_as"] = incomplete.id.as_str().into();
                context.print_json(&shown)?;
            } else {
                way_back::offer(&incomplete, store, &plan.working_dir, &signals, context);
            }
            return Err(CliError::new(&incomplete.error));
        }
        Err(error) => return Err(error.into()),
    };
    let back = format!("decklog restore {}@0 --in-place", result.id);
    let mut exit_code = result.exit_code;
    if context.json {
        let mut told = told(session, point, &result.restored);
        told["directory"] = root.to_string_lossy().into();
        told["recorded_as"] = result.id.as_str().into();
        told["go_back"] = back.clone().into();
        told["not_recorded"] = withheld(&result.withheld);
        exit_code = context.print_result((&result.session_dir, exit_code), &told, "")?;
    } else {
        let restored = &result.restored;
        context.say(format!(
            "{} written, {} removed, {}",
            counted(restored.written.len() as u64, "file"),
            restored.removed.len(),
            stood(point)
        ));
    }
    warn(&point.withheld, &result.restored, context);
    if let Some(trouble) = &result.trouble {
        context.warn(&format!("the record of this is not whole: {trouble}"));
    }
    if !context.json {
        context.say(format!("to go back: {}", context.err_paint.bold(&back)));
    }
    Ok(exit_code)
}

/// Refuses when a recorder is at work in, above or below `root`, or when that cannot be told.
fn nobody_at_work(store: &SessionStore, root: &Path) -> Result<(), CliError> {
    for id in store.ids()? {
        let entry = store.entry(&id);
        let held = lock::held(&entry);
        if held == Held::No {
            continue;
        }
        let works_there = current_head(&entry).map(|head| {
            let dir = PathBuf::from(&head.working_dir);
            let dir = dir.canonicalize().unwrap_or(dir);
            dir.starts_with(root) || root.starts_with(&dir)
        });
        let problem = match (held, works_there) {
            (_, Ok(false)) => continue,
            (Held::Yes, Ok(true)) => format!("session {id} is being recorded in {}", root.display()),
            _ => format!("it cannot be told whether session {id} is being recorded in {}", root.display()),
        };
        return Err(CliError::new(format!("{problem}: nothing was changed")).hint(format!(
            "wait until it is over (`decklog watch {id}`), or write the tree into a directory: --into DIR"
        )));
    }
    Ok(())
}

fn stood(point: &Point) -> String {
    if point.turn == 0 { "before turn 1".to_owned() } else { format!("after turn {}", point.turn) }
}

fn warn(withheld: &[Withheld], restored: &Restored, context: &Context) {
    for file in withheld {
        context.warn(&format!("{} is not in the snapshot as it was: {}", file.path, file.reason));
    }
    way_back::warn_of_left(restored, context);
}

fn told(session: &Session, point: &Point, restored: &Restored) -> Value {
    let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    let names = |paths: &[Vec<u8>]| paths.iter().map(name).collect::<Vec<_>>();
    let left = restored
        .left
        .iter()
        .map(|left| json!({ "path": String::from_utf8_lossy(&left.path), "reason": left.reason.to_string() }));
    json!({
        "id": session.head.id,
        "turn": point.turn,
        "tree": point.tree.as_str(),
        "written": names(&restored.written),
        "removed": names(&restored.removed),
        "left": left.collect::<Vec<_>>(),
        "withheld": withheld(&point.withheld),
    })
}

fn withheld(files: &[Withheld]) -> Value {
    files.iter().map(|file| json!({ "path": file.path, "reason": file.reason })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_session_and_a_turn() {
        for (text, id, turn) in [
            ("@", "@", None),
            ("@2", "@2", None),
            ("@@2", "@", Some(2)),
            ("@2@0", "@2", Some(0)),
            ("3f2a", "3f2a", None),
            ("20260501T134412-3f2a@12", "20260501T134412-3f2a", Some(12)),
        ] {
            assert_eq!(split(text).ok(), Some((id, turn)), "{text}");
        }
        assert!(["3f2a@", "3f2a@x", "@2@-1", "a@99999999999"].iter().all(|wrong| split(wrong).is_err()));
    }
}
