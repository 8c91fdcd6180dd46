//! The page itself: one for every view, which runs and loads nothing that is not its own.

use super::server::serve;
use super::{id, tags};
use crate::env::TestEnv;

#[test]
fn the_page_runs_and_loads_nothing_but_its_own_files() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "hi"]).expect(0);
    let (ui, client) = serve(&env);
    let refused = ui.stranger().get("/").expect(401).text();
    let page = client.get("/").expect(200).text();
    for view in ["/stats", "/compare", &format!("/s/{}", id(&env.session())), "/nothing"] {
        assert_eq!(client.get(view).expect(200).text(), page, "{view}");
    }
    for html in [&page, &refused] {
        for (name, attributes) in tags::tags(html) {
            let has = |wanted: &str| attributes.iter().any(|(key, _)| key == wanted);
            assert!(name != "style" && !has("style"), "{html}");
            assert!(name != "script" || has("src"), "{html}");
            for (key, value) in &attributes {
                assert!(!key.starts_with("on"), "{html}");
                assert!(
                    !matches!(key.as_str(), "src" | "href") || value.starts_with('/') && !value.starts_with("//"),
                    "{html}"
                );
            }
        }
    }
    let mut loaded = 0;
    for (_, attributes) in tags::tags(&page) {
        for (_, value) in attributes.iter().filter(|(key, _)| matches!(key.as_str(), "src" | "href")) {
            let answer = client.get(value).expect(200);
            assert_ne!(answer.headers.get("content-type"), Some("text/html; charset=utf-8"), "{value}");
            assert_ne!(answer.headers.get("content-type"), Some("application/octet-stream"), "{value}");
            loaded += 1;
        }
    }
    assert!(loaded >= 2, "{page}");
}
