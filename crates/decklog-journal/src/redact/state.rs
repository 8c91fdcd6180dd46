//! What a stream has to remember from one piece to the next.
//!
//! What it must not know: the rules and values. It keeps the few bytes before the position, the ranges
//! not yet passed on, and per rule how far its charset is known to reach, so that no byte is looked at
//! again however small the pieces are.

use std::ops::Range;

use super::ranges::{Found, Ranges, Rank};

/// How many bytes before an anchor a rule can look at.
const LEFT: usize = 64;

/// May hold a piece of a secret, and so has no `Debug`.
pub(super) struct State {
    /// All before this position is passed on.
    pub(super) pos: u64,
    /// The last bytes before `pos`.
    left: Vec<u8>,
    pub(super) ranges: Ranges,
    pub(super) memo: Vec<Memo>,
    pub(super) strong_only: bool,
    pub(super) first_found: Option<u32>,
    /// What the anchor under decision has given so far.
    pub(super) found: Vec<(Found, Option<usize>)>,
}

/// What is known of one rule along the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memo {
    /// A stretch of bytes that are all in the charset.
    run: (u64, u64),
    /// The end of the rule's last match: its matches do not overlap each other.
    pub(super) matched: u64,
}

impl State {
    pub(super) fn new(rules: usize, strong_only: bool) -> State {
        State {
            pos: 0,
            left: Vec::new(),
            ranges: Ranges::default(),
            memo: vec![Memo::default(); rules],
            strong_only,
            first_found: None,
            found: Vec::new(),
        }
    }

    pub(super) fn restart(&mut self) {
        self.pos = 0;
        self.left.clear();
        self.ranges = Ranges::default();
        self.memo.fill(Memo::default());
    }

    /// What the output will show to the left of `text[at]`, as far as a rule may look.
    pub(super) fn left_of<'a>(&'a self, text: &'a [u8], at: usize, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let here = self.pos + at as u64;
        let from = self.ranges.floor(here).max(here.saturating_sub(LEFT as u64));
        if from >= self.pos {
            return &text[(from - self.pos) as usize..at];
        }
        let kept = &self.left[self.left.len() - ((self.pos - from) as usize).min(self.left.len())..];
        buffer.clear();
        buffer.extend_from_slice(kept);
        buffer.extend_from_slice(&text[..at]);
        buffer
    }

    pub(super) fn advance(&mut self, passed: &[u8]) {
        self.pos += passed.len() as u64;
        if passed.len() >= LEFT {
            self.left.clear();
        } else {
            let excess = (self.left.len() + passed.len()).saturating_sub(LEFT);
            self.left.drain(..excess);
        }
        self.left.extend_from_slice(&passed[passed.len() - passed.len().min(LEFT)..]);
    }

    /// A range of `text` as a range of the stream.
    pub(super) fn place(&self, range: Range<usize>, name: u32, rank: Rank) -> Found {
        Found { start: self.pos + range.start as u64, end: self.pos + range.end as u64, name, rank }
    }

    /// How far into `text` the bytes from `begin` on are in `charset`, looking no further than `limit`.
    pub(super) fn run_of(
        &mut self,
        rule: usize,
        charset: &[bool; 256],
        text: &[u8],
        begin: usize,
        limit: usize,
    ) -> usize {
        let run = &mut self.memo[rule].run;
        let here = self.pos + begin as u64;
        if here < run.0 || run.1 < here {
            *run = (here, here);
        }
        let known = (run.1 - self.pos) as usize;
        if known < limit {
            run.1 += text[known..limit].iter().take_while(|b| charset[usize::from(**b)]).count() as u64;
        }
        ((run.1 - self.pos) as usize).min(limit)
    }
}
