//! Ids and names that lead elsewhere, and records that are none: nothing outside is read, and the others go on.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::client::{Client, raw};
use super::server::serve;
use super::{QUESTIONS, id};
use crate::env::TestEnv;

const PRECIOUS: &str = "precious: nobody but its owner may read this";

/// A session, with precious files around it.
fn world() -> TestEnv {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "sh", "-c", "echo said; echo oh >&2; echo more >>a.txt"]).expect(0);
    for place in [env.root(), env.root().join("beside"), env.home()] {
        std::fs::create_dir_all(&place).unwrap();
        for name in ["precious.txt", "journal.jsonl", "001-output.md", "container.log", "network.jsonl"] {
            std::fs::write(place.join(name), PRECIOUS).unwrap();
        }
    }
    let place = "{\"ts\":1,\"id.resp_h\":\"10.0.0.1\",\"id.resp_p\":80,\"proto\":\"tcp\",\"decklog.action\":\"allow\",\
                 \"decklog.rule\":\"all\",\"decklog.host\":\"precious.example\"}\n";
    std::fs::write(env.root().join("beside/network.jsonl"), place).unwrap();
    env
}

/// Asks, and sees that nothing precious is told. Gives the status.
#[track_caller]
fn ask(client: &Client, target: &str) -> u16 {
    let answer = client.get(target);
    let told = answer.text();
    assert!(
        !told.contains("precious:") && !told.contains("precious.example") && !told.contains("root:x:0"),
        "{target}: {told}"
    );
    assert!(answer.status < 500, "{target}: {} {told}", answer.status);
    answer.status
}

#[test]
fn ids_and_names_lead_nowhere_else() {
    let env = world();
    let (ui, client) = serve(&env);
    let id = id(&env.session());
    let long = "a".repeat(5_000);
    let deep = "%2e%2e%2f".repeat(20) + "etc%2fpasswd";
    let mut evil = vec![
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        "..%2f",
        "..%2fprecious.txt",
        "%2e%2e%2fprecious.txt",
        "..%5cprecious.txt",
        "%252e%252e",
        "%2fetc%2fpasswd",
        "beside",
        "beside%2fprecious.txt",
        "%00",
        "%0a",
        "%ff",
        "%c0%ae%c0%ae",
        "*",
        "@",
        "@1",
        "~",
        "-",
        "precious.txt",
        "journal.jsonl",
        "20200101T000000-0000",
    ];
    let variants =
        [format!("{id}%00"), format!("{id}%2f"), format!("{id}%2f..%2fbeside"), format!("{id}%20"), id[..8].to_owned()];
    evil.extend(variants.iter().map(String::as_str));
    evil.extend([long.as_str(), &deep]);
    for word in &evil {
        for question in QUESTIONS {
            let target = format!("/api/v1/sessions/{word}{question}");
            let status = ask(&client, &target);
            assert!((400..500).contains(&status), "{target}: {status}");
        }
        for place in
            ["turns/{}/steps", "logs/{}", "files/{}", "files/turns/{}", "files/{}/precious.txt", "files/objects/{}"]
        {
            let target = format!("/api/v1/sessions/{id}/{}", place.replace("{}", word));
            let status = ask(&client, &target);
            let is_its_own =
                target.ends_with("/logs/journal.jsonl") || target.ends_with(&format!("{id}/files/journal.jsonl"));
            assert!((400..500).contains(&status) || is_its_own, "{target}: {status}");
        }
    }
    for target in [
        format!("/api/v1/sessions/{id}/../beside/outline"),
        format!("/api/v1/sessions/{id}/files/../../precious.txt"),
        format!("/api/v1/sessions/{id}/files/turns/../../../precious.txt"),
        format!("/api/v1/sessions/{id}/files//etc/passwd"),
        "/api/v1/../../precious.txt".to_owned(),
        "/api/v1/..%2f..%2fetc%2fpasswd".to_owned(),
    ] {
        let status = ask(&client, &target);
        assert!((400..500).contains(&status), "{target}: {status}");
    }
    // The page answers every path that it could have a view for, with itself.
    let page = client.get("/").expect(200).text();
    for target in ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/precious.txt", "//etc/passwd"] {
        ask(&client, target);
        assert_eq!(client.get(target).expect(200).text(), page, "{target}");
    }
    for target in ["/assets/../../Cargo.toml", "/assets/..%2f..%2fCargo.toml", "/assets/%2e%2e/index.html"] {
        assert_eq!(ask(&client, target), 404, "{target}");
    }
    let cookie = client.cookie.as_deref().unwrap();
    for target in ["/api/v1/sessions/\0", "/api/v1/sessions/ /x", &format!("/api/v1/sessions/{}", "a".repeat(900_000))]
    {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n",
            ui.port
        );
        let answer = String::from_utf8_lossy(&raw(ui.port, request.as_bytes())).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    client.json("/sessions");
}

#[test]
fn links_and_foreign_files_in_a_session_are_passed_over() {
    let env = world();
    let session = env.session();
    let precious = env.root().join("precious.txt");
    let (stderr, output) = (session.join("turns/001-stderr.log"), session.join("turns/001-output.md"));
    for path in [&stderr, &output] {
        let _ = std::fs::remove_file(path);
        symlink(&precious, path).unwrap();
    }
    symlink(env.root().join("beside"), session.join("logs")).unwrap();
    symlink(env.root().join("beside"), session.join("resume")).unwrap();
    symlink(&precious, session.join("precious.txt")).unwrap();
    std::fs::write(session.join("mine.txt"), PRECIOUS).unwrap();
    std::fs::write(session.join("turns/mine.md"), PRECIOUS).unwrap();
    let (_ui, client) = serve(&env);
    let id = id(&session);
    for question in QUESTIONS {
        ask(&client, &format!("/api/v1/sessions/{id}{question}"));
    }
    for name in [
        "001-stderr",
        "stderr",
        "001-output",
        "container",
        "container.log",
        "network",
        "precious",
        "precious.txt",
        "mine",
        "mine.txt",
        "mine.md",
        "lock",
        "session",
    ] {
        assert_eq!(ask(&client, &format!("/api/v1/sessions/{id}/logs/{name}")), 404, "{name}");
    }
    for path in [
        "turns/001-stderr.log",
        "turns/001-output.md",
        "logs/container.log",
        "logs/network.jsonl",
        "resume/001-output.md",
        "precious.txt",
        "mine.txt",
        "turns/mine.md",
        "lock",
        "session.json",
    ] {
        assert_eq!(ask(&client, &format!("/api/v1/sessions/{id}/files/{path}")), 404, "{path}");
    }
    for format in ["jsonl", "markdown", "html", "atif", "otlp"] {
        ask(&client, &format!("/api/v1/export?format={format}&id={id}"));
    }
    // A journal that stands elsewhere is none.
    std::fs::rename(session.join("journal.jsonl"), env.root().join("beside/journal.jsonl")).unwrap();
    symlink(env.root().join("beside/journal.jsonl"), session.join("journal.jsonl")).unwrap();
    for question in ["", "/outline", "/turns/1/steps", "/events", "/files/journal.jsonl"] {
        assert_eq!(ask(&client, &format!("/api/v1/sessions/{id}{question}")), 404, "{question}");
    }
}

#[test]
fn a_record_that_is_none_is_told_and_the_others_go_on() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "fine"]).expect(0);
    let fine = env.session();
    env.decklog(&["run", "--", "echo", "spoiled"]).expect(0);
    let spoiled = env.sessions().into_iter().find(|dir| *dir != fine).unwrap();
    let journal = spoiled.join("journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    let first = whole.lines().next().unwrap();
    let major = whole.replacen("\"format\":\"1.", "\"format\":\"9.", 1);
    assert_ne!(major, whole);
    let (_ui, client) = serve(&env);
    let remove = |path: &Path| if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
    let contents: [(&str, Option<Vec<u8>>); 10] = [
        ("empty", Some(Vec::new())),
        ("garbage", Some(b"no journal\n\n\xff\xfe\n".to_vec())),
        ("torn at once", Some(first.as_bytes()[..40].to_vec())),
        ("of another major version", Some(major.into_bytes())),
        ("another file", Some(b"{\"v\":1}\n[]\nnull\n".to_vec())),
        ("zeros", Some(vec![0; 1 << 20])),
        ("deep", Some([b"[".repeat(200_000), b"\n".to_vec()].concat())),
        ("one long line", Some(b"x".repeat(3 << 20))),
        ("without its beginning", Some(whole.split_once('\n').unwrap().1.as_bytes().to_vec())),
        ("a directory", None),
    ];
    for (what, content) in contents {
        let _ = remove(&spoiled.join("session.json"));
        let _ = remove(&journal);
        match content {
            Some(content) => std::fs::write(&journal, content).unwrap(),
            None => std::fs::create_dir(&journal).unwrap(),
        }
        // Of sessions that are over, the index looks at those of a root that changed.
        std::fs::create_dir(env.root().join("changed")).unwrap();
        std::fs::remove_dir(env.root().join("changed")).unwrap();
        check_spoiled(&client, &id(&fine), &id(&spoiled), what);
    }
    // A spoiled summary is made anew from the journal.
    remove(&journal).unwrap();
    std::fs::write(&journal, &whole).unwrap();
    for head in ["", "garbage", "{}", "[]", "null", "{\"id\":\"../..\"}"] {
        std::fs::write(spoiled.join("session.json"), head).unwrap();
        assert_eq!(client.json(&format!("/sessions/{}", id(&spoiled)))["session"]["outcome"], "success", "{head}");
        assert_eq!(client.json("/sessions").as_array().unwrap().len(), 2, "{head}");
    }
}

#[track_caller]
fn check_spoiled(client: &Client, fine: &str, spoiled: &str, what: &str) {
    for question in QUESTIONS {
        let answer = client.get(&format!("/api/v1/sessions/{spoiled}{question}"));
        let is_refused = (400..500).contains(&answer.status) && !answer.error().is_empty();
        // What lies beside the journal is there all the same, and so are its lines, whatever they are.
        let is_beside =
            ["/events", "/network", "/live", "/logs", "/files"].iter().any(|beside| question.starts_with(beside));
        assert!(
            is_refused || answer.status == 200 && is_beside,
            "{what}: {question}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let told: Vec<_> = client.follow(&format!("/sessions/{spoiled}/live"), None).map(|told| told.kind).collect();
    assert_eq!(told, ["trouble"], "{what}");
    let heads = client.json("/sessions");
    assert_eq!((heads.as_array().unwrap().len(), &heads[0]["id"]), (1, &fine.into()), "{what}");
    let unreadable = &client.json("/facets")["unreadable"];
    assert!(unreadable[0]["id"] == spoiled && unreadable[0]["reason"].is_string(), "{what}: {unreadable}");
    assert_eq!(client.get("/api/v1/sessions").headers.get("x-unreadable-count"), Some("1"), "{what}");
    client.json(&format!("/sessions/{fine}"));
}
