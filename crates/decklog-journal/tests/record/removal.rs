//! Removing sessions: whole or not at all, while other processes remove or read it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use decklog_journal::SessionFilter;
use decklog_journal::remove::remove;
use decklog_journal::store::Place;

use crate::world::{World, options, session_start};

fn count(world: &World) -> usize {
    fs::read_dir(world.store.root()).unwrap().count()
}

#[test]
fn two_removals_at_once_both_succeed() {
    for suffix in 1..=40 {
        let world = World::new();
        let (_, dir) = world.crashed(suffix, &["one", "two"]);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| remove(&dir))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for result in results {
            // One that comes while the other holds the lock gets that error; none fails for what is gone.
            assert!(matches!(result, Ok(_) | Err(decklog_journal::remove::RemoveError::Lock { .. })), "{result:?}");
        }
        assert_eq!(count(&world), 0);
    }
}

#[test]
fn a_reader_sees_a_session_whole_or_not_at_all() {
    let world = World::new();
    let dirs: Vec<_> = (1..=60).map(|suffix| world.crashed(suffix, &["one", "two"]).1).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let listing = world.store.list(&SessionFilter::default()).unwrap();
                assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
            }
        });
        for dir in &dirs {
            remove(dir).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(count(&world), 0);
}

/// What git leaves in a session's objects when it ends at any moment, as of git 2.51.
#[test]
fn what_git_had_in_hand_is_removed() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    for name in ["aa/tmp_obj_1", "pack/tmp_pack_1", "pack/tmp_idx_1", "pack/tmp_rev_1", "pack/tmp_mtimes_1"] {
        let path = dir.join("objects").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    assert_eq!(remove(&dir).unwrap().kept, [""; 0].map(std::path::PathBuf::from));
    assert!(!dir.exists());
}

#[test]
fn a_removal_that_was_cut_off_is_completed() {
    let world = World::new();
    let (id, dir) = world.crashed(1, &["one"]);
    fs::write(dir.join("notes.txt"), "theirs").unwrap();
    let (other, whole) = world.crashed(2, &["two"]);
    let hide = |id: &str| world.store.root().join(format!(".removed-{id}.00c0ffee"));
    // Cut off before and after the journal was removed.
    fs::rename(&dir, hide(id.as_str())).unwrap();
    fs::rename(&whole, hide(other.as_str())).unwrap();
    fs::remove_file(hide(other.as_str()).join("journal.jsonl")).unwrap();
    assert!(world.store.ids().unwrap().is_empty());
    assert_eq!(world.store.sweep(), 2);
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((left, count(&world)), (vec!["notes.txt".into()], 1), "what is not decklog's stays where it was");
    assert!(world.store.list(&SessionFilter::default()).unwrap().unreadable.is_empty());
}

#[test]
fn a_link_that_was_to_be_removed_takes_no_other_session_along() {
    let world = World::new();
    let target = world.beside("mine");
    let make = || world.store.create(&Place::Dir(target.clone()), options(), None, |id, _| session_start(id)).unwrap();
    let old = make().id().clone();
    let hidden = world.store.root().join(format!(".removed-{old}.00c0ffee"));
    fs::rename(world.store.entry(&old), &hidden).unwrap();
    // It was cut off when the directory was empty, and another session took the directory since.
    for name in ["journal.jsonl", "session.json", "lock"] {
        fs::remove_file(target.join(name)).unwrap();
    }
    let writer = make();
    let id = writer.id().clone();
    drop(writer);
    assert_eq!(world.store.sweep(), 1);
    assert!(hidden.symlink_metadata().is_err());
    assert_eq!(world.store.load(&id).unwrap().head.id, id);
    // One that still holds the session is removed with it.
    fs::rename(world.store.entry(&id), world.store.root().join(format!(".removed-{id}.00c0ffee"))).unwrap();
    assert_eq!(world.store.sweep(), 1);
    assert!(!target.exists() && count(&world) == 0);
    // A link that leads nowhere goes.
    symlink("/nonexistent/session", world.store.root().join(format!(".removed-{id}.00c0ffee"))).unwrap();
    world.store.sweep();
    assert_eq!(count(&world), 0);
}

#[test]
fn what_a_killed_recorder_staged_is_swept() {
    let world = World::new();
    fs::create_dir_all(world.store.root()).unwrap();
    let dead = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    for pid in [dead, std::process::id()] {
        let dir = world.store.root().join(format!(".staging/{pid}-0001"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("lock"), "").unwrap();
        fs::write(dir.join("journal.jsonl"), "").unwrap();
    }
    // The next session that is made sweeps, too.
    let (_, dir) = world.crashed(1, &["one"]);
    let left: Vec<_> =
        fs::read_dir(dir.with_file_name(".staging")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "that of a process that lives may be about to be locked: {left:?}");
    assert_eq!(world.store.sweep(), 0);
}
