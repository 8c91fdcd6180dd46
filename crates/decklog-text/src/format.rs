//! Numbers, times and names in few characters.
//!
//! Must not know: the clock; a time is given together with its zone.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `0m44s`, `6m02s`, `1h05m`, `3d04h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
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
#[must_use]
pub fn size(bytes: u64) -> String {
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

/// Reads a number of bytes: `500`, `64KiB`, `1.5 GiB`, `2G`. Units are powers of 1024, and their letters' case means nothing.
///
/// # Errors
/// What is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let invalid =
        || format!("invalid size {text:?}: expected a number of bytes, or one with a unit, such as 64MiB or 4GiB");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(invalid()),
    };
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let bytes = number * 1024_f64.powi(power);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
    let whole = bytes as u64;
    if bytes.is_finite() && bytes >= 0.0 && bytes < 1024_f64.powi(6) { Ok(whole) } else { Err(invalid()) }
}

/// `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
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
#[must_use]
pub fn cost(dollars: f64) -> String {
    if dollars != 0.0 && dollars.abs() < 0.1 { format!("${dollars:.4}") } else { format!("${dollars:.2}") }
}

/// Local date and time, to the second.
#[must_use]
pub fn time(at: Timestamp, zone: &TimeZone) -> String {
    let mut text = String::with_capacity(19);
    push_time(&mut text, at, zone);
    text
}

/// Adds a local date and time; lists have many.
pub fn push_time(text: &mut String, at: Timestamp, zone: &TimeZone) {
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
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Columns of characters that a text takes.
#[must_use]
pub fn columns_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// `text` in at most `width` columns, ending in `…` if something is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    fit(text, width).into_owned()
}

/// [`cut`] without a copy where nothing is missing.
#[must_use]
pub fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if columns_of(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = c.width().unwrap_or(0);
        if used + next + 1 > width {
            break;
        }
        used += next;
        kept.push(c);
    }
    kept.push('…');
    Cow::Owned(kept)
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
    fn numbers() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(cost(0.01234), "$0.0123");
    }
}
