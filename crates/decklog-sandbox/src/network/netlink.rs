//! Netlink messages, as many as are needed: put together, sent, answered, read.
//!
//! Must not know: what the network is for. What is read is bounded by what was received.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Length of the header of each message.
const HEADER: usize = 16;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const IFF_UP: u32 = 1;
const IFA_F_NODAD: u8 = 2;

/// Index of `lo`, which is the first interface of every network namespace.
const LOOPBACK: u32 = 1;

const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BLACKHOLE: u8 = 6;
const RTN_PROHIBIT: u8 = 8;

/// One message being put together.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

/// One message that was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    /// What kind it is.
    pub(crate) kind: u16,
    /// What follows its header.
    pub(crate) body: &'a [u8],
}

/// What the host does with packets to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It sends them on.
    Out,
    /// It takes them itself, or gives them to everybody around.
    Own,
    /// It knows no way.
    None,
}

impl Message {
    /// A message of this kind, that is to be answered, with the fixed part of its body.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        Self(bytes)
    }

    /// One that is answered by whether it was done.
    pub(crate) fn acknowledged(kind: u16, flags: u16, body: &[u8]) -> Self {
        Self::new(kind, flags | NLM_F_ACK, body)
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// The messages in what was received.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received { kind, body })
    })
}

/// The attributes in a part of a body, with their kinds.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits say how it is written.
        Some((kind & 0x3fff, value))
    })
}

/// A netlink socket of the network namespace that this thread is in.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens one. `None` is the routing family.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers at once; nothing may wait for it for ever.
        rustix::net::sockopt::set_socket_timeout(
            &fd,
            rustix::net::sockopt::Timeout::Recv,
            Some(std::time::Duration::from_secs(5)),
        )?;
        Ok(Self(fd))
    }

    /// Sends a message and waits until the kernel has done what it says.
    pub(crate) fn tell(&self, message: Message) -> Result<(), Errno> {
        self.ask(message, |_| ())
    }

    /// Sends a message and has `each` look at what comes back, until that is all.
    fn ask(&self, message: Message, mut each: impl FnMut(Received<'_>)) -> Result<(), Errno> {
        let bytes = message.finish();
        let dump = u16::from_ne_bytes([bytes[6], bytes[7]]) & NLM_F_DUMP == NLM_F_DUMP;
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let (count, _) = match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            for message in messages(&buffer[..count]) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return outcome(message.body),
                    _ if dump => each(message),
                    _ => {
                        each(message);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Which way packets to `address` go.
    pub(crate) fn way_to(&self, address: IpAddr) -> Result<Way, Errno> {
        let (family, bytes) = parts(address);
        let body = [family, bytes.len() as u8 * 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut way = Way::Own;
        let asked = self.ask(Message::new(RTM_GETROUTE, 0, &body).with(1, &bytes), |answer| {
            if answer.kind == RTM_NEWROUTE {
                way = match answer.body.get(7) {
                    Some(&RTN_UNICAST) => Way::Out,
                    Some(RTN_BLACKHOLE..=RTN_PROHIBIT) => Way::None,
                    _ => Way::Own,
                };
            }
        });
        match asked {
            Ok(()) => Ok(way),
            Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL | Errno::AFNOSUPPORT) => {
                Ok(Way::None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an interface other than `lo` is up.
    pub(crate) fn has_other_links(&self) -> Result<bool, Errno> {
        let mut other = false;
        self.ask(Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; 16]), |answer| {
            let word =
                |at: usize| answer.body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
            let up = word(8).is_none_or(|flags| flags & IFF_UP != 0);
            other |= answer.kind == RTM_NEWLINK && word(4) != Some(LOOPBACK) && up;
        })?;
        Ok(other)
    }

    /// Brings `lo` up.
    pub(crate) fn bring_up_loopback(&self) -> Result<(), Errno> {
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
        body[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        body[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
        self.tell(Message::acknowledged(RTM_NEWLINK, 0, &body))
    }

    /// Gives `lo` the address, unless it has it.
    pub(crate) fn add_to_loopback(&self, address: IpAddr) -> Result<(), Errno> {
        let (family, bytes) = parts(address);
        let mut body = [family, bytes.len() as u8 * 8, IFA_F_NODAD, 0, 0, 0, 0, 0];
        body[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
        let message = Message::acknowledged(RTM_NEWADDR, NLM_F_CREATE, &body).with(1, &bytes).with(2, &bytes);
        known(self.tell(message))
    }

    /// Has every address of this family be one of `lo`, with `source` as where packets come from.
    pub(crate) fn route_all_to_loopback(&self, source: IpAddr) -> Result<(), Errno> {
        const LOCAL_TABLE: u8 = 255;
        const BOOT: u8 = 3;
        const HOST_SCOPE: u8 = 254;
        let (family, bytes) = parts(source);
        let scope = if family == AF_INET { HOST_SCOPE } else { 0 };
        let body = [family, 0, 0, 0, LOCAL_TABLE, BOOT, scope, RTN_LOCAL, 0, 0, 0, 0];
        let message = Message::acknowledged(RTM_NEWROUTE, NLM_F_CREATE, &body);
        known(self.tell(message.with(4, &LOOPBACK.to_ne_bytes()).with(7, &bytes)))
    }

    /// The socket itself.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is there already need not be made.
fn known(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::EXIST) { Ok(()) } else { result }
}

fn outcome(body: &[u8]) -> Result<(), Errno> {
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(-22, i32::from_ne_bytes);
    if number == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-number)) }
}

fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_ways() {
        let socket = Socket::open(None).expect("a socket");
        for (address, way) in [
            ("127.0.0.1", Way::Own),
            ("127.9.9.9", Way::Own),
            ("255.255.255.255", Way::Own),
            ("224.0.0.1", Way::Own),
            ("::1", Way::Own),
        ] {
            let told = socket.way_to(address.parse().expect("an address")).expect("an answer");
            assert!(told == way || told == Way::None, "{address}: {told:?}");
        }
    }

    #[test]
    fn any_bytes_are_read() {
        let message = Message::new(7, 0, &[1, 2, 3, 4]).with(5, b"abcde").with(6, b"").finish();
        let read: Vec<Received<'_>> = messages(&message).collect();
        assert_eq!((read.len(), read[0].kind), (1, 7));
        let read: Vec<(u16, &[u8])> = attributes(&read[0].body[4..]).collect();
        assert_eq!(read, [(5, &b"abcde"[..]), (6, b"")]);
        for at in 0..message.len() {
            for byte in [0, 1, 3, 15, 16, 0x7f, 0xff] {
                let mut bytes = message.clone();
                bytes[at] = byte;
                for end in 0..=bytes.len() {
                    // That it comes to an end, and within these bytes, is what is tested.
                    let read: usize = messages(&bytes[..end]).map(|message| attributes(message.body).count()).sum();
                    assert!(read <= bytes.len());
                }
            }
        }
    }
}
