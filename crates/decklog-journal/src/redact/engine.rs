//! The decisions: at each anchor, what is secret, what is not, and what cannot be said yet.
//!
//! What it must not know: who feeds it, and in what pieces; where the values come from.
//!
//! All that is remembered between pieces is in [`State`].

use std::ops::Range;
use std::sync::Arc;

use super::anchors::{Anchors, MIN_ANCHOR};
use super::markers::{Name, clear_of_markers};
use super::rules::{Rule, Rules};
use super::state::State;
use super::{edges, encodings};

/// The longest beginning of a value that serves as its anchor.
const VALUE_ANCHOR: usize = 16;

/// Holds secrets, and so has no `Debug`.
pub(super) struct Engine {
    rules: Vec<Arc<Rule>>,
    /// The names of the rules, then of the values.
    names: Vec<Name>,
    needles: Vec<Needle>,
    anchors: Anchors,
    /// What is tried at each anchor.
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
            targets: Vec::new(),
        };
        engine.index();
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
        let keywords = self.rules.iter().flat_map(|rule| rule.keywords.iter().cloned());
        self.anchors = Anchors::new(keywords.chain(self.needles.iter().map(head)).collect());
        self.targets = vec![Targets::default(); self.anchors.len()];
        for (i, rule) in self.rules.iter().enumerate() {
            for keyword in &rule.keywords {
                let rules = &mut self.targets[self.anchors.of(keyword)].rules;
                if !rules.contains(&i) {
                    rules.push(i);
                }
            }
        }
        for (i, needle) in self.needles.iter().enumerate() {
            self.targets[self.anchors.of(&head(needle))].needles.push(i);
        }
        for target in &mut self.targets {
            target.needles.sort_by_key(|i| std::cmp::Reverse(self.needles[*i].bytes.len()));
        }
    }

    /// The state at the beginning of a stream.
    pub(super) fn state(&self, strong_only: bool) -> State {
        State::new(self.rules.len(), strong_only)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.names.len() - self.rules.len(), self.rules.len())
    }

    pub(super) fn name(&self, name: u32) -> &str {
        &self.names[name as usize].text
    }

    pub(super) fn has_anchor(&self, text: &[u8]) -> bool {
        self.anchors.cursor(text).next(0).is_some()
    }

    /// Decides as much of `text`, which begins at the state's position, as can be: passes it on and
    /// returns how much that was. With `end`, no more will come, and that is all of it.
    pub(super) fn run(&self, state: &mut State, text: &[u8], end: bool, sink: &mut impl FnMut(Piece<'_>)) -> usize {
        let mut cursor = self.anchors.cursor(text);
        let mut at = 0;
        let stop = loop {
            match cursor.next(at) {
                Some((hit, anchor)) if self.decide(state, text, hit, anchor, end) => at = hit + 1,
                Some((hit, _)) => break hit,
                None if end => break text.len(),
                None => break text.len() - self.anchors.open_tail(&text[at..]),
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
        let mut cursor = self.anchors.cursor(text);
        let mut at = 0;
        while let Some((hit, anchor)) = cursor.next(at) {
            if state.ranges.first().is_some_and(|first| first.end <= hit as u64) {
                break;
            }
            self.decide(&mut state, text, hit, anchor, true);
            at = hit + 1;
        }
        let first = state.ranges.first()?;
        Some((self.name(first.name), first.start as usize..first.end as usize))
    }

    /// Tries all that belongs to the anchor at `at`. False if more bytes are needed.
    fn decide(&self, state: &mut State, text: &[u8], at: usize, anchor: usize, end: bool) -> bool {
        let targets = &self.targets[anchor];
        let mut found = std::mem::take(&mut state.found);
        found.clear();
        let mut buffer = Vec::new();
        let mut decided = true;
        for &i in &targets.needles {
            let needle = &self.needles[i];
            let here = &text[at..];
            if here.starts_with(&needle.bytes) {
                let left = state.left_of(text, at, &mut buffer);
                if let Some(range) = trim_edges(left, text, at..at + needle.bytes.len()) {
                    found.push((state.place(range, needle.name, true), None));
                }
            } else if !end && needle.bytes.starts_with(here) {
                decided = false;
                break;
            }
        }
        for &i in &targets.rules {
            if !decided {
                break;
            }
            match self.try_rule(state, i, text, at, end) {
                Verdict::No => {}
                Verdict::Wait => decided = false,
                Verdict::Secret(range) => found.push((state.place(range, i as u32, false), Some(i))),
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
        let matching = rule.keywords.iter().filter(|k| ahead.starts_with(k)).map(Vec::len);
        let Some(keyword) = matching.max() else {
            return Verdict::No;
        };
        let mut buffer = Vec::new();
        let left = state.left_of(text, at, &mut buffer);
        if (rule.boundary && !edges::is_boundary(left, &rule.charset)) || !rule.allows_before(left) {
            return Verdict::No;
        }
        let limit = text.len().min(at + rule.max_length);
        let window = state.run_of(i, &rule.charset, text, at + keyword, limit);
        if window == text.len() && window - at < rule.max_length && !end {
            return Verdict::Wait;
        }
        let Some(secret) = rule.secret(&text[at..window]) else {
            return Verdict::No;
        };
        let range = at + secret.start..at + secret.end;
        let left = if secret.start == 0 { state.left_of(text, at, &mut buffer) } else { &text[at..range.start] };
        trim_edges(left, text, range).map_or(Verdict::No, Verdict::Secret)
    }
}

/// Leaves out what would begin or end inside an escape.
fn trim_edges(left: &[u8], text: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start + edges::escape_left_open(left, &text[range.start..]);
    let found = text.get(start..range.end)?;
    let end = range.end - edges::escape_right_open(found).min(found.len());
    (start < end).then_some(start..end)
}

const _: () = assert!(MIN_ANCHOR <= super::MIN_VALUE);
