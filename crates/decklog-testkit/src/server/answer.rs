//! From a request to a response: which step it takes, and how the bytes go out.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use futures::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};

use super::Step;
use super::protocol::{self, Protocol};
use super::tools;
use super::turn::{Call, Frame, Input, Refusal, Turn};
use crate::usage::Counts;

/// What the model says when the script has ended.
const CLOSING: &str = "The script has ended: nothing is left to do.";
/// What the model says to side requests.
const SIDE: &str = "Scripted side reply";

/// A model request, taken apart.
pub(crate) struct Ask<'r> {
    pub(crate) protocol: Protocol,
    pub(crate) path: &'r str,
    pub(crate) body: &'r Value,
}

impl Ask<'_> {
    /// Whether the request is one of the agent's main loop, and not for a title, a probe or a
    /// summary. Those declare no tools or leave no room for an answer, but for one: Claude asks
    /// for its suggestion of the user's next prompt with all its tools.
    pub(crate) fn is_main_loop(&self) -> bool {
        let probe = self.body["max_tokens"].as_u64() == Some(1);
        let last = self.body["messages"].as_array().and_then(|messages| messages.last());
        let suggestion = last.is_some_and(|message| {
            let content = &message["content"];
            let text = content.as_str().or_else(|| content[0]["text"].as_str());
            text.is_some_and(|text| text.starts_with("[SUGGESTION MODE"))
        });
        !probe && !suggestion && !self.protocol.tools(self.body).is_empty()
    }

    /// The reply to a side request.
    pub(crate) fn side(&self) -> Response<Body> {
        self.say(&Turn::text(SIDE), Counts::SIDE, Duration::ZERO)
    }

    /// The reply of a step; without one, the closing text.
    pub(crate) fn main(&self, step: Option<Step>) -> Response<Body> {
        let say = |turn: &Turn| self.say(turn, Counts::MAIN, Duration::ZERO);
        match step.unwrap_or_else(|| Step::Text(CLOSING.to_owned())) {
            Step::Write { path, content } => say(&Turn::call(self.write(&path, &content))),
            Step::TextThenWrite { text, path, content } => {
                say(&Turn { text: Some(text), ..Turn::call(self.write(&path, &content)) })
            }
            Step::Shell { command } => {
                let tools = self.protocol.tools(self.body);
                say(&Turn::call(tools::shell(self.protocol, &tools, super::unique("call"), &command)))
            }
            Step::Tool { name, arguments } => {
                let tools = self.protocol.tools(self.body);
                say(&Turn::call(tools::given(&tools, super::unique("call"), &name, arguments)))
            }
            Step::Calls { text, calls } => {
                let calls = calls.into_iter().map(|(name, arguments)| {
                    let input = match serde_json::from_str(&arguments) {
                        Ok(value) => Input::Json(value),
                        Err(_) => Input::Freeform(arguments),
                    };
                    Call { id: super::unique("call"), name, input, namespace: None }
                });
                say(&Turn { text, calls: calls.collect(), chunks: 1, ..Turn::default() })
            }
            Step::Text(text) => say(&Turn::text(text)),
            Step::Thinking { thinking, text } => say(&Turn { thinking: Some(thinking), ..Turn::text(text) }),
            Step::RateLimit { reset_at_epoch } => refuse(&self.protocol.rate_limit(reset_at_epoch)),
            Step::Unauthorized => refuse(&self.protocol.unauthorized()),
            Step::Status { status, headers, message } => {
                let body = json!({ "error": { "type": "scripted", "message": message } });
                refuse(&Refusal { status, headers, body })
            }
            Step::Garbage => {
                response(StatusCode::OK, "text/event-stream", Body::from(&b"\x00\xff<garbage>{{{\n\n\x01"[..]))
            }
            Step::Stall => self.broken(1, true),
            Step::Cut => self.broken(4, false),
            Step::Slow { text, chunks, every } => self.say(&Turn { chunks, ..Turn::text(text) }, Counts::MAIN, every),
            Step::Once(step) => self.main(Some(*step)),
        }
    }

    fn write(&self, path: &str, content: &str) -> Call {
        let tools = self.protocol.tools(self.body);
        tools::write(self.protocol, &tools, super::unique("call"), path, content)
    }

    fn say(&self, turn: &Turn, counts: Counts, every: Duration) -> Response<Body> {
        let model = protocol::model(self.path, self.body);
        if self.protocol.streams(self.path, self.body) {
            let frames = self.protocol.stream(turn, counts, model);
            return response(StatusCode::OK, "text/event-stream", Body::from_stream(paced(frames, every)));
        }
        let body = self.protocol.whole(turn, counts, model).to_string();
        let pause = every.saturating_mul(u32::try_from(turn.chunks).unwrap_or(u32::MAX));
        let frames = vec![Frame { bytes: String::new(), delta: true }, Frame { bytes: body, delta: false }];
        response(StatusCode::OK, "application/json", Body::from_stream(paced(frames, pause)))
    }

    /// A reply of which only the first frames are sent, and which then hangs or breaks off.
    fn broken(&self, frames: usize, hang: bool) -> Response<Body> {
        let turn = Turn { chunks: 8, ..Turn::text("This answer never reaches its end, whoever waits for it.") };
        let model = protocol::model(self.path, self.body);
        let (kind, sent) = if self.protocol.streams(self.path, self.body) {
            ("text/event-stream", self.protocol.stream(&turn, Counts::MAIN, model))
        } else {
            ("application/json", vec![Frame { bytes: "{\"".to_owned(), delta: false }])
        };
        let sent = sent.into_iter().take(frames).map(|frame| Ok(Bytes::from(frame.bytes)));
        // The bytes must have left before the connection breaks, or the client sees none of them.
        let end = stream::once(async move {
            if hang {
                futures::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(std::io::Error::other("cut by the script"))
        });
        response(StatusCode::OK, kind, Body::from_stream(stream::iter(sent).chain(end)))
    }
}

/// The reply to anything that is not a model request.
pub(crate) fn other(path: &str) -> Response<Body> {
    if path.ends_with("/count_tokens") {
        ok(&json!({ "input_tokens": Counts::MAIN.prompt() }))
    } else if path.ends_with(":countTokens") {
        ok(&json!({ "totalTokens": Counts::MAIN.prompt() }))
    } else if path.ends_with("/models") {
        let model = json!({ "id": "scripted-model", "object": "model", "created": 0, "owned_by": "decklog" });
        // Codex asks the same path for a list of its own shape.
        ok(&json!({ "object": "list", "data": [model], "models": [] }))
    } else if path == "/" {
        ok(&json!({}))
    } else {
        refuse(&Refusal::new(404, json!({ "error": { "message": "not a path of this server", "code": 404 } })))
    }
}

fn ok(body: &Value) -> Response<Body> {
    response(StatusCode::OK, "application/json", Body::from(body.to_string()))
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, "application/json", Body::from(refusal.body.to_string()));
    for (name, value) in &refusal.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The frames, with a pause after each that carries a piece of the text.
fn paced(frames: Vec<Frame>, every: Duration) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold((frames.into_iter(), false), move |(mut rest, pause)| async move {
        if pause && !every.is_zero() {
            tokio::time::sleep(every).await;
        }
        let frame = rest.next()?;
        Some((Ok(Bytes::from(frame.bytes)), (rest, frame.delta)))
    })
}
