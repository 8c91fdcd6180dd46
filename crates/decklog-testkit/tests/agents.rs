//! The real agents against the scripted server: what the rest of the tests stand on.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use decklog_testkit::{ModelServer, Step, agents};

const CONTENT: &str = "hello from the agent\nsecond line\n";

/// A home and a git repository for one agent, and the server it talks to.
struct Stage {
    agent: &'static str,
    root: tempfile::TempDir,
    server: ModelServer,
}

impl Stage {
    /// `None` says that the test is to be skipped, and has said so.
    fn set(agent: &'static str, script: Vec<Step>) -> Option<Stage> {
        if agents::installed().is_none() {
            let required = std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
            assert!(!required, "the agents are not installed, and DECKLOG_TEST_REQUIRE_ALL=1 requires them");
            eprintln!("skipped: the agents are not installed");
            return None;
        }
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        for dir in ["home", "work"] {
            fs::create_dir(root.path().join(dir)).expect("it is empty");
        }
        let git = Command::new("git").args(["init", "-q"]).current_dir(root.path().join("work")).status();
        assert!(git.expect("git runs").success());
        Some(Stage { agent, root, server: ModelServer::start(script) })
    }

    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let programs = agents::installed().expect("set() has seen it");
        let home = self.root.path().join("home");
        let mut command = Command::new(programs.join(program));
        let env = agents::prepare(self.agent, &home, &self.server).expect("the home can be written");
        command
            .args(args)
            .envs(env)
            .current_dir(self.work())
            // opencode believes this rather than the directory it is in.
            .env("PWD", self.work())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let output = self.command(program, args).output().expect("the agent starts");
        println!("stdout:\n{}", String::from_utf8_lossy(&output.stdout));
        println!("stderr:\n{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

fn write_script() -> Vec<Step> {
    vec![
        Step::Write { path: "notes.txt".to_owned(), content: CONTENT.to_owned() },
        Step::Text("The notes are written.".to_owned()),
    ]
}

/// The agent writes the file, and its two main-loop requests took the two steps.
fn writes(agent: &'static str, args: &[&str]) {
    let Some(stage) = Stage::set(agent, write_script()) else {
        return;
    };
    let output = stage.run(agent, args);
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(read(&stage.work().join("notes.txt")), CONTENT);
    assert!(String::from_utf8_lossy(&output.stdout).contains("The notes are written."));
    assert_eq!(stage.server.main_requests().len(), 2);
}

/// The agent ends in failure and shows the sign of a rate limit.
fn is_limited(agent: &'static str, args: &[&str], sign: &str) {
    let Some(stage) = Stage::set(agent, vec![Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }]) else {
        return;
    };
    let output = stage.run(agent, args);
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains(sign), "no `{sign}` in what it said");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const CLAUDE: &[&str] =
    &["-p", "write", "--output-format", "stream-json", "--verbose", "--permission-mode", "acceptEdits"];
const CODEX: &[&str] = &["exec", "--json", "--sandbox", "workspace-write", "write"];
const GEMINI: &[&str] = &["-p", "write", "--output-format", "stream-json", "--approval-mode", "auto_edit"];
const OPENCODE: &[&str] = &["run", "--format", "json", "write"];

#[test]
fn claude_writes() {
    writes("claude", CLAUDE);
}

#[test]
fn codex_writes() {
    writes("codex", CODEX);
}

#[test]
fn gemini_writes() {
    writes("gemini", GEMINI);
}

#[test]
fn opencode_writes() {
    writes("opencode", OPENCODE);
}

#[test]
fn claude_is_limited() {
    is_limited("claude", CLAUDE, "\"error\":\"rate_limit\"");
}

#[test]
fn codex_is_limited() {
    is_limited("codex", CODEX, "hit your usage limit");
}

#[test]
fn gemini_is_limited() {
    is_limited("gemini", GEMINI, "code: 429");
}

/// opencode retries for as long as anyone has watched, and says nothing.
#[test]
fn opencode_is_silent_when_limited() {
    let Some(stage) = Stage::set("opencode", vec![Step::RateLimit { reset_at_epoch: None }]) else {
        return;
    };
    let mut agent = stage.command("opencode", OPENCODE).stdout(Stdio::piped()).spawn().expect("the agent starts");
    let asked = stage.server.wait_for_main_requests(2, std::time::Duration::from_secs(60));
    let alive = agent.try_wait().expect("it can be asked").is_none();
    agent.kill().expect("it can be ended");
    let output = agent.wait_with_output().expect("it ends");
    assert!(asked, "it did not retry");
    assert!(alive, "it gave up");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// The ACP program answers `initialize`, and ends when its input does.
fn initializes(agent: &'static str, program: &str, args: &[&str]) {
    let Some(stage) = Stage::set(agent, Vec::new()) else {
        return;
    };
    let mut command = stage.command(program, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the agent starts");
    let mut input = child.stdin.take().expect("it is piped");
    let request =
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1,"clientCapabilities":{}}}"#;
    writeln!(input, "{request}").expect("it reads");
    let mut answer = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut answer).expect("it answers in text");
    assert!(answer.contains(r#""id":1"#) && answer.contains(r#""protocolVersion":1"#), "{answer}");
    drop(input);
    child.wait().expect("it ends");
}

#[test]
fn claude_agent_acp_initializes() {
    initializes("claude-agent-acp", "claude-agent-acp", &[]);
}

#[test]
fn codex_acp_initializes() {
    initializes("codex-acp", "codex-acp", &[]);
}

#[test]
fn opencode_acp_initializes() {
    initializes("opencode", "opencode", &["acp"]);
}

#[test]
fn gemini_acp_initializes() {
    initializes("gemini", "gemini", &["--acp"]);
}
