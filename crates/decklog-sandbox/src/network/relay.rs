//! Copying between a client and a server, both ways at once, with a look at the client's first bytes.
//!
//! Must not know: the policy, records, how the connection came to be.

use std::cell::RefCell;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::policy::Gate;
use super::sniff::{self, Claim, ENOUGH, Next, Requests, Service, Sniffed};

/// Bytes that are read at once, and that wait at most for the other side to take them.
const BUFFER: usize = 128 * 1024;

/// Bytes of the server's first response that tell whether it changes to another protocol.
const RESPONSE: usize = 12;

thread_local! {
    /// What is read goes through here. A connection has a buffer of its own only while its other side is slow, so that
    /// thousands that are idle cost nothing.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// What is known of a connection while it lasts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Bytes that the client sent.
    pub(super) from_client: AtomicU64,
    /// Bytes that the server sent.
    pub(super) from_server: AtomicU64,
    said: Mutex<(Service, Vec<String>)>,
}

impl Seen {
    /// What the client speaks, and the hosts it names.
    pub(super) fn said(&self) -> (Service, Vec<String>) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, service: Service, claims: &[String]) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = (service, claims.to_vec());
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides closed it.
    Closed,
    /// The client broke it off.
    ClientReset,
    /// The server broke it off.
    ServerReset,
    /// It was cut: for the host that the client named, or because it names none that all servers would read.
    Cut(Option<String>),
}

/// Which side failed, or that the connection is to be cut.
#[derive(Debug)]
enum Stop {
    From,
    To,
    Cut(Option<String>),
}

/// What decides on the hosts that a client names.
pub(super) struct Judge<F> {
    pub(super) gate: Gate,
    /// Whether the client may name this host.
    pub(super) stands: F,
    /// How long a client may take for what is held back until it is whole.
    pub(super) patience: Duration,
}

/// Copies until both sides have closed, one of them breaks it off, or `judge` says no to a host that the client names.
/// Whoever drops this future has to see to what the sides notice.
pub(super) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    judge: Judge<impl Fn(&str) -> bool>,
    seen: &Seen,
) -> End {
    let (client_out, mut client_in) = client.split();
    let (server_out, mut server_in) = server.split();
    let (respond, response) = watch::channel(Vec::new());
    let gate = judge.gate;
    let up = async move {
        if let Some(held) = first(&client_out, &server_in, &judge, seen).await? {
            requests((&client_out, &server_in), held, &judge, response, seen).await?;
        }
        pump(&client_out, &mut server_in, &seen.from_client).await
    };
    let down = async move {
        if gate != Gate::Open {
            first_response((&server_out, &client_in), &respond, &seen.from_server).await?;
        }
        pump(&server_out, &mut client_in, &seen.from_server).await
    };
    let up = async { up.await.map_err(|stop| end(stop, End::ClientReset, End::ServerReset)) };
    let down = async { down.await.map_err(|stop| end(stop, End::ServerReset, End::ClientReset)) };
    match tokio::try_join!(up, down) {
        Ok(_) => End::Closed,
        Err(end) => end,
    }
}

fn end(stop: Stop, from: End, to: End) -> End {
    match stop {
        Stop::From => from,
        Stop::To => to,
        Stop::Cut(claim) => End::Cut(claim),
    }
}

impl<F: Fn(&str) -> bool> Judge<F> {
    fn judge(&self, claim: &Claim) -> Result<(), Stop> {
        if self.gate == Gate::Open {
            return Ok(());
        }
        if let Some(forged) = claim.hosts().iter().find(|host| !(self.stands)(host)) {
            return Err(Stop::Cut(Some(forged.clone())));
        }
        match claim {
            Claim::One(_) => Ok(()),
            // No rule denies a client that names no host, but none allows it either.
            Claim::Missing | Claim::Encrypted(_) if self.gate == Gate::Denied => Ok(()),
            Claim::Missing | Claim::Encrypted(_) | Claim::Unclear(_) => Err(Stop::Cut(None)),
        }
    }
}

/// Reads more. `None`: the client sends no more. What is held back has to be whole by `deadline`.
async fn read(
    from: &ReadHalf<'_>,
    held: &mut Vec<u8>,
    most: usize,
    deadline: Option<Instant>,
    count: &AtomicU64,
) -> Result<Option<()>, Stop> {
    loop {
        let readable = match deadline {
            None => from.readable().await,
            Some(at) => tokio::time::timeout_at(at, from.readable()).await.map_err(|_| Stop::Cut(None))?,
        };
        readable.map_err(|_| Stop::From)?;
        let read = SCRATCH.with_borrow_mut(|buffer| {
            let most = most.min(buffer.len());
            from.try_read(&mut buffer[..most]).inspect(|read| held.extend_from_slice(&buffer[..*read]))
        });
        match read {
            Ok(0) => return Ok(None),
            Ok(read) => {
                count.fetch_add(read as u64, Ordering::Relaxed);
                return Ok(Some(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Stop::From),
        }
    }
}

/// Passes on the client's first bytes, as soon as they are judged. Gives those that begin HTTP and were not passed on, as
/// what comes behind a request is another one.
async fn first(
    from: &ReadHalf<'_>,
    to: &WriteHalf<'_>,
    judge: &Judge<impl Fn(&str) -> bool>,
    seen: &Seen,
) -> Result<Option<Vec<u8>>, Stop> {
    let (mut held, mut passed, mut deadline) = (Vec::new(), 0, None);
    while held.len() < ENOUGH {
        let most = ENOUGH - held.len();
        let ended = read(from, &mut held, most, deadline, &seen.from_client).await?.is_none();
        let sniffed = sniff::sniff(&held, ended);
        let is_known = match &sniffed {
            Sniffed::NeedMore(service) => {
                seen.note(*service, &[]);
                if judge.gate != Gate::Open {
                    deadline.get_or_insert_with(|| Instant::now() + judge.patience);
                    continue;
                }
                false
            }
            Sniffed::Other(service) => {
                seen.note(*service, &[]);
                deadline = None;
                judge.gate == Gate::Open
            }
            Sniffed::Done(service, claim) => {
                seen.note(*service, claim.hosts());
                judge.judge(claim)?;
                if *service == Service::Http && judge.gate != Gate::Open {
                    return Ok(Some(held));
                }
                true
            }
        };
        write(to, &held[passed..]).await.map_err(|_| Stop::To)?;
        passed = held.len();
        if is_known || ended {
            break;
        }
    }
    Ok(None)
}

/// Passes on one request after the other, each once it is judged, until the client ends or both sides have agreed to
/// another protocol.
async fn requests(
    (from, to): (&ReadHalf<'_>, &WriteHalf<'_>),
    mut held: Vec<u8>,
    judge: &Judge<impl Fn(&str) -> bool>,
    mut response: watch::Receiver<Vec<u8>>,
    seen: &Seen,
) -> Result<(), Stop> {
    let (mut requests, mut heads, mut passed, mut deadline) = (Requests::new(), 0, 0, None);
    loop {
        let next = requests.next(&held[passed..]);
        if matches!(next, Next::NeedMore | Next::Tunnel(_)) && passed > 0 {
            write(to, &held[..passed]).await.map_err(|_| Stop::To)?;
            held.drain(..passed);
            (passed, deadline) = (0, None);
        }
        match next {
            Next::Pass(count) => passed += count,
            Next::Head(count, claim) => {
                judge.judge(&claim)?;
                heads += 1;
                passed += count;
            }
            Next::Unclear(hosts) => return judge.judge(&Claim::Unclear(hosts)),
            Next::Tunnel(status) => {
                // To which of several requests a response belongs is not known.
                if heads == 1 {
                    let is_there = |response: &Vec<u8>| response.len() >= RESPONSE;
                    // Where there will be none, the server has gone.
                    let response = response.wait_for(is_there).await.map_err(|_| Stop::To)?.clone();
                    if response.starts_with(b"HTTP/1.") && response[9..].starts_with(status) {
                        return write(to, &held).await.map_err(|_| Stop::To);
                    }
                }
                requests.refuse_tunnel();
            }
            Next::NeedMore => {
                match held.is_empty() {
                    // Connections that are idle cost nothing.
                    true => held = Vec::new(),
                    false => _ = deadline.get_or_insert_with(|| Instant::now() + judge.patience),
                }
                if read(from, &mut held, BUFFER, deadline, &seen.from_client).await?.is_none() {
                    return if held.is_empty() { Ok(()) } else { Err(Stop::Cut(None)) };
                }
            }
        }
    }
}

/// Passes on the server's first bytes, and has `respond` know them.
async fn first_response(
    (from, to): (&ReadHalf<'_>, &WriteHalf<'_>),
    respond: &watch::Sender<Vec<u8>>,
    count: &AtomicU64,
) -> Result<(), Stop> {
    while respond.borrow().len() < RESPONSE {
        let mut held = Vec::new();
        if read(from, &mut held, BUFFER, None, count).await?.is_none() {
            return Ok(());
        }
        write(to, &held).await.map_err(|_| Stop::To)?;
        respond.send_modify(|response| response.extend_from_slice(&held[..held.len().min(RESPONSE)]));
    }
    Ok(())
}

/// What became of one step.
enum Step {
    Again,
    Closed,
    /// The other side takes no more; this is what it has not taken.
    Left(Vec<u8>),
}

/// Copies until this side closes, which it tells the other.
async fn pump(from: &ReadHalf<'_>, to: &mut WriteHalf<'_>, count: &AtomicU64) -> Result<(), Stop> {
    use tokio::io::AsyncWriteExt;
    loop {
        from.readable().await.map_err(|_| Stop::From)?;
        match SCRATCH.with_borrow_mut(|buffer| step(from, to, buffer, count))? {
            Step::Again => {}
            Step::Left(left) => write(to, &left).await.map_err(|_| Stop::To)?,
            // The other side may be gone already, which it tells by itself.
            Step::Closed => {
                let _ = to.shutdown().await;
                return Ok(());
            }
        }
    }
}

fn step(from: &ReadHalf<'_>, to: &WriteHalf<'_>, buffer: &mut [u8], count: &AtomicU64) -> Result<Step, Stop> {
    let read = match from.try_read(buffer) {
        Ok(0) => return Ok(Step::Closed),
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Again),
        Err(_) => return Err(Stop::From),
    };
    count.fetch_add(read as u64, Ordering::Relaxed);
    let written = match to.try_write(&buffer[..read]) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return Err(Stop::To),
    };
    Ok(if written == read { Step::Again } else { Step::Left(buffer[written..read].to_vec()) })
}

async fn write(to: &WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connected"), other.expect("accepted").0)
    }

    /// How a connection ends on which only `a.test` stands and there is hardly any patience, with a server that responds
    /// with this to the first bytes.
    async fn relayed(gate: Gate, bytes: &[u8], then_close: bool, response: &str) -> End {
        let ((mut inside, mut client), (mut server, mut outside)) = (pair().await, pair().await);
        inside.write_all(bytes).await.expect("sent");
        if then_close {
            inside.shutdown().await.expect("shut");
        }
        let seen = Seen::default();
        let judge = Judge { gate, stands: |host: &str| host == "a.test", patience: Duration::from_millis(1) };
        let serve = async {
            let mut first = true;
            while !matches!(outside.read(&mut [0; 1024]).await, Ok(0) | Err(_)) {
                if std::mem::take(&mut first) {
                    outside.write_all(response.as_bytes()).await.expect("sent");
                }
            }
            outside.shutdown().await.expect("shut");
            std::future::pending().await
        };
        tokio::select! {
            end = relay(&mut client, &mut server, judge, &seen) => end,
            end = serve => end,
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_is_not_waited_for() {
        let whole = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
        for half in ["x", "GE", "GET / HTTP/1.1\r\nHos", "\r\n", "\x16\x03\x01", "\x16", "\u{80}"] {
            assert_eq!(relayed(Gate::Allowed, half.as_bytes(), false, "").await, End::Cut(None), "{half:?}");
        }
        let chunked = whole.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
        for text in [format!("{whole}GE"), format!("{whole}{}", &whole[..20]), format!("{chunked}5")] {
            assert_eq!(relayed(Gate::Denied, text.as_bytes(), false, "").await, End::Cut(None), "{text:?}");
        }
        assert_eq!(relayed(Gate::Open, &whole.as_bytes()[..20], true, "").await, End::Closed);
    }

    #[tokio::test]
    async fn every_request_of_a_connection_is_judged() {
        let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (a, b) = (get("a.test"), get("b.test"));
        let upgrade = a.replace("\r\n\r\n", "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        let post =
            |body: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let forged = End::Cut(Some("b.test".into()));
        let (ok, switched) = ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n");
        for (text, response, expected) in [
            (format!("{a}{a}"), ok, End::Closed),
            (post(&b) + &a, ok, End::Closed),
            (format!("{a}{b}"), ok, forged.clone()),
            (format!("{a}{b}"), switched, forged.clone()),
            (post("hello") + &b, ok, forged.clone()),
            (format!("{upgrade}{b}"), switched, End::Closed),
            (format!("{upgrade}{b}"), ok, forged.clone()),
            (format!("{a}{upgrade}{b}"), switched, forged.clone()),
            (format!("{connect}{b}"), ok, End::Closed),
            (format!("{connect}{b}"), switched, forged),
            (format!("{a}nonsense"), ok, End::Cut(None)),
            (format!("{a}{}", &a[..a.len() - 1]), ok, End::Cut(None)),
            (a[..a.len() - 1].to_owned(), ok, End::Cut(None)),
        ] {
            assert_eq!(
                relayed(Gate::Allowed, text.as_bytes(), true, response).await,
                expected,
                "{text:?} {response:?}"
            );
        }
    }
}
