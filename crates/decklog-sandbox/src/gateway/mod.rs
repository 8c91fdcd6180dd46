//! Several MCP servers as one.
//!
//! Each server is a process spoken with on its stdio. Clients see one server, whose tools and prompts carry the server's
//! name before their own (`fs__read_file`), and whose resources keep their URIs. What is called is told to a [`Tell`]
//! before it is passed on, and again when it is answered.
//!
//! Must not know: where the servers run, who the clients are, journals.

#![expect(deprecated, reason = "clients and servers of today still speak what the newest revision gives up")]

mod front;
mod http;
mod hub;
mod lines;
mod repair;
mod server;
mod text;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::ServiceExt as _;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

pub use http::{HttpError, HttpPlace};

use front::Front;
use hub::Hub;
use repair::Repaired;
use server::Server;

/// How long the runtime's threads get to end.
const GRACE: Duration = Duration::from_millis(500);

/// A server to be started, and started again.
pub struct ServerCommand {
    /// Its name: letters, digits, `-` and single `_`.
    pub name: String,
    /// Makes the command that starts it.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Ends a call after so long.
    pub call_timeout: Option<Duration>,
}

/// What sort of thing is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A tool is called.
    Tool {
        /// Whether the server says that it changes nothing.
        reads_only: bool,
    },
    /// A resource is read.
    Resource,
    /// A prompt is fetched.
    Prompt,
}

/// Something that a client asks.
#[derive(Debug)]
pub struct Call<'a> {
    /// Unique within the gateway.
    pub id: &'a str,
    /// As the client names it: `fs__read_file`.
    pub name: &'a str,
    /// What sort.
    pub kind: CallKind,
    /// What it is given.
    pub arguments: &'a Value,
}

/// How it was answered.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The call's id.
    pub id: &'a str,
    /// Whether the server, or the gateway, says that it failed.
    pub failed: bool,
    /// What came back, as text.
    pub text: &'a str,
    /// Seconds.
    pub duration_secs: f64,
}

/// Is told what goes through the gateway, from its threads. All of it is hostile text.
pub trait Tell: Send + Sync {
    /// A client has said who it is.
    fn client(&self, name: &str, version: &str, protocol: &str);
    /// A call came, and is passed on when this returns.
    fn call(&self, call: &Call<'_>);
    /// It is answered, and the client learns it when this returns.
    fn answered(&self, answered: &Answered<'_>);
    /// A server wrote this on its stderr.
    fn stderr(&self, server: &str, bytes: &[u8]);
    /// A server came or went, or something else is worth keeping. `code` is a stable word.
    fn notice(&self, code: &'static str, text: &str);
}

/// The servers, and whoever is served with them.
pub struct Gateway {
    runtime: Runtime,
    hub: Arc<Hub>,
    over: Arc<AtomicBool>,
    /// Whether there is a place for the servers to run in.
    gate: tokio::sync::watch::Sender<bool>,
}

impl Gateway {
    /// Makes ready for `servers`, which are started by [`Self::open`]: until then clients can shake hands, and wait for all
    /// else. `workspace` is what servers are told to be the root of their work: a path where they run.
    ///
    /// # Errors
    /// When no threads can be made.
    pub fn new(servers: Vec<ServerCommand>, workspace: &str, tell: Arc<dyn Tell>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let gate = tokio::sync::watch::Sender::new(false);
        let server = |command| Arc::new(Server::new(command, gate.subscribe()));
        let servers = servers.into_iter().map(server).collect();
        let hub = Arc::new(Hub::new(servers, workspace, tell));
        Ok(Self { runtime, hub, over: Arc::default(), gate })
    }

    /// Starts the servers: there is a place for them now.
    pub fn open(&self) {
        for server in self.hub.servers() {
            self.runtime.spawn(Arc::clone(server).keep(Arc::clone(&self.hub)));
        }
        self.gate.send_replace(true);
    }

    /// Serves the client on this process's stdin and stdout. [`Self::is_over`] says when it has left.
    pub fn serve_stdio(&self) {
        let front = Front::new(Arc::clone(&self.hub), false);
        let over = Arc::clone(&self.over);
        self.runtime.spawn(async move {
            if let Ok(running) = front.serve((Repaired::new(tokio::io::stdin()), tokio::io::stdout())).await {
                let _ = running.waiting().await;
            }
            over.store(true, Ordering::Release);
        });
    }

    /// Serves whoever connects to a socket at `path`, whose directory nobody else may enter. With `reads_only`, only tools
    /// that are said to change nothing are offered there.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve_socket(&self, path: &Path, reads_only: bool) -> std::io::Result<()> {
        let _inside = self.runtime.enter();
        let listener = UnixListener::bind(path)?;
        let hub = Arc::clone(&self.hub);
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let front = Front::new(Arc::clone(&hub), reads_only);
                tokio::spawn(async move {
                    if let Ok(running) = front.serve(Repaired::new(stream)).await {
                        let _ = running.waiting().await;
                    }
                });
            }
        });
        Ok(())
    }

    /// Serves streamable HTTP. Gives the address it listens on.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn serve_http(&self, place: HttpPlace) -> Result<std::net::SocketAddr, HttpError> {
        self.runtime.block_on(http::listen(Arc::clone(&self.hub), place))
    }

    /// Each server's name and what is wrong with it, once every one has come up or failed.
    #[must_use]
    pub fn states(&self) -> Option<Vec<(String, Option<String>)>> {
        let state = |server: &Arc<Server>| Some((server.name().to_owned(), server.state()?));
        self.hub.servers().iter().map(state).collect()
    }

    /// Whether the client on stdio has left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How many calls are under way.
    #[must_use]
    pub fn calls_open(&self) -> usize {
        self.hub.calls_open()
    }

    /// Ends the servers, and with them what is under way.
    pub fn stop(self) {
        self.hub.close();
        self.runtime.shutdown_timeout(GRACE);
    }
}
