//! Full-text search: which turns hold what is asked for, the best and newest first.
//!
//! The index says which; excerpts are read from the journals. Must not know: the terminal, the present time.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use decklog_journal::read::{Item, JournalReader, Position};
use decklog_journal::session::JOURNAL_FILE;
use decklog_journal::{SessionFilter, SessionId, SessionStore};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::excerpt::{self, Excerpt};
use crate::index::{Found, IndexError, RowIndex, TextIndex, each_row};
use crate::query::Query;
use crate::text::{Field, Passage, Passages};

/// So many of the newest passages that match are ranked; older ones are not looked at.
pub const RANKED: usize = 2000;

/// Where [`RANKED`] passages that match are found among fewer than so many, most hold what was searched for.
const COMMON: i64 = 4000;

/// A turn that holds what was searched for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The session.
    pub id: SessionId,
    /// The turn; 0 for a session without turns.
    pub turn: u32,
    /// When it began.
    pub at: Timestamp,
    /// The best piece of it.
    pub excerpt: Excerpt,
}

impl Hit {
    /// The hit as JSON, as `search --json` lists it; marks count characters, as most languages do.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let excerpt = &self.excerpt;
        let characters = |at: usize| excerpt.text[..at].chars().count();
        let marks: Vec<[usize; 2]> = excerpt.marks.iter().map(|mark| [mark.start, mark.end].map(characters)).collect();
        json!({
            "id": self.id,
            "turn": self.turn,
            "at": self.at,
            "field": excerpt.field.map(Field::as_str),
            "excerpt": excerpt.text,
            "marks": marks,
        })
    }
}

/// What a search gave.
#[derive(Debug, Clone, Default)]
pub struct Hits {
    /// The best ones, best first.
    pub hits: Vec<Hit>,
    /// Passages that match, up to [`RANKED`].
    pub matching: usize,
}

/// Searches the sessions that `filter` takes, in indexes that are up to date; its limit is the limit of hits.
///
/// # Errors
/// [`IndexError`].
pub(crate) fn search(
    store: &SessionStore,
    (rows, texts): (&mut RowIndex, &TextIndex),
    query: &Query,
    filter: &SessionFilter,
    now: Timestamp,
) -> Result<Hits, IndexError> {
    let allowed = allowed(rows, texts, filter)?;
    let newest = |expression: &str| -> Result<Vec<Found>, IndexError> {
        let mut candidates = Vec::new();
        texts.find(expression, |found| {
            if allowed.as_ref().is_none_or(|allowed| allowed.contains(&found.number)) {
                candidates.push(found);
            }
            candidates.len() < RANKED
        })?;
        Ok(candidates)
    };
    // All words that begin alike are many to go through. What holds the word as it was typed comes first anyway: where
    // that is enough, it is all.
    let typed = query.as_typed().filter(|_| allowed.is_none()).map(|typed| newest(&typed)).transpose()?;
    let candidates = match typed.filter(|found| found.len() == RANKED) {
        Some(found) => found,
        None => newest(&query.expression())?,
    };
    let matching = candidates.len();
    let oldest = candidates.last().map_or(i64::MAX, |found| found.document);
    // Words that most passages hold tell nothing of any, and weighing them takes longest.
    let scores: HashMap<i64, f64> = if matching == RANKED && texts.count_from(oldest, COMMON)? < COMMON {
        HashMap::new()
    } else {
        texts.scores(&query.whole_words(), oldest)?.into_iter().collect()
    };
    let whole = if query.as_typed().is_some() { WHOLE } else { 0.0 };
    let score = |found: &Found| {
        let words = scores.get(&found.document).map_or(0.0, |words| whole + words);
        (FLOOR + words) * (1.0 - AGING + AGING * freshness(found.began(), now))
    };
    let mut ranked: Vec<(f64, Found)> = candidates.into_iter().map(|found| (score(&found), found)).collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut hits = Vec::new();
    let mut seen = HashSet::new();
    for (_, found) in ranked {
        if hits.len() >= filter.limit.unwrap_or(usize::MAX) {
            break;
        }
        if seen.insert((found.number, found.turn)) {
            hits.extend(hit(store, query, &found));
        }
    }
    Ok(Hits { hits, matching })
}

/// Weight of being there at all, beside how well the words fit: among common words the newest wins.
const FLOOR: f64 = 0.5;

/// What the word as it was typed adds, where others only begin so. How well it fits may be next to nothing: a word that
/// most passages of a shard hold tells few of them apart, and a shard may hold but one.
const WHOLE: f64 = 0.5;

/// How much of a score age can take.
const AGING: f64 = 0.8;

/// Days after which half of that is gone.
const HALF_LIFE: f64 = 60.0;

fn freshness(began: i64, now: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a weight")]
    let days = now.as_second().saturating_sub(began).max(0) as f64 / 86_400.0;
    1.0 / (1.0 + days / HALF_LIFE)
}

/// Numbers of the sessions that the filter takes; `None` for all.
fn allowed(rows: &mut RowIndex, texts: &TextIndex, filter: &SessionFilter) -> Result<Option<HashSet<i64>>, IndexError> {
    if filter.takes_all() {
        return Ok(None);
    }
    let all = SessionFilter { limit: None, ..filter.clone() };
    let mut allowed = HashSet::new();
    each_row(rows, Some(texts), &all, None, |row| {
        allowed.insert(row.number);
    })?;
    Ok(Some(allowed))
}

/// What is shown of a passage that was found; `None` when its session went meanwhile.
fn hit(store: &SessionStore, query: &Query, found: &Found) -> Option<Hit> {
    let id = SessionId::from_number(found.number)?;
    let passage = read(&store.entry(&id), found)?;
    let excerpt = excerpt::best(&passage, |field, text| query.places(field, text));
    Some(Hit { id, turn: found.turn, at: passage.at, excerpt })
}

/// The passage that stands where `found` says.
fn read(dir: &Path, found: &Found) -> Option<Passage> {
    let start = Position { offset: found.from, ..Position::default() };
    let mut reader = JournalReader::resume(&dir.join(JOURNAL_FILE), start).ok()?;
    let mut passages = Passages::new(dir);
    let mut before = found.from;
    while before < found.to
        && let Some(Ok(item)) = reader.next()
    {
        let after = reader.offset();
        if let Item::Event(event) = item
            && (event.body.turn().is_none_or(|turn| turn == found.turn))
        {
            passages.event(&event, before, after);
        }
        before = after;
    }
    passages.finish().into_iter().find(|passage| passage.turn == found.turn)
}
