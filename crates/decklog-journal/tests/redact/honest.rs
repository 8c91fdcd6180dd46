//! Honest files in which nothing may be found: a false alarm costs a transcript its text, or a diff a whole file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use decklog_journal::redact::*;

use crate::samples::{hex, random, word};

const B64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Enough of a large directory, in a test without optimisation.
const MAX_BYTES: usize = 8 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files below a directory with one of these endings, in order, up to [`MAX_BYTES`].
fn files(dir: &Path, endings: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut bytes, mut dirs) = (Vec::new(), 0, vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&dir).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() && endings.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                let content = std::fs::read(&path).unwrap_or_default();
                bytes += content.len();
                found.push((path, content));
                if bytes > MAX_BYTES {
                    return found;
                }
            }
        }
    }
    found
}

#[test]
fn lock_files_hashes_and_identifiers() {
    let redactor = Redactor::builder().build();
    let uuid = |seed: usize| {
        let digits = &hex(64 + seed)[seed..];
        format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[12..15], &digits[15..18], &digits[18..30])
    };
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    for lock in
        ["Cargo.lock", "crates/decklog/tests/agents/package-lock.json", "crates/decklog-web/ui/package-lock.json"]
    {
        let text = std::fs::read(root().join(lock)).unwrap_or_else(|error| panic!("{lock}: {error}"));
        texts.push((lock.to_owned(), text));
    }
    for seed in 0..200 {
        let sha1 = hex(40 + seed)[seed..].to_owned();
        let sha256 = hex(64 + seed)[seed..].to_owned();
        let sri = &random(86 + seed, B64)[seed..];
        let text = format!(
            "commit {sha1}\nindex {}..{} 100644\n{sha256}  file.tar.gz\nid: {}\nkey: {}\n\"key\":\"{sha256}\",\
             entry: {sha256}\nlinear: {}\nintegrity sha512-{sri}==\n--hash=sha256:{sha256}\ncache_key = \"{sha256}\"\n\
             etag: W/\"{}\"\ntoolu_{} msg_{} req_{}\nimage@sha256:{sha256}\nsha256~{}\ndata:image/png;base64,{}\n",
            &sha1[..10],
            &sha1[10..20],
            uuid(seed),
            uuid(seed + 1),
            uuid(seed),
            &sha256[..27],
            word(24),
            word(24),
            word(24),
            &sha1[..12],
            &random(3000 + seed, B64)[seed..],
        );
        texts.push((format!("generated {seed}"), text.into_bytes()));
    }
    for (name, text) in texts {
        if let Cow::Owned(out) = redactor.redact(&text) {
            let out = String::from_utf8_lossy(&out).into_owned();
            let at = out.find("[redacted:").unwrap_or(0);
            panic!("{name}: {}", &out[out.floor_char_boundary(at.saturating_sub(80))..out.ceil_char_boundary(at + 40)]);
        }
    }
}

/// The sources of this project, and minified scripts of packages where some are installed.
#[test]
fn source_code_is_not_withheld() {
    let redactor = Redactor::builder().build();
    let mut all = files(&root().join("crates/decklog-run/src"), &[".rs"]);
    all.extend(files(&root().join("crates/decklog-web"), &[".ts", ".js", ".css", ".json"]));
    all.extend(files(&root().join("docs"), &[".md"]));
    all.extend(files(Path::new("/usr/lib/node_modules"), &[".js", ".json", ".md"]));
    for (path, content) in all {
        if let Some(found) = redactor.find(&content) {
            panic!("{}: {found:?}", path.display());
        }
    }
}
