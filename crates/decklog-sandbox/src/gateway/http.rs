//! The gateway over streamable HTTP: who may come in, and from where.
//!
//! A bearer token is asked of everybody; `Host` and `Origin` are held to the address that is listened on, so that a page
//! in a browser can reach it neither by rebinding a name nor by posting across sites. Must not know: what is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use super::front::Front;
use super::hub::Hub;
use super::lines::LONGEST;

/// How long a client may be silent before it has to shake hands again. A call under way does not count as a word, and a build
/// or a user may take hours.
const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where HTTP is listened for, and what must be shown to come in.
#[derive(Debug, Clone)]
pub struct HttpPlace {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// The bearer token.
    pub token: String,
}

/// Why nothing is listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct HttpError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub error: std::io::Error,
}

pub(super) async fn listen(hub: Arc<Hub>, place: HttpPlace) -> Result<SocketAddr, HttpError> {
    let failed = |error| HttpError { address: place.address, error };
    let listener = TcpListener::bind(place.address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut hosts = vec![address.to_string()];
    if address.ip().is_loopback() {
        hosts.push(format!("localhost:{}", address.port()));
    }
    let origins: Vec<String> = hosts.iter().map(|host| format!("http://{host}")).collect();
    let config = StreamableHttpServerConfig::default().with_allowed_hosts(hosts).with_allowed_origins(origins);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(SILENCE);
    let sessions = Arc::new(sessions);
    let service = StreamableHttpService::new(move || Ok(Front::new(Arc::clone(&hub), false)), sessions, config);
    let token: Arc<str> = place.token.into();
    let router = Router::new().nest_service("/mcp", service).layer(middleware::from_fn_with_state(token, admitted));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn admitted(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| is_same(shown, token.as_bytes())) {
        return match repaired(request).await {
            Ok(request) => next.run(request).await,
            Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        };
    }
    let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, ask, "the token that decklog printed is needed\n").into_response()
}

/// The request with its body as JSON that can be decoded, if it is almost that.
async fn repaired(request: Request) -> Result<Request, axum::Error> {
    let (mut parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, LONGEST).await?;
    let body = match decklog_text::json::repair(&bytes) {
        Some(repaired) => {
            parts.headers.insert(header::CONTENT_LENGTH, repaired.len().into());
            repaired.into()
        }
        None => bytes,
    };
    Ok(Request::from_parts(parts, body.into()))
}

/// Compares in a time that does not tell how much of it is right.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
