//! A patch as git writes it, read into files, hunks and lines.
//!
//! A patch comes from a record, so it may be anything: what is not understood becomes a note and is shown.
//! Must not know: how any of it is shown, and where the patch comes from.

use crate::visible;

/// What a patch does to one file.
#[derive(Debug, Default, PartialEq)]
pub struct FilePatch {
    /// Where the file is now, or was if it is gone. Safe to show, like all texts here.
    pub path: String,
    /// Where it was, if it was renamed.
    pub old_path: Option<String>,
    /// `added`, `modified`, `deleted`, `renamed`.
    pub status: &'static str,
    /// What there is to say beside lines: modes, that it is binary.
    pub notes: Vec<String>,
    /// What changes, in the order of the file.
    pub hunks: Vec<Hunk>,
}

impl FilePatch {
    /// Lines added and removed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let count = |kind| {
            self.hunks.iter().map(|hunk| hunk.lines.iter().filter(|line| line.kind == kind).count()).sum::<usize>()
        };
        (count(Kind::Added), count(Kind::Removed))
    }
}

/// Lines that stand together.
#[derive(Debug, PartialEq)]
pub struct Hunk {
    /// Its first line: `@@ -1,2 +1,3 @@ fn main()`.
    pub title: String,
    /// Number of its first line before.
    pub old: u64,
    /// And after.
    pub new: u64,
    /// Its lines, as they come.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// What becomes of it.
    pub kind: Kind,
    /// Without its mark and its end; tabs stay tabs.
    pub text: String,
    /// Whether it is the last of its file and has no line end.
    pub unended: bool,
}

/// What a patch does to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stays.
    Context,
    /// It goes.
    Removed,
    /// It comes.
    Added,
}

/// Reads a patch.
#[must_use]
pub fn parse(patch: &[u8]) -> Vec<FilePatch> {
    let mut files: Vec<FilePatch> = Vec::new();
    // Lines that the hunk at work still lacks, before and after.
    let (mut old_left, mut new_left) = (0_u64, 0_u64);
    let mut is_binary = false;
    for raw in patch.split_inclusive(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(raw.strip_suffix(b"\n").unwrap_or(raw));
        if old_left > 0 || new_left > 0 {
            let hunk = files.last_mut().and_then(|file| file.hunks.last_mut());
            let kind = match line.as_bytes().first() {
                Some(b'+') if new_left > 0 => Some(Kind::Added),
                Some(b'-') if old_left > 0 => Some(Kind::Removed),
                Some(b' ') | None if old_left > 0 && new_left > 0 => Some(Kind::Context),
                _ => None,
            };
            if let (Some(hunk), Some(kind)) = (hunk, kind) {
                old_left -= u64::from(kind != Kind::Added);
                new_left -= u64::from(kind != Kind::Removed);
                hunk.lines.push(Line { kind, text: clean(line.get(1..).unwrap_or_default()), unended: false });
                continue;
            }
        }
        if line.starts_with('\\') {
            if let Some(last) = last_line(&mut files) {
                last.unended = true;
            }
            continue;
        }
        (old_left, new_left) = (0, 0);
        if let Some(names) = line.strip_prefix("diff --git ") {
            is_binary = false;
            files.push(FilePatch { path: git_path(names), status: "modified", ..FilePatch::default() });
            continue;
        }
        if files.is_empty() {
            files.push(FilePatch { path: "patch".into(), status: "modified", ..FilePatch::default() });
        }
        let Some(file) = files.last_mut() else { continue };
        if let Some(range) = Range::read(&line) {
            (old_left, new_left) = (range.old_count, range.new_count);
            file.hunks.push(Hunk { title: clean(&line), old: range.old, new: range.new, lines: Vec::new() });
        } else if !is_binary {
            is_binary = header(&line, file);
        }
    }
    files
}

fn last_line(files: &mut [FilePatch]) -> Option<&mut Line> {
    files.last_mut()?.hunks.last_mut()?.lines.last_mut()
}

/// Takes in a line between `diff --git` and the first hunk; true when bytes of a binary file follow.
fn header(line: &str, file: &mut FilePatch) -> bool {
    let after = |prefix: &str| line.strip_prefix(prefix);
    if let Some(mode) = after("new file mode ") {
        file.status = "added";
        if mode != "100644" {
            file.notes.push(mode_words(mode));
        }
    } else if after("deleted file mode ").is_some() {
        file.status = "deleted";
    } else if let Some(mode) = after("old mode ") {
        file.notes.push(mode_words(mode));
    } else if let Some(mode) = after("new mode ") {
        let was = file.notes.pop().unwrap_or_default();
        file.notes.push(format!("{was} → {}", mode_words(mode)));
    } else if let Some(path) = after("rename from ") {
        file.status = "renamed";
        file.old_path = Some(unquoted(path));
    } else if let Some(path) = after("rename to ") {
        file.path = unquoted(path);
    } else if let Some(path) = after("+++ ").or_else(|| after("--- ")) {
        // The better source of a name: `diff --git` does not tell where the first ends.
        if path != "/dev/null" && file.old_path.is_none() {
            let path = unquoted(path.trim_end_matches('\t'));
            file.path = path.split_once('/').map_or(path.clone(), |(_, rest)| rest.to_owned());
        }
    } else if line == "GIT binary patch" {
        file.notes.push("binary".into());
        return true;
    } else if !(line.is_empty() || after("index ").is_some() || after("similarity index ").is_some()) {
        file.notes.push(clean(line));
    }
    false
}

fn mode_words(mode: &str) -> String {
    match mode {
        "100644" => "a plain file".into(),
        "100755" => "executable".into(),
        "120000" => "a symbolic link".into(),
        "160000" => "a submodule".into(),
        other => format!("mode {}", visible(other)),
    }
}

struct Range {
    old: u64,
    old_count: u64,
    new: u64,
    new_count: u64,
}

impl Range {
    /// Reads `@@ -OLD[,COUNT] +NEW[,COUNT] @@…`.
    fn read(line: &str) -> Option<Self> {
        let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
        let (new, _) = rest.split_once(" @@")?;
        let pair = |text: &str| match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        };
        let ((old, old_count), (new, new_count)) = (pair(old)?, pair(new)?);
        Some(Self { old, old_count, new, new_count })
    }
}

/// The name in `a/NAME b/NAME`, which git quotes when it must.
fn git_path(names: &str) -> String {
    let second = if names.starts_with('"') {
        names.split_once("\" ").map(|(_, second)| second)
    } else {
        // Both names are the same unless the file was renamed, and then other lines tell.
        names.get(names.len() / 2 + 1..)
    };
    let name = unquoted(second.unwrap_or(names));
    name.strip_prefix("b/").map_or(name.clone(), str::to_owned)
}

/// A name without git's quotes, safe to show.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return visible(name).into_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let octal = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &rest[3..];
            continue;
        }
        let Some((escaped, more)) = rest.split_first() else { break };
        rest = more;
        bytes.push(match escaped {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            other => *other,
        });
    }
    visible(&String::from_utf8_lossy(&bytes)).into_owned()
}

/// A line with nothing in it that acts on a terminal; tabs stay.
fn clean(line: &str) -> String {
    line.split('\t').map(visible).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_modes_and_kinds() {
        let patch = "diff --git a/old name b/new name\nsimilarity index 90%\nrename from old name\nrename to new name\n\
             index 1..2 100644\n--- a/old name\t\n+++ b/new name\t\n@@ -1 +1,2 @@ fn f\n--- a\n+++ b\n+c\n\\ No newline at end of file\n\
             diff --git \"a/\\303\\244\\t\" \"b/\\303\\244\\t\"\nnew file mode 100755\nindex 0..1\n\
             diff --git a/x y b/x y\nold mode 100644\nnew mode 100755\n\
             diff --git a/logo.png b/logo.png\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZ\n@@ -1 +1 @@\n\nliteral 0\n";
        let files = parse(patch.as_bytes());
        let about: Vec<_> = files.iter().map(|f| (f.status, f.path.as_str(), f.counts(), f.notes.join("; "))).collect();
        assert_eq!(about[0], ("renamed", "new name", (2, 1), String::new()));
        assert_eq!(files[0].old_path.as_deref(), Some("old name"));
        assert_eq!(files[0].hunks[0].lines[0].text, "-- a", "what begins like a header is a line where one is due");
        assert!(files[0].hunks[0].lines[2].unended);
        assert_eq!(about[1], ("added", "ä␉", (0, 0), "executable".into()));
        assert_eq!(about[2], ("modified", "x y", (0, 0), "a plain file → executable".into()));
        assert_eq!(about[3].1, "logo.png");
        assert!(about[3].3.starts_with("binary"));
    }

    #[test]
    fn anything_is_read_and_nothing_acts() {
        let nasty = "\u{1b}[31m\u{202e}";
        for patch in [
            nasty.to_owned(),
            format!("@@ -1 +1 @@{nasty}\n-{nasty}\n+{nasty}\n{nasty}"),
            format!("diff --git {nasty}\n--- {nasty}\n+++ \"{nasty}\n@@ -18446744073709551615,99 +1,99 @@\n {nasty}\n"),
            "diff --git \"\nrename from \"\\\"\n".to_owned(),
            "diff --git é\n".to_owned(),
        ] {
            let shown = format!("{:?}", parse(patch.as_bytes()));
            assert!(!shown.contains("u{1b}") && !shown.contains("u{202e}"), "{shown}");
        }
    }
}
