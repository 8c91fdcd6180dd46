//! One journal line: envelope, event, and the chained checksum (format 1).
//!
//! A line is `{"seq":N,"timestamp":"…","type":"…",<the event's own keys>,"sum":"<16 hex>"}` and a newline.
//! `sum` is the first 16 hex digits of SHA-256 over the previous line's `sum` (nothing for the first line)
//! and this line's bytes before `,"sum"`. It is always the last key, so it can be found and recomputed
//! without parsing:
//!
//! ```
//! use decklog_journal::wire;
//! let body = r#"{"seq":0,"timestamp":"2026-05-01T13:44:12.000000Z","type":"checkpoint","reason":"manual""#;
//! let sum = wire::chain("", body.as_bytes());
//! let line = format!("{body},\"sum\":\"{sum}\"}}");
//! let (read, event) = wire::decode(line.as_bytes()).expect("a whole line");
//! assert_eq!(read, sum);
//! assert_eq!(event.body.kind(), "checkpoint");
//! ```
//!
//! Must not know: files, other lines.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::event::{Event, EventBody};
use crate::redact::Redactor;
use crate::time::micros;

/// No line that this crate writes is longer, newline included.
pub const MAX_LINE: usize = 256 * 1024;

/// No line longer than this is read into memory.
pub(crate) const MAX_READ_LINE: usize = 4 * MAX_LINE;

/// Bytes of `,"sum":"0123456789abcdef"}`.
const TAIL: usize = 26;

/// Bytes at the end of a journal that tell its last sum, newline included.
pub(crate) const END: usize = TAIL + 1;
const SUM_KEY: &[u8] = br#","sum":""#;

/// Why a line could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not end in a `sum`.
    #[error("it does not end in a \"sum\"")]
    NoSum,
    /// It is not the JSON that an event of its type is.
    #[error("it is no event: {0}")]
    NotAnEvent(String),
}

/// The `sum` of a line whose predecessor has the sum `previous` (empty for the first line) and whose
/// bytes before `,"sum"` are `body`.
#[must_use]
pub fn chain(previous: &str, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(previous).chain_update(body).finalize();
    hex(&digest[..8])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first 12 hex digits of the SHA-256 of `prompt`: finds reruns of one task.
#[must_use]
pub fn prompt_hash(prompt: &[u8]) -> String {
    hex(&Sha256::digest(prompt)[..6])
}

/// The SHA-256 of `bytes` in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Splits a line without its newline into the bytes that its sum covers and the sum itself.
#[must_use]
pub fn split_sum(line: &[u8]) -> Option<(&[u8], &str)> {
    let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let sum = tail.strip_prefix(SUM_KEY)?.strip_suffix(br#""}"#)?;
    let is_hex = sum.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    std::str::from_utf8(sum).ok().filter(|_| is_hex).map(|sum| (body, sum))
}

/// A line ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The line, newline included.
    pub(crate) bytes: Vec<u8>,
    /// Its sum.
    pub(crate) sum: String,
    /// What the line says, where the redactor made it say something else than the event.
    pub(crate) redacted: Option<EventBody>,
}

/// Makes the line of an event.
pub(crate) fn encode(
    seq: u64,
    at: Timestamp,
    body: &EventBody,
    previous: &str,
    redactor: &Redactor,
) -> serde_json::Result<Encoded> {
    let payload = body.payload_json()?;
    let payload: Cow<'_, [u8]> = redactor.redact(payload.as_bytes());
    let redacted = match &payload {
        Cow::Borrowed(_) => None,
        Cow::Owned(payload) => Some(EventBody::from_line(body.kind(), payload)?),
    };
    let mut line = format!(r#"{{"seq":{seq},"timestamp":"{}","type":"{}""#, micros(at), body.kind()).into_bytes();
    let keys = payload.get(1..payload.len().saturating_sub(1)).unwrap_or_default();
    if !keys.is_empty() {
        line.push(b',');
        line.extend_from_slice(keys);
    }
    let sum = chain(previous, &line);
    line.extend_from_slice(SUM_KEY);
    line.extend_from_slice(sum.as_bytes());
    line.extend_from_slice(b"\"}\n");
    Ok(Encoded { bytes: line, sum, redacted })
}

#[derive(Deserialize)]
struct Envelope {
    seq: u64,
    timestamp: Timestamp,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads a line without its newline; gives the sum it claims and its event. Whether the sum is right
/// is for the caller to say, who knows the line before.
///
/// # Errors
/// [`LineError`] when it is no event.
pub fn decode(line: &[u8]) -> Result<(String, Event), LineError> {
    let (_, sum) = split_sum(line).ok_or(LineError::NoSum)?;
    let not_an_event = |error: serde_json::Error| LineError::NotAnEvent(error.to_string());
    let envelope: Envelope = serde_json::from_slice(line).map_err(not_an_event)?;
    let body = EventBody::from_line(&envelope.kind, line).map_err(not_an_event)?;
    Ok((sum.to_owned(), Event { seq: envelope.seq, timestamp: envelope.timestamp, body }))
}
