//! The files of turns that a journal names, as long as they are recorded: an agent that removes or changes one is noticed.
//!
//! Must not know: what is in them.

use std::io;
use std::path::{Path, PathBuf};

use crate::artifacts::TURNS_DIR;
use crate::event::{ArtifactRef, EventBody};
use crate::files::{Access, open_in};

/// Files that events named since the recording began.
#[derive(Debug, Default)]
pub(crate) struct Named {
    all: Vec<ArtifactRef>,
    /// How many of them were there at the end of their turn.
    checked: usize,
}

impl Named {
    /// Takes in the files that an event names.
    pub(crate) fn add(&mut self, body: &EventBody) {
        let of_turns = |artifact: &&ArtifactRef| Path::new(&artifact.path).starts_with(TURNS_DIR);
        self.all.extend(body.artifacts().into_iter().filter(of_turns).cloned());
    }

    /// Looks whether they are in the session directory `dir` as they were written: those named since the last look, or
    /// `all`. Gives the first that is not; none is given twice.
    pub(crate) fn check(&mut self, dir: &Path, all: bool) -> Option<(PathBuf, io::Error)> {
        let from = if all { 0 } else { self.checked.min(self.all.len()) };
        let (mut first, mut more) = (None, 0);
        let mut kept = Vec::new();
        for artifact in self.all.drain(from..) {
            match problem(dir, &artifact) {
                None => kept.push(artifact),
                Some(error) if first.is_none() => first = Some((PathBuf::from(artifact.path), error)),
                Some(_) => more += 1,
            }
        }
        self.all.extend(kept);
        self.checked = self.all.len();
        let and_more = |error: io::Error| match more {
            0 => error,
            more => io::Error::other(format!("{error} (and {more} more files)")),
        };
        first.map(|(path, error)| (path, and_more(error)))
    }
}

/// What is wrong with a file. One that its recorder compressed, which it does last, is not wrong.
fn problem(dir: &Path, artifact: &ArtifactRef) -> Option<io::Error> {
    let gone = || io::Error::other("removed or changed by another process during the recording");
    match open_in(dir, &artifact.path, Access::Read).and_then(|file| file.metadata()) {
        Ok(meta) => (meta.len() != artifact.bytes).then(gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let compressed = open_in(dir, format!("{}.zst", artifact.path), Access::Read);
            compressed.is_err().then(gone)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory) => {
            Some(gone())
        }
        Err(error) => Some(error),
    }
}
