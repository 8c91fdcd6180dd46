//! A test's world: a scripted server, a directory, and the agent as a process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use decklog_testkit::{ModelServer, Step};
use serde_json::{Value, json};

/// The key, which must be found nowhere.
pub(crate) const KEY: &str = "the-key-that-nobody-sees-4711";
/// Its variable.
pub(crate) const VAR: &str = "LOCAL_KEY";
/// Both styles.
pub(crate) const STYLES: [&str; 2] = ["openai", "anthropic"];

/// What the agent left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{:#?}\n{}", self.events, self.stderr);
        self
    }

    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["type"].as_str()).collect()
    }

    pub(crate) fn all(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["type"] == kind).collect()
    }

    #[track_caller]
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}: {:#?}", self.events);
        all[0]
    }

    /// All pieces of text.
    pub(crate) fn text(&self) -> String {
        self.all("text_delta").iter().filter_map(|event| event["text"].as_str()).collect()
    }
}

pub(crate) struct World {
    pub(crate) server: ModelServer,
    style: &'static str,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(style: &'static str, script: Vec<Step>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("work")).expect("a directory");
        Self { server: ModelServer::start_without_side_requests(script), style, dir }
    }

    /// The working directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Where conversations are kept.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state/conversations")
    }

    /// A request without tools.
    pub(crate) fn request(&self, prompt: &str) -> Value {
        json!({
            "prompt": prompt, "system": "You are a test.", "working_dir": self.dir(), "permissions": "edit",
            "model": {
                "provider": "local", "style": self.style, "base_url": self.server.base_url() + "/v1",
                "api_key_env": VAR, "model": "scripted",
            },
            "state_dir": self.state(), "limits": { "first_wait_ms": 1 },
        })
    }

    /// A request with the tools of the test server.
    pub(crate) fn with_tools(&self, prompt: &str) -> Value {
        let mut request = self.request(prompt);
        request["mcp"] = json!([{ "name": "test", "command": [example("tools")] }]);
        request
    }

    pub(crate) fn run(&self, request: Value) -> Ran {
        self.run_with(&request.to_string())
    }

    /// Runs the agent to its end. The key must be in nothing that it leaves.
    pub(crate) fn run_with(&self, input: &str) -> Ran {
        let child = self.start(input);
        let output = child.wait_with_output().expect("it ends");
        assert_no_key(&output.stdout, "stdout");
        assert_no_key(&output.stderr, "stderr");
        for file in files(self.dir.path()) {
            assert_no_key(&std::fs::read(&file).expect("a file"), &file.display().to_string());
        }
        let stdout = String::from_utf8(output.stdout).expect("text");
        let events = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().or(output.status.signal().map(|signal| -signal)).unwrap_or_default();
        Ran { code, events, stderr }
    }

    /// Starts the agent and hands it `input`.
    pub(crate) fn start(&self, input: &str) -> Child {
        let mut child = Command::new(example("agent"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(VAR, KEY)
            .current_dir(self.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        child.stdin.take().expect("its stdin").write_all(input.as_bytes()).expect("it reads");
        child
    }
}

/// Calls of tools, all in one reply.
pub(crate) fn calls(of: &[(&str, Value)]) -> Step {
    Step::Calls { text: None, calls: of.iter().map(|(name, input)| ((*name).into(), input.to_string())).collect() }
}

/// Waits until `look` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An example of this crate, which `cargo test` builds with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let dir = test.parent().and_then(Path::parent).expect("a target directory");
    let path = dir.join("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build -p decklog-builtin --examples");
    path
}

fn assert_no_key(bytes: &[u8], place: &str) {
    let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
    assert!(!found, "the key is in {place}: {}", String::from_utf8_lossy(bytes));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}
