//! Gemini's generateContent.

use serde_json::{Value, json};

use super::turn::{Call, Frame, Refusal, Tool, Turn, seconds_until};
use crate::usage::Counts;

pub(crate) fn tools(body: &Value) -> Vec<Tool> {
    let sets = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let declared = sets.iter().filter_map(|set| set["functionDeclarations"].as_array()).flatten();
    let tool = |tool: &Value| {
        let schema = if tool["parametersJsonSchema"].is_null() { "parameters" } else { "parametersJsonSchema" };
        Tool::declared(&tool["name"], &tool[schema])
    };
    declared.filter_map(tool).collect()
}

pub(crate) fn whole(turn: &Turn, counts: Counts, model: &str) -> Value {
    let mut parts = thoughts(turn);
    if let Some(text) = &turn.text {
        parts.push(json!({ "text": text }));
    }
    parts.extend(calls(turn));
    let mut reply = chunk(&parts, &super::unique("resp"), model);
    finish(&mut reply, counts);
    reply
}

pub(crate) fn stream(turn: &Turn, counts: Counts, model: &str) -> Vec<Frame> {
    let id = super::unique("resp");
    let mut parts: Vec<(Value, bool)> = thoughts(turn).into_iter().map(|part| (part, false)).collect();
    parts.extend(turn.pieces().into_iter().map(|piece| (json!({ "text": piece }), true)));
    parts.extend(calls(turn).into_iter().map(|part| (part, false)));
    let last = parts.len().saturating_sub(1);
    let frame = |(index, (part, delta)): (usize, (Value, bool))| {
        let mut reply = chunk(&[part], &id, model);
        if index == last {
            finish(&mut reply, counts);
        }
        Frame { delta, ..Frame::data(&reply) }
    };
    parts.into_iter().enumerate().map(frame).collect()
}

/// With a reset time it is the day's quota, after which the agent gives up at once; without one it
/// is the bare error, which it retries for about a minute.
pub(crate) fn rate_limit(reset_at_epoch: Option<u64>) -> Refusal {
    let message = "You exceeded your current quota, please check your plan and billing details.";
    let details = reset_at_epoch.map_or(Vec::new(), |reset| {
        let violation = json!({
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
            "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
        });
        let delay = format!("{}s", seconds_until(reset));
        vec![
            json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation] }),
            json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }),
        ]
    });
    error(429, message, "RESOURCE_EXHAUSTED", &details).retry_after(reset_at_epoch)
}

pub(crate) fn unauthorized() -> Refusal {
    let details = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
    });
    error(401, "API key not valid. Please pass a valid API key.", "UNAUTHENTICATED", &[details])
}

fn error(status: u16, message: &str, name: &str, details: &[Value]) -> Refusal {
    let error = json!({ "code": status, "message": message, "status": name, "details": details });
    Refusal::new(status, json!({ "error": error }))
}

fn thoughts(turn: &Turn) -> Vec<Value> {
    turn.thinking.iter().map(|text| json!({ "text": text, "thought": true })).collect()
}

fn calls(turn: &Turn) -> Vec<Value> {
    let part = |call: &Call| json!({ "functionCall": { "id": call.id, "name": call.name, "args": call.json() } });
    turn.calls.iter().map(part).collect()
}

fn chunk(parts: &[Value], id: &str, model: &str) -> Value {
    json!({
        "candidates": [{ "content": { "role": "model", "parts": parts }, "index": 0 }],
        "modelVersion": model,
        "responseId": id,
    })
}

fn finish(reply: &mut Value, counts: Counts) {
    reply["candidates"][0]["finishReason"] = json!("STOP");
    reply["usageMetadata"] = json!({
        "promptTokenCount": counts.prompt(),
        "cachedContentTokenCount": counts.cache_read,
        "candidatesTokenCount": counts.output - counts.reasoning,
        "thoughtsTokenCount": counts.reasoning,
        "totalTokenCount": counts.prompt() + counts.output,
    });
}
