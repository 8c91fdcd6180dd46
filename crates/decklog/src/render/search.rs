//! What a search found, as text.

use decklog_query::search::Hit;
use decklog_text::format::{cut, time};
use decklog_text::visible;
use jiff::tz::TimeZone;

use super::Paint;
use crate::commands::search::About;

/// How far excerpts are indented.
const INDENT: usize = 4;

/// A hit: a line that says where, and lines that show it.
pub(crate) fn hit(hit: &Hit, about: &About, width: Option<usize>, zone: &TimeZone, paint: Paint) -> String {
    let field = hit.excerpt.field.map_or("", decklog_query::text::Field::as_str);
    let place = format!("turn {} · {field}", hit.turn);
    let rest = format!(" {}  {}  {}  {place}", time(hit.at, zone), visible(&about.agent), visible(&about.project));
    let id = hit.id.as_str();
    let rest = match width {
        Some(width) => cut(&rest, width.saturating_sub(id.len() + 1)),
        None => rest,
    };
    let mut text = format!("{} {}\n", paint.bold(id), paint.dim(&rest));
    for line in wrap(&hit.excerpt.text, width.unwrap_or(100).saturating_sub(INDENT).max(20)) {
        text.push_str(&" ".repeat(INDENT));
        text.push_str(&marked(&hit.excerpt.text, line, &hit.excerpt.marks, paint));
        text.push('\n');
    }
    text
}

/// Byte ranges of the lines of `text` in `width` columns, broken at spaces where there are some.
fn wrap(text: &str, width: usize) -> Vec<std::ops::Range<usize>> {
    use unicode_width::UnicodeWidthChar;
    let (mut lines, mut start, mut used, mut space) = (Vec::new(), 0, 0, None);
    for (at, c) in text.char_indices() {
        // What is shown in place of a character that acts is wider; a line may then be, too.
        let wide = c.width().unwrap_or(1);
        if used + wide > width && at > start {
            let end = space.filter(|space| *space > start).unwrap_or(at);
            lines.push(start..end);
            start = if text[end..].starts_with(' ') { end + 1 } else { end };
            if start > at {
                used = 0;
                continue;
            }
            used = text[start..at].chars().map(|c| c.width().unwrap_or(1)).sum();
            space = None;
        }
        if c == ' ' {
            space = Some(at);
        }
        used += wide;
    }
    lines.push(start..text.len());
    lines
}

/// A line of `text`, what was found in it marked.
fn marked(text: &str, line: std::ops::Range<usize>, marks: &[std::ops::Range<usize>], paint: Paint) -> String {
    let mut shown = String::new();
    let mut at = line.start;
    for mark in marks {
        let (start, end) = (mark.start.clamp(at, line.end), mark.end.clamp(at, line.end));
        shown.push_str(&visible(&text[at..start]));
        shown.push_str(&paint.found(&visible(&text[start..end])));
        at = end;
    }
    shown.push_str(&visible(&text[at..line.end]));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_wrapped_and_marked() {
        let text = "…the parser took an empty line for the end, and stopped 漢字漢字漢字漢字漢字漢字 there…";
        let lines = wrap(text, 24);
        let found = text.find("empty line for").expect("it is there");
        let mark = found..found + "empty line for".len();
        let marks = std::slice::from_ref(&mark);
        let shown: Vec<_> = lines.into_iter().map(|line| marked(text, line, marks, Paint(true))).collect();
        insta::assert_snapshot!(shown.join("\n").replace('\u{1b}', "␛"), @r"
        …the parser took an
        ␛[1;31mempty line for␛[0m the end,
        and stopped
        漢字漢字漢字漢字漢字漢字
        there…
        ");
    }
}
