//! Histories that the real agents wrote, against what decklog recorded of the same runs.

use decklog_testkit::Step;
use serde_json::{Value, json};

use super::{counts, import, state};
use crate::agents::{AGENTS, each_of, run, tools, write};
use crate::env::TestEnv;

/// The agents that write histories of their own, headless.
fn writers() -> &'static [(&'static str, &'static str)] {
    &AGENTS[..4]
}

/// What both ways of telling must tell alike of a turn.
fn told(turn: &Value, work: &str) -> Value {
    let calls: Vec<Value> = tools(turn)
        .into_iter()
        .map(|call| {
            // Live, Codex tells the shell that ran the command, too.
            let title = call["title"].as_str().unwrap_or_default();
            let title = title.strip_prefix("/bin/bash -lc ").unwrap_or(title).trim_matches('\'').replace('"', "");
            json!({ "name": call["name"], "kind": call["kind"], "title": title, "status": call["status"] })
        })
        .collect();
    let files: Vec<Value> =
        turn["files"].as_array().unwrap().iter().map(|file| json!([file["path"], file["status"]])).collect();
    let said: Vec<&str> = turn["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["type"] == "message")
        .map(|step| step["text"].as_str().unwrap())
        .collect();
    let text = json!({
        "outcome": turn["outcome"],
        "agent_session_id": turn["agent_session_id"],
        "tokens": turn["tokens"],
        "tools": calls,
        "files": files,
        "said": said.join(""),
    });
    serde_json::from_str(&text.to_string().replace(work, "")).unwrap()
}

fn shown(env: &TestEnv, root: &str) -> Value {
    env.decklog(&["--session-root", root, "verify", "@"]).expect(0);
    env.decklog(&["--session-root", root, "show", "@", "--json"]).expect(0).json()
}

#[test]
fn an_imported_run_is_what_was_recorded_of_it() {
    each_of(
        writers(),
        |_| {
            vec![
                Step::Shell { command: "echo out".into() },
                write("hello from the agent\n"),
                Step::Text("The file is written.".into()),
            ]
        },
        |agent, env, _| {
            run(env, agent, &["--permissions", "full"]).expect(0);
            let (root, other) = (env.root(), env.home().join("imported"));
            let (root, other) = (root.to_str().unwrap(), other.to_str().unwrap());
            let work = format!("{}/", env.work().canonicalize().unwrap().display());

            // Where decklog recorded it, it is known.
            let report = import(env, &["--all"]);
            assert_eq!(counts(&report), [("already_recorded", 1)], "{agent}: {report:#}");
            assert_eq!(env.sessions().len(), 1, "{agent}");

            let report = import(env, &["--session-root", other, "--all"]);
            assert_eq!(counts(&report), [("imported", 1)], "{agent}: {report:#}");
            let (recorded, imported) = (shown(env, root), shown(env, other));
            assert_eq!(imported["session"]["kind"], "import", "{agent}");
            assert_eq!(imported["session"]["source"]["tool"], agent);
            assert_eq!(imported["session"]["outcome"], "unknown", "{agent}: its history does not say");
            assert_eq!(imported["session"].get("exit_code"), None, "{agent}");
            assert_eq!(imported["session"]["working_dir"], recorded["session"]["working_dir"], "{agent}");
            assert_eq!(imported["session"]["git"]["branch"].as_str().unwrap_or("main"), "main", "{agent}");
            // opencode quotes a prompt from the command line.
            let prompt = imported["session"]["prompt"].as_str().unwrap().trim_matches('"');
            assert_eq!(prompt, recorded["session"]["prompt"], "{agent}");
            let turns = [&recorded, &imported].map(|session| {
                assert_eq!(session["turns"].as_array().unwrap().len(), 1, "{agent}");
                told(&session["turns"][0], &work)
            });
            assert_eq!(turns[0], turns[1], "{agent}");
            if recorded["session"].get("cost_usd").is_some() {
                let cost = |session: &Value| session["session"]["cost_usd"].as_f64().unwrap();
                assert!((cost(&recorded) - cost(&imported)).abs() < 1e-9, "{agent}");
            }
            let diff = env.decklog(&["--session-root", other, "diff", "@"]).expect(0).stdout;
            assert!(diff.contains("new file mode") && diff.contains("+hello from the agent"), "{agent}: {diff}");

            // Once is enough.
            let before = state(std::path::Path::new(other));
            let report = import(env, &["--session-root", other, "--all"]);
            assert_eq!(counts(&report), [("unchanged", 1)], "{agent}: {report:#}");
            assert_eq!(state(std::path::Path::new(other)), before, "{agent}");
        },
    );
}

/// Runs the agent itself, without decklog; the second time it goes on with its conversation.
fn natively(env: &TestEnv, agent: &str, prompt: &str, session: Option<&str>) {
    let arguments: Vec<&str> = match (agent, session) {
        ("claude", None) => vec!["-p", prompt, "--permission-mode", "acceptEdits"],
        ("claude", Some(id)) => vec!["-p", prompt, "--resume", id],
        ("codex", None) => vec!["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", prompt],
        ("codex", Some(id)) => vec!["exec", "--skip-git-repo-check", "resume", id, prompt],
        ("gemini", None) => vec!["-p", prompt, "--approval-mode", "yolo"],
        ("gemini", Some(id)) => vec!["-p", prompt, "--resume", id],
        (_, None) => vec!["run", prompt],
        (_, Some(id)) => vec!["run", "--session", id, prompt],
    };
    let mut command = env.command(agent);
    command.args(arguments).env("PWD", env.work());
    crate::env::finish(command).expect(0);
}

#[test]
fn a_conversation_that_goes_on_is_read_on() {
    use decklog_testkit::usage::OUTPUT;
    each_of(
        writers(),
        |_| vec![write("one\n"), Step::Text("It is written.".into()), Step::Text("It still is.".into())],
        |agent, env, _| {
            natively(env, agent, "write hello", None);
            let report = import(env, &["--all"]);
            assert_eq!(counts(&report), [("imported", 1)], "{agent}: {report:#}");
            let dir = env.session();
            let id = report["sources"][0]["id"].as_str().unwrap().to_owned();

            natively(env, agent, "is it written?", Some(&id));
            // Gemini names files by the minute: who is resumed in another one leaves a file that tells nothing.
            let all = std::fs::read_dir(env.home().join(".gemini").join("tmp/work/chats"));
            for file in all.into_iter().flatten().map(|entry| entry.unwrap().path()) {
                if !std::fs::read_to_string(&file).unwrap().contains("write hello") {
                    std::fs::remove_file(file).unwrap();
                }
            }
            let report = import(env, &["--all"]);
            assert_eq!(counts(&report), [("updated", 1)], "{agent}: {report:#}");
            assert_eq!(env.session(), dir, "{agent}");
            let session = super::show(env);
            let turns = session["turns"].as_array().unwrap();
            assert_eq!(turns.len(), 2, "{agent}: {session:#}");
            assert_eq!(turns[1]["prompt"].as_str().unwrap().trim_matches('"'), "is it written?", "{agent}");
            let outputs = [&turns[0], &turns[1]].map(|turn| turn["tokens"]["output"].as_u64().unwrap());
            assert_eq!(outputs, [2 * OUTPUT, OUTPUT], "{agent}");
            assert_eq!(session["session"]["outcome"], "unknown", "{agent}");
            assert_eq!(counts(&import(env, &["--all"])), [("unchanged", 1)], "{agent}");
        },
    );
}
