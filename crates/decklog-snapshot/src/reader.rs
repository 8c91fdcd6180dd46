//! Reading the snapshots of a session, finished or not. Writes nothing into it.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::git::{Git, Stdin};
use crate::model::ObjectFormat;
use crate::private::{PrivateDir, copy_if_there};
use crate::repository::Found;
use crate::scratch::ScratchDir;
use crate::{
    Change, FileAt, FileScanner, Patch, Repository, Restored, SnapshotError, Tree, diff, file, repository, restore,
};

/// Reads the snapshots of a session, finished or not, and writes nothing into it.
pub struct SnapshotReader {
    objects: PathBuf,
    /// Where else objects lie.
    alternates: Vec<PathBuf>,
    /// Where the session worked, if that is still there.
    working_dir: Option<PathBuf>,
    repository: Option<Repository>,
    /// The attributes of the repository there that are no part of its tree.
    attributes: Option<PathBuf>,
    sha1: Git,
    sha256: Git,
    scan: Option<RefCell<Box<dyn FileScanner + Send>>>,
    scratch: ScratchDir,
}

impl SnapshotReader {
    /// Opens the snapshots in `objects`. `working_dir` is where the session worked: if it is still
    /// in a repository, that one's objects complete the snapshots; if not, or if git refuses to
    /// look there, what was taken from it is missing.
    ///
    /// # Errors
    /// [`SnapshotError::GitMissing`], or [`SnapshotError::Io`] when no temporary directory can be
    /// made.
    pub fn open(working_dir: Option<&Path>, objects: &Path) -> Result<Self, SnapshotError> {
        let objects = std::path::absolute(objects).map_err(SnapshotError::io("find", objects))?;
        let working_dir = working_dir.filter(|directory| directory.is_dir());
        let found = match working_dir.map(repository::find) {
            Some(Err(error @ SnapshotError::GitMissing { .. })) => return Err(error),
            Some(Ok(found)) => found,
            _ => None,
        };
        let alternates = found.as_ref().map(Found::object_directories).unwrap_or_default();
        let attributes = found.as_ref().map(|found| found.attributes.clone());
        let repository = found.map(|found| found.repository);
        let scratch = ScratchDir::new().map_err(SnapshotError::io("create", Path::new("a temporary directory")))?;
        let viewer = |name: &str, format| -> Result<Git, SnapshotError> {
            Ok(PrivateDir::create(scratch.path().join(name), objects.clone(), format)?.viewer(&alternates))
        };
        let (sha1, sha256) = (viewer("sha1", ObjectFormat::Sha1)?, viewer("sha256", ObjectFormat::Sha256)?);
        let working_dir = working_dir.map(Path::to_owned);
        Ok(Self { objects, alternates, working_dir, repository, attributes, sha1, sha256, scan: None, scratch })
    }

    /// Leaves files with a secret out of patches, as [`crate::Snapshotter::patch`] does.
    #[must_use]
    pub fn with_scanner(self, scan: Box<dyn FileScanner + Send>) -> Self {
        Self { scan: Some(RefCell::new(scan)), ..self }
    }

    /// Writes the patch from one tree to another, see [`crate::Snapshotter::patch`].
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when something in the trees is missing, and then nothing was written;
    /// [`SnapshotError::Output`] when `out` fails.
    pub fn patch(&self, from: &Tree, to: &Tree, out: &mut dyn Write) -> Result<Patch, SnapshotError> {
        self.patch_without(from, to, &|_| false, out)
    }

    /// The same, without the changed files for one of whose paths `left_out` says so.
    ///
    /// # Errors
    /// As of [`Self::patch`].
    pub fn patch_without(
        &self,
        from: &Tree,
        to: &Tree,
        left_out: &dyn Fn(&[u8]) -> bool,
        out: &mut dyn Write,
    ) -> Result<Patch, SnapshotError> {
        let mut scan = self.scan.as_ref().map(RefCell::borrow_mut);
        let scan = scan.as_mut().map(|scan| &mut ***scan as &mut dyn FileScanner);
        diff::patch_of_stored(self.git(from), &self.objects, (from, to), scan, left_out, out)
    }

    /// What changed from one tree to another, see [`crate::Snapshotter::changes`].
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when something in the trees is missing.
    pub fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, SnapshotError> {
        diff::changes(self.git(from), from, to)
    }

    /// The repository that is now around the directory the session worked in.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// Whether that repository has this commit. An id of another shape is none.
    ///
    /// # Errors
    /// [`SnapshotError::GitMissing`] or [`SnapshotError::Io`] when git cannot be run.
    pub fn has_commit(&self, id: &str) -> Result<bool, SnapshotError> {
        let Ok(id) = Tree::parse(id) else { return Ok(false) };
        let args = ["cat-file", "-e", &format!("{id}^{{commit}}")];
        Ok(self.git(&id).ask(&args, Stdin::none())?.status.success())
    }

    /// Writes all of `tree` into `directory`, which must be there and empty. Line endings are made as the repository
    /// of the session has them made, if it is still there; filters that it configures are not run.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when something of the tree is missing: nothing is written then.
    /// [`SnapshotError::Git`] when it cannot be written.
    pub fn restore_into(&self, tree: &Tree, directory: &Path) -> Result<Restored, SnapshotError> {
        let mut settings = match &self.working_dir {
            Some(working_dir) => {
                repository::content_settings(working_dir, repository::Filters::All).unwrap_or_default()
            }
            None => Vec::new(),
        };
        settings.retain(|(key, _)| !key.as_encoded_bytes().starts_with(b"filter."));
        let private = restore::private_in(self.scratch.path(), tree.format())?;
        if let Some(attributes) = &self.attributes {
            copy_if_there(attributes, &private.file("info/attributes"))?;
        }
        let alternates: Vec<PathBuf> = self.alternates.iter().chain([&self.objects]).cloned().collect();
        restore::into_directory(&private.git(directory, &settings, &alternates), tree)
    }

    /// The file at `path` in `tree`, whose content is read up to `limit` bytes.
    ///
    /// # Errors
    /// [`SnapshotError::GitMissing`], [`SnapshotError::Io`] or [`SnapshotError::Git`] when git cannot be run; what
    /// is missing is no error.
    pub fn file(&self, tree: &Tree, path: &[u8], limit: u64) -> Result<FileAt, SnapshotError> {
        file::read(self.git(tree), tree, path, limit)
    }

    /// Sees that a tree and all in it is there.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] names what is not.
    pub fn check(&self, tree: &Tree) -> Result<(), SnapshotError> {
        restore::check(self.git(tree), tree)
    }

    /// Whether the tree, or anything in it, is no longer to be found.
    ///
    /// # Errors
    /// [`SnapshotError::GitMissing`] or [`SnapshotError::Io`] when git cannot be run.
    pub fn missing(&self, tree: &Tree) -> Result<bool, SnapshotError> {
        diff::missing(self.git(tree), tree)
    }

    fn git(&self, tree: &Tree) -> &Git {
        match tree.format() {
            ObjectFormat::Sha1 => &self.sha1,
            ObjectFormat::Sha256 => &self.sha256,
        }
    }
}
