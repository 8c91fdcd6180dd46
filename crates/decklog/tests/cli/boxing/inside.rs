//! Programs that run in the container themselves: `--boxed`.

use std::time::Instant;

use crate::boxing::world::{LONG, containers, kill_with_watcher, world};
use crate::env::{TestEnv, eventually, kill};
use crate::screen::Screen;

/// Runs a command in the container.
fn boxed<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [["run", "--image", "coding", "--boxed"].as_slice(), command].concat()
}

fn shown(env: &TestEnv) -> serde_json::Value {
    env.decklog(&["verify", "@"]).expect(0);
    env.decklog(&["show", "@", "--json"]).expect(0).json()
}

#[test]
fn a_command_runs_in_the_container_with_nothing_of_the_hosts() {
    let mut env = world("", "");
    env.set("DECOY_TOKEN", "stays-on-the-host-4711");
    let looks = "cat /proc/1/comm; pwd; id -u; env; touch made; head -c 300000 /dev/zero | tr '\\0' x | wc -c";
    let ran = env
        .decklog(&boxed(&["--check", "test -f made && grep -q workspace /proc/self/mounts", "--", "sh", "-c", looks]))
        .expect(0);
    let said: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(said[1..3], ["/workspace", "0"], "{}", ran.stdout);
    assert!(said.contains(&"HOME=/home/decklog") && said.contains(&"300000"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("stays-on-the-host") && !ran.stdout.contains("DECOY"), "{}", ran.stdout);
    let shown = shown(&env);
    assert_eq!(shown["session"]["boxed"], true);
    assert_eq!(shown["turns"][0]["boxed"], true);
    assert_eq!(shown["turns"][0]["files"][0]["path"], "made");
    assert_eq!(shown["turns"][0]["validations"][0]["passed"], true);
    assert_eq!(containers(&env), Vec::<String>::new());
    let text = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(text.contains(", agents and all, in container decklog-"), "{text}");
}

#[test]
fn its_exit_code_and_both_streams_come_out() {
    let env = world("", "");
    let ran = env.decklog(&boxed(&["--", "sh", "-c", "echo out; echo err >&2; exit 3"])).expect(2);
    assert!(ran.stdout.contains("out") && ran.stderr.contains("err"), "{ran:?}");
    assert_eq!(shown(&env)["turns"][0]["exit_code"], 3);
}

#[test]
fn nothing_of_a_turn_goes_on_after_it() {
    let env = world("", "");
    // One that outlives its parent, and hears no signal but the last.
    let leaves =
        "(trap '' TERM HUP; while true; do echo tick >>ticks; sleep 0.1; done) >/dev/null 2>&1 & sleep 0.5; echo left";
    let waits = "before=$(wc -l <ticks); sleep 1; test $before = $(wc -l <ticks)";
    env.decklog(&boxed(&["--check", waits, "--", "sh", "-c", leaves])).expect(0);
    assert_eq!(shown(&env)["turns"][0]["validations"][0]["passed"], true);
}

#[test]
fn what_takes_too_long_is_ended_in_the_container_too() {
    let env = world("", "");
    let begun = Instant::now();
    let slow = "trap '' TERM; sleep 600 & wait; wait";
    env.decklog(&boxed(&["--timeout", "2s", "--", "sh", "-c", slow])).expect(2);
    assert!(begun.elapsed() < LONG);
    let shown = shown(&env);
    assert_eq!(shown["turns"][0]["outcome"], "timed_out");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_signal_ends_it_and_its_container() {
    let env = world("", "");
    let mut child = env.start(&boxed(&["--", "sh", "-c", "echo begun >begun; sleep 600"]));
    eventually("the command", || env.work().join("begun").exists().then_some(()));
    kill(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(shown(&env)["session"]["outcome"], "interrupted");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_container_ends_with_its_recorder() {
    let env = world("", "");
    let mut child = env.start(&boxed(&["--", "sh", "-c", "echo begun >begun; sleep 600"]));
    eventually("the command", || env.work().join("begun").exists().then_some(()));
    assert_eq!(containers(&env).len(), 1);
    kill(child.id(), "KILL");
    child.wait().unwrap();
    eventually("the end of the container", || containers(&env).is_empty().then_some(()));
    env.decklog(&["run", "--", "true"]).expect(0);
}

#[test]
fn what_ends_the_container_may_be_killed_too() {
    let env = world("", "");
    let mut child = env.start(&boxed(&["--", "sh", "-c", "echo begun >begun; sleep 600"]));
    eventually("the command", || env.work().join("begun").exists().then_some(()));
    kill_with_watcher(child.id());
    child.wait().unwrap();
    let left = containers(&env);
    assert_eq!(left.len(), 1, "{left:?}");
    let preview = env.decklog(&["clean"]).expect(2);
    assert!(preview.stderr.contains(&format!("container {} of", left[0])), "{preview:?}");
    // The next container makes room of it as well as `clean` does.
    env.decklog(&boxed(&["--", "true"])).expect(0);
    assert_eq!(containers(&env), Vec::<String>::new());
    env.decklog(&["clean", "-y"]).expect(0);
}

#[test]
fn only_its_model_is_let_out_to_by_default() {
    let env = world("", "");
    let tries = "curl -sS --max-time 5 http://192.0.2.1/ ; curl -sS --max-time 5 http://host.containers.internal:9/; nslookup example.com; true";
    env.decklog(&boxed(&["--", "sh", "-c", tries])).expect(0);
    let network = env.decklog(&["network", "@", "--json"]).expect(0).json();
    let places = network["places"].as_array().unwrap();
    assert!(places.len() >= 2 && places.iter().all(|place| place["action"] == "deny"), "{network:#}");
}

#[test]
fn credentials_go_in_and_files_of_theirs_and_leave_nothing_behind() {
    let definition = "[agents.teller]\ncommand = [\"sh\", \"-c\", \"cat >/dev/null; env; ls -ln ~/.teller; cat ~/.teller/auth.json\"]\n\
         protocol = \"text\"\nenv = { TELLER_MODE = \"quick\" }\n\
         boxed = { env = [\"TELLER_KEY\", \"TELLER_BASE_URL\"], files = [\"~/.teller/auth.json\", \"~/.teller/absent\"] }\n";
    let mut env = world("", definition);
    env.set("TELLER_KEY", "tk-5f1c9a7b2e8d4c6f");
    env.set("TELLER_BASE_URL", "http://127.0.0.1:4321/v1");
    std::fs::create_dir_all(env.home().join(".teller")).unwrap();
    std::fs::write(env.home().join(".teller/auth.json"), "{\"signed\":\"in\"}\n").unwrap();
    let ran = env.decklog(&["run", "--image", "coding", "--boxed", "teller", "go"]).expect(0);
    for told in [
        "TELLER_MODE=quick",
        "TELLER_KEY=",
        "TELLER_BASE_URL=http://host.containers.internal:4321/v1",
        "{\"signed\":\"in\"}",
        "-rw-------",
    ] {
        assert!(ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    for (path, bytes) in crate::env::all_bytes(&env.session()) {
        assert!(memchr::memmem::find(&bytes, b"tk-5f1c9a7b2e8d4c6f").is_none(), "the key is in {}", path.display());
    }
    let transcript = env.decklog(&["logs", "@", "container"]).expect(0).stdout;
    assert!(!transcript.contains("tk-5f1c"), "{transcript}");
    // Where its model is may be said on the command line.
    let there = "TELLER_BASE_URL=http://localhost:5432";
    let ran = env.decklog(&["run", "--image", "coding", "--boxed", "--env", there, "teller", "go"]).expect(0);
    assert!(ran.stdout.contains("TELLER_BASE_URL=http://host.containers.internal:5432\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("localhost"), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_boxed_is_said() {
    let env = world(
        "",
        "[providers.p]\nstyle = \"anthropic\"\nbase-url = \"http://127.0.0.1:9\"\n[models.m]\nprovider = \"p\"\nmodel = \"m\"\n",
    );
    for (arguments, said) in [
        (vec!["run", "--boxed", "--image", "none", "claude", "go"], "are for sessions with a container"),
        (vec!["run", "--boxed", "--image", "coding", "builtin", "go"], "builtin is part of decklog"),
        (vec!["run", "--boxed", "--image", "coding", "--tools", "both", "claude", "go"], "cannot be used with"),
        (vec!["run", "--boxed", "--image", "coding", "go"], "which agent is to run in the container?"),
    ] {
        let ran = env.decklog(&arguments).expect(2);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
        assert!(env.sessions().is_empty(), "{arguments:?}");
    }
    // Seen only when it is tried.
    let ran = env.decklog(&boxed(&["claude", "go"])).expect(2);
    assert!(
        ran.stderr.contains("the image coding has no program claude: install it in its Dockerfile"),
        "{}",
        ran.stderr
    );
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn the_loopback_of_this_machine_is_not_behind_podmans_own_network() {
    let mut env = world("", "");
    env.set("ANTHROPIC_BASE_URL", "http://localhost:4321");
    let ran = env.decklog(&["run", "--image", "coding", "--boxed", "--network", "default", "claude", "go"]).expect(2);
    assert!(ran.stderr.contains("the model of claude is on this machine"), "{}", ran.stderr);
    assert!(env.sessions().is_empty());
}

#[test]
fn who_was_boxed_does_not_come_out_without_a_word() {
    let definition =
        "[agents.teller]\ncommand = [\"sh\", \"-c\", \"cat >/dev/null; cat /proc/1/comm\"]\nprotocol = \"text\"\n";
    let env = world("", definition);
    env.decklog(&["run", "--image", "coding", "--boxed", "teller", "go"]).expect(0);
    let id = env.session().file_name().unwrap().to_str().unwrap().to_owned();
    let again = env.decklog(&["resume", &id, "once more"]).expect(0);
    assert!(again.stdout.contains("podman-init") || again.stdout.contains("catatonit"), "{again:?}");
    assert_eq!(shown(&env)["turns"][1]["boxed"], true);
    // Its tools alone: the image has none.
    let tools = env.decklog(&["resume", &id, "--tools", "both", "with tools"]).expect(2);
    assert!(tools.stderr.contains("image coding has no MCP servers"), "{}", tools.stderr);
    let out = env.decklog(&["resume", &id, "--image", "none", "and here"]).expect(0);
    assert!(!out.stdout.contains("podman-init") && !out.stdout.contains("catatonit"), "{out:?}");
}

#[test]
fn what_the_user_sets_reaches_all_that_runs_there() {
    let env = world("", "");
    let arguments =
        ["--env", "WORD=xylophone", "--check", "test \"$WORD\" = xylophone", "--", "sh", "-c", "echo told $WORD"];
    let ran = env.decklog(&boxed(&arguments)).expect(0);
    assert!(ran.stdout.contains("told xylophone"), "{}", ran.stdout);
}

#[test]
fn a_repository_does_not_open_the_network_of_boxed_agents() {
    let env = world("", "");
    let runs = || {
        env.decklog(&boxed(&["--", "true"])).expect(0);
        let journal = std::fs::read_to_string(env.session().join("journal.jsonl")).unwrap();
        env.decklog(&["discard", "-y", "@"]).expect(0);
        journal.split("\"network\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    assert_eq!(runs(), "filter");
    std::fs::create_dir_all(env.work().join(".decklog")).unwrap();
    for mode in ["default", "audit"] {
        env.write(".decklog/config.toml", format!("[network]\nmode = \"{mode}\"\n"));
        assert_eq!(runs(), "filter", "{mode}");
    }
    env.decklog(&["trust", "-y"]).expect(0);
    assert_eq!(runs(), "audit");
}

#[test]
fn a_container_that_is_ended_from_within_is_told() {
    let env = world("", "");
    // The one that keeps it alive, whatever its number is.
    env.decklog(&boxed(&["--", "sh", "-c", "kill -9 $(pidof sleep); sleep 60"]));
    let notices = crate::boxing::world::notices(&env, "left_running");
    assert!(notices.iter().any(|notice| notice.contains("has ended")), "{notices:?}");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_shell_is_gone_on_with_where_it_was_unless_it_is_told() {
    let teller = "[agents.teller]\ncommand = [\"sh\", \"-c\", \"cat >/dev/null; test -d /srv/node_modules && echo inside || echo outside\"]\n\
         protocol = \"text\"\n";
    let env = world("", teller);
    let ran = env.decklog_with_input(&["shell", "--image", "coding", "--boxed", "teller"], b"Where?\n").expect(0);
    assert_eq!(ran.stdout, "inside\n");
    for (flags, where_it_is) in [("", "inside"), ("--image none", "outside"), ("--image coding --boxed", "inside")] {
        let mut screen = Screen::new(&env, &format!("resume @ {flags}"));
        screen.wait_for("❯ ");
        screen.press("Where?\r");
        screen.wait_for(where_it_is);
        screen.wait_for_after(where_it_is, "❯ ");
        screen.press("\u{4}");
        let (text, code) = screen.end();
        assert_eq!(code, 0, "{flags}: {text}");
    }
    let turns: Vec<bool> = shown(&env)["turns"].as_array().unwrap().iter().map(|turn| turn["boxed"] == true).collect();
    assert_eq!(turns, [true, true, false, true]);
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_prompt_that_is_too_long_stands_in_the_container() {
    let reads = "read -r line; file=$(echo \\\"$line\\\" | sed 's/.*in the file \\\\([^ ]*\\\\) (.*/\\\\1/'); \
         printf '{\\\"type\\\":\\\"result\\\",\\\"is_error\\\":false,\\\"result\\\":\\\"ok\\\"}\\\\n'; wc -c <$file >count; echo $file >name";
    let definition =
        format!("[agents.reader]\ncommand = [\"sh\", \"-c\", \"{reads}\"]\nprotocol = \"claude-stream\"\n");
    let env = world("", &definition);
    env.write("prompt.txt", "x".repeat(1_000_000));
    let long = ["run", "--image", "coding", "--boxed", "--prompt-file", "prompt.txt", "reader"];
    env.decklog(&long).expect(0);
    assert_eq!(env.read("count"), "1000000\n");
    assert!(env.read("name").ends_with("/decklog/prompt.md\n"), "{}", env.read("name"));
}
