//! That nothing passes without a record, that the record is there before, and that it has an end.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::names::ask;
use crate::server::{echo, http};
use crate::world::{World, brief, until};

#[test]
fn what_begins_is_on_record_before_anything_passes() {
    let mut world = World::filter(&["web.test"]);
    let opened = world.told.clone();
    // The server looks at the record when the first connection is made.
    let (report, reported) = std::sync::mpsc::channel();
    world.internet.serve("198.51.100.7:7000", move |stream: TcpStream| {
        report.send(opened.opened().len()).expect("reported");
        echo(stream);
    });
    world.names.set("web.test", 60, &["198.51.100.7"]);
    world.calls(&["1/call-1"]);
    ask(&world, "web.test", RecordType::A);
    let mut client = world.inside.connect("198.51.100.7:7000").expect("connected");
    client.write_all(b"\0hello").expect("sent");
    client.read_exact(&mut [0; 6]).expect("back");
    assert_eq!(reported.recv().expect("a report"), 2, "the question and the connection");
    let opened = world.opened();
    let [question, connection] = &opened[..] else { panic!("{opened:#?}") };
    assert_eq!(brief(question), "dns OPEN allow web.test web.test -");
    assert_eq!(question["query"], "web.test");
    assert_eq!(brief(connection), "- OPEN allow web.test web.test -");
    assert_eq!(connection["decklog.calls"], serde_json::json!(["1/call-1"]));
    assert!(world.records().iter().all(|record| record["service"] == "dns"), "it has not ended");
    let totals = world.stop();
    assert_eq!((totals.connections, totals.questions), (1, 1), "a flow counts once");
    let ended = world.connection("198.51.100.7:7000");
    assert_eq!((&ended["uid"], &ended["ts"]), (&connection["uid"], &connection["ts"]), "it is the same");
    assert_eq!((&ended["conn_state"], &ended["orig_bytes"]), (&"S1".into(), &6.into()));
    // What is refused never begins.
    assert_eq!(world.opened().len(), 2);
}

#[test]
fn what_cannot_be_recorded_does_not_pass() {
    let world = World::filter(&["web.test", "198.51.100.7"]);
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = reached.clone();
    world.internet.serve("198.51.100.7:80", move |stream: TcpStream| {
        counted.fetch_add(1, Ordering::SeqCst);
        http(stream);
    });
    world.names.set("web.test", 60, &["198.51.100.7"]);
    world.fill_disk(true);
    let curl = "curl -sS --max-time 30 http://198.51.100.7/";
    assert!(!world.inside.sh(curl).status.success());
    assert_eq!(ask(&world, "web.test", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert!(world.names.asked().is_empty() && reached.load(Ordering::SeqCst) == 0, "nothing of it went out");
    world.fill_disk(false);
    assert_eq!(world.inside.told(curl), "hello\n");
    assert_eq!(brief(&world.connection("198.51.100.7:80")), "http SF allow 198.51.100.7 - 198.51.100.7");
    assert_eq!(ask(&world, "web.test", RecordType::A).metadata.response_code, ResponseCode::NoError);
}

#[test]
fn many_refusals_are_summed_up() {
    const MANY: u64 = 20_000;
    let mut world = World::filter(&["web.test"]);
    let socket = world.inside.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.connect("8.8.8.8:53").expect("connected");
    for number in 0..MANY {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        message
            .add_query(Query::query(Name::from_ascii(format!("n{number}.evil.test.")).expect("a name"), RecordType::A));
        socket.send(&message.to_vec().expect("bytes")).expect("sent");
        socket.recv(&mut [0; 512]).expect("an answer");
    }
    let totals = world.stop();
    assert_eq!((totals.questions, totals.questions_denied), (MANY, MANY));
    let count = |record: &serde_json::Value| record["decklog.count"].as_u64().unwrap_or(1);
    assert_eq!(world.records().iter().map(count).sum::<u64>(), MANY, "all of them count");
    assert!(world.bytes_recorded() < 3 << 20, "{} bytes", world.bytes_recorded());
    let sum = world.record(|record| record["decklog.count"].is_u64());
    assert_eq!(brief(&sum), "dns SF deny default - -");
    assert!(sum["query"].is_null() && sum["id.resp_p"] == 53, "{sum}");
}

#[test]
fn what_fails_here_is_not_told_as_if_a_server_had_seen_it() {
    let world = World::filter(&["198.51.100.7"]);
    world.internet.serve("198.51.100.7:7000", echo);
    // One port of the host's own, which one connection takes.
    world.host.told("echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range");
    let mut first = world.inside.connect("198.51.100.7:7000").expect("connected");
    first.write_all(b"x").expect("sent");
    first.read_exact(&mut [0]).expect("back");
    let second = world.inside.connect("198.51.100.7:7000");
    assert!(second.and_then(|mut second| second.read(&mut [0])).is_err());
    assert_eq!(brief(&world.connection("198.51.100.7:7000")), "- REJ deny limit - -");
    assert!(world.troubles()[0].starts_with("a connection cannot be made: "), "{:?}", world.troubles());
}

#[test]
fn addresses_of_clouds_and_sites_need_a_rule_that_names_them() {
    let mut world = World::filter(&["*.meta.test", "0.0.0.0/0", "::/0", "fd00:ec2::253"]);
    for (name, kind, address) in [
        ("a.meta.test", RecordType::AAAA, "fd00:ec2::254"),
        ("b.meta.test", RecordType::A, "100.100.100.200"),
        ("c.meta.test", RecordType::A, "168.63.129.16"),
        ("d.meta.test", RecordType::AAAA, "64:ff9b::100.64.0.1"),
    ] {
        world.names.set(name, 60, &[address]);
        assert!(ask(&world, name, kind).answers.is_empty(), "{address} is not told");
        let to = std::net::SocketAddr::new(address.parse().expect("an address"), 80).to_string();
        assert!(world.inside.connect(&to).and_then(|mut client| client.read(&mut [0])).is_err(), "{to}");
        assert_eq!(brief(&world.connection(&to)), "- REJ deny address - -", "{to}");
    }
    let _ = world.inside.connect("[fd00:ec2::253]:80").and_then(|mut client| client.read(&mut [0]));
    assert_eq!(world.connection("[fd00:ec2::253]:80")["decklog.rule"], "fd00:ec2::253");
    assert_eq!(world.stop().allowed, 1);
}

#[test]
fn what_strangers_say_is_printable_in_the_record() {
    let world = World::filter(&["web.test"]);
    world.internet.serve("198.51.100.7:80", http);
    world.names.set("web.test", 60, &["198.51.100.7"]);
    ask(&world, "web.test", RecordType::A);
    let host = "evil\u{202e}\u{9b}31m\u{7f}\u{2066}.test";
    let mut client = world.inside.connect("198.51.100.7:80").expect("connected");
    client.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("sent");
    assert!(client.read(&mut [0]).is_err());
    // That the line itself is printable is what every record is held to.
    let record = world.connection("198.51.100.7:80");
    assert_eq!((&record["decklog.rule"], &record["decklog.claimed"]), (&"claimed name".into(), &host.into()));
}

#[test]
fn a_question_that_is_never_whole_holds_nothing_up() {
    let mut world = World::audit();
    let mut half = world.inside.connect("8.8.8.8:53").expect("connected");
    half.write_all(b"\0\x20half").expect("sent");
    world.names.set("web.test", 60, &["198.51.100.7"]);
    assert_eq!(ask(&world, "web.test", RecordType::A).answers.len(), 1);
    until("the connection is on record", || world.opened().iter().any(|record| record["decklog.rule"] == "dns"));
    let _ = world.stop();
    assert_eq!(world.connection("8.8.8.8:53")["conn_state"], "S1");
}
