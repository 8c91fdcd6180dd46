//! `loop` and `resume`, with actors and critics that are shell scripts.

use std::path::PathBuf;

use serde_json::Value;

use crate::env::{Ran, TestEnv, eventually, is_alive, kill};

/// A world whose agents `actor` and `critic` do one step after the other, the last one again and again, and keep what they
/// were asked.
struct Loop {
    env: TestEnv,
}

const DONE: &str = r#"echo '{"decision": "DONE", "summary": "It greets.", "confidence": 0.9}'"#;
const CONTINUE: &str = r#"printf 'I looked.\n\nDECISION: CONTINUE\nFEEDBACK: Use the first argument.\n'"#;

impl Loop {
    fn new(actor: &[&str], critic: &[&str]) -> Self {
        let env = TestEnv::new();
        let home = env.home();
        let script = home.join("agent.sh");
        std::fs::write(
            &script,
            "cd \"$HOME\"; echo x >>\"$1.count\"; n=$(wc -l <\"$1.count\"); cat >\"$1.prompt.$n\"\n\
             while ! test -e \"$1.step.$n\"; do n=$((n - 1)); done; step=\"$HOME/$1.step.$n\"; cd \"$OLDPWD\"; . \"$step\"\n",
        )
        .unwrap();
        let mut config = String::new();
        for (name, steps) in [("actor", actor), ("critic", critic)] {
            let command = serde_json::json!(["sh", script, name]);
            config.push_str(&format!("[agents.{name}]\ncommand = {command}\nprotocol = \"text\"\n"));
            for (number, step) in (1..).zip(steps) {
                std::fs::write(home.join(format!("{name}.step.{number}")), step).unwrap();
            }
        }
        std::fs::create_dir_all(home.join(".config/decklog")).unwrap();
        std::fs::write(home.join(".config/decklog/config.toml"), config).unwrap();
        Self { env }
    }

    fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["loop", "--actor", "actor"];
        if !more.contains(&"--critic") {
            all.extend(["--critic", "critic"]);
        }
        all.extend(more);
        all.push("Greet whoever is named.");
        all
    }

    fn run(&self, more: &[&str]) -> Ran {
        self.env.decklog(&Self::arguments(more))
    }

    /// How often an agent was asked.
    fn asked(&self, agent: &str) -> usize {
        std::fs::read_to_string(self.env.home().join(format!("{agent}.count"))).map_or(0, |lines| lines.lines().count())
    }

    fn prompt(&self, agent: &str, number: usize) -> String {
        std::fs::read_to_string(self.env.home().join(format!("{agent}.prompt.{number}"))).unwrap()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let shown = self.env.decklog(&["show", "@", "--events"]).expect(0).stdout;
        let all = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|event| event["type"] == kind).collect()
    }

    fn decisions(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.events("iteration").iter().map(|event| text(&event["critic_decision"])).collect()
    }

    fn head(&self) -> Value {
        self.env.decklog(&["ls", "--json"]).expect(0).json()[0].clone()
    }

    fn end(&self) -> Value {
        self.events("session_end").pop().unwrap()
    }
}

const CHECK: &str = r#"test "$(sh greet.sh Ada)" = "Hello, Ada!""#;

/// Greets wrongly first, then rightly.
const ACTOR: [&str; 2] = [
    r#"echo 'echo "Hello, $2!"' >greet.sh; echo "It greets." ; echo "a warning" >&2"#,
    r#"echo 'echo "Hello, $1!"' >greet.sh; echo "It greets the first now.""#,
];

#[test]
fn two_iterations_to_done() {
    let world = Loop::new(&ACTOR, &[CONTINUE, DONE]);
    let ran = world.run(&["--check", CHECK]).expect(0);
    assert_eq!(ran.stdout, "It greets.\n");
    assert!(
        ran.stderr.contains("iteration 2 of 10") && ran.stderr.contains("success · 2 iterations"),
        "{}",
        ran.stderr
    );
    assert_eq!(world.decisions(), ["CONTINUE", "DONE"]);
    let [first, second] = &world.events("iteration")[..] else { panic!("two iterations") };
    assert_eq!((&first["checks_passed"], &second["checks_passed"]), (&false.into(), &true.into()));
    assert_eq!((&first["actor_turn"], &first["critic_turn"]), (&1.into(), &2.into()));
    assert_eq!((&second["actor_turn"], &second["critic_turn"]), (&3.into(), &4.into()));
    assert_eq!(first["feedback"], "Use the first argument.");
    assert_eq!(first["actor_stderr"], "a warning\n");
    assert_eq!(second.get("feedback"), None);
    let diff = second["git_diff"].as_str().unwrap();
    assert!(diff.contains("-echo \"Hello, $2!\"") && diff.contains("+echo \"Hello, $1!\""), "{diff}");
    let end = world.end();
    assert_eq!((&end["outcome"], &end["iterations"], &end["confidence"]), (&"success".into(), &2.into(), &0.9.into()));
    assert_eq!((&end["summary"], &end["exit_code"]), (&"It greets.".into(), &0.into()));
    // What each was told.
    assert_eq!(world.prompt("actor", 1), "Greet whoever is named.");
    let again = world.prompt("actor", 2);
    assert!(again.contains("Use the first argument.") && again.contains("Greet whoever is named."), "{again}");
    let review = world.prompt("critic", 1);
    for told in
        ["Greet whoever is named.", "It greets.", "new file mode", "a warning", "The checks FAIL", "exit code 1"]
    {
        assert!(review.contains(told), "{told}: {review}");
    }
    let head = world.head();
    assert_eq!((&head["iterations_judged"], &head["iterations_agreed"]), (&2.into(), &2.into()));
    world.env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn what_is_shown_of_a_loop() {
    let mut world = Loop::new(&ACTOR, &[CONTINUE, DONE]);
    world.env.set("DECKLOG_TEST_NOW", "2026-05-01T13:44:12Z");
    world.env.set("DECKLOG_TEST_ID", "3f2a");
    let ran = world.run(&["--check", CHECK]).expect(0);
    // What a check took is of this machine.
    let plain = |text: &str| world.env.plain(&untimed(text));
    insta::assert_snapshot!("loop_story", plain(&ran.stderr));
    insta::assert_snapshot!("loop_show", plain(&world.env.decklog(&["show", "@"]).expect(0).stdout));
    insta::assert_snapshot!("loop_stats", world.env.decklog(&["stats", "--by", "pair"]).expect(0).stdout);
    insta::assert_snapshot!("loop_plan", {
        let planned = world.env.decklog(&Loop::arguments(&["--check", CHECK, "--dry-run", "--max-cost", "2.5"]));
        plain(&planned.expect(0).stdout)
    });
    assert_eq!(world.env.sessions().len(), 1, "a dry run makes no session");
    let diff = |iteration: &str| world.env.decklog(&["diff", "@", "--iteration", iteration]).expect(0).stdout;
    assert!(diff("1").contains("new file mode") && !diff("2").contains("new file mode"));
}

/// Times that checks took are of the machine.
fn untimed(text: &str) -> String {
    let mut plain = String::new();
    for piece in text.split_inclusive("s)") {
        let time = piece.trim_end_matches("s)").rfind(['(', ' ']).map(|at| at + 1);
        match time {
            Some(at) if piece.ends_with("s)") && piece[at..].starts_with(|c: char| c.is_ascii_digit()) => {
                plain.push_str(&format!("{}0.0s)", &piece[..at]));
            }
            _ => plain.push_str(piece),
        }
    }
    plain
}

#[test]
fn how_loops_end() {
    let same = "echo x >>a.txt; echo done";
    for (what, actor, critic, arguments, code, outcome, decisions) in [
        ("the limit", same, CONTINUE, &["-n", "2"][..], 1, "max_iterations_reached", &["CONTINUE", "CONTINUE"][..]),
        ("done at once", same, DONE, &["--check", "true"], 0, "success", &["DONE"]),
        (
            "done, but for the check",
            same,
            DONE,
            &["--check", "false", "-n", "2"],
            1,
            "max_iterations_reached",
            &["CONTINUE", "CONTINUE"],
        ),
        ("the same failure", "echo x >>a.txt; exit 3", CONTINUE, &[], 2, "failed", &["CONTINUE", "CONTINUE", "ERROR"]),
        ("nothing changes", "true", CONTINUE, &[], 2, "failed", &["CONTINUE", "CONTINUE", "CONTINUE"]),
        ("an actor that is not there", "exec /nonexistent", DONE, &[], 0, "success", &["DONE"]),
        ("an unreadable critic", same, "echo Well.", &[], 2, "failed", &["ERROR", "ERROR", "ERROR"]),
        ("a critic that dies", same, "kill -9 $$", &[], 2, "failed", &["ERROR", "ERROR", "ERROR"]),
        ("no critic", same, "", &["--critic", "none", "--check", "true"], 0, "success", &["DONE"]),
        (
            "no critic, and a check that needs two",
            same,
            "",
            &["--critic", "none", "--check", "test $(wc -l <a.txt) -gt 2"],
            0,
            "success",
            &["CONTINUE", "DONE"],
        ),
        ("no time", "exec sleep 1000", CONTINUE, &["--max-time", "1s"], 1, "max_iterations_reached", &[]),
    ] {
        let world = Loop::new(&[actor], &[critic]);
        let ran = world.run(arguments).expect(code);
        assert_eq!(world.decisions(), decisions, "{what}: {}", ran.stderr);
        let (end, head) = (world.end(), world.head());
        assert_eq!((&end["outcome"], &end["exit_code"]), (&outcome.into(), &code.into()), "{what}");
        assert_eq!((&head["outcome"], &head["exit_code"]), (&outcome.into(), &code.into()), "{what}");
        world.env.decklog(&["verify", "@"]).expect(0);
    }
}

#[test]
fn an_unreadable_critic_is_asked_once_more() {
    let world = Loop::new(&["echo x >>a.txt"], &["echo 'It looks finished to me.'", DONE]);
    world.run(&[]).expect(0);
    assert_eq!((world.asked("actor"), world.asked("critic")), (1, 2));
    let again = world.prompt("critic", 2);
    assert!(again.contains("could not be read") && again.contains("It looks finished to me."), "{again}");
    let world = Loop::new(&["echo x >>a.txt"], &["echo 'Well, I am not sure.'"]);
    world.run(&["-n", "1"]).expect(1);
    let feedback = world.events("iteration")[0]["feedback"].as_str().unwrap().to_owned();
    assert!(feedback.contains("Well, I am not sure."), "{feedback}");
}

#[test]
fn a_critic_that_does_not_stop_is_cut() {
    let long = r#"head -c 300000 /dev/zero | tr '\0' x >long; printf '{"decision": "CONTINUE", "feedback": "'; cat long; echo '"}'"#;
    let world = Loop::new(&["echo x >>a.txt"], &[long]);
    world.run(&["-n", "2"]).expect(1);
    // Half of an object is no decision; what is long and whole is kept as far as it fits.
    assert_eq!(world.decisions().len(), 2);
    let shorter = long.replace("300000", "100000");
    let world = Loop::new(&["echo x >>a.txt"], &[&shorter]);
    world.run(&["-n", "2"]).expect(1);
    assert_eq!(world.decisions(), ["CONTINUE", "CONTINUE"]);
    let feedback = world.events("iteration")[0]["feedback"].as_str().unwrap().to_owned();
    assert!(feedback.len() < 20_000 && feedback.contains("bytes left out"), "{}", feedback.len());
    let state = std::fs::read_to_string(world.env.session().join("turns/001-state.json")).unwrap();
    assert!(state.contains("\"outcome\": \"success\""), "{state}");
}

#[test]
fn a_critic_that_edits_is_a_finding() {
    let edits = format!("echo critic >>a.txt; {DONE}");
    let world = Loop::new(&["echo actor >>b.txt"], &[&edits]);
    let ran = world.run(&[]).expect(0);
    assert!(ran.stderr.contains("critic_changed_files"), "{}", ran.stderr);
    assert_eq!(world.events("notice")[0]["code"], "critic_changed_files");
    let diff = world.events("iteration")[0]["git_diff"].as_str().unwrap().to_owned();
    assert!(diff.contains("b.txt") && !diff.contains("a.txt"), "what the critic did is not the actor's: {diff}");
}

#[test]
fn what_a_check_makes_is_nobodys_and_a_turn_begins_where_the_last_one_ended() {
    let world = Loop::new(&["echo actor >>a.txt"], &[CONTINUE, DONE]);
    for (more, files) in [(&["--check", "echo made >>made.txt"][..], 1), (&[], 0)] {
        for count in ["actor.count", "critic.count"] {
            let _ = std::fs::remove_file(world.env.home().join(count));
        }
        world.run(more).expect(0);
        let (starts, ends) = (world.events("turn_start"), world.events("turn_end"));
        let changed: Vec<&Value> = ends.iter().map(|end| &end["files_changed"]).collect();
        assert_eq!(changed, [1, 0, 1, 0]);
        let outside: Vec<usize> =
            (1..4).map(|turn| usize::from(starts[turn]["snapshot"] != ends[turn - 1]["snapshot"])).collect();
        assert_eq!(outside, [files, 0, files]);
        assert!(starts.iter().all(|start| start["snapshot"].is_string()), "{starts:?}");
        assert!(world.events("notice").is_empty());
    }
}

#[test]
fn failures_and_standing_still_are_told_to_both() {
    let world = Loop::new(&["exit 3", "true", "true", "true"], &[CONTINUE]);
    world.run(&["-n", "4"]).expect(2);
    let review = world.prompt("critic", 1);
    assert!(review.contains("did NOT come to its end: failed with exit code 3"), "{review}");
    assert!(world.prompt("critic", 2).contains("No file was changed in 2 iterations in a row"));
    assert!(world.prompt("actor", 3).contains("The last 2 iterations changed no file"));
    assert!(!world.prompt("actor", 2).contains("changed no file"));
}

#[test]
fn the_task_comes_from_where_it_is_given() {
    let world = Loop::new(&["echo x >>a.txt"], &[DONE]);
    let parties = ["loop", "--actor", "actor", "--critic", "critic"];
    world.env.write("prompt.md", "From the file.\n");
    world.env.decklog(&parties).expect(0);
    assert_eq!(world.prompt("actor", 1), "From the file.\n");
    let long = "ä".repeat(200_000);
    world.env.decklog_with_input(&[&parties[..], &["-"]].concat(), long.as_bytes()).expect(0);
    let asked = world.prompt("actor", 2);
    assert!(asked.len() < 70_000 && asked.contains("bytes left out"), "{}", asked.len());
}

#[test]
fn what_cannot_be_run_is_said_and_changes_nothing() {
    let world = Loop::new(&["true"], &["true"]);
    for (arguments, message) in [
        (&["loop"][..], "what is to be done"),
        (&["loop", "--critic", "none", "--actor", "actor", "x"], "nobody would judge"),
        (&["loop", "--actor", "nobody", "x"], "there is no agent"),
        (&["loop", "--agent", "actor", "-n", "0", "x"], "0 is not in"),
        (&["loop", "--agent", "actor", "--max-cost", "-1", "x"], "unexpected argument"),
        (&["loop", "--agent", "actor", "--max-cost=0", "x"], "above zero"),
        (&["loop", "--agent", "actor", " "], "the task is empty"),
        (&["loop", "--actor", "actor", "--critic", "none", "--critic-model", "m", "x"], "--critic none is none"),
        (&["resume", "@"], "no session"),
    ] {
        let mut command = world.env.decklog_command(arguments);
        // A terminal is nothing to read a task from, and neither is this.
        command.stdin(std::fs::File::open("/dev/null").unwrap());
        let ran = crate::env::finish(command).expect(2);
        let told = message == "what is to be done" && ran.stderr.contains("the task is empty");
        assert!(told || ran.stderr.contains(message), "{arguments:?}: {}", ran.stderr);
        assert!(world.env.sessions().is_empty());
    }
    world.env.decklog(&["run", "--", "true"]).expect(0);
    let ran = world.env.decklog(&["resume", "@"]).expect(2);
    assert!(ran.stderr.contains("is no agent that decklog can ask"), "{}", ran.stderr);
}

/// Where a phase waits until it is stopped. The next time it goes on.
const WAIT: &str = "echo $$ >\"$HOME/waits\"; exec sleep 1000";

/// Phases, with what the actor, the check and the critic do first and then.
fn phases() -> [(&'static str, Vec<String>, String, Vec<String>); 3] {
    let act = "echo x >>a.txt; echo did it".to_owned();
    let once = format!("test -e \"$HOME/waits\" || {{ {WAIT}; }}");
    [
        ("actor", vec![format!("echo begun >>a.txt; {WAIT}"), act.clone()], "true".into(), vec![DONE.into()]),
        ("check", vec![act.clone()], once, vec![DONE.into()]),
        ("critic", vec![act], "true".into(), vec![WAIT.into(), DONE.into()]),
    ]
}

fn waiting(world: &Loop) -> u32 {
    let file: PathBuf = world.env.home().join("waits");
    eventually("a phase that waits", || std::fs::read_to_string(&file).ok()?.trim().parse().ok())
}

#[test]
fn a_loop_that_is_stopped_in_any_phase_goes_on_there() {
    for (signal, code, status) in [("INT", 130, "completed"), ("TERM", 143, "completed"), ("KILL", -1, "crashed")] {
        for (phase, actor, check, critic) in phases() {
            let (actor, critic): (Vec<_>, Vec<_>) =
                (actor.iter().map(String::as_str).collect(), critic.iter().map(String::as_str).collect());
            let world = Loop::new(&actor, &critic);
            let mut decklog = world.env.start(&Loop::arguments(&["--check", &check]));
            let agent = waiting(&world);
            kill(decklog.id(), signal);
            let status_code = decklog.wait().unwrap().code().unwrap_or(-1);
            assert_eq!(status_code, code, "{signal} in {phase}");
            eventually("the agent's end", || (!is_alive(agent)).then_some(()));
            let head = world.head();
            assert_eq!(head["status"], status, "{signal} in {phase}");
            if signal != "KILL" {
                assert_eq!(head["outcome"], "interrupted", "{signal} in {phase}");
            }
            let ran = world.env.decklog(&["resume", "@"]).expect(0);
            assert_eq!(ran.stdout, "It greets.\n", "{signal} in {phase}: {}", ran.stderr);
            let again = |agent: &str| 1 + usize::from(agent == phase);
            let asked = (world.asked("actor"), world.asked("critic"));
            assert_eq!(
                asked,
                (again("actor"), again("critic")),
                "{signal} in {phase}: what had ended is not done again"
            );
            assert_eq!(world.decisions(), ["DONE"], "{signal} in {phase}");
            let diff = world.events("iteration")[0]["git_diff"].as_str().unwrap().to_owned();
            assert_eq!(diff.contains("+begun"), phase == "actor", "what a cut-off turn did is in it: {diff}");
            assert_eq!(world.head()["outcome"], "success", "{signal} in {phase}");
            world.env.decklog(&["verify", "@"]).expect(0);
            let over = world.env.decklog(&["resume", "@"]).expect(2);
            assert!(over.stderr.contains("the loop is over"), "{}", over.stderr);
        }
    }
}

#[test]
fn a_rate_limit_is_waited_out_and_the_loop_goes_on() {
    // An agent that speaks as Claude Code does, limited once.
    let init = r#"{"type":"system","subtype":"init","session_id":"s-1","model":"m"}"#;
    let limited = r#"{"type":"assistant","error":"rate_limit","message":{"id":"1","content":[{"type":"text","text":"limit reached"}]}}
{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached","usage":{},"session_id":"s-1"}"#;
    let said = r#"{"type":"assistant","message":{"id":"2","content":[{"type":"text","text":"{\"decision\":\"DONE\",\"summary\":\"It greets.\"}"}]}}
{"type":"result","subtype":"success","is_error":false,"result":"","usage":{"input_tokens":7,"output_tokens":2},"total_cost_usd":0.25,"session_id":"s-1"}"#;
    let print = |lines: &str, code: u32| format!("cat <<'END'\n{init}\n{lines}\nEND\nexit {code}");
    let world = Loop::new(&["echo x >>a.txt"], &[&print(limited, 1), &print(said, 0)]);
    let config = world.env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (actor, critic) = text.split_once("[agents.critic]").unwrap();
    let critic = critic.replace("\"text\"", "\"claude-stream\"");
    std::fs::write(&config, format!("{actor}[agents.critic]{critic}")).unwrap();
    let ran = world.run(&[]).expect(75);
    assert!(ran.stderr.contains("go on with: decklog resume"), "{}", ran.stderr);
    assert_eq!(world.head()["status"], "checkpointed");
    world.env.decklog(&["resume", "@"]).expect(0);
    assert_eq!((world.asked("actor"), world.asked("critic")), (1, 2), "only the critic goes on");
    let head = world.head();
    assert_eq!((&head["outcome"], &head["cost_usd"]), (&"success".into(), &0.25.into()));
}
