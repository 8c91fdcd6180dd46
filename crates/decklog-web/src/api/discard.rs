//! Removing sessions, with the safety of the command line: what is being recorded stays, and what decklog did not make.

use axum::body::Bytes;
use axum::extract::State;
use decklog_journal::remove::{Removed, remove};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ApiError, App, answer, parse_id};

/// Sessions that are removed at a time.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ids: Vec<String>,
}

/// `{"ids": […]}`: removes them, going on after one that cannot be.
pub(super) async fn discard(State(app): State<App>, body: Bytes) -> Answer {
    let request: Request = serde_json::from_slice(&body).map_err(ApiError::bad)?;
    if request.ids.is_empty() || request.ids.len() > MOST {
        return Err(ApiError::bad(format!("give between 1 and {MOST} ids")));
    }
    // All are read before one is removed: a mistyped one changes nothing.
    let ids = request.ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()?;
    // Done to its end, whether somebody waits for it or not.
    let work = tokio::task::spawn_blocking(move || {
        let (mut removed, mut kept, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            let entry = app.store().entry(&id);
            // What another process removes from here on is removed; what was not there is a mistake.
            if entry.symlink_metadata().is_err() {
                failed.push(json!({ "id": id, "error": format!("session {id} not found") }));
                continue;
            }
            match remove(&entry) {
                Ok(Removed { kept: left }) => {
                    kept.extend(left.iter().map(|path| path.to_string_lossy().into_owned()));
                    removed.push(id);
                }
                Err(error) => failed.push(json!({ "id": id, "error": error.to_string() })),
            }
        }
        answer(&json!({ "removed": removed, "failed": failed, "kept": kept }))
    });
    work.await.unwrap_or_else(|error| Err(ApiError::failed(error)))
}
