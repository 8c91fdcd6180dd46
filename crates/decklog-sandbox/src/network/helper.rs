//! The helper: a process of its own that enters a container's network namespace, closes every way out of it but those
//! to decklog, and hands these over.
//!
//! It is a process of its own because a user namespace is entered by a whole process with one thread.
//!
//! Must not know: policies, what is done with the sockets.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use super::handover::{self, Sockets};
use super::netlink;
use super::nflog;

/// The address of the container, and where its connections come from.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xdec, 0, 0, 0, 0, 0, 2);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Why there is no network in the container.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("cannot read {path}: {source}; is the container still there, and this user's?")]
    Namespace { path: String, source: io::Error },
    #[error("the container has no network namespace of its own; create it with --network none")]
    Shared,
    #[error("the container has a network interface besides lo; create it with --network none")]
    OtherLinks,
    #[error("cannot enter the container's {kind} namespace: {source}; run decklog as the user whose container it is")]
    Enter { kind: &'static str, source: Errno },
    #[error("the program nft is not there; install the package nftables")]
    NoNft,
    #[error("nft refused the rules: {said}")]
    Nft { said: String },
    #[error("cannot {what} in the container's network namespace: {source}")]
    Make { what: &'static str, source: io::Error },
}

/// Makes the network of the container whose process is `pid`, and hands its sockets over to the Unix socket that is
/// stdin. Returns the exit code. To be called first in a process of its own, before there is a second thread.
#[must_use]
pub fn helper(pid: u32) -> i32 {
    let stdin = rustix::stdio::stdin();
    let is_socket = rustix::fs::fstat(stdin)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket);
    if !is_socket {
        // Nobody started it for its answer.
        return 2;
    }
    let told = match make(pid) {
        Ok(sockets) => handover::send_sockets(stdin, &sockets).map(|()| 0),
        Err(error) => handover::send_error(stdin, error.to_string()).map(|()| 1),
    };
    told.unwrap_or(2)
}

fn make(pid: u32) -> Result<Sockets, HelperError> {
    let nft = find_nft().ok_or(HelperError::NoNft)?;
    enter(pid)?;
    let links = netlink::Socket::open(None).map_err(|source| failed("open a netlink socket", source))?;
    if links.has_other_links().map_err(|source| failed("list the interfaces", source.into()))? {
        return Err(HelperError::OtherLinks);
    }
    // Until the routes are there nothing leaves, so they come last.
    links.bring_up_loopback().map_err(|source| failed("bring lo up", source.into()))?;
    let dropped = nflog::open().map_err(|source| failed("listen to the packets that are dropped", source))?;
    let v4 = Family::open(Ipv4Addr::LOCALHOST.into()).map_err(|source| failed("listen", source))?;
    // A kernel may have no IPv6; then nothing leaves that way.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
    let v6 = match links.add_to_loopback(ADDRESS6.into()) {
        Ok(()) => Some(Family::open(Ipv6Addr::LOCALHOST.into()).map_err(|source| failed("listen", source))?),
        Err(_) => None,
    };
    load(&nft, &rules(&v4, v6.as_ref()))?;
    settle_tracking();
    let route = |address: IpAddr| links.add_to_loopback(address).and_then(|()| links.route_all_to_loopback(address));
    route(ADDRESS.into()).map_err(|source| failed("route packets to decklog", source.into()))?;
    if v6.is_some() {
        route(ADDRESS6.into()).map_err(|source| failed("route packets to decklog", source.into()))?;
    }
    let (tcp, udp) = [v4].into_iter().chain(v6).map(|family| (family.tcp, family.udp)).unzip();
    Ok(Sockets { dropped, tcp, udp })
}

fn failed(what: &'static str, source: io::Error) -> HelperError {
    HelperError::Make { what, source }
}

/// Has the kernel follow connections as their ends do: one that is half closed is not forgotten after a minute, and what
/// belongs to none is no new one, so that the rules see it. Where this cannot be set, nothing more leaves than otherwise.
fn settle_tracking() {
    let set = |name: &str, value: &str| {
        let _ = std::fs::write(format!("/proc/sys/net/netfilter/nf_conntrack_tcp_{name}"), value);
    };
    set("loose", "0");
    for state in ["close_wait", "fin_wait"] {
        set(&format!("timeout_{state}"), "432000");
    }
}

/// Enters the user namespace, unless it is this one already, and the network namespace.
fn enter(pid: u32) -> Result<(), HelperError> {
    let open = |who: &str, kind: &str| {
        let path = format!("/proc/{who}/ns/{kind}");
        let opened = File::open(&path).and_then(|file| file.metadata().map(|data| (file, (data.dev(), data.ino()))));
        opened.map_err(|source| HelperError::Namespace { path, source })
    };
    let pid = pid.to_string();
    let ((user, theirs), (_, ours)) = (open(&pid, "user")?, open("self", "user")?);
    let ((network, their_network), (_, our_network)) = (open(&pid, "net")?, open("self", "net")?);
    if their_network == our_network {
        return Err(HelperError::Shared);
    }
    let join = |file: &File, kind, name| {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind))
            .map_err(|source| HelperError::Enter { kind: name, source })
    };
    if theirs != ours {
        join(&user, LinkNameSpaceType::User, "user")?;
        keep_for_nft();
    }
    join(&network, LinkNameSpaceType::Network, "network")
}

/// Has nft be allowed what this process is, also where the user is not root in the namespace. If it cannot be, nft says
/// what it may not do.
fn keep_for_nft() {
    use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};
    let may = CapabilitySet::NET_ADMIN;
    let _ = capabilities(None)
        .and_then(|sets| {
            set_capabilities(None, rustix::thread::CapabilitySets { inheritable: sets.inheritable | may, ..sets })
        })
        .and_then(|()| configure_capability_in_ambient_set(may, true));
}

/// The sockets of one family.
struct Family {
    tcp: OwnedFd,
    udp: OwnedFd,
    tcp_port: u16,
    udp_port: u16,
}

impl Family {
    fn open(loopback: IpAddr) -> io::Result<Self> {
        let any = SocketAddr::new(loopback, 0);
        let family = if loopback.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let bound = |kind| -> io::Result<(OwnedFd, u16)> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = rustix::net::socket_with(family, kind, flags, None)?;
            rustix::net::bind(&fd, &any)?;
            let bound = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
            Ok((fd, bound.port()))
        };
        let ((tcp, tcp_port), (udp, udp_port)) = (bound(SocketType::STREAM)?, bound(SocketType::DGRAM)?);
        rustix::net::listen(&tcp, BACKLOG)?;
        Ok(Self { tcp, udp, tcp_port, udp_port })
    }
}

/// Everything goes to decklog or nowhere. As every address is one of `lo`, what were not rejected would be answered by
/// the container itself.
fn rules(v4: &Family, v6: Option<&Family>) -> String {
    let redirect = |name, family: &Family| {
        let Family { tcp_port, udp_port, .. } = family;
        format!(
            "        meta nfproto {name} udp dport 53 redirect to :{udp_port}\n        \
             meta nfproto {name} meta l4proto tcp redirect to :{tcp_port}\n"
        )
    };
    let redirect = redirect("ipv4", v4) + &v6.map_or(String::new(), |family| redirect("ipv6", family));
    let inside = |verdict: &str| {
        format!(
            "        ip daddr {{ 127.0.0.0/8, {ADDRESS} }} {verdict}\n        ip6 daddr {{ ::1, {ADDRESS6} }} {verdict}\n"
        )
    };
    let log = format!("        log group {} snaplen {}\n", nflog::GROUP, nflog::LENGTH);
    // The first two lines make way for the third where the table is there already.
    format!(
        "table inet decklog {{ }}\ndelete table inet decklog\ntable inet decklog {{\n    \
         chain redirected {{\n        type nat hook output priority -100; policy accept;\n{inside}{redirect}    }}\n    \
         chain out {{\n        type filter hook output priority 0; policy drop;\n{accepted}{log}        \
         reject with icmpx type admin-prohibited\n    }}\n    \
         chain in {{\n        type filter hook input priority 0; policy drop;\n{accepted}{log}        drop\n    }}\n}}\n",
        inside = inside("return"),
        accepted = inside("accept"),
    )
}

/// `nft`, also where the path of an ordinary user does not lead.
fn find_nft() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(usual).map(|place| place.join("nft"));
    found.into_iter().find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

fn load(nft: &Path, rules: &str) -> Result<(), HelperError> {
    let run = || -> io::Result<_> {
        let mut child = Command::new(nft)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it does not read, it says why.
            let _ = stdin.write_all(rules.as_bytes());
        }
        child.wait_with_output()
    };
    let output = run().map_err(|source| failed("run nft", source))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("nothing").chars().take(300).collect();
    Err(HelperError::Nft { said })
}
