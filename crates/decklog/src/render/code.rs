//! The colours of source code on a terminal. Only those of the user's own palette: they are legible on their
//! background, whatever it is. Red and green are left to what was removed and added.
//!
//! Must not know: languages.

use decklog_text::highlight::{Code, Highlighter, Language, Token};

use super::Paint;

/// The SGR code of a token; nothing for plain text.
pub(crate) fn color(token: Token) -> &'static str {
    match token {
        Token::Plain => "",
        Token::Comment => "2",
        Token::String | Token::Constant => "36",
        Token::Keyword => "35",
        Token::Type => "33",
        Token::Function => "34",
    }
}

/// The next line of a text that is being highlighted, in colours. The line must be safe to show.
pub(crate) fn line(code: &mut Option<Code>, highlighter: &mut Highlighter, line: &str, paint: Paint) -> String {
    let tokens = highlighter.line(code, line);
    tokens.into_iter().map(|(range, token)| paint.styled(color(token), &line[range])).collect()
}

/// The beginning of a text in the language that a code block names.
pub(crate) fn block(language: &str, paint: Paint) -> Option<Code> {
    paint.0.then(|| Language::named(language)).flatten().map(Code::new)
}
