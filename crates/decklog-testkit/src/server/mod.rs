//! A model server that answers from a script.

mod answer;
mod anthropic;
mod chat;
mod gemini;
mod protocol;
mod responses;
mod step;
mod tools;
mod turn;

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::Value;
use tokio::sync::oneshot;

use answer::Ask;
use protocol::Protocol;

pub use step::Step;

/// One request that the server received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP method, in capitals.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers in order, names in lower case. Values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The body; null when there was none or it was not JSON.
    pub body: Value,
    /// Whether the request was one of the agent's main loop, and so took a step of the script.
    pub main_loop: bool,
}

impl Request {
    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A scripted model server on loopback, on a thread and a port of its own.
///
/// It speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini, streamed or
/// whole as the request wants. Each request of an agent's main loop takes the next [`Step`]; when
/// none is left it gets a closing text. Side requests (titles, probes, summaries: all that declare
/// no tools) get a harmless text and take no step. Token counts are those of
/// [`usage`](crate::usage). Dropping the server closes its connections.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Starts a server that follows a script.
    ///
    /// # Panics
    ///
    /// When the machine gives no loopback port, thread or event loop: no test can go on then.
    pub fn start(script: Vec<Step>) -> ModelServer {
        ModelServer::started(script, false)
    }

    /// The same, where every model request takes a step: for agents that have no tools and ask for nothing else.
    ///
    /// # Panics
    ///
    /// As [`ModelServer::start`].
    pub fn start_without_side_requests(script: Vec<Step>) -> ModelServer {
        ModelServer::started(script, true)
    }

    fn started(script: Vec<Step>, all_main: bool) -> ModelServer {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a fresh socket takes its options");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        *shared.lock() = Inner { script: script.into(), requests: Vec::new(), all_main };
        let (stop, stopped) = oneshot::channel();
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("model-server".to_owned())
            .spawn(move || serve(listener, state, stopped))
            .expect("a thread can be started");
        ModelServer { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order of their arrival, side requests among them.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// The requests of the agent's main loop so far.
    pub fn main_requests(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.main_loop).collect()
    }

    /// Replaces what is left of the script.
    pub fn set_script(&self, script: Vec<Step>) {
        self.shared.lock().script = script.into();
    }

    /// Waits until at least `n` requests of any sort have come; false when the time is over first.
    pub fn wait_for_requests(&self, n: usize, timeout: Duration) -> bool {
        self.wait(timeout, |inner| inner.requests.len() >= n)
    }

    /// Waits until at least `n` main-loop requests have come; false when the time is over first.
    pub fn wait_for_main_requests(&self, n: usize, timeout: Duration) -> bool {
        self.wait(timeout, |inner| inner.requests.iter().filter(|request| request.main_loop).count() >= n)
    }

    fn wait(&self, timeout: Duration, enough: impl Fn(&Inner) -> bool) -> bool {
        let end = Instant::now() + timeout;
        let mut inner = self.shared.lock();
        while !enough(&inner) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.grew.wait_timeout(inner, left);
            inner = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // Either end may be gone already if the thread panicked; nothing is left to stop then.
        self.stop.take().map(|stop| stop.send(()).ok());
        self.thread.take().map(|thread| thread.join().ok());
    }
}

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    script: VecDeque<Step>,
    requests: Vec<Request>,
    /// Whether no request is a side request.
    all_main: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and, for one of the main loop, takes its step.
    fn note(&self, request: Request) -> Option<Step> {
        let mut inner = self.lock();
        let step = match inner.script.front() {
            _ if !request.main_loop => None,
            Some(step) if step.stays() => Some(step.clone()),
            _ => inner.script.pop_front(),
        };
        inner.requests.push(request);
        self.grew.notify_all();
        step
    }
}

/// The server's thread.
fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("an event loop can be made");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket is non-blocking");
        let app = Router::new().fallback(handle).layer(DefaultBodyLimit::disable()).with_state(shared);
        tokio::select! {
            result = axum::serve(listener, app).into_future() => result.expect("serving goes on until stopped"),
            _ = stopped => {}
        }
    });
    // Dropping the runtime drops what still hangs in a reply, and with it the connections.
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let protocol = if method == Method::POST { Protocol::of(uri.path()) } else { None };
    let ask = protocol.map(|protocol| Ask { protocol, path: uri.path(), body: &body });
    let main_loop = ask.as_ref().is_some_and(|ask| shared.lock().all_main || ask.is_main_loop());
    let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let step = shared.note(Request {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers.iter().filter_map(text).collect(),
        body: body.clone(),
        main_loop,
    });
    match ask {
        Some(ask) if main_loop => ask.main(step),
        Some(ask) => ask.side(),
        None => answer::other(uri.path()),
    }
}

/// An identifier that no other reply of this process has.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{:06}", NEXT.fetch_add(1, Ordering::Relaxed))
}
