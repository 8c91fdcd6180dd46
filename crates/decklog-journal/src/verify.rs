//! Whether a session is what was recorded: every line's sum and number, head against journal, artifacts.

mod secrets;

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::artifacts::{self, TORN_FILE, TURNS_DIR, TurnFile};
use crate::event::ArtifactRef;
use crate::expand::Expanded;
use crate::files::{Access, open_in};
use crate::format::FormatVersion;
use crate::head::{HEAD_FILE, Head, HeadError, HeadFold};
use crate::lock::{self, Held};
use crate::read::{Fault, FaultKind, Item, JournalReader};
use crate::session::JOURNAL_FILE;
use crate::state::State;
use crate::store::is_unborn;
use crate::words::Status;

pub use secrets::secrets;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Lines read.
    pub events: u64,
    /// Artifacts looked for.
    pub artifacts: u64,
    /// What is wrong, in the order it was found.
    pub faults: Vec<Finding>,
    /// What is unusual, and no fault: that a crash had left a part of a line, which was put aside.
    pub remarks: Vec<Finding>,
    /// Where a secret was found, if it was looked for ([`secrets`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<Finding>>,
}

/// Something that is wrong or unusual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file in the session directory, with the line where that helps.
    pub place: String,
    /// What about it.
    pub what: String,
}

impl Report {
    /// Whether nothing is wrong, and no secret was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.secrets.as_ref().is_none_or(Vec::is_empty)
    }

    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.faults.push(Finding { place: place.into(), what: what.into() });
    }
}

/// Checks the session in `dir`. Reads every byte of the journal, and the size of every artifact.
#[must_use]
pub fn verify(dir: &Path) -> Report {
    let mut report = Report::default();
    let live = lock::held(dir) == Held::Yes;
    // Before the journal: a recorder adds to the journal first.
    let stored = Head::read(dir);
    let mut reader = match JournalReader::open(&dir.join(JOURNAL_FILE)) {
        Ok(reader) => reader,
        Err(_) if is_unborn(dir) => {
            report.fault(
                JOURNAL_FILE,
                "does not exist: the recorder was killed before its first event; `decklog clean` removes the rest",
            );
            return report;
        }
        Err(error) => {
            report.fault(JOURNAL_FILE, format!("cannot be read: {error}"));
            return report;
        }
    };
    let (mut fold, mut state) = (HeadFold::default(), State::default());
    let mut artifacts = Vec::new();
    // What the journal makes the head at the length that the stored head sums up.
    let mut made = None;
    while let Some(item) = reader.next() {
        match item {
            Ok(Item::Event(event)) => {
                if let Err(illegal) = state.advance(&event.body) {
                    report.fault(format!("{JOURNAL_FILE} seq {}", event.seq), illegal.to_string());
                    state.apply(&event.body);
                }
                artifacts.extend(event.body.artifacts().into_iter().cloned());
                fold.apply(&event);
                if stored.as_ref().is_ok_and(|stored| stored.journal_bytes == reader.offset()) {
                    fold.set_journal(reader.offset(), reader.last_sum().unwrap_or_default());
                    made = fold.head().cloned();
                }
            }
            Ok(Item::Fault(fault)) => journal_fault(&mut report, &fault, live),
            Err(error) => {
                report.fault(JOURNAL_FILE, format!("cannot be read on: {error}"));
                break;
            }
        }
    }
    report.events = reader.next_seq();
    fold.set_journal(reader.offset(), reader.last_sum().unwrap_or_default());
    match fold.into_head() {
        None => report.fault(JOURNAL_FILE, "holds no session"),
        Some(whole) if !whole.format.is_readable() => {
            let format = whole.format;
            report.fault(
                JOURNAL_FILE,
                format!("is in format {format}, which this decklog cannot read: use a newer decklog"),
            );
        }
        Some(whole) => check_head(&mut report, stored, made.as_ref(), &whole, live),
    }
    for artifact in &artifacts {
        report.artifacts += 1;
        check_artifact(&mut report, dir, artifact);
    }
    if !live {
        check_unnamed(&mut report, dir, &artifacts, state.last_turn());
    }
    if dir.join(TORN_FILE).exists() {
        let what = "holds what a crash had left of a line";
        report.remarks.push(Finding { place: TORN_FILE.into(), what: what.into() });
    }
    report
}

fn journal_fault(report: &mut Report, fault: &Fault, live: bool) {
    let place = format!("{JOURNAL_FILE} line {} (byte {})", fault.line, fault.offset);
    let finding = Finding { place, what: fault.kind.to_string() };
    match fault.kind {
        FaultKind::Torn { .. } if live => {}
        // A crash leaves the beginning of a line; other bytes at the end are damage. Both are said.
        _ => report.faults.push(finding),
    }
}

/// Compares the stored head with what the journal makes it: at the length it sums up, else as a whole.
fn check_head(report: &mut Report, stored: Result<Head, HeadError>, at: Option<&Head>, whole: &Head, live: bool) {
    let stored = match stored {
        Ok(stored) => stored,
        // A head is made from the journal; that of a session whose recorder was killed may be missing.
        Err(HeadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound && whole.outcome.is_none() => {
            let what = "is not there: its recorder was killed before it wrote one".into();
            return report.remarks.push(Finding { place: HEAD_FILE.into(), what });
        }
        Err(error) => return report.fault(HEAD_FILE, error.to_string()),
    };
    let made = at.unwrap_or(whole);
    if stored == *made {
        let behind = whole.events.saturating_sub(made.events);
        // A recorder renews the head at milestones: in between it is behind. So it is where a crash left it.
        if behind > 0 && !live && whole.status == Status::Completed {
            let what = format!("is behind the journal by {behind} events, as a killed recorder leaves it");
            report.remarks.push(Finding { place: HEAD_FILE.into(), what });
        }
        return;
    }
    // An older version has made no key that came later.
    let is_older = stored.format < FormatVersion::CURRENT;
    let (Ok(serde_json::Value::Object(stored)), Ok(serde_json::Value::Object(made))) =
        (serde_json::to_value(&stored), serde_json::to_value(made))
    else {
        return;
    };
    let keys: std::collections::BTreeSet<_> = stored.keys().chain(made.keys()).collect();
    for key in keys {
        let show = |value: Option<&serde_json::Value>| value.map_or_else(|| "absent".to_owned(), ToString::to_string);
        if stored.get(key) != made.get(key) && !(is_older && stored.get(key).is_none()) {
            let what = format!("`{key}` is {}, the journal makes it {}", show(stored.get(key)), show(made.get(key)));
            report.fault(HEAD_FILE, what);
        }
    }
}

fn check_artifact(report: &mut Report, dir: &Path, artifact: &ArtifactRef) {
    if !is_inside(&artifact.path) {
        return report.fault(artifact.path.clone(), "the journal names it as an artifact, outside the session");
    }
    let length = |found: ArtifactFile| match found.compressed {
        false => Ok(found.file.metadata()?.len()),
        true => {
            // One byte more than there may be: it must not come.
            let mut source = zstd::Decoder::new(found.file)?.take(artifact.bytes.saturating_add(1));
            std::io::copy(&mut source, &mut std::io::sink())
        }
    };
    match find_artifact(dir, &artifact.path).and_then(length) {
        Ok(bytes) if bytes > artifact.bytes => {
            report.fault(
                artifact.path.clone(),
                format!("is longer than the {} bytes that the journal says", artifact.bytes),
            );
        }
        Ok(bytes) if bytes != artifact.bytes => {
            report.fault(artifact.path.clone(), format!("is {bytes} bytes long, the journal says {}", artifact.bytes));
        }
        Ok(_) => {}
        Err(error) => report.fault(artifact.path.clone(), format!("cannot be read: {error}")),
    }
}

/// Compares the files of turns with those that the journal names.
fn check_unnamed(report: &mut Report, dir: &Path, named: &[ArtifactRef], last_turn: u32) {
    let named: HashSet<&str> = named.iter().map(|artifact| artifact.path.as_str()).collect();
    let mut names: Vec<String> = std::fs::read_dir(dir.join(TURNS_DIR))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| artifacts::is_ours(TURNS_DIR, name.as_bytes()))
        .collect();
    names.sort();
    for name in names {
        let path = format!("{TURNS_DIR}/{name}");
        let plain = path.strip_suffix(".zst").unwrap_or(&path);
        let remark = if artifacts::before_set_aside(&name).is_some() {
            "is in no event and was set aside: a recorder was killed before it wrote the event"
        } else if named.contains(plain) || name.ends_with(TurnFile::State.suffix()) {
            continue;
        } else if name.ends_with(TurnFile::Prompt.suffix())
            && artifacts::parse_turn_file(&name).is_some_and(|(turn, _)| turn <= last_turn)
        {
            report.fault(path, "is in no event: it is not what the turn's agent was sent");
            continue;
        } else {
            "is in no event: the recorder was killed before it wrote the event, or the file could not be kept whole"
        };
        report.remarks.push(Finding { place: path, what: remark.into() });
    }
}

/// Whether an artifact's path, as a journal names it, stays in the session directory.
#[must_use]
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// An artifact, opened.
#[derive(Debug)]
pub struct ArtifactFile {
    /// The file.
    pub file: std::fs::File,
    /// Whether its content is zstd-compressed.
    pub compressed: bool,
}

impl ArtifactFile {
    /// What it holds, uncompressed, where that is recorded to be so many bytes: reading what is compressed fails beyond them.
    /// Without a record its own size bounds it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(self, recorded: Option<u64>) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(if self.compressed { Box::new(Expanded::new(self.file, recorded)?) } else { Box::new(self.file) })
    }
}

/// Opens the artifact at `path` in the session `dir`, as it is or compressed (`.zst`). No directory on the way
/// may be a link.
///
/// # Errors
/// When it is not there, leads out of the session, or is no regular file.
pub fn find_artifact(dir: &Path, path: &str) -> std::io::Result<ArtifactFile> {
    if !is_inside(path) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it leads out of the session"));
    }
    match open_in(dir, path, Access::Read) {
        Ok(file) => Ok(ArtifactFile { file, compressed: path.ends_with(".zst") }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match open_in(dir, format!("{path}.zst"), Access::Read) {
                Ok(file) => Ok(ArtifactFile { file, compressed: true }),
                Err(_) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}
