//! Text of others made ready: JSON that they wrote is decoded leniently; on a terminal or on a page nothing in it acts, numbers
//! and times read well, source code is cut into tokens, and patches into rows.
//!
//! Must not know: the terminal, HTML, files, the clock.

pub mod format;
#[cfg(feature = "highlight")]
pub mod highlight;
pub mod json;
#[cfg(feature = "highlight")]
pub mod patch;

use std::borrow::Cow;

/// One field: a single line with nothing in it that acts on a terminal.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    shown(text, false)
}

/// A text of several lines with nothing in it that acts on a terminal.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    shown(text, true)
}

/// Whether a character can be shown as it is.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    !acts(c)
}

/// Whether a character would act on a terminal, or mislead its reader, instead of being shown.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with everything that acts on a terminal made visible. Newlines and tabs stay if `lines` is true.
fn shown(text: &str, lines: bool) -> Cow<'_, str> {
    let passes = |c: char| !acts(c) || (lines && matches!(c, '\n' | '\t'));
    // Most texts are plain, and lists are long.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(passes) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if passes(c) => safe.push(c),
            '\0'..='\u{1f}' => safe.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => safe.push('\u{2421}'),
            other => safe.push_str(&format!("<U+{:04X}>", other as u32)),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(visible("a\u{1b}[31mred\r\n\u{7f}\u{9b}\u{202e}x"), "a␛[31mred␍␊␡<U+009B><U+202E>x");
        assert_eq!(visible_lines("a\tb\nc\u{7}"), "a\tb\nc␇");
        assert!(matches!(visible("ordinary – Ünïcödé 漢字"), Cow::Borrowed(_)));
    }
}
