//! The filters that the verbs over many sessions share: what the user types, made into a [`SessionFilter`].
//!
//! Must not know: which verb asks.

use decklog_journal::filter::Touched;
use decklog_journal::words::{SessionKind, ShownOutcome, ShownStatus};
use decklog_journal::{SessionFilter, SessionStore, retention};
use decklog_query::filters::{Filters, dollars, hour, iterations, weekday};
use jiff::SignedDuration;
use jiff::civil::Weekday;

use crate::context::Context;
use crate::error::CliError;

/// Several values of one filter mean any of them; several filters mean all of them.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters (a session must meet all; of several values of one filter, any)")]
pub(crate) struct FilterArgs {
    /// How it came out: success, failed, interrupted, max_iterations_reached, crashed or unknown
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
    /// With a model whose name contains this; =NAME means that name alone
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
    /// Which took at most this
    #[arg(long, value_name = "TIME", value_parser = retention::parse_age)]
    at_most: Option<SignedDuration>,
    /// Loops with so many iterations: 3, 2..4 or 20..
    #[arg(long, value_name = "N", value_parser = iterations)]
    iterations: Option<(u32, u32)>,
    /// Begun on this day of the week: mon, tue, wed, thu, fri, sat or sun
    #[arg(long, value_name = "DAY", value_parser = weekday)]
    weekday: Vec<Weekday>,
    /// Begun in this hour of the day, 0 to 23
    #[arg(long, value_name = "HOUR", value_parser = hour)]
    hour: Vec<i8>,
}

impl FilterArgs {
    /// Whether none was given.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { outcome, status, kind, agent, model, project, touched, .. } = self;
        let lists = outcome.is_empty() && status.is_empty() && kind.is_empty() && touched.is_empty();
        let texts = [&self.after, &self.before, &self.search, &self.same_prompt];
        lists
            && [agent, model, project].iter().all(|names| names.is_empty())
            && texts.iter().all(|text| text.is_none())
            && self.min_cost.is_none()
            && self.longer_than.is_none()
            && self.at_most.is_none()
            && self.iterations.is_none()
            && self.weekday.is_empty()
            && self.hour.is_empty()
    }

    /// The filter; reads the one session that `--same-prompt` names.
    pub(crate) fn resolve(&self, context: &Context, store: &SessionStore) -> Result<SessionFilter, CliError> {
        let prompt_hash = match &self.same_prompt {
            Some(id) => {
                let id = context.find(store, Some(id))?;
                Some(context.look(&store.entry(&id))?.head.prompt_hash)
            }
            None => None,
        };
        let filters = Filters {
            outcome: self.outcome.clone(),
            status: self.status.clone(),
            kind: self.kind.clone(),
            agent: self.agent.clone(),
            model: self.model.clone(),
            project: self.project.clone(),
            after: self.after.clone(),
            before: self.before.clone(),
            search: self.search.clone(),
            touched: self.touched.clone(),
            prompt_hash,
            min_cost: self.min_cost,
            longer_than: self.longer_than,
            at_most: self.at_most,
            iterations: self.iterations,
            weekday: self.weekday.clone(),
            hour: self.hour.clone(),
        };
        filters.resolve(context.clock.now(), &context.zone, &context.cwd).map_err(|error| {
            let told = CliError::new(format!("--{error}"));
            match error.hint {
                Some(hint) => told.hint(hint),
                None => told,
            }
        })
    }
}
