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
