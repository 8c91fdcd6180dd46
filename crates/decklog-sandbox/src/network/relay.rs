//! Copying between a client and a server, both ways at once, with a look at the client's first bytes.
//!
//! Must not know: the policy, records, how the connection came to be.

use std::cell::RefCell;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::policy::Gate;
use super::sniff::{self, ENOUGH, Service, Sniffed};

/// Bytes that are read at once, and that wait at most for the other side to take them.
const BUFFER: usize = 128 * 1024;

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

    fn note(&self, service: Service, claims: Vec<String>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = (service, claims);
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
    /// What the client said does not stand; with the name, if it could be read.
    Cut(Option<String>),
}

/// Which side failed, or that the connection is to be cut.
enum Stop {
    From,
    To,
    Cut(Option<String>),
}

/// Copies until both sides have closed, one of them breaks it off, or `stands` says no to a host that the client names.
/// Whoever drops this future has to see to what the sides notice.
pub(super) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    gate: Gate,
    stands: impl Fn(&str) -> bool,
    seen: &Seen,
) -> End {
    let (client_out, mut client_in) = client.split();
    let (server_out, mut server_in) = server.split();
    let up = async {
        first(&client_out, &server_in, gate, stands, seen).await?;
        pump(&client_out, &mut server_in, &seen.from_client).await
    };
    let down = async { pump(&server_out, &mut client_in, &seen.from_server).await };
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

/// Passes on the client's first bytes, as soon as the gate lets them.
async fn first(
    from: &ReadHalf<'_>,
    to: &WriteHalf<'_>,
    gate: Gate,
    stands: impl Fn(&str) -> bool,
    seen: &Seen,
) -> Result<(), Stop> {
    let mut held = Vec::new();
    let mut passed = 0;
    while held.len() < ENOUGH {
        from.readable().await.map_err(|_| Stop::From)?;
        let mut bytes = [0; 4096];
        let room = bytes.len().min(ENOUGH - held.len());
        let count = match from.try_read(&mut bytes[..room]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return Err(Stop::From),
        };
        held.extend_from_slice(&bytes[..count]);
        seen.from_client.fetch_add(count as u64, Ordering::Relaxed);
        let sniffed = sniff::sniff(&held);
        let known = !matches!(sniffed, Sniffed::NeedMore(_));
        match sniffed {
            Sniffed::NeedMore(service) => seen.note(service, Vec::new()),
            Sniffed::Done(service, claims) => {
                seen.note(service, claims.clone());
                if let Some(forged) = claims.into_iter().find(|claim| !stands(claim)) {
                    return Err(Stop::Cut(Some(forged)));
                }
            }
            Sniffed::Malformed(service) => {
                seen.note(service, Vec::new());
                if gate == Gate::Allowed {
                    return Err(Stop::Cut(None));
                }
            }
        }
        if known || gate == Gate::Open {
            write(to, &held[passed..]).await.map_err(|_| Stop::To)?;
            passed = held.len();
        }
        if known {
            return Ok(());
        }
    }
    // The client has said all it says, and it names nobody.
    write(to, &held[passed..]).await.map_err(|_| Stop::To)
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
