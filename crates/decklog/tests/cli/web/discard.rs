//! Discarding through the API: only what is asked for, only what is over, only what is decklog's.

use serde_json::json;

use super::id;
use super::server::serve;
use crate::env::{TestEnv, eventually, kill};

#[test]
fn what_is_over_goes_and_what_is_recorded_stays() {
    let env = TestEnv::new();
    for _ in 0..3 {
        env.decklog(&["run", "--", "true"]).expect(0);
    }
    let over = env.sessions();
    let mut recorder = env.start(&["run", "--", "sleep", "1000"]);
    let live = eventually("a turn", || {
        let dir = env.sessions().into_iter().find(|dir| !over.contains(dir))?;
        std::fs::read_to_string(dir.join("journal.jsonl")).ok()?.contains("turn_start").then_some(dir)
    });
    let (_ui, client) = serve(&env);
    let gone = "20200101T000000-0000";
    let request = json!({ "ids": [id(&over[0]), id(&live), gone, id(&over[1])] }).to_string();
    let done = client.post("/discard", &request).expect(200).json();
    assert_eq!(done["removed"], json!([id(&over[0]), id(&over[1])]));
    assert_eq!(done["kept"], json!([]));
    let failed = done["failed"].as_array().unwrap();
    assert_eq!((failed.len(), &failed[0]["id"], &failed[1]["id"]), (2, &id(&live).into(), &gone.into()));
    let error = |at: usize| failed[at]["error"].as_str().unwrap().to_owned();
    let said = env.decklog(&["discard", "-y", &id(&live)]).expect(2).stderr;
    assert!(said.contains(&error(0)) && error(0).contains("record"), "{}: {said}", error(0));
    assert!(error(1).contains(gone), "{}", error(1));
    let mut left = [over[2].clone(), live.clone()];
    left.sort();
    assert_eq!(env.sessions(), left);
    assert_eq!(client.json("/sessions").as_array().unwrap().len(), 2);
    assert_eq!(client.refusal(&format!("/sessions/{}", id(&over[0]))).0, 404);
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
    // Now nobody records it.
    let done = client.post("/discard", &json!({ "ids": [id(&live)] }).to_string()).expect(200).json();
    assert_eq!((&done["removed"], &done["failed"]), (&json!([id(&live)]), &json!([])));
}

#[test]
fn what_is_no_request_changes_nothing() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let (_ui, client) = serve(&env);
    let id = id(&env.session());
    let many = vec![id.as_str(); 10_001];
    let garbage = [
        String::new(),
        "garbage".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "ids": [] }).to_string(),
        json!({ "ids": id }).to_string(),
        json!({ "ids": [id, 1] }).to_string(),
        json!({ "ids": [id], "all": true }).to_string(),
        json!({ "ids": [id, "../outside"] }).to_string(),
        json!({ "ids": [id, "@"] }).to_string(),
        json!({ "ids": [id, id[..8]] }).to_string(),
        json!({ "ids": [id, ""] }).to_string(),
        json!({ "ids": [id, format!("{id}\u{0}")] }).to_string(),
        json!({ "ids": [id, format!("{id}/")] }).to_string(),
        json!({ "ids": [format!("/{id}")] }).to_string(),
        format!("{{\"ids\":[\"{id}\"]"),
        format!("{{\"ids\":[\"{id}\"]}} more"),
        json!({ "ids": many }).to_string(),
    ];
    for body in &garbage {
        let answer = client.post("/discard", body);
        let shown: String = body.chars().take(99).collect();
        assert!(answer.status == 400 && !answer.error().is_empty(), "{shown}: {} {}", answer.status, answer.text());
    }
    // More than is ever read.
    let answer = client.post("/discard", &json!({ "ids": ["x".repeat(3 << 20)] }).to_string());
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    client.post(&format!("/discard?ids={id}"), "").expect(400);
    client.post(&format!("/sessions/{id}"), "").expect(405);
    assert_eq!(env.sessions().len(), 1);
    client.json(&format!("/sessions/{id}"));
}

#[test]
fn what_is_not_decklogs_is_kept_and_told() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let (_ui, client) = serve(&env);
    let session = env.session();
    std::fs::write(session.join("turns/mine.md"), "mine").unwrap();
    std::os::unix::fs::symlink(env.work(), session.join("logs")).unwrap();
    let done = client.post("/discard", &json!({ "ids": [id(&session)] }).to_string()).expect(200).json();
    assert_eq!(done["removed"], json!([id(&session)]));
    let kept: Vec<&str> = done["kept"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(kept.len() == 2 && kept[0].ends_with("/logs") && kept[1].ends_with("/turns/mine.md"), "{kept:?}");
    assert_eq!(std::fs::read_to_string(session.join("turns/mine.md")).unwrap(), "mine");
    assert_eq!(env.read("a.txt"), "one\n");
}

#[test]
fn a_session_elsewhere_loses_its_record_and_its_link() {
    let env = TestEnv::new();
    let dir = env.home().join("my run");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine.txt"), "mine").unwrap();
    env.decklog(&["run", "--session-dir", dir.to_str().unwrap(), "--", "echo", "hi"]).expect(0);
    let link = env.session();
    assert!(link.is_symlink());
    let (_ui, client) = serve(&env);
    let id = id(&link);
    let stream = client.get(&format!("/api/v1/sessions/{id}/files/turns/001-stream.jsonl")).expect(200);
    assert_eq!(stream.text(), "hi\n");
    assert_eq!(client.refusal(&format!("/sessions/{id}/files/mine.txt")).0, 404);
    let done = client.post("/discard", &json!({ "ids": [id] }).to_string()).expect(200).json();
    assert_eq!(done["removed"], json!([id]));
    assert!(done["kept"][0].as_str().unwrap().ends_with("/mine.txt"), "{done}");
    assert!(env.sessions().is_empty() && !link.is_symlink());
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine.txt"]);
}
