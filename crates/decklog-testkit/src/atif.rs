//! The `atif` package, which validates Agent Trajectory Interchange Format documents, in a Python of its own.
//!
//! Its version stands in `crates/decklog/tests/atif/requirements.txt`. [`install`] puts it into the user's cache,
//! [`installed`] finds it there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::npm::{cache, run};

/// The file that is there only in a complete installation.
const COMPLETE: &str = ".complete";

/// The Python that has the package, or `None` when it is not installed.
///
/// `DECKLOG_TEST_ATIF`, when set, names that Python and nothing else is tried.
pub fn installed() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("DECKLOG_TEST_ATIF") {
        return Some(PathBuf::from(python)).filter(|python| python.exists());
    }
    let dir = target().ok()?;
    dir.join(COMPLETE).exists().then(|| python(&dir))
}

/// Installs the package unless it is, by `pip`, and returns the Python that has it.
///
/// # Errors
///
/// When `python3` or its `venv` module is absent, `pip` fails, or the cache cannot be written.
pub fn install() -> io::Result<PathBuf> {
    let target = target()?;
    if target.join(COMPLETE).exists() {
        return Ok(python(&target));
    }
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let lock = fs::File::create(parent.join("install.lock"))?;
    lock.lock()?;
    if target.join(COMPLETE).exists() {
        return Ok(python(&target));
    }
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    // In its place at once: such a directory cannot be moved.
    let place = target.to_string_lossy().into_owned();
    run(parent, "python3", ["-m", "venv", &place])
        .map_err(|error| io::Error::other(format!("{error}(Debian has it in the package python3-venv)")))?;
    let requirements = requirements().to_string_lossy().into_owned();
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", &requirements];
    run(parent, &python(&target).to_string_lossy(), pip)?;
    fs::write(target.join(COMPLETE), "")?;
    Ok(python(&target))
}

fn requirements() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../decklog/tests/atif/requirements.txt")
}

fn target() -> io::Result<PathBuf> {
    let hash: String =
        Sha256::digest(fs::read(requirements())?).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(cache()?.join(format!("atif-{hash}")))
}

fn python(dir: &Path) -> PathBuf {
    dir.join("bin/python3")
}
