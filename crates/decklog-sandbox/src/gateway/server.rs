//! One server: started, spoken with, and started again when it dies.
//!
//! Must not know: the other servers.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, Implementation, ListRootsResult, LoggingLevel,
    LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam, ProgressToken, Prompt,
    RequestMetaObject, Resource, ResourceTemplate, ResourceUpdatedNotificationParam, Root, ServerCapabilities,
    ServerResult, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt as _, NotificationContext, Peer, PeerRequestOptions, RequestContext,
    RequestHandle, RunningService,
};
use rmcp::{ClientHandler, ErrorData, RoleClient, RoleServer, ServiceError};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore, watch};

use super::ServerCommand;
use super::hub::Hub;
use super::lines::{LONGEST, Lines, TOO_LONG};
use super::repair::Repaired;

/// How long a server may take to say what it is and what it offers.
const STARTING: Duration = Duration::from_secs(30);
/// The pause before a server that died is started again; doubled each time it dies soon.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that lived so long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);
/// How long a server that is to go gets after its stdin is closed.
const LEAVING: Duration = Duration::from_secs(1);
/// Pages of a list that are asked for. One that has more is without end.
const PAGES: usize = 256;

/// What a server offers, as it told last.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer {
    pub(super) tools: Vec<Tool>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) resources: Vec<Resource>,
    pub(super) templates: Vec<ResourceTemplate>,
}

/// Which of the lists of what is offered are other ones now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changed {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
}

/// Where a server stands.
#[derive(Debug, Clone)]
enum Standing {
    Starting,
    Up(Peer<RoleClient>),
    Down(String),
}

/// Why a request has no answer of the server's.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The server is not there.
    Down(String),
    /// It took too long.
    TimedOut(Duration),
    /// The answer has more bytes than this.
    TooLong(usize),
    /// The client took the request back.
    Cancelled,
    /// The server says that the request is wrong.
    Refused(ErrorData),
}

/// A client's request that waits for progress: whom to tell, and under which token.
type Waiting = (Peer<RoleServer>, ProgressToken);

pub(super) struct Server {
    spec: ServerCommand,
    gate: watch::Receiver<bool>,
    standing: watch::Sender<Standing>,
    offer: std::sync::RwLock<Arc<Offer>>,
    waiting: Mutex<HashMap<ProgressToken, Waiting>>,
    level: std::sync::Mutex<Option<LoggingLevel>>,
    closed: AtomicBool,
    leave: tokio::sync::Notify,
    /// Who asks again what it offers: one that does, and one that waits to, since the answer may be an old one by then.
    renewing: (Semaphore, Mutex<()>),
}

impl Server {
    /// One that is started once `gate` is true.
    pub(super) fn new(spec: ServerCommand, gate: watch::Receiver<bool>) -> Self {
        Self {
            spec,
            gate,
            standing: watch::Sender::new(Standing::Starting),
            offer: std::sync::RwLock::default(),
            waiting: Mutex::default(),
            level: std::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            leave: tokio::sync::Notify::new(),
            renewing: (Semaphore::new(2), Mutex::default()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it offers; the last known while it is down.
    pub(super) fn offer(&self) -> Arc<Offer> {
        self.offer.read().map(|offer| Arc::clone(&offer)).unwrap_or_default()
    }

    /// What is wrong with it, once it has come up or failed.
    pub(super) fn state(&self) -> Option<Option<String>> {
        match &*self.standing.borrow() {
            Standing::Starting => None,
            Standing::Up(_) => Some(None),
            Standing::Down(why) => Some(Some(why.clone())),
        }
    }

    /// Waits until it has come up or failed, and says what is wrong with it.
    pub(super) async fn settled(&self) -> Option<String> {
        // An image may be built first, which takes as long as it takes.
        if self.gate.clone().wait_for(|open| *open).await.is_err() {
            return Some("there is no container".into());
        }
        let mut standing = self.standing.subscribe();
        let settled = standing.wait_for(|standing| !matches!(standing, Standing::Starting));
        match tokio::time::timeout(STARTING, settled).await {
            Ok(Ok(standing)) => match &*standing {
                Standing::Down(why) => Some(why.clone()),
                Standing::Starting | Standing::Up(_) => None,
            },
            _ => Some(late()),
        }
    }

    /// Lets it go, for good.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.leave.notify_one();
    }

    /// Starts it, and starts it again whenever it dies, until it is closed.
    pub(super) async fn keep(self: Arc<Self>, hub: Arc<Hub>) {
        let mut pause = FIRST_PAUSE;
        while !self.closed.load(Ordering::Acquire) {
            let began = Instant::now();
            let why = self.live(&hub).await;
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            if began.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            hub.tell().notice("mcp_server_down", &format!("{}: {why}; started again in {pause:?}", self.name()));
            self.standing.send_replace(Standing::Down(why));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leave.notified() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One life of it: why it ended.
    async fn live(self: &Arc<Self>, hub: &Arc<Hub>) -> String {
        let mut child = match self.spawn(hub) {
            Ok(child) => child,
            Err(error) => return format!("it could not be started: {error}"),
        };
        let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
            return "it has no stdio".into();
        };
        let upstream = Upstream { server: Arc::clone(self), hub: Arc::clone(hub) };
        let lifecycle = ClientLifecycleMode::Initialize;
        let opening = async {
            let opened = upstream.serve_with_lifecycle((Lines::new(Repaired::new(stdout)), stdin), lifecycle).await;
            let running = opened.map_err(|error| format!("it does not speak MCP: {error}"))?;
            let changed = self.renew(running.peer()).await?;
            Ok((running, changed))
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(STARTING, opening) => opened.unwrap_or_else(|_| Err(late())),
            () = self.leave.notified() => return "it was ended".into(),
        };
        let why = match opened {
            Ok((running, changed)) => self.serve(running, changed, hub).await,
            Err(why) => why,
        };
        let ended = match tokio::time::timeout(LEAVING, child.wait()).await {
            Ok(Ok(status)) => format!(" ({status})"),
            _ => {
                let _ = child.kill().await;
                String::new()
            }
        };
        format!("{why}{ended}")
    }

    fn spawn(&self, hub: &Arc<Hub>) -> std::io::Result<Child> {
        let mut command = Command::from((self.spec.command)());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C at a terminal is for the recorder, which ends its servers itself.
        command.process_group(0);
        let mut child = command.spawn()?;
        if let Some(mut stderr) = child.stderr.take() {
            let (hub, name) = (Arc::clone(hub), self.spec.name.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                    hub.tell().stderr(&name, &buffer[..read]);
                }
            });
        }
        Ok(child)
    }

    async fn serve(&self, running: RunningService<RoleClient, Upstream>, changed: Changed, hub: &Arc<Hub>) -> String {
        let peer = running.peer().clone();
        let stop = running.cancellation_token();
        let level = self.level.lock().map(|level| *level).unwrap_or_default();
        if let Some(level) = level {
            self.pass_level(&peer, level).await;
        }
        self.standing.send_replace(Standing::Up(peer));
        hub.lists_changed(changed);
        tokio::select! {
            _ = running.waiting() => {}
            () = self.leave.notified() => stop.cancel(),
        }
        self.waiting.lock().await.clear();
        "it ended".into()
    }

    /// Asks again what it offers.
    async fn renew(&self, peer: &Peer<RoleClient>) -> Result<Changed, String> {
        let can = peer.peer_info().map(|info| info.capabilities.clone()).unwrap_or_default();
        let ServerCapabilities { tools, prompts, resources, .. } = can;
        let mut offer = Offer::default();
        if tools.is_some() {
            let mut pages = Pages::default();
            while let Some(which) = pages.next()? {
                let page = peer.list_tools(Some(which)).await.map_err(|error| unlisted(&error))?;
                offer.tools.extend(page.tools);
                pages.goes_on(page.next_cursor);
            }
        }
        if prompts.is_some() {
            let mut pages = Pages::default();
            while let Some(which) = pages.next()? {
                let page = peer.list_prompts(Some(which)).await.map_err(|error| unlisted(&error))?;
                offer.prompts.extend(page.prompts);
                pages.goes_on(page.next_cursor);
            }
        }
        if resources.is_some() {
            let mut pages = Pages::default();
            while let Some(which) = pages.next()? {
                let page = peer.list_resources(Some(which)).await.map_err(|error| unlisted(&error))?;
                offer.resources.extend(page.resources);
                pages.goes_on(page.next_cursor);
            }
            let mut pages = Pages::default();
            while let Some(which) = pages.next()? {
                // Some have resources and know of no templates.
                let Ok(page) = peer.list_resource_templates(Some(which)).await else { break };
                offer.templates.extend(page.resource_templates);
                pages.goes_on(page.next_cursor);
            }
        }
        let known = self.offer();
        let changed = Changed {
            tools: known.tools != offer.tools,
            prompts: known.prompts != offer.prompts,
            resources: known.resources != offer.resources || known.templates != offer.templates,
        };
        if let Ok(mut known) = self.offer.write() {
            *known = Arc::new(offer);
        }
        Ok(changed)
    }

    /// Asks it for log messages from `level` on, now and whenever it starts again.
    pub(super) async fn set_level(&self, level: LoggingLevel) {
        if let Ok(mut known) = self.level.lock() {
            *known = Some(level);
        }
        let peer = match &*self.standing.borrow() {
            Standing::Up(peer) => Some(peer.clone()),
            Standing::Starting | Standing::Down(_) => None,
        };
        if let Some(peer) = peer {
            self.pass_level(&peer, level).await;
        }
    }

    async fn pass_level(&self, peer: &Peer<RoleClient>, level: LoggingLevel) {
        if peer.peer_info().is_some_and(|info| info.capabilities.logging.is_some()) {
            // One that refuses goes on logging as it likes.
            let _ = peer.set_level(rmcp::model::SetLevelRequestParams::new(level)).await;
        }
    }

    async fn peer(&self) -> Result<Peer<RoleClient>, Unanswered> {
        if let Some(why) = self.settled().await {
            return Err(Unanswered::Down(why));
        }
        match &*self.standing.borrow() {
            Standing::Up(peer) => Ok(peer.clone()),
            Standing::Starting => Err(Unanswered::Down("it is starting".into())),
            Standing::Down(why) => Err(Unanswered::Down(why.clone())),
        }
    }

    /// Passes a client's request on, and gives the server's answer.
    pub(super) async fn ask(
        &self,
        request: ClientRequest,
        context: &RequestContext<RoleServer>,
    ) -> Result<ServerResult, Unanswered> {
        let peer = self.peer().await?;
        let mut meta = RequestMetaObject::default();
        // What the client's own client is, is its affair with us; the rest is for the server.
        let ours = |key: &str| key.starts_with("io.modelcontextprotocol/") || key == "progressToken";
        meta.extend(context.meta.clone());
        meta.retain(|key, _| !ours(key));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let mut handle = {
            // Held over the sending, so that no progress can come before it is known whose it is.
            let mut waiting = self.waiting.lock().await;
            let sent = peer.send_request_with_option(request, options).await;
            let handle = sent.map_err(|error| self.gone(&error))?;
            if let Some(token) = context.meta.get_progress_token() {
                waiting.insert(handle.progress_token.clone(), (context.peer.clone(), token));
            }
            handle
        };
        let token = handle.progress_token.clone();
        let limit = async {
            match self.spec.call_timeout {
                Some(limit) => {
                    tokio::time::sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            answer = &mut handle.rx => match answer {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(ServiceError::McpError(error))) if error.code.0 == TOO_LONG => Err(Unanswered::TooLong(LONGEST)),
                Ok(Err(ServiceError::McpError(error))) => Err(Unanswered::Refused(error)),
                Ok(Err(error)) => Err(self.gone(&error)),
                Err(_) => Err(self.gone(&ServiceError::TransportClosed)),
            },
            () = context.ct.cancelled() => {
                take_back(handle, "the client took the request back");
                Err(Unanswered::Cancelled)
            }
            limit = limit => {
                take_back(handle, "the call took too long");
                Err(Unanswered::TimedOut(limit))
            }
        };
        self.waiting.lock().await.remove(&token);
        answer
    }

    fn gone(&self, error: &ServiceError) -> Unanswered {
        Unanswered::Down(match error {
            ServiceError::TransportClosed => "it ended in the middle of the call".into(),
            error => error.to_string(),
        })
    }
}

fn late() -> String {
    format!("it did not answer within {} s", STARTING.as_secs())
}

/// Tells the server that nobody waits any more. It may be one that reads nothing: nobody waits for that either.
fn take_back(handle: RequestHandle<RoleClient>, why: &'static str) {
    tokio::spawn(async move { handle.cancel(Some(why.into())).await });
}

fn unlisted(error: &ServiceError) -> String {
    format!("it does not say what it offers: {error}")
}

/// Where one stands in a list that comes in pages.
#[derive(Default)]
struct Pages {
    asked: usize,
    over: bool,
    cursor: Option<String>,
}

impl Pages {
    /// The page to ask for next, if there is one.
    fn next(&mut self) -> Result<Option<PaginatedRequestParams>, String> {
        if self.over {
            return Ok(None);
        }
        self.asked += 1;
        if self.asked > PAGES {
            return Err(format!("what it offers has no end: more than {PAGES} pages"));
        }
        Ok(Some(PaginatedRequestParams::default().with_cursor(self.cursor.take())))
    }

    fn goes_on(&mut self, cursor: Option<String>) {
        self.over = cursor.is_none();
        self.cursor = cursor;
    }
}

/// What a server sees: one client.
struct Upstream {
    server: Arc<Server>,
    hub: Arc<Hub>,
}

impl Upstream {
    async fn renewed(&self, context: NotificationContext<RoleClient>) {
        let (waiting, turn) = &self.server.renewing;
        let Ok(_waiting) = waiting.try_acquire() else { return };
        let _turn = turn.lock().await;
        if let Ok(Ok(changed)) = tokio::time::timeout(STARTING, self.server.renew(&context.peer)).await {
            self.hub.lists_changed(changed);
        }
    }
}

impl ClientHandler for Upstream {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_roots().enable_elicitation().enable_sampling().build();
        ClientConfig::new(capabilities, Implementation::new("decklog", env!("CARGO_PKG_VERSION")))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new(format!("file://{}", self.hub.workspace()))]))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        match self.hub.client_that_elicits() {
            Some(client) => client.create_elicitation(request).await.map_err(|error| unpassed(&error)),
            None => Ok(ElicitResult::new(ElicitationAction::Decline)),
        }
    }

    async fn create_message(
        &self,
        request: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        match self.hub.client_that_samples() {
            Some(client) => client.create_message(request).await.map_err(|error| unpassed(&error)),
            None => Err(ErrorData::method_not_found::<rmcp::model::CreateMessageRequestMethod>()),
        }
    }

    async fn on_progress(&self, mut params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let waiting = self.server.waiting.lock().await.get(&params.progress_token).cloned();
        if let Some((client, token)) = waiting {
            params.progress_token = token;
            let _ = client.notify_progress(params).await;
        }
    }

    async fn on_logging_message(
        &self,
        mut params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let server = self.server.name();
        params.logger = Some(match params.logger.take() {
            Some(logger) => format!("{server}/{logger}"),
            None => server.to_owned(),
        });
        self.hub.log(params).await;
    }

    async fn on_resource_updated(&self, params: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.hub.updated(params).await;
    }

    async fn on_resource_list_changed(&self, context: NotificationContext<RoleClient>) {
        self.renewed(context).await;
    }

    async fn on_tool_list_changed(&self, context: NotificationContext<RoleClient>) {
        self.renewed(context).await;
    }

    async fn on_prompt_list_changed(&self, context: NotificationContext<RoleClient>) {
        self.renewed(context).await;
    }
}

fn unpassed(error: &ServiceError) -> ErrorData {
    ErrorData::internal_error(format!("the client did not answer: {error}"), None)
}
