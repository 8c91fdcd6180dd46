//! The real agents against the scripted model server: what they do is what is recorded.
//!
//! Without the agents installed (`cargo xtask test` installs them) these tests say so and pass; with
//! `DECKLOG_TEST_REQUIRE_ALL=1` they fail then.

mod boxed;
mod boxing;
mod looping;
mod racing;
mod relaying;

use std::time::Duration;

use decklog_testkit::{ModelServer, Step, agents};
use serde_json::Value;

use crate::env::{Ran, TestEnv, all_bytes, eventually, is_alive, kill};

/// An agent of decklog's, and the program that must be set up for it.
pub(crate) const AGENTS: [(&str, &str); 8] = [
    ("claude", "claude"),
    ("codex", "codex"),
    ("gemini", "gemini"),
    ("opencode", "opencode"),
    ("claude-acp", "claude-agent-acp"),
    ("codex-acp", "codex-acp"),
    ("gemini-acp", "gemini"),
    ("opencode-acp", "opencode"),
];

/// Runs `check` in a world where `agent` talks to a server with `script`; all agents side by side, two at a time.
fn each(script: impl Fn(&str) -> Vec<Step> + Sync, check: impl Fn(&str, &TestEnv, &ModelServer) + Sync) {
    each_of(&AGENTS, script, check);
}

/// The same for some of the agents.
pub(crate) fn each_of(
    which: &[(&str, &str)],
    script: impl Fn(&str) -> Vec<Step> + Sync,
    check: impl Fn(&str, &TestEnv, &ModelServer) + Sync,
) {
    if agents::installed().is_none() {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "the agents are not installed");
        eprintln!("skipped: the agents are not installed (cargo xtask test installs them)");
        return;
    }
    let (script, check) = (&script, &check);
    std::thread::scope(|scope| {
        let (first, second) = which.split_at(which.len() / 2);
        for half in [first, second] {
            scope.spawn(move || {
                for (agent, program) in half {
                    let server = ModelServer::start(script(agent));
                    let env = world(program, &server);
                    eprintln!("{agent}");
                    check(agent, &env, &server);
                }
            });
        }
    });
}

fn world(program: &str, server: &ModelServer) -> TestEnv {
    let mut env = TestEnv::new();
    let home = env.home();
    for (name, value) in agents::prepare(program, &home, server).unwrap() {
        env.set(&name, value);
    }
    // The session root stays where the tests look for it.
    env.set("XDG_DATA_HOME", home.join(".local/share"));
    env
}

pub(crate) fn write(content: &str) -> Step {
    Step::Write { path: "hello.txt".into(), content: content.into() }
}

pub(crate) fn run(env: &TestEnv, agent: &str, arguments: &[&str]) -> Ran {
    let mut all = vec!["run"];
    all.extend(arguments);
    all.extend([agent, "write hello"]);
    env.decklog(&all)
}

fn show(env: &TestEnv) -> Value {
    env.decklog(&["verify", "@"]).expect(0);
    env.decklog(&["show", "@", "--json"]).expect(0).json()
}

pub(crate) fn tools(turn: &Value) -> Vec<&Value> {
    turn["steps"].as_array().unwrap().iter().filter(|step| step["type"] == "tool").collect()
}

#[test]
fn a_file_is_written() {
    each(
        |_| vec![write("hello from the agent\n"), Step::Text("The file is written.".into())],
        |agent, env, server| {
            let ran = run(env, agent, &["--check", "grep -q hello hello.txt"]).expect(0);
            assert!(ran.stdout.contains("The file is written."), "{agent}: {}", ran.stdout);
            assert_eq!(env.read("hello.txt").trim_end(), "hello from the agent", "{agent}");
            let shown = show(env);
            let (session, turn) = (&shown["session"], &shown["turns"][0]);
            assert_eq!(session["outcome"], "success", "{agent}");
            assert_eq!(session["agents"], serde_json::json!([agent]));
            assert_eq!(session["files_changed"], 1, "{agent}: {:#}", turn["files"]);
            assert_eq!(turn["files"][0]["path"], "hello.txt", "{agent}");
            assert_eq!(turn["validations"][0]["passed"], true, "{agent}");
            assert!(turn["agent_session_id"].is_string(), "{agent}");
            let calls = tools(turn);
            assert!(
                calls.iter().any(|call| call["kind"] == "edit" && call["status"] == "completed"),
                "{agent}: {calls:#?}"
            );
            counted(agent, turn);
            assert!(env.decklog(&["diff", "@"]).stdout.contains("+hello from the agent"), "{agent}");
            assert!(!server.main_requests().is_empty());
            env.decklog(&["discard", "-y", "@"]).expect(0);
            assert!(env.sessions().is_empty(), "{agent}");
        },
    );
}

/// Two model calls, each with the testkit's counts.
fn counted(agent: &str, turn: &Value) {
    let tokens = &turn["tokens"];
    let (input, cached, output) = told(agent, 2);
    let recorded = (&tokens["input"], &tokens["cached_input"], &tokens["output"]);
    assert_eq!(recorded, (&input.into(), &cached.into(), &output.into()), "{agent}");
}

/// What an agent's protocol tells of a prompt with so many model calls: input, the cached part of it, and output.
fn told(agent: &str, calls: u64) -> (u64, u64, u64) {
    use decklog_testkit::usage::{CACHE_READ, CACHE_WRITE, OUTPUT, REASONING, UNCACHED_INPUT};
    let input = UNCACHED_INPUT + CACHE_READ;
    let (calls, (input, cached, output)) = match agent {
        "claude" | "claude-acp" => (calls, (input + CACHE_WRITE, CACHE_READ, OUTPUT)),
        // Told of the last model call alone.
        "opencode-acp" => (calls.min(1), (input, CACHE_READ, OUTPUT)),
        // Neither what was cached nor what was thought is told.
        "gemini-acp" => (calls, (input, 0, OUTPUT - REASONING)),
        _ => (calls, (input, CACHE_READ, OUTPUT)),
    };
    (calls * input, calls * cached, calls * output)
}

#[test]
fn a_failed_tool() {
    each(
        |_| vec![Step::Shell { command: "echo out; echo err >&2; exit 3".into() }, Step::Text("It failed.".into())],
        |agent, env, _| {
            run(env, agent, &["--permissions", "full"]).expect(0);
            let shown = show(env);
            let calls = tools(&shown["turns"][0]);
            let call =
                calls.iter().find(|call| call["kind"] == "execute").unwrap_or_else(|| panic!("{agent}: {calls:#?}"));
            // Gemini takes a command that fails for a tool that worked, and does not tell the exit code.
            let status = if agent.starts_with("gemini") { "completed" } else { "failed" };
            assert_eq!(call["status"], status, "{agent}: {call:#}");
            if !["gemini-acp", "codex-acp"].contains(&agent) {
                assert!(call["output"].as_str().unwrap_or_default().contains("out"), "{agent}: {call:#}");
            }
        },
    );
}

#[test]
fn a_rate_limit_is_a_checkpoint() {
    let reset = 4_070_908_800; // the beginning of 2099
    each(
        |_| vec![Step::RateLimit { reset_at_epoch: Some(reset) }],
        |agent, env, _| {
            if agent.starts_with("opencode") {
                // It says nothing at all: only its silence is seen.
                run(env, agent, &["--stall-timeout", "8s"]).expect(2);
                assert_eq!(show(env)["turns"][0]["outcome"], "stalled", "{agent}");
                return;
            }
            let ran = run(env, agent, &[]).expect(75);
            let shown = show(env);
            let (session, turn) = (&shown["session"], &shown["turns"][0]);
            assert_eq!(
                (&session["status"], &session["checkpoint_reason"]),
                (&"checkpointed".into(), &"rate_limit".into()),
                "{agent}"
            );
            assert_eq!(session["exit_code"], 75, "{agent}");
            assert_eq!(turn["outcome"], "rate_limited", "{agent}");
            assert_eq!(turn["rate_limits"].as_array().unwrap().len(), 1, "{agent}");
            if agent == "codex" {
                assert!(turn["rate_limits"][0]["resets_at"].as_str().unwrap().starts_with("20"), "{agent}");
            }
            assert!(ran.stderr.contains("rate limited"), "{agent}: {}", ran.stderr);
        },
    );
}

#[test]
fn prose_about_rate_limits_is_none() {
    each(
        |_| vec![Step::Text("A RateLimitError 429 means: usage limit reached, try again at 8:43 AM.".into())],
        |agent, env, _| {
            run(env, agent, &[]).expect(0);
            let shown = show(env);
            assert!(shown["turns"][0].get("rate_limits").is_none(), "{agent}");
            assert_eq!(shown["session"]["outcome"], "success", "{agent}");
        },
    );
}

#[test]
fn a_stall_is_ended() {
    each(
        |_| vec![Step::Stall],
        |agent, env, _| {
            run(env, agent, &["--stall-timeout", "6s"]).expect(2);
            let shown = show(env);
            assert_eq!(shown["turns"][0]["outcome"], "stalled", "{agent}");
            assert!(shown["turns"][0]["steps"].to_string().contains("stalled"), "{agent}");
        },
    );
}

#[test]
fn ctrl_c_in_the_middle_of_a_turn() {
    each(
        |_| vec![Step::Stall],
        |agent, env, server| {
            let decklog = env.start(&["run", agent, "write hello"]);
            assert!(server.wait_for_main_requests(1, Duration::from_secs(60)), "{agent} never asked");
            let marker = format!("HOME={}", env.home().display());
            kill(decklog.id(), "INT");
            let output = decklog.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(130), "{agent}: {}", String::from_utf8_lossy(&output.stderr));
            let shown = show(env);
            assert_eq!(shown["session"]["outcome"], "interrupted", "{agent}");
            assert_eq!(shown["turns"][0]["outcome"], "interrupted", "{agent}");
            assert_eq!(with_environment(&marker), Vec::<u32>::new(), "{agent} left processes behind");
        },
    );
}

#[test]
fn a_recorder_killed_in_the_middle_of_a_turn() {
    each(
        |_| vec![write("before the kill\n"), Step::Stall],
        |agent, env, server| {
            let mut decklog = env.start(&["run", agent, "write hello"]);
            assert!(server.wait_for_main_requests(2, Duration::from_secs(60)), "{agent} never asked");
            kill(decklog.id(), "KILL");
            decklog.wait().unwrap();
            let marker = format!("HOME={}", env.home().display());
            eventually("the end of the agent", || with_environment(&marker).is_empty().then_some(()));
            assert_eq!(env.decklog(&["ls", "--json"]).json()[0]["status"], "crashed", "{agent}");
            let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
            let calls = tools(&shown["turns"][0]);
            // opencode tells of a call only when its step is over, and over ACP some tell late.
            if agent == "claude" || agent == "gemini" {
                assert!(calls.iter().any(|call| call["kind"] == "edit"), "{agent}: {shown:#}");
            }
            env.decklog(&["discard", "-y", "@"]).expect(0);
            assert!(env.sessions().is_empty(), "{agent}");
        },
    );
}

/// Living processes in whose environment `marker` stands.
fn with_environment(marker: &str) -> Vec<u32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes()) && is_alive(*pid)
    })
    .collect()
}

#[test]
fn a_secret_that_is_echoed_stays_out_of_the_record() {
    let secret = "s3cr3t-Value-of-Mine-0123456789";
    each(
        |_| {
            vec![
                Step::Shell { command: "printf 'the key is %s\\n' \"$DEPLOY_API_KEY\"".into() },
                Step::Text(format!("Your key is {secret}.")),
            ]
        },
        |agent, env, _| {
            run(env, agent, &["--permissions", "full", "--env", &format!("DEPLOY_API_KEY={secret}")]).expect(0);
            show(env);
            for (path, bytes) in all_bytes(&env.root()) {
                let bytes = if path.extension().is_some_and(|extension| extension == "zst") {
                    zstd::decode_all(bytes.as_slice()).unwrap()
                } else {
                    bytes
                };
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{agent}: {}", path.display());
            }
            let text = env.decklog(&["show", "@"]).stdout;
            assert!(text.contains("[redacted:DEPLOY_API_KEY]"), "{agent}: {text}");
        },
    );
}

#[test]
fn read_only_is_kept() {
    each(
        |_| vec![write("no\n"), Step::Text("Done, or not.".into())],
        |agent, env, _| {
            let ran = run(env, agent, &["--permissions", "read-only"]);
            assert!(!env.work().join("hello.txt").exists(), "{agent}: {}", ran.stderr);
            let shown = show(env);
            assert!(shown.to_string().contains("permission_refused"), "{agent}: {shown:#}");
        },
    );
}

#[test]
fn a_prompt_longer_than_agents_take() {
    each(
        |_| vec![Step::Text("Read.".into())],
        |agent, env, server| {
            let prompt = "do it well. ".repeat(420_000);
            let ran = env.decklog_with_input(&["run", agent, "-"], prompt.as_bytes()).expect(0);
            assert!(ran.stdout.contains("Read."), "{agent}: {}", ran.stdout);
            assert_eq!(show(env)["session"]["prompt"].as_str().unwrap().len(), prompt.len(), "{agent}");
            let asked = server.main_requests().iter().map(|request| format!("{:?}", request.body)).collect::<String>();
            assert!(asked.contains("001-prompt.md"), "{agent}");
        },
    );
}

#[test]
fn trouble_with_the_model_is_told_in_the_agents_own_words() {
    each(
        |_| vec![Step::Unauthorized],
        |agent, env, _| {
            // Claude tries for minutes before it gives up; the others only take as long as the machine does.
            let patience = if agent.starts_with("claude") { "10s" } else { "5m" };
            let ran = run(env, agent, &["--timeout", patience]).expect(2);
            if agent.starts_with("claude") {
                assert_eq!(show(env)["turns"][0]["outcome"], "timed_out", "{agent}");
                return;
            }
            let own = ["401", "Authentication required", "Incorrect API key", "API key not valid"];
            assert!(own.iter().any(|words| ran.stderr.contains(words)), "{agent}: {}", ran.stderr);
        },
    );
}
