//! Finds every position where an anchor begins: the fast path, which ordinary text never leaves.
//!
//! What it must not know: what is tried at an anchor.
//!
//! The anchors are prefix-free, so at most one begins at any position. They are searched by packed
//! SIMD (Teddy), which compares the first three or four bytes against a few buckets of patterns. Two
//! things make it fast with this many patterns, measured on 256 MiB of code and JSON lines: anchors of
//! three bytes are searched apart from the longer ones (which then compare four bytes), and patterns
//! that look alike share a bucket (see [`arrange`]): 5 GB/s instead of 1.3.

use std::array;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, Input, Span};

/// The shortest anchor.
pub(super) const MIN_ANCHOR: usize = 3;
/// More patterns than this in one packed search cost more than a second pass: 108 take 0.15 s less for each GB in one.
const PER_GROUP: usize = 128;
/// How far behind a hit the other groups look on.
const BEYOND: usize = 4096;
/// Not more groups than this, half of them for short anchors; past that they grow, and turn into
/// automata.
const MAX_GROUPS: usize = 8;
/// Buckets of the widest packed search; patterns are dealt to them in turn.
const BUCKETS: usize = 16;

#[derive(Default)]
pub(super) struct Anchors {
    literals: Literals,
    groups: Vec<Group>,
}

/// A prefix-free set of literals: at most one of them begins at any position.
#[derive(Default)]
pub(super) struct Literals {
    /// Sorted.
    texts: Vec<Vec<u8>>,
    /// For each first byte, the literals that begin with it.
    by_first: Vec<Span>,
    longest: usize,
}

struct Group {
    search: Search,
    /// Pattern of the search → anchor.
    ids: Vec<usize>,
}

enum Search {
    Packed(Box<Searcher>),
    Automaton(Box<AhoCorasick>),
}

/// A walk over the anchors in one text.
pub(super) struct Cursor<'a> {
    anchors: &'a Anchors,
    text: &'a [u8],
    /// For each group where it was found next, or up to where it was not.
    next: [Next; MAX_GROUPS],
}

#[derive(Clone, Copy)]
enum Next {
    Hit(usize, usize),
    ClearUntil(usize),
}

impl Literals {
    /// Reduces the literals, each of at least [`MIN_ANCHOR`] bytes, to a prefix-free set.
    pub(super) fn new(mut literals: Vec<Vec<u8>>) -> Literals {
        literals.sort();
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for literal in literals {
            if texts.last().is_none_or(|last| !literal.starts_with(last)) {
                texts.push(literal);
            }
        }
        let of = |b: usize| texts.partition_point(|t| usize::from(t[0]) < b);
        let by_first = (0..256).map(|b| Span { start: of(b), end: of(b + 1) }).collect();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        Literals { texts, by_first, longest }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter().map(Vec::as_slice)
    }

    /// The literal of the set that `literal`, one of those given to [`Literals::new`], begins with.
    pub(super) fn of(&self, literal: &[u8]) -> usize {
        self.texts.partition_point(|t| t.as_slice() <= literal).saturating_sub(1)
    }

    /// The literal that `text` begins with.
    pub(super) fn at(&self, text: &[u8]) -> Option<usize> {
        let span = self.by_first[usize::from(*text.first()?)];
        let after = self.texts[span.range()].partition_point(|t| t.as_slice() <= text);
        let id = (span.start + after).checked_sub(1)?;
        text.starts_with(&self.texts[id]).then_some(id)
    }

    /// How many bytes at the end of `text` could be the beginning of a literal that it cuts off.
    pub(super) fn open_tail(&self, text: &[u8]) -> usize {
        let from = text.len() - text.len().min(self.longest.saturating_sub(1));
        for start in from..text.len() {
            let tail = &text[start..];
            let span = self.by_first[usize::from(tail[0])];
            if self.texts[span.range()].iter().any(|t| t.len() > tail.len() && t.starts_with(tail)) {
                return tail.len();
            }
        }
        0
    }
}

impl Anchors {
    /// Prepares the search for literals, each of at least [`MIN_ANCHOR`] bytes.
    pub(super) fn new(literals: Vec<Vec<u8>>) -> Anchors {
        let literals = Literals::new(literals);
        let texts = &literals.texts;
        let (short, long): (Vec<usize>, Vec<usize>) = (0..texts.len()).partition(|i| texts[*i].len() == MIN_ANCHOR);
        let mut groups = Vec::new();
        for (ids, prefix) in [(short, 3), (long, 4)] {
            let parts = ids.len().div_ceil(PER_GROUP).clamp(1, MAX_GROUPS / 2);
            for part in ids.chunks(ids.len().div_ceil(parts).max(1)) {
                groups.push(Group::new(texts, part, prefix));
            }
        }
        Anchors { literals, groups }
    }

    pub(super) fn literals(&self) -> &Literals {
        &self.literals
    }

    pub(super) fn cursor<'a>(&'a self, text: &'a [u8]) -> Cursor<'a> {
        Cursor { anchors: self, text, next: [Next::ClearUntil(0); MAX_GROUPS] }
    }
}

impl Group {
    fn new(texts: &[Vec<u8>], ids: &[usize], prefix: usize) -> Group {
        let ids = arrange(texts, ids, prefix);
        let patterns = || ids.iter().map(|i| &texts[*i]);
        let packed = (ids.len() <= PER_GROUP)
            .then(|| {
                let mut config = packed::Config::new();
                config.heuristic_pattern_limits(false).builder().extend(patterns()).build()
            })
            .flatten();
        let search = match packed {
            Some(searcher) => Search::Packed(Box::new(searcher)),
            None => match AhoCorasick::builder().match_kind(aho_corasick::MatchKind::LeftmostFirst).build(patterns()) {
                Ok(automaton) => Search::Automaton(Box::new(automaton)),
                // Only billions of patterns do not fit.
                Err(error) => unreachable!("an automaton of {} anchors: {error}", ids.len()),
            },
        };
        Group { search, ids }
    }

    fn find(&self, text: &[u8], span: Span) -> Option<(usize, usize)> {
        let found = match &self.search {
            Search::Packed(s) => s.find_in(text, span),
            Search::Automaton(a) => a.find(Input::new(text).range(span.range())),
        };
        found.map(|m| (m.start(), self.ids[m.pattern().as_usize()]))
    }
}

impl Cursor<'_> {
    /// The first anchor at or after `from`, and which. `from` must not go back.
    pub(super) fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for (group, next) in self.anchors.groups.iter().zip(&mut self.next) {
            let clear = match *next {
                Next::Hit(..) => from,
                Next::ClearUntil(until) => until.max(from),
            };
            if !matches!(*next, Next::Hit(at, _) if at >= from) {
                // Where another group has a hit already, there is no need to look far beyond it.
                let enough = best.map_or(usize::MAX, |(at, _)| at);
                if clear >= enough {
                    continue;
                }
                let end = self.text.len().min(enough.saturating_add(BEYOND));
                *next = match group.find(self.text, Span { start: clear, end }) {
                    Some((at, id)) => Next::Hit(at, id),
                    None if end == self.text.len() => Next::ClearUntil(usize::MAX),
                    None => Next::ClearUntil((end + 1).saturating_sub(self.anchors.literals.longest)),
                };
            }
            if let Next::Hit(at, id) = *next
                && best.is_none_or(|(first, _)| at < first)
            {
                best = Some((at, id));
            }
        }
        best
    }
}

/// Orders patterns so that those that look alike get the same bucket.
///
/// The packed search deals patterns to its buckets in turn. A bucket lets a position through when the
/// low and the high half of each byte occur, at that place, in any of its patterns: a bucket of unlike
/// patterns lets nearly anything through. Only speed depends on this, not what is found.
fn arrange(texts: &[Vec<u8>], ids: &[usize], prefix: usize) -> Vec<usize> {
    let weights = weights();
    let mut sorted: Vec<(f64, usize)> =
        ids.iter().map(|&i| (Bucket::default().with(&texts[i], prefix).passes(&weights, prefix), i)).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut buckets: [Bucket; BUCKETS] = array::from_fn(|_| Bucket::default());
    for (_, id) in sorted {
        let mut best: Option<(f64, usize, Bucket)> = None;
        for (b, bucket) in buckets.iter().enumerate() {
            if bucket.ids.len() >= (ids.len() + BUCKETS - 1 - b) / BUCKETS {
                continue;
            }
            let grown = bucket.with(&texts[id], prefix);
            let cost = grown.passes(&weights, prefix) - bucket.passes(&weights, prefix);
            if best.as_ref().is_none_or(|best| cost < best.0) {
                best = Some((cost, b, grown));
            }
        }
        if let Some((_, b, mut grown)) = best {
            grown.ids.push(id);
            buckets[b] = grown;
        }
    }
    (0..ids.len()).map(|k| buckets[k % BUCKETS].ids[k / BUCKETS]).collect()
}

#[derive(Clone, Default)]
struct Bucket {
    ids: Vec<usize>,
    low: [u16; 4],
    high: [u16; 4],
}

impl Bucket {
    fn with(&self, text: &[u8], prefix: usize) -> Bucket {
        let mut grown = self.clone();
        for (i, byte) in text[..prefix].iter().enumerate() {
            grown.low[i] |= 1 << (byte & 15);
            grown.high[i] |= 1 << (byte >> 4);
        }
        grown
    }

    /// How likely ordinary text is to pass.
    fn passes(&self, weights: &[f64; 256], prefix: usize) -> f64 {
        let bits = |set: u16| (0..16usize).filter(move |b| set >> b & 1 == 1);
        let place = |i: usize| -> f64 {
            bits(self.high[i]).flat_map(|h| bits(self.low[i]).map(move |l| weights[h << 4 | l])).sum()
        };
        (0..prefix).map(place).product()
    }
}

/// Roughly how often each byte stands in code and logs.
fn weights() -> [f64; 256] {
    let mut weights = [0.0005; 256];
    let mut weight = 0.075;
    for byte in *b"etaoinsrhldcumfpgwybvkxjqz" {
        weights[usize::from(byte)] = weight + 0.003;
        weights[usize::from(byte.to_ascii_uppercase())] = 0.004;
        weight *= 0.88;
    }
    for byte in *b"0123456789" {
        weights[usize::from(byte)] = 0.02;
    }
    for byte in *b"_\"./:,\\-=()\n;" {
        weights[usize::from(byte)] = 0.012;
    }
    weights[usize::from(b' ')] = 0.13;
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_found_whatever_the_number_of_anchors() {
        for count in [1, 3, 60, 112, 113, 700, 1000] {
            let literals: Vec<Vec<u8>> =
                (0..count).map(|i| format!("{:03x}{}", i * 7, "x".repeat(i % 3)).into_bytes()).collect();
            let anchors = Anchors::new(literals.clone());
            let text = literals.iter().flat_map(|l| [b"..".to_vec(), l.clone()]).flatten().collect::<Vec<u8>>();
            let naive: Vec<usize> =
                (0..text.len()).filter(|&p| anchors.literals.texts.iter().any(|t| text[p..].starts_with(t))).collect();
            let (mut cursor, mut at, mut hits) = (anchors.cursor(&text), 0, Vec::new());
            while let Some((p, id)) = cursor.next(at) {
                assert!(text[p..].starts_with(&anchors.literals.texts[id]));
                hits.push(p);
                at = p + 1;
            }
            assert_eq!(hits, naive, "{count} anchors");
        }
    }

    #[test]
    fn nothing_is_lost_where_the_look_beyond_a_hit_ends() {
        let anchors = Anchors::new(vec![b"abc".to_vec(), b"defghi".to_vec()]);
        for at in BEYOND - 10..BEYOND + 10 {
            let mut text = b".abc".to_vec();
            text.resize(at, b'.');
            text.extend_from_slice(b"defghi");
            text.resize(2 * BEYOND, b'.');
            let mut cursor = anchors.cursor(&text);
            let hits = [cursor.next(0), cursor.next(2), cursor.next(at + 1)];
            assert_eq!(hits.map(|hit| hit.map(|h| h.0)), [Some(1), Some(at), None]);
        }
    }

    #[test]
    fn a_tail_is_open_only_while_an_anchor_could_begin_there() {
        let anchors = Anchors::new(vec![b"abcd".to_vec(), b"cdx".to_vec(), b"abcde".to_vec()]);
        assert_eq!(anchors.literals.len(), 2);
        for (text, open) in [("", 0), ("xx", 0), ("xa", 1), ("xabc", 3), ("xab\n", 0), ("abcx", 0), ("bcd", 2)] {
            assert_eq!(anchors.literals.open_tail(text.as_bytes()), open, "{text:?}");
        }
    }
}
