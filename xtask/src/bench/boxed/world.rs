//! An image, a session root for what runs of it, and a client of MCP servers on stdio.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use decklog_testkit::boxes::{self, Boxes};
use serde_json::{Value, json};

use crate::Result;
use crate::bench::measure::{Bench, time};

/// The server in the image: it runs commands, and does nothing, as asked.
pub(super) const SERVER: [&str; 2] = ["node", "/srv/shell-mcp.js"];

/// A home with a configuration, and a session root of its own. Its containers go with it, however the measuring ends.
pub(super) struct World<'a> {
    bench: &'a Bench,
    boxes: Boxes,
    home: PathBuf,
    root: PathBuf,
    tag: String,
}

impl<'a> World<'a> {
    /// With a built image. Where there is an audit, these ports of the host are allowed.
    pub(super) fn new(bench: &'a Bench, ports: &[u16]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("box-").tempdir_in(bench.path("."))?.keep();
        let (home, root) = (dir.join("home"), dir.join("root"));
        let config = home.join(".config/decklog");
        std::fs::create_dir_all(&config)?;
        std::fs::create_dir(&root)?;
        let boxes = boxes::prepare()?;
        let dockerfile = boxes.context.join("Dockerfile");
        let allow: Vec<String> = ports.iter().map(|port| format!("host.containers.internal:{port}")).collect();
        // The image's name is the tests' own: it is built once for both.
        let text = format!(
            "[network]\nallow = {allow:?}\n[images.coding]\ndockerfile = {dockerfile:?}\n[images.coding.mcp]\nshell = {SERVER:?}\n"
        );
        std::fs::write(config.join("config.toml"), text)?;
        let mut world = Self { bench, boxes, home, root: root.canonicalize()?, tag: String::new() };
        let output = world.decklog(&["build"]).stdout(Stdio::piped()).output()?;
        world.tag = String::from_utf8(output.stdout)?.trim().to_owned();
        if world.tag.is_empty() { Err("the image could not be built".into()) } else { Ok(world) }
    }

    /// What podman calls the image.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// decklog, in this world.
    fn decklog(&self, arguments: &[&str]) -> Command {
        self.here(self.bench.decklog(&self.root, arguments))
    }

    /// `decklog mcp` of the image.
    pub(super) fn mcp(&self, network: &str) -> Command {
        self.decklog(&["mcp", "--image", "coding", "--network", network])
    }

    /// Podman, as decklog calls it here.
    pub(super) fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = self.here(self.bench.command("podman"));
        command.args(arguments);
        command
    }

    fn here(&self, mut command: Command) -> Command {
        command.env("HOME", &self.home).envs(self.boxes.vars.iter().cloned());
        command
    }

    /// Names of the containers that are there.
    fn containers(&self) -> Result<Vec<String>> {
        let filter = format!("label=decklog.root={}", self.root.display());
        let words = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"];
        let output = self.podman(&words).stdout(Stdio::piped()).output()?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// The one container that is there, and the options with which it was made, but for its name and what it runs.
    pub(super) fn container(&self) -> Result<(String, Vec<String>)> {
        let names = self.containers()?;
        let [name] = names.as_slice() else { return Err(format!("not one container: {names:?}").into()) };
        let session = name.strip_prefix("decklog-").ok_or("no container of a session")?;
        let log = std::fs::read_to_string(self.root.join(session).join("logs/container.log"))?;
        let made = format!("$ podman create --name {name} ");
        let options =
            log.lines().find_map(|line| line.split_once(&made)?.1.split_once(" --entrypoint ")).map(|it| it.0);
        let options = options.ok_or("how the container was made is not in its log")?;
        Ok((name.clone(), options.split(' ').map(str::to_owned).collect()))
    }

    /// What is recorded of connections, of all sessions.
    pub(super) fn connections(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for session in std::fs::read_dir(&self.root)? {
            match std::fs::read_to_string(session?.path().join("logs/network.jsonl")) {
                Ok(text) => {
                    all.extend(text.lines().map(serde_json::from_str).collect::<std::result::Result<Vec<_>, _>>()?)
                }
                // It had podman's own network.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(all)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for name in self.containers().unwrap_or_default() {
            if let Err(error) = time(&mut self.podman(&["rm", "--force", "--time", "0", &name])) {
                eprintln!("the container {name} is left: {error}");
            }
        }
    }
}

/// A client of a server on stdio.
pub(super) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: u64,
}

impl Client {
    /// Starts the server and shakes hands.
    pub(super) fn new(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut client = Self { child, stdin, stdout, next: 0 };
        let me = json!({ "name": "bench", "version": "1" });
        client.ask("initialize", &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me }))?;
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(client)
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("it was left")?;
        Ok(stdin.write_all(format!("{message}\n").as_bytes())?)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err(format!("the server ended before it answered {method}").into());
            }
            let mut message: Value = serde_json::from_str(&line)?;
            if message["id"] == id && message.get("method").is_none() {
                return match message.get("error") {
                    None => Ok(message["result"].take()),
                    Some(error) => Err(format!("{method}: {error}").into()),
                };
            }
        }
    }

    /// Calls a tool, with a command if it takes one, and gives what it says.
    pub(super) fn call(&mut self, name: &str, command: &str) -> Result<String> {
        let result = self.ask("tools/call", &json!({ "name": name, "arguments": { "command": command } }))?;
        let said = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        if result["isError"] == true { Err(format!("{name}: {said}").into()) } else { Ok(said) }
    }

    /// Runs a command in the container.
    pub(super) fn run(&mut self, command: &str) -> Result<String> {
        self.call("shell__run", command)
    }

    /// The most memory that the recorder has had, in bytes: the process behind the one that was started.
    pub(super) fn recorders_peak(&self) -> Result<u64> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let recorder = children.split_whitespace().next().ok_or("no recorder")?;
        let status = std::fs::read_to_string(format!("/proc/{recorder}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.ok_or("no peak")?.trim().parse::<u64>()? * 1024)
    }

    /// Leaves, and waits until the server has ended.
    pub(super) fn leave(mut self) -> Result<()> {
        self.stdin = None;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // When the measuring failed: the recorder closes its session and removes its container.
        self.stdin = None;
        let _ = self.child.wait();
    }
}
