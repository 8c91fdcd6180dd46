//! What is searched for, as people write it: words, `"phrases"`, `-not`, `file:` and `tool:`.
//!
//! A query is asked of a passage: all its terms must be in one turn. Must not know: where passages come from.

use std::ops::Range;

use crate::text::{Field, Passage};
use crate::words::{self, BREAK};

/// A query, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    wanted: Vec<Term>,
    unwanted: Vec<Term>,
}

/// Words that stand one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    words: Vec<String>,
    scope: Scope,
    /// Whether what begins so is meant, too.
    begins: bool,
}

/// Letters of a word from which on others are looked for that begin so: too much begins with fewer.
const TYPED: usize = 3;

/// Where a term is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Anywhere,
    File,
    Tool,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self { wanted: Vec::new(), unwanted: Vec::new() };
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let without =
                rest.strip_prefix('-').filter(|rest| !rest.starts_with(char::is_whitespace) && !rest.is_empty());
            let is_unwanted = without.is_some();
            rest = without.unwrap_or(rest);
            let mut scope = Scope::Anywhere;
            for (prefix, means) in [("file:", Scope::File), ("tool:", Scope::Tool)] {
                if let Some(after) = rest.strip_prefix(prefix) {
                    (scope, rest) = (means, after);
                }
            }
            let term;
            (term, rest) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
            };
            let words: Vec<String> = words::words(term)
                .filter(|word| !word.folded.starts_with(BREAK))
                .map(|word| word.folded.into_owned())
                .collect();
            match words.is_empty() {
                // `file:` and nothing after it asks for something that cannot be given.
                true if scope != Scope::Anywhere => {
                    return Err(format!("{text:?}: a name must follow file: and tool:"));
                }
                true => {}
                false if is_unwanted => query.unwanted.push(Term { words, scope, begins: false }),
                false => query.wanted.push(Term { words, scope, begins: false }),
            }
            rest = rest.trim_start();
        }
        if query.wanted.is_empty() {
            let hint = "give at least one word that must be there; `--exact` finds signs too";
            return Err(format!("{text:?} holds no word to search for: {hint}"));
        }
        Ok(query)
    }

    /// Reads a query that is still being typed: words that begin as its last one are meant, too, unless that is ended by a
    /// space or a quotation mark.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_typed(text: &str) -> Result<Self, String> {
        let mut query = Self::parse(text)?;
        let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
        let is_word = last.chars().nth(TYPED - 1).is_some() && !last.starts_with('-') && !text.ends_with('"');
        if let Some(term) = query.wanted.last_mut().filter(|_| is_word) {
            term.begins = term.scope == Scope::Anywhere && term.words.len() == 1;
        }
        Ok(query)
    }

    /// As FTS5 takes it, with the columns of the index. Words hold letters, digits and `_` alone, so nothing in them acts.
    pub(crate) fn expression(&self) -> String {
        Self::all_of(&self.wanted, &self.unwanted)
    }

    /// The same with the last word as it stands; `None` where no word is only begun.
    pub(crate) fn as_typed(&self) -> Option<String> {
        let whole = |term: &Term| Term { begins: false, ..term.clone() };
        let all: Vec<Term> = self.wanted.iter().map(whole).collect();
        self.wanted.iter().any(|term| term.begins).then(|| Self::all_of(&all, &self.unwanted))
    }

    /// What tells how well a passage fits: the words that are whole, or the one word as if it were. To weigh all words that
    /// begin alike takes as long as finding them.
    pub(crate) fn whole_words(&self) -> String {
        let (begun, whole): (Vec<Term>, Vec<Term>) = self.wanted.iter().cloned().partition(|term| term.begins);
        let alone = || begun.iter().map(|term| Term { begins: false, ..term.clone() }).collect();
        Self::all_of(&if whole.is_empty() { alone() } else { whole }, &[])
    }

    fn all_of(wanted: &[Term], unwanted: &[Term]) -> String {
        let term = |term: &Term| {
            let phrase = term.words.join(" ");
            match (term.scope, term.words.as_slice()) {
                (Scope::File, _) => format!("file : \"{phrase}\""),
                (Scope::Tool, _) => format!("name : \"{phrase}\""),
                (Scope::Anywhere, [_]) if term.begins => format!("\"{phrase}\" *"),
                (Scope::Anywhere, [_]) => format!("\"{phrase}\""),
                // The parts of an identifier are no phrase.
                (Scope::Anywhere, _) => format!("- parts : \"{phrase}\""),
            }
        };
        let all =
            |terms: &[Term], by: &str| terms.iter().map(|it| format!("({})", term(it))).collect::<Vec<_>>().join(by);
        match unwanted {
            [] => all(wanted, " AND "),
            unwanted => format!("({}) NOT ({})", all(wanted, " AND "), all(unwanted, " OR ")),
        }
    }

    /// Whether a passage is what is searched for: what the index says, found out by reading.
    #[must_use]
    pub fn takes(&self, passage: &Passage) -> bool {
        let has = |term: &Term| {
            Field::ALL.into_iter().any(|field| term.is_in(field) && !term.places(passage.text(field), true).is_empty())
        };
        self.wanted.iter().all(has) && !self.unwanted.iter().any(has)
    }

    /// Where what is searched for stands in the text of a field, in order, with the number of the term.
    #[must_use]
    pub fn places(&self, field: Field, text: &str) -> Vec<(usize, Range<usize>)> {
        let mut all: Vec<_> = (self.wanted.iter().enumerate())
            .filter(|(_, term)| term.is_in(field))
            .flat_map(|(number, term)| term.places(text, false).into_iter().map(move |range| (number, range)))
            .collect();
        all.sort_by_key(|(_, range)| range.start);
        all
    }
}

impl Term {
    fn is_in(&self, field: Field) -> bool {
        match self.scope {
            Scope::Anywhere => true,
            Scope::File => field == Field::File,
            Scope::Tool => field == Field::Name,
        }
    }

    /// Where it stands in `text`: all places, or at least the first.
    fn places(&self, text: &str, only_first: bool) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let is = |word: &str, wanted: &str| word == wanted || (self.begins && word.starts_with(wanted));
        if let [wanted] = self.words.as_slice() {
            for word in words::words(text) {
                let is_it = is(&word.folded, wanted) || {
                    let mut is_part = false;
                    if self.scope == Scope::Anywhere {
                        words::parts(&text[word.range.clone()], |part| {
                            is_part |= words::words(part).any(|part| is(&part.folded, wanted));
                        });
                    }
                    is_part
                };
                if is_it {
                    found.push(word.range);
                    if only_first {
                        break;
                    }
                }
            }
            return found;
        }
        // The last words seen, as many as the phrase has.
        let mut window: Vec<words::Word<'_>> = Vec::new();
        for word in words::words(text) {
            if window.len() == self.words.len() {
                window.remove(0);
            }
            window.push(word);
            if window.len() == self.words.len()
                && window.iter().zip(&self.words).all(|(word, wanted)| word.folded == wanted.as_str())
            {
                found.push(window[0].range.start..window[window.len() - 1].range.end);
                if only_first {
                    break;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        for (text, expression) in [
            ("auth middleware", r#"("auth") AND ("middleware")"#),
            (r#""rate limit" -test"#, r#"((- parts : "rate limit")) NOT (("test"))"#),
            ("parse_config parseConfig", r#"("parse_config") AND ("parseconfig")"#),
            ("file:src/auth.rs -tool:Bash x", r#"((file : "src auth rs") AND ("x")) NOT ((name : "bash"))"#),
            ("数据库", r#"(- parts : "数 据 库")"#),
            (r#"a "unclosed phrase"#, r#"("a") AND (- parts : "unclosed phrase")"#),
            (r#"NOT "x OR" * ^ ( -- - y"#, r#"("not") AND (- parts : "x or") AND ("y")"#),
        ] {
            assert_eq!(Query::parse(text).map(|query| query.expression()), Ok(expression.to_owned()), "{text}");
        }
        for wrong in ["", "  ", "-x", "()", "file:", "x tool:", "\"\""] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_word_may_be_a_beginning_while_it_is_typed() {
        for (text, expression) in [
            ("auth mid", r#"("auth") AND ("mid" *)"#),
            ("auth mi", r#"("auth") AND ("mi")"#),
            ("auth mid ", r#"("auth") AND ("mid")"#),
            ("auth -mid", r#"(("auth")) NOT (("mid"))"#),
            (r#""auth mid""#, r#"(- parts : "auth mid")"#),
            ("auth file:midd", r#"("auth") AND (file : "midd")"#),
        ] {
            assert_eq!(Query::parse_typed(text).map(|query| query.expression()), Ok(expression.to_owned()), "{text}");
        }
        for (text, weighed) in [
            ("auth mid", r#"("auth")"#),
            ("mid", r#"("mid")"#),
            ("mid -auth", r#"("mid")"#),
            (r#"auth "a mid" mid"#, r#"("auth") AND (- parts : "a mid")"#),
        ] {
            assert_eq!(Query::parse_typed(text).map(|query| query.whole_words()), Ok(weighed.to_owned()), "{text}");
        }
        for (text, typed) in [
            ("auth mid", Some(r#"("auth") AND ("mid")"#)),
            ("-auth mid", Some(r#"(("mid")) NOT (("auth"))"#)),
            ("mid -auth", None),
            ("auth -mid", None),
            (r#""a mid""#, None),
        ] {
            assert_eq!(Query::parse_typed(text).map(|query| query.as_typed()), Ok(typed.map(str::to_owned)), "{text}");
        }
        let query = Query::parse_typed("conf").expect("a query");
        let text = "parseConfig, config and conf";
        let shown: Vec<_> = query.places(Field::Output, text).into_iter().map(|(_, range)| &text[range]).collect();
        assert_eq!(shown, ["parseConfig", "config", "conf"]);
    }

    #[test]
    fn places_are_told_in_the_text_as_it_stands() {
        let query = Query::parse(r#"CONFIG "the file" file:nothing"#).expect("a query");
        let text = "Now parseConfig reads the  File, and config…";
        let places = query.places(Field::Output, text);
        let shown: Vec<_> = places.iter().map(|(term, range)| (*term, &text[range.clone()])).collect();
        assert_eq!(shown, [(0, "parseConfig"), (1, "the  File"), (0, "config")]);
    }
}
