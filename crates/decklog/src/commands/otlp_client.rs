//! Handing traces to an OpenTelemetry collector that the user names: OTLP over HTTP, in JSON.
//!
//! Must not know: what a trace is made of.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use decklog_text::visible;
use serde::Deserialize;
use ureq::Agent;

use crate::context::Context;
use crate::error::CliError;

/// Where the OpenTelemetry SDKs, too, look for headers such as a key: `name=value,name=value`.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// A collector.
pub(crate) struct Collector {
    agent: Agent,
    url: String,
    headers: Vec<(String, String)>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// A number, as text or not.
    rejected_spans: serde_json::Value,
    error_message: String,
}

impl Collector {
    /// The collector at `endpoint`, to which `/v1/traces` is added unless it ends so.
    pub(crate) fn new(endpoint: &str, context: &Context) -> Result<Self, CliError> {
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(CliError::new(format!("{endpoint:?} is no address of a collector"))
                .hint("write it with http:// or https://, such as http://localhost:4318"));
        }
        let base = endpoint.trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let variable = context.environment().into_iter().find(|(name, _)| name == HEADERS);
        let headers = match variable {
            Some((_, value)) => parse_headers(&String::from_utf8_lossy(value.as_bytes())).ok_or_else(|| {
                CliError::new(format!("{HEADERS} cannot be read")).hint("write NAME=VALUE, with commas between several")
            })?,
            None => Vec::new(),
        };
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // An answer that says no is told in its own words.
            .http_status_as_error(false)
            // What is sent goes where the user said, and nowhere else.
            .max_redirects(0)
            .build();
        Ok(Self { agent: config.new_agent(), url, headers })
    }

    /// Sends one request. Gives the collector's words when it took only a part.
    pub(crate) fn send(&self, body: &[u8]) -> Result<Option<String>, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::new(format!("{}: {error}", self.url));
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut answer = request.send(body).map_err(|error| failed(&error))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
        if !status.is_success() {
            let words: String = visible(text.trim()).chars().take(300).collect();
            return Err(failed(&format!("the collector refused it: {status} {words}")));
        }
        let partial = serde_json::from_str::<Answer>(&text).unwrap_or_default().partial_success;
        let rejected = partial.rejected_spans.to_string();
        let rejected = rejected.trim_matches('"');
        let is_whole = matches!(rejected, "null" | "0" | "");
        Ok((!is_whole).then(|| format!("{rejected} spans were rejected: {}", partial.error_message)))
    }
}

/// Headers as a variable holds them: `name=value` with commas in between, values percent-encoded.
fn parse_headers(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), percent_decoded(value.trim())?)).filter(|(name, _)| !name.is_empty())
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_sdks_read_them() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parse_headers("api-key=a%20b, x = y=z ,"), Some(vec![pair("api-key", "a b"), pair("x", "y=z")]));
        assert_eq!(parse_headers(""), Some(Vec::new()));
        for wrong in ["key", "=x", "a=%2", "a=%zz", "a=%ff"] {
            assert_eq!(parse_headers(wrong), None, "{wrong}");
        }
    }
}
