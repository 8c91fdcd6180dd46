//! Records of newer versions: what can be read is read, and nothing is added to them.

use decklog_journal::event::EventBody;
use decklog_journal::format::FormatVersion;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session;
use decklog_journal::store::current_head;
use decklog_journal::verify::verify;
use decklog_journal::{Head, SessionFilter, SessionWriter, WriteError};

use crate::world::{World, journal, options, push_line, set_journal};

fn of_format(world: &World, suffix: u16, major: u16, minor: u16) -> std::path::PathBuf {
    let writer = world.create_with(suffix, options(), |mut start| {
        start.format = FormatVersion { major, minor };
        start
    });
    writer.dir().to_owned()
}

#[test]
fn what_a_newer_minor_version_adds_is_kept_and_passed_over() {
    let world = World::new();
    let dir = of_format(&world, 1, 1, 7);
    let mut bytes = journal(&dir);
    push_line(&mut bytes, "telepathy", r#""turn":1,"thoughts":["a",{"b":null}]"#);
    push_line(&mut bytes, "turn_start", r#""turn":1,"agent":"claude","role":"solo","mood":"fine","snapshot":null"#);
    push_line(&mut bytes, "tool_call", r#""turn":1,"call_id":"c","name":"n","kind":"levitate","status":"pending""#);
    push_line(&mut bytes, "silence", "");
    set_journal(&dir, &bytes);

    let loaded = session::load(&dir).unwrap();
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    assert_eq!((loaded.head.events, loaded.turns.len(), loaded.turns[0].steps.len()), (5, 1, 1));
    let listing = world.store.list(&SessionFilter::default()).unwrap();
    assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 0));
    assert!(verify(&dir).is_clean(), "{:?}", verify(&dir));
    let unknown = JournalReader::new(&bytes[..])
        .find_map(|item| match item.unwrap() {
            Item::Event(event) => match event.body {
                EventBody::Unknown(unknown) => Some(unknown),
                _ => None,
            },
            Item::Fault(fault) => panic!("{fault}"),
        })
        .unwrap();
    assert_eq!(
        (unknown.kind.as_str(), &unknown.fields["thoughts"]),
        ("telepathy", &serde_json::json!(["a", { "b": null }]))
    );

    let refused = SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap_err();
    assert!(matches!(refused, WriteError::Format { format: FormatVersion { major: 1, minor: 7 }, .. }), "{refused}");
    assert!(refused.to_string().contains("use a newer decklog"), "{refused}");
    assert_eq!(journal(&dir), bytes, "nothing was added");
}

#[test]
fn a_torn_newer_record_is_not_touched_either() {
    let world = World::new();
    let dir = of_format(&world, 1, 1, FormatVersion::CURRENT.minor + 1);
    let mut bytes = journal(&dir);
    bytes.extend_from_slice(b"{\"torn");
    set_journal(&dir, &bytes);
    SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap_err();
    assert_eq!(journal(&dir), bytes);
    assert!(!dir.join("journal.torn").exists());
}

#[test]
fn a_newer_major_version_is_named_with_a_remedy() {
    let world = World::new();
    let dir = of_format(&world, 1, 2, 0);
    world.crashed(2, &["fine"]);
    let says = |what: String| assert!(what.contains("format 2.0") && what.contains("use a newer decklog"), "{what}");
    let look = || {
        let listing = world.store.list(&SessionFilter::default()).unwrap();
        assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 1));
        says(listing.unreadable[0].reason.clone());
        says(session::load(&dir).unwrap_err().to_string());
        says(current_head(&dir).unwrap_err());
        says(SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap_err().to_string());
        assert!(!verify(&dir).is_clean());
    };
    look();
    // A head may have changed beyond recognition, or be gone.
    std::fs::write(dir.join("session.json"), r#"{"format":"2.0","sessions":[]}"#).unwrap();
    look();
    std::fs::remove_file(dir.join("session.json")).unwrap();
    look();
    assert!(matches!(Head::read(&dir), Err(decklog_journal::head::HeadError::Io(_))));
}
