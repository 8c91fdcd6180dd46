//! A home, a repository and a session root of a test's own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails unless it exited with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A test's own world. Everything in it is removed at the end.
pub(crate) struct TestEnv {
    dir: tempfile::TempDir,
    /// Set on top of an environment that holds little more than `PATH`.
    pub(crate) vars: Vec<(OsString, OsString)>,
    /// What every program is started through, where it is another user's: words that end in the directory to go to.
    pub(crate) through: Vec<OsString>,
    /// Where decklog is.
    pub(crate) program: PathBuf,
}

/// The ids in what `ls --json` and the API list.
pub(crate) fn ids(heads: &Value) -> Vec<String> {
    heads.as_array().unwrap().iter().map(|head| head["id"].as_str().unwrap().to_owned()).collect()
}

impl TestEnv {
    /// A home and a repository with one commit.
    pub(crate) fn new() -> Self {
        let env = Self::without_repository();
        env.git(&["init", "--quiet", "--initial-branch=main"]);
        env.write("a.txt", "one\n");
        env.git(&["add", "."]);
        env.git(&["commit", "--quiet", "-m", "first"]);
        env
    }

    /// A home and an empty working directory.
    pub(crate) fn without_repository() -> Self {
        let dir = tempfile::Builder::new().prefix("decklog test ").tempdir().unwrap();
        for sub in ["home", "work"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Self { dir, vars: Vec::new(), through: Vec::new(), program: env!("CARGO_BIN_EXE_decklog").into() }
    }

    /// Fixes clock, time zone and ids, so that output is the same each time.
    pub(crate) fn fixed(mut self) -> Self {
        self.set("DECKLOG_TEST_NOW", "2026-05-01T13:44:12Z");
        self.set("DECKLOG_TEST_ID", "3f2a");
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.vars.retain(|(known, _)| known != name);
        self.vars.push((name.into(), value.into()));
    }

    /// The directory that holds all of this world.
    pub(crate) fn top(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.home().join(".local/share/decklog/sessions")
    }

    /// Session directories under the root, oldest first.
    pub(crate) fn sessions(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.root()) else { return Vec::new() };
        let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| decklog_journal::SessionId::is_valid(&path.file_name().unwrap().to_string_lossy()));
        all.sort();
        all
    }

    pub(crate) fn session(&self) -> PathBuf {
        let all = self.sessions();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.work().join(path), content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.work().join(path)).unwrap()
    }

    /// The program with this world's environment, in its working directory.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut words = self.through.iter().map(OsString::as_os_str).chain([program.as_ref()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("GIT_AUTHOR_NAME", "Test")
            .env("GIT_AUTHOR_EMAIL", "test@example.invalid")
            .env("GIT_COMMITTER_NAME", "Test")
            .env("GIT_COMMITTER_EMAIL", "test@example.invalid")
            .env("GIT_AUTHOR_DATE", "2026-05-01T13:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-05-01T13:00:00Z")
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn decklog_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments);
        command
    }

    /// Runs decklog to its end.
    pub(crate) fn decklog(&self, arguments: &[&str]) -> Ran {
        finish(self.decklog_command(arguments))
    }

    /// Runs decklog with `input` on its stdin.
    pub(crate) fn decklog_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let path = self.dir.path().join("stdin");
        std::fs::write(&path, input).unwrap();
        let mut command = self.decklog_command(arguments);
        command.stdin(std::fs::File::open(path).unwrap());
        finish(command)
    }

    /// Starts decklog and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.decklog_command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut command = self.command("git");
        command.args(arguments);
        finish(command).expect(0).stdout
    }

    /// Replaces what differs from run to run by words.
    pub(crate) fn plain(&self, text: &str) -> String {
        let dir = self.dir.path().canonicalize().unwrap();
        text.replace(&*dir.to_string_lossy(), "[TMP]").replace(&*self.dir.path().to_string_lossy(), "[TMP]")
    }
}

pub(crate) fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `what` gives something: for what another process does, which nobody announces.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether process `pid` runs.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

pub(crate) fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success());
}

/// Every file below `dir`, as bytes.
pub(crate) fn all_bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_bytes(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            all.push((path, bytes));
        }
    }
    all
}
