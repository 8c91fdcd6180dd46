//! One small session with every event type there is.

use std::path::PathBuf;

use decklog_journal::artifacts::{RESUME_DIR, TurnFile};
use decklog_journal::event::*;
use decklog_journal::words::*;
use decklog_journal::{Durability, SessionWriter};
use serde_json::json;

use crate::world::{World, options, turn_start};

/// Writes it, up to and including its end.
pub(crate) fn write(world: &World, suffix: u16) -> PathBuf {
    let writer = world.create_with(suffix, options(), |start| SessionStart {
        kind: SessionKind::Loop,
        agents: vec!["claude".into(), "codex".into()],
        actor_agent: Some("claude".into()),
        critic_agent: Some("codex".into()),
        actor_model: Some("opus".into()),
        critic_model: Some("gpt-5".into()),
        max_iterations: Some(3),
        rules: Some(Box::new(SessionRules {
            permissions: Permissions::Edit,
            checks: vec!["sh greet.sh".into()],
            fresh: false,
            speakers: vec!["claude".into(), "codex:gpt-5".into()],
            max_turns: Some(10),
            max_cost_usd: Some(2.5),
            max_time_secs: Some(3600.0),
        })),
        git: Some(GitState {
            head: Some("0123456789abcdef0123456789abcdef01234567".into()),
            branch: Some("main".into()),
        }),
        pid: Some(4242),
        source: Some(Source {
            tool: "codeloops".into(),
            id: "2026-05-01T13-44-12Z_a3f2c1".into(),
            path: "/home/you/.local/share/codeloops/sessions/2026-05-01T13-44-12Z_a3f2c1.jsonl".into(),
            bytes: 4096,
            modified: "2026-05-01T14:00:00Z".parse().unwrap(),
            parts: vec!["/home/you/more.jsonl".into()],
        }),
        ..start
    });
    let dir = writer.dir().to_owned();
    first_turn(writer);
    let mut again = options();
    again.durability = Durability::Turn;
    again.clock = decklog_journal::time::Clock::fixed("2026-05-01T14:00:00Z".parse().unwrap());
    second_turn(SessionWriter::resume(&dir, again, Some(4343), "0.1.0").unwrap());
    dir
}

fn first_turn(mut writer: SessionWriter) {
    let prompt =
        writer.write_artifact(&TurnFile::Prompt.path(1), b"Make the greeting greet its first argument.").unwrap();
    let mut add = |body: EventBody| drop(writer.append(body).unwrap());
    add(TurnStart {
        boxed: false,
        role: Role::Actor,
        model: Some("opus".into()),
        permissions: Some(Permissions::Edit),
        command: vec!["claude".into(), "--print".into()],
        prompt: String::new(),
        prompt_artifact: Some(prompt),
        snapshot: Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into()),
        withheld: vec![Withheld { path: ".env".into(), reason: "holds a secret (github-pat)".into() }],
        ..turn_start(1)
    }
    .into());
    add(Thought { turn: 1, text: "It prints a fixed ".into(), text_artifact: None, continued: false }.into());
    add(Thought { turn: 1, text: "name.".into(), text_artifact: None, continued: true }.into());
    add(Plan {
        turn: 1,
        entries: vec![
            PlanEntry { content: "Read greet.sh".into(), status: "completed".into() },
            PlanEntry { content: "Use \"$1\"".into(), status: "in_progress".into() },
        ],
    }
    .into());
    for (call, kind, status, code) in [
        ("read-1", ToolKind::Read, ToolStatus::Completed, None),
        ("sh-1", ToolKind::Execute, ToolStatus::Failed, Some(1)),
    ] {
        add(ToolCall {
            turn: 1,
            call_id: call.into(),
            name: kind.as_str().into(),
            kind,
            title: Some(format!("{} greet.sh", kind.as_str())),
            input: json!({ "path": "greet.sh", "limit": 10 }),
            input_artifact: None,
            status: ToolStatus::InProgress,
        }
        .into());
        add(ToolResult {
            turn: 1,
            call_id: call.into(),
            status,
            output: "#!/bin/sh\necho \"Hello, Jane \u{1b}[1m\u{2013} \u{6f22}\u{5b57}\"\n".into(),
            output_artifact: None,
            exit_code: code,
            duration_secs: Some(0.25),
        }
        .into());
    }
    add(Message {
        turn: 1,
        text: "Now it greets whoever is named.".into(),
        text_artifact: None,
        cut_artifact: None,
        continued: false,
    }
    .into());
    add(Usage {
        turn: 1,
        tokens: Tokens { input: 1200, cached_input: 1000, output: 80, reasoning: 20 },
        cost_usd: Some(0.0123),
        model: Some("opus".into()),
    }
    .into());
    add(Notice { turn: Some(1), code: "unknown_line".into(), text: "{\"type\":\"news\"}".into(), text_artifact: None }
        .into());
    add(RateLimited {
        turn: 1,
        agent: "claude".into(),
        message: "usage limit reached".into(),
        resets_at: Some("2026-05-01T18:00:00Z".parse().unwrap()),
    }
    .into());
    let mut files = Vec::new();
    for (file, content) in [
        (TurnFile::Stream, "{\"type\":\"news\"}\n"),
        (TurnFile::Stderr, ""),
        (TurnFile::Output, "Now it greets whoever is named."),
        (TurnFile::Patch, "diff --git a/greet.sh b/greet.sh\n"),
    ] {
        files.push(Some(writer.write_artifact(&file.path(1), content.as_bytes()).unwrap()));
    }
    let mut files = files.into_iter();
    writer
        .append(TurnEnd {
            turn: 1,
            outcome: TurnOutcome::RateLimited,
            exit_code: Some(1),
            signal: None,
            duration_secs: 12.5,
            agent_session_id: Some("9f0c".into()),
            model: Some("opus".into()),
            error: Some("usage limit reached".into()),
            snapshot: Some("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb".into()),
            files: vec![
                FileChange {
                    path: "greet.sh".into(),
                    old_path: None,
                    status: "modified".into(),
                    added: Some(1),
                    removed: Some(1),
                },
                FileChange {
                    path: "logo.png".into(),
                    old_path: Some("old.png".into()),
                    status: "renamed".into(),
                    added: None,
                    removed: None,
                },
            ],
            files_changed: 2,
            stream_artifact: files.next().flatten(),
            stderr_artifact: files.next().flatten(),
            output_artifact: files.next().flatten(),
            patch: String::new(),
            patch_artifact: files.next().flatten(),
            withheld: Vec::new(),
        })
        .unwrap();
    writer.append(Checkpoint { reason: "rate_limit".into(), exit_code: Some(75) }).unwrap();
}

fn second_turn(mut writer: SessionWriter) {
    let packet = format!("{RESUME_DIR}/001-codex.md");
    let packet = writer.write_artifact(&packet, b"# Where it stands\n").unwrap();
    let mut add = |body: EventBody| drop(writer.append(body).unwrap());
    add(Container {
        image_config_name: "coding".into(),
        image_tag: "localhost/decklog/coding:0123456789abcdef".into(),
        container_name: "decklog-20260501T134412-3f2a".into(),
        workspace: "/workspace".into(),
        network: "filter".into(),
        boxed: true,
    }
    .into());
    add(Handoff {
        from: "claude".into(),
        to: "codex".into(),
        reason: "rate_limit".into(),
        packet_artifact: Some(packet),
    }
    .into());
    add(TurnStart {
        boxed: true,
        prompt: "Judge it.".into(),
        agent: "codex".into(),
        role: Role::Critic,
        permissions: Some(Permissions::ReadOnly),
        ..turn_start(2)
    }
    .into());
    add(Message { turn: 2, text: "DONE".into(), text_artifact: None, cut_artifact: None, continued: false }.into());
    add(TurnEnd {
        turn: 2,
        outcome: TurnOutcome::Success,
        exit_code: Some(0),
        signal: None,
        duration_secs: 3.25,
        agent_session_id: None,
        model: Some("gpt-5".into()),
        error: None,
        snapshot: None,
        files: Vec::new(),
        files_changed: 0,
        patch: "diff --git a/a b/a\n".into(),
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    }
    .into());
    add(Validation {
        turn: 2,
        command: "sh greet.sh".into(),
        passed: true,
        exit_code: Some(0),
        duration_secs: 0.5,
        output: "Hello\n".into(),
        output_artifact: None,
    }
    .into());
    add(Iteration {
        iteration_number: 1,
        actor_turn: Some(1),
        critic_turn: Some(2),
        actor_output: "Now it greets whoever is named.".into(),
        actor_output_artifact: None,
        actor_stderr: String::new(),
        actor_stderr_artifact: None,
        actor_exit_code: 0,
        actor_duration_secs: 12.5,
        git_diff: "diff --git a/greet.sh b/greet.sh\n".into(),
        git_diff_artifact: None,
        git_files_changed: 2,
        checks_passed: Some(true),
        critic_decision: Decision::Done,
        critic_said: None,
        feedback: None,
        summary: Some("It greets whoever is named.".into()),
        confidence: Some(0.9),
    }
    .into());
    add(SessionEnd {
        outcome: Some(Outcome::Success),
        iterations: Some(1),
        summary: Some("It greets.".into()),
        confidence: Some(0.9),
        picked: Some(2),
        duration_secs: 950.0,
        exit_code: Some(0),
    }
    .into());
}
