//! Anthropic Messages.

use serde_json::{Value, json};

use super::turn::{Frame, Refusal, Tool, Turn};
use crate::usage::Counts;

pub(crate) fn tools(body: &Value) -> Vec<Tool> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().filter_map(|tool| Tool::declared(&tool["name"], &tool["input_schema"])).collect()
}

pub(crate) fn whole(turn: &Turn, counts: Counts, model: &str) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = &turn.thinking {
        content.push(json!({ "type": "thinking", "thinking": thinking, "signature": SIGNATURE }));
    }
    if let Some(text) = &turn.text {
        content.push(json!({ "type": "text", "text": text }));
    }
    for call in &turn.calls {
        content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.json() }));
    }
    let mut message = head(counts, model);
    message["content"] = Value::Array(content);
    message["stop_reason"] = json!(stop_reason(turn));
    message["usage"]["output_tokens"] = json!(counts.output);
    message
}

pub(crate) fn stream(turn: &Turn, counts: Counts, model: &str) -> Vec<Frame> {
    let mut frames = vec![event("message_start", json!({ "message": head(counts, model) }))];
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Frame>| {
        frames.push(event("content_block_start", json!({ "index": index, "content_block": start })));
        frames.extend(deltas);
        frames.push(event("content_block_stop", json!({ "index": index })));
        index += 1;
        index
    };
    let mut at = 0;
    if let Some(thinking) = &turn.thinking {
        let start = json!({ "type": "thinking", "thinking": "", "signature": "" });
        let deltas = vec![
            delta(at, json!({ "type": "thinking_delta", "thinking": thinking })),
            delta(at, json!({ "type": "signature_delta", "signature": SIGNATURE })),
        ];
        at = block(start, deltas);
    }
    if turn.text.is_some() {
        let piece = |text| delta(at, json!({ "type": "text_delta", "text": text })).into_delta();
        let deltas = turn.pieces().into_iter().map(piece).collect();
        at = block(json!({ "type": "text", "text": "" }), deltas);
    }
    for call in &turn.calls {
        let start = json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": {} });
        let input = json!({ "type": "input_json_delta", "partial_json": call.written() });
        at = block(start, vec![delta(at, input)]);
    }
    let end = json!({
        "delta": { "stop_reason": stop_reason(turn), "stop_sequence": null },
        "usage": { "output_tokens": counts.output },
    });
    frames.push(event("message_delta", end));
    frames.push(event("message_stop", json!({})));
    frames
}

pub(crate) fn rate_limit(reset_at_epoch: Option<u64>) -> Refusal {
    let message = "This request would exceed your account's rate limit. Please try again later.";
    let mut refusal = error(429, "rate_limit_error", message).retry_after(reset_at_epoch);
    let unified = |part: &'static str, value: &str| (part, value.to_owned());
    refusal.headers.push(unified("anthropic-ratelimit-unified-status", "rejected"));
    refusal.headers.push(unified("anthropic-ratelimit-unified-representative-claim", "five_hour"));
    if let Some(reset) = reset_at_epoch {
        refusal.headers.push(("anthropic-ratelimit-unified-reset", reset.to_string()));
        refusal.headers.push(("anthropic-ratelimit-unified-5h-reset", reset.to_string()));
    }
    refusal
}

pub(crate) fn unauthorized() -> Refusal {
    error(401, "authentication_error", "invalid x-api-key")
}

const SIGNATURE: &str = "c2lnbmF0dXJlIG9mIHRoZSBzY3JpcHQ=";

fn error(status: u16, kind: &str, message: &str) -> Refusal {
    let body = json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": "req_scripted",
    });
    Refusal::new(status, body)
}

/// A message without content, as a stream begins with it.
fn head(counts: Counts, model: &str) -> Value {
    json!({
        "id": super::unique("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": counts.uncached,
            "cache_creation_input_tokens": counts.cache_write,
            "cache_read_input_tokens": counts.cache_read,
            "output_tokens": 1,
        },
    })
}

fn stop_reason(turn: &Turn) -> &'static str {
    if turn.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn delta(index: usize, delta: Value) -> Frame {
    event("content_block_delta", json!({ "index": index, "delta": delta }))
}

fn event(name: &str, mut data: Value) -> Frame {
    data["type"] = json!(name);
    Frame::event(name, &data)
}
