//! A hunk's lines with their numbers, cut into tokens, and with the words marked that differ between a removed line
//! and the one that takes its place.
//!
//! Must not know: colours, escape codes, HTML.

use std::ops::Range;

use similar::{Algorithm, ChangeTag, TextDiff};

use super::parse::{Hunk, Kind};
use crate::highlight::{Code, Highlighter, Language, Token};

/// A line ready to be laid out.
#[derive(Debug)]
pub struct Row {
    /// What becomes of it.
    pub kind: Kind,
    /// Its number before, if it was there.
    pub old: Option<u64>,
    /// Its number after, if it is there.
    pub new: Option<u64>,
    /// Its text, cut.
    pub pieces: Vec<Piece>,
    /// Whether it is the last of its file and has no line end.
    pub unended: bool,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// What it is to the language.
    pub token: Token,
    /// Whether it is what differs from the line's counterpart.
    pub differs: bool,
}

/// Lines longer than this are not compared word by word.
const MAX_COMPARED: usize = 600;
/// Removed and added lines that are compared one by one.
const MAX_PAIRS: usize = 64;
/// Lines that have less in common are not two forms of one line.
const ALIKE: f32 = 0.4;

/// Annotates `hunk` of a file in `language`.
pub fn annotate(hunk: &Hunk, language: Option<Language>, highlighter: &mut Highlighter) -> Vec<Row> {
    let differing = differences(hunk);
    // Two texts run through a hunk, the one before and the one after. What they share is parsed twice, unless
    // nothing was removed.
    let has_removed = hunk.lines.iter().any(|line| line.kind == Kind::Removed);
    let mut after = language.map(Code::new);
    let mut before = after.clone().filter(|_| has_removed);
    let (mut old, mut new) = (hunk.old, hunk.new);
    let mut rows = Vec::with_capacity(hunk.lines.len());
    for (line, differs) in hunk.lines.iter().zip(differing) {
        let tokens = match line.kind {
            Kind::Removed => highlighter.line(&mut before, &line.text),
            Kind::Added => highlighter.line(&mut after, &line.text),
            Kind::Context => {
                if has_removed {
                    highlighter.line(&mut before, &line.text);
                }
                highlighter.line(&mut after, &line.text)
            }
        };
        let (is_old, is_new) = (line.kind != Kind::Added, line.kind != Kind::Removed);
        rows.push(Row {
            kind: line.kind,
            old: is_old.then_some(old),
            new: is_new.then_some(new),
            pieces: pieces(&line.text, &tokens, &differs),
            unended: line.unended,
        });
        old = old.saturating_add(u64::from(is_old));
        new = new.saturating_add(u64::from(is_new));
    }
    rows
}

/// Cuts `text` at the borders of tokens and of what differs.
fn pieces(text: &str, tokens: &[(Range<usize>, Token)], differing: &[Range<usize>]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(tokens.len());
    for (range, token) in tokens {
        let mut at = range.start;
        while at < range.end {
            let inside = differing.iter().find(|part| part.contains(&at));
            let until = match inside {
                Some(part) => part.end,
                None => differing.iter().map(|part| part.start).filter(|start| *start > at).min().unwrap_or(range.end),
            };
            let end = until.min(range.end);
            pieces.push(Piece { text: text[at..end].to_owned(), token: *token, differs: inside.is_some() });
            at = end;
        }
    }
    pieces
}

/// For each line the parts that differ from its counterpart: the first removed line of a block has the first added
/// one, and so on.
fn differences(hunk: &Hunk) -> Vec<Vec<Range<usize>>> {
    let lines = &hunk.lines;
    let mut all = vec![Vec::new(); lines.len()];
    let mut at = 0;
    while at < lines.len() {
        let run = |from: usize, kind| lines[from..].iter().take_while(|line| line.kind == kind).count();
        let removed = run(at, Kind::Removed);
        let added = run(at + removed, Kind::Added);
        for place in 0..removed.min(added).min(MAX_PAIRS) {
            let (before, after) = (at + place, at + removed + place);
            if let Some((gone, come)) = compare(&lines[before].text, &lines[after].text) {
                (all[before], all[after]) = (gone, come);
            }
        }
        at += (removed + added).max(1);
    }
    all
}

type Parts = Vec<Range<usize>>;

/// The words that differ between two lines that are much alike.
fn compare(before: &str, after: &str) -> Option<(Parts, Parts)> {
    if before.len() > MAX_COMPARED || after.len() > MAX_COMPARED {
        return None;
    }
    let (old_words, new_words) = (words(before), words(after));
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).diff_slices(&old_words, &new_words);
    let (mut gone, mut come): (Parts, Parts) = Default::default();
    let (mut old, mut new, mut shared) = (0, 0, 0);
    let add = |parts: &mut Parts, from: usize, to: usize| match parts.last_mut() {
        Some(last) if last.end == from => last.end = to,
        _ => parts.push(from..to),
    };
    for change in diff.iter_all_changes() {
        let length = change.value().len();
        match change.tag() {
            ChangeTag::Equal => {
                shared += change.value().trim().len();
                old += length;
                new += length;
            }
            ChangeTag::Delete => {
                add(&mut gone, old, old + length);
                old += length;
            }
            ChangeTag::Insert => {
                add(&mut come, new, new + length);
                new += length;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "short lines")]
    let alike = 2.0 * shared as f32 / (before.trim().len() + after.trim().len()).max(1) as f32;
    (alike >= ALIKE).then_some((gone, come))
}

/// `text` cut into names, runs of space, and single other characters.
fn words(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 1,
        c if c.is_whitespace() => 2,
        _ => 0,
    };
    let mut words = Vec::new();
    let mut from = 0;
    let mut last = None;
    for (at, c) in text.char_indices() {
        if last.is_some_and(|last| last == 0 || last != class(c)) {
            words.push(&text[from..at]);
            from = at;
        }
        last = Some(class(c));
    }
    if last.is_some() {
        words.push(&text[from..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::parse;

    #[test]
    fn words_that_differ_and_numbers() {
        let patch = "@@ -7,3 +9,3 @@\n a\n-let x = 1;\n-gone\n+let y = 1;\n+quite another line\n";
        let rows = annotate(&parse(patch.as_bytes())[0].hunks[0], None, &mut Highlighter::default());
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let differs: Vec<_> = row.pieces.iter().filter(|p| p.differs).map(|p| p.text.as_str()).collect();
                (row.old, row.new, differs.join("|"))
            })
            .collect();
        assert_eq!(
            shown,
            [
                (Some(7), Some(9), String::new()),
                (Some(8), None, "x".into()),
                (Some(9), None, String::new()),
                (None, Some(10), "y".into()),
                (None, Some(11), String::new()),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn pieces_make_the_line_again(before in "[ a-cé(\t]{0,20}", after in "[ a-cé(\t]{0,20}") {
            let patch = format!("@@ -1 +1 @@\n-{before}\n+{after}\n");
            let language = Language::of_path("a.rs");
            let rows = annotate(&parse(patch.as_bytes())[0].hunks[0], language, &mut Highlighter::default());
            let text = |row: &Row| row.pieces.iter().map(|piece| piece.text.as_str()).collect::<String>();
            proptest::prop_assert_eq!(text(&rows[0]), before);
            proptest::prop_assert_eq!(text(&rows[1]), after);
        }
    }
}
