//! Installing packages of npm's from a lock file into the user's cache, once per lock file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest, Sha256};

/// The file that is there only in a complete installation.
const COMPLETE: &str = ".complete";

/// What is installed.
pub(crate) struct Packages {
    /// Its name in the cache, and in what is told.
    pub(crate) name: &'static str,
    /// Megabytes, about.
    pub(crate) megabytes: u32,
    /// Where package and lock file stand.
    pub(crate) manifests: PathBuf,
}

impl Packages {
    /// Where they are, if they are.
    pub(crate) fn installed(&self) -> Option<PathBuf> {
        let dir = self.target().ok()?;
        dir.join(COMPLETE).exists().then_some(dir)
    }

    /// Installs them unless they are, with `finish` for what is to be done in their directory afterwards, and returns that
    /// directory. Installs at the same time wait for each other.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be read, `npm` is absent or fails, or the cache cannot be written.
    pub(crate) fn install(&self, finish: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        let target = self.target()?;
        if target.join(COMPLETE).exists() {
            return Ok(target);
        }
        let parent = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| because(parent, &error))?;
        // One at a time: a second install waits for the first, and then finds its work done.
        let lock = parent.join("install.lock");
        let lock = fs::File::create(&lock).map_err(|error| because(&lock, &error))?;
        lock.lock()?;
        if target.join(COMPLETE).exists() {
            return Ok(target);
        }
        eprintln!("installing the {} for tests into {} (about {} MB)", self.name, target.display(), self.megabytes);
        let started = Instant::now();
        let fresh = tempfile::Builder::new().prefix(".installing-").tempdir_in(parent)?;
        for name in ["package.json", "package-lock.json"] {
            let from = self.manifests.join(name);
            fs::copy(&from, fresh.path().join(name)).map_err(|error| because(&from, &error))?;
        }
        run(fresh.path(), "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])?;
        finish(fresh.path())?;
        fs::write(fresh.path().join(COMPLETE), "")?;
        let bytes = size(fresh.path())?;
        put(&fresh.keep(), &target)?;
        eprintln!("installed {} MB in {} s", bytes / 1_000_000, started.elapsed().as_secs());
        Ok(target)
    }

    /// The directory for the present lock file.
    fn target(&self) -> io::Result<PathBuf> {
        let lock = self.manifests.join("package-lock.json");
        let bytes = fs::read(&lock).map_err(|error| because(&lock, &error))?;
        let hash: String = Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(cache()?.join(format!("{}-{hash}", self.name)))
    }
}

/// Moves a complete installation into its place, over what an interrupted one may have left.
fn put(fresh: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(|error| because(target, &error))?;
    }
    fs::rename(fresh, target).map_err(|error| because(target, &error))
}

/// Where tests keep what they install.
pub(crate) fn cache() -> io::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("decklog-tests"))
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

pub(crate) fn because(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
