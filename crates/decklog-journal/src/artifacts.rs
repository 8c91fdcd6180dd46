//! Artifacts: files beside the journal, written through the redactor.
//!
//! Names are made here and nowhere else, and `is_ours` knows every one of them: what it does not know
//! is never removed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use crate::event::ArtifactRef;
use crate::files::{self, Access, open_in};
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

    pub(crate) fn suffix(self) -> &'static str {
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

/// What the name of a file ends with that no event names and that was in the way of one of the record's.
const ORPHAN: &str = ".orphan";

/// Renames what is at `path` in the session directory `dir` to a name that nothing else uses: the record needs the name.
///
/// # Errors
/// What the file system reports.
pub(crate) fn set_aside(dir: &Path, path: &str) -> io::Result<()> {
    for number in 1u32.. {
        let to = if number == 1 { format!("{path}{ORPHAN}") } else { format!("{path}{ORPHAN}-{number}") };
        match files::rename_in(dir, path, &to, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => return renamed,
        }
    }
    Ok(())
}

/// The name of a set-aside file before it was set aside.
pub(crate) fn before_set_aside(name: &str) -> Option<&str> {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let plain = plain.strip_suffix('-').filter(|plain| plain.ends_with(ORPHAN)).unwrap_or(name);
    plain.strip_suffix(ORPHAN)
}

/// The turn whose file `name` is, and the number of the event that names it, where its name has that number.
pub(crate) fn parse_turn_file(name: &str) -> Option<(u32, Option<u64>)> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let turn = name[..digits].parse().ok().filter(|_| digits >= 3)?;
    let stem = name.strip_suffix(".zst").unwrap_or(name);
    let seq = stem.strip_suffix(".txt").and_then(|stem| stem.rsplit_once('-')).and_then(|(_, seq)| seq.parse().ok());
    Some((turn, seq))
}

/// Whether decklog makes files of this name directly in `dir` (empty for the session directory itself).
#[must_use]
pub fn is_ours(dir: &str, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let name = before_set_aside(name).unwrap_or(name);
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
    dir: PathBuf,
    path: String,
    file: File,
    redactor: Redactor,
    redact: RedactStream,
    pending: Vec<u8>,
    bytes: u64,
    /// Up to where the kernel was asked to begin writing.
    handed: u64,
    /// Whether the file ends in a part of a line.
    torn: bool,
    /// Bytes that another process cut off.
    lost: u64,
}

/// After so many bytes the disk begins to write them: the end waits for the rest alone.
const AHEAD: u64 = 8 << 20;

/// Creates the file `path` of the session directory `dir`. Whatever is there is not of this record, and is set aside.
pub(crate) fn create_file(dir: &Path, path: &str) -> io::Result<File> {
    match open_in(dir, path, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            set_aside(dir, path)?;
            open_in(dir, path, Access::Create)
        }
        opened => opened,
    }
}

impl ArtifactWriter {
    pub(crate) fn create(dir: &Path, path: String, redactor: &Redactor) -> io::Result<Self> {
        let file = create_file(dir, &path)?;
        Ok(Self::new(dir, path, file, 0, redactor))
    }

    /// As [`Self::create`], but continues a file that exists.
    pub(crate) fn append(dir: &Path, path: String, redactor: &Redactor) -> io::Result<Self> {
        match open_in(dir, &path, Access::Update) {
            Ok(mut file) => {
                let bytes = file.seek(SeekFrom::End(0))?;
                let torn = bytes > 0 && !ends_in_a_line(&mut file)?;
                Ok(Self { torn, ..Self::new(dir, path, file, bytes, redactor) })
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                Self::create(dir, path, redactor)
            }
            Err(error) => Err(error),
        }
    }

    fn new(dir: &Path, path: String, file: File, bytes: u64, redactor: &Redactor) -> Self {
        let (redactor, redact) = (redactor.clone(), redactor.stream());
        let (dir, pending) = (dir.to_owned(), Vec::new());
        Self { dir, path, file, redactor, redact, pending, bytes, handed: bytes, torn: false, lost: 0 }
    }

    /// Path within the session directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes in the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a chunk. What might be the beginning of a secret waits for what follows.
    ///
    /// # Errors
    /// When the disk refuses; the chunk is then lost in part or whole, and [`Self::bytes`] counts what was written.
    pub fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.notice_cut()?;
        let (file, bytes) = (&mut self.file, &mut self.bytes);
        let mut result = Ok(());
        self.redact.push_with(chunk, |safe| {
            if result.is_ok() {
                result = write_counted(file, safe, bytes);
            }
        });
        if let Some(more) = NonZeroU64::new(self.bytes - self.handed).filter(|more| more.get() >= AHEAD) {
            // It is what POSIX has for it. Where a file system knows none, the end is waited for longer.
            let _ = rustix::fs::fadvise(&self.file, self.handed, Some(more), rustix::fs::Advice::DontNeed);
            self.handed = self.bytes;
        }
        result
    }

    /// Writes one line, to which the newline is added: whole, or not at all. Nothing of it is held back, so that it is there
    /// whatever becomes of this process. Not to be mixed with [`Self::write`].
    ///
    /// # Errors
    /// When the disk refuses. The next line is a line of its own nevertheless.
    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.notice_cut()?;
        let separator: &[u8] = if self.torn { b"\n" } else { b"" };
        let whole = [separator, &self.redactor.redact(line), b"\n"].concat();
        let written = self.file.write_all(&whole);
        match written {
            Ok(()) => (self.bytes, self.torn) = (self.bytes + whole.len() as u64, false),
            Err(_) => self.torn |= self.rewind().is_err(),
        }
        written
    }

    /// Sees that the file is as long as it was written, so that what follows leaves no hole where another process cut it
    /// off; [`Self::finish`] reports that.
    fn notice_cut(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size < self.bytes {
            self.lost += self.bytes - size;
            (self.bytes, self.handed) = (size, self.handed.min(size));
            self.rewind()?;
        }
        Ok(())
    }

    /// Takes away what was written of a line that is not whole.
    fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes)).map(drop)
    }

    /// Writes what is held back and closes the file. A file that another process removed, replaced or changed in length
    /// is restored, as far as the open one still holds it.
    ///
    /// # Errors
    /// When the disk refuses, or when something of the file is lost.
    pub fn finish(mut self) -> io::Result<ArtifactRef> {
        self.notice_cut()?;
        self.redact.finish(&mut self.pending);
        write_counted(&mut self.file, &self.pending, &mut self.bytes)?;
        self.restore()?;
        Ok(ArtifactRef { path: self.path, bytes: self.bytes })
    }

    fn restore(&self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size > self.bytes {
            self.file.set_len(self.bytes)?;
        }
        if !files::is_at(&self.file, &self.dir, Path::new(&self.path))? {
            let mut there = create_file(&self.dir, &self.path)?;
            let mut from = &self.file;
            from.rewind()?;
            io::copy(&mut from, &mut there)?;
        }
        let lost = self.lost + self.bytes.saturating_sub(size);
        if lost > 0 {
            return Err(io::Error::other(format!("another process cut it: {lost} bytes of it are lost")));
        }
        Ok(())
    }
}

/// `write_all` that counts what was written also when it fails.
fn write_counted(file: &mut File, mut bytes: &[u8], written: &mut u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                *written += count as u64;
                bytes = &bytes[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the last byte of `file`, at whose end it is left, is a newline.
fn ends_in_a_line(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(writer: &ArtifactWriter, dir: &Path) -> String {
        std::fs::read_to_string(dir.join(writer.path())).expect("the file")
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || ArtifactWriter::append(dir.path(), "log".into(), &Redactor::none()).expect("a writer");
        let mut writer = open();
        writer.write_line(b"one").expect("written");
        // The disk takes a part and no more.
        writer.file.write_all(b"ha").expect("written");
        writer.rewind().expect("taken away");
        writer.write_line(b"two").expect("written");
        assert_eq!((text(&writer, dir.path()).as_str(), writer.bytes()), ("one\ntwo\n", 8));
        // It takes a part, and does not give it back either.
        writer.file.write_all(b"half").expect("written");
        let good = std::mem::replace(&mut writer.file, File::open(dir.path().join("log")).expect("the file"));
        assert!(writer.write_line(b"lost").is_err());
        writer.file = good;
        writer.write_line(b"three").expect("written");
        assert_eq!(text(&writer, dir.path()), "one\ntwo\nhalf\nthree\n");
        // A writer that was killed left a part.
        writer.file.write_all(b"ha").expect("written");
        for line in ["four", "five"] {
            open().write_line(line.as_bytes()).expect("written");
        }
        assert_eq!(text(&writer, dir.path()), "one\ntwo\nhalf\nthree\nha\nfour\nfive\n");
    }

    #[test]
    fn a_line_is_there_at_once_and_has_no_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let redactor = Redactor::builder().value("TOKEN", "correct-horse-battery").build();
        let mut writer = ArtifactWriter::create(dir.path(), "log".into(), &redactor).expect("a writer");
        writer.write_line(b"{\"query\":\"correct-horse-battery.test\",\"last\":\"correct-hor").expect("written");
        let expected = "{\"query\":\"[redacted:TOKEN].test\",\"last\":\"correct-hor\n";
        assert_eq!(text(&writer, dir.path()), expected, "what may be the beginning of one does not wait");
    }
}
