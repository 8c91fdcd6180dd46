//! What can go wrong with a snapshot, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::Incomplete;

/// Why a snapshot could not be taken or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no `git` to run, or it is too old.
    #[error("{problem}; install git 2.31 or newer (https://git-scm.com/downloads) and see that it is on PATH")]
    GitMissing {
        /// What was found instead.
        problem: String,
    },
    /// A bare repository, or the inside of a `.git`.
    #[error("{path} is part of a git repository but of no working tree; run in a checkout of it")]
    NoWorkTree {
        /// The directory asked for.
        path: PathBuf,
    },
    /// There is no repository around a directory in which a linked worktree was asked for.
    #[error(
        "{path} is in no git repository, and a worktree is one of a repository; run in a checkout, or make one \
             (`git init`) and commit to it"
    )]
    NoRepository {
        /// The directory asked for.
        path: PathBuf,
    },
    /// A linked worktree was asked for before the first commit.
    #[error("the repository {path} has no commit yet, and a worktree starts from one; commit something first")]
    NoCommit {
        /// The top of the working tree.
        path: PathBuf,
    },
    /// Something stands where a linked worktree was to be made. Nothing was changed.
    #[error("{path} is there already; remove it, or choose another place")]
    AlreadyThere {
        /// The place.
        path: PathBuf,
    },
    /// A linked worktree could not be made, and what there is of it could not be removed.
    #[error("{error}; what was made of it is still in {path}: {problem}")]
    NotRemoved {
        /// The place.
        path: PathBuf,
        /// Why it could not be made.
        error: Box<SnapshotError>,
        /// Why it could not be removed.
        problem: Box<SnapshotError>,
    },
    /// git will not work there, for instance because another user owns the repository.
    #[error("git refuses to work in {path}: {message}")]
    Refused {
        /// The directory asked for.
        path: PathBuf,
        /// git's own words, with its advice.
        message: String,
    },
    /// The working tree holds more than a snapshot should copy. Nothing was written.
    #[error(
        "a snapshot of {root} would be too large: {what}; run in the project's own directory, or list in \
         .gitignore what is no part of the work"
    )]
    TooLarge {
        /// The top of the working tree.
        root: PathBuf,
        /// Which limit was passed.
        what: String,
    },
    /// git failed at something it should be able to do.
    #[error("git {command} failed in {path} ({status}): {message}")]
    Git {
        /// The subcommand.
        command: String,
        /// Where it ran.
        path: PathBuf,
        /// How it ended: an exit status or a signal.
        status: String,
        /// What it wrote to stderr.
        message: String,
    },
    /// git, or a file of a repository, said something this crate does not understand.
    #[error("cannot make sense of {what}; is git damaged, or newer than this program knows?")]
    Unexpected {
        /// What it was.
        what: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something of a snapshot is no longer to be found. Nothing was changed.
    #[error(
        "{what} is no longer there: the repository that a snapshot leaned on has thrown it away, or moved; the \
         patches of the turns still stand (`decklog diff --turn N`)"
    )]
    Gone {
        /// What.
        what: String,
    },
    /// A tree or a change cannot be put over what is there. No file was changed, or all of them are as before again: each
    /// was compared.
    #[error("nothing in {path} was changed: {message}")]
    InTheWay {
        /// The top of the working tree.
        path: PathBuf,
        /// What is in the way, mostly in git's words.
        message: String,
    },
    /// A tree or a change could not be put in place as a whole, and what was changed could not be taken back.
    #[error("{0}")]
    Incomplete(Box<Incomplete>),
    /// The patch could not be handed over: its reader failed.
    #[error("cannot write the patch: {0}")]
    Output(#[source] io::Error),
    /// Not the id of a tree.
    #[error("{0:?} is no tree id: expected 40 or 64 lower-case hex digits")]
    BadTree(String),
}

impl SnapshotError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether it is the working tree that cannot be snapshotted, rather than taking a snapshot that failed.
    #[must_use]
    pub fn is_limitation(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::NoWorkTree { .. })
    }

    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected { what: what.into() }
    }
}
