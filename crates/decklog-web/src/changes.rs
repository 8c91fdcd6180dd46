//! What changed, as rows for the page: files, hunks, lines with their tokens, and words that differ.
//!
//! A diff may be any size. Small files come with the first answer, as far as there is room; the others when they are
//! unfolded. Must not know: HTTP, sessions.

use std::collections::HashMap;

use decklog_query::diff::status_of_both;
use decklog_text::highlight::{Highlighter, Language};
use decklog_text::patch::{FilePatch, Hunk, Kind, Row, annotate, parse};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::html::token;

/// Bytes of a patch that are read.
pub(crate) const MOST: usize = 32 * 1024 * 1024;

/// Lines of a file above which it is folded at first.
const FOLDED: usize = 400;

/// Lines that come with the first answer.
const AT_FIRST: usize = 2_000;

/// Lines of a file that is unfolded; the rest is for a download.
const UNFOLDED: usize = 20_000;

/// Lines of an edit in a transcript.
const EDIT: usize = 400;

/// Said of a file that a patch changes more than once, as one of several turns does.
const SEVERAL: &str = "changed several times, one after the other";

/// The files of a patch, each once. With `only`, the one at that path alone, unfolded.
pub(crate) fn files(patch: &[u8], only: Option<&str>) -> Vec<Value> {
    let mut highlighter = Highlighter::default();
    let mut room = if only.is_some() { UNFOLDED } else { AT_FIRST };
    let wanted = |file: &FilePatch| only.is_none_or(|only| file.path == only);
    let mut all: Vec<FilePatch> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for file in parse(patch).into_iter().filter(wanted) {
        let Some(known) = places.get(&file.path).map(|at| &mut all[*at]) else {
            places.insert(file.path.clone(), all.len());
            all.push(file);
            continue;
        };
        known.status = status_of_both(known.status, file.status);
        known.hunks.extend(file.hunks);
        if !known.notes.iter().any(|note| note == SEVERAL) {
            known.notes.push(SEVERAL.to_owned());
        }
    }
    all.iter().map(|one| file(one, only.is_some(), &mut room, &mut highlighter)).collect()
}

fn file(file: &FilePatch, unfold: bool, room: &mut usize, highlighter: &mut Highlighter) -> Value {
    let (added, removed) = file.counts();
    let lines: usize = file.hunks.iter().map(|hunk| hunk.lines.len()).sum();
    let fits = lines <= *room && (unfold || lines <= FOLDED);
    let mut shown = json!({
        "path": file.path,
        "old_path": file.old_path,
        "status": file.status,
        "notes": file.notes,
        "added": added,
        "removed": removed,
        "lines": lines,
    });
    if fits || unfold {
        shown["hunks"] = hunks(&file.hunks, Language::of_path(&file.path), room, highlighter);
        shown["cut"] = (!fits).into();
    }
    shown
}

/// As many whole hunks as there is room for.
fn hunks(all: &[Hunk], language: Option<Language>, room: &mut usize, highlighter: &mut Highlighter) -> Value {
    let mut shown = Vec::new();
    for hunk in all {
        if hunk.lines.len() > *room {
            break;
        }
        *room -= hunk.lines.len();
        let rows: Vec<Value> = annotate(hunk, language, highlighter).iter().map(row).collect();
        shown.push(json!({ "title": hunk.title, "rows": rows }));
    }
    shown.into()
}

/// A line: its mark, its numbers before and after (0 for none), and itself as HTML.
fn row(row: &Row) -> Value {
    let mark = match row.kind {
        Kind::Context => " ",
        Kind::Added => "+",
        Kind::Removed => "-",
    };
    let mut html = String::new();
    for piece in &row.pieces {
        let text = token(&piece.text, piece.token);
        html.push_str(&if piece.differs { format!("<mark>{text}</mark>") } else { text });
    }
    if row.unended {
        html.push_str("<i class=\"unended\">no newline at the end</i>");
    }
    json!([mark, row.old.unwrap_or(0), row.new.unwrap_or(0), html])
}

/// One text instead of another, in a file of this name.
pub(crate) fn edit(path: &str, before: &str, after: &str, highlighter: &mut Highlighter) -> Value {
    // A piece of a file ends where it was cut out: that it has no line end says nothing.
    let ended =
        |text: &str| if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let (before, after) = (ended(before), ended(after));
    let diff = TextDiff::configure().timeout(std::time::Duration::from_millis(100)).diff_lines(&before, &after);
    let patch = diff.unified_diff().context_radius(3).to_string();
    let all: Vec<Hunk> = parse(patch.as_bytes()).into_iter().flat_map(|file| file.hunks).collect();
    hunks(&all, Language::of_path(path), &mut { EDIT }, highlighter)
}

/// A patch in one of the forms that agents write, if it has hunks.
pub(crate) fn written(patch: &str, highlighter: &mut Highlighter) -> Option<Value> {
    let files = parse(patch.as_bytes());
    let mut room = EDIT;
    let shown: Vec<Value> = files
        .iter()
        .flat_map(|file| {
            let shown = hunks(&file.hunks, Language::of_path(&file.path), &mut room, highlighter);
            shown.as_array().cloned().unwrap_or_default()
        })
        .collect();
    (!shown.is_empty()).then(|| shown.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_come_at_once_and_large_ones_when_asked_for() {
        let large: String = (0..FOLDED + 1).map(|n| format!("+line {n}\n")).collect();
        let patch = format!(
            "diff --git a/small.rs b/small.rs\n--- a/small.rs\n+++ b/small.rs\n@@ -1 +1 @@\n-let a = \"<b>\";\n+let a = \"<i>\";\n\
             diff --git a/large.txt b/large.txt\nnew file mode 100644\n--- /dev/null\n+++ b/large.txt\n@@ -0,0 +1,{} @@\n{large}",
            FOLDED + 1
        );
        let all = files(patch.as_bytes(), None);
        assert_eq!(all.len(), 2);
        let row = all[0]["hunks"][0]["rows"][1].as_array().expect("a row");
        assert_eq!((row[0].as_str(), row[2].as_u64()), (Some("+"), Some(1)));
        let html = row[3].as_str().expect("HTML");
        assert!(html.contains("&lt;") && html.contains("<mark>") && !html.contains("<i>"), "{html}");
        assert!(all[1]["hunks"].is_null() && all[1]["lines"] == FOLDED + 1);
        let one = files(patch.as_bytes(), Some("large.txt"));
        assert_eq!(one.len(), 1);
        assert_eq!(one[0]["hunks"][0]["rows"].as_array().map(Vec::len), Some(FOLDED + 1));
    }

    #[test]
    fn a_file_that_is_changed_several_times_is_there_once() {
        let of = |path: &str, more: &str| format!("diff --git a/{path} b/{path}\n{more}");
        let patch = [
            of("a", "new file mode 100644\n--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+one\n"),
            of("b", "--- a/b\n+++ b/b\n@@ -1 +1 @@\n-x\n+y\n"),
            of("a", "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+two\n"),
            of("b", "deleted file mode 100644\n--- a/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n"),
            of("a", "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-two\n+three\n"),
        ];
        let all = files(patch.concat().as_bytes(), None);
        let told = |file: &Value| {
            let hunks = file["hunks"].as_array().map_or(0, Vec::len);
            json!([file["path"], file["status"], file["notes"], file["added"], file["removed"], hunks])
        };
        assert_eq!(
            all.iter().map(told).collect::<Vec<_>>(),
            [json!(["a", "added", [SEVERAL], 3, 2, 3]), json!(["b", "deleted", [SEVERAL], 1, 2, 2])]
        );
    }

    #[test]
    fn edits() {
        let mut highlighter = Highlighter::default();
        let rows = edit("a.txt", "one\ntwo\n", "one\n2\n", &mut highlighter);
        let marks: Vec<&str> =
            rows[0]["rows"].as_array().expect("rows").iter().filter_map(|row| row[0].as_str()).collect();
        assert_eq!(marks, [" ", "-", "+"]);
        assert_eq!(edit("a.txt", "same\n", "same\n", &mut highlighter), json!([]));
        assert!(written("no patch at all", &mut highlighter).is_none());
    }
}
