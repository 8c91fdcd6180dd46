//! Every connection out of a container: made by decklog, if the policy lets it, and recorded.
//!
//! The container has a network namespace of its own with nothing but `lo`. A helper process goes in there before the
//! container's own process starts, has all TCP and all DNS redirected to sockets that it opens, everything else rejected,
//! and hands the sockets out. decklog accepts on them, decides, and makes the connections from the host. There is no
//! other way out: where decklog or a piece of this is missing, nothing passes.
//!
//! Must not know: podman, images, sessions' directories, configuration files.

mod address;
mod dns;
mod grants;
mod handover;
mod helper;
mod netlink;
mod nflog;
mod policy;
mod proxy;
mod record;
mod refusals;
mod relay;
mod rule;
mod shared;
mod sniff;

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use helper::helper;
pub use policy::{Action, Decision, HOST_ADDRESS, HOST_NAME, Mode, Policy};
pub use rule::{Rule, RuleError};

use handover::Sockets;
use proxy::Listeners;
use shared::Shared;

/// The name server to write into a container's `/etc/resolv.conf`. Questions to any address outside the container are
/// answered; this is one that is certainly outside.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// How long the helper may take.
const HELPER: Duration = Duration::from_secs(20);

/// Who is told what happens on the network. All of it is called from the network's own threads, which wait for it.
pub trait Watch: Send + Sync {
    /// Ids of the tool calls that are in progress. Asked when a connection opens.
    fn calls_in_progress(&self) -> Vec<String>;

    /// One whole JSON object in one line, without the newline. Whether it is kept: what begins without a record is not let
    /// through.
    fn record(&self, line: &[u8]) -> bool;

    /// What the user should know. Each thing is said once.
    fn trouble(&self, what: &str);
}

/// Whose network it is; stands in every record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The session's id.
    pub session: String,
    /// The container's id or name.
    pub container: String,
}

/// What went over a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// TCP connections, both kinds together.
    pub connections: u64,
    /// Those that were let through.
    pub allowed: u64,
    /// Those that were not, or that were cut.
    pub denied: u64,
    /// DNS questions.
    pub questions: u64,
    /// Those that were refused.
    pub questions_denied: u64,
    /// Packets that are neither TCP nor DNS, and were dropped.
    pub packets_dropped: u64,
    /// Bytes that the container sent over its connections.
    pub bytes_out: u64,
    /// Bytes that it received over them.
    pub bytes_in: u64,
}

/// Why a container has no network. Nothing leaves it then.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is no program to run.
    #[error("the network's helper is not named")]
    NoHelper,
    /// The helper could not be started.
    #[error("cannot start the network's helper {program}: {source}")]
    Start {
        /// What was to be started.
        program: String,
        /// Why it was not.
        source: io::Error,
    },
    /// The helper says why.
    #[error("the container gets no network: {said}")]
    Helper {
        /// What it says, with what to do next.
        said: String,
    },
    /// The helper said nothing that could be understood.
    #[error("the container gets no network: the helper ended without handing it over ({why})")]
    Silent {
        /// How it ended.
        why: String,
    },
    /// Something is missing on the host's side.
    #[error("the container gets no network: cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// The network of one container. It lasts as long as this value.
#[derive(Debug)]
pub struct Network {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Totals>>,
}

impl Network {
    /// Makes the network of the container whose process is `pid`, which should not run anything of its image yet.
    ///
    /// `helper` is the program that calls [`helper()`], and its words; the pid is put behind them.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, is not the container's own, or has other interfaces; when `nft` is missing;
    /// when anything on the way fails. The container has no network then.
    pub fn attach(
        pid: u32,
        policy: Policy,
        about: About,
        watch: Arc<dyn Watch>,
        helper: &[OsString],
    ) -> Result<Self, NetworkError> {
        allow_many_descriptors();
        let host = |what| move |source: io::Error| NetworkError::Host { what, source };
        let resolvers = match &policy.resolvers[..] {
            [] => dns::upstream::servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
            named => named.to_vec(),
        };
        let ways = netlink::Socket::open(None).map_err(host("ask the kernel for its own addresses"))?;
        let sockets = run_helper(pid, helper)?;
        let shared = Arc::new(Shared::new(policy, resolvers, about, watch, ways));
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("decklog-net".into()).spawn(move || {
            run(&shared, sockets, stopped, &ready);
            shared.totals()
        });
        let thread = thread.map_err(host("start a thread"))?;
        let started = is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
        started.map_err(host("start to serve it"))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Closes every connection, waits until all is recorded, and says what it came to. Nothing passes from then on.
    #[must_use]
    pub fn stop(mut self) -> Totals {
        self.end()
    }

    fn end(&mut self) -> Totals {
        self.stop.send_replace(true);
        // A thread that panicked has said so; its connections are closed with it.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// Serves the container until it is stopped. Says first whether it will.
fn run(shared: &Arc<Shared>, sockets: Sockets, stopped: watch::Receiver<bool>, ready: &mpsc::Sender<io::Result<()>>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("decklog-net").enable_all().build();
    let served = runtime.and_then(|runtime| {
        let listeners = {
            let _inside = runtime.enter();
            Listeners::new(sockets)?
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(proxy::serve(shared.clone(), listeners, stopped));
        Ok(())
    });
    let _ = ready.send(served);
}

/// Two descriptors for each of thousands of connections are more than a shell allows by default.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn run_helper(pid: u32, helper: &[OsString]) -> Result<Sockets, NetworkError> {
    let [program, words @ ..] = helper else { return Err(NetworkError::NoHelper) };
    let start = |source| NetworkError::Start { program: program.to_string_lossy().into_owned(), source };
    let (ours, theirs) = UnixStream::pair().map_err(start)?;
    ours.set_read_timeout(Some(HELPER)).map_err(start)?;
    let mut child = Command::new(program)
        .args(words)
        .arg(pid.to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let received = handover::receive(&ours);
    if received.is_err() {
        // It may hang; what it says is of no use any more.
        let _ = child.kill();
    }
    let why = last_words(&mut child);
    match received {
        Ok(Some(Ok(sockets))) => Ok(sockets),
        Ok(Some(Err(said))) => Err(NetworkError::Helper { said }),
        Ok(None) => Err(NetworkError::Silent { why }),
        Err(error) => Err(NetworkError::Silent { why: error.to_string() }),
    }
}

/// What a helper wrote to stderr, or how it ended.
fn last_words(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(1000).read_to_end(&mut said);
    }
    let status = child.wait();
    let said = String::from_utf8_lossy(&said);
    match (said.trim(), status) {
        ("", Ok(status)) => status.to_string(),
        ("", Err(error)) => error.to_string(),
        (said, _) => said.to_owned(),
    }
}
