//! What lies beside a journal: listed, shown by the page, downloaded.

use std::io::{self, Read};

use axum::http::header;
use axum::response::IntoResponse as _;
use decklog_journal::artifacts;
use decklog_journal::verify::{ArtifactFile, find_artifact};
use decklog_query::logs;
use serde_json::json;

use super::{Answer, ApiError, App, Asked, answer, attachment};
use crate::{ansi, stream};

/// Bytes of a log in one answer.
const PAGE: u64 = 256 * 1024;

/// As `logs --json`.
pub(super) fn list(app: &App, asked: Asked) -> Answer {
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    answer(&logs::list(&dir))
}

/// Whether decklog makes files of this name: what somebody else put there is listed, and no more.
fn is_ours(path: &str) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    artifacts::is_ours(dir, name.as_bytes())
}

fn not_ours(path: &str) -> ApiError {
    ApiError::missing(format!("{path:?} is no file of decklog's"))
}

/// A piece of a log as HTML, from `offset` on: whole lines, but for one that is longer than a piece.
pub(super) fn log(app: &App, mut asked: Asked) -> Answer {
    let offset = asked.number::<u64>("offset")?.unwrap_or(0);
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    let found = logs::find(&dir, asked.part("name")).map_err(ApiError::missing)?;
    if !is_ours(&found.path) {
        return Err(not_ours(&found.path));
    }
    let mut source = logs::open(&dir, &found).map_err(ApiError::failed)?;
    let skipped = io::copy(&mut source.by_ref().take(offset), &mut io::sink()).map_err(ApiError::failed)?;
    let mut bytes = Vec::new();
    source.by_ref().take(PAGE).read_to_end(&mut bytes).map_err(ApiError::failed)?;
    let more = bytes.len() as u64 == PAGE;
    if more && let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(end + 1);
    }
    let next = skipped + bytes.len() as u64;
    answer(&json!({
        "name": found.name,
        "path": found.path,
        "html": ansi(&String::from_utf8_lossy(&bytes)),
        "next": next,
        "more": more,
    }))
}

/// A file of the session, uncompressed, byte for byte: always something to be saved and never something to be shown.
pub(super) fn download(app: &App, asked: Asked) -> Answer {
    asked.nothing_more()?;
    let (id, dir) = asked.session(app)?;
    let path = asked.part("path");
    // Only what is listed: not the lock, the objects, or what somebody else put there.
    let Some(known) = logs::list(&dir).into_iter().find(|log| log.path == path || log.path == format!("{path}.zst"))
    else {
        return Err(ApiError::missing(format!("session {id} has no file {path:?}")));
    };
    if !is_ours(path) {
        return Err(not_ours(path));
    }
    let ArtifactFile { file, compressed } = find_artifact(&dir, &known.path).map_err(ApiError::missing)?;
    let plain = known.path.strip_suffix(".zst").filter(|_| compressed).unwrap_or(&known.path);
    let name = attachment(&format!("{id}-{}", plain.rsplit('/').next().unwrap_or(plain)));
    let length = if compressed { None } else { file.metadata().ok().map(|meta| meta.len()) };
    let content = logs::open(&dir, &known).map_err(ApiError::failed)?;
    // A log that grows meanwhile ends where it was promised to.
    let body = stream::written_by(move |out| io::copy(&mut content.take(length.unwrap_or(u64::MAX)), out).map(drop));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_DISPOSITION, name);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}
