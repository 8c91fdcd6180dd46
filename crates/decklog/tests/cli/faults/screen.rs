//! What reaches a terminal: decklog's own colours, and of what agents say nothing that acts.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::hostile::forge;
use crate::env::{TestEnv, finish};

/// Everything that would act on a terminal or mislead its reader, as JSON escapes.
const NASTY: &str = "\\u001b[31mred\\u001b]0;title\\u0007\\u001b[2J\\u009b5A\\u009d8;;x\\u009c\\u0000\\u0008\\u000b\\u000c\\r\\u007f\\u0085\\u202e\\u2066\\u200f\\u2028\\ufeff";

/// Fails when `bytes` hold anything that acts, but for line ends, tabs and plain SGR codes.
pub(crate) fn harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let after = &rest[at + 1..];
        let code = after.strip_prefix('[').and_then(|after| after.split_once('m')).map(|(code, _)| code);
        let own = code.is_some_and(|code| !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit() || b == b';'));
        assert!(
            own,
            "{what}: an escape reaches the terminal: {:?}",
            &rest[at..rest.floor_char_boundary((at + 40).min(rest.len()))]
        );
        rest = after;
    }
    for c in text.chars() {
        let acts = c.is_control() && !matches!(c, '\n' | '\t' | '\r' | '\u{1b}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        assert!(!acts, "{what}: U+{:04X} reaches the terminal", c as u32);
    }
    // On a terminal a line ends in CR LF; a CR anywhere else writes over what stands there.
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{what}: a lone carriage return");
}

/// On a terminal of its own.
pub(crate) fn on_a_terminal(env: &TestEnv, arguments: &[&str]) -> Vec<u8> {
    answered(env, arguments, "")
}

/// The same, with `answer` typed.
pub(crate) fn answered(env: &TestEnv, arguments: &[&str], answer: &str) -> Vec<u8> {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let run = format!("timeout --foreground -s KILL 60 '{}' {}", env.program.display(), words.join(" "));
    let mut command: Command = env.command("script");
    command.args(["-qec", &run, "/dev/null"]).env("TERM", "xterm-256color").env("PAGER", "cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = command.spawn().unwrap();
    script.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    script.wait_with_output().unwrap().stdout
}

/// A session in whose record every text is `nasty`, which is the inside of a JSON string, and there are events of every
/// kind.
pub(crate) fn hostile_session(env: &TestEnv, nasty: &str) {
    env.decklog(&["run", "--check", "true", "--", "sh", "-c", "echo said; echo more >> a.txt"]).expect(0);
    let session = env.session();
    forge(&session, |body| {
        let mut body = body.replace("\"text\":\"", &format!("\"text\":\"{nasty}"));
        for key in
            ["prompt", "working_dir", "agent", "command\":[\"", "host", "path", "status", "error", "message", "summary"]
        {
            let key = key.split('"').next().unwrap();
            if !matches!(key, "path" | "status" | "working_dir")
                || body.contains("\"turn_end\"") && key == "path" && !body.contains("\"status\":\"modified\"")
            {
                body = body.replace(&format!("\"{key}\":\""), &format!("\"{key}\":\"{nasty}"));
            }
        }
        body.replace("\"files\":[{\"path\":\"", &format!("\"files\":[{{\"path\":\"{nasty}"))
            .replace("\"agents\":[\"", &format!("\"agents\":[\"{nasty}"))
    });
    let n = nasty;
    let events = [
        format!(r#""type":"resumed","decklog_version":"{n}""#),
        format!(
            r#""type":"container","image_config_name":"{n}","image_tag":"{n}","container_name":"{n}","workspace":"{n}","network":"{n}""#
        ),
        format!(
            r#""type":"turn_start","turn":2,"agent":"{n}","role":"solo","permissions":"edit","model":"{n}","command":["{n}"],"withheld":[{{"path":"{n}","reason":"{n}"}}]"#
        ),
        format!(r#""type":"message","turn":2,"text":"{n}\n{n}""#),
        format!(r#""type":"thought","turn":2,"text":"{n}""#),
        format!(r#""type":"plan","turn":2,"entries":[{{"content":"{n}","status":"{n}"}}]"#),
        format!(
            r#""type":"tool_call","turn":2,"call_id":"{n}","name":"{n}","kind":"edit","title":"{n}","input":{{"{n}":"{n}"}},"status":"pending""#
        ),
        format!(
            r#""type":"tool_call","turn":2,"call_id":"2","name":"{n}","kind":"execute","input":{{"{n}":"{n}"}},"status":"pending""#
        ),
        format!(r#""type":"tool_result","turn":2,"call_id":"{n}","status":"failed","output":"{n}\n{n}""#),
        format!(
            r#""type":"usage","turn":2,"tokens":{{"input":1,"cached_input":0,"output":1,"reasoning":0}},"model":"{n}""#
        ),
        format!(r#""type":"rate_limited","turn":2,"agent":"{n}","message":"{n}""#),
        format!(r#""type":"notice","turn":2,"code":"{n}","text":"{n}""#),
        format!(r#""type":"{n}","turn":2,"text":"{n}""#),
        format!(
            r#""type":"turn_end","turn":2,"outcome":"failed","duration_secs":1.0,"error":"{n}\n{n}","model":"{n}","files_changed":2,"files":[{{"path":"{n}","old_path":"{n}","status":"renamed"}}],"withheld":[{{"path":"{n}","reason":"{n}"}}],"patch_artifact":{{"path":"turns/{n}","bytes":1}}"#
        ),
        format!(
            r#""type":"validation","turn":2,"command":"{n}","passed":false,"duration_secs":1.0,"output":"{n}\n{n}""#
        ),
        format!(r#""type":"handoff","from":"{n}","to":"{n}","reason":"{n}""#),
        format!(r#""type":"checkpoint","reason":"{n}""#),
        format!(r#""type":"resumed","decklog_version":"{n}""#),
        format!(r#""type":"session_end","outcome":"failed","summary":"{n}","duration_secs":1.0,"exit_code":2"#),
    ];
    append(&session, &events);
    // A line that is no event is told as well.
    let mut journal = std::fs::read_to_string(session.join("journal.jsonl")).unwrap();
    journal.push_str("{\"\u{1b}[31m\u{202e}\": nonsense\n");
    std::fs::write(session.join("journal.jsonl"), journal).unwrap();
    let raw = "\u{1b}[31m\u{9b}2J\u{202e}\u{7}x\ry\n";
    for name in
        ["turns/001-stream.jsonl", "turns/001.patch", "logs/x\u{1b}[31m\u{202e}.stderr", "turns/y\u{1b}]0;t\u{7}"]
    {
        let _ = std::fs::create_dir(session.join("logs"));
        std::fs::write(session.join(name), raw).unwrap();
    }
    let connection = |action: &str| {
        format!(
            r#"{{"ts":1777643400.0,"id.resp_h":"{n}","id.resp_p":80,"proto":"{n}","service":"{n}","decklog.action":"{action}","decklog.rule":"{n}","decklog.host":"{n}","decklog.claimed":"{n}","decklog.calls":["2/{n}"]}}"#
        )
    };
    let lines = [connection("allow"), connection(n), "{\u{1b}[31m".into(), String::new()];
    std::fs::write(session.join("logs/network.jsonl"), lines.join("\n")).unwrap();
}

/// Adds events to a journal, each given as its keys, but for those that every event has.
pub(crate) fn append(session: &Path, events: &[String]) {
    let mut journal = std::fs::read_to_string(session.join("journal.jsonl")).unwrap();
    for keys in events {
        let seq = journal.lines().count();
        let previous =
            journal.lines().next_back().map(|line| line[line.len() - 18..line.len() - 2].to_owned()).unwrap();
        let body = format!(r#"{{"seq":{seq},"timestamp":"2026-05-01T13:50:00.000000Z",{keys}"#);
        journal
            .push_str(&format!("{body},\"sum\":\"{}\"}}\n", decklog_journal::wire::chain(&previous, body.as_bytes())));
    }
    std::fs::write(session.join("journal.jsonl"), journal).unwrap();
}

#[test]
fn nothing_acts_on_the_terminal() {
    let env = TestEnv::new();
    hostile_session(&env, NASTY);
    let verbs = [
        "ls",
        "ls --columns id,agent,project,model,dir,prompt",
        "show @",
        "show @ --events",
        "show @ --turn 2",
        "show @ --html",
        "diff @ --turn 1 -S",
        "watch @",
        "diff @",
        "diff @ --stat",
        "diff @ --name-only",
        "diff @ --turn 1",
        "diff @ --turn 1 --stat",
        "diff @ --turn 1 --name-only",
        "diff @ --turn 2",
        "diff @ --turn 2 --name-only",
        "network @",
        "network @ --all",
        "logs @",
        "logs @ stream",
        "logs @ patch",
        "logs @ journal",
        "logs @ \u{1b}[31m\u{202e}",
        "show \u{1b}[31m\u{202e}",
        "verify @",
        "verify --all",
        "clean --older-than 1s --dry-run",
        "discard @",
    ];
    for verb in verbs {
        let arguments: Vec<&str> = verb.split(' ').collect();
        let shown = on_a_terminal(&env, &arguments);
        assert!(!shown.is_empty(), "{verb:?}");
        assert!(!String::from_utf8_lossy(&shown).contains("Killed"), "{verb:?} does not end");
        harmless(verb, &shown);
        // To a pipe data may go as it is, but never because of a colour; the story on stderr is for people.
        let coloured = env.decklog(&[&["--color", "always"], &arguments[..]].concat());
        harmless(verb, coloured.stderr.as_bytes());
        if !verb.starts_with("logs @ ") && !verb.starts_with("diff") && !verb.contains("--events") {
            harmless(verb, coloured.stdout.as_bytes());
        }
    }
    let asked = answered(&env, &["discard", "@"], "n\n");
    assert!(String::from_utf8_lossy(&asked).contains("Discard this session?"));
    harmless("discard asks", &asked);
    // Discarding tells what it keeps.
    let kept = env.decklog(&["discard", "-y", "@"]).expect(0);
    assert!(kept.stderr.contains("kept"));
    harmless("discard", kept.stderr.as_bytes());
}

#[test]
fn nor_does_a_run_while_it_happens() {
    let env = TestEnv::new();
    let print = "printf '\\033[31m\\033]0;t\\007\\302\\233x\\342\\200\\256\\ry\\n'";
    let script = format!("{print}; {print} >&2; touch \"$(printf 'a\\033[31m\\342\\200\\256')\"; exit 3");
    let shown = on_a_terminal(&env, &["run", "--check", &script, "--", "sh", "-c", &script]);
    harmless("run", &shown);
    assert!(String::from_utf8_lossy(&shown).contains("failed"));
    let mut command = env.decklog_command(&["run", "--", "\u{1b}[31m/nonexistent\u{202e}"]);
    command.arg("\u{1b}]0;t\u{7}");
    let ran = finish(command).expect(2);
    harmless("run of nothing", ran.stderr.as_bytes());
}
