//! The page of `decklog ui`, in a real browser, over sessions that were really recorded.
//!
//! What is done in the browser stands in `crates/decklog-web/ui/tests`. Without browser and packages these tests do nothing;
//! with `DECKLOG_TEST_REQUIRE_ALL=1` they fail then.

use std::path::{Path, PathBuf};

use decklog_testkit::page;

use crate::env::{TestEnv, finish};
use crate::relaying::world;
use crate::web::server::Ui;

/// A moment after everything in the archive.
const NOW: &str = "2026-11-23T12:00:00Z";

/// Where the packages are that drive the browser, if that and they are installed.
fn modules() -> Option<PathBuf> {
    let modules = page::installed().filter(|_| Path::new("/usr/bin/chromium").exists());
    assert!(
        modules.is_some() || std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(),
        "the browser, or what drives it, is not installed: cargo xtask test installs it"
    );
    modules
}

/// A world with the sessions of the archive: see `page/record.sh`.
fn recorded() -> TestEnv {
    let mut env = TestEnv::new();
    env.set("DECKLOG_TEST_NOW", NOW);
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/page/sessions.tar.zst");
    env.decklog(&["import", archive.to_str().unwrap()]).expect(0);
    env
}

/// Runs a script of the page's tests with these arguments behind the link.
fn drive(env: &TestEnv, modules: &Path, script: &str, ui: &Ui, arguments: &[&str]) {
    let mut command = env.command("node");
    command.arg(page::sources().join("tests").join(script)).arg(&ui.link).args(arguments);
    command.env("DECKLOG_UI_MODULES", modules).env("DECKLOG", &env.program).env("ROOT", env.root());
    for name in ["UPDATE", "KEEP"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    finish(command).expect(0);
}

#[test]
fn it_looks_as_it_did_and_everybody_can_use_it() {
    let Some(modules) = modules() else { return };
    let env = recorded();
    let ui = Ui::start(&env);
    let pictures = page::sources().join("tests/pictures");
    drive(&env, &modules, "look.mjs", &ui, &[pictures.to_str().unwrap(), NOW]);
}

#[test]
fn everything_on_it_does_what_it_says() {
    let Some(modules) = modules() else { return };
    let env = recorded();
    let ui = Ui::start(&env);
    drive(&env, &modules, "play.mjs", &ui, &[NOW]);
    assert_eq!(env.sessions().len(), 6, "two were discarded");
}

#[test]
fn a_list_that_is_scrolled_keeps_no_rows_that_are_gone() {
    let Some(modules) = modules() else { return };
    let env = TestEnv::new();
    for n in 0..40 {
        env.decklog(&["run", "--", "echo", &n.to_string()]).expect(0);
    }
    let ui = Ui::start(&env);
    drive(&env, &modules, "scroll.mjs", &ui, &[]);
}

#[test]
fn what_happens_is_seen_while_it_happens() {
    let Some(modules) = modules() else { return };
    let waits = "if test $n -gt 1; then until test -e \"$HOME/go.ada\"; do sleep 0.02; done; fi; echo \"ada, time $n\"";
    let env = world(&[("ada", "text", waits)]);
    let ui = Ui::start(&env);
    drive(&env, &modules, "live.mjs", &ui, &[]);
}

/// What would act on a page that took it for its own.
const ATTACKS: [&str; 8] = [
    "<script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<svg onload=pwned=1><animate onbegin=pwned=1 attributeName=x dur=1s>",
    "[pwned](javascript:pwned=1) ![pwned](https://pwned.example/p.png)",
    "\"><iframe srcdoc=\"<script>parent.pwned=1</script>\">",
    "</pre></code><style>*{display:none}</style>",
    "\u{1b}]8;;javascript:pwned=1\u{7}pwned\u{1b}]8;;\u{7}\u{1b}[31m<b>pwned",
    "{{constructor.constructor('pwned=1')()}} ${pwned=1} \u{202e}",
];

#[test]
fn what_agents_write_does_nothing_on_it() {
    let Some(modules) = modules() else { return };
    let env = TestEnv::new();
    let all = ATTACKS.join("\n");
    let said = |kind: &str| serde_json::json!({ "type": kind, "text": all, "thinking": all });
    let lines = [
        serde_json::json!({ "type": "system", "subtype": "init", "session_id": "s", "model": ATTACKS[1] }),
        serde_json::json!({ "type": "assistant", "message": { "id": "1", "content": [said("text"), said("thinking")] } }),
        serde_json::json!({ "type": "assistant", "message": { "id": "2", "content": [
            { "type": "tool_use", "id": "t", "name": ATTACKS[0], "input": { "command": all, "file_path": ATTACKS[2] } },
            { "type": "tool_use", "id": "u", "name": "Edit",
              "input": { "file_path": ATTACKS[1], "old_string": all, "new_string": ATTACKS[2] } },
            { "type": "tool_use", "id": "v", "name": "TodoWrite",
              "input": { "todos": [{ "content": all, "status": ATTACKS[1] }] } },
        ] } }),
        serde_json::json!({ "type": "user", "message": { "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": all, "is_error": true },
            { "type": "tool_result", "tool_use_id": "u", "content": all },
        ] } }),
        serde_json::json!({ "type": all, "pwned": all }),
        serde_json::json!({ "type": "result", "subtype": "success", "is_error": false, "result": all, "session_id": all }),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(env.home().join("lines"), lines).unwrap();
    let script = "cat >/dev/null; cat \"$HOME/lines\"; cp \"$HOME/lines\" '<img src=x onerror=pwned=1>.svg'; \
         printf '<svg onload=pwned=1>\\n' >'a\"onmouseover=pwned=1.html'";
    let command = serde_json::json!(["sh", "-c", script]);
    std::fs::create_dir_all(env.home().join(".config/decklog")).unwrap();
    let config = format!("[agents.'<b>pwned']\ncommand = {command}\nprotocol = \"claude-stream\"\n");
    std::fs::write(env.home().join(".config/decklog/config.toml"), config).unwrap();
    let check = format!("printf '%s' '{}'; false", all.replace('\'', "'\\''"));
    env.decklog(&["run", "--check", &check, "<b>pwned", &all]).expect(1);
    env.decklog(&["run", "--", "printf", "%s", &all]).expect(0);
    let ui = Ui::start(&env);
    drive(&env, &modules, "hostile.mjs", &ui, &[]);
}
