//! Finding JSON in what an agent wrote: it is asked for one object, and often writes more, or not quite JSON.
//!
//! Must not know: what the object is for.

use decklog_text::json;
use serde_json::Value;

/// Bytes of an answer that are looked through: its end.
const LOOKED_AT: usize = 256 * 1024;

/// The end of `text`, as much of it as is looked through.
pub(super) fn end_of(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(LOOKED_AT))..]
}

/// The last object that `read` takes, and where it ends in `text`.
pub(super) fn last_object<T>(text: &str, read: impl Fn(&Value) -> Option<T>) -> Option<(usize, T)> {
    // Brackets that never close would each be looked for to the end.
    let mut budget = 16 * LOOKED_AT;
    for (begin, _) in text.rmatch_indices('{') {
        let end = begin + end_of_object(&text[begin..]).unwrap_or(0);
        budget = budget.checked_sub(if end > begin { end - begin } else { text.len() - begin })?;
        if let Some(found) = lenient(&text[begin..end]).as_ref().and_then(&read) {
            return Some((end, found));
        }
    }
    None
}

/// Length of the object that begins `text`, if it ends.
fn end_of_object(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// JSON, decoded leniently, with commas before a closing bracket let pass.
fn lenient(text: &str) -> Option<Value> {
    if let Ok(value) = json::from_str(text) {
        return Some(value);
    }
    let mut mended = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ',' if !in_string && text[at + 1..].trim_start().starts_with(['}', ']']) => continue,
            _ => {}
        }
        mended.push(c);
    }
    json::from_str(&mended).ok()
}
