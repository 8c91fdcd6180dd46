//! A model's reply before a protocol gives it its shape, and the shapes' common parts.

use serde_json::Value;

/// What the model says in one reply, in the order of the fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) thinking: Option<String>,
    pub(crate) text: Option<String>,
    /// Tool calls, all in one reply.
    pub(crate) calls: Vec<Call>,
    /// In how many pieces the text is streamed.
    pub(crate) chunks: usize,
}

impl Turn {
    pub(crate) fn text(text: impl Into<String>) -> Turn {
        Turn { text: Some(text.into()), chunks: 1, ..Turn::default() }
    }

    pub(crate) fn call(call: Call) -> Turn {
        Turn { calls: vec![call], chunks: 1, ..Turn::default() }
    }

    /// The text in `chunks` pieces of about equal length, cut between characters.
    pub(crate) fn pieces(&self) -> Vec<String> {
        let Some(text) = &self.text else {
            return Vec::new();
        };
        let chars: Vec<char> = text.chars().collect();
        let size = chars.len().div_ceil(self.chunks.max(1)).max(1);
        chars.chunks(size).map(|piece| piece.iter().collect()).collect()
    }
}

/// A tool call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Unique within a server.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Input,
    /// What the tool stands under, in the Responses protocol.
    pub(crate) namespace: Option<String>,
}

/// A tool's input.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Json(Value),
    /// Text as it is: for the Responses protocol's `custom` tools, and for arguments that are no JSON.
    Freeform(String),
}

impl Call {
    /// The input as JSON; a text becomes a JSON string.
    pub(crate) fn json(&self) -> Value {
        match &self.input {
            Input::Json(value) => value.clone(),
            Input::Freeform(text) => Value::String(text.clone()),
        }
    }

    /// The input as the model writes it, for the protocols that carry it as a text.
    pub(crate) fn written(&self) -> String {
        match &self.input {
            Input::Json(value) => value.to_string(),
            Input::Freeform(text) => text.clone(),
        }
    }
}

/// A tool that a request declares.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The names of its input's properties.
    pub(crate) takes: Vec<String>,
    /// Whether its input is a text instead of JSON.
    pub(crate) freeform: bool,
    /// What it stands under, in the Responses protocol.
    pub(crate) namespace: Option<String>,
}

impl Tool {
    /// A tool named by a JSON declaration with its schema.
    pub(crate) fn declared(name: &Value, schema: &Value) -> Option<Tool> {
        let takes = schema["properties"].as_object().map(|keys| keys.keys().cloned().collect());
        Some(Tool {
            name: name.as_str()?.to_owned(),
            takes: takes.unwrap_or_default(),
            freeform: false,
            namespace: None,
        })
    }
}

/// One piece of a streamed reply.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: String,
    /// Whether it carries a piece of the text.
    pub(crate) delta: bool,
}

impl Frame {
    /// A server-sent event with a name.
    pub(crate) fn event(name: &str, data: &Value) -> Frame {
        Frame { bytes: format!("event: {name}\ndata: {data}\n\n"), delta: false }
    }

    /// A server-sent event without a name.
    pub(crate) fn data(data: &Value) -> Frame {
        Frame { bytes: format!("data: {data}\n\n"), delta: false }
    }

    pub(crate) fn into_delta(self) -> Frame {
        Frame { delta: true, ..self }
    }
}

/// A reply that refuses the request.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

impl Refusal {
    pub(crate) fn new(status: u16, body: Value) -> Refusal {
        Refusal { status, headers: Vec::new(), body }
    }

    /// Adds `retry-after` where the time is known.
    pub(crate) fn retry_after(mut self, reset_at_epoch: Option<u64>) -> Refusal {
        if let Some(reset) = reset_at_epoch {
            self.headers.push(("retry-after", seconds_until(reset).to_string()));
        }
        self
    }
}

/// Seconds from now to a time since 1970; zero when it is past.
pub(crate) fn seconds_until(epoch: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    epoch.saturating_sub(now.map_or(0, |now| now.as_secs()))
}
