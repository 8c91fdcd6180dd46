//! Counts, rates and averages over sessions.
//!
//! Sessions are taken one by one, so that whoever lists them decides where they come from. Must not know: the terminal,
//! the present time, how a session is read.

use std::collections::{BTreeMap, HashMap};

use decklog_journal::Row;
use decklog_journal::event::Tokens;
use decklog_journal::words::{ShownOutcome, ShownStatus};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

/// What sessions are grouped by. One with several agents or models counts in the group of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Name of the working directory.
    Project,
    /// Agent.
    Agent,
    /// Model.
    Model,
    /// Outcome; a session that has none is named by its status.
    Outcome,
    /// Kind.
    Kind,
    /// Day of the start, `2026-05-01`.
    Day,
    /// ISO week of the start, `2026-W18`.
    Week,
    /// Month of the start, `2026-05`.
    Month,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Project, Self::Agent, Self::Model, Self::Outcome, Self::Kind, Self::Day, Self::Week, Self::Month];

    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Outcome => "outcome",
            Self::Kind => "kind",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month)
    }

    fn period(self, day: Date) -> String {
        match self {
            Self::Week => {
                let week = day.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Month => format!("{:04}-{:02}", day.year(), day.month()),
            _ => day.to_string(),
        }
    }
}

impl std::str::FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|by| by.as_str() == text).ok_or_else(|| {
            let allowed = Self::ALL.map(Self::as_str);
            format!("{text:?} is none of: {}", allowed.join(", "))
        })
    }
}

/// Mean and median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Average {
    /// The arithmetic mean.
    pub mean: f64,
    /// The value in the middle; of two in the middle, their mean.
    pub median: f64,
}

/// What a group of sessions adds up to. Averages and the rate are of completed sessions alone; sums are of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// What its sessions have in common; empty for all sessions.
    pub key: String,
    /// How many sessions.
    pub sessions: u64,
    /// Of them, completed.
    pub completed: u64,
    /// Being recorded now.
    pub active: u64,
    /// Waiting to be continued.
    pub checkpointed: u64,
    /// Whose recorder died.
    pub crashed: u64,
    /// Completed with success.
    pub success: u64,
    /// Completed and failed.
    pub failed: u64,
    /// Completed because somebody stopped them.
    pub interrupted: u64,
    /// Loops that ran out of iterations.
    pub max_iterations_reached: u64,
    /// `success` by `completed`, 0 to 1; absent when none is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Turns of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Average>,
    /// Iterations of a loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<Average>,
    /// Seconds a session took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<Average>,
    /// Tokens read and written by a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Average>,
    /// US dollars a session cost, of those whose agent told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Average>,
    /// Tokens of all sessions.
    pub tokens_total: Tokens,
    /// US dollars of all sessions, as far as agents told.
    pub cost_usd_total: f64,
}

/// Sessions counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// All of them.
    pub all: Group,
    /// Groups by what was asked for: times in order, the rest with the largest first.
    pub by: BTreeMap<&'static str, Vec<Group>>,
}

/// Counts sessions as they come.
#[derive(Debug)]
pub struct StatsFold {
    zone: TimeZone,
    all: Counts,
    by: Vec<Groups>,
    days: Option<(Date, Date)>,
    /// The day of the session before, and when it begins and ends: neighbours mostly share it.
    day: Option<(Date, Timestamp, Timestamp)>,
}

/// Sessions grouped by one thing.
#[derive(Debug)]
struct Groups {
    by: By,
    places: HashMap<String, usize>,
    counts: Vec<Counts>,
    /// The group of the present day.
    today: Option<usize>,
}

#[derive(Debug, Default)]
struct Counts {
    statuses: [u64; 4],
    outcomes: [u64; 4],
    turns: Vec<f64>,
    iterations: Vec<f64>,
    durations: Vec<f64>,
    tokens: Vec<f64>,
    costs: Vec<f64>,
    tokens_total: Tokens,
    cost_total: f64,
}

impl StatsFold {
    /// Counts by each of `by`, days being those of `zone`.
    #[must_use]
    pub fn new(by: &[By], zone: TimeZone) -> Self {
        let groups = |by: &By| Groups { by: *by, places: HashMap::new(), counts: Vec::new(), today: None };
        Self { zone, all: Counts::default(), by: by.iter().map(groups).collect(), days: None, day: None }
    }

    /// Takes in a session.
    pub fn add(&mut self, row: &Row<'_>) {
        let day = self.day_of(row.started_at);
        let (first, last) = self.days.unwrap_or((day, day));
        self.days = Some((first.min(day), last.max(day)));
        self.all.add(row);
        for groups in &mut self.by {
            groups.add(row, day);
        }
    }

    fn day_of(&mut self, at: Timestamp) -> Date {
        if let Some((day, from, to)) = self.day
            && (from..to).contains(&at)
        {
            return day;
        }
        let zoned = at.to_zoned(self.zone.clone());
        let bounds = zoned.start_of_day().and_then(|from| Ok((from.timestamp(), from.tomorrow()?.timestamp())));
        self.day = bounds.ok().map(|(from, to)| (zoned.date(), from, to));
        self.by.iter_mut().for_each(|groups| groups.today = None);
        zoned.date()
    }

    /// The first and the last day of a start.
    #[must_use]
    pub fn days(&self) -> Option<(Date, Date)> {
        self.days
    }

    /// What it adds up to.
    #[must_use]
    pub fn finish(self) -> Stats {
        let by = self.by.into_iter().map(|Groups { by, places, mut counts, .. }| {
            let mut groups: Vec<Group> =
                places.into_iter().map(|(key, place)| std::mem::take(&mut counts[place]).finish(key)).collect();
            if by.is_time() {
                groups.sort_by(|a, b| a.key.cmp(&b.key));
            } else {
                groups.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.key.cmp(&b.key)));
            }
            (by.as_str(), groups)
        });
        Stats { by: by.collect(), all: self.all.finish(String::new()) }
    }
}

impl Groups {
    fn add(&mut self, row: &Row<'_>, day: Date) {
        match self.by {
            By::Project => self.count(row.project, row),
            By::Agent => row.agents.iter().for_each(|agent| self.count(agent, row)),
            By::Model => row.models.iter().for_each(|model| self.count(model, row)),
            By::Outcome => self.count(row.shown_outcome().map_or(row.status.as_str(), ShownOutcome::as_str), row),
            By::Kind => self.count(row.kind.as_str(), row),
            By::Day | By::Week | By::Month => {
                let place = self.today.unwrap_or_else(|| self.place(&self.by.period(day)));
                self.today = Some(place);
                self.counts[place].add(row);
            }
        }
    }

    fn count(&mut self, key: &str, row: &Row<'_>) {
        let place = self.place(key);
        self.counts[place].add(row);
    }

    fn place(&mut self, key: &str) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        self.places.insert(key.to_owned(), self.counts.len());
        self.counts.push(Counts::default());
        self.counts.len() - 1
    }
}

impl Counts {
    fn add(&mut self, row: &Row<'_>) {
        self.statuses[row.status as usize] += 1;
        let tokens = row.tokens.unwrap_or_default();
        self.tokens_total += tokens;
        self.cost_total += row.cost_usd.unwrap_or_default();
        let (ShownStatus::Completed, Some(outcome)) = (row.status, row.outcome) else { return };
        self.outcomes[outcome as usize] += 1;
        self.turns.push(f64::from(row.turns));
        self.iterations.extend(row.iterations.map(f64::from));
        self.durations.push(row.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        self.tokens.extend(row.tokens.map(|tokens| tokens.input.saturating_add(tokens.output) as f64));
        self.costs.extend(row.cost_usd);
    }

    fn finish(self, key: String) -> Group {
        let [active, checkpointed, completed, crashed] = self.statuses;
        let [success, failed, interrupted, max_iterations_reached] = self.outcomes;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let success_rate = (completed > 0).then(|| success as f64 / completed as f64);
        Group {
            key,
            sessions: self.statuses.iter().sum(),
            completed,
            active,
            checkpointed,
            crashed,
            success,
            failed,
            interrupted,
            max_iterations_reached,
            success_rate,
            turns: average(self.turns),
            iterations: average(self.iterations),
            duration_secs: average(self.durations),
            tokens: average(self.tokens),
            cost_usd: average(self.costs),
            tokens_total: self.tokens_total,
            cost_usd_total: self.cost_total,
        }
    }
}

fn average(mut values: Vec<f64>) -> Option<Average> {
    if values.is_empty() {
        return None;
    }
    let (middle, even) = (values.len() / 2, values.len().is_multiple_of(2));
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = if even { below.iter().copied().fold(f64::MIN, f64::max) } else { upper };
    Some(Average { mean, median: f64::midpoint(lower, upper) })
}

/// Every period of `by` from `first` to `last`, so that those without sessions can be shown too.
#[must_use]
pub fn periods(by: By, first: Date, last: Date) -> Vec<String> {
    let mut all = Vec::new();
    let mut day = first;
    while day <= last {
        let period = by.period(day);
        if all.last() != Some(&period) {
            all.push(period);
        }
        let Ok(next) = day.checked_add(1.day()) else { break };
        day = next;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        for (values, mean, median) in [
            (&[4.0][..], 4.0, 4.0),
            (&[1.0, 4.0], 2.5, 2.5),
            (&[9.0, 1.0, 2.0], 4.0, 2.0),
            (&[8.0, 1.0, 3.0, 100.0], 28.0, 5.5),
        ] {
            assert_eq!(average(values.to_vec()), Some(Average { mean, median }), "{values:?}");
        }
        assert_eq!(average(Vec::new()), None);
    }

    #[test]
    fn periods_have_no_gaps() {
        let date = |text: &str| text.parse::<Date>().expect("a date");
        let all = |by, first, last| periods(by, date(first), date(last)).join(" ");
        assert_eq!(all(By::Day, "2026-02-27", "2026-03-01"), "2026-02-27 2026-02-28 2026-03-01");
        assert_eq!(all(By::Week, "2026-12-27", "2027-01-05"), "2026-W52 2026-W53 2027-W01");
        assert_eq!(all(By::Month, "2026-11-30", "2027-01-01"), "2026-11 2026-12 2027-01");
    }
}
