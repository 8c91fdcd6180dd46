//! What builds the page, and what looks at it in a browser: the packages of `crates/decklog-web/ui`.

use std::io;
use std::path::{Path, PathBuf};

use crate::npm::Packages;

/// The directory that holds `node_modules`, or `None` when they are not installed.
pub fn installed() -> Option<PathBuf> {
    packages().installed()
}

/// Installs the packages unless they are, and returns the directory that holds `node_modules`.
///
/// # Errors
///
/// When the lock file cannot be read, `npm` is absent or fails, or the cache cannot be written.
pub fn install() -> io::Result<PathBuf> {
    packages().install(|_| Ok(()))
}

/// Where the page's sources stand.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../decklog-web/ui")
}

fn packages() -> Packages {
    Packages { name: "page", megabytes: 85, manifests: sources() }
}
