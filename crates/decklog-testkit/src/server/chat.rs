//! OpenAI Chat Completions.

use serde_json::{Value, json};

use super::turn::{Call, Frame, Refusal, Tool, Turn};
use crate::usage::Counts;

pub(crate) fn tools(body: &Value) -> Vec<Tool> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tool = |tool: &Value| Tool::declared(&tool["function"]["name"], &tool["function"]["parameters"]);
    tools.iter().filter_map(tool).collect()
}

pub(crate) fn whole(turn: &Turn, counts: Counts, model: &str) -> Value {
    let mut message = json!({ "role": "assistant", "content": turn.text });
    if let Some(thinking) = &turn.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    if !turn.calls.is_empty() {
        message["tool_calls"] = turn.calls.iter().map(tool_call).collect();
    }
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason(turn) });
    json!({
        "id": super::unique("chatcmpl"),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [choice],
        "usage": usage(counts),
    })
}

pub(crate) fn stream(turn: &Turn, counts: Counts, model: &str) -> Vec<Frame> {
    let id = super::unique("chatcmpl");
    let chunk = |choices: Value| json!({ "id": id, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": choices });
    let delta = |delta: Value| Frame::data(&chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }])));
    let mut frames = vec![delta(json!({ "role": "assistant", "content": "" }))];
    if let Some(thinking) = &turn.thinking {
        frames.push(delta(json!({ "reasoning_content": thinking })));
    }
    for piece in turn.pieces() {
        frames.push(delta(json!({ "content": piece })).into_delta());
    }
    for (index, call) in turn.calls.iter().enumerate() {
        let mut call = tool_call(call);
        call["index"] = json!(index);
        frames.push(delta(json!({ "tool_calls": [call] })));
    }
    let end = json!([{ "index": 0, "delta": {}, "finish_reason": finish_reason(turn) }]);
    frames.push(Frame::data(&chunk(end)));
    let mut last = chunk(json!([]));
    last["usage"] = usage(counts);
    frames.push(Frame::data(&last));
    frames.push(Frame { bytes: "data: [DONE]\n\n".to_owned(), delta: false });
    frames
}

pub(crate) fn rate_limit(reset_at_epoch: Option<u64>) -> Refusal {
    let message = "Rate limit reached for requests. Please try again later.";
    error(429, message, "requests", "rate_limit_exceeded").retry_after(reset_at_epoch)
}

/// The same for the Responses protocol: both are OpenAI's.
pub(crate) fn unauthorized() -> Refusal {
    error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
}

/// 2026-01-01T00:00:00Z.
const CREATED: u64 = 1_767_225_600;

fn error(status: u16, message: &str, kind: &str, code: &str) -> Refusal {
    let error = json!({ "message": message, "type": kind, "param": null, "code": code });
    Refusal::new(status, json!({ "error": error }))
}

fn tool_call(call: &Call) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.written() },
    })
}

fn finish_reason(turn: &Turn) -> &'static str {
    if turn.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn usage(counts: Counts) -> Value {
    json!({
        "prompt_tokens": counts.prompt(),
        "prompt_tokens_details": { "cached_tokens": counts.cache_read },
        "completion_tokens": counts.output,
        "completion_tokens_details": { "reasoning_tokens": counts.reasoning },
        "total_tokens": counts.prompt() + counts.output,
    })
}
