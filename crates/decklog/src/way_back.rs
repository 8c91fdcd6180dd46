//! What to say and to offer when files of a working tree are changed in part: which ones, and the way back.

use std::path::Path;

use decklog_journal::SessionStore;
use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_run::orchestrate::{self, IncompleteRestore, RestoreError, RestorePlan, RestoreResult};
use decklog_run::supervise::Signals;
use decklog_snapshot::Restored;
use decklog_text::format::counted;
use decklog_text::visible;

use crate::context::{Context, is_yes};
use crate::error::CliError;
use crate::terminal;

/// Paths of a kind that are named one by one; more are counted.
const NAMED: usize = 100;

/// Says which files are changed and which are damaged, and the command of the way back.
pub(crate) fn report(incomplete: &IncompleteRestore, context: &Context) {
    let paint = context.err_paint;
    for (word, paths) in [("changed", &incomplete.changed), ("damaged", &incomplete.damaged)] {
        for path in paths.iter().take(NAMED) {
            context.say(format!("{} {}", paint.warn(&format!("{word}:")), visible(path)));
        }
        if paths.len() > NAMED {
            context.say(format!("{word}: {} more; --json names all", paths.len() - NAMED));
        }
    }
    context.say(format!("unchanged: {}", counted(incomplete.unchanged.len() as u64, "file")));
    context.say(format!("to go back: {}", paint.bold(&incomplete.go_back)));
}

/// Asks whether to go back at once, where there is a terminal; `false`: not wanted, or there is no terminal to ask on. An interrupt
/// that came before the question is answered by it; a signal that comes meanwhile says no.
pub(crate) fn is_wanted(signals: &Signals, context: &Context) -> bool {
    if !context.in_is_terminal || !context.err_is_terminal || context.json {
        return false;
    }
    signals.forget_interrupt();
    context.ask("Go back now?");
    let answer = terminal::read_line(signals);
    if answer.is_none() {
        context.say("");
    }
    answer.is_some_and(|answer| is_yes(&answer))
}

/// Names files that a restoration left as they were, and a directory that it could not remove.
pub(crate) fn warn_of_left(restored: &Restored, context: &Context) {
    for file in &restored.left {
        context.warn(&format!("{} is left as it is: {}", String::from_utf8_lossy(&file.path), file.reason));
    }
    if let Some(leftover) = &restored.leftover {
        context.warn(&format!("{} could not be removed", leftover.display()));
    }
}

/// What it takes to put back the tree, whose session is over.
pub(crate) fn plan(
    incomplete: &IncompleteRestore,
    store: &SessionStore,
    working_dir: &Path,
    context: &Context,
) -> Result<RestorePlan, CliError> {
    let config = context.config()?;
    Ok(RestorePlan {
        command: incomplete.go_back.split(' ').map(str::to_owned).collect(),
        working_dir: working_dir.to_owned(),
        target: incomplete.tree.clone(),
        objects: store.entry(&incomplete.id).canonicalize()?.join(OBJECTS_DIR),
        withheld: incomplete.withheld.clone(),
        env: context.environment(),
        secrets: config.models.variables(),
        host: context.host(),
        durability: config.durability.value,
        clock: context.clock.clone(),
        id_suffix: None,
    })
}

/// Says what is changed, and goes back at once where the user wants it. What goes wrong is printed: how the program ends is
/// recorded by now.
pub(crate) fn offer(
    incomplete: &IncompleteRestore,
    store: &SessionStore,
    working_dir: &Path,
    signals: &Signals,
    context: &Context,
) {
    report(incomplete, context);
    if !is_wanted(signals, context) {
        return;
    }
    let result = plan(incomplete, store, working_dir, context)
        .and_then(|plan| orchestrate::restore(store, &plan, signals).map_err(|error| gone_back(error, context)));
    match result {
        Ok(RestoreResult { id, restored, trouble, .. }) => {
            let written = counted(restored.written.len() as u64, "file");
            context.say(format!("back again: {written} written, {} removed; recorded as {id}", restored.removed.len()));
            warn_of_left(&restored, context);
            if let Some(trouble) = trouble {
                context.warn(&format!("the record of this is not whole: {trouble}"));
            }
        }
        Err(error) => context.warn(&format!("the files are not back: {}", error.message)),
    }
}

/// The error of going back, after saying what has become of the files.
pub(crate) fn gone_back(error: RestoreError, context: &Context) -> CliError {
    if let RestoreError::Incomplete(incomplete) = &error {
        report(incomplete, context);
    }
    error.into()
}
