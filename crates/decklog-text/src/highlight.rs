//! Source code cut into tokens, by language.
//!
//! Grammars are loaded when the first line is to be highlighted, never before. What is highlighted was written by
//! others, and grammars backtrack: lines and time are bounded, and what is beyond is plain.
//! Must not know: colours, escape codes, HTML.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use syntect::highlighting::{
    Color, HighlightState, Highlighter as Styler, RangedHighlightIterator, StyleModifier, Theme, ThemeItem,
};
use syntect::parsing::{ParseState, ScopeStack, SyntaxReference, SyntaxSet};

/// Lines of one text that are highlighted.
const MAX_LINES: usize = 4000;
/// Lines longer than this, in bytes, are no source code that somebody reads.
const MAX_LINE: usize = 1500;
/// Time spent in all before the rest stays plain.
const MAX_TIME: Duration = Duration::from_millis(2500);

/// What a piece of source code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Names, operators, space, and all that is not known.
    Plain,
    /// A comment.
    Comment,
    /// A text in quotes.
    String,
    /// A number or another constant.
    Constant,
    /// A word of the language.
    Keyword,
    /// A type, an attribute or a tag.
    Type,
    /// The name of a function.
    Function,
}

/// Which scopes of the grammars are which token; of several that fit, the closest wins.
const SCOPES: [(&str, Token); 7] = [
    ("keyword.operator, punctuation", Token::Plain),
    ("comment, punctuation.definition.comment", Token::Comment),
    ("string, punctuation.definition.string, markup.raw, constant.character.escape", Token::String),
    ("constant", Token::Constant),
    ("keyword, storage, keyword.operator.word, keyword.operator.logical.python, markup.heading", Token::Keyword),
    (
        "entity.name.type, entity.name.class, entity.name.struct, entity.name.enum, entity.name.trait, entity.name.tag, \
         entity.other.attribute-name, entity.other.inherited-class, support.type, support.class, variable.annotation",
        Token::Type,
    ),
    ("entity.name.function, support.function, variable.function, support.macro", Token::Function),
];

const TOKENS: [Token; 7] =
    [Token::Plain, Token::Comment, Token::String, Token::Constant, Token::Keyword, Token::Type, Token::Function];

struct Grammars {
    syntaxes: SyntaxSet,
    theme: Theme,
}

fn grammars() -> &'static Grammars {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    GRAMMARS.get_or_init(|| {
        // A theme whose colours are the tokens' numbers: syntect's cascade does the choosing.
        let mut theme = Theme::default();
        let color = |token: Token| Color { r: token as u8, g: 0, b: 0, a: 255 };
        theme.settings.foreground = Some(color(Token::Plain));
        for (scopes, token) in SCOPES {
            let style = StyleModifier { foreground: Some(color(token)), ..StyleModifier::default() };
            theme.scopes.extend(scopes.parse().ok().map(|scope| ThemeItem { scope, style }));
        }
        Grammars { syntaxes: two_face::syntax::extra_newlines(), theme }
    })
}

fn styler() -> &'static Styler<'static> {
    static STYLER: OnceLock<Styler<'static>> = OnceLock::new();
    STYLER.get_or_init(|| Styler::new(&grammars().theme))
}

/// A language that is known.
#[derive(Clone, Copy)]
pub struct Language(&'static SyntaxReference);

impl Language {
    /// The language of a file, by its name alone.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let extension = name.rsplit_once('.').map_or(name, |(_, extension)| extension);
        let by = |word: &str| grammars().syntaxes.find_syntax_by_extension(word);
        by(name).or_else(|| by(extension)).or_else(|| by(&extension.to_lowercase())).and_then(Self::useful)
    }

    /// The language that a code block names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        // `rust,ignore`, `{.python}`, `python title="…"`: the first word counts.
        let word = word.trim_start_matches(['{', '.']).split([',', ' ', '}', '\t']).next().filter(|w| !w.is_empty())?;
        let alias = match word {
            "console" | "shell-session" | "terminal" => "sh",
            "jsonc" | "json5" | "jsonl" => "json",
            word => word,
        };
        grammars().syntaxes.find_syntax_by_token(alias).and_then(Self::useful)
    }

    fn useful(syntax: &'static SyntaxReference) -> Option<Self> {
        (syntax.name != "Plain Text").then_some(Self(syntax))
    }
}

/// One text that is being highlighted, line by line.
#[derive(Clone)]
pub struct Code {
    parse: ParseState,
    styles: HighlightState,
    lines: usize,
}

impl Code {
    /// From the beginning.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self {
            parse: ParseState::new(language.0),
            styles: HighlightState::new(styler(), ScopeStack::new()),
            lines: MAX_LINES,
        }
    }
}

/// Processor time that this thread has used: what a text looks like does not depend on how busy the machine is.
fn time_used() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Highlights, and keeps account of the time it takes.
#[derive(Debug, Default)]
pub struct Highlighter {
    spent: Duration,
}

impl Highlighter {
    /// The tokens of the next line of a text; a line is given without its end. `None`: plain from here on.
    pub fn line(&mut self, code: &mut Option<Code>, line: &str) -> Vec<(Range<usize>, Token)> {
        let plain = || vec![(0..line.len(), Token::Plain)];
        if let Some(state) = code
            && (state.lines == 0 || line.len() > MAX_LINE || self.spent > MAX_TIME)
        {
            // After a line that was not parsed, nothing is known of those that follow.
            *code = None;
        }
        let Some(state) = code else { return plain() };
        state.lines -= 1;
        let start = time_used();
        let text = format!("{line}\n");
        let mut tokens: Vec<(Range<usize>, Token)> = Vec::new();
        let parsed = state.parse.parse_line(&text, &grammars().syntaxes);
        if let Ok(changes) = &parsed {
            for (style, _, range) in RangedHighlightIterator::new(&mut state.styles, changes, &text, styler()) {
                let range = range.start.min(line.len())..range.end.min(line.len());
                let token = TOKENS.get(usize::from(style.foreground.r)).copied().unwrap_or(Token::Plain);
                match tokens.last_mut() {
                    _ if range.is_empty() => {}
                    Some((last, known)) if *known == token => last.end = range.end,
                    _ => tokens.push((range, token)),
                }
            }
        }
        self.spent += time_used().saturating_sub(start);
        if parsed.is_err() {
            *code = None;
            return plain();
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(language: Option<Language>, text: &str) -> String {
        let mut code = language.map(Code::new);
        let mut highlighter = Highlighter::default();
        let mut shown = String::new();
        for line in text.lines() {
            for (range, token) in highlighter.line(&mut code, line) {
                shown.push_str(&format!("{token:?} {:?}\n", &line[range]));
            }
        }
        shown
    }

    #[test]
    fn tokens_by_language() {
        insta::assert_snapshot!(tokens(
            Language::of_path("src/a.rs"),
            "fn f() -> u8 { 1 } // \"x\"\nlet s = \"a\\n\";"
        ));
        insta::assert_snapshot!(tokens(Language::named("python"), "def f(x):\n    return 'a' if x else None"));
        assert_eq!(tokens(Language::of_path("notes.unheard-of"), "fn x"), "Plain \"fn x\"\n");
    }

    #[test]
    fn languages_are_known_by_name_and_by_word() {
        for path in ["a.rs", "b/Makefile", "c.TOML", "x.tsx", "Dockerfile", "a.py", "go.mod", "a.json", "s.yml"] {
            assert!(Language::of_path(path).is_some(), "{path}");
        }
        for word in ["rust", "rust,ignore", "{.python}", "console", "ts", "jsonc", "bash", "diff"] {
            assert!(Language::named(word).is_some(), "{word}");
        }
        for word in ["", " ", "text", "nonsense", "../etc/passwd"] {
            assert!(Language::named(word).is_none(), "{word}");
        }
    }

    #[test]
    fn what_is_too_long_is_plain() {
        let mut code = Language::of_path("a.rs").map(Code::new);
        let long = format!("let x = {};", "1".repeat(MAX_LINE));
        assert_eq!(Highlighter::default().line(&mut code, &long), [(0..long.len(), Token::Plain)]);
        let mut code = Language::of_path("a.rs").map(Code::new);
        let mut slow = Highlighter { spent: MAX_TIME * 2 };
        assert_eq!(slow.line(&mut code, "let"), [(0..3, Token::Plain)]);
        assert_eq!(Highlighter::default().line(&mut code, "let"), [(0..3, Token::Plain)], "and stays so");
    }
}
