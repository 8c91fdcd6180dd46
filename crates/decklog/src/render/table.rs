//! Tables that fit: columns go by priority, the last one is cut.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Paint, visible};

/// A column.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Columns with a higher number go first when the width does not suffice; 0 never goes.
    pub(crate) priority: u8,
}

/// Lays out `rows` in `width` columns of characters; `None`: as wide as it gets. Cells are made visible here.
/// `style` colours a cell once its width is known.
pub(crate) fn table(
    columns: &[Column],
    mut rows: Vec<Vec<String>>,
    width: Option<usize>,
    paint: Paint,
    style: impl Fn(usize, &str, String) -> String,
) -> String {
    for cell in rows.iter_mut().flatten() {
        if let Cow::Owned(safe) = visible(cell) {
            *cell = safe;
        }
    }
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title.width()).collect();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(columns_of(cell));
        }
    }
    let last_minimum = 20;
    let mut shown: Vec<usize> = (0..columns.len()).collect();
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
    let mut text = String::new();
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    for (row_number, row) in std::iter::once(&titles).chain(&rows).enumerate() {
        for (place, &at) in shown.iter().enumerate() {
            let is_last = place + 1 == shown.len();
            let cut = fit(&row[at], widths[at]);
            let padding = if is_last { 0 } else { widths[at] - columns_of(&cut) + 2 };
            match row_number {
                0 => text.push_str(&paint.dim(&cut)),
                _ if paint.0 => text.push_str(&style(at, &row[at], cut.into_owned())),
                _ => text.push_str(&cut),
            }
            text.extend(std::iter::repeat_n(' ', padding));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Columns that a text takes.
fn columns_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// `text` in at most `width` columns, ending in `…` if something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    fit(text, width).into_owned()
}

fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if columns_of(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = c.width().unwrap_or(0);
        if used + next + 1 > width {
            break;
        }
        used += next;
        kept.push(c);
    }
    kept.push('…');
    Cow::Owned(kept)
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
