//! How much of a conversation the model is sent: pure functions.
//!
//! The oldest rounds go first. The first prompt and the last one stay, as does the last round; a call and its results
//! go together, since a provider refuses one without the other.
//!
//! Must not know: files, models, servers.

use std::borrow::Cow;
use std::ops::Range;

use crate::conversation::Entry;

/// What JSON puts around an entry, about.
const AROUND: usize = 40;
/// Characters that are left of a result, however many there are.
const MIN_RESULT: usize = 200;

/// What of a conversation is sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Fitted<'a> {
    /// The entries.
    pub(crate) entries: Vec<Cow<'a, Entry>>,
    /// How many were left out.
    pub(crate) dropped: usize,
}

/// As much of `entries` as goes into `budget` bytes, or, where what must stay is more than that, what must stay.
pub(crate) fn fit(entries: &[Entry], budget: usize) -> Fitted<'_> {
    let units = units(entries);
    let sizes: Vec<usize> = units.iter().map(|unit| entries[unit.clone()].iter().map(size).sum()).collect();
    let is_prompt = |unit: &Range<usize>| matches!(entries[unit.start], Entry::User { .. });
    let first = units.iter().position(is_prompt);
    let last = units.iter().rposition(is_prompt);
    let mut total: usize = sizes.iter().sum();
    let mut kept = Vec::new();
    let mut dropped = 0;
    for (at, unit) in units.iter().enumerate() {
        let stays = Some(at) == first || Some(at) == last || at + 1 == units.len();
        if total > budget && !stays {
            total -= sizes[at];
            dropped += unit.len();
        } else {
            kept.extend(entries[unit.clone()].iter().map(Cow::Borrowed));
        }
    }
    if total > budget
        && let Some(results) = kept.last_mut()
    {
        shrink(results, total - budget);
    }
    Fitted { entries: kept, dropped }
}

/// Cuts the results of one round by about `excess` bytes, the longest ones.
fn shrink(entry: &mut Cow<'_, Entry>, excess: usize) {
    let Entry::Results { results } = entry.as_ref() else { return };
    let total: usize = results.iter().map(|result| result.output.len()).sum();
    let share = total.saturating_sub(excess) / results.len().max(1);
    if let Entry::Results { results } = entry.to_mut() {
        for result in results {
            result.output = cut_middle(&result.output, share.max(MIN_RESULT));
        }
    }
}

/// The parts that stay or go as one: a prompt, or an answer with the results of its calls.
fn units(entries: &[Entry]) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match units.last_mut() {
            Some(unit) if matches!(entry, Entry::Results { .. }) => unit.end = at + 1,
            _ => units.push(at..at + 1),
        }
    }
    units
}

/// Bytes of an entry when it is sent, about.
pub(crate) fn size(entry: &Entry) -> usize {
    AROUND
        + match entry {
            Entry::User { text } => text.len(),
            Entry::Assistant { thinking, text, calls, .. } => {
                let thinking: usize = thinking.iter().map(|block| block.to_string().len()).sum();
                let calls: usize = calls.iter().map(|call| call.size() + 2 * AROUND).sum();
                thinking + text.len() + calls
            }
            Entry::Results { results } => {
                results.iter().map(|result| result.id.len() + result.output.len() + AROUND).sum()
            }
        }
}

/// `text` in at most about `max` characters: its middle is cut, with a note.
pub(crate) fn cut_middle(text: &str, max: usize) -> String {
    // Bytes are at least characters, and cheaper to count.
    if text.len() <= max {
        return text.to_owned();
    }
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let head = max - max / 2;
    let (end, start) = (at(head), at(count - max / 2));
    format!("{}\n[… {} characters left out …]\n{}", &text[..end], count - max, &text[start..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::conversation::{Call, CallResult};

    fn round(at: usize, calls: usize, length: usize) -> Vec<Entry> {
        let id = |call: usize| format!("call_{at}_{call}");
        let made = |call| Call { id: id(call), name: "tool".into(), arguments: Map::new() };
        let result = |call| CallResult { id: id(call), output: "r".repeat(length), is_error: false };
        let answer = Entry::Assistant {
            model: "m".into(),
            thinking: Vec::new(),
            text: "t".repeat(length % 50),
            calls: (0..calls).map(made).collect(),
        };
        let mut entries = vec![answer];
        if calls > 0 {
            entries.push(Entry::Results { results: (0..calls).map(result).collect() });
        }
        entries
    }

    /// Prompts, each with some rounds: `(calls, length of results)`.
    fn conversations() -> impl Strategy<Value = Vec<Entry>> {
        let rounds = prop::collection::vec((0usize..4, 0usize..3000), 0..6);
        prop::collection::vec((0usize..2000, rounds), 1..5).prop_map(|turns| {
            let mut entries = Vec::new();
            for (length, rounds) in turns {
                entries.push(Entry::User { text: "p".repeat(length) });
                for (calls, length) in rounds {
                    let more = round(entries.len(), calls, length);
                    entries.extend(more);
                }
            }
            entries
        })
    }

    fn ids(entry: &Entry) -> Vec<&str> {
        match entry {
            Entry::User { .. } => Vec::new(),
            Entry::Assistant { calls, .. } => calls.iter().map(|call| call.id.as_str()).collect(),
            Entry::Results { results } => results.iter().map(|result| result.id.as_str()).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_call_and_its_results_go_together(entries in conversations(), budget in 0usize..20_000) {
            let fitted = fit(&entries, budget);
            let kept: Vec<&Entry> = fitted.entries.iter().map(AsRef::as_ref).collect();
            prop_assert_eq!(kept.len() + fitted.dropped, entries.len());
            // The first prompt stands first, and the last one is there.
            prop_assert_eq!(kept[0], &entries[0]);
            let last = entries.iter().rfind(|entry| matches!(entry, Entry::User { .. }));
            prop_assert!(kept.iter().any(|entry| Some(*entry) == last));
            // Every call is followed by its results, and no result stands without its call.
            for (at, entry) in kept.iter().enumerate() {
                match entry {
                    Entry::Assistant { calls, .. } if !calls.is_empty() => {
                        prop_assert_eq!(ids(entry), kept.get(at + 1).map(|next| ids(next)).unwrap_or_default());
                    }
                    Entry::Results { .. } => {
                        prop_assert!(at > 0);
                        prop_assert_eq!(ids(kept[at - 1]), ids(entry));
                    }
                    _ => {}
                }
            }
            // What is kept is in order, and what was dropped is older than any round that was kept.
            let place = |entry: &Entry| entries.iter().position(|other| ids(other) == ids(entry));
            let rounds: Vec<_> = kept.iter().filter(|e| !ids(e).is_empty()).map(|e| place(e)).collect();
            prop_assert!(rounds.is_sorted());
            // It fits, or only what must stay is left.
            let total: usize = kept.iter().map(|entry| size(entry)).sum();
            if total > budget {
                let rounds = kept.iter().filter(|entry| matches!(entry, Entry::Assistant { .. })).count();
                prop_assert!(rounds <= 1, "{} of {} bytes", total, budget);
            }
        }

        #[test]
        fn nothing_is_dropped_that_fits(entries in conversations()) {
            let total = entries.iter().map(size).sum();
            let fitted = fit(&entries, total);
            prop_assert_eq!(fitted.dropped, 0);
            prop_assert!(fitted.entries.iter().map(AsRef::as_ref).eq(entries.iter()));
        }

        #[test]
        fn a_cut_text_is_short_enough(text in "\\PC{0,400}", max in 1usize..300) {
            let cut = cut_middle(&text, max);
            if text.chars().count() <= max {
                prop_assert_eq!(cut, text);
            } else {
                prop_assert!(cut.chars().count() <= max + 50, "{}", cut);
                prop_assert!(cut.contains("left out"));
            }
        }
    }

    #[test]
    fn the_last_round_is_cut_when_nothing_else_can_go() {
        let mut entries = vec![Entry::User { text: "go".into() }];
        entries.extend(round(1, 3, 10_000));
        let fitted = fit(&entries, 6000);
        let total: usize = fitted.entries.iter().map(|entry| size(entry)).sum();
        assert!((4000..6400).contains(&total), "{total}");
        assert_eq!(fitted.dropped, 0);
    }

    #[test]
    fn the_middle_is_cut() {
        assert_eq!(cut_middle("abcdefghij", 4), "ab\n[… 6 characters left out …]\nij");
        assert_eq!(cut_middle("äöüäöü", 6), "äöüäöü");
    }
}
