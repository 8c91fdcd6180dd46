//! Containers whose recorder is gone: found by their labels, told, removed.
//!
//! Must not know: what ran in them.

use decklog_journal::lock::{self, Held};
use decklog_journal::{SessionId, SessionStore};
use decklog_sandbox::container::{self, Labelled};
use decklog_sandbox::podman::Podman;
use decklog_text::visible;

use crate::boxing;
use crate::context::{Context, find_program};

/// Containers of sessions under the root of `store` that nobody records any more. Those of other roots are theirs.
pub(crate) fn find(store: &SessionStore, context: &Context) -> Vec<Labelled> {
    // Who has no podman has no containers.
    if find_program("podman".as_ref(), &context.environment()).is_none() {
        return Vec::new();
    }
    let Ok(root) = store.root().canonicalize() else { return Vec::new() };
    match container::of_root(&boxing::podman(context), &root) {
        Ok(all) => all.into_iter().filter(|container| is_stray(store, &container.session)).collect(),
        Err(error) => {
            context.warn(&format!("containers that were left behind cannot be looked for: {error}"));
            Vec::new()
        }
    }
}

/// Whether nobody records the session. When that cannot be told, somebody does.
fn is_stray(store: &SessionStore, session: &str) -> bool {
    let Ok(id) = session.parse::<SessionId>() else { return false };
    let entry = store.entry(&id);
    // A link that leads nowhere for now, say to a disk that is not mounted, tells nothing.
    match entry.symlink_metadata() {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(_) => entry.is_dir() && lock::held(&entry) == Held::No,
    }
}

/// One line for each, for a preview.
pub(crate) fn preview(strays: &[Labelled]) -> String {
    let line = |container: &Labelled| {
        format!("container {} of {}: its recorder is gone\n", visible(&container.name), visible(&container.session))
    };
    strays.iter().map(line).collect()
}

/// Removes them. True: all of them.
pub(crate) fn remove(strays: &[Labelled], context: &Context) -> bool {
    let podman: Podman = boxing::podman(context);
    let mut all = true;
    for container in strays {
        match container::remove_labelled(&podman, container) {
            Ok(()) => context.say(format!("removed container {}", visible(&container.name))),
            Err(error) => {
                all = false;
                context.warn(&format!("container {} is still there: {error}", container.name));
            }
        }
    }
    all
}
