//! What is shown: pages, patches on a terminal and in a pipe.

use crate::env::TestEnv;
use crate::faults::{append, harmless, hostile_session, on_a_terminal};

#[test]
fn a_page_stands_for_itself_and_is_never_written_over() {
    let env = TestEnv::new().fixed();
    env.decklog(&["run", "--check", "true", "--", "sh", "-c", "echo '# Done'; echo two >> a.txt"]).expect(0);
    let page = env.decklog(&["show", "@", "--html"]).expect(0).stdout;
    for part in [
        "<pre class=prose># Done</pre>",
        "check passed",
        "<tr class=a>",
        "20260501T134412-3f2a",
        "Content-Security-Policy",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for foreign in ["src=", "<script", "@import", "url(", "<link"] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    let ran = env.decklog(&["show", "@", "--html", "page.html"]).expect(0);
    assert_eq!((ran.stdout.as_str(), env.read("page.html")), ("", page));
    env.write("page.html", "mine");
    let refused = env.decklog(&["show", "@", "--html", "page.html"]).expect(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(env.read("page.html"), "mine");
    env.decklog(&["show", "@", "--html", "page.html", "--force"]).expect(0);
    assert!(env.read("page.html").contains("check passed"));
    env.decklog(&["show", "@", "--html", "no/such/page.html"]).expect(2);
}

#[test]
fn a_page_tells_of_the_container_and_where_it_connected() {
    let env = TestEnv::new().fixed();
    env.decklog(&["run", "--", "true"]).expect(0);
    let session = env.session();
    let call = |id: &str, command: &str| {
        [
            format!(
                r#""type":"tool_call","turn":2,"call_id":"{id}","name":"shell__run","kind":"execute","title":"{command}","input":{{"command":"{command}"}},"status":"in_progress""#
            ),
            format!(
                r#""type":"tool_result","turn":2,"call_id":"{id}","status":"completed","output":"said","duration_secs":0.5"#
            ),
        ]
    };
    let container = |network: &str| {
        format!(
            r#""type":"container","image_config_name":"coding","image_tag":"localhost/decklog/coding:22ad7b596996c9b5","container_name":"decklog-20260501T134412-3f2a","workspace":"/workspace","network":"{network}""#
        )
    };
    let mut events = vec![
        r#""type":"resumed","decklog_version":"0.1.0""#.to_owned(),
        container("audit"),
        container("filter"),
        r#""type":"turn_start","turn":2,"agent":"","role":"solo","command":[]"#.to_owned(),
    ];
    events.extend(call("call-1", "curl https://example.com/"));
    events.extend(call("call-2", "sh install.sh"));
    events.push(
        r#""type":"turn_end","turn":2,"outcome":"success","duration_secs":1.0,"files_changed":0,"files":[]"#.to_owned(),
    );
    append(&session, &events);
    let connection = |call: &str, host: &str, bytes: u64, more: &str| {
        format!(
            r#"{{"ts":1777643400.0,"id.resp_h":"198.51.100.7","id.resp_p":443,"orig_bytes":{bytes},"resp_bytes":{bytes},"decklog.host":"{host}","decklog.calls":["2/{call}"],{more}}}"#
        )
    };
    let allowed = r#""proto":"tcp","service":"ssl","decklog.action":"allow","decklog.rule":"example.com:443""#;
    let refused = r#""proto":"tcp","service":"-","decklog.action":"deny","decklog.rule":"default""#;
    let forged = r#""proto":"tcp","service":"http","decklog.action":"deny","decklog.rule":"claimed name","decklog.claimed":"b.evil.test""#;
    let question = |action: &str| {
        format!(
            r#""proto":"udp","service":"dns","query":"q.test","decklog.action":"{action}","decklog.rule":"default""#
        )
    };
    let hostile = format!("<img src=x onerror=alert(1)>\\u202e{}", "x".repeat(300));
    let lines = [
        connection("call-1", "example.com", 5000, allowed),
        connection("call-2", "example.com", 500, allowed),
        connection("call-2", "example.com", 50, forged),
        connection("call-2", &hostile, 0, refused),
        connection("call-2", &hostile, 0, refused),
        connection("call-2", "example.com", 0, &question("allow")),
        connection("call-2", "evil.test", 0, &question("deny")),
        "no record".into(),
        String::new(),
    ];
    std::fs::create_dir(session.join("logs")).unwrap();
    std::fs::write(session.join("logs/network.jsonl"), lines.join("\n")).unwrap();
    let page = env.decklog(&["show", "@", "--html"]).expect(0).stdout;
    assert!(!page.contains("<img"), "{page}");
    let (_, body) = page.split_once("<body>").unwrap();
    insta::assert_snapshot!(env.plain(body));
    // A record that cannot be read is no reason for having no page.
    std::fs::remove_file(session.join("logs/network.jsonl")).unwrap();
    std::fs::create_dir(session.join("logs/network.jsonl")).unwrap();
    let page = env.decklog(&["show", "@", "--html"]).expect(0).stdout;
    assert!(page.contains("<p class=\"notice bad\">network: logs/network.jsonl: "), "{page}");
}

#[test]
fn nothing_hostile_becomes_a_tag() {
    let env = TestEnv::new();
    let xss = "<script>alert(1)</script>\\\"'><img src=x onerror=alert(2)> [x](javascript:alert(3))";
    hostile_session(&env, xss);
    let page = env.decklog(&["show", "@", "--html"]).expect(0).stdout;
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("<div class=md>"));
    let mut rest = page.as_str();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let tag = rest.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        let own = [
            "!doctype",
            "a",
            "blockquote",
            "body",
            "br",
            "code",
            "dd",
            "del",
            "details",
            "div",
            "dl",
            "dt",
            "em",
            "footer",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "head",
            "header",
            "hr",
            "html",
            "input",
            "li",
            "main",
            "mark",
            "meta",
            "ol",
            "p",
            "pre",
            "section",
            "small",
            "span",
            "strong",
            "style",
            "summary",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "title",
            "tr",
            "ul",
        ];
        assert!(own.contains(&name), "<{tag}>");
        assert!(!tag.contains("onerror") && !tag.contains("javascript:"), "<{tag}>");
    }
}

#[test]
fn a_patch_is_laid_out_for_people_and_left_alone_for_programs() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "printf 'fn main() {}\\n' > b.rs; echo two >> a.txt"]).expect(0);
    let piped = env.decklog(&["diff", "@"]).expect(0).stdout;
    assert!(piped.starts_with("diff --git a/a.txt b/a.txt\n"), "{piped}");
    let coloured = env.decklog(&["--color", "always", "diff", "@"]).expect(0).stdout;
    assert!(coloured.contains("\u{1b}[35mfn\u{1b}[0m"), "{coloured:?}");
    let split = env.decklog(&["diff", "@", "-S"]).expect(0).stdout;
    assert!(split.contains(" │   2 +two"), "{split}");
    let shown = on_a_terminal(&env, &["diff", "@", "-S"]);
    harmless("diff -S", &shown);
    assert!(String::from_utf8_lossy(&shown).contains("b.rs"));
}
