//! Whole sessions that happened elsewhere: the same bytes as recorded ones, seen whole or not at all.

use decklog_journal::bulk::{BulkWriter, Named, Replaced};
use decklog_journal::event::{EventBody, SessionStart, Source, TurnStart};
use decklog_journal::redact::Redactor;
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::store::IdFor;
use decklog_journal::verify::verify;
use decklog_journal::{Head, SessionFilter, SessionId, WriteError};

use crate::states::events;
use crate::world::{World, message, options, session_start, turn_start};

fn at() -> jiff::Timestamp {
    "2026-05-01T13:44:12Z".parse().unwrap()
}

fn begin(world: &World, id: &SessionId) -> BulkWriter {
    world.store.bulk(id, Redactor::none(), at(), |_| session_start(id.clone())).unwrap()
}

fn id() -> SessionId {
    SessionId::new(at(), 0x3f2a)
}

/// The events of one turn, in an order that is legal.
fn turn() -> Vec<EventBody> {
    let of_the_turn = events(1).into_iter().filter(|event| event.turn() == Some(1));
    let (ends, rest): (Vec<_>, Vec<_>) = of_the_turn.partition(|event| matches!(event, EventBody::TurnEnd(_)));
    let rest = rest.into_iter().filter(|event| !matches!(event, EventBody::TurnStart(_)));
    [turn_start(1).into(), message(1, &"long ".repeat(40_000))].into_iter().chain(rest).chain(ends).collect()
}

#[test]
fn the_bytes_are_those_of_a_recorded_session() {
    let world = World::new();
    let mut recorded = world.create_with(1, options(), |_| session_start(id()));
    let began = recorded.head().unwrap().started_at;
    let mut bulk = world.store.bulk(&id(), Redactor::none(), began, |_| session_start(id())).unwrap();
    for event in turn() {
        let at = recorded.append(event.clone()).unwrap().timestamp;
        bulk.append(at, event).unwrap();
    }
    assert!(matches!(bulk.finish().unwrap(), Named::Done));
    let dir = world.store.entry(&id());
    let read = |dir: &std::path::Path| std::fs::read_to_string(dir.join(JOURNAL_FILE)).unwrap();
    let (recorded_lines, lines) = (read(recorded.dir()), read(&dir));
    for (recorded, line) in recorded_lines.lines().zip(lines.lines()) {
        assert_eq!(recorded, line);
    }
    assert_eq!(recorded_lines.len(), lines.len());
    assert_eq!(Head::read(&dir).unwrap(), *recorded.head().unwrap());
    assert!(!dir.join("lock").exists());
    let report = verify(&dir);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn nothing_is_seen_before_it_has_its_name_and_nothing_left_when_it_gets_none() {
    let world = World::new();
    let mut writer = begin(&world, &id());
    writer.append(at(), turn_start(1)).unwrap();
    assert!(world.store.ids().unwrap().is_empty());
    assert_eq!(world.store.sweep(), 0, "it is held");
    assert!(matches!(writer.append(at(), turn_start(7)), Err(WriteError::Illegal(_))));
    drop(writer);
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 0);
}

#[test]
fn an_id_that_is_taken_stays_with_its_session() {
    let world = World::new();
    let (first, second) = (begin(&world, &id()), begin(&world, &id()));
    assert!(matches!(first.finish().unwrap(), Named::Done));
    let before = std::fs::read(world.store.entry(&id()).join(JOURNAL_FILE)).unwrap();
    assert!(matches!(second.finish().unwrap(), Named::Taken));
    assert_eq!(std::fs::read(world.store.entry(&id()).join(JOURNAL_FILE)).unwrap(), before);
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 1);
    let source = |id: &str| Source {
        tool: "codex".into(),
        id: id.into(),
        path: String::new(),
        bytes: 0,
        modified: at(),
        parts: Vec::new(),
    };
    let next = SessionId::new(at(), 0x3f2b);
    assert_eq!(world.store.id_for(at(), 0x3f2a, &source("a")), Some(IdFor::New(next.clone())));
    let start = |_: &std::path::Path| SessionStart { source: Some(source("a")), ..session_start(next.clone()) };
    world.store.bulk(&next, Redactor::none(), at(), start).unwrap().finish().unwrap();
    assert_eq!(world.store.id_for(at(), 0x3f2a, &source("a")), Some(IdFor::There(next)));
    assert_eq!(world.store.id_for(at(), 0x3f2a, &source("b")), Some(IdFor::New(SessionId::new(at(), 0x3f2c))));
}

#[test]
fn a_session_is_replaced_in_one_step_and_what_is_not_ours_stays() {
    let world = World::new();
    begin(&world, &id()).finish().unwrap();
    let dir = world.store.entry(&id());
    std::fs::write(dir.join("mine.txt"), "mine").unwrap();
    std::fs::create_dir(dir.join("turns")).unwrap();
    std::fs::write(dir.join("turns/notes"), "mine").unwrap();
    let mut writer = begin(&world, &id());
    writer.append(at(), TurnStart { prompt: "more".into(), ..turn_start(1) }).unwrap();
    let Replaced::Done(removed) = writer.replace(&sum(&world)).unwrap() else { panic!("it was not replaced") };
    assert_eq!(removed.kept, [dir.join("mine.txt"), dir.join("turns/notes")]);
    assert_eq!(world.store.load(&id()).unwrap().turns[0].prompt, "more");
    assert!(removed.kept.iter().all(|path| std::fs::read_to_string(path).unwrap() == "mine"));
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 1);
    assert_eq!(world.store.list(&SessionFilter::default()).unwrap().sessions.len(), 1);
}

/// The last sum of the session's journal.
fn sum(world: &World) -> String {
    Head::read(&world.store.entry(&id())).unwrap().sum
}

#[test]
fn a_session_that_was_changed_meanwhile_is_not_replaced() {
    type Meanwhile = fn(&World);
    let continued: Meanwhile = |world| {
        let mut writer = world.store.resume(&id(), options(), Some(1), "0").unwrap();
        writer.append(turn_start(1)).unwrap();
    };
    let replaced: Meanwhile = |world| {
        let mut writer = begin(world, &id());
        writer.append(at(), turn_start(1)).unwrap();
        writer.replace(&sum(world)).unwrap();
    };
    for (meanwhile, was_continued) in [(continued, true), (replaced, false)] {
        let world = World::new();
        begin(&world, &id()).finish().unwrap();
        let known = sum(&world);
        let writer = begin(&world, &id());
        meanwhile(&world);
        let came = writer.replace(&known).unwrap();
        assert!(matches!(came, Replaced::Changed { continued } if continued == was_continued), "{came:?}");
        assert_eq!(world.store.load(&id()).unwrap().turns.len(), 1);
        assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 1);
    }
}

#[test]
fn a_session_that_is_recorded_or_stands_elsewhere_is_not_replaced() {
    let world = World::new();
    let held = world.create(0x3f2a);
    assert_eq!(*held.id(), id());
    assert!(matches!(begin(&world, &id()).replace(""), Err(WriteError::Lock { .. })));
    let other = SessionId::new(at(), 1);
    std::os::unix::fs::symlink(world.beside("elsewhere"), world.store.entry(&other)).unwrap();
    assert!(matches!(begin(&world, &other).replace(""), Err(WriteError::Io { .. })));
    assert_eq!(std::fs::read_dir(world.store.root()).unwrap().count(), 2);
}
