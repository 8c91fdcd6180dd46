//! A session that was just looked at is kept; what is told is what stands in its journal all the same.

use std::io::Write as _;

use serde_json::Value;

use super::id;
use super::server::serve;
use crate::env::TestEnv;

#[test]
fn what_was_kept_is_what_stands_in_the_journal() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "echo said"]).expect(0);
    let path = env.session().join("journal.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let (_ui, client) = serve(&env);
    let outline = format!("/sessions/{}/outline", id(&env.session()));
    let steps = format!("/sessions/{}/turns/1/steps", id(&env.session()));
    let told = client.json(&outline);
    let said = client.json(&steps);
    assert!(told["faults"] == serde_json::json!([]) && told["position"] == whole.len(), "{told}");
    let faults = || client.json(&outline)["faults"].as_array().map(Vec::len);

    // Another of the same length, in the same file.
    let altered = String::from_utf8(whole.clone()).unwrap().replace("said", "sold");
    std::fs::write(&path, &altered).unwrap();
    assert!(faults() > Some(0));
    assert_ne!(client.json(&steps), said);

    // Shorter, and longer again: read on, not anew.
    let cut = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(&path, &whole[..cut]).unwrap();
    assert_eq!((faults(), &client.json(&outline)["turns"][0]["outcome"]), (Some(0), &told["turns"][0]["outcome"]));
    assert_eq!(client.json(&outline)["position"], cut);
    let append = |bytes: &[u8]| {
        std::fs::File::options().append(true).open(&path).unwrap().write_all(bytes).unwrap();
    };
    append(&whole[cut..]);
    assert_eq!((client.json(&outline), client.json(&steps)), (told.clone(), said.clone()));

    // A line that was begun is told, and forgotten when it is cut off.
    append(b"{\"seq\"");
    assert_eq!((faults(), faults()), (Some(1), Some(1)));
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(client.json(&outline), told);
}

#[test]
fn long_lines_come_a_few_at_a_time_and_none_is_lost() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let path = env.session().join("journal.jsonl");
    let before = std::fs::read_to_string(&path).unwrap().lines().count();
    let mut journal = std::fs::File::options().append(true).open(&path).unwrap();
    for number in 0..9 {
        writeln!(journal, "{number}{}", "x".repeat(1_000_000)).unwrap();
    }
    let (_ui, client) = serve(&env);
    let mut lines: Vec<Value> = Vec::new();
    loop {
        let path = format!("/sessions/{}/events?from={}", id(&env.session()), lines.len());
        let Value::Array(more) = client.json(&path) else { panic!("no list") };
        if more.is_empty() {
            break;
        }
        let long = more.iter().filter(|line| line.as_str().is_some_and(|text| text.len() > 999_999)).count();
        assert!(long <= 5, "{long} at once");
        lines.extend(more);
    }
    let first: Vec<char> = lines[before..].iter().map(|line| line.as_str().unwrap().chars().next().unwrap()).collect();
    assert_eq!((lines.len(), first), (before + 9, ('0'..='8').collect()));
}
