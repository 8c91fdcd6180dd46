//! The law of the index: whatever happened to the sessions, and to the index itself, it says what reading every session
//! says; and a search finds what reading every text finds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use decklog_journal::event::{
    FileChange, Message, SessionEnd, SessionStart, Thought, Tokens, ToolCall, TurnEnd, TurnStart, Usage,
};
use decklog_journal::filter::{Began, Touched};
use decklog_journal::format::FormatVersion;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{
    Outcome, Role, SessionKind, ShownOutcome, ShownStatus, ToolKind, ToolStatus, TurnOutcome,
};
use decklog_journal::{Durability, SessionFilter, SessionId, SessionStore, SessionWriter, WriterOptions};
use decklog_query::index::Lookup;
use decklog_query::query::Query;
use decklog_query::search::RANKED;
use decklog_query::stats::{By, StatsFold};
use decklog_query::text::Passages;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// Something that happens between two questions.
#[derive(Debug, Clone)]
enum Step {
    /// A session begins in this second.
    Begin { second: u8, linked: bool },
    /// The recorder of one of the sessions records a turn, or only its beginning.
    Turn(u8, bool),
    /// It records more of the turn that is open.
    Say(u8),
    /// It ends the session.
    End(u8, Outcome),
    /// It dies.
    Die(u8),
    /// Another goes on with a session.
    Resume(u8),
    /// A session is removed; a file that is not decklog's may lie in its directory.
    Remove(u8, bool),
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
        3 => any::<(u8, bool)>().prop_map(|(which, whole)| Step::Turn(which, whole)),
        2 => any::<u8>().prop_map(Step::Say),
        4 => (any::<u8>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        1 => any::<u8>().prop_map(Step::Die),
        2 => any::<u8>().prop_map(Step::Resume),
        1 => any::<(u8, bool)>().prop_map(|(which, foreign)| Step::Remove(which, foreign)),
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

    fn lookup(&self) -> Lookup {
        Lookup::new(self.cache(), self.store.clone())
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
            Step::Turn(which, whole) => {
                if let Some(writer) = self.writer(*which) {
                    begin_turn(writer, number);
                    say(writer, number);
                    if *whole {
                        end_turn(writer, number);
                    }
                }
            }
            Step::Say(which) => {
                if let Some(writer) = self.writer(*which) {
                    say(writer, number);
                }
            }
            Step::End(which, outcome) => {
                if self.writers.is_empty() {
                    return;
                }
                let at = usize::from(*which) % self.writers.len();
                let mut writer = self.writers.swap_remove(at);
                let (outcome, exit_code) = (Some(*outcome), Some(i32::from(*outcome != Outcome::Success)));
                let (iterations, summary, confidence) = (None, None, None);
                let duration_secs = number as f64;
                let end =
                    SessionEnd { outcome, iterations, summary, confidence, picked: None, duration_secs, exit_code };
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
            Step::Remove(which, foreign) => {
                if let Some(id) = self.pick(*which) {
                    if *foreign {
                        let _ = std::fs::write(self.store.entry(&id).join("mine.txt"), "mine");
                    }
                    let _ = decklog_journal::remove::remove(&self.store.entry(&id));
                }
            }
            Step::Move(which) => self.shift(*which),
            Step::Spoil(which) => {
                if let Some(id) = self.pick(*which)
                    && !self.writers.iter().any(|writer| *writer.id() == id)
                {
                    let entry = self.store.entry(&id);
                    let _ = std::fs::write(entry.join("empty"), "");
                    let _ = std::fs::rename(entry.join("empty"), entry.join("journal.jsonl"));
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
                rules: None,
                git: None,
                host: None,
                pid: None,
                decklog_version: "0".into(),
                source: None,
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

/// Words in texts, few enough that searches find something.
const VOCABULARY: [&str; 12] = [
    "alpha",
    "Beta",
    "parse_config",
    "parseConfig",
    "数据库",
    "Straße",
    "e\u{301}te\u{301}",
    "config",
    "src/a.rs",
    "x-1",
    "HTTPServer",
    "été",
];

/// Some words, others each time.
fn text(number: usize) -> String {
    (0..1 + number % 5).map(|at| VOCABULARY[(number * 7 + at * 5) % VOCABULARY.len()]).collect::<Vec<_>>().join(" ")
}

fn open_turn(writer: &SessionWriter) -> u32 {
    writer.head().map_or(0, |head| head.turns)
}

fn begin_turn(writer: &mut SessionWriter, number: usize) {
    let turn = open_turn(writer) + 1;
    let agent = ["claude", "codex"][number % 2].to_owned();
    let (role, permissions, model, prompt_artifact) = (Role::Solo, None, None, None);
    let (command, withheld, snapshot) = (Vec::new(), Vec::new(), None);
    let _ = writer.append(TurnStart {
        boxed: false,
        turn,
        agent,
        role,
        model,
        permissions,
        command,
        prompt: String::new(),
        prompt_artifact,
        snapshot,
        withheld,
    });
}

fn say(writer: &mut SessionWriter, number: usize) {
    let turn = open_turn(writer);
    // Now and then so long that it stands in a file of its own.
    let long = if number % 6 == 5 { "filler ".repeat(12_000) } else { String::new() };
    let (text_artifact, cut_artifact, continued) = (None, None, number.is_multiple_of(3));
    let message = Message { turn, text: format!("{}{long}", text(number)), text_artifact, cut_artifact, continued };
    let _ = writer.append(message);
    let _ = writer.append(Thought { turn, text: text(number + 1), text_artifact: None, continued: false });
    let input = serde_json::json!({ "file_path": format!("src/{}.rs", number % 4), "command": text(number + 2) });
    let (call_id, title, input_artifact) = (number.to_string(), None, None);
    let (name, kind, status) = ("Bash".into(), ToolKind::Execute, ToolStatus::Pending);
    let _ = writer.append(ToolCall { turn, call_id, name, kind, title, input, input_artifact, status });
    let (tokens, model) =
        (Tokens { input: number as u64 * 10, ..Tokens::default() }, Some(format!("Model-{}", number % 3)));
    let _ = writer.append(Usage { turn, tokens, cost_usd: Some(number as f64 / 10.0), model });
}

fn end_turn(writer: &mut SessionWriter, number: usize) {
    let path = format!("src/{}.rs", number % 4);
    let file = FileChange { path, old_path: None, status: "added".into(), added: Some(1), removed: None };
    let _ = writer.append(TurnEnd {
        turn: open_turn(writer),
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
        patch: String::new(),
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
        SessionFilter { min_cost: Some(0.5), longer_than: Some(3.0), ..all.clone() },
        SessionFilter { at_most: Some(3.0), ..all.clone() },
        SessionFilter { iterations: Some((1, 3)), ..all.clone() },
        SessionFilter { began: Some(Began { zone: TimeZone::UTC, weekdays: vec![], hours: vec![0, 9, 10] }), ..all },
    ]
}

/// The present time; or later, when what happened so far is no longer fresh.
fn now(later: bool) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(if later { 60 } else { 0 })
}

/// What the index says and what reading every session says must be one.
fn check(lookup: &mut Lookup, world: &World, later: bool) {
    let now = now(later);
    for filter in filters(world.at) {
        let mut scanned = Vec::new();
        let mut unreadable = Vec::new();
        let (new, zone) = (|| StatsFold::new(&By::ALL, TimeZone::UTC), TimeZone::UTC);
        let mut read = StatsFold::new(&By::ALL, zone);
        let entries = world.store.each(&filter, |one| match one {
            Ok(mut listed) => {
                listed.read_usage();
                read.add(&listed.row());
                scanned.push(format!("{:?}", listed.row()));
            }
            Err(error) => unreadable.push(error),
        });
        let mut indexed = Vec::new();
        let take = |row: &decklog_journal::Row<'_>| indexed.push(format!("{row:?}"));
        let refreshed = lookup.each(&filter, now, &mut |_, _| {}, take).expect("rows");
        assert!(lookup.problem().is_none());
        assert_eq!(indexed, scanned, "{filter:?}");
        assert_eq!(refreshed.entries, entries.expect("entries"));
        if filter.limit.is_none() {
            assert_eq!(refreshed.unreadable, unreadable);
        }
        let (sums, _) = lookup.sum_up(&filter, now, &mut |_, _| {}, new, StatsFold::add).expect("sums");
        assert!(lookup.problem().is_none());
        let sum = sums.into_iter().reduce(StatsFold::merge).expect("a sum").finish();
        assert_eq!(sum, read.finish(), "{filter:?}");
    }
}

#[test]
fn a_session_that_nothing_is_written_in_is_no_change_while_its_recorder_is_there() {
    let mut world = World::new();
    let mut index = world.lookup();
    world.apply(&Step::Begin { second: 0, linked: false }, 0);
    world.apply(&Step::Wait, 0);
    check(&mut index, &world, true);
    let state = index.state(now(true)).expect("a state");
    check(&mut index, &world, true);
    assert_eq!(index.state(now(true)).expect("a state"), state);
    world.apply(&Step::Die(0), 0);
    check(&mut index, &world, true);
    assert_ne!(index.state(now(true)).expect("a state"), state);
}

#[test]
fn a_session_that_was_removed_is_gone_though_its_directory_stays() {
    let mut world = World::new();
    let mut index = world.lookup();
    for number in 0..2 {
        world.apply(&Step::Begin { second: 0, linked: false }, number);
        world.apply(&Step::End(0, Outcome::Success), number);
    }
    world.apply(&Step::Wait, 0);
    check(&mut index, &world, true);
    world.apply(&Step::Remove(0, true), 0);
    check(&mut index, &world, true);
    assert_eq!(world.store.ids().expect("ids").len(), 2, "the directory stays");
}

#[test]
fn sums_on_two_threads_are_of_every_session_once_and_in_order() {
    let mut world = World::new();
    for number in 0..4200 {
        world.at += SignedDuration::from_secs(i64::from(number % 3 == 0));
        world.begin(0, false, number as usize);
        world.writers.clear();
    }
    let mut index = world.lookup();
    for filter in filters(world.at) {
        let mut each = Vec::new();
        index.each(&filter, now(true), &mut |_, _| {}, |row| each.push(row.number)).expect("rows");
        let add = |sum: &mut Vec<i64>, row: &decklog_journal::Row<'_>| sum.push(row.number);
        let (sums, _) = index.sum_up(&filter, now(true), &mut |_, _| {}, Vec::new, add).expect("sums");
        assert_eq!(sums.len(), if filter.limit.is_none() { 2 } else { 1 });
        assert_eq!(sums.concat(), each, "{filter:?}");
    }
}

/// What a search finds and what reading every text finds must be one.
fn check_search(lookup: &mut Lookup, world: &World) {
    let now = Timestamp::now();
    let touched =
        SessionFilter { touched: vec![Touched::new("src/1.rs").expect("a path")], ..SessionFilter::default() };
    let completed = SessionFilter { statuses: vec![ShownStatus::Completed], ..SessionFilter::default() };
    for (query, filter) in [
        ("alpha", SessionFilter::default()),
        ("config -beta", SessionFilter::default()),
        ("parse_config strasse", SessionFilter::default()),
        ("\"beta src\"", SessionFilter::default()),
        ("数据 ÉTÉ", completed),
        ("server file:src/2.rs", SessionFilter::default()),
        ("tool:bash -\"x-1\"", touched),
        ("prüfe", SessionFilter::default()),
    ] {
        let query = Query::parse(query).expect("a query");
        let found = lookup.search(&query, &filter, now, &mut |_, _| {}).expect("found");
        assert!(lookup.problem().is_none());
        let found: BTreeSet<_> = found.hits.into_iter().map(|hit| (hit.id, hit.turn)).collect();
        assert_eq!(found, read_all(&world.store, &query, &filter), "{query:?}");
    }
}

fn read_all(store: &SessionStore, query: &Query, filter: &SessionFilter) -> BTreeSet<(SessionId, u32)> {
    let mut found = BTreeSet::new();
    for listed in store.list(filter).expect("a list").sessions {
        let mut passages = Passages::new(&listed.entry);
        let mut all = Vec::new();
        for item in JournalReader::open(&listed.entry.join("journal.jsonl")).expect("a journal") {
            if let Item::Event(event) = item.expect("a line") {
                all.extend(passages.event(&event, 0, 0));
            }
        }
        all.extend(passages.finish());
        found.extend(all.iter().filter(|it| query.takes(it)).map(|it| (listed.head.id.clone(), it.turn)));
    }
    found
}

/// Records a turn in which this is said.
fn tell(writer: &mut SessionWriter, text: &str, number: usize) {
    begin_turn(writer, number);
    let (turn, text) = (open_turn(writer), text.to_owned());
    writer.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false }).expect("said");
    end_turn(writer, number);
}

#[test]
fn a_word_that_very_many_hold_is_found_as_it_was_typed() {
    let mut world = World::new();
    for (number, (text, turns)) in [("the parse", RANKED + 5), ("then parsers", 3)].into_iter().enumerate() {
        world.begin(0, false, number);
        world.at += SignedDuration::from_hours(24);
        (0..turns).for_each(|turn| tell(&mut world.writers[number], text, turn));
    }
    let now = Timestamp::now();
    let mut lookup = world.lookup();
    let few = SessionFilter { limit: Some(10), ..SessionFilter::default() };
    let active = SessionFilter { statuses: vec![ShownStatus::Active], ..few.clone() };
    let newer = world.store.ids().expect("ids")[1].clone();
    for (typed, filter, of_newer, matching) in [
        // So many hold it as it stands that those which only begin so are not looked for.
        ("parse", &few, 0, RANKED),
        ("then parse", &few, 3, 3),
        ("pars", &few, 3, RANKED),
        ("parse", &active, 3, RANKED),
        ("parsers", &few, 3, 3),
    ] {
        let query = Query::parse_typed(typed).expect("a query");
        let found = lookup.search(&query, filter, now, &mut |_, _| {}).expect("found");
        assert_eq!(found.matching, matching, "{typed}");
        assert_eq!(found.hits.iter().filter(|hit| hit.id == newer).count(), of_newer, "{typed}");
        assert!(found.hits.iter().take(of_newer).all(|hit| hit.id == newer), "{typed}: the newest come first");
    }
}

#[test]
fn the_word_as_it_was_typed_comes_first_however_few_sessions_there_are() {
    // Which of the two shards a session is in is chance: alone in one, or beside the other.
    for sessions in 2..8 {
        let mut world = World::new();
        for number in 0..sessions {
            world.begin(0, false, number);
            world.at += SignedDuration::from_hours(24);
            tell(&mut world.writers[number], if number == 0 { "the parse" } else { "then parsers, parsers" }, 0);
        }
        let now = Timestamp::now();
        let mut lookup = world.lookup();
        let query = Query::parse_typed("parse").expect("a query");
        let found = lookup.search(&query, &SessionFilter::default(), now, &mut |_, _| {}).expect("found");
        let order: Vec<SessionId> = found.hits.into_iter().map(|hit| hit.id).collect();
        let mut newest_first = world.store.ids().expect("ids");
        newest_first[1..].reverse();
        assert_eq!(order, newest_first, "{sessions} sessions");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_index_says_what_the_sessions_say(steps in steps()) {
        let mut world = World::new();
        let mut indexes = [world.lookup(), world.lookup()];
        for (number, step) in steps.iter().enumerate() {
            world.apply(step, number);
            // Once in a while a question comes later; and now and then from another process.
            let asks = number % indexes.len();
            let later = matches!(step, Step::Wait);
            if matches!(step, Step::DeleteIndex | Step::DamageIndex(_)) {
                indexes[asks] = world.lookup();
            }
            check(&mut indexes[asks], &world, later);
        }
    }

    #[test]
    fn a_search_finds_what_reading_finds(steps in steps()) {
        let mut world = World::new();
        let mut indexes = [world.lookup(), world.lookup()];
        for (number, step) in steps.iter().enumerate() {
            world.apply(step, number);
            if matches!(step, Step::DeleteIndex | Step::DamageIndex(_)) {
                indexes[number % 2] = world.lookup();
            }
            check_search(&mut indexes[number % 2], &world);
        }
    }
}
