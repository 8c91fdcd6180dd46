//! Appending to a journal: one event, one write, before anybody acts on it.
//!
//! A write that fails half-way is taken back, so that the file ends with a whole line. What the disk
//! refused is told to the caller and is lost; the next event takes its number, and the chain holds.
//!
//! Must not know: what events mean, beyond which of them are worth waiting for the disk.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::beside::Unsynced;
use crate::event::{Event, EventBody};
use crate::files::{Access, open_in};
use crate::intact::{self, RecentLines};
use crate::read::Position;
use crate::redact::Redactor;
use crate::session::JOURNAL_FILE;
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
    /// The session directory.
    dir: PathBuf,
    file: File,
    length: u64,
    next_seq: u64,
    sum: String,
    durability: Durability,
    redactor: Redactor,
    /// Lines that wait to be written together; only where nobody reads along.
    gathered: Option<Vec<u8>>,
    recent: RecentLines,
    unsynced: Unsynced,
    /// What is wrong although the last event was written, until [`Self::sync_line`] reports it.
    trouble: Option<Trouble>,
    /// Length, number and sum before the end of the session that this writer wrote, if it wrote one.
    before_end: Option<(u64, u64, String)>,
}

/// What went wrong with a file of the session although the line was written.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// What the file system said, or what happened to the file.
    pub(crate) error: io::Error,
    /// What it means for the record.
    pub(crate) text: String,
}

/// Bytes of lines that are written together.
const GATHER: usize = 256 * 1024;

impl JournalWriter {
    /// Creates the journal of the session in `dir`.
    pub(crate) fn create(dir: &Path, durability: Durability, redactor: Redactor) -> io::Result<Self> {
        let file = open_in(dir, JOURNAL_FILE, Access::Create)?;
        Ok(Self::new(dir, file, &Position::default(), durability, redactor))
    }

    fn new(dir: &Path, file: File, position: &Position, durability: Durability, redactor: Redactor) -> Self {
        let (length, next_seq, sum) = (position.offset, position.next_seq, position.sum.clone().unwrap_or_default());
        Self {
            dir: dir.to_owned(),
            file,
            length,
            next_seq,
            sum: sum.clone(),
            durability,
            redactor,
            gathered: None,
            recent: RecentLines::default(),
            unsynced: Unsynced::new(),
            trouble: None,
            before_end: None,
        }
    }

    /// The same for a journal that nobody sees before it is whole: lines are written many at a time.
    pub(crate) fn create_unseen(dir: &Path, redactor: Redactor) -> io::Result<Self> {
        let mut writer = Self::create(dir, Durability::Os, redactor)?;
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

    /// Continues at `position`, where the last whole line of the journal in `dir` ended; what is behind it is cut off.
    pub(crate) fn resume(
        dir: &Path,
        position: &Position,
        durability: Durability,
        redactor: Redactor,
    ) -> io::Result<Self> {
        let file = open_in(dir, JOURNAL_FILE, Access::Update)?;
        let recent = RecentLines::read(&file, position.offset)?;
        let mut writer = Self { recent, ..Self::new(dir, file, position, durability, redactor) };
        writer.rewind()?;
        Ok(writer)
    }

    /// Says that the session directory has another name now.
    pub(crate) fn set_dir(&mut self, dir: &Path) {
        dir.clone_into(&mut self.dir);
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

    /// Writes a line made by [`Self::encode`]; gives the event as it is in the journal, without secrets.
    pub(crate) fn append(&mut self, at: Timestamp, body: EventBody, line: Encoded) -> io::Result<Event> {
        let start = self.length;
        if let Some(gathered) = &mut self.gathered {
            gathered.extend_from_slice(&line.bytes);
            let full = gathered.len() >= GATHER;
            self.length += line.bytes.len() as u64;
            if full {
                self.flush()?;
            }
        } else {
            let thorough = is_milestone(&body) || matches!(body, EventBody::TurnStart(_));
            self.check(thorough)?;
            if let Err(error) = self.file.write_all(&line.bytes) {
                // Should this fail too, the next write, or the next reader, deals with the torn bytes.
                let _ = self.rewind();
                return Err(error);
            }
            self.recent.push(&line.bytes);
            self.length += line.bytes.len() as u64;
        }
        let before = (start, self.next_seq, std::mem::replace(&mut self.sum, line.sum));
        match &body {
            // What corrects it follows it: both are withdrawn.
            EventBody::SessionEnd(_) => drop(self.before_end.get_or_insert(before)),
            EventBody::Resumed(_) => self.before_end = None,
            _ => {}
        }
        let body = line.redacted.unwrap_or(body);
        let event = Event { seq: self.next_seq, timestamp: at, body };
        self.next_seq = self.next_seq.saturating_add(1);
        Ok(event)
    }

    /// Compares the journal with what was written, and repairs it; [`Self::sync_line`] reports that.
    fn check(&mut self, thorough: bool) -> io::Result<()> {
        if let Some(damage) = intact::check(&self.dir, &mut self.file, self.length, &self.recent, thorough)? {
            self.length = damage.length;
            self.rewind()?;
            let error = damage.into_error();
            let text = format!("{JOURNAL_FILE} was {error}");
            self.note(self.dir.join(JOURNAL_FILE), error, text);
        }
        Ok(())
    }

    /// Notes what is wrong with a file although all lines so far are written.
    pub(crate) fn note(&mut self, path: PathBuf, error: io::Error, text: String) {
        self.trouble.get_or_insert(Trouble { path, error, text });
    }

    /// Takes the session's end away again, and what is behind it, so that the session is one whose recorder died. The end
    /// that another writer wrote must be the last line.
    pub(crate) fn withdraw(&mut self) -> io::Result<()> {
        let (length, next_seq, sum) = match self.before_end.take() {
            Some(before) => before,
            None => self.before_last_line()?,
        };
        self.file.set_len(length)?;
        (self.length, self.next_seq, self.sum) = (length, next_seq, sum);
        self.rewind()
    }

    /// Length, number and sum before the last line in the file.
    fn before_last_line(&self) -> io::Result<(u64, u64, String)> {
        let from = self.length.saturating_sub(2 * wire::MAX_READ_LINE as u64);
        let mut bytes = vec![0; usize::try_from(self.length - from).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, from)?;
        let last = bytes.len().saturating_sub(1);
        let start = bytes[..last].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let previous = wire::split_sum(bytes[..start].strip_suffix(b"\n").unwrap_or_default());
        let sum = previous.map(|(_, sum)| sum.to_owned()).unwrap_or_default();
        Ok((from + start as u64, self.next_seq.saturating_sub(1), sum))
    }

    /// Cuts off what is behind the last whole line.
    fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }

    /// Waits for the disk to have the files that `body` names, if an event like it is worth it: before its line, which
    /// might reach the disk first otherwise. When that fails, [`Self::sync_line`] reports it.
    pub(crate) fn precede(&mut self, dir: &Path, body: &EventBody) {
        if self.durability == Durability::Os {
            return;
        }
        let artifacts = body.artifacts();
        let is_worth_it = self.waits_for(body) && (is_milestone(body) || !artifacts.is_empty());
        artifacts.iter().for_each(|artifact| self.unsynced.note(&artifact.path));
        if is_worth_it {
            let objects = is_milestone(body) || matches!(body, EventBody::TurnStart(_));
            if let Err((path, error)) = self.unsynced.sync(dir, objects) {
                let text = format!("a power cut may take {}: {error}", path.display());
                self.note(path, error, text);
            }
        }
    }

    /// Waits for the disk to have the line, if an event like `body` is worth it. When that fails, the event is in the
    /// journal all the same: readers see it, but a power cut may take it.
    pub(crate) fn sync_line(&mut self, body: &EventBody) -> Result<(), Trouble> {
        if self.waits_for(body)
            && let Err(error) = self.file.sync_data()
        {
            let text = format!("a power cut may take what was recorded: {error}");
            self.note(self.dir.join(JOURNAL_FILE), error, text);
        }
        self.trouble.take().map_or(Ok(()), Err)
    }

    fn waits_for(&self, body: &EventBody) -> bool {
        match self.durability {
            Durability::Event => true,
            Durability::Turn => is_milestone(body),
            Durability::Os => false,
        }
    }
}

fn is_milestone(body: &EventBody) -> bool {
    matches!(body, EventBody::TurnEnd(_) | EventBody::Checkpoint(_) | EventBody::SessionEnd(_))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::event::{Checkpoint, SessionEnd};
    use crate::read::{Item, JournalReader};

    fn append(writer: &mut JournalWriter, reason: &str) {
        let body = EventBody::from(Checkpoint { reason: reason.to_owned(), exit_code: None });
        let line = writer.encode(Timestamp::UNIX_EPOCH, &body).unwrap();
        writer.append(Timestamp::UNIX_EPOCH, body, line).unwrap();
    }

    fn end(writer: &mut JournalWriter) {
        let (iterations, summary, confidence, picked) = (None, None, None, None);
        let end = SessionEnd {
            outcome: None,
            iterations,
            summary,
            confidence,
            picked,
            duration_secs: 0.0,
            exit_code: Some(0),
        };
        let body = EventBody::from(end);
        let line = writer.encode(Timestamp::UNIX_EPOCH, &body).unwrap();
        writer.append(Timestamp::UNIX_EPOCH, body, line).unwrap();
    }

    #[test]
    fn an_end_is_taken_away_by_whoever_wrote_it_and_by_whoever_goes_on() {
        // A notice may stand behind the end that its own writer wrote.
        for (before, behind, goes_on) in [(0, 0, false), (0, 0, true), (2, 0, false), (2, 1, false), (2, 0, true)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(JOURNAL_FILE);
            let mut writer = JournalWriter::create(dir.path(), Durability::Os, Redactor::none()).unwrap();
            (0..before).for_each(|_| append(&mut writer, "before"));
            end(&mut writer);
            (0..behind).for_each(|_| append(&mut writer, "behind"));
            if goes_on {
                let mut reader = JournalReader::open(&path).unwrap();
                assert_eq!(reader.by_ref().count(), before + 1);
                writer =
                    JournalWriter::resume(dir.path(), reader.position(), Durability::Os, Redactor::none()).unwrap();
            }
            writer.withdraw().unwrap();
            // The chain of sums goes on from there.
            append(&mut writer, "another");
            let items: Vec<Item> = JournalReader::open(&path).unwrap().map(Result::unwrap).collect();
            let reasons: Vec<_> = items
                .iter()
                .map(|item| match item {
                    Item::Event(Event { body: EventBody::Checkpoint(checkpoint), .. }) => checkpoint.reason.as_str(),
                    _ => "an end, or a fault",
                })
                .collect();
            let expected: Vec<_> = std::iter::repeat_n("before", before).chain(["another"]).collect();
            assert_eq!(reasons, expected, "{before} {behind} {goes_on}");
        }
    }
}
