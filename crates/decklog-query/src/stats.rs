//! Counts, rates and averages over sessions.
//!
//! Sessions are taken one by one, so that whoever lists them decides where they come from. Must not know: the terminal,
//! the present time, how a session is read.

use std::collections::{BTreeMap, HashMap};

use decklog_journal::Row;
use decklog_journal::event::Tokens;
use decklog_journal::row::Used;
use decklog_journal::words::{Outcome, ShownOutcome, ShownStatus};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

/// What sessions are grouped by. One with several agents or models counts in the group of each, with the tokens and the cost
/// of that agent's or that model's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Name of the working directory.
    Project,
    /// Agent.
    Agent,
    /// Model.
    Model,
    /// Outcome; a session that is not completed is named by its status.
    Outcome,
    /// Actor and critic of a loop, `claude → codex`.
    Pair,
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
    pub const ALL: [Self; 9] = [
        Self::Project,
        Self::Agent,
        Self::Model,
        Self::Outcome,
        Self::Pair,
        Self::Kind,
        Self::Day,
        Self::Week,
        Self::Month,
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Outcome => "outcome",
            Self::Pair => "pair",
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
    /// Completed, with an outcome that the record does not hold.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: u64,
    /// `success` by those completed sessions whose outcome is known, 0 to 1; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Turns of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Average>,
    /// Iterations of a loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<Average>,
    /// Iterations of a loop that came to success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations_to_success: Option<Average>,
    /// How often critic and checks were of one mind, of the iterations that both judged, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critic_agreement: Option<f64>,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// Piece by piece: one list of all would be copied whole each time it grows, and when two are merged.
    sessions: Vec<Vec<Counted>>,
    /// Of sessions with several agents or models, what one of these has: with its tokens and its cost alone.
    shares: Vec<Counted>,
    by: Vec<Groups>,
    days: Option<(Date, Date)>,
    /// The day of the session before, and when it begins and ends: neighbours mostly share it.
    day: Option<(Date, Timestamp, Timestamp)>,
}

/// The bit of a member that marks an index into [`StatsFold::shares`].
const IS_SHARE: u32 = 1 << 31;

/// Sessions in a piece.
const PIECE: usize = 4096;

/// No directory holds four thousand million entries.
fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What counts of a session, or of what one agent or model has in it. Groups hold its place among all: it is kept once, however many groups it is in.
#[derive(Debug, Clone, Copy)]
struct Counted {
    status: ShownStatus,
    /// Of a completed session; absent too where the record does not hold it.
    outcome: Option<Outcome>,
    turns: u32,
    iterations: Option<u32>,
    judged: u32,
    agreed: u32,
    elapsed: f64,
    tokens: Option<Tokens>,
    cost: Option<f64>,
}

/// Sessions grouped by one thing.
#[derive(Debug)]
struct Groups {
    by: By,
    places: HashMap<String, usize>,
    members: Vec<Vec<u32>>,
    /// The group of the present day.
    today: Option<usize>,
}

impl StatsFold {
    /// Counts by each of `by`, days being those of `zone`.
    #[must_use]
    pub fn new(by: &[By], zone: TimeZone) -> Self {
        let groups = |by: &By| Groups { by: *by, places: HashMap::new(), members: Vec::new(), today: None };
        Self {
            zone,
            sessions: Vec::new(),
            shares: Vec::new(),
            by: by.iter().map(groups).collect(),
            days: None,
            day: None,
        }
    }

    /// Takes in a session.
    pub fn add(&mut self, row: &Row<'_>) {
        let day = self.day_of(row.started_at);
        let (first, last) = self.days.unwrap_or((day, day));
        self.days = Some((first.min(day), last.max(day)));
        let full = self.sessions.last().is_none_or(|piece| piece.len() == PIECE);
        if full {
            self.sessions.push(Vec::with_capacity(PIECE));
        }
        let mut member = self.places() - u32_of(PIECE);
        if let Some(piece) = self.sessions.last_mut() {
            member += u32_of(piece.len());
            piece.push(Counted::from(row));
        }
        for groups in &mut self.by {
            groups.add(row, day, member, &mut self.shares);
        }
    }

    /// Both together, which must have been made alike: first the sessions of this one.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let (before, shares) = (self.places(), u32_of(self.shares.len()));
        let moved = |member: &u32| if member & IS_SHARE == 0 { before + member } else { shares + member };
        self.sessions.extend(other.sessions);
        self.shares.extend(other.shares);
        for (groups, others) in self.by.iter_mut().zip(other.by) {
            for (key, from) in others.places {
                let place = groups.place(&key);
                groups.members[place].extend(others.members[from].iter().map(moved));
            }
        }
        self.days = match (self.days, other.days) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (days, others) => days.or(others),
        };
        self
    }

    /// How many places there are, taken or not.
    fn places(&self) -> u32 {
        u32_of(self.sessions.len() * PIECE)
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
        let Self { sessions, shares, by, .. } = self;
        let by = by.into_iter().map(|Groups { by, places, members, .. }| {
            let group = |(key, place): (String, usize)| {
                let counted = |member: &u32| match *member & IS_SHARE {
                    0 => &sessions[*member as usize / PIECE][*member as usize % PIECE],
                    _ => &shares[(*member & !IS_SHARE) as usize],
                };
                Group::of(key, &|| members[place].iter().map(counted))
            };
            let mut groups: Vec<Group> = places.into_iter().map(group).collect();
            if by.is_time() {
                groups.sort_by(|a, b| a.key.cmp(&b.key));
            } else {
                groups.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.key.cmp(&b.key)));
            }
            (by.as_str(), groups)
        });
        Stats { by: by.collect(), all: Group::of(String::new(), &|| sessions.iter().flatten()) }
    }
}

impl Groups {
    fn add(&mut self, row: &Row<'_>, day: Date, member: u32, shares: &mut Vec<Counted>) {
        match self.by {
            By::Project => self.count(row.project, member),
            By::Agent => self.share_out(row, row.agents, member, shares, Row::used_by_agent),
            By::Model => self.share_out(row, row.models, member, shares, Row::used_of_model),
            By::Outcome => self.count(row.shown_outcome().map_or(row.status.as_str(), ShownOutcome::as_str), member),
            By::Pair => {
                if let Some(actor) = row.actor {
                    self.count(&format!("{actor} → {}", row.critic.unwrap_or("checks")), member);
                }
            }
            By::Kind => self.count(row.kind.as_str(), member),
            By::Day | By::Week | By::Month => {
                let place = self.today.unwrap_or_else(|| self.place(&self.by.period(day)));
                self.today = Some(place);
                self.members[place].push(member);
            }
        }
    }

    /// Counts a session in the group of each of `names`, with what `used` says that this one used.
    fn share_out<'a>(
        &mut self,
        row: &Row<'a>,
        names: &[String],
        member: u32,
        shares: &mut Vec<Counted>,
        used: impl Fn(&Row<'a>, usize) -> Used,
    ) {
        for (place, name) in names.iter().enumerate() {
            let (tokens, cost) = used(row, place);
            let member = if (tokens, cost) == (row.tokens, row.cost_usd) {
                member
            } else {
                shares.push(Counted { tokens, cost, ..Counted::from(row) });
                IS_SHARE | (u32_of(shares.len()) - 1)
            };
            self.count(name, member);
        }
    }

    fn count(&mut self, key: &str, member: u32) {
        let place = self.place(key);
        self.members[place].push(member);
    }

    fn place(&mut self, key: &str) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        self.places.insert(key.to_owned(), self.members.len());
        self.members.push(Vec::new());
        self.members.len() - 1
    }
}

impl From<&Row<'_>> for Counted {
    fn from(row: &Row<'_>) -> Self {
        let completed = row.status == ShownStatus::Completed;
        Self {
            status: row.status,
            outcome: row.outcome.filter(|_| completed),
            turns: row.turns,
            iterations: row.iterations,
            judged: row.iterations_judged.unwrap_or(0),
            agreed: row.iterations_agreed.unwrap_or(0),
            elapsed: row.elapsed(),
            tokens: row.tokens,
            cost: row.cost_usd,
        }
    }
}

impl Group {
    /// What `sessions`, which can be gone through again and again, add up to.
    fn of<'a, I: Iterator<Item = &'a Counted>>(key: String, sessions: &dyn Fn() -> I) -> Self {
        let (mut statuses, mut outcomes) = ([0_u64; 4], [0_u64; 4]);
        let (mut tokens_total, mut cost_usd_total) = (Tokens::default(), 0.0);
        let (mut judged, mut agreed) = (0_u64, 0_u64);
        for session in sessions() {
            statuses[session.status as usize] += 1;
            if let Some(outcome) = session.outcome {
                outcomes[outcome as usize] += 1;
            }
            (judged, agreed) = (judged + u64::from(session.judged), agreed + u64::from(session.agreed));
            tokens_total += session.tokens.unwrap_or_default();
            cost_usd_total += session.cost.unwrap_or_default();
        }
        let mut values = Vec::new();
        let mut average_of = |value: &dyn Fn(&Counted) -> Option<f64>| {
            values.clear();
            values.extend(sessions().filter(|session| session.status == ShownStatus::Completed).filter_map(value));
            average(&mut values)
        };
        let [active, checkpointed, completed, crashed] = statuses;
        let [success, failed, interrupted, max_iterations_reached] = outcomes;
        let known: u64 = outcomes.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let success_rate = (known > 0).then(|| success as f64 / known as f64);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let critic_agreement = (judged > 0).then(|| agreed as f64 / judged as f64);
        let to_success =
            |session: &Counted| session.iterations.filter(|_| session.outcome == Some(Outcome::Success)).map(f64::from);
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let tokens = |session: &Counted| session.tokens.map(|it| it.input.saturating_add(it.output) as f64);
        Self {
            key,
            sessions: statuses.iter().sum(),
            completed,
            active,
            checkpointed,
            crashed,
            success,
            failed,
            interrupted,
            max_iterations_reached,
            unknown: completed.saturating_sub(known),
            success_rate,
            turns: average_of(&|session| Some(session.turns.into())),
            iterations: average_of(&|session| session.iterations.map(f64::from)),
            iterations_to_success: average_of(&to_success),
            critic_agreement,
            duration_secs: average_of(&|session| Some(session.elapsed)),
            tokens: average_of(&tokens),
            cost_usd: average_of(&|session| session.cost),
            tokens_total,
            cost_usd_total,
        }
    }
}

/// Mean and median of `values`, whose order is lost.
fn average(values: &mut [f64]) -> Option<Average> {
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
            assert_eq!(average(&mut values.to_vec()), Some(Average { mean, median }), "{values:?}");
        }
        assert_eq!(average(&mut []), None);
    }

    #[test]
    fn parts_add_up_to_what_all_are_together() {
        let first: Timestamp = "2026-05-01T10:00:00Z".parse().expect("a time");
        let all = 3 * PIECE + 10;
        let add = |fold: &mut StatsFold, number: usize| {
            let began = first + jiff::SignedDuration::from_mins(i64::try_from(number).expect("minutes"));
            let iterations = Some(u32::try_from(number % 7).expect("a few"));
            fold.add(&crate::charts::tests::row(f64::from(u16::try_from(number).expect("seconds")), iterations, began));
        };
        let new = || StatsFold::new(&By::ALL, TimeZone::UTC);
        let mut whole = new();
        (0..all).for_each(|number| add(&mut whole, number));
        let whole = whole.finish();
        assert_eq!((whole.all.sessions, whole.by["day"].len()), (all as u64, 9));
        for middle in [0, 1, PIECE - 1, PIECE, PIECE + 1, all] {
            let (mut a, mut b) = (new(), new());
            (0..middle).for_each(|number| add(&mut a, number));
            (middle..all).for_each(|number| add(&mut b, number));
            assert_eq!(a.merge(b).finish(), whole, "{middle}");
        }
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
