//! The shell: on a terminal, and with prompts on stdin.

mod resuming;

use serde_json::Value;

use crate::env::{TestEnv, eventually, kill};
use crate::relaying::{LIMITED, prompt, world};
use crate::screen::Screen;

/// An agent that keeps a conversation, writes what it is asked to and says so.
fn writes(name: &str) -> String {
    format!(
        r#"if grep -q wait "$HOME/{name}.prompt.$n"; then echo $$ >"$HOME/waits"; exec sleep 1000; fi
echo "$n" >>{name}.txt
cat <<END
{{"type":"system","subtype":"init","session_id":"{name}-1","model":"m"}}
{{"type":"assistant","message":{{"id":"$n","content":[{{"type":"text","text":"{name} says $n."}}]}}}}
{{"type":"result","subtype":"success","is_error":false,"result":"{name} says $n.","usage":{{"input_tokens":5,"output_tokens":2}},"session_id":"{name}-1"}}
END"#
    )
}

pub(crate) fn two() -> TestEnv {
    world(&[("ada", "claude-stream", &writes("ada")), ("bob", "claude-stream", &writes("bob"))])
}

fn shown(env: &TestEnv) -> Value {
    env.decklog(&["show", "@", "--json"]).expect(0).json()
}

/// Agents and what each is handed: of the newest session's turns.
fn turns(env: &TestEnv) -> Vec<String> {
    let shown = shown(env);
    shown["turns"].as_array().unwrap().iter().map(|turn| turn["agent"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_line_is_a_prompt_and_stdout_has_the_replies_alone() {
    let env = two();
    let lines = "Write one.\n\n/use bob\nWrite two.\n/use ada\nWrite three.\n/status\n/frobnicate\nWrite four.\n";
    // What comes after a command that failed may have been meant for what it was to do.
    let ran = env.decklog_with_input(&["shell", "ada"], lines.as_bytes()).expect(2);
    assert_eq!(ran.stdout, "ada says 1.\nbob says 1.\nada says 2.\n");
    assert!(ran.stderr.contains("there is no /frobnicate"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("ada → bob (manual)") && ran.stderr.contains("2 turns · 10 tokens in"),
        "{}",
        ran.stderr
    );
    assert_eq!(turns(&env), ["ada", "bob", "ada"]);
    // One who is new gets a packet; one who comes back has its conversation besides.
    let packet = prompt(&env, "bob", 1);
    assert!(packet.starts_with("You take over") && packet.ends_with("# Now\n\nWrite two.\n"), "{packet}");
    let arguments = std::fs::read_to_string(env.home().join("ada.arguments")).unwrap();
    assert!(arguments.lines().nth(1).unwrap().contains("--resume ada-1"), "{arguments}");
    assert!(prompt(&env, "ada", 2).contains("bob says 1."), "{}", prompt(&env, "ada", 2));
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!(
        (&head["kind"], &head["outcome"], &head["prompt"]),
        (&"shell".into(), &"failed".into(), &"Write one.".into())
    );
    assert_eq!(head["exit_code"], 2);
    assert_eq!(shown(&env)["handoffs"].as_array().unwrap().len(), 2);
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn who_did_not_get_going_is_told_again_and_who_keeps_no_conversation_with_every_prompt() {
    // Before it tells of a conversation: it cannot be started, or fails.
    let fails = format!("if [ $n = 1 ]; then echo 'not logged in' >&2; exit 1; fi\n{}", writes("bob"));
    let keeps_none = "echo carol $n >>carol.txt; echo carol says $n.";
    let env = world(&[
        ("ada", "claude-stream", &writes("ada")),
        ("bob", "claude-stream", &fails),
        ("carol", "text", keeps_none),
    ]);
    let lines = "Write one.\n/undo\n/use bob\nWrite too.\nWrite two.\nWrite three.\n/undo\n/use carol\n\
                 Write four.\nWrite five.\n/undo\nWrite six.\n/use ada\nWrite seven.\n";
    let ran = env.decklog_with_input(&["shell", "ada"], lines.as_bytes()).expect(0);
    assert_eq!(
        ran.stdout,
        "ada says 1.\nbob says 2.\nbob says 3.\ncarol says 1.\ncarol says 2.\ncarol says 3.\nada says 2.\n"
    );
    for (agent, number, packet, ends) in [
        ("bob", 1, true, "as they were before it.)\n\nWrite too.\n"),
        ("bob", 2, true, "as they were before it.)\n\nWrite two.\n"),
        ("bob", 3, false, "Write three."),
        ("carol", 1, true, "Write four.\n"),
        ("carol", 2, true, "# Now\n\nWrite five.\n"),
        ("carol", 3, true, "as they were before it.)\n\nWrite six.\n"),
        ("ada", 2, true, "# Now\n\nWrite seven.\n"),
    ] {
        let asked = prompt(&env, agent, number);
        assert_eq!(asked.starts_with("You take over"), packet, "{agent} {number}: {asked}");
        assert!(asked.ends_with(ends), "{agent} {number}: {asked}");
    }
    assert!(prompt(&env, "carol", 3).contains("carol says 2."), "{}", prompt(&env, "carol", 3));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn replies_do_not_act_on_a_terminal() {
    let acts = writes("ada").replace("ada says $n.", r"\u001b]0;title\u0007\u001b[2Jada says $n.");
    let env = world(&[("ada", "claude-stream", &acts)]);
    let ran = env.decklog_with_input(&["shell", "ada"], b"one\n").expect(0);
    assert_eq!(ran.stdout, "\u{1b}]0;title\u{7}\u{1b}[2Jada says 1.\n", "elsewhere they are what was said");
    std::fs::write(env.home().join("lines"), "two\n").unwrap();
    for redirected in ["", "2>\"$HOME/stderr\""] {
        let screen = Screen::new(&env, &format!("shell ada <\"$HOME/lines\" {redirected}"));
        let (text, code) = screen.end();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("ada says ") && !text.contains("\u{1b}]0;") && !text.contains("\u{1b}[2J"), "{text:?}");
    }
}

#[test]
fn other_delimiters_cut_longer_prompts() {
    let env = two();
    for (delimiter, input) in [("---\\n", "one\nand more---\ntwo"), ("\\0", "one\nand more\0two\0")] {
        let ran = env.decklog_with_input(&["shell", "ada", "--delimiter", delimiter], input.as_bytes()).expect(0);
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    }
    assert_eq!((prompt(&env, "ada", 1), prompt(&env, "ada", 3)), ("one\nand more".into(), "one\nand more".into()));
    env.decklog_with_input(&["shell", "ada", "--delimiter", ""], b"x").expect(0);
    let refused = env.decklog_with_input(&["shell", "ada", "--delimiter", "\\x"], b"x").expect(2);
    assert!(refused.stderr.contains("--delimiter: after a backslash"), "{}", refused.stderr);
    assert_eq!(env.decklog_with_input(&["shell", "ada"], b"").expect(0).stdout, "");
    assert_eq!(env.sessions().len(), 3, "without a prompt there is no session");
}

#[test]
fn turns_are_undone_one_by_one() {
    let env = two();
    let lines = "one\ntwo\n/undo\n/undo\nthree\n/undo\n";
    let ran = env.decklog_with_input(&["shell", "ada"], lines.as_bytes()).expect(0);
    assert!(ran.stderr.contains("turn 2 is undone: 1 file written, 0 removed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("turn 1 is undone: 0 files written, 1 removed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("to have it back, after leaving the shell: decklog restore "), "{}", ran.stderr);
    assert!(!env.work().join("ada.txt").exists());
    // The agent is told, since its conversation does not know.
    assert_eq!(
        prompt(&env, "ada", 3),
        "(The user has undone what turn 1 changed: the files are as they were before it.)\n\nthree"
    );
    assert_eq!(turns(&env), ["ada", "ada", "decklog", "decklog", "ada", "decklog"]);
    assert_eq!(shown(&env)["turns"][4]["files"][0]["path"], "ada.txt");
    // What was undone can be had again.
    env.decklog(&["restore", "@@2", "--into", "then"]).expect(0);
    assert_eq!(std::fs::read_to_string(env.work().join("then/ada.txt")).unwrap(), "1\n2\n");
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn checks_order_model_and_permissions_are_set_on_the_way() {
    let env = world(&[("ada", "claude-stream", LIMITED), ("bob", "claude-stream", &writes("bob"))]);
    let lines =
        "/check test -e bob.txt\n/order bob\n/permissions full\n/model opus\nWrite it.\n/check\n/check none\n/diff\n";
    let ran = env.decklog_with_input(&["shell", "ada"], lines.as_bytes()).expect(0);
    // What another command prints is on stdout, as it always is.
    assert!(ran.stdout.starts_with("bob says 1.\n") && ran.stdout.contains("bob.txt"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("when ada:opus is rate-limited: bob")
            || ran.stderr.contains("when ada is rate-limited: bob")
    );
    assert_eq!(ran.stderr.matches("check passed: test -e bob.txt").count(), 2, "{}", ran.stderr);
    let arguments = std::fs::read_to_string(env.home().join("ada.arguments")).unwrap();
    assert!(arguments.contains("opus"), "{arguments}");
    let turns = shown(&env)["turns"].clone();
    assert_eq!((&turns[0]["permissions"], &turns[0]["outcome"]), (&"full".into(), &"rate_limited".into()));
    assert_eq!((&turns[1]["agent"], &turns[1]["validations"][1]["passed"]), (&"bob".into(), &true.into()));
    assert!(prompt(&env, "bob", 1).contains("Write it."));
}

#[test]
fn when_all_are_limited_the_session_waits() {
    let env = world(&[("ada", "claude-stream", LIMITED), ("bob", "claude-stream", &writes("bob"))]);
    let ran = env.decklog_with_input(&["shell", "ada"], b"Write it.\n").expect(75);
    assert!(ran.stderr.contains("the first one back is ada at 2099-01-01"), "{}", ran.stderr);
    assert_eq!(env.decklog(&["ls", "--json"]).expect(0).json()[0]["status"], "checkpointed");
    // Another shell goes on with it, and hands it off in the end.
    let ran = env.decklog_with_input(&["shell", "bob"], b"/resume @\n/use bob\nGo on.\n/handoff ada\n").expect(0);
    assert_eq!(ran.stdout, "bob says 1.\n");
    assert!(ran.stderr.contains("--agent ada"), "{}", ran.stderr);
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["turns"], &head["checkpoint_reason"]), (&2.into(), &"handoff".into()));
    assert_eq!(env.sessions().len(), 1);
    env.decklog(&["verify", "@"]).expect(0);
    env.decklog(&["resume", "@", "--agent", "bob", "Once more."]).expect(0);
}

#[test]
fn what_was_handed_off_goes_on_in_the_shell_as_it_says() {
    let env = two();
    let ran = env.decklog_with_input(&["shell", "ada"], b"one\n/handoff bob\n").expect(0);
    let id = env.session().file_name().unwrap().to_string_lossy().into_owned();
    let (_, said) = ran.stderr.split_once("go on with: ").unwrap();
    assert_eq!(said.trim_end(), format!("decklog resume {id} --agent bob, or `/resume {id}`, then `/use bob`"));
    let ran = env.decklog_with_input(&["shell", "ada"], format!("/resume {id}\n/use bob\ntwo\n").as_bytes()).expect(0);
    assert_eq!((ran.stdout.as_str(), turns(&env)), ("bob says 1.\n", vec!["ada".to_owned(), "bob".to_owned()]));
}

#[test]
fn other_kinds_of_sessions_and_sessions_at_work_are_left_alone() {
    let env = two();
    env.decklog(&["loop", "--actor", "ada", "--critic", "none", "--check", "true", "x"]).expect(0);
    for (line, told) in [
        ("/resume @\n", "is a loop, which does not go on in a shell"),
        ("/resume nothing\n", "is not a session id"),
        ("/undo\n", "there is nothing to undo"),
        ("caf\u{e9}\n/use nobody\n", "there is no agent \"nobody\""),
    ] {
        let ran = env.decklog_with_input(&["shell", "ada"], line.as_bytes()).expect(2);
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    env.decklog_with_input(&["shell", "ada"], b"caf\xe9\n").expect(2);
}

#[test]
fn an_undo_takes_back_nothing_but_the_turn() {
    let env = two();
    env.decklog_with_input(&["shell", "ada"], b"one\n").expect(0);
    env.write("mine.txt", "mine\n");
    let ran = env.decklog_with_input(&["shell", "ada"], b"/resume @\n/undo\n").expect(2);
    assert!(ran.stderr.contains("the tree has changed since then: mine.txt"), "{}", ran.stderr);
    assert!(ran.stderr.contains("after leaving the shell, `decklog restore ID@N --in-place`"), "{}", ran.stderr);
    assert_eq!((env.read("mine.txt"), env.read("ada.txt")), ("mine\n".into(), "1\n".into()));
    std::fs::remove_file(env.work().join("mine.txt")).unwrap();
    env.decklog_with_input(&["shell", "bob"], b"/resume @\n/undo\n").expect(0);
    assert!(!env.work().join("ada.txt").exists());
    // Who goes on is the agent, and not decklog.
    env.decklog(&["resume", "@", "more"]).expect(0);
    assert_eq!(turns(&env), ["ada", "decklog", "ada"]);
    let arguments = std::fs::read_to_string(env.home().join("ada.arguments")).unwrap();
    assert!(arguments.lines().last().unwrap().contains("--resume ada-1"), "{arguments}");
}

#[test]
fn resume_opens_the_shell_as_it_is_told() {
    let env = two();
    env.decklog_with_input(&["shell", "ada", "--permissions", "full"], b"one\n").expect(0);
    let mut screen = Screen::new(&env, "resume @ --agent bob --model opus");
    screen.wait_for("bob:opus ❯ ");
    screen.press("/status\r");
    screen.wait_for("may do   full");
    // What each agent used is told last.
    screen.wait_for_after("tokens in", READY);
    screen.forget();
    screen.press("two\r");
    screen.wait_for("bob says 1.");
    screen.wait_for_after("tokens in", READY);
    screen.press("\u{4}");
    assert_eq!(screen.end().1, 0);
    assert_eq!(turns(&env), ["ada", "bob"]);
    assert!(prompt(&env, "bob", 1).contains("ada says 1."));
}

const READY: &str = "❯ ";

#[test]
fn on_a_terminal_ctrl_c_stops_the_turn_and_twice_the_shell() {
    let mut env = two();
    env.set("MY_API_TOKEN", "zq83jf-secret-value");
    let mut screen = Screen::new(&env, "shell ada");
    screen.wait_for(READY);
    screen.forget();
    // Nothing becomes of Ctrl-Z, and a line with a secret is not remembered.
    screen.press("\u{1a}/use zq83jf-secret-value\r");
    screen.wait_for("there is no agent");
    screen.wait_for(READY);
    screen.forget();
    screen.press("wait for it\r");
    let file = env.home().join("waits");
    eventually("the agent", || std::fs::read_to_string(&file).ok().filter(|pid| !pid.trim().is_empty()));
    screen.press("\u{3}");
    screen.wait_for("interrupted");
    screen.wait_for(READY);
    screen.forget();
    // A pasted text is one prompt.
    screen.press("\u{1b}[200~two lines\rof text\u{1b}[201~\r");
    screen.wait_for("ada says 2.");
    screen.wait_for("5 tokens in, 2 out");
    screen.wait_for(READY);
    assert_eq!(prompt(&env, "ada", 2), "two lines\nof text");
    screen.forget();
    screen.press("half a li");
    screen.wait_for("half a li");
    screen.forget();
    screen.press("\u{3}");
    screen.wait_for(READY);
    screen.forget();
    screen.press("\u{3}");
    screen.wait_for("again leaves");
    screen.wait_for(READY);
    screen.press("\u{3}");
    let (text, code) = screen.end();
    assert_eq!(code, 0, "{text}");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["turns"], &head["outcome"]), (&2.into(), &"success".into()));
    let history = std::fs::read_to_string(env.home().join(".local/state/decklog/history")).unwrap();
    assert!(history.contains("wait for it") && !history.contains("half a li"), "{history}");
    assert!(!history.contains("zq83jf"), "{history}");
}

#[test]
fn on_a_terminal_agents_are_used_in_turn() {
    let env = two();
    let mut screen = Screen::new(&env, "shell ada");
    screen.wait_for(READY);
    screen.press("one\r");
    screen.wait_for("ada says 1.");
    // What is typed while an agent works waits; Tab completes command and agent.
    screen.press("/us\tb\t\r");
    screen.wait_for("ada → bob (manual)");
    screen.press("two\r");
    screen.wait_for("bob says 1.");
    screen.press("/use ada\r");
    screen.wait_for("bob → ada (manual)");
    screen.press("three\r");
    screen.wait_for("ada says 2.");
    // The end of input is none while an agent works.
    screen.wait_for_after("ada says 2.", READY);
    screen.press("\u{4}");
    assert_eq!(screen.end().1, 0);
    assert_eq!(turns(&env), ["ada", "bob", "ada"]);
    assert!(prompt(&env, "bob", 1).contains("ada says 1."));
}

/// An agent of the Agent Client Protocol that asks before it runs a command.
const ASKS: &str = r#"import json, sys
def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def update(**what): say(method="session/update", params={"sessionId": "s", "update": what})
prompt = None
for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if method == "initialize": say(id=id, result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    elif method in ("session/new", "session/load"): say(id=id, result={"sessionId": "s"})
    elif method == "session/prompt":
        prompt = id
        call = {"toolCallId": "c", "title": "make \u001b[31mtest", "kind": "execute", "status": "pending", "rawInput": {"command": "make test"}}
        options = [{"optionId": kind, "name": kind, "kind": kind} for kind in ("allow_once", "allow_always", "reject_once")]
        say(id=900, method="session/request_permission", params={"sessionId": "s", "toolCall": call, "options": options})
    elif id == 900:
        update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "I was told " + json.dumps(message["result"]["outcome"]) + "."})
        say(id=prompt, result={"stopReason": "end_turn"})
"#;

/// A world whose agent `asks` asks for permission in every turn.
pub(crate) fn asking_agent() -> TestEnv {
    let env = world(&[]);
    std::fs::write(env.home().join("asks.py"), ASKS).unwrap();
    let config = env.home().join(".config/decklog/config.toml");
    let command = serde_json::json!(["python3", env.home().join("asks.py")]);
    std::fs::write(config, format!("[agents.asks]\ncommand = {command}\nprotocol = \"acp\"\n")).unwrap();
    env
}

#[test]
fn who_asks_for_leave_is_answered_by_the_user_and_it_is_recorded() {
    let env = asking_agent();
    let mut screen = Screen::new(&env, "shell asks");
    screen.wait_for(READY);
    for (key, told) in [("y", "allow_once"), ("a", "allow_always"), ("n", "reject_once")] {
        screen.forget();
        screen.press("go\r");
        screen.wait_for("asks asks to execute: make ");
        screen.wait_for("[y]es, [a]lways, [n]o");
        assert!(!screen.text().contains("\u{1b}[31mtest"), "what an agent says does not act on the terminal");
        screen.press(key);
        screen.wait_for_after(told, READY);
    }
    screen.press("\u{4}");
    screen.end();
    let events = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    for told in ["allowed this time by the user", "allowed from now on by the user", "refused by the user"] {
        assert!(events.contains(told), "{told}: {events}");
    }
    // Where nobody is, the permissions decide.
    let ran = env.decklog_with_input(&["shell", "asks"], b"go\n").expect(0);
    assert!(ran.stdout.contains("reject_once"), "{}", ran.stdout);
}

#[test]
fn a_signal_ends_the_shell_and_its_session() {
    let env = two();
    let mut screen = Screen::new(&env, "shell ada");
    screen.wait_for(READY);
    screen.press("one\r");
    screen.wait_for("5 tokens in");
    screen.wait_for(READY);
    kill(screen.pid(), "TERM");
    let (text, code) = screen.end();
    assert!(code == 143 || code == 124, "{code}: {text}");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"success".into()));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn decklog_alone_opens_it_where_somebody_is() {
    let env = two();
    let config = env.home().join(".config/decklog/config.toml");
    let agents = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("default-agent = \"bob\"\n{agents}")).unwrap();
    let mut screen = Screen::new(&env, "");
    screen.wait_for("bob is asked; /help lists the commands");
    screen.wait_for(READY);
    screen.press("/quit\r");
    assert_eq!(screen.end().1, 0);
    let told = env.decklog(&[]).expect(2);
    assert!(told.stdout.is_empty() && told.stderr.contains("Usage: decklog"), "{}", told.stderr);
}
