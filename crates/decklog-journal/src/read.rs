//! Reading a journal: forward, backward, and as it grows.
//!
//! A reader never stops at damage. It says what is wrong with a line ([`Fault`]) and goes on with the
//! next; a last line without newline is torn, which is what a crash leaves and no cause for alarm.
//!
//! Must not know: what events mean.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Serialize;

use crate::event::Event;
use crate::files;
use crate::wire::{self, MAX_READ_LINE};

/// Something wrong with one line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Line number, from 1.
    pub line: u64,
    /// Where the line starts, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// A line longer than this is not read to its end: what holds it is no journal.
const MAX_PASSED_OVER: u64 = 64 << 20;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// The last line has no newline: writing it was cut off.
    #[error("torn: the last {bytes} bytes are no whole line")]
    Torn {
        /// Bytes after the last newline.
        bytes: u64,
    },
    /// It cannot be read.
    #[error("damaged: {reason}")]
    Damaged {
        /// Why not.
        reason: String,
    },
    /// It is longer than any line this crate writes and was passed over.
    #[error("too long: {bytes} bytes")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// It, or the line before it, is not what was written.
    #[error("altered: its sum is {found}, its bytes make {expected}")]
    BadSum {
        /// What its bytes add up to.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Lines are missing or out of order before it.
    #[error("out of sequence: seq is {found}, {expected} was next")]
    BadSequence {
        /// The number that was next.
        expected: u64,
        /// The number it has.
        found: u64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} (byte {}): {}", self.line, self.offset, self.kind)
    }
}

/// What reading one line gave.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub enum Item {
    /// An event.
    Event(Event),
    /// Something wrong. An altered or misplaced line that can still be read gives its event as well.
    Fault(Fault),
}

/// Reads a journal from the front. Memory is bounded by the longest line allowed.
pub struct JournalReader<R> {
    source: R,
    chain: Position,
    line: Vec<u8>,
    queued: Option<Item>,
    torn_is_final: bool,
}

/// Where reading stands: all that is needed to go on or to append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Lines before it.
    pub lines: u64,
    /// Bytes up to the end of the last whole line.
    pub offset: u64,
    /// The `seq` that comes next.
    pub next_seq: u64,
    /// Sum of the last line, nothing before the first; `None` when that line could not tell it, and whatever the next
    /// one claims is believed.
    pub sum: Option<String>,
}

impl JournalReader<BufReader<File>> {
    /// Opens the journal at `path`, which must be a regular file and no link.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(256 * 1024, files::open_regular(path)?)))
    }

    /// Goes on in the journal at `path` where another reader stood.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn resume(path: &Path, position: Position) -> io::Result<Self> {
        let mut file = files::open_regular(path)?;
        file.seek(SeekFrom::Start(position.offset))?;
        Ok(Self { chain: position, ..Self::new(BufReader::with_capacity(64 * 1024, file)) })
    }
}

impl<R: BufRead> JournalReader<R> {
    /// Reads from any source.
    pub fn new(source: R) -> Self {
        let chain = Position { sum: Some(String::new()), ..Position::default() };
        Self { source, chain, line: Vec::new(), queued: None, torn_is_final: true }
    }

    /// Number of events if all lines were whole: the `seq` that comes next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.chain.next_seq
    }

    /// Sum of the last line read, if that line could be read.
    #[must_use]
    pub fn last_sum(&self) -> Option<&str> {
        self.chain.sum.as_deref()
    }

    /// Bytes up to the end of the last whole line read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.chain.offset
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.chain
    }

    /// Reads one line into `self.line` (without newline). `None` at the end; else whether it was whole
    /// and how long it is, newline included. `self.line` keeps no more than [`MAX_READ_LINE`].
    fn read_line(&mut self) -> io::Result<Option<(bool, u64)>> {
        let mut total = 0u64;
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                // `self.line` holds the start of an unfinished line; more may come while it grows.
                let kept = self.line.len() as u64;
                return Ok(if kept.max(total) == 0 { None } else { Some((false, kept.max(total))) });
            }
            let (take, whole) = match memchr::memchr(b'\n', available) {
                Some(at) => (at + 1, true),
                None => (available.len(), false),
            };
            let room = MAX_READ_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&available[..take.min(room)]);
            self.source.consume(take);
            total += take as u64;
            if total > MAX_PASSED_OVER {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("byte {}: no line ends within {} MiB", self.chain.offset, MAX_PASSED_OVER >> 20),
                ));
            }
            if whole {
                if self.line.last() == Some(&b'\n') {
                    self.line.pop();
                }
                return Ok(Some((true, total)));
            }
        }
    }

    fn fault(&self, kind: FaultKind) -> Item {
        Item::Fault(Fault { line: self.chain.lines + 1, offset: self.chain.offset, kind })
    }

    fn next_item(&mut self) -> io::Result<Option<Item>> {
        if let Some(item) = self.queued.take() {
            return Ok(Some(item));
        }
        let started = self.line.len() as u64;
        let Some((whole, read)) = self.read_line()? else { return Ok(None) };
        if !whole {
            if !self.torn_is_final {
                return Ok(None);
            }
            let item = self.fault(FaultKind::Torn { bytes: read });
            self.line.clear();
            return Ok(Some(item));
        }
        let length = started + read;
        let item = self.judge(length);
        self.chain.lines += 1;
        self.chain.offset += length;
        self.line.clear();
        Ok(Some(item))
    }

    /// Turns the whole line in `self.line` into an item, and queues its event behind a fault.
    fn judge(&mut self, length: u64) -> Item {
        if length > MAX_READ_LINE as u64 {
            self.chain.sum = None;
            return self.fault(FaultKind::TooLong { bytes: length });
        }
        let split = wire::split_sum(&self.line).map(|(body, sum)| (body.len(), sum.to_owned()));
        let decoded = wire::decode(&self.line);
        let previous = std::mem::replace(&mut self.chain.sum, split.as_ref().map(|(_, sum)| sum.clone()));
        let (sum, event) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.fault(FaultKind::Damaged { reason: error.to_string() }),
        };
        let expected_seq = std::mem::replace(&mut self.chain.next_seq, event.seq.saturating_add(1));
        let expected = match (&previous, split) {
            (Some(previous), Some((body, _))) => wire::chain(previous, &self.line[..body]),
            _ => sum.clone(),
        };
        // A damaged line before this one accounts for one missing number.
        let after_damage = previous.is_none() && event.seq >= expected_seq;
        let fault = if expected != sum {
            FaultKind::BadSum { expected, found: sum }
        } else if event.seq != expected_seq && !after_damage {
            FaultKind::BadSequence { expected: expected_seq, found: event.seq }
        } else {
            return Item::Event(event);
        };
        self.queued = Some(Item::Event(event));
        self.fault(fault)
    }
}

impl<R: BufRead> Iterator for JournalReader<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_item().transpose()
    }
}

/// Reads a journal that is being written: [`Follower::poll`] gives what has come since, and an
/// unfinished last line waits for its rest.
pub struct Follower {
    reader: JournalReader<BufReader<File>>,
}

impl Follower {
    /// Starts at the beginning of the journal at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut reader = JournalReader::open(path)?;
        reader.torn_is_final = false;
        Ok(Self { reader })
    }

    /// The next item that is there; `None` when nothing whole is there *now*.
    ///
    /// # Errors
    /// When reading fails.
    pub fn poll(&mut self) -> io::Result<Option<Item>> {
        self.reader.torn_is_final = false;
        self.reader.next_item()
    }

    /// Bytes of the journal that were read as whole lines.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Sum of the last line read, if that line could be read.
    #[must_use]
    pub fn last_sum(&self) -> Option<&str> {
        self.reader.last_sum()
    }

    /// Says that nothing more will come: an unfinished last line is now reported as torn.
    ///
    /// # Errors
    /// When reading fails.
    pub fn finish(&mut self) -> io::Result<Option<Item>> {
        self.reader.torn_is_final = true;
        self.reader.next_item()
    }
}

/// Reads whole lines from the end of a file towards its start. Torn bytes at the end are passed over.
/// Sums are not checked: that needs the line before.
pub struct ReverseReader {
    file: File,
    /// Where the buffered bytes start in the file.
    start: u64,
    buffer: Vec<u8>,
    skipped_torn: bool,
}

impl ReverseReader {
    const BLOCK: u64 = 64 * 1024;

    /// Opens the journal at `path`, which must be a regular file and no link.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = files::open_regular(path)?;
        let start = file.metadata()?.len();
        Ok(Self { file, start, buffer: Vec::new(), skipped_torn: false })
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // The buffer ends with the newline of the line looked for, once torn bytes are gone.
            if !self.skipped_torn {
                if let Some(at) = memchr::memrchr(b'\n', &self.buffer) {
                    self.buffer.truncate(at + 1);
                    self.skipped_torn = true;
                    continue;
                }
            } else if let Some(end) = self.buffer.len().checked_sub(1) {
                let from = memchr::memrchr(b'\n', &self.buffer[..end]).map(|at| at + 1);
                if from.is_some() || self.start == 0 {
                    let mut line = self.buffer.split_off(from.unwrap_or(0));
                    line.pop();
                    return Ok(Some(line));
                }
                if self.buffer.len() > MAX_READ_LINE {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a journal line is too long"));
                }
            }
            if self.start == 0 {
                return Ok(None);
            }
            let block = Self::BLOCK.min(self.start);
            self.start -= block;
            self.file.seek(SeekFrom::Start(self.start))?;
            let mut bytes = vec![0; usize::try_from(block).unwrap_or_default()];
            self.file.read_exact(&mut bytes)?;
            if self.skipped_torn || memchr::memchr(b'\n', &bytes).is_some() {
                bytes.append(&mut self.buffer);
            }
            self.buffer = bytes;
        }
    }
}

impl Iterator for ReverseReader {
    type Item = io::Result<Result<Event, wire::LineError>>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.next_line().transpose()?;
        if line.is_err() {
            // What stands before the trouble cannot be reached: this ends here.
            self.start = 0;
            self.buffer.clear();
        }
        Some(line.map(|line| wire::decode(&line).map(|(_, event)| event)))
    }
}
