//! Scripted agents: shell scripts that print numbered lines or events and change numbered files.
//!
//! Must not know: faults, verdicts.

use std::fs;

use serde_json::json;

use super::world::World;
use crate::Result;

/// Lines that the plain agent prints and appends to `work.txt`.
pub(crate) const LINES: u32 = 12;
/// Messages of `ada` and `bob` in one turn.
pub(crate) const MESSAGES: u32 = 4;

const PLAIN: &str =
    "i=0; while [ $i -lt 12 ]; do i=$((i+1)); echo \"line $i\"; echo $i >>work.txt; done; echo error >&2\n";

/// Speaks the stream of Claude Code. Its files are named after its own name, the turn's number is not its business.
const STREAM: &str = r#"cat >/dev/null; i=0
echo '{"type":"system","subtype":"init","session_id":"NAME-1","model":"m"}'
while [ $i -lt 4 ]; do i=$((i+1)); echo $i >>work.txt; echo "NAME $i" >NAME$i.txt
echo '{"type":"assistant","message":{"id":"m'$i'","content":[{"type":"text","text":"event '$i'."}]}}'; done
echo '{"type":"assistant","message":{"id":"t1","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"true"}}]}}'
echo '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","is_error":false,"content":"fine"}]}}'
echo '{"type":"result","subtype":"success","is_error":false,"result":"event 4.","usage":{"input_tokens":5,"output_tokens":2},"session_id":"NAME-1"}'
"#;

const ACTOR: &str = "cat >/dev/null; echo step >>work.txt; echo 'A step.'\n";

/// Approves from the second step on.
const CRITIC: &str = r#"cat >/dev/null
if [ "$(grep -c step work.txt)" -ge 2 ]; then echo '{"decision": "DONE", "summary": "Two steps.", "confidence": 0.9}'
else printf 'DECISION: CONTINUE\nFEEDBACK: One more.\n'; fi
"#;

/// Writes the scripts and the configuration that names them.
pub(crate) fn install(world: &World) -> Result<()> {
    let mut configuration = String::new();
    for (name, protocol, script) in [
        ("plain", "", PLAIN.to_owned()),
        ("ada", "claude-stream", STREAM.replace("NAME", "ada")),
        ("bob", "claude-stream", STREAM.replace("NAME", "bob")),
        ("actor", "text", ACTOR.to_owned()),
        ("critic", "text", CRITIC.to_owned()),
    ] {
        let path = world.path("home").join(format!("{name}.sh"));
        fs::write(&path, script)?;
        if !protocol.is_empty() {
            let command = json!(["sh", path]);
            configuration.push_str(&format!("[agents.{name}]\ncommand = {command}\nprotocol = \"{protocol}\"\n"));
        }
    }
    fs::write(world.path("config/decklog/config.toml"), configuration)?;
    Ok(())
}

/// Histories that Claude Code keeps, of this many conversations.
pub(crate) const HISTORIES: usize = 3;

pub(crate) fn write_histories(world: &World) -> Result<()> {
    let dir = world.path("home/.claude/projects/-home-me-app");
    fs::create_dir_all(&dir)?;
    for number in 0..HISTORIES {
        let session = format!("aaaaaaaa-0000-4000-8000-00000000000{number}");
        let id = |line: u32| format!("0000000{number}-0000-4000-8000-{line:012}");
        let mut text = String::new();
        for line in 1..=4_u32 {
            let asks = line % 2 == 1;
            let message = if asks {
                json!({ "role": "user", "content": format!("question {line}") })
            } else {
                let block = json!({ "type": "text", "text": format!("answer {line}") });
                let usage = json!({ "input_tokens": 10, "output_tokens": 7 });
                json!({ "id": format!("m{line}"), "role": "assistant", "model": "claude-x", "content": [block], "usage": usage })
            };
            let line = json!({
                "parentUuid": (line > 1).then(|| id(line - 1)), "isSidechain": false, "uuid": id(line),
                "type": if asks { "user" } else { "assistant" }, "sessionId": session, "cwd": "/home/me/app",
                "timestamp": format!("2026-05-0{}T10:00:{line:02}.000Z", number + 1), "gitBranch": "main",
                "message": message,
            });
            text.push_str(&format!("{line}\n"));
        }
        fs::write(dir.join(format!("{session}.jsonl")), text)?;
    }
    Ok(())
}
