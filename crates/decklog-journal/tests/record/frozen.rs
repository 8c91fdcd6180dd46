//! Bytes of every format version, read for ever by every later one.

use std::path::{Path, PathBuf};

use decklog_journal::format::FormatVersion;
use decklog_journal::verify::verify;
use decklog_journal::{Head, SessionFilter, SessionStore, session};

use crate::world::World;

fn versions() -> Vec<PathBuf> {
    let compat = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let mut all: Vec<_> = std::fs::read_dir(compat).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn every_version_reads_as_it_did() {
    for version in versions() {
        let name = version.file_name().unwrap().to_string_lossy().into_owned();
        let listing = SessionStore::open(&version).list(&SessionFilter::default()).unwrap();
        assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 0), "{name}");
        let dir = &listing.sessions[0].entry;
        let report = verify(dir);
        assert!(report.is_clean() && report.remarks.is_empty(), "{name}: {report:?}");
        let loaded = session::load(dir).unwrap();
        // A head is what the journal makes it, but for keys that came with a later version.
        let keys = |head: &Head| serde_json::to_value(head).unwrap().as_object().unwrap().clone();
        let (stored, mut made) = (keys(&Head::read(dir).unwrap()), keys(&loaded.head));
        if loaded.head.format < FormatVersion::CURRENT {
            made.retain(|key, _| stored.contains_key(key));
        }
        assert_eq!(stored, made, "{name}");
        insta::assert_snapshot!(format!("frozen_{name}"), serde_json::to_string_pretty(&loaded).unwrap());
    }
}

#[test]
fn the_frozen_sessions_hold_every_event_type() {
    for version in versions() {
        let id = SessionStore::open(&version).ids().unwrap().remove(0);
        let journal = std::fs::read_to_string(version.join(id.as_str()).join("journal.jsonl")).unwrap();
        for event in crate::states::events(1) {
            let kind = event.kind();
            // What came with a later version than the first.
            let since = if kind == "container" { "v1.4" } else { "v1.0" };
            if version.file_name().unwrap().to_str().unwrap() < since {
                continue;
            }
            assert!(
                kind == "unheard_of" || journal.contains(&format!("\"type\":\"{kind}\"")),
                "{kind} in {}",
                version.display()
            );
        }
    }
}

#[test]
fn the_present_version_is_frozen() {
    let version = decklog_journal::format::FormatVersion::CURRENT;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/compat/v{version}"));
    if target.exists() {
        return;
    }
    assert!(std::env::var_os("DECKLOG_FREEZE").is_some(), "{version} is not frozen: run this with DECKLOG_FREEZE=1");
    let world = World::new();
    let dir = crate::story::write(&world, 0x3f2a);
    std::fs::create_dir_all(&target).unwrap();
    let status = std::process::Command::new("cp").arg("-r").arg(dir).arg(target).status().unwrap();
    assert!(status.success());
}
