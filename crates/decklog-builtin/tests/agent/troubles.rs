//! Providers that refuse, fail, break off, or say what is no answer; and a turn that is stopped.

use decklog_testkit::{ModelServer, Step};
use serde_json::{Value, json};

use crate::world::{KEY, STYLES, VAR, World, calls, eventually};

fn status(status: u16, headers: &[(&'static str, &str)], message: &str) -> Step {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Step::Status { status, headers, message: message.into() }
}

fn message(event: &Value) -> &str {
    event["message"].as_str().unwrap_or_default()
}

#[test]
fn trouble_passes_when_it_is_asked_again() {
    for style in STYLES {
        let script = vec![
            status(503, &[], "overloaded"),
            status(429, &[("retry-after", "0")], "slow down"),
            status(529, &[], "overloaded"),
            Step::Text("Here I am.".into()),
        ];
        let world = World::new(style, script);
        let ran = world.run(world.request("Hello")).expect(0);
        assert_eq!(ran.text(), "Here I am.");
        let retries = ran.all("retry");
        assert_eq!(
            retries.iter().map(|retry| &retry["attempt"]).collect::<Vec<_>>(),
            [&json!(1), &json!(2), &json!(3)]
        );
        assert!(message(retries[0]).contains("503") && message(retries[0]).contains("overloaded"), "{retries:?}");
        assert_eq!(world.server.requests().len(), 4, "{style}");
    }
}

#[test]
fn a_limit_that_stays_is_told_as_one() {
    for style in STYLES {
        // 2099: nobody waits for that.
        let world = World::new(style, vec![Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }]);
        let ran = world.run(world.request("Hello")).expect(2);
        assert_eq!(ran.kinds(), ["session", "rate_limited", "error"], "{style}");
        let resets_at = ran.one("rate_limited")["resets_at"].as_str().unwrap_or_default();
        // Told in seconds by one, a few of which may have passed.
        assert!(resets_at.starts_with("2099-01-01T00:00:0"), "{style}: {resets_at}");
        assert_eq!(ran.one("error")["code"], "rate_limited");
        assert_eq!(world.server.requests().len(), 1, "{style}");

        let world = World::new(style, vec![Step::RateLimit { reset_at_epoch: None }]);
        let ran = world.run(world.request("Hello")).expect(2);
        assert_eq!(ran.kinds(), ["session", "retry", "retry", "retry", "rate_limited", "error"], "{style}");
        assert!(ran.one("rate_limited").get("resets_at").is_none());
        assert_eq!(world.server.requests().len(), 4, "{style}");
    }
}

/// What a provider asks for is waited, and not less.
#[test]
fn retry_after_is_honoured() {
    let world =
        World::new("openai", vec![status(429, &[("retry-after", "1")], "slow down"), Step::Text("Now.".into())]);
    let ran = world.run(world.request("Hello")).expect(0);
    let wait = ran.one("retry")["wait_secs"].as_f64().unwrap_or_default();
    assert!((1.0..1.001).contains(&wait), "{wait}");
}

#[test]
fn trouble_that_stays_fails() {
    for style in STYLES {
        let world = World::new(style, (0..9).map(|_| status(500, &[], "broken")).collect());
        let ran = world.run(world.request("Hello")).expect(2);
        assert_eq!(ran.all("retry").len(), 3);
        let error = ran.one("error");
        assert_eq!(error["code"], "unavailable");
        assert!(message(error).contains("local (127.0.0.1:") && message(error).contains("500"), "{error}");
        assert_eq!(world.server.requests().len(), 4, "{style}");
    }
}

#[test]
fn refusals_fail_at_once_and_say_what_to_set() {
    for style in STYLES {
        for (step, words) in [
            (Step::Unauthorized, VAR),
            (status(403, &[], "no"), VAR),
            (status(400, &[], "bad max_tokens"), "max-tokens"),
            (status(404, &[], "no such model"), "scripted"),
            // A provider that gives the key away.
            (status(401, &[], &format!("bad key {KEY}!")), "[api key]!"),
        ] {
            let world = World::new(style, vec![step]);
            let ran = world.run(world.request("Hello")).expect(2);
            let error = ran.one("error");
            assert_eq!(error["code"], "refused", "{style}");
            assert!(message(error).contains("local (127.0.0.1:") && message(error).contains(words), "{error}");
            assert_eq!(world.server.requests().len(), 1, "{style}");
        }
    }
}

#[test]
fn a_key_that_is_not_set() {
    let world = World::new("openai", vec![]);
    let mut request = world.request("Hello");
    request["model"]["api_key_env"] = json!("NO_SUCH_KEY");
    let ran = world.run(request).expect(2);
    assert_eq!(ran.one("error")["code"], "no_key");
    assert!(message(ran.one("error")).contains("NO_SUCH_KEY is not set"));
    // A conversation to go on with is not gone for that.
    let mut request = world.request("Hello");
    request["model"]["api_key_env"] = json!("NO_SUCH_KEY");
    request["resume"] = json!("0".repeat(32));
    assert_eq!(world.run(request).expect(2).kinds(), ["session", "error"]);
    assert!(world.server.requests().is_empty());
}

#[test]
fn the_key_goes_to_no_other_host() {
    let world = World::new("openai", vec![]);
    let elsewhere = ModelServer::start_without_side_requests(vec![]);
    let to = elsewhere.base_url() + "/v1/chat/completions";
    world.server.set_script(vec![status(307, &[("location", &to)], "moved")]);
    let ran = world.run(world.request("Hello")).expect(2);
    assert!(message(ran.one("error")).contains("redirects to 127.0.0.1"), "{ran:?}");
    assert!(elsewhere.requests().is_empty());
    let mut request = world.request("Hello");
    request["model"]["base_url"] = json!("http://example.invalid/v1");
    let ran = world.run(request).expect(2);
    assert_eq!(ran.one("error")["code"], "address");
}

#[test]
fn nobody_listens() {
    let world = World::new("anthropic", vec![]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let mut request = world.request("Hello");
    request["model"]["base_url"] = json!(format!("http://{address}"));
    let ran = world.run(request).expect(2);
    assert_eq!(ran.all("retry").len(), 3);
    assert!(message(ran.one("error")).contains("cannot be reached: Connection refused"), "{ran:?}");
}

#[test]
fn an_answer_that_breaks_off_fails_clearly() {
    for style in STYLES {
        let world = World::new(style, vec![Step::Cut, Step::Text("Again.".into())]);
        let ran = world.run(world.request("Hello")).expect(2);
        assert!(!ran.text().is_empty(), "{style}: a part was told");
        let error = ran.one("error");
        assert_eq!(error["code"], "broken", "{style}");
        assert!(message(error).contains("broke off: unexpected EOF during chunk size line;"), "{error}");
        assert!(ran.all("retry").is_empty());
        // It can be gone on with.
        let mut request = world.request("Go on");
        request["resume"] = ran.one("session")["id"].clone();
        assert_eq!(world.run(request).expect(0).text(), "Again.");
    }
}

#[test]
fn what_is_no_event_stream() {
    for style in STYLES {
        let world = World::new(style, vec![Step::Garbage]);
        let ran = world.run(world.request("Hello")).expect(2);
        assert_eq!(ran.one("error")["code"], "bad_answer", "{style}");
        assert_eq!(world.server.requests().len(), 1);
    }
}

#[test]
fn tools_do_not_get_the_key() {
    let world = World::new("openai", vec![calls(&[("env", json!({ "name": VAR }))]), Step::Text("None.".into())]);
    let ran = world.run(world.with_tools("Look")).expect(0);
    assert_eq!(ran.one("tool_result")["output"], "(not set)");
}

#[test]
fn a_stopped_turn_ends_its_servers() {
    let mute = "sleep 1000 & echo $$ $! > pids.new; mv pids.new pids; wait";
    // In the middle of a call, and when a server has not said a word yet.
    for (signal, code, is_mute) in [("TERM", 143, false), ("INT", 130, false), ("TERM", 143, true)] {
        let world = World::new("openai", vec![calls(&[("hang", json!({ "path": "pids" }))])]);
        let mut request = world.with_tools("Hang");
        if is_mute {
            request["mcp"][0]["command"] = json!(["sh", "-c", mute]);
        }
        let child = world.start(&request.to_string());
        let pids = eventually("the server's process id", || std::fs::read_to_string(world.dir().join("pids")).ok());
        let ended = std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(ended.expect("kill").success());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code));
        for pid in pids.split_whitespace() {
            eventually("the end of the server and its child", || (!is_alive(pid)).then_some(()));
        }
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}
