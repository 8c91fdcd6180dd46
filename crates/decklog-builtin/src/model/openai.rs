//! `/chat/completions`, streamed, as OpenAI and the many that are compatible with it speak it.
//!
//! They differ: pieces of calls come with or without an index, with arguments as text or as an object, and with ids that
//! are new where the index is not. Reasoning is `reasoning_content` or `reasoning`.
//!
//! Must not know: HTTP.

use serde_json::{Value, json};

use super::{
    Ask, Asked, MAX_CALLS, Piece, Progress, Reply, Stop, StreamError, TRIMMED, Usage, count, joined_prompt, text,
};
use crate::conversation::Entry;

/// The request's body. `is_openai`: OpenAI itself, where `max_tokens` has another name.
pub(super) fn body(model: &str, max_tokens: Option<u64>, is_openai: bool, ask: &Ask<'_>) -> Value {
    let mut body = json!({
        "model": model,
        "messages": messages(ask),
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(max) = max_tokens {
        body[if is_openai { "max_completion_tokens" } else { "max_tokens" }] = json!(max);
    }
    if !ask.tools.is_empty() {
        let tool = |tool: &super::ToolSpec| {
            let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
            json!({ "type": "function", "function": function })
        };
        body["tools"] = ask.tools.iter().map(tool).collect();
    }
    body
}

fn messages(ask: &Ask<'_>) -> Vec<Value> {
    let mut messages = Vec::new();
    if let Some(system) = ask.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    let mut prompt: Option<String> = None;
    let said = |prompt: &mut Option<String>, messages: &mut Vec<Value>| {
        messages.extend(prompt.take().map(|text| json!({ "role": "user", "content": text })));
    };
    for (at, entry) in ask.entries.iter().enumerate() {
        match entry.as_ref() {
            Entry::User { text } => match &mut prompt {
                Some(before) => joined_prompt(before, text),
                None => prompt = Some(text.clone()),
            },
            Entry::Assistant { text, calls, .. } => {
                if text.is_empty() && calls.is_empty() {
                    continue;
                }
                said(&mut prompt, &mut messages);
                let content = if text.is_empty() { Value::Null } else { json!(text) };
                let mut message = json!({ "role": "assistant", "content": content });
                if !calls.is_empty() {
                    let call = |call: &crate::conversation::Call| {
                        let arguments = Value::from(call.arguments.clone()).to_string();
                        json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
                    };
                    message["tool_calls"] = calls.iter().map(call).collect();
                }
                messages.push(message);
            }
            Entry::Results { results } => {
                for result in results {
                    messages.push(json!({ "role": "tool", "tool_call_id": result.id, "content": result.output }));
                }
            }
        }
        if at == 0
            && ask.trimmed
            && let Some(prompt) = &mut prompt
        {
            joined_prompt(prompt, TRIMMED);
        }
    }
    said(&mut prompt, &mut messages);
    messages
}

/// Puts an answer together from its events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    reply: Reply,
    /// The index of each call, where it has one.
    indices: Vec<Option<u64>>,
    finished: bool,
}

impl Reader {
    pub(super) fn event(&mut self, data: &str) -> Result<Progress, StreamError> {
        let mut progress = Progress::default();
        if data.trim() == "[DONE]" {
            self.finished = true;
            progress.over = true;
            return Ok(progress);
        }
        let chunk: Value = decklog_text::json::from_str(data)
            .map_err(|error| StreamError::Bad(format!("an event of the answer is no JSON: {error}")))?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(stream_error(error, data));
        }
        let model = text(&chunk, "model");
        if self.reply.model.is_none() && !model.is_empty() {
            self.reply.model = Some(model.to_owned());
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.reply.usage = Some(Usage {
                input: count(usage, "prompt_tokens"),
                cached_input: count(&usage["prompt_tokens_details"], "cached_tokens"),
                output: count(usage, "completion_tokens"),
                reasoning: count(&usage["completion_tokens_details"], "reasoning_tokens"),
            });
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        for key in ["reasoning_content", "reasoning"] {
            let thought = text(delta, key);
            if !thought.is_empty() {
                progress.pieces.push(Piece::Thought(thought.to_owned()));
                break;
            }
        }
        let words = text(delta, "content");
        if !words.is_empty() {
            self.reply.text.push_str(words);
            progress.pieces.push(Piece::Text(words.to_owned()));
        }
        for piece in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call(piece)?;
        }
        match text(choice, "finish_reason") {
            "" => {}
            "length" => (self.reply.stop, self.finished) = (Stop::Length, true),
            "content_filter" => (self.reply.stop, self.finished) = (Stop::Refused, true),
            _ => self.finished = true,
        }
        Ok(progress)
    }

    fn call(&mut self, piece: &Value) -> Result<(), StreamError> {
        let index = piece.get("index").and_then(Value::as_u64);
        let id = text(piece, "id");
        let known = match index {
            Some(_) => self.indices.iter().rposition(|known| *known == index),
            None => self.indices.len().checked_sub(1),
        };
        let is_other = |call: &Asked| !id.is_empty() && !call.id.is_empty() && call.id != id;
        let at = match known {
            Some(at) if !is_other(&self.reply.calls[at]) => at,
            _ if self.indices.len() >= MAX_CALLS => {
                return Err(StreamError::Bad(format!("the answer asks for more than {MAX_CALLS} tool calls")));
            }
            _ => {
                self.indices.push(index);
                self.reply.calls.push(Asked::default());
                self.indices.len() - 1
            }
        };
        let call = &mut self.reply.calls[at];
        let function = &piece["function"];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            text(function, "name").clone_into(&mut call.name);
        }
        match &function["arguments"] {
            Value::String(more) => call.arguments.push_str(more),
            Value::Null => {}
            whole => call.arguments = whole.to_string(),
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.reply.usage
    }

    /// The answer; none when it broke off.
    pub(super) fn finish(self) -> Option<Reply> {
        self.finished.then_some(self.reply)
    }
}

fn stream_error(error: &Value, data: &str) -> StreamError {
    let words = super::error_words(data);
    let says = |key: &str| match &error[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let (code, kind) = (says("code"), says("type"));
    if code == "429" || code.contains("rate_limit") || kind.contains("rate_limit") {
        StreamError::Limited(words)
    } else {
        StreamError::Trouble(words)
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

    fn call(piece: Value) -> Value {
        json!({ "choices": [{ "delta": { "tool_calls": [piece] } }] })
    }

    fn finish(reason: &str) -> Value {
        json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })
    }

    fn asked(id: &str, name: &str, arguments: &str) -> Asked {
        Asked { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    /// Pieces of calls, as servers in use send them.
    #[test]
    fn calls_in_pieces() {
        let first = json!({ "index": 0, "id": "a", "function": { "name": "x", "arguments": "" } });
        let more = |index: u64, text: &str| json!({ "index": index, "function": { "arguments": text } });
        for (pieces, expected) in [
            // In order, and one within the other.
            (
                vec![
                    first.clone(),
                    more(0, "{\"p\""),
                    json!({ "index": 1, "id": "b", "function": { "name": "y", "arguments": "{}" } }),
                    more(0, ":1}"),
                ],
                vec![asked("a", "x", "{\"p\":1}"), asked("b", "y", "{}")],
            ),
            // All at index 0, told apart by their ids.
            (
                vec![
                    json!({ "index": 0, "id": "a", "function": { "name": "x", "arguments": "{}" } }),
                    json!({ "index": 0, "id": "b", "function": { "name": "y", "arguments": "{}" } }),
                ],
                vec![asked("a", "x", "{}"), asked("b", "y", "{}")],
            ),
            // Without an index, arguments as an object.
            (
                vec![json!({ "id": "a", "function": { "name": "x", "arguments": { "p": 1 } } })],
                vec![asked("a", "x", "{\"p\":1}")],
            ),
            // The id and the name each time.
            (
                vec![first.clone(), json!({ "index": 0, "id": "a", "function": { "name": "x", "arguments": "{}" } })],
                vec![asked("a", "x", "{}")],
            ),
            // Nothing at all.
            (vec![json!({}), json!(5)], vec![Asked::default()]),
        ] {
            let mut events: Vec<Value> = pieces.into_iter().map(call).collect();
            events.push(finish("tool_calls"));
            assert_eq!(read(&events).expect("readable").expect("whole").calls, expected);
        }
    }

    #[test]
    fn how_answers_end() {
        let text = json!({ "model": "m", "choices": [{ "delta": { "content": "hi" } }] });
        for (events, stop) in [
            (vec![text.clone(), finish("stop")], Some(Stop::Done)),
            (vec![text.clone(), finish("length")], Some(Stop::Length)),
            (vec![text.clone(), finish("content_filter")], Some(Stop::Refused)),
            (vec![text.clone()], None),
            (vec![], None),
            (vec![json!(null), json!([]), json!({ "choices": 5 }), json!({ "choices": [{ "delta": "x" }] })], None),
        ] {
            assert_eq!(read(&events).expect("readable").map(|reply| reply.stop), stop, "{events:?}");
        }
        let mut reader = Reader::default();
        assert!(reader.event("[DONE]").expect("the end").over);
        assert!(reader.finish().is_some());
    }

    #[test]
    fn what_streams_say_is_wrong() {
        let limited = json!({ "error": { "message": "slow down", "code": 429 } });
        let trouble = json!({ "error": { "message": "overloaded", "type": "server_error" } });
        assert_eq!(read(&[limited]), Err(StreamError::Limited("slow down".into())));
        assert_eq!(read(&[trouble]), Err(StreamError::Trouble("overloaded".into())));
        assert!(matches!(Reader::default().event("<html>"), Err(StreamError::Bad(_))));
        let many = (0..=MAX_CALLS).map(|index| call(json!({ "index": index, "id": format!("c{index}") })));
        assert!(matches!(read(&many.collect::<Vec<_>>()), Err(StreamError::Bad(_))));
    }

    #[test]
    fn prompts_that_follow_each_other_are_one() {
        let user = |text: &str| Entry::User { text: text.into() };
        let empty =
            Entry::Assistant { model: "m".into(), thinking: Vec::new(), text: String::new(), calls: Vec::new() };
        let entries = [user("a"), empty, user("b")];
        let entries: Vec<_> = entries.iter().map(std::borrow::Cow::Borrowed).collect();
        let ask = Ask { system: Some("s"), entries: &entries, trimmed: false, tools: &[] };
        let expected = json!([{ "role": "system", "content": "s" }, { "role": "user", "content": "a\n\nb" }]);
        let body = body("m", Some(5), true, &ask);
        assert_eq!(body["messages"], expected);
        assert_eq!((&body["max_completion_tokens"], body.get("tools")), (&json!(5), None));
    }
}
