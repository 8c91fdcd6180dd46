//! Taking over the histories that agents and earlier tools wrote themselves.
//!
//! One file per source: each finds its sources below given roots ([`find`]), and reads one of them into a session
//! (`Draft`). Sources are hostile and of any size; they are only ever read. What was imported is known
//! from the heads of the sessions, so there is no second ledger ([`Importer`]).
//!
//! Must not know: the environment, the home directory, the terminal.

mod changes;
mod claude;
mod codeloops;
mod codex;
mod draft;
mod gemini;
mod lines;
mod opencode;
mod outrig;
mod recorded;
mod relay;
mod run;
mod sqlite;

use std::fmt;
use std::fs::{DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use decklog_journal::event::Source;
use jiff::Timestamp;
use serde::Serialize;

pub use run::{Imported, Importer, Outcome, Progress, Report};

macro_rules! tools {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Who wrote a history.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum Tool { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl std::str::FromStr for Tool {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|tool| tool.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|tool| tool.as_str()).collect();
                    format!("{text:?} is none of: {}", known.join(", "))
                })
            }
        }

        impl Tool {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

tools! {
    /// Claude Code.
    Claude = "claude",
    /// Codex.
    Codex = "codex",
    /// Gemini CLI.
    Gemini = "gemini",
    /// opencode.
    Opencode = "opencode",
    /// outrig.
    Outrig = "outrig",
    /// codeloops.
    Codeloops = "codeloops",
    /// agent-relay.
    AgentRelay = "agent-relay",
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A history that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who wrote it.
    pub tool: Tool,
    /// The tool's own id for it.
    pub id: String,
    /// The file or directory.
    pub path: PathBuf,
    /// Further files that belong to it.
    pub parts: Vec<PathBuf>,
    /// Ids under which the agent knows it, besides `id`.
    pub also: Vec<String>,
    /// Bytes of all its files; `None` where that is known only after reading.
    pub bytes: Option<u64>,
    /// When the newest of them was changed.
    pub modified: Timestamp,
    /// When it began, where that is known before reading.
    pub started: Option<Timestamp>,
}

/// What could not be read of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// How many lines or records.
    pub count: u64,
    /// The first of them, with the reason.
    pub places: Vec<String>,
}

/// Something that stands where a history should, and cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// Whether reading it failed: there may be a history in it.
    #[serde(skip)]
    pub is_failure: bool,
}

/// What looking for histories gave.
#[derive(Debug, Default)]
pub struct Finds {
    /// Histories, in the order of their paths.
    pub found: Vec<Found>,
    /// What could not be looked at.
    pub troubles: Vec<Trouble>,
}

impl Finds {
    /// Records that `path` could not be read.
    fn failed(&mut self, path: PathBuf, error: &io::Error) {
        self.troubles.push(Trouble { path, reason: error.to_string(), is_failure: is_failure(error) });
    }

    /// Records that `path` was read and holds nothing that is known.
    fn not_understood(&mut self, path: PathBuf) {
        self.troubles.push(Trouble { path, reason: "nothing in it can be read".to_owned(), is_failure: false });
    }

    /// [`entries`]; that they cannot be listed is recorded.
    fn entries(&mut self, dir: &Path) -> Vec<(PathBuf, FileType)> {
        entries(dir).unwrap_or_else(|error| {
            self.failed(dir.to_owned(), &error);
            Vec::new()
        })
    }
}

/// The entries of a directory, in the order of their names, links not followed; none if it does not exist.
fn entries(dir: &Path) -> io::Result<Vec<(PathBuf, FileType)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let of = |entry: io::Result<DirEntry>| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
    let mut all = entries.map(of).collect::<io::Result<Vec<_>>>()?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Whether an error is of reading, and not of what was read.
fn is_failure(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::InvalidData
}

/// Where a tool keeps its histories.
#[derive(Debug, Clone)]
pub struct Root {
    /// Whose.
    pub tool: Tool,
    /// The directory or file; it need not exist.
    pub path: PathBuf,
}

/// Where things are kept: what the environment tells.
#[derive(Debug, Clone)]
pub struct Homes {
    /// The home directory.
    pub home: PathBuf,
    /// Where programs keep their data.
    pub data: PathBuf,
    /// Claude Code's own directory, if it is elsewhere.
    pub claude: Option<PathBuf>,
    /// Codex's own directory, if it is elsewhere.
    pub codex: Option<PathBuf>,
    /// The top of the repository that the user works in.
    pub repository: PathBuf,
}

impl Homes {
    /// Where `tool` keeps its histories.
    #[must_use]
    pub fn roots(&self, tool: Tool) -> Vec<Root> {
        let paths = match tool {
            Tool::Claude => vec![self.claude.clone().unwrap_or_else(|| self.home.join(".claude")).join("projects")],
            Tool::Codex => {
                let dir = self.codex.clone().unwrap_or_else(|| self.home.join(".codex"));
                vec![dir.join("sessions"), dir.join("archived_sessions")]
            }
            Tool::Gemini => vec![self.home.join(".gemini/tmp")],
            Tool::Opencode => vec![self.data.join("opencode")],
            Tool::Outrig => vec![self.data.join("outrig/sessions")],
            Tool::Codeloops => vec![self.data.join("codeloops")],
            Tool::AgentRelay => vec![self.repository.join(".agent-relay/sessions")],
        };
        paths.into_iter().map(|path| Root { tool, path }).collect()
    }
}

/// Whose history the file or directory at `path` is, by what is in it.
#[must_use]
pub fn recognise(path: &Path) -> Vec<Tool> {
    let mut tools = Vec::new();
    let mut look = |path: &Path| {
        let tool = tool_of(path).filter(|tool| !tools.contains(tool));
        tools.extend(tool);
    };
    if path.is_dir() {
        let mut left = RECOGNISED_BY;
        walk(path, &mut Finds::default(), &mut |path, _| {
            if left > 0 {
                left -= 1;
                look(&path);
            }
        });
    } else {
        look(path);
    }
    tools
}

/// Bytes of a record that is read whole.
const MAX_RECORD: u64 = 1024 * 1024;

/// Files of a directory that are looked into to learn whose they are.
const RECOGNISED_BY: usize = 1000;

fn tool_of(path: &Path) -> Option<Tool> {
    if sqlite::is_database(path) {
        let db = sqlite::open(path).ok()?;
        if codeloops::is_ours(&db) {
            return Some(Tool::Codeloops);
        }
        return sqlite::has_table(&db, "part").then_some(Tool::Opencode);
    }
    if path.ancestors().nth(3).is_some_and(|dir| dir.ends_with("storage")) {
        return path.parent()?.parent()?.ends_with("session").then_some(Tool::Opencode);
    }
    if path.file_name().is_some_and(|name| name == "session.json" || name == "meta.json") {
        let record =
            decklog_text::json::from_slice(&decklog_journal::files::read_limited(path, MAX_RECORD).ok()?).ok()?;
        if outrig::is_record(&record) {
            return Some(Tool::Outrig);
        }
        return relay::is_record(&record).then_some(Tool::AgentRelay);
    }
    let mut lines = lines::Lines::open(path).ok()?;
    for _ in 0..3 {
        let lines::Line::Whole(line) = lines.next().ok()?? else { continue };
        let Ok(line) = decklog_text::json::from_slice::<serde_json::Value>(line) else { continue };
        let has = |key: &str| line.get(key).is_some();
        if has("sessionId") && (has("projectHash") || has("startTime")) {
            return Some(Tool::Gemini);
        }
        if codeloops::is_start(&line) {
            return Some(Tool::Codeloops);
        }
        if line["type"] == "session_meta" {
            return Some(Tool::Codex);
        }
        if has("sessionId") && has("type") {
            return Some(Tool::Claude);
        }
    }
    None
}

/// Bytes of the names of further files that a head and a journal name.
const MAX_PARTS: usize = 32 * 1024;

impl Found {
    fn source(&self) -> Source {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        // Hostile ones have thousands: what is named must fit into a line.
        let mut room = MAX_PARTS;
        let fits = |path: &String| {
            room = room.saturating_sub(path.len());
            room > 0
        };
        Source {
            tool: self.tool.as_str().to_owned(),
            id: self.id.clone(),
            path: text(&self.path),
            bytes: self.bytes.unwrap_or(0),
            modified: self.modified,
            parts: self.parts.iter().map(|path| text(path)).take_while(fits).collect(),
        }
    }
}

/// Histories below `roots`.
#[must_use]
pub fn find(roots: &[Root]) -> Finds {
    let mut finds = Finds::default();
    for root in roots {
        match root.tool {
            Tool::Claude => claude::find(&root.path, &mut finds),
            Tool::Codex => codex::find(&root.path, &mut finds),
            Tool::Gemini => gemini::find(&root.path, &mut finds),
            Tool::Opencode => opencode::find(&root.path, &mut finds),
            Tool::Outrig => outrig::find(&root.path, &mut finds),
            Tool::Codeloops => codeloops::find(&root.path, &mut finds),
            Tool::AgentRelay => relay::find(&root.path, &mut finds),
        }
    }
    finds.found.sort_by(|a, b| (a.tool, &a.path, &a.id).cmp(&(b.tool, &b.path, &b.id)));
    finds.found.dedup_by(|a, b| a.tool == b.tool && a.id == b.id && a.path == b.path);
    finds
}

/// Directories that hold no history, and many files.
const NOT_SEARCHED: [&str; 3] = ["opencode/snapshot", "node_modules", ".git"];

/// What tells the present state of everything below `roots` from another: while it is the same, there is nothing new
/// to find. No file is opened for it.
#[must_use]
pub fn stamp(roots: &[Root]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for root in roots {
        if root.path.is_file() {
            stat(&root.path).ok().hash(&mut hasher);
        } else {
            walk(&root.path, &mut Finds::default(), &mut |path, _| {
                stat(&path).ok().hash(&mut hasher);
                path.hash(&mut hasher);
            });
        }
    }
    hasher.finish()
}

/// A file's size, and when it was changed, to the microsecond: what a journal can hold.
fn stat(path: &Path) -> io::Result<(u64, Timestamp)> {
    let meta = path.metadata()?;
    Ok((meta.len(), timestamp(meta.modified()?)))
}

fn timestamp(at: SystemTime) -> Timestamp {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How deep directories are searched.
const DEPTH: usize = 8;

/// Calls `take` with every regular file below `dir`, links not followed, in the order of their names.
fn walk(dir: &Path, finds: &mut Finds, take: &mut dyn FnMut(PathBuf, &mut Finds)) {
    walk_to(dir, DEPTH, finds, take);
}

fn walk_to(dir: &Path, depth: usize, finds: &mut Finds, take: &mut dyn FnMut(PathBuf, &mut Finds)) {
    for (path, kind) in finds.entries(dir) {
        match kind {
            kind if kind.is_dir() && NOT_SEARCHED.iter().any(|name| path.ends_with(name)) => {}
            kind if kind.is_dir() && depth > 0 => walk_to(&path, depth - 1, finds, take),
            kind if kind.is_file() => take(path, finds),
            _ => {}
        }
    }
}
