//! The forms in which an exact value travels: raw, inside JSON, in a URL, in base64.
//!
//! What it must not know: whose value it is, and how it is searched for.

use std::fmt::Write;

/// The longest form that is searched for; what a value has beyond it is not looked at.
const MAX_FORM: usize = super::MAX_HELD;
/// Shorter values are not looked for in base64: too little of them is sure to appear there.
const MIN_BASE64: usize = 12;

pub(super) const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Every form of `value`, each once, the raw one first.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let value = &value[..value.len().min(MAX_FORM)];
    let mut forms = vec![value.to_vec()];
    if let Ok(text) = std::str::from_utf8(value) {
        let plain = escaped(text, |_| false);
        for form in [
            escaped(&plain, |_| false),                      // JSON within JSON
            escaped(text, |c| !c.is_ascii()),                // as Python writes it
            escaped(text, |c| matches!(c, '<' | '>' | '&')), // as Go writes it
            plain.replace('/', r"\/"),                       // as PHP writes it
            plain,
        ] {
            forms.push(form.into_bytes());
        }
    }
    // Which bytes stay as they are differs: RFC 3986, encodeURIComponent, paths, forms.
    for (keep, plus) in [(&b""[..], false), (b"!'()*", false), (b"/", false), (b"*", true)] {
        for upper in [true, false] {
            forms.push(percent_encoded(value, keep, plus, upper));
        }
    }
    if value.len() >= MIN_BASE64 {
        for lead in 0..3 {
            let core = base64_core(value, lead);
            forms.push(
                core.iter()
                    .map(|b| match b {
                        b'+' => b'-',
                        b'/' => b'_',
                        b => *b,
                    })
                    .collect(),
            );
            forms.push(core);
        }
    }
    let mut seen = std::collections::HashSet::new();
    forms.iter_mut().for_each(|f| f.truncate(MAX_FORM));
    forms.retain(|form| seen.insert(form.clone()));
    forms
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str, numeric: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || numeric(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn percent_encoded(value: &[u8], keep: &[u8], plus: bool, upper: bool) -> Vec<u8> {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut out = Vec::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(byte);
        } else if byte == b' ' && plus {
            out.push(b'+');
        } else {
            out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

/// The base64 characters that depend on `value` alone when `lead` (mod 3) bytes stand before it.
pub(super) fn base64_core(value: &[u8], lead: usize) -> Vec<u8> {
    let bytes: Vec<u8> = std::iter::repeat_n(0, lead).chain(value.iter().copied()).collect();
    let first = (lead * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    (first..last)
        .map(|i| {
            let (at, shift) = (i * 6 / 8, i * 6 % 8);
            let pair = u16::from(bytes[at]) << 8 | bytes.get(at + 1).map_or(0, |b| u16::from(*b));
            BASE64[usize::from(pair >> (10 - shift) & 63)]
        })
        .collect()
}

/// Whether `text` is base64 of a user name, a colon and a password, as HTTP and container registries take it.
pub(super) fn is_user_and_password(text: &[u8]) -> bool {
    let digit = |b: &u8| BASE64.iter().position(|c| c == b).map(|value| value as u32);
    let (mut bits, mut have, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.iter().take_while(|b| **b != b'=') {
        let Some(value) = digit(byte) else { return false };
        bits = bits << 6 | value;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    let colon = bytes.iter().position(|b| *b == b':');
    colon.is_some_and(|at| at > 0 && at + 3 < bytes.len()) && bytes.iter().all(|b| (b' '..=b'~').contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, form: &str) {
        assert!(forms(value.as_bytes()).contains(&form.as_bytes().to_vec()), "{value:?} as {form:?}");
    }

    #[test]
    fn the_forms_of_a_value() {
        has("pa\"ss\\wo\nrd", r#"pa\"ss\\wo\nrd"#);
        has("pa\"ss\\wo", r#"pa\\\"ss\\\\wo"#);
        has("pässword&more", r"p\u00e4ssword&more");
        has("pässword&more", r"pässword\u0026more");
        has("pa\u{1f600}ss", r"pa\ud83d\ude00ss");
        has("a/b+c d=e", "a%2Fb%2Bc%20d%3De");
        has("a/b+c d=e", "a%2fb%2bc+d%3de");
        has("a/b+c d=e", r"a\/b+c d=e");
        // base64 of "hunter2hunter2", behind no, one and two bytes: only what is sure.
        has("hunter2hunter2", "aHVudGVyMmh1bnRlcj");
        has("hunter2hunter2", "h1bnRlcjJodW50ZXIy");
        has("hunter2hunter2", "odW50ZXIyaHVudGVyM");
    }

    #[test]
    fn a_plain_value_has_few_forms() {
        assert_eq!(forms(b"hunter2").len(), 1);
        assert_eq!(forms(b"hunter2hunter2").len(), 4);
    }
}
