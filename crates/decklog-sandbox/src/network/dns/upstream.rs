//! Asking a name server on the network: one question, over UDP, and over TCP when the answer is too long.
//!
//! Must not know: the policy, the container, who asks.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::network::record::random_bytes;

/// How long one server has to answer over UDP.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same over TCP, connecting included.
const TCP_PATIENCE: Duration = Duration::from_secs(4);

/// The longest answer that is asked for over UDP: what passes everywhere without being cut to pieces.
const UDP_ANSWER: u16 = 1232;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no name server is known, so no name is resolved; name one in the configuration or in /etc/resolv.conf")]
    NoServer,
    #[error("the name server {server} does not answer: {source}")]
    NoAnswer { server: SocketAddr, source: io::Error },
}

impl AskError {
    /// Whether no server was asked, as there is too little of something here.
    pub(super) fn is_local(&self) -> bool {
        use rustix::io::Errno;
        let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::ADDRINUSE];
        match self {
            Self::NoServer => false,
            Self::NoAnswer { source, .. } => Errno::from_io_error(source).is_some_and(|error| errors.contains(&error)),
        }
    }
}

/// Asks one server after the other, and a lonely one twice.
pub(super) async fn ask(servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Message, AskError> {
    let again = if servers.len() == 1 { servers } else { &[] };
    let mut last = Err(AskError::NoServer);
    for server in servers.iter().chain(again) {
        match ask_one(*server, name, kind).await {
            // It has trouble, or does not want to: another one may know.
            Ok(message) if matches!(message.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused) => {
                last = Ok(message);
                if servers.len() == 1 {
                    break;
                }
            }
            Ok(message) => return Ok(message),
            Err(source) if last.is_err() => last = Err(AskError::NoAnswer { server: *server, source }),
            Err(_) => {}
        }
    }
    last
}

async fn ask_one(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut id = [0; 2];
    random_bytes(&mut id);
    let mut query = Query::query(name.clone(), kind);
    query.set_query_class(DNSClass::IN);
    let mut message = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query);
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_ANSWER);
    message.set_edns(edns);
    let question = message.to_vec().map_err(io::Error::other)?;
    let answer = timeout(PATIENCE, over_udp(server, &message, &question)).await??;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    timeout(TCP_PATIENCE, over_tcp(server, &message, &question)).await?
}

async fn over_udp(server: SocketAddr, asked: &Message, question: &[u8]) -> io::Result<Message> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // From now on only this server is listened to.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; usize::from(UDP_ANSWER) * 4];
    loop {
        let count = socket.recv(&mut buffer).await?;
        // What does not answer this question was sent by somebody who guesses; the right answer may still come.
        if let Some(answer) = read(&buffer[..count], asked) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, asked: &Message, question: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let mut bytes = (question.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(question);
    stream.write_all(&bytes).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    read(&answer, asked).ok_or_else(|| io::Error::other("it answers another question"))
}

/// The answer in these bytes, if it is one to what was asked.
fn read(bytes: &[u8], asked: &Message) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let [question] = &answer.queries[..] else { return None };
    let same = |query: &Query| {
        query.name == question.name
            && query.query_type == question.query_type
            && query.query_class == question.query_class
    };
    let fits = answer.metadata.id == asked.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && asked.queries.first().is_some_and(same);
    fits.then_some(answer)
}

/// The servers in the text of a `resolv.conf`.
pub(in crate::network) fn servers(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()
    });
    addresses.take(3).map(|address| SocketAddr::new(address, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_resolv_conf() {
        let text = "# x\nsearch example.com\nnameserver 192.0.2.1\n nameserver  2001:db8::1 # y\nnameserver fe80::1%eth0\n\
                    nameserver\nnameserver nonsense\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert!(servers("").is_empty());
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query = |name: &str, kind| Query::query(Name::from_ascii(name).expect("a name"), kind);
        let message = |kind, id, queries: Vec<Query>| {
            let mut message = Message::new(id, kind, OpCode::Query);
            message.add_queries(queries);
            message
        };
        let asked = message(MessageType::Query, 7, vec![query("a.test.", RecordType::A)]);
        let fits = |answer: Message| read(&answer.to_vec().expect("bytes"), &asked).is_some();
        let response = |id, queries| message(MessageType::Response, id, queries);
        assert!(fits(response(7, vec![query("a.test.", RecordType::A)])));
        assert!(fits(response(7, vec![query("A.Test.", RecordType::A)])));
        assert!(!fits(response(8, vec![query("a.test.", RecordType::A)])), "another id");
        assert!(!fits(response(7, vec![query("b.test.", RecordType::A)])), "another name");
        assert!(!fits(response(7, vec![query("a.test.", RecordType::AAAA)])), "another type");
        assert!(!fits(response(7, vec![])), "no question");
        assert!(!fits(message(MessageType::Query, 7, vec![query("a.test.", RecordType::A)])), "no answer");
        assert!(read(b"nonsense", &asked).is_none());
    }
}
