//! Waiting for the disk to have what stands beside a journal: a line that names a file is worth no more than the file.
//!
//! Must not know: events.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::artifacts::OBJECTS_DIR;
use crate::files::{Access, open_in, sync_dir};

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
    ///
    /// # Errors
    /// The file or directory that could not be waited for, and why.
    pub(crate) fn sync(&mut self, dir: &Path, objects: bool) -> Result<(), (PathBuf, io::Error)> {
        let mut files: Vec<PathBuf> = self.artifacts.iter().map(PathBuf::from).collect();
        let now = SystemTime::now();
        if objects {
            // After the clock was set back, modification times do not show which objects are new.
            let since = if now < self.since + SLACK { SystemTime::UNIX_EPOCH } else { self.since };
            let new = new_objects(dir, since).map_err(|error| (dir.join(OBJECTS_DIR), error))?;
            files.extend(new);
        }
        if files.len() > MANY {
            let whole = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            whole.map_err(|error| (dir.to_owned(), error))?;
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

/// Waits for each of these files, by their paths in `dir`, and for the directories that lead to them.
fn each(dir: &Path, files: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    let mut dirs = BTreeSet::new();
    for path in files {
        match open_in(dir, path, Access::Read) {
            Ok(file) => file.sync_data().map_err(|error| (dir.join(path), error))?,
            // Its compressed form took its place, and was waited for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((dir.join(path), error)),
        }
        dirs.extend(path.ancestors().skip(1).map(|above| dir.join(above)));
    }
    dirs.into_iter().try_for_each(|dir| sync_dir(&dir).map_err(|error| (dir, error)))
}

/// Loose objects of the session in `dir` that were written since then, by their paths in it.
fn new_objects(dir: &Path, since: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut new = Vec::new();
    let fans = match std::fs::read_dir(dir.join(OBJECTS_DIR)) {
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
                new.push(Path::new(OBJECTS_DIR).join(fan.file_name()).join(object.file_name()));
            }
        }
    }
    Ok(new)
}
