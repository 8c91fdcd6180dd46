//! What a container reaches through `--network`, seen from the commands that tell of it. The network itself has tests of its
//! own, in decklog-sandbox.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::world::{Client, world};
use crate::env::{TestEnv, kill};

const SHELL: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]";

/// A web server on the host's loopback; gives its port.
pub(super) fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n");
        }
    });
    port
}

/// What curl says in the container, and whether it failed.
pub(super) fn curl(client: &mut Client, url: &str) -> (bool, String) {
    client.call("shell__run", json!({ "command": format!("curl -sS --max-time 20 {url}") }))
}

/// Sends a packet that is neither TCP nor DNS.
pub(super) fn packet(client: &mut Client, to: &str) {
    let send = format!("s=require(\"dgram\").createSocket(\"udp4\"); s.send(\"x\", 9, \"{to}\", () => s.close())");
    client.call("shell__run", json!({ "command": format!("node -e '{send}'") }));
}

/// What the network's log has, but for openings: what became of them is there, too.
pub(super) fn connections(env: &TestEnv) -> Vec<Value> {
    let text = env.decklog(&["logs", "@", "network.jsonl"]).expect(0).stdout;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["conn_state"] != "OPEN").collect()
}

#[test]
fn a_flow_that_is_open_when_the_recorder_is_killed_is_in_the_record() {
    // The server answers, and keeps the connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (report, reported) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello\n");
        report.send(stream).unwrap();
    });
    let rules = format!("[network]\nmode = \"filter\"\nallow = [\"host.containers.internal:{port}\"]");
    let env = world(SHELL, &rules);
    let mut client = Client::new(&env, &[]);
    let get = format!("curl -sS --max-time 60 http://host.containers.internal:{port}/ </dev/null >/dev/null 2>&1 &");
    client.call("shell__run", json!({ "command": get }));
    let stream = reported.recv().unwrap();
    kill(client.recorder(), "KILL");
    client.child.wait().unwrap();
    drop(stream);
    let sums = env.decklog(&["network", "@", "--json"]).expect(0).json();
    let is = |place: &&Value| place["port"] == port;
    let place = sums["places"].as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("{sums}"));
    assert_eq!((&place["connections"], &place["action"]), (&json!(1), &json!("allow")), "{sums}");
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains(&format!("host.containers.internal:{port}")), "{shown}");
    env.decklog(&["clean", "-y"]).expect(0);
}

#[test]
fn a_filter_lets_through_what_is_allowed_and_tells_under_which_call() {
    let port = web();
    let rules = format!("[network]\nmode = \"filter\"\nallow = [\"host.containers.internal:{port}\"]");
    let env = world(SHELL, &rules);
    let mut client = Client::new(&env, &[]);
    let host = format!("http://host.containers.internal:{port}/");
    assert_eq!(curl(&mut client, &host), (false, "hello\n".into()));
    let (failed, said) = curl(&mut client, "http://evil.test/");
    assert!(failed && said.contains("Could not resolve host"), "{said}");
    let (failed, said) = curl(&mut client, "http://198.51.100.9/");
    assert!(failed, "{said}");
    let (failed, said) = client.call("shell__run", json!({ "command": "ping -c 1 -W 1 8.8.8.8" }));
    assert!(failed, "{said}");
    // Who is not root in there has no ping to send.
    packet(&mut client, "8.8.8.8");
    let (_, names) = client.call("shell__run", json!({ "command": "cat /etc/resolv.conf" }));
    assert_eq!(names, "nameserver 10.200.0.1\n");
    assert_eq!(client.leave().0, 0);

    let all = connections(&env);
    let of = |host: &str| {
        let is =
            |line: &&Value| [&line["decklog.host"], &line["query"], &line["id.resp_h"]].iter().any(|it| **it == host);
        all.iter().find(is).unwrap_or_else(|| panic!("{host}: {all:?}"))
    };
    let good = all.iter().find(|line| line["id.resp_p"] == port).unwrap();
    assert_eq!(good["decklog.action"], "allow");
    assert_eq!((&good["service"], &good["resp_bytes"]), (&json!("http"), &json!(63)), "{good}");
    assert_eq!(good["decklog.session"].as_str().unwrap(), env.session().file_name().unwrap().to_str().unwrap());
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    let call = shown["turns"][0]["steps"].as_array().unwrap().iter().find(|step| step["type"] == "tool").unwrap();
    assert_eq!(good["decklog.calls"], json!([format!("1/{}", call["call_id"].as_str().unwrap())]));
    assert_eq!(of("evil.test")["decklog.action"], "deny");
    assert_eq!(of("198.51.100.9")["decklog.action"], "deny");
    assert_eq!(of("8.8.8.8")["decklog.action"], "drop");

    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    let (before, after) = shown.split_once(&format!("⇄ host.containers.internal:{port} http")).expect(&shown);
    assert!(before.contains(&host) && after.contains("evil.test"), "{shown}");
    assert!(shown.contains("⊘ 198.51.100.9:80 tcp · refused (default)"), "{shown}");
    assert!(shown.contains("refused: 198.51.100.9, 8.8.8.8, evil.test"), "{shown}");
    assert!(shown.contains("network filter"), "{shown}");
    let page = env.decklog(&["show", "@", "--html"]).expect(0).stdout;
    for part in [
        "<small>network filter</small>".to_owned(),
        format!("<li class=quiet>⇄ host.containers.internal:{port} http"),
        "<li class=warn>⊘ 198.51.100.9:80 tcp · refused (default)".to_owned(),
        "<tr class=refused><td>evil.test<td>53<td>dns<td>deny".to_owned(),
    ] {
        assert!(page.contains(&part), "{part}: {page}");
    }
    let table = env.decklog(&["network", "@"]).expect(0).stdout;
    let line = table.lines().find(|line| line.contains("evil.test")).unwrap();
    assert!(line.contains("deny") && line.contains("default"), "{table}");
    let sums = env.decklog(&["network", "@", "--json"]).expect(0).json();
    assert!(
        sums["places"].as_array().unwrap().iter().any(|place| place["port"] == port && place["bytes_in"] == 63),
        "{sums}"
    );
}

#[test]
fn an_audit_records_and_keeps_the_hosts_own_addresses_out() {
    let port = web();
    let env = world(SHELL, "");
    let mut client = Client::new(&env, &["--network", "audit"]);
    let (failed, said) = curl(&mut client, &format!("http://host.containers.internal:{port}/"));
    assert!(failed, "{said}");
    // The container's own loopback is its own.
    let (failed, said) = curl(&mut client, &format!("http://127.0.0.1:{port}/"));
    assert!(failed && (said.contains("refused") || said.contains("connect")), "{said}");
    assert_eq!(client.leave().0, 0);
    let all = connections(&env);
    let refused = all.iter().find(|line| line["id.resp_p"] == port).unwrap();
    assert_eq!((&refused["decklog.action"], &refused["decklog.rule"]), (&json!("deny"), &json!("address")));
}

#[test]
fn a_container_that_could_undo_its_network_is_not_made() {
    let mut env = world(SHELL, "");
    let config = env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[images.coding]", "[images.coding]\ncap-add = [\"CAP_NET_ADMIN\"]")).unwrap();
    let ran = env.decklog(&["mcp", "--network", "filter"]).expect(2);
    assert!(ran.stderr.contains("CAP_NET_ADMIN, which could undo its network"), "{}", ran.stderr);
    assert!(env.sessions().is_empty());
    // Without rules in the kernel there is no network, and no container either.
    std::fs::write(&config, text).unwrap();
    let bin = env.home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("nft"), "#!/bin/sh\necho 'no nft today' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(bin.join("nft"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    env.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let ran = env.decklog(&["mcp", "--network", "filter"]).expect(2);
    assert!(ran.stderr.contains("no network") && ran.stderr.contains("no nft today"), "{}", ran.stderr);
    assert_eq!(super::world::containers(&env), Vec::<String>::new());
    let shown = env.decklog(&["show", "--json", "@"]).expect(0).json();
    assert_eq!(shown["session"]["outcome"], "failed");
}

#[test]
fn a_repository_may_only_tighten_what_containers_reach() {
    let env = world(SHELL, "[network]\nmode = \"audit\"");
    std::fs::create_dir(env.work().join(".decklog")).unwrap();
    env.write("Dockerfile", "FROM scratch\n");
    let text = "default-image = \"mine\"\n[network]\nmode = \"default\"\ndefault = \"allow\"\nallow = [\"evil.test\"]\ndeny = [\"a.test\"]\n\
                dns = [\"198.51.100.1\"]\n[images.mine]\ndockerfile = \"Dockerfile\"\n[images.coding]\ndockerfile = \"Dockerfile\"\n\
                [images.far]\ndockerfile = \"Dockerfile\"\nmounts = [{ host = \"/etc\", at = \"/etc2\" }]\n\
                [images.strong]\ndockerfile = \"Dockerfile\"\ncap-add = [\"SYS_ADMIN\"]\n\
                [images.thief.mcp]\nx = { command = [\"x\"], env = { A = \"${HOME}\" } }\n[images.thief]\ndockerfile = \"Dockerfile\"\n";
    env.write(".decklog/config.toml", text);
    let shown = env.decklog(&["config", "--json"]).expect(0).json();
    let values = shown["values"].as_object().unwrap();
    assert_eq!(values["network.mode"]["value"], "audit");
    assert_eq!(values["network.deny"]["value"], json!(["a.test"]));
    for name in [
        "default-image",
        "network.default",
        "network.allow",
        "network.dns",
        "images.far",
        "images.strong",
        "images.thief",
    ] {
        assert!(!values.contains_key(name), "{name} was taken");
    }
    assert!(values.contains_key("images.mine"));
    let refused: Vec<_> = shown["refused"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(refused.len(), 9, "{refused:#?}");
    for (line, what) in [(1, "default-image"), (3, "mode is lower"), (4, "widens"), (5, "evil.test"), (7, "dns")] {
        let at = format!("config.toml:{line}: ");
        assert!(
            refused.iter().any(|refused| refused.contains(&at) && refused.contains(what)),
            "{at}{what}: {refused:#?}"
        );
    }
    assert!(refused.iter().all(|refused| refused.contains("decklog trust")), "{refused:#?}");
    env.decklog(&["trust", "-y"]).expect(0);
    let shown = env.decklog(&["config", "--json"]).expect(0).json();
    assert_eq!(shown["values"]["network.mode"]["value"], "default");
    assert!(shown["refused"].as_array().unwrap().is_empty());
}
