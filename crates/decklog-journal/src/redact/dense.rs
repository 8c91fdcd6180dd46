//! Finds anchors that a long run of token characters follows, and where very long runs begin: the fast path for most
//! tokens.
//!
//! What it must not know: what is tried at an anchor.
//!
//! A rule that is `dense` promises that each of its matches holds [`RUN`] bytes of [`in_run`] on end, which
//! begin within [`LEAD`] bytes of the anchor. Such runs are rare in what agents print (one byte in forty), so
//! hundreds of anchors cost no more than the search for runs: aligned words of eight bytes, two of which lie in
//! every run. More anchors may be found than have such a run, never fewer.

use super::anchors::Literals;

/// The shortest run: two aligned words of eight bytes lie in it, wherever it begins.
pub(super) const RUN: usize = 23;
/// A run whose beginning serves as an anchor is at least so long.
pub(super) const LONG_RUN: usize = 84;
/// How far behind the beginning of an anchor its run may begin.
pub(super) const LEAD: usize = 40;
/// The shortest anchor.
pub(super) const MIN_DENSE_ANCHOR: usize = 4;

const WORD: usize = 8;
const PAIR: usize = 2 * WORD;
const BLOCK: usize = 16 * PAIR;
const HIGH: u64 = 0x8080_8080_8080_8080;
const FILTER_BITS: u32 = 18;

#[derive(Default)]
pub(super) struct DenseAnchors {
    literals: Literals,
    /// A bit for each hash of the first four bytes of an anchor.
    filter: Vec<u64>,
}

/// What was found in a text, in order.
#[derive(Default)]
pub(super) struct Hits {
    /// Where an anchor begins, and which.
    pub(super) anchors: Vec<(usize, usize)>,
    /// Where a run of [`LONG_RUN`] bytes begins, or one that may become so long. The first may have begun before the text.
    pub(super) runs: Vec<usize>,
}

/// Whether a byte belongs to a run: that of base64 in both alphabets, and of most tokens.
pub(super) const fn in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

static IN_RUN: [bool; 256] = {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = in_run(byte as u8);
        byte += 1;
    }
    set
};

impl DenseAnchors {
    /// Prepares the search for literals, each of at least [`MIN_DENSE_ANCHOR`] bytes.
    pub(super) fn new(literals: Vec<Vec<u8>>) -> DenseAnchors {
        let literals = Literals::new(literals);
        let mut filter = vec![0; 1 << (FILTER_BITS - 6)];
        for literal in literals.iter() {
            let bit = hash(literal);
            filter[bit >> 6] |= 1 << (bit & 63);
        }
        DenseAnchors { literals, filter }
    }

    pub(super) fn literals(&self) -> &Literals {
        &self.literals
    }

    /// All anchors of the text that a run follows, and those at its end that one may follow; and long runs.
    pub(super) fn hits(&self, text: &[u8]) -> Hits {
        let mut hits = Hits::default();
        if self.literals.len() == 0 {
            return hits;
        }
        let mut done = 0;
        let mut search = |start: usize, end: usize| {
            let may_be_long = end - start >= LONG_RUN || (end == text.len() && start < end);
            if may_be_long && hits.runs.last() != Some(&start) {
                hits.runs.push(start);
            }
            let start = start.saturating_sub(LEAD).max(done);
            let end = text.len().min(end + MIN_DENSE_ANCHOR - 1);
            done = done.max(end.saturating_sub(MIN_DENSE_ANCHOR - 1));
            for (i, head) in text.get(start..end).unwrap_or_default().windows(MIN_DENSE_ANCHOR).enumerate() {
                let bit = hash(head);
                if self.filter[bit >> 6] >> (bit & 63) & 1 == 1
                    && let Some(id) = self.literals.at(&text[start + i..])
                {
                    hits.anchors.push((start + i, id));
                }
            }
        };
        runs(text, &mut search);
        let open = text.iter().rev().take_while(|b| IN_RUN[usize::from(**b)]).count();
        search(text.len() - open, text.len());
        hits
    }
}

/// Gives beginning and end of each run of [`RUN`] bytes or more.
///
/// Of two aligned words on end one has an even number: only those are looked at, and the words beside those that pass.
fn runs(text: &[u8], mut each: impl FnMut(usize, usize)) {
    let mut done = 0;
    let is_likely = |start: usize| text.get(start..start + WORD).is_some_and(may_be_run);
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for (i, block) in blocks.iter().chain([&last]).enumerate() {
        let mut likely = likely_words(block);
        while likely != 0 {
            let start = i * BLOCK + likely.trailing_zeros() as usize * PAIR;
            likely &= likely - 1;
            if start < done || !(is_likely(start + WORD) || start.checked_sub(WORD).is_some_and(is_likely)) {
                continue;
            }
            // Without a branch for each byte: most words that pass `may_be_run` fail here.
            if !text[start..start + WORD].iter().fold(true, |all, b| all & IN_RUN[usize::from(*b)]) {
                continue;
            }
            let ahead = text[start..].iter().take_while(|b| IN_RUN[usize::from(**b)]).count();
            let back = text[done..start].iter().rev().take_while(|b| IN_RUN[usize::from(**b)]).count();
            done = start + ahead;
            if back + ahead >= RUN {
                each(start - back, done);
            }
        }
    }
}

/// A bit for each word with an even number that may lie in a run.
fn likely_words(block: &[u8; BLOCK]) -> u32 {
    let mut likely = 0;
    for k in 0..BLOCK / PAIR {
        likely |= u32::from(may_be_run(&block[k * PAIR..k * PAIR + WORD])) << k;
    }
    likely
}

/// Whether no byte of a word is below `+`, above `z` or outside ASCII: most words of ordinary text fail this.
#[inline]
fn may_be_run(word: &[u8]) -> bool {
    let word = word.try_into().map_or(0, u64::from_le_bytes);
    let from_plus = (word | HIGH).wrapping_sub(0x2b2b_2b2b_2b2b_2b2b);
    let above_z = (word & !HIGH).wrapping_add(0x0505_0505_0505_0505) | word;
    (!from_plus | above_z) & HIGH == 0
}

/// Of the first four bytes.
#[inline]
fn hash(text: &[u8]) -> usize {
    let head = text.get(..MIN_DENSE_ANCHOR).and_then(|head| head.try_into().ok()).map_or(0, u32::from_le_bytes);
    (head.wrapping_mul(0x9E37_79B1) >> (32 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_found_wherever_it_begins() {
        for start in 0..300 {
            for length in [RUN - 1, RUN, RUN + 1, 40, 200] {
                let mut text = vec![b' '; 600];
                text[start..start + length].fill(b'x');
                let mut found = Vec::new();
                runs(&text, |from, to| found.push((from, to)));
                let expected = if length >= RUN { vec![(start, start + length)] } else { Vec::new() };
                assert_eq!(found, expected, "{length} from {start}");
            }
        }
    }

    #[test]
    fn long_runs_are_found_and_those_at_the_end() {
        let anchors = DenseAnchors::new(vec![b"tok_".to_vec()]);
        let run = |length: usize| "x".repeat(length);
        for (text, at) in [
            (format!("a {} b", run(LONG_RUN - 1)), vec![]),
            (format!("a {} b", run(LONG_RUN)), vec![2]),
            (format!("a {} b c", run(200)), vec![2, 205]),
            (format!("{} {}", run(100), run(100)), vec![0, 101]),
            ("some text.".to_owned(), vec![]),
            (String::new(), vec![]),
        ] {
            let text = text.trim_end_matches(" b").to_owned() + if text.ends_with(" b") { " b." } else { "" };
            assert_eq!(anchors.hits(text.as_bytes()).runs, at, "{text}");
        }
    }

    #[test]
    fn anchors_are_found_before_in_and_at_the_end() {
        let anchors = DenseAnchors::new(vec![b"tok_".to_vec(), b"a.b.".to_vec()]);
        let body = "x".repeat(30);
        for (text, at) in [
            (format!("tok_ tok_{body}"), vec![0, 5]),
            (format!("{}tok_{} tok_ {}", "y".repeat(30), "z".repeat(9), " ".repeat(60)), vec![30]),
            (format!("a.b.{}{body} ", ".".repeat(LEAD - 4)), vec![0]),
            (format!("a.b.{}{body} ", ".".repeat(LEAD - 3)), vec![]),
            ("some text tok_12".to_owned(), vec![10]),
            ("some text tok_12 and more of it, which no run follows at all".to_owned(), vec![]),
        ] {
            let found: Vec<usize> = anchors.hits(text.as_bytes()).anchors.into_iter().map(|hit| hit.0).collect();
            assert_eq!(found, at, "{text}");
        }
    }
}
