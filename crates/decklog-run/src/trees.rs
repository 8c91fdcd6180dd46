//! The working tree before and after a turn, as far as it can be snapshotted.
//!
//! What a snapshot cannot hold is named; a tree that cannot be snapshotted at all costs the diff, not the turn.

use std::io::Read;
use std::path::Path;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::{ArtifactRef, FileChange, GitState, Withheld};
use decklog_journal::redact::Redactor;
use decklog_journal::withheld::{self, Covered};
use decklog_snapshot::{
    Discovered, FileScanner, Incomplete, Limits, LinkedWorktree, Merged, Restored, SnapshotError, Snapshotter, Tree,
};

use crate::log::Log;
use crate::record::clip;

/// Bytes of paths that an event names, as they stand in its line.
const NAMED_BYTES: usize = 64 * 1024;

/// Takes a session's snapshots.
pub(crate) struct Trees {
    snapshotter: Result<Snapshotter, NoTree>,
    /// The snapshot taken last, or why it could not be taken.
    last: Result<decklog_snapshot::Taken, NoTree>,
    redactor: Redactor,
}

/// Why there is no tree.
#[derive(Debug, Clone)]
pub(crate) struct NoTree {
    /// The reason, for people.
    pub(crate) reason: String,
    /// Whether the working tree is of a kind that is not snapshotted. Else taking the snapshot failed.
    pub(crate) is_limitation: bool,
}

/// Commit and branch of the repository around a directory, if there is one.
pub(crate) fn git_state(discovered: &Result<Discovered, SnapshotError>) -> Option<GitState> {
    let repository = discovered.as_ref().ok()?.repository()?;
    Some(GitState { head: repository.head.clone(), branch: repository.branch.clone() })
}

impl From<SnapshotError> for NoTree {
    fn from(error: SnapshotError) -> Self {
        let reason = format!("no snapshot of the working tree was taken, so there is no diff: {error}");
        Self { reason, is_limitation: error.is_limitation() }
    }
}

/// Why the files of the working tree could not be replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// Nothing is known of the present tree, so nothing was done. Why.
    #[error("{0}")]
    NoSnapshot(String),
    /// See [`SnapshotError::Incomplete`].
    #[error("{0}")]
    Incomplete(Incomplete),
    /// Something else, before any file was changed.
    #[error(transparent)]
    Snapshot(SnapshotError),
}

impl From<SnapshotError> for ReplaceError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Incomplete(files) => Self::Incomplete(*files),
            other => Self::Snapshot(other),
        }
    }
}

/// A tree that was taken, or why not.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The tree's id.
    pub(crate) tree: Option<String>,
    /// What was left out: all of it, of which an event names as much as [`named`] gives.
    pub(crate) withheld: Vec<Withheld>,
    /// Why there is no tree.
    pub(crate) trouble: Option<NoTree>,
}

impl Taken {
    fn of(taken: &decklog_snapshot::Taken, redactor: &Redactor) -> Self {
        let withheld = recorded(&taken.withheld, redactor);
        Self { tree: Some(taken.tree.to_string()), withheld, trouble: None }
    }
}

/// What a turn changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The files, as many as an event can name.
    pub(crate) files: Vec<FileChange>,
    /// How many there are.
    pub(crate) count: u64,
    /// Lines added and removed.
    pub(crate) lines: (u64, u64),
    /// The patch.
    pub(crate) patch: Option<ArtifactRef>,
    /// What was left out of the patch.
    pub(crate) withheld: Vec<Withheld>,
    /// Why this is not all.
    pub(crate) trouble: Option<String>,
}

/// Keeps the beginning of what is written to it.
struct Head {
    kept: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.limit - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Scanner(Redactor);

impl FileScanner for Scanner {
    fn secret_in(&mut self, _: &Path, content: &mut dyn Read) -> std::io::Result<Option<String>> {
        self.0.find_in(content)
    }
}

impl Default for Trees {
    /// Takes none.
    fn default() -> Self {
        let none = NoTree { reason: "no snapshot of the working tree was taken".into(), is_limitation: false };
        Self { snapshotter: Err(none.clone()), last: Err(none), redactor: Redactor::none() }
    }
}

impl Trees {
    /// Prepares to snapshot `working_dir` into `objects`. Records that are in the tree, at `left_out`, are no part of
    /// what an agent did.
    pub(crate) fn open(working_dir: &Path, objects: &Path, redactor: &Redactor, left_out: &[&Path]) -> Self {
        Self::open_discovered(Discovered::at(working_dir), objects, redactor, left_out)
    }

    /// The same for a directory that was looked at before, or could not be.
    pub(crate) fn open_discovered(
        discovered: Result<Discovered, SnapshotError>,
        objects: &Path,
        redactor: &Redactor,
        left_out: &[&Path],
    ) -> Self {
        let scanner = Box::new(Scanner(redactor.clone()));
        let open = |discovered| Snapshotter::open_discovered(discovered, objects, Limits::default(), scanner);
        let snapshotter = discovered.and_then(open).and_then(|snapshotter| {
            left_out.iter().try_for_each(|path| snapshotter.exclude(path))?;
            Ok(snapshotter)
        });
        let redactor = redactor.clone();
        Self { snapshotter: snapshotter.map_err(NoTree::from), redactor, ..Self::default() }
    }

    /// Snapshots the tree as it is. What failed once is tried again: a full disk or too many open files can pass.
    pub(crate) fn take(&mut self) -> Taken {
        self.last = match &mut self.snapshotter {
            Ok(snapshotter) => snapshotter.take().map_err(NoTree::from),
            Err(error) => Err(error.clone()),
        };
        self.last_taken()
    }

    /// The snapshot taken last, for a caller that knows that nothing has changed since; one of now where there is none.
    pub(crate) fn last_or_take(&mut self) -> Taken {
        if self.last.is_ok() { self.last_taken() } else { self.take() }
    }

    fn last_taken(&self) -> Taken {
        match &self.last {
            Ok(taken) => Taken::of(taken, &self.redactor),
            Err(error) => Taken { trouble: Some(error.clone()), ..Taken::default() },
        }
    }

    fn present(&self) -> Result<(&Snapshotter, &decklog_snapshot::Taken), String> {
        let snapshotter = self.snapshotter.as_ref().map_err(|error| error.reason.clone())?;
        Ok((snapshotter, self.last.as_ref().map_err(|error| error.reason.clone())?))
    }

    /// Makes the working tree `target`, whose objects lie in `objects` and whose snapshot withheld some files, right after
    /// it was snapshotted.
    ///
    /// # Errors
    /// [`ReplaceError`].
    pub(crate) fn restore(
        &self,
        target: &Tree,
        objects: &Path,
        withheld: &[Withheld],
    ) -> Result<Restored, ReplaceError> {
        let (snapshotter, present) = self.present().map_err(ReplaceError::NoSnapshot)?;
        let covered = Covered::by(withheld);
        let is_withheld = |path: &[u8]| covered.holds(&String::from_utf8_lossy(path));
        Ok(snapshotter.restore(present, target, objects, &is_withheld)?)
    }

    /// Makes a linked worktree at `path` with the files of the tree that was snapshotted last.
    pub(crate) fn link(&self, working_dir: &Path, path: &Path, objects: &Path) -> Result<LinkedWorktree, String> {
        let (_, last) = self.present()?;
        LinkedWorktree::create(working_dir, path, &last.tree, objects, &last.withheld)
            .map_err(|error| error.to_string())
    }

    /// Brings the change from one tree to another into the working tree, right after that was snapshotted.
    ///
    /// # Errors
    /// [`ReplaceError`].
    pub(crate) fn merge(&self, from: &Tree, to: &Tree, objects: &Path) -> Result<Merged, ReplaceError> {
        let (snapshotter, present) = self.present().map_err(ReplaceError::NoSnapshot)?;
        Ok(snapshotter.merge(present, from, to, objects)?)
    }

    /// What lies between two trees, with the patch written as turn `turn`'s.
    pub(crate) fn changes(&self, writer: &Log, turn: u32, before: Option<&str>, after: Option<&str>) -> Changes {
        let (Ok(snapshotter), Some(before), Some(after)) = (&self.snapshotter, before, after) else {
            return Changes::default();
        };
        if before == after {
            return Changes::default();
        }
        self.collect(snapshotter, writer, turn, before, after).unwrap_or_else(|error| Changes {
            trouble: Some(format!("the patch is not recorded: {error}")),
            ..Changes::default()
        })
    }

    /// Some of the files that differ between two trees; or why that cannot be told.
    pub(crate) fn changed(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<String>, String> {
        let (Ok(snapshotter), Some(from), Some(to)) = (&self.snapshotter, from, to) else {
            return Err("there is no snapshot".into());
        };
        let tree = |id: &str| id.parse::<Tree>().map_err(|error| error.to_string());
        let (from, to) = (tree(from)?, tree(to)?);
        if from == to {
            return Ok(Vec::new());
        }
        let changes = snapshotter.changes(&from, &to).map_err(|error| error.to_string())?;
        Ok(changes.iter().take(10).map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect())
    }

    /// The patch from one tree to the other: at most `limit` bytes of it, and how many there are.
    pub(crate) fn patch_text(&self, from: Option<&str>, to: Option<&str>, limit: usize) -> (String, u64) {
        let (Ok(snapshotter), Some(from), Some(to)) = (&self.snapshotter, from, to) else { return Default::default() };
        let (Ok(from), Ok(to)) = (from.parse::<Tree>(), to.parse::<Tree>()) else { return Default::default() };
        let mut head = Head { kept: Vec::new(), limit };
        if from == to {
            return Default::default();
        }
        match snapshotter.patch(&from, &to, &mut head) {
            Ok(patch) => (beginning_of_patch(&head.kept, patch.bytes), patch.bytes),
            Err(_) => Default::default(),
        }
    }

    fn collect(
        &self,
        snapshotter: &Snapshotter,
        writer: &Log,
        turn: u32,
        before: &str,
        after: &str,
    ) -> Result<Changes, Box<dyn std::error::Error>> {
        let (before, after): (Tree, Tree) = (before.parse()?, after.parse()?);
        // Not through the redactor: a file that holds a secret is left out whole, and a patch must apply.
        let path = TurnFile::Patch.path(turn);
        let mut file = writer.exact_artifact(&path)?;
        let (changes, patch) = snapshotter.changes_and_patch(&before, &after, &mut file)?;
        let mut made = Changes { count: changes.len() as u64, ..Changes::default() };
        let mut named = 0;
        for change in &changes {
            made.lines.0 += change.added.unwrap_or(0);
            made.lines.1 += change.removed.unwrap_or(0);
            if named > NAMED_BYTES {
                continue;
            }
            let path = String::from_utf8_lossy(&change.path).into_owned();
            let old_path = change.old_path.as_ref().map(|path| String::from_utf8_lossy(path).into_owned());
            named += written(&path) + old_path.as_deref().map_or(0, written) + 100;
            if named <= NAMED_BYTES {
                made.files.push(FileChange {
                    path,
                    old_path,
                    status: change.status.as_str().to_owned(),
                    added: change.added,
                    removed: change.removed,
                });
            }
        }
        made.withheld = recorded(&patch.withheld, &self.redactor);
        made.patch = Some(ArtifactRef { path, bytes: patch.bytes });
        Ok(made)
    }
}

/// The beginning of a patch of `bytes` bytes, by whole lines, as text.
pub(crate) fn beginning_of_patch(beginning: &[u8], bytes: u64) -> String {
    let mut text = String::from_utf8_lossy(beginning).into_owned();
    if bytes > beginning.len() as u64 {
        // Half of a character was cut, or half of a line.
        text.truncate(text.rfind('\n').map_or(0, |line| line + 1));
    }
    text
}

/// Bytes of a text in a line, where a control character takes six.
fn written(text: &str) -> usize {
    serde_json::to_string(text).map_or(0, |text| text.len())
}

/// As many of these as an event can name, and directories for the others.
pub(crate) fn named(withheld: &[Withheld]) -> Vec<Withheld> {
    withheld::within(withheld, NAMED_BYTES / 2)
}

/// A name may be what a file is withheld for: it is redacted before it is cut, or half a secret would be left.
fn recorded(all: &[decklog_snapshot::Withheld], redactor: &Redactor) -> Vec<Withheld> {
    let recorded = |file: &decklog_snapshot::Withheld| Withheld {
        path: clip(redactor.redact_str(&String::from_utf8_lossy(&file.path)).into_owned(), 4096),
        reason: clip(file.reason.to_string(), 300),
    };
    all.iter().map(recorded).collect()
}
