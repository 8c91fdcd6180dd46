//! A home, a working directory and a session's `objects/`, in a process of their own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decklog_snapshot::{FileScanner, Limits, NoSecrets, Snapshotter, Taken, Tree};
use tempfile::TempDir;

use crate::files::{Files, read_files};

/// Settings that would break a snapshot or a patch that believes them.
const CONFIG: &str = "
[user]
	name = Test
	email = test@example.org
[init]
	defaultBranch = main
[color]
	ui = always
[core]
	quotePath = true
	pager = false
	untrackedCache = true
[diff]
	noprefix = true
	mnemonicPrefix = true
	external = false
	renames = false
	submodule = log
	colorMoved = zebra
	ignoreSubmodules = all
[status]
	showUntrackedFiles = no
	branch = true
	short = true
	relativePaths = true
[advice]
	detachedHead = false
[commit]
	gpgSign = false
[protocol \"file\"]
	allow = always
[gc]
	auto = 0
[maintenance]
	auto = false
";

/// Defines tests that are given a [`Sandbox`].
macro_rules! sandboxed {
    ($($(#[$attribute:meta])* fn $name:ident($sandbox:ident) $body:block)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                fn body($sandbox: &$crate::sandbox::Sandbox) $body
                $crate::sandbox::in_own_process(concat!(module_path!(), "::", stringify!($name)), &[], body);
            }
        )*
    };
}
pub(crate) use sandboxed;

const HOME_IS_OURS: &str = "DECKLOG_SNAPSHOT_TEST";

/// Runs `body` in a new process of this test program, with `env` and an own home directory.
pub(crate) fn in_own_process(name: &str, env: &[(&str, &OsStr)], body: fn(&Sandbox)) {
    if std::env::var_os(HOME_IS_OURS).is_some() {
        return body(&Sandbox::new());
    }
    let home = TempDir::new().unwrap();
    fs::write(home.path().join(".gitconfig"), CONFIG).unwrap();
    let (_, name) = name.split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("GIT_") || variable.to_string_lossy().starts_with("XDG_") {
            command.env_remove(variable);
        }
    }
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env("HOME", home.path()).env(HOME_IS_OURS, "1");
    let output = command.envs(env.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{name} was not run: {said}");
}

pub(crate) struct Sandbox {
    /// Where agents work.
    pub(crate) work: PathBuf,
    /// The session's objects.
    pub(crate) objects: PathBuf,
    /// Room for anything else.
    pub(crate) spare: PathBuf,
    _directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let (work, objects, spare) = (root.join("work"), root.join("session/objects"), root.join("spare"));
        fs::create_dir(&work).unwrap();
        fs::create_dir(&spare).unwrap();
        Self { work, objects, spare, _directory: directory }
    }

    /// Makes the working directory a repository.
    pub(crate) fn init(&self) {
        self.git(&["init", "-q"]);
    }

    /// Commits all there is.
    pub(crate) fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "all"]);
    }

    /// Runs git in the working directory.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.work, args)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn open(&self) -> Snapshotter {
        self.open_with(Limits::default(), NoSecrets)
    }

    pub(crate) fn open_with(&self, limits: Limits, scan: impl FileScanner + Send + 'static) -> Snapshotter {
        Snapshotter::open(&self.work, &self.objects, limits, Box::new(scan)).unwrap()
    }

    /// The files of a snapshot, by a git that knows nothing of the library.
    pub(crate) fn files_of(&self, tree: &Tree) -> Files {
        let directory = TempDir::new_in(&self.spare).unwrap();
        let git_dir = directory.path().join("git");
        let files = directory.path().join("files");
        fs::create_dir(&files).unwrap();
        let alternates = self.object_directories(directory.path());
        let format = if tree.as_str().len() == 64 { "sha256" } else { "sha1" };
        let git = |args: &[&str]| {
            let mut command = plain_git(&files);
            command
                .env("GIT_DIR", &git_dir)
                .env("GIT_WORK_TREE", &files)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .args(args);
            if args[0] != "init" {
                command.env("GIT_OBJECT_DIRECTORY", &self.objects);
                command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &alternates);
            }
            run(&mut command);
        };
        git(&["init", "-q", "--object-format", format]);
        git(&["read-tree", tree.as_str()]);
        git(&["checkout-index", "-a"]);
        read_files(&files, &|_| false)
    }

    /// All object directories, by names git needs no quotes for.
    fn object_directories(&self, links: &Path) -> String {
        let mut found = Vec::new();
        collect(&self.work, &mut found);
        collect(&self.spare, &mut found);
        let link = |(n, directory): (usize, &PathBuf)| {
            let link = links.join(format!("objects{n}"));
            std::os::unix::fs::symlink(directory, &link).unwrap();
            link.to_str().unwrap().to_owned()
        };
        found.iter().enumerate().map(link).collect::<Vec<_>>().join(":")
    }

    /// The tree `git add -A` would make of the working tree, without doing so.
    pub(crate) fn tree_by_git_add(&self) -> String {
        let scratch = TempDir::new_in(&self.spare).unwrap();
        let index = scratch.path().join("index");
        let git_dir = PathBuf::from(self.git(&["rev-parse", "--absolute-git-dir"]).strip_suffix('\n').unwrap());
        let objects = self.git(&["rev-parse", "--path-format=absolute", "--git-path", "objects"]);
        let link = scratch.path().join("repository");
        std::os::unix::fs::symlink(objects.strip_suffix('\n').unwrap(), &link).unwrap();
        if let Ok(content) = fs::read(git_dir.join("index")) {
            // With its time, by which git tells what to read again.
            let modified = fs::metadata(git_dir.join("index")).unwrap().modified().unwrap();
            fs::write(&index, content).unwrap();
            fs::File::options().write(true).open(&index).unwrap().set_modified(modified).unwrap();
        }
        let root = PathBuf::from(self.git(&["rev-parse", "--show-toplevel"]).trim_end());
        let git = |args: &[&str]| {
            let mut command = plain_git(&root);
            command.env("GIT_INDEX_FILE", &index).env("GIT_OBJECT_DIRECTORY", scratch.path());
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &link).args(args);
            run(&mut command)
        };
        git(&["-c", "core.fsmonitor=false", "-c", "core.splitIndex=false", "add", "-A", "--sparse"]);
        git(&["write-tree"]).trim_end().to_owned()
    }

    /// Every byte that lies in the session's objects, uncompressed.
    pub(crate) fn all_objects(&self) -> Vec<u8> {
        let git_dir = TempDir::new_in(&self.spare).unwrap();
        git_in(git_dir.path(), &["init", "-q", "--bare", "."]);
        let mut command = plain_git(git_dir.path());
        command.env("GIT_OBJECT_DIRECTORY", &self.objects);
        command.args(["cat-file", "--batch", "--batch-all-objects"]);
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            match entry.file_name() == "objects" {
                true => found.push(entry.path()),
                false => collect(&entry.path(), found),
            }
        }
    }
}

/// The patch between two trees.
pub(crate) fn patch(snapshots: &Snapshotter, from: &Tree, to: &Tree) -> Vec<u8> {
    let mut patch = Vec::new();
    let written = snapshots.patch(from, to, &mut patch).unwrap();
    assert_eq!(written.bytes, patch.len() as u64);
    assert_eq!(written.withheld, []);
    patch
}

/// Snapshots and expects everything to be in it.
pub(crate) fn take_all(snapshots: &mut Snapshotter) -> Tree {
    let Taken { tree, withheld } = snapshots.take().unwrap();
    assert_eq!(withheld, []);
    tree
}

/// Applies a patch to the files in `directory`.
pub(crate) fn apply(directory: &Path, patch: &[u8]) {
    if patch.is_empty() {
        return;
    }
    let mut command = plain_git(directory);
    command.args(["apply", "--whitespace=nowarn", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(patch).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", String::from_utf8_lossy(patch));
}

pub(crate) fn git_in(directory: &Path, args: &[&str]) -> String {
    run(plain_git(directory).args(args))
}

fn plain_git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
