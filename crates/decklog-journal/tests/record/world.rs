//! A session root of a test's own, and small sessions in it.

use std::path::{Path, PathBuf};

use decklog_journal::event::{EventBody, Message, SessionStart, TurnStart};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{Role, SessionKind};
use decklog_journal::{Durability, SessionId, SessionStore, SessionWriter, WriterOptions, wire};

/// A session root that is removed at the end.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) store: SessionStore,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SessionStore::open(dir.path().join("sessions"));
        Self { dir, store }
    }

    /// A place beside the root.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn create(&self, suffix: u16) -> SessionWriter {
        self.create_with(suffix, options(), |start| start)
    }

    pub(crate) fn create_with(
        &self,
        suffix: u16,
        options: WriterOptions,
        change: impl FnOnce(SessionStart) -> SessionStart,
    ) -> SessionWriter {
        self.store.create(&Place::Auto, options, Some(suffix), |id, _| change(session_start(id))).unwrap()
    }

    /// A session cut off while its first turn said `words`.
    pub(crate) fn crashed(&self, suffix: u16, words: &[&str]) -> (SessionId, PathBuf) {
        let mut writer = self.create(suffix);
        writer.append(turn_start(1)).unwrap();
        for word in words {
            writer.append(message(1, word)).unwrap();
        }
        (writer.id().clone(), writer.dir().to_owned())
    }
}

/// What every test writes with: a fixed clock, no secrets, no waiting for the disk.
pub(crate) fn options() -> WriterOptions {
    let start = "2026-05-01T13:44:12Z".parse().unwrap();
    WriterOptions { clock: Clock::fixed(start), durability: Durability::Os, redactor: Redactor::none() }
}

pub(crate) fn session_start(id: SessionId) -> SessionStart {
    let prompt = "Make the greeting greet its first argument.".to_owned();
    SessionStart {
        format: FormatVersion::CURRENT,
        kind: SessionKind::Run,
        prompt_hash: wire::prompt_hash(prompt.as_bytes()),
        prompt,
        prompt_artifact: None,
        working_dir: "/home/user/greeter".into(),
        session_dir: format!("/home/user/.local/share/decklog/sessions/{id}"),
        id,
        agents: vec!["claude".into()],
        actor_agent: None,
        critic_agent: None,
        actor_model: None,
        critic_model: None,
        max_iterations: None,
        rules: None,
        git: None,
        host: Some("host".into()),
        pid: None,
        decklog_version: "0.1.0".into(),
        source: None,
    }
}

pub(crate) fn turn_start(turn: u32) -> TurnStart {
    TurnStart {
        boxed: false,
        turn,
        agent: "claude".into(),
        role: Role::Solo,
        model: None,
        permissions: None,
        command: Vec::new(),
        prompt: String::new(),
        prompt_artifact: None,
        snapshot: None,
        withheld: Vec::new(),
    }
}

pub(crate) fn message(turn: u32, text: &str) -> EventBody {
    Message { turn, text: text.into(), text_artifact: None, cut_artifact: None, continued: false }.into()
}

pub(crate) fn journal(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(JOURNAL_FILE)).unwrap()
}

pub(crate) fn set_journal(dir: &Path, bytes: &[u8]) {
    std::fs::write(dir.join(JOURNAL_FILE), bytes).unwrap();
}

/// Every line with its newline.
pub(crate) fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Adds a line as some other decklog might write it: `keys` are what stands between envelope and sum.
pub(crate) fn push_line(journal: &mut Vec<u8>, kind: &str, keys: &str) {
    let all = lines(journal);
    let previous = all.last().map_or("", |line| wire::split_sum(&line[..line.len() - 1]).unwrap().1);
    let (seq, comma) = (all.len(), if keys.is_empty() { "" } else { "," });
    let body = format!(r#"{{"seq":{seq},"timestamp":"2026-05-01T13:50:00.000000Z","type":"{kind}"{comma}{keys}"#);
    let line = format!("{body},\"sum\":\"{}\"}}\n", wire::chain(previous, body.as_bytes()));
    journal.extend_from_slice(line.as_bytes());
}
