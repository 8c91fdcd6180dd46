//! Opening a session again: to go on with it after its recorder, and to correct its end.
//!
//! What a killed recorder left unfinished is set aside, and nothing of it is lost. Must not know: why it ended.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::{RESERVE, SessionWriter, WriteError, WriterOptions, reserve};
use crate::append::JournalWriter;
use crate::artifacts::{self, RESUME_DIR, TURNS_DIR};
use crate::event::{Checkpoint, EventBody, Resumed, SessionEnd};
use crate::files::{self, Access, open_in};
use crate::head::HeadFold;
use crate::intact;
use crate::lock::{LockError, SessionLock};
use crate::named::Named;
use crate::read::{Item, JournalReader, ReverseReader};
use crate::session::{JOURNAL_FILE, LoadError};
use crate::words::Outcome;

impl SessionWriter {
    /// Goes on with the session in `dir`, whose recorder is gone: moves torn bytes to `journal.torn` and
    /// records that it was resumed.
    ///
    /// # Errors
    /// [`WriteError`] when another recorder holds it, it is from a newer version, or cannot be read.
    pub fn resume(dir: &Path, options: WriterOptions, pid: Option<u32>, version: &str) -> Result<Self, WriteError> {
        let (mut writer, torn_bytes) = Self::reopen(dir, options)?;
        writer.append(Resumed { pid, decklog_version: version.to_owned(), torn_bytes })?;
        writer.write_head()?;
        Ok(writer)
    }

    /// Corrects the end, or the checkpoint, of the session in `dir`: decklog fails with `exit_code`, though what it
    /// recorded is a success. For what fails after that, such as printing the result.
    ///
    /// An end that cannot be corrected is taken away: the session is then one whose recorder died.
    ///
    /// # Errors
    /// [`WriteError`] when another recorder holds the session, it has no end, or the disk refuses both.
    pub fn correct_end(dir: &Path, options: WriterOptions, exit_code: i32) -> Result<(), WriteError> {
        let journal = dir.join(JOURNAL_FILE);
        let events = ReverseReader::open(&journal).map_err(|error| WriteError::Io { path: journal, error })?;
        let mut ends = events.flatten().flatten().filter_map(|event| match event.body {
            EventBody::SessionEnd(end) => {
                Some(SessionEnd { outcome: Some(Outcome::Failed), exit_code: Some(exit_code), ..end }.into())
            }
            EventBody::Checkpoint(end) => Some(Checkpoint { exit_code: Some(exit_code), ..end }.into()),
            _ => None,
        });
        let Some::<EventBody>(end) = ends.next() else {
            return Err(WriteError::Load { path: dir.to_owned(), error: LoadError::Empty });
        };
        let (mut writer, _) = Self::reopen(dir, options)?;
        match writer.append(end) {
            Err(_) if writer.lost > 0 => {
                writer.release_reserve();
                writer.withdraw_end()
            }
            appended => appended.map(drop),
        }
    }

    /// Opens the session in `dir` to append to it. Gives how many torn bytes it moved to `journal.torn`.
    fn reopen(dir: &Path, options: WriterOptions) -> Result<(Self, Option<u64>), WriteError> {
        let io = |path: &Path, error| WriteError::Io { path: path.to_owned(), error };
        let lock = SessionLock::take(dir, true)
            .and_then(|lock| lock.ok_or(LockError::Held))
            .map_err(|error| WriteError::Lock { path: dir.to_owned(), error })?;
        let path = dir.join(JOURNAL_FILE);
        let mut reader = JournalReader::open(&path).map_err(|error| io(&path, error))?;
        let (mut fold, mut last_at) = (HeadFold::default(), Timestamp::MIN);
        for item in &mut reader {
            if let Item::Event(event) = item.map_err(|error| io(&path, error))? {
                last_at = last_at.max(event.timestamp);
                fold.apply(&event);
            }
        }
        let Some(head) = fold.head() else {
            return Err(WriteError::Load { path: dir.to_owned(), error: LoadError::Empty });
        };
        if !head.format.is_writable() {
            return Err(WriteError::Format { path: dir.to_owned(), format: head.format });
        }
        let id = head.id.clone();
        set_unnamed_aside(dir, fold.state().last_turn(), reader.next_seq()).map_err(|error| io(dir, error))?;
        let torn = keep_torn(dir, reader.offset()).map_err(|error| io(&path, error))?;
        let journal = JournalWriter::resume(dir, reader.position(), options.durability, options.redactor.clone())
            .map_err(|error| io(&path, error))?;
        let mut writer = Self {
            dir: dir.to_owned(),
            id,
            journal,
            fold,
            options,
            lost: 0,
            pending_notice: None,
            owed: Vec::new(),
            reserved: 0,
            last_at,
            named: Named::default(),
            lock,
        };
        writer.reserved = reserve(&writer.dir).map_or(0, |()| RESERVE);
        Ok((writer, torn))
    }
}

/// Moves what is behind the last whole line of the journal to `journal.torn`; says how much it was.
fn keep_torn(dir: &Path, whole: u64) -> io::Result<Option<u64>> {
    let journal = open_in(dir, JOURNAL_FILE, Access::Read)?;
    let length = journal.metadata()?.len();
    if length <= whole {
        return Ok(None);
    }
    intact::set_aside(dir, &journal, whole, length).map(Some)
}

/// Sets files aside that a killed recorder wrote for events it did not reach: those of turns after `last_turn`, and
/// texts of events from `next_seq` on. Half of a compressed stream is removed: the stream itself is whole.
fn set_unnamed_aside(dir: &Path, last_turn: u32, next_seq: u64) -> io::Result<()> {
    files::remove_temporary(dir, RESUME_DIR)?;
    let entries = match std::fs::read_dir(dir.join(TURNS_DIR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| artifacts::is_ours(TURNS_DIR, name.as_bytes())) else { continue };
        if artifacts::before_set_aside(name).is_some() {
            continue;
        }
        let path = format!("{TURNS_DIR}/{name}");
        let Some((turn, seq)) = artifacts::parse_turn_file(name) else { continue };
        if name.ends_with(".part") {
            files::remove_in(dir, &path)?;
        } else if turn > last_turn || seq.is_some_and(|seq| seq >= next_seq) {
            artifacts::set_aside(dir, &path)?;
        }
    }
    Ok(())
}
