//! Servers that die, flood, hang, stay or are not there: each is one server's matter, told and recorded, and nothing of it
//! is left.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use super::world::{Client, containers, kill_with_watcher, notices, odd_server, podman, world};
use crate::env::{TestEnv, all_bytes, eventually};

const SHELL: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]";
const BESIDE: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]\nfs = [\"mcp-server-filesystem\", \"/workspace\"]";
/// Bytes of memory that the gateway may take, whatever servers send.
const SMALL: u64 = 200 << 20;

/// The most memory that the process has had.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn steps(env: &TestEnv) -> Vec<Value> {
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    let steps = shown["turns"][0]["steps"].as_array().unwrap();
    steps.iter().filter(|step| step["type"] == "tool").cloned().collect()
}

/// The tool's end takes the server with it; another one serves on, and the server comes again.
fn comes_again_after(tool: &str) {
    let env = world(BESIDE, "");
    let mut client = Client::new(&env, &[]);
    client.tools();
    let (failed, said) = client.call(tool, json!({}));
    assert!(failed && said.contains("the MCP server shell ") && said.contains("in the middle of the call"), "{said}");
    assert_eq!(client.call("fs__read_text_file", json!({ "path": "/workspace/a.txt" })), (false, "one\n".into()));
    eventually("the server again", || {
        (client.call("shell__look", json!({})) == (false, "looked".into())).then_some(())
    });
    assert_eq!(client.leave().0, 0);
    let down = notices(&env, "mcp_server_down");
    assert!(down.iter().any(|text| text.starts_with("shell: ") && text.contains("started again")), "{down:?}");
    assert!(!down.iter().any(|text| text.starts_with("fs: ")), "{down:?}");
    let steps = steps(&env);
    assert_eq!((&steps[0]["name"], &steps[0]["status"]), (&json!(tool), &json!("failed")));
    assert_eq!(steps.last().unwrap()["status"], "completed");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_server_that_dies_in_a_call_fails_that_call_and_comes_again() {
    comes_again_after("shell__die");
}

#[test]
fn half_an_answer_is_none() {
    comes_again_after("shell__half");
}

#[test]
fn a_gigabyte_without_an_end_of_line_is_dropped_and_the_answer_after_it_comes() {
    let env = world(SHELL, "");
    let mut client = Client::new(&env, &[]);
    client.tools();
    assert_eq!(client.call("shell__flood", json!({})), (false, "flooded".into()));
    assert_eq!(client.call("shell__run", json!({ "command": "echo there" })), (false, "there\n".into()));
    let memory = most_memory(client.recorder());
    assert!(memory < SMALL, "{memory} bytes");
    assert_eq!(client.leave().0, 0);
    assert_eq!(notices(&env, "mcp_server_down"), Vec::<String>::new());
}

#[test]
fn a_gigabyte_on_stderr_is_cut_and_counted() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\", \"noisy\"]", "");
    let mut client = Client::new(&env, &[]);
    assert_eq!(client.call("shell__run", json!({ "command": "echo there" })), (false, "there\n".into()));
    let log = env.session().join("logs/shell.stderr");
    let limit = 64 << 20;
    eventually("as much as is kept", || log.metadata().is_ok_and(|log| log.len() >= limit).then_some(()));
    assert_eq!(client.call("shell__look", json!({})), (false, "looked".into()));
    let memory = most_memory(client.recorder());
    assert!(memory < SMALL, "{memory} bytes");
    assert_eq!(client.leave().0, 0);
    let length = log.metadata().unwrap().len();
    assert!((limit..limit + (1 << 20)).contains(&length), "{length} bytes");
    let [cut] = notices(&env, "stderr_cut").try_into().unwrap();
    let more = cut.strip_prefix("shell: ").and_then(|text| text.split(' ').next()).unwrap();
    assert!(more.parse::<u64>().unwrap() > 0, "{cut}");
}

#[test]
fn stderr_that_cannot_be_kept_is_no_success() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\", \"noisy\"]", "");
    // In the way of the log before there is a server.
    let mut client = Client::new(&env, &[]);
    let logs = eventually("the session", || Some(env.sessions().first()?.join("logs")));
    std::fs::create_dir_all(logs.join("shell.stderr")).unwrap();
    assert_eq!(client.call("shell__run", json!({ "command": "echo there" })), (false, "there\n".into()));
    let (code, said) = client.leave();
    assert_eq!(code, 2, "{said}");
    let [told] = notices(&env, "recording_failed").try_into().unwrap();
    assert!(told.starts_with("the stderr of shell is not kept: "), "{told}");
}

#[test]
fn a_server_that_will_not_leave_is_left() {
    let env = world("shell = [\"node\", \"/srv/shell-mcp.js\", \"stubborn\"]", "");
    let mut client = Client::new(&env, &[]);
    assert_eq!(client.call("shell__look", json!({})), (false, "looked".into()));
    assert_eq!(client.leave().0, 0);
    assert_eq!(containers(&env), Vec::<String>::new());
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["session"]["outcome"], "success");
}

/// Commands of the processes in the process namespace that `file` is.
fn processes_in(file: &std::fs::File) -> Vec<String> {
    let inode = file.metadata().unwrap().ino();
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(|process| process.join("ns/pid").metadata().is_ok_and(|space| space.ino() == inode))
        .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default().replace('\0', " "))
        .collect()
}

#[test]
fn what_a_server_leaves_behind_goes_with_the_container() {
    let env = world(SHELL, "");
    let mut client = Client::new(&env, &[]);
    assert_eq!(client.call("shell__fork", json!({})), (false, "left one behind".into()));
    let [name] = containers(&env).try_into().unwrap();
    let pid = podman(&env, &["inspect", "--format", "{{.State.Pid}}", &name]);
    // Held open, its number is nobody else's.
    let space = std::fs::File::open(format!("/proc/{}/ns/pid", pid.trim())).unwrap();
    let left = |command: &String| command.starts_with("sleep 86400");
    eventually("what is left behind", || processes_in(&space).iter().any(left).then_some(()));
    assert_eq!(client.leave().0, 0);
    assert_eq!(containers(&env), Vec::<String>::new());
    assert_eq!(processes_in(&space), Vec::<String>::new());
}

#[test]
fn a_call_that_is_never_answered_ends_when_its_time_is_over() {
    let env = world("shell = { command = [\"node\", \"/srv/shell-mcp.js\"], call-timeout = \"1s\" }", "");
    let mut client = Client::new(&env, &[]);
    let (failed, said) = client.call("shell__never", json!({}));
    assert!(failed && said.contains("the MCP server shell did not answer within 1 s"), "{said}");
    eventually("an answer", || (client.call("shell__look", json!({})) == (false, "looked".into())).then_some(()));
    let log = env.session().join("logs/shell.stderr");
    eventually("that the server is told", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("cancelled ")).then_some(())
    });
    assert_eq!(client.leave().0, 0);
    // It is the same server all along.
    assert_eq!(notices(&env, "mcp_server_down"), Vec::<String>::new());
    assert_eq!(steps(&env)[0]["status"], "failed");
}

#[test]
fn a_server_that_is_not_there_keeps_nobody_from_the_others() {
    let env = world(&format!("{SHELL}\ngone = [\"no-such-program\"]"), "");
    let mut client = Client::new(&env, &[]);
    let tools = client.tools();
    assert!(tools.iter().all(|tool| tool.starts_with("shell__")) && !tools.is_empty(), "{tools:?}");
    let (failed, said) = client.call("gone__anything", json!({}));
    assert!(failed && said.contains("the MCP server gone is not there"), "{said}");
    assert_eq!(client.call("shell__look", json!({})), (false, "looked".into()));
    let (code, stderr) = client.leave();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("shell is ready") && stderr.contains("gone: "), "{stderr}");
    let down = notices(&env, "mcp_server_down");
    assert!(down.iter().all(|text| text.starts_with("gone: ")) && !down.is_empty(), "{down:?}");
    assert!(env.decklog(&["logs", "@", "gone.stderr"]).expect(0).stdout.contains("no-such-program"));
}

#[test]
fn an_answer_that_is_too_long_is_told_to_be() {
    let env = world("odd = [\"node\", \"/workspace/odd.js\"]", "");
    odd_server(&env, r#"on["tools/call"] = (id, { arguments: { length } }) => said(id, "x".repeat(length));"#);
    let mut client = Client::new(&env, &[]);
    let (failed, said) = client.call("odd__look", json!({ "length": 17 << 20 }));
    assert!(failed && said.contains("the answer of the MCP server odd is longer than"), "{said}");
    let long = 15 << 20;
    let (failed, said) = client.call("odd__look", json!({ "length": long }));
    assert!(!failed && said.len() == long, "{failed}, {} bytes", said.len());
    assert_eq!(client.leave().0, 0);
    assert_eq!(notices(&env, "mcp_server_down"), Vec::<String>::new());
    let [first, second] = steps(&env).try_into().unwrap();
    assert_eq!((&first["status"], &second["status"]), (&json!("failed"), &json!("completed")));
}

#[test]
fn a_list_without_end_is_not_waited_for() {
    let env = world(&format!("{SHELL}\nodd = [\"node\", \"/workspace/odd.js\"]"), "");
    odd_server(&env, r#"on["tools/list"] = (id) => send({ id, result: { tools, nextCursor: "more" } });"#);
    let mut client = Client::new(&env, &[]);
    let tools = client.tools();
    assert!(tools.iter().all(|tool| tool.starts_with("shell__")) && !tools.is_empty(), "{tools:?}");
    assert_eq!(client.leave().0, 0);
    let down = notices(&env, "mcp_server_down");
    assert!(down.iter().any(|text| text.starts_with("odd: what it offers has no end")), "{down:?}");
}

#[test]
fn a_server_that_reads_nothing_keeps_no_call_beyond_its_time() {
    let env = world("odd = { command = [\"node\", \"/workspace/odd.js\"], call-timeout = \"1s\" }", "");
    odd_server(&env, "on[\"tools/call\"] = () => input.pause(); setInterval(() => {}, 1000);");
    let mut client = Client::new(&env, &[]);
    // More than all pipes on the way hold.
    for text in [String::new(), "x".repeat(8 << 20), String::new()] {
        let (failed, said) = client.call("odd__look", json!({ "text": text }));
        assert!(failed && said.contains("the MCP server odd did not answer within 1 s"), "{said}");
    }
    assert_eq!(client.leave().0, 0);
    assert_eq!(containers(&env), Vec::<String>::new());
    assert_eq!(steps(&env).len(), 3);
}

#[test]
fn a_client_may_leave_before_the_servers_have_come_up() {
    let env = world("silent = [\"sleep\", \"86400\"]", "");
    let client = Client::new(&env, &[]);
    let (code, stderr) = client.leave();
    assert_eq!(code, 0, "{stderr}");
    // Nobody has waited until its time was over.
    assert!(!stderr.contains("did not answer"), "{stderr}");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_server_that_says_again_and_again_that_its_tools_are_other_ones_is_not_asked_each_time() {
    let env = world("odd = [\"node\", \"/workspace/odd.js\"]", "");
    let more = r#"
let lists = 0;
const list = on["tools/list"];
on["tools/list"] = (id) => { lists += 1; list(id); };
on["tools/call"] = (id, { arguments: { times } }) => {
  for (let i = 0; i < times; i++) send({ method: "notifications/tools/list_changed" });
  tools.push({ name: "last", inputSchema: { type: "object" } });
  said(id, `${lists}`);
};"#;
    odd_server(&env, more);
    let mut client = Client::new(&env, &[]);
    let times = 10_000;
    client.call("odd__look", json!({ "times": times }));
    // What was said last was heard.
    eventually("the last tool", || client.tools().contains(&"odd__last".to_owned()).then_some(()));
    let (_, lists) = client.call("odd__look", json!({ "times": 0 }));
    // What was on its way in pipes may have been heard one by one.
    assert!(lists.parse::<u64>().unwrap() < times / 2, "asked {lists} times");
    assert_eq!(client.leave().0, 0);
}

#[test]
fn nothing_of_what_a_server_is_entrusted_with_is_recorded() {
    const VALUE: &str = "told-to-the-server-alone-4711";
    const OTHER: &str = "of-a-name-that-gives-nothing-away";
    let server =
        "command = [\"node\", \"/srv/shell-mcp.js\"], env = { K = \"${MY_TOKEN_THING}\", L = \"${BOX_OPENER}\" }";
    let mut env = world(&format!("shell = {{ {server} }}"), "");
    env.set("MY_TOKEN_THING", VALUE);
    env.set("BOX_OPENER", OTHER);
    let mut client = Client::new(&env, &[]);
    let tell = "echo \"$K $L\"; echo \"$K $L\" >/proc/$PPID/fd/2";
    // The client is told what the server says, the record is not.
    assert_eq!(client.call("shell__run", json!({ "command": tell })), (false, format!("{VALUE} {OTHER}\n")));
    let asked = format!("echo {VALUE} {OTHER} >&2; false");
    assert_eq!(client.call("shell__run", json!({ "command": asked })), (true, format!("{VALUE} {OTHER}\n")));
    assert_eq!(client.leave().0, 0);
    assert_eq!(steps(&env).len(), 2);
    let log = env.decklog(&["logs", "@", "shell.stderr"]).expect(0).stdout;
    assert!(!log.trim().is_empty());
    for (path, bytes) in all_bytes(&env.session()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(VALUE) && !text.contains(OTHER), "{}", path.display());
    }
}

#[test]
fn a_directory_of_any_name_is_mounted_and_a_linked_session_root_is_known() {
    let env = world(SHELL, "");
    let work = env.work().join("a b,c\"d'e:f=g");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("here.txt"), "found\n").unwrap();
    let (real, link) = (env.home().join("real"), env.home().join("linked"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();

    let mut command = env.decklog_command(&["--session-root", link.to_str().unwrap(), "mcp"]);
    command.current_dir(&work);
    let mut client = Client::of(command);
    client.shake();
    let command = "cat here.txt && echo made >made.txt";
    assert_eq!(client.call("shell__run", json!({ "command": command })), (false, "found\n".into()));
    assert_eq!(std::fs::read_to_string(work.join("made.txt")).unwrap(), "made\n");
    kill_with_watcher(client.recorder());
    client.child.wait().unwrap();
    // It was made below one name of the root, and is found below the other.
    let cleaned = env.decklog(&["--session-root", real.to_str().unwrap(), "clean", "-y"]).expect(0);
    assert!(cleaned.stderr.contains("removed container"), "{}", cleaned.stderr);
}
