//! The decisions: at each anchor, what is secret, what is not, and what cannot be said yet.
//!
//! What it must not know: who feeds it, and in what pieces; where the values come from.
//!
//! All that is remembered between pieces is in [`State`].

use std::ops::Range;
use std::sync::Arc;

use super::anchors::{self, Anchors, MIN_ANCHOR};
use super::coded::Coded;
use super::dense::{self, DenseAnchors, MIN_DENSE_ANCHOR};
use super::markers::{Name, clear_of_markers};
use super::ranges::Rank;
use super::rules::{Rule, Rules};
use super::state::State;
use super::{coded, edges, encodings};

/// The longest beginning of a value that serves as its anchor.
const VALUE_ANCHOR: usize = 16;

/// Holds secrets, and so has no `Debug`.
pub(super) struct Engine {
    rules: Vec<Arc<Rule>>,
    /// The names of the rules, then of the values.
    names: Vec<Name>,
    needles: Vec<Needle>,
    anchors: Anchors,
    dense: DenseAnchors,
    /// What is tried at each anchor: the dense ones after the others, and last what is tried where a long run begins.
    targets: Vec<Targets>,
}

struct Needle {
    bytes: Vec<u8>,
    name: u32,
}

#[derive(Default, Clone)]
struct Targets {
    /// Longest first.
    needles: Vec<usize>,
    rules: Vec<usize>,
    coded: Vec<Coded>,
}

/// A walk over the anchors in one text.
struct Cursor<'a> {
    anchors: anchors::Cursor<'a>,
    dense: std::iter::Peekable<std::vec::IntoIter<(usize, usize)>>,
    runs: std::iter::Peekable<std::vec::IntoIter<usize>>,
    /// How many anchors are not dense.
    first_dense: usize,
    /// The target of a long run.
    run: usize,
}

/// The anchors that begin at one position.
struct Hit {
    at: usize,
    targets: [Option<usize>; 3],
}

impl Cursor<'_> {
    /// The first position at or after `from` where an anchor begins. `from` must not go back.
    fn next(&mut self, from: usize) -> Option<Hit> {
        while self.dense.next_if(|(at, _)| *at < from).is_some() {}
        while self.runs.next_if(|at| *at < from).is_some() {}
        let (sparse, dense, run) = (self.anchors.next(from), self.dense.peek(), self.runs.peek());
        let at = [sparse.map(|hit| hit.0), dense.map(|hit| hit.0), run.copied()].into_iter().flatten().min()?;
        let sparse = sparse.filter(|hit| hit.0 == at).map(|hit| hit.1);
        let dense = dense.filter(|hit| hit.0 == at).map(|hit| self.first_dense + hit.1);
        let run = run.filter(|run| **run == at).map(|_| self.run);
        Some(Hit { at, targets: [sparse, dense, run] })
    }
}

/// What comes out.
pub(super) enum Piece<'a> {
    Text(&'a [u8]),
    Marker(&'a [u8]),
}

enum Verdict {
    No,
    Wait,
    Secret(Range<usize>),
}

impl Engine {
    pub(super) fn new(values: &[(String, Vec<u8>)], rules: &Rules) -> Engine {
        let rules: Vec<Arc<Rule>> = rules.iter().cloned().collect();
        let mut engine = Engine {
            names: rules.iter().map(|rule| Name::new(&rule.id)).collect(),
            rules,
            needles: Vec::new(),
            anchors: Anchors::default(),
            dense: DenseAnchors::default(),
            targets: Vec::new(),
        };
        if !values.is_empty() {
            engine.index();
        }
        let names: Vec<Name> = values
            .iter()
            .map(|(name, _)| {
                let name = Name::new(name);
                // A name that is a token itself would be a secret in every marker.
                if engine.find(name.text.as_bytes()).is_some() { Name::new("value") } else { name }
            })
            .collect();
        engine.names.extend(names);
        let first = engine.rules.len();
        let mut seen = std::collections::HashSet::new();
        for (i, (_, value)) in values.iter().enumerate() {
            let value = value.trim_ascii();
            if value.len() < super::MIN_VALUE {
                continue;
            }
            for form in encodings::forms(value) {
                let form = clear_of_markers(form, &engine.names);
                if form.len() >= super::MIN_VALUE && seen.insert(form.clone()) {
                    engine.needles.push(Needle { bytes: form, name: (first + i) as u32 });
                }
            }
        }
        engine.index();
        engine
    }

    /// Builds the anchors from rules and needles.
    fn index(&mut self) {
        let head = |n: &Needle| n.bytes[..n.bytes.len().min(VALUE_ANCHOR)].to_vec();
        let keywords = |dense: bool| {
            let rules = self.rules.iter().filter(move |rule| rule.dense == dense);
            rules.flat_map(|rule| rule.keywords.iter().cloned())
        };
        let coded: Vec<Coded> = self.rules.iter().enumerate().flat_map(|(i, rule)| Coded::of(i, rule)).collect();
        let (anchors, dense) = (
            Anchors::new(keywords(false).chain(self.needles.iter().map(head)).collect()),
            DenseAnchors::new(keywords(true).chain(coded.iter().map(|coded| coded.core.clone())).collect()),
        );
        let first_dense = anchors.literals().len();
        let run = first_dense + dense.literals().len();
        let mut targets = vec![Targets::default(); run + 1];
        for (i, rule) in self.rules.iter().enumerate() {
            if rule.keywords.is_empty() {
                targets[run].rules.push(i);
            }
            for keyword in &rule.keywords {
                let anchor = if rule.dense {
                    first_dense + dense.literals().of(keyword)
                } else {
                    anchors.literals().of(keyword)
                };
                if !targets[anchor].rules.contains(&i) {
                    targets[anchor].rules.push(i);
                }
            }
        }
        for coded in coded {
            targets[first_dense + dense.literals().of(&coded.core)].coded.push(coded);
        }
        for (i, needle) in self.needles.iter().enumerate() {
            targets[anchors.literals().of(&head(needle))].needles.push(i);
        }
        for target in &mut targets {
            target.needles.sort_by_key(|i| std::cmp::Reverse(self.needles[*i].bytes.len()));
        }
        (self.anchors, self.dense, self.targets) = (anchors, dense, targets);
    }

    fn cursor<'a>(&'a self, text: &'a [u8]) -> Cursor<'a> {
        let hits = self.dense.hits(text);
        let first_dense = self.anchors.literals().len();
        Cursor {
            anchors: self.anchors.cursor(text),
            dense: hits.anchors.into_iter().peekable(),
            runs: hits.runs.into_iter().peekable(),
            first_dense,
            run: first_dense + self.dense.literals().len(),
        }
    }

    /// How many bytes at the end of `text` could be the beginning of an anchor.
    fn open_tail(&self, text: &[u8]) -> usize {
        self.anchors.literals().open_tail(text).max(self.dense.literals().open_tail(text))
    }

    /// The state at the beginning of a stream.
    pub(super) fn state(&self, strong_only: bool) -> State {
        State::new(self.rules.len() + 1, strong_only)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.names.len() - self.rules.len(), self.rules.len())
    }

    pub(super) fn name(&self, name: u32) -> &str {
        &self.names[name as usize].text
    }

    pub(super) fn has_anchor(&self, text: &[u8]) -> bool {
        self.cursor(text).next(0).is_some()
    }

    /// Decides as much of `text`, which begins at the state's position, as can be: passes it on and
    /// returns how much that was. With `end`, no more will come, and that is all of it.
    pub(super) fn run(&self, state: &mut State, text: &[u8], end: bool, sink: &mut impl FnMut(Piece<'_>)) -> usize {
        let mut cursor = self.cursor(text);
        let mut at = 0;
        let stop = loop {
            match cursor.next(at) {
                Some(hit) if self.decide(state, text, &hit, end) => at = hit.at + 1,
                None if end => break text.len(),
                // An anchor that the text cuts off may begin before one that is decided, or needs more bytes.
                hit => break hit.map_or(text.len(), |hit| hit.at).min(text.len() - self.open_tail(text)),
            }
        };
        let base = state.pos;
        let mut first = state.first_found;
        state.ranges.take_until(base, base + stop as u64, |gap, name| {
            if !gap.is_empty() {
                sink(Piece::Text(&text[(gap.start - base) as usize..(gap.end - base) as usize]));
            }
            if let Some(name) = name {
                first = first.or(Some(name));
                sink(Piece::Marker(&self.names[name as usize].marker));
            }
        });
        state.first_found = first;
        state.advance(&text[..stop]);
        stop
    }

    /// The first secret of `text`, weak rules left aside.
    pub(super) fn find(&self, text: &[u8]) -> Option<(&str, Range<usize>)> {
        let mut state = self.state(true);
        let mut cursor = self.cursor(text);
        let mut at = 0;
        while let Some(hit) = cursor.next(at) {
            if state.ranges.first().is_some_and(|first| first.end <= hit.at as u64) {
                break;
            }
            self.decide(&mut state, text, &hit, true);
            at = hit.at + 1;
        }
        let first = state.ranges.first()?;
        Some((self.name(first.name), first.start as usize..first.end as usize))
    }

    /// Tries all that belongs to the anchors of a hit. False if more bytes are needed.
    fn decide(&self, state: &mut State, text: &[u8], hit: &Hit, end: bool) -> bool {
        let at = hit.at;
        let mut found = std::mem::take(&mut state.found);
        found.clear();
        let mut buffer = Vec::new();
        let mut decided = true;
        for targets in hit.targets.iter().flatten().map(|anchor| &self.targets[*anchor]) {
            for &i in &targets.needles {
                let needle = &self.needles[i];
                let here = &text[at..];
                if here.starts_with(&needle.bytes) {
                    let left = state.left_of(text, at, &mut buffer);
                    if let Some(range) = trim_edges(left, text, at..at + needle.bytes.len()) {
                        found.push((state.place(range, needle.name, Rank::Value), None));
                    }
                } else if !end && needle.bytes.starts_with(here) {
                    decided = false;
                    break;
                }
            }
            let plain = targets.rules.iter().map(|i| (*i, None));
            let coded = targets.coded.iter().map(|coded| (coded.rule, Some(coded)));
            for (i, coded) in plain.chain(coded) {
                if !decided {
                    break;
                }
                let verdict = match coded {
                    None => self.try_rule(state, i, text, at, end),
                    Some(coded) => self.try_coded(state, coded, text, at, end),
                };
                match verdict {
                    Verdict::No => {}
                    Verdict::Wait => decided = false,
                    Verdict::Secret(range) => found.push((state.place(range, i as u32, self.rules[i].rank()), Some(i))),
                }
            }
        }
        if decided {
            for (range, rule) in &found {
                if let Some(i) = rule {
                    state.memo[*i].matched = range.end;
                }
                state.ranges.insert(*range);
            }
        }
        state.found = found;
        decided
    }

    fn try_rule(&self, state: &mut State, i: usize, text: &[u8], at: usize, end: bool) -> Verdict {
        let rule = &*self.rules[i];
        let here = state.pos + at as u64;
        if state.memo[i].matched > here || (rule.weak && state.strong_only) {
            return Verdict::No;
        }
        let ahead = &text[at..];
        if !end && rule.keywords.iter().any(|k| k.len() > ahead.len() && k.starts_with(ahead)) {
            return Verdict::Wait;
        }
        let mut buffer = Vec::new();
        let left = state.left_of(text, at, &mut buffer);
        let keyword = match rule.keywords.is_empty() {
            // A run that began before the text was decided there.
            true => (!left.last().is_some_and(|byte| dense::in_run(*byte))).then_some(0),
            false => rule.keywords.iter().filter(|k| ahead.starts_with(k)).map(Vec::len).max(),
        };
        let Some(keyword) = keyword else {
            return Verdict::No;
        };
        if (rule.boundary && !edges::is_boundary(left, &rule.charset)) || !rule.allows_before(left) {
            return Verdict::No;
        }
        let limit = text.len().min(at + rule.max_length);
        let window = state.run_of(i, &rule.charset, text, at + keyword, limit);
        if window == text.len() && window - at < rule.max_length && !end && rule.is_open(&text[at..window]) {
            return Verdict::Wait;
        }
        let Some(secret) = rule.secret(&text[at..window], text.get(window).copied()) else {
            return Verdict::No;
        };
        let range = at + secret.start..at + secret.end;
        let left = if secret.start == 0 { state.left_of(text, at, &mut buffer) } else { &text[at..range.start] };
        trim_edges(left, text, range).map_or(Verdict::No, Verdict::Secret)
    }

    /// Tries a rule on what the base64 at `at` decodes to.
    fn try_coded(&self, state: &mut State, coded: &Coded, text: &[u8], at: usize, end: bool) -> Verdict {
        let (i, here, ahead) = (coded.rule, state.pos + at as u64, &text[at..]);
        if state.memo[i].matched > here {
            return Verdict::No;
        }
        if !ahead.starts_with(&coded.core) {
            return if !end && coded.core.starts_with(ahead) { Verdict::Wait } else { Verdict::No };
        }
        let rule = &*self.rules[i];
        let limit = text.len().min(at + coded.max_length(rule));
        let window = state.run_of(self.rules.len(), coded::charset(), text, at + coded.core.len(), limit);
        let (decoded, complete) = coded.decode(rule, &text[at..window]);
        if window == text.len() && window < at + coded.max_length(rule) && !complete && !end && rule.is_open(&decoded) {
            return Verdict::Wait;
        }
        let Some(secret) = rule.secret(&decoded, None) else {
            return Verdict::No;
        };
        let place = coded.place(secret);
        let range = at + place.start..(at + place.end).min(window);
        let mut buffer = Vec::new();
        trim_edges(state.left_of(text, range.start, &mut buffer), text, range).map_or(Verdict::No, Verdict::Secret)
    }
}

/// Leaves out what would begin or end inside an escape.
fn trim_edges(left: &[u8], text: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start + edges::escape_left_open(left, &text[range.start..]);
    let found = text.get(start..range.end)?;
    let end = range.end - edges::escape_right_open(found).min(found.len());
    (start < end).then_some(start..end)
}

const _: () = assert!(MIN_ANCHOR <= super::MIN_VALUE && MIN_ANCHOR <= MIN_DENSE_ANCHOR);
