//! docs/format.md, held to its word: its recipes run, and every key that is printed stands in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use decklog_journal::event::{Iteration, SessionEnd, SessionStart};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::wire::prompt_hash;
use decklog_journal::words::{Decision, Outcome, SessionKind};
use decklog_journal::{Durability, SessionStore, WriterOptions};
use serde_json::Value;

use crate::env::{Ran, TestEnv, finish};

/// What `demo` runs: greets by the wrong argument.
const BROKEN: &str = "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, $2!\"\n";
const PROMPT: &str = "greet.sh greets nobody. Fix it.";

/// A recipe of the document.
struct Recipe {
    /// Which session it is for: `run`, `loop`, or `root`, for the session root.
    place: String,
    name: String,
    /// `sh` or `python`.
    language: String,
    script: String,
    prints: String,
}

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md")).unwrap()
}

/// `<!-- recipe PLACE: NAME -->`, a fenced script, `<!-- prints -->`, a fenced output.
fn recipes(document: &str) -> Vec<Recipe> {
    let mut recipes = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once("<!-- recipe ") {
        let (head, after) = after.split_once(" -->\n```").unwrap();
        let (place, name) = head.split_once(": ").unwrap();
        let (language, after) = after.split_once('\n').unwrap();
        let (script, after) = after
            .split_once("```\n<!-- prints -->\n```text\n")
            .unwrap_or_else(|| panic!("{name}: what does it print?"));
        let (prints, after) = after.split_once("```\n").unwrap();
        let [place, name, language, script, prints] = [place, name, language, script, prints].map(str::to_owned);
        recipes.push(Recipe { place, name, language, script, prints });
        rest = after;
    }
    recipes
}

/// The sample sessions: the same task twice for the demo's agent, and a loop.
pub(crate) fn samples() -> (TestEnv, PathBuf, PathBuf) {
    let env = TestEnv::new().fixed();
    let config = env.home().join(".config/decklog");
    std::fs::create_dir_all(&config).unwrap();
    let program = toml::Value::String(env!("CARGO_BIN_EXE_decklog").into());
    let agent = format!("[agents.scripted]\ncommand = [{program}, \"__demo-agent\"]\nprotocol = \"acp\"\n");
    std::fs::write(config.join("config.toml"), agent).unwrap();
    env.write("greet.sh", BROKEN);
    for _ in 0..2 {
        env.decklog(&["run", "--check", "sh greet.sh Ada | grep -q Ada", "scripted", PROMPT]).expect(0);
    }
    let run = env.sessions()[0].clone();
    let in_loop = record_loop(&env);
    (env, run, in_loop)
}

/// Two iterations, as the journal crate writes them.
fn record_loop(env: &TestEnv) -> PathBuf {
    let start = |id, dir: &Path| SessionStart {
        format: FormatVersion::CURRENT,
        id,
        kind: SessionKind::Loop,
        prompt: "Make the tests pass".into(),
        prompt_artifact: None,
        prompt_hash: prompt_hash(b"Make the tests pass"),
        working_dir: env.work().to_string_lossy().into_owned(),
        session_dir: dir.to_string_lossy().into_owned(),
        agents: vec!["claude".into(), "codex".into()],
        actor_agent: Some("claude".into()),
        critic_agent: Some("codex".into()),
        actor_model: None,
        critic_model: None,
        max_iterations: Some(5),
        rules: None,
        git: None,
        host: None,
        pid: None,
        decklog_version: "0.1.0".into(),
        source: None,
    };
    let options = WriterOptions {
        clock: Clock::fixed("2026-05-01T15:00:00Z".parse().unwrap()),
        durability: Durability::Os,
        redactor: Redactor::builder().build(),
    };
    let mut writer = SessionStore::open(env.root()).create(&Place::Auto, options, Some(1), start).unwrap();
    for (iteration_number, critic_decision, feedback) in
        [(1, Decision::Continue, Some("one test still fails".to_owned())), (2, Decision::Done, None)]
    {
        let iteration = Iteration {
            iteration_number,
            actor_turn: None,
            critic_turn: None,
            actor_output: "done".into(),
            actor_output_artifact: None,
            actor_stderr: String::new(),
            actor_stderr_artifact: None,
            actor_exit_code: 0,
            actor_duration_secs: 1.5,
            git_diff: String::new(),
            git_diff_artifact: None,
            git_files_changed: 0,
            checks_passed: None,
            critic_decision,
            critic_said: None,
            feedback,
            summary: None,
            confidence: None,
        };
        writer.append(iteration).unwrap();
    }
    let end = SessionEnd {
        outcome: Some(Outcome::Success),
        iterations: Some(2),
        summary: Some("The tests pass.".into()),
        confidence: Some(0.9),
        picked: None,
        duration_secs: 0.0,
        exit_code: Some(0),
    };
    writer.append(end).unwrap();
    writer.dir().to_owned()
}

/// Whether what the recipes need is there; without it they are skipped, or fail where nothing may be.
fn can_run() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = ["jq", "python3"].into_iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(" and ");
    assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "{missing} are needed");
    eprintln!("skipped: {missing} not installed");
    false
}

fn cook(env: &TestEnv, recipe: &Recipe, dir: &Path) -> Ran {
    let (program, flags): (&str, &[&str]) = match recipe.language.as_str() {
        "sh" => ("sh", &["-euc"]),
        "python" => ("python3", &["-c"]),
        other => panic!("{}: no way to run {other}", recipe.name),
    };
    let mut command = env.command(program);
    command.args(flags).arg(&recipe.script).current_dir(dir);
    finish(command)
}

#[test]
fn recipes_print_what_they_say() {
    let recipes = recipes(&document());
    assert!(recipes.len() >= 12, "{} recipes", recipes.len());
    if !can_run() {
        return;
    }
    let (env, run, in_loop) = samples();
    for recipe in &recipes {
        let dir = match recipe.place.as_str() {
            "run" => run.clone(),
            "loop" => in_loop.clone(),
            "root" => env.root(),
            other => panic!("{}: no such place as {other}", recipe.name),
        };
        let ran = cook(&env, recipe, &dir);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", recipe.name);
        assert_eq!(ran.stdout, recipe.prints, "{}", recipe.name);
    }
}

#[test]
fn the_recipe_for_sums_finds_what_verify_finds() {
    if !can_run() {
        return;
    }
    let (env, run, _) = samples();
    let document = document();
    let recipes = recipes(&document);
    let [sums, outcome] =
        ["sums", "last outcome"].map(|name| recipes.iter().find(|recipe| recipe.name == name).unwrap());
    let journal = run.join("journal.jsonl");
    let good = std::fs::read(&journal).unwrap();
    for at in [40, good.len() / 2, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&journal, bad).unwrap();
        assert_ne!(cook(&env, sums, &run).code, 0, "byte {at}");
        assert!(!decklog_journal::verify::verify(&run).is_clean(), "byte {at}");
    }
    // A torn end is told, and does no harm to the rest.
    std::fs::write(&journal, &good[..good.len() - 9]).unwrap();
    assert!(cook(&env, sums, &run).expect(0).stdout.contains("torn"));
    assert_eq!(cook(&env, outcome, &run).expect(0).stdout, "not over\n");
}

#[test]
fn every_key_stands_in_the_document() {
    let (env, run, in_loop) = samples();
    let project = env.home().join(".claude/projects/-work");
    std::fs::create_dir_all(&project).unwrap();
    for (name, line) in [("good", r#"{"type":"user","sessionId":"good","message":{"content":"x"}}"#), ("bad", "{")] {
        std::fs::write(project.join(format!("{name}.jsonl")), format!("{line}\n{{\n")).unwrap();
    }
    let mut keys = BTreeSet::new();
    for dir in [&run, &in_loop] {
        let dir = dir.to_str().unwrap();
        for arguments in [&["show"][..], &["logs"], &["diff"], &["verify"]] {
            let mut all = arguments.to_vec();
            all.extend(["--json", "--session-dir", dir]);
            let ran = env.decklog(&all);
            // A loop without turns has no diff.
            if ran.code == 0 {
                collect(&ran.json(), &mut keys);
            }
        }
    }
    for journal in [&run, &in_loop] {
        for line in std::fs::read_to_string(journal.join("journal.jsonl")).unwrap().lines() {
            collect(&serde_json::from_str(line).unwrap(), &mut keys);
        }
    }
    for file in ["session.json", "turns/001-state.json"] {
        collect(&serde_json::from_slice(&std::fs::read(run.join(file)).unwrap()).unwrap(), &mut keys);
    }
    for line in env.decklog(&["export", "--all", "--format", "jsonl"]).expect(0).stdout.lines() {
        collect(&serde_json::from_str(line).unwrap(), &mut keys);
    }
    for arguments in [
        &["blame", "--json", "greet.sh"][..],
        &["restore", "3f2a@0", "--into", "out", "--json"],
        &["restore", "3f2a@0", "--in-place", "-y", "--json"],
        &["export", "3f2a", "--format", "atif", "-o", "out.json", "--json"],
        &["export", "3f2a", "--format", "tar.zst", "-o", "out.tar.zst", "--json"],
        &["ls", "--json"],
        &["stats", "--json"],
        &["search", "--json", "echo"],
        &["agents", "--json"],
        &["run", "--json", "--check", "false", "--", "false"],
        &["import", "--all", "--json"],
        &["clean", "--dry-run", "--older-than", "1s", "--json"],
        &["discard", "-y", "--json", "@"],
    ] {
        collect(&env.decklog(arguments).json(), &mut keys);
    }
    // Named after settings, which docs/format.md does not list.
    let config = env.decklog(&["config", "--json"]).expect(0).json();
    keys.extend(config.as_object().unwrap().keys().cloned());
    collect(&config["values"]["permissions"], &mut keys);
    let error = env.decklog(&["show", "--json", "nothing"]).expect(2).stderr;
    collect(&serde_json::from_str(&error).unwrap(), &mut keys);

    let document = document();
    let missing: Vec<_> =
        keys.iter().filter(|key| !document.contains(&format!("`{key}`")) && !in_braces(&document, key)).collect();
    assert!(missing.is_empty(), "not in docs/format.md: {missing:?}");
}

/// Whether a key stands in a list such as `{path, old_path?, status}`.
fn in_braces(document: &str, key: &str) -> bool {
    let lists = document.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    lists.flat_map(|list| list.split(',')).any(|word| word.trim().trim_matches(['"', '?']) == key)
}

/// The keys of `value`, but not those an agent chose.
fn collect(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                keys.insert(key.clone());
                if key != "input" || value.is_number() {
                    collect(value, keys);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, keys)),
        _ => {}
    }
}
