//! One writer, and readers that can tell whether it lives.

use decklog_journal::lock::{Held, held};
use decklog_journal::remove::{RemoveError, remove};
use decklog_journal::store::{Place, StoreError};
use decklog_journal::words::ShownStatus;
use decklog_journal::{SessionFilter, SessionStore, SessionWriter, WriteError};

use crate::world::{World, options, session_start};

fn status(store: &SessionStore) -> ShownStatus {
    store.list(&SessionFilter::default()).unwrap().sessions[0].status
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let world = World::new();
    let writer = world.create(1);
    let dir = writer.dir().to_owned();
    assert_eq!((held(&dir), status(&world.store)), (Held::Yes, ShownStatus::Active));
    let before = crate::world::journal(&dir);
    assert!(matches!(SessionWriter::resume(&dir, options(), None, "0.1.0"), Err(WriteError::Lock { .. })));
    assert!(matches!(remove(&dir), Err(RemoveError::Lock { .. })));
    assert_eq!(crate::world::journal(&dir), before);
    drop(writer);
    assert_eq!((held(&dir), status(&world.store)), (Held::No, ShownStatus::Crashed));
    let again = SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
    assert_eq!((held(&dir), status(&world.store)), (Held::Yes, ShownStatus::Active));
    drop(again);
    remove(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn the_lock_file_may_be_gone() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    std::fs::remove_file(dir.join("lock")).unwrap();
    assert_eq!(status(&world.store), ShownStatus::Crashed);
    let writer = SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
    assert_eq!(held(&dir), Held::Yes, "going on makes it anew");
    drop(writer);
    std::fs::remove_file(dir.join("lock")).unwrap();
    remove(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn many_writers_at_once_make_as_many_sessions() {
    let world = World::new();
    let store = &world.store;
    let ids: Vec<_> = std::thread::scope(|scope| {
        // All in the same second, all with the same suffix in mind.
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| store.create(&Place::Auto, options(), Some(0xffff), |id, _| session_start(id)).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().id().clone()).collect()
    });
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 16, "{ids:?}");
    assert_eq!(store.list(&SessionFilter::default()).unwrap().sessions.len(), 16);
    let litter = std::fs::read_dir(store.root()).unwrap().count();
    assert_eq!(litter, 16, "nothing else is left under the root");
}

#[test]
fn a_directory_holds_one_session() {
    let world = World::new();
    let dir = world.beside("mine");
    let make = || world.store.create(&Place::Dir(dir.clone()), options(), None, |id, _| session_start(id));
    let writer = make().unwrap();
    assert!(matches!(make(), Err(StoreError::Occupied { .. })));
    drop(writer);
    assert!(matches!(make(), Err(StoreError::Occupied { .. })));
    assert_eq!(world.store.list(&SessionFilter::default()).unwrap().sessions.len(), 1);
    let id = world.store.ids().unwrap().remove(0);
    remove(&world.store.entry(&id)).unwrap();
    assert!(!dir.exists() && world.store.ids().unwrap().is_empty());
    make().unwrap();
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let world = World::new();
    let dir = world.store.root().with_file_name("target");
    let refused = world.store.create(&Place::Dir(dir.clone()), options(), Some(1), |id, dir| {
        // Another program is quicker: the journal's place is taken.
        std::fs::create_dir(dir.join("journal.jsonl")).unwrap();
        session_start(id)
    });
    assert!(refused.is_err());
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 0);
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["journal.jsonl"], "what is not ours stays");
}

#[test]
fn a_directory_with_names_of_a_session_is_left_alone() {
    for name in
        ["turns/001-prompt.md", "resume/001-ada.md", "logs/fetch.stderr", "objects/ab/0123", ".reserve", "journal.torn"]
    {
        let world = World::new();
        let dir = world.beside("theirs");
        let file = dir.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "theirs").unwrap();
        let refused = world.store.create(&Place::Dir(dir.clone()), options(), None, |id, _| session_start(id));
        let error = refused.map(drop).unwrap_err().to_string();
        assert!(error.contains(&format!("({})", name.split('/').next().unwrap())), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(world.store.ids().unwrap().is_empty());
    }
}

#[test]
fn an_id_that_another_session_takes_meanwhile_stays_with_that_one() {
    let world = World::new();
    let taken = world.store.entry(&"20260501T134412-0001".parse().unwrap());
    let writer = world.store.create(&Place::Auto, options(), Some(1), |id, _| {
        std::fs::create_dir(&taken).unwrap();
        session_start(id)
    });
    let writer = writer.unwrap();
    assert_eq!(writer.id().as_str(), "20260501T134412-0002");
    assert_eq!(writer.dir(), world.store.entry(writer.id()).canonicalize().unwrap());
    assert_eq!(world.store.load(writer.id()).unwrap().head.id, *writer.id());
    assert_eq!(std::fs::read_dir(&taken).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 2, "no staging directory is left");
}
