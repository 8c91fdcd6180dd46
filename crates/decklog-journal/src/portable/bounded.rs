//! An archive uncompressed, as far as the limits allow: a few bytes of it can stand for any number.
//!
//! Must not know: what is in it.

use std::cell::{Cell, RefCell};
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use super::{Limits, PortableError};
use crate::expand;

/// Which limit was passed, if one was, as opposed to anything else that can be wrong with an archive.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed(Rc<RefCell<Option<String>>>);

impl Passed {
    /// `error`, or that a limit was passed.
    pub(super) fn or(&self, error: PortableError) -> PortableError {
        self.0.borrow_mut().take().map_or(error, PortableError::Limit)
    }
}

/// The bytes that an archive unpacks to.
pub(super) struct Bounded<R: Read> {
    decoder: zstd::Decoder<'static, BufReader<Counted<R>>>,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
    limits: Limits,
    passed: Passed,
}

struct Counted<R> {
    archive: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(archive: R, limits: Limits) -> io::Result<(Self, Passed)> {
        let (packed, passed) = (Rc::<Cell<u64>>::default(), Passed::default());
        let decoder = zstd::Decoder::new(Counted { archive, read: Rc::clone(&packed) })?;
        Ok((Self { decoder, packed, unpacked: 0, limits, passed: passed.clone() }, passed))
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.unpacked += read as u64;
        // Of an archive whose length is known, what is yet to come counts.
        let packed = self.limits.packed.unwrap_or(0).max(self.packed.get());
        if let Err(why) = check_ratio(self.unpacked, packed, self.limits) {
            *self.passed.0.borrow_mut() = Some(why);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }
}

/// Whether so many bytes may come out of so many compressed ones; if not, why.
pub(super) fn check_ratio(unpacked: u64, packed: u64, limits: Limits) -> Result<(), String> {
    if unpacked <= expand::most(packed, limits.ratio) {
        return Ok(());
    }
    Err(format!("it unpacks to {unpacked} bytes or more from {packed}, more than {} times as many", limits.ratio))
}

/// Whether so many bytes may be unpacked; if not, why.
pub(super) fn check_total(unpacked: u64, limits: Limits) -> Result<(), String> {
    if unpacked <= limits.bytes {
        return Ok(());
    }
    Err(format!("it would unpack to {unpacked} bytes, more than the {} that are taken", limits.bytes))
}
