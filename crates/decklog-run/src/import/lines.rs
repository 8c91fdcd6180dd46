//! Reading a file of lines that is somebody else's: of any size, torn, compressed, or still being written.
//!
//! Must not know: what the lines say.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use decklog_journal::files;

/// Bytes of the longest line that is read.
pub(super) const MAX_LINE: usize = 64 * 1024 * 1024;

/// Bytes that a compressed file may unpack to.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024 * 1024;

const BUFFER: usize = 256 * 1024;

/// A line, or why there is none.
pub(super) enum Line<'a> {
    /// Without its newline.
    Whole(&'a [u8]),
    /// Longer than [`MAX_LINE`]: passed over. Its bytes.
    TooLong(u64),
}

/// Reads a file line by line, in memory that does not grow with it.
pub(super) struct Lines {
    source: BufReader<Box<dyn Read>>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    /// Opens `path`, and reads as much as it holds now: what is added meanwhile is for the next time.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = files::open_regular(path)?;
        let length = file.metadata()?.len();
        let source: Box<dyn Read> = if is_zstd(&file)? {
            Box::new(zstd::Decoder::new(file.take(length))?.take(MAX_UNPACKED))
        } else {
            Box::new(file.take(length))
        };
        Ok(Self { source: BufReader::with_capacity(BUFFER, source), line: Vec::new(), number: 0 })
    }

    /// Number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut self.source).take(limit).read_until(b'\n', &mut self.line)? as u64;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.last() != Some(&b'\n') && read == limit {
                let rest = skip_line(&mut self.source)?;
                self.line = Vec::new();
                return Ok(Some(Line::TooLong(read + rest)));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(Line::Whole(self.line.trim_ascii())))
    }
}

/// Whether a file is compressed, by its first bytes.
fn is_zstd(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 4];
    let read = file.read_at(&mut magic, 0)?;
    Ok(read == 4 && magic == [0x28, 0xb5, 0x2f, 0xfd])
}

fn skip_line(source: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let (used, over) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        source.consume(used);
        skipped += used as u64;
        if over {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = match line {
                Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Line::TooLong(bytes) => format!("{bytes} bytes"),
            };
            all.push(format!("{} {text}", lines.number()));
        }
        all
    }

    #[test]
    fn lines_are_numbered_and_empty_ones_passed_over() {
        assert_eq!(read(b"a\n\n \r\nb\r\nc"), ["1 a", "4 b", "5 c"]);
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut bytes = b"a\n".to_vec();
        bytes.resize(2 + MAX_LINE + 3, b'x');
        bytes.extend_from_slice(b"\nb\n");
        assert_eq!(read(&bytes), ["1 a".to_owned(), format!("2 {} bytes", MAX_LINE + 4), "3 b".to_owned()]);
    }

    #[test]
    fn compressed_lines() {
        assert_eq!(read(&zstd::encode_all(&b"a\nb\n"[..], 1).unwrap()), ["1 a", "2 b"]);
        let whole = zstd::encode_all(&b"a\nb\n"[..], 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("torn"), &whole[..whole.len() - 3]).unwrap();
        let mut lines = Lines::open(&dir.path().join("torn")).unwrap();
        assert!((0..5).any(|_| lines.next().is_err()));
    }
}
