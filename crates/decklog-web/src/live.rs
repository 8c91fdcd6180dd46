//! What happens while it happens: server-sent events, made from the journals themselves.
//!
//! An event's id is how far its journal was read. Whoever comes back with the last id it had is told what changed since, each
//! thing as it stands now: nothing is lost, and what is told twice is the same.
//! Must not know: what recorders do; a session is looked at like any other.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::api::{ApiError, App, Asked, entry, parse_id};
use crate::feed::{Feed, Next, is_written, length, told};
use crate::stream::Received;
use crate::views::Change;

/// How often a journal is looked at.
const POLL: Duration = Duration::from_millis(15);

/// How often the root is looked at.
const ROOT_POLL: Duration = Duration::from_millis(400);

/// How often somebody who is told nothing is told so: who has gone is found out by that.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long a browser waits before it comes back, in milliseconds.
const RETRY: u32 = 500;

/// What is known of the session root.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Root {
    /// Another with every change.
    pub(crate) change: Change,
    /// The change up to which texts can be searched.
    pub(crate) texts: Change,
    /// While texts are indexed: sessions done, and of how many.
    pub(crate) indexing: Option<(usize, usize)>,
    /// Why nothing is known.
    pub(crate) error: Option<String>,
}

/// Looks after the root until the server stops: one thread notices changes, another keeps texts indexed, which may take
/// minutes.
pub(crate) fn watch_root(app: &App) {
    each_while(app, "root", |app| match app.views.change(app.setup.clock.now()) {
        Ok(change) => {
            app.root.send_if_modified(|root| {
                let is_new = root.change != change || root.error.is_some();
                (root.change, root.error) = (change, None);
                is_new
            });
        }
        Err(error) => app.root.send_modify(|root| root.error = Some(error.to_string())),
    });
    each_while(app, "texts", |app| {
        let change = {
            let root = app.root.borrow();
            // Nothing is new.
            if root.change == root.texts && !app.views.is_damaged() {
                return;
            }
            root.change.clone()
        };
        let result = app.views.index_texts(app.setup.clock.now(), &mut |progress| {
            app.root.send_modify(|root| root.indexing = Some((progress.done, progress.all)));
        });
        app.root.send_if_modified(|root| {
            let was_indexing = root.indexing.take().is_some();
            if result.is_ok() {
                root.texts = change;
            }
            was_indexing || result.is_ok()
        });
    });
}

/// Does something again and again, on a thread of that name, until the server stops.
fn each_while(app: &App, name: &str, mut work: impl FnMut(&App) + Send + 'static) {
    let app = app.clone();
    // Without a thread the page is as it was when it was loaded.
    let _ = std::thread::Builder::new().name(name.into()).spawn(move || {
        while !*app.stopped.borrow() {
            work(&app);
            std::thread::sleep(ROOT_POLL);
        }
    });
}

fn events(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

type Told = Result<Bytes, std::convert::Infallible>;

/// Somebody who listens.
#[derive(Clone)]
struct Listener {
    tell: mpsc::Sender<Told>,
    stopped: watch::Receiver<bool>,
    /// When something was told last.
    told: Instant,
}

impl Listener {
    /// Somebody new, and what is sent to them.
    fn new(app: &App) -> (Self, Response) {
        let (tell, received) = mpsc::channel(4);
        let _ = tell.try_send(Ok(format!("retry: {RETRY}\n\n").into()));
        (
            Self { tell, stopped: app.stopped.clone(), told: Instant::now() },
            events(Body::from_stream(Received(received))),
        )
    }

    /// Tells them something; `None` when they are gone.
    async fn tell(&mut self, bytes: Bytes) -> Option<()> {
        self.told = Instant::now();
        self.tell.send(Ok(bytes)).await.ok()
    }

    /// Waits for `news`; now and then they are told that there are none. `None` when they are gone, or the server stops.
    async fn until<T>(&mut self, news: impl Future<Output = T>) -> Option<T> {
        let mut news = pin!(news);
        loop {
            let patience = HEARTBEAT.saturating_sub(self.told.elapsed());
            tokio::select! {
                news = &mut news => return Some(news),
                () = self.tell.closed() => return None,
                _ = self.stopped.changed() => return None,
                () = tokio::time::sleep(patience) => self.tell(": here\n\n".into()).await?,
            }
        }
    }
}

/// Changes under the session root: another number each time something did. With `session` also what is recorded in that
/// one, now or when it is resumed, from where `after`, or the last id, says. A browser has few connections: this is all a
/// page needs.
pub(crate) async fn all(
    State(app): State<App>,
    path: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut asked = Asked::new(&path, &uri);
    let session = asked.take("session").map(|id| entry(&app, &parse_id(&id)?)).transpose()?;
    let after = position(&mut asked, &headers)?;
    asked.nothing_more()?;
    let (listener, response) = Listener::new(&app);
    if let Some(dir) = session {
        tokio::spawn(tell_of_session(dir, after, true, listener.clone()));
    }
    tokio::spawn(tell_of_root(app.root.subscribe(), listener));
    Ok(response)
}

/// What is recorded in a session until it ends, from where `after`, or the last id, says.
pub(crate) async fn session(
    State(app): State<App>,
    path: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut asked = Asked::new(&path, &uri);
    let (_, dir) = asked.session(&app)?;
    let after = position(&mut asked, &headers)?;
    asked.nothing_more()?;
    let (listener, response) = Listener::new(&app);
    tokio::spawn(tell_of_session(dir, after, false, listener));
    Ok(response)
}

/// Up to where in a journal who asks knows it.
fn position(asked: &mut Asked, headers: &HeaderMap) -> Result<u64, ApiError> {
    let after = asked.number("after")?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    Ok(last.or(after).unwrap_or(0))
}

/// `None` when nobody listens any more.
async fn tell_of_root(mut root: watch::Receiver<Root>, mut listener: Listener) -> Option<()> {
    loop {
        let now = root.borrow_and_update().clone();
        let indexing = now.indexing.map(|(done, all)| json!({ "done": done, "all": all }));
        let data = json!({ "change": now.change.1, "texts": now.texts.1, "indexing": indexing, "error": now.error });
        listener.tell(told(None, "root", &data.to_string())).await?;
        listener.until(root.changed()).await?.ok()?;
    }
}

/// Tells what is recorded in the session in `dir`, and why that cannot be told.
async fn tell_of_session(dir: PathBuf, after: u64, stays: bool, mut listener: Listener) {
    if let Err(error) = follow(&dir, after, stays, &mut listener).await {
        listener.tell(told(None, "trouble", &json!({ "error": error.to_string() }).to_string())).await;
    }
}

/// Until the session ends; who `stays` is told on when somebody goes on with it.
async fn follow(dir: &Path, mut after: u64, stays: bool, listener: &mut Listener) -> io::Result<()> {
    // How long the journal was when nobody wrote it.
    let mut rested = after;
    while !stays || wait_for_news(dir, rested, listener).await? {
        let of = dir.to_owned();
        let mut feed = on_thread(move || Feed::open(of, after)).await?;
        loop {
            let next;
            (feed, next) = on_thread(move || feed.next().map(|next| (feed, next))).await?;
            let told = match next {
                Next::Tell(bytes) => listener.tell(bytes).await,
                // Whoever listens holds no thread while nothing is new.
                Next::Nothing => listener.until(tokio::time::sleep(POLL)).await,
                Next::End if stays => break,
                Next::End => None,
            };
            if told.is_none() {
                return Ok(());
            }
        }
        (after, rested) = (feed.position(), feed.rested());
    }
    Ok(())
}

/// Waits until somebody writes the journal of the session in `dir`, or it is no more as long as it was. Whether somebody
/// listens still.
async fn wait_for_news(dir: &Path, bytes: u64, listener: &mut Listener) -> io::Result<bool> {
    loop {
        let dir = dir.to_owned();
        if on_thread(move || Ok(is_written(&dir) || length(&dir)? != bytes)).await? {
            return Ok(true);
        }
        if listener.until(tokio::time::sleep(ROOT_POLL)).await.is_none() {
            return Ok(false);
        }
    }
}

async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
