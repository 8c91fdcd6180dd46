//! Markdown on a terminal, line by line as it comes.
//!
//! An agent's words come in pieces. What a line looks like depends on the lines before it alone, so what is written is
//! the same whether the pieces come live or from a record. Unfinished and hostile markdown is text like any other.
//! Must not know: events, where the text comes from.

use decklog_text::highlight::{Code, Highlighter};
use decklog_text::visible;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Paint, code};

/// Rows of a table that are held back to be aligned; one that is longer is aligned in parts.
const MAX_TABLE: usize = 200;
/// Longer lines are shown as they are: nobody marks up so much in one line.
const MAX_LINE: usize = 16 * 1024;
/// Lines are not wrapped later than this: longer ones are hard to read.
const MAX_WIDTH: usize = 100;

/// Renders one text.
pub(crate) struct Markdown {
    paint: Paint,
    /// What every line begins with.
    margin: &'static str,
    /// Columns of characters to wrap at, margin included; `None`: as long as they are.
    width: Option<usize>,
    /// The line that has not ended yet.
    pending: String,
    /// Whether the beginning of that line has been shown: its rest is then shown as it is.
    paused: bool,
    fence: Option<Fence>,
    table: Vec<Vec<Vec<Span>>>,
    highlighter: Highlighter,
}

struct Fence {
    mark: char,
    length: usize,
    indent: usize,
    code: Option<Code>,
}

/// A part of a line and its SGR code.
type Span = (String, &'static str);

impl Markdown {
    pub(crate) fn new(paint: Paint, margin: &'static str, width: Option<usize>) -> Self {
        Self {
            paint,
            margin,
            width: width.map(|width| width.clamp(20, MAX_WIDTH)),
            pending: String::new(),
            paused: false,
            fence: None,
            table: Vec::new(),
            highlighter: Highlighter::default(),
        }
    }

    /// Takes in more of the text, and gives the lines that are complete.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for part in text.split_inclusive('\n') {
            self.pending.push_str(part);
            if part.ends_with('\n') {
                self.end_line(&mut out);
            }
        }
        out
    }

    /// Gives what there is of the line at work, as nothing more comes at the moment. A table waits for its end.
    pub(crate) fn pause(&mut self) -> String {
        let mut out = String::new();
        if self.pending.trim_start().is_empty() || self.pending.trim_start().starts_with(['|', '`', '~']) {
            return out;
        }
        if self.paused {
            out.push_str(&visible(&std::mem::take(&mut self.pending)));
        } else {
            self.end_line(&mut out);
            out.truncate(out.trim_end_matches('\n').len());
            self.paused = true;
        }
        out
    }

    /// Gives what is left: the text is over.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.pending.is_empty() || self.paused {
            self.end_line(&mut out);
        }
        self.end_table(&mut out);
        self.fence = None;
        out
    }

    fn end_line(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.pending);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if std::mem::take(&mut self.paused) {
            out.push_str(&visible(line));
            out.push('\n');
            return;
        }
        let is_row = self.fence.is_none() && line.trim_start().starts_with('|') && line.len() <= MAX_LINE;
        if !is_row || self.table.len() >= MAX_TABLE {
            self.end_table(out);
        }
        if is_row {
            self.table.push(cells(line));
        } else {
            self.line(line, out);
        }
    }

    fn line(&mut self, line: &str, out: &mut String) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if self.fence.is_some() {
            return self.code(line, out);
        }
        if let Some((mark, length, language)) = fence(text) {
            self.fence = Some(Fence { mark, length, indent, code: code::block(language, self.paint) });
            return;
        }
        if text.is_empty() || line.len() > MAX_LINE {
            out.push_str(format!("{}{}", self.margin, visible(line)).trim_end());
            out.push('\n');
            return;
        }
        if is_rule(text) {
            return self.wrap("", "", &[("─".repeat(20), "2")], out);
        }
        let level = text.bytes().take_while(|byte| *byte == b'#').count();
        if let Some(title) = text.get(level..).filter(|rest| (1..=6).contains(&level) && rest.starts_with(' ')) {
            let title = title.trim().trim_end_matches('#').trim_end();
            let mut spans = inline(title);
            for (_, style) in &mut spans {
                *style = if level <= 1 { "1;4" } else { "1" };
            }
            return self.wrap("", "", &spans, out);
        }
        if text.starts_with('>') {
            let quoted = text.trim_start_matches(['>', ' ']);
            let depth = text[..text.len() - quoted.len()].matches('>').count().min(8);
            let bar = "▏ ".repeat(depth);
            return self.wrap(&bar, &bar, &inline(quoted), out);
        }
        let indent = " ".repeat(indent.min(24));
        if let Some((mark, rest)) = item(text) {
            let first = format!("{indent}{mark} ");
            let next = " ".repeat(first.width());
            return self.wrap(&first, &next, &inline(rest), out);
        }
        self.wrap(&indent, &indent, &inline(text), out);
    }

    fn code(&mut self, line: &str, out: &mut String) {
        let Some(fence) = &mut self.fence else { return };
        let text = line.trim_start_matches(' ');
        let marks = text.chars().take_while(|c| *c == fence.mark).count();
        if marks >= fence.length && text[marks..].trim().is_empty() {
            self.fence = None;
            return;
        }
        let inner = &line[(line.len() - text.len()).min(fence.indent)..];
        let shown = visible(&inner.replace('\t', "    ")).into_owned();
        let painted = code::line(&mut fence.code, &mut self.highlighter, &shown, self.paint);
        out.push_str(format!("{}    {}", self.margin, painted).trim_end());
        out.push('\n');
    }

    /// Writes spans in lines that fit; `first` and `next` begin the first line and those after it.
    fn wrap(&self, first: &str, next: &str, spans: &[Span], out: &mut String) {
        let room = |begin: &str| {
            let width = self.width.unwrap_or(usize::MAX);
            width.saturating_sub(self.margin.width() + begin.width()).max(12)
        };
        let chars: Vec<(char, &str)> =
            spans.iter().flat_map(|(text, style)| text.chars().map(move |c| (c, *style))).collect();
        let (mut rest, mut begin) = (chars.as_slice(), first);
        loop {
            let end = line_end(rest, room(begin));
            out.push_str(self.margin);
            out.push_str(&self.paint.styled(if begin.starts_with('▏') { "2" } else { "" }, begin));
            for run in rest[..end].chunk_by(|a, b| a.1 == b.1) {
                let text: String = run.iter().map(|(c, _)| c).collect();
                out.push_str(&self.paint.styled(run[0].1, &text));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            rest = &rest[end..];
            rest = &rest[rest.iter().take_while(|(c, _)| *c == ' ').count()..];
            begin = next;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Writes the table that was held back, its columns aligned.
    fn end_table(&mut self, out: &mut String) {
        let rows = std::mem::take(&mut self.table);
        let width = |cell: &[Span]| cell.iter().map(|(text, _)| text.width()).sum::<usize>();
        let mut widths: Vec<usize> = Vec::new();
        for row in rows.iter().filter(|row| !is_delimiter(row)) {
            widths.resize(widths.len().max(row.len()), 0);
            for (known, cell) in widths.iter_mut().zip(row) {
                *known = width(cell).max(*known);
            }
        }
        let has_titles = rows.get(1).is_some_and(|row| is_delimiter(row));
        for (at, row) in rows.iter().enumerate() {
            out.push_str(self.margin);
            if is_delimiter(row) {
                let lines: Vec<_> = widths.iter().map(|width| "─".repeat(*width)).collect();
                out.push_str(&self.paint.dim(&lines.join("─┼─")));
            } else {
                for (column, width_of_column) in widths.iter().enumerate() {
                    let cell = row.get(column).map(Vec::as_slice).unwrap_or_default();
                    if column > 0 {
                        out.push_str(&self.paint.dim(" │ "));
                    }
                    for (text, style) in cell {
                        out.push_str(&self.paint.styled(if at == 0 && has_titles { "1" } else { style }, text));
                    }
                    out.push_str(&" ".repeat(width_of_column - width(cell)));
                }
                out.truncate(out.trim_end_matches(' ').len());
            }
            out.push('\n');
        }
    }
}

/// How many of `chars` stand on one line of `room` columns: up to a space, or a word that is too long as a whole.
fn line_end(chars: &[(char, &str)], room: usize) -> usize {
    let (mut used, mut space) = (0_usize, None);
    for (at, (c, _)) in chars.iter().enumerate() {
        used = used.saturating_add(c.width().unwrap_or(0));
        if *c == ' ' {
            if used > room && space.is_none() {
                return at;
            }
            space = Some(at).filter(|at| *at > 0 && used <= room + 1).or(space);
        }
        if used > room
            && let Some(space) = space
        {
            return space;
        }
    }
    chars.len()
}

/// The mark, its length and the language of a line that opens a code block.
fn fence(text: &str) -> Option<(char, usize, &str)> {
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = text.chars().take_while(|c| *c == mark).count();
    let language = text[length..].trim();
    (length >= 3 && !(mark == '`' && language.contains('`'))).then_some((mark, length, language))
}

/// Whether a line is but a rule: `---`, `* * *`.
fn is_rule(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| *c != ' ');
    let Some(first @ ('-' | '*' | '_')) = marks.next() else { return false };
    let mut count = 1;
    for mark in marks {
        if mark != first {
            return false;
        }
        count += 1;
    }
    count >= 3
}

/// The mark to show and the text of a list's item.
fn item(text: &str) -> Option<(String, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..)?;
    let (mark, rest) = match rest.as_bytes() {
        [b'.' | b')', b' ', ..] if (1..=9).contains(&digits) => (text[..=digits].to_owned(), &rest[2..]),
        [b'-' | b'*' | b'+', b' ', ..] if digits == 0 => ("•".to_owned(), &rest[2..]),
        _ => return None,
    };
    let rest = rest.trim_start();
    Some(match rest.get(..4) {
        Some("[ ] ") => (format!("{mark} ☐"), &rest[4..]),
        Some("[x] " | "[X] ") => (format!("{mark} ☑"), &rest[4..]),
        _ => (mark, rest),
    })
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<Vec<Span>> {
    let inner = line.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').filter(|inner| !inner.ends_with('\\')).unwrap_or(inner);
    let mut cells = vec![String::new()];
    let mut escaped = false;
    for c in inner.chars() {
        match (c, cells.last_mut()) {
            ('|', Some(_)) if !escaped => cells.push(String::new()),
            ('|', Some(cell)) => {
                cell.pop();
                cell.push('|');
            }
            (_, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
        escaped = c == '\\' && !escaped;
    }
    cells.truncate(64);
    cells.iter().map(|cell| inline(cell.trim())).collect()
}

fn is_delimiter(row: &[Vec<Span>]) -> bool {
    row.iter().all(|cell| {
        let text: String = cell.iter().map(|(text, _)| text.as_str()).collect();
        text.contains('-') && text.chars().all(|c| matches!(c, '-' | ':' | ' '))
    })
}

/// One line without the marks of its block, in spans that are safe to show.
fn inline(text: &str) -> Vec<Span> {
    // With this before it, no text is the beginning of a block.
    const GUARD: &str = ". ";
    if text.trim().is_empty() {
        return Vec::new();
    }
    let guarded = format!("{GUARD}{}", text.replace('\t', "    "));
    let mut spans: Vec<Span> = Vec::new();
    let (mut strong, mut emphasis, mut deleted) = (0_usize, 0_usize, 0_usize);
    let mut links: Vec<(String, usize)> = Vec::new();
    for event in Parser::new_ext(&guarded, Options::ENABLE_STRIKETHROUGH) {
        let style = match (strong > 0, emphasis > 0, deleted > 0, links.is_empty()) {
            (_, _, true, _) => "9",
            (true, true, ..) => "1;3",
            (true, ..) => "1",
            (_, true, ..) => "3",
            (.., false) => "4",
            _ => "",
        };
        match event {
            Event::Text(text) | Event::InlineHtml(text) | Event::Html(text) => {
                spans.push((visible(&text).into_owned(), style));
            }
            Event::Code(text) => spans.push((visible(&text).into_owned(), "36")),
            Event::Start(Tag::Strong) => strong += 1,
            Event::End(TagEnd::Strong) => strong = strong.saturating_sub(1),
            Event::Start(Tag::Emphasis) => emphasis += 1,
            Event::End(TagEnd::Emphasis) => emphasis = emphasis.saturating_sub(1),
            Event::Start(Tag::Strikethrough) => deleted += 1,
            Event::End(TagEnd::Strikethrough) => deleted = deleted.saturating_sub(1),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push((visible(&dest_url).into_owned(), spans.len()));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                let Some((target, from)) = links.pop() else { continue };
                let words: String = spans.iter().skip(from).map(|(text, _)| text.as_str()).collect();
                // Words that pretend to lead elsewhere are shown beside where they lead.
                if words != target && target.strip_prefix("mailto:") != Some(&words) {
                    spans.push((format!(" ({target})"), "2"));
                }
            }
            Event::SoftBreak | Event::HardBreak => spans.push((" ".into(), "")),
            _ => {}
        }
    }
    if let Some((first, _)) = spans.first_mut() {
        *first = first.strip_prefix(GUARD).unwrap_or(first).to_owned();
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Done

I **fixed** the *test* in `src/a.rs`; see [the docs](https://example.org/x) and <https://example.org>.
A name_with_underscores stays, so does 2 * 3 * 4, and ~~this~~ goes.

## Steps

1. First, a rather long line that must be wrapped somewhere, with its second line below its first word
   - nested `code`
2. Second
- [x] done
- [ ] not yet

> quoted **words**
>> deeper

```rust
fn main() { println!(\"hi\"); } // ok
```

| name | what it is |
|------|:----------:|
| `a|b` | x \\| y |
| 漢字 | two |
---
The end, without a line end";

    fn rendered(text: &str, width: Option<usize>, paint: bool) -> String {
        let mut markdown = Markdown::new(Paint(paint), "  ", width);
        let shown = markdown.push(text);
        (shown + &markdown.finish()).replace('\u{1b}', "␛")
    }

    #[test]
    fn everything_an_agent_writes() {
        insta::assert_snapshot!("markdown, colours", rendered(TEXT, Some(60), true));
        insta::assert_snapshot!("markdown, 120", rendered(TEXT, Some(120), false));
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let whole = rendered(TEXT, Some(50), true);
        for size in [1, 2, 3, 7, 50] {
            let mut markdown = Markdown::new(Paint(true), "  ", Some(50));
            let chars: Vec<char> = TEXT.chars().collect();
            let mut shown: String =
                chars.chunks(size).map(|piece| markdown.push(&piece.iter().collect::<String>())).collect();
            shown += &markdown.finish();
            assert_eq!(shown.replace('\u{1b}', "␛"), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn hostile_and_unfinished() {
        for (text, shown) in [
            ("&#27;[31m \u{1b}]0;t\u{7}", "  ␛[31m ␛]0;t␇\n"),
            ("[harmless](https://a.example/\u{202e}x)", "  harmless (https://a.example/<U+202E>x)\n"),
            ("**never closed", "  **never closed\n"),
            ("<script>alert(1)</script>", "  <script>alert(1)</script>\n"),
            ("```\nopen\n\u{9b}x", "      open\n      <U+009B>x\n"),
            ("``` a`b", "  ``` a`b\n"),
            ("|", "\n"),
            ("- - - x", "  • - - x\n"),
            ("    ", "\n"),
        ] {
            let mut markdown = Markdown::new(Paint(false), "  ", None);
            let got = markdown.push(text) + &markdown.finish();
            assert_eq!(got, shown, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_wider_than_the_window_unless_a_word_is(text in "[ a-z*_`>#|\\-\n漢]{0,200}", width in 30_usize..80) {
            for line in rendered(&text, Some(width), false).lines() {
                // Code and tables are shown as they are.
                let is_prose = !line.contains(['│', '┼']) && !line.starts_with("      ") && !text.contains("```");
                let longest = text.split([' ', '\n']).map(str::width).max().unwrap_or(0);
                proptest::prop_assert!(!is_prose || line.width() <= width.max(longest + 30), "{:?}", line);
            }
        }

        #[test]
        fn nothing_acts(text in "\\PC{0,40}[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202e}*`<&#;\\[\\]()]{0,10}") {
            let mut markdown = Markdown::new(Paint(false), "", Some(40));
            let shown = markdown.push(&text) + &markdown.finish();
            for line in shown.lines() {
                proptest::prop_assert_eq!(visible(line), line);
            }
        }
    }
}
