//! How a network is made, and what is said when it is not.

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;

use decklog_sandbox::network::{NetworkError, Policy};

use crate::server::http;
use crate::world::{Space, Told, World, attach, brief, helper, rules};

fn attached(pid: u32, host: &Space, helper: &[OsString]) -> Result<(), NetworkError> {
    attach(host, pid, Policy::audit(), &Arc::<Told>::default(), helper).map(drop)
}

fn error(pid: u32, host: &Space, helper: &[OsString]) -> String {
    attached(pid, host, helper).expect_err("there is no network").to_string()
}

#[test]
fn what_is_missing_is_said_and_nothing_is_made() {
    let (inside, host) = (Space::new(), Space::new());
    let before = inside.told("ip address; ip route show table all; ip -6 route show table all");
    // Where there is no nft, neither on the path nor beside it.
    let script =
        r#"for place in /usr/sbin /usr/local/sbin; do mount -t tmpfs none $place; done; PATH=/nowhere exec "$0" "$@""#;
    let without: Vec<OsString> = ["unshare", "--mount", "sh", "-c", script].map(OsString::from).to_vec();
    let said = error(inside.pid(), &host, &[without, vec![helper()]].concat());
    assert_eq!(said, "the container gets no network: the program nft is not there; install the package nftables");
    let broken: Vec<OsString> = ["sh", "-c", "echo broken >&2; exit 3"].map(OsString::from).to_vec();
    let said = error(inside.pid(), &host, &broken);
    assert_eq!(said, "the container gets no network: the helper ended without handing it over (broken)");
    assert!(error(inside.pid(), &host, &["/nowhere/helper".into()]).contains("cannot start"));
    assert!(error(inside.pid(), &host, &[]).contains("not named"));
    assert!(error(u32::MAX / 2, &host, &[helper()]).contains("is the container still there"));
    let after = inside.told("ip address; ip route show table all; ip -6 route show table all");
    assert_eq!(before, after, "nothing is made");
    assert!(inside.connect("1.1.1.1:80").is_err());
}

#[test]
fn a_namespace_that_is_not_the_containers_own() {
    let (inside, host) = (Space::new(), Space::new());
    assert!(error(host.pid(), &host, &[helper()]).contains("no network namespace of its own"));
    assert!(error(std::process::id(), &host, &[helper()]).contains("network interface besides lo"));
    inside.told("ip link add other type veth peer name one && ip link set other up");
    assert!(error(inside.pid(), &host, &[helper()]).contains("network interface besides lo"));
    assert!(!host.told("nft list tables").contains("decklog"), "the host is left alone");
    inside.told("ip link delete other");
    attached(inside.pid(), &host, &[helper()]).expect("a network");
}

#[test]
fn made_again_it_is_the_same() {
    let mut world = World::filter(&["198.51.100.7"]);
    world.internet.serve("198.51.100.7:80", http);
    let curl = "curl -sS --max-time 30 http://198.51.100.7/";
    assert_eq!(world.inside.told(curl), "hello\n");
    let _ = world.stop();
    assert!(!world.inside.sh(curl).status.success());
    let again =
        attach(&world.host, world.inside.pid(), Policy::filter(rules(&["198.51.100.7"])), &world.told, &[helper()]);
    let again = again.expect("a network");
    assert_eq!(world.inside.told(curl), "hello\n");
    drop(again);
    assert!(!world.inside.sh(curl).status.success());
    assert_eq!(world.inside.told("nft list tables"), "table inet decklog\n");
}

#[test]
fn inside_the_container_things_talk_to_each_other() {
    let world = World::filter(&[]);
    for at in ["127.0.0.1:8000", "[::1]:8000", "10.200.0.2:8001"] {
        let listener = world.inside.enter(|| TcpListener::bind(at)).expect(at);
        let client = world.inside.connect(at).expect("connected");
        let (_, from) = listener.accept().expect("accepted");
        assert_eq!(client.local_addr().expect("an address"), from);
    }
    assert!(world.records().is_empty(), "{:?}", world.records());
}

#[test]
fn the_helper_does_nothing_for_others() {
    let inside = Space::new();
    let before = inside.told("ip address");
    let run = std::process::Command::new(helper()).arg(inside.pid().to_string()).stdin(Stdio::null()).status();
    assert_eq!(run.expect("it runs").code(), Some(2));
    assert_eq!(inside.told("ip address"), before);
}

#[test]
fn an_ordinary_users_container() {
    for root in ["--map-root-user", "--map-current-user"] {
        ordinary(root);
    }
}

/// The box of a user who is root in it, or who is not.
fn ordinary(root: &str) {
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let inside = Space::made_by(&[&user[..], &["unshare", "--user", root, "--net", "--mount"]].concat());
    let world = World::audit();
    world.internet.serve("198.51.100.7:80", http);
    // The helper is started as that user, as it would be by decklog.
    let place = tempfile::tempdir().expect("a directory");
    let copy = place.path().join("helper");
    std::fs::copy(helper(), &copy).expect("copied");
    for path in [place.path(), &copy] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("open to all");
    }
    let words = user.iter().map(OsString::from).chain([copy.into_os_string()]).collect::<Vec<_>>();
    let network = attach(&world.host, inside.pid(), Policy::audit(), &world.told, &words).expect("a network");
    let mut client = inside.connect("198.51.100.7:80").expect("connected");
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("sent");
    let said = std::io::read_to_string(&mut client).expect("read");
    assert!(said.ends_with("hello\n"), "{said}");
    drop(client);
    assert_eq!(brief(&world.connection("198.51.100.7:80")), "http SF allow default - a.test");
    assert!(!inside.sh("busybox ping -c 1 -W 1 8.8.8.8").status.success());
    assert_eq!(network.stop().allowed, 1);
    let dropped = world.record(|record| record["proto"] == "icmp");
    assert_eq!(dropped["decklog.action"], "drop");
    assert!(inside.enter(|| TcpStream::connect("198.51.100.7:80")).is_err(), "it is over");
}
