//! What happens while it happens: server-sent events, made from the journals themselves.
//!
//! An event's id is how far its journal was read. Whoever comes back with the last id it had is told what changed since, each
//! thing as it stands now: nothing is lost, and what is told twice is the same.
//! Must not know: what recorders do; a session is looked at like any other.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use decklog_journal::lock::{self, Held};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::{ApiError, App, Asked};
use crate::story::Story;
use crate::stream::Received;

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
    pub(crate) change: (String, i64),
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
    let mut indexed = None;
    each_while(app, "texts", move |app| {
        let change = app.root.borrow().change.clone();
        // Nothing is known yet, or nothing is new.
        if change == Default::default() || indexed.as_ref() == Some(&change) {
            return;
        }
        let result = app.views.index_texts(&mut |progress| {
            app.root.send_modify(|root| root.indexing = Some((progress.done, progress.all)));
        });
        app.root.send_if_modified(|root| root.indexing.take().is_some());
        indexed = result.is_ok().then_some(change);
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

fn told(id: Option<u64>, kind: &str, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks but in texts, where they are escaped.
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
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
            let data = json!({ "change": now.change.1, "indexing": indexing, "error": now.error });
            if tell.send(Ok(told(None, "root", &data))).await.is_err() {
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
    tokio::task::spawn_blocking(move || {
        let send = |bytes: Bytes| tell.blocking_send(Ok(bytes)).map_err(|_| std::io::ErrorKind::BrokenPipe.into());
        let follow = || -> std::io::Result<()> {
            let mut story = Story::open(&dir)?;
            story.read(after)?;
            send(format!("retry: {RETRY}\n\n").into())?;
            let mut quiet = Instant::now();
            loop {
                // Asked before reading: what was written before the end is read after it.
                let over = lock::held(&dir) != Held::Yes;
                let news = if over { story.finish()? } else { story.read(u64::MAX)? };
                if !news.is_empty() || over {
                    quiet = Instant::now();
                    tell_news(&mut story, news, &send)?;
                }
                if over {
                    // The head as it is now that nobody holds the lock.
                    let data = json!({ "outline": story.outline()? });
                    return send(told(Some(story.position()), "end", &data));
                }
                // Whoever has gone frees the thread for others.
                if *app.stopped.borrow() || tell.is_closed() {
                    return Ok(());
                }
                if quiet.elapsed() > HEARTBEAT {
                    quiet = Instant::now();
                    send(": here\n\n".into())?;
                }
                std::thread::sleep(POLL);
            }
        };
        if let Err(error) = follow()
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            let _ = send(told(None, "trouble", &json!({ "error": error.to_string() })));
        }
    });
    Ok(events(Body::from_stream(Received(received))))
}

fn tell_news(
    story: &mut Story,
    news: crate::story::News,
    send: &impl Fn(Bytes) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let places: Vec<_> = news.steps.into_iter().collect();
    let mut pieces = places.chunks(STEPS).peekable();
    while let Some(piece) = pieces.next() {
        let cards = story.cards(piece.iter().copied())?;
        let is_last = pieces.peek().is_none();
        // Only with the last is all told that stands before the position.
        let id = (is_last && !news.outline).then(|| story.position());
        send(told(id, "steps", &json!({ "steps": cards })))?;
    }
    if news.outline {
        send(told(Some(story.position()), "outline", &story.outline()?))?;
    }
    Ok(())
}
