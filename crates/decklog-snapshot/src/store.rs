//! Having git store files and put them into the index, without it touching the repository.
//!
//! git does not store again what it finds stored: it sets that object's time to now, or its
//! pack's, be it in a repository we only read. So what stores runs where the repository's objects
//! cannot be seen (the `writer` here), and a session keeps a copy of its own of all that changed.
//!
//! One decision of git's needs an object of the repository: files with CRLF are converted if the
//! settings ask for it, but not if they were stored with CRLF before. For the few such files git
//! decides where it sees the repository, storing nothing, and then stores both forms where it
//! does not.

use crate::git::{Git, Stdin};
use crate::private::quoted;
use crate::repository::UNSET_FOR_FILTERS;
use crate::{SnapshotError, Withheld, WithheldReason};

/// How often git may fail before the fault is taken to be in the whole and not in single files.
const MAX_FAILURES: usize = 64;

/// What git says when it cannot write, whatever the file.
const NOT_ABOUT_THE_FILE: &[&str] =
    &["No space left", "Disk quota", "Read-only file system", "unable to write", "insufficient permission"];

/// What came of storing files.
#[derive(Default)]
pub(crate) struct Added {
    /// Files git would not take, such as one that a filter of the user's fails on.
    pub(crate) refused: Vec<Withheld>,
    /// Objects stored besides those the index names, with the file they are of.
    pub(crate) spare: Vec<(Vec<u8>, String)>,
}

/// Stores files as `git add` would and puts them into the index. `with_crlf` are those that hold
/// CRLF and were in the index before.
pub(crate) fn add(reader: &Git, writer: &Git, files: &[&[u8]], with_crlf: &[&[u8]]) -> Result<Added, SnapshotError> {
    let mut added = Added::default();
    let update = ["update-index", "--add", "--replace", "--remove", "-z"];
    by_halves(writer, &[&update[..], &["--stdin"]].concat(), files, &mut added.refused)?;
    if with_crlf.is_empty() {
        return Ok(added);
    }
    by_halves(reader, &[&update[..], &["--info-only", "--stdin"]].concat(), with_crlf, &mut added.refused)?;
    let stored = |file: &&&[u8]| !added.refused.iter().any(|refused| refused.path == **file);
    let files: Vec<&[u8]> = with_crlf.iter().filter(stored).copied().collect();
    for form in [&["hash-object", "-w", "--stdin-paths"][..], &["hash-object", "-w", "--no-filters", "--stdin-paths"]] {
        let names: Vec<Vec<u8>> = files.iter().map(|file| as_line(file)).collect();
        let ids = writer.run(form, Stdin::records(names.iter().map(Vec::as_slice), b'\n')?)?;
        let ids = String::from_utf8_lossy(&ids);
        added.spare.extend(files.iter().zip(ids.lines()).map(|(file, id)| (file.to_vec(), id.to_owned())));
    }
    Ok(added)
}

/// A path for git to read from a line.
fn as_line(path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"\"") || path.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        quoted(path)
    } else {
        path.to_vec()
    }
}

/// Gives git all files at once. It takes all or none, so if it fails, finds the ones at fault.
fn by_halves(git: &Git, args: &[&str], files: &[&[u8]], refused: &mut Vec<Withheld>) -> Result<(), SnapshotError> {
    let mut failures = 0;
    let mut pending = vec![files];
    while let Some(files) = pending.pop() {
        if files.is_empty() {
            continue;
        }
        let said = git.ask(args, Stdin::records(files.iter().copied(), 0)?)?;
        if said.status.success() {
            continue;
        }
        failures += 1;
        if failures > MAX_FAILURES || NOT_ABOUT_THE_FILE.iter().any(|words| said.stderr.contains(words)) {
            return Err(git.failure(args, said.status, said.stderr));
        }
        match files {
            [file] => {
                let said = said.stderr.replace(UNSET_FOR_FILTERS, "");
                let error = said.lines().collect::<Vec<_>>().join("; ");
                refused.push(Withheld { path: file.to_vec(), reason: WithheldReason::Unreadable { error } });
            }
            _ => {
                let (first, second) = files.split_at(files.len() / 2);
                pending.extend([second, first]);
            }
        }
    }
    Ok(())
}
