//! Waiting for the disk to have what stands beside a journal: a line that names a file is worth no more than the file.
//!
//! Must not know: events.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::artifacts::OBJECTS_DIR;
use crate::files;

/// Of more files than these, each is not waited for by itself: the whole file system is, once.
const MANY: usize = 64;
/// How much earlier than the clock said a file system may say that a file was written.
const SLACK: Duration = Duration::from_secs(2);

/// What of a session's files has not been waited for yet.
#[derive(Debug)]
pub(crate) struct Unsynced {
    artifacts: BTreeSet<String>,
    /// Objects older than this have been.
    since: SystemTime,
}

impl Unsynced {
    pub(crate) fn new() -> Self {
        Self { artifacts: BTreeSet::new(), since: SystemTime::now() - SLACK }
    }

    /// Notes an artifact, by its path in the session directory.
    pub(crate) fn note(&mut self, path: &str) {
        self.artifacts.insert(path.to_owned());
    }

    /// Waits until the noted files of the session in `dir` are on the disk, and their names; with `objects`, the git objects
    /// that are new there too. What could not be waited for is tried again the next time.
    pub(crate) fn sync(&mut self, dir: &Path, objects: bool) -> io::Result<()> {
        let mut files: Vec<PathBuf> = self.artifacts.iter().map(|path| dir.join(path)).collect();
        let now = SystemTime::now();
        if objects {
            files.extend(new_objects(&dir.join(OBJECTS_DIR), self.since)?);
        }
        if files.len() > MANY {
            rustix::fs::syncfs(File::open(dir)?)?;
        } else {
            each(dir, &files)?;
        }
        self.artifacts.clear();
        if objects {
            self.since = now - SLACK;
        }
        Ok(())
    }
}

/// Waits for each of these files below `dir`, and for the directories that lead to them.
fn each(dir: &Path, files: &[PathBuf]) -> io::Result<()> {
    let mut dirs = BTreeSet::new();
    for path in files {
        match files::open_regular(path) {
            Ok(file) => file.sync_data()?,
            // It was compressed meanwhile, which waits by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        dirs.extend(path.ancestors().skip(1).take_while(|above| above.starts_with(dir)));
    }
    dirs.into_iter().try_for_each(files::sync_dir)
}

/// Loose objects in `dir` that were written since then.
fn new_objects(dir: &Path, since: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut new = Vec::new();
    let fans = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(new),
        fans => fans?,
    };
    for fan in fans {
        let fan = fan?;
        if fan.file_name().len() != 2 || !fan.file_type()?.is_dir() {
            continue;
        }
        for object in std::fs::read_dir(fan.path())? {
            let object = object?;
            let meta = object.metadata()?;
            if meta.is_file() && meta.modified()? >= since {
                new.push(object.path());
            }
        }
    }
    Ok(new)
}
