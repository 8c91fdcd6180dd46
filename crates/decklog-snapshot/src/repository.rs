//! Finding the repository around a directory, and what of its configuration bears on content.
//!
//! The only place that starts git inside the user's repository, and only to look: `rev-parse`,
//! `symbolic-ref` and `config --list`, none of which reads the index or writes anything.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::git::{Git, Said, Stdin};
use crate::model::ObjectFormat;
use crate::{Repository, SnapshotError, Tree};

/// A repository, with where it keeps what a snapshot starts from.
pub(crate) struct Found {
    pub(crate) repository: Repository,
    pub(crate) format: ObjectFormat,
    pub(crate) objects: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) exclude: PathBuf,
    pub(crate) attributes: PathBuf,
}

impl Found {
    /// Where objects lie: its own, and those of its submodules.
    pub(crate) fn object_directories(&self) -> Vec<PathBuf> {
        let mut found = vec![self.objects.clone()];
        add_modules(&self.repository.common_dir.join("modules"), 0, &mut found);
        if self.repository.git_dir != self.repository.common_dir {
            add_modules(&self.repository.git_dir.join("modules"), 0, &mut found);
        }
        found
    }
}

/// Submodules have names with slashes, and submodules of their own; neither goes very deep.
const MAX_DEPTH: usize = 8;

fn add_modules(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if depth > MAX_DEPTH {
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let path = entry.path();
        if path.join("HEAD").is_file() && path.join("objects").is_dir() {
            found.push(path.join("objects"));
            add_modules(&path.join("modules"), depth + 1, found);
        } else {
            add_modules(&path, depth + 1, found);
        }
    }
}

/// Stands between answers of `rev-parse`, which repeats an option it does not know: a path may
/// hold newlines, but one that holds this is refused rather than misread.
const MARK: &str = "--decklog-next";

/// The repository around `directory`, or `None` if there is none.
pub(crate) fn find(directory: &Path) -> Result<Option<Found>, SnapshotError> {
    let git = Git::new(directory);
    let args = [
        "rev-parse",
        "--path-format=absolute",
        "--is-bare-repository",
        "--is-inside-git-dir",
        "--is-inside-work-tree",
        MARK,
        "--show-object-format",
        MARK,
        "--absolute-git-dir",
        MARK,
        "--git-common-dir",
        MARK,
        "--show-toplevel",
        MARK,
        "--git-path",
        "objects",
        MARK,
        "--git-path",
        "index",
        MARK,
        "--git-path",
        "info/exclude",
        MARK,
        "--git-path",
        "info/attributes",
        MARK,
        "HEAD",
        "HEAD^{tree}",
        "--symbolic-full-name",
        "HEAD",
    ];
    let said = git.ask(&args, Stdin::none())?;
    if said.stdout.is_empty() && !said.status.success() {
        return no_answer(directory, &said);
    }
    let mark = format!("\n{MARK}\n");
    let parts = split(&said.stdout, mark.as_bytes());
    match parts.first().copied() {
        Some(b"false\nfalse\ntrue") => {}
        Some(kind) if kind.starts_with(b"--path-format") => {
            return Err(SnapshotError::GitMissing { problem: "git is older than 2.31".to_owned() });
        }
        Some(kind) if kind.split(|byte| *byte == b'\n').all(|word| matches!(word, b"true" | b"false")) => {
            return Err(SnapshotError::NoWorkTree { path: directory.to_owned() });
        }
        _ => {
            return Err(SnapshotError::unexpected(format!("the answer of git rev-parse in {}", directory.display())));
        }
    }
    let [_, format, git_dir, common_dir, root, objects, index, exclude, attributes, head] = parts[..] else {
        return Err(match said.status.success() {
            true => SnapshotError::unexpected(format!("the answer of git rev-parse in {}", directory.display())),
            false => git.failure(&args, said.status, said.stderr),
        });
    };
    let format = match format {
        b"sha1" => ObjectFormat::Sha1,
        b"sha256" => ObjectFormat::Sha256,
        other => {
            return Err(SnapshotError::unexpected(format!("object format {}", String::from_utf8_lossy(other))));
        }
    };
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let head = head_of(&git, said.status.success(), head)?;
    Ok(Some(Found {
        repository: Repository {
            root: path(root),
            git_dir: path(git_dir),
            common_dir: path(common_dir),
            head: head.commit,
            branch: head.branch,
            head_tree: head.tree.unwrap_or_else(|| format.empty_tree()),
        },
        format,
        objects: path(objects),
        index: path(index),
        exclude: path(exclude),
        attributes: path(attributes),
    }))
}

fn no_answer(directory: &Path, said: &Said) -> Result<Option<Found>, SnapshotError> {
    // The words for "none anywhere"; "not a git repository: PATH" is one with a broken link.
    if said.stderr.contains("not a git repository (or any") {
        return Ok(None);
    }
    let message = said.stderr.trim_start_matches("fatal: ").to_owned();
    Err(match message.contains("work tree") {
        true => SnapshotError::NoWorkTree { path: directory.to_owned() },
        false => SnapshotError::Refused { path: directory.to_owned(), message },
    })
}

struct Head {
    commit: Option<String>,
    tree: Option<Tree>,
    branch: Option<String>,
}

fn head_of(git: &Git, known: bool, answer: &[u8]) -> Result<Head, SnapshotError> {
    let branch = |name: &[u8]| {
        let name = name.strip_prefix(b"refs/heads/")?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    if known {
        let mut lines = answer.trim_ascii_end().split(|byte| *byte == b'\n');
        let mut text = || lines.next().map(|line| String::from_utf8_lossy(line).into_owned());
        let (commit, tree) = (text(), text());
        let tree = tree.as_deref().map(Tree::parse).transpose()?;
        return Ok(Head { commit, tree, branch: lines.next().and_then(branch) });
    }
    let said = git.ask(&["symbolic-ref", "-q", "HEAD"], Stdin::none())?;
    Ok(Head { commit: None, tree: None, branch: branch(said.stdout.trim_ascii_end()) })
}

fn split<'a>(mut text: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = text.windows(mark.len()).position(|window| window == mark) {
        parts.push(&text[..at]);
        text = &text[at + mark.len()..];
    }
    parts.push(text);
    parts
}

/// Settings that decide how a file's content becomes an object, or what counts as changed.
const CONTENT_SETTINGS: &[&str] = &[
    "core.attributesfile",
    "core.autocrlf",
    "core.checkroundtripencoding",
    "core.checkstat",
    "core.eol",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.preloadindex",
    "core.protecthfs",
    "core.protectntfs",
    "core.symlinks",
    "core.trustctime",
    "index.threads",
];

/// Filters that keep the content they are shown in the repository: running them would write to
/// the user's `.git`. Files they would replace by a pointer are snapshotted as they are.
pub(crate) const KEEPING_FILTERS: &[&[u8]] = &[b"lfs", b"annex"];

/// What git sets for the filters it starts, and a snapshot sets differently than they expect.
pub(crate) const UNSET_FOR_FILTERS: &str = "unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY \
     GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_CONFIG_NOSYSTEM GIT_CONFIG_GLOBAL GIT_CONFIG_COUNT \
     GIT_CONFIG_PARAMETERS; ";

/// Whose filters are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// All that are configured.
    All,
    /// The user's, and not those that stand in the repository.
    NotTheRepositorys,
}

/// The user's settings, in this directory and now, that bear on content. Read once: what an agent
/// makes of the configuration later has no say in what decklog runs.
pub(crate) fn content_settings(directory: &Path, filters: Filters) -> Result<Vec<(OsString, OsString)>, SnapshotError> {
    let listed = Git::new(directory).run(&["config", "--list", "--includes", "--show-scope", "-z"], Stdin::none())?;
    let mut settings = Vec::new();
    let mut words = listed.split(|byte| *byte == 0);
    while let (Some(scope), Some(setting)) = (words.next(), words.next()) {
        let of_repository = matches!(scope, b"local" | b"worktree");
        if of_repository && filters == Filters::NotTheRepositorys && setting.starts_with(b"filter.") {
            continue;
        }
        let mut parts = setting.splitn(2, |byte| *byte == b'\n');
        let key = parts.next().unwrap_or_default();
        // A key without value is a switch turned on.
        let value = parts.next().unwrap_or(b"true").to_vec();
        if let Some(value) = content_setting(key, value) {
            settings.push((OsString::from_vec(key.to_vec()), OsString::from_vec(value)));
        }
    }
    Ok(settings)
}

fn content_setting(key: &[u8], value: Vec<u8>) -> Option<Vec<u8>> {
    if CONTENT_SETTINGS.iter().any(|known| known.as_bytes() == key) {
        return Some(value);
    }
    let driver = key.strip_prefix(b"filter.")?;
    let dot = driver.iter().rposition(|byte| *byte == b'.')?;
    match (KEEPING_FILTERS.contains(&&driver[..dot]), &driver[dot + 1..]) {
        (true, _) => None,
        (false, b"clean" | b"smudge" | b"process") if !value.is_empty() => {
            Some([UNSET_FOR_FILTERS.as_bytes(), &value].concat())
        }
        (false, b"required") => Some(value),
        _ => None,
    }
}

/// The same settings with filters that run in `directory`, wherever git writes files: a filter may be named relative to
/// the top of the working tree.
pub(crate) fn with_filters_at(settings: &[(OsString, OsString)], directory: &Path) -> Vec<(OsString, OsString)> {
    let quoted = directory.as_os_str().as_bytes().split(|byte| *byte == b'\'').collect::<Vec<_>>().join(&b"'\\''"[..]);
    let there = [b"cd '", &quoted[..], b"' || exit; "].concat();
    let at = |(key, value): &(OsString, OsString)| {
        let key_bytes = key.as_bytes();
        let is_command = key_bytes.starts_with(b"filter.")
            && [&b".clean"[..], b".smudge", b".process"].iter().any(|end| key_bytes.ends_with(end));
        let value = if is_command { [&there[..], value.as_bytes()].concat() } else { value.as_bytes().to_vec() };
        (key.clone(), OsString::from_vec(value))
    };
    settings.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_about_content_are_taken_over() {
        let taken = |key: &str| content_setting(key.as_bytes(), b"x".to_vec()).is_some();
        assert!(taken("core.autocrlf"));
        assert!(taken("filter.tidy.clean"));
        assert!(!taken("core.fsmonitor"));
        assert!(!taken("core.hookspath"));
        assert!(!taken("core.worktree"));
        assert!(!taken("diff.external"));
        assert!(!taken("filter.lfs.process"));
        assert!(taken("filter.tidy.smudge"));
        assert!(!taken("filter.lfs.smudge"));
    }

    #[test]
    fn a_filter_finds_the_repository_it_expects() {
        let value = content_setting(b"filter.a.b.clean", b"tidy %f".to_vec()).expect("a filter");
        assert!(value.starts_with(b"unset GIT_DIR") && value.ends_with(b"; tidy %f"));
    }

    #[test]
    fn filters_are_led_to_a_directory_of_any_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let odd = directory.path().join("it's \"$HOME\" here");
        std::fs::create_dir(&odd).expect("a directory");
        let settings = [("filter.a.smudge".into(), "pwd -P".into()), ("core.eol".into(), "lf".into())];
        let [(_, command), (_, other)] = &with_filters_at(&settings, &odd)[..] else { panic!("two settings") };
        assert_eq!(other, "lf");
        let said = std::process::Command::new("sh").arg("-c").arg(command).output().expect("a shell").stdout;
        let odd = std::fs::canonicalize(odd).expect("a directory");
        assert_eq!(String::from_utf8_lossy(&said).trim_end(), odd.to_string_lossy());
    }
}
