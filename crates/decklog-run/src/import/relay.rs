//! agent-relay's sessions: `.agent-relay/sessions/<id>/`, in the documented layout and in its journal's.
//!
//! Documented is a `meta.json` with files such as `turns/001-prompt.md`. Written is `session.json`, one file for each
//! event in `journal/`, and a directory for each turn: `turns/1/prompt.md`, `output.jsonl`, `state.json`. What an agent
//! printed goes through the adapter of its live stream.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::event::Handoff;
use decklog_journal::files;
use decklog_journal::words::{Outcome, Role};
use jiff::Timestamp;
use serde_json::Value;

use super::codeloops::agent_name;
use super::draft::{Draft, Ending};
use super::lines::{Line, Lines};
use super::{Finds, Found, Tool, stat, walk};
use crate::agents::common::{some_text, text};
use crate::agents::{AgentEvent, Output, known_agents};

/// Bytes of a record, an event, a state.
const MAX_RECORD: u64 = 4 * 1024 * 1024;
/// Bytes of a prompt or a plain output.
const MAX_TEXT: u64 = 64 * 1024 * 1024;
/// Events and turns of a session.
const MAX_FILES: usize = 100_000;

const NAMES: [&str; 2] = ["meta.json", "session.json"];

/// Sessions below `root`: a repository, its `.agent-relay`, its `sessions`, or one of them.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let root = if root.is_file() { root.parent().unwrap_or(root) } else { root };
    let inner = root.join(".agent-relay/sessions");
    let root = if inner.is_dir() { &inner } else { root };
    let mut dirs = Vec::new();
    walk(root, finds, &mut |path, _| {
        if NAMES.iter().any(|name| path.ends_with(name)) {
            dirs.extend(path.parent().map(Path::to_owned));
        }
    });
    dirs.dedup();
    dirs.iter().for_each(|dir| take(dir, finds));
}

fn take(dir: &Path, finds: &mut Finds) {
    let found = || -> io::Result<Option<Found>> {
        let Some(record) = record(dir)? else { return Ok(None) };
        let (mut bytes, mut modified) = (0, Timestamp::UNIX_EPOCH);
        for path in all_files(dir)? {
            let (more, at) = stat(&path)?;
            bytes += more;
            modified = modified.max(at);
        }
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Some(Found {
            tool: Tool::AgentRelay,
            id: first_of(&record, &["session_id", "id"]).unwrap_or(name),
            path: dir.to_owned(),
            parts: Vec::new(),
            also: Vec::new(),
            bytes: Some(bytes),
            modified,
            started: time(&record, &["created_at", "started_at"]),
        }))
    };
    match found() {
        Ok(found) => finds.found.extend(found),
        Err(error) => finds.failed(dir.to_owned(), &error),
    }
}

/// Whether a record is agent-relay's.
pub(super) fn is_record(record: &Value) -> bool {
    record.get("format").is_none()
        && record.get("container_name").is_none()
        && ["objective", "task", "initial_agent"].iter().any(|key| record.get(key).is_some())
}

fn record(dir: &Path) -> io::Result<Option<Value>> {
    for name in NAMES {
        let path = dir.join(name);
        if path.is_file() {
            let record = json(&path)?;
            if is_record(&record) {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

/// The files of a session that are read.
fn all_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = NAMES.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    all.extend(files_in(&dir.join("journal"))?);
    for path in entries(&dir.join("turns"))? {
        if path.is_dir() { all.extend(files_in(&path)?) } else { all.push(path) }
    }
    Ok(all)
}

/// Files and directories in a directory, links aside.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let all = super::entries(dir)?.into_iter().filter(|(_, kind)| kind.is_file() || kind.is_dir());
    Ok(all.map(|(path, _)| path).take(MAX_FILES).collect())
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_file()).collect())
}

fn json(path: &Path) -> io::Result<Value> {
    decklog_text::json::from_slice(&files::read_limited(path, MAX_RECORD)?).map_err(io::Error::from)
}

fn first_of(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| some_text(value, key))
}

fn time(value: &Value, keys: &[&str]) -> Option<Timestamp> {
    keys.iter().find_map(|key| text(value, key).parse().ok())
}

/// Something that happened, in order of time.
enum Step {
    Event(Value),
    Turn(BTreeMap<&'static str, PathBuf>),
}

/// Reads a session.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let record = record(&found.path)?.unwrap_or_default();
    draft.at(found.started);
    draft.opening.working_dir = first_of(&record, &["repo_root", "working_dir", "cwd"]).unwrap_or_default();
    let mut agent = first_of(&record, &["initial_agent", "active_agent", "agent"])
        .or_else(|| Some(record["agents"].as_array()?.first()?.as_str()?.to_owned()))
        .unwrap_or_default();
    draft.agent(&agent_name(&agent));
    draft.begin(&first_of(&record, &["objective", "task", "prompt"]).unwrap_or_default());
    let mut steps: Vec<(Option<Timestamp>, Step)> = Vec::new();
    for path in files_in(&found.path.join("journal"))? {
        for event in events(&path, draft) {
            steps.push((time(&event, &["timestamp"]), Step::Event(event)));
        }
    }
    for files in turns(&found.path.join("turns"))?.into_values() {
        let state = files.get("state").and_then(|path| json(path).ok()).unwrap_or_default();
        let began = time(&state["metadata"], &["started_at"])
            .or_else(|| time(&state, &["started_at", "timestamp"]))
            .or_else(|| Some(stat(files.get("prompt")?).ok()?.1));
        steps.push((began, Step::Turn(files)));
    }
    // Stable: what has the same time, or none, stays in its order.
    steps.sort_by_key(|(at, _)| *at);
    let mut outcome = match text(&record, "status") {
        "completed" => Some(Outcome::Success),
        "failed" => Some(Outcome::Failed),
        "interrupted" => Some(Outcome::Interrupted),
        _ => None,
    };
    for (at, step) in steps {
        draft.at(at);
        match step {
            Step::Event(event) => tell(&event, &mut agent, &mut outcome, &found.path, draft),
            Step::Turn(files) => turn(&files, &agent, draft),
        }
        if draft.is_broken() {
            break;
        }
    }
    Ok(Ending { outcome, ..Ending::default() })
}

/// The events in a file of the journal: one object, or one a line.
fn events(path: &Path, draft: &mut Draft<'_>) -> Vec<Value> {
    if let Ok(event) = json(path) {
        return vec![event];
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut all = Vec::new();
    let Ok(mut lines) = Lines::open(path) else { return all };
    loop {
        let place = format!("journal/{name}:{}", lines.number() + 1);
        match lines.next() {
            Ok(Some(Line::Whole(line))) => match decklog_text::json::from_slice(line) {
                Ok(event) => all.push(event),
                Err(error) => draft.unread(place, error),
            },
            Ok(Some(Line::TooLong(bytes))) => draft.unread(place, format!("it is {bytes} bytes long")),
            Ok(None) => return all,
            Err(error) => {
                draft.unread(place, error);
                return all;
            }
        }
    }
}

/// The files of each turn, by what they are.
fn turns(dir: &Path) -> io::Result<BTreeMap<u32, BTreeMap<&'static str, PathBuf>>> {
    let kind = |name: &str| {
        let stem = name.split('.').next().unwrap_or_default();
        ["prompt", "output", "stderr", "state", "stream"].into_iter().find(|kind| *kind == stem)
    };
    let mut all: BTreeMap<u32, BTreeMap<&'static str, PathBuf>> = BTreeMap::new();
    for path in entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            let Ok(number) = digits.parse() else { continue };
            for file in files_in(&path)? {
                let kind = file.file_name().and_then(|name| name.to_str()).and_then(kind);
                if let Some(kind) = kind {
                    all.entry(number).or_default().insert(kind, file);
                }
            }
        } else if let Some((number, rest)) = name.split_once('-')
            && let (Ok(number), Some(kind)) = (number.parse(), kind(rest))
        {
            all.entry(number).or_default().insert(kind, path);
        }
    }
    Ok(all)
}

fn tell(event: &Value, agent: &mut String, outcome: &mut Option<Outcome>, dir: &Path, draft: &mut Draft<'_>) {
    let payload = &event["payload"];
    match text(event, "type") {
        "session.started" => {}
        "handoff.prepared" => {
            let to = agent_name(text(payload, "to_agent"));
            draft.handoff(Handoff {
                from: agent_name(agent),
                to: to.clone(),
                reason: some_text(payload, "reason").unwrap_or_else(|| "handoff".into()),
                packet_artifact: None,
            });
            *agent = to;
        }
        "checkpoint.recorded" => {
            let id = text(payload, "checkpoint_id");
            let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            let summary = plain.then(|| dir.join("objects/checkpoints").join(id).join("summary.md"));
            let summary = summary.and_then(|path| files::read_limited(&path, MAX_RECORD).ok());
            let summary = summary.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            draft.notice("checkpoint", format!("{id}\n{summary}").trim().to_owned());
        }
        "session.completed" => *outcome = Some(Outcome::Success),
        other => draft.notice("relay_event", format!("{other} {payload}")),
    }
}

fn turn(files: &BTreeMap<&'static str, PathBuf>, agent: &str, draft: &mut Draft<'_>) {
    let read = |kind: &str, draft: &mut Draft<'_>| {
        let path = files.get(kind)?;
        match files::read_limited(path, MAX_TEXT) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                draft.unread(path.display().to_string(), error);
                None
            }
        }
    };
    let state = files.get("state").and_then(|path| json(path).ok()).unwrap_or_default();
    let agent = agent_name(&first_of(&state, &["agent_key", "agent"]).unwrap_or_else(|| agent.to_owned()));
    let prompt = read("prompt", draft).unwrap_or_default();
    draft.prompt_to(prompt.trim_end(), Some(&agent), Role::Speaker);
    let output = files.get("output").or_else(|| files.get("stream"));
    if let Some(path) = output {
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            stream(path, &agent, draft);
        } else if let Some(text) = read("output", draft) {
            draft.event(AgentEvent::Text(text));
        }
        draft.at(time(&state["metadata"], &["finished_at"]).or_else(|| Some(stat(path).ok()?.1)));
    }
    if let Some(stderr) = read("stderr", draft) {
        draft.notice("stderr", stderr);
    }
    match text(&state, "status") {
        "failed" | "error" => draft.event(AgentEvent::Failed(text(&state, "reason").to_owned())),
        "rate_limited" => {
            draft.event(AgentEvent::RateLimited { message: text(&state, "reason").to_owned(), resets_at: None });
        }
        _ => {}
    }
    draft.end_turn();
    draft.forget_native();
}

/// What the agent printed: lines for programs, or, where there is no adapter for them, text.
fn stream(path: &Path, agent: &str, draft: &mut Draft<'_>) {
    let known = known_agents().into_iter().find(|known| known.name == agent);
    let mut adapter = known.map(|known| known.adapter());
    let mut lines = match Lines::open(path) {
        Ok(lines) => lines,
        Err(error) => return draft.unread(path.display().to_string(), error),
    };
    let name = path.display().to_string();
    let mut plain = String::new();
    loop {
        let place = format!("{name}:{}", lines.number() + 1);
        match lines.next() {
            Ok(Some(Line::Whole(line))) => match &mut adapter {
                Some(adapter) if line.starts_with(b"{") => {
                    let mut out = Output::default();
                    adapter.line(line, &mut out);
                    draft.output(out);
                }
                _ => {
                    plain.push_str(&String::from_utf8_lossy(line));
                    plain.push('\n');
                }
            },
            Ok(Some(Line::TooLong(bytes))) => draft.unread(place, format!("it is {bytes} bytes long")),
            Ok(None) => break,
            Err(error) => {
                draft.unread(place, error);
                break;
            }
        }
    }
    draft.event(AgentEvent::Text(plain.trim_end().to_owned()));
}
