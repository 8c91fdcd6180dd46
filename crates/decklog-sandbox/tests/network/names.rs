//! What is answered to questions about names, and what they leave behind.

use std::io::{Read, Write};
use std::net::UdpSocket;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::server::http;
use crate::world::{DEADLINE, World, brief, until};

/// Asks from inside, over UDP.
pub(crate) fn ask(world: &World, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), kind));
    let bytes = exchange(world, &message.to_vec().expect("bytes")).expect("an answer");
    let answer = Message::from_vec(&bytes).expect("a message");
    assert_eq!((answer.metadata.id, &answer.queries), (4711, &message.queries));
    answer
}

/// Sends bytes to some name server from inside. `None`: there is no answer before one to a question that is sent next.
fn exchange(world: &World, question: &[u8]) -> Option<Vec<u8>> {
    let socket = world.inside.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("set");
    socket.send_to(question, "8.8.8.8:53").expect("sent");
    let mut buffer = [0; 4096];
    let (count, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(from.to_string(), "8.8.8.8:53", "it seems to come from whom it was asked");
    Some(buffer[..count].to_vec())
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|answer| format!("{} {}", answer.ttl, answer.data)).collect()
}

#[test]
fn names_are_resolved() {
    let world = World::filter(&["web.test", "*.many.test", "cut.test", "forged.test", "far.test", "silent.test"]);
    world.names.set("web.test", 60, &["198.51.100.7", "2001:db8::7", "text:hello"]);
    world.names.set("a.many.test", 1_000_000, &["cname:b.other.test"]);
    world.names.set("b.other.test", 30, &["198.51.100.8"]);
    world.names.set("cut.test", 60, &["198.51.100.8"]);
    world.names.set("far.test", 60, &["2001:db9::9"]);
    world.names.set("forged.test", 60, &["198.51.100.7"]);
    use RecordType::{A, AAAA, HTTPS, MX, NULL, TXT};
    for (name, kind, code, expected) in [
        ("web.test", A, ResponseCode::NoError, &["60 198.51.100.7"][..]),
        ("WEB.test", A, ResponseCode::NoError, &["60 198.51.100.7"]),
        ("web.test", AAAA, ResponseCode::NoError, &["60 2001:db8::7"]),
        ("web.test", TXT, ResponseCode::NoError, &["60 hello"]),
        ("web.test", HTTPS, ResponseCode::NoError, &[]),
        ("web.test", NULL, ResponseCode::Refused, &[]),
        ("a.many.test", A, ResponseCode::NoError, &["3600 b.other.test.", "30 198.51.100.8"]),
        ("a.many.test", MX, ResponseCode::Refused, &[]),
        ("none.many.test", A, ResponseCode::NXDomain, &[]),
        ("cut.test", A, ResponseCode::NoError, &["60 198.51.100.8"]),
        ("forged.test", A, ResponseCode::NoError, &["60 198.51.100.7"]),
        // The host knows no way there: a client would only lose time.
        ("far.test", AAAA, ResponseCode::NoError, &[]),
        ("other.test", A, ResponseCode::Refused, &[]),
        ("8.8.8.8.in-addr.arpa", RecordType::PTR, ResponseCode::NoError, &[]),
        ("host.containers.internal", A, ResponseCode::NoError, &["60 169.254.77.1"]),
        ("host.containers.internal", AAAA, ResponseCode::NoError, &[]),
        ("silent.test", A, ResponseCode::ServFail, &[]),
    ] {
        let answer = ask(&world, name, kind);
        assert_eq!(
            (answer.metadata.response_code, data(&answer)),
            (code, expected.iter().map(ToString::to_string).collect()),
            "{name} {kind}"
        );
    }
    let asked = world.names.asked();
    let expected = [
        "web.test A",
        "web.test A",
        "web.test AAAA",
        "web.test TXT",
        "a.many.test A",
        "none.many.test A",
        "cut.test A",
        "cut.test A",
        "forged.test A",
        "far.test AAAA",
        "silent.test A",
        "silent.test A",
    ];
    assert_eq!(asked, expected, "nothing else went out");
    assert_eq!(world.troubles().len(), 1, "{:?}", world.troubles());
    let six = world.inside.enter(|| UdpSocket::bind("[::]:0")).expect("a socket");
    six.set_read_timeout(Some(DEADLINE)).expect("set");
    six.send_to(b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01", "[2001:db8::53]:53").expect("sent");
    let mut buffer = [0; 512];
    let (count, from) = six.recv_from(&mut buffer).expect("an answer over IPv6");
    assert_eq!((from.to_string().as_str(), buffer[1]), ("[2001:db8::53]:53", 7));
    assert_eq!(data(&Message::from_vec(&buffer[..count]).expect("a message")), ["60 198.51.100.7"]);
    let host = world.inside.told("busybox nslookup web.test");
    assert!(host.contains("198.51.100.7"), "{host}");
}

#[test]
fn nothing_of_a_question_goes_on_but_name_and_type() {
    let world = World::audit();
    world.names.set("web.test", 60, &["198.51.100.7"]);
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("wEb.TeSt.").expect("a name"), RecordType::A));
    let mut bytes = message.to_vec().expect("bytes");
    // Bits of the header that mean nothing, and a record of our own making behind the question.
    bytes[3] |= 0x70;
    bytes[11] = 1;
    bytes.extend(b"\x06secret\x04name\0\0\x10\0\x01\0\0\0\0\0\x07\x06leaked");
    let answer = exchange(&world, &bytes).expect("an answer");
    assert_eq!(Message::from_vec(&answer).expect("a message").answers.len(), 1);
    let raw = world.names.raw();
    let question = String::from_utf8_lossy(&raw[0]).into_owned();
    assert!(question.contains("web") && !question.contains("secret") && !question.contains("leaked"), "{question:?}");
    assert_eq!(raw[0][3] & 0x70, 0);
    assert_ne!(raw[0][..2], bytes[..2], "the id is our own");
}

#[test]
fn what_is_no_question_is_refused_or_passed_over() {
    let world = World::audit();
    let header = |flags: u8, questions: u8| [7, 7, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let question = b"\x03web\x04test\0\0\x01\0\x01";
    let other_class = b"\x03web\x04test\0\0\x01\0\x03";
    let dotted = b"\x08web.test\0\0\x01\0\x01";
    for (bytes, code) in [
        (header(1, 0).to_vec(), 1),
        (header(1, 1).to_vec(), 1),
        ([&header(1, 2)[..], question, question].concat(), 1),
        ([&header(0x11, 1)[..], question].concat(), 4),
        ([&header(1, 1)[..], other_class].concat(), 5),
        ([&header(1, 1)[..], dotted].concat(), 5),
        ([&header(1, 1)[..], b"\xc0\x0c\0\x01\0\x01"].concat(), 1),
    ] {
        let answer = exchange(&world, &bytes).expect("an answer");
        assert_eq!((answer[0], answer[1], answer[3] & 15), (7, 7, code), "{bytes:?}");
    }
    // Neither an answer nor half a header is answered, but recorded.
    let socket = world.inside.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    for bytes in [&[&header(0x81, 1)[..], question].concat()[..], b"", b"x", &[7; 11]] {
        socket.send_to(bytes, "8.8.8.8:53").expect("sent");
    }
    until("all are recorded", || world.records().iter().filter(|record| record["conn_state"] == "S0").count() == 4);
    assert!(world.names.asked().is_empty());
}

#[test]
fn questions_over_tcp() {
    let world = World::filter(&["web.test"]);
    world.names.set("web.test", 60, &["198.51.100.7"]);
    let mut client = world.inside.connect("8.8.8.8:53").expect("connected");
    for (name, code) in [("web.test", 0), ("other.test", 5)] {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        let bytes = message.to_vec().expect("bytes");
        client.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()).expect("sent");
        let mut length = [0; 2];
        client.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[3] & 15, code, "{name}");
    }
    drop(client);
    let record = world.connection("8.8.8.8:53");
    assert_eq!(brief(&record), "dns SF allow dns - -");
    let questions = world.records().into_iter().filter(|other| other["uid"] == record["uid"]).count();
    assert_eq!(questions, 3, "two questions and their connection");
}

#[test]
fn a_long_answer_is_cut_over_udp() {
    let world = World::audit();
    let many: Vec<String> = (1..=200).map(|number| format!("198.51.100.{number}")).collect();
    world.names.set("cut.many.test", 60, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = ask(&world, "cut.many.test", RecordType::A);
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let record = world.record(|record| record["query"] == "cut.many.test");
    assert_eq!(record["answers"].as_array().expect("a list").len(), 64, "bounded");
}

#[test]
fn a_name_is_good_for_its_time_only() {
    let world = World::filter(&["short.test"]);
    world.internet.serve("198.51.100.7:80", http);
    world.names.set("short.test", 1, &["198.51.100.7"]);
    assert_eq!(world.inside.told("curl -sS --max-time 30 http://short.test/"), "hello\n");
    until("the name is over", || {
        let request = b"GET / HTTP/1.0\r\nHost: short.test\r\n\r\n";
        let client = world.inside.connect("198.51.100.7:80");
        client.and_then(|mut client| client.write_all(request).and_then(|()| client.read(&mut [0]))).is_err()
    });
    let denied = world.record(|record| record["decklog.action"] == "deny" && record["id.resp_p"] == 80);
    assert_eq!(brief(&denied), "- REJ deny default - -");
}

#[test]
fn without_a_name_server_nothing_is_resolved() {
    let mut policy = decklog_sandbox::network::Policy::audit();
    policy.resolvers = vec!["198.51.100.9:53".parse().expect("an address"), "198.51.100.7:53".parse().expect("one")];
    let world = World::new(policy);
    assert_eq!(ask(&world, "web.test", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert!(world.troubles()[0].contains("does not answer"), "{:?}", world.troubles());
}

#[test]
fn a_question_that_waits_is_recorded_when_it_is_over() {
    let mut world = World::audit();
    let socket = world.inside.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.send_to(b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x06silent\x04test\0\0\x01\0\x01", "8.8.8.8:53").expect("sent");
    until("it is asked", || !world.names.asked().is_empty());
    assert_eq!(world.stop().questions, 1);
    assert_eq!(brief(&world.records()[0]), "dns SF deny over silent.test -");
}
