//! Making sure that what git stored is what was scanned.
//!
//! A file is scanned, then git reads it again to store it. One that changed in between, or so
//! recently that one cannot tell, is scanned once more as it was stored; should that hold a
//! secret, its object is deleted and the index put back. So the secret can have lain in the
//! session's `objects/` for that moment (and for good only if the machine stops in it).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::blobs;
use crate::git::{Git, Stdin};
use crate::listing::{Candidate, Known};
use crate::private::as_path;
use crate::{FileScanner, SnapshotError, Withheld};

/// More files than this are found by listing the whole index, not by naming each.
const MAX_NAMED: usize = 100;

/// Scans what the index now holds for the `doubtful` files, and what was stored of them besides,
/// and takes back what holds a secret. Returns what did. `prefix` is put before the names the
/// scanner is told.
pub(crate) fn recheck(
    git: &Git,
    objects: &Path,
    prefix: &[u8],
    doubtful: &[&Candidate],
    spare: &[(Vec<u8>, String)],
    scan: &mut dyn FileScanner,
) -> Result<Vec<Withheld>, SnapshotError> {
    let known: HashMap<&[u8], &Known> =
        doubtful.iter().map(|candidate| (candidate.path.as_slice(), &candidate.known)).collect();
    let mut stored = in_index(git, doubtful)?;
    stored.extend(spare.iter().cloned());
    stored.retain(|(path, _)| known.contains_key(path.as_slice()));
    let ids: Vec<&str> = stored.iter().map(|(_, id)| id.as_str()).collect();
    let told: Vec<Vec<u8>> = stored.iter().map(|(path, _)| [prefix, path].concat()).collect();
    let told: Vec<&Path> = told.iter().map(|path| as_path(path)).collect();
    let reasons = blobs::secrets_in(git, &ids, &told, scan)?;
    let mut withheld = Vec::new();
    let mut back: Vec<Vec<u8>> = Vec::new();
    for ((path, id), reason) in stored.iter().zip(reasons) {
        let Some(reason) = reason else { continue };
        let object = objects.join(&id[..2]).join(&id[2..]);
        match fs::remove_file(&object) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SnapshotError::io("delete", &object)(error));
            }
            _ => {}
        }
        back.push(match known.get(path.as_slice()) {
            Some(Known::As(mode_and_id)) => [mode_and_id.as_slice(), b"\t", path].concat(),
            _ => [b"0 ", "0".repeat(id.len()).as_bytes(), b"\t", path].concat(),
        });
        withheld.push(Withheld { path: path.clone(), reason });
    }
    if !back.is_empty() {
        let back = Stdin::records(back.iter().map(Vec::as_slice), 0)?;
        git.run(&["update-index", "-z", "--index-info"], back)?;
    }
    Ok(withheld)
}

/// Paths and objects of the index, at least those of `files`.
fn in_index(git: &Git, files: &[&Candidate]) -> Result<Vec<(Vec<u8>, String)>, SnapshotError> {
    let mut args: Vec<&OsStr> = ["--literal-pathspecs", "ls-files", "--stage", "-z", "--"].map(OsStr::new).to_vec();
    if files.len() <= MAX_NAMED {
        args.extend(files.iter().map(|file| as_path(&file.path).as_os_str()));
    }
    let listed = git.run(&args, Stdin::none())?;
    let entries = listed.split(|byte| *byte == 0).filter_map(|entry| {
        // MODE ID STAGE<tab>PATH
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let id = entry[..tab].split(|byte| *byte == b' ').nth(1)?;
        Some((entry[tab + 1..].to_vec(), String::from_utf8_lossy(id).into_owned()))
    });
    Ok(entries.collect())
}
