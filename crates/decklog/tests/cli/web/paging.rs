//! Lists a page at a time, in any order; and questions that are none.

use serde_json::Value;

use super::client::Client;
use super::server::serve;
use super::{id, six_days};
use crate::env::{TestEnv, all_bytes, ids};

/// Takes a value out of a session's summary.
type Of = fn(&Value) -> Value;

/// What a list can be sorted by, and where that stands in a session's summary.
const SORTS: [(&str, Of); 12] = [
    ("started", |head| head["started_at"].clone()),
    // What crashed lasted until its last event: at once, by the clock of these tests.
    ("duration", |head| head["duration_secs"].as_f64().unwrap_or(0.0).into()),
    ("turns", |head| head["turns"].clone()),
    ("iterations", |head| head["iterations"].clone()),
    ("tokens", |head| match &head["tokens"] {
        Value::Null => Value::Null,
        tokens => (tokens["input"].as_u64().unwrap() + tokens["output"].as_u64().unwrap()).into(),
    }),
    ("cost", |head| head["cost_usd"].clone()),
    ("files", |head| head["files_changed"].clone()),
    ("kind", |head| head["kind"].clone()),
    ("agent", |head| joined(&head["agents"])),
    ("model", |head| joined(&head["models"])),
    ("project", |head| head["project"].clone()),
    ("outcome", |head| if head["outcome"].is_null() { head["status"].clone() } else { head["outcome"].clone() }),
];

fn joined(list: &Value) -> Value {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { Value::Null } else { words.join(", ").into() }
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.as_str().unwrap().cmp(b.as_str().unwrap()),
    }
}

#[test]
fn every_column_sorts_both_ways_and_what_is_missing_comes_last() {
    let env = six_days();
    let (_ui, client) = serve(&env);
    let newest_first = ids(&client.json("/sessions"));
    let mut missing = 0;
    for (sort, of) in SORTS {
        for order in ["asc", "desc"] {
            let heads = client.json(&format!("/sessions?sort={sort}&order={order}"));
            let values: Vec<Value> = heads.as_array().unwrap().iter().map(of).collect();
            let there = values.iter().take_while(|value| !value.is_null()).count();
            assert!(values[there..].iter().all(Value::is_null), "{sort} {order}: {values:?}");
            missing += values.len() - there;
            let is_right = |pair: &[Value]| match order {
                "asc" => compare(&pair[0], &pair[1]).is_le(),
                _ => compare(&pair[0], &pair[1]).is_ge(),
            };
            assert!(values[..there].windows(2).all(is_right), "{sort} {order}: {values:?}");
            let mut all = ids(&heads);
            all.sort_by(|a, b| b.cmp(a));
            assert_eq!(all, newest_first, "{sort} {order}");
        }
    }
    assert!(missing > 0, "some have no cost, no model, no iterations");
}

/// Follows the links from page to page.
fn walk(client: &Client, first: &str) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut sizes) = (Vec::new(), Vec::new());
    let mut next = Some(first.to_owned());
    while let Some(target) = next {
        let answer = client.get(&target).expect(200);
        let page = ids(&answer.json());
        sizes.push(page.len());
        all.extend(page);
        next = answer.headers.get("link").map(|link| {
            let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(rest, "; rel=\"next\"");
            target.to_owned()
        });
    }
    (all, sizes)
}

#[test]
fn pages_follow_each_other_by_their_links() {
    let env = six_days();
    let (_ui, client) = serve(&env);
    let all = ids(&client.json("/sessions"));
    let (walked, sizes) = walk(&client, "/api/v1/sessions?limit=4");
    assert_eq!((walked, sizes), (all.clone(), vec![4, 2]));
    let (walked, sizes) = walk(&client, "/api/v1/sessions?limit=3");
    assert_eq!((walked, sizes), (all.clone(), vec![3, 3]));
    let (mut walked, sizes) = walk(&client, "/api/v1/sessions?limit=1&sort=started&order=asc&offset=1");
    walked.reverse();
    assert_eq!((&walked[..], sizes.len()), (&all[..5], 5));
    let filtered = client.get("/api/v1/sessions?limit=1&outcome=success&search=%22%3e%26&search=x").expect(400);
    assert!(filtered.error().contains("once"), "{}", filtered.text());
    let (walked, sizes) = walk(&client, "/api/v1/sessions?limit=1&project=work&outcome=success&sort=agent");
    assert_eq!((walked.len(), sizes.len()), (4, 4));
    for (query, count) in
        [("limit=2", "6"), ("offset=5", "6"), ("offset=600", "6"), ("kind=loop", "1"), ("agent=x", "0")]
    {
        let answer = client.get(&format!("/api/v1/sessions?{query}")).expect(200);
        assert_eq!(answer.headers.get("x-total-count"), Some(count), "{query}");
    }
    for past in ["offset=6", "offset=18446744073709551615", "limit=0"] {
        let answer = client.get(&format!("/api/v1/sessions?{past}")).expect(200);
        assert_eq!((answer.json(), answer.headers.get("link")), (serde_json::json!([]), None), "{past}");
    }
}

#[test]
fn a_list_is_of_what_is_there_now() {
    let env = TestEnv::new();
    let (_ui, client) = serve(&env);
    assert_eq!(client.json("/sessions?sort=turns"), serde_json::json!([]));
    for count in 1..=3 {
        env.decklog(&["run", "--", "true"]).expect(0);
        assert_eq!(client.json("/sessions?sort=turns").as_array().unwrap().len(), count);
        assert_eq!(client.json("/stats")["all"]["sessions"], count);
    }
    env.decklog(&["discard", "-y", "@2"]).expect(0);
    assert_eq!(client.json("/sessions?sort=turns").as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_asked_says_what_can_and_changes_nothing() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "echo one; echo x >>a.txt"]).expect(0);
    let (_ui, client) = serve(&env);
    client.json("/sessions");
    let before = all_bytes(&env.session());
    let id = id(&env.session());
    let one = |path: &str| format!("/sessions/{id}{path}");
    for (path, told) in [
        ("/sessions?sort=prompt".to_owned(), "started, duration, turns"),
        ("/sessions?order=up".to_owned(), "asc and desc"),
        ("/sessions?limit=-1".to_owned(), "limit"),
        ("/sessions?limit=1.5".to_owned(), "limit"),
        ("/sessions?limit=99999999999999999999".to_owned(), "limit"),
        ("/sessions?offset=x".to_owned(), "offset"),
        ("/sessions?sort=turns&sort=cost".to_owned(), "sort"),
        ("/sessions?colour=red".to_owned(), "there are outcome, status"),
        ("/sessions?token=x".to_owned(), "token"),
        ("/sessions?outcome=good".to_owned(), "max_iterations_reached"),
        ("/sessions?status=done".to_owned(), "checkpointed"),
        ("/sessions?kind=walk".to_owned(), "import"),
        ("/sessions?after=soon".to_owned(), "is no time"),
        ("/sessions?before=2026-02-30".to_owned(), "is no time"),
        ("/sessions?after=1d&after=2d".to_owned(), "once"),
        ("/sessions?touched=a%5b".to_owned(), "is no glob"),
        ("/sessions?min-cost=much".to_owned(), "write dollars"),
        ("/sessions?longer-than=1y".to_owned(), "no age"),
        ("/stats?outcome=good".to_owned(), "max_iterations_reached"),
        ("/stats?by=day&by=colour".to_owned(), "is none of: project,"),
        ("/charts?by=day".to_owned(), "by"),
        ("/charts?kind=walk".to_owned(), "import"),
        ("/facets?kind=run".to_owned(), "kind"),
        (one("?turn=x"), "turn"),
        (one("?turns=1"), "turns"),
        (one("/outline?x"), "x"),
        (one("/turns/x/steps"), "a turn is a number"),
        (one("/turns/-1/steps"), "a turn is a number"),
        (one("/turns/1/steps?from=x"), "from"),
        (one("/turns/1/steps?limit=x"), "limit"),
        (one("/diff?turn=0"), "1..3"),
        (one("/diff?turn=2..1"), "1..3"),
        (one("/diff?turn=1..2..3"), "1..3"),
        (one("/diff?turn=1&iteration=1"), ""),
        (one("/diff?iteration=x"), "iteration"),
        (one("/diff?path=a.txt"), "path"),
        (one("/patch?turn=a"), "1..3"),
        (one("/events?from=x"), "from"),
        (one("/network?x=1"), "x"),
        (one("/logs?x=1"), "x"),
        (one("/logs/001-stream?offset=-1"), "offset"),
        (one("/files/journal.jsonl?x"), "x"),
        (one("/live?after=x"), "after"),
        ("/export?format=jsonl".to_owned(), "between 1 and"),
        (format!("/export?id={id}"), "no format"),
        (format!("/export?id={id}&format=pdf"), "no format"),
        (format!("/export?id={id}&format=jsonl&x=1"), "x"),
    ] {
        let (status, error) = client.refusal(&path);
        // A turn or an iteration that is a number and is not there is missed, not misunderstood.
        let missed = path.contains("turn=1&iteration");
        assert!(status == 400 || missed && status == 404, "{path}: {status} {error}");
        assert!(error.contains(told), "{path}: {error}");
    }
    for path in
        [one("/turns/2/steps"), one("?turn=2"), one("/diff?turn=2"), one("/diff?iteration=1"), one("/logs/nothing")]
    {
        assert_eq!(client.refusal(&path).0, 404, "{path}");
    }
    assert_eq!(client.json(&one("/turns/1/steps?from=900")), serde_json::json!([]));
    assert!(all_bytes(&env.session()) == before);
}
