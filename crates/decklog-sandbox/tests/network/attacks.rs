//! What a container might try, and what comes of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use rustix::net::{AddressFamily, SendFlags, SocketType};

use crate::names::ask;
use crate::server::{echo, http};
use crate::world::{World, brief, until};

/// What comes back for these bytes, until the end; the error if it is broken off.
fn say(world: &World, to: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut client = world.inside.connect(to)?;
    client.write_all(bytes)?;
    let mut back = Vec::new();
    client.read_to_end(&mut back).map(|_| back)
}

/// A ClientHello that names this server.
fn hello(name: &str) -> Vec<u8> {
    let sized = |bytes: usize, body: &[u8]| [&body.len().to_be_bytes()[8 - bytes..], body].concat();
    let names = sized(2, &[&[0][..], &sized(2, name.as_bytes())].concat());
    let extension = [&[0, 0][..], &sized(2, &names)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &sized(2, &extension)].concat();
    [&[0x16, 3, 1][..], &sized(2, &[&[1][..], &sized(3, &body)].concat())].concat()
}

#[test]
fn an_address_that_no_name_was_resolved_to() {
    let world = World::filter(&["web.test", "203.0.113.0/24"]);
    world.internet.serve("198.51.100.7:80", http);
    world.internet.serve("[2001:db8::7]:80", http);
    for to in ["198.51.100.7:80", "[2001:db8::7]:80"] {
        assert!(say(&world, to, b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").is_err(), "{to}");
        assert_eq!(brief(&world.connection(to)), "- REJ deny default - -");
    }
    // A name that is allowed does not open the address of another one.
    world.names.set("web.test", 60, &["198.51.100.8", "2001:db8::8"]);
    ask(&world, "web.test", RecordType::A);
    ask(&world, "web.test", RecordType::AAAA);
    assert!(say(&world, "198.51.100.7:80", b"x").is_err());
}

#[test]
fn a_forged_host_or_server_name() {
    let world = World::filter(&["web.test", "also.test:80"]);
    let received = Arc::new(AtomicUsize::new(0));
    let counted = received.clone();
    world.internet.serve("198.51.100.7:80", move |mut stream: std::net::TcpStream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            counted.fetch_add(count, Ordering::SeqCst);
            let _ = stream.write_all(&buffer[..count]);
        }
    });
    world.names.set("web.test", 600, &["198.51.100.7"]);
    ask(&world, "web.test", RecordType::A);
    let to = "198.51.100.7:80";
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\nHost: web.test\r\n\r\n", "x".repeat(20_000));
    let twice = b"GET / HTTP/1.1\r\nHost: web.test\r\nHost: evil.test\r\n\r\n";
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"[..], "http RSTR deny claimed name web.test evil.test"),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n", "http RSTR deny claimed name web.test evil.test"),
        (b"\r\nGET / HTTP/1.1\r\nhOST:evil.test\r\n\r\n", "http RSTR deny claimed name web.test evil.test"),
        (twice, "http RSTR deny claimed name web.test evil.test"),
        (b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n", "http RSTR deny claimed name web.test evil.test"),
        (b"GET / HTTP/1.1\r\nHost: web.test\r\n y: z\r\n\r\n", "http RSTR deny unparsed web.test -"),
        (b"GET / HTTP/1.0\r\n\r\n", "http RSTR deny unparsed web.test -"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http RSTR deny unparsed web.test -"),
        (b"GET http://also.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n", "http RSTR deny unparsed web.test -"),
        (
            b"GET / HTTP/1.1\r\nHost: [web.test]evil.test\r\n\r\n",
            "http RSTR deny claimed name web.test [web.test]evil.test",
        ),
        (long.as_bytes(), "http RSTR deny unparsed web.test -"),
        (&hello("evil.test"), "ssl RSTR deny claimed name web.test evil.test"),
        (b"\x16\x03\x01\x00\x00", "ssl RSTR deny unparsed web.test -"),
        (&[b"\x15\x03\x03\0\x02\x01\0", &hello("web.test")[..]].concat(), "ssl RSTR deny unparsed web.test -"),
        (&[b"\x16\x02\0", &hello("web.test")[3..]].concat(), "ssl RSTR deny unparsed web.test -"),
    ] {
        let before = world.records().len();
        assert!(say(&world, to, bytes).is_err(), "{expected}");
        until("it is recorded", || world.records().len() > before);
        assert_eq!(brief(&world.records()[before]), expected);
    }
    assert_eq!(received.load(Ordering::SeqCst), 0, "nothing of it went out");
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: web.test:80\r\n\r\n"[..], "http SF allow web.test web.test -"),
        (b"GET / HTTP/1.1\r\nHost: also.test\r\n\r\n", "http SF allow web.test web.test also.test"),
        (&hello("Web.Test"), "ssl SF allow web.test web.test -"),
        (b"\0\x01\x02\x03", "- SF allow web.test web.test -"),
    ] {
        let before = world.records().len();
        let mut client = world.inside.connect(to).expect("connected");
        // One byte after the other, so that nothing is judged by what comes together by chance.
        for byte in bytes {
            client.write_all(&[*byte]).expect("sent");
        }
        let mut back = vec![0; bytes.len()];
        client.read_exact(&mut back).expect("it comes back");
        assert_eq!(back, bytes);
        drop(client);
        until("it is recorded", || world.records().len() > before);
        assert_eq!(brief(&world.records()[before]), expected);
    }
}

#[test]
fn data_in_names() {
    let world = World::filter(&["web.test", "*.glob.test"]);
    let label = "x".repeat(51);
    let many = format!("{}glob.test", "abcdefghi.".repeat(10));
    for name in ["secret.evil.test", &format!("{label}.glob.test"), &many, "web.test.evil.test"] {
        for kind in [RecordType::A, RecordType::TXT, RecordType::NULL, RecordType::CNAME] {
            assert_eq!(ask(&world, name, kind).metadata.response_code, ResponseCode::Refused, "{name}");
        }
    }
    assert_eq!(ask(&world, "short.glob.test", RecordType::TXT).metadata.response_code, ResponseCode::Refused);
    assert!(world.names.asked().is_empty(), "{:?}", world.names.asked());
    let record = world.record(|record| record["query"] == "secret.evil.test");
    assert_eq!(brief(&record), "dns SF deny default secret.evil.test -");
    assert_eq!(record["rcode_name"], "REFUSED");
}

#[test]
fn what_is_neither_tcp_nor_a_question() {
    let mut world = World::audit();
    world.calls(&["call-1"]);
    for (from, to) in [("0.0.0.0:0", "198.51.100.7:443"), ("[::]:0", "[2001:db8::7]:443")] {
        let socket = world.inside.enter(|| UdpSocket::bind(from)).expect("a socket");
        let sent = (0..3).filter(|_| socket.send_to(b"hello", to).is_ok()).count();
        assert_eq!(sent, 0, "it is told at once, and not answered");
    }
    // Everything is local there, but nothing may answer.
    assert!(!world.inside.sh("busybox ping -c 1 -W 1 8.8.8.8").status.success());
    assert!(!world.inside.sh("busybox ping -6 -c 1 -W 1 2001:db8::7").status.success());
    assert!(world.inside.sh("busybox ping -c 1 -W 5 127.0.0.1").status.success(), "its own address is its own");
    // Packets made by hand: a protocol of no use, and a piece of TCP that belongs to no connection.
    let raw = |protocol: u32, bytes: &[u8]| {
        world.inside.enter(|| {
            let protocol = rustix::net::Protocol::from_raw(protocol.try_into().expect("a protocol"));
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).expect("a socket");
            let to = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), 0);
            let _ = rustix::net::sendto(&socket, bytes, SendFlags::empty(), &to);
        });
    };
    raw(253, b"hello");
    raw(6, &[0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    let udp = world.record(|record| record["proto"] == "udp" && record["id.resp_h"] == "198.51.100.7");
    assert_eq!(brief(&udp), "- S0 drop protocol - -");
    assert_eq!((&udp["id.resp_p"], &udp["orig_pkts"], &udp["orig_bytes"]), (&443.into(), &3.into(), &39.into()));
    assert_eq!(udp["decklog.calls"], serde_json::json!(["call-1"]));
    let totals = world.stop();
    let has = |proto: &str, to: &str| {
        world
            .records()
            .iter()
            .any(|record| record["proto"] == proto && record["id.resp_h"] == to && record["decklog.action"] == "drop")
    };
    for (proto, to) in [
        ("udp", "2001:db8::7"),
        ("icmp", "8.8.8.8"),
        ("icmp", "2001:db8::7"),
        ("unknown_transport", "198.51.100.7"),
        ("tcp", "198.51.100.7"),
    ] {
        assert!(has(proto, to), "{proto} {to}: {:#?}", world.records());
    }
    assert!(totals.packets_dropped >= 10 && totals.connections == 0, "{totals:?}");
    assert!(world.records().iter().all(|record| record["decklog.action"] == "drop"), "nothing else was");
}

#[test]
fn straight_to_the_listener() {
    let world = World::audit();
    let listening = world.inside.told("cat /proc/net/tcp /proc/net/tcp6");
    let ports: Vec<(bool, u16)> = listening
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = words.get(1)?.rsplit_once(':')?;
            (words.get(3) == Some(&"0A")).then_some((address.len() > 8, u16::from_str_radix(port, 16).ok()?))
        })
        .collect();
    assert_eq!(ports.len(), 2, "{listening}");
    for (six, port) in ports {
        let to = if six { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
        assert!(say(&world, &to, b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert_eq!(brief(&world.connection(&to)), "- REJ deny listener - -");
    }
}

#[test]
fn the_hosts_own_addresses() {
    let mut world = World::filter(&["*", "0.0.0.0/0", "::/0", "*:22"]);
    world.host.serve("0.0.0.0:8000", http);
    world.host.serve("[::]:8001", http);
    // Inside, 127.0.0.1 is the container's own, where nobody listens.
    assert!(world.inside.connect("127.0.0.1:8000").is_err());
    for (to, host) in [
        ("198.51.100.1:8000", "-"),
        ("[2001:db8::1]:8001", "-"),
        ("169.254.169.254:80", "-"),
        ("169.254.77.1:8000", "host.containers.internal"),
        ("[64:ff9b::7f00:1]:8001", "-"),
    ] {
        assert!(say(&world, to, b"GET / HTTP/1.1\r\n\r\n").is_err(), "{to}");
        assert_eq!(brief(&world.connection(to)), format!("- REJ deny address {host} -"), "{to}");
    }
    assert_eq!(world.stop().allowed, 0);
}

#[test]
fn a_name_that_turns_to_the_host() {
    let world = World::filter(&["*.rebind.test", "127.0.0.2:8000"]);
    world.internet.serve("198.51.100.7:8000", http);
    world.host.serve("127.0.0.1:8000", http);
    world.host.serve("127.0.0.2:8000", http);
    let curl = |name: &str| world.inside.sh(&format!("curl -sS --max-time 30 http://{name}:8000/"));
    world.names.set("a.rebind.test", 0, &["198.51.100.7"]);
    assert!(curl("a.rebind.test").status.success());
    for address in [
        "127.0.0.1",
        "198.51.100.1",
        "169.254.169.254",
        "169.254.77.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "2001:db8::1",
    ] {
        world.names.set("a.rebind.test", 0, &[address]);
        assert!(!curl("a.rebind.test").status.success(), "{address}");
        for kind in [RecordType::A, RecordType::AAAA] {
            assert!(ask(&world, "a.rebind.test", kind).answers.is_empty(), "{address} is not told");
        }
    }
    // What a rule means is told and reached, and what is mixed in is not.
    world.names.set("b.rebind.test", 0, &["127.0.0.1", "127.0.0.2"]);
    assert_eq!(ask(&world, "b.rebind.test", RecordType::A).answers.len(), 1);
    let back = say(&world, "198.51.100.7:8000", b"GET / HTTP/1.1\r\nHost: a.rebind.test\r\n\r\n");
    assert!(back.is_ok(), "what was resolved before is good for its time");
}

#[test]
fn a_client_that_says_little() {
    let mut world = World::filter(&["web.test"]);
    let received = Arc::new(AtomicUsize::new(0));
    let counted = received.clone();
    world.internet.serve("198.51.100.7:80", move |stream: std::net::TcpStream| {
        counted.fetch_add(1, Ordering::SeqCst);
        echo(stream);
    });
    world.names.set("web.test", 600, &["198.51.100.7"]);
    ask(&world, "web.test", RecordType::A);
    // Halves of requests, and nothing at all: they wait, and others do not wait for them.
    let mut slow: Vec<_> = (0..200)
        .map(|number| {
            let mut client = world.inside.connect("198.51.100.7:80").expect("connected");
            client.write_all(&b"GET / HTTP/1.1\r\nHos"[..number % 20]).expect("sent");
            client
        })
        .collect();
    until("the server has them all", || received.load(Ordering::SeqCst) == 200);
    let mut quick = world.inside.connect("198.51.100.7:80").expect("connected");
    quick.write_all(b"\x01hello").expect("sent");
    quick.read_exact(&mut [0; 6]).expect("back");
    let client = &mut slow[19];
    client.write_all(b"t: evil.test\r\n\r\n").expect("sent");
    assert!(client.read(&mut [0]).is_err(), "judged when it is whole");
    let totals = world.stop();
    assert_eq!((totals.connections, totals.denied), (201, 1));
    assert_eq!(world.records().iter().filter(|record| record["conn_state"] == "S1").count(), 200);
}

#[test]
fn more_connections_than_there_may_be() {
    let world = World::audit();
    world.internet.serve("198.51.100.7:80", http);
    // Where questions are awaited, a connection needs no server.
    let open: Vec<_> = world.inside.enter(|| {
        let connect = |_| std::net::TcpStream::connect("8.8.8.8:53").expect("connected");
        (0..4096).map(connect).collect()
    });
    assert!(say(&world, "198.51.100.7:80", b"GET / HTTP/1.1\r\n\r\n").is_err());
    assert_eq!(brief(&world.connection("198.51.100.7:80")), "- REJ deny limit - -");
    drop(open);
    until("there is room again", || say(&world, "198.51.100.7:80", b"GET / HTTP/1.1\r\n\r\n").is_ok());
}
