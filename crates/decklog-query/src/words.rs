//! Texts as words: one way of cutting them for what is kept, what is asked, and what is shown.
//!
//! A word is a run of letters, digits and `_`, of any script, letter case and accents aside. A script that writes without
//! spaces gives a word for each character. A word made of several (`parse_config`, `parseConfig`) has parts.
//!
//! Must not know: where texts come from.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Stands between texts that do not belong together: no phrase goes across. A private character that is in no word.
pub const BREAK: char = '\u{e000}';

/// A longer word is cut: nobody types it, and it would cost room.
const MAX_WORD: usize = 96;

/// A word in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'a> {
    /// Where it stands, in bytes.
    pub range: Range<usize>,
    /// The word without letter case and accents; [`BREAK`] alone for a break.
    pub folded: Cow<'a, str>,
}

/// The words of `text` in order, breaks included.
pub fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    // Marks and joiners that stand alone leave nothing.
    runs(text).filter(|word| !word.folded.is_empty())
}

fn runs(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = text.as_bytes();
        while at < bytes.len() {
            if bytes[at].is_ascii() {
                if is_ascii_word(bytes[at]) {
                    return Some(run(text, &mut at));
                }
                at += 1;
                continue;
            }
            let c = text[at..].chars().next()?;
            let from = at;
            if c == BREAK {
                at += c.len_utf8();
                return Some(Word { range: from..at, folded: Cow::Borrowed(&text[from..at]) });
            }
            if stands_alone(c) {
                at += c.len_utf8();
                return Some(Word { range: from..at, folded: fold(&text[from..at]) });
            }
            if is_word(c) {
                return Some(run(text, &mut at));
            }
            at += c.len_utf8();
        }
        None
    })
}

/// The word that begins at `at`, which is moved behind it.
fn run<'a>(text: &'a str, at: &mut usize) -> Word<'a> {
    let (bytes, from) = (text.as_bytes(), *at);
    let mut is_plain = true;
    while let Some(byte) = bytes.get(*at) {
        if byte.is_ascii() {
            if !is_ascii_word(*byte) {
                break;
            }
            is_plain &= !byte.is_ascii_uppercase();
            *at += 1;
            continue;
        }
        let Some(c) = text[*at..].chars().next().filter(|c| is_word(*c) && !stands_alone(*c)) else { break };
        is_plain = false;
        *at += c.len_utf8();
    }
    let whole = &text[from..*at];
    let kept = &whole[..whole.floor_char_boundary(MAX_WORD)];
    Word { range: from..*at, folded: if is_plain { Cow::Borrowed(kept) } else { fold(kept) } }
}

fn is_ascii_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Letters, digits, `_`, and what is written on or joins letters.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || is_combining_mark(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether `c` is of a script that writes without spaces.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3041}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}'
        | '\u{20000}'..='\u{3ffff}')
}

/// A word without letter case, accents, and the forms that differ in looks alone.
fn fold(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return Cow::Owned(word.to_ascii_lowercase());
    }
    // Accents of Latin, Greek and Cyrillic letters; elsewhere marks are vowels.
    let is_accent = |c: char| matches!(c, '\u{0300}'..='\u{036f}');
    let plain: String = word.nfkd().filter(|c| is_word(*c) && !is_accent(*c)).collect();
    let folded: String = decklog_journal::filter::fold(&plain).nfkd().filter(|c| !is_accent(*c)).collect();
    Cow::Owned(folded.chars().filter(|c| !matches!(c, '\u{200c}' | '\u{200d}')).collect())
}

/// Hands on the parts of the word that stands in a text as `word`, if it is made of several.
pub fn parts<'a>(word: &'a str, mut each: impl FnMut(&'a str)) {
    let bytes = word.as_bytes();
    let joins = |at: usize| {
        let (before, here, after) = (bytes[at - 1], bytes[at], bytes.get(at + 1).copied().unwrap_or(b' '));
        here.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && after.is_ascii_lowercase()))
    };
    let is_made_of_several =
        bytes.iter().skip(1).any(|b| b.is_ascii_uppercase()) || memchr::memchr(b'_', bytes).is_some();
    if !is_made_of_several {
        return;
    }
    let mut give = |from: usize, to: usize| {
        let part = &word[from..to];
        if from < to && part.len() < word.len() {
            each(part);
        }
    };
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'_' {
            give(from, at);
            from = at + 1;
        } else if at > from && joins(at) {
            give(from, at);
            from = at;
        }
    }
    give(from, bytes.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_script() {
        for (text, expected) in [
            ("Fix parse_config(), v2!", "fix parse_config v2"),
            ("Crème BRÛLÉE Straße ΟΔΥΣΣΕΥΣ", "creme brulee strasse οδυσσευσ"),
            ("e\u{301}te\u{301} été", "ete ete"),
            ("数据库 connection", "数 据 库 connection"),
            ("हिन्दी में", "हिन्दी में"),
            ("Привет, мир", "привет мир"),
            ("ｆｕｌｌ", "full"),
            ("src/auth-2.rs", "src auth 2 rs"),
            ("one\u{e000}two", "one \u{e000} two"),
            ("\u{1f600} 👨‍👩‍👧 \u{202e} \u{301}", ""),
            ("", ""),
        ] {
            let found: Vec<_> = words(text).map(|word| word.folded.into_owned()).collect();
            assert_eq!(found.join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn words_have_parts() {
        for (word, expected) in [
            ("parse_config", "parse config"),
            ("parseConfig", "parse Config"),
            ("HTTPServer2Go", "HTTP Server2 Go"),
            ("__init__", "init"),
            ("MAX_LEN", "MAX LEN"),
            ("plain", ""),
            ("Plain", ""),
            ("UPPER", ""),
            ("größeÄndern_x", "größeÄndern x"),
        ] {
            let mut found = Vec::new();
            parts(word, |part| found.push(part.to_owned()));
            assert_eq!(found.join(" "), expected, "{word}");
        }
    }

    #[test]
    fn a_word_of_any_length_is_cut_at_a_character() {
        let long = "ä".repeat(200);
        let found: Vec<_> = words(&long).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].range, 0..400);
        assert_eq!(found[0].folded, "a".repeat(48));
    }
}
