//! outrig's sessions: a directory each, with `session.json` and `logs/`.
//!
//! It did not record what was said and done in its containers. So a session is who ran, where, for how long and how it
//! ended, with the logs as they lie.

use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::files;
use decklog_journal::words::Outcome;
use jiff::Timestamp;
use serde_json::Value;

use super::draft::{Draft, Ending};
use super::{Finds, Found, Tool, entries, stat, walk};
use crate::agents::common::{list, some_text, text};

/// The record in a session's directory.
const RECORD: &str = "session.json";
/// Bytes of a record.
const MAX_RECORD: u64 = 1024 * 1024;
/// Bytes of a log that are taken over.
const MAX_LOG: u64 = 64 * 1024 * 1024;
/// Logs of a session that are taken over.
const MAX_LOGS: usize = 100;

/// Sessions below `root`, or `root` itself.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let root = if root.is_file() { root.parent().unwrap_or(root) } else { root };
    let mut dirs = Vec::new();
    walk(root, finds, &mut |path, _| {
        if path.ends_with(RECORD) {
            dirs.extend(path.parent().map(Path::to_owned));
        }
    });
    // A session with a directory of its own stands in outrig's root as a link.
    let links = finds.entries(root).into_iter().filter(|(_, kind)| kind.is_symlink());
    dirs.extend(links.map(|(dir, _)| dir).filter(|dir| dir.join(RECORD).is_file()));
    dirs.iter().for_each(|dir| take(dir, finds));
}

fn take(dir: &Path, finds: &mut Finds) {
    let found = || -> io::Result<Option<Found>> {
        let record = record(dir)?;
        if !is_record(&record) {
            return Ok(None);
        }
        let (mut bytes, mut modified) = stat(&dir.join(RECORD))?;
        let mut parts = Vec::new();
        for log in logs(dir)? {
            let (more, at) = stat(&log)?;
            bytes += more;
            modified = modified.max(at);
            parts.push(log);
        }
        let started = text(&record, "started_at").parse().ok();
        let (path, id) = (dir.to_owned(), text(&record, "id").to_owned());
        Ok(Some(Found { tool: Tool::Outrig, id, path, parts, also: Vec::new(), bytes: Some(bytes), modified, started }))
    };
    match found() {
        Ok(found) => finds.found.extend(found),
        Err(error) => finds.failed(dir.to_owned(), &error),
    }
}

fn record(dir: &Path) -> io::Result<Value> {
    decklog_text::json::from_slice(&files::read_limited(&dir.join(RECORD), MAX_RECORD)?).map_err(io::Error::from)
}

/// Whether a `session.json` is outrig's: decklog's own has a `format`.
pub(super) fn is_record(record: &Value) -> bool {
    record.get("format").is_none() && some_text(record, "id").is_some() && record.get("container_name").is_some()
}

/// Files in `logs/`, links not followed.
fn logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let files = entries(&dir.join("logs"))?.into_iter().filter(|(_, kind)| kind.is_file());
    Ok(files.map(|(path, _)| path).take(MAX_LOGS).collect())
}

/// Reads a session.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let record = record(&found.path)?;
    draft.at(found.started);
    draft.opening.working_dir = text(&record, "working_dir").to_owned();
    draft.agent(&some_text(&record, "agent_name").unwrap_or_default());
    draft.begin("");
    let config = some_text(&record, "image_config_name").or_else(|| some_text(&record, "container_config_name"));
    let mut container = format!("{} of image {}", text(&record, "container_name"), text(&record, "image_tag"));
    container.extend(config.map(|name| format!(" ({name})")));
    draft.notice("container", container);
    for sidecar in list(&record, "sidecar_container_names").iter().filter_map(Value::as_str) {
        draft.notice("container", format!("sidecar {sidecar}"));
    }
    draft.at(text(&record, "ended_at").parse::<Timestamp>().ok());
    for log in &found.parts {
        match files::read_limited(log, MAX_LOG) {
            Ok(bytes) => draft.log(log, &bytes),
            Err(error) => draft.unread(log.display().to_string(), error),
        }
    }
    let exit_code = record["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
    let outcome = exit_code.map(|code| match code {
        0 => Outcome::Success,
        129 | 130 | 143 => Outcome::Interrupted,
        _ => Outcome::Failed,
    });
    Ok(Ending { outcome, exit_code, ..Ending::default() })
}
