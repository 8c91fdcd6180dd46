//! `/resume` of what cannot be gone on with: the present session stands, and so does the other one.

use std::path::{Path, PathBuf};

use decklog_journal::event::SessionStart;
use decklog_journal::format::FormatVersion;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::{Durability, EventBody, SessionStore, WriterOptions};

use super::{READY, two};
use crate::env::{TestEnv, eventually, is_alive, kill};
use crate::screen::Screen;

fn id(session: &Path) -> String {
    session.file_name().unwrap().to_str().unwrap().to_owned()
}

fn journal(session: &Path) -> Vec<u8> {
    std::fs::read(session.join("journal.jsonl")).unwrap()
}

/// The session that was not there before.
fn newest(env: &TestEnv, known: &[PathBuf]) -> PathBuf {
    env.sessions().into_iter().find(|session| !known.contains(session)).unwrap()
}

/// A session like this one, of a format that only a later decklog writes.
fn of_a_newer_format(env: &TestEnv, like: &Path) -> PathBuf {
    let first = JournalReader::open(&like.join("journal.jsonl")).unwrap().next().unwrap().unwrap();
    let Item::Event(event) = first else { panic!("no event") };
    let EventBody::SessionStart(start) = event.body else { panic!("no beginning") };
    let options = WriterOptions { clock: Clock::system(), durability: Durability::Os, redactor: Redactor::none() };
    let format = FormatVersion { major: 1, minor: 99 };
    let working_dir = env.work().to_str().unwrap().to_owned();
    let newer = |id, _: &Path| SessionStart { id, format, working_dir, ..start };
    SessionStore::open(env.root()).create(&Place::Auto, options, None, newer).unwrap().dir().to_owned()
}

#[test]
fn what_cannot_be_gone_on_with_leaves_the_present_session_as_it_is() {
    let env = two();
    // One whose directory is gone, one that a later decklog has begun, and one that is being recorded.
    let elsewhere = env.home().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut command = env.decklog_command(&["run", "bob", "one"]);
    command.current_dir(&elsewhere);
    crate::env::finish(command).expect(0);
    std::fs::remove_dir_all(&elsewhere).unwrap();
    let homeless = env.session();
    let newer = of_a_newer_format(&env, &homeless);
    let mut known = env.sessions();
    let mut other = env.start(&["run", "bob", "wait"]);
    let waits = env.home().join("waits");
    let agent = eventually("the agent", || std::fs::read_to_string(&waits).ok()?.trim().parse::<u32>().ok());
    let recorded = newest(&env, &known);
    known.push(recorded.clone());
    let before: Vec<Vec<u8>> = known.iter().map(|session| journal(session)).collect();

    let mut screen = Screen::new(&env, "shell ada");
    screen.wait_for(READY);
    screen.press("one\r");
    screen.wait_for("ada says 1.");
    screen.wait_for("tokens in");
    let present = newest(&env, &known);
    for (session, told) in [
        (&homeless, "elsewhere"),
        (&newer, "use a newer decklog"),
        (&recorded, "is being recorded"),
        (&present, "this is that session"),
    ] {
        screen.forget();
        screen.press(&format!("/resume {}\r", id(session)));
        screen.wait_for("error:");
        screen.wait_for(told);
        screen.wait_for(READY);
    }
    screen.forget();
    screen.press("/status\r");
    screen.wait_for(&id(&present));
    screen.wait_for_after("tokens in", READY);
    screen.forget();
    screen.press("two\r");
    screen.wait_for("ada says 2.");
    screen.wait_for_after("tokens in", READY);
    screen.press("\u{4}");
    let (text, code) = screen.end();
    assert_eq!(code, 0, "{text}");

    let after: Vec<Vec<u8>> = known.iter().map(|session| journal(session)).collect();
    assert!(before == after, "another session was written to");
    assert_eq!(env.sessions().len(), known.len() + 1);
    let shown = env.decklog(&["show", &id(&present), "--json"]).expect(0).json();
    assert_eq!((&shown["session"]["outcome"], &shown["session"]["turns"]), (&"success".into(), &2.into()));
    assert!(shown["turns"].as_array().unwrap().iter().all(|turn| turn["agent"] == "ada"), "{shown:#}");
    env.decklog(&["verify", &id(&present)]).expect(0);
    // Its conversation goes on, too.
    let arguments = std::fs::read_to_string(env.home().join("ada.arguments")).unwrap();
    assert!(arguments.lines().nth(1).unwrap().contains("--resume ada-1"), "{arguments}");
    kill(other.id(), "INT");
    assert_eq!(other.wait().unwrap().code(), Some(130));
    assert!(!is_alive(agent));
}
