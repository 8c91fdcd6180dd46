//! The git directory a snapshot works with instead of the user's: an index, one configuration,
//! no refs. Objects go to the session's `objects/`; others are read where they are.
//!
//! Knows how git is to be set up, not what is asked of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::git::Git;
use crate::model::ObjectFormat;
use crate::{SnapshotError, Tree};

/// Settings that keep git to itself, whatever the user's say. Those against running anything are
/// in `git`.
const OWN_SETTINGS: &[(&str, &str)] = &[
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("core.safecrlf", "false"),
    // With this, git drops the skip-worktree bit of files that are there after all, and with no
    // sparse index, every file has an entry of its own.
    ("core.sparseCheckout", "true"),
    ("index.sparse", "false"),
    ("index.skipHash", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// A git directory of our own.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    objects: PathBuf,
}

impl PrivateDir {
    /// Makes one at `path`, for objects kept in `objects`.
    pub(crate) fn create(path: PathBuf, objects: PathBuf, format: ObjectFormat) -> Result<Self, SnapshotError> {
        let config = match format {
            ObjectFormat::Sha1 => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tsharedRepository = 0600\n",
            ObjectFormat::Sha256 => {
                "[core]\n\trepositoryformatversion = 1\n\tbare = true\n\tsharedRepository = 0600\n\
                 [extensions]\n\tobjectFormat = sha256\n"
            }
        };
        let made = || -> io::Result<()> {
            fs::create_dir_all(path.join("refs"))?;
            fs::create_dir(path.join("info"))?;
            fs::write(path.join("config"), config)
        };
        made().map_err(SnapshotError::io("create", &path))?;
        let private = Self { path, objects };
        private.set_head(&format.empty_tree())?;
        Ok(private)
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// A file in this directory.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Says what `git status` compares the index with. It takes a tree for HEAD as well as a
    /// commit, and a tree is what we have.
    pub(crate) fn set_head(&self, tree: &Tree) -> Result<(), SnapshotError> {
        let head = self.path.join("HEAD");
        fs::write(&head, format!("{tree}\n")).map_err(SnapshotError::io("write", &head))
    }

    /// git at work on the working tree `root`, with `settings` for its configuration.
    pub(crate) fn git(&self, root: &Path, settings: &[(OsString, OsString)], alternates: &[PathBuf]) -> Git {
        // Every object is to be a file of its own, which can be taken back.
        let loose = (OsString::from("core.bigFileThreshold"), OsString::from("1000g"));
        let settings: Vec<_> = settings.iter().cloned().chain([loose]).collect();
        let mut git = self.base(root, &settings, alternates);
        git.env("GIT_WORK_TREE", root);
        git.env("GIT_INDEX_FILE", self.index());
        // The index is ours: git may keep what it finds out about unchanged files.
        git.env("GIT_OPTIONAL_LOCKS", "1");
        git
    }

    /// git for looking at objects alone: no working tree, no index, so no attributes either.
    pub(crate) fn viewer(&self, alternates: &[PathBuf]) -> Git {
        let mut git = self.base(&self.path, &[], alternates);
        git.env("GIT_INDEX_FILE", self.path.join("no-index"));
        git.env("GIT_ATTR_NOSYSTEM", "1");
        git
    }

    fn base(&self, cwd: &Path, settings: &[(OsString, OsString)], alternates: &[PathBuf]) -> Git {
        let mut git = Git::new(cwd);
        let own = OWN_SETTINGS.iter().map(|(key, value)| (key.into(), value.into()));
        let settings: Vec<_> = settings.iter().cloned().chain(own).collect();
        git.configured(&settings);
        git.env("GIT_DIR", &self.path);
        git.env("GIT_OBJECT_DIRECTORY", &self.objects);
        git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted_list(alternates));
        git
    }
}

/// The paths as git reads them from a variable: separated by colons, quoted where needed.
fn quoted_list(paths: &[PathBuf]) -> OsString {
    let quote = |path: &PathBuf| {
        let bytes = path.as_os_str().as_bytes();
        let odd = bytes.iter().any(|byte| matches!(byte, b':' | b'"' | b'\\' | b'\n'));
        if odd { quoted(bytes) } else { bytes.to_vec() }
    };
    OsString::from_vec(paths.iter().map(quote).collect::<Vec<_>>().join(&b':'))
}

/// A path in quotes, as git reads it.
pub(crate) fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b'\n' => quoted.extend(b"\\n"),
            b'\r' => quoted.extend(b"\\r"),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

/// Makes `directory` for its owner alone, unless it is there.
pub(crate) fn create_private(directory: &Path) -> Result<(), SnapshotError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(SnapshotError::io("create", directory))
}

/// Copies a file that may be absent.
pub(crate) fn copy_if_there(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    match fs::read(from) {
        Ok(content) => fs::write(to, content).map_err(SnapshotError::io("write", to)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SnapshotError::io("read", from)(error)),
    }
}

/// A path git wrote, as the system takes it.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternates_are_quoted_only_where_needed() {
        let list = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            quoted_list(&paths).into_string().expect("text")
        };
        assert_eq!(list(&[]), "");
        assert_eq!(list(&["/a b/objects", "/ä"]), "/a b/objects:/ä");
        assert_eq!(list(&["/a:b", "/c"]), "\"/a:b\":/c");
        assert_eq!(list(&["/q\"\\\n"]), "\"/q\\\"\\\\\\n\"");
    }
}
