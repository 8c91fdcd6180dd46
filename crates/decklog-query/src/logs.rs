//! The logs and turn artifacts of a session, by the names people type.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use decklog_journal::artifacts::{LOGS_DIR, RESUME_DIR, TURNS_DIR};
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::verify::find_artifact;
use serde::Serialize;

/// A log or artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFile {
    /// What to type for it: its file name without extension, such as `001-stderr` or `container`.
    pub name: String,
    /// Path in the session directory.
    pub path: String,
    /// Size in bytes as it lies on disk.
    pub bytes: u64,
}

/// Why a log was not found.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is none of this name.
    #[error("there is no log {name:?}: there are {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    NotFound {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Path in the session directory.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// Lists the logs and artifacts of the session in `dir`, in name order. Links and whatever else is no regular
/// file are passed over.
#[must_use]
pub fn list(dir: &Path) -> Vec<LogFile> {
    let mut all = Vec::new();
    add(dir, "journal.jsonl", &mut all);
    for sub in [LOGS_DIR, TURNS_DIR, RESUME_DIR] {
        let path = dir.join(sub);
        if !path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        let mut names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        for name in names {
            add(dir, &format!("{sub}/{name}"), &mut all);
        }
    }
    all
}

fn add(dir: &Path, path: &str, all: &mut Vec<LogFile>) {
    let Ok(meta) = dir.join(path).symlink_metadata() else { return };
    if !meta.is_file() {
        return;
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let plain = file.strip_suffix(".zst").unwrap_or(file);
    let name = match plain.rsplit_once('.') {
        // `001.patch` and `001-…` share their number: the extension is what tells them apart.
        Some((stem, "patch")) => format!("{stem}-patch"),
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => plain.to_owned(),
    };
    all.push(LogFile { name, path: path.to_owned(), bytes: meta.len() });
}

/// Finds a log by name: exact name, file name, path, or for turn 1 the part after `001-`.
///
/// # Errors
/// [`LogError::NotFound`].
pub fn find(dir: &Path, name: &str) -> Result<LogFile, LogError> {
    let all = list(dir);
    let is = |log: &&LogFile| {
        let file = log.path.rsplit('/').next().unwrap_or_default();
        log.name == name || file == name || file.strip_suffix(".zst") == Some(name) || log.path == name
    };
    if let Some(log) = all.iter().find(is) {
        return Ok(log.clone());
    }
    let first = format!("001-{name}");
    if let Some(log) = all.iter().find(|log| log.name == first) {
        return Ok(log.clone());
    }
    Err(LogError::NotFound { name: name.to_owned(), known: all.into_iter().map(|log| log.name).collect() })
}

/// Opens a log for reading, uncompressed. Reading fails where what is compressed expands to more than the journal says, or than
/// its size allows where the journal says nothing.
///
/// # Errors
/// [`LogError::Io`].
pub fn open(dir: &Path, log: &LogFile) -> Result<Box<dyn Read + Send>, LogError> {
    let io = |error| LogError::Io { path: log.path.clone(), error };
    let found = find_artifact(dir, &log.path).map_err(io)?;
    let recorded = if found.compressed { recorded_bytes(dir, &log.path) } else { None };
    found.content(recorded).map_err(io)
}

/// How long the journal says that the artifact at `path` is, which is stored compressed.
fn recorded_bytes(dir: &Path, path: &str) -> Option<u64> {
    let plain = path.strip_suffix(".zst").unwrap_or(path);
    JournalReader::open(&dir.join(JOURNAL_FILE)).ok()?.map_while(Result::ok).find_map(|item| match item {
        Item::Event(event) => event.body.artifacts().iter().find(|it| it.path == plain).map(|it| it.bytes),
        Item::Fault(_) => None,
    })
}

/// The full path of a log.
#[must_use]
pub fn full_path(dir: &Path, log: &LogFile) -> PathBuf {
    dir.join(&log.path)
}
