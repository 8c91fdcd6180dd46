//! Installs the agents from the lock file, once per lock file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest, Sha256};

/// The directory of the agents' programs (`claude`, `codex`, `gemini`, `opencode`,
/// `claude-agent-acp`, `codex-acp`), or `None` when they are not installed.
///
/// `DECKLOG_TEST_AGENTS`, when set, names that directory and nothing else is tried: when it names
/// none, the answer is `None`.
pub fn installed() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("DECKLOG_TEST_AGENTS") {
        return Some(PathBuf::from(dir)).filter(|dir| dir.is_dir());
    }
    let dir = target().ok()?;
    dir.join(COMPLETE).exists().then(|| programs(&dir))
}

/// Installs the agents unless they are, and returns the directory of their programs.
///
/// It takes `npm` and the npm registry, about half a minute and 1.1 GB, and tells so on stderr.
/// Installs at the same time wait for each other.
///
/// # Errors
///
/// When the lock file cannot be read, `npm` is absent or fails, or the cache cannot be written.
pub fn install() -> io::Result<PathBuf> {
    let target = target()?;
    if target.join(COMPLETE).exists() {
        return Ok(programs(&target));
    }
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| because(parent, &error))?;
    // One at a time: a second install waits for the first, and then finds its work done.
    let lock = parent.join("install.lock");
    let lock = fs::File::create(&lock).map_err(|error| because(&lock, &error))?;
    lock.lock()?;
    if target.join(COMPLETE).exists() {
        return Ok(programs(&target));
    }
    eprintln!("installing the agents for tests into {} (about 1.1 GB)", target.display());
    let started = Instant::now();
    let fresh = tempfile::Builder::new().prefix(".installing-").tempdir_in(parent)?;
    for name in ["package.json", "package-lock.json"] {
        let from = manifests().join(name);
        fs::copy(&from, fresh.path().join(name)).map_err(|error| because(&from, &error))?;
    }
    run(fresh.path(), "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])?;
    finish(fresh.path())?;
    fs::write(fresh.path().join(COMPLETE), "")?;
    let bytes = size(fresh.path())?;
    put(&fresh.keep(), &target)?;
    eprintln!("installed {} MB in {} s", bytes / 1_000_000, started.elapsed().as_secs());
    Ok(programs(&target))
}

/// The file that is there only in a complete installation.
const COMPLETE: &str = ".complete";

/// What the packages' own install scripts would do, as far as it is needed.
fn finish(dir: &Path) -> io::Result<()> {
    let modules = dir.join("node_modules");
    run(&modules.join("@anthropic-ai/claude-code"), "node", ["install.cjs"])?;
    // The adapter's SDK brings a second copy of the program, 330 MB; it is told to use the first.
    let second = modules.join("@anthropic-ai/claude-agent-sdk-linux-x64/claude");
    if second.exists() {
        fs::remove_file(&second).map_err(|error| because(&second, &error))?;
    }
    // The package of the platform is locked directly, and it names no program.
    let link = modules.join(".bin/opencode");
    std::os::unix::fs::symlink("../opencode-linux-x64/bin/opencode", &link).map_err(|error| because(&link, &error))
}

/// Moves a complete installation into its place, over what an interrupted one may have left.
fn put(fresh: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(|error| because(target, &error))?;
    }
    fs::rename(fresh, target).map_err(|error| because(target, &error))
}

/// Where the package and lock file stand.
fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../decklog/tests/agents")
}

/// The directory for the present lock file.
fn target() -> io::Result<PathBuf> {
    let lock = manifests().join("package-lock.json");
    let bytes = fs::read(&lock).map_err(|error| because(&lock, &error))?;
    let hash: String = Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(cache()?.join(format!("agents-{hash}")))
}

/// Where tests keep what they install.
pub(crate) fn cache() -> io::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("decklog-tests"))
}

fn programs(dir: &Path) -> PathBuf {
    dir.join("node_modules/.bin")
}

pub(crate) fn run<const N: usize>(dir: &Path, program: &str, args: [&str; N]) -> io::Result<()> {
    let mut command = Command::new(program);
    // Its messages are status, like ours: stdout stays the caller's.
    let output = command.args(args.map(OsStr::new)).current_dir(dir).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {} in {}: {}\n{said}", args.join(" "), dir.display(), output.status)))
}

/// The bytes of all files below a directory, each once however many names it has there.
fn size(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.path().symlink_metadata()?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() / meta.nlink().max(1) };
    }
    Ok(sum)
}

fn because(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
