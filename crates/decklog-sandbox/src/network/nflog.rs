//! Packets that the container's rules dropped, as the kernel logs them: opened in the namespace, read outside.
//!
//! Must not know: the policy, how a record is written.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use super::netlink::{self, Message};

/// The group that the rules log to.
pub(super) const GROUP: u16 = 77;

/// Bytes that are logged of each packet: its headers.
pub(super) const LENGTH: u16 = 128;

/// Rows of packets that are kept at the same time.
const FLOWS: usize = 1024;

/// `NFNL_SUBSYS_ULOG << 8`, with what is a packet and what is a command.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;

/// The attribute of a packet that holds its beginning.
const PAYLOAD: u16 = 9;

/// A socket of this network namespace that is given what the rules log.
pub(super) fn open() -> io::Result<OwnedFd> {
    const BIND: u8 = 1;
    const COPY_PACKET: u8 = 2;
    let socket = netlink::Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    let group = GROUP.to_be_bytes();
    let config = || Message::acknowledged(CONFIG, 0, &[0, 0, group[0], group[1]]);
    socket.tell(config().with(1, &[BIND]))?;
    let length = u32::from(LENGTH).to_be_bytes();
    socket.tell(config().with(2, &[length[0], length[1], length[2], length[3], COPY_PACKET, 0]))?;
    // Each is told at once, so that none waits in the kernel when it is over.
    socket.tell(config().with(5, &1u32.to_be_bytes()))?;
    let fd = socket.into_fd();
    // A burst is not to be lost; whether it may be that large is for the kernel to say.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&fd, 1 << 20);
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// What packets have in common that are told of together. For ICMP, the ports are its type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) proto: &'static str,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

/// How many packets of a flow there were.
#[derive(Debug, Clone)]
pub(super) struct Packets {
    pub(super) first: SystemTime,
    pub(super) last: SystemTime,
    pub(super) count: u64,
    /// Bytes after the IP headers.
    pub(super) bytes: u64,
    /// The calls in progress when the first came.
    pub(super) calls: Vec<String>,
}

/// The flows that were not told of yet.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<Flow, Packets>,
}

impl Flows {
    /// Takes in what was received. How many packets there was no room for.
    pub(super) fn take_in(&mut self, bytes: &[u8], now: SystemTime, calls: impl Fn() -> Vec<String>) -> u64 {
        let mut lost = 0;
        for message in netlink::messages(bytes).filter(|message| message.kind == PACKET) {
            let attributes = netlink::attributes(message.body.get(4..).unwrap_or_default());
            for (_, packet) in attributes.filter(|(kind, _)| *kind == PAYLOAD) {
                let Some((flow, bytes)) = read(packet) else { continue };
                if !self.flows.contains_key(&flow) && self.flows.len() >= FLOWS {
                    lost += 1;
                    continue;
                }
                let known = self.flows.entry(flow);
                let known =
                    known.or_insert_with(|| Packets { first: now, last: now, count: 0, bytes: 0, calls: calls() });
                known.last = now;
                known.count += 1;
                known.bytes += bytes;
            }
        }
        lost
    }

    /// All flows, which are then forgotten.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Flow, Packets)> {
        self.flows.drain()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

/// Where a packet comes from and goes to, and how many bytes follow its IP header.
fn read(packet: &[u8]) -> Option<(Flow, u64)> {
    let word = |at: usize| packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let (from, to, proto, header, bytes): (IpAddr, IpAddr, u8, usize, u64) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
            let header = usize::from(packet[0] & 15) * 4;
            let (from, to): (Ipv4Addr, Ipv4Addr) = (address(12)?, address(16)?);
            (from.into(), to.into(), *packet.get(9)?, header, u64::from(word(2)?).saturating_sub(header as u64))
        }
        6 => {
            let address = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
            let (from, to): (Ipv6Addr, Ipv6Addr) = (address(8)?, address(24)?);
            (from.into(), to.into(), *packet.get(6)?, 40, u64::from(word(4)?))
        }
        _ => return None,
    };
    let ports = || (word(header).unwrap_or(0), word(header + 2).unwrap_or(0));
    let kinds = || {
        (packet.get(header).map_or(0, |kind| (*kind).into()), packet.get(header + 1).map_or(0, |code| (*code).into()))
    };
    let (proto, (from_port, to_port)) = match proto {
        1 | 58 => ("icmp", kinds()),
        6 => ("tcp", ports()),
        17 => ("udp", ports()),
        _ => ("unknown_transport", (0, 0)),
    };
    Some((Flow { proto, from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(to: [u8; 4], port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 200, 0, 2];
        packet.extend(to);
        packet.extend(40000u16.to_be_bytes());
        packet.extend(port.to_be_bytes());
        packet.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    fn logged(packet: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&PACKET.to_ne_bytes());
        bytes.extend([2, 0, 0, 77]);
        bytes.extend((packet.len() as u16 + 4).to_ne_bytes());
        bytes.extend(PAYLOAD.to_ne_bytes());
        bytes.extend(packet);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn packets_of_a_flow_are_counted() {
        let mut flows = Flows::default();
        let (one, other) = (logged(&udp([8, 8, 8, 8], 123)), logged(&udp([8, 8, 8, 8], 443)));
        let calls = || vec!["call-1".to_owned()];
        let now = SystemTime::now();
        assert_eq!(flows.take_in(&[one.clone(), other, one].concat(), now, calls), 0);
        let mut told: Vec<_> =
            flows.drain().map(|(flow, packets)| (flow.to.to_string(), packets.count, packets.bytes)).collect();
        told.sort();
        assert_eq!(told, [("8.8.8.8:123".into(), 2, 24), ("8.8.8.8:443".into(), 1, 12)]);
        assert!(flows.is_empty());
    }

    #[test]
    fn other_protocols() {
        let mut ping = udp([8, 8, 8, 8], 0);
        (ping[9], ping[20], ping[21]) = (1, 8, 0);
        let (flow, _) = read(&ping).expect("a flow");
        assert_eq!((flow.proto, flow.from.port(), flow.to.port()), ("icmp", 8, 0));
        let mut six = vec![0x60, 0, 0, 0, 0, 12, 17, 64];
        six.extend(Ipv6Addr::LOCALHOST.octets());
        six.extend("2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets());
        six.extend([1, 0, 2, 0, 0, 12, 0, 0]);
        let (flow, bytes) = read(&six).expect("a flow");
        assert_eq!((flow.proto, flow.to.to_string(), bytes), ("udp", "[2001:db8::1]:512".to_owned(), 12));
    }

    #[test]
    fn any_packet_is_read_and_the_table_is_bounded() {
        let whole = logged(&udp([8, 8, 8, 8], 123));
        for at in 0..whole.len() {
            for byte in [0, 1, 0x40, 0x4f, 0x60, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                for end in 0..=bytes.len() {
                    Flows::default().take_in(&bytes[..end], SystemTime::now(), Vec::new);
                }
            }
        }
        let mut flows = Flows::default();
        let lost: u64 = (0..FLOWS as u16 + 7)
            .map(|port| flows.take_in(&logged(&udp([8, 8, 8, 8], port)), SystemTime::now(), Vec::new))
            .sum();
        assert_eq!((lost, flows.drain().count()), (7, FLOWS));
    }
}
