//! The scripted server itself, asked over plain sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use decklog_testkit::{ModelServer, Step, usage};
use serde_json::{Value, json};

/// Sends one request and returns all that comes back until the connection ends.
fn post(server: &ModelServer, path: &str, body: &Value) -> String {
    let mut stream = connect(server, path, body);
    let mut reply = Vec::new();
    // A cut connection is an error here, after the bytes that came.
    stream.read_to_end(&mut reply).ok();
    String::from_utf8_lossy(&reply).into_owned()
}

fn connect(server: &ModelServer, path: &str, body: &Value) -> TcpStream {
    let address = server.base_url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("the server reads");
    stream
}

/// The JSON body of a reply that is not streamed, chunked as it comes.
fn json_body(reply: &str) -> Value {
    let start = reply.find('{').expect("a body");
    let end = reply.rfind('}').expect("a body");
    serde_json::from_str(&reply[start..=end]).expect("JSON")
}

fn claude_request(stream: bool) -> Value {
    json!({
        "model": "m",
        "stream": stream,
        "messages": [{ "role": "user", "content": "hi" }],
        "tools": [
            { "name": "Bash", "input_schema": { "properties": { "command": {} } } },
            { "name": "Write", "input_schema": { "properties": { "file_path": {}, "content": {} } } },
        ],
    })
}

#[test]
fn a_side_request_takes_no_step() {
    let server = ModelServer::start(vec![Step::Text("the step".to_owned())]);
    let side = post(&server, "/v1/messages", &json!({ "model": "m", "messages": [] }));
    assert!(!side.contains("the step"));
    assert_eq!(json_body(&side)["usage"]["input_tokens"], usage::SIDE_INPUT);
    let main = post(&server, "/v1/messages", &claude_request(false));
    assert!(main.contains("the step"));
    let requests = server.requests();
    assert_eq!(requests.iter().map(|request| request.main_loop).collect::<Vec<_>>(), [false, true]);
    assert_eq!(requests[1].header("content-type"), Some("application/json"));
}

#[test]
fn after_the_script_a_closing_text() {
    let server = ModelServer::start(Vec::new());
    for _ in 0..2 {
        assert!(post(&server, "/v1/messages", &claude_request(true)).contains("The script has ended"));
    }
}

#[test]
fn the_call_is_in_the_agents_vocabulary() {
    let write = || vec![Step::Write { path: "a.txt".to_owned(), content: "one\n".to_owned() }];

    let server = ModelServer::start(write());
    let reply = json_body(&post(&server, "/v1/messages", &claude_request(false)));
    assert_eq!(reply["content"][0]["name"], "Write");
    assert_eq!(reply["content"][0]["input"], json!({ "file_path": "a.txt", "content": "one\n" }));

    let server = ModelServer::start(write());
    let tools = json!([{ "type": "function", "function": {
        "name": "write", "parameters": { "properties": { "filePath": {}, "content": {} } } } }]);
    let reply = json_body(&post(&server, "/v1/chat/completions", &json!({ "tools": tools })));
    let call = &reply["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "write");
    assert!(call["arguments"].as_str().is_some_and(|text| text.contains("\"filePath\":\"a.txt\"")));

    let server = ModelServer::start(write());
    let tools = json!([{ "type": "function", "name": "exec_command", "parameters": { "properties": { "cmd": {} } } }]);
    let reply = json_body(&post(&server, "/v1/responses", &json!({ "tools": tools })));
    assert_eq!(reply["output"][0]["name"], "exec_command");
    assert!(reply["output"][0]["arguments"].as_str().is_some_and(|text| text.contains("*** Add File: a.txt")));

    let server = ModelServer::start(write());
    let tools = json!([{ "functionDeclarations": [{ "name": "write_file" }] }]);
    let reply = json_body(&post(&server, "/v1beta/models/g:generateContent", &json!({ "tools": tools })));
    let call = &reply["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call["args"], json!({ "file_path": "a.txt", "content": "one\n" }));
}

#[test]
fn a_rate_limit_stays_until_the_script_changes() {
    let server = ModelServer::start(vec![
        Step::Once(Box::new(Step::RateLimit { reset_at_epoch: None })),
        Step::Text("through".to_owned()),
        Step::RateLimit { reset_at_epoch: Some(4_070_908_800) },
        Step::Text("never".to_owned()),
    ]);
    let ask = || post(&server, "/v1/messages", &claude_request(true));
    assert!(ask().starts_with("HTTP/1.1 429"));
    assert!(ask().contains("through"));
    for _ in 0..2 {
        let refused = ask();
        assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        assert!(refused.contains("anthropic-ratelimit-unified-reset: 4070908800"));
    }
    server.set_script(vec![Step::Text("again".to_owned())]);
    assert!(ask().contains("again"));
}

#[test]
fn a_slow_text_comes_in_pieces() {
    let every = Duration::from_millis(20);
    let server = ModelServer::start(vec![Step::Slow { text: "abcdef".to_owned(), chunks: 3, every }]);
    let started = Instant::now();
    let reply = post(&server, "/v1/messages", &claude_request(true));
    assert!(started.elapsed() >= every * 3);
    assert_eq!(reply.matches("text_delta").count(), 3);
}

#[test]
fn a_cut_reply_has_no_end() {
    let server = ModelServer::start(vec![Step::Cut]);
    let reply = post(&server, "/v1/messages", &claude_request(true));
    assert!(reply.contains("message_start"));
    assert!(!reply.contains("message_stop"));
    assert!(!reply.ends_with("0\r\n\r\n"), "the body was ended properly");
}

#[test]
fn a_stalled_reply_ends_with_the_server() {
    let server = ModelServer::start(vec![Step::Stall]);
    let mut stream = connect(&server, "/v1/messages", &claude_request(true));
    assert!(server.wait_for_main_requests(1, Duration::from_secs(10)));
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    let mut said = Vec::new();
    let error = stream.read_to_end(&mut said).expect_err("it hangs");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(String::from_utf8_lossy(&said).contains("message_start"));
    drop(server);
    // Whether as an end or as an error: the connection is over.
    stream.read_to_end(&mut said).ok();
}

#[test]
fn waiting_ends_with_the_time() {
    let server = ModelServer::start(Vec::new());
    assert!(!server.wait_for_requests(1, Duration::from_millis(10)));
}
