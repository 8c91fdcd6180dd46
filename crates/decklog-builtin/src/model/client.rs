//! One provider over HTTP: requests put and put again, and refusals in words that say what to set.
//!
//! What comes back is hostile: bodies are read up to a bound, and no redirect is followed, as the key would go along.
//!
//! Must not know: tools, files.

use std::pin::pin;
use std::time::Duration;

use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode, Url};

use super::retry::{Policy, Tries, asked, resets_at};
use super::{Ask, Piece, Progress, Reply, StreamError, Usage, anthropic, error_words, openai};
use crate::error::TurnError;
use crate::event::{Event, Teller};
use crate::request::{Limits, Model, Style};
use crate::secret::Secret;

/// Bytes of one answer.
const MAX_REPLY: usize = 32 * 1024 * 1024;
/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(30);
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Puts requests to one provider.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    http: reqwest::Client,
    url: Url,
    /// The provider and its host, for messages.
    who: String,
    model: &'a Model,
    key: Option<&'a Secret>,
    policy: Policy,
}

/// Why one try failed.
struct Failure {
    error: TurnError,
    /// Whether it may be put again: nothing was told of its answer.
    again: bool,
    /// The wait the provider asks for.
    asked: Option<Duration>,
}

impl Failure {
    fn last(error: TurnError) -> Self {
        Self { error, again: false, asked: None }
    }

    fn again(error: TurnError) -> Self {
        Self { error, again: true, asked: None }
    }
}

enum Reader {
    Openai(openai::Reader),
    Anthropic(anthropic::Reader),
}

impl Reader {
    fn event(&mut self, data: &str) -> Result<Progress, StreamError> {
        match self {
            Self::Openai(reader) => reader.event(data),
            Self::Anthropic(reader) => reader.event(data),
        }
    }

    fn usage(&self) -> Option<Usage> {
        match self {
            Self::Openai(reader) => reader.usage(),
            Self::Anthropic(reader) => reader.usage(),
        }
    }

    fn finish(self) -> Option<Reply> {
        match self {
            Self::Openai(reader) => reader.finish(),
            Self::Anthropic(reader) => reader.finish(),
        }
    }
}

impl<'a> Client<'a> {
    /// A client for `model`.
    ///
    /// # Errors
    /// [`TurnError::Address`] when the provider's address is none, or would carry a key in the clear.
    pub(crate) fn new(model: &'a Model, key: Option<&'a Secret>, limits: &Limits) -> Result<Self, TurnError> {
        let url = endpoint(model)?;
        // It says that one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(Duration::from_secs(limits.silence_secs))
            .user_agent(concat!("decklog/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // A proxy would see the key.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| TurnError::Address(format!("no HTTP client: {error}")))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let who = format!("{} ({}{port})", model.provider(), url.host_str().unwrap_or_default());
        let policy = Policy {
            tries: limits.tries,
            first: Duration::from_millis(limits.first_wait_ms),
            budget: Duration::from_secs(limits.retry_secs),
        };
        Ok(Self { http, url, who, model, key, policy })
    }

    /// Puts `ask`, tells what comes, and gives the whole answer. Also gives the request's bytes.
    ///
    /// # Errors
    /// [`TurnError`], when no answer came, also after it was put again.
    pub(crate) async fn ask(&self, ask: &Ask<'_>, teller: &Teller<'_>) -> Result<(Reply, usize), TurnError> {
        let (name, max) = (self.model.model.as_str(), self.model.max_tokens);
        let body = match self.model.style {
            Style::Openai => openai::body(name, max, self.url.host_str() == Some("api.openai.com"), ask),
            Style::Anthropic => anthropic::body(name, max, ask),
        };
        let body = body.to_string();
        let mut tries = Tries::new(self.policy);
        loop {
            let failure = match self.once(body.clone(), teller).await {
                Ok(reply) => return Ok((reply, body.len())),
                Err(failure) => failure,
            };
            let wait = if failure.again { tries.next(failure.asked, jitter()) } else { None };
            let Some(wait) = wait else { return Err(failure.error) };
            teller.tell(&Event::Retry {
                attempt: tries.failed,
                tries: self.policy.tries,
                wait_secs: wait.as_secs_f64(),
                message: failure.error.to_string(),
            })?;
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, body: String, teller: &Teller<'_>) -> Result<Reply, Failure> {
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        if self.model.style == Style::Anthropic {
            request = request.header("anthropic-version", ANTHROPIC_VERSION);
        }
        if let Some(key) = self.key {
            let (name, value) = match self.model.style {
                Style::Openai => ("authorization", format!("Bearer {}", key.reveal())),
                Style::Anthropic => ("x-api-key", key.reveal().to_owned()),
            };
            // The key was looked at when it was read: it is a header's.
            let value = HeaderValue::try_from(value);
            let mut value = value.map_err(|error| Failure::last(TurnError::Address(error.to_string())))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            self.read(response, teller).await
        } else {
            Err(self.refused(response).await)
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let silent = error.is_timeout() && !error.is_connect();
        let words = cause(&error.without_url());
        let error = TurnError::Unavailable(format!("{} cannot be reached: {words}", self.who));
        // One that is silent for so long would be so again.
        if silent { Failure::last(error) } else { Failure::again(error) }
    }

    async fn refused(&self, mut response: Response) -> Failure {
        let (status, who) = (response.status(), &self.who);
        if status.is_redirection() {
            let to = response.headers().get("location").and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| self.url.join(to).ok());
            let to = to.as_ref().and_then(Url::host_str).unwrap_or("elsewhere");
            let words =
                format!("{who} redirects to {to}, where the key is not sent: set base-url to the address in use");
            return Failure::last(TurnError::Refused(words));
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL - body.len())]);
            if body.len() == MAX_REFUSAL {
                break;
            }
        }
        let words = error_words(&String::from_utf8_lossy(&body));
        let said = if words.is_empty() {
            format!("HTTP {}", status.as_u16())
        } else {
            format!("HTTP {}: {words}", status.as_u16())
        };
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let now = Timestamp::now();
        let asked = asked(&get, now);
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let message = format!("{who} limits requests ({said})");
                let error = TurnError::Limited { message, resets_at: resets_at(&get, now) };
                Failure { error, again: true, asked }
            }
            StatusCode::REQUEST_TIMEOUT => {
                Failure { error: TurnError::Unavailable(format!("{who} is in trouble ({said})")), again: true, asked }
            }
            status if status.is_server_error() => {
                Failure { error: TurnError::Unavailable(format!("{who} is in trouble ({said})")), again: true, asked }
            }
            status => Failure::last(TurnError::Refused(self.refusal(status, &said))),
        }
    }

    fn refusal(&self, status: StatusCode, said: &str) -> String {
        let (who, model) = (&self.who, &self.model.model);
        match (status.as_u16(), &self.model.api_key_env) {
            (401 | 403, Some(var)) => {
                format!("{who} refused the API key in {var} ({said}): set {var} to one that is valid there")
            }
            (401 | 403, None) => {
                format!("{who} wants an API key ({said}): give the provider one, such as api-key = \"${{MY_KEY}}\"")
            }
            (404, _) => {
                format!("{who} has no model {model}, or not at {} ({said}): check model and base-url", self.url.path())
            }
            _ => format!("{who} refused the request ({said}): check model, max-tokens and context-tokens"),
        }
    }

    async fn read(&self, response: Response, teller: &Teller<'_>) -> Result<Reply, Failure> {
        let chunks = try_unfold((response, 0usize), |(mut response, mut read)| async move {
            let Some(chunk) = response.chunk().await.map_err(ReadError::Transport)? else { return Ok(None) };
            read = read.saturating_add(chunk.len());
            if read > MAX_REPLY { Err(ReadError::TooLong) } else { Ok(Some((chunk, (response, read)))) }
        });
        let mut events = pin!(chunks.eventsource());
        let mut reader = match self.model.style {
            Style::Openai => Reader::Openai(openai::Reader::default()),
            Style::Anthropic => Reader::Anthropic(anthropic::Reader::default()),
        };
        let (mut seen, mut told) = (false, false);
        let mut trouble = None;
        while let Some(event) = events.next().await {
            let progress = match event {
                Ok(event) => reader.event(&event.data).map_err(|error| self.stream_error(error)),
                Err(EventStreamError::Transport(ReadError::Transport(error))) => {
                    trouble = Some(cause(&error.without_url()));
                    break;
                }
                Err(EventStreamError::Transport(ReadError::TooLong)) => {
                    let words = format!("the answer of {} is longer than {MAX_REPLY} bytes", self.who);
                    Err(Failure::last(TurnError::BadAnswer(words)))
                }
                Err(_) => Err(self.stream_error(StreamError::Bad("it is no event stream".into()))),
            };
            let progress = progress.map_err(|failure| {
                Self::tell_usage(&reader, &self.model.model, teller);
                Failure { again: failure.again && !told, ..failure }
            })?;
            seen = true;
            for piece in progress.pieces {
                told = true;
                let event = match piece {
                    Piece::Text(text) => Event::TextDelta { text },
                    Piece::Thought(text) => Event::ThoughtDelta { text },
                };
                teller.tell(&event).map_err(Failure::last)?;
            }
            if progress.over {
                break;
            }
        }
        Self::tell_usage(&reader, &self.model.model, teller);
        match reader.finish() {
            Some(reply) => Ok(reply),
            None if !seen && trouble.is_none() => {
                Err(self.stream_error(StreamError::Bad("it is no event stream".into())))
            }
            None => {
                let why = trouble.unwrap_or_else(|| "the connection was closed".into());
                let words = format!("the answer of {} broke off: {why}; ask it to go on", self.who);
                Err(Failure { error: TurnError::Broken(words), again: !told, asked: None })
            }
        }
    }

    /// What an answer has cost, also one that broke off.
    fn tell_usage(reader: &Reader, model: &str, teller: &Teller<'_>) {
        if let Some(Usage { input, cached_input, output, reasoning }) = reader.usage() {
            // Whoever tells next will see that nobody reads.
            let _ = teller.tell(&Event::Usage { input, cached_input, output, reasoning, model: model.to_owned() });
        }
    }

    fn stream_error(&self, error: StreamError) -> Failure {
        let who = &self.who;
        match error {
            StreamError::Limited(words) => {
                let message = format!("{who} limits requests ({words})");
                Failure::again(TurnError::Limited { message, resets_at: None })
            }
            StreamError::Trouble(words) => {
                Failure::again(TurnError::Unavailable(format!("{who} broke its answer off ({words})")))
            }
            StreamError::Bad(words) => {
                let words =
                    format!("the answer of {who} cannot be read: {words}; check the provider's style and base-url");
                Failure::last(TurnError::BadAnswer(words))
            }
        }
    }
}

#[derive(Debug)]
enum ReadError {
    Transport(reqwest::Error),
    TooLong,
}

/// Where requests go.
fn endpoint(model: &Model) -> Result<Url, TurnError> {
    let (provider, base) = (model.provider(), &model.base_url);
    let bad = |what: &str| Err(TurnError::Address(format!("base-url of provider {provider}: {what}")));
    let Ok(mut url) = Url::parse(base) else {
        return bad("it is no address: write one such as https://host/v1");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return bad("it holds credentials: give them as api-key");
    }
    match url.scheme() {
        "https" => {}
        "http" if model.allow_http || is_loopback(&url) => {}
        "http" => {
            return bad(
                "the key would travel in the clear: use https, or set allow-http = true for a network you trust",
            );
        }
        _ => return bad("it must begin with https:// or http://"),
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let rest = match model.style {
        Style::Openai => "/chat/completions",
        Style::Anthropic if path.ends_with("/v1") => "/messages",
        Style::Anthropic => "/v1/messages",
    };
    url.set_path(&(path + rest));
    url.set_fragment(None);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What lies at the bottom of an error: what stands above it names only the layers.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string().chars().take(500).collect()
}

fn jitter() -> f64 {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(style: &str, base_url: &str, allow_http: bool) -> Model {
        let value = serde_json::json!({ "style": style, "base_url": base_url, "model": "m", "allow_http": allow_http });
        serde_json::from_value(value).expect("a model")
    }

    #[test]
    fn where_requests_go() {
        for (style, base, allow, expected) in [
            ("openai", "https://api.example/v1", false, Ok("https://api.example/v1/chat/completions")),
            ("openai", "https://api.example/v1/?v=2#x", false, Ok("https://api.example/v1/chat/completions?v=2")),
            ("anthropic", "https://api.example", false, Ok("https://api.example/v1/messages")),
            ("anthropic", "https://api.example/v1/", false, Ok("https://api.example/v1/messages")),
            ("openai", "http://127.0.0.1:80/v1", false, Ok("http://127.0.0.1/v1/chat/completions")),
            ("openai", "http://[::1]:8080", false, Ok("http://[::1]:8080/chat/completions")),
            ("openai", "http://localhost:8080", false, Ok("http://localhost:8080/chat/completions")),
            ("openai", "http://box:8080", true, Ok("http://box:8080/chat/completions")),
            ("openai", "http://box:8080", false, Err("in the clear")),
            ("openai", "http://localhost.example", false, Err("in the clear")),
            ("openai", "http://127.0.0.1.example", false, Err("in the clear")),
            ("openai", "file:///etc/passwd", false, Err("must begin with")),
            ("openai", "https://user:pw@api.example", false, Err("holds credentials")),
            ("openai", "api.example", false, Err("no address")),
        ] {
            match (endpoint(&model(style, base, allow)), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (result, _) => panic!("{base}: {result:?}"),
            }
        }
    }
}
