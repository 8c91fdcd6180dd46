//! The law of the index: whatever happened to the sessions, and to the index itself, it says what reading every session
//! says.

use std::path::{Path, PathBuf};

use decklog_journal::event::{FileChange, SessionEnd, SessionStart, Tokens, TurnEnd, TurnStart, Usage};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{Outcome, Role, SessionKind, ShownOutcome, ShownStatus, TurnOutcome};
use decklog_journal::{Durability, SessionFilter, SessionId, SessionStore, SessionWriter, WriterOptions};
use decklog_query::index::RowIndex;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// Something that happens between two questions.
#[derive(Debug, Clone)]
enum Step {
    /// A session begins in this second.
    Begin { second: u8, linked: bool },
    /// The recorder of one of the sessions begins a turn.
    Turn(u8),
    /// It ends the session.
    End(u8, Outcome),
    /// It dies.
    Die(u8),
    /// Another goes on with a session.
    Resume(u8),
    /// A session is removed.
    Remove(u8),
    /// A session is moved away, or back.
    Move(u8),
    /// A session's journal is emptied.
    Spoil(u8),
    /// A session's head is deleted.
    Behead(u8),
    /// The index is deleted.
    DeleteIndex,
    /// Bytes of the index are overwritten.
    DamageIndex(u16),
    /// Time passes: what happened so far is no longer fresh.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop::sample::select(Outcome::ALL);
    let step = prop_oneof![
        4 => (0..4u8, prop::bool::weighted(0.2)).prop_map(|(second, linked)| Step::Begin { second, linked }),
        3 => any::<u8>().prop_map(Step::Turn),
        4 => (any::<u8>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        1 => any::<u8>().prop_map(Step::Die),
        2 => any::<u8>().prop_map(Step::Resume),
        1 => any::<u8>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Move),
        1 => any::<u8>().prop_map(Step::Spoil),
        1 => any::<u8>().prop_map(Step::Behead),
        1 => Just(Step::DeleteIndex),
        1 => any::<u16>().prop_map(Step::DamageIndex),
        4 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..24)
}

struct World {
    dir: tempfile::TempDir,
    store: SessionStore,
    writers: Vec<SessionWriter>,
    moved: Vec<SessionId>,
    at: Timestamp,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SessionStore::open(dir.path().join("root"));
        let at = "2026-05-01T10:00:00Z".parse().expect("a time");
        Self { dir, store, writers: Vec::new(), moved: Vec::new(), at }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn options(&mut self) -> WriterOptions {
        self.at += SignedDuration::from_millis(7);
        WriterOptions { clock: Clock::fixed(self.at), durability: Durability::Os, redactor: Redactor::none() }
    }

    fn pick(&self, which: u8) -> Option<SessionId> {
        let ids = self.store.ids().expect("ids");
        (!ids.is_empty()).then(|| ids[usize::from(which) % ids.len()].clone())
    }

    fn writer(&mut self, which: u8) -> Option<&mut SessionWriter> {
        let count = self.writers.len();
        (count > 0).then(|| &mut self.writers[usize::from(which) % count])
    }

    fn apply(&mut self, step: &Step, number: usize) {
        match step {
            Step::Begin { second, linked } => self.begin(*second, *linked, number),
            Step::Turn(which) => {
                if let Some(writer) = self.writer(*which) {
                    turn(writer, number);
                }
            }
            Step::End(which, outcome) => {
                if self.writers.is_empty() {
                    return;
                }
                let at = usize::from(*which) % self.writers.len();
                let mut writer = self.writers.swap_remove(at);
                let (outcome, exit_code) = (*outcome, i32::from(*outcome != Outcome::Success));
                let (iterations, summary, confidence) = (None, None, None);
                let duration_secs = number as f64;
                let end = SessionEnd { outcome, iterations, summary, confidence, duration_secs, exit_code };
                let _ = writer.append(end);
            }
            Step::Die(which) => {
                if !self.writers.is_empty() {
                    let at = usize::from(*which) % self.writers.len();
                    // As if it had been killed: nothing more is written, and the lock is free.
                    drop(self.writers.swap_remove(at));
                }
            }
            Step::Resume(which) => {
                if let Some(id) = self.pick(*which)
                    && !self.writers.iter().any(|writer| *writer.id() == id)
                {
                    let options = self.options();
                    self.writers.extend(self.store.resume(&id, options, None, "0"));
                }
            }
            Step::Remove(which) => {
                if let Some(id) = self.pick(*which) {
                    let _ = decklog_journal::remove::remove(&self.store.entry(&id));
                }
            }
            Step::Move(which) => self.shift(*which),
            Step::Spoil(which) => {
                if let Some(id) = self.pick(*which)
                    && !self.writers.iter().any(|writer| *writer.id() == id)
                {
                    let entry = self.store.entry(&id);
                    let _ = std::fs::write(entry.join("journal.jsonl"), "");
                    let _ = std::fs::remove_file(entry.join("session.json"));
                    self.touch();
                }
            }
            Step::Behead(which) => {
                if let Some(id) = self.pick(*which) {
                    let _ = std::fs::remove_file(self.store.entry(&id).join("session.json"));
                }
            }
            Step::DeleteIndex => {
                let _ = std::fs::remove_dir_all(self.cache());
            }
            Step::DamageIndex(at) => damage(&self.cache().join("index"), *at),
            Step::Wait => self.wait(),
        }
    }

    fn begin(&mut self, second: u8, linked: bool, number: usize) {
        let clock = Clock::fixed(self.at + SignedDuration::from_secs(i64::from(second)));
        let place = if linked { Place::Dir(self.dir.path().join(format!("own{number}"))) } else { Place::Auto };
        let options = WriterOptions { clock, ..self.options() };
        let project = ["app", "lib", "über"][number % 3];
        let writer =
            self.store.create(&place, options, Some((number as u16).wrapping_mul(7919)), |id, dir| SessionStart {
                format: FormatVersion::CURRENT,
                id,
                kind: SessionKind::ALL[number % SessionKind::ALL.len()],
                prompt: format!("Prüfe {number}"),
                prompt_artifact: None,
                prompt_hash: decklog_journal::wire::prompt_hash(&[second]),
                working_dir: format!("/home/me/{project}"),
                session_dir: dir.to_string_lossy().into_owned(),
                agents: Vec::new(),
                actor_agent: None,
                critic_agent: None,
                actor_model: None,
                critic_model: None,
                max_iterations: None,
                git: None,
                host: None,
                pid: None,
                decklog_version: "0".into(),
            });
        self.writers.push(writer.expect("a session"));
    }

    fn shift(&mut self, which: u8) {
        let away = |id: &SessionId| self.dir.path().join(format!("away-{id}"));
        match self.moved.pop() {
            Some(id) if !self.store.entry(&id).exists() => {
                std::fs::rename(away(&id), self.store.entry(&id)).expect("moved back");
            }
            _ => {
                let Some(id) = self.pick(which) else { return };
                if !away(&id).exists() {
                    std::fs::rename(self.store.entry(&id), away(&id)).expect("moved away");
                    self.moved.push(id);
                }
            }
        }
    }

    /// What whoever changes a session by hand has to do, as `resume` does.
    fn touch(&self) {
        let probe = self.store.root().join("probe");
        std::fs::write(&probe, "").expect("a file");
        std::fs::remove_file(probe).expect("removed");
    }

    /// Waits until the file system's clock has gone on.
    fn wait(&self) {
        let modified = |path: &Path| {
            std::fs::write(path, "x").expect("a file");
            path.metadata().and_then(|meta| meta.modified()).expect("its time")
        };
        let (probe, start) = (self.dir.path().join("probe"), modified(&self.dir.path().join("probe")));
        while modified(&probe) == start {}
    }
}

fn turn(writer: &mut SessionWriter, number: usize) {
    let turn = writer.head().map_or(0, |head| head.turns) + 1;
    let (agent, model) = (["claude", "codex"][number % 2].to_owned(), Some(format!("Model-{}", number % 3)));
    let (role, permissions) = (Role::Solo, None);
    let _ = writer.append(TurnStart {
        turn,
        agent,
        role,
        model: None,
        permissions,
        command: Vec::new(),
        prompt_artifact: None,
        snapshot: None,
        withheld: Vec::new(),
    });
    let tokens = Tokens { input: number as u64 * 10, cached_input: 3, output: 5, reasoning: 0 };
    let _ = writer.append(Usage { turn, tokens, cost_usd: Some(number as f64 / 10.0), model });
    let path = format!("src/{}.rs", number % 4);
    let file = FileChange { path, old_path: None, status: "added".into(), added: Some(1), removed: None };
    let _ = writer.append(TurnEnd {
        turn,
        outcome: TurnOutcome::Success,
        exit_code: Some(0),
        signal: None,
        duration_secs: 1.0,
        agent_session_id: None,
        model: None,
        error: None,
        snapshot: None,
        files: vec![file],
        files_changed: 1,
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    });
}

/// Overwrites some bytes of every file of the index.
fn damage(dir: &Path, at: u16) {
    use std::os::unix::fs::FileExt;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let length = entry.metadata().map_or(0, |meta| meta.len());
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(entry.path())
            && length > 0
            && entry.path().extension().is_some_and(|extension| extension == "sqlite")
        {
            // The head of a page: what is there cannot be taken for anything else.
            let page = u64::from(at) % length.div_ceil(4096) * 4096;
            let _ = file.write_all_at(&[0xa5; 64], page);
        }
    }
}

fn filters(at: Timestamp) -> Vec<SessionFilter> {
    let all = SessionFilter::default();
    vec![
        all.clone(),
        SessionFilter { limit: Some(2), ..all.clone() },
        SessionFilter { statuses: vec![ShownStatus::Completed, ShownStatus::Crashed], ..all.clone() },
        SessionFilter { outcomes: vec![ShownOutcome::Failed, ShownOutcome::Crashed], ..all.clone() },
        SessionFilter { agents: vec!["CLAUDE".into()], models: vec!["model-1".into()], ..all.clone() },
        SessionFilter { projects: vec!["über".into(), "/home/me/lib".into()], limit: Some(1), ..all.clone() },
        SessionFilter { after: Some(at), ..all.clone() },
        SessionFilter { min_cost: Some(0.5), longer_than: Some(3.0), ..all },
    ]
}

/// What the index says and what reading every session says must be one.
fn check(index: &mut RowIndex, world: &World, later: bool) {
    let now = Timestamp::now() + SignedDuration::from_secs(if later { 60 } else { 0 });
    let refreshed = index.refresh(now, &mut |_| {}).expect("up to date");
    for filter in filters(world.at) {
        let mut scanned = Vec::new();
        let mut unreadable = Vec::new();
        let entries = world.store.each(&filter, |read| match read {
            Ok(listed) => scanned.push(format!("{:?}", listed.row())),
            Err(error) => unreadable.push(error),
        });
        let mut indexed = Vec::new();
        index.each(&filter, |_| true, |row| indexed.push(format!("{row:?}"))).expect("rows");
        assert_eq!(indexed, scanned, "{filter:?}");
        assert_eq!(refreshed.entries, entries.expect("entries"));
        if filter.limit.is_none() {
            assert_eq!(refreshed.unreadable, unreadable);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_index_says_what_the_sessions_say(steps in steps()) {
        let mut world = World::new();
        let mut indexes: Vec<RowIndex> =
            (0..2).map(|_| RowIndex::open(&world.cache(), &world.store).expect("an index")).collect();
        for (number, step) in steps.iter().enumerate() {
            world.apply(step, number);
            // Once in a while a question comes later; and now and then from another process.
            let asks = number % indexes.len();
            let later = matches!(step, Step::Wait);
            if matches!(step, Step::DeleteIndex | Step::DamageIndex(_)) {
                indexes[asks] = RowIndex::open(&world.cache(), &world.store).expect("an index");
            }
            check(&mut indexes[asks], &world, later);
        }
    }
}
