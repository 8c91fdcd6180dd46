//! The recorder killed at any moment: what was seen is in the record, and nothing is left running.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use decklog_journal::lock::{self, Held};
use decklog_journal::read::{Follower, Item};
use decklog_journal::words::ShownStatus;
use decklog_journal::{Event, SessionFilter, SessionStore, remove, session, verify};

use crate::env::{TestEnv, eventually, kill};

/// A small generator: the same seed, the same run of choices.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Processes whose environment or arguments name `dir`: all that was started in a test's world.
fn running_in(dir: &Path) -> Vec<String> {
    let needle = dir.as_os_str().as_encoded_bytes().to_vec();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let (environment, arguments) = (read("environ"), read("cmdline"));
            let mentions = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
            (mentions(&environment) || mentions(&arguments))
                .then(|| format!("{:?} {}", entry.file_name(), String::from_utf8_lossy(&arguments)))
        })
        .collect()
}

/// What the test saw of a run before the recorder died.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    events: Vec<Event>,
}

/// Numbered lines at uneven speed, with a child that leaves its session; ends by itself after `$1` of them.
const AGENT: &str = "setsid sleep 1000 & i=0; while [ $i -lt $1 ]; do i=$((i+1)); echo line $i; echo $i >> work; \
    [ $((i % 7)) = 0 ] && sleep 0.01; done; echo error >&2";

fn one_kill(env: &TestEnv, seed: u64) {
    let mut random = Random(seed);
    let lines = 1 + random.below(150);
    let mut command =
        env.decklog_command(&["run", "--check", "cat work", "--", "sh", "-c", AGENT, "agent", &lines.to_string()]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut decklog = command.spawn().unwrap();
    let mut seen = Seen::default();
    let stdout = BufReader::new(decklog.stdout.take().unwrap());
    // Either so long after the start, or when so many lines have come and a little later.
    let after_lines = random.below(3) > 0;
    let wanted = if after_lines { 1 + random.below(lines) } else { 0 };
    let mut printed = stdout.lines();
    for line in printed.by_ref().take(usize::try_from(wanted).unwrap()) {
        seen.lines.push(line.unwrap());
    }
    std::thread::sleep(Duration::from_micros(random.below(if after_lines { 60_000 } else { 250_000 })));
    // What a reader of the journal sees now must be there later.
    let dir = env.sessions().first().cloned();
    if let Some(dir) = &dir
        && let Ok(mut follower) = Follower::open(&dir.join(session::JOURNAL_FILE))
    {
        while let Some(item) = follower.poll().unwrap() {
            match item {
                Item::Event(event) => seen.events.push(event),
                Item::Fault(fault) => panic!("a fault in a live journal: {fault}"),
            }
        }
    }
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    // What had already been handed on when it died has been seen as well, but for half a line.
    seen.lines.extend(printed.map_while(Result::ok).filter(|line| line.starts_with("line ")));
    // A child in the middle of its exec shows no environment, and still has what its parent had open.
    let is_free = || env.sessions().iter().all(|dir| lock::held(dir) != Held::Yes);
    let is_over = || (running_in(&env.home()).is_empty() && is_free()).then_some(());
    eventually("the end of all that it had started", is_over);
    if let Some(dir) = env.sessions().first() {
        check(env, dir, &seen, seed.is_multiple_of(10));
    } else {
        assert!(seen.lines.is_empty() && seen.events.is_empty(), "the record of what was seen is gone");
    }
    assert!(env.sessions().is_empty());
}

fn check(env: &TestEnv, dir: &std::path::Path, seen: &Seen, by_the_program: bool) {
    let store = SessionStore::open(env.root());
    let listing = store.list(&SessionFilter::default()).unwrap();
    if let Some(unreadable) = listing.unreadable.first() {
        assert!(seen.lines.is_empty() && seen.events.is_empty(), "what was seen cannot be read: {}", unreadable.reason);
    } else {
        let status = listing.sessions[0].status;
        let loaded = session::load(dir).unwrap();
        let ended = loaded.head.outcome.is_some();
        assert_eq!(status, if ended { ShownStatus::Completed } else { ShownStatus::Crashed });
        assert!(loaded.faults.len() <= 1, "{:?}", loaded.faults);
        let faults = verify::verify(dir).faults;
        assert!(faults.iter().all(|fault| fault.what.starts_with("torn: ")), "{faults:?}");
        let mut events = decklog_journal::read::JournalReader::open(&dir.join(session::JOURNAL_FILE)).unwrap();
        for event in &seen.events {
            assert_eq!(events.next().unwrap().unwrap(), Item::Event(event.clone()));
        }
        let log = decklog_query::logs::find(dir, "stream");
        let mut stream = String::new();
        if let Ok(log) = log {
            std::io::Read::read_to_string(&mut decklog_query::logs::open(dir, &log).unwrap(), &mut stream).unwrap();
        }
        let kept: Vec<&str> = stream.lines().collect();
        // The last one may be half a line.
        let whole = seen.lines.len().min(kept.len().max(seen.lines.len().saturating_sub(1)));
        assert_eq!(kept.get(..whole).unwrap_or(&kept), &seen.lines[..whole], "{} lines were seen", seen.lines.len());
        if by_the_program {
            let heads = env.decklog(&["ls", "--json"]).expect(0).json();
            assert_eq!(heads[0]["status"], status.as_str());
            let shown = env.decklog(&["show", "@"]).expect(0).stdout;
            assert!(ended || shown.contains("crashed"), "{shown}");
            env.decklog(&["show", "@", "--json"]).expect(0).json();
            let verified = env.decklog(&["verify", "@"]);
            assert!(verified.code == 0 || verified.stdout.contains("torn"), "{}", verified.stdout);
        }
    }
    if by_the_program {
        let ran = env.decklog(&["discard", "-y", "@"]).expect(0);
        assert!(!ran.stderr.contains("kept"), "{}", ran.stderr);
    } else {
        assert_eq!(remove::remove(dir).unwrap().kept, Vec::<PathBuf>::new());
    }
}

#[test]
fn killed_at_any_moment() {
    let count = if std::env::var_os("DECKLOG_TEST_FULL").is_some() { 1000 } else { 50 };
    let first = match std::env::var("DECKLOG_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos()),
    };
    println!("seeds from {first}: DECKLOG_TEST_SEED={first} repeats them");
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let env = TestEnv::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let seed = first + at as u64;
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one_kill(&env, seed)));
                    assert!(result.is_ok(), "seed {seed}");
                }
            });
        }
    });
}

#[test]
fn many_at_once_are_as_many_sessions() {
    let env = TestEnv::without_repository().fixed();
    // All in the same second, all with the same four digits in mind.
    let started: Vec<_> = (0..64)
        .map(|_| env.decklog_command(&["run", "--", "true"]).stderr(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for mut decklog in started {
        assert_eq!(decklog.wait().unwrap().code(), Some(0));
    }
    let heads = env.decklog(&["ls", "--all", "--json"]).expect(0).json();
    let heads = heads.as_array().unwrap();
    assert_eq!((heads.len(), env.sessions().len()), (64, 64));
    assert!(heads.iter().all(|head| head["outcome"] == "success"));
    assert_eq!(std::fs::read_dir(env.root()).unwrap().count(), 64, "nothing else is left");
    env.decklog(&["verify", "--all"]).expect(0);
}

/// What could still become a token is held back, and nothing before it: neither prose about a key nor a beginning
/// that the next character has shown to be none.
#[test]
fn a_killed_recorder_leaves_all_but_the_unfinished_token() {
    let env = TestEnv::new();
    let begin = format!("-----BEGIN {}PRIVATE KEY-----", "RSA ");
    let before = format!(
        "{begin} is how a key begins, and prose may follow it for long: (see <here>, and there) @ all.\n\
         sk-ant- and xoxb- and eyJ are how tokens begin. Password: \n{}\n",
        "more prose, word after word. ".repeat(300)
    );
    let unfinished = format!("{}{}", "gh", "p_Zq3xVb8Lm2");
    env.write("said", format!("{before}{unfinished}"));
    let mut decklog = env.start(&["run", "--", "sh", "-c", "cat said; exec sleep 1000"]);
    let stream = || {
        let dir = env.sessions().first()?.join("turns");
        let files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
        let stream = files.into_iter().find(|path| path.to_string_lossy().contains("-stream"))?;
        std::fs::read_to_string(stream).ok()
    };
    let held = eventually("all before the token", || stream().filter(|text| text.len() >= before.len()));
    assert_eq!(held, before);
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    assert_eq!(stream().unwrap(), before);
    let shown = eventually("the session is free", || {
        let ran = env.decklog(&["show", "@"]);
        ran.stdout.contains("crashed").then_some(ran.stdout)
    });
    assert!(shown.contains("turn 1 has no end: the last bytes of its streams may be missing"), "{shown}");
}
