//! Downloads in the formats of `export`: byte for byte what the command line writes.

use std::io::Read as _;

use super::server::serve;
use super::{id, six_days};
use crate::env::{TestEnv, eventually, kill};

/// The formats, and how their files end.
const FORMATS: [(&str, &str); 6] = [
    ("jsonl", "jsonl"),
    ("markdown", "md"),
    ("html", "html"),
    ("atif", "atif.json"),
    ("otlp", "otlp.json"),
    ("tar.zst", "tar.zst"),
];

/// What the command line writes.
fn written(env: &TestEnv, format: &str, ids: &[&str]) -> Vec<u8> {
    let arguments = [&["export", "--format", format], ids].concat();
    let output = env.decklog_command(&arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn downloads_are_what_the_command_line_writes() {
    let env = six_days();
    let (_ui, client) = serve(&env);
    let ids: Vec<String> = env.sessions().iter().map(|dir| id(dir)).collect();
    // A loop of two agents, and one that crashed.
    for id in [&ids[3], &ids[5]] {
        for (format, extension) in FORMATS {
            let answer = client.get(&format!("/api/v1/export?format={format}&id={id}")).expect(200);
            assert!(answer.body == written(&env, format, &[id]), "{format} of {id}");
            let name = format!("attachment; filename=\"decklog-{id}.{extension}\"");
            assert_eq!(answer.headers.get("content-disposition"), Some(name.as_str()));
            assert_eq!(answer.headers.get("content-type"), Some("application/octet-stream"), "{format}");
            assert_eq!(answer.headers.get("cache-control"), Some("no-store"), "{format}");
        }
    }
    // Several, in whatever order they are named and however often.
    let several: Vec<&str> = ids.iter().map(String::as_str).collect();
    let named = format!("id={}&id={}&id={}&id={}", ids[4], ids[0], ids[2], ids[0]);
    for (format, extension) in FORMATS {
        let answer = client.get(&format!("/api/v1/export?format={format}&{named}"));
        if matches!(format, "jsonl" | "otlp" | "tar.zst") {
            let answer = answer.expect(200);
            assert!(answer.body == written(&env, format, &[several[0], several[2], several[4]]), "{format}");
            let name = format!("attachment; filename=\"decklog-3-sessions.{extension}\"");
            assert_eq!(answer.headers.get("content-disposition"), Some(name.as_str()));
        } else {
            let answer = answer.expect(400);
            assert!(answer.error().contains("do not go into one") && answer.json()["hint"].is_string(), "{format}");
        }
    }
}

#[test]
fn an_archive_is_of_what_is_over() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "hi"]).expect(0);
    let over = id(&env.session());
    let mut recorder = env.start(&["run", "--", "sleep", "1000"]);
    let live = eventually("a turn", || {
        let dir = env.sessions().into_iter().find(|dir| id(dir) != over)?;
        std::fs::read_to_string(dir.join("journal.jsonl")).ok()?.contains("turn_start").then(|| id(&dir))
    });
    let (_ui, client) = serve(&env);
    let refused = client.get(&format!("/api/v1/export?format=tar.zst&id={over}&id={live}")).expect(400);
    assert!(refused.error().contains(&live) && refused.error().contains("recorded"), "{}", refused.text());
    // What is read line by line can be of one that goes on.
    let lines = client.get(&format!("/api/v1/export?format=jsonl&id={over}&id={live}")).expect(200).text();
    assert!(lines.lines().count() > 3 && lines.contains("sleep"), "{lines}");
    let archive = client.get(&format!("/api/v1/export?format=tar.zst&id={over}")).expect(200).body;
    let mut names = Vec::new();
    zstd::Decoder::new(archive.as_slice()).unwrap().read_to_end(&mut names).unwrap();
    assert!(memchr::memmem::find(&names, b"journal.jsonl").is_some());
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
}

#[test]
fn what_is_not_there_or_spoiled_is_said_before_anything_is_sent() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    env.decklog(&["run", "--", "true"]).expect(0);
    let ids: Vec<String> = env.sessions().iter().map(|dir| id(dir)).collect();
    std::fs::write(env.sessions()[0].join("journal.jsonl"), "no journal\n").unwrap();
    let (_ui, client) = serve(&env);
    for (format, _) in FORMATS {
        for wrong in
            ["20200101T000000-0000", "..", "@", "%2e%2e%2foutside", "", &format!("{}&id=20200101T000000-0000", ids[1])]
        {
            let (status, error) = client.refusal(&format!("/export?format={format}&id={wrong}"));
            assert!((400..500).contains(&status) && !error.is_empty(), "{format} {wrong}: {status} {error}");
        }
        let spoiled = format!("/export?format={format}&id={}", ids[0]);
        if format == "tar.zst" {
            // A record goes into an archive as it is.
            client.get(&format!("/api/v1{spoiled}")).expect(200);
        } else {
            let (status, error) = client.refusal(&spoiled);
            assert!(status == 404 && error.contains(&ids[0]), "{format}: {status} {error}");
        }
        client.get(&format!("/api/v1/export?format={format}&id={}", ids[1])).expect(200);
    }
}
