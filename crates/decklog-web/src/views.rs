//! Lists of sessions, filtered and sorted, of which a page sees a few at a time: what was found stands by as numbers, until
//! something under the session root changes.
//!
//! Must not know: HTTP.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use decklog_journal::store::{StoreError, Unreadable};
use decklog_journal::{Row, SessionFilter, SessionStore};
use decklog_query::index::{IndexError, Lookup, Progress, Stage};
use decklog_query::query::Query;
use decklog_query::search::Hits;
use jiff::Timestamp;

use crate::facets::{Facets, Menus};
use crate::server::Setup;

/// Lists that stand by.
const KEPT: usize = 8;

/// What a list is sorted by. What a session does not have comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Started,
    Duration,
    Turns,
    Iterations,
    Tokens,
    Cost,
    Files,
    Kind,
    Agent,
    Model,
    Project,
    Outcome,
}

impl std::str::FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "started" => Self::Started,
            "duration" => Self::Duration,
            "turns" => Self::Turns,
            "iterations" => Self::Iterations,
            "tokens" => Self::Tokens,
            "cost" => Self::Cost,
            "files" => Self::Files,
            "kind" => Self::Kind,
            "agent" => Self::Agent,
            "model" => Self::Model,
            "project" => Self::Project,
            "outcome" => Self::Outcome,
            other => {
                return Err(format!(
                    "{other:?} is nothing to sort by: started, duration, turns, iterations, tokens, cost, files, kind, agent, \
                     model, project, outcome are"
                ));
            }
        })
    }
}

/// What a row is sorted by.
#[derive(Debug, PartialEq)]
enum Key {
    Number(Option<f64>),
    Text(String),
}

impl Key {
    fn of(row: &Row<'_>, sort: Sort) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only their order counts")]
        let number = |number: u64| Self::Number(Some(number as f64));
        match sort {
            Sort::Started => Self::Number(None),
            Sort::Duration => Self::Number(Some(row.elapsed())),
            Sort::Turns => number(row.turns.into()),
            Sort::Iterations => Self::Number(row.iterations.map(f64::from)),
            Sort::Tokens => row.tokens.map_or(Self::Number(None), |tokens| number(tokens.input + tokens.output)),
            Sort::Cost => Self::Number(row.cost_usd),
            Sort::Files => row.files_changed.map_or(Self::Number(None), number),
            Sort::Kind => Self::Text(row.kind.as_str().into()),
            Sort::Agent => Self::Text(row.agents.join(", ")),
            Sort::Model => Self::Text(row.models.join(", ")),
            Sort::Project => Self::Text(row.project.to_lowercase()),
            Sort::Outcome => {
                Self::Text(row.shown_outcome().map_or(row.status.as_str(), |outcome| outcome.as_str()).into())
            }
        }
    }

    fn is_none(&self) -> bool {
        match self {
            Self::Number(number) => number.is_none(),
            Self::Text(text) => text.is_empty(),
        }
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Number(Some(a)), Self::Number(Some(b))) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => std::cmp::Ordering::Equal,
        }
    }
}

/// Tells one state of the root from every other.
pub(crate) type Change = (String, i64);

/// A list that stands by.
#[derive(Debug)]
struct View {
    question: String,
    change: Change,
    numbers: Arc<Vec<i64>>,
}

/// The lists, and the index they come from.
pub(crate) struct Views {
    store: SessionStore,
    cache: PathBuf,
    state: Mutex<State>,
    /// What searches found damaged: the thread that keeps texts indexed rebuilds it.
    damaged: Mutex<Option<IndexError>>,
}

struct State {
    lookup: Lookup,
    unreadable: Vec<Unreadable>,
    kept: VecDeque<View>,
    facets: Option<(Change, Menus)>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Views {
    pub(crate) fn new(setup: &Setup) -> Self {
        let (store, cache) = (setup.store.clone(), setup.cache.clone());
        let state = State {
            lookup: Lookup::served(cache.clone(), store.clone()),
            unreadable: Vec::new(),
            kept: VecDeque::new(),
            facets: None,
        };
        Self { store, cache, state: Mutex::new(state), damaged: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on the rows that `filter` takes, newest first.
    pub(crate) fn each(
        &self,
        now: Timestamp,
        filter: &SessionFilter,
        take: impl FnMut(&Row<'_>),
    ) -> Result<(), StoreError> {
        self.each_in(&mut self.state(), now, filter, take)
    }

    fn each_in(
        &self,
        state: &mut State,
        now: Timestamp,
        filter: &SessionFilter,
        take: impl FnMut(&Row<'_>),
    ) -> Result<(), StoreError> {
        let refreshed = state.lookup.each(filter, now, &mut |_, _| {}, take)?;
        // Of a list that a limit cut off nothing is said about the rest.
        state.unreadable = refreshed.unreadable;
        self.note_problem(state);
        Ok(())
    }

    /// The turns that hold what `query` asks for, of the sessions that `filter` takes.
    pub(crate) fn search(&self, now: Timestamp, query: &Query, filter: &SessionFilter) -> Result<Hits, StoreError> {
        let mut state = self.state();
        let hits = state.lookup.search(query, filter, now, &mut |_, _| {})?;
        self.note_problem(&mut state);
        Ok(hits)
    }

    fn note_problem(&self, state: &mut State) {
        if let Some(problem) = state.lookup.problem() {
            *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
        }
    }

    /// Numbers of the sessions that `filter` takes, sorted. `question` is the same for the same filter, as long as the time
    /// that it is relative to is left out. With them the state of the root that they are of, where that is known.
    pub(crate) fn list(
        &self,
        now: Timestamp,
        (question, filter): (&str, &SessionFilter),
        sort: Sort,
        descending: bool,
    ) -> Result<(Arc<Vec<i64>>, Option<Change>), StoreError> {
        let question = format!("{question} {sort:?} {descending}");
        let mut state = self.state();
        let change = state.lookup.state(now).ok();
        let is_same = |view: &&View| view.question == question && Some(&view.change) == change.as_ref();
        if let Some(view) = state.kept.iter().find(is_same) {
            return Ok((Arc::clone(&view.numbers), change));
        }
        // They come newest first, and stay so among equals.
        let mut numbers = Vec::new();
        if sort == Sort::Started {
            self.each_in(&mut state, now, filter, |row| numbers.push(row.number))?;
            if !descending {
                numbers.reverse();
            }
        } else {
            let mut found: Vec<(Key, i64)> = Vec::new();
            self.each_in(&mut state, now, filter, |row| found.push((Key::of(row, sort), row.number)))?;
            found.sort_by(|(a, _), (b, _)| {
                let order = if descending { b.compare(a) } else { a.compare(b) };
                a.is_none().cmp(&b.is_none()).then(order)
            });
            numbers.extend(found.into_iter().map(|(_, number)| number));
        }
        let numbers = Arc::new(numbers);
        let kept = &mut state.kept;
        if let Some(change) = &change {
            kept.retain(|view| view.change == *change && view.question != question);
            kept.truncate(KEPT - 1);
            kept.push_front(View { question, change: change.clone(), numbers: Arc::clone(&numbers) });
        }
        Ok((numbers, change))
    }

    /// What menus offer.
    pub(crate) fn facets(&self, now: Timestamp) -> Result<Menus, StoreError> {
        let mut state = self.state();
        let change = state.lookup.state(now).ok();
        if let (Some(change), Some((known, facets))) = (&change, &state.facets)
            && known == change
        {
            return Ok(facets.clone());
        }
        let mut facets = Facets::default();
        self.each_in(&mut state, now, &SessionFilter::default(), |row| facets.add(row))?;
        let facets = facets.into_json();
        state.facets = change.map(|change| (change, facets.clone()));
        Ok(facets)
    }

    /// Brings the index of words up to date, telling how far that is. It is read meanwhile as far as it has come. What a search
    /// found damaged is rebuilt first; until then searches read the sessions.
    pub(crate) fn index_texts(&self, now: Timestamp, progress: &mut dyn FnMut(Progress)) -> Result<(), IndexError> {
        let mut lookup = Lookup::served(self.cache.clone(), self.store.clone());
        {
            // Who opens an index first makes it: not two at a time.
            let _state = self.state();
            lookup.refresh(now, &mut |_, _| {})?;
        }
        let tell = &mut |stage, done| {
            if stage == Stage::Texts {
                progress(done);
            }
        };
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).take();
        let refreshed = damaged
            .map_or(Ok(()), |damaged| lookup.heal(&damaged, now, tell))
            .and_then(|()| lookup.refresh_texts(now, tell));
        // Lists of sessions that changed a file were made of as much as was read.
        self.state().kept.clear();
        refreshed
    }

    /// Whether a part of the index of words is to be rebuilt.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What cannot be read, as of the last question.
    pub(crate) fn unreadable(&self) -> Vec<Unreadable> {
        self.state().unreadable.clone()
    }

    /// What tells the present state of the root from every other.
    pub(crate) fn change(&self, now: Timestamp) -> Result<Change, IndexError> {
        let mut state = self.state();
        let State { lookup, unreadable, .. } = &mut *state;
        let refreshed = lookup.refresh(now, &mut |_, _| {})?;
        *unreadable = refreshed.unreadable;
        lookup.state(now)
    }
}
