//! The union of what was found: ranges of a stream, merged where they overlap.
//!
//! What it must not know: how a range was found.

/// A piece of the stream that one marker stands for. Positions count from the stream's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Index of the name.
    pub(super) name: u32,
    pub(super) rank: Rank,
}

/// Whose name a marker has where several begin at the same byte: that of the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// An exact value.
    Value,
    /// A rule for the shape of a token.
    Shape,
    /// A rule that knows a secret by the name beside it.
    Name,
}

/// Ranges whose marker is yet to be written, and the end of the one whose marker was last.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// Disjoint, in order, all at or after `cover`.
    open: Vec<Found>,
    /// Up to here the stream is already replaced.
    cover: u64,
}

impl Ranges {
    pub(super) fn first(&self) -> Option<&Found> {
        self.open.first()
    }

    /// Where the text to the left of `at` begins that the output still shows. Inside a range, where
    /// the output shows nothing, it is the text itself: else every anchor in there had a boundary.
    pub(super) fn floor(&self, at: u64) -> u64 {
        let after = self.open.partition_point(|r| r.start < at);
        let end = if after == 0 { self.cover } else { self.open[after - 1].end };
        if end <= at { end } else { 0 }
    }

    pub(super) fn insert(&mut self, new: Found) {
        if new.start < self.cover {
            self.cover = self.cover.max(new.end);
            let mut absorbed = 0;
            while let Some(next) = self.open.get(absorbed)
                && next.start < self.cover
            {
                self.cover = self.cover.max(next.end);
                absorbed += 1;
            }
            self.open.drain(..absorbed);
            return;
        }
        let from = self.open.partition_point(|r| r.end <= new.start);
        let mut to = from;
        let mut merged = new;
        while let Some(old) = self.open.get(to)
            && old.start < merged.end
        {
            if (old.start, old.rank) <= (merged.start, merged.rank) {
                (merged.name, merged.rank) = (old.name, old.rank);
            }
            merged.start = merged.start.min(old.start);
            merged.end = merged.end.max(old.end);
            to += 1;
        }
        self.open.splice(from..to, [merged]);
    }

    /// Gives `(gap, name)` for each range that begins before `stop`, then the last gap: `gap` is the
    /// text to pass on first. All ranges that begin before `stop` must be known.
    pub(super) fn take_until(
        &mut self,
        mut at: u64,
        stop: u64,
        mut each: impl FnMut(std::ops::Range<u64>, Option<u32>),
    ) {
        let mut taken = 0;
        loop {
            at = at.max(self.cover).min(stop);
            match self.open.get(taken) {
                Some(range) if range.start < stop => {
                    each(at..range.start, Some(range.name));
                    self.cover = range.end;
                    taken += 1;
                }
                _ => {
                    each(at..stop, None);
                    break;
                }
            }
        }
        self.open.drain(..taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: u64, end: u64, name: u32, exact: bool) -> Found {
        Found { start, end, name, rank: if exact { Rank::Value } else { Rank::Shape } }
    }

    #[test]
    fn overlaps_merge_and_the_leftmost_names_them() {
        let mut ranges = Ranges::default();
        ranges.insert(found(50, 70, 3, false));
        ranges.insert(found(10, 40, 1, false));
        ranges.insert(found(35, 55, 2, true));
        assert_eq!(ranges.open, [found(10, 70, 1, false)]);
        ranges.insert(found(10, 12, 4, true));
        assert_eq!(ranges.open, [found(10, 70, 4, true)]);
        ranges.insert(found(70, 80, 5, true));
        assert_eq!(ranges.open.len(), 2, "touching is not overlapping");
    }

    #[test]
    fn a_written_marker_still_grows() {
        let mut ranges = Ranges::default();
        ranges.insert(found(10, 40, 1, false));
        let mut seen = Vec::new();
        ranges.take_until(0, 30, |gap, name| seen.push((gap, name)));
        ranges.insert(found(50, 70, 3, false));
        ranges.insert(found(35, 55, 2, true));
        assert_eq!((ranges.floor(60), ranges.floor(70)), (0, 70));
        ranges.take_until(30, 100, |gap, name| seen.push((gap, name)));
        assert_eq!(seen, [(0..10, Some(1)), (30..30, None), (70..100, None)]);
        assert_eq!(ranges.floor(90), 70);
    }
}
