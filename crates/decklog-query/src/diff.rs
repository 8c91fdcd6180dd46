//! What a session changed: the patch of one turn, of a range, or of all of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use decklog_journal::Session;
use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{ArtifactRef, FileChange, Withheld};
use decklog_journal::redact::Redactor;
use decklog_journal::session::{JOURNAL_FILE, Turn};
use decklog_journal::verify::find_artifact;
use decklog_journal::withheld::Covered;
use decklog_journal::words::SessionKind;
use decklog_snapshot::{Change, FileScanner, SnapshotError, SnapshotReader, Tree};

/// Which part of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffRange {
    /// From the first snapshot to the last.
    All,
    /// These turns, both included.
    Turns(u32, u32),
}

/// Why there is no diff.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// There is no such turn.
    #[error("there is no turn {turn}: the session has {count}")]
    NoTurn {
        /// What was asked for.
        turn: u32,
        /// How many there are.
        count: usize,
    },
    /// A turn was not snapshotted.
    #[error("turn {0} has no snapshot, so what it changed is not known")]
    NoSnapshot(u32),
    /// A turn did not end, so what it changed was not recorded.
    #[error("turn {0} did not end, so what it changed was not recorded")]
    NotEnded(u32),
    /// There is no such iteration.
    #[error("there is no iteration {iteration}: the session has {count}")]
    NoIteration {
        /// What was asked for.
        iteration: u32,
        /// How many there are.
        count: usize,
    },
    /// Racers began at one tree and ended at several, and none of those was picked.
    #[error("nobody was picked in this race: each racer's turn has a diff of its own")]
    Race,
    /// The session has no turns.
    #[error("the session has no turns")]
    Empty,
    /// Git refused.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// The patch cannot be read or handed on.
    #[error("{path}: {error}")]
    Io {
        /// The artifact.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl DiffError {
    /// Whether the record does not hold, or no longer, what changed; nothing went wrong in looking.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::NoSnapshot(_) | Self::NotEnded(_) | Self::Snapshot(SnapshotError::Gone { .. }))
    }
}

/// A diff that was found.
#[derive(Debug)]
pub enum Diff<'a> {
    /// Nothing changed.
    Empty,
    /// One turn's own patch; the turn has the file list.
    Recorded(&'a ArtifactRef, &'a Turn),
    /// To be made from two snapshots, and where these are gone, from what the turns between them recorded.
    Between(Tree, Tree, Vec<&'a Turn>),
    /// The patches of turns that were never snapshotted, as far as their source tells them.
    Told(Vec<&'a Turn>),
}

/// The turns that worked in an iteration of a loop: the actor's, and what the critic did not do.
///
/// # Errors
/// [`DiffError::NoIteration`].
pub fn of_iteration(session: &Session, number: u32) -> Result<DiffRange, DiffError> {
    let all = &session.iterations;
    let none = || DiffError::NoIteration { iteration: number, count: all.len() };
    let at = all.iter().position(|it| it.iteration_number == number).ok_or_else(none)?;
    let before = at.checked_sub(1).and_then(|before| all[before].critic_turn.max(all[before].actor_turn));
    // Records of other tools have one turn for each.
    let last = all[at].actor_turn.unwrap_or(number);
    Ok(DiffRange::Turns(before.map_or(1, |turn| turn + 1).min(last), last))
}

/// Finds the diff of `range` in `session`.
///
/// # Errors
/// [`DiffError`] when the range was not recorded.
pub fn find(session: &Session, range: DiffRange) -> Result<Diff<'_>, DiffError> {
    let turns = &session.turns;
    let count = turns.len();
    let at =
        |number: u32| turns.iter().find(|turn| turn.turn == number).ok_or(DiffError::NoTurn { turn: number, count });
    let (first, last) = match range {
        DiffRange::All if session.head.kind == SessionKind::Race => {
            let picked = at(session.picked.ok_or(DiffError::Race)?)?;
            (picked, picked)
        }
        DiffRange::All => {
            let snapshotted =
                || turns.iter().filter(|turn| turn.snapshot_before.is_some() && turn.snapshot_after.is_some());
            match (snapshotted().next(), snapshotted().next_back()) {
                (Some(first), Some(last)) => (first, last),
                _ => (turns.first().ok_or(DiffError::Empty)?, turns.last().ok_or(DiffError::Empty)?),
            }
        }
        DiffRange::Turns(first, last) => (at(first)?, at(last)?),
    };
    let range = || turns.iter().filter(|turn| (first.turn..=last.turn).contains(&turn.turn));
    let is_told = |turn: &Turn| !turn.patch.is_empty() || turn.snapshot_before.is_none() && turn.files_changed > 0;
    if range().all(|turn| turn.snapshot_before.is_none() && turn.outcome.is_some())
        && (session.head.source.is_some() || range().any(is_told))
    {
        let told: Vec<_> = range().filter(|turn| is_told(turn)).collect();
        return Ok(if told.is_empty() { Diff::Empty } else { Diff::Told(told) });
    }
    let before = tree(first, first.snapshot_before.as_deref())?;
    let after = tree(last, last.snapshot_after.as_deref())?;
    if before == after {
        return Ok(Diff::Empty);
    }
    match &first.patch_artifact {
        Some(patch) if std::ptr::eq(first, last) => Ok(Diff::Recorded(patch, first)),
        _ => Ok(Diff::Between(before, after, range().collect())),
    }
}

fn tree(turn: &Turn, id: Option<&str>) -> Result<Tree, DiffError> {
    match id {
        Some(id) => Ok(Tree::parse(id)?),
        None if turn.outcome.is_none() && turn.snapshot_before.is_some() => Err(DiffError::NotEnded(turn.turn)),
        None => Err(DiffError::NoSnapshot(turn.turn)),
    }
}

fn reader(dir: &Path, session: &Session) -> Result<SnapshotReader, DiffError> {
    let working_dir = Path::new(&session.head.working_dir);
    Ok(SnapshotReader::open(working_dir.is_dir().then_some(working_dir), &dir.join(OBJECTS_DIR))?)
}

/// Finds what has the shape of a secret. The values that the recorder knew are known no more: the files in which it
/// found them are named by their turns.
struct Scanner(Redactor);

impl FileScanner for Scanner {
    fn secret_in(&mut self, _: &Path, content: &mut dyn Read) -> io::Result<Option<String>> {
        self.0.find_in(content)
    }
}

/// Writes the patch, byte for byte as `git apply` takes it. What several turns changed is without the files that one
/// of them withheld; gives those that were left out besides.
///
/// # Errors
/// [`DiffError`].
pub fn write_patch(
    dir: &Path,
    session: &Session,
    diff: &Diff<'_>,
    out: &mut dyn Write,
) -> Result<Vec<Withheld>, DiffError> {
    let recorded = match diff {
        Diff::Empty => Ok(()),
        Diff::Recorded(patch, _) => copy(dir, patch, out),
        Diff::Told(turns) => in_turn(dir, turns, out),
        Diff::Between(before, after, turns) => {
            let withheld = withheld(turns);
            let left_out = |path: &[u8]| withheld.holds(&String::from_utf8_lossy(path));
            let scanner = Box::new(Scanner(Redactor::builder().build()));
            match reader(dir, session)?.with_scanner(scanner).patch_without(before, after, &left_out, out) {
                Err(SnapshotError::Gone { .. }) if is_unbroken(turns) => in_turn(dir, turns, out),
                written => {
                    let more = written?.withheld.into_iter().filter(|file| !left_out(&file.path));
                    return Ok(more
                        .map(|file| Withheld {
                            path: String::from_utf8_lossy(&file.path).into_owned(),
                            reason: file.reason.to_string(),
                        })
                        .collect());
                }
            }
        }
    };
    recorded.map(|()| Vec::new())
}

/// What turns withheld, under the names it had before as well.
fn withheld<'a>(turns: &[&'a Turn]) -> Covered<'a> {
    let mut covered = Covered::default();
    for turn in turns {
        turn.withheld.iter().for_each(|file| covered.add(&file.path));
        let moved = turn.files.iter().filter(|file| covered.holds(&file.path));
        let before: Vec<_> = moved.filter_map(|file| file.old_path.as_deref()).collect();
        before.into_iter().for_each(|path| covered.add(path));
    }
    covered
}

/// Whether what the turns recorded, one after the other, leads from the first snapshot to the last.
fn is_unbroken(turns: &[&Turn]) -> bool {
    let is_known = |turn: &&Turn| {
        let (before, after) = (&turn.snapshot_before, &turn.snapshot_after);
        after.is_some() && (before == after || turn.patch_artifact.is_some())
    };
    turns.iter().all(is_known) && turns.windows(2).all(|pair| pair[0].snapshot_after == pair[1].snapshot_before)
}

/// The patches of turns, one after the other.
fn in_turn(dir: &Path, turns: &[&Turn], out: &mut dyn Write) -> Result<(), DiffError> {
    turns.iter().try_for_each(|turn| match &turn.patch_artifact {
        Some(patch) => copy(dir, patch, out),
        None => {
            out.write_all(turn.patch.as_bytes()).map_err(|error| DiffError::Io { path: JOURNAL_FILE.to_owned(), error })
        }
    })
}

fn copy(dir: &Path, patch: &ArtifactRef, out: &mut dyn Write) -> Result<(), DiffError> {
    let io = |error| DiffError::Io { path: patch.path.clone(), error };
    let found = find_artifact(dir, &patch.path).map_err(io)?;
    let mut source = found.content(Some(patch.bytes)).map_err(io)?;
    io::copy(&mut source, out).map_err(io)?;
    Ok(())
}

/// The files that turns changed, each once.
fn merged(turns: &[&Turn]) -> Vec<FileChange> {
    let mut files: BTreeMap<&str, FileChange> = BTreeMap::new();
    for file in turns.iter().flat_map(|turn| &turn.files) {
        let Some(known) = files.get_mut(file.path.as_str()) else {
            files.insert(&file.path, file.clone());
            continue;
        };
        let sum = |known: Option<u64>, more: Option<u64>| Some(known?.saturating_add(more?));
        (known.added, known.removed) = (sum(known.added, file.added), sum(known.removed, file.removed));
        known.status = status_of_both(&known.status, &file.status).to_owned();
    }
    files.into_values().collect()
}

/// The status of a file that was changed twice.
#[must_use]
pub fn status_of_both<'a>(first: &'a str, second: &'a str) -> &'a str {
    match (first, second) {
        (_, "deleted") => "deleted",
        ("deleted", _) => "modified",
        (first, _) => first,
    }
}

/// Files that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// The files, in path order.
    pub files: Vec<FileChange>,
    /// Whether these are all: a long list is cut when it is recorded.
    pub are_all: bool,
}

/// The changed files.
///
/// # Errors
/// [`DiffError`].
pub fn files(dir: &Path, session: &Session, diff: &Diff<'_>) -> Result<Files, DiffError> {
    let is_whole = |turn: &Turn| turn.files.len() as u64 >= turn.files_changed;
    let recorded = |turns: &[&Turn]| Files { files: merged(turns), are_all: turns.iter().all(|turn| is_whole(turn)) };
    let made = |before: &Tree, after: &Tree| -> Result<Files, DiffError> {
        let changes = reader(dir, session)?.changes(before, after)?;
        Ok(Files { files: changes.into_iter().map(file_change).collect(), are_all: true })
    };
    match diff {
        Diff::Empty => Ok(recorded(&[])),
        Diff::Recorded(_, turn) => {
            let recorded = Files { files: turn.files.clone(), are_all: is_whole(turn) };
            if recorded.are_all {
                return Ok(recorded);
            }
            let (before, after) = (turn.snapshot_before.as_deref(), turn.snapshot_after.as_deref());
            // Where the snapshots are no longer to be had, some of the files are better than none.
            Ok(made(&tree(turn, before)?, &tree(turn, after)?).unwrap_or(recorded))
        }
        Diff::Told(turns) => Ok(recorded(turns)),
        Diff::Between(before, after, turns) => match made(before, after) {
            Err(DiffError::Snapshot(SnapshotError::Gone { .. })) if is_unbroken(turns) => Ok(recorded(turns)),
            files => files,
        },
    }
}

fn file_change(change: Change) -> FileChange {
    let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
    FileChange {
        path: text(change.path),
        old_path: change.old_path.map(text),
        status: change.status.as_str().to_owned(),
        added: change.added,
        removed: change.removed,
    }
}
