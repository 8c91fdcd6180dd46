//! The four model protocols behind one door.

use serde_json::Value;

use super::turn::{Frame, Refusal, Tool, Turn};
use super::{anthropic, chat, gemini, responses};
use crate::usage::Counts;

/// A model protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions.
    Chat,
    /// Gemini's generateContent.
    Gemini,
}

impl Protocol {
    /// The protocol of a model request, by its path; `None` for all other requests.
    pub(crate) fn of(path: &str) -> Option<Protocol> {
        if path.ends_with("/messages") {
            Some(Protocol::Anthropic)
        } else if path.ends_with("/responses") {
            Some(Protocol::Responses)
        } else if path.ends_with("/chat/completions") {
            Some(Protocol::Chat)
        } else if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") {
            Some(Protocol::Gemini)
        } else {
            None
        }
    }

    /// Whether the request wants an event stream.
    pub(crate) fn streams(self, path: &str, body: &Value) -> bool {
        match self {
            Protocol::Gemini => path.ends_with(":streamGenerateContent"),
            _ => body["stream"].as_bool().unwrap_or(false),
        }
    }

    /// The tools that a request declares.
    pub(crate) fn tools(self, body: &Value) -> Vec<Tool> {
        match self {
            Protocol::Anthropic => anthropic::tools(body),
            Protocol::Responses => responses::tools(body),
            Protocol::Chat => chat::tools(body),
            Protocol::Gemini => gemini::tools(body),
        }
    }

    /// A reply as an event stream.
    pub(crate) fn stream(self, turn: &Turn, counts: Counts, model: &str) -> Vec<Frame> {
        match self {
            Protocol::Anthropic => anthropic::stream(turn, counts, model),
            Protocol::Responses => responses::stream(turn, counts, model),
            Protocol::Chat => chat::stream(turn, counts, model),
            Protocol::Gemini => gemini::stream(turn, counts, model),
        }
    }

    /// A reply as one JSON document.
    pub(crate) fn whole(self, turn: &Turn, counts: Counts, model: &str) -> Value {
        match self {
            Protocol::Anthropic => anthropic::whole(turn, counts, model),
            Protocol::Responses => responses::whole(turn, counts, model),
            Protocol::Chat => chat::whole(turn, counts, model),
            Protocol::Gemini => gemini::whole(turn, counts, model),
        }
    }

    /// The provider's refusal of a request over its limit.
    pub(crate) fn rate_limit(self, reset_at_epoch: Option<u64>) -> Refusal {
        match self {
            Protocol::Anthropic => anthropic::rate_limit(reset_at_epoch),
            Protocol::Responses => responses::rate_limit(reset_at_epoch),
            Protocol::Chat => chat::rate_limit(reset_at_epoch),
            Protocol::Gemini => gemini::rate_limit(reset_at_epoch),
        }
    }

    /// The provider's refusal of a request with a bad key.
    pub(crate) fn unauthorized(self) -> Refusal {
        match self {
            Protocol::Anthropic => anthropic::unauthorized(),
            Protocol::Responses | Protocol::Chat => chat::unauthorized(),
            Protocol::Gemini => gemini::unauthorized(),
        }
    }
}

/// The model a request names, in its body or its path.
pub(crate) fn model<'r>(path: &'r str, body: &'r Value) -> &'r str {
    let in_path = path.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(model, _)| model);
    body["model"].as_str().or(in_path).unwrap_or("scripted-model")
}
