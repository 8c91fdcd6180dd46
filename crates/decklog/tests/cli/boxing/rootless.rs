//! Podman as an ordinary user: the same servers, and the same network, without root.

use std::os::unix::fs::MetadataExt as _;

use decklog_testkit::{ModelServer, Step, boxes};
use serde_json::{Value, json};

use super::networking::{connections, curl, packet, web};
use super::ordinary::Ordinary;
use super::world::{Client, containers, kill_with_watcher, notices};

const SHELL: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]";
const FS: &str = "fs = [\"mcp-server-filesystem\", \"/workspace\"]";

fn shell(client: &mut Client, command: &str) -> (bool, String) {
    client.call("shell__run", json!({ "command": command }))
}

#[test]
fn what_servers_write_in_the_workspace_is_the_users() {
    let env = Ordinary::new(&format!("{SHELL}\n{FS}"), "");
    let mut client = Client::new(&env, &["--image", "coding"]);
    assert_eq!(client.call("fs__read_text_file", json!({ "path": "/workspace/a.txt" })), (false, "one\n".into()));
    client.call("fs__write_file", json!({ "path": "/workspace/by-fs.txt", "content": "from the box\n" }));
    let made = "mkdir sub && echo from the box >sub/made.txt && echo two >>a.txt && id -u";
    assert_eq!(shell(&mut client, made), (false, format!("{}\n", env.id)));
    // It has podman's own network, which an ordinary user's podman makes in another way.
    let (_, links) = shell(&mut client, "ip -o link");
    assert_eq!(links.lines().count(), 2, "{links}");
    assert!(!shell(&mut client, "touch /etc/x").1.is_empty(), "it is root in there");
    let (code, stderr) = client.leave();
    assert_eq!(code, 0, "{stderr}");
    for path in ["by-fs.txt", "sub", "sub/made.txt", "a.txt"] {
        let is = env.work().join(path).metadata().unwrap();
        assert_eq!((is.uid(), is.gid()), (env.id, env.id), "{path}");
    }
    assert_eq!(containers(&env), Vec::<String>::new());
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!((&shown["session"]["outcome"], &shown["session"]["files_changed"]), (&json!("success"), &json!(3)));
    let log = env.decklog(&["logs", "@", "container"]).expect(0).stdout;
    assert!(log.contains("--userns keep-id") && log.contains("is removed"), "{log}");
    assert_eq!(notices(&env, "mcp_server_down"), Vec::<String>::new());
}

#[test]
fn an_image_with_a_user_of_its_own_writes_as_the_user() {
    let env = Ordinary::new(SHELL, "");
    let dir = env.home().join("own");
    std::fs::create_dir(&dir).unwrap();
    let base = env.decklog(&["build"]).expect(0).stdout;
    std::fs::write(dir.join("Dockerfile"), format!("FROM {base}USER 1000:1000\n")).unwrap();
    let config = env.home().join(".config/decklog/config.toml");
    let known = std::fs::read_to_string(&config).unwrap();
    let own = format!("[images.own]\ndockerfile = {:?}\n[images.own.mcp]\n{SHELL}\n", dir.join("Dockerfile"));
    std::fs::write(&config, format!("{known}{own}")).unwrap();
    let mut client = Client::new(&env, &["--image", "own"]);
    assert_eq!(shell(&mut client, "echo made >made.txt && id -u"), (false, format!("{}\n", env.id)));
    assert_eq!(client.leave().0, 0);
    assert_eq!(env.work().join("made.txt").metadata().unwrap().uid(), env.id);
}

#[test]
fn an_agent_works_with_the_tools_of_an_ordinary_users_container() {
    let arguments = json!({ "path": "/workspace/hello.txt", "content": "hello from the box\n" });
    let server = ModelServer::start(vec![
        Step::Tool { name: "fs__write_file".into(), arguments },
        Step::Text("It is written.".into()),
    ]);
    let model = format!(
        "[providers.local]\nstyle = \"openai\"\nbase-url = \"{}/v1\"\n\
         [models.fast]\nprovider = \"local\"\nmodel = \"fast-1\"\n",
        server.base_url()
    );
    let env = Ordinary::new(FS, &model);
    let ran = env.decklog(&["run", "--image", "coding", "--network", "filter", "builtin", "write hello"]).expect(0);
    assert!(ran.stdout.contains("It is written."), "{}", ran.stdout);
    assert_eq!(env.read("hello.txt"), "hello from the box\n");
    assert_eq!(env.work().join("hello.txt").metadata().unwrap().uid(), env.id);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert_eq!(
        (&shown["session"]["image_config_name"], &shown["session"]["files_changed"]),
        (&json!("coding"), &json!(1))
    );
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn variables_reach_servers_and_what_runs_in_an_ordinary_users_container() {
    let told = "shell = { command = [\"node\", \"/srv/shell-mcp.js\"], env = { GREETING = \"hello there\" } }";
    let teller = "[agents.teller]\ncommand = [\"sh\", \"-c\", \"cat >/dev/null; echo told $GREETING; id -u; cat ~/.teller/auth.json; (sleep 600 >/dev/null 2>&1 &); echo made >by-teller.txt\"]\nprotocol = \"text\"\n\
         boxed = { files = [\"~/.teller/auth.json\"] }\nenv = { GREETING = \"good day\" }\n";
    let env = Ordinary::new(told, teller);
    let mut client = Client::new(&env, &["--image", "coding"]);
    assert_eq!(shell(&mut client, "echo $GREETING"), (false, "hello there\n".into()));
    assert_eq!(client.leave().0, 0);
    std::fs::create_dir_all(env.home().join(".teller")).unwrap();
    std::fs::write(env.home().join(".teller/auth.json"), "signed in\n").unwrap();
    let nothing_left = "! ps | grep -v grep | grep 'sleep 600'";
    let ran = env.decklog(&["run", "--image", "coding", "--boxed", "--check", nothing_left, "teller", "go"]).expect(0);
    assert_eq!(ran.stdout, format!("told good day\n{}\nsigned in\n", env.id), "{}", ran.stderr);
    assert_eq!(env.work().join("by-teller.txt").metadata().unwrap().uid(), env.id);
    assert_eq!(containers(&env), Vec::<String>::new());
}

/// What a container reaches when its network is `mode`, with the host's port opened by a rule where that is `allowed`.
fn network(mode: &str, allowed: bool) {
    let port = web();
    let rules = format!("[network]\nallow = [\"host.containers.internal:{port}\"]");
    let env = Ordinary::new(SHELL, if allowed { &rules } else { "" });
    let mut client = Client::new(&env, &["--network", mode]);
    let (failed, said) = curl(&mut client, &format!("http://host.containers.internal:{port}/"));
    assert_eq!((failed, said == "hello\n"), (!allowed, allowed), "{mode}: {said}");
    // An address of the host in both modes, as nobody has it elsewhere.
    assert!(curl(&mut client, "http://169.254.1.1/").0);
    packet(&mut client, "198.51.100.9");
    assert_eq!(shell(&mut client, "ip -o link | wc -l"), (false, "1\n".into()), "{mode}");
    assert_eq!(client.leave().0, 0);
    let all = connections(&env);
    let of = |host: &str, port: u16| {
        let found = all.iter().find(|line| line["id.resp_h"] == host && line["id.resp_p"] == port);
        found.unwrap_or_else(|| panic!("{mode}: {host}:{port}: {all:#?}"))
    };
    let good = of("169.254.77.1", port);
    assert_eq!(good["decklog.action"], if allowed { "allow" } else { "deny" }, "{mode}: {good}");
    assert_eq!(good["service"], if allowed { json!("http") } else { Value::Null }, "{mode}: {good}");
    assert_eq!(of("169.254.1.1", 80)["decklog.action"], "deny", "{mode}");
    assert_eq!(of("198.51.100.9", 9)["decklog.action"], "drop", "{mode}");
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn an_ordinary_users_network_is_filtered() {
    network("filter", true);
    network("filter", false);
}

#[test]
fn an_ordinary_users_network_is_audited() {
    network("audit", true);
    network("audit", false);
}

#[test]
fn an_ordinary_users_container_is_found_when_its_recorder_was_killed() {
    let env = Ordinary::new(SHELL, "[network]\nmode = \"audit\"");
    let mut client = Client::new(&env, &[]);
    client.tools();
    let [name] = containers(&env).try_into().unwrap();
    kill_with_watcher(client.recorder());
    client.child.wait().unwrap();
    assert_eq!(containers(&env), [name.as_str()]);
    let cleaned = env.decklog(&["clean", "-y"]).expect(0);
    assert!(cleaned.stderr.contains(&format!("removed container {name}")), "{}", cleaned.stderr);
    assert_eq!(containers(&env), Vec::<String>::new());
}

#[test]
fn a_user_without_ids_to_give_away_is_told_what_to_do() {
    let env = Ordinary::another(SHELL, "", "");
    let ran = env.decklog(&["mcp"]).expect(2);
    let [own, hint] = ["keep-id requires additional UIDs", "usermod --add-subuids"];
    assert!(ran.stderr.contains(own) && ran.stderr.contains(hint), "{}", ran.stderr);
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["session"]["outcome"], "failed");
    let log = env.decklog(&["logs", "@", "container"]).expect(0).stdout;
    assert!(log.contains(own), "{log}");
    // What a build says on the way there is of no use to anybody.
    let ran = env.decklog(&["build", "--no-cache"]).expect(2);
    assert!(ran.stderr.contains("supplemental groups") && ran.stderr.contains(hint), "{}", ran.stderr);
}

#[test]
fn where_podmans_helpers_are_missing_it_is_said_which() {
    let mut env = Ordinary::new(SHELL, "");
    let [bin, run] = ["bin", "run"].map(|name| env.home().join(name));
    std::fs::create_dir(&bin).unwrap();
    for program in ["podman", "git", "mkdir", "nsenter", "setpriv", "env"] {
        let found = ["/usr/bin", "/bin"].map(|dir| std::path::Path::new(dir).join(program));
        let found = found.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {program}"));
        std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
    }
    env.set("PATH", bin);
    // Where podman has run before, it goes on in the namespace that it has: so it has not.
    assert!(env.command("mkdir").args(["--mode", "700"]).arg(&run).status().unwrap().success());
    let settings = boxes::settings(&env.home().join("settings"), &env.home().join("anew"), &run.join("containers"), "");
    for (name, value) in settings.unwrap() {
        env.set(&name, value);
    }
    env.set("XDG_RUNTIME_DIR", run);
    let ran = env.decklog(&["build"]).expect(2);
    assert!(ran.stderr.contains("\"newuidmap\": executable file not found"), "{}", ran.stderr);
    assert!(ran.stderr.contains("apt install uidmap"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("level=warning"), "{}", ran.stderr);
}
