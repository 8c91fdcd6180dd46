//! Lists of sessions, filtered and sorted, of which a page sees a few at a time: what was found stands by as numbers, until
//! something under the session root changes.
//!
//! Must not know: HTTP.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use decklog_journal::store::Unreadable;
use decklog_journal::{Row, SessionFilter, SessionStore};
use decklog_query::index::{self, IndexError, RowIndex, TextIndex};
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
}

#[derive(Default)]
struct State {
    rows: Option<RowIndex>,
    texts: Option<TextIndex>,
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
        Self { store: setup.store.clone(), cache: setup.cache.clone(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the index of rows, brought up to date.
    pub(crate) fn rows<T>(
        &self,
        now: Timestamp,
        ask: impl FnOnce(&mut RowIndex, Option<&TextIndex>) -> Result<T, IndexError>,
        with_texts: bool,
    ) -> Result<T, IndexError> {
        self.ask(now, with_texts, |rows, texts, _| ask(rows, texts))
    }

    fn ask<T>(
        &self,
        now: Timestamp,
        with_texts: bool,
        ask: impl FnOnce(&mut RowIndex, Option<&TextIndex>, &mut VecDeque<View>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let mut state = self.state();
        let State { rows, texts, unreadable, kept, .. } = &mut *state;
        let rows = match rows {
            Some(rows) => rows,
            None => rows.insert(RowIndex::open(&self.cache, &self.store)?),
        };
        let refreshed = rows.refresh(now, &mut |_| {});
        match refreshed {
            Ok(refreshed) => *unreadable = refreshed.unreadable,
            Err(error) => {
                // It may have been deleted: the next question opens what is there then.
                state.rows = None;
                return Err(error);
            }
        }
        if with_texts && texts.is_none() {
            *texts = Some(TextIndex::open(&self.cache, &self.store)?);
        }
        let answer = ask(rows, texts.as_ref().filter(|_| with_texts), kept);
        if answer.is_err() {
            (state.rows, state.texts) = (None, None);
        }
        answer
    }

    /// Numbers of the sessions that `filter` takes, sorted. `question` is the same for the same filter, as long as the time
    /// that it is relative to is left out. With them the state of the root that they are of.
    pub(crate) fn list(
        &self,
        now: Timestamp,
        (question, filter): (&str, &SessionFilter),
        sort: Sort,
        descending: bool,
    ) -> Result<(Arc<Vec<i64>>, Change), IndexError> {
        let question = format!("{question} {sort:?} {descending}");
        self.ask(now, !filter.touched.is_empty(), |rows, texts, kept| {
            let change = rows.state()?;
            if let Some(view) = kept.iter().find(|view| view.question == question && view.change == change) {
                return Ok((Arc::clone(&view.numbers), change));
            }
            // They come newest first, and stay so among equals.
            let mut numbers = Vec::new();
            if sort == Sort::Started {
                index::each_row(rows, texts, filter, |row| numbers.push(row.number))?;
                if !descending {
                    numbers.reverse();
                }
            } else {
                let mut found: Vec<(Key, i64)> = Vec::new();
                index::each_row(rows, texts, filter, |row| found.push((Key::of(row, sort), row.number)))?;
                found.sort_by(|(a, _), (b, _)| {
                    let order = if descending { b.compare(a) } else { a.compare(b) };
                    a.is_none().cmp(&b.is_none()).then(order)
                });
                numbers.extend(found.into_iter().map(|(_, number)| number));
            }
            let numbers = Arc::new(numbers);
            kept.retain(|view| view.change == change && view.question != question);
            kept.truncate(KEPT - 1);
            kept.push_front(View { question, change: change.clone(), numbers: Arc::clone(&numbers) });
            Ok((numbers, change))
        })
    }

    /// What menus offer.
    pub(crate) fn facets(&self, now: Timestamp) -> Result<Menus, IndexError> {
        let known = self.state().facets.clone();
        let (change, facets) = self.ask(now, false, |rows, _, _| {
            let change = rows.state()?;
            if let Some((_, facets)) = known.filter(|(known, _)| *known == change) {
                return Ok((change, facets));
            }
            let mut facets = Facets::default();
            index::each_row(rows, None, &SessionFilter::default(), |row| facets.add(row))?;
            Ok((change, facets.into_json()))
        })?;
        self.state().facets = Some((change, facets.clone()));
        Ok(facets)
    }

    /// Brings the index of words up to date, telling how far that is. It is read meanwhile as far as it has come.
    pub(crate) fn index_texts(&self, progress: &mut dyn FnMut(index::Progress)) -> Result<(), IndexError> {
        // Who opens an index first makes it: not two at a time.
        let (rows, mut texts) = {
            let _state = self.state();
            (RowIndex::open(&self.cache, &self.store)?, TextIndex::open(&self.cache, &self.store)?)
        };
        let refreshed = texts.refresh(&rows, progress);
        // Lists of sessions that changed a file were made of as much as was read.
        self.state().kept.clear();
        refreshed
    }

    /// What cannot be read, as of the last question.
    pub(crate) fn unreadable(&self) -> Vec<Unreadable> {
        self.state().unreadable.clone()
    }

    /// What tells the present state of the root from every other.
    pub(crate) fn change(&self, now: Timestamp) -> Result<Change, IndexError> {
        self.ask(now, false, |rows, _, _| rows.state())
    }
}
