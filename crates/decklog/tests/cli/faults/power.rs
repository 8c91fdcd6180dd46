//! Power cuts: what had been synced when a milestone was passed is all that can be relied on.
//!
//! Which syncs there were is seen from outside, by `strace`: nothing in the program has to cooperate. A cut
//! leaves the synced part of the journal and, behind it and in the head, anything.

use std::path::Path;

use decklog_journal::verify::verify;
use decklog_journal::{remove, session, store};

use super::disk::has;
use crate::env::{TestEnv, finish};
use crate::relaying::SAYS;

/// What was done with the journal, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// So many bytes were written; whether they are a milestone.
    Write(u64, bool),
    /// What had been written was synced.
    Sync,
    /// The name of the session was synced: its own directory, and the root.
    Names(bool, bool),
    /// The agent was started.
    Agent,
}

/// Reads a trace of `strace -f -y`.
fn steps(trace: &str, session: &Path) -> Vec<Step> {
    // The first event is written before the session has its name.
    let journal = "/journal.jsonl>";
    let staging = format!("<{}/.staging/", session.parent().unwrap().display());
    let (dir, root) = (format!("<{}>", session.display()), format!("<{}>", session.parent().unwrap().display()));
    let step = |line: &str| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        if call.starts_with("write(") && call.contains(journal) {
            // The last number before the end of the call: how much was to be written, which a write to a file is.
            let end = call.rfind(") = ").or(call.rfind(" <unfinished"))?;
            let bytes = call[..end].rsplit(", ").next()?.trim().parse().ok()?;
            let milestone = ["turn_end", "checkpoint", "session_end"]
                .iter()
                .any(|kind| call.contains(&format!(r#"\"type\":\"{kind}\""#)));
            return Some(Step::Write(bytes, milestone));
        }
        match call {
            _ if call.starts_with("fdatasync(") && call.contains(journal) => Some(Step::Sync),
            _ if call.starts_with("fsync(") && (call.contains(&dir) || call.contains(&staging)) => {
                Some(Step::Names(true, false))
            }
            _ if call.starts_with("fsync(") && call.contains(&root) => Some(Step::Names(false, true)),
            _ if call.starts_with("execve(") && call.contains(r#"["sh", "-c""#) => Some(Step::Agent),
            _ => None,
        }
    };
    trace.lines().filter_map(step).collect()
}

/// What `strace` sees of these calls while decklog does this.
fn traced(env: &TestEnv, calls: &str, arguments: &[&str]) -> String {
    let trace = env.home().join("trace");
    let mut command = env.command("strace");
    command.args(["-f", "-y", "-qq", "-s", "200", "-e", &format!("trace={calls}"), "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_decklog")).args(arguments);
    finish(command).expect(0);
    std::fs::read_to_string(&trace).unwrap()
}

#[test]
fn a_power_cut_takes_nothing_that_was_passed() {
    if !has("strace") {
        return;
    }
    let env = TestEnv::new();
    let agent = "echo first; sleep 0.5; echo second; echo more >> a.txt";
    let run = ["run", "--check", "echo checked", "--", "sh", "-c", agent, "the agent"];
    let traced = traced(&env, "write,fdatasync,fsync,execve", &run);
    let dir = env.session().canonicalize().unwrap();
    let steps = steps(&traced, &dir);
    let started = steps.iter().position(|step| *step == Step::Agent).expect("the agent was started");
    for name in [Step::Names(true, false), Step::Names(false, true)] {
        assert!(steps[..started].contains(&name), "the session can be found before the agent works: {steps:?}");
    }

    // What the end of the turn names is there before it is told.
    let before = traced.split_inclusive('\n').take_while(|line| !line.contains(r#"\"type\":\"turn_end\""#));
    let synced: String = before.filter(|line| line.contains("sync(")).collect();
    let named =
        ["-prompt.md", "-stream.jsonl", "-output.md", ".patch"].map(|file| dir.join(format!("turns/001{file}")));
    let objects = std::fs::read_dir(dir.join("objects")).unwrap().map(|fan| fan.unwrap().path());
    let objects: Vec<_> = objects
        .filter(|fan| fan.file_name().unwrap().len() == 2)
        .flat_map(|fan| std::fs::read_dir(fan).unwrap().map(|object| object.unwrap().path()))
        .collect();
    assert!(!objects.is_empty());
    for path in named.iter().chain(&objects).chain([&dir.join("turns"), &dir.join("objects")]) {
        assert!(synced.contains(&format!("<{}>", path.display())), "{} is synced: {synced}", path.display());
    }

    let whole = std::fs::read(dir.join("journal.jsonl")).unwrap();
    let (mut written, mut milestones) = (0, Vec::new());
    let of_journal: Vec<Step> = steps.into_iter().filter(|step| matches!(step, Step::Write(..) | Step::Sync)).collect();
    for (at, step) in of_journal.iter().enumerate() {
        let Step::Write(bytes, milestone) = step else { continue };
        written += usize::try_from(*bytes).unwrap();
        if *milestone {
            assert_eq!(
                of_journal.get(at + 1),
                Some(&Step::Sync),
                "a milestone is passed when it is synced: {of_journal:?}"
            );
            milestones.push(written);
        }
    }
    assert_eq!((written, milestones.len()), (whole.len(), 2), "each event is one write");
    assert_eq!(milestones.last(), Some(&whole.len()), "the end is a milestone");

    let head = std::fs::read(dir.join("session.json")).unwrap();
    for synced in milestones {
        let events = whole[..synced].iter().filter(|byte| **byte == b'\n').count() as u64;
        let later = whole.len() - synced;
        let tails = [
            Vec::new(),
            vec![0; later],
            vec![0; 4096],
            whole[synced..synced + later / 2].to_vec(),
            whole[synced..].iter().map(|byte| byte ^ 0x55).collect(),
        ];
        for tail in tails {
            for old_head in [None, Some(&b""[..]), Some(&[0; 700][..]), Some(&head[..head.len() / 2]), Some(&head[..])]
            {
                std::fs::write(dir.join("journal.jsonl"), [&whole[..synced], &tail].concat()).unwrap();
                let _ = std::fs::remove_file(dir.join("session.json"));
                if let Some(old_head) = old_head {
                    std::fs::write(dir.join("session.json"), old_head).unwrap();
                }
                let loaded = session::load(&dir).unwrap();
                assert!(loaded.head.events >= events, "{} of {events} events are left", loaded.head.events);
                assert!(loaded.turns[0].outcome.is_some(), "the turn had ended");
                assert_eq!(store::current_head(&dir).unwrap(), loaded.head);
                let faults = verify(&dir).faults;
                let expected = |place: &str| place == "session.json" || place.starts_with("journal.jsonl line");
                assert!(faults.iter().all(|fault| expected(&fault.place)), "{faults:?}");
            }
        }
    }
    assert!(remove::remove(&dir).unwrap().kept.is_empty());
}

#[test]
fn with_each_event_the_text_is_there_before_its_line() {
    if !has("strace") {
        return;
    }
    let says = r#"cat <<'END'
{"type":"system","subtype":"init","session_id":"s-1","model":"m"}
{"type":"assistant","message":{"id":"1","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"seq"}}]}}
END
printf '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"%s"}]}}\n' "$(seq -s, 20000)"
"#;
    let env = crate::relaying::world(&[("ada", "claude-stream", &format!("{says}{SAYS}"))]);
    let config = env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("durability = \"event\"\n{text}")).unwrap();
    let traced = traced(&env, "write,fdatasync,fsync", &["run", "ada", "Count."]);
    let turns = env.session().canonicalize().unwrap().join("turns");
    let mut files = std::fs::read_dir(&turns).unwrap().map(|entry| entry.unwrap().path());
    let long = files.find(|path| path.extension().is_some_and(|ending| ending == "txt")).unwrap();
    let is_told = |line: &str| line.contains("journal.jsonl>") && line.contains(r#"\"type\":\"tool_result\""#);
    let told = traced.lines().position(is_told).unwrap();
    let synced = |path: &Path| {
        traced.lines().position(|line| line.contains("sync(") && line.contains(&format!("<{}>", path.display())))
    };
    assert!(synced(&long).unwrap() < told && synced(&turns).unwrap() < told);
}

#[test]
fn of_many_files_the_whole_disk_is_waited_for_at_once() {
    if !has("strace") {
        return;
    }
    let env = TestEnv::new();
    let run = ["run", "--", "sh", "-c", "for i in $(seq 100); do echo $i >f$i; done"];
    let traced = traced(&env, "write,syncfs", &run);
    let place = |what: &dyn Fn(&str) -> bool| traced.lines().position(what);
    let dir = format!("<{}>", env.session().canonicalize().unwrap().display());
    let synced = place(&|line| line.contains("syncfs(") && line.contains(&dir));
    let told = place(&|line| line.contains("journal.jsonl>") && line.contains(r#"\"type\":\"turn_end\""#));
    assert!(synced.is_some() && synced < told, "{synced:?}, {told:?}");
}

#[test]
fn what_is_long_is_on_its_way_to_the_disk_while_it_comes_and_is_waited_for_once() {
    if !has("strace") {
        return;
    }
    let env = TestEnv::new();
    let run = ["run", "--", "sh", "-c", "yes 'a line' | head -c 20000000"];
    let traced = traced(&env, "fadvise64,fdatasync", &run);
    let stream = "/turns/001-stream.jsonl>";
    let of_stream = |call: &str| traced.lines().filter(|line| line.contains(call) && line.contains(stream)).count();
    assert_eq!((of_stream("fadvise64("), of_stream("fdatasync(")), (2, 1), "{traced}");
    let waited = traced.lines().position(|line| line.contains("fdatasync(") && line.contains(stream));
    let begun = traced.lines().position(|line| line.contains("fadvise64("));
    assert!(begun < waited, "{traced}");
}
