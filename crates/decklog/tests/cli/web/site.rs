//! `ui --export`: pages that need no server.

use super::six_days;
use crate::env::ids;

#[test]
fn a_site_is_a_list_and_a_page_for_each_session() {
    let env = six_days();
    let ran = env.decklog(&["ui", "--export", "site", "--agent", "ada"]).expect(0);
    assert!(ran.stderr.contains("2 sessions in ") && ran.stdout.is_empty(), "{}{}", ran.stdout, ran.stderr);
    let front = env.read("site/index.html");
    let listed = ids(&env.decklog(&["ls", "--json", "--agent", "ada"]).expect(0).json());
    assert_eq!(listed.len(), 2);
    let mut at = 0;
    for id in &listed {
        let link = format!("<a href=\"{id}.html\">");
        at += front[at..].find(&link).unwrap_or_else(|| panic!("{link} in order: {front}"));
        assert_eq!(env.read(&format!("site/{id}.html")), env.decklog(&["show", id, "--html"]).expect(0).stdout, "{id}");
    }
    assert_eq!(std::fs::read_dir(env.work().join("site")).unwrap().count(), 3);
    assert!(front.contains("default-src 'none'") && !front.contains("<script"), "{front}");
}

#[test]
fn nothing_is_written_over_and_what_cannot_be_is_said() {
    let env = six_days();
    std::fs::create_dir(env.work().join("site")).unwrap();
    env.write("site/mine.txt", "mine\n");
    let refused = env.decklog(&["ui", "--export", "site"]).expect(2);
    assert!(refused.stderr.contains("not empty") && refused.stderr.contains("new or empty"), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(env.work().join("site")).unwrap().count(), 1);
    let alone = env.decklog(&["ui", "--agent", "ada"]).expect(2);
    assert!(alone.stderr.contains("--export"), "{}", alone.stderr);
    for wrong in [&["ui", "--export", "new", "--port", "7"][..], &["ui", "--export", "new", "--after", "soon"]] {
        env.decklog(wrong).expect(2);
        assert!(!env.work().join("new").join("index.html").exists(), "{wrong:?}");
    }
    // One that cannot be read is told, and the others are written.
    let sessions = env.sessions();
    std::fs::write(sessions[0].join("journal.jsonl"), "nothing\n").unwrap();
    let ran = env.decklog(&["ui", "--export", "rest"]).expect(0);
    assert!(ran.stderr.contains("5 sessions in "), "{}", ran.stderr);
}
