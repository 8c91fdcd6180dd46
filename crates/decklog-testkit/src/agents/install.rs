//! Installs the agents from the lock file, once per lock file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::npm::{Packages, because, run};

/// The directory of the agents' programs (`claude`, `codex`, `gemini`, `opencode`,
/// `claude-agent-acp`, `codex-acp`), or `None` when they are not installed.
///
/// `DECKLOG_TEST_AGENTS`, when set, names that directory and nothing else is tried: when it names
/// none, the answer is `None`.
pub fn installed() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("DECKLOG_TEST_AGENTS") {
        return Some(PathBuf::from(dir)).filter(|dir| dir.is_dir());
    }
    packages().installed().map(|dir| programs(&dir))
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
    packages().install(finish).map(|dir| programs(&dir))
}

fn packages() -> Packages {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../decklog/tests/agents");
    Packages { name: "agents", megabytes: 1100, manifests }
}

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

fn programs(dir: &Path) -> PathBuf {
    dir.join("node_modules/.bin")
}
