//! The clock, as a value: a recorder is handed one, so that tests can fix it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Where timestamps come from.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The time of day when the clock was made, and the time since boot at that moment.
    System { start: Timestamp, boot: SignedDuration },
    /// Microseconds since the epoch.
    Fixed(Arc<AtomicI64>),
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The machine's clock. It reads the time of day once, here, and counts from there with a clock that cannot be
    /// set: times of one recorder never run back, and their differences are durations.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { start: Timestamp::now(), boot: since_boot() })
    }

    /// A clock that starts at `start` and moves one millisecond with each reading.
    #[must_use]
    pub fn fixed(start: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(start.as_microsecond()))))
    }

    /// Whether time is made up.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(self.0, Source::Fixed(_))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { start, boot } => whole_micros(start.checked_add(since_boot() - *boot).unwrap_or(*start)),
            Source::Fixed(micros) => {
                let at = micros.fetch_add(1000, Ordering::Relaxed);
                Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }
    }
}

/// Time since boot, with the time in which the machine slept.
fn since_boot() -> SignedDuration {
    let now = clock_gettime(ClockId::Boottime);
    SignedDuration::new(now.tv_sec, i32::try_from(now.tv_nsec).unwrap_or(0))
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
