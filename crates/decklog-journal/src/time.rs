//! The clock, as a value: a recorder is handed one, so that tests can fix it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Where timestamps come from.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that starts at `start` and moves one millisecond with each reading.
    #[must_use]
    pub fn fixed(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.as_microsecond()))))
    }

    /// Whether time is made up.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.0.is_some()
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => whole_micros(Timestamp::now()),
            Some(micros) => {
                let at = micros.fetch_add(1000, Ordering::Relaxed);
                Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }
    }
}

/// What a journal line can hold.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// RFC 3339 in UTC with exactly six fractional digits: the timestamps of journal lines.
#[must_use]
pub fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Seconds from `start` to `end`, never negative, rounded to milliseconds.
#[must_use]
pub fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    let millis = end.as_millisecond().saturating_sub(start.as_millisecond()).max(0);
    #[expect(clippy::cast_precision_loss, reason = "exact below 285,000 years")]
    let seconds = millis as f64 / 1000.0;
    seconds
}
