//! Starting `git`: with which environment, reading what it says, telling how it failed.
//!
//! Knows no git subcommand and nothing of snapshots. What a repository or the caller's
//! environment could use to redirect git, make it ask, or make it run something is shut off here.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::SnapshotError;
use crate::running::Running;

/// Variables that bind git to one repository, as a hook, an alias or `git rebase --exec` sets them: those of
/// `git rev-parse --local-env-vars`, without the ones that hold configuration, and some that it leaves out.
const BINDING: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_INDEX_VERSION",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REFLOG_ACTION",
    "GIT_ATTR_SOURCE",
    "GIT_CONFIG",
];

/// Settings that bind git to one working tree, in lower case.
const BINDING_SETTINGS: &[&str] = &["core.worktree", "core.bare"];

/// Removes from a child's environment what would make its git work on another repository than the one around its
/// working directory. Configuration that the caller passes on (`git -c`, `GIT_CONFIG_COUNT`) stays, unless it names a
/// working tree.
pub fn unbind_repository<V: AsRef<OsStr>>(env: &mut Vec<(OsString, V)>) {
    env.retain(|(name, _)| !BINDING.iter().any(|binding| name == binding));
    let lower = |value: &V| value.as_ref().to_string_lossy().to_ascii_lowercase();
    let binds = |text: String| BINDING_SETTINGS.iter().any(|setting| text.contains(setting));
    env.retain(|(name, value)| name != "GIT_CONFIG_PARAMETERS" || !binds(lower(value)));
    let is_key = |name: &OsStr| name.to_string_lossy().starts_with("GIT_CONFIG_KEY_");
    if env.iter().any(|(name, value)| is_key(name) && binds(lower(value))) {
        env.retain(|(name, _)| {
            let name = name.to_string_lossy();
            name != "GIT_CONFIG_COUNT" && !name.starts_with("GIT_CONFIG_KEY_") && !name.starts_with("GIT_CONFIG_VALUE_")
        });
    }
}

/// Variables by which a caller would change what git prints, besides those of [`BINDING`]. Those choosing the user's
/// configuration stay: see [`Git::configured`].
const REDIRECTING: &[&str] = &[
    "GIT_REF_FORMAT",
    "GIT_REF_PARANOIA",
    "GIT_DEFAULT_HASH",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_TRACE",
    "GIT_TRACE_SETUP",
    "GIT_TRACE_PERFORMANCE",
    "GIT_TRACE_PACK_ACCESS",
    "GIT_TRACE2",
    "GIT_TRACE2_EVENT",
    "GIT_TRACE2_PERF",
    "LANGUAGE",
];

/// A way of starting git: in a directory, with an environment.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    /// Settings that go before the user's.
    settings: Vec<&'static str>,
}

/// What a git that ran to its end said.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Git {
    /// git in `cwd`, configured as the user has it. For looking only: takes no lock, runs no hook.
    pub(crate) fn new(cwd: &Path) -> Self {
        let env = [
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
        ];
        let env = env.iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self { cwd: cwd.to_owned(), env, settings: Vec::new() }
    }

    /// Sets `KEY=VALUE`, whatever the user's configuration says of it.
    pub(crate) fn set(&mut self, setting: &'static str) {
        self.settings.push(setting);
    }

    /// The same at work on another working tree.
    pub(crate) fn at(mut self, worktree: &Path) -> Self {
        self.cwd = worktree.to_owned();
        self.env("GIT_WORK_TREE", worktree);
        self
    }

    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Sets one variable.
    pub(crate) fn env(&mut self, key: impl Into<OsString>, value: impl Into<OsString>) {
        let key = key.into();
        self.env.retain(|(known, _)| *known != key);
        self.env.push((key, value.into()));
    }

    /// Replaces all of the user's configuration by `pairs`; only what stands in the configuration
    /// file of the git directory itself is read besides.
    pub(crate) fn configured(&mut self, pairs: &[(OsString, OsString)]) {
        self.env("GIT_CONFIG_NOSYSTEM", "1");
        self.env("GIT_CONFIG_GLOBAL", "/dev/null");
        self.env("GIT_CONFIG_PARAMETERS", "");
        self.env("GIT_CONFIG_COUNT", pairs.len().to_string());
        for (n, (key, value)) in pairs.iter().enumerate() {
            self.env(format!("GIT_CONFIG_KEY_{n}"), key);
            self.env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
    }

    /// Runs git to its end with `input` as its stdin, whatever its exit status.
    pub(crate) fn ask<S: AsRef<OsStr>>(&self, args: &[S], input: Stdin) -> Result<Said, SnapshotError> {
        // Not by `wait_with_output`, which panics when reading fails.
        let mut running = self.start(args, input)?;
        let mut stdout = Vec::new();
        running.stdout().read_to_end(&mut stdout).map_err(SnapshotError::io("read what git prints in", &self.cwd))?;
        let (status, stderr) = running.end()?;
        Ok(Said { status, stdout, stderr })
    }

    /// The same, but takes a failure for an error.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S], input: Stdin) -> Result<Vec<u8>, SnapshotError> {
        let said = self.ask(args, input)?;
        if said.status.success() { Ok(said.stdout) } else { Err(self.failure(args, said.status, said.stderr)) }
    }

    /// Starts git for its output to be read while it runs.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: &[S], input: Stdin) -> Result<Running<'_>, SnapshotError> {
        let (stderr, write_end) =
            unnamed_file().map_err(SnapshotError::io("buffer the errors of git in", &self.cwd))?;
        let child = self.spawn(args, input, write_end.into())?;
        let command = command_name(args);
        Ok(Running { git: self, command, child, stderr })
    }

    fn spawn<S: AsRef<OsStr>>(&self, args: &[S], input: Stdin, stderr: Stdio) -> Result<Child, SnapshotError> {
        let mut command = Command::new("git");
        for name in BINDING.iter().chain(REDIRECTING) {
            command.env_remove(name);
        }
        command
            .args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .args(args)
            .current_dir(&self.cwd)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(input.0)
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C at the terminal ends the agent, not the recording of what it did.
            .process_group(0);
        command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if self.cwd.is_dir() => {
                SnapshotError::GitMissing { problem: "there is no git program".to_owned() }
            }
            _ => SnapshotError::Io { action: "run git in", path: self.cwd.clone(), source },
        })
    }

    pub(crate) fn failure<S: AsRef<OsStr>>(&self, args: &[S], status: ExitStatus, stderr: String) -> SnapshotError {
        SnapshotError::Git {
            command: command_name(args),
            path: self.cwd.clone(),
            status: status.to_string(),
            message: if stderr.is_empty() { "it did not say why".to_owned() } else { stderr },
        }
    }
}

fn command_name<S: AsRef<OsStr>>(args: &[S]) -> String {
    args.first().map(|arg| arg.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}

/// What git reads as its stdin.
pub(crate) struct Stdin(Stdio);

impl Stdin {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self(Stdio::null())
    }

    /// What was written to `file`, from its start.
    pub(crate) fn written(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self(file.into()))
    }

    /// These records, each ended by `end`. They go by way of an unnamed file, so that neither
    /// side ever waits for the other.
    pub(crate) fn records<'a>(records: impl IntoIterator<Item = &'a [u8]>, end: u8) -> Result<Self, SnapshotError> {
        let buffered = || -> io::Result<File> {
            let (mut file, _) = unnamed_file()?;
            let mut writer = io::BufWriter::new(&mut file);
            for record in records {
                writer.write_all(record)?;
                writer.write_all(&[end])?;
            }
            writer.flush()?;
            drop(writer);
            file.rewind()?;
            Ok(file)
        };
        let file =
            buffered().map_err(SnapshotError::io("buffer the input of git in", Path::new("a temporary file")))?;
        Ok(Self(file.into()))
    }
}

/// A file without a name, twice. It is in memory, so that neither a full disk nor a missing `TMPDIR` costs a snapshot.
pub(crate) fn unnamed_file() -> io::Result<(File, File)> {
    let file = match rustix::fs::memfd_create("decklog", rustix::fs::MemfdFlags::CLOEXEC) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOSYS) => tempfile::tempfile()?,
        Err(errno) => return Err(errno.into()),
    };
    let again = file.try_clone()?;
    Ok((file, again))
}
