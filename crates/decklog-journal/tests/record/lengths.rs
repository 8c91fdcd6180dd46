//! Long texts and long lines.

use decklog_journal::event::{
    EventBody, FileChange, Message, Notice, ToolCall, ToolResult, TurnEnd, TurnStart, Validation, Withheld,
};
use decklog_journal::read::{FaultKind, Item, JournalReader, ReverseReader};
use decklog_journal::session;
use decklog_journal::verify::{find_artifact, verify};
use decklog_journal::wire::MAX_LINE;
use decklog_journal::words::{ToolKind, ToolStatus, TurnOutcome};
use decklog_journal::writer::MAX_INLINE;
use proptest::prelude::*;

use crate::world::{World, journal, lines, message, set_journal, turn_start};

/// One character each: plain, escaped as two, escaped as six, two to four bytes, and what may not stand raw.
const SAMPLES: [&str; 9] = ["x", "\"", "\\", "\n", "\u{1}", "\u{7f}", "\u{e9}", "\u{6f22}", "\u{1f980}"];

fn bodies(text: &str) -> Vec<EventBody> {
    let text = || text.to_owned();
    vec![
        Message { turn: 1, text: text(), text_artifact: None, cut_artifact: None, continued: false }.into(),
        Notice { turn: Some(1), code: "note".into(), text: text(), text_artifact: None }.into(),
        ToolCall {
            turn: 1,
            call_id: "c".into(),
            name: "n".into(),
            kind: ToolKind::Other,
            title: None,
            input: serde_json::json!({ "text": text(), "more": [text()] }),
            input_artifact: None,
            status: ToolStatus::Pending,
        }
        .into(),
        ToolResult {
            turn: 1,
            call_id: "c".into(),
            status: ToolStatus::Completed,
            output: text(),
            output_artifact: None,
            exit_code: None,
            duration_secs: None,
        }
        .into(),
        Validation {
            turn: 1,
            command: "c".into(),
            passed: true,
            exit_code: None,
            duration_secs: 0.0,
            output: text(),
            output_artifact: None,
        }
        .into(),
    ]
}

/// Writes a text in every kind of event; every line must be short, and every text whole somewhere.
fn check(text: &str) {
    let world = World::new();
    let mut writer = world.create(1);
    writer.append(turn_start(1)).unwrap();
    let dir = writer.dir().to_owned();
    for body in bodies(text) {
        let event = writer.append(body).unwrap();
        let artifacts = event.body.artifacts();
        if text.len() > MAX_INLINE {
            assert_eq!(artifacts.len(), 1, "{} of {} bytes", event.body.kind(), text.len());
        }
        for artifact in artifacts {
            let mut whole = String::new();
            std::io::Read::read_to_string(&mut find_artifact(&dir, &artifact.path).unwrap().file, &mut whole).unwrap();
            assert_eq!(artifact.bytes, whole.len() as u64);
            if matches!(event.body, EventBody::ToolCall(_)) {
                let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
                assert_eq!(value["text"], text);
            } else {
                assert!(whole == text, "the whole text stands in {}", artifact.path);
            }
        }
    }
    drop(writer);
    for line in lines(&journal(&dir)) {
        assert!(line.len() <= MAX_LINE, "a line of {} bytes", line.len());
    }
    let report = verify(&dir);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn no_content_makes_a_long_line() {
    for sample in SAMPLES {
        for bytes in
            [0, 1, 1024, MAX_INLINE / 16, MAX_INLINE / 4 + 1, MAX_INLINE - 1, MAX_INLINE, MAX_INLINE + 1, 300_000]
        {
            check(&sample.repeat(bytes / sample.len()));
        }
    }
}

#[test]
fn a_prompt_of_megabytes() {
    for sample in ["ab\u{1}\u{dc}", "\u{1}", "\""] {
        let world = World::new();
        let prompt = sample.repeat(1_000_000);
        let writer = world.create_with(1, crate::world::options(), |mut start| {
            start.prompt.clone_from(&prompt);
            start
        });
        let dir = writer.dir().to_owned();
        drop(writer);
        let loaded = session::load(&dir).unwrap();
        let artifact = loaded.prompt_artifact.unwrap();
        assert!(std::fs::read_to_string(dir.join(&artifact.path)).unwrap() == prompt);
        assert!(prompt.starts_with(&loaded.prompt) && loaded.prompt.len() <= 1024);
        assert!(journal(&dir).len() <= MAX_LINE);
        assert!(verify(&dir).is_clean());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn mixtures_make_no_long_line(parts in proptest::collection::vec((0..SAMPLES.len(), 1_usize..60_000), 1..5)) {
        check(&parts.iter().map(|(at, count)| SAMPLES[*at].repeat(*count)).collect::<String>());
    }
}

#[test]
fn a_line_of_ten_megabytes_is_passed_over() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    let good = journal(&dir);
    let long = format!("{{\"seq\":3,\"type\":\"message\",\"text\":\"{}\"}}\n", "x".repeat(10 << 20));
    set_journal(&dir, &[&good[..], long.as_bytes()].concat());
    let loaded = session::load(&dir).unwrap();
    assert_eq!(loaded.head.events, 3);
    assert!(
        matches!(loaded.faults[..], [ref fault] if fault.kind == FaultKind::TooLong { bytes: long.len() as u64 }),
        "{:?}",
        loaded.faults
    );
    // What comes after it is read, and can be added.
    let mut writer = decklog_journal::SessionWriter::resume(&dir, crate::world::options(), None, "0.1.0").unwrap();
    writer.append(turn_start(2)).unwrap();
    writer.append(message(2, "after")).unwrap();
    drop(writer);
    let loaded = session::load(&dir).unwrap();
    assert_eq!((loaded.turns.len(), loaded.faults.len()), (2, 1), "{:?}", loaded.faults);
    let report = verify(&dir);
    assert_eq!(report.faults.len(), 1, "{report:?}");
    // Backwards it is not: the reader says why it stops.
    let backwards: Vec<_> = ReverseReader::open(&dir.join("journal.jsonl")).unwrap().take(10).collect();
    assert!(backwards.len() >= 3 && backwards[..3].iter().all(|item| matches!(item, Ok(Ok(_)))));
    assert!(matches!(&backwards[3], Err(error) if error.to_string().contains("too long")), "{:?}", backwards[3]);
    assert_eq!(backwards.len(), 4, "and it ends there");
}

#[test]
fn names_that_fit_no_line_are_fewer_and_the_record_goes_on() {
    let world = World::new();
    let mut writer = world.create(1);
    // As long as a file's name can be, and each byte of it six in a line.
    let name = |at: usize| format!("{at:03}{}", "\u{1}".repeat(252));
    let withheld = |at| Withheld { path: name(at), reason: "holds a secret".into() };
    let start = TurnStart {
        withheld: (0..200).map(withheld).collect(),
        command: vec!["\u{1}".repeat(4096); 16],
        ..turn_start(1)
    };
    writer.append(start).unwrap();
    let file = |at| FileChange { path: name(at), old_path: None, status: "added".into(), added: None, removed: None };
    let end = |turn, withheld: Vec<Withheld>| TurnEnd {
        turn,
        outcome: TurnOutcome::Success,
        exit_code: Some(0),
        signal: None,
        duration_secs: 1.0,
        agent_session_id: None,
        model: None,
        error: None,
        snapshot: None,
        files: (0..200).map(file).collect(),
        files_changed: 200,
        patch: String::new(),
        patch_artifact: None,
        withheld,
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    };
    writer.append(end(1, (0..200).map(withheld).collect())).unwrap();
    // What fits no line whatever is left out stands in the way of nothing.
    writer.append(turn_start(2)).unwrap();
    let never = TurnEnd { files: Vec::new(), model: Some("x".repeat(MAX_LINE)), ..end(2, Vec::new()) };
    assert!(writer.append(never).is_err());
    writer.append(turn_start(3)).unwrap();
    writer.append(end(3, Vec::new())).unwrap();
    let dir = writer.dir().to_owned();
    drop(writer);
    assert!(lines(&journal(&dir)).iter().all(|line| line.len() <= MAX_LINE));
    let loaded = session::load(&dir).unwrap();
    assert_eq!(loaded.turns.iter().map(|turn| turn.outcome.is_some()).collect::<Vec<_>>(), [true, false, true]);
    let turn = &loaded.turns[0];
    assert!(turn.files_changed == 200 && !turn.withheld.is_empty() && !turn.command.is_empty());
    assert!(!loaded.turns[2].files.is_empty() && loaded.head.recording_failures == Some(1));
}

#[test]
fn a_long_torn_end_is_told_in_full() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    let mut bytes = journal(&dir);
    bytes.resize(bytes.len() + (10 << 20), b'x');
    set_journal(&dir, &bytes);
    let faults: Vec<_> = JournalReader::new(&bytes[..])
        .filter_map(|item| match item.unwrap() {
            Item::Fault(fault) => Some(fault.kind),
            Item::Event(_) => None,
        })
        .collect();
    assert_eq!(faults, [FaultKind::Torn { bytes: 10 << 20 }]);
    decklog_journal::SessionWriter::resume(&dir, crate::world::options(), None, "0.1.0").unwrap();
    assert_eq!(std::fs::metadata(dir.join("journal.torn")).unwrap().len(), (10 << 20) + 1);
    assert!(verify(&dir).is_clean());
}
