//! Submodules: each checked-out one is snapshotted as a working tree of its own, and its tree put
//! in the place of the entry by which the outer repository only names a commit.
//!
//! So the patch of a turn shows what an agent did inside. A submodule that is not checked out
//! stays the entry it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::git::{Git, Stdin};
use crate::limits::Budget;
use crate::model::ObjectFormat;
use crate::private::as_path;
use crate::trees::Trees;
use crate::worktree::Worktree;
use crate::{FileScanner, SnapshotError, Tree, Withheld, WithheldReason};

/// The submodules of one working tree.
#[derive(Default)]
pub(crate) struct Submodules {
    all: Vec<Submodule>,
    /// Where objects lie that their snapshots lean on, also of those that are no more.
    alternates: Vec<PathBuf>,
    /// The last tree grafted, with what it was made of.
    grafted: Option<(Tree, Vec<Place>, Tree)>,
}

struct Submodule {
    path: Vec<u8>,
    format: ObjectFormat,
    worktree: Option<Box<Worktree>>,
    place: Place,
}

/// What stands in the snapshot where the submodule is.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// The entry of the outer repository.
    Entry,
    /// The submodule's content.
    Content(Tree),
    /// Nothing: it was there with content, and is not any more.
    Nothing,
}

impl Submodules {
    pub(crate) fn new(paths: Vec<Vec<u8>>, format: ObjectFormat) -> Self {
        let new = |path| Submodule { path, format, worktree: None, place: Place::Entry };
        Self { all: paths.into_iter().map(new).collect(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn alternates(&self) -> &[PathBuf] {
        &self.alternates
    }

    /// Sees which are checked out. Those that are no longer submodules but ordinary files or
    /// directories are dropped, and their paths returned.
    pub(crate) fn look(
        &mut self,
        root: &Path,
        prefix: &[u8],
        objects: &Path,
        scratch: &Path,
        withheld: &mut Vec<Withheld>,
    ) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let mut ordinary = Vec::new();
        for mut submodule in std::mem::take(&mut self.all) {
            let directory = root.join(as_path(&submodule.path));
            match State::of(&directory) {
                State::Ordinary => {
                    ordinary.push(submodule.path);
                    continue;
                }
                State::Absent => submodule.leave(Place::Nothing),
                State::Empty if submodule.place == Place::Entry => {}
                State::Empty => submodule.leave(Place::Nothing),
                State::CheckedOut if submodule.worktree.is_some() => {}
                State::CheckedOut => match submodule.enter(&directory, prefix, objects, scratch) {
                    Ok(worktree) => submodule.worktree = Some(worktree),
                    Err(error) => withheld.push(submodule.withheld(error.to_string())),
                },
            }
            self.all.push(submodule);
        }
        Ok(ordinary)
    }

    /// Takes the snapshots of those checked out.
    pub(crate) fn take(
        &mut self,
        scan: &mut dyn FileScanner,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<Withheld>, SnapshotError> {
        let mut withheld = Vec::new();
        for submodule in &mut self.all {
            let Some(worktree) = &mut submodule.worktree else {
                continue;
            };
            let taken = worktree.take(scan, budget)?;
            submodule.place = Place::Content(taken.tree);
            for alternate in worktree.alternates() {
                if !self.alternates.contains(&alternate) {
                    self.alternates.push(alternate);
                }
            }
            let outer = |inner: Withheld| Withheld { path: join(&submodule.path, &inner.path), ..inner };
            withheld.extend(taken.withheld.into_iter().map(outer));
        }
        Ok(withheld)
    }

    /// The tree `own` with every submodule in its place. `reader` and `writer` have an index for
    /// nothing else.
    pub(crate) fn graft(
        &mut self,
        reader: &Git,
        writer: &Git,
        trees: &mut Trees,
        own: &Tree,
    ) -> Result<Tree, SnapshotError> {
        let places: Vec<Place> = self.all.iter().map(|submodule| submodule.place.clone()).collect();
        if places.iter().all(|place| *place == Place::Entry) {
            return Ok(own.clone());
        }
        if let Some((of, with, tree)) = &self.grafted
            && (of, with) == (own, &places)
        {
            return Ok(tree.clone());
        }
        reader.run(&["read-tree", own.as_str()], Stdin::none())?;
        let replaced = self.all.iter().filter(|submodule| submodule.place != Place::Entry);
        let replaced = Stdin::records(replaced.map(|submodule| submodule.path.as_slice()), 0)?;
        reader.run(&["update-index", "--force-remove", "-z", "--stdin"], replaced)?;
        for submodule in &self.all {
            if let Place::Content(tree) = &submodule.place {
                let mut prefix = std::ffi::OsString::from("--prefix=");
                prefix.push(as_path(&submodule.path));
                prefix.push("/");
                reader.run(
                    &["read-tree".as_ref(), "-i".as_ref(), prefix.as_os_str(), tree.as_str().as_ref()],
                    Stdin::none(),
                )?;
            }
        }
        let tree = trees.write(reader, writer, own)?;
        self.grafted = Some((own.clone(), places, tree.clone()));
        Ok(tree)
    }
}

impl Submodule {
    fn leave(&mut self, place: Place) {
        self.worktree = None;
        self.place = place;
    }

    fn enter(
        &self,
        directory: &Path,
        prefix: &[u8],
        objects: &Path,
        scratch: &Path,
    ) -> Result<Box<Worktree>, SnapshotError> {
        let prefix = [prefix, &self.path, b"/"].concat();
        let worktree = Worktree::open(directory, objects, scratch, prefix)?;
        if worktree.repository().is_none() || worktree.root != directory {
            return Err(SnapshotError::unexpected(format!("the .git of the submodule {}", directory.display())));
        }
        if worktree.format() != self.format {
            return Err(SnapshotError::unexpected("a submodule with another object format than its repository"));
        }
        Ok(Box::new(worktree))
    }

    fn withheld(&self, error: String) -> Withheld {
        Withheld { path: self.path.clone(), reason: WithheldReason::Unreadable { error } }
    }
}

enum State {
    CheckedOut,
    Empty,
    Absent,
    /// A file, or a directory with files but no repository.
    Ordinary,
}

impl State {
    fn of(directory: &Path) -> Self {
        // Something on the way that became a link leads elsewhere.
        let here = directory.parent().is_some_and(|parent| fs::canonicalize(parent).is_ok_and(|real| real == parent));
        let Ok(metadata) = fs::symlink_metadata(directory) else {
            return Self::Absent;
        };
        if !here {
            Self::Absent
        } else if !metadata.is_dir() {
            Self::Ordinary
        } else if fs::symlink_metadata(directory.join(".git")).is_ok() {
            Self::CheckedOut
        } else if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none()) {
            Self::Empty
        } else {
            Self::Ordinary
        }
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}
