//! Whole turns: the agent as a process, a scripted model server in both styles, and a real MCP server.

use decklog_testkit::{Step, usage};
use serde_json::{Value, json};

use crate::world::{KEY, Ran, STYLES, World, calls};

fn result<'a>(request: &'a Value, style: &str, nth: usize) -> &'a str {
    let messages = request["messages"].as_array().expect("messages");
    let results: Vec<&str> = match style {
        "openai" => {
            messages.iter().filter(|message| message["role"] == "tool").filter_map(|m| m["content"].as_str()).collect()
        }
        _ => messages
            .iter()
            .flat_map(|message| message["content"].as_array().into_iter().flatten())
            .filter(|block| block["type"] == "tool_result")
            .filter_map(|block| block["content"].as_str())
            .collect(),
    };
    results.get(nth).copied().unwrap_or_else(|| panic!("no result {nth}: {messages:#?}"))
}

#[test]
fn a_text() {
    for style in STYLES {
        let world = World::new(
            style,
            vec![Step::Slow { text: "A whole answer.".into(), chunks: 3, every: std::time::Duration::ZERO }],
        );
        let ran = world.run(world.request("Say something")).expect(0);
        assert_eq!(
            ran.kinds(),
            ["session", "text_delta", "text_delta", "text_delta", "usage", "model", "done"],
            "{style}"
        );
        assert_eq!(ran.text(), "A whole answer.");
        let used = ran.one("usage");
        let input =
            usage::UNCACHED_INPUT + usage::CACHE_READ + if style == "anthropic" { usage::CACHE_WRITE } else { 0 };
        assert_eq!((&used["input"], &used["cached_input"]), (&json!(input), &json!(usage::CACHE_READ)), "{style}");
        assert_eq!(used["output"], usage::OUTPUT, "{style}");
        assert_eq!(ran.one("model")["model"], "scripted");
        assert_eq!(ran.one("done")["stop_reason"], "end_turn");
        let requests = world.server.requests();
        assert_eq!(requests.len(), 1);
        let (header, value) =
            if style == "openai" { ("authorization", format!("Bearer {KEY}")) } else { ("x-api-key", KEY.to_owned()) };
        assert_eq!(requests[0].header(header), Some(value.as_str()), "{style}");
    }
}

#[test]
fn reasoning_is_told_apart() {
    for style in STYLES {
        let step = Step::Thinking { thinking: "Let me see.".into(), text: "Seen.".into() };
        let world = World::new(style, vec![step]);
        let ran = world.run(world.request("Think")).expect(0);
        assert_eq!(ran.one("thought_delta")["text"], "Let me see.", "{style}");
        assert_eq!(ran.text(), "Seen.");
    }
}

#[test]
fn one_tool() {
    for style in STYLES {
        let step = Step::Calls {
            text: Some("I look.".into()),
            calls: vec![("echo".into(), json!({ "text": "hello" }).to_string())],
        };
        let world = World::new(style, vec![step, Step::Text("It says hello.".into())]);
        let ran = world.run(world.with_tools("Look")).expect(0);
        let called = ran.one("tool_call");
        assert_eq!((&called["name"], &called["read_only"]), (&json!("echo"), &json!(true)), "{style}");
        assert_eq!(called["input"], json!({ "text": "hello" }));
        let answered = ran.one("tool_result");
        assert_eq!((&answered["id"], &answered["output"]), (&called["id"], &json!("hello")), "{style}");
        assert_eq!(answered["is_error"], false);
        assert!(answered["duration_secs"].as_f64().is_some_and(|secs| secs >= 0.0));
        assert_eq!(ran.all("usage").len(), 2);
        let requests = world.server.main_requests();
        assert_eq!(result(&requests[1].body, style, 0), "hello");
        let tools = requests[0].body["tools"].as_array().expect("tools");
        assert_eq!(tools.len(), 8, "{style}");
    }
}

/// The calls answer only when all of them are there: one after the other they never would.
#[test]
fn three_tools_at_once() {
    for style in STYLES {
        let meet = |text: &str| ("meet", json!({ "count": 3, "text": text }));
        let world = World::new(style, vec![calls(&[meet("a"), meet("b"), meet("c")]), Step::Text("Met.".into())]);
        let ran = world.run(world.with_tools("Meet")).expect(0);
        assert_eq!(ran.all("tool_call").len(), 3);
        assert!(ran.all("tool_result").iter().all(|result| result["is_error"] == false), "{style}: {ran:?}");
        let requests = world.server.main_requests();
        let results: Vec<&str> = (0..3).map(|nth| result(&requests[1].body, style, nth)).collect();
        assert_eq!(results, ["a", "b", "c"], "{style}");
    }
}

#[test]
fn what_goes_wrong_with_a_call_is_told_to_the_model() {
    let cases: [(&str, &str, &str); 5] = [
        ("fail", r#"{"text":"no such file"}"#, "no such file"),
        ("nothing_like_it", "{}", "There is no tool"),
        ("echo", r#"{"text": "#, "cannot be read"),
        ("echo", "[1]", "no JSON object"),
        ("die", "{}", "has ended"),
    ];
    for style in STYLES {
        for (tool, arguments, expected) in cases {
            let step = Step::Calls { text: None, calls: vec![(tool.into(), arguments.into())] };
            let world = World::new(style, vec![step, Step::Text("I see.".into())]);
            let ran = world.run(world.with_tools("Try")).expect(0);
            let told = ran.one("tool_result");
            assert_eq!(told["is_error"], true, "{style} {tool} {arguments}");
            assert!(told["output"].as_str().is_some_and(|output| output.contains(expected)), "{told}");
            let requests = world.server.main_requests();
            assert!(result(&requests[1].body, style, 0).contains(expected), "{style}");
            assert_eq!(ran.text(), "I see.");
        }
    }
}

#[test]
fn read_only_offers_what_changes_nothing() {
    for style in STYLES {
        let file = ("write", json!({ "path": "made.txt", "text": "x" }));
        let world = World::new(style, vec![calls(&[file]), Step::Text("I may not.".into())]);
        let mut request = world.with_tools("Write");
        request["permissions"] = json!("read-only");
        let ran = world.run(request).expect(0);
        assert_eq!(ran.one("tool_result")["is_error"], true, "{style}");
        assert!(!world.dir().join("made.txt").exists());
        let body = world.server.main_requests()[0].body.to_string();
        assert!(body.contains("\"echo\"") && !body.contains("\"write\""), "{body}");
    }
}

#[test]
fn tools_of_several_servers_are_told_apart() {
    let world = World::new(
        "openai",
        vec![
            calls(&[("one__echo", json!({ "text": "1" })), ("two_2__echo", json!({ "text": "2" }))]),
            Step::Text("Both.".into()),
        ],
    );
    let mut request = world.with_tools("Look");
    let server = |name: &str| json!({ "name": name, "command": request["mcp"][0]["command"] });
    request["mcp"] = json!([server("one"), server("two 2")]);
    let ran = world.run(request).expect(0);
    let outputs: Vec<_> = ran.all("tool_result").iter().map(|result| result["output"].clone()).collect();
    assert!(outputs.contains(&json!("1")) && outputs.contains(&json!("2")), "{outputs:?}");
}

#[test]
fn a_server_that_does_not_start_fails_the_turn_at_once() {
    let world = World::new("openai", vec![]);
    for (command, why) in
        [(json!(["/nonexistent/server"]), "No such file"), (json!([]), "empty"), (json!(["true"]), "")]
    {
        let mut request = world.request("Look");
        request["mcp"] = json!([{ "name": "files", "command": command }]);
        let ran = world.run(request).expect(2);
        let error = ran.one("error");
        assert_eq!(error["code"], "mcp_server", "{error}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains("files") && message.contains(why), "{message}");
    }
    assert!(world.server.requests().is_empty());
}

#[test]
fn a_huge_result_is_cut() {
    for style in STYLES {
        let world = World::new(style, vec![calls(&[("big", json!({ "size": 200_000 }))]), Step::Text("Big.".into())]);
        let ran = world.run(world.with_tools("Look")).expect(0);
        let told = ran.one("tool_result");
        let output = told["output"].as_str().unwrap_or_default();
        assert!((50_000..50_100).contains(&output.chars().count()) && output.contains("150000 characters left out"));
        assert_eq!(result(&world.server.main_requests()[1].body, style, 0), output);
    }
}

#[test]
fn a_long_conversation_is_trimmed() {
    for style in STYLES {
        let step = || calls(&[("big", json!({ "size": 4000 }))]);
        let script = vec![step(), step(), step(), step(), Step::Text("Done.".into())];
        let world = World::new(style, script);
        let mut request = world.with_tools("The first prompt");
        request["model"]["context_tokens"] = json!(3000);
        let ran = world.run(request).expect(0);
        assert_eq!(ran.one("notice")["code"], "trimmed", "{style}");
        let last = world.server.main_requests().pop().expect("a request").body;
        let text = last.to_string();
        assert!(text.contains("The first prompt") && text.contains("were left out"), "{style}");
        let count = |key: &str| text.matches(key).count();
        let (asked, answered) = match style {
            "openai" => (count("\"arguments\":"), count("\"tool_call_id\"")),
            _ => (count("\"tool_use\""), count("\"tool_result\"")),
        };
        assert_eq!(asked, answered, "{style}: {text}");
        assert!((1..4).contains(&answered), "{style}: {answered}");
    }
}

#[test]
fn caps_end_the_turn() {
    let again = || calls(&[("echo", json!({ "text": "x" })), ("echo", json!({ "text": "y" }))]);
    for (limits, requests, results, what) in
        [(json!({ "tool_calls": 5 }), 3, 4, "4 tool calls"), (json!({ "requests": 2 }), 2, 4, "2 model requests")]
    {
        let world = World::new("openai", vec![again(), again(), again(), again()]);
        let mut request = world.with_tools("Go on and on");
        request["limits"] = limits;
        let ran = world.run(request).expect(2);
        let error = ran.one("error");
        assert_eq!(error["code"], "cap");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(what)), "{error}");
        assert_eq!(world.server.main_requests().len(), requests);
        assert_eq!(ran.all("tool_result").len(), results);
        // What was kept can be gone on with.
        world.server.set_script(vec![Step::Text("Well.".into())]);
        let mut request = world.with_tools("Stop now");
        request["resume"] = ran.one("session")["id"].clone();
        world.run(request).expect(0);
    }
}

#[test]
fn a_conversation_is_gone_on_with() {
    for style in STYLES {
        let script = vec![
            calls(&[("echo", json!({ "text": "blue" }))]),
            Step::Text("It is blue.".into()),
            Step::Text("Blue, I said.".into()),
        ];
        let world = World::new(style, script);
        let first = world.run(world.with_tools("Which colour?")).expect(0);
        let id = first.one("session")["id"].clone();
        let mut request = world.with_tools("Say it again");
        request["resume"] = id.clone();
        let second = world.run(request).expect(0);
        assert_eq!(second.one("session")["id"], id, "{style}");
        let sent = world.server.main_requests().pop().expect("a request").body.to_string();
        for part in ["Which colour?", "blue", "It is blue.", "Say it again"] {
            assert!(sent.contains(part), "{style}: no {part:?} in {sent}");
        }
    }
}

#[test]
fn a_conversation_that_is_gone() {
    let world = World::new("openai", vec![Step::Text("Anew.".into())]);
    let mut request = world.request("Go on");
    request["resume"] = json!("0".repeat(32));
    let ran = world.run(request.clone()).expect(2);
    assert_eq!(ran.kinds(), ["error"]);
    assert_eq!(ran.one("error")["code"], "conversation_gone");
    assert!(world.server.requests().is_empty());
    request["begins_anew"] = json!(true);
    let ran = world.run(request).expect(0);
    assert_eq!(ran.one("notice")["code"], "conversation_lost");
    assert_ne!(ran.one("session")["id"], "0".repeat(32));
}

#[test]
fn what_is_no_request() {
    let world = World::new("openai", vec![]);
    for input in ["", "{", "[]", r#"{"prompt":"x"}"#] {
        let ran: Ran = world.run_with(input).expect(2);
        assert_eq!(ran.one("error")["code"], "request", "{input}");
    }
}
