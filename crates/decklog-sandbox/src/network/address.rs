//! Which addresses nobody in a container may be connected to, and networks written as `ADDRESS/LENGTH`.
//!
//! Must not know: rules, names, sockets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Net {
    address: IpAddr,
    bits: u8,
}

/// What no connection goes to, whatever a name resolves to: loopback, "this network", link-local, multicast, reserved
/// and broadcast; and where a cloud gives machines their credentials, which is also among addresses that are
/// shared by providers, or local to a site.
const REFUSED: [Net; 14] = [
    Net::v4(0, 0, 8),
    Net::v4(100, 64, 10),
    Net::v4(192, 0, 24),
    Net { address: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), bits: 32 },
    Net::v4(127, 0, 8),
    Net::v4(169, 254, 16),
    Net::v4(224, 0, 4),
    Net::v4(240, 0, 4),
    Net { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), bits: 128 },
    Net { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 },
    Net { address: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), bits: 7 },
    Net { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), bits: 10 },
    Net { address: IpAddr::V6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0)), bits: 10 },
    Net { address: IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), bits: 8 },
];

impl Net {
    /// The IPv4 network that begins with these two numbers.
    const fn v4(a: u8, b: u8, bits: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), bits }
    }

    /// The network of `address`, or `None` when the address has no so many bits.
    pub(crate) fn new(address: IpAddr, bits: u8) -> Option<Self> {
        (bits <= width(address)).then(|| Self { address: masked(address, bits), bits })
    }

    /// The network of one address.
    pub(crate) fn one(address: IpAddr) -> Self {
        Self { address, bits: width(address) }
    }

    /// Whether it is one address and no more.
    pub(crate) fn is_one(&self) -> bool {
        self.bits == width(self.address)
    }

    /// Whether `address` lies in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// Whether all of it is refused by [`is_refused`]: such a network can only have been meant.
    pub(crate) fn is_refused(&self) -> bool {
        REFUSED.iter().any(|refused| refused.bits <= self.bits && refused.contains(self.address))
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_one() {
            true => self.address.fmt(f),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)))
        }
        IpAddr::V6(v6) => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)))
        }
    }
}

/// The IPv4 address that a translator would make of an IPv6 address: mapped, compatible, translated, NAT64, 6to4, Teredo
/// and ISATAP forms.
pub(crate) fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let bits = v6.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    match v6.segments() {
        [0x2001, 0, ..] => Some(IpAddr::V4(Ipv4Addr::from_bits(!(bits as u32)))),
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            Some(IpAddr::V4(low))
        }
        // The two that IPv6 has for itself.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(IpAddr::V4(low)),
        [0x2002, high, second, ..] => Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(second)))),
        _ => None,
    }
}

/// Whether `address`, or what a translator would make of it, is one that no connection goes to; or one of the host's
/// own, as `own` tells.
pub(crate) fn is_refused(address: IpAddr, own: impl Fn(IpAddr) -> bool) -> bool {
    [Some(address), embedded(address)]
        .into_iter()
        .flatten()
        .any(|address| REFUSED.iter().any(|net| net.contains(address)) || own(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_refused() {
        let own = |address| address == ip("192.0.2.2") || address == ip("2001:db8::2");
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "168.63.129.16",
            "192.0.0.192",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fdff:ffff::1",
            "fec0::1",
            "::ffff:100.100.100.200",
            "64:ff9b::100.64.0.1",
            "64:ff9b:1::127.0.0.1",
            "64:ff9b:1:fffe::169.254.169.254",
            "::ffff:0:127.0.0.1",
            "2001:0:c000:201::80ff:fffe",
            "2001:db8::5efe:127.0.0.1",
            "2001:db8::200:5efe:169.254.169.254",
            "2002:6440:1::",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "192.0.2.2",
            "2001:db8::2",
            "::ffff:192.0.2.2",
            "64:ff9b::192.0.2.2",
        ];
        let fine = [
            "1.1.1.1",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.1.1",
            "169.255.0.1",
            "223.255.255.255",
            "192.0.2.3",
            "10.0.0.1",
            "2001:db8::3",
            "100.63.255.255",
            "100.128.0.1",
            "192.0.1.1",
            "168.63.129.17",
            "fbff::1",
            "fe00::1",
            "2001:0:c000:201::fefe:fefe",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
        ];
        for text in refused {
            assert!(is_refused(ip(text), own), "{text}");
        }
        for text in fine {
            assert!(!is_refused(ip(text), own), "{text}");
        }
    }

    #[test]
    fn networks() {
        let net = |text: &str, bits| Net::new(ip(text), bits).expect("a network");
        assert!(net("10.1.2.3", 8).contains(ip("10.255.0.1")));
        assert!(!net("10.1.2.3", 8).contains(ip("11.0.0.1")));
        assert!(!net("0.0.0.0", 0).contains(ip("::1")), "one family is not the other");
        assert!(net("::", 0).contains(ip("2001:db8::1")) && net("0.0.0.0", 0).contains(ip("1.2.3.4")));
        assert_eq!(net("10.1.2.3", 8).to_string(), "10.0.0.0/8");
        assert_eq!(net("2001:db8::1", 128).to_string(), "2001:db8::1");
        assert!(Net::new(ip("10.0.0.0"), 33).is_none() && Net::new(ip("::"), 129).is_none());
        assert!(net("127.0.0.0", 8).is_refused() && net("169.254.169.254", 32).is_refused());
        assert!(net("fd00::", 8).is_refused() && net("100.64.0.0", 10).is_refused() && net("fc00::", 7).is_refused());
        assert!(!net("100.0.0.0", 8).is_refused() && !net("fc00::", 6).is_refused());
        assert!(!net("0.0.0.0", 0).is_refused() && !net("126.0.0.0", 7).is_refused() && !net("::", 0).is_refused());
    }
}
