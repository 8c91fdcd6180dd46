//! What edits add up to: the files of a turn, and the patch as far as the source tells it whole.
//!
//! Must not know: whose edits these are.

use std::path::{Component, Path, PathBuf};

use decklog_journal::event::{FileChange, Withheld};
use serde_json::Value;

use crate::agents::common::{count, list, text};
use crate::record::clip;

/// Bytes of a turn's patch that are kept.
const MAX_PATCH: usize = 8 * 1024 * 1024;
/// Bytes of paths that an event names.
const NAMED: usize = 64 * 1024;

/// One edit of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Edit {
    /// The file, as the source names it.
    pub(super) path: String,
    /// `added`, `modified`, `deleted` or `renamed`.
    pub(super) status: &'static str,
    /// Where a renamed file was.
    pub(super) old_path: Option<String>,
    /// Lines added and removed, where told.
    pub(super) lines: Option<(u64, u64)>,
    /// Hunks of a unified diff, from the first `@@` on; absent where the source does not tell the whole edit.
    pub(super) hunks: Option<String>,
}

/// The edits of a turn.
#[derive(Debug, Default)]
pub(super) struct Changes {
    files: Vec<FileChange>,
    patch: String,
    /// Files whose edits are not all in the patch.
    untold: Vec<String>,
}

/// What a turn's edits came to.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) files: Vec<FileChange>,
    pub(super) count: u64,
    pub(super) patch: String,
    pub(super) withheld: Vec<Withheld>,
}

impl Changes {
    /// Takes in an edit made in `working_dir`.
    pub(super) fn add(&mut self, edit: Edit, working_dir: &str) {
        if edit.path.is_empty() {
            return;
        }
        let place = |path: &str| relative(path, working_dir);
        let (path, inside) = place(&edit.path);
        let old = edit.old_path.as_deref().map(place);
        let section = (inside && old.as_ref().is_none_or(|(_, inside)| *inside))
            .then(|| section(&path, old.as_ref().map(|(path, _)| path.as_str()), edit.status, edit.hunks.as_deref()))
            .flatten()
            .filter(|section| self.patch.len() + section.len() <= MAX_PATCH);
        match section {
            Some(section) if !self.untold.contains(&path) => self.patch.push_str(&section),
            // What comes after a gap would not apply.
            _ if !self.untold.contains(&path) => self.untold.push(path.clone()),
            _ => {}
        }
        let (added, removed) = edit.lines.unzip();
        let Some(known) = self.files.iter_mut().find(|file| file.path == path) else {
            let old_path = old.map(|(path, _)| path);
            self.files.push(FileChange { path, old_path, status: edit.status.to_owned(), added, removed });
            return;
        };
        let sum = |known: Option<u64>, more: Option<u64>| Some(known?.saturating_add(more?));
        (known.added, known.removed) = (sum(known.added, added), sum(known.removed, removed));
        known.status = match (known.status.as_str(), edit.status) {
            ("added", "deleted") => "deleted",
            ("added", _) => "added",
            ("deleted", "added") => "modified",
            ("renamed", "modified") => "renamed",
            (_, now) => now,
        }
        .to_owned();
    }

    /// Takes in a whole diff that git wrote.
    pub(super) fn add_diff(&mut self, diff: &str) {
        let at = |from: usize| diff[from..].find("\ndiff --git ").map(|at| from + at + 1);
        let first = if diff.starts_with("diff --git ") { Some(0) } else { at(0) };
        let Some(mut from) = first else { return };
        loop {
            let end = at(from).unwrap_or(diff.len());
            self.files.extend(described(&diff[from..end]));
            if end == diff.len() {
                break;
            }
            from = end;
        }
        if self.patch.len() + diff.len() <= MAX_PATCH {
            self.patch.push_str(diff);
            if !diff.ends_with('\n') {
                self.patch.push('\n');
            }
        }
    }

    /// What it came to; begins anew.
    pub(super) fn take(&mut self) -> Told {
        let Self { mut files, patch, untold } = std::mem::take(self);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let count = files.len() as u64;
        let mut named = 0;
        files.retain(|file| {
            named += file.path.len() + file.old_path.as_ref().map_or(0, String::len) + 100;
            named <= NAMED
        });
        let mut named = 0;
        let withheld = untold
            .into_iter()
            .map(|path| Withheld { path: clip(path, 4096), reason: "the source does not tell the whole change".into() })
            .take_while(|file| {
                named += file.path.len() + 100;
                named <= NAMED / 2
            });
        Told { files, count, patch, withheld: withheld.collect() }
    }
}

/// The file that one part of a diff of git's is about.
fn described(section: &str) -> Option<FileChange> {
    let (head, hunks) = match section.find("\n@@") {
        Some(at) => section.split_at(at + 1),
        None => (section, ""),
    };
    let line = |start: &str| head.lines().find_map(|line| line.strip_prefix(start));
    let named = |start: &str, side: &str| line(start).and_then(|path| path.strip_prefix(side));
    let first = head.lines().next()?.strip_prefix("diff --git ")?;
    let path = line("rename to ")
        .or_else(|| named("+++ ", "b/"))
        .or_else(|| named("--- ", "a/"))
        .or_else(|| Some(first.split_once(" b/")?.1))?;
    let status = match () {
        () if head.contains("\nnew file mode ") => "added",
        () if head.contains("\ndeleted file mode ") => "deleted",
        () if head.contains("\nrename from ") => "renamed",
        () => "modified",
    };
    let (added, removed) = count_lines(hunks);
    let binary = head.contains("\nBinary files ") || head.contains("\nGIT binary patch");
    Some(FileChange {
        path: clip(path.trim_end_matches('\t').to_owned(), 4096),
        old_path: line("rename from ").map(|path| clip(path.to_owned(), 4096)),
        status: status.to_owned(),
        added: (!binary).then_some(added),
        removed: (!binary).then_some(removed),
    })
}

/// A path as seen from `working_dir`, and whether it lies in it.
fn relative(path: &str, working_dir: &str) -> (String, bool) {
    let path = clip(path.to_owned(), 4096);
    let inside = Path::new(&path).strip_prefix(working_dir).unwrap_or(Path::new(&path));
    let mut clean = PathBuf::new();
    for part in inside.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return (path, false),
        }
    }
    (clean.to_string_lossy().into_owned(), !clean.as_os_str().is_empty())
}

/// One file's part of a patch. `None` when it cannot be told whole, or its name would need quoting.
fn section(path: &str, old: Option<&str>, status: &str, hunks: Option<&str>) -> Option<String> {
    let plain = |path: &str| !path.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'));
    let from = old.unwrap_or(path);
    if !plain(path) || !plain(from) {
        return None;
    }
    let hunks = hunks?;
    let mut text = format!("diff --git a/{from} b/{path}\n");
    match status {
        "added" => text.push_str("new file mode 100644\n"),
        "deleted" => text.push_str("deleted file mode 100644\n"),
        "renamed" => text.push_str(&format!("rename from {from}\nrename to {path}\n")),
        _ => {}
    }
    if !hunks.is_empty() {
        let before = if status == "added" { "/dev/null".to_owned() } else { format!("a/{from}") };
        let after = if status == "deleted" { "/dev/null".to_owned() } else { format!("b/{path}") };
        text.push_str(&format!("--- {before}\n+++ {after}\n{hunks}"));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Some(text)
}

/// The hunk of a file that appears, or goes, with `content`.
pub(super) fn whole_file(content: &str, sign: char) -> (String, u64) {
    let lines: Vec<&str> = content.split_inclusive('\n').collect();
    let count = lines.len();
    let mut hunk = match (count, sign) {
        (0, _) => return (String::new(), 0),
        (_, '+') => format!("@@ -0,0 +1,{count} @@\n"),
        _ => format!("@@ -1,{count} +0,0 @@\n"),
    };
    for line in lines {
        hunk.push(sign);
        hunk.push_str(line);
        if !line.ends_with('\n') {
            hunk.push_str("\n\\ No newline at end of file\n");
        }
    }
    (hunk, count as u64)
}

/// The hunks of a unified diff, from the first `@@` on.
pub(super) fn hunks_of(diff: &str) -> Option<String> {
    let at = if diff.starts_with("@@") { 0 } else { diff.find("\n@@")? + 1 };
    Some(diff[at..].to_owned())
}

/// Lines that hunks add and remove.
pub(super) fn count_lines(hunks: &str) -> (u64, u64) {
    hunks.lines().fold((0, 0), |(added, removed), line| match line.as_bytes().first() {
        Some(b'+') => (added + 1, removed),
        Some(b'-') => (added, removed + 1),
        _ => (added, removed),
    })
}

/// Hunks told as JSON, in the shape of the `diff` package: `oldStart`, `oldLines`, `newStart`, `newLines`, `lines`.
pub(super) fn structured(patch: &[Value]) -> String {
    let mut text = String::new();
    for hunk in patch {
        let at = |start: &str, lines: &str| {
            let (start, lines) = (count(hunk, start), count(hunk, lines));
            // Of an empty side the diff format names the line before it.
            let start = if lines == 0 { start.saturating_sub(1) } else { start };
            format!("{start},{lines}")
        };
        text.push_str(&format!("@@ -{} +{} @@\n", at("oldStart", "oldLines"), at("newStart", "newLines")));
        for line in list(hunk, "lines").iter().filter_map(Value::as_str) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// An edit told only as a text and what took its place.
pub(super) fn replaced(path: &str, input: &Value, old: &str, new: &str) -> Edit {
    let lines = |key: &str| text(input, key).lines().count() as u64;
    Edit { path: path.to_owned(), status: "modified", lines: Some((lines(new), lines(old))), ..Edit::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(path: &str, status: &'static str, hunks: Option<&str>) -> Edit {
        let lines = hunks.map(count_lines);
        Edit { path: path.into(), status, lines, hunks: hunks.map(str::to_owned), ..Edit::default() }
    }

    #[test]
    fn edits_of_one_file_add_up() {
        let mut changes = Changes::default();
        changes.add(edit("/w/a.txt", "added", Some(&whole_file("one\n", '+').0)), "/w");
        changes.add(edit("./a.txt", "modified", Some("@@ -1,1 +1,1 @@\n-one\n+two\n")), "/w");
        let told = changes.take();
        assert_eq!(told.count, 1);
        assert_eq!(
            (told.files[0].status.as_str(), told.files[0].added, told.files[0].removed),
            ("added", Some(2), Some(1))
        );
        insta::assert_snapshot!(told.patch, @r"
        diff --git a/a.txt b/a.txt
        new file mode 100644
        --- /dev/null
        +++ b/a.txt
        @@ -0,0 +1,1 @@
        +one
        diff --git a/a.txt b/a.txt
        --- a/a.txt
        +++ b/a.txt
        @@ -1,1 +1,1 @@
        -one
        +two
        ");
        assert!(changes.take().files.is_empty());
    }

    #[test]
    fn what_is_not_told_whole_or_lies_outside_is_named_and_not_in_the_patch() {
        let mut changes = Changes::default();
        let hunk = Some("@@ -1,1 +1,1 @@\n-a\n+b\n");
        for (path, hunks) in [("/etc/passwd", hunk), ("../up", hunk), ("a\nb", hunk), ("told", hunk), ("untold", None)]
        {
            changes.add(edit(path, "modified", hunks), "/w");
        }
        // After a gap nothing more of that file.
        changes.add(edit("untold", "modified", hunk), "/w");
        let told = changes.take();
        assert_eq!(told.count, 5);
        let withheld: Vec<_> = told.withheld.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(withheld, ["/etc/passwd", "../up", "a\nb", "untold"]);
        assert_eq!(told.patch.matches("diff --git").count(), 1);
    }

    #[test]
    fn a_diff_of_git_is_taken_whole() {
        let diff = "diff --git a/a.txt b/a.txt\nindex 1..2 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1,2 @@\n-x\n+y\n+z\n\
                    diff --git a/b c b/b c\nnew file mode 100644\n--- /dev/null\n+++ b/b c\n@@ -0,0 +1 @@\n+q\n\
                    diff --git a/old b/new\nsimilarity index 100%\nrename from old\nrename to new\n\
                    diff --git a/p.png b/p.png\nindex 1..2 100644\nBinary files a/p.png and b/p.png differ\n";
        let mut changes = Changes::default();
        changes.add_diff(diff);
        let told = changes.take();
        let files: Vec<_> = told
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.status.as_str(), file.added, file.removed))
            .collect();
        let expected = [
            ("a.txt", "modified", Some(2), Some(1)),
            ("b c", "added", Some(1), Some(0)),
            ("new", "renamed", Some(0), Some(0)),
            ("p.png", "modified", None, None),
        ];
        assert_eq!((files.as_slice(), told.patch.as_str()), (expected.as_slice(), diff));
        changes.add_diff("no diff at all");
        assert!(changes.take().files.is_empty());
    }

    #[test]
    fn a_file_without_a_last_newline() {
        assert_eq!(whole_file("a\nb", '+'), ("@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n".into(), 2));
        assert_eq!(whole_file("", '+'), (String::new(), 0));
    }
}
