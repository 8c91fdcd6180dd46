//! The filters that the verbs over many sessions share: what the user types, made into a [`SessionFilter`].
//!
//! Must not know: which verb asks.

use std::path::{Component, Path, PathBuf};

use decklog_journal::filter::Touched;
use decklog_journal::words::{SessionKind, ShownOutcome, ShownStatus};
use decklog_journal::{SessionFilter, SessionStore, retention};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::context::Context;
use crate::error::CliError;

/// Several values of one filter mean any of them; several filters mean all of them.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters (a session must meet all; of several values of one filter, any)")]
pub(crate) struct FilterArgs {
    /// How it came out: success, failed, interrupted, max_iterations_reached or crashed
    #[arg(long, value_name = "OUTCOME")]
    outcome: Vec<ShownOutcome>,
    /// Where it stands: active, checkpointed, completed or crashed
    #[arg(long, value_name = "STATUS")]
    status: Vec<ShownStatus>,
    /// Of which kind: run, shell, chat, race, loop, mcp or import
    #[arg(long, value_name = "KIND")]
    kind: Vec<SessionKind>,
    /// With this agent
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// With a model whose name contains this
    #[arg(long, value_name = "TEXT")]
    model: Vec<String>,
    /// In this project: the name of its directory, or a path that it is or lies in
    #[arg(long, value_name = "NAME|PATH")]
    project: Vec<String>,
    /// Begun then or later: a date, a date and time (local unless it says otherwise), or how long ago (2w, 36h)
    #[arg(long, value_name = "WHEN")]
    after: Option<String>,
    /// Begun before then
    #[arg(long, value_name = "WHEN")]
    before: Option<String>,
    /// Whose full prompt contains this, letter case aside
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Which changed this file: a path in the repository, a directory, a name, or a glob (src/**/*.rs)
    #[arg(long, value_name = "PATH|GLOB", value_parser = Touched::new)]
    touched: Vec<Touched>,
    /// With the same prompt as this session
    #[arg(long, value_name = "ID")]
    same_prompt: Option<String>,
    /// Which cost at least so many US dollars
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    min_cost: Option<f64>,
    /// Which took longer than this: a number and s, m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = retention::parse_age)]
    longer_than: Option<SignedDuration>,
}

impl FilterArgs {
    /// The filter; reads the one session that `--same-prompt` names.
    pub(crate) fn resolve(&self, context: &Context, store: &SessionStore) -> Result<SessionFilter, CliError> {
        let now = context.clock.now();
        let when = |text: &Option<String>, option: &str| match text {
            Some(text) => when(text, now, &context.zone)
                .map(Some)
                .map_err(|error| CliError::new(format!("{option} {error}")).hint(WHEN)),
            None => Ok(None),
        };
        let prompt_hash = match &self.same_prompt {
            Some(id) => {
                let id = context.find(store, Some(id))?;
                Some(context.look(&store.entry(&id))?.head.prompt_hash)
            }
            None => None,
        };
        Ok(SessionFilter {
            limit: None,
            statuses: self.status.clone(),
            outcomes: self.outcome.clone(),
            kinds: self.kind.clone(),
            agents: self.agent.clone(),
            models: self.model.clone(),
            projects: self.project.iter().map(|project| absolute(project, &context.cwd)).collect(),
            after: when(&self.after, "--after")?,
            before: when(&self.before, "--before")?,
            prompt: self.search.clone(),
            touched: self.touched.clone(),
            prompt_hash,
            min_cost: self.min_cost,
            longer_than: self.longer_than.map(|time| time.as_secs_f64()),
        })
    }
}

const WHEN: &str = "write a date (2026-05-01), a date and time (2026-05-01T13:00, local; 2026-05-01T13:00Z), today, yesterday, or \
     how long ago: a number and s, m, h, d or w (2w)";

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

fn dollars(text: &str) -> Result<f64, String> {
    let amount = text.trim_start_matches('$').parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
    amount.ok_or_else(|| format!("{text:?} is no amount: write dollars, such as 0.50"))
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
}
