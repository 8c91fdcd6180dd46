//! How sessions are distributed: over durations, numbers of iterations, and the hours of the week.
//!
//! Must not know: how that is drawn.

use jiff::tz::TimeZone;
use serde::Serialize;

use decklog_journal::Row;

/// Where the bins of durations end, in seconds: what people tell apart. The last one has no end.
const ENDS: [f64; 9] = [5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0, f64::INFINITY];

/// Sessions with so many iterations, or more, are counted together.
const ITERATIONS: usize = 20;

/// Durations between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Longer than so many seconds; the first has what took none, too.
    pub from: f64,
    /// At most so many seconds; absent for the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// How many sessions took so long.
    pub sessions: u64,
}

/// The distributions of the sessions that were added.
#[derive(Debug, Clone, Serialize)]
pub struct Charts {
    /// By how long they took, the shortest first.
    pub durations: Vec<Bin>,
    /// Loops by their number of iterations: the first for one iteration, the last for twenty and more.
    pub iterations: Vec<u64>,
    /// By when they began, in local time: a list of 24 hours for each day of the week, from Monday.
    pub hours: [[u64; 24]; 7],
    #[serde(skip)]
    zone: TimeZone,
}

impl Charts {
    /// Without sessions; hours are those of `zone`.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        let begins = std::iter::once(0.0).chain(ENDS);
        let bin = |(from, to): (f64, f64)| Bin { from, to: Some(to).filter(|to| to.is_finite()), sessions: 0 };
        Self {
            durations: begins.zip(ENDS).map(bin).collect(),
            iterations: vec![0; ITERATIONS],
            hours: [[0; 24]; 7],
            zone,
        }
    }

    /// Counts a session.
    pub fn add(&mut self, row: &Row<'_>) {
        let elapsed = row.elapsed();
        let bin = ENDS.iter().position(|end| elapsed <= *end).unwrap_or(ENDS.len() - 1);
        self.durations[bin].sessions += 1;
        if let Some(iterations @ 1..) = row.iterations {
            let place = usize::try_from(iterations).unwrap_or(ITERATIONS).min(ITERATIONS) - 1;
            self.iterations[place] += 1;
        }
        let began = row.started_at.to_zoned(self.zone.clone());
        let day = began.weekday().to_monday_zero_offset();
        if let (Ok(day), Ok(hour)) = (usize::try_from(day), usize::try_from(began.hour())) {
            self.hours[day][hour] += 1;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use decklog_journal::SessionFilter;
    use decklog_journal::filter::Began;
    use decklog_journal::words::{SessionKind, ShownStatus};
    use jiff::civil::Weekday;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    pub(crate) fn row(seconds: f64, iterations: Option<u32>, started_at: Timestamp) -> Row<'static> {
        Row {
            number: 0,
            kind: SessionKind::Run,
            status: ShownStatus::Completed,
            outcome: None,
            started_at,
            ended_at: None,
            last_event_at: started_at,
            duration_secs: Some(seconds),
            exit_code: None,
            prompt: "",
            prompt_hash: "",
            working_dir: "",
            project: "",
            agents: &[],
            models: &[],
            actor: None,
            critic: None,
            turns: 1,
            iterations,
            iterations_judged: None,
            iterations_agreed: None,
            tokens: None,
            cost_usd: None,
            shares: std::borrow::Cow::Borrowed(&[]),
            files_changed: None,
            image: None,
            container: None,
            linked_to: None,
        }
    }

    /// The filters by which the page leads from a column to the sessions behind it.
    #[test]
    fn what_a_column_counts_is_what_its_filter_finds() {
        let zone = TimeZone::fixed(jiff::tz::offset(5));
        let first: Timestamp = "2026-05-01T00:30:00Z".parse().expect("a time");
        let durations = [0.0, 0.1, 4.99, 5.0, 5.01, 15.0, 60.0, 3_600.0, 14_400.0, 14_400.5, 1e9];
        let iterations = [None, Some(0), Some(1), Some(2), Some(19), Some(20), Some(21), Some(5_000)];
        for (at, seconds) in durations.into_iter().enumerate() {
            for (hour, iterations) in iterations.into_iter().enumerate() {
                let began = first + SignedDuration::from_hours(i64::try_from(at * 17 + hour * 5).expect("hours"));
                let row = row(seconds, iterations, began);
                let mut charts = Charts::new(zone.clone());
                charts.add(&row);
                let finds = |filter: SessionFilter| u64::from(filter.takes_row(&row));
                for bin in &charts.durations {
                    let longer_than = Some(bin.from).filter(|from| *from > 0.0);
                    let filter = SessionFilter { longer_than, at_most: bin.to, ..SessionFilter::default() };
                    assert_eq!(finds(filter), bin.sessions, "{seconds} s, {bin:?}");
                }
                for (number, sessions) in (1..).zip(&charts.iterations) {
                    let most = if number == 20 { u32::MAX } else { number };
                    let filter = SessionFilter { iterations: Some((number, most)), ..SessionFilter::default() };
                    assert_eq!(finds(filter), *sessions, "{iterations:?}, {number}");
                }
                for (day, hours) in (0..).zip(&charts.hours) {
                    for (hour, sessions) in (0..).zip(hours) {
                        let weekdays = vec![Weekday::from_monday_zero_offset(day).expect("a day")];
                        let filter = Began { zone: zone.clone(), weekdays, hours: vec![hour] };
                        let filter = SessionFilter { began: Some(filter), ..SessionFilter::default() };
                        assert_eq!(finds(filter), *sessions, "{began}, {day}, {hour}");
                    }
                }
                assert_eq!(charts.durations.iter().map(|bin| bin.sessions).sum::<u64>(), 1);
            }
        }
    }
}
