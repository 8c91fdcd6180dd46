//! Whatever agents, repositories and checks write is data: nothing of it becomes a tag, an attribute or a command.

use serde_json::{Value, json};

use super::client::raw;
use super::server::serve;
use super::{id, lines, tags};
use crate::env::TestEnv;
use crate::relaying::world;

/// What would act somewhere.
const EVIL: [&str; 32] = [
    "<script>alert(1)</script>",
    "<ScRiPt\n>alert(1)</ScRiPt\t>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><desc>x</desc></svg>",
    "<svg/onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "</pre></code></div><iframe src=//a.example></iframe>",
    "<a href=javascript:alert(1)>x</a>",
    "<x onclick=alert(1)",
    "<!--",
    "<![CDATA[<script>]]>",
    "<?php <b> ?>",
    "<meta http-equiv=refresh content='0;url=//a.example'>",
    "<style>*{background:url(//a.example)}</style>",
    "&lt;script&gt; &#60;script&#62;",
    "[x](javascript:alert(1))",
    "[x](  JaVaScRiPt:alert(1) )",
    "[x](<java\tscript:alert(1)>)",
    "[x](&#106;avascript:alert(1))",
    "[x](vbscript:x) [x](data:text/html,<script>alert(1)</script>) [x](//a.example) [x](/api/v1/discard)",
    "<javascript:alert(1)> <https://a.example/?<script>>",
    "![x](data:image/svg+xml;base64,PHN2Zz4=) ![x](https://a.example/x.svg \"onload=alert(1)\")",
    "[x](https://a.example/\"onmouseover=\"alert(1) 'y\" onclick=\"alert(1)')",
    "[x][r]\n\n[r]: javascript:alert(1) 'onclick=1'\n\n[r2]: https://a.example '\" onclick=1'\n[x][r2]",
    "```html\n</code></pre><script>alert(1)</script>\n```",
    "```\"><img src=x onerror=alert(1)>\n\"><img src=x onerror=alert(1)>\n```",
    "| a | b |\n|:-:|--:|\n| <script> | `</td><script>` |",
    "# x {#id onclick=alert(1)}\n\n- [x] <b>\n\n7. <i>",
    "\u{1b}[31m<b>\u{1b}[0m\u{1b}[38;5;\"><script>m",
    "\u{1b}]8;;javascript:alert(1)\u{7}link\u{1b}]8;;\u{7}\u{1b}]0;title\u{7}\u{1b}P1;2|x\u{1b}\\",
    "\u{9b}31m\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{8}\r\u{c}\u{0}<script>",
    "<b>\u{200b}\u{feff}<math><mtext></table><mglyph><style><img src=x onerror=alert(1)>",
];

const NAMES: [&str; 4] = [
    "<img src=x onerror=alert(1)>.html",
    "\"><script>alert(1)<.rs",
    "a\u{202e}\u{1b}[31mb\n+++ b&lt;.svg",
    "[x](javascript:alert(1)).md",
];

/// An actor, a critic and a check that say all of it everywhere.
fn recorded() -> TestEnv {
    let evil = EVIL.join("\n\n");
    let mut said = vec![json!({"type": "system", "subtype": "init", "session_id": evil, "model": EVIL[2]})];
    let mut say = |block: Value| {
        said.push(json!({"type": "assistant", "message": {"id": EVIL[0], "content": [block]}}));
    };
    for (number, text) in EVIL.iter().enumerate() {
        say(json!({"type": "thinking", "thinking": text}));
        say(
            json!({"type": "tool_use", "id": format!("{number}{text}"), "name": text, "input": {"command": text, *text: [text]}}),
        );
        say(json!({"type": "tool_use", "id": format!("w{number}"), "name": "Edit",
                   "input": {"file_path": text, "old_string": format!("a\n{text}"), "new_string": text}}));
        say(
            json!({"type": "tool_use", "id": format!("r{number}"), "name": "Read", "input": {"path": text, "x": text}}),
        );
        say(
            json!({"type": "tool_use", "id": format!("b{number}"), "name": "Bash", "input": {"command": ["sh", "-c", text]}}),
        );
        say(json!({"type": "tool_use", "id": format!("t{number}"), "name": text, "input": text}));
        say(json!({"type": "text", "text": text}));
        say(json!({"type": text, "text": text}));
    }
    say(
        json!({"type": "tool_use", "id": "p", "name": "TodoWrite", "input": {"todos": [{"content": evil, "status": evil}]}}),
    );
    say(json!({"type": "text", "text": evil}));
    for (number, text) in EVIL.iter().enumerate() {
        for call in [format!("{number}{text}"), format!("w{number}"), format!("b{number}")] {
            let result = json!({"type": "tool_result", "tool_use_id": call, "content": text, "is_error": true});
            said.push(json!({"type": "user", "message": {"content": [result]}}));
        }
    }
    said.push(json!({"type": evil}));
    said.push(json!({"type": "result", "subtype": "success", "is_error": false, "result": evil, "usage": {}}));
    let judged = json!({"decision": "CONTINUE", "feedback": evil, "summary": evil});
    let env = world(&[
        ("actor", "claude-stream", "cat \"$HOME/said\"; cat \"$HOME/evil\" >&2; sh \"$HOME/names\""),
        ("critic", "text", "cat \"$HOME/judged\""),
    ]);
    let write = |name: &str, content: &str| std::fs::write(env.home().join(name), content).unwrap();
    write("said", &lines(&said));
    write("judged", &judged.to_string());
    write("evil", &evil);
    let names: String =
        NAMES.iter().map(|name| format!("tr -d '\\0' <\"$HOME/evil\" | head -n 16 >>'{name}'\n")).collect();
    write("names", &names);
    let prompt = evil.replace('\0', "");
    env.decklog(&[
        "loop",
        "--actor",
        "actor",
        "--critic",
        "critic",
        "--check",
        "cat \"$HOME/evil\"; exit 1",
        "-n",
        "1",
        &prompt,
    ]);
    env.decklog(&["run", "--", "sh", "-c", "cat \"$HOME/evil\"; cat \"$HOME/evil\" >&2; exit 3"]).expect(2);
    env
}

#[test]
fn nothing_that_was_written_becomes_a_tag() {
    let env = recorded();
    let (_ui, client) = serve(&env);
    let mut pieces = 0;
    assert_eq!(env.sessions().len(), 2);
    for dir in env.sessions() {
        let id = id(&dir);
        let outline = client.json(&format!("/sessions/{id}/outline"));
        pieces += tags::check_all(&outline, "outline");
        for turn in outline["turns"].as_array().unwrap() {
            let (number, count) = (turn["turn"].as_u64().unwrap(), turn["steps"].as_u64().unwrap());
            for from in (0..count).step_by(200) {
                let steps = client.json(&format!("/sessions/{id}/turns/{number}/steps?from={from}"));
                pieces += tags::check_all(&steps, "steps");
            }
        }
        pieces += tags::check_all(&client.json(&format!("/sessions/{id}/changes")), "changes");
        for log in client.json(&format!("/sessions/{id}/logs")).as_array().unwrap() {
            let log = client.json(&format!("/sessions/{id}/logs/{}", log["name"].as_str().unwrap()));
            pieces += tags::check_all(&log, "log");
        }
    }
    assert!(pieces > 400, "{pieces} pieces of HTML");
}

#[test]
fn nothing_of_it_acts_while_it_comes_or_on_a_page_that_is_saved() {
    let env = recorded();
    let (_ui, client) = serve(&env);
    let mut pieces = 0;
    for dir in env.sessions() {
        let id = id(&dir);
        for told in client.follow(&format!("/sessions/{id}/live"), None) {
            assert_ne!(told.kind, "trouble", "{}", told.data);
            pieces += tags::check_all(&told.data, "live");
        }
        // A page that is saved holds nothing that acts either.
        let page = client.get(&format!("/api/v1/export?format=html&id={id}")).expect(200);
        assert_eq!(page.headers.get("content-type"), Some("application/octet-stream"));
        let text = page.text();
        let body = text.split_once("</style>").unwrap().1;
        for (name, attributes) in tags::tags(body) {
            let acts = [
                "script", "img", "svg", "iframe", "meta", "style", "link", "form", "base", "math", "object", "!--",
                "x", "b",
            ];
            assert!(!acts.contains(&name.as_str()), "<{name}>");
            assert!(
                attributes.iter().all(|(key, _)| !key.starts_with("on") && key != "src"),
                "<{name} {attributes:?}>"
            );
        }
    }
    assert!(pieces > 300, "{pieces} pieces of HTML");
}

#[test]
fn names_of_files_and_words_of_errors_are_data() {
    let env = recorded();
    let (ui, client) = serve(&env);
    let dir = env
        .sessions()
        .into_iter()
        .find(|dir| client.json(&format!("/sessions/{}", id(dir)))["session"]["kind"] == "loop");
    let id = id(&dir.unwrap());
    let changes = client.json(&format!("/sessions/{id}/changes"));
    let listed = client.json(&format!("/sessions/{id}/diff"));
    for name in NAMES {
        assert!(listed.as_array().unwrap().iter().any(|file| file["path"] == name), "{name}: {listed}");
    }
    for file in changes["files"].as_array().unwrap() {
        let escaped: String = file["path"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let one = client.json(&format!("/sessions/{id}/changes?path={escaped}"));
        assert_eq!(one["files"][0]["path"], file["path"]);
        assert!(tags::check_all(&one, "changes") > 0);
    }
    // What was asked for comes back in an error, as JSON and as nothing else.
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E";
    for path in [
        format!("/sessions/{}", evil.replace('/', "%2f")),
        format!("/sessions/{id}/logs/{}", evil.replace('/', "%2f")),
        format!("/sessions/{id}/files/{evil}"),
        format!("/sessions?sort={evil}"),
        format!("/sessions?{evil}=1"),
        format!("/export?format={evil}&id={id}"),
        format!("/{evil}"),
    ] {
        let answer = client.get(&format!("/api/v1{path}"));
        assert!((400..500).contains(&answer.status) && !answer.error().is_empty(), "{path}: {}", answer.status);
        assert_eq!(answer.headers.get("content-type"), Some("application/json"), "{path}");
    }
    let page = client.get(&format!("/{evil}?token=x")).expect(200).text();
    assert!(!page.contains("<script"), "{page}");
    let request = b"GET /\"><script>alert(1)</script>?token=x HTTP/1.1\r\nconnection: close\r\n\r\n";
    let answer = String::from_utf8_lossy(&raw(ui.port, request)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("<script"), "{answer}");
}
