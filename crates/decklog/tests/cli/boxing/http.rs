//! `decklog mcp --listen`: who comes in, what is kept out, and clients side by side. The client is written by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::world::{LONG, containers, odd_server, world};
use crate::env::{TestEnv, all_bytes, is_alive, kill};

const SHELL: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]";
const OLD: &str = "2025-06-18";
const NEW: &str = "2026-07-28";

/// `decklog mcp --listen`, while it runs.
struct Served {
    child: Child,
    /// Kept open: what is printed must find a reader.
    _stdout: BufReader<ChildStdout>,
    address: String,
    token: String,
}

impl Served {
    fn new(env: &TestEnv) -> Self {
        let mut command: Command = env.decklog_command(&["mcp", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (url, header) = (line(), line());
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp")).unwrap().to_owned();
        let token = header.strip_prefix("Authorization: Bearer ").unwrap().to_owned();
        Self { child, _stdout: stdout, address, token }
    }

    /// A client with the token.
    fn client(&self) -> Caller {
        Caller {
            address: self.address.clone(),
            headers: vec![
                ("Host".into(), self.address.clone()),
                ("Authorization".into(), format!("Bearer {}", self.token)),
            ],
            next: 1,
        }
    }

    /// A client that has shaken hands.
    fn shaken(&self) -> Caller {
        let mut client = self.client();
        client.shake();
        client
    }

    /// Sends SIGTERM, and gives the exit code.
    fn end(mut self) -> i32 {
        kill(self.child.id(), "TERM");
        self.child.wait().unwrap().code().unwrap()
    }
}

/// An answer to one POST.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn read(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let (status, headers) = head(&mut stream);
        let mut body = Vec::new();
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if value("transfer-encoding") == Some("chunked") {
            while let Some(piece) = chunk(&mut stream) {
                body.extend(piece);
            }
        } else {
            stream.read_to_end(&mut body).unwrap();
        }
        Self { status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// The messages in it, of an event stream or of JSON alone.
    fn messages(&self) -> Vec<Value> {
        if self.body.starts_with('{') {
            return vec![serde_json::from_str(&self.body).unwrap()];
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
    }
}

fn head(stream: &mut impl std::io::BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { return (status, headers) };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
}

fn chunk(stream: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    stream.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut piece = vec![0; size + 2];
    stream.read_exact(&mut piece).ok()?;
    piece.truncate(size);
    Some(piece)
}

/// A client over HTTP.
struct Caller {
    address: String,
    headers: Vec<(String, String)>,
    next: u64,
}

impl Caller {
    /// The client with another header, or without it.
    fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    fn send(&self, method: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut text = format!("{method} /mcp HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n");
        text += &format!("Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    fn post(&self, message: &Value) -> Answer {
        Answer::read(self.send("POST", &message.to_string()))
    }

    /// Asks, and gives all messages that came of it; the answer is the last.
    fn ask(&mut self, method: &str, params: Value) -> Vec<Value> {
        let id = self.next;
        self.next += 1;
        let answer = self.post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        assert_eq!(answer.status, 200, "{method}: {}", answer.body);
        let messages = answer.messages();
        assert_eq!(messages.last().unwrap()["id"], id, "{method}: {}", answer.body);
        messages
    }

    /// Calls a tool, and gives the text of its answer.
    fn call(&mut self, name: &str, arguments: Value) -> String {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments })).pop().unwrap();
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn shake(&mut self) {
        let hello = hello();
        let answer = self.post(&hello);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.messages()[0]["result"]["serverInfo"]["name"], "decklog");
        let session = answer.headers.iter().find(|(name, _)| name == "mcp-session-id").unwrap().1.clone();
        self.headers.push(("Mcp-Session-Id".into(), session));
        self.headers.push(("MCP-Protocol-Version".into(), OLD.into()));
        let answer = self.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        assert_eq!(answer.status, 202, "{}", answer.body);
        self.next = 2;
    }

    /// Listens for what is told besides answers.
    fn listen(&self) -> Receiver<Value> {
        let mut stream = BufReader::new(self.send("GET", ""));
        assert_eq!(head(&mut stream).0, 200);
        let (to, messages) = channel();
        std::thread::spawn(move || {
            while let Some(piece) = chunk(&mut stream) {
                let text = String::from_utf8(piece).unwrap();
                let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
                for message in data.filter_map(|data| serde_json::from_str(data.trim()).ok()) {
                    if to.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        messages
    }
}

fn hello() -> Value {
    let client = json!({ "name": "tester", "version": "1" });
    let params = json!({ "protocolVersion": OLD, "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

#[test]
fn only_who_shows_the_token_from_the_right_place_comes_in() {
    let mut env = world(SHELL, "");
    env.set("DECKLOG_MCP_TOKEN", "");
    let served = Served::new(&env);
    let token = served.token.clone();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let (address, hello) = (served.address.clone(), hello());
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let status = |name: &str, value: Option<&str>| served.client().with(name, value).post(&hello).status;

    assert_eq!(status("Authorization", None), 401);
    let (last, rest) = (&token[63..], &token[..63]);
    let nearly = format!("Bearer {rest}{}", if last == "0" { "1" } else { "0" });
    for shown in [&nearly, "Bearer ", "Bearer", &token, &format!("Bearer {token} "), &format!("Bearer {rest}")] {
        // A header's value ends where its last word does.
        let expected = if shown.ends_with(&format!("{token} ")) { 200 } else { 401 };
        assert_eq!(status("Authorization", Some(shown)), expected, "{shown}");
    }
    for host in ["example.com", "example.com:80", &format!("example.com:{port}"), "127.0.0.1:1", "127.0.0.1"] {
        assert_eq!(status("Host", Some(host)), 403, "Host: {host}");
    }
    assert_eq!(status("Host", Some(&format!("localhost:{port}"))), 200);
    for origin in
        ["http://example.com", "null", &format!("https://{address}"), "http://127.0.0.1:1", "http://localhost"]
    {
        assert_eq!(status("Origin", Some(origin)), 403, "Origin: {origin}");
    }
    assert_eq!(status("Origin", Some(&format!("http://{address}"))), 200);

    let mut client = served.shaken();
    assert_eq!(client.call("shell__run", json!({ "command": "echo over HTTP" })), "over HTTP\n");
    // Without the token, a session's id opens nothing.
    let thief = served.shaken().with("Authorization", None);
    assert_eq!(thief.post(&json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/list" })).status, 401);

    assert_eq!(served.end(), 143);
    assert_eq!(containers(&env), Vec::<String>::new());
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["session"]["outcome"], "interrupted");
    assert!(shown.to_string().contains("over HTTP"));
    for (path, bytes) in all_bytes(&env.session()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(&token), "{}", path.display());
    }
}

#[test]
fn the_token_may_be_given_and_a_client_without_a_handshake_is_served() {
    let mut env = world(SHELL, "");
    env.set("DECKLOG_MCP_TOKEN", "chosen-by-the-user-4711");
    let served = Served::new(&env);
    assert_eq!(served.token, "chosen-by-the-user-4711");
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": NEW,
        "io.modelcontextprotocol/clientInfo": { "name": "tester", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut client = served.client().with("MCP-Protocol-Version", Some(NEW)).with("Mcp-Method", Some("tools/list"));
    let list = client.ask("tools/list", json!({ "_meta": meta })).pop().unwrap();
    let tools = list["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "shell__run"), "{list}");
    let mut client = client.with("Mcp-Method", Some("tools/call")).with("Mcp-Name", Some("shell__run"));
    // What it says of itself is in the record as anything is: without the token.
    let arguments = json!({ "command": "echo chosen-by-the-user-4711" });
    let params = json!({ "name": "shell__run", "arguments": arguments, "_meta": meta });
    let answer = client.ask("tools/call", params).pop().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "chosen-by-the-user-4711\n");
    let pid = served.child.id();
    assert_eq!(served.end(), 143);
    assert!(!is_alive(pid));
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["turns"][0]["steps"][0]["name"], "shell__run");
    for (path, bytes) in all_bytes(&env.session()) {
        assert!(!String::from_utf8_lossy(&bytes).contains("chosen-by-the-user"), "{}", path.display());
    }
}

#[test]
fn two_clients_are_each_told_their_own() {
    let env = world(&format!("every = [\"mcp-server-everything\"]\n{SHELL}"), "");
    let served = Served::new(&env);
    let long = |steps: f64| {
        let mut client = served.shaken();
        std::thread::spawn(move || {
            let arguments = json!({ "duration": 1, "steps": steps });
            let name = "every__trigger-long-running-operation";
            // Both choose the same token, as clients that count do.
            let meta = json!({ "progressToken": 1 });
            client.ask("tools/call", json!({ "name": name, "arguments": arguments, "_meta": meta }))
        })
    };
    let mut other = served.shaken();
    let both = [(2.0, long(2.0)), (3.0, long(3.0))];
    // Neither of them keeps a third one waiting.
    assert_eq!(other.call("shell__run", json!({ "command": "echo beside" })), "beside\n");
    for (steps, client) in both {
        let messages = client.join().unwrap();
        let (answer, notes) = messages.split_last().unwrap();
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(&format!("Steps: {steps}")), "{text}");
        assert!(!notes.is_empty(), "no progress: {answer}");
        for note in notes {
            assert_eq!(note["method"], "notifications/progress", "{note}");
            let params = &note["params"];
            assert_eq!((&params["progressToken"], params["total"].as_f64()), (&json!(1), Some(steps)), "{note}");
        }
    }
    assert_eq!(served.end(), 143);
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    let steps = shown["turns"][0]["steps"].as_array().unwrap();
    let calls: Vec<_> = steps.iter().filter(|step| step["type"] == "tool").collect();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
}

#[test]
fn whoever_listens_is_told_of_new_tools() {
    let env = world("odd = [\"node\", \"/workspace/odd.js\"]", "");
    let more = r#"
on["tools/call"] = (id) => {
  tools.push({ name: `more${tools.length}`, inputSchema: { type: "object" } });
  send({ method: "notifications/tools/list_changed" });
  said(id, "grown");
};"#;
    odd_server(&env, more);
    let served = Served::new(&env);
    let (mut one, mut other) = (served.shaken(), served.shaken());
    let listening = [one.listen(), other.listen()];
    assert_eq!(one.call("odd__look", json!({})), "grown");
    for messages in listening {
        let changed = |message: &Value| message["method"] == "notifications/tools/list_changed";
        assert!(std::iter::from_fn(|| messages.recv_timeout(LONG).ok()).any(|message| changed(&message)));
    }
    let list = other.ask("tools/list", json!({})).pop().unwrap();
    assert!(list["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "odd__more1"), "{list}");
    assert_eq!(served.end(), 143);
}
