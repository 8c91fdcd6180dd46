//! The API says what the command line says with `--json`.

use serde_json::Value;

use super::client::Client;
use super::server::serve;
use super::{id, printed, six_days};
use crate::env::TestEnv;

#[test]
fn sessions_are_those_of_ls_whatever_is_asked_for() {
    let env = six_days();
    let (_ui, client) = serve(&env);
    assert_eq!(client.json("/sessions"), printed(&env, &["ls", "--all"]));
    assert_eq!(client.json("/stats"), printed(&env, &["stats"]));
    for by in ["agent", "week"] {
        assert_eq!(client.json(&format!("/stats?by={by}")), printed(&env, &["stats", "--by", by]));
    }
    let some = client.json("/stats?by=kind&by=outcome&agent=ada");
    let all = printed(&env, &["stats", "--agent", "ada"]);
    let (kinds, outcomes) = (&all["by"]["kind"], &all["by"]["outcome"]);
    assert_eq!(some, serde_json::json!({ "all": all["all"], "by": { "kind": kinds, "outcome": outcomes } }));
    let hash = printed(&env, &["ls"])[2]["prompt_hash"].as_str().unwrap().to_owned();
    let cwd = env.work().canonicalize().unwrap().to_string_lossy().into_owned();
    // Files that were changed are known once they are indexed.
    client.wait_for_texts();
    let given: &[(&[(&str, &str)], usize)] = &[
        (&[("outcome", "success")], 4),
        (&[("outcome", "failed"), ("outcome", "crashed")], 2),
        (&[("status", "crashed")], 1),
        (&[("status", "completed"), ("kind", "run")], 3),
        (&[("kind", "loop")], 1),
        (&[("kind", "race"), ("kind", "loop")], 2),
        (&[("agent", "ADA")], 2),
        (&[("agent", "ad")], 0),
        (&[("model", "opus")], 2),
        (&[("model", "=Opus-Large")], 2),
        (&[("model", "=opus")], 0),
        (&[("project", "work")], 6),
        (&[("project", &cwd)], 6),
        (&[("project", "../elsewhere")], 0),
        (&[("after", "2026-05-02"), ("before", "2026-05-04T00:00:00Z")], 2),
        (&[("after", "60h")], 2),
        (&[("before", "yesterday")], 5),
        (&[("search", "MAKE it")], 1),
        (&[("search", "a&b=c#d+e%20")], 0),
        (&[("touched", "auth.rs")], 1),
        (&[("touched", "src/*.rs")], 4),
        (&[("min-cost", "0.6")], 1),
        (&[("longer-than", "1s")], 0),
        (&[("at-most", "1s")], 6),
        (&[("iterations", "1..")], 1),
        (&[("weekday", "fri"), ("weekday", "mon"), ("hour", "12")], 2),
    ];
    for (filters, count) in given {
        let query = query(filters);
        let mut arguments = vec!["--all".to_owned()];
        arguments.extend(filters.iter().map(|(name, value)| format!("--{name}={value}")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let found = client.json(&format!("/sessions?{query}"));
        assert_eq!(found.as_array().unwrap().len(), *count, "{query}");
        assert_eq!(found, printed(&env, &[&["ls"], &arguments[..]].concat()), "{query}");
        assert_eq!(
            client.json(&format!("/stats?{query}")),
            printed(&env, &[&["stats"], &arguments[1..]].concat()),
            "{query}"
        );
    }
    let same = client.json(&format!("/sessions?prompt-hash={hash}"));
    assert_eq!(same, client.json(&format!("/sessions?prompt_hash={hash}&agent=&after=")));
    assert_eq!(same, printed(&env, &["ls", "--same-prompt", "@3"]));
    let facets = client.json("/facets");
    assert_eq!((&facets["sessions"], &facets["unreadable"]), (&6.into(), &serde_json::json!([])));
    assert_eq!(facets["project"][0]["sessions"], 6);
}

/// The query of an address, everything escaped that could be.
fn query(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

#[test]
fn a_session_is_what_show_diff_logs_and_network_say() {
    let env = six_days();
    let logs = env.sessions()[0].join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    let connection = "{\"ts\":1,\"id.resp_h\":\"192.0.2.1\",\"id.resp_p\":443,\"proto\":\"tcp\",\"decklog.action\":\"deny\",\
                      \"decklog.rule\":\"default\",\"decklog.host\":\"a.example\"}\n";
    std::fs::write(logs.join("network.jsonl"), connection).unwrap();
    let (_ui, client) = serve(&env);
    let first = id(&env.sessions()[0]);
    assert_eq!(client.json(&format!("/sessions/{first}/network"))["places"][0]["host"], "a.example");
    for dir in env.sessions() {
        let id = id(&dir);
        for (path, arguments) in [("", &["show"][..]), ("/logs", &["logs"]), ("/network", &["network"])] {
            let said = client.json(&format!("/sessions/{id}{path}"));
            assert_eq!(said, printed(&env, &[arguments, &[&id]].concat()), "{id}{path}");
        }
        let turns = client.json(&format!("/sessions/{id}"))["turns"].as_array().unwrap().len();
        for turn in (1..=turns).map(|turn| turn.to_string()) {
            let said = client.json(&format!("/sessions/{id}?turn={turn}"));
            assert_eq!(said, printed(&env, &["show", &id, "--turn", &turn]));
            check_diff(&env, &client, &id, Some(("turn", &turn)));
        }
        check_diff(&env, &client, &id, None);
        let range = format!("1..{turns}");
        check_diff(&env, &client, &id, Some(("turn", &range)));
        for iteration in ["1", "2", "3"] {
            check_diff(&env, &client, &id, Some(("iteration", iteration)));
        }
        let beyond = (turns + 1).to_string();
        env.decklog(&["show", &id, "--turn", &beyond, "--json"]).expect(2);
        assert_eq!(client.refusal(&format!("/sessions/{id}?turn={beyond}")).0, 404);
        let journal = std::fs::read_to_string(dir.join("journal.jsonl")).unwrap();
        let events: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(client.json(&format!("/sessions/{id}/events")), Value::from(events.clone()));
        assert_eq!(client.json(&format!("/sessions/{id}/events?from=1&limit=1")), Value::from(vec![events[1].clone()]));
    }
}

/// Sees that a diff, or why there is none, is the command line's; and the patch with it.
#[track_caller]
fn check_diff(env: &TestEnv, client: &Client, id: &str, of: Option<(&str, &str)>) {
    let (query, arguments) = match of {
        None => (String::new(), vec!["diff".to_owned(), id.to_owned()]),
        Some((name, value)) => {
            (format!("?{name}={value}"), vec!["diff".to_owned(), id.to_owned(), format!("--{name}={value}")])
        }
    };
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let patch = env.decklog(&arguments);
    arguments.push("--json");
    let ran = env.decklog(&arguments);
    let answer = client.get(&format!("/api/v1/sessions/{id}/diff{query}"));
    let download = client.get(&format!("/api/v1/sessions/{id}/patch{query}"));
    if ran.code == 0 {
        assert_eq!(answer.expect(200).json(), ran.json(), "{id} {of:?}");
        assert_eq!(download.expect(200).text(), patch.stdout, "{id} {of:?}");
    } else {
        let error = answer.expect(404).error();
        assert!(ran.stderr.contains(&error) || ran.stdout.contains(&error), "{id} {of:?}: {error}: {ran:?}");
        download.expect(404);
    }
}

#[test]
fn searches_find_what_the_command_line_finds() {
    let mut env = six_days();
    env.set("DECKLOG_TEST_NOW", "2026-05-06T13:00:00Z");
    env.decklog(&["run", "--", "echo", "parsers parsers parsers"]).expect(0);
    let (_ui, client) = serve(&env);
    client.wait_for_texts();
    for (query, arguments) in [
        ("q=config", &["config"][..]),
        ("q=parse_config", &["parse_config"]),
        ("q=asked+for&agent=bob", &["asked for", "--agent", "bob"]),
        ("q=%22asked%20for%22&limit=1", &["\"asked for\"", "-n", "1"]),
        ("q=file:auth.rs", &["file:auth.rs"]),
        ("q=done+-asked", &["done -asked"]),
        ("q=nothingness", &["nothingness"]),
        ("q=done&outcome=success&kind=loop", &["done", "--outcome", "success", "--kind", "loop"]),
    ] {
        let mut hits = client.json(&format!("/search?{query}"));
        for hit in hits.as_array_mut().unwrap() {
            // What a row says of it comes with each hit.
            let session = hit.as_object_mut().unwrap().remove("session").unwrap();
            assert_eq!(session["id"], hit["id"], "{query}");
        }
        assert_eq!(hits, printed(&env, &[&["search"], arguments].concat()), "{query}");
    }
    assert_eq!(client.json("/search?q=parse_conf&typed=true").as_array().unwrap().len(), 1);
    // What holds the word as it is comes before what is newer, and only begins so.
    let typed = client.json("/search?q=parse&typed=true");
    let days: Vec<&str> = typed.as_array().unwrap().iter().map(|hit| &hit["id"].as_str().unwrap()[6..8]).collect();
    assert_eq!(days, ["01", "06"], "{typed}");
    for (wrong, told) in [("q=", "no word"), ("", "no word"), ("q=x+file:", "must follow"), ("q=x&limit=no", "limit")] {
        let (status, error) = client.refusal(&format!("/search?{wrong}"));
        assert!(status == 400 && error.contains(told), "{wrong}: {status} {error}");
    }
}

#[test]
fn everything_that_is_described_is_answered() {
    let env = six_days();
    let (_ui, client) = serve(&env);
    let document = client.json("/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let id = id(&env.sessions()[0]);
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let target = path
                .replace("{id}", &id)
                .replace("{turn}", "1")
                .replace("{name}", "001-stream")
                .replace("{path}", "journal.jsonl");
            let more = match path.as_str() {
                "/search" => "?q=config".to_owned(),
                "/export" => format!("?format=jsonl&id={id}"),
                _ => String::new(),
            };
            if method == "post" {
                continue;
            }
            let (status, headers, _) = client.open("GET", &format!("/api/v1{target}{more}"), &[], b"");
            assert_eq!(status, 200, "{target}");
            let kind = headers.get("content-type").unwrap();
            let described = operation["responses"]["200"]["content"].as_object().unwrap();
            assert!(described.contains_key(kind), "{target} is {kind}");
            asked += 1;
            // Nothing else can be asked for.
            if path != "/live" && path != "/openapi.json" {
                let (status, ..) = client.open("GET", &format!("/api/v1{target}?nobody=knows"), &[], b"");
                assert_eq!(status, 400, "{target}");
            }
        }
    }
    assert!(asked >= 20, "{asked}");
}
