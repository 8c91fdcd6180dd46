//! What is told on stdout: one JSON object a line, without the key.
//!
//! Must not know: what happens; it is told.

use std::cell::RefCell;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::TurnError;
use crate::secret::Secret;

/// One line. The crate's page says what each means.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    Session {
        id: String,
    },
    Model {
        model: String,
    },
    TextDelta {
        text: String,
    },
    ThoughtDelta {
        text: String,
    },
    ToolCall {
        id: String,
        name: String,
        read_only: bool,
        input: Map<String, Value>,
    },
    ToolResult {
        id: String,
        is_error: bool,
        output: String,
        duration_secs: f64,
    },
    Usage {
        input: u64,
        cached_input: u64,
        output: u64,
        reasoning: u64,
        model: String,
    },
    Retry {
        attempt: u32,
        tries: u32,
        wait_secs: f64,
        message: String,
    },
    Notice {
        code: &'static str,
        text: String,
    },
    RateLimited {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        resets_at: Option<Timestamp>,
    },
    Error {
        code: &'static str,
        message: String,
    },
    Done {
        stop_reason: &'static str,
    },
}

/// Tells events. One thread alone does.
pub(crate) struct Teller<'a> {
    output: RefCell<&'a mut dyn Write>,
    key: Option<Secret>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(output: &'a mut dyn Write, key: Option<Secret>) -> Self {
        Self { output: RefCell::new(output), key }
    }

    /// Tells `event` at once.
    ///
    /// # Errors
    /// [`TurnError::System`] when nobody reads any more.
    pub(crate) fn tell(&self, event: &Event) -> Result<(), TurnError> {
        let mut line = serde_json::to_string(event).map_err(std::io::Error::from)?;
        if let Some(key) = &self.key {
            key.keep_out_of(&mut line);
        }
        line.push('\n');
        let mut output = self.output.borrow_mut();
        output.write_all(line.as_bytes())?;
        Ok(output.flush()?)
    }
}
