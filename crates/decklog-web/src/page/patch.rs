//! A patch as HTML: a table for each file, lines numbered and highlighted.

use decklog_text::highlight::{Highlighter, Language};
use decklog_text::patch::{FilePatch, Kind, Row, annotate, parse};

use crate::html::{escape, token};

/// Lines of a file above which it is folded at first.
const FOLDED: usize = 400;

/// The files of `patch`, at most `lines` lines of them, which are counted down.
pub(super) fn patch(patch: &[u8], highlighter: &mut Highlighter, lines: &mut usize) -> String {
    parse(patch).iter().map(|one| file(one, highlighter, lines)).collect()
}

fn file(file: &FilePatch, highlighter: &mut Highlighter, lines: &mut usize) -> String {
    let (added, removed) = file.counts();
    let from = file.old_path.as_deref().map(|old| format!("{} → ", escape(old))).unwrap_or_default();
    let notes: String = file.notes.iter().map(|note| format!(" <small>{}</small>", escape(note))).collect();
    let size: usize = file.hunks.iter().map(|hunk| hunk.lines.len()).sum();
    let title = format!(
        "{} {from}<code>{}</code> <span class=good>+{added}</span> <span class=bad>−{removed}</span>{notes}",
        file.status,
        escape(&file.path)
    );
    if size == 0 {
        return format!("<p>{title}</p>\n");
    }
    let open = if size <= FOLDED { " open" } else { "" };
    let mut out = format!(
        "<details class=file{open}><summary>{title}</summary>\n<div class=scroll tabindex=0 role=region \
         aria-label=\"changes of {}\"><table class=diff>\n",
        escape(&file.path)
    );
    let language = Language::of_path(&file.path);
    for hunk in &file.hunks {
        out.push_str(&format!("<tr class=h><td class=n><td class=n><td><td>{}\n", escape(&hunk.title)));
        if *lines < hunk.lines.len() {
            out.push_str(
                "<tr class=h><td class=n><td class=n><td><td>… more than this page shows; decklog diff has it all\n",
            );
            break;
        }
        *lines -= hunk.lines.len();
        for row in annotate(hunk, language, highlighter) {
            line(&row, &mut out);
        }
    }
    out + "</table></div></details>\n"
}

fn line(row: &Row, out: &mut String) {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let (class, mark) = match row.kind {
        Kind::Context => ("", " "),
        Kind::Added => (" class=a", "+"),
        Kind::Removed => (" class=r", "-"),
    };
    out.push_str(&format!("<tr{class}><td class=n>{}<td class=n>{}<td>{mark}<td>", number(row.old), number(row.new)));
    for piece in &row.pieces {
        let text = token(&piece.text, piece.token);
        out.push_str(&if piece.differs { format!("<mark>{text}</mark>") } else { text });
    }
    if row.unended {
        out.push_str(" <small>\\ no newline at the end</small>");
    }
    out.push('\n');
}
