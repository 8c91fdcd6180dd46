//! Heads that disagree with their journal: the journal wins, and `verify` says so.

use decklog_journal::event::SessionStart;
use decklog_journal::session::{self, rebuild_head};
use decklog_journal::store::current_head;
use decklog_journal::verify::verify;
use decklog_journal::words::{Outcome, SessionKind, ShownOutcome, Status};
use decklog_journal::{Head, SessionFilter, SessionWriter};
use serde_json::{Value, json};

use crate::world::{World, journal, lines, message, options, set_journal};

fn set_key(dir: &std::path::Path, key: &str, value: Value) {
    let mut head: Value = serde_json::from_slice(&std::fs::read(dir.join("session.json")).unwrap()).unwrap();
    head[key] = value;
    std::fs::write(dir.join("session.json"), serde_json::to_vec(&head).unwrap()).unwrap();
}

#[test]
fn half_written_empty_and_missing_heads() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let head = std::fs::read(dir.join("session.json")).unwrap();
    let right = rebuild_head(&dir).unwrap();
    for cut in 0..head.len() - 1 {
        std::fs::write(dir.join("session.json"), &head[..cut]).unwrap();
        assert_eq!(current_head(&dir).as_ref(), Ok(&right), "cut at {cut}");
    }
    assert!(!verify(&dir).is_clean());
    let zeros = vec![0; head.len()];
    std::fs::write(dir.join("session.json"), zeros).unwrap();
    assert_eq!(current_head(&dir).as_ref(), Ok(&right));
    std::fs::remove_file(dir.join("session.json")).unwrap();
    assert_eq!(current_head(&dir).as_ref(), Ok(&right));
    assert_eq!(world.store.list(&SessionFilter::default()).unwrap().sessions.len(), 1);
}

#[test]
fn killed_before_the_first_head() {
    let world = World::new();
    let dir = world.create(1).dir().to_owned();
    std::fs::remove_file(dir.join("session.json")).unwrap();
    let report = verify(&dir);
    assert!(report.is_clean() && report.remarks.len() == 1, "{report:?}");
    assert_eq!(world.store.list(&SessionFilter::default()).unwrap().sessions.len(), 1);
    // Of a session that is over it has been there, and another program took it away.
    let mut writer = world.create(2);
    writer.append(crate::states::session_end()).unwrap();
    let dir = writer.dir().to_owned();
    drop(writer);
    std::fs::remove_file(dir.join("session.json")).unwrap();
    assert!(!verify(&dir).is_clean());
}

#[test]
fn every_key_that_lies_is_named() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let head = std::fs::read(dir.join("session.json")).unwrap();
    assert!(verify(&dir).is_clean(), "{:?}", verify(&dir));
    for (key, value) in [
        ("prompt", json!("another")),
        ("outcome", json!("failed")),
        ("status", json!("active")),
        ("turns", json!(7)),
        ("events", json!(1)),
        ("cost_usd", json!(0.5)),
        ("sum", json!("0123456789abcdef")),
        ("journal_bytes", json!(12)),
        ("exit_code", Value::Null),
    ] {
        set_key(&dir, key, value);
        let report = verify(&dir);
        assert!(
            report.faults.iter().any(|fault| fault.place == "session.json" && fault.what.contains(key)),
            "{key}: {report:?}"
        );
        std::fs::write(dir.join("session.json"), &head).unwrap();
    }
}

#[test]
fn a_head_of_another_journal() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let (_, other) = world.crashed(2, &["one", "two"]);
    std::fs::copy(dir.join("session.json"), other.join("session.json")).unwrap();
    assert_eq!(current_head(&other).unwrap(), rebuild_head(&other).unwrap());
    let listing = world.store.list(&SessionFilter::default()).unwrap();
    assert_eq!((listing.sessions.len(), listing.unreadable.len()), (2, 0));
}

#[test]
fn a_head_behind_vouches_for_what_it_sums_up() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one", "two", "three"]);
    let full = journal(&dir);
    let stored = Head::read(&dir).unwrap();
    assert!(stored.events < 5, "the head is behind: messages do not renew it");
    assert!(verify(&dir).is_clean(), "{:?}", verify(&dir));
    assert_eq!(rebuild_head(&dir).unwrap().events, 5);

    // The same journal, written again from the start with another prompt and right sums.
    let mut forged = Vec::new();
    for line in lines(&full) {
        let text = std::str::from_utf8(line).unwrap().replace("greet its first", "insult its first");
        let body = &text[..text.rfind(",\"sum\"").unwrap()];
        let previous = lines(&forged)
            .last()
            .map(|line: &&[u8]| String::from_utf8(line[line.len() - 19..line.len() - 3].to_vec()).unwrap())
            .unwrap_or_default();
        let sum = decklog_journal::wire::chain(&previous, body.as_bytes());
        forged.extend_from_slice(format!("{body},\"sum\":\"{sum}\"}}\n").as_bytes());
    }
    set_journal(&dir, &forged);
    assert!(session::load(&dir).unwrap().faults.is_empty());
    let report = verify(&dir);
    assert!(report.faults.iter().any(|fault| fault.place == "session.json"), "{report:?}");
}

#[test]
fn killed_between_the_last_event_and_the_head() {
    let world = World::new();
    let mut writer = world.create(1);
    writer.append(crate::world::turn_start(1)).unwrap();
    let before = std::fs::read(writer.dir().join("session.json")).unwrap();
    drop(writer);
    let dir = world.store.entry(&world.store.ids().unwrap()[0]);
    let mut bytes = journal(&dir);
    crate::world::push_line(
        &mut bytes,
        "turn_end",
        r#""turn":1,"outcome":"success","duration_secs":1.0,"files_changed":0"#,
    );
    crate::world::push_line(&mut bytes, "session_end", r#""outcome":"success","duration_secs":1.0,"exit_code":0"#);
    set_journal(&dir, &bytes);
    std::fs::write(dir.join("session.json"), before).unwrap();
    let head = current_head(&dir).unwrap();
    assert_eq!((head.status, head.outcome), (Status::Completed, Some(Outcome::Success)));
    let report = verify(&dir);
    assert!(report.is_clean(), "nothing is lost or altered: {report:?}");
    assert_eq!(report.remarks.len(), 1, "{report:?}");
    SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap().append(message(1, "late")).unwrap_err();
}

#[test]
fn an_import_that_assumed_success_has_no_outcome() {
    // The version, what was recorded, who resumed it, and what is known.
    for (format, end, pid, known) in [
        ("1.5", r#""outcome":"success","duration_secs":1.0,"exit_code":0"#, None, (None, None)),
        ("1.1", r#""outcome":"success","duration_secs":1.0,"exit_code":0"#, None, (None, None)),
        ("1.5", r#""outcome":"failed","duration_secs":1.0,"exit_code":2"#, None, (Some(Outcome::Failed), Some(2))),
        ("1.5", r#""outcome":"success","duration_secs":1.0,"exit_code":0"#, Some(7), (Some(Outcome::Success), Some(0))),
        ("1.6", r#""outcome":"success","duration_secs":1.0,"exit_code":0"#, None, (Some(Outcome::Success), Some(0))),
        ("1.6", r#""duration_secs":1.0"#, None, (None, None)),
    ] {
        let world = World::new();
        let writer = world.create_with(1, options(), |start| SessionStart {
            kind: SessionKind::Import,
            format: String::from(format).try_into().unwrap(),
            pid: None,
            ..start
        });
        let dir = writer.dir().to_owned();
        drop(writer);
        let mut bytes = journal(&dir);
        if let Some(pid) = pid {
            crate::world::push_line(&mut bytes, "resumed", &format!(r#""pid":{pid},"decklog_version":"0.1.0""#));
        }
        crate::world::push_line(&mut bytes, "session_end", end);
        set_journal(&dir, &bytes);
        let made = rebuild_head(&dir).unwrap();
        assert_eq!(
            (made.status, made.outcome, made.exit_code),
            (Status::Completed, known.0, known.1),
            "{format} {end}"
        );
        assert_eq!(session::load(&dir).unwrap().head, made);
        // The head that such a version wrote says what that version said.
        let mut stored = serde_json::to_value(&made).unwrap();
        let said: Value = serde_json::from_str(&format!("{{{end}}}")).unwrap();
        for key in ["outcome", "exit_code"] {
            if let Some(value) = said.get(key) {
                stored[key] = value.clone();
            }
        }
        std::fs::write(dir.join("session.json"), stored.to_string()).unwrap();
        assert_eq!(current_head(&dir).unwrap(), made);
        assert!(verify(&dir).is_clean(), "{format} {end}: {:?}", verify(&dir));
        let listed = world.store.list(&SessionFilter::default()).unwrap().sessions.remove(0);
        let shown = known.0.map_or(ShownOutcome::Unknown, ShownOutcome::from);
        assert_eq!(listed.row().shown_outcome(), Some(shown));
        for outcome in ShownOutcome::ALL {
            let filter = SessionFilter { outcomes: vec![*outcome], ..SessionFilter::default() };
            assert_eq!(filter.takes(&listed), *outcome == shown, "{format} {end}: {outcome}");
        }
    }
}
