//! Appending to a journal: one event, one write, before anybody acts on it.
//!
//! A write that fails half-way is taken back, so that the file ends with a whole line. What the disk
//! refused is told to the caller and is lost; the next event takes its number, and the chain holds.
//!
//! Must not know: what events mean, beyond which of them are worth waiting for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::event::{Event, EventBody};
use crate::files;
use crate::read::Position;
use crate::redact::Redactor;
use crate::wire::{self, Encoded};

/// How much a machine's sudden end may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was recorded: each event is synced.
    Event,
    /// At most what came after the last turn's end, checkpoint or session's end.
    #[default]
    Turn,
    /// Whatever the operating system had not written yet. A crash of the recorder alone loses nothing.
    Os,
}

/// The open end of a journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    file: File,
    length: u64,
    next_seq: u64,
    sum: String,
    durability: Durability,
    redactor: Redactor,
}

impl JournalWriter {
    pub(crate) fn create(path: &Path, durability: Durability, redactor: Redactor) -> io::Result<Self> {
        let file = files::create_private(path)?;
        Ok(Self { file, length: 0, next_seq: 0, sum: String::new(), durability, redactor })
    }

    /// Goes on where `chain` says the last whole line ended; nothing may stand behind it any more.
    pub(crate) fn resume(
        path: &Path,
        chain: &Position,
        durability: Durability,
        redactor: Redactor,
    ) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = OpenOptions::new().write(true).custom_flags(files::flag_bits(flags)).open(path)?;
        let sum = chain.sum.clone().unwrap_or_default();
        let mut writer = Self { file, length: chain.offset, next_seq: chain.next_seq, sum, durability, redactor };
        writer.rewind()?;
        Ok(writer)
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn sum(&self) -> &str {
        &self.sum
    }

    /// The line that `body` would make.
    pub(crate) fn encode(&self, at: Timestamp, body: &EventBody) -> io::Result<Encoded> {
        Ok(wire::encode(self.next_seq, at, body, &self.sum, &self.redactor)?)
    }

    /// Writes a line made by [`Self::encode`]; gives the event as it stands in the journal, without secrets.
    pub(crate) fn append(&mut self, at: Timestamp, body: EventBody, line: Encoded) -> io::Result<Event> {
        if let Err(error) = self.file.write_all(&line.bytes) {
            // Should this fail too, the next try, or the next reader, deals with the torn bytes.
            let _ = self.rewind();
            return Err(error);
        }
        self.length += line.bytes.len() as u64;
        self.sum = line.sum;
        let body = line.redacted.unwrap_or(body);
        let event = Event { seq: self.next_seq, timestamp: at, body };
        self.next_seq = self.next_seq.saturating_add(1);
        Ok(event)
    }

    /// Waits for the disk, if an event like `body` is worth it. When it fails, the event stands in the journal all
    /// the same: readers see it, but a power cut may take it.
    pub(crate) fn settle(&self, body: &EventBody) -> io::Result<()> {
        let milestone = matches!(body, EventBody::TurnEnd(_) | EventBody::Checkpoint(_) | EventBody::SessionEnd(_));
        match self.durability {
            Durability::Event => self.file.sync_data(),
            Durability::Turn if milestone => self.file.sync_data(),
            Durability::Turn | Durability::Os => Ok(()),
        }
    }

    fn rewind(&mut self) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }
}
