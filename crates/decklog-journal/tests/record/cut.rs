//! Journals that end too early: torn lines, empty files, tails of zeros.

use decklog_journal::read::{Fault, FaultKind, Item, JournalReader};
use decklog_journal::session::{self, LoadError};
use decklog_journal::verify::verify;
use decklog_journal::words::ShownStatus;
use decklog_journal::{SessionFilter, SessionWriter, store};

use crate::world::{World, journal, lines, options, set_journal};

/// Whole lines in the first `cut` bytes, and the bytes behind them.
fn whole(bytes: &[u8], cut: usize) -> (usize, usize) {
    let ends = bytes[..cut].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (lines(&bytes[..ends]).len(), cut - ends)
}

#[test]
fn torn_at_every_byte() {
    let world = World::new();
    let (_, healthy) = world.crashed(1, &["the other one"]);
    let (id, dir) = world.crashed(2, &["one", "tw\u{f6}", "\u{6f22}\u{5b57} \"quoted\"\n"]);
    let full = journal(&dir);
    let torn_file = dir.join("journal.torn");
    for cut in 0..=full.len() {
        set_journal(&dir, &full[..cut]);
        let (events, torn) = whole(&full, cut);
        let listing = world.store.list(&SessionFilter::default()).unwrap();
        assert!(listing.sessions.iter().any(|listed| listed.entry == healthy), "cut at {cut}");
        let loaded = session::load(&dir);
        if events == 0 {
            assert!(matches!(loaded, Err(LoadError::Empty)), "cut at {cut}: {loaded:?}");
            assert_eq!(listing.unreadable.len(), 1, "cut at {cut}");
            assert!(SessionWriter::resume(&dir, options(), None, "0.1.0").is_err());
            assert!(!verify(&dir).is_clean());
            continue;
        }
        let loaded = loaded.unwrap();
        assert_eq!(loaded.head.events, events as u64, "cut at {cut}");
        let expected = if torn == 0 { vec![] } else { vec![FaultKind::Torn { bytes: torn as u64 }] };
        assert_eq!(loaded.faults.into_iter().map(|fault| fault.kind).collect::<Vec<_>>(), expected, "cut at {cut}");
        let listed = listing.sessions.iter().find(|listed| listed.head.id == id).unwrap();
        assert_eq!(listed.status, ShownStatus::Crashed, "cut at {cut}");
        assert_eq!(listed.head, loaded.head, "cut at {cut}: the journal wins");

        // Going on keeps the torn bytes aside and the chain whole.
        SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
        let report = verify(&dir);
        assert!(report.is_clean(), "cut at {cut}: {report:?}");
        let resumed = journal(&dir);
        assert!(resumed.starts_with(&full[..cut - torn]));
        if torn == 0 {
            assert!(!torn_file.exists() && report.remarks.is_empty());
        } else {
            assert_eq!(std::fs::read(&torn_file).unwrap(), [&full[cut - torn..cut], b"\n"].concat());
            assert_eq!(report.remarks.len(), 1);
            let last = String::from_utf8(resumed).unwrap();
            assert!(last.lines().next_back().unwrap().contains(&format!("\"torn_bytes\":{torn}")), "{last}");
            std::fs::remove_file(&torn_file).unwrap();
        }
    }
}

#[test]
fn torn_twice_keeps_both_ends() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    for torn in ["first", "second"] {
        let mut bytes = journal(&dir);
        bytes.extend_from_slice(torn.as_bytes());
        set_journal(&dir, &bytes);
        SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
    }
    assert_eq!(std::fs::read_to_string(dir.join("journal.torn")).unwrap(), "first\nsecond\n");
    assert!(verify(&dir).is_clean());
}

#[test]
fn zeros_where_the_disk_had_not_written_yet() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one", "two"]);
    let full = journal(&dir);
    let head = std::fs::read(dir.join("session.json")).unwrap();
    for from in (1..full.len()).rev() {
        let mut zeroed = full.clone();
        zeroed[from..].fill(0);
        set_journal(&dir, &zeroed);
        std::fs::write(dir.join("session.json"), &head).unwrap();
        let (events, torn) = whole(&zeroed, zeroed.len());
        let Ok(loaded) = session::load(&dir) else {
            assert_eq!(events, 0);
            continue;
        };
        assert_eq!((loaded.head.events, loaded.faults.len()), (events as u64, 1), "zeros from {from}");
        assert!(matches!(loaded.faults[0].kind, FaultKind::Torn { bytes } if bytes == torn as u64));
        assert_eq!(store::current_head(&dir).unwrap(), loaded.head, "zeros from {from}");
        assert!(!verify(&dir).is_clean());
        if from % 16 == 0 {
            SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
            assert!(verify(&dir).is_clean());
            std::fs::remove_file(dir.join("journal.torn")).unwrap();
        }
    }
}

#[test]
fn zeros_of_the_same_length_as_a_finished_journal() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let mut bytes = journal(&dir);
    let end = bytes.len() - lines(&bytes).last().unwrap().len();
    bytes[end..].fill(0);
    set_journal(&dir, &bytes);
    // The head still says that it was completed, of a journal of this very length.
    let listed = world.store.list(&SessionFilter::default()).unwrap().sessions.remove(0);
    assert_eq!((listed.status, listed.head.outcome), (ShownStatus::Crashed, None));
}

#[test]
fn nothing_at_all() {
    let world = World::new();
    let (_, other) = world.crashed(1, &["fine"]);
    let (_, dir) = world.crashed(2, &["gone"]);
    set_journal(&dir, b"");
    let listing = world.store.list(&SessionFilter::default()).unwrap();
    assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 1));
    assert_eq!(listing.sessions[0].entry, other);
    assert!(listing.unreadable[0].reason.contains("holds no session"), "{}", listing.unreadable[0].reason);
    let report = verify(&dir);
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert!(decklog_journal::remove::remove(&dir).unwrap().kept.is_empty());
    assert!(!dir.exists());
}

#[test]
fn lines_that_are_no_events_are_told_one_by_one() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    let good = journal(&dir);
    for junk in
        [&b"\n"[..], b"\0\0\0\n", b"{}\n", b"[1,2\n", b"{\"sum\":\"0123456789abcdef\"}\n", b"\xff\xfe\n", b"null\n"]
    {
        let bytes = [&good[..], junk, b"torn"].concat();
        let items: Vec<_> = JournalReader::new(&bytes[..]).map(Result::unwrap).collect();
        let faults: Vec<&Fault> = items
            .iter()
            .filter_map(|item| match item {
                Item::Fault(fault) => Some(fault),
                Item::Event(_) => None,
            })
            .collect();
        assert_eq!((items.len() - faults.len(), faults.len()), (3, 2), "{junk:?}");
        assert!(matches!(faults[0].kind, FaultKind::Damaged { .. }), "{:?}", faults[0]);
        assert_eq!((faults[0].line, faults[0].offset), (4, good.len() as u64));
        assert!(matches!(faults[1].kind, FaultKind::Torn { bytes: 4 }));
        // Nor do they keep it from being gone on with.
        set_journal(&dir, &bytes);
        SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
        let loaded = session::load(&dir).unwrap();
        assert_eq!((loaded.head.events, loaded.faults.len()), (4, 1), "{:?}", loaded.faults);
    }
}
