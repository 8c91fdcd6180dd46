//! The server: one socket, one runtime, until it is told to stop.
//!
//! Must not know: the terminal, signals, configuration. What is answered is [`crate::api`]'s, who may ask is the guard's.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use decklog_journal::SessionStore;
use decklog_journal::time::Clock;
use jiff::tz::TimeZone;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::api::{self, App};
use crate::connections::{self, Connection, Limits, Timely};
use crate::guard::{Guard, HEADERS, Refused};
use crate::{assets, live};

/// Threads that wait for requests; files and indexes are read by others.
const THREADS: usize = 2;

/// Threads that read at a time: streams hold one each.
const READERS: usize = 96;

/// The style of the page for those who are not let in.
const REFUSED_STYLE: &str = "/refused.css";

/// What is served, and where.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// A name that the server is also reached by.
    pub name: Option<String>,
    /// The sessions.
    pub store: SessionStore,
    /// Where indexes are kept.
    pub cache: PathBuf,
    /// Where relative paths of filters start.
    pub cwd: PathBuf,
    /// The time zone of dates.
    pub zone: TimeZone,
    /// The clock.
    pub clock: Clock,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system gives no threads or no random numbers.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    index: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    name: Option<String>,
    door: Arc<Guard>,
    app: App,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens. Nothing is answered until [`Server::run`].
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn bind(setup: Setup) -> Result<Self, ServeError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).max_blocking_threads(READERS).enable_all().build()?;
        // One thread for all: its questions wait for each other, and what they need for sums over all sessions is had once.
        let index = Builder::new_current_thread().max_blocking_threads(1).build()?;
        let failed = |error| ServeError::Listen { address: setup.address, error };
        let listener = runtime.block_on(TcpListener::bind(setup.address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let door = Arc::new(Guard::new(address, setup.name.as_deref())?);
        let (stop, stopped) = watch::channel(false);
        let name = setup.name.clone();
        let app = App::new(setup, stopped, index.handle().clone());
        Ok(Self { runtime, index, listener, address, name, door, app, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes links, while the server runs, too.
    #[must_use]
    pub fn links(&self) -> Links {
        let port = self.address.port();
        let host = self.name.as_ref().map_or_else(|| self.address.to_string(), |name| format!("{name}:{port}"));
        Links { door: Arc::clone(&self.door), host }
    }

    /// Serves until `wait`, called on this thread, returns. Streams that are open end then.
    pub fn run<T>(self, wait: impl FnOnce() -> T) -> T {
        let Self { runtime, index, listener, door, app, stop, .. } = self;
        live::watch_root(&app);
        let limits = Limits::new(raise_descriptors());
        let router = Router::new()
            .nest("/api/v1", api::router(app))
            .fallback(assets::serve)
            .layer(middleware::from_fn_with_state((door, limits), admitted));
        runtime.spawn(connections::serve(listener, router, limits));
        let waited = wait();
        let _ = stop.send(true);
        // Whoever still reads a file is not waited for.
        runtime.shutdown_background();
        index.shutdown_background();
        waited
    }
}

/// Allows this process as many file descriptors as it may have, and gives how many that are.
fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // No limit is given as none.
    raised.map_or(current, |()| maximum).unwrap_or(u64::MAX)
}

/// Makes links that let in.
#[derive(Debug, Clone)]
pub struct Links {
    door: Arc<Guard>,
    host: String,
}

impl Links {
    /// A link to `path` (which begins with `/`) that lets in whoever opens it first. Those before it are good no more.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn link(&self, path: &str) -> io::Result<String> {
        Ok(format!("http://{}{path}?token={}", self.host, self.door.new_token()?))
    }
}

/// Lets in whom the guard knows, and puts on every answer what the browser is to hold to.
async fn admitted(State((door, limits)): State<(Arc<Guard>, Limits)>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let of_api = path.starts_with("/api/");
    let headers = request.headers();
    let mut response = match door.place(request.method(), headers, of_api) {
        Err(refused) => refuse(refused, of_api),
        Ok(()) if !of_api && is_link(&request) => enter(&door, &request),
        // What those who are not let in see has a look, too.
        Ok(()) if path == REFUSED_STYLE => next.run(request).await,
        Ok(()) => match door.knows(headers) {
            Ok(()) => {
                if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
                    connection.sign_in();
                }
                run(request, next, limits).await
            }
            Err(refused) => refuse(refused, of_api),
        },
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Answers a request of an authenticated client, all of which arrives in time.
async fn run(request: Request, next: Next, limits: Limits) -> Response {
    let is_late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Body::new(Timely::new(body, limits.body, Arc::clone(&is_late))));
    let response = next.run(request).await;
    if is_late.load(Ordering::Relaxed) {
        let error = "the request did not come whole in time".into();
        return api::ApiError { status: StatusCode::REQUEST_TIMEOUT, error, hint: None }.into_response();
    }
    response
}

fn token(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

fn is_link(request: &Request) -> bool {
    token(request).is_some()
}

/// Exchanges a link's token for the cookie, and leads on to the page without it. A page does so and not a redirect, as the
/// browser would take that for a part of what led here, which may have been another site, and leave the cookie behind.
fn enter(door: &Guard, request: &Request) -> Response {
    // One slash: with two it would be the name of another server.
    let path = request.uri().path().trim_start_matches(['/', '\\']);
    let path = format!("/{}", crate::html::escape(path));
    let on = format!("<!doctype html><meta http-equiv=refresh content=\"0;url={path}\"><title>decklog</title>");
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    let fresh = (header::CACHE_CONTROL, "no-store");
    if let Some(cookie) = token(request).and_then(|token| door.exchange(&token)) {
        return ([html, fresh, (header::SET_COOKIE, &cookie)], on).into_response();
    }
    // Whoever opens the link again is in already.
    if door.knows(request.headers()).is_ok() {
        return ([html, fresh], on).into_response();
    }
    refuse(Refused::Cookie, false)
}

fn refuse(refused: Refused, of_api: bool) -> Response {
    let (status, error, hint) = match refused {
        Refused::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "this is not the name of this server",
            "open the link that `decklog ui` printed; give another name with --host",
        ),
        Refused::Origin => (
            StatusCode::FORBIDDEN,
            "another site's page cannot ask for this",
            "open the link that `decklog ui` printed",
        ),
        Refused::Cookie => (
            StatusCode::UNAUTHORIZED,
            "this browser has not been let in, or the server was started anew",
            "open the link that `decklog ui` printed; each is good once: press Enter there for another",
        ),
    };
    if of_api {
        return api::ApiError { status, error: error.into(), hint: Some(hint.into()) }.into_response();
    }
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <title>decklog</title><link rel=stylesheet href={REFUSED_STYLE}><main><h1>Not let in</h1><p>{error}.<p>{hint}.</main>"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
