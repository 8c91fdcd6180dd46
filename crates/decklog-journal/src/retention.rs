//! Which sessions to let go: a pure plan, applied by somebody else.
//!
//! Must not know: files, the present time.

use jiff::{SignedDuration, Timestamp};

use crate::head::Head;
use crate::id::SessionId;
use crate::words::ShownStatus;

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Only sessions that ended, or were last heard of, at least this long ago.
    pub older_than: SignedDuration,
    /// Only crashed ones.
    pub only_crashed: bool,
}

/// A session as a plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: SessionId,
    /// What it is shown as.
    pub status: ShownStatus,
    /// When it ended or was last heard of.
    pub last: Timestamp,
}

impl Candidate {
    /// The candidate that `head`, shown as `status`, makes.
    #[must_use]
    pub fn new(head: &Head, status: ShownStatus) -> Self {
        Self { id: head.id.clone(), status, last: head.ended_at.unwrap_or(head.last_event_at) }
    }
}

/// The sessions of `candidates` that `policy` lets go at `now`, oldest end first. One that is active, or
/// checkpointed and so to be continued, never is.
#[must_use]
pub fn plan(candidates: &[Candidate], policy: Policy, now: Timestamp) -> Vec<Candidate> {
    let mut going: Vec<_> = candidates
        .iter()
        .filter(|candidate| match candidate.status {
            ShownStatus::Active | ShownStatus::Checkpointed => false,
            ShownStatus::Crashed => true,
            ShownStatus::Completed => !policy.only_crashed,
        })
        .filter(|candidate| now.duration_since(candidate.last) >= policy.older_than)
        .cloned()
        .collect();
    going.sort_by(|a, b| (a.last, &a.id).cmp(&(b.last, &b.id)));
    going
}

/// Reads an age such as `30d`: a whole number above 0 and one of `s m h d w`.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn parse_age(text: &str) -> Result<SignedDuration, String> {
    let bad = || format!("{text:?} is no age: write a number above 0 and a unit, such as 90s, 30m, 12h, 30d or 8w");
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(bad()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let count: i64 = digits.parse().map_err(|_| bad())?;
    let total = count.checked_mul(seconds).filter(|total| *total > 0).ok_or_else(bad)?;
    // Beyond what a timestamp can reach back, nothing is ever old enough.
    Ok(SignedDuration::from_secs(total.min(60 * 60 * 24 * 365 * 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (text, seconds) in [("1s", 1), ("30m", 1800), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)] {
            assert_eq!(parse_age(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "0", "0d", "d", "3", "-1d", "+1d", "1.5d", "1y", "1 d", "９d", "99999999999999999999d", "1d "]
        {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_plan_spares_what_may_go_on() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let candidate = |n: u16, status, last| Candidate { id: SessionId::new(at(0), n), status, last: at(last) };
        let all = [
            candidate(1, ShownStatus::Completed, 100),
            candidate(2, ShownStatus::Active, 0),
            candidate(3, ShownStatus::Crashed, 50),
            candidate(4, ShownStatus::Checkpointed, 0),
            candidate(5, ShownStatus::Completed, 901),
        ];
        let ids = |only_crashed| {
            let policy = Policy { older_than: SignedDuration::from_secs(100), only_crashed };
            plan(&all, policy, at(1000)).iter().map(|c| c.id.as_str()[16..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(false), ["0003", "0001"]);
        assert_eq!(ids(true), ["0003"]);
    }
}
