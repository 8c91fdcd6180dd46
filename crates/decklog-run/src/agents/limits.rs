//! When a rate limit ends, as agents word it on a failed turn's error channel.
//!
//! Only that channel is read: an agent that *talks* about limits is not limited.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::Value;

/// Whether the words of a *failed* turn say that the provider refuses for now.
pub(super) fn says_limited(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    [
        "usage limit",
        "rate limit",
        "rate_limit",
        "ratelimit",
        "429",
        "quota exceeded",
        "exhausted your",
        "resource_exhausted",
        "exceeded your current quota",
        "too many requests",
    ]
    .iter()
    .any(|sign| error.contains(sign))
}

/// A time given as seconds or milliseconds since 1970, or in RFC 3339.
pub(super) fn timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then out of range")]
            let millis = if number > 1e11 { number as i64 } else { (number * 1000.0) as i64 };
            Timestamp::from_millisecond(millis).ok()
        }
        Value::String(text) => text.parse().ok().or_else(|| timestamp(&Value::from(text.parse::<u64>().ok()?))),
        _ => None,
    }
}

/// When the limit ends, from words such as "try again at 8:43 AM" or "try again in 2 hours 5 minutes".
pub(super) fn reset_time(words: &str, now: &Zoned) -> Option<Timestamp> {
    let lower = words.to_ascii_lowercase();
    let after = |sign: &str| lower.find(sign).and_then(|at| lower.get(at + sign.len()..));
    after("again at ").or_else(|| after("resets at ")).and_then(|rest| clock_time(rest, now)).or_else(|| {
        after("again in ")
            .or_else(|| after("resets in "))
            .or_else(|| after("reset after "))
            .and_then(|rest| span(rest, now))
    })
}

/// `8:43 am`, or with a date before it: `jan 1st, 2099 12:00 am`.
fn clock_time(rest: &str, now: &Zoned) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let mut words = rest.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
    let month = words.peek().and_then(|word| MONTHS.iter().position(|month| word.starts_with(month)));
    let date = match month {
        None => None,
        Some(month) => {
            words.next();
            let day = words.next()?.trim_end_matches(|c: char| c.is_alphabetic()).parse().ok()?;
            let year = words.next_if(|word| !word.contains(':')).and_then(|year| year.parse().ok());
            Some(Date::new(year.unwrap_or(now.year()), i8::try_from(month).ok()? + 1, day).ok()?)
        }
    };
    let clock = words.next()?;
    let half = words.next().unwrap_or_default();
    let (hour, minute) = clock.split_once(':')?;
    let mut hour: i8 = hour.parse().ok()?;
    let minute: i8 = minute.get(..2)?.parse().ok()?;
    if half.starts_with("pm") && hour < 12 {
        hour += 12;
    } else if half.starts_with("am") && hour == 12 {
        hour = 0;
    }
    let time = Time::new(hour, minute, 0, 0).ok()?;
    let then = date.unwrap_or(now.date()).to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
    let then = if date.is_none() && then <= *now { then.tomorrow().ok()? } else { then };
    Some(then.timestamp())
}

fn span(rest: &str, now: &Zoned) -> Option<Timestamp> {
    let mut seconds = 0i64;
    let mut number: Option<f64> = None;
    let spaced: String = rest
        .chars()
        .zip(rest.chars().skip(1).chain([' ']))
        .flat_map(|(c, next)| {
            [
                Some(c),
                (c.is_ascii_digit() && next.is_alphabetic() || c.is_alphabetic() && next.is_ascii_digit())
                    .then_some(' '),
            ]
        })
        .flatten()
        .collect();
    for word in spaced.split(|c: char| c.is_whitespace() || c == ',') {
        let word = word.trim_end_matches(['.', ';']);
        if word.is_empty() || word == "and" {
            continue;
        }
        if let Ok(value) = word.parse() {
            number = Some(value);
            continue;
        }
        let Some(value) = number.take() else { break };
        let unit = match word {
            w if w.starts_with("ms") => 0.001,
            w if w.starts_with('s') => 1.0,
            w if w.starts_with('m') => 60.0,
            w if w.starts_with('h') => 3600.0,
            w if w.starts_with('d') => 86_400.0,
            _ => break,
        };
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let part = (value * unit).ceil() as i64;
        seconds = seconds.saturating_add(part);
    }
    (seconds > 0).then(|| now.timestamp().checked_add(SignedDuration::from_secs(seconds)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_times() {
        let now: Zoned = "2026-11-20T15:04:00+01:00[Europe/Berlin]".parse().expect("a time");
        let at = |words: &str| {
            reset_time(words, &now).map(|at| at.to_zoned(now.time_zone().clone()).strftime("%d %H:%M:%S").to_string())
        };
        for (words, expected) in [
            ("You’ve hit your usage limit. Try again at 8:43 AM.", Some("21 08:43:00")),
            ("try again at 8:43 PM.", Some("20 20:43:00")),
            ("try again at 12:05 AM", Some("21 00:05:00")),
            ("Please try again in 2 hours 5 minutes.", Some("20 17:09:00")),
            ("try again in 1d3h", Some("21 18:04:00")),
            ("Please try again in 6.2s. Visit", Some("20 15:04:07")),
            ("try again at Jan 1st, 2099 12:00 AM.", Some("01 00:00:00")),
            ("try again at Nov 22nd 9:30 PM.", Some("22 21:30:00")),
            ("try again later", None),
            ("try again at noon", None),
        ] {
            assert_eq!(at(words).as_deref(), expected, "{words}");
        }
    }
}
