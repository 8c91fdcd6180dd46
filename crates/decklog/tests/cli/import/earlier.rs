//! The records of the three earlier tools.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{counts, import, put, show, state};
use crate::env::TestEnv;

/// A loop's lines; `spelling` gives the words for done and for interrupted.
fn codeloops(done: &str, outcome: &str) -> String {
    let diff = "diff --git a/a.txt b/a.txt\nindex 1..2 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1,2 @@\n one\n+two\n";
    let lines = [
        json!({ "type": "session_start", "timestamp": "2026-05-01T10:00:00Z", "prompt": "Add a line", "working_dir": "/home/me/app",
            "actor_agent": "Claude Code", "critic_agent": "OpenCode", "actor_model": "sonnet", "critic_model": null, "max_iterations": 5 }),
        json!({ "type": "iteration", "iteration_number": 1, "actor_output": "tried", "actor_stderr": "", "actor_exit_code": 0,
            "actor_duration_secs": 12.5, "git_diff": "", "git_files_changed": 0, "critic_decision": "CONTINUE (2 issues)",
            "feedback": "add it", "timestamp": "2026-05-01T10:00:30Z" }),
        json!({ "type": "iteration", "iteration_number": 2, "actor_output": "added", "actor_stderr": "warning", "actor_exit_code": 0,
            "actor_duration_secs": 10.0, "git_diff": diff, "git_files_changed": 1, "critic_decision": done, "feedback": null,
            "timestamp": "2026-05-01T10:01:00Z" }),
        json!({ "type": "session_end", "outcome": outcome, "iterations": 2, "summary": "Done.", "confidence": null,
            "duration_secs": 61.0, "timestamp": "2026-05-01T10:01:01Z" }),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What of a session does not differ from run to run.
fn stable(mut shown: Value) -> Value {
    let session = shown["session"].as_object_mut().unwrap();
    for key in ["id", "session_dir", "sum", "journal_bytes", "path", "decklog_version"] {
        session.remove(key);
    }
    session["source"].as_object_mut().unwrap().retain(|key, _| key == "tool" || key == "id");
    shown
}

#[test]
fn loops_of_codeloops_in_both_spellings() {
    let env = TestEnv::new();
    let dir = ".local/share/codeloops/sessions";
    put(&env, &format!("{dir}/2026-05-01T10-00-00Z_a3f2c1.jsonl"), codeloops("DONE (confidence: 95%)", "success"));
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let shown = show(&env);
    insta::assert_json_snapshot!(stable(shown));
    assert!(env.decklog(&["diff", "@"]).expect(0).stdout.ends_with(" one\n+two\n"));

    let other = codeloops("DONE", "user_interrupted").replace("10:0", "11:0");
    put(&env, &format!("{dir}/2026-05-01T11-00-00Z_a3f2c1.jsonl"), other);
    // Cut off: no end, half a line.
    let cut = codeloops("DONE", "success").replace("10:0", "12:0");
    put(&env, &format!("{dir}/2026-05-01T12-00-00Z_a3f2c1.jsonl"), &cut[..cut.find("\"iteration_number\":2").unwrap()]);
    assert_eq!(counts(&import(&env, &["codeloops"])), [("imported", 2), ("unchanged", 1), ("unread", 1)]);
    let heads = env.decklog(&["ls", "--json"]).expect(0).json();
    let told: Vec<_> = heads
        .as_array()
        .unwrap()
        .iter()
        .map(|head| {
            (head["outcome"].as_str().unwrap(), head["exit_code"].as_i64(), head["iterations"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(told, [("unknown", None, 1), ("interrupted", Some(130), 2), ("success", Some(0), 2)]);
    assert_eq!(env.decklog(&["ls", "--outcome", "unknown", "--json"]).expect(0).json().as_array().unwrap().len(), 1);
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains("import · unknown\n") && !shown.contains("exit"), "{shown}");
    for (format, words) in
        [("atif", "\"outcome\":\"unknown\""), ("markdown", "- outcome: `unknown`"), ("otlp", "unknown")]
    {
        let exported = env.decklog(&["export", "@", "--format", format]).expect(0).stdout;
        let exported =
            if format == "atif" { serde_json::from_str::<Value>(&exported).unwrap().to_string() } else { exported };
        assert!(exported.contains(words), "{format}: {exported}");
        assert!(
            !exported.contains("error.type") && !exported.contains("decklog.session.exit_code"),
            "{format}: {exported}"
        );
    }
    // What the critic said at the end is nothing for a collector.
    let trace = env.decklog(&["export", "@2", "--format", "otlp"]).expect(0).stdout;
    let root = &serde_json::from_str::<Value>(&trace).unwrap()["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(root["status"]["message"], "interrupted");
    assert!(heads[1]["summary"] == "Done." && !trace.contains("Done."), "{trace}");
}

#[test]
fn the_database_of_codeloops() {
    let env = TestEnv::new();
    let path = put(&env, ".local/share/codeloops/codeloops.db", "");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, prompt TEXT NOT NULL, working_dir TEXT NOT NULL, actor_agent TEXT NOT NULL,
            critic_agent TEXT NOT NULL, actor_model TEXT, critic_model TEXT, max_iterations INTEGER, outcome TEXT,
            iteration_count INTEGER, summary TEXT, confidence REAL, duration_secs REAL, started_at TEXT NOT NULL, ended_at TEXT);
         CREATE TABLE iterations (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, iteration_number INTEGER NOT NULL,
            phase TEXT NOT NULL DEFAULT 'actor_started', actor_output TEXT, actor_stderr TEXT, actor_exit_code INTEGER,
            actor_duration_secs REAL, git_diff TEXT, git_files_changed INTEGER, critic_decision TEXT, feedback TEXT, timestamp TEXT NOT NULL);
         INSERT INTO sessions VALUES ('u-1', 'Do it', '/home/me/app', 'Claude Code', 'Claude Code', NULL, NULL, NULL, 'success', 1, 'Well done', 0.9,
            20.0, '2026-05-01T10:00:00.123456789+00:00', '2026-05-01T10:00:20+00:00');
         INSERT INTO sessions VALUES ('u-2', 'Do that', '/home/me/app', 'Claude Code', 'Claude Code', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, '2026-05-01T11:00:00+00:00', NULL);
         INSERT INTO iterations VALUES (1, 'u-1', 1, 'critic_completed', 'did', '', 0, 9.0, '', 0, 'DONE (confidence: 90%)', NULL, '2026-05-01T10:00:10+00:00');
         INSERT INTO iterations VALUES (2, 'u-2', 1, 'actor_completed', 'half', '', 0, 1.0, NULL, NULL, NULL, NULL, '2026-05-01T11:00:10+00:00');",
    )
    .unwrap();
    drop(db);
    let before = state(&env.home().join(".local/share/codeloops"));
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 2)]);
    assert_eq!(state(&env.home().join(".local/share/codeloops")), before);
    let heads = env.decklog(&["ls", "--json"]).expect(0).json();
    assert_eq!((&heads[0]["outcome"], &heads[0]["turns"]), (&json!("unknown"), &json!(1)));
    assert_eq!(
        (&heads[1]["outcome"], &heads[1]["turns"], &heads[1]["iterations"]),
        (&json!("success"), &json!(2), &json!(1))
    );
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 2)]);
    // The second goes on.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("UPDATE iterations SET critic_decision = 'ERROR', timestamp = '2026-05-01T11:00:30+00:00' WHERE session_id = 'u-2'").unwrap();
    drop(db);
    assert_eq!(counts(&import(&env, &["--all"])), [("updated", 1), ("unchanged", 1)]);
}

#[test]
fn sessions_of_outrig() {
    let env = TestEnv::new();
    let dir = ".local/share/outrig/sessions/20260501T100000-3f2a";
    let record = json!({ "id": "20260501T100000-3f2a", "started_at": "2026-05-01T10:00:00Z", "ended_at": "2026-05-01T10:05:00Z",
        "container_name": "outrig-3f2a", "image_tag": "outrig/rust:1", "image_config_name": "rust", "agent_name": "coder",
        "working_dir": "/home/me/app", "session_dir": "/old", "exit_code": 0 });
    put(&env, &format!("{dir}/session.json"), record.to_string());
    put(&env, &format!("{dir}/logs/files.stderr"), "a server's words\n");
    put(&env, &format!("{dir}/logs/network.jsonl"), "{}\n");
    put(&env, &format!("{dir}/logs/odd name.txt"), "odd\n");
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let shown = show(&env);
    insta::assert_json_snapshot!(stable(shown));
    assert_eq!(env.decklog(&["logs", "@", "files"]).expect(0).stdout, "a server's words\n");
    // decklog's own root, given by mistake, holds nothing of outrig's.
    let own = env.root().to_str().unwrap().to_owned();
    assert_eq!(counts(&import(&env, &["outrig", &own])), []);
}

#[test]
fn sessions_of_agent_relay_in_both_layouts() {
    let env = TestEnv::new();
    let put = |path: &str, content: &str| {
        let path = env.work().join(".agent-relay/sessions").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    put(
        "s1/session.json",
        &json!({ "schema_version": 2, "kind": "session_manifest", "session_id": "s1", "repo_root": "/home/me/app",
        "objective": "Fix it", "initial_agent": "claude", "created_at": "2026-05-01T10:00:00Z" })
        .to_string(),
    );
    let event = |number: u32, kind: &str, payload: Value| {
        let event = json!({ "type": kind, "sequence": number, "timestamp": format!("2026-05-01T10:0{number}:00Z"), "payload": payload });
        put(&format!("s1/journal/{number:06}-{kind}.json"), &event.to_string());
    };
    event(1, "session.started", json!({}));
    event(3, "checkpoint.recorded", json!({ "checkpoint_id": "c-1" }));
    event(4, "handoff.prepared", json!({ "handoff_id": "h-1", "to_agent": "codex" }));
    put("s1/objects/checkpoints/c-1/summary.md", "Half of it is done.");
    put("s1/turns/1/prompt.md", "Fix it, please");
    let claude = [
        json!({ "type": "system", "subtype": "init", "session_id": "x", "model": "claude-x" }),
        json!({ "type": "assistant", "message": { "id": "m", "content": [{ "type": "tool_use", "id": "t", "name": "Bash", "input": { "command": "ls" } }] } }),
        json!({ "type": "user", "message": { "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "a.txt" }] } }),
        json!({ "type": "result", "is_error": false, "result": "ok", "usage": { "input_tokens": 3, "output_tokens": 4 }, "total_cost_usd": 0.25 }),
    ];
    put("s1/turns/1/output.jsonl", &claude.iter().map(|line| format!("{line}\n")).collect::<String>());
    put("s1/turns/1/state.json", &json!({ "agent_key": "claude", "status": "working", "metadata": { "started_at": "2026-05-01T10:02:00Z", "finished_at": "2026-05-01T10:02:30Z" } }).to_string());
    put("s1/turns/2/prompt.md", "Go on");
    put("s1/turns/2/output.txt", "All done.");
    put("s1/turns/2/state.json", &json!({ "agent_key": "codex", "status": "done", "metadata": { "started_at": "2026-05-01T10:05:00Z", "finished_at": "2026-05-01T10:05:30Z" } }).to_string());
    // As documented.
    put("s2/meta.json", &json!({ "session_id": "s2", "task": "Write it", "agents": ["gemini"], "created_at": "2026-05-01T11:00:00Z", "status": "completed" }).to_string());
    put("s2/turns/001-prompt.md", "Write it");
    put("s2/turns/001-output.md", "Written.");
    put("s2/turns/001-state.json", &json!({ "agent": "gemini", "started_at": "2026-05-01T11:00:01Z" }).to_string());

    let before = state(&env.work().join(".agent-relay"));
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("imported", 2)], "{report:#}");
    assert_eq!(state(&env.work().join(".agent-relay")), before);
    let documented = show(&env);
    assert_eq!(
        (&documented["turns"][0]["agent"], &documented["turns"][0]["steps"][0]["text"]),
        (&json!("gemini"), &json!("Written."))
    );
    env.decklog(&["verify", "@2"]).expect(0);
    insta::assert_json_snapshot!(stable(env.decklog(&["show", "--json", "@2"]).expect(0).json()));
    assert_eq!(counts(&import(&env, &[env.work().to_str().unwrap()])), [("unchanged", 2)]);
}
