//! One working tree and the index its snapshots are taken through.
//!
//! The steps of a snapshot, and nothing about how git is called or files are judged.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::git::{Git, Stdin};
use crate::judge::judge;
use crate::limits::Budget;
use crate::listing::{self, Candidate, Known, Listing};
use crate::model::ObjectFormat;
use crate::private::{PrivateDir, as_path, copy_if_there};
use crate::recheck::recheck;
use crate::repository::{self, Filters, Found};
use crate::scan::{Clean, Inspector};
use crate::seed::seed;
use crate::store::add;
use crate::submodule::Submodules;
use crate::trees::Trees;
use crate::{FileScanner, Repository, SnapshotError, Taken, Tree, Withheld, WithheldReason};

/// A working tree: that of a repository, a submodule, or a plain directory.
pub(crate) struct Worktree {
    pub(crate) root: PathBuf,
    /// Where it lies in the outermost one: empty, or with a slash at its end.
    prefix: Vec<u8>,
    found: Option<Found>,
    objects: PathBuf,
    private: PrivateDir,
    settings: Vec<(OsString, OsString)>,
    /// git that sees the repository's objects, and never stores.
    git: Git,
    /// git that stores, and does not see them.
    writer: Git,
    trees: Trees,
    /// What the index was written as last, submodules aside.
    own: Tree,
    seeded: bool,
    submodules: Submodules,
    inspector: Inspector,
    scratch: TempDir,
}

/// A directory to work in, and the repository around it if there is one.
pub struct Discovered {
    directory: PathBuf,
    found: Option<Found>,
}

impl Discovered {
    /// Looks at `directory`. Only reads.
    ///
    /// # Errors
    /// As for [`crate::Snapshotter::open`].
    pub fn at(directory: &Path) -> Result<Self, SnapshotError> {
        let directory = fs::canonicalize(directory).map_err(SnapshotError::io("find", directory))?;
        let found = repository::find(&directory)?;
        Ok(Self { directory, found })
    }

    /// The repository that was discovered.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        self.found.as_ref().map(|found| &found.repository)
    }
}

/// Another git directory on a working tree, to write over it with.
pub(crate) struct Second {
    pub(crate) private: PrivateDir,
    /// git that works on the tree, and reads all objects.
    pub(crate) git: Git,
    /// The same, to be had write into another directory: filters run at the top of the tree.
    pub(crate) checkout: Git,
    /// git that looks at objects alone.
    pub(crate) viewer: Git,
    /// git that stores, and sees none of the repository.
    pub(crate) writer: Git,
}

impl Worktree {
    /// Prepares the working tree around `directory`, to work in a directory made in `scratch_in`.
    pub(crate) fn open(
        directory: &Path,
        objects: &Path,
        scratch_in: &Path,
        prefix: Vec<u8>,
    ) -> Result<Self, SnapshotError> {
        Self::open_discovered(Discovered::at(directory)?, objects, scratch_in, prefix)
    }

    /// The same around a directory that was looked at.
    pub(crate) fn open_discovered(
        discovered: Discovered,
        objects: &Path,
        scratch_in: &Path,
        prefix: Vec<u8>,
    ) -> Result<Self, SnapshotError> {
        let Discovered { directory, found } = discovered;
        // A submodule may be entered after an agent has made it.
        let filters = if prefix.is_empty() { Filters::All } else { Filters::NotTheRepositorys };
        let settings = repository::content_settings(&directory, filters)?;
        let scratch = TempDir::with_prefix_in("scratch-", scratch_in)
            .map_err(SnapshotError::io("create a directory in", scratch_in))?;
        let format = found.as_ref().map_or(ObjectFormat::Sha1, |found| found.format);
        let private = PrivateDir::create(scratch.path().join("git"), objects.to_owned(), format)?;
        if let Some(found) = &found {
            copy_if_there(&found.exclude, &private.file("info/exclude"))?;
            copy_if_there(&found.attributes, &private.file("info/attributes"))?;
        }
        let root = found.as_ref().map_or(directory, |found| found.repository.root.clone());
        let alternates: Vec<PathBuf> = found.iter().map(|found| found.objects.clone()).collect();
        let git = private.git(&root, &settings, &alternates);
        let trees = Trees::new(scratch.path().join("trees"))?;
        let writer = private.git(&root, &settings, &[trees.objects().to_owned()]);
        let own = found.as_ref().map_or_else(|| format.empty_tree(), |found| found.repository.head_tree.clone());
        let inspector = Inspector::new(root.clone(), prefix.clone());
        Ok(Self {
            root,
            prefix,
            found,
            objects: objects.to_owned(),
            private,
            settings,
            git,
            writer,
            trees,
            own,
            seeded: false,
            submodules: Submodules::default(),
            inspector,
            scratch,
        })
    }

    pub(crate) fn repository(&self) -> Option<&Repository> {
        self.found.as_ref().map(|found| &found.repository)
    }

    pub(crate) fn format(&self) -> ObjectFormat {
        self.found.as_ref().map_or(ObjectFormat::Sha1, |found| found.format)
    }

    /// Where objects lie that the snapshots lean on.
    pub(crate) fn alternates(&self) -> Vec<PathBuf> {
        let own = self.found.iter().map(|found| found.objects.clone());
        own.chain(self.submodules.alternates().iter().cloned()).collect()
    }

    /// git for looking at the snapshots taken.
    pub(crate) fn viewer(&self) -> Git {
        self.private.viewer(&self.alternates())
    }

    /// A second git directory on the same working tree, with an index and objects of its own, for writing over it what
    /// lies in `objects`.
    pub(crate) fn second(&self, objects: &[&Path]) -> Result<Second, SnapshotError> {
        let private = crate::restore::private_in(self.scratch.path(), self.format())?;
        if let Some(found) = &self.found {
            copy_if_there(&found.attributes, &private.file("info/attributes"))?;
        }
        let mut alternates = self.alternates();
        alternates.push(self.objects.clone());
        alternates.extend(objects.iter().map(|objects| (*objects).to_owned()));
        let git = private.git(&self.root, &self.settings, &alternates);
        let checkout = private.git(&self.root, &repository::with_filters_at(&self.settings, &self.root), &alternates);
        let viewer = private.viewer(&alternates);
        let writer = private.git(&self.root, &self.settings, &[]);
        Ok(Second { private, git, checkout, viewer, writer })
    }

    /// What a sparse checkout leaves out of the working tree.
    pub(crate) fn sparse(&self) -> Result<HashSet<Vec<u8>>, SnapshotError> {
        listing::sparse(&self.git, &self.root)
    }

    /// A directory of its own for work on the side, gone with the value.
    pub(crate) fn aside(&self) -> Result<TempDir, SnapshotError> {
        TempDir::new_in(self.scratch.path()).map_err(SnapshotError::io("create a directory in", self.scratch.path()))
    }

    /// Leaves untracked files that match `pattern`, in the syntax of `.gitignore`, out of snapshots.
    pub(crate) fn exclude(&self, pattern: &[u8]) -> Result<(), SnapshotError> {
        let path = self.private.file("info/exclude");
        let append =
            || fs::File::options().create(true).append(true).open(&path)?.write_all(&[b"\n", pattern, b"\n"].concat());
        append().map_err(SnapshotError::io("write", &path))
    }

    pub(crate) fn take(&mut self, scan: &mut dyn FileScanner, budget: &mut Budget<'_>) -> Result<Taken, SnapshotError> {
        if !self.seeded {
            self.begin(scan, budget)?;
        }
        let mut withheld = Vec::new();
        let ordinary =
            self.submodules.look(&self.root, &self.prefix, &self.objects, self.scratch.path(), &mut withheld)?;
        self.forget(&ordinary)?;
        let mut listing = self.list(budget)?;
        set_aside(&mut listing, &mut withheld);
        let clean = judge(&mut listing, &mut self.inspector, scan, budget, &mut withheld)?;
        self.forget(&listing.gone)?;
        match self.store(&clean, scan) {
            Ok(refused) => withheld.extend(refused),
            Err(error) => {
                // The index may name what was not scanned as it was stored. Begin anew.
                self.seeded = false;
                return Err(error);
            }
        }
        if listing.index_differs || !ordinary.is_empty() || !listing.gone.is_empty() || !clean.is_empty() {
            self.own = self.trees.write(&self.git, &self.writer, &self.own)?;
            self.private.set_head(&self.own)?;
        }
        withheld.extend(self.submodules.take(scan, budget)?);
        let tree = if self.submodules.is_empty() {
            self.own.clone()
        } else {
            let index = self.private.file("graft-index");
            let mut reader = self.private.git(&self.root, &self.settings, &self.alternates());
            reader.env("GIT_INDEX_FILE", &index);
            let mut writer = self.writer.clone();
            writer.env("GIT_INDEX_FILE", &index);
            self.submodules.graft(&reader, &writer, &mut self.trees, &self.own)?
        };
        withheld.sort();
        withheld.dedup_by(|one, other| one.path == other.path);
        Ok(Taken { tree, withheld })
    }

    fn begin(&mut self, scan: &mut dyn FileScanner, budget: &Budget<'_>) -> Result<(), SnapshotError> {
        match &self.found {
            None => budget.refuse_at_a_glance(&self.root)?,
            Some(found) => {
                let gitlinks =
                    seed(found, &self.private, (&self.git, &self.writer), &mut self.trees, &self.prefix, scan)?;
                self.submodules = Submodules::new(gitlinks, found.format);
            }
        }
        self.private.set_head(&self.own)?;
        self.seeded = true;
        Ok(())
    }

    /// Has git store the files found clean. Returns those it did not come to.
    fn store(&self, clean: &[(Candidate, Clean)], scan: &mut dyn FileScanner) -> Result<Vec<Withheld>, SnapshotError> {
        let (mut files, mut with_crlf): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        for (candidate, clean) in clean {
            let ends_matter = clean.crlf && candidate.known != Known::No;
            if ends_matter { &mut with_crlf } else { &mut files }.push(&candidate.path);
        }
        let added = add(&self.git, &self.writer, &files, &with_crlf)?;
        let doubtful =
            |(candidate, clean): &&(Candidate, Clean)| clean.is_doubtful(&self.root.join(as_path(&candidate.path)));
        let doubtful: Vec<&Candidate> = clean.iter().filter(doubtful).map(|(candidate, _)| candidate).collect();
        let mut withheld = added.refused;
        if !doubtful.is_empty() {
            withheld.extend(recheck(&self.git, &self.objects, &self.prefix, &doubtful, &added.spare, scan)?);
        }
        Ok(withheld)
    }

    fn list(&self, budget: &mut Budget<'_>) -> Result<Listing, SnapshotError> {
        match listing::list(&self.git, &self.root, budget) {
            // The tree last written may be the repository's, which may have thrown it away since.
            Err(error @ SnapshotError::Git { .. }) => {
                self.private.set_head(&self.format().empty_tree())?;
                listing::list(&self.git, &self.root, budget).map_err(|_| error)
            }
            listed => listed,
        }
    }

    /// Takes paths out of the index.
    fn forget(&self, paths: &[Vec<u8>]) -> Result<(), SnapshotError> {
        if paths.is_empty() {
            return Ok(());
        }
        let paths = Stdin::records(paths.iter().map(Vec::as_slice), 0)?;
        self.git.run(&["update-index", "--force-remove", "-z", "--stdin"], paths).map(drop)
    }
}

/// Moves what cannot be recorded at all from the listing to `withheld`.
fn set_aside(listing: &mut Listing, withheld: &mut Vec<Withheld>) {
    for path in listing.nested.drain(..) {
        withheld.push(Withheld { path, reason: WithheldReason::NestedRepository });
    }
    for (path, error) in listing.unreadable.drain(..) {
        withheld.push(Withheld { path, reason: WithheldReason::Unreadable { error } });
    }
}
