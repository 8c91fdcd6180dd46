//! Claude Code's transcripts: `projects/<directory>/<session>.jsonl`, subagents in `<session>/subagents/`.
//!
//! Seen with version 2.1. A resumed conversation goes on in its file or, with older versions, in a new one that begins
//! with the same lines: files whose first line has the same `uuid` are one chain, and a line is taken once. One answer
//! of the model is a line per content block, each repeating the answer's usage: counted once, as it was told last. The
//! directory's name is lossy, so the lines' `cwd` is taken.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::event::Tokens;
use decklog_journal::words::TurnOutcome;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::changes::{self, Edit, whole_file};
use super::draft::{Draft, Ending};
use super::lines::{Line, Lines};
use super::{Finds, Found, Tool, stat, walk};
use crate::agents::claude::{tokens, tool_result, tool_use};
use crate::agents::common::{content_text, list, some_text, text};
use crate::agents::{AgentEvent, Output};

/// Lines at the beginning of a file in which its session must be named.
const BEGINNING: usize = 100;

/// What a line tells, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    subtype: Cow<'a, str>,
    #[serde(default, borrow)]
    uuid: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    parent_uuid: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    cwd: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    git_branch: Option<Cow<'a, str>>,
    #[serde(default)]
    is_sidechain: bool,
    #[serde(default)]
    is_meta: bool,
    #[serde(default)]
    is_compact_summary: bool,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    tool_use_result: Value,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    is_api_error_message: bool,
    #[serde(default)]
    summary: Value,
    #[serde(default)]
    custom_title: Value,
    #[serde(default)]
    ai_title: Value,
    #[serde(rename = "totalCostUSD", default)]
    total_cost: Option<f64>,
}

impl Entry<'_> {
    fn at(&self) -> Option<Timestamp> {
        self.timestamp.as_deref()?.parse().ok()
    }
}

/// Kinds of lines that hold nothing of the conversation; many of them are long.
const PASSED_OVER: [&[u8]; 12] = [
    b"api-request",
    b"attachment",
    b"atis-latch",
    b"tools-used",
    b"last-prompt",
    b"queue-operation",
    b"file-history-snapshot",
    b"file-history-delta",
    b"progress",
    b"permission-mode",
    b"mode",
    b"pr-link",
];

/// Whether the first key of a line tells that it can be passed over unread.
fn is_passed_over(line: &[u8]) -> bool {
    line.strip_prefix(br#"{"type":""#).is_some_and(|rest| PASSED_OVER.iter().any(|kind| rest.starts_with(kind)))
}

/// What the beginning of a transcript tells.
#[derive(Default)]
struct Beginning {
    session: Option<String>,
    uuid: Option<String>,
    parent: Option<String>,
    started: Option<Timestamp>,
    /// Whether a line was no JSON.
    broken: bool,
}

fn beginning(path: &Path) -> io::Result<Beginning> {
    let mut lines = Lines::open(path)?;
    let mut told = Beginning::default();
    for _ in 0..BEGINNING {
        let Some(line) = lines.next()? else { break };
        let Line::Whole(line) = line else { continue };
        let mut repaired = Vec::new();
        let Ok(entry) = decklog_text::json::from_slice_in::<Entry<'_>>(line, &mut repaired) else {
            told.broken = true;
            continue;
        };
        told.started = told.started.or(entry.at());
        told.session = told.session.or(entry.session_id.map(Cow::into_owned));
        if let Some(uuid) = entry.uuid {
            told.uuid = Some(uuid.into_owned());
            told.parent = entry.parent_uuid.map(Cow::into_owned);
            break;
        }
    }
    Ok(told)
}

/// Transcripts below `root`, or `root` itself.
pub(super) fn find(root: &Path, finds: &mut Finds) {
    let mut main: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut agents: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut sort = |path: PathBuf| {
        let Some((dir, name)) = path.parent().zip(path.file_name().and_then(|name| name.to_str())) else { return };
        if !name.ends_with(".jsonl") && !name.ends_with(".jsonl.zst") {
            return;
        }
        if let Some(session) = dir.ancestors().take(4).find(|dir| dir.ends_with("subagents")).and_then(Path::parent) {
            agents.entry(session.to_owned()).or_default().push(path);
        } else if name.starts_with("agent-") {
            agents.entry(dir.to_owned()).or_default().push(path);
        } else {
            main.entry(dir.to_owned()).or_default().push(path);
        }
    };
    if root.is_file() {
        sort(root.to_owned());
        // Its subagents belong to it.
        let own = root.with_extension("").join("subagents");
        walk(&own, finds, &mut |path, _| sort(path));
    } else {
        walk(root, finds, &mut |path, _| sort(path));
    }
    // Older versions put subagents beside their session.
    let mut beside: HashMap<PathBuf, HashMap<String, Vec<PathBuf>>> = HashMap::new();
    for (dir, files) in &agents {
        if main.contains_key(dir) {
            for file in files {
                let session = match beginning(file) {
                    Ok(told) => told.session.unwrap_or_default(),
                    Err(error) => {
                        finds.failed(file.clone(), &error);
                        continue;
                    }
                };
                beside.entry(dir.clone()).or_default().entry(session).or_default().push(file.clone());
            }
        }
    }
    for (dir, files) in main {
        for chain in chains(files, finds) {
            let mut parts: Vec<PathBuf> = chain[1..].iter().map(|(path, _)| path.clone()).collect();
            for (path, told) in &chain {
                parts.extend(agents.get(&path.with_extension("")).cloned().unwrap_or_default());
                let here = told.session.as_ref().and_then(|session| beside.get(&dir)?.get(session));
                parts.extend(here.cloned().unwrap_or_default());
            }
            match found(&chain, parts) {
                Ok(one) => finds.found.push(one),
                Err(error) => finds.failed(chain[0].0.clone(), &error),
            }
        }
    }
}

type Chain = Vec<(PathBuf, Beginning)>;

/// The files of one directory by conversation, each in the order in which it went on.
fn chains(files: Vec<PathBuf>, finds: &mut Finds) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut by_uuid: HashMap<String, usize> = HashMap::new();
    let mut open: Chain = Vec::new();
    for path in files {
        match beginning(&path) {
            Ok(told) if told.session.is_none() && told.uuid.is_none() => {
                if told.broken {
                    finds.not_understood(path);
                }
            }
            Ok(told) => open.push((path, told)),
            Err(error) => finds.failed(path, &error),
        }
    }
    open.sort_by_cached_key(|(path, told)| (told.parent.is_some(), told.started, stat(path).ok().map(|(_, at)| at)));
    for (path, told) in open {
        let same = told.uuid.as_ref().and_then(|uuid| by_uuid.get(uuid)).copied();
        // It goes on with a line that stands in another file of the directory.
        let at = same.or_else(|| {
            let parent = told.parent.as_ref()?;
            chains.iter().position(|chain| chain.iter().any(|(path, _)| holds(path, parent)))
        });
        let at = at.unwrap_or_else(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        if let Some(uuid) = &told.uuid {
            by_uuid.entry(uuid.clone()).or_insert(at);
        }
        chains[at].push((path, told));
    }
    chains
}

/// Whether a line of `path` has this `uuid`.
fn holds(path: &Path, uuid: &str) -> bool {
    let needle = format!("\"uuid\":\"{uuid}\"");
    let finder = memchr::memmem::Finder::new(&needle);
    let Ok(mut lines) = Lines::open(path) else { return false };
    while let Ok(Some(line)) = lines.next() {
        if matches!(line, Line::Whole(line) if finder.find(line).is_some()) {
            return true;
        }
    }
    false
}

fn found(chain: &Chain, parts: Vec<PathBuf>) -> io::Result<Found> {
    let (path, told) = &chain[0];
    let (mut bytes, mut modified) = stat(path)?;
    for part in &parts {
        let (more, at) = stat(part)?;
        bytes += more;
        modified = modified.max(at);
    }
    let name = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().split('.').next().unwrap_or_default().to_owned())
    };
    let id = told.session.clone().or_else(|| name(path)).unwrap_or_default();
    let mut also: Vec<String> =
        chain.iter().flat_map(|(path, told)| [told.session.clone(), name(path)]).flatten().collect();
    also.retain(|other| *other != id);
    also.dedup();
    Ok(Found {
        tool: Tool::Claude,
        id,
        path: path.clone(),
        parts,
        also,
        bytes: Some(bytes),
        modified,
        started: told.started,
    })
}

/// Reads a chain.
pub(super) fn read(found: &Found, draft: &mut Draft<'_>) -> io::Result<Ending> {
    let is_agent = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("agent-"))
            || path.components().any(|part| part.as_os_str() == "subagents")
    };
    let agents = found.parts.iter().filter(is_agent).map(|path| (agent_id(path), path.clone())).collect();
    let ids = found.also.iter().chain([&found.id]).cloned().collect();
    let mut reader = Reader { ids, agents, ..Reader::default() };
    let main = found.parts.iter().filter(|path| !is_agent(path));
    for (at, path) in [&found.path].into_iter().chain(main).enumerate() {
        match reader.file(path, draft, false) {
            Err(error) if at == 0 => return Err(error),
            Err(error) => draft.unread(path.display().to_string(), error),
            Ok(()) => {}
        }
    }
    // Those whose end no tool result told: they were cut off with the conversation.
    let left: Vec<_> = std::mem::take(&mut reader.agents).into_iter().collect();
    for (id, path) in left {
        reader.subagent(&id, &path, draft);
    }
    reader.count(draft);
    if reader.foreign > 0 {
        draft.notice("foreign_lines", format!("{} lines of other sessions stand in its file", reader.foreign));
    }
    Ok(Ending { summary: reader.title, ..Ending::default() })
}

/// `agent-<id>.jsonl`
fn agent_id(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    name.strip_prefix("agent-").unwrap_or(name).to_owned()
}

#[derive(Default)]
struct Reader {
    /// Ids of the chain's sessions.
    ids: HashSet<String>,
    /// Subagents' transcripts that were not read yet.
    agents: BTreeMap<String, PathBuf>,
    /// Lines that were read.
    seen: HashSet<u128>,
    /// Answers of the open turn, by message.
    usage: Vec<(String, Tokens, Option<String>)>,
    /// Answers of turns that are over.
    counted: HashSet<String>,
    /// Cost told last, of the whole run of the program.
    cost: f64,
    /// A command of the agent's own that may lead to a turn.
    command: Option<String>,
    title: Option<String>,
    foreign: u64,
    /// Sessions of lines, and whether they have a file of their own.
    others: HashMap<String, bool>,
}

impl Reader {
    fn file(&mut self, path: &Path, draft: &mut Draft<'_>, sidechain: bool) -> io::Result<()> {
        let mut lines = Lines::open(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        loop {
            let number = lines.number() + 1;
            let line = match lines.next() {
                Ok(Some(Line::Whole(line))) => line,
                Ok(Some(Line::TooLong(bytes))) => {
                    draft.unread(format!("{name}:{number}"), format!("the line is {bytes} bytes long"));
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(error) if number > 1 => {
                    draft.unread(format!("{name}:{number}"), error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if draft.is_broken() {
                return Ok(());
            }
            if is_passed_over(line) {
                continue;
            }
            match decklog_text::json::from_slice_in::<Entry<'_>>(line, &mut Vec::new()) {
                Ok(entry) if self.is_ours(&entry, path, sidechain) => self.entry(entry, draft, sidechain),
                Ok(_) => {}
                Err(error) => draft.unread(format!("{name}:{}", lines.number()), error),
            }
        }
    }

    /// Whether a line was not read before and belongs to this conversation.
    fn is_ours(&mut self, entry: &Entry<'_>, path: &Path, sidechain: bool) -> bool {
        if let Some(session) = entry.session_id.as_deref().filter(|session| !sidechain && !self.ids.contains(*session))
        {
            // Two running at once were seen to write into one file. What has no file of its own stays here.
            let plain = session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let elsewhere = *self
                .others
                .entry(session.to_owned())
                .or_insert_with(|| plain && path.with_file_name(format!("{session}.jsonl")).exists());
            if elsewhere {
                self.foreign += 1;
                return false;
            }
        }
        match entry.uuid.as_deref().map(|uuid| uuid.replace('-', "")) {
            Some(hex) => u128::from_str_radix(&hex, 16).map_or(true, |uuid| self.seen.insert(uuid)),
            None => true,
        }
    }

    fn entry(&mut self, entry: Entry<'_>, draft: &mut Draft<'_>, sidechain: bool) {
        let sidechain = sidechain || entry.is_sidechain;
        if draft.opening.working_dir.is_empty()
            && let Some(cwd) = &entry.cwd
        {
            draft.opening.working_dir = cwd.clone().into_owned();
            draft.opening.git.branch = entry.git_branch.as_deref().filter(|name| !name.is_empty()).map(str::to_owned);
        }
        match &*entry.kind {
            "user" => self.user(&entry, draft, sidechain),
            "assistant" => {
                draft.at(entry.at());
                self.assistant(&entry, draft, sidechain);
            }
            "system" => {
                draft.at(entry.at());
                match &*entry.subtype {
                    "compact_boundary" => draft.notice("compacted", content_text(&entry.content)),
                    "api_error" => draft.notice("api_retry", content_text(&entry.error)),
                    "informational" | "local_command" => {}
                    _ => {}
                }
            }
            "summary" => self.title = entry.summary.as_str().map(str::to_owned),
            "custom-title" => self.title = entry.custom_title.as_str().map(str::to_owned),
            "ai-title" => self.title = self.title.take().or(entry.ai_title.as_str().map(str::to_owned)),
            "cost-state" => {
                let total = entry.total_cost.unwrap_or(0.0);
                // A program that was started anew may begin at nothing.
                let more = if total >= self.cost { total - self.cost } else { total };
                self.cost = total;
                if more > 0.0 && draft.in_turn() {
                    let model = self.usage.iter().rev().find_map(|(_, _, model)| model.clone());
                    draft.usage(model, Tokens::default(), Some(more));
                }
            }
            _ => {}
        }
    }

    fn user(&mut self, entry: &Entry<'_>, draft: &mut Draft<'_>, sidechain: bool) {
        let content = &entry.message["content"];
        if entry.is_compact_summary {
            draft.at(entry.at());
            return draft.notice("compacted", content_text(content));
        }
        if let Some(agent) = some_text(&entry.tool_use_result, "agentId")
            && let Some(path) = self.agents.remove(&agent)
        {
            self.subagent(&agent, &path, draft);
        }
        draft.at(entry.at());
        let mut said = String::new();
        let mut results = false;
        match content {
            Value::String(text) => said.clone_from(text),
            Value::Array(blocks) => {
                for block in blocks {
                    match text(block, "type") {
                        "tool_result" => {
                            results = true;
                            let failed = block["is_error"] == true;
                            draft.event(tool_result(block));
                            if !failed {
                                edits(&entry.tool_use_result, draft);
                            }
                        }
                        "text" => {
                            if !said.is_empty() {
                                said.push('\n');
                            }
                            said.push_str(text(block, "text"));
                        }
                        other => {
                            said.push_str(&format!("[{other}]"));
                        }
                    }
                }
            }
            _ => {}
        }
        if said.trim().is_empty() || entry.is_meta || sidechain {
            return;
        }
        self.said(said.trim_end(), results, draft);
    }

    /// What the user, or the program in their name, wrote.
    fn said(&mut self, said: &str, with_results: bool, draft: &mut Draft<'_>) {
        let starts = |words: &[&str]| words.iter().any(|word| said.starts_with(word));
        if starts(&["[Request interrupted by user"]) {
            draft.set_outcome(TurnOutcome::Interrupted, None);
        } else if starts(&["<command-name>", "<command-message>"]) {
            let between = |tag: &str| {
                let (_, rest) = said.split_once(&format!("<{tag}>"))?;
                Some(rest.split_once(&format!("</{tag}>"))?.0.trim().to_owned())
            };
            let words = [between("command-name"), between("command-args")];
            self.command = Some(words.into_iter().flatten().collect::<Vec<_>>().join(" ").trim().to_owned());
        } else if with_results
            || starts(&["<local-command", "<bash-", "<system-reminder>", "<task-notification>", "Caveat: The messages"])
        {
            draft.notice("local_command", said.to_owned());
        } else {
            self.command = None;
            self.count(draft);
            draft.prompt(said);
        }
    }

    fn assistant(&mut self, entry: &Entry<'_>, draft: &mut Draft<'_>, sidechain: bool) {
        if let Some(command) = self.command.take() {
            self.count(draft);
            draft.prompt(&command);
        }
        let message = &entry.message;
        let model = some_text(message, "model").filter(|model| model != "<synthetic>");
        if let Some(usage) = message.get("usage") {
            let (id, tokens) = (some_text(message, "id"), tokens(usage));
            match id {
                Some(id) if self.counted.contains(&id) => {}
                Some(id) => match self.usage.iter_mut().find(|known| known.0 == id) {
                    Some(known) => (known.1, known.2) = (tokens, model.clone()),
                    None => self.usage.push((id, tokens, model.clone())),
                },
                None => draft.usage(model.clone(), tokens, None),
            }
        }
        if entry.is_api_error_message || entry.error.is_string() {
            let words = content_text(&message["content"]);
            return draft.event(match entry.error.as_str() {
                Some("rate_limit") => AgentEvent::RateLimited { message: words, resets_at: None },
                _ => AgentEvent::Failed(words),
            });
        }
        if !sidechain {
            // It went on after all.
            draft.clear_outcome();
        }
        let mut out = Output::default();
        let told = if sidechain { None } else { model };
        out.events.extend(told.map(AgentEvent::Model));
        if let Value::String(words) = &message["content"] {
            out.events.push(AgentEvent::Text(words.clone()));
        }
        for block in list(message, "content") {
            match text(block, "type") {
                "text" => out.events.push(AgentEvent::Text(text(block, "text").to_owned())),
                "thinking" => out.events.push(AgentEvent::Thought(text(block, "thinking").to_owned())),
                "redacted_thinking" | "fallback" => {}
                "tool_use" | "server_tool_use" | "mcp_tool_use" => tool_use(block, &mut out),
                _ => out.notice("unknown_block", block.to_string()),
            }
        }
        draft.output(out);
    }

    fn subagent(&mut self, id: &str, path: &Path, draft: &mut Draft<'_>) {
        draft.notice("subagent", format!("what subagent {id} did follows"));
        if let Err(error) = self.file(path, draft, true) {
            draft.unread(path.display().to_string(), error);
        }
    }

    /// Hands on what the open turn's answers used.
    fn count(&mut self, draft: &mut Draft<'_>) {
        for (id, tokens, model) in std::mem::take(&mut self.usage) {
            draft.usage(model, tokens, None);
            self.counted.insert(id);
        }
    }
}

/// The files that a tool's result tells as changed.
fn edits(result: &Value, draft: &mut Draft<'_>) {
    let Some(path) = some_text(result, "filePath").or_else(|| some_text(result, "notebook_path")) else { return };
    let patch = list(result, "structuredPatch");
    let created =
        text(result, "type") == "create" || (result["originalFile"].is_null() && result.get("content").is_some());
    if created {
        let (hunk, lines) = whole_file(text(result, "content"), '+');
        return draft.edit(Edit {
            path,
            status: "added",
            lines: Some((lines, 0)),
            hunks: Some(hunk),
            ..Edit::default()
        });
    }
    if !patch.is_empty() {
        let hunks = changes::structured(patch);
        let lines = Some(changes::count_lines(&hunks));
        draft.edit(Edit { path, status: "modified", lines, hunks: Some(hunks), ..Edit::default() });
    } else if result.get("newString").is_some() {
        draft.edit(changes::replaced(&path, result, "oldString", "newString"));
    } else if result.get("new_source").is_some() {
        draft.edit(Edit { path, status: "modified", ..Edit::default() });
    }
}
