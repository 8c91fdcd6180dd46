//! Agents' histories as they are written, resumed, torn and moved about: made here line by line.

use serde_json::{Value, json};

use super::{counts, import, put, show, state};
use crate::env::TestEnv;

const PROJECT: &str = ".claude/projects/-home-me-app";

/// A line of a transcript of Claude Code's.
fn line(session: &str, uuid: u32, parent: Option<u32>, kind: &str, more: Value) -> String {
    let id = |number: u32| format!("00000000-0000-4000-8000-{number:012}");
    let mut line = json!({
        "parentUuid": parent.map(id), "isSidechain": false, "type": kind, "uuid": id(uuid), "sessionId": session,
        "timestamp": format!("2026-05-01T10:00:{:02}.000Z", uuid % 60), "cwd": "/home/me/app", "gitBranch": "main",
    });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{line}\n")
}

fn said(session: &str, uuid: u32, parent: Option<u32>, text: &str) -> String {
    line(session, uuid, parent, "user", json!({ "message": { "role": "user", "content": text } }))
}

fn answered(session: &str, uuid: u32, message: &str, block: Value) -> String {
    let usage = json!({ "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 7 });
    let message =
        json!({ "id": message, "role": "assistant", "model": "claude-x", "content": [block], "usage": usage });
    line(session, uuid, Some(uuid - 1), "assistant", json!({ "message": message }))
}

fn text(session: &str, uuid: u32, message: &str, words: &str) -> String {
    answered(session, uuid, message, json!({ "type": "text", "text": words }))
}

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

#[test]
fn a_transcript_that_grows_is_read_anew_and_one_that_shrinks_is_left() {
    let env = TestEnv::new();
    let first = said(A, 1, None, "first") + &text(A, 2, "m1", "one");
    let file = put(&env, &format!("{PROJECT}/{A}.jsonl"), &first);
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let dir = env.session();
    // By size and time nothing was added: it is not read.
    let unseen = first.replace("first", "other");
    let modified = file.metadata().unwrap().modified().unwrap();
    std::fs::write(&file, unseen).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 1)]);
    assert_eq!(show(&env)["session"]["prompt"], "first");
    let hits = |words: &str| env.decklog(&["search", "--json", words]).stdout.matches("\"turn\": ").count();
    assert_eq!((hits("one"), hits("second")), (1, 0));

    // What a person laid into the session's directory stays.
    std::fs::write(dir.join("mine.txt"), "keep").unwrap();
    let second = said(A, 3, Some(2), "second") + &text(A, 4, "m2", "two");
    std::fs::write(&file, format!("{first}{second}")).unwrap();
    assert_eq!(counts(&import(&env, &["--all"])), [("updated", 1)]);
    assert_eq!(env.session(), dir);
    let shown = show(&env);
    assert_eq!(shown["turns"].as_array().unwrap().len(), 2);
    assert_eq!(shown["turns"][1]["prompt"], "second");
    assert_eq!(std::fs::read_to_string(dir.join("mine.txt")).unwrap(), "keep");
    assert_eq!((hits("one"), hits("second"), hits("two")), (1, 1, 1));
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["turns"], 2);
    assert!(env.decklog(&["show", "@"]).expect(0).stdout.contains("turn 2 · claude\n  > second\n"));
    assert!(env.decklog(&["show", "@", "--html"]).expect(0).stdout.contains("<pre class=prose>second</pre>"));
    // Its turns are made files when asked for.
    for (name, is) in [("prompt", "first"), ("002-prompt", "second"), ("002-output.md", "two"), ("001-patch", "")] {
        assert_eq!(env.decklog(&["logs", "@", name]).expect(0).stdout, is, "{name}");
    }
    assert!(env.decklog(&["logs", "@", "003-output"]).expect(2).stderr.contains("there is no log"));
    assert!(env.decklog(&["logs", "@"]).expect(0).stderr.contains("001-output"));
    assert_eq!(std::fs::read_dir(env.root()).unwrap().count(), 1, "no staging directory is left");

    let before = state(&env.root());
    std::fs::write(&file, &first).unwrap();
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("skipped", 1)]);
    assert!(report["sources"][0]["reason"].as_str().unwrap().contains("smaller"), "{report:#}");
    std::fs::remove_file(&file).unwrap();
    put(&env, &format!("{PROJECT}/{B}.jsonl"), said(B, 1, None, "other"));
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1), ("gone", 1)]);
    assert!(before.iter().all(|(path, was)| state(&env.root()).get(path) == Some(was)));
}

/// What cannot be read is a failure, what is read and no history is none.
#[test]
fn a_place_that_cannot_be_read_is_a_failure() {
    let env = TestEnv::new();
    put(&env, &format!("{PROJECT}/{A}.jsonl"), said(A, 1, None, "first") + &text(A, 2, "m1", "one"));
    put(&env, &format!("{PROJECT}/odd.jsonl"), "no JSON\n");
    put(&env, ".local/share/opencode/opencode.db", format!("SQLite format 3\0{}", "x".repeat(5000)));
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("imported", 1)]);
    assert_eq!(report["troubles"].as_array().unwrap().len(), 2, "{report:#}");
    // A link to itself, in the place of what other tools keep: a directory that no user can list.
    for place in [".codex/sessions", ".gemini/tmp", ".local/share/codeloops", ".local/share/outrig/sessions"] {
        let link = env.home().join(place);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&link, &link).unwrap();
        let said = env.decklog(&["import", "--all"]).expect(2);
        assert!(said.stderr.contains(&link.display().to_string()), "{place}: {}", said.stderr);
        assert!(said.stdout.contains("0 sessions imported, 1 unchanged"), "{}", said.stdout);
        env.decklog(&["import", "--all", "--dry-run"]).expect(2);
        std::fs::remove_file(&link).unwrap();
    }
    env.decklog(&["import", "--all"]).expect(0);
}

#[test]
fn a_resumed_conversation_is_one_session() {
    let env = TestEnv::new();
    let first = said(A, 1, None, "first") + &text(A, 2, "m1", "one");
    put(&env, &format!("{PROJECT}/{A}.jsonl"), &first);
    // An older version begins a new file with the lines of the old one, in the new session's name.
    let copied = first.replace(A, B);
    let second = said(B, 3, Some(2), "second") + &text(B, 4, "m2", "two");
    put(&env, &format!("{PROJECT}/{B}.jsonl"), format!("{copied}{second}"));
    // Another goes on in a third file, without copying.
    let c = "cccccccc-0000-4000-8000-000000000003";
    let third = said(c, 5, Some(4), "third") + &text(c, 6, "m3", "three");
    put(&env, &format!("{PROJECT}/{c}.jsonl"), third);
    // And this is another conversation.
    let d = "dddddddd-0000-4000-8000-000000000004";
    put(&env, &format!("{PROJECT}/{d}.jsonl"), said(d, 100, None, "else"));

    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 2)]);
    let sessions = env.decklog(&["ls", "--json"]).expect(0).json();
    let chain = sessions.as_array().unwrap().iter().find(|head| head["source"]["id"] == A).unwrap();
    assert_eq!(chain["turns"], 3);
    assert_eq!(chain["tokens"], json!({ "input": 45, "cached_input": 15, "output": 21, "reasoning": 0 }));
    assert_eq!(chain["source"]["parts"].as_array().unwrap().len(), 2);
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 2)]);
}

#[test]
fn one_answer_in_several_lines_is_counted_once() {
    let env = TestEnv::new();
    let tool = json!({ "type": "tool_use", "id": "t1", "name": "Bash", "input": { "command": "false" } });
    let result = json!({ "message": { "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "Exit code 1\nno" },
    ] } });
    let lines = said(A, 1, None, "do it")
        + &answered(A, 2, "m1", json!({ "type": "thinking", "thinking": "hm" }))
        + &text(A, 3, "m1", "I will.")
        + &answered(A, 4, "m1", tool)
        + &line(A, 5, Some(4), "user", result)
        + &text(A, 6, "m2", "It failed.")
        + &said(A, 7, Some(6), "[Request interrupted by user]");
    put(&env, &format!("{PROJECT}/{A}.jsonl"), lines);
    import(&env, &["claude"]);
    let shown = show(&env);
    let turn = &shown["turns"][0];
    assert_eq!(turn["tokens"], json!({ "input": 30, "cached_input": 10, "output": 14, "reasoning": 0 }));
    assert_eq!(turn["outcome"], "interrupted");
    assert_eq!(shown["session"]["outcome"], "interrupted");
    let kinds: Vec<_> = turn["steps"].as_array().unwrap().iter().map(|step| step["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thought", "message", "tool", "message"]);
    assert_eq!((&turn["steps"][2]["status"], &turn["steps"][2]["exit_code"]), (&json!("failed"), &json!(1)));
}

#[test]
fn subagents_and_compactions_belong_to_their_session() {
    let env = TestEnv::new();
    let call = json!({ "type": "tool_use", "id": "t1", "name": "Task", "input": { "description": "look" } });
    let result = json!({
        "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "found" }] },
        "toolUseResult": { "status": "completed", "agentId": "a1b2" },
    });
    let summary = json!({ "message": { "role": "user", "content": "All so far." }, "isCompactSummary": true });
    let lines = said(A, 1, None, "look around")
        + &answered(A, 2, "m1", call)
        + &line(A, 9, Some(2), "user", result)
        + &text(A, 10, "m2", "Seen.")
        + &line(
            A,
            11,
            Some(10),
            "system",
            json!({ "subtype": "compact_boundary", "content": "Conversation compacted" }),
        )
        + &line(A, 12, Some(11), "user", summary);
    put(&env, &format!("{PROJECT}/{A}.jsonl"), lines);
    let read =
        json!({ "type": "tool_use", "id": "t2", "name": "Read", "input": { "file_path": "/home/me/app/a.txt" } });
    let own = (said(A, 3, None, "look, agent") + &answered(A, 4, "m9", read))
        .replace("\"isSidechain\":false", "\"isSidechain\":true");
    put(&env, &format!("{PROJECT}/{A}/subagents/agent-a1b2.jsonl"), own);
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let shown = show(&env);
    assert_eq!(shown["turns"].as_array().unwrap().len(), 1);
    let steps = shown["turns"][0]["steps"].as_array().unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| step["name"].as_str().or(step["code"].as_str()).unwrap_or("message")).collect();
    assert_eq!(told, ["Task", "subagent", "Read", "message", "compacted", "compacted"]);
    assert_eq!(shown["turns"][0]["tokens"]["output"], 21);
}

#[test]
fn edits_become_a_patch_that_applies() {
    let env = TestEnv::new();
    let work = env.work().canonicalize().unwrap();
    let edit = |uuid: u32, id: &str, result: Value| {
        let call = json!({ "type": "tool_use", "id": id, "name": "Edit", "input": {} });
        let done = json!({
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "ok" }] },
            "toolUseResult": result,
        });
        answered(A, uuid, id, call) + &line(A, uuid + 1, Some(uuid), "user", done)
    };
    let hunk = json!([{ "oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 2, "lines": [" one", "+two"] }]);
    let lines = said(A, 1, None, "edit")
        + &edit(2, "t1", json!({ "filePath": work.join("a.txt"), "structuredPatch": hunk, "originalFile": "one\n" }))
        + &edit(
            4,
            "t2",
            json!({ "type": "create", "filePath": work.join("new dir/b.txt"), "content": "b", "originalFile": null }),
        )
        + &edit(6, "t3", json!({ "filePath": "/etc/outside", "structuredPatch": hunk, "originalFile": "one\n" }));
    let lines = lines.replace("\"cwd\":\"/home/me/app\"", &format!("\"cwd\":{}", json!(work)));
    put(&env, &format!("{PROJECT}/{A}.jsonl"), lines);
    import(&env, &["--all"]);
    show(&env);
    let diff = env.decklog(&["diff", "@"]).expect(0);
    assert!(diff.stderr.contains("/etc/outside is not in it"), "{}", diff.stderr);
    env.write("told.patch", &diff.stdout);
    env.git(&["apply", "told.patch"]);
    assert_eq!((env.read("a.txt").as_str(), env.read("new dir/b.txt").as_str()), ("one\ntwo\n", "b"));
    let stat = env.decklog(&["diff", "--stat", "@"]).expect(0).stdout;
    assert!(stat.contains("3 files changed, +3 -0"), "{stat}");
}

#[test]
fn exports_hold_the_prompts_and_patches_of_every_turn() {
    let env = TestEnv::new();
    let hunk = json!([{ "oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 2, "lines": [" one", "+two"] }]);
    let edit = |uuid: u32| {
        let call = json!({ "type": "tool_use", "id": "t", "name": "Edit", "input": {} });
        let done = json!({
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "ok" }] },
            "toolUseResult": { "filePath": "/home/me/app/a.txt", "structuredPatch": hunk, "originalFile": "one\n" },
        });
        answered(A, uuid, "t", call) + &line(A, uuid + 1, Some(uuid), "user", done)
    };
    let long = "long ".repeat(40_000);
    let prompts = ["first", "second", long.trim_end()];
    let lines = said(A, 1, None, prompts[0])
        + &text(A, 2, "m1", "one")
        + &said(A, 3, Some(2), prompts[1])
        + &edit(4)
        + &said(A, 6, Some(5), prompts[2])
        + &text(A, 7, "m2", "three");
    put(&env, &format!("{PROJECT}/{A}.jsonl"), lines);
    import(&env, &["--all"]);
    let export = |format: &str| env.decklog(&["export", "@", "--format", format]).expect(0).stdout;

    let document: Value = serde_json::from_str(&export("atif")).unwrap();
    let steps = document["steps"].as_array().unwrap();
    let asked: Vec<_> = steps.iter().filter(|step| step["source"] == "user").map(|step| &step["message"]).collect();
    assert_eq!(asked, prompts);
    let patches: Vec<_> = steps.iter().filter_map(|step| step["extra"]["patch"].as_str()).collect();
    assert!(patches.len() == 1 && patches[0].ends_with(" one\n+two\n"), "{patches:?}");

    let page = export("markdown");
    for prompt in prompts {
        assert_eq!(page.matches(&format!("```\n{prompt}\n```")).count(), 1, "{prompt:.20}");
    }
    assert_eq!(page.matches("\n+two\n").count(), 1, "{page:.9000}");

    let lines: Vec<Value> = export("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!([&lines[2]["prompt"], &lines[3]["prompt"]], [prompts[1], prompts[2]]);
    assert_eq!(lines[2]["patch"], patches[0]);
}

#[test]
fn what_cannot_be_read_is_told_and_hides_nothing() {
    let env = TestEnv::new();
    let mut lines = said(A, 1, None, "first").into_bytes();
    lines.extend_from_slice(b"{\"type\":\"user\", broken\n\xff\xfe\n");
    lines.extend_from_slice(b"[1,2]\n");
    lines.resize(lines.len() + 65 * 1024 * 1024, b'x');
    lines.push(b'\n');
    lines.extend_from_slice(text(A, 2, "m1", "still \u{1b}[31mhere").as_bytes());
    lines.extend_from_slice(b"{\"type\":\"assistant\",\"uuid\":\"torn");
    put(&env, &format!("{PROJECT}/{A}.jsonl"), &lines);
    put(&env, &format!("{PROJECT}/empty.jsonl"), "");
    put(&env, &format!("{PROJECT}/binary.jsonl"), [0, 159, 146, 150]);
    put(&env, ".codex/sessions/2026/05/01/rollout-x.jsonl", "nothing of the kind\n");
    put(&env, ".local/share/opencode/opencode.db", b"SQLite format 3\0 and then nothing");
    std::fs::create_dir_all(env.home().join(".gemini/tmp/p/chats/session-dir.jsonl")).unwrap();
    let before = state(&env.home());
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("imported", 1), ("unread", 5)], "{report:#}");
    let troubles: Vec<_> =
        report["troubles"].as_array().unwrap().iter().map(|one| env.plain(one["path"].as_str().unwrap())).collect();
    assert_eq!(
        troubles,
        ["[TMP]/home/.claude/projects/-home-me-app/binary.jsonl", "[TMP]/home/.local/share/opencode/opencode.db"]
    );
    let shown = show(&env);
    assert!(shown["turns"][0]["steps"].as_array().unwrap().iter().any(|step| step["text"] == "still \u{1b}[31mhere"));
    let notice = shown.to_string();
    assert!(notice.contains("source_unreadable") && notice.contains("bytes long"), "{notice}");
    assert!(before.iter().all(|(path, was)| state(&env.home()).get(path) == Some(was)), "a source was changed");
    let people = env.decklog(&["import", "--all"]).expect(0);
    assert!(people.stdout.contains("1 unchanged"), "{}", people.stdout);
    assert!(!env.decklog(&["show", "@"]).stdout.contains('\u{1b}'));
}

#[test]
fn a_secret_in_a_history_stays_out_of_the_record() {
    let mut env = TestEnv::new();
    env.set("DEPLOY_API_KEY", "s3cr3t-Value-of-Mine-0123456789");
    let words = format!("the key is s3cr3t-Value-of-Mine-0123456789 {}", "x".repeat(100_000));
    put(&env, &format!("{PROJECT}/{A}.jsonl"), said(A, 1, None, &words) + &text(A, 2, "m1", &words));
    import(&env, &["--all"]);
    for (path, (bytes, _)) in state(&env.root()) {
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cr3t"), "{}", path.display());
    }
    assert!(show(&env)["session"]["prompt"].as_str().unwrap().contains("[redacted:DEPLOY_API_KEY]"));
}

#[test]
fn a_thousand_histories_are_two_files_each() {
    let env = TestEnv::new();
    for number in 0..200 {
        let session = format!("aaaaaaaa-0000-4000-8000-{number:012}");
        let lines = said(&session, number * 10 + 1, None, "same") + &text(&session, number * 10 + 2, "m1", "one");
        put(&env, &format!("{PROJECT}-{}/{session}.jsonl", number % 7), lines);
    }
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 200)]);
    assert_eq!(env.sessions().len(), 200);
    assert_eq!(state(&env.root()).len(), 400);
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 200)]);
}

#[test]
fn a_compressed_rollout_and_its_plain_one_are_the_same() {
    let env = TestEnv::new();
    let id = "01a1febb-86bc-7aa0-95ef-ac79db1f682b";
    let entry = |kind: &str, payload: Value| {
        format!("{}\n", json!({ "timestamp": "2026-05-01T10:00:00.000Z", "type": kind, "payload": payload }))
    };
    // The words of an older version: events beside items, and patches without an event.
    let patch = "*** Begin Patch\n*** Add File: b.txt\n+b\n*** Update File: a.txt\n@@\n-one\n+two\n*** End Patch";
    let usage = |input: u64| json!({ "input_tokens": input, "cached_input_tokens": 1, "output_tokens": 2, "reasoning_output_tokens": 1 });
    let count = |input| json!({ "type": "token_count", "info": { "total_token_usage": usage(input), "last_token_usage": usage(10) } });
    let lines = entry(
        "session_meta",
        json!({ "id": id, "cwd": "/home/me/app", "git": { "commit_hash": "abc", "branch": "main" } }),
    ) + &entry(
        "response_item",
        json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "<environment_context>x</environment_context>" }] }),
    ) + &entry(
        "response_item",
        json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "go" }] }),
    ) + &entry("event_msg", json!({ "type": "user_message", "message": "go" }))
        + &entry("turn_context", json!({ "model": "gpt-x", "cwd": "/home/me/app" }))
        + &entry(
            "response_item",
            json!({ "type": "function_call", "name": "shell", "call_id": "c1", "arguments": "{\"command\":[\"bash\",\"-lc\",\"ls\"]}" }),
        )
        + &entry(
            "response_item",
            json!({ "type": "function_call_output", "call_id": "c1", "output": "{\"output\":\"a.txt\",\"metadata\":{\"exit_code\":0}}" }),
        )
        + &entry(
            "response_item",
            json!({ "type": "custom_tool_call", "name": "apply_patch", "call_id": "c2", "input": patch }),
        )
        + &entry("response_item", json!({ "type": "custom_tool_call_output", "call_id": "c2", "output": "ok" }))
        + &entry("event_msg", count(10))
        + &entry("event_msg", count(10))
        + &entry("event_msg", json!({ "type": "agent_message", "message": "done" }))
        + &entry(
            "response_item",
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "done" }] }),
        )
        + &entry(
            "response_item",
            json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "go" }] }),
        )
        + &entry("event_msg", json!({ "type": "user_message", "message": "go" }))
        + &entry("event_msg", count(25));
    let packed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    put(&env, &format!(".codex/archived_sessions/rollout-2026-05-01T10-00-00-{id}.jsonl.zst"), &packed);
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let shown = show(&env);
    let turns = shown["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 2, "{shown:#}");
    let steps: Vec<_> = turns[0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["title"].as_str().or(step["text"].as_str()).unwrap())
        .collect();
    assert_eq!(steps, ["ls", "b.txt, a.txt", "done"]);
    assert_eq!((&turns[0]["tokens"]["input"], &turns[1]["tokens"]["input"]), (&json!(10), &json!(15)));
    assert_eq!(turns[0]["files_changed"], 2);
    assert_eq!(turns[0]["withheld"][0]["path"], "a.txt");
    assert_eq!(shown["session"]["git"]["head"], "abc");
    // The same, unpacked: larger, so it is taken for the whole; but it tells no more.
    put(&env, &format!(".codex/sessions/2026/05/01/rollout-2026-05-01T10-00-00-{id}.jsonl"), &lines);
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("updated", 1), ("skipped", 1)], "{report:#}");
    assert_eq!(env.sessions().len(), 1);
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 1), ("skipped", 1)]);
}

#[test]
fn the_last_word_of_a_chat_of_geminis_counts() {
    let env = TestEnv::new();
    let id = "1d5cbbd4-2332-42fa-ad64-e00fd1d4d5c1";
    let at = "2026-05-01T10:00:00.000Z";
    let user =
        |id: &str, words: &str| json!({ "id": id, "timestamp": at, "type": "user", "content": [{ "text": words }] });
    let model = |id: &str, words: &str| {
        json!({ "id": id, "timestamp": at, "type": "gemini", "content": words, "model": "g",
        "tokens": { "input": 10, "output": 2, "cached": 3, "thoughts": 1, "tool": 0, "total": 13 } })
    };
    let lines = [
        json!({ "sessionId": id, "projectHash": "x", "startTime": at, "kind": "main" }),
        json!({ "$set": { "messages": [user("0", "<session_context>\nx</session_context>")] } }),
        user("1", "first"),
        model("2", "draft"),
        model("2", "one"),
        user("3", "wrong"),
        model("4", "no"),
        json!({ "$rewindTo": "3" }),
        user("5", "second"),
        json!({ "$set": { "lastUpdated": at } }),
        model("6", "two"),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    put(&env, ".gemini/tmp/app/chats/session-2026-05-01T10-00-1d5cbbd4.jsonl", text);
    put(&env, ".gemini/tmp/app/.project_root", "/home/me/app");
    // An older version's.
    let old = json!({ "sessionId": "old", "projectHash": "x", "startTime": at, "messages": [user("1", "first"), model("2", "one")] });
    put(&env, ".gemini/tmp/app/chats/session-old.json", old.to_string());
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 2)]);
    let sessions = env.decklog(&["ls", "--json"]).expect(0).json();
    let new = sessions.as_array().unwrap().iter().find(|head| head["source"]["id"] == id).unwrap();
    assert_eq!((&new["turns"], &new["working_dir"]), (&json!(2), &json!("/home/me/app")));
    let shown = env.decklog(&["show", "--json", new["id"].as_str().unwrap()]).expect(0).json();
    let said: Vec<_> =
        shown["turns"].as_array().unwrap().iter().map(|turn| turn["steps"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(said, ["one", "two"]);
    assert_eq!(new["tokens"], json!({ "input": 20, "cached_input": 6, "output": 6, "reasoning": 2 }));
}

#[test]
fn opencodes_older_storage() {
    let env = TestEnv::new();
    let base = ".local/share/opencode/storage";
    let at = |secs: i64| 1_777_629_600_000_i64 + secs * 1000;
    put(
        &env,
        &format!("{base}/session/proj/ses_1.json"),
        json!({ "id": "ses_1", "directory": "/home/me/app", "title": "A title", "time": { "created": at(0) } })
            .to_string(),
    );
    put(
        &env,
        &format!("{base}/message/ses_1/msg_1.json"),
        json!({ "id": "msg_1", "role": "user", "time": { "created": at(0) } }).to_string(),
    );
    put(&env, &format!("{base}/part/msg_1/prt_1.json"), json!({ "type": "text", "text": "go" }).to_string());
    put(&env, &format!("{base}/message/ses_1/msg_2.json"), json!({ "id": "msg_2", "role": "assistant", "modelID": "m", "cost": 0.5,
        "tokens": { "input": 1, "output": 2, "reasoning": 3, "cache": { "read": 4, "write": 5 } }, "time": { "created": at(1), "completed": at(2) } }).to_string());
    put(
        &env,
        &format!("{base}/part/msg_2/prt_2.json"),
        json!({ "type": "tool", "tool": "edit", "callID": "c", "state": { "status": "completed",
        "input": { "filePath": "/home/me/app/a.txt", "oldString": "a", "newString": "b" }, "output": "ok",
        "metadata": { "diff": "Index: a\n--- a\n+++ a\n@@ -1,1 +1,1 @@\n-a\n+b\n" } } })
        .to_string(),
    );
    put(&env, &format!("{base}/part/msg_2/prt_3.json"), "{ broken");
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1), ("unread", 1)]);
    let shown = show(&env);
    assert_eq!(shown["session"]["tokens"], json!({ "input": 10, "cached_input": 4, "output": 5, "reasoning": 3 }));
    assert_eq!((&shown["session"]["prompt"], &shown["session"]["cost_usd"]), (&json!("go"), &json!(0.5)));
    assert!(
        env.decklog(&["diff", "@"]).expect(0).stdout.contains("--- a/a.txt\n+++ b/a.txt\n@@ -1,1 +1,1 @@\n-a\n+b\n")
    );
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 1)]);
}

#[test]
fn bad_usage_says_what_to_do() {
    let env = TestEnv::new();
    env.write("notes.txt", "no history\n");
    for (arguments, says) in [
        (&["import"][..], "--all"),
        (&["import", "nowhere"], "give a path, or one of: claude"),
        (&["import", "notes.txt"], "name the tool that wrote it"),
        (&["import", "--all", "claude"], "cannot be used with"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    assert!(env.sessions().is_empty());
    // Nothing to import is no error.
    assert_eq!(counts(&import(&env, &["--all"])), []);
    assert!(!env.root().exists());
}

#[test]
fn a_dry_run_changes_nothing() {
    let env = TestEnv::new();
    put(&env, &format!("{PROJECT}/{A}.jsonl"), said(A, 1, None, "first"));
    let ran = env.decklog(&["import", "--dry-run", "--all"]).expect(0);
    assert!(ran.stdout.starts_with("import    claude"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 session would be imported\n"), "{}", ran.stdout);
    assert!(!env.root().exists());
}

#[test]
fn watching_goes_on_until_it_is_interrupted() {
    use crate::env::{eventually, kill};
    let env = TestEnv::new();
    let mut child = env.start(&["import", "--all", "--watch"]);
    let file = put(&env, &format!("{PROJECT}/{A}.jsonl"), said(A, 1, None, "first"));
    eventually("the first import", || env.sessions().first().cloned());
    let mut lines = said(A, 1, None, "first");
    lines.push_str(&text(A, 2, "m1", "one"));
    std::fs::write(&file, lines).unwrap();
    let dir = env.session();
    eventually("the second", || {
        let head: Value = serde_json::from_slice(&std::fs::read(dir.join("session.json")).ok()?).ok()?;
        head.get("tokens").cloned()
    });
    kill(child.id(), "INT");
    assert!(child.wait().unwrap().success());
}

#[test]
fn two_imports_at_once_make_one_session_of_each() {
    let env = TestEnv::new();
    for number in 0..60 {
        let session = format!("aaaaaaaa-0000-4000-8000-{number:012}");
        let lines = said(&session, number * 10 + 1, None, "same") + &text(&session, number * 10 + 2, "m1", "one");
        put(&env, &format!("{PROJECT}/{session}.jsonl"), lines);
    }
    let children: Vec<_> = (0..4).map(|_| env.start(&["import", "--all", "--json"])).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(env.sessions().len(), 60);
    assert_eq!(state(&env.root()).len(), 120);
    env.decklog(&["verify", "--all"]).expect(0);
}

#[test]
fn a_chain_of_thousands_of_files_is_one_session() {
    let env = TestEnv::new();
    for number in 0..3000 {
        let session = format!("cccccccc-0000-4000-8000-{number:012}");
        put(
            &env,
            &format!("{PROJECT}/{session}.jsonl"),
            &(said(&session, 1, None, "first") + &text(&session, 2, "m1", "one")),
        );
    }
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("imported", 1)]);
    assert_eq!(counts(&import(&env, &["--all"])), [("unchanged", 1)]);
    env.decklog(&["verify", "--all"]).expect(0);
}
