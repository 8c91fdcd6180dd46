//! Tables that fit: columns go by priority, the last one is cut.

use std::borrow::Cow;

use decklog_text::format::{columns_of, fit};
use decklog_text::visible;
use unicode_width::UnicodeWidthStr;

use super::Paint;

/// A column.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Columns with a higher number go first when the width does not suffice; 0 never goes.
    pub(crate) priority: u8,
}

/// From this priority on, a column is there only when one of its cells holds something.
pub(crate) const WHEN_FILLED: u8 = 100;

/// The cells of a table, row after row. One text holds them all: a list may have a hundred thousand rows.
#[derive(Default)]
pub(crate) struct Cells {
    text: String,
    cells: Vec<Cell>,
}

struct Cell {
    /// Where it ends in the text.
    end: usize,
    /// Columns that it takes.
    width: usize,
}

impl Cells {
    /// Adds the next cell, which `write` writes. What acts on a terminal is made visible.
    pub(crate) fn cell(&mut self, write: impl FnOnce(&mut String)) {
        let from = self.text.len();
        write(&mut self.text);
        if let Cow::Owned(safe) = visible(&self.text[from..]) {
            self.text.truncate(from);
            self.text.push_str(&safe);
        }
        self.cells.push(Cell { end: self.text.len(), width: columns_of(&self.text[from..]) });
    }

    fn get(&self, at: usize) -> (&str, usize) {
        let from = if at == 0 { 0 } else { self.cells[at - 1].end };
        (&self.text[from..self.cells[at].end], self.cells[at].width)
    }
}

impl From<Vec<Vec<String>>> for Cells {
    fn from(rows: Vec<Vec<String>>) -> Self {
        let mut cells = Self::default();
        rows.iter().flatten().for_each(|cell| cells.cell(|text| text.push_str(cell)));
        cells
    }
}

/// Lays out rows of cells in `width` columns of characters; `None`: as wide as it gets. `style` colours a cell once its
/// width is known.
pub(crate) fn table(
    columns: &[Column],
    cells: impl Into<Cells>,
    width: Option<usize>,
    paint: Paint,
    style: impl Fn(usize, &str, String) -> String,
) -> String {
    let mut whole = String::new();
    let kept: Result<(), std::convert::Infallible> = pieces(columns, &[cells.into()], width, paint, style, |piece| {
        whole.push_str(piece);
        Ok(())
    });
    match kept {
        Ok(()) => whole,
    }
}

/// Bytes of a table that are handed on at once.
const PIECE: usize = 64 * 1024;

/// The same of rows in several parts, handed on piece by piece.
///
/// # Errors
/// Those of `take`.
pub(crate) fn pieces<E>(
    columns: &[Column],
    parts: &[Cells],
    width: Option<usize>,
    paint: Paint,
    style: impl Fn(usize, &str, String) -> String,
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut widths: Vec<usize> = vec![0; columns.len()];
    for row in parts.iter().flat_map(|part| part.cells.chunks_exact(columns.len())) {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = cell.width.max(*widest);
        }
    }
    let last_minimum = 20;
    let mut shown: Vec<usize> =
        (0..columns.len()).filter(|at| columns[*at].priority < WHEN_FILLED || widths[*at] > 0).collect();
    for (widest, column) in widths.iter_mut().zip(columns) {
        *widest = column.title.width().max(*widest);
    }
    if let Some(width) = width {
        let needed = |shown: &[usize]| {
            let (last, rest) = shown.split_last().map_or((0, [].as_slice()), |(last, rest)| (widths[*last], rest));
            rest.iter().map(|at| widths[*at] + 2).sum::<usize>() + last.min(last_minimum)
        };
        while needed(&shown) > width {
            let least =
                shown.iter().copied().filter(|at| columns[*at].priority > 0).max_by_key(|at| columns[*at].priority);
            match least {
                Some(least) => shown.retain(|at| *at != least),
                None => break,
            }
        }
        if let Some((last, rest)) = shown.split_last() {
            let used: usize = rest.iter().map(|at| widths[*at] + 2).sum();
            widths[*last] = widths[*last].min(width.saturating_sub(used).max(1));
        }
    }
    let mut text = String::with_capacity(PIECE + 4096);
    let line = |text: &mut String, cell: &dyn Fn(&mut String, usize) -> usize| {
        for (place, &at) in shown.iter().enumerate() {
            let used = cell(text, at);
            if place + 1 < shown.len() {
                pad(text, widths[at] - used + 2);
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    };
    line(&mut text, &|text, at| {
        let title = fit(columns[at].title, widths[at]);
        text.push_str(&paint.dim(&title));
        columns_of(&title)
    });
    let rows = |part: &Cells| part.cells.len() / columns.len().max(1);
    for (part, row) in parts.iter().flat_map(|part| (0..rows(part)).map(move |row| (part, row))) {
        line(&mut text, &|text, at| {
            let (whole, width) = part.get(row * columns.len() + at);
            let cut = if width <= widths[at] { Cow::Borrowed(whole) } else { fit(whole, widths[at]) };
            let used = if width <= widths[at] { width } else { columns_of(&cut) };
            if paint.0 {
                text.push_str(&style(at, whole, cut.into_owned()));
            } else {
                text.push_str(&cut);
            }
            used
        });
        if text.len() >= PIECE {
            take(&text)?;
            text.clear();
        }
    }
    take(&text)
}

fn pad(text: &mut String, columns: usize) {
    const SPACES: &str = "                                ";
    let mut left = columns;
    while left > 0 {
        let some = left.min(SPACES.len());
        text.push_str(&SPACES[..some]);
        left -= some;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_priority_and_the_last_is_cut() {
        let columns = [
            Column { title: "ID", priority: 0 },
            Column { title: "KIND", priority: 2 },
            Column { title: "PROMPT", priority: 0 },
        ];
        let rows = [vec!["a1".into(), "run".into(), "fix the 漢字漢字漢字漢字漢字 in a\nfile".into()]];
        let lay = |width| table(&columns, rows.to_vec(), width, Paint(false), |_, _, cell| cell);
        insta::assert_snapshot!(lay(None), @"
        ID  KIND  PROMPT
        a1  run   fix the 漢字漢字漢字漢字漢字 in a␊file
        ");
        insta::assert_snapshot!(lay(Some(30)), @"
        ID  KIND  PROMPT
        a1  run   fix the 漢字漢字漢…
        ");
        insta::assert_snapshot!(lay(Some(24)), @"
        ID  PROMPT
        a1  fix the 漢字漢字漢…
        ");
    }
}
