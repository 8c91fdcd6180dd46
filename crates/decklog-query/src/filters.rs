//! What people choose sessions by, as they give it, made into a [`SessionFilter`].
//!
//! Must not know: who asks, the present time, the time zone, the working directory; these are handed over.

use std::path::{Component, Path, PathBuf};

use decklog_journal::filter::{Began, Touched};
use decklog_journal::words::{SessionKind, ShownOutcome, ShownStatus};
use decklog_journal::{SessionFilter, retention};
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Filters as they were given. Several values of one filter mean any of them; several filters mean all of them.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// How it came out.
    pub outcome: Vec<ShownOutcome>,
    /// Where it stands.
    pub status: Vec<ShownStatus>,
    /// Of which kind.
    pub kind: Vec<SessionKind>,
    /// With this agent.
    pub agent: Vec<String>,
    /// With a model whose name contains this, or is what stands behind a `=`.
    pub model: Vec<String>,
    /// In this project: the name of its directory, or a path that it is or lies in.
    pub project: Vec<String>,
    /// Begun then or later: a date, a date and time, or how long ago.
    pub after: Option<String>,
    /// Begun before then.
    pub before: Option<String>,
    /// Whose full prompt contains this.
    pub search: Option<String>,
    /// Which changed this file.
    pub touched: Vec<Touched>,
    /// With the prompt that has this hash.
    pub prompt_hash: Option<String>,
    /// Which cost at least so many US dollars.
    pub min_cost: Option<f64>,
    /// Which took longer than this.
    pub longer_than: Option<SignedDuration>,
    /// Which took at most this.
    pub at_most: Option<SignedDuration>,
    /// Loops with at least and at most so many iterations.
    pub iterations: Option<(u32, u32)>,
    /// Begun on this day of the week.
    pub weekday: Vec<Weekday>,
    /// Begun in this hour of the day.
    pub hour: Vec<i8>,
}

/// A filter that cannot be understood. It reads as a sentence: the filter, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{filter} {reason}")]
pub struct FilterError {
    /// Its name, such as `after`.
    pub filter: String,
    /// What is wrong with it: `"soon" is no time`.
    pub reason: String,
    /// What to write instead, where the reason does not say so.
    pub hint: Option<&'static str>,
}

/// The names that [`Filters::from_pairs`] knows.
pub const NAMES: [&str; 17] = [
    "outcome",
    "status",
    "kind",
    "agent",
    "model",
    "project",
    "after",
    "before",
    "search",
    "touched",
    "prompt-hash",
    "min-cost",
    "longer-than",
    "at-most",
    "iterations",
    "weekday",
    "hour",
];

const WHEN: &str = "write a date (2026-05-01), a date and time (2026-05-01T13:00, local; 2026-05-01T13:00Z), today, yesterday, or \
     how long ago: a number and s, m, h, d or w (2w)";

impl Filters {
    /// Reads filters by name, as the query of an address has them: [`NAMES`], with `_` or `-`. A name that comes again adds
    /// a value. An empty value asks for nothing: an empty field of a form gives one.
    ///
    /// # Errors
    /// [`FilterError`] for an unknown name, a value that is none, and a second value where there can be but one.
    pub fn from_pairs(
        pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, FilterError> {
        let mut filters = Self::default();
        for (name, value) in pairs {
            let filter = name.as_ref().replace('_', "-");
            if let Err(reason) = filters.add(&filter, value.as_ref()) {
                return Err(FilterError { filter, reason, hint: None });
            }
        }
        Ok(filters)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        if !NAMES.contains(&name) {
            return Err(format!("is no filter: there are {}", NAMES.join(", ")));
        }
        if value.is_empty() {
            return Ok(());
        }
        match name {
            "outcome" => self.outcome.push(value.parse()?),
            "status" => self.status.push(value.parse()?),
            "kind" => self.kind.push(value.parse()?),
            "agent" => self.agent.push(value.to_owned()),
            "model" => self.model.push(value.to_owned()),
            "project" => self.project.push(value.to_owned()),
            "touched" => self.touched.push(Touched::new(value)?),
            "after" => once(&mut self.after, value.to_owned())?,
            "before" => once(&mut self.before, value.to_owned())?,
            "search" => once(&mut self.search, value.to_owned())?,
            "prompt-hash" => once(&mut self.prompt_hash, value.to_owned())?,
            "min-cost" => once(&mut self.min_cost, dollars(value)?)?,
            "longer-than" => once(&mut self.longer_than, retention::parse_age(value)?)?,
            "at-most" => once(&mut self.at_most, retention::parse_age(value)?)?,
            "iterations" => once(&mut self.iterations, iterations(value)?)?,
            "weekday" => self.weekday.push(weekday(value)?),
            _ => self.hour.push(hour(value)?),
        }
        Ok(())
    }

    /// The filter: times are reckoned from `now` and in `zone`, paths of projects from `cwd`.
    ///
    /// # Errors
    /// [`FilterError`] for a time that is none.
    pub fn resolve(&self, now: Timestamp, zone: &TimeZone, cwd: &Path) -> Result<SessionFilter, FilterError> {
        let time = |text: &Option<String>, filter: &str| {
            let read = |text: &String| when(text, now, zone);
            let wrong = |reason| FilterError { filter: filter.to_owned(), reason, hint: Some(WHEN) };
            text.as_ref().map(read).transpose().map_err(wrong)
        };
        Ok(SessionFilter {
            limit: None,
            statuses: self.status.clone(),
            outcomes: self.outcome.clone(),
            kinds: self.kind.clone(),
            agents: self.agent.clone(),
            models: self.model.clone(),
            projects: self.project.iter().map(|project| absolute(project, cwd)).collect(),
            after: time(&self.after, "after")?,
            before: time(&self.before, "before")?,
            prompt: self.search.clone(),
            touched: self.touched.clone(),
            prompt_hash: self.prompt_hash.clone(),
            min_cost: self.min_cost,
            longer_than: self.longer_than.map(|time| time.as_secs_f64()),
            at_most: self.at_most.map(|time| time.as_secs_f64()),
            iterations: self.iterations,
            began: (!self.weekday.is_empty() || !self.hour.is_empty()).then(|| Began {
                zone: zone.clone(),
                weekdays: self.weekday.clone(),
                hours: self.hour.clone(),
            }),
        })
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("can be given but once".to_owned()),
    }
}

/// Reads an amount of US dollars: `0.50`, `$2`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn dollars(text: &str) -> Result<f64, String> {
    let amount = text.trim_start_matches('$').parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
    amount.ok_or_else(|| format!("{text:?} is no amount: write dollars, such as 0.50"))
}

/// Reads how many iterations: `3`, `2..4` (both included), `20..`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn iterations(text: &str) -> Result<(u32, u32), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let most = if most.is_empty() { Ok(u32::MAX) } else { most.parse() };
    match (least.parse(), most) {
        (Ok(least), Ok(most)) if least <= most => Ok((least, most)),
        _ => Err(format!("{text:?} is no number of iterations: write 3, 2..4 or 20..")),
    }
}

/// Reads a day of the week by its English name, of which three letters are enough.
///
/// # Errors
/// What is wrong, and what to write.
pub fn weekday(text: &str) -> Result<Weekday, String> {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let given = text.to_lowercase();
    let day = DAYS.iter().position(|day| given.len() >= 3 && day.starts_with(&given));
    day.and_then(|day| Weekday::from_monday_zero_offset(i8::try_from(day).ok()?).ok())
        .ok_or_else(|| format!("{text:?} is no day of the week: write mon, tue, wed, thu, fri, sat or sun"))
}

/// Reads an hour of the day.
///
/// # Errors
/// What is wrong, and what to write.
pub fn hour(text: &str) -> Result<i8, String> {
    let hour = text.parse().ok().filter(|hour| (0..24).contains(hour));
    hour.ok_or_else(|| format!("{text:?} is no hour of the day: write 0 to 23"))
}

/// Reads a time: see [`WHEN`].
fn when(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is no time");
    let local = |at: DateTime| at.to_zoned(zone.clone()).map(|at| at.timestamp()).map_err(|_| wrong());
    let today = || now.to_zoned(zone.clone()).date();
    match text {
        "now" => return Ok(now),
        "today" => return local(today().into()),
        "yesterday" => return local(today().yesterday().map_err(|_| wrong())?.into()),
        _ => {}
    }
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Ok(at) = text.parse() {
        return local(at);
    }
    retention::parse_age(text).ok().and_then(|age| now.checked_sub(age).ok()).ok_or_else(wrong)
}

/// A project that was given as a path, from the root; a name as it is.
fn absolute(project: &str, cwd: &Path) -> String {
    if !project.contains('/') && project != "." && project != ".." {
        return project.to_owned();
    }
    let mut path = PathBuf::new();
    for part in cwd.join(project).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_times_and_spans() {
        let now: Timestamp = "2026-05-03T10:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, at) in [
            ("2026-05-01", "2026-04-30T22:00:00Z"),
            ("2026-05-01T13:00", "2026-05-01T11:00:00Z"),
            ("2026-05-01 13:00:05", "2026-05-01T11:00:05Z"),
            ("2026-05-01T13:00Z", "2026-05-01T13:00:00Z"),
            ("2026-05-01T13:00+05:00", "2026-05-01T08:00:00Z"),
            ("today", "2026-05-02T22:00:00Z"),
            ("yesterday", "2026-05-01T22:00:00Z"),
            ("2w", "2026-04-19T10:00:00Z"),
            ("90m", "2026-05-03T08:30:00Z"),
        ] {
            assert_eq!(when(text, now, &zone), Ok(at.parse().expect("a time")), "{text}");
        }
        for wrong in ["", "2026-13-01", "2026-02-30", "w", "soon", "-2w", "2026"] {
            assert!(when(wrong, now, &zone).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_project_given_as_a_path_is_made_absolute() {
        let cwd = Path::new("/home/me/app");
        for (given, project) in [
            ("app", "app"),
            (".", "/home/me/app"),
            ("../lib", "/home/me/lib"),
            ("/srv/x/", "/srv/x"),
            ("./a/..", "/home/me/app"),
        ] {
            assert_eq!(absolute(given, cwd), project);
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(dollars("0.50"), Ok(0.5));
        assert_eq!(dollars("$2"), Ok(2.0));
        assert!(["", "-1", "nan", "inf", "two"].iter().all(|wrong| dollars(wrong).is_err()));
    }

    #[test]
    fn pairs_are_named_as_on_the_command_line() {
        let filters = Filters::from_pairs([
            ("outcome", "failed"),
            ("outcome", "crashed"),
            ("kind", "loop"),
            ("agent", "claude"),
            ("agent", ""),
            ("project", "../lib"),
            ("after", "2d"),
            ("before", ""),
            ("touched", "src/*.rs"),
            ("prompt-hash", "sha256:1"),
            ("min_cost", "$0.50"),
            ("longer-than", "1h"),
            ("at_most", "2h"),
            ("iterations", "2.."),
            ("weekday", "Sun"),
            ("weekday", "monday"),
            ("hour", "8"),
        ]);
        let now: Timestamp = "2026-05-03T10:00:00Z".parse().expect("a time");
        let filter =
            filters.expect("filters").resolve(now, &TimeZone::UTC, Path::new("/home/me/app")).expect("a filter");
        assert_eq!(filter.outcomes, [ShownOutcome::Failed, ShownOutcome::Crashed]);
        assert_eq!((filter.kinds, filter.agents), (vec![SessionKind::Loop], vec!["claude".to_owned()]));
        assert_eq!(filter.projects, ["/home/me/lib"]);
        assert_eq!((filter.after, filter.before), ("2026-05-01T10:00:00Z".parse().ok(), None));
        assert!(filter.touched[0].matches("src/a.rs"));
        assert_eq!((filter.prompt_hash.as_deref(), filter.prompt), (Some("sha256:1"), None));
        assert_eq!((filter.min_cost, filter.longer_than, filter.at_most), (Some(0.5), Some(3600.0), Some(7200.0)));
        let began = filter.began.expect("times");
        assert_eq!((began.weekdays, began.hours), (vec![Weekday::Sunday, Weekday::Monday], vec![8]));
        assert_eq!(filter.iterations, Some((2, u32::MAX)));
        assert!(NAMES.iter().all(|name| Filters::from_pairs([(name.replace('-', "_"), "")]).is_ok()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |pairs: &[(&str, &str)]| match Filters::from_pairs(pairs.iter().copied()) {
            Ok(filters) => panic!("{filters:?}"),
            Err(error) => error.to_string(),
        };
        assert!(wrong(&[("colour", "red")]).starts_with("colour is no filter: there are outcome, status, "));
        assert!(wrong(&[("limit", "")]).starts_with("limit is no filter"));
        assert!(wrong(&[("outcome", "good")]).starts_with("outcome \"good\" is none of: success, "));
        assert!(wrong(&[("min-cost", "much")]).contains("write dollars"));
        for (name, value) in [
            ("weekday", "su"),
            ("weekday", "someday"),
            ("hour", "24"),
            ("hour", "-1"),
            ("iterations", "4..2"),
            ("iterations", ".."),
            ("iterations", "many"),
        ] {
            assert!(wrong(&[(name, value)]).contains("write "), "{name} {value}");
        }
        assert!(wrong(&[("longer_than", "1y")]).starts_with("longer-than \"1y\" is no age"));
        assert!(wrong(&[("touched", "a[")]).contains("is no glob"));
        assert_eq!(wrong(&[("after", "1d"), ("after", "2d")]), "after can be given but once");
        let late = Filters::from_pairs([("before", "soon")]).expect("a filter");
        let error = late.resolve(Timestamp::UNIX_EPOCH, &TimeZone::UTC, Path::new("/")).expect_err("no time");
        assert_eq!((error.to_string().as_str(), error.hint), ("before \"soon\" is no time", Some(WHEN)));
    }
}
