//! One file of a tree.

use std::io::Read;

use crate::git::{Git, Stdin};
use crate::private::as_path;
use crate::{SnapshotError, Tree};

/// A file as a tree has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// This is its content; of a symbolic link, where it points.
    Content(Vec<u8>),
    /// The tree has no file there.
    Absent,
    /// It is larger than what was to be read.
    TooLarge,
    /// The tree, or the file's content, is no longer to be found.
    Gone,
}

/// Reads the file at `path`.
pub(crate) fn read(git: &Git, tree: &Tree, path: &[u8], limit: u64) -> Result<FileAt, SnapshotError> {
    let mut listing = git.clone();
    // A name is a name, whatever characters it has.
    listing.env("GIT_LITERAL_PATHSPECS", "1");
    let args = ["ls-tree", "-z", "--full-tree", tree.as_str(), "--"].map(std::ffi::OsStr::new);
    let said = listing.ask(&[&args[..], &[as_path(path).as_os_str()]].concat(), Stdin::none())?;
    if !said.status.success() {
        return Ok(FileAt::Gone);
    }
    let record = said
        .stdout
        .split(|byte| *byte == 0)
        .find(|record| record.iter().position(|byte| *byte == b'\t').is_some_and(|tab| &record[tab + 1..] == path));
    let Some(record) = record else { return Ok(FileAt::Absent) };
    let mut words = record.split(|byte| matches!(byte, b' ' | b'\t')).skip(1);
    let (Some(b"blob"), Some(id)) = (words.next(), words.next()) else { return Ok(FileAt::Absent) };
    let id = String::from_utf8_lossy(id).into_owned();
    let size = git.ask(&["cat-file", "-s", &id], Stdin::none())?;
    if !size.status.success() {
        return Ok(FileAt::Gone);
    }
    let size: u64 = String::from_utf8_lossy(&size.stdout)
        .trim()
        .parse()
        .map_err(|_| SnapshotError::unexpected("the output of git cat-file"))?;
    if size > limit {
        return Ok(FileAt::TooLarge);
    }
    let mut running = git.start(&["cat-file", "blob", &id], Stdin::none())?;
    let mut content = Vec::new();
    let read = running.stdout().take(limit).read_to_end(&mut content);
    read.map_err(SnapshotError::io("read the stored content of", as_path(path)))?;
    Ok(match running.finish() {
        Ok(_) => FileAt::Content(content),
        Err(_) => FileAt::Gone,
    })
}
