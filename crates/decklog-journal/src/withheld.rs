//! Lists of the files that a snapshot withholds: naming them in little room, and telling whether a file may be among
//! them.
//!
//! What such a list names is neither removed nor replaced by a restoration, so a list that has no room for all names the
//! directories they are in. Must not know: git.

use std::collections::{BTreeMap, HashSet};

use crate::event::Withheld;

/// The path by which a list says that any file may be withheld.
pub const ANY: &str = "*";

/// How a marker begins that the redactor leaves in a path.
const MARKER: &str = "[redacted:";

/// Names `files` in about `limit` bytes of JSON. Where they are too many, directories stand for what is in them.
#[must_use]
pub fn within(files: &[Withheld], limit: usize) -> Vec<Withheld> {
    if bytes(files) <= limit {
        return files.to_vec();
    }
    for depth in (1..=4).rev() {
        let named = by_directory(files, depth);
        if bytes(&named) <= limit {
            return named;
        }
    }
    vec![group(ANY, files.len())]
}

fn bytes(files: &[Withheld]) -> usize {
    let written = |text: &str| serde_json::to_string(text).map_or(0, |text| text.len());
    files.iter().map(|file| written(&file.path) + written(&file.reason) + 50).sum()
}

fn group(path: &str, count: usize) -> Withheld {
    Withheld { path: path.to_owned(), reason: format!("{count} files, too many to be named") }
}

/// The same with directories at most `depth` deep instead of more than one file in them.
fn by_directory(files: &[Withheld], depth: usize) -> Vec<Withheld> {
    let mut directories: BTreeMap<&str, Vec<&Withheld>> = BTreeMap::new();
    for file in files {
        let end = file.path.match_indices('/').nth(depth - 1).map_or(file.path.len(), |(at, _)| at);
        directories.entry(&file.path[..end]).or_default().push(file);
    }
    let named = |(path, inside): (&str, Vec<&Withheld>)| match inside.as_slice() {
        [one] => (*one).clone(),
        more => group(path, more.len()),
    };
    directories.into_iter().map(named).collect()
}

/// What a list of withheld files covers.
#[derive(Debug, Default)]
pub struct Covered<'a> {
    paths: HashSet<&'a str>,
    /// The beginnings of paths that are not known whole.
    beginnings: Vec<&'a str>,
}

impl<'a> Covered<'a> {
    /// What `files` covers.
    #[must_use]
    pub fn by(files: &'a [Withheld]) -> Self {
        let mut covered = Self::default();
        files.iter().for_each(|file| covered.add(&file.path));
        covered
    }

    /// Has it cover `path`, as such a list names it, too.
    pub fn add(&mut self, path: &'a str) {
        match path.find(MARKER) {
            _ if path == ANY => self.beginnings.push(""),
            Some(at) => self.beginnings.push(&path[..at]),
            None => drop(self.paths.insert(path)),
        }
    }

    /// Whether the file at `path`, with U+FFFD for what is no UTF-8, may be one of them or in a directory that is.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        self.beginnings.iter().any(|beginning| path.starts_with(beginning))
            || ends.into_iter().any(|end| self.paths.contains(&path[..end]))
    }
}

/// Whether the path names one file, and not what may be several.
#[must_use]
pub fn is_exact(path: &str) -> bool {
    path != ANY && !path.contains(MARKER) && !path.contains(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(paths: &[&str]) -> Vec<Withheld> {
        paths.iter().map(|path| Withheld { path: (*path).to_owned(), reason: "too large".into() }).collect()
    }

    #[test]
    fn directories_stand_for_what_has_no_room() {
        let files: Vec<String> = (0..100).map(|n| format!("a/b/c/d/e/{n}")).chain(["x".into()]).collect();
        let files = list(&files.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(within(&files, 100_000).len(), 101);
        let named = within(&files, 1000);
        assert_eq!(named.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a/b/c/d", "x"]);
        assert_eq!(named[0].reason, "100 files, too many to be named");
        assert_eq!(within(&files, 10)[0].path, ANY);
    }

    #[test]
    fn a_list_covers_files_and_directories() {
        let files = list(&["key", "dir", "in/[redacted:token].txt", "odd\u{fffd}"]);
        let covered = Covered::by(&files);
        for path in ["key", "dir", "dir/x", "dir/y/z", "in/secret.txt", "in/x", "odd\u{fffd}", "key/now/a/directory"] {
            assert!(covered.holds(path), "{path}");
        }
        for path in ["keys", "di", "directory/x", "other", "in"] {
            assert!(!covered.holds(path), "{path}");
        }
        assert!(Covered::by(&list(&[ANY])).holds("anything/at/all"));
    }

    proptest! {
        /// However little room there is, no file is forgotten.
        #[test]
        fn what_is_named_covers_all(paths in prop::collection::vec("[ab]{1,3}(/[ab]{1,3}){0,6}", 0..60), limit in 0usize..4000) {
            let files = list(&paths.iter().map(String::as_str).collect::<Vec<_>>());
            let named = within(&files, limit);
            let covered = Covered::by(&named);
            prop_assert!(paths.iter().all(|path| covered.holds(path)));
            prop_assert!(bytes(&named) <= limit.max(150));
        }
    }
}
