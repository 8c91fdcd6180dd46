//! When a request is put again: pure functions, and what a provider says about it in its headers.
//!
//! Must not know: HTTP, the clock.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Each wait is so many times the one before.
const FACTOR: u32 = 3;
/// Waits of more than this are not told apart.
const MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// How often, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) tries: u32,
    pub(super) first: Duration,
    /// What all waits may come to.
    pub(super) budget: Duration,
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    policy: Policy,
    /// Tries that failed.
    pub(super) failed: u32,
    waited: Duration,
}

impl Tries {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, failed: 0, waited: Duration::ZERO }
    }

    /// One failed. How long to wait before the next, if there is to be one: what the provider `asked` for, else longer
    /// each time; a little more or less, by `jitter` (from 0 to 1), as others wait, too.
    pub(super) fn next(&mut self, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.policy.tries {
            return None;
        }
        let jitter = jitter.clamp(0.0, 1.0);
        let wait = match asked {
            // Never less than that.
            Some(asked) => asked.saturating_add(self.policy.first.mul_f64(jitter / 4.0)),
            None => {
                self.policy.first.saturating_mul(FACTOR.saturating_pow(self.failed - 1)).mul_f64(0.75 + jitter / 2.0)
            }
        };
        let waited = self.waited.saturating_add(wait);
        if waited > self.policy.budget {
            return None;
        }
        self.waited = waited;
        Some(wait)
    }
}

/// How long `Retry-After` (seconds, or a date) or its like in milliseconds asks to wait.
pub(super) fn asked(get: &dyn Fn(&str) -> Option<String>, now: Timestamp) -> Option<Duration> {
    let number =
        |name: &str| get(name)?.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(millis) = number("retry-after-ms") {
        return Some(Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(MAX).min(MAX));
    }
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX).min(MAX));
    }
    let date = get("retry-after")?;
    let at = DateTimeParser::new().parse_timestamp(date.trim()).ok()?;
    let wait = at.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().min(MAX))
}

/// When a limit ends, by the headers of a refusal.
pub(super) fn resets_at(get: &dyn Fn(&str) -> Option<String>, now: Timestamp) -> Option<Timestamp> {
    let epoch = get("anthropic-ratelimit-unified-reset").and_then(|text| text.trim().parse::<i64>().ok());
    let told = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
    told.or_else(|| {
        let at = now.checked_add(jiff::SignedDuration::try_from(asked(get, now)?).ok()?).ok()?;
        // Whole seconds, and not too soon.
        Timestamp::from_second(at.as_second() + i64::from(at.subsec_nanosecond() > 0)).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { tries: 4, first: Duration::from_secs(2), budget: Duration::from_secs(60) };

    fn waits(policy: Policy, asked: Option<Duration>, jitter: f64) -> Vec<f64> {
        let mut tries = Tries::new(policy);
        std::iter::from_fn(|| tries.next(asked, jitter)).map(|wait| wait.as_secs_f64()).collect()
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let seconds = Duration::from_secs;
        let many = Policy { tries: 100, ..POLICY };
        for (policy, asked, jitter, expected) in [
            (POLICY, None, 0.0, vec![1.5, 4.5, 13.5]),
            (POLICY, None, 0.5, vec![2.0, 6.0, 18.0]),
            (POLICY, None, 1.0, vec![2.5, 7.5, 22.5]),
            (many, None, 0.5, vec![2.0, 6.0, 18.0]),
            (POLICY, Some(seconds(7)), 0.0, vec![7.0, 7.0, 7.0]),
            (POLICY, Some(seconds(7)), 1.0, vec![7.5, 7.5, 7.5]),
            (POLICY, Some(seconds(25)), 0.0, vec![25.0, 25.0]),
            (POLICY, Some(seconds(61)), 0.0, vec![]),
            (POLICY, Some(Duration::MAX), 1.0, vec![]),
            (POLICY, Some(Duration::ZERO), 0.0, vec![0.0, 0.0, 0.0]),
            (Policy { tries: 1, ..POLICY }, None, 0.0, vec![]),
            (Policy { tries: 0, ..POLICY }, None, 0.0, vec![]),
        ] {
            assert_eq!(waits(policy, asked, jitter), expected, "{asked:?} {jitter}");
        }
    }

    #[test]
    fn what_headers_ask_for() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        for (headers, wait, reset) in [
            (vec![("retry-after", "37")], Some(37.0), Some("1994-11-06T08:49:37Z")),
            (vec![("retry-after", "1.5")], Some(1.5), Some("1994-11-06T08:49:02Z")),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(37.0), Some("1994-11-06T08:49:37Z")),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0.0), Some("1994-11-06T08:49:00Z")),
            (vec![("retry-after", "9"), ("retry-after-ms", "250")], Some(0.25), Some("1994-11-06T08:49:01Z")),
            (
                vec![("retry-after", "9"), ("anthropic-ratelimit-unified-reset", "4070908800")],
                Some(9.0),
                Some("2099-01-01T00:00:00Z"),
            ),
            (vec![("retry-after", "1e300")], Some(MAX.as_secs_f64()), Some("2095-01-20T08:49:00Z")),
            (vec![("retry-after", "-5")], None, None),
            (vec![("retry-after", "NaN")], None, None),
            (vec![("retry-after", "soon")], None, None),
            (vec![], None, None),
        ] {
            let get = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(asked(&get, now).map(|wait| wait.as_secs_f64()), wait, "{headers:?}");
            assert_eq!(resets_at(&get, now).map(|at| at.to_string()).as_deref(), reset, "{headers:?}");
        }
    }
}
