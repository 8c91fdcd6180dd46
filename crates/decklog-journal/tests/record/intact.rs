//! What another process does to the files of a session while they are being written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::EventBody;
use decklog_journal::head::RECORDING_FAILED;
use decklog_journal::lock::{Held, held};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::verify::{find_artifact, verify};
use decklog_journal::{SessionWriter, WriteError};

use crate::states::{session_end, turn_end};
use crate::world::{World, journal, lines, message, turn_start};

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
}

fn failures(writer: &SessionWriter) -> u32 {
    writer.head().unwrap().recording_failures.unwrap_or_default()
}

/// Appends until the writer reports what happened to the journal, and once more, so that the record can say it.
fn append_until_reported(writer: &mut SessionWriter) -> WriteError {
    let reported = (0..4).find_map(|n| writer.append(message(1, &format!("after {n}"))).err());
    // Removing a name without removing the file is noticed at the next milestone.
    let reported = reported.or_else(|| writer.append(turn_end(1)).err());
    writer.append(turn_start(2)).unwrap();
    reported.expect("the writer reports it")
}

/// What is done at a path, by name.
type Named = (&'static str, fn(&Path));

/// Each way of damaging a journal that is being written.
const DAMAGES: [Named; 8] = [
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("truncated to nothing", |path| File::options().write(true).open(path).unwrap().set_len(0).unwrap()),
    ("truncated within a line", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    }),
    ("rewritten in place", |path| fs::write(path, "mine\n").unwrap()),
    ("extended", |path| File::options().append(true).open(path).unwrap().write_all(b"{\"seq\":9}\n").unwrap()),
    ("moved away", |path| fs::rename(path, path.with_extension("away")).unwrap()),
    ("replaced by a copy", |path| {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }),
    ("replaced by a fifo", |path| {
        fs::remove_file(path).unwrap();
        fifo(path);
    }),
];

#[test]
fn a_damaged_journal_is_restored_and_the_damage_reported() {
    for (name, damage) in DAMAGES {
        let world = World::new();
        let mut writer = world.create(1);
        writer.append(turn_start(1)).unwrap();
        writer.append(message(1, "before")).unwrap();
        let dir = writer.dir().to_owned();
        let before = journal(&dir);
        damage(&dir.join(JOURNAL_FILE));
        let error = append_until_reported(&mut writer).to_string();
        assert!(error.contains(JOURNAL_FILE) && error.contains("another process"), "{name}: {error}");
        assert!(failures(&writer) >= 1, "{name}: the record says it");
        drop(writer);
        assert!(journal(&dir).starts_with(&before), "{name}: nothing of it is lost");
        let report = verify(&dir);
        let faults: Vec<_> = report.faults.iter().filter(|fault| fault.place.starts_with(JOURNAL_FILE)).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

#[test]
fn of_a_long_journal_what_is_in_memory_survives() {
    let world = World::new();
    let mut writer = world.create(1);
    writer.append(turn_start(1)).unwrap();
    let text = "x".repeat(60_000);
    for _ in 0..60 {
        writer.append(message(1, &text)).unwrap();
    }
    let dir = writer.dir().to_owned();
    let before = journal(&dir);
    fs::write(dir.join(JOURNAL_FILE), "").unwrap();
    let error = writer.append(message(1, "after")).unwrap_err().to_string();
    assert!(error.contains("are lost"), "{error}");
    writer.append(message(1, "more")).unwrap();
    drop(writer);
    let after = journal(&dir);
    let (before, after) = (lines(&before), lines(&after));
    assert_eq!(before[0], after[0], "the session can still be read");
    assert!(after.len() > 10 && before.ends_with(&after[1..after.len() - 3]), "the last lines are the same");
    assert!(!verify(&dir).is_clean(), "what is lost is a fault");
}

#[test]
fn a_resumed_session_is_guarded_as_well() {
    let world = World::new();
    let (id, dir) = world.crashed(1, &["one"]);
    let mut writer = world.store.resume(&id, crate::world::options(), None, "0.1.0").unwrap();
    let before = journal(&dir);
    fs::remove_file(dir.join(JOURNAL_FILE)).unwrap();
    assert!(writer.append(turn_start(2)).is_err());
    drop(writer);
    assert!(journal(&dir).starts_with(&before));
}

#[test]
fn a_lock_that_is_removed_is_held_again() {
    for replaced in [false, true] {
        let world = World::new();
        let mut writer = world.create(1);
        let dir = writer.dir().to_owned();
        fs::remove_file(dir.join("lock")).unwrap();
        if replaced {
            fs::write(dir.join("lock"), "").unwrap();
        }
        assert!(writer.append(turn_start(1)).is_err(), "it is reported");
        assert_eq!(held(&dir), Held::Yes);
        assert!(matches!(
            decklog_journal::remove::remove(&dir),
            Err(decklog_journal::remove::RemoveError::Lock { .. })
        ));
        writer.append(message(1, "more")).unwrap();
        assert_eq!(failures(&writer), 1);
    }
}

/// What an agent can put in the place of an artifact before it is created.
#[test]
fn what_is_in_the_way_of_an_artifact_is_set_aside() {
    let kinds: [Named; 5] = [
        ("file", |path| fs::write(path, "mine").unwrap()),
        ("link", |path| symlink("/etc/hostname", path).unwrap()),
        ("dangling link", |path| symlink("/nowhere/at/all", path).unwrap()),
        ("fifo", fifo),
        ("directory", |path| fs::create_dir(path).unwrap()),
    ];
    for (name, make) in kinds {
        let world = World::new();
        let writer = world.create(1);
        let path = TurnFile::Prompt.path(1);
        let full = writer.dir().join(&path);
        fs::create_dir(full.parent().unwrap()).unwrap();
        make(&full);
        writer.write_artifact(&path, b"prompt").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read(&full).unwrap(), b"prompt", "{name}");
        let aside = full.with_file_name("001-prompt.md.orphan");
        assert!(aside.symlink_metadata().is_ok(), "{name}: it is kept");
        let whole = writer.write_whole_artifact("resume/001-codex.md", b"packet").unwrap();
        assert_eq!(fs::read(writer.dir().join(whole.path)).unwrap(), b"packet");
    }
}

#[test]
fn what_takes_the_place_of_an_open_artifact_is_set_aside() {
    let kinds: [Named; 4] = [
        ("nothing", |_| {}),
        ("file", |path| fs::write(path, "mine").unwrap()),
        ("link", |path| symlink("/etc/hostname", path).unwrap()),
        ("fifo", fifo),
    ];
    for (name, make) in kinds {
        let world = World::new();
        let writer = world.create(1);
        let path = TurnFile::Stream.path(1);
        let mut stream = writer.artifact(&path).unwrap();
        stream.write(b"first\n").unwrap();
        fs::remove_file(writer.dir().join(&path)).unwrap();
        make(&writer.dir().join(&path));
        stream.write(b"second\n").unwrap();
        let named = stream.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read(writer.dir().join(&path)).unwrap(), b"first\nsecond\n", "{name}");
        assert_eq!(named.bytes, 13);
    }
}

#[test]
fn no_directory_of_a_session_is_a_link() {
    let world = World::new();
    let mut writer = world.create(1);
    let outside = world.beside("outside");
    fs::create_dir(&outside).unwrap();
    for sub in ["turns", "resume", "logs"] {
        symlink(&outside, writer.dir().join(sub)).unwrap();
    }
    let long = "x".repeat(100_000);
    assert!(writer.append(turn_start(1)).is_ok());
    assert!(writer.append(message(1, &long)).is_err());
    for path in ["turns/001-prompt.md", "resume/001-codex.md", "logs/network.jsonl"] {
        assert!(writer.write_artifact(path, b"secret").is_err());
        assert!(writer.write_whole_artifact(path, b"secret").is_err());
        assert!(writer.log_file(path).is_err());
        assert!(writer.exact_artifact(path).is_err());
        fs::write(outside.join(path.rsplit('/').next().unwrap()), "theirs").unwrap();
        assert!(find_artifact(writer.dir(), path).is_err());
    }
    let names = fs::read_dir(&outside).unwrap().count();
    assert_eq!(names, 3, "nothing was written there");
}

/// Paths as an event could name them.
#[test]
fn an_artifact_is_inside_and_a_regular_file() {
    let world = World::new();
    let writer = world.create(1);
    let dir = writer.dir();
    fs::create_dir(dir.join("turns")).unwrap();
    fifo(&dir.join("turns/001-output.md"));
    symlink("/etc/hostname", dir.join("turns/001-stderr.log")).unwrap();
    for path in
        ["turns/001-output.md", "turns/001-stderr.log", "turns", "../lock", "/etc/hostname", "turns/../lock", "", "."]
    {
        assert!(find_artifact(dir, path).is_err(), "{path}");
    }
    assert!(find_artifact(dir, "lock").is_ok());
}

#[test]
fn what_a_killed_recorder_did_not_reach_is_set_aside() {
    let world = World::new();
    let mut writer = world.create(1);
    writer.append(turn_start(1)).unwrap();
    let next = writer.head().unwrap().events;
    writer.write_artifact(&TurnFile::Stream.path(1), b"of the turn that was cut off").unwrap();
    for path in [
        TurnFile::Prompt.path(2),
        TurnFile::Patch.path(2),
        format!("turns/001-text-{next}.txt"),
        "turns/001-stream.jsonl.zst.part".to_owned(),
        "turns/notes.txt".to_owned(),
    ] {
        fs::write(writer.dir().join(path), "old").unwrap();
    }
    let (id, dir) = (writer.id().clone(), writer.dir().to_owned());
    drop(writer);
    for round in 1..=2 {
        let mut writer = world.store.resume(&id, crate::world::options(), None, "0.1.0").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.join("turns")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let kept = format!("001-text-{next}.txt.orphan");
        let expected = ["001-stream.jsonl", &kept, "002-prompt.md.orphan", "002.patch.orphan", "notes.txt"];
        assert_eq!(names, expected, "round {round}");
        if round == 2 {
            writer.write_artifact(&TurnFile::Prompt.path(2), b"new").unwrap();
            let mut start = turn_start(2);
            start.prompt_artifact =
                Some(decklog_journal::event::ArtifactRef { path: TurnFile::Prompt.path(2), bytes: 3 });
            writer.append(start).unwrap();
        }
    }
    let report = verify(&dir);
    assert!(report.is_clean(), "{report:?}");
    let aside = report.remarks.iter().filter(|remark| remark.place.ends_with(".orphan")).count();
    assert_eq!(aside, 3, "{report:?}");
    decklog_journal::remove::remove(&dir).unwrap();
    assert!(dir.join("turns/notes.txt").exists() && !dir.join("turns/002-prompt.md.orphan").exists());
}

#[test]
fn a_prompt_that_no_event_names_is_a_fault() {
    let world = World::new();
    let mut writer = world.create(1);
    writer.write_artifact(&TurnFile::Prompt.path(1), b"of another try").unwrap();
    writer.append(turn_start(1)).unwrap();
    let dir = writer.dir().to_owned();
    drop(writer);
    let report = verify(&dir);
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert_eq!(report.faults[0].place, TurnFile::Prompt.path(1));
}

#[test]
fn times_of_a_session_never_run_back() {
    let world = World::new();
    let (id, _) = world.crashed(1, &["one"]);
    let mut earlier = crate::world::options();
    earlier.clock = decklog_journal::time::Clock::fixed("2020-01-01T00:00:00Z".parse().unwrap());
    let mut writer = world.store.resume(&id, earlier, None, "0.1.0").unwrap();
    let first = writer.head().unwrap().started_at;
    let event = writer.append(turn_start(2)).unwrap();
    assert!(event.timestamp > first, "{event:?}");
    writer.append(turn_end(2)).unwrap();
    writer.append(session_end()).unwrap();
    let head = writer.head().unwrap();
    assert!(head.ended_at.unwrap() >= first && head.duration_secs.unwrap() >= 0.0);
    assert!(matches!(event.body, EventBody::TurnStart(_)));
    assert_eq!(RECORDING_FAILED, "recording_failed");
}

/// Sources that open files by other means than `files::open_in`, and what they open.
const OTHER_OPENS: [(&str, &str); 12] = [
    ("decklog-journal/src/files.rs", "the one place"),
    ("decklog-journal/src/beside.rs", "the session directory itself, to wait for its file system"),
    ("decklog-journal/src/remove.rs", "directories, relative to open ones, through no link"),
    ("decklog-journal/src/portable/unpack.rs", "the session root, to wait for its file system"),
    ("decklog-journal/src/store/make.rs", "the session root, to wait for its file system"),
    ("decklog-query/src/index/db.rs", "the index, in the cache directory"),
    ("decklog-query/src/restore.rs", "the directory in which a tree is written, beside where it goes"),
    ("decklog-run/src/import/sqlite.rs", "a copy of another tool's database, in a temporary directory"),
    ("decklog-run/src/orchestrate/race/place.rs", "the directory of a race's worktrees"),
    ("decklog-run/src/sandbox/inside.rs", "files of the user's that an agent in a container is given"),
    ("decklog-run/src/sandbox/mod.rs", "a scratch directory"),
    ("decklog-run/src/supervise", "`/proc` and `/dev/null`"),
];

#[test]
fn files_of_a_session_are_opened_in_one_place() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let opens = regex::Regex::new(
        r"\bFile::(open|create|options)\b|OpenOptions::new|\bfs::(write|copy|read|read_to_string)\(|fs::(open|openat)\(",
    )
    .unwrap();
    let mut found = Vec::new();
    let mut dirs: Vec<_> = ["journal", "query", "run", "web"].map(|name| format!("decklog-{name}/src")).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(crates.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if path.ends_with(".rs") && !OTHER_OPENS.iter().any(|(known, _)| path.starts_with(known)) {
                let text = fs::read_to_string(entry.path()).unwrap();
                let program = text.split("#[cfg(test)]").next().unwrap_or_default();
                let lines = program.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.extend(lines.filter(|line| opens.is_match(line)).map(|line| format!("{path}: {}", line.trim())));
            }
        }
    }
    assert!(found.is_empty(), "files of a session directory are opened by `files::open_in`: {found:#?}");
}
