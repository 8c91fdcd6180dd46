//! A world for one trial: homes, a repository, a session root and a temporary directory at a fixed path, put back
//! to a prepared state before each trial.
//!
//! Must not know: which fault is injected, what a verdict is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A program that has not ended after this time hangs. Far beyond what a slow machine needs.
const LIMIT: Duration = Duration::from_secs(120);

/// How a program ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) hangs: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One worker's directory; `w` in it is the world itself.
#[derive(Debug, Clone)]
pub(crate) struct World {
    slot: PathBuf,
    pub(crate) program: PathBuf,
    /// Variables that every program gets besides.
    vars: Vec<(String, String)>,
}

/// The content of every file below a directory, by relative path; links by their target.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

impl World {
    pub(crate) fn new(slot: PathBuf, program: PathBuf, vars: Vec<(String, String)>) -> Result<Self> {
        fs::create_dir_all(&slot)?;
        Ok(Self { slot, program, vars })
    }

    /// The directory that all workers have in common.
    pub(crate) fn shared(&self) -> PathBuf {
        self.slot.parent().unwrap_or(Path::new(".")).join("shared")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.slot.join("w").join(name)
    }

    /// The session root.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("data/decklog/sessions")
    }

    /// A file of the harness itself, outside the world.
    pub(crate) fn io(&self, name: &str) -> PathBuf {
        self.slot.join(name)
    }

    /// Makes an empty world with a repository of one commit.
    pub(crate) fn create(&self) -> Result<()> {
        let _ = fs::remove_dir_all(self.slot.join("w"));
        for name in ["home", "work", "data", "state", "cache", "config/decklog", "tmp", "outside"] {
            fs::create_dir_all(self.path(name))?;
        }
        fs::write(self.path("outside/precious"), "nothing outside a session changes\n")?;
        fs::write(self.path("work/a.txt"), "one\n")?;
        for arguments in [&["init", "--quiet", "-b", "main"][..], &["add", "."], &["commit", "--quiet", "-m", "first"]]
        {
            let ran = self.run(self.command("git").args(arguments))?;
            if ran.code != Some(0) {
                return Err(format!("git {}: {}", arguments.join(" "), ran.stderr).into());
            }
        }
        Ok(())
    }

    /// Keeps the present state under `name`.
    pub(crate) fn save(&self, name: &str) -> Result<()> {
        let _ = fs::remove_dir_all(self.path("cache"));
        fs::create_dir_all(self.path("cache"))?;
        let to = self.slot.join("templates").join(name);
        let _ = fs::remove_dir_all(&to);
        fs::create_dir_all(self.slot.join("templates"))?;
        copy(&self.slot.join("w"), &to)
    }

    /// Puts the state kept under `name` back.
    pub(crate) fn reset(&self, name: &str) -> Result<()> {
        let world = self.slot.join("w");
        if let Err(error) = fs::remove_dir_all(&world)
            && world.exists()
        {
            return Err(format!("{}: {error}", world.display()).into());
        }
        copy(&self.slot.join("templates").join(name), &world)
    }

    /// A program with this world's environment, in its repository.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TMPDIR", self.path("tmp"))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Test")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "test@example.invalid")))
            .envs(self.vars.iter().cloned())
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn decklog(&self, arguments: &[&str]) -> Result<Ran> {
        self.run(self.command(&self.program).args(arguments))
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Result<Ran> {
        let child = self.start(command, "next")?;
        self.wait(child, "next")
    }

    /// Starts a program whose output goes to files named after `name`.
    pub(crate) fn start(&self, command: &mut Command, name: &str) -> Result<Child> {
        let file = |end: &str| File::create(self.io(&format!("{name}.{end}")));
        command.stdout(file("stdout")?).stderr(file("stderr")?);
        command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()).into())
    }

    /// Waits for the end of what [`Self::start`] started.
    pub(crate) fn wait(&self, mut child: Child, name: &str) -> Result<Ran> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let mut hangs = false;
        let status: ExitStatus = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > LIMIT {
                hangs = true;
                child.kill()?;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(3));
        };
        let read = |end: &str| fs::read(self.io(&format!("{name}.{end}"))).unwrap_or_default();
        Ok(Ran {
            code: status.code(),
            signal: status.signal(),
            hangs,
            stdout: String::from_utf8_lossy(&read("stdout")).into_owned(),
            stderr: String::from_utf8_lossy(&read("stderr")).into_owned(),
        })
    }

    /// Names under the session root, sorted.
    pub(crate) fn entries(&self) -> Vec<String> {
        names(&self.root())
    }

    /// Names under the session root that have the shape of a session id.
    pub(crate) fn ids(&self) -> Vec<String> {
        let is_id = |name: &String| decklog_journal::SessionId::is_valid(name);
        self.entries().into_iter().filter(is_id).collect()
    }

    /// Waits until no process of this world is left, and returns those that stay.
    pub(crate) fn processes(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let left = running_in(&self.slot.join("w"));
            if left.is_empty() || start.elapsed() > LIMIT {
                return left;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Processes whose environment, arguments or working directory name `dir`.
fn running_in(dir: &Path) -> Vec<String> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let mentions = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut left = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let arguments = read("cmdline");
        if mentions(&read("environ")) || mentions(&arguments) {
            left.push(format!("{} {}", name.display(), String::from_utf8_lossy(&arguments).replace('\0', " ")));
        }
    }
    left
}

/// Names in a directory, sorted; none where there is no directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Reads every file below `dir`, but nothing in directories named `without`.
pub(crate) fn tree(dir: &Path, without: &str) -> Tree {
    let mut all = Tree::new();
    collect(dir, Path::new(""), without, &mut all);
    all
}

fn collect(dir: &Path, below: &Path, without: &str, all: &mut Tree) {
    for name in names(dir) {
        if name == without {
            continue;
        }
        let (path, relative) = (dir.join(&name), below.join(&name));
        if path.is_symlink() {
            let target = fs::read_link(&path).unwrap_or_default();
            all.insert(relative, target.into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            collect(&path, &relative, without, all);
        } else {
            all.insert(relative, fs::read(&path).unwrap_or_default());
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}
