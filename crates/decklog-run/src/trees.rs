//! The working tree before and after a turn, as far as it can be snapshotted.
//!
//! What a snapshot cannot hold is named; a tree that cannot be snapshotted at all costs the diff, not the turn.

use std::io::Read;
use std::path::Path;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::{ArtifactRef, FileChange, GitState};
use decklog_journal::redact::Redactor;
use decklog_snapshot::{FileScanner, Limits, LinkedWorktree, Merged, Restored, SnapshotError, Snapshotter, Tree};

use crate::log::Log;
use crate::record::clip;

/// Bytes of paths that an event names, as they stand in its line.
const NAMED_BYTES: usize = 64 * 1024;

/// Takes a session's snapshots.
pub(crate) struct Trees {
    snapshotter: Result<Snapshotter, String>,
    /// The snapshot taken last.
    last: Option<decklog_snapshot::Taken>,
}

/// A tree that was taken, or why not.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The tree's id.
    pub(crate) tree: Option<String>,
    /// What was left out.
    pub(crate) withheld: Vec<decklog_journal::event::Withheld>,
    /// Why there is no tree.
    pub(crate) trouble: Option<String>,
}

impl Taken {
    fn of(taken: &decklog_snapshot::Taken) -> Self {
        Self { tree: Some(taken.tree.to_string()), withheld: withheld(taken.withheld.clone()), trouble: None }
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
    pub(crate) withheld: Vec<decklog_journal::event::Withheld>,
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
        Self { snapshotter: Err(String::new()), last: None }
    }
}

impl Trees {
    /// Prepares to snapshot `working_dir` into `objects`. Records that lie in the tree, at `left_out`, are no part
    /// of what an agent did.
    pub(crate) fn open(working_dir: &Path, objects: &Path, redactor: &Redactor, left_out: &[&Path]) -> Self {
        let scanner = Box::new(Scanner(redactor.clone()));
        let snapshotter = Snapshotter::open(working_dir, objects, Limits::default(), scanner).and_then(|snapshotter| {
            left_out.iter().try_for_each(|path| snapshotter.exclude(path))?;
            Ok(snapshotter)
        });
        Self { snapshotter: snapshotter.map_err(|error| error.to_string()), last: None }
    }

    /// The repository's commit and branch, if there is one.
    #[must_use]
    pub(crate) fn git_state(&self) -> Option<GitState> {
        let repository = self.snapshotter.as_ref().ok()?.repository()?;
        Some(GitState { head: repository.head.clone(), branch: repository.branch.clone() })
    }

    /// Snapshots the tree as it is.
    pub(crate) fn take(&mut self) -> Taken {
        let taken = match &mut self.snapshotter {
            Ok(snapshotter) => snapshotter.take().map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match taken {
            Ok(taken) => Taken::of(self.last.insert(taken)),
            Err(error) => {
                self.last = None;
                // Said once; the turns that follow have no diffs either.
                self.snapshotter = Err(String::new());
                let trouble = (!error.is_empty()).then(|| format!("no diffs are recorded: {error}"));
                Taken { trouble, ..Taken::default() }
            }
        }
    }

    /// The snapshot taken last, for who knows that the tree is as it was then; one of now where there is none.
    pub(crate) fn last_or_take(&mut self) -> Taken {
        match &self.last {
            Some(last) => Taken::of(last),
            None => self.take(),
        }
    }

    /// Makes the working tree `target`, whose objects lie in `objects`, right after it was snapshotted.
    pub(crate) fn restore(&self, target: &Tree, objects: &Path) -> Result<Restored, String> {
        match (&self.snapshotter, &self.last) {
            (Ok(snapshotter), Some(present)) => {
                snapshotter.restore(present, target, objects).map_err(|error| error.to_string())
            }
            _ => Err("there is no snapshot of the present tree".into()),
        }
    }

    /// Makes a linked worktree at `path` with the files of the tree that was snapshotted last.
    pub(crate) fn link(
        &self,
        working_dir: &Path,
        path: &Path,
        objects: &Path,
    ) -> Result<LinkedWorktree, SnapshotError> {
        match &self.last {
            Some(last) => LinkedWorktree::create(working_dir, path, &last.tree, objects, &last.withheld),
            None => Err(SnapshotError::NoRepository { path: working_dir.to_owned() }),
        }
    }

    /// Brings the change from one tree to another into the working tree, right after that was snapshotted.
    pub(crate) fn merge(&self, from: &Tree, to: &Tree, objects: &Path) -> Result<Merged, String> {
        match (&self.snapshotter, &self.last) {
            (Ok(snapshotter), Some(present)) => {
                snapshotter.merge(present, from, to, objects).map_err(|error| error.to_string())
            }
            _ => Err("there is no snapshot of the present tree".into()),
        }
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
        made.withheld = withheld(patch.withheld);
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

fn withheld(all: Vec<decklog_snapshot::Withheld>) -> Vec<decklog_journal::event::Withheld> {
    let mut named = 0;
    all.into_iter()
        .map(|file| decklog_journal::event::Withheld {
            path: clip(String::from_utf8_lossy(&file.path).into_owned(), 4096),
            reason: clip(file.reason.to_string(), 300),
        })
        .take_while(|file| {
            named += written(&file.path) + written(&file.reason) + 50;
            named <= NAMED_BYTES / 2
        })
        .collect()
}
