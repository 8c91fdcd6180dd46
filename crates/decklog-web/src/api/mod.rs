//! The HTTP API: what each path answers, in the JSON of the command line where that has one.
//!
//! `openapi.json` describes it; a test holds the two together. Must not know: who may ask.

mod discard;
mod export;
mod files;
mod lists;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use decklog_journal::{SessionFilter, SessionId, SessionStore};
use decklog_query::filters::Filters;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::live;
use crate::server::Setup;
use crate::stories::Stories;
use crate::views::Views;

/// Questions that are answered from files at a time; what is sent on as it is read does not count.
const READING: usize = 4;

/// The description of the API, as it is served.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// What all answers are made from.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Inner>);

/// See [`App`].
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) setup: Setup,
    pub(crate) views: Views,
    pub(crate) stories: Stories,
    /// Where the index is asked.
    pub(crate) index: Handle,
    /// How many files are read at a time: each reader has memory of its own.
    pub(crate) reading: Arc<Semaphore>,
    /// What the page knows of the root's state.
    pub(crate) root: watch::Sender<live::Root>,
    /// Whether the server is to stop.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub(crate) fn new(setup: Setup, stopped: watch::Receiver<bool>, index: Handle) -> Self {
        let views = Views::new(&setup);
        Self(Arc::new(Inner {
            setup,
            views,
            stories: Stories::default(),
            index,
            reading: Arc::new(Semaphore::new(READING)),
            root: watch::Sender::default(),
            stopped,
        }))
    }

    pub(crate) fn store(&self) -> &SessionStore {
        &self.setup.store
    }
}

/// Why there is no answer: as the command line says it with `--json`.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
}

impl ApiError {
    pub(crate) fn bad(error: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.to_string(), hint: None }
    }

    pub(crate) fn missing(error: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::NOT_FOUND, error: error.to_string(), hint: None }
    }

    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error: error.to_string(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error });
        if let Some(hint) = self.hint {
            body["hint"] = hint.into();
        }
        (self.status, axum::Json(body)).into_response()
    }
}

pub(crate) type Answer = Result<Response, ApiError>;

/// JSON that is never kept: the next answer may be another.
pub(crate) fn answer(value: &impl Serialize) -> Answer {
    Ok(json_of(serde_json::to_vec(value).map_err(ApiError::failed)?))
}

/// The same, made already.
pub(crate) fn json_of(bytes: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, bytes).into_response()
}

/// What is asked for: the parts of the path, by name, and the pairs of the query.
#[derive(Debug)]
pub(crate) struct Asked {
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn new(path: &RawPathParams, uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self {
            path: path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            query: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        }
    }

    /// A part of the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The session that the path names, and its directory. An id is checked by its shape before it is part of a path.
    pub(crate) fn session(&self, app: &App) -> Result<(SessionId, PathBuf), ApiError> {
        let id = parse_id(self.part("id"))?;
        let dir = entry(app, &id)?;
        Ok((id, dir))
    }

    /// Takes a value of the query out of it.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.query.iter().position(|(known, _)| known == name)?;
        Some(self.query.remove(at).1)
    }

    /// Takes a number out of the query.
    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| ApiError::bad(format!("{name}={text:?} is no number that can be")))
    }

    /// Takes `true` or `false` out of the query; it is `false` where there is none.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        let text = self.take(name).unwrap_or_else(|| "false".into());
        text.parse().map_err(|_| ApiError::bad(format!("{name}={text:?} is neither true nor false")))
    }

    /// Takes all values of a name out of the query.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.query).into_iter().partition(|(known, _)| known == name);
        self.query = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// What is left of the query, as filters.
    pub(crate) fn filters(&self, app: &App) -> Result<SessionFilter, ApiError> {
        let setup = &app.setup;
        Filters::from_pairs(self.query.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .and_then(|filters| filters.resolve(setup.clock.now(), &setup.zone, &setup.cwd))
            .map_err(ApiError::bad)
    }

    /// What is left of the query, as one text: the same for the same question.
    pub(crate) fn rest(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.query).finish()
    }

    /// Refuses what is left of the query.
    pub(crate) fn nothing_more(&self) -> Result<(), ApiError> {
        match self.query.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::bad(format!("there is no {name:?} to ask for here"))),
        }
    }
}

pub(crate) fn parse_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|_| ApiError::bad(format!("{text:?} is no session's id")))
}

/// The directory of a session that is there.
pub(crate) fn entry(app: &App, id: &SessionId) -> Result<PathBuf, ApiError> {
    let dir = app.store().entry(id);
    if dir.symlink_metadata().is_err() {
        return Err(ApiError::missing(format!("there is no session {id}")).hint("it may have been discarded"));
    }
    Ok(dir)
}

/// A question that is answered by reading files.
fn reads(read: fn(&App, Asked) -> Answer) -> MethodRouter<App> {
    get(async move |State(app): State<App>, path: RawPathParams, uri: Uri| {
        let asked = Asked::new(&path, &uri);
        let reader = app.clone();
        // Who waits here and goes is forgotten; what was begun holds its turn until it is done.
        let turn = Arc::clone(&app.reading).acquire_owned().await.map_err(ApiError::failed)?;
        let read = move || {
            let _turn = turn;
            read(&reader, asked)
        };
        on_thread_of(&Handle::current(), read).await
    })
}

/// A question that is answered from the index: one at a time.
fn looks_up(look: fn(&App, Asked) -> Answer) -> MethodRouter<App> {
    get(async move |State(app): State<App>, path: RawPathParams, uri: Uri| {
        let asked = Asked::new(&path, &uri);
        on_thread_of(&app.index.clone(), move || look(&app, asked)).await
    })
}

/// Reading waits for disks: a thread for that does. What nobody waits for any more, and is not begun, is not done.
pub(crate) async fn on_thread_of(runtime: &Handle, work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    struct Wanted(AbortHandle);
    impl Drop for Wanted {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let work = runtime.spawn_blocking(work);
    let _wanted = Wanted(work.abort_handle());
    work.await.unwrap_or_else(|error| Err(ApiError::failed(error)))
}

fn openapi(_: &App, _: Asked) -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response())
}

/// Every path, below `/api/v1`, and what answers there.
fn routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/openapi.json", reads(openapi)),
        ("/sessions", looks_up(lists::sessions)),
        ("/facets", looks_up(lists::facets)),
        ("/search", looks_up(lists::search)),
        ("/stats", looks_up(lists::stats)),
        ("/charts", looks_up(lists::charts)),
        ("/live", get(live::all)),
        ("/discard", post(discard::discard)),
        ("/export", reads(export::export)),
        ("/sessions/{id}", reads(session::show)),
        ("/sessions/{id}/outline", reads(session::outline)),
        ("/sessions/{id}/turns/{turn}/steps", reads(session::steps)),
        ("/sessions/{id}/diff", reads(session::diff)),
        ("/sessions/{id}/changes", reads(session::changes)),
        ("/sessions/{id}/patch", reads(session::patch)),
        ("/sessions/{id}/events", reads(session::events)),
        ("/sessions/{id}/network", reads(session::network)),
        ("/sessions/{id}/live", get(live::session)),
        ("/sessions/{id}/logs", reads(files::list)),
        ("/sessions/{id}/logs/{name}", reads(files::log)),
        ("/sessions/{id}/files/{*path}", reads(files::download)),
    ]
}

pub(crate) fn router(app: App) -> Router {
    let all = routes().into_iter().fold(Router::new(), |router, (path, answers)| {
        router.route(path, answers.route_layer(middleware::from_fn(changes_are_json)))
    });
    all.fallback(async || ApiError::missing("there is nothing here").hint("/api/v1/openapi.json says what there is"))
        .with_state(app)
}

/// What changes something says that it brings JSON, which no form of another site's page can.
async fn changes_are_json(request: Request, next: Next) -> Response {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter();
    let is_json = |kind: &HeaderValue| {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || (types.next().is_some_and(is_json) && types.next().is_none()) {
        return next.run(request).await;
    }
    let (status, error) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json".to_owned());
    ApiError { status, error, hint: None }.into_response()
}

/// The header that names a file for a download.
pub(crate) fn attachment(name: &str) -> HeaderValue {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{safe}\"")).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_described_and_every_description_has_a_path() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("JSON");
        let described: Vec<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
        let mut there: Vec<String> = routes().iter().map(|(path, _)| path.replace("{*path}", "{path}")).collect();
        there.sort();
        let mut sorted = described;
        sorted.sort();
        assert_eq!(sorted, there);
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let named: Vec<&str> = operation["parameters"]
                    .as_array()
                    .map(|all| {
                        all.iter().filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect()
                    })
                    .unwrap_or_default();
                let parts: Vec<&str> =
                    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
                assert_eq!(named, parts, "{method} {path}");
                assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{method} {path}");
            }
        }
    }

    #[test]
    fn names_of_downloads() {
        assert_eq!(attachment("001.patch"), "attachment; filename=\"001.patch\"");
        assert_eq!(attachment("a\"; b=\u{e9}/../x\r\n"), "attachment; filename=\"a___b___.._x__\"");
    }
}
