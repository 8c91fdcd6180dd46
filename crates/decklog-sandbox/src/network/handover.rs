//! What the helper gives to decklog: sockets that were opened in the container's namespace, and what it has to say.
//!
//! Must not know: what the sockets are used for.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// Sockets that are handed over at most.
const SOCKETS: usize = 5;

/// Bytes of what the helper says at most.
const SAID: usize = 8 * 1024;

/// What the helper says, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// Why there is no network. Nothing is handed over then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Whether there are sockets for IPv6.
    #[serde(default)]
    pub(super) ipv6: bool,
}

/// The sockets of a container, in the order in which they are handed over.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Reads of packets that were dropped.
    pub(super) dropped: OwnedFd,
    /// Accepts connections, by family.
    pub(super) tcp: Vec<OwnedFd>,
    /// Receives questions, by family.
    pub(super) udp: Vec<OwnedFd>,
}

/// Says why there is no network.
pub(super) fn send_error(to: impl AsFd, error: String) -> io::Result<()> {
    // Half of the limit is left to escapes.
    let error = error.chars().take(SAID / 8).collect();
    send(to, &Said { error: Some(error), ipv6: false }, &[])
}

/// Hands the sockets over.
pub(super) fn send_sockets(to: impl AsFd, sockets: &Sockets) -> io::Result<()> {
    let Sockets { dropped, tcp, udp } = sockets;
    let fds: Vec<BorrowedFd<'_>> = [dropped].into_iter().chain(tcp).chain(udp).map(AsFd::as_fd).collect();
    send(to, &Said { error: None, ipv6: tcp.len() > 1 }, &fds)
}

fn send(to: impl AsFd, said: &Said, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many sockets"));
    }
    let sent = rustix::net::sendmsg(to, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// What the helper says: the sockets, or why there are none. `None`: it ended without a word.
pub(super) fn receive(from: &UnixStream) -> io::Result<Option<Result<Sockets, String>>> {
    let mut fds = Vec::new();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < SAID {
        let mut bytes = [0; 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let received = match rustix::net::recvmsg(from, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            received => received?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        line.extend_from_slice(&bytes[..received.bytes]);
    }
    let said: Said = serde_json::from_slice(&line)?;
    if let Some(error) = said.error {
        return Ok(Some(Err(error)));
    }
    let families = if said.ipv6 { 2 } else { 1 };
    if fds.len() != 1 + 2 * families {
        return Err(io::Error::other(format!("{} sockets came instead of {}", fds.len(), 1 + 2 * families)));
    }
    let mut fds = fds.into_iter();
    let mut next = |count| fds.by_ref().take(count).collect::<Vec<OwnedFd>>();
    let (mut dropped, tcp, udp) = (next(1), next(families), next(families));
    match dropped.pop() {
        Some(dropped) => Ok(Some(Ok(Sockets { dropped, tcp, udp }))),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn socket() -> OwnedFd {
        std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket").into()
    }

    #[test]
    fn sockets_arrive() {
        for families in [1, 2] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let many = || (0..families).map(|_| socket()).collect::<Vec<_>>();
            send_sockets(&theirs, &Sockets { dropped: socket(), tcp: many(), udp: many() }).expect("sent");
            let sockets = receive(&ours).expect("received").expect("a word").expect("sockets");
            assert_eq!((sockets.tcp.len(), sockets.udp.len()), (families, families));
        }
    }

    #[test]
    fn what_is_said_instead() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        send_error(&theirs, "é\n".repeat(5000)).expect("sent");
        let error = receive(&ours).expect("received").expect("a word").expect_err("no sockets");
        assert!(error.starts_with("é\n"), "{error}");
        for said in ["", "{", "{}\n", "{\"ipv6\":true}\n", "nonsense\n"] {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            theirs.write_all(said.as_bytes()).expect("written");
            drop(theirs);
            assert!(matches!(receive(&ours), Ok(None) | Err(_)), "{said}");
        }
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        std::thread::spawn(move || while theirs.write_all(&[b'x'; 1000]).is_ok() {});
        assert!(receive(&ours).is_err(), "it is not read for ever");
    }
}
