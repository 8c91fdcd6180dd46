//! A world with an image in it, and a client for `decklog mcp` that is no library's.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use decklog_testkit::boxes::{self, Boxes};
use serde_json::{Value, json};

use crate::env::{TestEnv, kill};

/// How long anything may take on a machine that is busy.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// What the image is built from.
pub(crate) fn prepared() -> &'static Boxes {
    static BOXES: OnceLock<Boxes> = OnceLock::new();
    BOXES.get_or_init(|| boxes::prepare().expect("the image's context"))
}

/// A world whose configuration has the image `coding`, with these servers, and more.
pub(crate) fn world(servers: &str, more: &str) -> TestEnv {
    let mut env = TestEnv::new();
    configure(&mut env, servers, more);
    env
}

/// Gives a world the image.
pub(crate) fn configure(env: &mut TestEnv, servers: &str, more: &str) {
    configure_from(prepared(), env, servers, more);
    built(env);
}

/// Gives a world the image's configuration.
pub(crate) fn configure_from(boxes: &Boxes, env: &mut TestEnv, servers: &str, more: &str) {
    for (name, value) in &boxes.vars {
        env.set(name, value);
    }
    let set = env.vars.iter().find(|(name, _)| name == "XDG_CONFIG_HOME");
    let dir = set.map_or_else(|| env.home().join(".config"), |(_, dir)| dir.into()).join("decklog");
    std::fs::create_dir_all(&dir).unwrap();
    let dockerfile = boxes.context.join("Dockerfile");
    let text = format!("{more}\n[images.coding]\ndockerfile = {dockerfile:?}\n[images.coding.mcp]\n{servers}\n");
    std::fs::write(dir.join("config.toml"), text).unwrap();
}

/// A server that is in the working directory: to be started with `node /workspace/odd.js`. It has one tool, `look`, and is
/// as `more` makes it: what it does `on` a method.
pub(crate) fn odd_server(env: &TestEnv, more: &str) {
    env.write("odd.js", format!("{ODD}{more}\n"));
}

const ODD: &str = r#"
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
const said = (id, text) => send({ id, result: { content: [{ type: "text", text }] } });
const tools = [{ name: "look", inputSchema: { type: "object" } }];
const on = {
  initialize(id, { protocolVersion }) {
    const serverInfo = { name: "odd", version: "1" };
    send({ id, result: { protocolVersion, capabilities: { tools: { listChanged: true } }, serverInfo } });
  },
  "tools/list": (id) => send({ id, result: { tools } }),
  "tools/call": (id) => said(id, "looked"),
};
const input = require("node:readline").createInterface({ input: process.stdin });
input.on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  on[method]?.(id, params);
});
input.on("close", () => process.exit(0));
"#;

/// Builds the image once for all tests: a second build at the same time would do the same again.
fn built(env: &TestEnv) {
    let lock = std::fs::File::create(prepared().context.with_extension("building")).unwrap();
    lock.lock().unwrap();
    env.decklog(&["build", "--image", "coding"]).expect(0);
}

/// Runs podman as decklog does in this world.
pub(crate) fn podman(env: &TestEnv, arguments: &[&str]) -> String {
    let output = env.command("podman").args(arguments).output().unwrap();
    assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the containers made for sessions of this world.
pub(crate) fn containers(env: &TestEnv) -> Vec<String> {
    let root = env.root().canonicalize().unwrap();
    let filter = format!("label=decklog.root={}", root.display());
    podman(env, &["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
}

/// The notices with this code in the record of this world's one session.
pub(crate) fn notices(env: &TestEnv, code: &str) -> Vec<String> {
    let journal = std::fs::read_to_string(env.session().join("journal.jsonl")).unwrap();
    let events = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let notices = events.filter(|event| event["type"] == "notice" && event["code"] == code);
    notices.map(|notice| notice["text"].as_str().unwrap().to_owned()).collect()
}

/// The first child of a process.
pub(crate) fn first_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// A client on the stdio of `decklog mcp`.
pub(crate) struct Client {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// What came besides answers.
    pub(crate) notes: Vec<Value>,
    next: u64,
}

impl Client {
    /// Starts it, with these arguments after `mcp`, and shakes hands.
    pub(crate) fn new(env: &TestEnv, arguments: &[&str]) -> Self {
        let mut client = Self::silent(env, arguments);
        client.shake();
        client
    }

    /// Shakes hands.
    pub(crate) fn shake(&mut self) {
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "tester", "version": "1" } });
        self.ask("initialize", hello);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    }

    /// Starts it and says nothing.
    pub(crate) fn silent(env: &TestEnv, arguments: &[&str]) -> Self {
        Self::of(env.decklog_command(&[&["mcp"], arguments].concat()))
    }

    /// Starts this and says nothing.
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str(&line) else { panic!("no message: {line}") };
                if to.send(message).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, notes: Vec::new(), next: 1 }
    }

    /// The process that records and serves: the one that the client sees stands before it.
    pub(crate) fn recorder(&self) -> u32 {
        let records = |pid: &u32| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|command| command.ends_with("\0--behind\0"))
        };
        // There may be others before it, where it is another user's.
        crate::env::eventually("the recorder", || {
            std::iter::successors(Some(self.child.id()), |pid| first_child(*pid)).find(records)
        })
    }

    pub(crate) fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a request, and gives its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Waits for the answer to a request: the whole message.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.lines.recv_timeout(LONG).unwrap_or_else(|error| self.give_up(&error.to_string()));
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
            self.notes.push(message);
        }
    }

    /// Nothing comes: what it said on stderr tells why.
    fn give_up(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut said);
        }
        panic!("no answer: {why}\n{said}");
    }

    /// Waits for a message that `is` it.
    pub(crate) fn wait_for(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.notes.iter().position(&is) {
            return self.notes.remove(at);
        }
        loop {
            let message = self.lines.recv_timeout(LONG).expect("a message");
            if is(&message) {
                return message;
            }
            self.notes.push(message);
        }
    }

    /// Asks, and gives the result; an error fails the test.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        let mut answer = self.answer(id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Calls a tool: whether it failed, and what it said.
    #[track_caller]
    pub(crate) fn call(&mut self, name: &str, arguments: Value) -> (bool, String) {
        let result = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        let text: Vec<_> = result["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["text"].as_str().unwrap_or_default().to_owned())
            .collect();
        (result["isError"] == true, text.join("\n"))
    }

    /// Names of the tools that are offered.
    pub(crate) fn tools(&mut self) -> Vec<String> {
        let list = self.ask("tools/list", json!({}));
        list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Leaves, and gives the exit code and what was said on stderr.
    pub(crate) fn leave(mut self) -> (i32, String) {
        drop(self.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The process that ends the container of the recorder `pid` when that ends.
fn watcher(pid: u32) -> u32 {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_watcher = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        parent == Some(pid) && memchr::memmem::find(&command, b"\0__container\0").is_some()
    };
    pids.find(is_watcher).expect("a watcher")
}

/// Kills the recorder `pid`, and before it what would end its container.
pub(crate) fn kill_with_watcher(pid: u32) {
    kill(watcher(pid), "KILL");
    kill(pid, "KILL");
}
