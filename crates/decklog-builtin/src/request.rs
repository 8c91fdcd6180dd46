//! What is asked: the one line on stdin.
//!
//! Must not know: what is done about it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::TurnError;
use crate::secret::Secret;

/// A turn.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) prompt: String,
    #[serde(default)]
    pub(crate) system: Option<String>,
    pub(crate) working_dir: PathBuf,
    pub(crate) model: Model,
    #[serde(default)]
    pub(crate) mcp: Vec<McpServer>,
    pub(crate) permissions: Permissions,
    #[serde(default)]
    pub(crate) resume: Option<String>,
    /// Whether a new conversation may take the place of one that is gone.
    #[serde(default)]
    pub(crate) begins_anew: bool,
    pub(crate) state_dir: PathBuf,
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// Who answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    /// What the user calls the provider.
    #[serde(default)]
    pub(crate) provider: String,
    pub(crate) style: Style,
    pub(crate) base_url: String,
    /// Whether plain HTTP may leave this machine.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// The variable that holds the key.
    #[serde(default)]
    pub(crate) api_key_env: Option<String>,
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) max_tokens: Option<u64>,
    #[serde(default = "context_tokens")]
    pub(crate) context_tokens: u64,
}

fn context_tokens() -> u64 {
    128_000
}

/// Whose protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Style {
    /// `/chat/completions`.
    Openai,
    /// `/v1/messages`.
    Anthropic,
}

/// What tools may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Permissions {
    /// Only tools that say that they change nothing.
    ReadOnly,
    /// All tools: what they may touch is for whoever started their servers to say.
    Edit,
    /// The same.
    Full,
}

/// A server of tools.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct McpServer {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

/// What one turn may take.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Tool calls.
    pub(crate) tool_calls: u32,
    /// Model requests, not counting those asked again.
    pub(crate) requests: u32,
    /// Characters of one tool result.
    pub(crate) result_chars: usize,
    /// How often one request is put, at most.
    pub(crate) tries: u32,
    /// The wait before the second try.
    pub(crate) first_wait_ms: u64,
    /// What all waits for one request may come to.
    pub(crate) retry_secs: u64,
    /// How long a provider may send nothing.
    pub(crate) silence_secs: u64,
    /// How long a tool may take.
    pub(crate) tool_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tool_calls: 100,
            requests: 50,
            result_chars: 50_000,
            tries: 4,
            first_wait_ms: 2000,
            retry_secs: 60,
            silence_secs: 900,
            tool_secs: 1800,
        }
    }
}

impl Model {
    /// The provider, as users know it.
    pub(crate) fn provider(&self) -> &str {
        if self.provider.is_empty() { "(unnamed)" } else { &self.provider }
    }

    /// The key, if one is needed.
    ///
    /// # Errors
    /// [`TurnError::NoKey`] when its variable is not set, or holds what no header can.
    pub(crate) fn key(&self, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Secret>, TurnError> {
        let Some(var) = &self.api_key_env else { return Ok(None) };
        let value = env(var).and_then(|value| value.into_string().ok()).map(|value| value.trim().to_owned());
        match value.filter(|value| !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic())) {
            Some(value) => Ok(Some(Secret::new(value))),
            None => Err(TurnError::NoKey { var: var.clone(), provider: self.provider().to_owned() }),
        }
    }
}
