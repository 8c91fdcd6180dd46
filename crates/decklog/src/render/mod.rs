//! Result structs as text for people.
//!
//! Everything shown may come from an agent and is hostile: it passes [`visible`] before it reaches a terminal.
//! Must not know: files, arguments.

pub(crate) mod code;
pub(crate) mod highlight;
pub(crate) mod html;
pub(crate) mod markdown;
pub(crate) mod network;
pub(crate) mod patch;
pub(crate) mod said;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod transcript;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Colours, or their absence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// `text` between an SGR code and its end; an empty code is none.
    pub(crate) fn styled(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() && !code.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.styled("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.styled("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.styled("31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.styled("33", text)
    }

    pub(crate) fn found(self, text: &str) -> String {
        self.styled("1;31", text)
    }

    pub(crate) fn accent(self, text: &str) -> String {
        self.styled("36", text)
    }
}

/// Whether a character would act on a terminal, or mislead its reader, instead of being shown.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether a character can be shown as it is.
pub(crate) fn is_harmless(c: char) -> bool {
    !acts(c)
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

/// One field: a single line with nothing in it that acts on a terminal.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    shown(text, false)
}

/// A text of several lines with nothing in it that acts on a terminal.
pub(crate) fn visible_lines(text: &str) -> Cow<'_, str> {
    shown(text, true)
}

/// `0m44s`, `6m02s`, `1h05m`, `3d04h`.
pub(crate) fn duration(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; durations are not negative"
    )]
    let total = seconds.max(0.0).round() as u64;
    match total {
        0..3600 => format!("{}m{:02}s", total / 60, total % 60),
        3600..86_400 => format!("{}h{:02}m", total / 3600, total % 3600 / 60),
        _ => format!("{}d{:02}h", total / 86_400, total % 86_400 / 3600),
    }
}

/// `17 B`, `4.2 KiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `$0.0123`, `$1.20`.
pub(crate) fn cost(dollars: f64) -> String {
    if dollars != 0.0 && dollars.abs() < 0.1 { format!("${dollars:.4}") } else { format!("${dollars:.2}") }
}

/// Local date and time, to the second.
pub(crate) fn time(at: Timestamp, zone: &TimeZone) -> String {
    let mut text = String::with_capacity(19);
    push_time(&mut text, at, zone);
    text
}

/// Adds a local date and time; lists have many.
pub(crate) fn push_time(text: &mut String, at: Timestamp, zone: &TimeZone) {
    let at = zone.to_datetime(at);
    let two = |text: &mut String, number: i16| {
        let number = number.unsigned_abs() as u8;
        text.extend([b'0' + number / 10 % 10, b'0' + number % 10].map(char::from));
    };
    two(text, at.year() / 100);
    two(text, at.year() % 100);
    for (before, number) in
        [('-', at.month()), ('-', at.day()), (' ', at.hour()), (':', at.minute()), (':', at.second())]
    {
        text.push(before);
        two(text, number.into());
    }
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.0, "0m00s"),
            (44.4, "0m44s"),
            (362.0, "6m02s"),
            (3599.6, "1h00m"),
            (3900.0, "1h05m"),
            (273_600.0, "3d04h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(visible("a\u{1b}[31mred\r\n\u{7f}\u{9b}\u{202e}x"), "a␛[31mred␍␊␡<U+009B><U+202E>x");
        assert_eq!(visible_lines("a\tb\nc\u{7}"), "a\tb\nc␇");
        assert!(matches!(visible("ordinary – Ünïcödé 漢字"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(cost(0.01234), "$0.0123");
    }
}
