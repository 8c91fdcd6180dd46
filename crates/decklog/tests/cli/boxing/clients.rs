//! Real clients in a container whose network is filtered: ssh, resolvers, and curl over TLS. What they say is known from
//! their first bytes, and the record can be read by those who read Zeek's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::networking::{connections, packet};
use super::world::{Client, LONG, world};

const SHELL: &str = "shell = [\"node\", \"/srv/shell-mcp.js\"]";
const HOST: &str = "host.containers.internal";

fn shell(client: &mut Client, command: &str) -> (bool, String) {
    client.call("shell__run", json!({ "command": command }))
}

/// The first record that has these values.
#[track_caller]
fn record<'a>(all: &'a [Value], values: &[(&str, Value)]) -> &'a Value {
    let found = all.iter().find(|line| values.iter().all(|(key, value)| line[key] == *value));
    found.unwrap_or_else(|| panic!("no record has {values:?}: {all:#?}"))
}

/// A program of the host that listens at a port of its loopback.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTPS server with a certificate of its own, on the host's loopback.
fn https(dir: &Path) -> Server {
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(dir).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut make = openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=host");
    assert!(make.args(["-keyout", "key.pem", "-out", "cert.pem"]).status().unwrap().success());
    let mut serve = openssl("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -www");
    let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
    // It goes on writing: what nobody reads would hold it up.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.by_ref().find_map(|line| line.unwrap().strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok());
    std::thread::spawn(move || lines.for_each(drop));
    Server { child, port: port.expect("a port") }
}

/// What greets as an SSH server does and gives what it is greeted with; gives its port.
fn greeter() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (to, greetings) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"SSH-2.0-greeter\r\n").unwrap();
            let mut greeting = String::new();
            let _ = BufReader::new(&stream).read_line(&mut greeting);
            let _ = to.send(greeting);
        }
    });
    (port, greetings)
}

/// A name server for which every name has the address 127.0.0.53. It gives the names that it is asked for, and its address.
fn name_server() -> (SocketAddr, Receiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (to, names) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            // The question stands behind twelve bytes: labels with their lengths up to an empty one, type and class.
            let labels = buffer[12..count].split(|byte| *byte == 0).next().unwrap();
            let end = 12 + labels.len() + 5;
            let mut name = String::new();
            let mut rest = labels;
            while let [length, more @ ..] = rest {
                let (label, after) = more.split_at(usize::from(*length));
                name += &format!("{}.", String::from_utf8_lossy(label));
                rest = after;
            }
            let is_a = buffer[end - 4..end - 2] == [0, 1];
            let mut reply =
                [&buffer[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0], &buffer[12..end]].concat();
            if is_a {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 53]);
            }
            socket.send_to(&reply, from).unwrap();
            let _ = to.send(name);
        }
    });
    (address, names)
}

#[test]
fn ssh_goes_where_it_may_and_is_known() {
    let ((port, greetings), (other, unheard)) = (greeter(), greeter());
    let env = world(SHELL, &format!("[network]\nmode = \"filter\"\nallow = [\"{HOST}:{port}\"]"));
    let mut client = Client::new(&env, &[]);
    let options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20";
    let (failed, said) = shell(&mut client, &format!("ssh {options} -v -p {port} me@{HOST} true"));
    assert!(failed && said.contains("Remote protocol version 2.0, remote software version greeter"), "{said}");
    let greeting = greetings.recv_timeout(LONG).unwrap();
    assert!(greeting.starts_with("SSH-2.0-OpenSSH"), "{greeting}");
    let (failed, said) = shell(&mut client, &format!("ssh {options} -p {other} me@{HOST} true"));
    assert!(failed && said.contains("reset by peer"), "{said}");
    assert_eq!(client.leave().0, 0);
    assert!(unheard.try_recv().is_err(), "something came through");
    let all = connections(&env);
    let good = record(&all, &[("id.resp_p", json!(port))]);
    assert_eq!((&good["service"], &good["decklog.action"]), (&json!("ssh"), &json!("allow")), "{good}");
    assert!(good["orig_bytes"].as_u64().unwrap() >= greeting.len() as u64, "{good}");
    assert_eq!(good["resp_bytes"], 17, "{good}");
    let refused = record(&all, &[("id.resp_p", json!(other))]);
    assert_eq!((&refused["conn_state"], &refused["decklog.rule"]), (&json!("REJ"), &json!("address")), "{refused}");
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains(&format!("⇄ {HOST}:{port} ssh")), "{shown}");
}

#[test]
fn resolvers_of_all_kinds_are_answered_what_they_may_know() {
    let (server, names) = name_server();
    // An address of the host stands in an answer where a rule names just that address.
    let allow = "allow = [\"good.test\", \"127.0.0.53\"]";
    let env = world(SHELL, &format!("[network]\nmode = \"filter\"\n{allow}\ndns = [\"{server}\"]"));
    let mut client = Client::new(&env, &[]);
    let lookup =
        "node -e 'require(\"dns\").lookup(process.argv[1], 4, (error, found) => console.log(error?.code ?? found))'";
    let resolve =
        "node -e 'require(\"dns\").resolve4(process.argv[1], (error, found) => console.log(error?.code ?? found[0]))'";
    // busybox's own, the C library's over UDP and over TCP, and c-ares.
    for (kind, proto) in [
        ("nslookup -type=a", "udp"),
        (lookup, "udp"),
        (&format!("RES_OPTIONS=use-vc {lookup}"), "tcp"),
        (resolve, "udp"),
    ] {
        let (_, said) = shell(&mut client, &format!("{kind} good.test"));
        assert!(said.contains("127.0.0.53"), "{kind}: {said}");
        let asked: Vec<String> = names.try_iter().collect();
        assert!(!asked.is_empty() && asked.iter().all(|name| name == "good.test."), "{kind}: {asked:?}");
        let (_, said) = shell(&mut client, &format!("{kind} {proto}-{}.evil.test", kind.len()));
        let refusals = ["REFUSED", "EAI_AGAIN", "ENOTFOUND"];
        assert!(refusals.iter().any(|refusal| said.contains(refusal)), "{kind}: {said}");
        assert_eq!(names.try_iter().next(), None, "{kind}: somebody was asked");
    }
    assert_eq!(client.leave().0, 0);
    let all = connections(&env);
    for proto in ["udp", "tcp"] {
        let is = |query: &Value| [("proto", json!(proto)), ("service", json!("dns")), ("query", query.clone())];
        let good = record(&all, &is(&json!("good.test")));
        assert_eq!((&good["decklog.action"], &good["answers"]), (&json!("allow"), &json!(["127.0.0.53"])), "{good}");
        assert_eq!((&good["qtype_name"], &good["rcode_name"]), (&json!("A"), &json!("NOERROR")), "{good}");
        let bad = all.iter().find(|line| {
            line["query"].as_str().is_some_and(|query| query.starts_with(proto) && query.ends_with(".evil.test"))
        });
        let bad = bad.unwrap_or_else(|| panic!("{proto}: {all:#?}"));
        assert_eq!((&bad["proto"], &bad["rcode_name"]), (&json!(proto), &json!("REFUSED")), "{bad}");
    }
    // The connection that questions came over is a record, too, with the same name.
    let asked = record(&all, &[("proto", json!("tcp")), ("query", json!("good.test"))]);
    let carried = all.iter().find(|line| line["uid"] == asked["uid"] && line["query"].is_null()).unwrap();
    assert_eq!((&carried["service"], &carried["id.resp_p"]), (&json!("dns"), &json!(53)), "{carried}");
}

#[test]
fn tls_is_known_and_held_to_the_name_that_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let server = https(dir.path());
    let port = server.port;
    let allow = format!("allow = [\"{HOST}:{port}\"]");
    // As another name at the same address: a client that fronts.
    let fronting = format!("curl -sSk --max-time 20 --connect-to evil.test:443:{HOST}:{port} https://evil.test/");
    for (mode, cut) in [("filter", true), ("audit", false)] {
        let env = world(SHELL, &format!("[network]\nmode = \"{mode}\"\n{allow}"));
        let mut client = Client::new(&env, &[]);
        let (failed, said) = shell(&mut client, &format!("curl -sSk --max-time 20 https://{HOST}:{port}/"));
        assert!(!failed && said.contains("s_server"), "{mode}: {said}");
        let (failed, said) = shell(&mut client, &fronting);
        assert_eq!((failed, said.contains("s_server")), (cut, !cut), "{mode}: {said}");
        assert_eq!(client.leave().0, 0);
        let all = connections(&env);
        let to = [("id.resp_p", json!(port)), ("service", json!("ssl")), ("decklog.host", json!(HOST))];
        let is = |claimed: Value| [&to[..], &[("decklog.claimed", claimed)]].concat();
        let good = record(&all, &is(Value::Null));
        assert_eq!(good["decklog.action"], "allow", "{mode}: {good}");
        let other = record(&all, &is(json!("evil.test")));
        let (action, rule) =
            if cut { ("deny", "claimed name") } else { ("allow", good["decklog.rule"].as_str().unwrap()) };
        assert_eq!(
            (&other["decklog.action"], &other["decklog.rule"]),
            (&json!(action), &json!(rule)),
            "{mode}: {other}"
        );
        assert_eq!(unreadable(&env.session().join("logs/network.jsonl")), "");
    }
}

/// What of a log has not what conn.log and dns.log must have, in the types that Zeek's JSON has; and openings, which Zeek
/// does not write.
fn unreadable(log: &Path) -> String {
    const FILTER: &str = r#"select((
        ([.ts, .duration, .orig_bytes, .resp_bytes, ."id.orig_p", ."id.resp_p"] | all(type == "number" and . >= 0))
        and ([."id.orig_h", ."id.resp_h"] | all(type == "string"))
        and (.uid | test("^C[0-9A-Za-z]{17}$"))
        and (.proto | IN("tcp", "udp", "icmp"))
        and (.service == null or (.service | IN("dns", "http", "ssh", "ssl")))
        and (.conn_state | IN("S0", "S1", "S2", "S3", "SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH", "OPEN"))
        and (.query == null or ([.query, .qtype_name, .rcode_name] + (.answers // []) | all(type == "string")))
        and all(.[]; . != null and . != "-")
    ) | not)"#;
    let jq = Command::new("jq").args(["-c", FILTER]).arg(log).output().unwrap();
    assert!(jq.status.success(), "{jq:?}");
    String::from_utf8(jq.stdout).unwrap()
}

#[test]
fn the_record_is_as_zeek_would_write_it() {
    let env = world(SHELL, "[network]\nmode = \"filter\"");
    let mut client = Client::new(&env, &[]);
    shell(&mut client, "curl -sS --max-time 20 http://evil.test/; curl -sS --max-time 20 http://198.51.100.9/");
    packet(&mut client, "198.51.100.9");
    assert_eq!(client.leave().0, 0);
    let log = env.session().join("logs/network.jsonl");
    let all = connections(&env);
    // A question, a connection and a packet.
    for value in [("query", json!("evil.test")), ("id.resp_p", json!(80)), ("id.resp_p", json!(9))] {
        record(&all, &[value]);
    }
    assert_eq!(unreadable(&log), "");
    // And were it not, that would be seen.
    let altered = env.top().join("altered.jsonl");
    for (key, value) in [("ts", json!("1")), ("uid", json!("x")), ("proto", json!("-")), ("service", json!("-"))] {
        let mut line = all[0].clone();
        line[key] = value;
        std::fs::write(&altered, format!("{line}\n")).unwrap();
        assert_ne!(unreadable(&altered), "", "{line}");
    }
}
