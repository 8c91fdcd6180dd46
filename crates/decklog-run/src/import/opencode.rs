//! opencode's sessions: `opencode*.db`, a SQLite database, or with older versions `storage/**.json`.
//!
//! Seen with version 1.18. A session is messages, a message is parts; both are JSON. A tool's part is the same as in
//! the live stream.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::files;
use decklog_journal::words::TurnOutcome;
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;

use super::changes::{Edit, count_lines, hunks_of, replaced, whole_file};
use super::draft::{Draft, Ending};
use super::lines::MAX_LINE;
use super::sqlite::{self, has_table, is_database};
use super::{Finds, Found, Tool, entries, stat, walk};
use crate::agents::common::{list, some_text, text};
use crate::agents::opencode::{tokens, tool_use};
use crate::agents::{AgentEvent, Output};

/// Bytes of a JSON file of the older storage.
const MAX_FILE: u64 = MAX_LINE as u64;

fn millis(value: &Value) -> Option<Timestamp> {
    let at = value.as_i64().or_else(|| {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is checked next")]
        value.as_f64().map(|at| at as i64)
    })?;
    Timestamp::from_millisecond(at).ok()
}

/// Sessions below `root`, or in the database `root`.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    if root.is_file() {
        return in_database(root, finds);
    }
    let mut databases: Vec<PathBuf> = finds.entries(root).into_iter().map(|(path, _)| path).collect();
    databases.retain(|path| path.extension().is_some_and(|extension| extension == "db") && is_database(path));
    databases.iter().for_each(|path| in_database(path, finds));
    let storage = root.join("storage");
    let storage = if storage.is_dir() { storage } else { root.to_owned() };
    walk(&storage.join("session"), finds, &mut |path, finds| in_storage(&storage, &path, finds));
    if databases.is_empty() && !storage.join("session").is_dir() {
        // Not opencode's own directory, but one somewhere above: a backup.
        walk(root, finds, &mut |path, finds| {
            if path.extension().is_some_and(|extension| extension == "db") && is_database(&path) {
                in_database(&path, finds);
            } else if let Some(storage) = path.ancestors().nth(3).filter(|dir| dir.ends_with("storage")) {
                let is_session = path.strip_prefix(storage).is_ok_and(|inside| inside.starts_with("session"));
                if is_session {
                    in_storage(storage, &path, finds);
                }
            }
        });
    }
}

fn in_database(path: &Path, finds: &mut Finds) {
    let rows = || -> io::Result<Vec<(String, i64, i64)>> {
        let db = sqlite::open(path)?;
        if !has_table(&db, "session") || !has_table(&db, "part") {
            return Ok(Vec::new());
        }
        let ask = || {
            let mut rows =
                db.prepare("SELECT id, time_created, time_updated FROM session ORDER BY time_created, id")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        ask().map_err(sqlite::error)
    };
    match rows() {
        Ok(rows) => finds.found.extend(rows.into_iter().map(|(id, created, updated)| Found {
            tool: Tool::Opencode,
            id,
            path: path.to_owned(),
            parts: Vec::new(),
            also: Vec::new(),
            bytes: None,
            modified: Timestamp::from_millisecond(updated).unwrap_or(Timestamp::UNIX_EPOCH),
            started: Timestamp::from_millisecond(created).ok(),
        })),
        Err(error) => finds.failed(path.to_owned(), &error),
    }
}

/// `session/<project>/<id>.json`, its messages in `message/<id>/`, their parts in `part/<message>/`.
fn in_storage(storage: &Path, path: &Path, finds: &mut Finds) {
    let Some(id) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else { return };
    if !is_plain(id) {
        return;
    }
    let told = json(path);
    let of_all = || -> io::Result<(u64, Timestamp)> {
        let (mut bytes, mut modified) = stat(path)?;
        for (message, _) in files_in(&storage.join("message").join(id))? {
            for (_, path) in files_in(&storage.join("part").join(&message))? {
                let (more, at) = stat(&path)?;
                bytes += more;
                modified = modified.max(at);
            }
        }
        Ok((bytes, modified))
    };
    let (bytes, modified) = match of_all() {
        Ok(stat) => stat,
        Err(error) => return finds.failed(path.to_owned(), &error),
    };
    let started = told.ok().and_then(|told| millis(&told["time"]["created"]));
    finds.found.push(Found {
        tool: Tool::Opencode,
        id: id.to_owned(),
        path: path.to_owned(),
        parts: Vec::new(),
        also: Vec::new(),
        bytes: Some(bytes),
        modified,
        started,
    });
}

/// Whether an id may become part of a path.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() < 200 && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// JSON files of a directory, by name without its ending: ids are in order of time.
fn files_in(dir: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let named = entries(dir)?.into_iter().filter_map(|(path, _)| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
        is_plain(&name).then_some((name, path))
    });
    Ok(named.collect())
}

fn json(path: &Path) -> io::Result<Value> {
    decklog_text::json::from_slice(&files::read_limited(path, MAX_FILE)?).map_err(io::Error::from)
}

/// Reads a session.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let mut reader = Reader::default();
    if is_database(&found.path) {
        let db = sqlite::open(&found.path)?;
        reader.database(&db, &found.id, draft).map_err(sqlite::error)?;
    } else {
        reader.storage(found, draft)?;
    }
    if reader.unfinished {
        draft.cut_off();
    }
    Ok(Ending { summary: reader.title, ..Ending::default() })
}

#[derive(Default)]
struct Reader {
    title: Option<String>,
    /// The last answer has no end.
    unfinished: bool,
}

impl Reader {
    fn database(&mut self, db: &Connection, id: &str, draft: &mut Draft<'_>) -> rusqlite::Result<()> {
        let (directory, title, parent): (String, String, Option<String>) =
            db.query_row("SELECT directory, title, parent_id FROM session WHERE id = ?1", [id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        self.opening(directory, title, parent, draft);
        let bytes: i64 =
            db.query_row("SELECT COALESCE(SUM(LENGTH(data)), 0) FROM part WHERE session_id = ?1", [id], |row| {
                row.get(0)
            })?;
        draft.read_bytes(bytes.unsigned_abs());
        let mut messages =
            db.prepare("SELECT id, time_created, data FROM message WHERE session_id = ?1 ORDER BY time_created, id")?;
        let mut parts = db.prepare("SELECT id, data FROM part WHERE message_id = ?1 ORDER BY id")?;
        let mut rows = messages.query([id])?;
        while let Some(row) = rows.next()? {
            let message: String = row.get(0)?;
            draft.at(Timestamp::from_millisecond(row.get(1)?).ok());
            let data: String = row.get(2)?;
            let told = parse(&data, &message, draft);
            let texts = parts.query_map([&message], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let mut all = Vec::new();
            for part in texts {
                let (id, data) = part?;
                all.extend(parse(&data, &id, draft));
            }
            if let Some(told) = told {
                self.message(&told, &all, draft);
            }
            if draft.is_broken() {
                break;
            }
        }
        Ok(())
    }

    fn storage(&mut self, found: &Found, draft: &mut Draft<'_>) -> io::Result<()> {
        let told = json(&found.path)?;
        self.opening(
            text(&told, "directory").to_owned(),
            text(&told, "title").to_owned(),
            some_text(&told, "parentID"),
            draft,
        );
        draft.at(millis(&told["time"]["created"]));
        let storage = found.path.ancestors().nth(3).unwrap_or(Path::new(""));
        for (id, path) in files_in(&storage.join("message").join(&found.id))? {
            let message = match json(&path) {
                Ok(message) => message,
                Err(error) => {
                    draft.unread(id, error);
                    continue;
                }
            };
            let mut parts = Vec::new();
            for (part, path) in files_in(&storage.join("part").join(&id))? {
                match json(&path) {
                    Ok(part) => parts.push(part),
                    Err(error) => draft.unread(part, error),
                }
            }
            draft.at(millis(&message["time"]["created"]));
            self.message(&message, &parts, draft);
        }
        Ok(())
    }

    fn opening(&mut self, directory: String, title: String, parent: Option<String>, draft: &mut Draft<'_>) {
        draft.opening.working_dir = directory;
        self.title = Some(title).filter(|title| !title.is_empty());
        if let Some(parent) = parent {
            draft.notice("subagent", format!("a subagent's own session, of {parent}"));
        }
    }

    fn message(&mut self, message: &Value, parts: &[Value], draft: &mut Draft<'_>) {
        if text(message, "role") == "user" {
            let said = parts.iter().filter(|part| text(part, "type") == "text" && part["synthetic"] != true);
            let said: Vec<_> = said.map(|part| text(part, "text")).collect();
            if said.is_empty() && parts.iter().any(|part| text(part, "type") == "compaction") {
                return draft.notice("compacted", "the conversation so far was summarised".into());
            }
            self.unfinished = true;
            return draft.prompt(&said.join("\n"));
        }
        let model = some_text(message, "modelID").or_else(|| some_text(&message["model"], "modelID"));
        draft.model(model.clone());
        let mut counted = false;
        for part in parts {
            draft.at(millis(&part["time"]["start"]).or_else(|| millis(&part["state"]["time"]["start"])));
            match text(part, "type") {
                "text" if part["synthetic"] != true => draft.event(AgentEvent::Text(text(part, "text").to_owned())),
                "reasoning" => draft.event(AgentEvent::Thought(text(part, "text").to_owned())),
                "tool" => tool(part, draft),
                "step-finish" => {
                    counted = true;
                    draft.usage(model.clone(), tokens(&part["tokens"]), part["cost"].as_f64());
                }
                "compaction" => draft.notice("compacted", "the conversation so far was summarised".into()),
                _ => {}
            }
        }
        // Older versions tell the counts of the whole answer alone.
        if !counted {
            draft.usage(model, tokens(&message["tokens"]), message["cost"].as_f64());
        }
        draft.at(millis(&message["time"]["completed"]));
        self.unfinished = message["time"]["completed"].is_null();
        let error = &message["error"];
        if !error.is_null() {
            self.unfinished = false;
            let words = some_text(&error["data"], "message").unwrap_or_else(|| text(error, "name").to_owned());
            if text(error, "name") == "MessageAbortedError" {
                draft.set_outcome(TurnOutcome::Interrupted, Some(words));
            } else if error["data"]["statusCode"] == 429 {
                draft.event(AgentEvent::RateLimited { message: words, resets_at: None });
            } else {
                draft.event(AgentEvent::Failed(words));
            }
        }
    }
}

fn parse(data: &str, place: &str, draft: &mut Draft<'_>) -> Option<Value> {
    decklog_text::json::from_str(data).map_err(|error| draft.unread(place.to_owned(), error)).ok()
}

fn tool(part: &Value, draft: &mut Draft<'_>) {
    let state = &part["state"];
    let mut out = Output::default();
    tool_use(part, &mut out);
    let ended = matches!(text(state, "status"), "completed" | "error");
    if !ended {
        out.events.retain(|event| !matches!(event, AgentEvent::ToolResult { .. }));
    }
    for event in out.events {
        if matches!(event, AgentEvent::ToolResult { .. }) {
            draft.at(millis(&state["time"]["end"]));
        }
        draft.event(event);
    }
    if text(state, "status") != "completed" {
        return;
    }
    let (input, meta) = (&state["input"], &state["metadata"]);
    match text(part, "tool") {
        "write" => {
            let path = some_text(meta, "filepath").or_else(|| some_text(input, "filePath")).unwrap_or_default();
            let diff = some_text(meta, "diff").and_then(|diff| hunks_of(&diff));
            draft.edit(if meta["exists"] == false {
                let (hunk, lines) = whole_file(text(input, "content"), '+');
                Edit { path, status: "added", lines: Some((lines, 0)), hunks: Some(hunk), ..Edit::default() }
            } else {
                Edit {
                    path,
                    status: "modified",
                    lines: diff.as_deref().map(count_lines),
                    hunks: diff,
                    ..Edit::default()
                }
            });
        }
        "edit" | "multiedit" => {
            let path = some_text(input, "filePath").unwrap_or_default();
            match some_text(meta, "diff").and_then(|diff| hunks_of(&diff)) {
                Some(hunks) => draft.edit(Edit {
                    path,
                    status: "modified",
                    lines: Some(count_lines(&hunks)),
                    hunks: Some(hunks),
                    ..Edit::default()
                }),
                None => draft.edit(replaced(&path, input, "oldString", "newString")),
            }
        }
        "patch" | "apply_patch" => {
            for file in list(meta, "files") {
                let path = some_text(file, "filePath").or_else(|| some_text(file, "relativePath")).unwrap_or_default();
                let status = match text(file, "type") {
                    "add" => "added",
                    "delete" => "deleted",
                    _ => "modified",
                };
                let hunks =
                    some_text(file, "diff").or_else(|| some_text(file, "patch")).and_then(|diff| hunks_of(&diff));
                draft.edit(Edit { path, status, lines: hunks.as_deref().map(count_lines), hunks, ..Edit::default() });
            }
        }
        _ => {}
    }
}
