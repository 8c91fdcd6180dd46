//! What should be a file and is not: nothing blocks, nothing hides another session.

use std::path::Path;
use std::time::{Duration, Instant};

use decklog_journal::remove::remove;
use decklog_journal::session;
use decklog_journal::verify::verify;
use decklog_journal::words::ShownStatus;
use decklog_journal::{SessionFilter, SessionWriter};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::world::{World, options};

#[derive(Debug, Clone, Copy)]
enum Odd {
    Directory,
    Fifo,
    Link,
    DanglingLink,
    Sparse,
    Loop,
}

const ALL: [Odd; 6] = [Odd::Directory, Odd::Fifo, Odd::Link, Odd::DanglingLink, Odd::Sparse, Odd::Loop];

fn put(odd: Odd, path: &Path, outside: &Path) {
    std::fs::remove_file(path).unwrap();
    match odd {
        Odd::Directory => std::fs::create_dir(path).unwrap(),
        Odd::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        Odd::Link => std::os::unix::fs::symlink(outside, path).unwrap(),
        Odd::DanglingLink => std::os::unix::fs::symlink("/nonexistent/x", path).unwrap(),
        Odd::Sparse => std::fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        Odd::Loop => std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap(),
    }
}

/// Reads everything in every way; none of it may take long.
fn look(world: &World, dir: &Path) -> Duration {
    let start = Instant::now();
    let _ = session::load(dir);
    let _ = verify(dir);
    let _ = world.store.list(&SessionFilter::default());
    start.elapsed()
}

#[test]
fn in_place_of_the_head() {
    for odd in ALL {
        let world = World::new();
        let (_, dir) = world.crashed(1, &["one"]);
        let outside = world.beside("outside.json");
        std::fs::copy(dir.join("session.json"), &outside).unwrap();
        put(odd, &dir.join("session.json"), &outside);
        let listing = world.store.list(&SessionFilter::default()).unwrap();
        assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 0), "{odd:?}: the journal tells");
        assert_eq!(listing.sessions[0].status, ShownStatus::Crashed);
        assert!(verify(&dir).faults.iter().any(|fault| fault.place == "session.json"), "{odd:?}");
        assert!(look(&world, &dir) < Duration::from_secs(5), "{odd:?}");
        let _ = remove(&dir).unwrap();
        assert!(outside.exists());
    }
}

#[test]
fn in_place_of_the_journal() {
    for odd in ALL {
        let world = World::new();
        let (other, _) = world.crashed(1, &["fine"]);
        let (id, dir) = world.crashed(2, &["one"]);
        let outside = world.beside("outside.jsonl");
        std::fs::copy(dir.join("journal.jsonl"), &outside).unwrap();
        put(odd, &dir.join("journal.jsonl"), &outside);
        let listing = world.store.list(&SessionFilter::default()).unwrap();
        assert_eq!(listing.sessions.len(), 1, "{odd:?}");
        assert_eq!(listing.sessions[0].head.id, other);
        assert_eq!(listing.unreadable[0].id, id, "{odd:?}");
        assert!(!listing.unreadable[0].reason.is_empty());
        assert!(!verify(&dir).is_clean(), "{odd:?}");
        assert!(session::load(&dir).is_err(), "{odd:?}");
        assert!(SessionWriter::resume(&dir, options(), None, "0.1.0").is_err(), "{odd:?}");
        assert!(look(&world, &dir) < Duration::from_secs(20), "{odd:?}");
        let kept = remove(&dir).unwrap().kept;
        match odd {
            Odd::Sparse => assert!(kept.is_empty() && !dir.exists()),
            _ => assert_eq!(kept, [dir.canonicalize().unwrap().join("journal.jsonl")], "{odd:?}"),
        }
        assert!(outside.exists());
    }
}

#[test]
fn in_place_of_the_lock() {
    for odd in ALL {
        let world = World::new();
        let (_, dir) = world.crashed(1, &["one"]);
        let outside = world.beside("outside.lock");
        std::fs::write(&outside, "").unwrap();
        put(odd, &dir.join("lock"), &outside);
        let listed = world.store.list(&SessionFilter::default()).unwrap().sessions.remove(0);
        if matches!(odd, Odd::Sparse) {
            assert_eq!(listed.status, ShownStatus::Crashed);
            assert!(remove(&dir).unwrap().kept.is_empty());
        } else {
            // It cannot be told whether it is being recorded: then it is not removed.
            assert_eq!(listed.status, ShownStatus::Active, "{odd:?}");
            remove(&dir).unwrap_err();
            assert!(dir.join("journal.jsonl").exists(), "{odd:?}");
        }
        assert!(outside.exists());
    }
}

#[test]
fn in_place_of_the_session() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["fine"]);
    let root = world.store.root().to_owned();
    std::fs::write(root.join("20260501T134412-00a1"), "a file").unwrap();
    std::fs::create_dir(root.join("20260501T134412-00a2")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/x", root.join("20260501T134412-00a3")).unwrap();
    std::os::unix::fs::symlink(&dir, root.join("20260501T134412-00a4")).unwrap();
    mknodat(CWD, root.join("20260501T134412-00a5"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::create_dir(root.join("..x")).unwrap();
    std::fs::create_dir(root.join("20260501T134412-3F2A")).unwrap();
    let listing = world.store.list(&SessionFilter::default()).unwrap();
    assert_eq!(
        (listing.sessions.len(), listing.unreadable.len(), listing.entries),
        (1, 4, 6),
        "an empty directory is none"
    );
    let alias = listing.unreadable.iter().find(|unreadable| unreadable.path.ends_with("20260501T134412-00a4")).unwrap();
    assert!(alias.reason.contains("it says that it is session"), "{}", alias.reason);
}

#[test]
fn the_root_itself() {
    let world = World::new();
    assert_eq!(world.store.list(&SessionFilter::default()).unwrap().entries, 0, "a root that is not there holds none");
    std::fs::write(world.store.root(), "a file").unwrap();
    assert!(world.store.list(&SessionFilter::default()).is_err());
}
