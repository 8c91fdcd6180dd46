//! Importing beside a recorder at work: what its agent writes is its own, and is not imported a second time.

use std::process::Child;

use super::{counts, import, put};
use crate::env::{TestEnv, eventually, kill};
use crate::relaying::world;

/// A shell function that writes a history of Claude Code: `history ID DIRECTORY [WHEN]`.
const HISTORY: &str = r#"history() {
  mkdir -p "$HOME/.claude/projects/-w"
  at=$(date -u -d "${3:-now}" +%Y-%m-%dT%H:%M:%S.%3NZ)
  cat >"$HOME/new-$1.jsonl" <<END
{"type":"user","uuid":"$1-u","parentUuid":null,"sessionId":"$1","timestamp":"$at","cwd":"$2","message":{"content":"go"}}
{"type":"assistant","uuid":"$1-a","sessionId":"$1","timestamp":"$at","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":2},"content":[{"type":"text","text":"x"}]}}
END
  mv "$HOME/new-$1.jsonl" "$HOME/.claude/projects/-w/$1.jsonl"
}
await() { until test -e "$HOME/$1"; do sleep 0.02; done; }
"#;

/// An agent that writes its history, waits for a file of this name, and only then says its id.
fn late(id: &str, go: &str) -> String {
    format!(
        r#"{HISTORY}history {id} "$PWD"; await {go}
cat <<END
{{"type":"system","subtype":"init","session_id":"{id}","model":"m"}}
{{"type":"assistant","message":{{"id":"1","content":[{{"type":"text","text":"Done."}}]}}}}
{{"type":"result","subtype":"success","is_error":false,"result":"Done.","usage":{{}},"session_id":"{id}"}}
END"#
    )
}

const ONE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const TWO: &str = "aaaaaaaa-0000-4000-8000-000000000002";
const THREE: &str = "aaaaaaaa-0000-4000-8000-000000000003";

fn await_history(env: &TestEnv, id: &str) {
    let path = env.home().join(format!(".claude/projects/-w/{id}.jsonl"));
    eventually(id, || path.exists().then_some(()));
}

/// Writes a history that no recorder is concerned with.
fn write_natively(env: &TestEnv, id: &str, dir: &str, when: &str) {
    let mut command = env.command("sh");
    assert!(command.args(["-c", &format!("{HISTORY}history {id} '{dir}' '{when}'")]).status().unwrap().success());
}

fn end(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_history_is_its_recorders_before_the_agent_says_its_id() {
    let env = world(&[("ada", "claude-stream", &late(ONE, "go"))]);
    let run = env.start(&["run", "ada", "Write."]);
    await_history(&env, ONE);
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("skipped", 1)], "{report:#}");
    assert!(report["sources"][0]["reason"].as_str().unwrap().contains("is being recorded"), "{report:#}");
    put(&env, "go", "");
    end(run);
    assert_eq!(counts(&import(&env, &["--all"])), [("already_recorded", 1)]);
    assert_eq!(env.sessions().len(), 1);
}

#[test]
fn histories_of_other_places_and_times_need_not_wait() {
    let env = world(&[("ada", "claude-stream", &late(ONE, "go"))]);
    write_natively(&env, TWO, &env.work().display().to_string(), "1 hour ago");
    let run = env.start(&["run", "ada", "Write."]);
    await_history(&env, ONE);
    write_natively(&env, THREE, "/elsewhere", "now");
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("imported", 2), ("skipped", 1)], "{report:#}");
    put(&env, "go", "");
    end(run);
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("unchanged", 2), ("already_recorded", 1)], "{report:#}");
}

#[test]
fn an_agent_with_another_tools_name_cannot_own_a_history() {
    let env = world(&[("codex", "text", &format!("{HISTORY}history {ONE} \"$PWD\"; await go"))]);
    let run = env.start(&["run", "codex", "Write."]);
    await_history(&env, ONE);
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    put(&env, "go", "");
    end(run);
}

#[test]
fn an_import_that_watches_waits_for_the_turns_end() {
    // The second says no id at all: what it wrote is imported once its turn is over, though the file stays the same.
    let untold = format!("{HISTORY}history {TWO} \"$PWD\"; await go");
    let env = world(&[("ada", "claude-stream", &late(ONE, "go")), ("bob", "text", &untold)]);
    let watch = env.start(&["import", "--all", "--watch"]);
    let runs = [env.start(&["run", "ada", "Write."]), env.start(&["run", "bob", "Write."])];
    await_history(&env, ONE);
    await_history(&env, TWO);
    // Once this one is imported, the two before it were looked at.
    write_natively(&env, THREE, "/elsewhere", "now");
    let imported = || import(&env, &["--all", "--dry-run"])["unchanged"].as_u64().unwrap();
    eventually("the third", || (imported() == 1).then_some(()));
    assert_eq!(env.sessions().len(), 3);
    put(&env, "go", "");
    runs.into_iter().for_each(end);
    eventually("the second", || (imported() == 2).then_some(()));
    kill(watch.id(), "INT");
    watch.wait_with_output().unwrap();
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("unchanged", 2), ("already_recorded", 1)], "{report:#}");
    assert_eq!(env.sessions().len(), 4);
}

#[test]
fn a_session_that_was_imported_records_what_others_write_when_it_goes_on() {
    let env = world(&[("ada", "claude-stream", &late(TWO, "go"))]);
    write_natively(&env, ONE, &env.work().display().to_string(), "now");
    assert_eq!(counts(&import(&env, &["--all"])), [("imported", 1)]);
    let resumed = env.start(&["resume", "@", "Go on.", "--agent", "ada", "-y"]);
    await_history(&env, TWO);
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("unchanged", 1), ("skipped", 1)], "{report:#}");
    put(&env, "go", "");
    end(resumed);
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("unchanged", 1), ("already_recorded", 1)], "{report:#}");
    // Its own history that grows meanwhile changes nothing in it either.
    write_natively(
        &env,
        ONE,
        "/a/longer/path/than/that/where/it/was/written/before/and/a/longer/path/than/that/where/it/was",
        "now",
    );
    let report = import(&env, &["--all"]);
    assert_eq!(counts(&report), [("already_recorded", 1), ("skipped", 1)], "{report:#}");
    assert_eq!(env.sessions().len(), 1);
}

#[test]
fn each_speaker_of_a_chat_owns_its_history() {
    let env = world(&[("ada", "claude-stream", &late(ONE, "go")), ("bob", "claude-stream", &late(TWO, "on"))]);
    let mut chat = env.start(&["chat", "ada", "bob", "Talk.", "--max-turns", "2"]);
    await_history(&env, ONE);
    assert_eq!(counts(&import(&env, &["--all"])), [("skipped", 1)]);
    put(&env, "go", "");
    await_history(&env, TWO);
    assert_eq!(counts(&import(&env, &["--all"])), [("already_recorded", 1), ("skipped", 1)]);
    put(&env, "on", "");
    chat.wait().unwrap();
    assert_eq!(counts(&import(&env, &["--all"])), [("already_recorded", 2)]);
    assert_eq!(env.sessions().len(), 1);
}
