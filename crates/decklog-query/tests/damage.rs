//! Whatever is wrong with the files of the index, questions are answered as the sessions answer them; and what can be healed
//! is whole afterwards.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use decklog_journal::event::{FileChange, Message, SessionEnd, SessionStart, TurnEnd, TurnStart};
use decklog_journal::filter::Touched;
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{Outcome, Role, SessionKind, TurnOutcome};
use decklog_journal::{Durability, SessionFilter, SessionStore, WriterOptions};
use decklog_query::index::Lookup;
use decklog_query::query::Query;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

const SESSIONS: u16 = 12;
const PAGE: u64 = 4096;

struct World {
    dir: tempfile::TempDir,
    store: SessionStore,
    /// The files of a whole index.
    whole: Vec<(PathBuf, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SessionStore::open(dir.path().join("root"));
        (0..SESSIONS).for_each(|number| record(&store, number));
        let mut world = Self { dir, store, whole: Vec::new() };
        assert!(answers(&mut world.lookup()).1.is_empty());
        world.whole = world.make();
        world
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn lookup(&self) -> Lookup {
        Lookup::new(self.cache(), self.store.clone())
    }

    /// The three files, as they were made.
    fn files(&self) -> Vec<PathBuf> {
        std::fs::remove_dir_all(self.cache().join("index")).expect("removed");
        std::fs::create_dir(self.cache().join("index")).expect("a directory");
        self.whole.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("written"));
        self.whole.iter().map(|(path, _)| path.clone()).collect()
    }

    fn make(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.cache().join("index"))
            .expect("files")
            .map(|file| file.expect("a file").path())
            .collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "sqlite"));
        files.sort();
        assert_eq!(files.len(), 3);
        for file in &files {
            // All of it in one file, where it can be reached.
            let db = Connection::open(file).expect("a database");
            db.query_row("PRAGMA wal_checkpoint (TRUNCATE)", [], |_| Ok(())).expect("checkpointed");
        }
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("bytes"))).collect()
    }
}

fn record(store: &SessionStore, number: u16) {
    let at: Timestamp = "2026-05-01T10:00:00Z".parse().expect("a time");
    let clock = Clock::fixed(at + SignedDuration::from_secs(i64::from(number)));
    let options = WriterOptions { clock, durability: Durability::Os, redactor: Redactor::none() };
    let start = |id, dir: &Path| SessionStart {
        format: FormatVersion::CURRENT,
        id,
        kind: SessionKind::Run,
        prompt: format!("find needle {number}"),
        prompt_artifact: None,
        prompt_hash: String::new(),
        working_dir: format!("/home/me/project{number}"),
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
    };
    let mut writer = store.create(&Place::Auto, options, Some(number), start).expect("a session");
    let (turn, agent, role) = (1, "claude".into(), Role::Solo);
    let (model, permissions, command, prompt) = (None, None, Vec::new(), String::new());
    let begin = TurnStart {
        boxed: false,
        turn,
        agent,
        role,
        model,
        permissions,
        command,
        prompt,
        prompt_artifact: None,
        snapshot: None,
        withheld: Vec::new(),
    };
    writer.append(begin).expect("a turn");
    let words = (0..200).map(|word| format!("word{} ", u32::from(number) * 7 + word)).collect::<String>();
    let text = format!("{words} in the haystack{}", number % 3);
    writer.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false }).expect("a text");
    // The recorder of the last one dies.
    if number + 1 == SESSIONS {
        return;
    }
    let path = format!("src/{}.rs", number % 3);
    let file = FileChange { path, old_path: None, status: "added".into(), added: Some(1), removed: None };
    let end = TurnEnd {
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
        patch: String::new(),
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    };
    writer.append(end).expect("an end");
    let (outcome, exit_code) = (Some(Outcome::Success), Some(0));
    let (iterations, summary, confidence, picked) = (None, None, None, None);
    let end = SessionEnd { outcome, iterations, summary, confidence, picked, duration_secs: 1.0, exit_code };
    writer.append(end).expect("an end");
}

/// Asks for a list, for one by files, for a sum, and searches: what came of it, and why the index did not answer.
fn answers(lookup: &mut Lookup) -> (Vec<String>, Vec<String>) {
    let now = Timestamp::now() + SignedDuration::from_secs(60);
    let (all, tell) = (SessionFilter::default(), &mut |_, _| {});
    let touched = SessionFilter { touched: vec![Touched::new("src/1.rs").expect("a path")], ..all.clone() };
    let (mut said, mut problems) = (Vec::new(), Vec::new());
    for filter in [&all, &touched] {
        let take = |row: &decklog_journal::Row<'_>| said.push(format!("{row:?}"));
        let found = lookup.each(filter, now, tell, take).expect("rows");
        said.push(format!("{} {:?}", found.entries, found.unreadable));
        problems.extend(lookup.problem().map(|problem| problem.to_string()));
        let add = |sum: &mut u64, row: &decklog_journal::Row<'_>| *sum += u64::from(row.turns);
        let (sums, _) = lookup.sum_up(filter, now, tell, || 0, add).expect("sums");
        said.push(format!("{}", sums.iter().sum::<u64>()));
        problems.extend(lookup.problem().map(|problem| problem.to_string()));
    }
    for query in ["needle", "haystack1", "word40 -word41", "file:src/2.rs", "nothing"] {
        let query = Query::parse(query).expect("a query");
        let found = lookup.search(&query, &all, now, tell).expect("hits");
        let mut hits: Vec<String> = found.hits.iter().map(|hit| format!("{} {}", hit.id, hit.excerpt.text)).collect();
        hits.sort();
        said.extend(hits);
        said.push(format!("{}", found.matching));
        problems.extend(lookup.problem().map(|problem| problem.to_string()));
    }
    (said, problems)
}

/// Does `damage` to each file of the index, and asks: the answers are the right ones. Where it can be healed, the next question
/// is answered by a file that is whole and is not rebuilt again.
fn damaged(what: &str, mut damage: impl FnMut(&Path)) {
    let world = World::new();
    let (expected, _) = answers(&mut world.lookup());
    for which in 0..3 {
        let file = world.files().swap_remove(which);
        damage(&file);
        let (said, problems) = answers(&mut world.lookup());
        assert!(said == expected, "{what}, {}: {said:#?}", file.display());
        assert!(problems.is_empty(), "{what}, {}: {problems:?}", file.display());
        let inode = file.metadata().expect("a file").ino();
        let db = Connection::open(&file).expect("a database");
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(check, "ok", "{what}, {}", file.display());
        assert_eq!(answers(&mut world.lookup()), (expected.clone(), Vec::new()), "{what}");
        assert_eq!(file.metadata().expect("a file").ino(), inode, "{what}: healed once");
    }
}

#[test]
fn files_that_are_no_index_are_made_anew() {
    damaged("no database", |file| std::fs::write(file, "x".repeat(9000)).expect("written"));
    damaged("cut off in the first page", |file| truncate(file, 100));
    damaged("a directory", |file| {
        std::fs::remove_file(file).expect("removed");
        std::fs::create_dir_all(file.join("in")).expect("a directory");
    });
    damaged("a log that is a directory", |file| {
        let log = PathBuf::from(format!("{}-wal", file.display()));
        let _ = std::fs::remove_file(&log);
        std::fs::create_dir(log).expect("a directory");
    });
    damaged("other tables", |file| {
        std::fs::remove_file(file).expect("removed");
        Connection::open(file)
            .and_then(|db| db.execute_batch("CREATE TABLE words (x); CREATE TABLE meta (y)"))
            .expect("made");
    });
    damaged("what an interrupted rebuild left is damaged, too", |file| {
        std::fs::write(file, "x".repeat(9000)).expect("written");
        std::fs::write(format!("{}.new", file.display()), "y".repeat(9000)).expect("written");
    });
}

fn truncate(file: &Path, length: u64) {
    std::fs::OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(length)).expect("cut off");
}

/// Every answer is right; and a file whose damage an answer came across is whole.
fn damaged_somewhere(what: &str, which: usize, damage: impl Fn(&Path, u64)) {
    let world = World::new();
    let file = world.files().swap_remove(which);
    let (expected, _) = answers(&mut world.lookup());
    let pages = file.metadata().expect("a file").len() / PAGE;
    for page in 0..pages {
        let file = world.files().swap_remove(which);
        let inode = file.metadata().expect("a file").ino();
        damage(&file, page);
        let (said, problems) = answers(&mut world.lookup());
        assert!(said == expected, "{what}, page {page} of {}: {said:#?}", file.display());
        assert!(problems.is_empty(), "{what}, page {page} of {}: {problems:?}", file.display());
        if file.metadata().expect("a file").ino() != inode {
            let db = Connection::open(&file).expect("a database");
            let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
            assert_eq!(check, "ok", "{what}, page {page}");
        }
    }
}

#[test]
fn any_page_may_be_zeros_or_missing() {
    for which in 0..3 {
        damaged_somewhere("zeros", which, |file, page| {
            let file = std::fs::OpenOptions::new().write(true).open(file).expect("a file");
            file.write_all_at(&[0; PAGE as usize], page * PAGE).expect("written");
        });
        damaged_somewhere("cut off", which, |file, page| truncate(file, page * PAGE));
    }
}

#[test]
fn any_column_may_hold_garbage() {
    let world = World::new();
    let (expected, _) = answers(&mut world.lookup());
    for which in 0..3 {
        let file = world.files().swap_remove(which);
        let columns: Vec<(String, String)> = Connection::open(&file)
            .expect("a database")
            .prepare("SELECT t.name, c.name FROM sqlite_schema t, pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND c.hidden = 0")
            .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .expect("columns");
        for (table, column) in &columns {
            for garbage in ["'garbage'", "x'00ff80'", "-1.5", "9223372036854775807"] {
                let file = world.files().swap_remove(which);
                let db = Connection::open(&file).expect("a database");
                // What is a key twice, or no text of a virtual table, is refused: then there is nothing to see.
                let one = format!("WHERE \"{column}\" = (SELECT max(\"{column}\") FROM \"{table}\")");
                let done = db.execute(&format!("UPDATE OR FAIL \"{table}\" SET \"{column}\" = {garbage} {one}"), []);
                drop(db);
                if !matches!(done, Ok(1..)) {
                    continue;
                }
                // Neither a number where one belongs nor what SQLite keeps of words for itself can be told from what was
                // written: there it is enough that everything is answered.
                let is_told = garbage.contains('\'') && !table.starts_with("words_");
                let (said, problems) = answers(&mut world.lookup());
                assert!(problems.is_empty(), "{table}.{column} = {garbage}: {problems:?}");
                assert!(said == expected || !is_told, "{table}.{column} = {garbage}: {said:#?}");
            }
        }
    }
}

#[test]
fn an_index_that_is_locked_or_cannot_be_made_is_done_without() {
    let world = World::new();
    let (expected, _) = answers(&mut world.lookup());
    for which in 0..3 {
        let file = world.files().swap_remove(which);
        let db = Connection::open(&file).expect("a database");
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").expect("a mode");
        db.execute_batch("BEGIN EXCLUSIVE").expect("locked");
        let (said, problems) = answers(&mut world.lookup());
        assert_eq!(said, expected, "{}", file.display());
        assert!(!problems.is_empty() && problems.iter().all(|problem| problem.contains("locked")), "{problems:?}");
        drop(db);
        assert_eq!(answers(&mut world.lookup()), (expected.clone(), Vec::new()));
    }
    // Another process is rebuilding it.
    let file = world.files().swap_remove(0);
    std::fs::write(&file, "x".repeat(9000)).expect("written");
    let lock = std::fs::File::create(format!("{}.lock", file.display())).expect("a lock");
    lock.lock().expect("locked");
    let (said, problems) = answers(&mut world.lookup());
    assert_eq!(said, expected);
    assert!(problems.iter().all(|problem| problem.contains("being rebuilt")), "{problems:?}");
    lock.unlock().expect("unlocked");
    assert_eq!(answers(&mut world.lookup()), (expected.clone(), Vec::new()));
    // There is no place for it.
    std::fs::remove_dir_all(world.cache()).expect("removed");
    std::fs::write(world.cache(), "").expect("a file");
    let (said, problems) = answers(&mut world.lookup());
    assert_eq!(said, expected);
    assert!(!problems.is_empty());
}
