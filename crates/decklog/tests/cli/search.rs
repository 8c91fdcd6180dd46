//! `search`, and what becomes of the index.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::env::TestEnv;

/// Three sessions, of three days.
fn world() -> TestEnv {
    let mut env = TestEnv::new().fixed();
    for (day, script) in [
        ("01", "echo 'parse_config: connection reset by peer'; echo 'let x = parseConfig();' > auth.rs"),
        ("02", "printf 'a \\033[31mred\\033[0m Straße 数据库 cafe\\314\\201\\n'"),
        ("03", "echo connection closed; exit 3"),
    ] {
        env.set("DECKLOG_TEST_NOW", format!("2026-05-{day}T12:00:00Z"));
        env.decklog(&["run", "--", "sh", "-c", script]);
    }
    env.set("DECKLOG_TEST_NOW", "2026-05-04T12:00:00Z");
    env
}

/// The days of the sessions that a search finds, best first.
fn days(env: &TestEnv, arguments: &[&str]) -> String {
    let hits = env.decklog(&[&["search", "--json"], arguments].concat()).expect(0).json();
    hits.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()[7..8].to_owned()).collect()
}

#[test]
fn words_phrases_names_and_what_stands_as_it_is() {
    let env = world();
    for (arguments, expected) in [
        (&["connection"][..], "31"),
        (&["connection", "reset"], "1"),
        (&["connection -reset"], "3"),
        (&["\"reset by\""], "1"),
        (&["\"by reset\""], ""),
        (&["config"], "1"),
        (&["CAFÉ strasse"], "2"),
        (&["据库"], "2"),
        (&["file:auth.rs"], "1"),
        (&["file:auth closed"], ""),
        (&["connection", "--outcome", "failed"], "3"),
        (&["connection", "--before", "2026-05-02"], "1"),
        (&["connection", "--touched", "auth.rs"], "1"),
        (&["connection", "-n", "1"], "3"),
        (&["--exact", "parseConfig()"], "1"),
        (&["--exact", "nnection"], "31"),
        (&["--exact", "NNECTION"], ""),
        (&["--exact", "\u{1b}[31m"], "2"),
        (&["--exact", "connection", "--touched", "auth.rs"], "1"),
        (&["--regex", r"re(set|d)\b"], "21"),
        (&["--regex", "(?i)CLOSED$", "-n", "1"], "3"),
    ] {
        assert_eq!(days(&env, arguments), expected, "{arguments:?}");
    }
}

#[test]
fn hits_say_where_and_show_what() {
    let env = world();
    let found = env.decklog(&["search", "reset", "peer"]).expect(0);
    insta::assert_snapshot!(found.stdout);
    let found = env.decklog(&["search", "strasse", "--color", "always"]).expect(0);
    insta::assert_snapshot!(found.stdout.replace('\u{1b}', "<ESC>"));
    let found = env.decklog(&["search", "strasse", "--json"]).expect(0);
    insta::assert_snapshot!(found.stdout);
    let nothing = env.decklog(&["search", "nothingness"]).expect(0);
    assert_eq!((nothing.stdout.as_str(), nothing.stderr.as_str()), ("", "nothing found\n"));
}

#[test]
fn what_cannot_be_searched_for_is_told() {
    let env = world();
    for (arguments, expected) in [
        (&["()"][..], "holds no word"),
        (&["--", "-x"], "holds no word"),
        (&["x file:"], "must follow"),
        (&["--regex", "a("], "unclosed group"),
        (&["--regex", "a*"], "matches nothing"),
        (&["--exact", ""], "nothing to search for"),
    ] {
        let refused = env.decklog(&[&["search"], arguments].concat()).expect(2);
        assert!(refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn the_index_may_go_be_spoiled_or_be_impossible() {
    let mut env = world();
    let index = env.home().join(".cache/decklog/index");
    let list = env.decklog(&["ls"]).expect(0).stdout;
    assert_eq!(days(&env, &["connection"]), "31");
    let files: Vec<_> = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in &files {
        std::fs::write(file, "this is no database, and is longer than a header of one hundred bytes. ".repeat(90))
            .unwrap();
    }
    assert_eq!(env.decklog(&["ls"]).expect(0).stdout, list);
    assert_eq!(days(&env, &["connection"]), "31");
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(days(&env, &["connection"]), "31");
    // Where nothing can be kept, the sessions are read.
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, "in the way").unwrap();
    let read = env.decklog(&["ls"]).expect(0);
    assert_eq!(read.stdout, list);
    assert!(read.stderr.contains("every session is read instead"), "{}", read.stderr);
    let read = env.decklog(&["search", "connection"]).expect(0);
    assert!(read.stderr.contains("every session is read instead"), "{}", read.stderr);
    assert_eq!(days(&env, &["connection"]), "31");
    assert_eq!(days(&env, &["connection -reset"]), "3");
    assert_eq!(days(&env, &["connection", "-n", "1"]), "3");
    env.set("XDG_CACHE_HOME", env.home().join("elsewhere"));
    assert_eq!(days(&env, &["connection"]), "31");
}

#[test]
fn an_index_that_is_damaged_is_made_anew_and_one_that_is_locked_is_done_without() {
    let env = world();
    let index = env.home().join(".cache/decklog/index");
    let list = env.decklog(&["ls"]).expect(0).stdout;
    assert_eq!(days(&env, &["connection"]), "31");
    let files = || -> Vec<PathBuf> {
        let files = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "sqlite")).collect()
    };
    for file in files() {
        let db = Connection::open(&file).unwrap();
        db.query_row("PRAGMA wal_checkpoint (TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(db);
        let length = file.metadata().unwrap().len();
        for page in 0..length / 4096 {
            let zeroed = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
            zeroed.write_all_at(&[0; 4096], page * 4096).unwrap();
        }
        let ran = env.decklog(&["ls"]).expect(0);
        assert_eq!((ran.stdout, ran.stderr.as_str()), (list.clone(), ""));
        let found = env.decklog(&["search", "connection"]).expect(0);
        assert_eq!(found.stderr, "");
        assert_eq!(days(&env, &["connection"]), "31");
        let check: String =
            Connection::open(&file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
    for file in files() {
        let hung = Connection::open(&file).unwrap();
        hung.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
        hung.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert_eq!(env.decklog(&["ls"]).expect(0).stdout, list);
        let found = env.decklog(&["search", "connection"]).expect(0);
        assert!(found.stderr.contains("every session is read instead"), "{}", found.stderr);
        assert_eq!(days(&env, &["connection"]), "31");
    }
}
