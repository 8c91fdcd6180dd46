//! The kinds of directory an agent may find itself in, each with the same files to start from.

use std::fs;
use std::path::Path;

use crate::files::Do;
use crate::sandbox::{Sandbox, git_in};

/// A kind of directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// No repository.
    Plain,
    /// All is committed.
    Committed,
    /// The same, with the index in version 4.
    IndexVersion4,
    /// The same, with the index split in two.
    SplitIndex,
    /// The same, ids being SHA-256.
    Sha256,
    /// The same, the repository's path being a hard one.
    OddPath,
    /// Nothing is committed, all is staged.
    Staged,
    /// Nothing is committed or staged.
    Untracked,
    /// A linked working tree.
    Linked,
    /// HEAD is no branch.
    Detached,
    /// All is committed and marked "assume unchanged" or "skip worktree".
    Hidden,
}

impl Place {
    /// Makes the working directory such a place, with the files `start` makes.
    pub(crate) fn prepare(self, sandbox: &mut Sandbox, start: &[Do]) {
        match self {
            Self::Plain => {}
            Self::Sha256 => drop(sandbox.git(&["init", "-q", "--object-format=sha256"])),
            Self::OddPath => {
                let odd = sandbox.work.join("a:b\"c\\ d\n-é");
                fs::create_dir(&odd).unwrap();
                sandbox.work = odd;
                sandbox.init();
            }
            Self::Linked => {
                let main = sandbox.spare.join("main");
                fs::create_dir(&main).unwrap();
                git_in(&main, &["init", "-q"]);
                git_in(&main, &["commit", "-q", "--allow-empty", "-m", "start"]);
                fs::remove_dir(&sandbox.work).unwrap();
                git_in(&main, &["worktree", "add", "-q", sandbox.work.to_str().unwrap()]);
            }
            _ => sandbox.init(),
        }
        for step in start {
            step.run(&sandbox.work);
        }
        match self {
            Self::Plain | Self::Untracked => {}
            Self::Staged => drop(sandbox.git(&["add", "-A"])),
            Self::IndexVersion4 => {
                sandbox.git(&["config", "index.version", "4"]);
                sandbox.commit();
            }
            Self::SplitIndex => {
                sandbox.commit();
                sandbox.git(&["update-index", "--split-index"]);
                sandbox.git(&["config", "core.splitIndex", "true"]);
            }
            Self::Detached => {
                sandbox.commit();
                sandbox.git(&["checkout", "-q", "--detach"]);
            }
            Self::Hidden => {
                sandbox.commit();
                let files = sandbox.git(&["ls-files", "-z"]);
                for (n, file) in files.split_terminator('\0').enumerate().filter(|(_, file)| !file.contains('\u{fffd}'))
                {
                    let mark = if n % 2 == 0 { "--assume-unchanged" } else { "--skip-worktree" };
                    sandbox.git(&["update-index", mark, "--", file]);
                }
            }
            _ => sandbox.commit(),
        }
    }
}

/// Where the repository of the working directory lies, if it has one.
pub(crate) fn git_directory(sandbox: &Sandbox) -> Option<std::path::PathBuf> {
    let dot_git = sandbox.work.join(".git");
    let linked = sandbox.spare.join("main/.git");
    if dot_git.is_dir() { Some(dot_git) } else { Some(linked).filter(|linked| Path::exists(linked)) }
}
