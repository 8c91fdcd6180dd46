//! Who is let in, and what every answer says besides its content.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};

use super::client::{Client, raw};
use super::server::{Ui, serve};
use super::{QUESTIONS, id, printed};
use crate::env::{TestEnv, all_bytes};

/// One path of every kind: the page, a view of it, files of it, and every answer of the API.
fn paths(env: &TestEnv) -> Vec<String> {
    let page = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../decklog-web/assets/assets")).unwrap();
    let id = id(&env.session());
    let mut all: Vec<String> = page.map(|file| format!("/assets/{}", file.unwrap().file_name().display())).collect();
    all.extend(
        ["/", "/stats", "/icon.svg", "/assets/nothing.js", "/api/v1/nothing", "/api/v2", "/api/", "//api/v1/live"]
            .map(String::from),
    );
    all.push(format!("/s/{id}"));
    for path in ["openapi.json", "sessions", "facets", "search?q=x", "stats", "charts", "live", "sessions?sort=nothing"]
    {
        all.push(format!("/api/v1/{path}"));
    }
    all.push(format!("/api/v1/export?format=jsonl&id={id}"));
    for path in QUESTIONS.into_iter().chain(["/files/nothing"]) {
        all.push(format!("/api/v1/sessions/{id}{path}"));
    }
    all
}

fn recorded() -> TestEnv {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "hi"]).expect(0);
    env
}

/// The status of an answer whose body may never end.
#[track_caller]
fn status(client: &Client, method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
    client.open(method, target, headers, b"").0
}

#[test]
fn nothing_is_answered_without_the_cookie() {
    let env = recorded();
    let (ui, client) = serve(&env);
    let stranger = ui.stranger();
    let cookie = client.cookie.as_deref().unwrap();
    let (name, secret) = cookie.split_once('=').unwrap();
    let spoiled = [
        format!("{name}="),
        format!("{name}={}", ui.token()),
        format!("{name}={}", &secret[1..]),
        format!("{name}={secret}0"),
        format!("decklog-1={secret}"),
        secret.to_owned(),
    ];
    for path in paths(&env) {
        let answer = stranger.get(&path).expect(401);
        if path.starts_with("/api/") {
            assert!(answer.error().contains("has not been let in"), "{path}");
            assert!(answer.json()["hint"].is_string(), "{path}");
        }
        assert_eq!(answer.headers.get("set-cookie"), None, "{path}");
        assert_eq!(status(&stranger, "HEAD", &path, &[]), 401, "{path}");
        for cookie in &spoiled {
            assert_eq!(status(&stranger, "GET", &path, &[("cookie", cookie)]), 401, "{path} with {cookie}");
        }
    }
    stranger.post("/discard", &format!("{{\"ids\":[\"{}\"]}}", id(&env.session()))).expect(401);
    assert_eq!(env.sessions().len(), 1);
    // They see why, and no more than that.
    stranger.get("/refused.css").expect(200);
    // Among other cookies it is found.
    let among = format!("a=b; {cookie}; c=d");
    stranger.send("GET", "/api/v1/sessions", &[("cookie", &among)], b"").expect(200);
}

#[test]
fn a_link_lets_in_once_and_its_cookie_from_then_on() {
    let env = recorded();
    let ui = Ui::start(&env);
    let stranger = ui.stranger();
    for wrong in ["/?token=", "/?token=0", "/?token", "/?x=1", &format!("/?token={}0", ui.token())] {
        stranger.get(wrong).expect(401);
    }
    // A link is for the page, not for the API.
    stranger.get(&format!("/api/v1/sessions?token={}", ui.token())).expect(401);
    let first = stranger.get(ui.target()).expect(200);
    let set = first.headers.get("set-cookie").unwrap().to_owned();
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    assert!(cookie.starts_with(&format!("decklog-{}=", ui.port)) && !cookie.contains(ui.token()), "{cookie}");
    assert_eq!(first.headers.get("cache-control"), Some("no-store"));
    assert!(!first.text().contains(ui.token()) && first.text().contains("0;url=/\""), "{}", first.text());
    // From another site's page the link leads in as well, for it is the token that counts.
    let again = stranger.get(ui.target()).expect(401);
    assert_eq!(again.headers.get("set-cookie"), None);
    let client = Client { port: ui.port, cookie: Some(cookie.to_owned()) };
    let known = client.get(ui.target()).expect(200);
    assert_eq!(known.headers.get("set-cookie"), None);
    client.get("/").expect(200);
    assert_eq!(client.json("/sessions").as_array().unwrap().len(), 1);
    // Whoever is in is not led away by a path that reads like another server's name.
    for path in ["//elsewhere.example/", "/\\elsewhere.example/", "///elsewhere.example/"] {
        let page = client.get(&format!("{path}?token=x")).expect(200).text();
        assert!(page.contains("0;url=/elsewhere.example/\""), "{page}");
    }
}

#[test]
fn a_session_is_where_the_link_leads() {
    let env = recorded();
    let ui = Ui::start_with(&env, &["@"]);
    let path = format!("/s/{}", id(&env.session()));
    assert!(ui.target().starts_with(&format!("{path}?token=")), "{}", ui.link);
    let page = ui.stranger().get(ui.target()).expect(200).text();
    assert!(page.contains(&format!("0;url={path}\"")), "{page}");
    assert_eq!(env.decklog(&["ui", "--no-open", "nobody"]).expect(2).stdout, "");
}

#[test]
fn other_names_of_this_address_are_refused_everywhere() {
    let env = recorded();
    let (ui, client) = serve(&env);
    let port = ui.port;
    let names = [
        String::new(),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("rebound.example:{port}"),
        "rebound.example".to_owned(),
        format!("127.0.0.1.rebound.example:{port}"),
        format!("localhost.:{port}"),
        format!("127.1:{port}"),
        format!("[::1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("user@127.0.0.1:{port}"),
    ];
    let mut all = paths(&env);
    all.push(ui.target().to_owned());
    for path in &all {
        for name in &names {
            // An empty name is left out of the request.
            assert_eq!(status(&client, "GET", path, &[("host", name)]), 421, "{path} of {name:?}");
        }
    }
    client.send("POST", "/api/v1/discard", &[("host", &names[3])], b"{}").expect(421);
    assert_eq!(status(&client, "GET", "/api/v1/sessions", &[("host", &format!("LOCALHOST:{port}"))]), 200);
    let answer = raw(port, b"GET /api/v1/sessions HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.0 421"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn other_sites_cannot_ask() {
    let env = recorded();
    let (ui, client) = serve(&env);
    let session = id(&env.session());
    let port = ui.port;
    let ours = format!("http://127.0.0.1:{port}");
    let discard = format!("{{\"ids\":[\"{session}\"]}}");
    let origins = [
        "null".to_owned(),
        "http://elsewhere.example".to_owned(),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1".to_owned(),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://localhost:{port}"),
        format!("{ours}.elsewhere.example"),
        format!("http://elsewhere.example@127.0.0.1:{port}"),
    ];
    for origin in &origins {
        for path in paths(&env) {
            assert_eq!(status(&client, "GET", &path, &[("origin", origin)]), 403, "{path} from {origin}");
        }
        client.send("POST", "/api/v1/discard", &[("origin", origin)], discard.as_bytes()).expect(403);
        client.send("OPTIONS", "/api/v1/discard", &[("origin", origin)], b"").expect(403);
    }
    for site in ["cross-site", "same-site", "anything"] {
        let of_site = [("sec-fetch-site", site)];
        for path in paths(&env) {
            let answered = status(&client, "GET", &path, &of_site);
            // A link from elsewhere to a page is followed; the API answers pages of its own.
            assert_eq!(answered == 403, path.starts_with("/api/"), "{path} from {site}: {answered}");
        }
        client.send("POST", "/api/v1/discard", &of_site, discard.as_bytes()).expect(403);
    }
    assert_eq!(env.sessions().len(), 1);
    for headers in [&[("origin", ours.as_str()), ("sec-fetch-site", "same-origin")][..], &[("sec-fetch-site", "none")]]
    {
        assert_eq!(status(&client, "GET", "/api/v1/sessions", headers), 200, "{headers:?}");
    }
    let headers = [("origin", ours.as_str()), ("content-type", "application/json")];
    client.send("POST", "/api/v1/discard", &headers, discard.as_bytes()).expect(200);
    assert!(env.sessions().is_empty());
}

#[test]
fn there_is_nothing_to_do_but_to_read_and_to_discard() {
    let env = recorded();
    let (_ui, client) = serve(&env);
    let before = all_bytes(&env.session());
    for path in paths(&env) {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
            let answered = status(&client, method, &path, &[]);
            assert!((400..500).contains(&answered), "{method} {path}: {answered}");
        }
        let (get, head) = (status(&client, "GET", &path, &[]), status(&client, "HEAD", &path, &[]));
        assert_eq!(get, head, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        assert_eq!(status(&client, method, "/api/v1/discard", &[]), 405, "{method}");
    }
    assert!(all_bytes(&env.session()) == before);
}

#[test]
fn what_it_prints_is_the_link_and_a_signal_ends_it() {
    let env = recorded();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (ui, client) = serve(&env);
        let (token, port) = (ui.token().to_owned(), ui.port);
        assert!(token.len() >= 32 && ui.link == format!("http://127.0.0.1:{port}/?token={token}"), "{}", ui.link);
        client.json("/sessions");
        client.get("/api/v1/nothing").expect(404);
        let ran = ui.stop(signal).expect(code);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
        let secret = client.cookie.unwrap().split_once('=').unwrap().1.to_owned();
        for (path, bytes) in all_bytes(&env.home()) {
            for word in [&token, &secret] {
                assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let env = recorded();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = env.decklog(&["ui", "--no-open", "--port", &port]).expect(2);
    assert_eq!(ran.stdout, "");
    for told in [&format!("cannot listen on 127.0.0.1:{port}"), "in use", "--port"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    drop(taken);
    assert_eq!(Ui::start_with(&env, &["--port", &port]).port.to_string(), port);
}

#[test]
fn a_root_without_sessions_is_served() {
    let env = TestEnv::new();
    let (_ui, client) = serve(&env);
    assert_eq!(client.json("/sessions"), printed(&env, &["ls"]));
    assert_eq!(client.json("/stats"), printed(&env, &["stats"]));
    client.get("/").expect(200);
    assert!(!env.root().exists(), "nothing is made until a session is");
}

#[test]
fn what_changes_something_is_json() {
    let env = recorded();
    let (_ui, client) = serve(&env);
    let body = format!("{{\"ids\":[\"{}\"]}}", id(&env.session()));
    for kind in [
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "application/json, text/plain",
        "text/plain; x=application/json",
    ] {
        let answer = client.send("POST", "/api/v1/discard", &[("content-type", kind)], body.as_bytes());
        assert_eq!(answer.status, 415, "{kind}: {}", answer.text());
    }
    let twice = [("content-type", "application/json"), ("Content-Type", "text/plain")];
    client.send("POST", "/api/v1/discard", &twice, body.as_bytes()).expect(415);
    assert_eq!(env.sessions().len(), 1);
    let headers = [("content-type", "Application/JSON; charset=utf-8")];
    client.send("POST", "/api/v1/discard", &headers, body.as_bytes()).expect(200);
    assert!(env.sessions().is_empty());
}

#[test]
fn strangers_cannot_shut_out_who_is_let_in() {
    let env = recorded();
    let (ui, client) = serve(&env);
    let mut events = client.follow("/live", None);
    assert_eq!(events.next().unwrap().kind, "root");
    // More than are ever open at a time, of which none says what it wants.
    let connect = |_| TcpStream::connect(("127.0.0.1", ui.port)).unwrap();
    let mut strangers: Vec<TcpStream> = (0..600).map(connect).collect();
    for stranger in &mut strangers {
        // The oldest have been closed.
        let _ = stranger.write_all(b"GET / HTTP/1.1\r\n");
    }
    client.get("/").expect(200);
    client.json("/sessions");
    // Who was there before is there still.
    env.decklog(&["run", "--", "true"]).expect(0);
    assert_eq!(events.next().unwrap().kind, "root");
    drop(strangers);
    client.json("/sessions");
}
