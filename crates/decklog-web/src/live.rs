//! What happens while it happens: server-sent events, made from the journals themselves.
//!
//! An event's id is how far its journal was read. Whoever comes back with the last id it had is told what changed since, each
//! thing as it stands now: nothing is lost, and what is told twice is the same.
//! Must not know: what recorders do; a session is looked at like any other.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use decklog_journal::lock::{self, Held};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::api::{ApiError, App, Asked};
use crate::story::Story;
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

/// Steps that are told at a time; the rest with the next.
const STEPS: usize = 200;

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
            if root.change == root.texts {
                return;
            }
            root.change.clone()
        };
        let result = app.views.index_texts(&mut |progress| {
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

fn told(id: Option<u64>, kind: &str, json: &str) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks but in texts, where they are escaped.
    format!("{id}event: {kind}\ndata: {json}\n\n").into()
}

type Told = Result<Bytes, std::convert::Infallible>;

/// Changes under the session root: another number each time something did.
pub(crate) async fn root(State(app): State<App>) -> Response {
    let (tell, received) = mpsc::channel::<Told>(4);
    let (mut root, mut stopped) = (app.root.subscribe(), app.stopped.clone());
    tokio::spawn(async move {
        let _ = tell.send(Ok(format!("retry: {RETRY}\n\n").into())).await;
        loop {
            let now = root.borrow_and_update().clone();
            let indexing = now.indexing.map(|(done, all)| json!({ "done": done, "all": all }));
            let data =
                json!({ "change": now.change.1, "texts": now.texts.1, "indexing": indexing, "error": now.error });
            if tell.send(Ok(told(None, "root", &data.to_string()))).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    changed = root.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    _ = stopped.changed() => return,
                    () = tokio::time::sleep(HEARTBEAT) => {
                        if tell.send(Ok(": here\n\n".into())).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    });
    events(Body::from_stream(Received(received)))
}

/// What is recorded in a session, from where `after`, or the last id, says.
pub(crate) async fn session(
    State(app): State<App>,
    path: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut asked = Asked::new(&path, &uri);
    let (_, dir) = asked.session(&app)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after: u64 = last.or(asked.number("after")?).unwrap_or(0);
    asked.nothing_more()?;
    let (tell, received) = mpsc::channel::<Told>(4);
    tokio::spawn(async move {
        if let Err(error) = follow(dir, after, &tell, app.stopped.clone()).await {
            let _ = tell.send(Ok(told(None, "trouble", &json!({ "error": error.to_string() }).to_string()))).await;
        }
    });
    Ok(events(Body::from_stream(Received(received))))
}

/// Tells what is recorded in the session in `dir` until it ends, nobody listens, or the server stops.
async fn follow(
    dir: PathBuf,
    after: u64,
    tell: &mpsc::Sender<Told>,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // Whoever listens holds no thread while nothing is new.
    let mut feed = tokio::task::spawn_blocking(move || Feed::open(dir, after)).await??;
    let mut tell_now = Next::Tell(format!("retry: {RETRY}\n\n").into());
    let mut quiet = Instant::now();
    loop {
        match tell_now {
            Next::Tell(bytes) => {
                quiet = Instant::now();
                if tell.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            Next::Nothing => {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = tell.closed() => return Ok(()),
                    _ = stopped.changed() => return Ok(()),
                }
                if quiet.elapsed() > HEARTBEAT {
                    quiet = Instant::now();
                    let _ = tell.send(Ok(": here\n\n".into())).await;
                }
            }
            Next::End => return Ok(()),
        }
        let read = move || feed.next().map(|next| (feed, next));
        (feed, tell_now) = tokio::task::spawn_blocking(read).await??;
    }
}

/// A session that is told as it is written, an event at a time.
struct Feed {
    story: Story,
    dir: PathBuf,
    /// Read, and yet to be told.
    steps: VecDeque<(usize, usize)>,
    outline: bool,
    over: bool,
    ended: bool,
}

enum Next {
    Tell(Bytes),
    Nothing,
    End,
}

impl Feed {
    /// What was written up to `after` is known to who asks.
    fn open(dir: PathBuf, after: u64) -> std::io::Result<Self> {
        let mut story = Story::open(&dir)?;
        story.read(after)?;
        Ok(Self { story, dir, steps: VecDeque::new(), outline: false, over: false, ended: false })
    }

    fn next(&mut self) -> std::io::Result<Next> {
        if self.ended {
            return Ok(Next::End);
        }
        if self.steps.is_empty() && !self.outline && !self.over {
            // Asked before reading: what was written before the end is read after it.
            self.over = lock::held(&self.dir) != Held::Yes;
            let news = if self.over { self.story.finish()? } else { self.story.read(u64::MAX)? };
            self.steps.extend(news.steps);
            self.outline = news.outline;
        }
        // Only with the last is all told that stands before the position.
        if !self.steps.is_empty() {
            let piece: Vec<_> = self.steps.drain(..self.steps.len().min(STEPS)).collect();
            let cards = self.story.cards(piece)?;
            let id = (self.steps.is_empty() && !self.outline).then(|| self.story.position());
            return Ok(Next::Tell(told(id, "steps", &json!({ "steps": cards }).to_string())));
        }
        if self.over {
            // The head as it is now that nobody holds the lock.
            self.ended = true;
            return self.tell_outline("end");
        }
        if std::mem::take(&mut self.outline) {
            return self.tell_outline("outline");
        }
        Ok(Next::Nothing)
    }

    fn tell_outline(&self, kind: &str) -> std::io::Result<Next> {
        let outline = serde_json::to_string(&self.story.outline()?)?;
        Ok(Next::Tell(told(Some(self.story.position()), kind, &outline)))
    }
}
