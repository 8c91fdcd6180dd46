//! The internet's servers: one for names, whose answers a test scripts, and some that talk.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::world::{SERVER, Space};

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<(RData, u32)>>,
    asked: Vec<String>,
    raw: Vec<Vec<u8>>,
}

/// A name server. Names that begin with `cut.` are answered whole over TCP only, those with `forged.` by somebody who
/// guesses first, those with `silent.` not at all.
#[derive(Clone, Default)]
pub(crate) struct NameServer(Arc<Mutex<Zone>>);

impl NameServer {
    pub(crate) fn start(internet: &Space) -> Self {
        let server = Self::default();
        let udp = internet.enter(|| UdpSocket::bind(SERVER)).expect("a socket");
        let tcp = internet.enter(|| TcpListener::bind(SERVER)).expect("a listener");
        let (over_udp, over_tcp) = (server.clone(), server.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((count, from)) = udp.recv_from(&mut buffer) {
                for answer in over_udp.answers(&buffer[..count], true) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a length");
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question).expect("a question");
                for answer in over_tcp.answers(&question, false) {
                    let bytes = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                    let _ = stream.write_all(&bytes);
                }
            }
        });
        server
    }

    /// What a name has from now on: addresses, `cname:NAME` or `text:TEXT`.
    pub(crate) fn set(&self, name: &str, ttl: u32, data: &[&str]) {
        let data = data.iter().map(|data| {
            let data = match (data.parse::<IpAddr>(), data.split_once(':')) {
                (Ok(IpAddr::V4(address)), _) => RData::A(A(address)),
                (Ok(IpAddr::V6(address)), _) => RData::AAAA(AAAA(address)),
                (_, Some(("cname", name))) => RData::CNAME(CNAME(Name::from_ascii(name).expect("a name"))),
                (_, Some(("text", text))) => RData::TXT(TXT::new(vec![text.to_owned()])),
                _ => panic!("{data}"),
            };
            (data, ttl)
        });
        self.0.lock().expect("the zone").records.insert(name.to_owned(), data.collect());
    }

    /// What it was asked, as `NAME TYPE`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().expect("the zone").asked.clone()
    }

    /// The questions' bytes.
    pub(crate) fn raw(&self) -> Vec<Vec<u8>> {
        self.0.lock().expect("the zone").raw.clone()
    }

    fn answers(&self, question: &[u8], udp: bool) -> Vec<Vec<u8>> {
        let asked = Message::from_vec(question).expect("a question");
        let query = asked.queries[0].clone();
        let name = query.name.to_ascii().trim_end_matches('.').to_owned();
        let mut zone = self.0.lock().expect("the zone");
        zone.asked.push(format!("{name} {}", query.query_type));
        zone.raw.push(question.to_vec());
        if name.starts_with("silent.") {
            return Vec::new();
        }
        let mut message = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        message.add_query(query.clone());
        let mut forged = Vec::new();
        if name.starts_with("forged.") {
            let mut other = message.clone();
            other.metadata.id ^= 1;
            other.add_answer(Record::from_rdata(query.name.clone(), 60, RData::A(A::new(198, 51, 100, 8))));
            forged.push(other.to_vec().expect("bytes"));
        }
        let mut current = name.clone();
        let mut known = zone.records.contains_key(&name);
        while let Some(records) = zone.records.get(&current) {
            known = true;
            let owner = Name::from_ascii(&current).expect("a name");
            let of_type =
                |data: &RData| data.record_type() == query.query_type || data.record_type() == RecordType::CNAME;
            let mut next = None;
            for (data, ttl) in records.iter().filter(|(data, _)| of_type(data)) {
                message.add_answer(Record::from_rdata(owner.clone(), *ttl, data.clone()));
                if let RData::CNAME(target) = data {
                    next = Some(target.0.to_ascii().trim_end_matches('.').to_owned());
                }
            }
            let Some(next) = next else { break };
            current = next;
        }
        if !known {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        if udp && name.starts_with("cut.") {
            message.answers.clear();
            message.metadata.truncation = true;
        }
        forged.push(message.to_vec().expect("bytes"));
        forged
    }
}

/// Answers each request with a few words, and with the Host that it named.
pub(crate) fn http(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n");
}

/// Sends everything back until the client closes.
pub(crate) fn echo(stream: TcpStream) {
    let mut reading = stream.try_clone().expect("the same");
    let mut writing = stream;
    let _ = std::io::copy(&mut reading, &mut writing);
}

/// Speaks first, as SSH does, and waits until the client has done.
pub(crate) fn banner(mut stream: TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-test\r\n");
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}
