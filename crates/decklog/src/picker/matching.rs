//! Finding the rows that a query names, on threads of its own: typing never waits for it.
//!
//! Must not know: the screen, keys, where rows come from.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use decklog_journal::parallel::each_on_a_thread;
use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use super::row::Row;

/// What was found so far is told this soon, even when there is more to look through.
const FIRST: Duration = Duration::from_millis(8);

/// Rows in the order they came, in parts that never change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows(Arc<Mutex<Vec<Arc<[Row]>>>>);

impl Rows {
    pub(crate) fn push(&self, part: Vec<Row>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(part.into());
    }

    pub(crate) fn count(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    pub(crate) fn parts(&self) -> Vec<Arc<[Row]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A row that was found: the more points the better, then the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    points: Reverse<u32>,
    pub(crate) part: u32,
    pub(crate) place: u32,
}

/// What a query has found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The query's number.
    pub(crate) number: u64,
    /// Best first.
    pub(crate) hits: Arc<Vec<Hit>>,
    /// Rows there are to look through.
    pub(crate) total: usize,
    /// Whether all of them were.
    pub(crate) complete: bool,
}

/// What is asked of the thread.
#[derive(Debug)]
pub(crate) enum Ask {
    /// To find this; queries are numbered from 1.
    Query(u64, String),
    /// To look through rows that have come.
    More,
}

/// The pattern a query means: words that must all be there, in fzf's notation.
pub(crate) fn pattern(query: &str) -> Pattern {
    Pattern::parse(query, CaseMatching::Smart, Normalization::Smart)
}

/// A matcher; scratch space, one for each thread.
pub(crate) fn matcher() -> Matcher {
    let mut config = Config::DEFAULT;
    config.prefer_prefix = false;
    Matcher::new(config)
}

/// Answers until nobody asks any more.
pub(crate) fn run(rows: &Rows, asked: &Receiver<Ask>, mut tell: impl FnMut(Found)) {
    let mut search = Search::default();
    let mut matchers: Vec<Matcher> =
        (0..std::thread::available_parallelism().map_or(1, |count| count.get().min(4))).map(|_| matcher()).collect();
    let mut next = asked.recv().ok();
    while let Some(ask) = next.take() {
        search.take(ask);
        // Only the newest query counts.
        loop {
            match asked.try_recv() {
                Ok(ask) => search.take(ask),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let start = Instant::now();
        let mut told = false;
        let parts = rows.parts();
        let total = parts.iter().map(|part| part.len()).sum();
        while !search.is_done(&parts) {
            search.step(&parts, &mut matchers);
            match asked.try_recv() {
                Ok(ask @ Ask::Query(..)) => {
                    next = Some(ask);
                    break;
                }
                // They are looked at below, or in the next round.
                Ok(Ask::More) => next = next.or(Some(Ask::More)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            if !told && start.elapsed() > FIRST && !search.is_done(&parts) {
                told = true;
                tell(search.found(&parts, &mut matchers[0], total, false));
            }
        }
        if search.is_done(&parts) {
            tell(search.found(&parts, &mut matchers[0], total, true));
        }
        if next.is_none() {
            next = asked.recv().ok();
        }
    }
}

/// So many of the best are put in their true order: more than anybody looks at.
const SEEN: usize = 512;

/// Queries that are remembered: who takes a letter back finds what was there before it.
const REMEMBERED: usize = 12;

/// A query at work.
#[derive(Default)]
struct Search {
    number: u64,
    pattern: Pattern,
    now: Progress,
    /// Earlier queries, the newest last.
    before: Vec<Progress>,
    /// Rows of an earlier, wider query that are still to be looked at again, in the order they came.
    again: VecDeque<Hit>,
}

/// How far a query is.
#[derive(Clone, Default)]
struct Progress {
    query: String,
    /// In the order in which the rows came.
    hits: Vec<Hit>,
    /// Parts that were looked through, or are in `again`.
    parts: usize,
}

impl Search {
    fn take(&mut self, ask: Ask) {
        let Ask::Query(number, query) = ask else { return };
        self.pattern = pattern(&query);
        self.number = number;
        let known = self.before.iter().position(|before| before.query == query);
        // What a longer query finds, the shorter one has found too, unless marks turn its meaning around.
        let narrower = query.starts_with(&self.now.query) && !query.contains(['!', '\'', '^', '$', '\\']);
        let next = match known {
            Some(known) => self.before.remove(known),
            None if narrower => Progress { query, hits: Vec::new(), parts: self.now.parts },
            None => Progress { query, ..Progress::default() },
        };
        let last = std::mem::replace(&mut self.now, next);
        let unfinished = std::mem::take(&mut self.again);
        if known.is_none() && narrower {
            self.again = last.hits.iter().copied().chain(unfinished.iter().copied()).collect();
        }
        if unfinished.is_empty() {
            if self.before.len() == REMEMBERED {
                self.before.remove(0);
            }
            self.before.push(last);
        }
    }

    fn is_done(&self, parts: &[Arc<[Row]>]) -> bool {
        self.again.is_empty() && self.now.parts >= parts.len()
    }

    /// Looks through some more rows, on all threads.
    fn step(&mut self, parts: &[Arc<[Row]>], matchers: &mut [Matcher]) {
        const STEP: usize = 4096;
        let mut work: Vec<(u32, u32)> = Vec::new();
        let again = self.again.len().min(STEP * matchers.len());
        work.extend(self.again.drain(..again).map(|hit| (hit.part, hit.place)));
        while work.len() < STEP * matchers.len() && self.now.parts < parts.len() {
            let part = u32::try_from(self.now.parts).unwrap_or(u32::MAX);
            let length = u32::try_from(parts[self.now.parts].len()).unwrap_or(u32::MAX);
            work.extend((0..length).map(|place| (part, place)));
            self.now.parts += 1;
        }
        let share = work.len().div_ceil(matchers.len()).max(1);
        let pattern = &self.pattern;
        let shares: Vec<_> = work.chunks(share).zip(matchers).collect();
        let found = each_on_a_thread(shares, |(work, matcher)| look(parts, work, pattern, matcher));
        self.now.hits.extend(found.into_iter().flatten());
    }

    fn found(&self, parts: &[Arc<[Row]>], matcher: &mut Matcher, total: usize, complete: bool) -> Found {
        let mut hits = self.now.hits.clone();
        // Of equals the order stays.
        hits.sort_by_key(|hit| hit.points);
        let first = hits.len().min(SEEN);
        let mut buffer = Vec::new();
        for hit in &mut hits[..first] {
            let text = Utf32Str::new(&parts[hit.part as usize][hit.place as usize].text, &mut buffer);
            hit.points = Reverse(self.pattern.score(text, matcher).unwrap_or_default());
        }
        hits[..first].sort_by_key(|hit| hit.points);
        Found { number: self.number, hits: Arc::new(hits), total, complete }
    }
}

fn look(parts: &[Arc<[Row]>], work: &[(u32, u32)], pattern: &Pattern, matcher: &mut Matcher) -> Vec<Hit> {
    let mut buffer = Vec::new();
    let mut hits = Vec::new();
    for (part, place) in work {
        let Some(row) = parts.get(*part as usize).and_then(|rows| rows.get(*place as usize)) else { continue };
        if let Some(points) = quick_score(pattern, Utf32Str::new(&row.text, &mut buffer), matcher) {
            hits.push(Hit { points: Reverse(points), part: *part, place: *place });
        }
    }
    hits
}

/// Points of the first way in which `text` fits, not of the best one, which takes ten times as long to find.
fn quick_score(pattern: &Pattern, text: Utf32Str<'_>, matcher: &mut Matcher) -> Option<u32> {
    let mut points = 0;
    for atom in &pattern.atoms {
        points += u32::from(match atom.needle_text() {
            needle @ Utf32Str::Ascii(letters) if atom.kind == AtomKind::Fuzzy && !atom.negative => {
                matcher.config.ignore_case = !letters.iter().any(u8::is_ascii_uppercase);
                matcher.config.normalize = true;
                matcher.fuzzy_match_greedy(text, needle)?
            }
            _ => atom.score(text, matcher)?,
        });
    }
    Some(points)
}

/// Starts the thread. It ends when the sender is gone.
pub(crate) fn start(rows: Rows, tell: impl FnMut(Found) + Send + 'static) -> io::Result<Sender<Ask>> {
    let (ask, asked) = std::sync::mpsc::channel();
    std::thread::Builder::new().spawn(move || run(&rows, &asked, tell))?;
    Ok(ask)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn row(text: &str) -> Row {
        Row {
            id: "20260501T134412-3f2a".parse().expect("an id"),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            outcome: "success",
            text: text.into(),
            starts: [0; 3],
        }
    }

    /// What each query finds, asked one after the other.
    fn search(rows: &Rows, queries: &[&str]) -> Vec<Vec<String>> {
        let (tell, told) = channel();
        let ask = start(rows.clone(), move |found| drop(tell.send(found))).expect("a thread");
        let parts = rows.parts();
        let mut all = Vec::new();
        for (number, query) in (1..).zip(queries) {
            ask.send(Ask::Query(number, (*query).to_owned())).expect("it listens");
            let found = loop {
                let found: Found = told.recv().expect("an answer");
                if found.number == number && found.complete {
                    break found;
                }
            };
            let texts = found.hits.iter().map(|hit| parts[hit.part as usize][hit.place as usize].text.clone());
            all.push(texts.collect());
        }
        all
    }

    #[test]
    fn the_notation_of_fzf() {
        let rows = Rows::default();
        rows.push(vec![row("failed claude app fix the test"), row("success codex app Fix it")]);
        rows.push(vec![row("success claude web fix colours")]);
        let found = search(
            &rows,
            &[
                "",
                "fix",
                "'claude",
                "^success",
                "test$",
                "!claude",
                "claude web",
                "clr",
                "Fix",
                "fix",
                "nothing at all",
            ],
        );
        let counts: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(counts, [3, 3, 2, 2, 1, 1, 1, 1, 1, 3, 0]);
        assert_eq!(found[0][0], "failed claude app fix the test", "without a query the order stays");
        assert_eq!(found[7][0], "success claude web fix colours");
    }

    #[test]
    fn of_equals_the_newest_comes_first_whatever_its_length() {
        let rows = Rows::default();
        rows.push(vec![row("a rather long line that says xyz and more"), row("short xyz")]);
        rows.push(vec![row("say xyz")]);
        let found = search(&rows, &["xyz"]);
        assert_eq!(found[0][0], "a rather long line that says xyz and more");
        assert_eq!(found[0].len(), 3);
    }

    #[test]
    fn narrowing_finds_what_searching_anew_finds() {
        let rows = Rows::default();
        for part in 0..20 {
            rows.push((0..500).map(|at| row(&format!("agent{} task {} of {part}", at % 7, at * part))).collect());
        }
        let typed: Vec<String> = (1..=9).map(|length| "agent3 25"[..length].to_owned()).collect();
        let steps = search(&rows, &typed.iter().map(String::as_str).collect::<Vec<_>>());
        for (query, found) in typed.iter().zip(&steps) {
            assert_eq!(&search(&rows, &[query])[0], found, "{query}");
        }
        assert!(!steps[8].is_empty());
        let mut back = typed.clone();
        back.extend(typed.iter().rev().cloned());
        let there_and_back = search(&rows, &back.iter().map(String::as_str).collect::<Vec<_>>());
        for (at, found) in there_and_back.iter().enumerate() {
            assert_eq!(found, &steps[at.min(17 - at)], "letters taken back: {}", back[at]);
        }
    }
}
