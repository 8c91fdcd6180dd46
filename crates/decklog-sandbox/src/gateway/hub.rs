//! Who is connected to what: the servers on one side, the clients on the other.
//!
//! Must not know: what is asked and answered.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rmcp::RoleServer;
use rmcp::model::{
    ClientCapabilities, LoggingLevel, LoggingMessageNotificationParam, ResourceUpdatedNotificationParam,
};
use rmcp::service::{Peer, SubscriptionSink};
use serde_json::Value;

use super::server::{Changed, Server};
use super::{Answered, Call, CallKind, Tell};

/// Between a server's name and a tool's.
const BETWEEN: &str = "__";

/// A client, once it has said who it is.
struct Client {
    id: u64,
    /// What it is told things through: a client of the handshake has itself, one without has listening requests.
    way: Way,
    can: ClientCapabilities,
    level: Option<LoggingLevel>,
    subscribed: Vec<String>,
}

#[derive(Clone)]
enum Way {
    Peer(Peer<RoleServer>),
    Listening(SubscriptionSink),
}

pub(super) struct Hub {
    servers: Vec<Arc<Server>>,
    workspace: String,
    tell: Arc<dyn Tell>,
    clients: Mutex<Vec<Client>>,
    next: AtomicU64,
    open: AtomicUsize,
}

/// A call under way.
pub(super) struct Open<'a> {
    hub: &'a Hub,
    id: String,
    began: Instant,
    answered: bool,
}

impl Hub {
    pub(super) fn new(servers: Vec<Arc<Server>>, workspace: &str, tell: Arc<dyn Tell>) -> Self {
        Self {
            servers,
            workspace: workspace.to_owned(),
            tell,
            clients: Mutex::default(),
            next: AtomicU64::new(1),
            open: AtomicUsize::new(0),
        }
    }

    pub(super) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    pub(super) fn workspace(&self) -> &str {
        &self.workspace
    }

    pub(super) fn tell(&self) -> &dyn Tell {
        &*self.tell
    }

    pub(super) fn calls_open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        for server in &self.servers {
            server.close();
        }
    }

    /// The server and its own name for what a client calls `name`.
    pub(super) fn route<'a>(&self, name: &'a str) -> Option<(&Arc<Server>, &'a str)> {
        let (server, own) = name.split_once(BETWEEN)?;
        let server = self.servers.iter().find(|known| known.name() == server)?;
        Some((server, own))
    }

    /// The server that offers the resource `uri`: one that lists it, else one with a template that may fit, else the only one.
    pub(super) fn route_uri(&self, uri: &str) -> Option<&Arc<Server>> {
        let lists = |server: &&Arc<Server>| server.offer().resources.iter().any(|resource| resource.uri == uri);
        let fits = |server: &&Arc<Server>| {
            // What stands before the first variable must be the same.
            let begins = |template: &str| uri.starts_with(template.split('{').next().unwrap_or_default());
            server.offer().templates.iter().any(|template| begins(&template.uri_template))
        };
        let mut found = self.servers.iter().find(lists).or_else(|| self.servers.iter().find(fits));
        if let ([only], None) = (self.servers.as_slice(), found) {
            found = Some(only);
        }
        found
    }

    /// What a client calls `own` of `server`.
    pub(super) fn published(server: &Server, own: &str) -> String {
        format!("{}{BETWEEN}{own}", server.name())
    }

    pub(super) fn new_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A call begins: told before anybody acts on it.
    pub(super) fn begin(&self, name: &str, kind: CallKind, arguments: &Value) -> Open<'_> {
        let id = format!("call-{}", self.new_id());
        self.open.fetch_add(1, Ordering::AcqRel);
        self.tell.call(&Call { id: &id, name, kind, arguments });
        Open { hub: self, id, began: Instant::now(), answered: false }
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn joined(&self, id: u64, peer: Peer<RoleServer>, can: ClientCapabilities) {
        let mut clients = self.clients();
        clients.retain(|client| client.id != id);
        clients.push(Client { id, way: Way::Peer(peer), can, level: None, subscribed: Vec::new() });
    }

    pub(super) fn listening(&self, id: u64, sink: SubscriptionSink) {
        let can = ClientCapabilities::default();
        self.clients().push(Client { id, way: Way::Listening(sink), can, level: None, subscribed: Vec::new() });
    }

    pub(super) fn left(&self, id: u64) {
        self.clients().retain(|client| client.id != id);
    }

    pub(super) fn set_level(&self, id: u64, level: LoggingLevel) {
        for client in self.clients().iter_mut().filter(|client| client.id == id) {
            client.level = Some(level);
        }
    }

    pub(super) fn subscribe(&self, id: u64, uri: &str, wanted: bool) {
        for client in self.clients().iter_mut().filter(|client| client.id == id) {
            client.subscribed.retain(|known| known != uri);
            if wanted {
                client.subscribed.push(uri.to_owned());
            }
        }
    }

    /// A client that can be asked to ask its user. Several clients: the one that came last.
    pub(super) fn client_that_elicits(&self) -> Option<Peer<RoleServer>> {
        self.peer_that(|can| can.elicitation.is_some())
    }

    /// A client that lets servers use its model.
    pub(super) fn client_that_samples(&self) -> Option<Peer<RoleServer>> {
        self.peer_that(|can| can.sampling.is_some())
    }

    fn peer_that(&self, can: impl Fn(&ClientCapabilities) -> bool) -> Option<Peer<RoleServer>> {
        self.clients().iter().rev().find_map(|client| match &client.way {
            Way::Peer(peer) if can(&client.can) => Some(peer.clone()),
            _ => None,
        })
    }

    /// Tells every client that what is offered has changed.
    pub(super) fn lists_changed(self: &Arc<Self>, changed: Changed) {
        let ways: Vec<Way> = self.clients().iter().map(|client| client.way.clone()).collect();
        tokio::spawn(async move {
            for way in ways {
                // A client that is gone, or wants none of it, needs no word.
                if changed.tools {
                    match &way {
                        Way::Peer(peer) => drop(peer.notify_tool_list_changed().await),
                        Way::Listening(sink) => drop(sink.notify_tool_list_changed().await),
                    }
                }
                if changed.prompts {
                    match &way {
                        Way::Peer(peer) => drop(peer.notify_prompt_list_changed().await),
                        Way::Listening(sink) => drop(sink.notify_prompt_list_changed().await),
                    }
                }
                if changed.resources {
                    match &way {
                        Way::Peer(peer) => drop(peer.notify_resource_list_changed().await),
                        Way::Listening(sink) => drop(sink.notify_resource_list_changed().await),
                    }
                }
            }
        });
    }

    /// Passes a server's log message to whoever wants such.
    pub(super) async fn log(&self, message: LoggingMessageNotificationParam) {
        let wants = |client: &Client| client.level.is_none_or(|level| rank(message.level) >= rank(level));
        let peers: Vec<Peer<RoleServer>> = self
            .clients()
            .iter()
            .filter(|client| wants(client))
            .filter_map(|client| if let Way::Peer(peer) = &client.way { Some(peer.clone()) } else { None })
            .collect();
        for peer in peers {
            let _ = peer.notify_logging_message(message.clone()).await;
        }
    }

    /// Passes on that a resource has changed, to whoever asked for it.
    pub(super) async fn updated(&self, what: ResourceUpdatedNotificationParam) {
        let wants = |client: &Client| match &client.way {
            Way::Peer(_) => client.subscribed.contains(&what.uri),
            // The sink knows what was asked for.
            Way::Listening(_) => true,
        };
        let ways: Vec<Way> =
            self.clients().iter().filter(|client| wants(client)).map(|client| client.way.clone()).collect();
        for way in ways {
            match way {
                Way::Peer(peer) => drop(peer.notify_resource_updated(what.clone()).await),
                Way::Listening(sink) => drop(sink.notify_resource_updated(what.uri.clone()).await),
            }
        }
    }
}

fn rank(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

impl Open<'_> {
    /// The call is answered: told before the client learns it.
    pub(super) fn answered(mut self, failed: bool, text: &str) {
        self.tell(failed, text);
    }

    fn tell(&mut self, failed: bool, text: &str) {
        self.answered = true;
        let duration_secs = self.began.elapsed().as_secs_f64();
        self.hub.tell.answered(&Answered { id: &self.id, failed, text, duration_secs });
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(true, "the client left before there was an answer");
        }
        self.hub.open.fetch_sub(1, Ordering::AcqRel);
    }
}
