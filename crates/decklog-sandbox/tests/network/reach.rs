//! What gets through, and how it is recorded.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use decklog_sandbox::network::{Policy, Totals};

use crate::server::{banner, echo, http};
use crate::world::{World, brief, rules, until};

#[test]
fn a_program_reaches_what_is_allowed_by_name() {
    let mut world = World::filter(&["web.test:80"]);
    world.internet.serve("198.51.100.7:80", http);
    world.names.set("web.test", 60, &["198.51.100.7"]);
    world.calls(&["call-7", "call-8"]);
    assert_eq!(world.inside.told("curl -sS --max-time 30 http://web.test/"), "hello\n");
    let record = world.connection("198.51.100.7:80");
    assert_eq!(brief(&record), "http SF allow web.test:80 web.test -");
    assert_eq!(record["decklog.calls"], serde_json::json!(["call-7", "call-8"]));
    assert_eq!(record["decklog.session"], "20261122T010203-abcd");
    assert_eq!(record["decklog.container"], "box");
    assert_eq!(record["id.orig_h"], "10.200.0.2");
    assert!(record["orig_bytes"].as_u64() > Some(60) && record["resp_bytes"].as_u64() > Some(60), "{record}");
    let keys: Vec<&String> = record.as_object().expect("an object").keys().collect();
    let expected = [
        "conn_state",
        "decklog.action",
        "decklog.calls",
        "decklog.container",
        "decklog.host",
        "decklog.rule",
        "decklog.session",
        "duration",
        "id.orig_h",
        "id.orig_p",
        "id.resp_h",
        "id.resp_p",
        "orig_bytes",
        "proto",
        "resp_bytes",
        "service",
        "ts",
        "uid",
    ];
    assert_eq!(keys, expected);
    let question = world.record(|record| record["query"] == "web.test" && record["qtype_name"] == "A");
    assert_eq!(brief(&question), "dns SF allow web.test:80 web.test -");
    assert_eq!(
        (&question["rcode_name"], &question["answers"]),
        (&"NOERROR".into(), &serde_json::json!(["198.51.100.7"]))
    );
    let Totals { connections, allowed, denied, bytes_in, .. } = world.stop();
    assert_eq!((connections, allowed, denied), (1, 1, 0));
    assert_eq!(Some(bytes_in), record["resp_bytes"].as_u64());
    assert!(world.troubles().is_empty(), "{:?}", world.troubles());
}

#[test]
fn everything_is_let_through_and_recorded_in_audit() {
    let world = World::audit();
    world.internet.serve("198.51.100.7:80", http);
    world.internet.serve("[2001:db8::7]:80", http);
    world.names.set("web.test", 60, &["198.51.100.7"]);
    world.names.set("six.test", 60, &["2001:db8::7"]);
    assert_eq!(world.inside.told("curl -sS --max-time 30 http://198.51.100.7/"), "hello\n");
    assert_eq!(brief(&world.connection("198.51.100.7:80")), "http SF allow default - 198.51.100.7");
    assert_eq!(world.inside.told("curl -sS --max-time 30 http://six.test/"), "hello\n");
    let record = world.connection("[2001:db8::7]:80");
    assert_eq!(brief(&record), "http SF allow default six.test -");
    assert_eq!(record["id.orig_h"], "fd00:dec::2");
    // A real TLS client; that no TLS server answers does not matter.
    world.internet.serve("198.51.100.8:443", echo);
    world.names.set("tls.test", 60, &["198.51.100.8"]);
    assert!(!world.inside.sh("curl -sS --max-time 30 https://tls.test/").status.success());
    assert_eq!(world.connection("198.51.100.8:443")["decklog.host"], "tls.test");
    assert_eq!(world.connection("198.51.100.8:443")["service"], "ssl");
    assert!(world.connection("198.51.100.8:443")["decklog.claimed"].is_null());
}

#[test]
fn a_server_may_speak_first() {
    let world = World::filter(&["ssh.test"]);
    world.internet.serve("198.51.100.7:22", banner);
    world.names.set("ssh.test", 60, &["198.51.100.7"]);
    world.inside.told("busybox nslookup ssh.test");
    let mut client = world.inside.connect("198.51.100.7:22").expect("connected");
    let mut said = [0; 14];
    client.read_exact(&mut said).expect("the server speaks before the client does");
    assert_eq!(&said, b"SSH-2.0-test\r\n");
    client.write_all(b"SSH-2.0-me\r\n").expect("sent");
    drop(client);
    assert_eq!(brief(&world.connection("198.51.100.7:22")), "ssh SF allow ssh.test ssh.test -");
}

#[test]
fn one_side_may_close_before_the_other() {
    let world = World::audit();
    world.internet.serve("198.51.100.7:7000", |mut stream: TcpStream| {
        let mut said = Vec::new();
        // Only when the client has closed its side is all of it there.
        stream.read_to_end(&mut said).expect("read");
        said.reverse();
        stream.write_all(&said).expect("written");
    });
    let mut client = world.inside.connect("198.51.100.7:7000").expect("connected");
    client.write_all(b"hello").expect("sent");
    client.shutdown(Shutdown::Write).expect("shut");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("read");
    assert_eq!(said, "olleh");
    let record = world.connection("198.51.100.7:7000");
    assert_eq!(
        (&record["conn_state"], &record["orig_bytes"], &record["resp_bytes"]),
        (&"SF".into(), &5.into(), &5.into())
    );
}

#[test]
fn much_arrives_whole() {
    let world = World::filter(&["198.51.100.7"]);
    world.internet.serve("198.51.100.7:7000", echo);
    let client = world.inside.connect("198.51.100.7:7000").expect("connected");
    let mut writing = client.try_clone().expect("the same");
    let block: Vec<u8> = (0..1_000_003u32).map(|number| (number % 251) as u8).collect();
    let (sent, blocks) = (block.clone(), 20);
    let sender = std::thread::spawn(move || {
        for _ in 0..blocks {
            writing.write_all(&sent).expect("sent");
        }
        writing.shutdown(Shutdown::Write).expect("shut");
    });
    let mut reading = client;
    let mut back = vec![0; block.len()];
    for number in 0..blocks {
        reading.read_exact(&mut back).expect("read");
        assert!(back == block, "block {number} is what was sent");
    }
    assert_eq!(reading.read(&mut back).expect("the end"), 0);
    sender.join().expect("sent");
    let record = world.connection("198.51.100.7:7000");
    let bytes = block.len() as u64 * blocks;
    assert_eq!((record["orig_bytes"].as_u64(), record["resp_bytes"].as_u64()), (Some(bytes), Some(bytes)));
}

/// Whether a connection is reset: once it is made, or so soon that it seems not to be.
fn is_broken_off(world: &World, to: &str) -> bool {
    let read = world.inside.connect(to).and_then(|mut client| client.read(&mut [0]));
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn refusals_and_resets_are_passed_on() {
    let world = World::audit();
    // Nobody listens there.
    assert!(is_broken_off(&world, "198.51.100.7:9"));
    assert_eq!(brief(&world.connection("198.51.100.7:9")), "- REJ allow default - -");
    // The server breaks off.
    world.internet.serve("198.51.100.7:7001", |stream| {
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).expect("set");
    });
    assert!(is_broken_off(&world, "198.51.100.7:7001"));
    assert_eq!(world.connection("198.51.100.7:7001")["conn_state"], "RSTR");
    // The client does.
    let (report, reported) = mpsc::channel();
    world.internet.serve("198.51.100.7:7002", move |mut stream: TcpStream| {
        stream.write_all(b"x").expect("written");
        report.send(stream.read(&mut [0]).map_err(|error| error.kind())).expect("reported");
    });
    let mut client = world.inside.connect("198.51.100.7:7002").expect("connected");
    client.read_exact(&mut [0]).expect("the server is there");
    rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).expect("set");
    drop(client);
    assert_eq!(reported.recv().expect("a report"), Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(world.connection("198.51.100.7:7002")["conn_state"], "RSTO");
}

#[test]
fn nothing_passes_when_it_is_over() {
    let mut world = World::audit();
    world.internet.serve("198.51.100.7:7000", echo);
    let mut client = world.inside.connect("198.51.100.7:7000").expect("connected");
    client.write_all(b"x").expect("sent");
    client.read_exact(&mut [0]).expect("back");
    let totals = world.stop();
    assert_eq!((totals.connections, totals.bytes_out, totals.bytes_in), (1, 1, 1));
    assert_eq!(brief(&world.connection("198.51.100.7:7000")), "- S1 allow default - -", "recorded before stop returns");
    assert!(!matches!(client.read(&mut [0]), Ok(1..)), "the connection is closed");
    for to in ["198.51.100.7:7000", "1.1.1.1:80", "[2001:db8::7]:80", "169.254.77.1:80"] {
        let error = world.inside.connect(to).expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    }
    assert!(!world.inside.sh("busybox nslookup web.test").status.success());
    let ping = world.inside.sh("busybox ping -c 1 -W 1 8.8.8.8");
    assert!(!ping.status.success(), "{ping:?}");
}

#[test]
fn the_host_is_reached_where_a_rule_says_so() {
    let world = World::filter(&["host.containers.internal:8000"]);
    world.host.serve("127.0.0.1:8000", http);
    world.host.serve("127.0.0.1:8001", http);
    assert_eq!(world.inside.told("curl -sS --max-time 30 http://host.containers.internal:8000/"), "hello\n");
    let record = world.connection("169.254.77.1:8000");
    let expected = "http SF allow host.containers.internal:8000 host.containers.internal -";
    assert_eq!(brief(&record), expected);
    assert!(!world.inside.sh("curl -sS --max-time 30 http://host.containers.internal:8001/").status.success());
    let record = world.connection("169.254.77.1:8001");
    assert_eq!(brief(&record), "- REJ deny address host.containers.internal -");
    assert!(world.names.asked().is_empty(), "nobody else is asked for it");
}

#[test]
fn rules_that_deny_also_count_in_audit() {
    let policy = Policy { deny: rules(&["bad.test", "198.51.100.8"]), ..Policy::audit() };
    let world = World::new(policy);
    world.internet.serve("198.51.100.7:80", http);
    world.internet.serve("198.51.100.8:80", http);
    world.names.set("bad.test", 60, &["198.51.100.7"]);
    world.names.set("alias.test", 60, &["cname:bad.test"]);
    assert!(!world.inside.sh("curl -sS --max-time 30 http://bad.test/").status.success());
    assert!(!world.inside.sh("curl -sS --max-time 30 http://198.51.100.8/").status.success());
    assert_eq!(brief(&world.connection("198.51.100.8:80")), "- REJ deny 198.51.100.8 - -");
    // The same server by another way: its address, another name.
    let forged = world.inside.sh("curl -sS --max-time 30 -H 'Host: bad.test' http://198.51.100.7/");
    assert!(!forged.status.success(), "{forged:?}");
    assert_eq!(brief(&world.connection("198.51.100.7:80")), "http RSTR deny claimed name - bad.test");
    assert!(!world.inside.sh("curl -sS --max-time 30 http://alias.test/").status.success());
    let question = world.record(|record| record["query"] == "alias.test" && record["qtype_name"] == "A");
    assert_eq!((&question["rcode_name"], &question["decklog.rule"]), (&"REFUSED".into(), &"bad.test".into()));
}

#[test]
fn a_thousand_connections_at_once() {
    let mut world = World::filter(&["198.51.100.7:7000"]);
    world.internet.serve("198.51.100.7:7000", echo);
    let mut clients: Vec<TcpStream> =
        world.inside.enter(|| (0..1000).map(|_| TcpStream::connect("198.51.100.7:7000").expect("connected")).collect());
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("{number:04}").as_bytes()).expect("sent");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut back = [0; 4];
        client.read_exact(&mut back).expect("back");
        assert_eq!(back, *format!("{number:04}").as_bytes());
    }
    drop(clients);
    until("all are recorded", || world.records().len() == 1000);
    let totals = world.stop();
    assert_eq!((totals.connections, totals.allowed, totals.bytes_out, totals.bytes_in), (1000, 1000, 4000, 4000));
    assert!(world.records().iter().all(|record| record["conn_state"] == "SF"));
}
