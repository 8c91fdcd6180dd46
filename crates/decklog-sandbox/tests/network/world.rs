//! A box, a host and an internet: three network namespaces, the last two with a cable between them.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use decklog_sandbox::network::{About, Network, NetworkError, Policy, Rule, Totals, Watch};
use rustix::thread::LinkNameSpaceType;
use serde_json::Value;

use crate::server::NameServer;

/// The address of the internet's name server.
pub(crate) const SERVER: &str = "198.51.100.53:53";

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A network namespace, kept by a process that sleeps in it.
pub(crate) struct Space {
    keeper: Child,
    _resolv_conf: tempfile::NamedTempFile,
}

impl Space {
    /// One with `lo` and nothing else, whose programs ask the name server of a box.
    pub(crate) fn new() -> Self {
        Self::made_by(&["unshare", "--net", "--mount"])
    }

    /// The same, by this command, to which the program is added that sleeps.
    pub(crate) fn made_by(command: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let mut resolv_conf = tempfile::NamedTempFile::new().expect("a file");
        writeln!(resolv_conf, "nameserver 10.200.0.1").expect("written");
        std::fs::set_permissions(resolv_conf.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .expect("readable");
        let script = r#"mount --bind "$0" /etc/resolv.conf; exec sleep infinity"#;
        let keeper = Command::new(command[0])
            .args(&command[1..])
            .args(["sh", "-c", script])
            .arg(resolv_conf.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare runs");
        let comm = format!("/proc/{}/comm", keeper.id());
        until("the namespace is made", || std::fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n"));
        Self { keeper, _resolv_conf: resolv_conf }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Does something in there, in a thread. Sockets that are made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/proc/{}/ns/net", self.pid())).expect("a namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                rustix::thread::move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("entered");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a script in there.
    pub(crate) fn sh(&self, script: &str) -> Output {
        let pid = self.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--net", "--mount", "sh", "-c", script]).stdin(Stdio::null());
        command.output().expect("nsenter runs")
    }

    /// What a script in there prints; it has to succeed.
    pub(crate) fn told(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Connects from in there.
    pub(crate) fn connect(&self, to: &str) -> std::io::Result<TcpStream> {
        let to: SocketAddr = to.parse().expect("an address");
        let stream = self.enter(|| TcpStream::connect_timeout(&to, DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Listens in there, and gives each connection to `handler`, in a thread of its own.
    pub(crate) fn serve(&self, at: &str, handler: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
        let listener = self.enter(|| TcpListener::bind(at)).expect(at);
        rustix::net::listen(&listener, 4096).expect("a longer queue");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let handler = handler.clone();
                std::thread::spawn(move || handler(stream));
            }
        });
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Keeps what the network tells.
#[derive(Default)]
pub(crate) struct Told {
    calls: Mutex<Vec<String>>,
    /// Beginnings of connections and questions; what became of them is a record.
    opened: Mutex<Vec<Value>>,
    records: Mutex<Vec<Value>>,
    bytes: AtomicUsize,
    is_full: AtomicBool,
    troubles: Mutex<Vec<String>>,
    news: Condvar,
}

impl Told {
    pub(crate) fn opened(&self) -> Vec<Value> {
        self.opened.lock().expect("openings").clone()
    }
}

impl Watch for Told {
    fn calls_in_progress(&self) -> Vec<String> {
        self.calls.lock().expect("calls").clone()
    }

    fn record(&self, line: &[u8]) -> bool {
        assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)), "one line, and printable");
        if self.is_full.load(Ordering::SeqCst) {
            return false;
        }
        self.bytes.fetch_add(line.len() + 1, Ordering::SeqCst);
        let record: Value = serde_json::from_slice(line).expect("JSON");
        let records = if record["conn_state"] == "OPEN" { &self.opened } else { &self.records };
        records.lock().expect("records").push(record);
        self.news.notify_all();
        true
    }

    fn trouble(&self, what: &str) {
        self.troubles.lock().expect("troubles").push(what.to_owned());
    }
}

/// A box with a network, on a host, with an internet.
pub(crate) struct World {
    pub(crate) inside: Space,
    pub(crate) host: Space,
    pub(crate) internet: Space,
    pub(crate) names: NameServer,
    pub(crate) told: Arc<Told>,
    network: Option<Network>,
}

/// Rules from their texts.
pub(crate) fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

/// What is started as the helper.
pub(crate) fn helper() -> OsString {
    let mut place: PathBuf = std::env::current_exe().expect("this program");
    place.pop();
    place.pop();
    let place = place.join("examples/netns-helper");
    if !place.exists() {
        let cargo = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "decklog-sandbox", "--example", "netns-helper"])
            .status();
        assert!(cargo.is_ok_and(|status| status.success()) && place.exists(), "the helper is built");
    }
    place.into_os_string()
}

/// Makes the network of a box from a host.
pub(crate) fn attach(
    host: &Space,
    pid: u32,
    policy: Policy,
    told: &Arc<Told>,
    helper: &[OsString],
) -> Result<Network, NetworkError> {
    let about = About { session: "20261122T010203-abcd".into(), container: "box".into() };
    host.enter(|| Network::attach(pid, policy, about, told.clone(), helper))
}

impl World {
    /// One in which only this is allowed.
    pub(crate) fn filter(allow: &[&str]) -> Self {
        Self::new(Policy::filter(rules(allow)))
    }

    /// One in which everything is recorded.
    pub(crate) fn audit() -> Self {
        Self::new(Policy::audit())
    }

    pub(crate) fn new(policy: Policy) -> Self {
        let (inside, host, internet) = (Space::new(), Space::new(), Space::new());
        host.told(&format!(
            "ip link set lo up; ip link add cable type veth peer name cable netns {} &&
             ip address add 198.51.100.1/24 dev cable && ip -6 address add 2001:db8::1/64 dev cable nodad &&
             ip link set cable up",
            internet.pid()
        ));
        internet.told(
            "ip link set lo up; ip address add 198.51.100.7/24 dev cable && ip address add 198.51.100.53/24 dev cable &&
             ip address add 198.51.100.8/24 dev cable && ip -6 address add 2001:db8::7/64 dev cable nodad &&
             ip link set cable up",
        );
        let names = NameServer::start(&internet);
        let policy = match policy.resolvers.is_empty() {
            true => Policy { resolvers: vec![SERVER.parse().expect("an address")], ..policy },
            false => policy,
        };
        let told = Arc::<Told>::default();
        let network = attach(&host, inside.pid(), policy, &told, &[helper()]).expect("a network");
        Self { inside, host, internet, names, told, network: Some(network) }
    }

    /// The tool calls that are in progress from now on.
    pub(crate) fn calls(&self, ids: &[&str]) {
        *self.told.calls.lock().expect("calls") = ids.iter().map(ToString::to_string).collect();
    }

    /// The first record that fits, waited for.
    pub(crate) fn record(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut records = self.told.records.lock().expect("records");
        loop {
            if let Some(found) = records.iter().find(|record| fits(record)) {
                return found.clone();
            }
            assert!(began.elapsed() < DEADLINE, "no record fits: {records:#?}");
            records = self.told.news.wait_timeout(records, Duration::from_millis(100)).expect("records").0;
        }
    }

    /// The record of the connection to this address and port, waited for.
    pub(crate) fn connection(&self, to: &str) -> Value {
        let to: SocketAddr = to.parse().expect("an address");
        self.record(|record| {
            record["proto"] == "tcp"
                && record["query"].is_null()
                && record["id.resp_h"] == to.ip().to_string()
                && record["id.resp_p"] == to.port()
        })
    }

    /// Everything that was recorded.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.told.records.lock().expect("records").clone()
    }

    /// The beginnings that were recorded.
    pub(crate) fn opened(&self) -> Vec<Value> {
        self.told.opened()
    }

    /// Bytes that were recorded.
    pub(crate) fn bytes_recorded(&self) -> usize {
        self.told.bytes.load(Ordering::SeqCst)
    }

    /// Whether nothing is kept from now on.
    pub(crate) fn fill_disk(&self, is_full: bool) {
        self.told.is_full.store(is_full, Ordering::SeqCst);
    }

    /// What was said to be wrong.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.told.troubles.lock().expect("troubles").clone()
    }

    /// Ends the network.
    pub(crate) fn stop(&mut self) -> Totals {
        self.network.take().expect("a network").stop()
    }
}

/// Some of a record's values, in one line.
pub(crate) fn brief(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
    let keys = ["service", "conn_state", "decklog.action", "decklog.rule", "decklog.host", "decklog.claimed"];
    keys.map(text).join(" ")
}
