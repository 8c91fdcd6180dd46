//! The model's side of the conversation: two protocols of our own, over one HTTP client.
//!
//! Crates that speak to models were looked at first. `rig-core` 0.46 needs a newer compiler than this project. `genai`
//! 0.7 gives status and headers of a refusal, and both protocols, but reads error pages, event lines and decompressed
//! bodies without a bound, hands on arguments that are no JSON as if they were, and brings twenty providers with it.
//! What is needed here is a request and an event reader for each of two protocols.
//!
//! Must not know: tools, files, stdout.

mod anthropic;
mod client;
mod openai;
mod retry;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub(crate) use client::Client;

use crate::conversation::Entry;

/// What the model is asked.
pub(crate) struct Ask<'a> {
    pub(crate) system: Option<&'a str>,
    pub(crate) entries: &'a [Cow<'a, Entry>],
    /// Whether something between the first entry and the next was left out.
    pub(crate) trimmed: bool,
    pub(crate) tools: &'a [ToolSpec],
}

/// A tool, as the model is told of it.
#[derive(Debug, Clone)]
pub(crate) struct ToolSpec {
    pub(crate) name: String,
    pub(crate) description: String,
    /// JSON Schema of its arguments: an object's.
    pub(crate) schema: Map<String, Value>,
    /// Whether it says that it changes nothing.
    pub(crate) read_only: bool,
}

/// A piece of an answer as it comes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Thought(String),
}

/// A whole answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) model: Option<String>,
    pub(crate) text: String,
    /// Reasoning that the provider wants back as it was.
    pub(crate) thinking: Vec<Value>,
    pub(crate) calls: Vec<Asked>,
    pub(crate) usage: Option<Usage>,
    pub(crate) stop: Stop,
}

/// A call as the model wrote it: nothing of it is to be trusted.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, or what the model takes for it.
    pub(crate) arguments: String,
}

/// Tokens of one request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// All of the prompt.
    pub(crate) input: u64,
    /// What of it the provider had cached.
    pub(crate) cached_input: u64,
    /// All of the answer.
    pub(crate) output: u64,
    /// What of it was reasoning, where that is told.
    pub(crate) reasoning: u64,
}

/// Why an answer ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is whole, or waits for tools.
    #[default]
    Done,
    /// It reached `max_tokens`.
    Length,
    /// The provider would not answer that.
    Refused,
}

/// What is wrong in a stream.
#[derive(Debug, PartialEq)]
pub(crate) enum StreamError {
    /// The provider says so: that it is too much for now.
    Limited(String),
    /// The provider says so: that it has trouble.
    Trouble(String),
    /// It is not what the protocol says.
    Bad(String),
}

/// What one event comes to.
#[derive(Debug, Default)]
struct Progress {
    pieces: Vec<Piece>,
    /// Nothing more will come.
    over: bool,
}

/// Calls that one answer may hold.
const MAX_CALLS: usize = 256;

/// What stands where the oldest rounds were.
const TRIMMED: &str = "[Earlier parts of this conversation were left out, as it became too long.]";

/// The prompts that follow each other are one: some templates allow no two.
fn joined_prompt(before: &mut String, more: &str) {
    before.push_str("\n\n");
    before.push_str(more);
}

fn count(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The words of a provider's error, which come in several shapes, in one line of bounded length.
fn error_words(body: &str) -> String {
    let parsed: Value = decklog_text::json::from_str(body).unwrap_or_default();
    // Gemini's compatible endpoint puts it into a list.
    let parsed = parsed.get(0).cloned().unwrap_or(parsed);
    let candidates = [&parsed["error"]["message"], &parsed["error"], &parsed["message"], &parsed["detail"]];
    let words = candidates.into_iter().find_map(Value::as_str).unwrap_or(if parsed.is_null() { body } else { "" });
    let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_errors() {
        for (body, words) in [
            (r#"{"error":{"message":"bad\nmodel"}}"#, "bad model"),
            (r#"{"error":"no model"}"#, "no model"),
            (r#"{"message":"nope"}"#, "nope"),
            (r#"{"detail":"not found"}"#, "not found"),
            (r#"[{"error":{"message":"listed"}}]"#, "listed"),
            ("<html>Bad  Gateway</html>", "<html>Bad Gateway</html>"),
            (r#"{"code":5}"#, ""),
            ("", ""),
        ] {
            assert_eq!(error_words(body), words, "{body}");
        }
        assert_eq!(error_words(&"x".repeat(100_000)).len(), 500);
    }
}
