//! What becomes of each connection, question and dropped packet of a container.
//!
//! Must not know: how the sockets came out of the container's namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};

use super::NAMESERVER;
use super::dns::{self, Asked};
use super::nflog::Flows;
use super::policy::{Action, HOST_ADDRESS};
use super::record::{Record, seconds};
use super::relay::{self, End, Judge, Seen};
use super::shared::{Kind, Shared};

/// Connections that are open at the same time; more are refused.
const CONNECTIONS: usize = 4096;

/// Questions that are answered at the same time; more wait in the socket.
const QUESTIONS: usize = 256;

/// How long a client may take for the rest of a question, or of what else is held back until it is whole.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// After how long of silence a server is asked whether it is still there. One that is answers, and stays connected.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// How long packets are collected before they are told of.
const BURST: Duration = Duration::from_secs(1);

/// How long refusals that are summed up are collected at most.
const LONGEST_BURST: Duration = Duration::from_secs(60);

/// The sockets of a container, as the runtime has them.
pub(super) struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    /// A netlink socket, which is received from like any other that has messages.
    dropped: UdpSocket,
}

/// What everything that runs is given. When all of these are gone, nothing runs any more.
#[derive(Clone)]
struct Running {
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Running {
    /// Waits until it is over.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // When nobody can say so any more, it is over too.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

impl Listeners {
    /// Takes the sockets into the runtime that this is called in.
    pub(super) fn new(sockets: super::handover::Sockets) -> io::Result<Self> {
        let tcp = |fd: OwnedFd| TcpListener::from_std(fd.into());
        let udp = |fd: OwnedFd| UdpSocket::from_std(fd.into());
        Ok(Self {
            tcp: sockets.tcp.into_iter().map(tcp).collect::<io::Result<_>>()?,
            udp: sockets.udp.into_iter().map(udp).collect::<io::Result<_>>()?,
            dropped: udp(sockets.dropped)?,
        })
    }
}

/// Serves a container until `stop` says so, and everything is recorded.
pub(super) async fn serve(shared: Arc<Shared>, listeners: Listeners, stop: watch::Receiver<bool>) {
    let (alive, mut all_gone) = mpsc::channel(1);
    let running = Running { shared, stop, _alive: alive };
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    for listener in listeners.tcp {
        tokio::spawn(accept(running.clone(), listener, open.clone()));
    }
    for socket in listeners.udp {
        tokio::spawn(questions(running.clone(), socket));
    }
    tokio::spawn(refusals(running.clone()));
    let shared = running.shared.clone();
    tokio::spawn(dropped(running, listeners.dropped));
    let _ = all_gone.recv().await;
    shared.record_sums();
}

/// Records the refusals that are summed up. The longer they go on, the more of them are one line.
async fn refusals(running: Running) {
    let mut burst = BURST;
    loop {
        tokio::select! {
            () = running.stopped() => return,
            () = async {
                running.shared.wait_for_sums().await;
                tokio::time::sleep(burst).await;
            } => running.shared.record_sums(),
        }
        burst = LONGEST_BURST.min(burst * 2);
    }
}

async fn accept(running: Running, listener: TcpListener, open: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            () = running.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                running.shared.trouble(&format!("a connection cannot be accepted: {error}"));
                // There are no descriptors left, most likely: some are freed when connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = Connection::new(running.clone(), stream, from);
        match open.clone().try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    connection.serve().await;
                    drop(permit);
                });
            }
            Err(_) => connection.refuse("limit"),
        }
    }
}

/// A connection that a client made.
struct Connection {
    running: Running,
    client: TcpStream,
    /// Where the client wanted to go; `None` when it came straight to the listener.
    to: Option<SocketAddr>,
    began: Instant,
    record: Record,
}

impl Connection {
    fn new(running: Running, client: TcpStream, from: SocketAddr) -> Self {
        let to = match from {
            SocketAddr::V4(_) => sockopt::ip_original_dst(&client).map(SocketAddr::V4),
            SocketAddr::V6(_) => sockopt::ipv6_original_dst(&client).map(SocketAddr::V6),
        };
        let local = client.local_addr().ok();
        let to = to.ok().filter(|to| Some(*to) != local);
        let shown = to.or(local).unwrap_or(from);
        let mut record = Record::new(SystemTime::now(), "tcp", from, shown);
        record.calls = running.shared.calls();
        Self { running, client, to, began: Instant::now(), record }
    }

    /// Breaks the connection off.
    fn refuse(mut self, rule: &str) {
        self.record.action = "deny";
        self.record.conn_state = "REJ";
        self.record.rule = rule.to_owned();
        self.break_off();
    }

    /// Breaks the connection off, so that the client notices, and writes the record.
    fn break_off(self) {
        let _ = self.client.set_zero_linger();
        self.finish();
    }

    fn finish(mut self) {
        self.record.duration = seconds(self.began.elapsed());
        self.running.shared.record(Kind::Connection, self.record);
    }

    async fn serve(mut self) {
        let Some(to) = self.to else { return self.refuse("listener") };
        if to.port() == 53 {
            return self.serve_questions(to).await;
        }
        let (decision, names) = self.running.shared.decide(to);
        self.record.rule.clone_from(&decision.rule);
        self.record.host.clone_from(&decision.host);
        if decision.action == Action::Deny {
            let rule = decision.rule;
            return self.refuse(&rule);
        }
        self.record.action = "allow";
        let goal = match to.ip() {
            IpAddr::V4(HOST_ADDRESS) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), to.port()),
            _ => SocketAddr::new(to.ip().to_canonical(), to.port()),
        };
        if let Err(rule) = self.running.shared.open(&self.record) {
            return self.refuse(rule);
        }
        let connected = tokio::select! {
            () = self.running.stopped() => Err(Failure::Server("S0")),
            connected = connect(goal) => connected,
        };
        let mut server = match connected {
            Ok(server) => server,
            Err(Failure::Server(state)) => {
                self.record.conn_state = state;
                return self.break_off();
            }
            Err(Failure::Here(error)) => {
                self.running.shared.trouble(&format!("a connection cannot be made: {error}"));
                return self.refuse("limit");
            }
        };
        let _ = self.client.set_nodelay(true);
        let seen = Seen::default();
        let running = self.running.clone();
        let policy = &running.shared.policy;
        let stands = |claim: &str| policy.claim_stands(&decision, claim, to);
        let judge = Judge { gate: policy.gate(&decision), stands, patience: PATIENCE };
        let end = tokio::select! {
            () = running.stopped() => None,
            end = relay::relay(&mut self.client, &mut server, judge, &seen) => Some(end),
        };
        if end != Some(End::Closed) {
            // What is broken off on one side is on the other.
            let _ = (server.set_zero_linger(), self.client.set_zero_linger());
        }
        drop(server);
        let (service, claims) = seen.said();
        self.record.service = service.name();
        self.record.orig_bytes = seen.from_client.load(Ordering::Relaxed);
        self.record.resp_bytes = seen.from_server.load(Ordering::Relaxed);
        if let Some(claim) = claims.first().filter(|claim| names.contains(claim)) {
            // Of several names that an address has, it is the one that the client says.
            let decision = running.shared.policy.decide(to, std::slice::from_ref(claim), |_| false);
            if decision.action == Action::Allow {
                (self.record.rule, self.record.host) = (decision.rule, decision.host);
            }
        }
        self.record.claimed = claims.into_iter().find(|claim| self.record.host.as_ref() != Some(claim));
        self.record.conn_state = match end {
            Some(End::Closed) => "SF",
            Some(End::ClientReset) => "RSTO",
            Some(End::ServerReset | End::Cut(_)) => "RSTR",
            None => "S1",
        };
        if let Some(End::Cut(claim)) = end {
            self.record.action = "deny";
            self.record.rule = if claim.is_some() { "claimed name" } else { "unparsed" }.to_owned();
            self.record.claimed = claim;
        }
        self.finish();
    }

    /// Answers the questions that come over this connection, one after the other.
    async fn serve_questions(mut self, to: SocketAddr) {
        let asked = Asked { from: self.client_address(), to, proto: "tcp", uid: Some(self.record.uid.clone()) };
        (self.record.service, self.record.action) = (Some("dns"), "allow");
        self.record.rule = "dns".to_owned();
        if let Err(rule) = self.running.shared.open(&self.record) {
            return self.refuse(rule);
        }
        let running = self.running.clone();
        let (mut sent, mut received) = (0, 0);
        let state = tokio::select! {
            () = running.stopped() => "S1",
            state = async {
                loop {
                    match question(&mut self.client, &running.shared, &asked).await {
                        Ok(Some((question, reply))) => {
                            sent += question;
                            received += reply;
                        }
                        Ok(None) => break "SF",
                        Err(_) => break "RSTO",
                    }
                }
            } => state,
        };
        (self.record.orig_bytes, self.record.resp_bytes, self.record.conn_state) = (sent, received, state);
        self.finish();
    }

    fn client_address(&self) -> SocketAddr {
        SocketAddr::new(self.record.orig_h, self.record.orig_p)
    }
}

/// Why there is no connection to a server.
enum Failure {
    /// It was tried; this is the connection's state.
    Server(&'static str),
    /// Nothing went out.
    Here(io::Error),
}

/// Connects to a server.
async fn connect(goal: SocketAddr) -> Result<TcpStream, Failure> {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    match tokio::time::timeout(CONNECT, TcpStream::connect(goal)).await {
        Ok(Ok(server)) => {
            let _ = server.set_nodelay(true);
            // Without this, a server that is gone without a word would be waited for for ever.
            let _ = sockopt::set_socket_keepalive(&server, true);
            let _ = sockopt::set_tcp_keepidle(&server, KEEPALIVE);
            Ok(server)
        }
        Ok(Err(error)) => Err(match error.kind() {
            ConnectionRefused => Failure::Server("REJ"),
            // It accepted, and broke off before that was noticed here.
            ConnectionReset => Failure::Server("RSTR"),
            HostUnreachable | NetworkUnreachable | TimedOut => Failure::Server("S0"),
            _ => Failure::Here(error),
        }),
        Err(_) => Err(Failure::Server("S0")),
    }
}

/// Answers one question over TCP. How many bytes came and went; `None` at the end.
async fn question(client: &mut TcpStream, shared: &Shared, asked: &Asked) -> io::Result<Option<(u64, u64)>> {
    let mut length = [0; 2];
    if client.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let question = tokio::time::timeout(PATIENCE, async {
        client.read_exact(&mut length[1..]).await?;
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut question).await.map(|_| question)
    });
    let question = question.await??;
    let Some(reply) = dns::answer(shared, asked, &question, std::future::pending()).await else { return Ok(None) };
    let mut bytes = u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(&reply);
    client.write_all(&bytes).await?;
    Ok(Some((question.len() as u64 + 2, bytes.len() as u64)))
}

/// Answers questions over UDP.
async fn questions(running: Running, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let room = Arc::new(Semaphore::new(QUESTIONS));
    let mut buffer = vec![0; 4096];
    loop {
        let received = tokio::select! {
            () = running.stopped() => return,
            received = async {
                let permit = room.clone().acquire_owned().await;
                (socket.recv_from(&mut buffer).await, permit)
            } => received,
        };
        let (Ok((count, from)), permit) = received else { continue };
        let (question, socket, running) = (buffer[..count].to_vec(), socket.clone(), running.clone());
        tokio::spawn(async move {
            // Which server was meant is not known after the redirection; all are this one.
            let asked = Asked { from, to: SocketAddr::new(NAMESERVER.into(), 53), proto: "udp", uid: None };
            if let Some(reply) = dns::answer(&running.shared, &asked, &question, running.stopped()).await {
                let _ = socket.send_to(&reply, from).await;
            }
            drop(permit);
        });
    }
}

/// Tells of the packets that were dropped.
async fn dropped(running: Running, socket: UdpSocket) {
    let mut flows = Flows::default();
    let mut tell_at = None;
    loop {
        let over = tokio::select! {
            () = running.stopped() => true,
            () = async {
                match tell_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {
                tell(&running.shared, &mut flows);
                tell_at = None;
                false
            }
            ready = socket.readable() => {
                let received = socket.try_io(Interest::READABLE, || receive(&running.shared, &socket, &mut flows));
                match ready.and(received) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        running.shared.trouble(&format!("packets that are dropped are recorded no longer: {error}"));
                        true
                    }
                    _ => false,
                }
            }
        };
        if over {
            // What the kernel has said counts, whether the runtime knows of it yet or not.
            while receive(&running.shared, &socket, &mut flows).is_ok() {}
            tell(&running.shared, &mut flows);
            return;
        }
        if tell_at.is_none() && !flows.is_empty() {
            tell_at = Some(tokio::time::Instant::now() + BURST);
        }
    }
}

fn receive(shared: &Shared, socket: &UdpSocket, flows: &mut Flows) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let lost = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((count, _)) => flows.take_in(&buffer[..count], SystemTime::now(), || shared.calls()),
        // The socket had no room for all of them.
        Err(Errno::NOBUFS) => 1,
        Err(error) => return Err(error.into()),
    };
    if lost > 0 {
        shared.trouble("more packets were dropped than could be recorded");
    }
    Ok(())
}

fn tell(shared: &Shared, flows: &mut Flows) {
    for (flow, packets) in flows.drain() {
        let mut record = Record::new(packets.first, flow.proto, flow.from, flow.to);
        record.duration = seconds(packets.last.duration_since(packets.first).unwrap_or_default());
        record.orig_bytes = packets.bytes;
        record.orig_pkts = Some(packets.count);
        record.conn_state = if matches!(flow.proto, "tcp" | "udp") { "S0" } else { "OTH" };
        record.action = "drop";
        record.rule = "protocol".to_owned();
        record.calls = packets.calls;
        shared.record(Kind::Dropped, record);
    }
}
