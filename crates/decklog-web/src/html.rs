//! Texts as HTML: escaped, as markdown, as source code.
//!
//! Nothing that an agent wrote becomes a tag or an attribute of its own making.

use decklog_text::highlight::{Code, Highlighter, Language, Token};
use decklog_text::visible_lines;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// `text` as the content of an element or of a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 16);
    for c in visible_lines(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The class of a token.
fn class(token: Token) -> Option<char> {
    match token {
        Token::Plain => None,
        Token::Comment => Some('c'),
        Token::String => Some('s'),
        Token::Constant => Some('o'),
        Token::Keyword => Some('k'),
        Token::Type => Some('t'),
        Token::Function => Some('f'),
    }
}

/// A piece of source code.
#[must_use]
pub fn token(text: &str, token: Token) -> String {
    match class(token) {
        None => escape(text),
        Some(class) => format!("<span class={class}>{}</span>", escape(text)),
    }
}

/// Source code in a language that is named, such as by a code block.
#[must_use]
pub fn code(text: &str, language: &str, highlighter: &mut Highlighter) -> String {
    let mut state = Language::named(language).map(Code::new);
    let mut out = String::from("<pre><code>");
    for line in text.lines() {
        for (range, kind) in highlighter.line(&mut state, line) {
            out.push_str(&token(&line[range], kind));
        }
        out.push('\n');
    }
    out + "</code></pre>\n"
}

/// Whether a link may lead there: to a page or to somebody's mail, never to a script or a file.
fn leads_out(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https" | "mailto")) && !target.chars().any(char::is_control)
}

/// Markdown; HTML in it is text, and so is a link that does not lead to a page. Pictures become links: a page that
/// stands for itself loads nothing. Where a link leads learns nothing of where it stood.
#[must_use]
pub fn markdown(text: &str, highlighter: &mut Highlighter) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut block: Option<(String, String)> = None;
    // Whether each open link or picture is one, and where it leads.
    let mut links: Vec<(bool, String)> = Vec::new();
    let shown = |text: &str| Event::Text(CowStr::from(visible_lines(text).into_owned()));
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                block = Some((language, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((language, text)) = block.take() {
                    events.push(Event::Html(code(&text, &language, highlighter).into()));
                }
            }
            Event::Text(text) => match &mut block {
                Some((_, code)) => code.push_str(&text),
                None => events.push(shown(&text)),
            },
            Event::Html(text) | Event::InlineHtml(text) => events.push(shown(&text)),
            Event::Code(text) => events.push(Event::Code(visible_lines(&text).into_owned().into())),
            // The page has headings of its own above these.
            Event::Start(Tag::Heading { level, .. }) => {
                let (id, classes, attrs) = (None, Vec::new(), Vec::new());
                events.push(Event::Start(Tag::Heading { level: lower(level), id, classes, attrs }));
            }
            Event::End(TagEnd::Heading(level)) => events.push(Event::End(TagEnd::Heading(lower(level)))),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                // A link within a link is none.
                let is_link = leads_out(&dest_url) && !links.iter().any(|(is_link, _)| *is_link);
                if is_link {
                    events.push(Event::Html(
                        format!("<a href=\"{}\" rel=\"noopener noreferrer\">", escape(&dest_url)).into(),
                    ));
                }
                links.push((is_link, dest_url.into_string()));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => match links.pop() {
                Some((true, _)) => events.push(Event::Html("</a>".into())),
                Some((false, target)) => events.push(shown(&format!(" ({target})"))),
                None => {}
            },
            other => events.push(other),
        }
    }
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events.into_iter());
    out
}

fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> String {
        markdown(text, &mut Highlighter::default())
    }

    #[test]
    fn what_an_agent_writes_makes_no_tags() {
        for (text, shown) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a <img src=x onerror=alert(1)> b", "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>\n"),
            ("[x](javascript:alert(1))", "<p>x (javascript:alert(1))</p>\n"),
            ("[x](JaVaScRiPt:alert(1))", "<p>x (JaVaScRiPt:alert(1))</p>\n"),
            ("[x](data:text/html,a)", "<p>x (data:text/html,a)</p>\n"),
            ("[x](file:///etc/passwd)", "<p>x (file:///etc/passwd)</p>\n"),
            ("[x](//evil.example)", "<p>x (//evil.example)</p>\n"),
            (
                "[x](https://a.example/?\"onclick=alert(1))",
                "<p><a href=\"https://a.example/?&quot;onclick=alert(1)\" rel=\"noopener noreferrer\">x</a></p>\n",
            ),
            (
                "![p](https://a.example/p.png)",
                "<p><a href=\"https://a.example/p.png\" rel=\"noopener noreferrer\">p</a></p>\n",
            ),
            (
                "<https://a.example>",
                "<p><a href=\"https://a.example\" rel=\"noopener noreferrer\">https://a.example</a></p>\n",
            ),
            (
                "```\"><script>\n</code></pre><script>\n```",
                "<pre><code>&lt;/code&gt;&lt;/pre&gt;&lt;script&gt;\n</code></pre>\n",
            ),
            ("# x {#id onclick=a}", "<h3>x {#id onclick=a}</h3>\n"),
            ("&#27;[31m&#x202e;", "<p>␛[31m&lt;U+202E&gt;</p>\n"),
        ] {
            assert_eq!(page(text), shown, "{text}");
        }
    }

    #[test]
    fn blocks() {
        insta::assert_snapshot!(page(
            "# A\n\n- [x] *one*\n- two\n\n| a | b |\n|--|--|\n| 1 | `2` |\n\n```rust\nfn f() {} // \"<x>\"\n```\n\n> q\n"
        ));
    }
}
