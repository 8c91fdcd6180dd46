//! One flat file per session: `session_start`, its iterations or turns, `session_end`, with all texts in the lines.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Whole;

/// Writes the lines of a session.
///
/// # Errors
/// Those of `out`.
pub fn write(whole: &Whole, out: &mut dyn Write) -> io::Result<()> {
    line(out, "session_start", Some(whole.times.0), &whole.start, Map::new())?;
    if whole.session.iterations.is_empty() {
        for (turn, texts) in whole.session.turns.iter().zip(&whole.texts) {
            let mut more = Map::new();
            for (key, text) in [("prompt", &texts.prompt), ("patch", &texts.patch)] {
                more.extend(text.clone().map(|text| (key.to_owned(), Value::String(text))));
            }
            line(out, "turn", Some(turn.started_at), turn, more)?;
        }
    } else {
        for iteration in &whole.session.iterations {
            line(out, "iteration", None, iteration, Map::new())?;
        }
    }
    match &whole.end {
        Some(end) => line(out, "session_end", whole.times.1, end, Map::new()),
        None => Ok(()),
    }
}

fn line(
    out: &mut dyn Write,
    kind: &str,
    at: Option<jiff::Timestamp>,
    value: &impl Serialize,
    more: Map<String, Value>,
) -> io::Result<()> {
    let mut object = Map::new();
    object.insert("type".into(), kind.into());
    object.extend(at.map(|at| ("timestamp".to_owned(), decklog_journal::time::micros(at).into())));
    if let Value::Object(keys) = serde_json::to_value(value)? {
        object.extend(keys);
    }
    object.extend(more);
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}
