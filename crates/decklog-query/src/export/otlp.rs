//! OpenTelemetry traces, as OTLP/HTTP takes them in JSON: a session is a trace, with spans for itself, its turns
//! (`invoke_agent`) and their tool calls (`execute_tool`).
//!
//! Names are those of the semantic conventions for generative AI, version 1.41.0, of which all are in development.
//! What has no name there is `decklog.…`. No prompt, no text and no argument is in it: the conventions leave these
//! out unless asked, and collectors pass on what they get.
//!
//! Ids are made of the session's: the same session is the same trace, however often it is sent.

use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::wire::sha256_hex;
use decklog_journal::words::{ShownOutcome, ToolStatus, TurnOutcome};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Whole;

/// The conventions that the names are of.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The request that hands over a session.
#[must_use]
pub fn request(whole: &Whole) -> Value {
    let head = &whole.session.head;
    let id = head.id.as_str();
    let last = whole.times.1.unwrap_or(head.last_event_at);
    let mut root = Span::new(id, "session", None, &format!("session {}", head.kind), INTERNAL, (whole.times.0, last));
    root.text("gen_ai.conversation.id", Some(id));
    root.text("decklog.session.kind", Some(head.kind.as_str()));
    root.text("decklog.session.status", Some(head.status.as_str()));
    let outcome = ShownOutcome::of(head.status.into(), head.outcome);
    root.text("decklog.session.outcome", outcome.map(ShownOutcome::as_str));
    root.number("decklog.session.exit_code", head.exit_code.map(i64::from));
    root.text("decklog.session.project", Some(&head.project));
    root.number("decklog.session.files_changed", head.files_changed.map(saturate));
    root.decimal("decklog.session.cost_usd", head.cost_usd);
    root.text("vcs.ref.head.revision", head.git.as_ref().and_then(|git| git.head.as_deref()));
    root.text("vcs.ref.head.name", head.git.as_ref().and_then(|git| git.branch.as_deref()));
    if let Some(outcome) = outcome
        && !matches!(outcome, ShownOutcome::Success | ShownOutcome::Unknown)
    {
        root.fail(outcome.as_str());
    }
    let parent = root.id.clone();
    let mut spans = vec![root.json()];
    for turn in &whole.session.turns {
        add_turn(id, &parent, turn, last, &mut spans);
    }
    let mut resource = vec![text("service.name", "decklog"), text("service.version", &whole.start.decklog_version)];
    resource.extend(head.host.as_deref().map(|host| text("host.name", host)));
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "decklog", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
            "schemaUrl": SCHEMA_URL,
        }],
        "schemaUrl": SCHEMA_URL,
    }] })
}

fn add_turn(session: &str, parent: &str, turn: &Turn, last: Timestamp, spans: &mut Vec<Value>) {
    let ended = turn.ended_at.unwrap_or(last);
    let name = format!("invoke_agent {}", turn.agent);
    let key = format!("turn {}", turn.turn);
    let mut span = Span::new(session, &key, Some(parent), &name, CLIENT, (turn.started_at, ended));
    span.text("gen_ai.operation.name", Some("invoke_agent"));
    span.text("gen_ai.provider.name", Some(provider(turn)));
    span.text("gen_ai.agent.name", Some(&turn.agent));
    span.text("gen_ai.conversation.id", Some(turn.agent_session_id.as_deref().unwrap_or(session)));
    span.text("gen_ai.request.model", turn.model.as_deref());
    span.text("gen_ai.response.model", turn.model.as_deref());
    if !turn.tokens.is_zero() {
        span.number("gen_ai.usage.input_tokens", Some(saturate(turn.tokens.input)));
        span.number("gen_ai.usage.output_tokens", Some(saturate(turn.tokens.output)));
        span.number("gen_ai.usage.cache_read.input_tokens", Some(saturate(turn.tokens.cached_input)));
        span.number("decklog.usage.reasoning_tokens", Some(saturate(turn.tokens.reasoning)));
    }
    span.decimal("decklog.usage.cost_usd", turn.cost_usd);
    span.number("decklog.turn", Some(i64::from(turn.turn)));
    span.text("decklog.turn.role", Some(turn.role.as_str()));
    span.text("decklog.turn.outcome", turn.outcome.map(TurnOutcome::as_str));
    span.number("decklog.turn.files_changed", Some(saturate(turn.files_changed)));
    match turn.outcome {
        Some(TurnOutcome::Success) => {}
        Some(outcome) => span.fail(outcome.as_str()),
        None => span.fail("cut_off"),
    }
    let parent = span.id.clone();
    spans.push(span.json());
    for (number, step) in turn.steps.iter().enumerate() {
        if let Step::Tool(tool) = step {
            spans.push(tool_span(session, &parent, turn, number, tool, ended));
        }
    }
}

fn tool_span(session: &str, parent: &str, turn: &Turn, number: usize, tool: &ToolUse, last: Timestamp) -> Value {
    let took = tool.duration_secs.filter(|secs| (0.0..1e9).contains(secs)).map(SignedDuration::from_secs_f64);
    let ended = took.and_then(|took| tool.at.checked_add(took).ok());
    // Of a call without result it is known only that it was over with the turn.
    let over = if tool.status.as_str() == "completed" || tool.status == ToolStatus::Failed { tool.at } else { last };
    // A call's id is the agent's word: its place makes it unique.
    let key = format!("turn {} step {number}", turn.turn);
    let name = format!("execute_tool {}", tool.name);
    let mut span =
        Span::new(session, &key, Some(parent), &name, INTERNAL, (tool.at, ended.unwrap_or(over).max(tool.at)));
    span.text("gen_ai.operation.name", Some("execute_tool"));
    span.text("gen_ai.tool.name", Some(&tool.name));
    span.text("gen_ai.tool.call.id", Some(&tool.call_id));
    span.text("gen_ai.tool.type", Some("function"));
    span.text("gen_ai.agent.name", Some(&turn.agent));
    span.text("decklog.tool.kind", Some(tool.kind.as_str()));
    span.text("decklog.tool.status", Some(tool.status.as_str()));
    span.number("decklog.tool.exit_code", tool.exit_code.map(i64::from));
    if tool.status == ToolStatus::Failed {
        span.fail("failed");
    }
    span.json()
}

/// Who provides the model, by the conventions' own names where they have one.
fn provider(turn: &Turn) -> &str {
    let model = turn.model.as_deref().unwrap_or_default();
    let known = [("claude", "anthropic"), ("codex", "openai"), ("gpt", "openai"), ("gemini", "gcp.gemini")];
    let found =
        known.iter().find(|(word, _)| model.contains(word)).or(known.iter().find(|(word, _)| turn.agent == *word));
    found.map_or(turn.agent.as_str(), |(_, provider)| provider)
}

struct Span {
    id: String,
    value: Value,
    attributes: Vec<Value>,
}

impl Span {
    fn new(
        session: &str,
        key: &str,
        parent: Option<&str>,
        name: &str,
        kind: u8,
        (start, end): (Timestamp, Timestamp),
    ) -> Self {
        let hex = |key: &str, digits: usize| sha256_hex(key.as_bytes())[..digits].to_owned();
        let id = hex(&format!("{session} {key}"), 16);
        let nanos = |at: Timestamp| at.as_nanosecond().max(0).to_string();
        let mut value = json!({
            "traceId": hex(session, 32),
            "spanId": id,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": nanos(start),
            "endTimeUnixNano": nanos(end),
        });
        if let Some(parent) = parent {
            value["parentSpanId"] = parent.into();
        }
        Self { id, value, attributes: Vec::new() }
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        self.attributes.extend(value.map(|value| text(key, value)));
    }

    /// JSON has integers of 64 bits as text.
    fn number(&mut self, key: &str, value: Option<i64>) {
        let attribute = |value: i64| json!({ "key": key, "value": { "intValue": value.to_string() } });
        self.attributes.extend(value.map(attribute));
    }

    fn decimal(&mut self, key: &str, value: Option<f64>) {
        let attribute = |value: f64| json!({ "key": key, "value": { "doubleValue": value } });
        self.attributes.extend(value.map(attribute));
    }

    /// What an agent or a critic said about it is a text.
    fn fail(&mut self, kind: &str) {
        self.text("error.type", Some(kind));
        self.value["status"] = json!({ "code": ERROR, "message": kind });
    }

    fn json(mut self) -> Value {
        self.value["attributes"] = self.attributes.into();
        self.value
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
