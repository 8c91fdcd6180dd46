//! JSON that other programs wrote, decoded leniently: what strict JSON forbids inside a string costs that character and not
//! the line.
//!
//! JavaScript cuts strings between the halves of a surrogate pair and writes each half as an escape, and pipes cut bytes between
//! the parts of a character. Everything that others wrote is decoded here; what decklog itself writes is decoded strictly.
//!
//! Must not know: what a text says, and whose it is.

use serde::Deserialize;
use serde::de::DeserializeOwned;

const REPLACEMENT: &[u8] = b"\\ufffd";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Decodes `bytes`. Valid JSON gives what [`serde_json::from_slice`] gives; other JSON is decoded as [`repair`] leaves it.
///
/// # Errors
/// When neither is JSON of this type.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    from_slice_in(bytes, &mut Vec::new())
}

/// Decodes `text`; see [`from_slice`].
///
/// # Errors
/// When it is not JSON of this type.
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => match repair(text.as_bytes()) {
            Some(repaired) => serde_json::from_slice(&repaired),
            None => Err(error),
        },
    }
}

/// Decodes `bytes` into what may borrow from them; repaired bytes are kept in `repaired`. See [`from_slice`].
///
/// # Errors
/// When they are not JSON of this type.
pub fn from_slice_in<'de, T: Deserialize<'de>>(bytes: &'de [u8], repaired: &'de mut Vec<u8>) -> serde_json::Result<T> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match repair(bytes) {
            Some(other) => {
                *repaired = other;
                serde_json::from_slice(repaired)
            }
            None => Err(error),
        },
    }
}

/// Makes JSON of what is almost JSON: a byte order mark is removed; half of a surrogate pair and bytes that are not UTF-8 become
/// U+FFFD; raw control characters inside a string become escapes. `None`: there is nothing of that kind.
#[must_use]
pub fn repair(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut repaired = Repaired { source: text, out: Vec::new(), copied: 0 };
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                let length = match surrogate(&text[at..]) {
                    None => 2,
                    Some(Half::High) if matches!(surrogate(&text[at + 6..]), Some(Half::Low)) => 12,
                    Some(_) => {
                        repaired.replace(at, 6, REPLACEMENT);
                        6
                    }
                };
                // What is escaped, if it is no more than a byte; a longer character is looked at for itself.
                at += if length == 2 && text.get(at + 1).is_some_and(|byte| !byte.is_ascii()) { 1 } else { length };
                continue;
            }
            0..0x20 if in_string => repaired.replace(at, 1, format!("\\u{byte:04x}").as_bytes()),
            0x80.. => {
                let end = text[at..].iter().position(u8::is_ascii).map_or(text.len(), |length| at + length);
                let mut from = at;
                for chunk in text[at..end].utf8_chunks() {
                    from += chunk.valid().len();
                    if !chunk.invalid().is_empty() {
                        repaired.replace(from, chunk.invalid().len(), "\u{fffd}".as_bytes());
                        from += chunk.invalid().len();
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    match repaired.finish() {
        None if text.len() < bytes.len() => Some(text.to_vec()),
        finished => finished,
    }
}

/// A copy of a text with some of it replaced, begun with the first replacement.
struct Repaired<'a> {
    source: &'a [u8],
    out: Vec<u8>,
    /// Bytes of `source` that `out` was decoded from.
    copied: usize,
}

impl Repaired<'_> {
    fn replace(&mut self, at: usize, length: usize, with: &[u8]) {
        self.out.extend_from_slice(&self.source[self.copied..at]);
        self.out.extend_from_slice(with);
        self.copied = at + length;
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        self.out.extend_from_slice(&self.source[self.copied..]);
        Some(self.out)
    }
}

/// Half of a surrogate pair.
#[derive(Debug, Clone, Copy)]
enum Half {
    High,
    Low,
}

/// The half that the escape at the beginning of `text` is, if it is one.
fn surrogate(text: &[u8]) -> Option<Half> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) || !matches!(digits[0], b'd' | b'D') {
        return None;
    }
    match digits[1].to_ascii_lowercase() {
        b'8' | b'9' | b'a' | b'b' => Some(Half::High),
        b'c'..=b'f' => Some(Half::Low),
        _ => None,
    }
}

/// Repairs a stream of lines of JSON, for a reader that decodes them itself.
#[derive(Debug)]
pub struct LineRepair {
    longest: usize,
    /// The line whose end is to come.
    line: Vec<u8>,
    /// Whether that line is too long to be held, and what comes of it is passed on as it is.
    passes: bool,
}

impl LineRepair {
    /// Lines that do not end within `longest` bytes may be passed on as they are.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { longest, line: Vec::new(), passes: false }
    }

    /// Takes in `bytes`, and appends each line that ended to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.passes {
                out.extend_from_slice(piece);
                self.passes = !ends;
                continue;
            }
            self.line.extend_from_slice(piece);
            if ends {
                self.finish(out);
            } else if self.line.len() > self.longest {
                out.append(&mut self.line);
                self.passes = true;
            }
        }
    }

    /// Appends a last line without an end to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        // The line's end is no character of a string that was cut.
        let length = self.line.len() - usize::from(self.line.ends_with(b"\n"));
        match repair(&self.line[..length]) {
            Some(repaired) => {
                out.extend_from_slice(&repaired);
                out.extend_from_slice(&self.line[length..]);
            }
            None => out.extend_from_slice(&self.line),
        }
        self.line.clear();
    }
}
