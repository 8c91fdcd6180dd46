//! A patch on a terminal: highlighted by language, with line numbers, in one column or in two.
//!
//! Must not know: where the patch comes from, what the terminal is; it is told width and colours.

use decklog_text::format::cut;
use decklog_text::highlight::{Highlighter, Language, Token};
use decklog_text::patch::{FilePatch, Kind, Piece, Row, annotate, parse};
use unicode_width::UnicodeWidthChar;

use super::{Paint, code};

/// What the background of the terminal is, where colours that lean on it can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    Dark,
    Light,
    /// Not known, or only sixteen colours.
    Unknown,
}

/// How a patch is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) paint: Paint,
    pub(crate) ground: Ground,
    /// Columns of characters.
    pub(crate) width: usize,
    /// Before and after side by side.
    pub(crate) split: bool,
}

/// A window narrower than this has no room for two columns.
pub(crate) const MIN_SPLIT: usize = 80;

/// Renders `patch`.
pub(crate) fn patch(patch: &[u8], layout: &Layout) -> String {
    let mut highlighter = Highlighter::default();
    let mut shown = String::with_capacity(patch.len() * 2);
    for (at, file) in parse(patch).iter().enumerate() {
        if at > 0 {
            shown.push('\n');
        }
        layout.file(file, &mut highlighter, &mut shown);
    }
    shown
}

/// `renamed`, in its colour.
pub(crate) fn painted_status(status: &str, paint: Paint) -> String {
    match status {
        "added" => paint.good(status),
        "deleted" => paint.bad(status),
        _ => paint.accent(status),
    }
}

const UNENDED: &str = "\\ no newline at the end";

impl Layout {
    fn file(&self, file: &FilePatch, highlighter: &mut Highlighter, out: &mut String) {
        let paint = self.paint;
        let (added, removed) = file.counts();
        let from = file.old_path.as_deref().map(|old| format!("{old} → ")).unwrap_or_default();
        out.push_str(&format!("{} {from}{}", painted_status(file.status, paint), paint.bold(&file.path)));
        if added + removed > 0 {
            let (plus, minus) = (paint.good(&format!("+{added}")), paint.bad(&format!("-{removed}")));
            out.push_str(&format!("  {plus} {minus}"));
        }
        for note in &file.notes {
            out.push_str(&paint.dim(&format!("  {note}")));
        }
        out.push('\n');
        out.push_str(&paint.dim(&"─".repeat(self.width.min(120))));
        out.push('\n');
        // Colours cost time; without them there is nothing to highlight.
        let language = paint.0.then(|| Language::of_path(&file.path)).flatten();
        let last = file.hunks.iter().map(|hunk| hunk.old.max(hunk.new).saturating_add(hunk.lines.len() as u64)).max();
        let digits = last.unwrap_or(0).to_string().len().max(3);
        for hunk in &file.hunks {
            out.push_str(&paint.accent(&cut(&hunk.title.replace('\t', " "), self.width.max(40))));
            out.push('\n');
            let rows = annotate(hunk, language, highlighter);
            if self.split {
                self.side_by_side(&rows, digits, out);
            } else {
                for row in &rows {
                    self.line(row, digits, out);
                }
            }
        }
    }

    /// Both numbers, the mark, the text.
    fn line(&self, row: &Row, digits: usize, out: &mut String) {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let gutter = format!("{:>digits$} {:>digits$} ", number(row.old), number(row.new));
        out.push_str(&self.gutter(row.kind, &gutter));
        out.push_str(&self.mark(row.kind));
        let mut column = 0;
        for piece in &row.pieces {
            let text = untabbed(&piece.text, &mut column);
            self.paint_piece(row.kind, piece, &text, out);
        }
        self.fill(row.kind, self.width.saturating_sub(2 * digits + 3 + column), out);
        out.push('\n');
        if row.unended {
            out.push_str(&self.paint.dim(&format!("{:1$}{UNENDED}", "", 2 * digits + 2)));
            out.push('\n');
        }
    }

    fn side_by_side(&self, rows: &[Row], digits: usize, out: &mut String) {
        let mut at = 0;
        while at < rows.len() {
            if rows[at].kind == Kind::Context {
                self.pair(Some(&rows[at]), Some(&rows[at]), digits, out);
                at += 1;
                continue;
            }
            let run = |from: usize, kind| rows[from..].iter().take_while(|row| row.kind == kind).count();
            let removed = run(at, Kind::Removed);
            let added = run(at + removed, Kind::Added);
            let (before, after) = (&rows[at..at + removed], &rows[at + removed..at + removed + added]);
            for place in 0..removed.max(added) {
                self.pair(before.get(place), after.get(place), digits, out);
            }
            at += removed + added;
        }
    }

    /// A line before and the one after, each wrapped in its column.
    fn pair(&self, before: Option<&Row>, after: Option<&Row>, digits: usize, out: &mut String) {
        // Number, space, mark on both sides, and a bar between them.
        let width = (self.width.saturating_sub(3) / 2).saturating_sub(digits + 2).max(10);
        let left = before.map(|row| self.wrapped(row, width)).unwrap_or_default();
        let right = after.map(|row| self.wrapped(row, width)).unwrap_or_default();
        for line in 0..left.len().max(right.len()) {
            self.half(before, before.and_then(|row| row.old), left.get(line), line == 0, digits, width, out);
            out.push_str(&self.paint.dim(" │ "));
            self.half(after, after.and_then(|row| row.new), right.get(line), line == 0, digits, width, out);
            // What is but padding need not be there; what has a background must.
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        let unended = |row: Option<&Row>| if row.is_some_and(|row| row.unended) { UNENDED } else { "" };
        if !(unended(before).is_empty() && unended(after).is_empty()) {
            let half = width + digits + 2;
            let line = format!("{:1$}{2:3$}", "", digits + 1, unended(before), half - digits - 1 + 3);
            let line = format!("{line}{:1$}{2}", "", digits + 1, unended(after));
            out.push_str(&self.paint.dim(line.trim_end()));
            out.push('\n');
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one line of one column, drawn from what its pair has worked out")]
    fn half(
        &self,
        row: Option<&Row>,
        number: Option<u64>,
        line: Option<&(String, usize)>,
        first: bool,
        digits: usize,
        width: usize,
        out: &mut String,
    ) {
        let (Some(row), Some((text, used))) = (row, line) else {
            out.push_str(&" ".repeat(digits + 2 + width));
            return;
        };
        let number = number.filter(|_| first).map(|number| number.to_string()).unwrap_or_default();
        out.push_str(&self.gutter(row.kind, &format!("{number:>digits$} ")));
        out.push_str(&if first { self.mark(row.kind) } else { self.paint.styled(self.background(row.kind), " ") });
        out.push_str(text);
        let left = width.saturating_sub(*used);
        if self.background(row.kind).is_empty() {
            out.push_str(&" ".repeat(left));
        } else {
            self.fill(row.kind, left, out);
        }
    }

    /// The text of a row in lines of at most `width` columns, each with the columns it takes.
    fn wrapped(&self, row: &Row, width: usize) -> Vec<(String, usize)> {
        let mut lines = vec![(String::new(), 0)];
        let mut column = 0;
        for piece in &row.pieces {
            let text = untabbed(&piece.text, &mut column);
            let mut part = String::new();
            for c in text.chars() {
                let size = c.width().unwrap_or(0);
                let Some((line, used)) = lines.last_mut() else { continue };
                if *used + size > width {
                    self.paint_piece(row.kind, piece, &part, line);
                    part.clear();
                    lines.push((String::new(), 0));
                }
                if let Some((_, used)) = lines.last_mut() {
                    *used += size;
                }
                part.push(c);
            }
            if let Some((line, _)) = lines.last_mut() {
                self.paint_piece(row.kind, piece, &part, line);
            }
        }
        lines
    }

    fn gutter(&self, kind: Kind, text: &str) -> String {
        match kind {
            Kind::Context => self.paint.dim(text),
            Kind::Removed => self.paint.bad(text),
            Kind::Added => self.paint.good(text),
        }
    }

    fn mark(&self, kind: Kind) -> String {
        let (mark, color) = match kind {
            Kind::Context => return " ".into(),
            Kind::Removed => ("-", "31"),
            Kind::Added => ("+", "32"),
        };
        self.paint.styled(&join(self.background(kind), color), mark)
    }

    fn background(&self, kind: Kind) -> &'static str {
        match (self.ground, kind) {
            (Ground::Unknown, _) | (_, Kind::Context) => "",
            (Ground::Dark, Kind::Removed) => "48;2;62;22;26",
            (Ground::Dark, Kind::Added) => "48;2;16;46;26",
            (Ground::Light, Kind::Removed) => "48;2;255;234;232",
            (Ground::Light, Kind::Added) => "48;2;228;252;234",
        }
    }

    fn fill(&self, kind: Kind, columns: usize, out: &mut String) {
        let background = self.background(kind);
        if !background.is_empty() {
            out.push_str(&self.paint.styled(background, &" ".repeat(columns)));
        }
    }

    fn paint_piece(&self, kind: Kind, piece: &Piece, text: &str, out: &mut String) {
        let differs = match (self.ground, kind) {
            _ if !piece.differs => self.background(kind),
            (Ground::Unknown, _) => "7",
            (Ground::Dark, Kind::Removed) => "48;2;118;34;42",
            (Ground::Dark, _) => "48;2;26;92;46",
            (Ground::Light, Kind::Removed) => "48;2;255;192;188",
            (Ground::Light, _) => "48;2;160;236;180",
        };
        // Where no background tells a changed line from the others, its plain words do.
        let color = match (self.ground, kind, piece.token) {
            (Ground::Unknown, Kind::Removed, _) if piece.differs || piece.token == Token::Plain => "31",
            (Ground::Unknown, Kind::Added, _) if piece.differs || piece.token == Token::Plain => "32",
            (Ground::Unknown, Kind::Removed, Token::Comment) => "2;31",
            (Ground::Unknown, Kind::Added, Token::Comment) => "2;32",
            (_, _, token) => code::color(token),
        };
        out.push_str(&self.paint.styled(&join(differs, color), text));
    }
}

fn join(first: &str, second: &str) -> String {
    if first.is_empty() || second.is_empty() { format!("{first}{second}") } else { format!("{first};{second}") }
}

/// `text` with spaces for tabs, as it begins at `column`, which is moved on.
fn untabbed(text: &str, column: &mut usize) -> String {
    const STOP: usize = 4;
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let size = if c == '\t' { STOP - *column % STOP } else { c.width().unwrap_or(0) };
        if c == '\t' {
            plain.extend(std::iter::repeat_n(' ', size));
        } else {
            plain.push(c);
        }
        *column += size;
    }
    plain
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    const PATCH: &str = "\
diff --git a/src/turn.rs b/src/turn.rs
index 1111111..2222222 100644
--- a/src/turn.rs
+++ b/src/turn.rs
@@ -9,6 +9,7 @@ impl Turn {
 \t// Counts \"turns\".
 \tfn next(&self) -> u32 {
-\t\tself.number + 1
+\t\tself.number.saturating_add(1)
 \t}
+\tfn name(&self) -> &'static str { \"a rather long line that does not fit into half of the window\" }
 }
-
\\ No newline at end of file
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/old.txt b/new.txt
similarity index 100%
rename from old.txt
rename to new.txt
";

    fn shown(paint: bool, ground: Ground, width: usize, split: bool) -> String {
        patch(PATCH.as_bytes(), &Layout { paint: Paint(paint), ground, width, split })
    }

    #[test]
    fn in_one_column() {
        insta::assert_snapshot!(shown(false, Ground::Unknown, 60, false));
    }

    #[test]
    fn in_two_columns() {
        insta::assert_snapshot!("split 80", shown(false, Ground::Unknown, 80, true));
        insta::assert_snapshot!("split 120", shown(false, Ground::Unknown, 120, true));
    }

    #[test]
    fn colours() {
        let escaped = |text: String| text.replace('\u{1b}', "␛");
        insta::assert_snapshot!("sixteen colours", escaped(shown(true, Ground::Unknown, 60, false)));
        insta::assert_snapshot!("dark, split", escaped(shown(true, Ground::Dark, 80, true)));
        assert_ne!(shown(true, Ground::Dark, 60, false), shown(true, Ground::Light, 60, false));
    }

    #[test]
    fn no_line_of_two_columns_is_wider_than_the_window() {
        for width in [80, 81, 100, 120] {
            for line in shown(false, Ground::Unknown, width, true).lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn hostile_text_does_not_act() {
        let nasty = "\u{1b}]0;t\u{7}\u{202e}\u{1b}[2J";
        let patch_text = PATCH.replace("number", nasty).replace("turn.rs", nasty).replace("Turn", nasty);
        for split in [false, true] {
            let layout = Layout { paint: Paint(true), ground: Ground::Dark, width: 80, split };
            let shown = patch(patch_text.as_bytes(), &layout);
            assert!(
                !shown.contains('\u{7}') && !shown.contains('\u{202e}') && !shown.contains("\u{1b}[2J"),
                "{shown:?}"
            );
        }
    }
}
