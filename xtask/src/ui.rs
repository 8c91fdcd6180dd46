//! `cargo xtask ui`: the page, built from `crates/decklog-web/ui` into `assets` beside it, which are committed.
//!
//! It is built on a copy of the sources, with the locked packages from the user's cache: the checkout stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decklog_testkit::page;

use crate::{Result, root};

/// What of the sources the page is made of.
const SOURCES: [&str; 6] = ["index.html", "package.json", "tsconfig.json", "vite.config.ts", "public", "src"];

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Builds the page anew.
pub(crate) fn write() -> Result<()> {
    let fresh = built()?;
    let assets = assets();
    if assets.exists() {
        std::fs::remove_dir_all(&assets)?;
    }
    for (name, bytes) in &fresh {
        let path = assets.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&assets))?;
        std::fs::write(path, bytes)?;
    }
    println!("wrote {} files to crates/decklog-web/assets", fresh.len());
    Ok(())
}

/// Fails when what is committed is not what is built.
pub(crate) fn check() -> Result<()> {
    let (fresh, mut committed) = (built()?, Files::new());
    read(&assets(), Path::new(""), &mut committed)?;
    let differs: Vec<String> = (fresh.keys().chain(committed.keys()))
        .filter(|name| fresh.get(*name) != committed.get(*name))
        .map(|name| name.display().to_string())
        .collect();
    if differs.is_empty() {
        println!("the page is what its sources make");
        return Ok(());
    }
    Err(format!("crates/decklog-web/assets: {} differ: renew them with `cargo xtask ui`", differs.join(", ")).into())
}

fn assets() -> PathBuf {
    root().join("crates/decklog-web/assets")
}

fn built() -> Result<Files> {
    let modules = page::install()?.join("node_modules");
    let dir = tempfile::tempdir()?;
    let ui = dir.path().join("ui");
    for name in SOURCES {
        copy(&page::sources().join(name), &ui.join(name))?;
    }
    std::os::unix::fs::symlink(&modules, ui.join("node_modules"))?;
    node(&ui, &modules.join("typescript/bin/tsc"), &["--noEmit"])?;
    node(&ui, &modules.join("vite/bin/vite.js"), &["build", "--logLevel", "warn"])?;
    let mut files = Files::new();
    read(&dir.path().join("assets"), Path::new(""), &mut files)?;
    Ok(files)
}

fn node(dir: &Path, script: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("node").arg(script).args(arguments).current_dir(dir).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", script.display()).into()) }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    std::fs::create_dir_all(to.parent().unwrap_or(to))?;
    std::fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(())
}

fn read(dir: &Path, below: &Path, files: &mut Files) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            read(&entry.path(), &name, files)?;
        } else {
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}
