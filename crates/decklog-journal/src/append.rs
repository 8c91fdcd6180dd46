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

use crate::beside::Unsynced;
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
    /// Lines that wait to be written together; only where nobody reads along.
    gathered: Option<Vec<u8>>,
    unsynced: Unsynced,
    /// Why what stands beside the journal may not be on the disk, until that is told.
    trouble: Option<io::Error>,
}

/// Bytes of lines that are written together.
const GATHER: usize = 256 * 1024;

impl JournalWriter {
    pub(crate) fn create(path: &Path, durability: Durability, redactor: Redactor) -> io::Result<Self> {
        let file = files::create_private(path)?;
        Ok(Self {
            file,
            length: 0,
            next_seq: 0,
            sum: String::new(),
            durability,
            redactor,
            gathered: None,
            unsynced: Unsynced::new(),
            trouble: None,
        })
    }

    /// The same for a journal that nobody sees before it is whole: lines are written many at a time.
    pub(crate) fn create_unseen(path: &Path, redactor: Redactor) -> io::Result<Self> {
        let mut writer = Self::create(path, Durability::Os, redactor)?;
        writer.gathered = Some(Vec::with_capacity(2 * GATHER));
        Ok(writer)
    }

    /// Writes what was gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(gathered) = &mut self.gathered {
            self.file.write_all(gathered)?;
            gathered.clear();
        }
        Ok(())
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
        let (length, next_seq) = (chain.offset, chain.next_seq);
        let mut writer = Self {
            file,
            length,
            next_seq,
            sum,
            durability,
            redactor,
            gathered: None,
            unsynced: Unsynced::new(),
            trouble: None,
        };
        writer.rewind()?;
        Ok(writer)
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
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
        if let Some(gathered) = &mut self.gathered {
            gathered.extend_from_slice(&line.bytes);
            if gathered.len() >= GATHER {
                self.flush()?;
            }
        } else if let Err(error) = self.file.write_all(&line.bytes) {
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

    /// Waits for the disk to have the files that stand behind `body`, if an event like it is worth it: before its line, which
    /// may be there first else. When that fails, [`Self::settle`] tells it.
    pub(crate) fn precede(&mut self, dir: &Path, body: &EventBody) {
        if self.durability == Durability::Os {
            return;
        }
        let artifacts = body.artifacts();
        let is_worth_it = self.waits_for(body) && (is_milestone(body) || !artifacts.is_empty());
        artifacts.iter().for_each(|artifact| self.unsynced.note(&artifact.path));
        if is_worth_it {
            let objects = is_milestone(body) || matches!(body, EventBody::TurnStart(_));
            self.trouble = self.unsynced.sync(dir, objects).err();
        }
    }

    /// Waits for the disk, if an event like `body` is worth it. When it fails, the event stands in the journal all
    /// the same: readers see it, but a power cut may take it.
    pub(crate) fn settle(&mut self, body: &EventBody) -> io::Result<()> {
        let synced = if self.waits_for(body) { self.file.sync_data() } else { Ok(()) };
        self.trouble.take().map_or(synced, Err)
    }

    fn waits_for(&self, body: &EventBody) -> bool {
        match self.durability {
            Durability::Event => true,
            Durability::Turn => is_milestone(body),
            Durability::Os => false,
        }
    }

    fn rewind(&mut self) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }
}

fn is_milestone(body: &EventBody) -> bool {
    matches!(body, EventBody::TurnEnd(_) | EventBody::Checkpoint(_) | EventBody::SessionEnd(_))
}
