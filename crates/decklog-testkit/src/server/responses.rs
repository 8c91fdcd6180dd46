//! OpenAI Responses.

use serde_json::{Value, json};

use super::turn::{Call, Frame, Input, Refusal, Tool, Turn, seconds_until};
use crate::usage::Counts;

pub(crate) fn tools(body: &Value) -> Vec<Tool> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tool = |tool: &Value| match tool["type"].as_str() {
        Some("function") => Tool::declared(&tool["name"], &tool["parameters"]),
        Some("custom") => Tool::declared(&tool["name"], &Value::Null).map(|tool| Tool { freeform: true, ..tool }),
        Some(kind) => Some(Tool { name: kind.to_owned(), takes: Vec::new(), freeform: false, namespace: None }),
        None => None,
    };
    // Those of an MCP server stand together under its name.
    let inner = tools.iter().filter(|tool| tool["type"] == "namespace").flat_map(|outer| {
        let name = outer["name"].as_str().unwrap_or_default();
        let inner = outer["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        let declared = |tool: &Value| Tool::declared(&tool["name"], &tool["parameters"]);
        inner.iter().filter_map(declared).map(|tool| Tool { namespace: Some(name.to_owned()), ..tool })
    });
    tools.iter().filter(|tool| tool["type"] != "namespace").filter_map(tool).chain(inner).collect()
}

pub(crate) fn whole(turn: &Turn, counts: Counts, model: &str) -> Value {
    let id = super::unique("resp");
    completed(&id, items(turn), counts, model)
}

pub(crate) fn stream(turn: &Turn, counts: Counts, model: &str) -> Vec<Frame> {
    let id = super::unique("resp");
    let started = json!({ "id": id, "object": "response", "model": model, "status": "in_progress", "output": [] });
    let mut frames = vec![event("response.created", json!({ "response": started }))];
    let items = items(turn);
    for (index, item) in items.iter().enumerate() {
        let at = |name: &str, mut data: Value| {
            data["output_index"] = json!(index);
            event(name, data)
        };
        let mut begun = item.clone();
        begun["status"] = json!("in_progress");
        match item["type"].as_str() {
            Some("message") => {
                begun["content"] = json!([]);
                frames.push(at("response.output_item.added", json!({ "item": begun })));
                for piece in turn.pieces() {
                    let data = json!({ "item_id": item["id"], "content_index": 0, "delta": piece });
                    frames.push(at("response.output_text.delta", data).into_delta());
                }
            }
            Some("reasoning") => {
                begun["summary"] = json!([]);
                frames.push(at("response.output_item.added", json!({ "item": begun })));
                let part = json!({ "item_id": item["id"], "summary_index": 0 });
                frames.push(at("response.reasoning_summary_part.added", part));
                let data = json!({ "item_id": item["id"], "summary_index": 0, "delta": item["summary"][0]["text"] });
                frames.push(at("response.reasoning_summary_text.delta", data));
            }
            _ => frames.push(at("response.output_item.added", json!({ "item": begun }))),
        }
        frames.push(at("response.output_item.done", json!({ "item": item })));
    }
    let response = completed(&id, items, counts, model);
    frames.push(event("response.completed", json!({ "response": response })));
    frames
}

pub(crate) fn rate_limit(reset_at_epoch: Option<u64>) -> Refusal {
    let mut error = json!({
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "plus",
    });
    if let Some(reset) = reset_at_epoch {
        error["resets_at"] = json!(reset);
        error["resets_in_seconds"] = json!(seconds_until(reset));
    }
    let mut refusal = Refusal::new(429, json!({ "error": error })).retry_after(reset_at_epoch);
    refusal.headers.push(("x-codex-primary-used-percent", "100.0".to_owned()));
    refusal.headers.push(("x-codex-primary-window-minutes", "300".to_owned()));
    if let Some(reset) = reset_at_epoch {
        refusal.headers.push(("x-codex-primary-reset-at", reset.to_string()));
    }
    refusal
}

/// The output items of a reply.
fn items(turn: &Turn) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thinking) = &turn.thinking {
        items.push(json!({
            "type": "reasoning",
            "id": super::unique("rs"),
            "summary": [{ "type": "summary_text", "text": thinking }],
            "encrypted_content": null,
        }));
    }
    if let Some(text) = &turn.text {
        items.push(json!({
            "type": "message",
            "id": super::unique("msg"),
            "role": "assistant",
            "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }));
    }
    for call in &turn.calls {
        items.push(call_item(call));
    }
    items
}

fn call_item(call: &Call) -> Value {
    let mut item = match &call.input {
        Input::Json(input) => json!({ "type": "function_call", "arguments": input.to_string() }),
        Input::Freeform(text) => json!({ "type": "custom_tool_call", "input": text }),
    };
    item["id"] = json!(super::unique("item"));
    item["call_id"] = json!(call.id);
    item["name"] = json!(call.name);
    if let Some(namespace) = &call.namespace {
        item["namespace"] = json!(namespace);
    }
    item["status"] = json!("completed");
    item
}

fn completed(id: &str, output: Vec<Value>, counts: Counts, model: &str) -> Value {
    json!({
        "id": id,
        "object": "response",
        "model": model,
        "status": "completed",
        "output": output,
        "usage": {
            "input_tokens": counts.prompt(),
            "input_tokens_details": { "cached_tokens": counts.cache_read },
            "output_tokens": counts.output,
            "output_tokens_details": { "reasoning_tokens": counts.reasoning },
            "total_tokens": counts.prompt() + counts.output,
        },
    })
}

fn event(name: &str, mut data: Value) -> Frame {
    data["type"] = json!(name);
    Frame::event(name, &data)
}
