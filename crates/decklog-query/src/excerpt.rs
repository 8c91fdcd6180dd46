//! A few words around what was found.
//!
//! Must not know: how it was found, the terminal.

use std::ops::Range;

use serde::Serialize;

use crate::text::{Field, Passage};
use crate::words::BREAK;

/// Characters of an excerpt, about.
const WIDTH: usize = 200;

/// A piece of a text on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// The field it is from.
    pub field: Option<Field>,
    /// The piece; runs of white space are one space, and `…` stands where the text goes on.
    pub text: String,
    /// What was found in it, in bytes.
    pub marks: Vec<Range<usize>>,
}

/// The best piece of a passage: of the field, and there of the place, where most of what is wanted stands together.
/// `places` gives where in a field's text that is, in order, each place with the number of what stands there.
pub(crate) fn best(passage: &Passage, places: impl Fn(Field, &str) -> Vec<(usize, Range<usize>)>) -> Excerpt {
    let (mut best, mut most) = (Excerpt::default(), 0);
    for field in Field::ALL {
        let text = passage.text(field);
        let places = places(field, text);
        if let Some((count, window)) = densest(&places)
            && count > most
        {
            let places: Vec<_> = places.into_iter().map(|(_, range)| range).collect();
            (best, most) = (cut(field, text, &window, &places), count);
        }
    }
    best
}

/// The stretch of about [`WIDTH`] bytes that holds most different things, and how many.
fn densest(places: &[(usize, Range<usize>)]) -> Option<(usize, Range<usize>)> {
    let mut best: Option<(usize, Range<usize>)> = None;
    for (at, (_, first)) in places.iter().enumerate().take(1000) {
        let mut seen = 0_u64;
        let mut end = first.end;
        for (number, range) in &places[at..] {
            if range.end > first.start + WIDTH && range.end != first.end {
                break;
            }
            seen |= 1 << (number % 64);
            end = end.max(range.end);
        }
        let count = seen.count_ones() as usize;
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, first.start..end));
        }
    }
    best
}

/// The text around `window`, on one line.
fn cut(field: Field, text: &str, window: &Range<usize>, places: &[Range<usize>]) -> Excerpt {
    let spare = WIDTH.saturating_sub(window.len());
    let mut from = text.floor_char_boundary(window.start.saturating_sub(spare / 3));
    let mut to = text.ceil_char_boundary((window.end + spare - spare / 3).min(text.len()));
    // Not across a break, and from word to word where one is near.
    if let Some(at) = text[from..window.start].rfind(BREAK) {
        from += at + BREAK.len_utf8();
    } else if from > 0
        && let Some(at) = text[from..window.start].find(char::is_whitespace)
    {
        from += at;
    }
    if let Some(at) = text[window.end..to].find(BREAK) {
        to = window.end + at;
    } else if to < text.len()
        && let Some(at) = text[window.end..to].rfind(char::is_whitespace)
    {
        to = window.end + at;
    }
    let goes_on_before = from > 0 && !text[..from].ends_with(BREAK);
    let goes_on_after = to < text.len() && !text[to..].starts_with(BREAK);
    let mut excerpt = Excerpt { field: Some(field), ..Excerpt::default() };
    if goes_on_before {
        excerpt.text.push('…');
    }
    let mut starts = Vec::new();
    for (at, c) in text[from..to].char_indices() {
        let at = from + at;
        excerpt.marks.extend(starts.iter().filter(|(_, end)| *end == at).map(|(start, _)| *start..excerpt.text.len()));
        starts.retain(|(_, end)| *end != at);
        if c.is_whitespace() || c == BREAK {
            if !excerpt.text.is_empty() && !excerpt.text.ends_with([' ', '…']) {
                excerpt.text.push(' ');
            }
            continue;
        }
        starts.extend(
            places
                .iter()
                .filter(|place| place.start == at && place.end <= to)
                .map(|place| (excerpt.text.len(), place.end)),
        );
        excerpt.text.push(c);
    }
    excerpt.marks.extend(starts.iter().map(|(start, _)| *start..excerpt.text.len()));
    excerpt.text.truncate(excerpt.text.trim_end().len());
    for mark in &mut excerpt.marks {
        mark.end = mark.end.min(excerpt.text.len());
    }
    excerpt.marks.sort_by_key(|mark| mark.start);
    if goes_on_after {
        excerpt.text.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, found: &[&str]) -> String {
        let places: Vec<_> = found
            .iter()
            .map(|found| {
                let at = text.find(found).expect("it is there");
                at..at + found.len()
            })
            .collect();
        let numbered: Vec<_> = places.iter().cloned().enumerate().collect();
        let (_, window) = densest(&numbered).expect("a window");
        let excerpt = cut(Field::Output, text, &window, &places);
        let mut shown = excerpt.text.clone();
        for mark in excerpt.marks.iter().rev() {
            shown.insert(mark.end, ']');
            shown.insert(mark.start, '[');
        }
        shown
    }

    #[test]
    fn excerpts() {
        let long = "word ".repeat(100);
        for (text, found, expected) in [
            ("short and sweet", &["sweet"][..], "short and [sweet]".to_owned()),
            ("one\u{e000}two  three\n\nfour\u{e000}five", &["three"], "two [three] four".to_owned()),
            ("ends in spaces \n ", &["spaces"], "ends in [spaces]".to_owned()),
            (
                &format!("{long}needle {long}"),
                &["needle"],
                format!("…{}[needle] {}…", "word ".repeat(12), "word ".repeat(25).trim_end()),
            ),
            (
                &format!("first {long}then second and third"),
                &["first", "second", "third"],
                format!("…{}then [second] and [third]", "word ".repeat(11)),
            ),
            ("漢字漢字テスト漢字", &["テスト"], "漢字漢字[テスト]漢字".to_owned()),
        ] {
            assert_eq!(shown(text, found), expected);
        }
    }
}
