//! The tree as it stood after a turn: which it is, and writing it into a directory of its own.
//!
//! Putting it back in place is recorded as a session, so `decklog-run` does that; here is seen where that would be.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::Session;
use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::Withheld;
use decklog_snapshot::{Restored, SnapshotError, SnapshotReader, Tree};

/// How the names of directories begin in which a tree is written before it is moved to its place. Those of a restoration in
/// place are called otherwise: they can hold files of the user's.
const STAGING: &str = ".decklog-tree-";
/// What such a directory holds, and nothing else.
const TREE: &str = "tree";

/// How often a directory is made again that another process removed.
const TRIES: usize = 8;

/// A tree of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// After which turn it stood so; 0: before turn 1.
    pub turn: u32,
    /// The tree.
    pub tree: Tree,
    /// Files that were there and are not in it as they were.
    pub withheld: Vec<Withheld>,
}

/// Why a tree cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The session has no turns.
    #[error("the session has no turns, so no tree was recorded")]
    Empty,
    /// There is no such turn.
    #[error("there is no turn {turn}: the session has {count}")]
    NoTurn {
        /// What was asked for.
        turn: u32,
        /// How many there are.
        count: usize,
    },
    /// The turn was cut off or is not over.
    #[error("turn {0} did not end, so the tree it left was not recorded")]
    NotEnded(u32),
    /// The turn was not snapshotted.
    #[error("turn {0} has no snapshot")]
    NoSnapshot(u32),
    /// The directory to write into is in use.
    #[error("{}: {problem}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why it will not do.
        problem: String,
    },
    /// The tree cannot be put back where the session worked.
    #[error("{0}")]
    NotInPlace(String),
    /// git, or something missing.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Finds the tree as it stood after turn `turn` of `session`; 0: before turn 1; `None`: after the last.
///
/// # Errors
/// [`RestoreError`] when it was not recorded.
pub fn find(session: &Session, turn: Option<u32>) -> Result<Point, RestoreError> {
    let last = session.turns.last().ok_or(RestoreError::Empty)?;
    let number = turn.or(session.picked).unwrap_or(last.turn);
    let at = number.max(1);
    let found = session.turns.iter().rev().find(|turn| turn.turn == at);
    let found = found.ok_or(RestoreError::NoTurn { turn: at, count: session.turns.len() })?;
    let (tree, withheld) = match number {
        0 => (&found.snapshot_before, &found.withheld_before),
        _ => (&found.snapshot_after, &found.withheld_after),
    };
    let tree = match tree {
        Some(tree) => Tree::parse(tree)?,
        None if number > 0 && found.outcome.is_none() => return Err(RestoreError::NotEnded(number)),
        None => return Err(RestoreError::NoSnapshot(at)),
    };
    Ok(Point { turn: number, tree, withheld: withheld.clone() })
}

fn reader(dir: &Path, session: &Session) -> Result<SnapshotReader, SnapshotError> {
    SnapshotReader::open(Some(Path::new(&session.head.working_dir)), &dir.join(OBJECTS_DIR))
}

/// Writes a tree of the session in `dir` into `target`, which must be absent or an empty directory.
///
/// # Errors
/// [`RestoreError`]; an absent `target` is then still absent, and an empty one empty.
pub fn write_into(dir: &Path, session: &Session, point: &Point, target: &Path) -> Result<Restored, RestoreError> {
    let refuse = |problem: String| RestoreError::Directory { path: target.to_owned(), problem };
    let refused = |error: io::Error| refuse(error.to_string());
    let inside = |place: &Path| dir.canonicalize().is_ok_and(|dir| place.starts_with(dir));
    let reader = reader(dir, session)?;
    match target.canonicalize() {
        Ok(place) => {
            if !place.is_dir() {
                return Err(refuse("is there and no directory: give another".into()));
            }
            if place.read_dir().map_err(refused)?.next().is_some() {
                return Err(refuse("is not empty: give a new or an empty directory".into()));
            }
            if inside(&place) {
                return Err(refuse("lies in the session's own directory: give another".into()));
            }
            let staging = staging_in(&place).map_err(refused)?;
            let restored = reader.restore_into(&point.tree, &staging.tree)?;
            move_entries(&staging.tree, &place).map_err(refused)?;
            staging.dir.close().map_err(refused)?;
            Ok(restored)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = target.file_name().ok_or_else(|| refuse("names no directory".into()))?;
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let parent = parent.canonicalize().map_err(|error| refuse(format!("its parent: {error}")))?;
            if inside(&parent) {
                return Err(refuse("lies in the session's own directory: give another".into()));
            }
            let staging = staging_in(&parent).map_err(refused)?;
            let restored = reader.restore_into(&point.tree, &staging.tree)?;
            // In one step: whoever sees the directory sees all of it.
            std::fs::rename(&staging.tree, parent.join(name)).map_err(refused)?;
            Ok(restored)
        }
        Err(error) => Err(refused(error)),
    }
}

/// A directory in which a tree is written.
struct Staging {
    dir: tempfile::TempDir,
    tree: PathBuf,
    /// Says that a process is at work in it.
    _lock: File,
}

/// Makes a directory in `parent` to write a tree in. Those that killed processes left are removed.
fn staging_in(parent: &Path) -> io::Result<Staging> {
    sweep(parent)?;
    for _ in 0..TRIES {
        let dir = tempfile::Builder::new().prefix(STAGING).tempdir_in(parent)?;
        let lock = match open_dir(dir.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => lock?,
        };
        // Where the file system has no locks, nothing is swept.
        if !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) && dir.path().is_dir() {
            let tree = dir.path().join(TREE);
            std::fs::create_dir(&tree)?;
            return Ok(Staging { dir, tree, _lock: lock });
        }
    }
    Err(io::Error::other("another process removes the directory again and again"))
}

/// Opens a directory, through no link.
fn open_dir(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Removes the directories that killed processes left in `parent`.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in parent.read_dir()?.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(STAGING));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = open_dir(&entry.path()) else { continue };
        let holds_a_tree = |inside: std::fs::ReadDir| inside.flatten().all(|entry| entry.file_name() == TREE);
        if lock.try_lock().is_ok() && entry.path().read_dir().is_ok_and(holds_a_tree) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Moves all that is in one directory into another, in which nothing of it may be; all of it, or nothing.
fn move_entries(from: &Path, to: &Path) -> io::Result<()> {
    let mut moved = Vec::new();
    let mut move_all = || -> io::Result<()> {
        for entry in from.read_dir()? {
            let name = entry?.file_name();
            if to.join(&name).symlink_metadata().is_ok() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name:?} was made there meanwhile")));
            }
            std::fs::rename(from.join(&name), to.join(&name))?;
            moved.push(name);
        }
        Ok(())
    };
    let result = move_all();
    if result.is_err() {
        for name in moved {
            std::fs::rename(to.join(&name), from.join(&name))?;
        }
    }
    result
}

/// The top of the working tree that `point` can be put back in, if that can be told for certain.
///
/// # Errors
/// [`RestoreError::NotInPlace`] when what is there now is not what was recorded; [`RestoreError::Snapshot`] when
/// something of the tree is missing.
pub fn place(dir: &Path, session: &Session, point: &Point) -> Result<PathBuf, RestoreError> {
    let refuse = |problem: &str| RestoreError::NotInPlace(format!("{} {problem}", session.head.working_dir));
    let working_dir = Path::new(&session.head.working_dir);
    if !working_dir.is_absolute() || !working_dir.is_dir() {
        return Err(refuse("is no longer there"));
    }
    let working_dir = working_dir.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    let reader = reader(dir, session)?;
    reader.check(&point.tree)?;
    match (&session.head.git, reader.repository()) {
        (None, None) => Ok(working_dir),
        // Its paths are still counted from the same place.
        (None, Some(repository)) if repository.root == working_dir => Ok(working_dir),
        (None, Some(_)) => Err(refuse("was in no repository then, and is in one now")),
        (Some(_), None) => Err(refuse("was in a repository then, and is in none now")),
        (Some(then), Some(now)) => match &then.head {
            Some(commit) if !reader.has_commit(commit)? => {
                Err(refuse("is in a repository that does not have the commit the session began at"))
            }
            _ => Ok(now.root.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use decklog_journal::event::{EventBody, SessionStart, TurnEnd, TurnStart};
    use decklog_journal::words::{Role, SessionKind, TurnOutcome};

    use super::*;

    /// A session of turns, each with its trees before and after; `None` after: it did not end.
    fn session(turns: &[(Option<char>, Option<Option<char>>)]) -> Session {
        let tree = |digit: char| digit.to_string().repeat(40);
        let mut fold = decklog_journal::session::SessionFold::default();
        let mut seq = 0;
        let mut apply = |body: EventBody| {
            let at = jiff::Timestamp::UNIX_EPOCH;
            fold.item(decklog_journal::read::Item::Event(decklog_journal::Event { seq, timestamp: at, body }));
            seq += 1;
        };
        let start = serde_json::json!({
            "format": "1.0", "id": "20260501T134412-3f2a", "kind": "run", "prompt": "p", "prompt_hash": "",
            "working_dir": "/w", "session_dir": "/s", "decklog_version": "0",
        });
        let start: SessionStart = serde_json::from_value(start).expect("a start");
        assert_eq!(start.kind, SessionKind::Run);
        apply(start.into());
        for (number, (before, after)) in (1..).zip(turns) {
            let begin = TurnStart {
                boxed: false,
                prompt: String::new(),
                turn: number,
                agent: "a".into(),
                role: Role::Solo,
                model: None,
                permissions: None,
                command: Vec::new(),
                prompt_artifact: None,
                snapshot: before.map(tree),
                withheld: Vec::new(),
            };
            apply(begin.into());
            let Some(after) = after else { continue };
            let end = serde_json::json!({
                "turn": number, "outcome": TurnOutcome::Success, "duration_secs": 0.0, "files_changed": 0,
                "snapshot": after.map(tree),
            });
            apply(serde_json::from_value::<TurnEnd>(end).expect("an end").into());
        }
        fold.finish().expect("a session")
    }

    #[test]
    fn only_what_exports_left_is_removed() {
        let parent = tempfile::tempdir().expect("a directory");
        let held = staging_in(parent.path()).expect("a staging directory");
        for name in [".decklog-tree-left/tree", ".decklog-tree-theirs/tree", ".decklog-restore-1-0/new"] {
            std::fs::create_dir_all(parent.path().join(name)).expect("a directory");
        }
        std::fs::write(parent.path().join(".decklog-tree-left/tree/file"), "x").expect("a file");
        std::fs::write(parent.path().join(".decklog-tree-theirs/file"), "x").expect("a file");
        std::fs::write(parent.path().join(".decklog-restore-1-0/1"), "x").expect("a file");
        sweep(parent.path()).expect("swept");
        let names = || {
            let entries = parent.path().read_dir().expect("a directory");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        let own = held.dir.path().file_name().expect("a name").to_owned();
        let mut expected = vec![".decklog-restore-1-0".into(), ".decklog-tree-theirs".into(), own];
        expected.sort();
        assert_eq!(names(), expected);
        drop(held);
        assert_eq!(names().len(), 2);
    }

    #[test]
    fn trees_are_found_by_turn() {
        let whole = session(&[(Some('a'), Some(Some('b'))), (Some('c'), Some(Some('d')))]);
        for (turn, number, digit) in [(Some(0), 0, 'a'), (Some(1), 1, 'b'), (Some(2), 2, 'd'), (None, 2, 'd')] {
            let point = find(&whole, turn).expect("recorded");
            assert_eq!((point.turn, point.tree.as_str()), (number, &*digit.to_string().repeat(40)));
        }
        assert!(matches!(find(&whole, Some(3)), Err(RestoreError::NoTurn { turn: 3, count: 2 })));
        let cut = session(&[(Some('a'), None)]);
        assert!(matches!(find(&cut, None), Err(RestoreError::NotEnded(1))));
        assert!(find(&cut, Some(0)).is_ok());
        let none = session(&[(None, Some(None))]);
        assert!(matches!(find(&none, None), Err(RestoreError::NoSnapshot(1))));
        assert!(matches!(find(&none, Some(0)), Err(RestoreError::NoSnapshot(1))));
        assert!(matches!(find(&session(&[]), Some(0)), Err(RestoreError::Empty)));
    }
}
