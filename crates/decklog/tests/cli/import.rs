//! `import`: histories become sessions, once, and nothing happens to them.

mod agents;
mod earlier;
mod live;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::env::TestEnv;

/// Imports, and gives the report.
fn import(env: &TestEnv, arguments: &[&str]) -> Value {
    let mut all = vec!["import", "--json"];
    all.extend(arguments);
    env.decklog(&all).expect(0).json()
}

/// The counts of a report that are not zero, by name.
fn counts(report: &Value) -> Vec<(&str, u64)> {
    ["imported", "updated", "unchanged", "already_recorded", "skipped", "failed", "gone", "unread"]
        .into_iter()
        .map(|name| (name, report[name].as_u64().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The newest session, found whole.
fn show(env: &TestEnv) -> Value {
    env.decklog(&["verify", "@"]).expect(0);
    env.decklog(&["show", "@", "--json"]).expect(0).json()
}

/// Every file below `dir`: its bytes and when it was changed.
fn state(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(state(&path));
        } else {
            let modified = path.metadata().unwrap().modified().unwrap();
            all.insert(path.clone(), (std::fs::read(&path).unwrap(), modified));
        }
    }
    all
}

/// Writes a file below the home directory, with the directories above it.
fn put(env: &TestEnv, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = env.home().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}
