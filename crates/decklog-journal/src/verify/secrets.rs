//! Whether a record holds what today's rules would have kept out: it may be older than they are.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::Finding;
use crate::artifacts::{LOGS_DIR, OBJECTS_DIR, RESUME_DIR, TORN_FILE, TURNS_DIR, TurnFile};
use crate::files;
use crate::head::HEAD_FILE;
use crate::redact::Redactor;
use crate::session::JOURNAL_FILE;
use crate::wire::MAX_READ_LINE;

/// Looks through every file of the session in `dir`, and names the lines of the journal and the files in which
/// `redactor` finds a secret. Patches and git objects hold files, of which weak rules withhold none.
#[must_use]
pub fn secrets(dir: &Path, redactor: &Redactor) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = journal(dir, redactor, &mut found) {
        found.push(unread(JOURNAL_FILE, &error));
    }
    for name in [HEAD_FILE, TORN_FILE] {
        look(dir, name, redactor, &mut found);
    }
    for part in [TURNS_DIR, RESUME_DIR, LOGS_DIR] {
        for name in names(&dir.join(part)) {
            look(dir, &format!("{part}/{name}"), redactor, &mut found);
        }
    }
    for shard in names(&dir.join(OBJECTS_DIR)).into_iter().filter(|name| name.len() == 2) {
        for name in names(&dir.join(OBJECTS_DIR).join(&shard)) {
            look(dir, &format!("{OBJECTS_DIR}/{shard}/{name}"), redactor, &mut found);
        }
    }
    found
}

fn journal(dir: &Path, redactor: &Redactor, found: &mut Vec<Finding>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, files::open_regular(&dir.join(JOURNAL_FILE))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(MAX_READ_LINE as u64).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // No line of a journal is so long: the rest is searched as it comes, and not kept.
        let is_endless = line.len() >= MAX_READ_LINE && line.last() != Some(&b'\n');
        let rule = match is_endless {
            true => redactor.find_weak_in(&mut line.as_slice().chain(&mut reader))?,
            false => redactor.find_weak_in(&mut line.as_slice())?,
        };
        if let Some(rule) = rule {
            found.push(holds(format!("{JOURNAL_FILE} line {number}"), &rule));
        }
        if is_endless {
            break;
        }
    }
    Ok(())
}

/// Looks into one file, decompressed when it is compressed. One that is not there holds nothing.
fn look(dir: &Path, path: &str, redactor: &Redactor, found: &mut Vec<Finding>) {
    let is_patch = path.ends_with(TurnFile::Patch.suffix());
    let rule = files::open_regular(&dir.join(path)).and_then(|file| {
        let file = BufReader::new(file);
        if path.starts_with(OBJECTS_DIR) {
            redactor.find_in(&mut flate2::bufread::ZlibDecoder::new(file))
        } else if path.ends_with(".zst") {
            redactor.find_weak_in(&mut zstd::Decoder::with_buffer(file)?)
        } else if is_patch {
            redactor.find_in(&mut { file })
        } else {
            redactor.find_weak_in(&mut { file })
        }
    });
    match rule {
        Ok(Some(rule)) => found.push(holds(path.to_owned(), &rule)),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => found.push(unread(path, &error)),
    }
}

fn holds(place: String, rule: &str) -> Finding {
    Finding { place, what: format!("holds a secret ({rule})") }
}

fn unread(place: &str, error: &io::Error) -> Finding {
    Finding { place: place.to_owned(), what: format!("cannot be searched for secrets: {error}") }
}

/// The names of the files in a directory, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
