//! Artifacts: files beside the journal, written through the redactor.
//!
//! Names are made here and nowhere else, and `is_ours` knows every one of them: what it does not know
//! is never removed.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::Path;

use crate::event::ArtifactRef;
use crate::files;
use crate::head::HEAD_FILE;
use crate::lock::LOCK_FILE;
use crate::redact::{RedactStream, Redactor};
use crate::session::JOURNAL_FILE;

/// Where a resuming writer puts the bytes of a torn line.
pub const TORN_FILE: &str = "journal.torn";

/// Its presence says that the session came out of an archive: somebody else may have written what it says.
pub const UNPACKED_FILE: &str = ".unpacked";

/// A file that keeps some room on a full disk for the last events.
pub(crate) const RESERVE_FILE: &str = ".reserve";

/// Directories of a session directory.
pub const TURNS_DIR: &str = "turns";
/// Packets for the next agent.
pub const RESUME_DIR: &str = "resume";
/// Logs of containers, servers and the network.
pub const LOGS_DIR: &str = "logs";
/// Git objects of the snapshots.
pub const OBJECTS_DIR: &str = "objects";

/// Artifacts of one turn, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnFile {
    /// What was sent.
    Prompt,
    /// What came back, readable.
    Output,
    /// The agent's stdout byte for byte.
    Stream,
    /// The agent's stderr byte for byte.
    Stderr,
    /// Times, tokens, cost, tool outcomes, files, validation, exit.
    State,
    /// What the turn changed.
    Patch,
}

impl TurnFile {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Prompt, Self::Output, Self::Stream, Self::Stderr, Self::State, Self::Patch];

    /// Its path in the session directory for turn `turn`.
    #[must_use]
    pub fn path(self, turn: u32) -> String {
        format!("{TURNS_DIR}/{turn:03}{}", self.suffix())
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Prompt => "-prompt.md",
            Self::Output => "-output.md",
            Self::Stream => "-stream.jsonl",
            Self::Stderr => "-stderr.log",
            Self::State => "-state.json",
            Self::Patch => ".patch",
        }
    }
}

/// Path of the artifact for a text too long for the line of event `seq`.
pub(crate) fn long_text_path(turn: Option<u32>, seq: u64, what: &str) -> String {
    format!("{TURNS_DIR}/{:03}-{what}-{seq}.txt", turn.unwrap_or(0))
}

/// Whether decklog makes files of this name directly in `dir` (empty for the session directory itself).
#[must_use]
pub fn is_ours(dir: &str, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let number = name.bytes().take_while(u8::is_ascii_digit).count();
    match dir {
        "" => {
            let temporary = format!(".{HEAD_FILE}{}", files::TEMPORARY_SUFFIX);
            [HEAD_FILE, JOURNAL_FILE, LOCK_FILE, TORN_FILE, UNPACKED_FILE, RESERVE_FILE].contains(&name)
                || name == temporary
        }
        TURNS_DIR if number >= 3 => {
            let rest = &name[number..];
            let rest = rest.strip_suffix(".part").unwrap_or(rest);
            let rest = rest.strip_suffix(".zst").unwrap_or(rest);
            TurnFile::ALL.iter().any(|file| file.suffix() == rest)
                || rest.strip_prefix('-').and_then(|rest| rest.strip_suffix(".txt")).is_some_and(|rest| {
                    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                    rest.bytes().all(plain) && rest.ends_with(|c: char| c.is_ascii_digit())
                })
        }
        RESUME_DIR if name.starts_with('.') => {
            name.strip_suffix(files::TEMPORARY_SUFFIX).is_some_and(|name| is_ours(dir, &name.as_bytes()[1..]))
        }
        RESUME_DIR if number >= 3 => name.ends_with(".md") || name.ends_with(".json"),
        LOGS_DIR => name == "container.log" || name == "network.jsonl" || name.ends_with(".stderr"),
        _ => false,
    }
}

/// A file being written in the session directory. What goes in passes the redactor.
#[derive(Debug)]
pub struct ArtifactWriter {
    path: String,
    file: File,
    redact: RedactStream,
    pending: Vec<u8>,
    bytes: u64,
    /// Up to where the disk was told to begin.
    handed: u64,
}

/// After so many bytes the disk begins to write them: whoever waits for it at the end waits for the rest alone.
const AHEAD: u64 = 8 << 20;

impl ArtifactWriter {
    pub(crate) fn create(dir: &Path, path: String, redactor: &Redactor) -> io::Result<Self> {
        let full = dir.join(&path);
        if let Some(parent) = full.parent() {
            match files::make_private_dir(parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let file = files::create_private(&full)?;
        Ok(Self { path, file, redact: redactor.stream(), pending: Vec::new(), bytes: 0, handed: 0 })
    }

    /// As [`Self::create`], but goes on with what is there.
    pub(crate) fn append(dir: &Path, path: String, redactor: &Redactor) -> io::Result<Self> {
        match Self::create(dir, path.clone(), redactor) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = files::append_private(&dir.join(&path))?;
                let bytes = file.metadata()?.len();
                Ok(Self { path, file, redact: redactor.stream(), pending: Vec::new(), bytes, handed: bytes })
            }
            made => made,
        }
    }

    /// Path within the session directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a chunk. What might be the beginning of a secret waits for what follows.
    ///
    /// # Errors
    /// When the disk refuses; the chunk is then lost in part or whole.
    pub fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let (file, bytes) = (&mut self.file, &mut self.bytes);
        let mut result = Ok(());
        self.redact.push_with(chunk, |safe| {
            if result.is_ok() {
                result = file.write_all(safe);
                *bytes += safe.len() as u64;
            }
        });
        if let Some(more) = NonZeroU64::new(self.bytes - self.handed).filter(|more| more.get() >= AHEAD) {
            // It is what POSIX has for it. Where a file system knows none, the end is waited for longer.
            let _ = rustix::fs::fadvise(&self.file, self.handed, Some(more), rustix::fs::Advice::DontNeed);
            self.handed = self.bytes;
        }
        result
    }

    /// Writes what is held back and closes the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> io::Result<ArtifactRef> {
        self.redact.finish(&mut self.pending);
        self.file.write_all(&self.pending)?;
        self.bytes += self.pending.len() as u64;
        Ok(ArtifactRef { path: self.path, bytes: self.bytes })
    }
}
