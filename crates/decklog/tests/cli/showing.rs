//! What is shown: pages, patches on a terminal and in a pipe.

use crate::env::TestEnv;
use crate::faults::{harmless, hostile_session, on_a_terminal};

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
