//! Whatever is done to a history: importing it ends, and what it makes is a sound session.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use decklog_journal::SessionStore;
use decklog_journal::redact::Redactor;
use decklog_journal::verify::verify;
use decklog_run::import::{Importer, Outcome, Progress, Report, Root, Tool, find};

struct Quiet;

impl Progress for Quiet {
    fn progress(&self, _: usize, _: usize, _: u64) {}
}

fn import(store: &SessionStore, root: &Root, redactor: &Redactor) -> Report {
    let stop = AtomicBool::new(false);
    let importer = Importer { store, redactor, version: "0", dry_run: false, stop: &stop };
    importer.import(find(std::slice::from_ref(root)), &Quiet).unwrap()
}

/// Small whole histories: where each stands below its root, and its lines.
const HISTORIES: [(Tool, &str, &[&str]); 4] = [
    (
        Tool::Claude,
        "-w/aaaaaaaa-0000-4000-8000-000000000001.jsonl",
        &[
            r#"{"type":"user","uuid":"1","parentUuid":null,"sessionId":"aaaaaaaa-0000-4000-8000-000000000001","timestamp":"2026-05-01T10:00:00Z","cwd":"/w","message":{"content":"go"}}"#,
            r#"{"type":"assistant","uuid":"2","sessionId":"aaaaaaaa-0000-4000-8000-000000000001","timestamp":"2026-05-01T10:00:01Z","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":2},"content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t","name":"Edit","input":{"file_path":"/w/a"}}]}}"#,
            r#"{"type":"user","uuid":"3","timestamp":"2026-05-01T10:00:02Z","message":{"content":[{"type":"tool_result","tool_use_id":"t","content":"ok"}]},"toolUseResult":{"filePath":"/w/a","structuredPatch":[{"oldStart":1,"oldLines":1,"newStart":1,"newLines":1,"lines":["-a","+b"]}]}}"#,
            r#"{"type":"user","uuid":"4","message":{"content":"[Request interrupted by user]"}}"#,
            r#"{"type":"cost-state","totalCostUSD":0.5}"#,
        ],
    ),
    (
        Tool::Codex,
        "rollout-2026-05-01T10-00-00-01a1febb-86bc-7aa0-95ef-ac79db1f682b.jsonl",
        &[
            r#"{"type":"session_meta","timestamp":"2026-05-01T10:00:00Z","payload":{"id":"x","cwd":"/w","git":{"branch":"main"}}}"#,
            r#"{"type":"event_msg","payload":{"type":"user_message","message":"go"}}"#,
            r#"{"type":"response_item","payload":{"type":"function_call","name":"shell","call_id":"c","arguments":"{\"command\":[\"ls\"]}"}}"#,
            r#"{"type":"response_item","payload":{"type":"function_call_output","call_id":"c","output":"Exit code: 1"}}"#,
            r#"{"type":"event_msg","payload":{"type":"patch_apply_end","call_id":"p","success":true,"changes":{"/w/a":{"type":"update","unified_diff":"@@ -1 +1 @@\n-a\n+b\n"}}}}"#,
            r#"{"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":9,"output_tokens":2}}}}"#,
        ],
    ),
    (
        Tool::Gemini,
        "p/chats/session-x.jsonl",
        &[
            r#"{"sessionId":"g","projectHash":"h","startTime":"2026-05-01T10:00:00Z"}"#,
            r#"{"id":"1","timestamp":"2026-05-01T10:00:00Z","type":"user","content":[{"text":"go"}]}"#,
            r#"{"id":"2","type":"gemini","content":"x","model":"g","tokens":{"input":1,"output":2},"toolCalls":[{"id":"t","name":"write_file","args":{"a":1},"status":"success","resultDisplay":{"filePath":"/w/a","isNewFile":true,"newContent":"n"}}]}"#,
            r#"{"$rewindTo":"2"}"#,
        ],
    ),
    (
        Tool::Codeloops,
        "2026-05-01T10-00-00Z_a.jsonl",
        &[
            r#"{"type":"session_start","timestamp":"2026-05-01T10:00:00Z","prompt":"p","working_dir":"/w","actor_agent":"a","critic_agent":"b","actor_model":null,"critic_model":null,"max_iterations":2}"#,
            r#"{"type":"iteration","iteration_number":1,"actor_output":"o","actor_stderr":"e","actor_exit_code":1,"actor_duration_secs":2.5,"git_diff":"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n","git_files_changed":1,"critic_decision":"DONE (confidence: 95%)","feedback":null,"timestamp":"2026-05-01T10:01:00Z"}"#,
            r#"{"type":"session_end","outcome":"user_interrupted","iterations":1,"summary":null,"confidence":0.5,"duration_secs":3,"timestamp":"2026-05-01T10:01:01Z"}"#,
        ],
    ),
];

/// Numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// Lines dropped, doubled, swapped, bytes changed, the end cut off.
fn hurt(lines: &[&str], numbers: &mut Numbers) -> Vec<u8> {
    const ODD: [&str; 10] = [
        "null",
        "-1",
        "1e400",
        "18446744073709551615",
        "\"\"",
        "[]",
        "{}",
        "true",
        "\"\\u0000\\ud83d\"",
        "\"../../x\"",
    ];
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    for _ in 0..=numbers.below(4) {
        let (at, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
        match numbers.below(6) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            // A value of another sort.
            3 | 4 => {
                let places: Vec<usize> = lines[at].match_indices(':').map(|(place, _)| place + 1).collect();
                if let Some(place) = places.get(numbers.below(places.len())) {
                    let rest = &lines[at][*place..];
                    let end = place + rest.find([',', '}']).unwrap_or(rest.len());
                    lines[at].replace_range(*place..end, ODD[numbers.below(ODD.len())]);
                }
            }
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                let place = numbers.below(bytes.len());
                bytes[place] = b"{}[]\",:0x\\ "[numbers.below(11)];
                lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    if numbers.below(4) == 0 {
        bytes.truncate(numbers.below(bytes.len()));
    }
    bytes
}

#[test]
fn a_history_that_was_hurt_becomes_a_sound_session_or_none() {
    let redactor = Redactor::builder().build();
    for (which, (tool, path, lines)) in HISTORIES.into_iter().enumerate() {
        let mut made = 0;
        for round in 0..150 {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("source").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let bytes = hurt(lines, &mut Numbers(round * 7 + which as u64));
            std::fs::write(&file, &bytes).unwrap();
            let root = Root { tool, path: dir.path().join("source") };
            let store = SessionStore::open(dir.path().join("sessions"));
            let report = import(&store, &root, &redactor);
            let story = || format!("{tool} round {round}: {}\n{report:#?}", String::from_utf8_lossy(&bytes));
            sound(&store, &story);
            made += report.count(Outcome::Imported);
            // A second time adds nothing, and the source is as it was.
            let again = import(&store, &root, &redactor);
            assert_eq!(again.count(Outcome::Imported) + again.count(Outcome::Updated), 0, "{}", story());
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
        }
        assert!(made > 75, "{tool}: {made}");
    }
}

#[test]
fn a_field_that_fits_no_line_stops_nothing() {
    // Escaped in JSON it is longer still.
    let long = "\\u0001".repeat(64 << 10);
    let redactor = Redactor::builder().build();
    let fields = [
        (Tool::Claude, "/w\"", "cwd"),
        (Tool::Claude, "aaaaaaaa-0000-4000-8000-000000000001\"", "session id"),
        (Tool::Codex, "/w\"", "cwd"),
        (Tool::Codex, "main\"", "branch"),
        (Tool::Gemini, "g\"", "session id"),
        (Tool::Codeloops, "/w\"", "directory"),
        (Tool::Codeloops, "null,\"timestamp\":\"2026-05-01T10:01:00Z", "feedback"),
    ];
    for (tool, value, field) in fields {
        let (_, path, lines) = *HISTORIES.iter().find(|history| history.0 == tool).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let put = |path: &str, text: &str| {
            let file = source.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let text = lines.join("\n");
        let huge = match value.strip_prefix("null") {
            Some(rest) => text.replacen(value, &format!("\"{long}\"{rest}"), 1).replacen("DONE", "CONTINUE", 1),
            None => text.replace(&format!("\"{value}"), &format!("\"{long}{value}")),
        };
        assert!(huge.len() > long.len(), "{tool} {field}");
        put(path, &huge);
        // What comes after it.
        let (neighbour, _, lines) = HISTORIES[3];
        put("loops/2026-05-01T12-00-00Z_b.jsonl", &lines.join("\n").replace("T10:0", "T12:0"));
        let roots = [Root { tool, path: source.clone() }, Root { tool: neighbour, path: source.join("loops") }];
        let store = SessionStore::open(dir.path().join("sessions"));
        let stop = AtomicBool::new(false);
        let importer = Importer { store: &store, redactor: &redactor, version: "0", dry_run: false, stop: &stop };
        let report = importer.import(find(&roots), &Quiet).unwrap();
        let story = || {
            format!(
                "{tool} {field}: {:?}",
                report.sources.iter().map(|one| (one.tool, one.outcome, &one.reason)).collect::<Vec<_>>()
            )
        };
        assert_eq!((report.sources.len(), report.count(Outcome::Imported)), (2, 2), "{}", story());
        sound(&store, &story);
        let again = importer.import(find(&roots), &Quiet).unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 2, "{}", story());
    }
}

/// Every session is whole, and nothing else lies in the root.
fn sound(store: &SessionStore, story: &dyn Fn() -> String) {
    let ids = store.ids().unwrap();
    for id in &ids {
        let report = verify(&store.entry(id));
        assert!(report.is_clean(), "{report:?}\n{}", story());
        assert!(store.load(id).unwrap().faults.is_empty(), "{}", story());
    }
    let entries = entries(store.root());
    assert_eq!(entries, ids.len(), "{}", story());
}

fn entries(root: &Path) -> usize {
    std::fs::read_dir(root).map_or(0, Iterator::count)
}

/// A history whose texts are cut in the middle of an emoji is imported as if they held the replacement character.
#[test]
fn half_of_a_character_costs_no_line() {
    let redactor = Redactor::none();
    for (tool, path, lines) in HISTORIES {
        let texts: &[&str] = if tool == Tool::Codeloops { &["o", "p"] } else { &["go", "x"] };
        let imported = |cut: &[u8]| {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("from").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            for line in lines {
                let mut line = (*line).to_owned();
                for text in texts {
                    line = line.replace(&format!(":\"{text}\""), &format!(":\"CUT{text}\""));
                }
                let parts: Vec<&[u8]> = line.split("CUT").map(str::as_bytes).collect();
                bytes.extend(parts.join(cut));
                bytes.push(b'\n');
            }
            std::fs::write(&file, bytes).unwrap();
            let store = SessionStore::open(dir.path().join("sessions"));
            let report = import(&store, &Root { tool, path: dir.path().join("from") }, &redactor);
            assert_eq!(report.count(Outcome::Imported), 1, "{report:?}");
            assert_eq!(report.sources[0].unread.count, 0, "{report:?}");
            let session = store.entry(report.sources[0].session.as_ref().unwrap());
            let journal = std::fs::read_to_string(session.join("journal.jsonl")).unwrap();
            // Sizes and sums differ.
            let keys = ["type", "prompt", "text", "tokens", "input", "actor_output"];
            let events = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            events.map(|event| keys.map(|key| event.get(key).cloned().unwrap_or_default())).collect::<Vec<_>>()
        };
        let expected = imported("\u{fffd}".as_bytes());
        assert!(format!("{expected:?}").contains('\u{fffd}'), "{tool:?}: {expected:?}");
        for cut in [&b"\\ud83d"[..], b"\\uDE00", b"\xff"] {
            assert_eq!(imported(cut), expected, "{tool:?} {}", String::from_utf8_lossy(cut));
        }
    }
}
