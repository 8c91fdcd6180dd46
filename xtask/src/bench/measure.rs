//! Where measuring happens, and how: times of whole processes, and the memory of the largest of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::Result;

use super::PEAK;

/// A home, a small repository, and the programs.
pub(crate) struct Bench {
    /// Whether only to see that it works.
    pub(crate) quick: bool,
    decklog: PathBuf,
    this: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let this = std::env::current_exe()?;
        let decklog = this.with_file_name("decklog");
        // Beside the build: a temporary directory may be memory.
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(this.parent().ok_or("no directory")?)?;
        let bench = Self { quick, decklog, this, dir };
        for sub in ["home", "repository/src"] {
            std::fs::create_dir_all(bench.path(sub))?;
        }
        for number in 0..20 {
            std::fs::write(
                bench.path(format!("repository/src/file-{number}.rs")),
                format!("pub fn f{number}() {{}}\n"),
            )?;
        }
        bench.commit_all(&bench.repository())?;
        Ok(bench)
    }

    /// `full` sizes, or `quick` ones.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// A path in the bench's own directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The small repository, in which everything runs.
    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// A program with an environment of its own, its output thrown away.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.repository())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn sh(&self, script: &str, arguments: &[&Path]) -> Command {
        let mut command = self.command("sh");
        command.arg("-c").arg(script).arg("sh").args(arguments);
        command
    }

    /// decklog with a session root.
    pub(crate) fn decklog(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.decklog);
        command.args(arguments.iter().take(1)).arg("--session-root").arg(root).args(arguments.iter().skip(1));
        command
    }

    /// This program.
    pub(crate) fn this(&self) -> Command {
        self.command(&self.this)
    }

    /// Makes a repository of a directory, everything in it committed.
    pub(crate) fn commit_all(&self, dir: &Path) -> Result<()> {
        let git: [&[&str]; 4] = [
            &["init", "--quiet", "--initial-branch=main"],
            &["add", "."],
            &["-c", "user.name=Bench", "-c", "user.email=bench@example.invalid", "commit", "--quiet", "-m", "all"],
            &["status"],
        ];
        git.iter().try_for_each(|arguments| time(self.command("git").args(*arguments).current_dir(dir)).map(drop))
    }

    /// Peak memory of the largest process that `command` starts, in bytes.
    pub(crate) fn peak(&self, command: &Command) -> Result<u64> {
        let report = self.path("peak");
        let mut wrapped = self.this();
        wrapped.arg(PEAK).arg(&report).arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
        time(&mut wrapped)?;
        Ok(std::fs::read_to_string(report)?.trim().parse()?)
    }
}

/// Runs a program and writes down what memory it took.
pub(crate) fn report_peak(report: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    std::fs::write(report, format!("{}\n", kilobytes * 1024))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be run or fails.
pub(crate) fn time(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    if status.success() { Ok(took) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Runs several commands in turn, again and again after one round to warm up, and gives the median of each: what
/// disturbs the machine disturbs all of them.
pub(crate) fn in_turn<const N: usize>(
    rounds: usize,
    mut run: impl FnMut(usize) -> Result<Duration>,
) -> Result<[Duration; N]> {
    for which in 0..N {
        run(which)?;
    }
    unwarmed(rounds, run)
}

/// The same for commands that find a new world each time, which no earlier round warms.
pub(crate) fn unwarmed<const N: usize>(
    rounds: usize,
    mut run: impl FnMut(usize) -> Result<Duration>,
) -> Result<[Duration; N]> {
    let mut all: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..rounds {
        for (which, times) in all.iter_mut().enumerate() {
            times.push(run(which)?);
        }
    }
    Ok(all.map(|mut times| median(&mut times)))
}

/// The one in the middle; zero when there is none.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
