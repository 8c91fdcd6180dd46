//! Anthropic's `/v1/messages`, streamed.
//!
//! Must not know: HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Ask, Asked, MAX_CALLS, Piece, Progress, Reply, Stop, StreamError, TRIMMED, Usage, count, joined_prompt, text,
};
use crate::conversation::Entry;

/// The protocol wants a maximum.
pub(super) const MAX_TOKENS: u64 = 8192;

/// The request's body.
pub(super) fn body(model: &str, max_tokens: Option<u64>, ask: &Ask<'_>) -> Value {
    let mut body = json!({
        "model": model,
        "max_tokens": max_tokens.unwrap_or(MAX_TOKENS),
        "messages": messages(model, ask),
        "stream": true,
    });
    if let Some(system) = ask.system {
        body["system"] = json!(system);
    }
    if !ask.tools.is_empty() {
        let tool = |tool: &super::ToolSpec| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema });
        body["tools"] = ask.tools.iter().map(tool).collect();
    }
    body
}

fn messages(model: &str, ask: &Ask<'_>) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    for (at, entry) in ask.entries.iter().enumerate() {
        match entry.as_ref() {
            Entry::User { text } => {
                let mut text = text.clone();
                if at == 0 && ask.trimmed {
                    joined_prompt(&mut text, TRIMMED);
                }
                say(&mut messages, "user", vec![json!({ "type": "text", "text": text })]);
            }
            Entry::Assistant { model: by, thinking, text, calls } => {
                // Reasoning is signed for the model that reasoned.
                let mut blocks: Vec<Value> = if by == model { thinking.clone() } else { Vec::new() };
                if !text.trim().is_empty() {
                    blocks.push(json!({ "type": "text", "text": text }));
                }
                for call in calls {
                    blocks
                        .push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments }));
                }
                if !text.trim().is_empty() || !calls.is_empty() {
                    say(&mut messages, "assistant", blocks);
                }
            }
            Entry::Results { results } => {
                let block = |result: &crate::conversation::CallResult| {
                    json!({
                        "type": "tool_result", "tool_use_id": result.id, "content": result.output,
                        "is_error": result.is_error,
                    })
                };
                say(&mut messages, "user", results.iter().map(block).collect());
            }
        }
    }
    // What was sent once need not be paid for in full again.
    if let Some(last) = messages.last_mut().and_then(|last| last["content"].as_array_mut()?.last_mut()) {
        last["cache_control"] = json!({ "type": "ephemeral" });
    }
    messages
}

/// Adds blocks to the last message, if that is from the same speaker: they take turns.
fn say(messages: &mut Vec<Value>, role: &str, blocks: Vec<Value>) {
    match messages.last_mut() {
        Some(last) if last["role"] == role => {
            if let Some(content) = last["content"].as_array_mut() {
                content.extend(blocks);
            }
        }
        _ => messages.push(json!({ "role": role, "content": blocks })),
    }
}

/// Puts an answer together from its events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    reply: Reply,
    /// Blocks that are not over yet, by their index.
    open: BTreeMap<u64, Block>,
    finished: bool,
}

#[derive(Debug)]
enum Block {
    Text,
    Thinking { text: String, signature: String },
    Call(Asked),
    Other,
}

impl Reader {
    pub(super) fn event(&mut self, data: &str) -> Result<Progress, StreamError> {
        let event: Value = decklog_text::json::from_str(data)
            .map_err(|error| StreamError::Bad(format!("an event of the answer is no JSON: {error}")))?;
        let mut progress = Progress::default();
        let index = count(&event, "index");
        match text(&event, "type") {
            "message_start" => {
                let message = &event["message"];
                self.reply.model = message["model"].as_str().filter(|model| !model.is_empty()).map(str::to_owned);
                self.count(&message["usage"]);
            }
            "content_block_start" => self.start(index, &event["content_block"], &mut progress)?,
            "content_block_delta" => self.delta(index, &event["delta"], &mut progress),
            "content_block_stop" => self.stop(index),
            "message_delta" => {
                self.count(&event["usage"]);
                match text(&event["delta"], "stop_reason") {
                    "max_tokens" | "model_context_window_exceeded" => self.reply.stop = Stop::Length,
                    "refusal" => self.reply.stop = Stop::Refused,
                    _ => {}
                }
            }
            "message_stop" => {
                self.finished = true;
                progress.over = true;
            }
            "error" => {
                let words = super::error_words(data);
                return Err(match text(&event["error"], "type") {
                    "rate_limit_error" => StreamError::Limited(words),
                    _ => StreamError::Trouble(words),
                });
            }
            // `ping`, and what is yet to be invented.
            _ => {}
        }
        Ok(progress)
    }

    /// Counts are told as totals, those of the prompt at the beginning.
    fn count(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let mut known = self.reply.usage.unwrap_or_default();
        if usage.get("input_tokens").is_some_and(Value::is_u64) {
            let cached = count(usage, "cache_read_input_tokens");
            known.input = count(usage, "input_tokens")
                .saturating_add(cached)
                .saturating_add(count(usage, "cache_creation_input_tokens"));
            known.cached_input = cached;
        }
        known.output = known.output.max(count(usage, "output_tokens"));
        self.reply.usage = Some(known);
    }

    fn start(&mut self, index: u64, block: &Value, progress: &mut Progress) -> Result<(), StreamError> {
        if self.open.len() + self.reply.calls.len() >= MAX_CALLS {
            return Err(StreamError::Bad(format!("the answer has more than {MAX_CALLS} parts")));
        }
        let begun = match text(block, "type") {
            "text" => {
                self.say(text(block, "text"), progress);
                Block::Text
            }
            "thinking" => {
                let words = text(block, "thinking");
                if !words.is_empty() {
                    progress.pieces.push(Piece::Thought(words.to_owned()));
                }
                Block::Thinking { text: words.to_owned(), signature: text(block, "signature").to_owned() }
            }
            "redacted_thinking" => {
                self.reply.thinking.push(block.clone());
                Block::Other
            }
            "tool_use" => {
                let input = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = input.map(|input| Value::from(input.clone()).to_string()).unwrap_or_default();
                Block::Call(Asked { id: text(block, "id").into(), name: text(block, "name").into(), arguments })
            }
            _ => Block::Other,
        };
        self.open.insert(index, begun);
        Ok(())
    }

    fn say(&mut self, words: &str, progress: &mut Progress) {
        if !words.is_empty() {
            self.reply.text.push_str(words);
            progress.pieces.push(Piece::Text(words.to_owned()));
        }
    }

    fn delta(&mut self, index: u64, delta: &Value, progress: &mut Progress) {
        match (text(delta, "type"), self.open.get_mut(&index)) {
            ("text_delta", _) => self.say(text(delta, "text"), progress),
            ("thinking_delta", Some(Block::Thinking { text: known, .. })) => {
                let words = text(delta, "thinking");
                known.push_str(words);
                if !words.is_empty() {
                    progress.pieces.push(Piece::Thought(words.to_owned()));
                }
            }
            ("signature_delta", Some(Block::Thinking { signature, .. })) => {
                signature.push_str(text(delta, "signature"));
            }
            ("input_json_delta", Some(Block::Call(call))) => call.arguments.push_str(text(delta, "partial_json")),
            _ => {}
        }
    }

    fn stop(&mut self, index: u64) {
        match self.open.remove(&index) {
            Some(Block::Call(call)) => self.reply.calls.push(call),
            Some(Block::Thinking { text, signature }) if !signature.is_empty() => {
                self.reply.thinking.push(json!({ "type": "thinking", "thinking": text, "signature": signature }));
            }
            _ => {}
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.reply.usage
    }

    /// The answer; none when it broke off.
    pub(super) fn finish(mut self) -> Option<Reply> {
        // A block that was cut by `max_tokens` may not be closed.
        for index in self.open.keys().copied().collect::<Vec<_>>() {
            self.stop(index);
        }
        self.finished.then_some(self.reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[Value]) -> Result<Option<Reply>, StreamError> {
        let mut reader = Reader::default();
        for event in events {
            reader.event(&event.to_string())?;
        }
        Ok(reader.finish())
    }

    fn start(index: u64, block: Value) -> Value {
        json!({ "type": "content_block_start", "index": index, "content_block": block })
    }

    fn delta(index: u64, delta: Value) -> Value {
        json!({ "type": "content_block_delta", "index": index, "delta": delta })
    }

    #[test]
    fn blocks_are_put_together() {
        let events = [
            json!({ "type": "message_start", "message": { "model": "m", "usage": { "input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1 } } }),
            start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
            delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
            delta(0, json!({ "type": "signature_delta", "signature": "sig" })),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "ping" }),
            start(1, json!({ "type": "tool_use", "id": "a", "name": "x", "input": {} })),
            start(2, json!({ "type": "tool_use", "id": "b", "name": "y", "input": { "p": 1 } })),
            delta(1, json!({ "type": "input_json_delta", "partial_json": "{\"q\"" })),
            delta(1, json!({ "type": "input_json_delta", "partial_json": ":2}" })),
            json!({ "type": "content_block_stop", "index": 1 }),
            json!({ "type": "content_block_stop", "index": 2 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 9 } }),
            json!({ "type": "message_stop" }),
        ];
        let reply = read(&events).expect("readable").expect("whole");
        let asked = |id: &str, name: &str, arguments: &str| Asked {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        assert_eq!(reply.calls, [asked("a", "x", "{\"q\":2}"), asked("b", "y", "{\"p\":1}")]);
        assert_eq!(reply.thinking, [json!({ "type": "thinking", "thinking": "hm", "signature": "sig" })]);
        assert_eq!(reply.usage, Some(Usage { input: 12, cached_input: 7, output: 9, reasoning: 0 }));
        assert_eq!(read(&events[..events.len() - 1]), Ok(None), "it broke off");
    }

    #[test]
    fn what_streams_say_is_wrong() {
        let error = |kind: &str| json!({ "type": "error", "error": { "type": kind, "message": "no" } });
        assert_eq!(read(&[error("rate_limit_error")]), Err(StreamError::Limited("no".into())));
        assert_eq!(read(&[error("overloaded_error")]), Err(StreamError::Trouble("no".into())));
        let many: Vec<Value> = (0..=MAX_CALLS as u64).map(|index| start(index, json!({ "type": "text" }))).collect();
        assert!(matches!(read(&many), Err(StreamError::Bad(_))));
        for odd in [
            json!(null),
            json!(5),
            json!({ "type": 5 }),
            start(1, json!(null)),
            delta(9, json!({ "type": "text_delta" })),
        ] {
            assert_eq!(read(&[odd]), Ok(None));
        }
    }

    /// Reasoning goes back to the model that reasoned, and to no other.
    #[test]
    fn reasoning_goes_back() {
        let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "sig" });
        let entries = [
            Entry::User { text: "a".into() },
            Entry::Assistant {
                model: "m".into(),
                thinking: vec![thought.clone()],
                text: "b".into(),
                calls: Vec::new(),
            },
            Entry::User { text: "c".into() },
        ];
        let entries: Vec<_> = entries.iter().map(std::borrow::Cow::Borrowed).collect();
        let ask = Ask { system: None, entries: &entries, trimmed: true, tools: &[] };
        let sent = body("m", None, &ask);
        assert_eq!(sent["messages"][1]["content"][0], thought);
        assert!(sent["messages"][0]["content"][0]["text"].as_str().is_some_and(|text| text.ends_with(TRIMMED)));
        assert_eq!(sent["max_tokens"], MAX_TOKENS);
        assert_eq!(body("other", None, &ask)["messages"][1]["content"][0]["text"], "b");
    }
}
