//! Files of a session as downloads: of any size, uncompressed, never to be shown.

use std::io::Read as _;

use super::id;
use super::server::serve;
use crate::env::TestEnv;

/// What of an artifact is read before its reader goes.
const READ: u64 = 256 << 20;

/// The most memory a process has had so far, in KiB.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_gigabyte_flows_through_little_memory() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "hi"]).expect(0);
    let session = env.session();
    let large = session.join("turns/001-output.md");
    let _ = std::fs::remove_file(&large);
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let (ui, client) = serve(&env);
    let target = format!("/api/v1/sessions/{}/files/turns/001-output.md", id(&session));
    let (status, headers, body) = client.open("GET", &target, &[], b"");
    assert_eq!((status, headers.get("content-length")), (200, Some("1073741824")));
    assert_eq!(headers.get("content-type"), Some("application/octet-stream"));
    let read = std::io::copy(&mut body.take(READ), &mut std::io::sink()).unwrap();
    assert_eq!(read, READ);
    // A page of the log is a page, wherever it begins.
    let page = client.json(&format!("/sessions/{}/logs/001-output?offset=1000", id(&session)));
    assert_eq!((&page["more"], &page["next"]), (&true.into(), &(1000 + 256 * 1024).into()));
    client.json(&format!("/sessions/{}/outline", id(&session)));
    let most = most_memory(ui.pid());
    assert!(most <= 64 * 1024, "{most} KiB");
    assert_eq!(client.json("/sessions").as_array().unwrap().len(), 1);
}

#[test]
fn files_are_saved_as_they_were_written() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "seq 20000; echo more >>a.txt; echo oh >&2"]).expect(0);
    let session = env.session();
    let (_ui, client) = serve(&env);
    let id = id(&session);
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(session.join("turns/001-stream.jsonl.zst").exists());
    let patch = std::fs::read_to_string(session.join("turns/001.patch")).unwrap();
    let journal = std::fs::read_to_string(session.join("journal.jsonl")).unwrap();
    for (path, name, content) in [
        ("turns/001-stream.jsonl.zst", "001-stream.jsonl", &numbers),
        ("turns/001-stream.jsonl", "001-stream.jsonl", &numbers),
        ("turns/001.patch", "001.patch", &patch),
        ("turns%2f001.patch", "001.patch", &patch),
        ("journal.jsonl", "journal.jsonl", &journal),
    ] {
        let answer = client.get(&format!("/api/v1/sessions/{id}/files/{path}")).expect(200);
        assert!(answer.text() == *content, "{path}");
        for (header, value) in [
            ("content-type", "application/octet-stream".to_owned()),
            ("content-disposition", format!("attachment; filename=\"{id}-{name}\"")),
            ("x-content-type-options", "nosniff".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ] {
            assert_eq!(answer.headers.get(header), Some(value.as_str()), "{path}");
        }
    }
    // Piece by piece, a log is whole.
    for name in ["001-stream", "stream", "001-stream.jsonl"] {
        let (mut offset, mut html) = (0, String::new());
        loop {
            let piece = client.json(&format!("/sessions/{id}/logs/{name}?offset={offset}"));
            html.push_str(piece["html"].as_str().unwrap());
            offset = piece["next"].as_u64().unwrap();
            if piece["more"] == false {
                break;
            }
        }
        assert!(html == numbers, "{name}");
    }
    assert_eq!(client.json(&format!("/sessions/{id}/logs/stderr"))["html"], "oh\n");
    for path in
        ["lock", "session.json", "objects", ".reserve", "turns", "turns/", "turns/001-stream", "nothing", "turns/.."]
    {
        assert_eq!(client.refusal(&format!("/sessions/{id}/files/{path}")).0, 404, "{path}");
    }
    for object in std::fs::read_dir(session.join("objects")).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(object).unwrap().map(|entry| entry.unwrap().path()) {
            let path = file.strip_prefix(&session).unwrap().to_string_lossy().into_owned();
            assert_eq!(client.refusal(&format!("/sessions/{id}/files/{path}")).0, 404, "{path}");
        }
    }
}
