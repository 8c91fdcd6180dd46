//! Compressed bytes, read back up to a bound: a few of them can stand for any number.
//!
//! Must not know: what the bytes are.

use std::fs::File;
use std::io::{self, BufReader, Read};

/// Bytes that anything compressed may expand to.
pub const FREE: u64 = 64 << 20;

/// How many times its size what is compressed may expand to beyond that, where nothing else is known of it.
pub const RATIO: u64 = 200;

/// How many bytes `packed` compressed ones may expand to.
#[must_use]
pub fn most(packed: u64, ratio: u64) -> u64 {
    packed.saturating_mul(ratio).saturating_add(FREE)
}

/// What a compressed file holds. Reading fails with [`io::ErrorKind::InvalidData`] where that is more than it may be.
pub struct Expanded {
    decoder: zstd::Decoder<'static, BufReader<File>>,
    left: u64,
    most: u64,
}

impl std::fmt::Debug for Expanded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expanded").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Expanded {
    /// Of `file`, which is recorded to hold so many bytes; where that is not known, as many as its own size allows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(file: File, recorded: Option<u64>) -> io::Result<Self> {
        let most = match recorded {
            Some(recorded) => recorded,
            None => most(file.metadata()?.len(), RATIO),
        };
        Ok(Self { decoder: zstd::Decoder::new(file)?, left: most, most })
    }
}

impl Read for Expanded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            return match self.decoder.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(too_much(self.most)),
            };
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.decoder.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn too_much(most: u64) -> io::Error {
    let what = format!("it expands to more than the {most} bytes that it may hold; the rest is not read");
    io::Error::new(io::ErrorKind::InvalidData, what)
}
