//! Looks through the tracked files for what only one machine knows and for what nobody should.

use std::path::Path;
use std::process::{Command, Stdio};

use decklog_journal::redact::{Redactor, Rules};

use crate::{Result, root};

/// Made-up secrets and paths are what these are about.
const EXEMPT: &[&str] = &[
    "crates/decklog-journal/src/redact",
    "crates/decklog-journal/tests/redact",
    "crates/decklog-run/tests/streams/",
    "xtask/src/tree.rs",
];

/// What marks a line, and what it is. A name in a home directory is one of a person who is not made up.
const MARKS: &[(&str, &str)] = &[
    ("/root/", "a path of one machine"),
    ("://registry.", "the host of a package registry"),
    ("://index.", "the host of a package registry"),
    ("://deb.", "the host of a package registry"),
];

/// Home directories of nobody in particular.
const NOBODY: &[&str] = &["me", "you", "user", "dev", "ada", "x"];

/// Fails when something is found, after naming all of it.
pub(crate) fn check() -> Result<()> {
    let redactor = Redactor::builder().rules(&Rules::built_in()).build();
    let mut found = 0;
    let mut looked = 0;
    for file in files()? {
        if EXEMPT.iter().any(|exempt| file.starts_with(exempt)) {
            continue;
        }
        // A file that was removed and is still tracked holds nothing.
        let Ok(bytes) = std::fs::read(root().join(&file)) else { continue };
        looked += 1;
        for (line, what) in look(&bytes, &redactor) {
            println!("{file}:{line}: {what}");
            found += 1;
        }
    }
    println!("{looked} files looked at");
    if found == 0 { Ok(()) } else { Err(format!("{found} lines must not be in the tree").into()) }
}

/// Files of the checkout that are tracked or would be.
fn files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", output.status).into());
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut files: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    files.retain(|file| !root().join(Path::new(file)).is_symlink());
    files.dedup();
    Ok(files)
}

fn look(bytes: &[u8], redactor: &Redactor) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = String::from_utf8_lossy(line);
        for (mark, what) in MARKS {
            if text.contains(mark) {
                found.push((number + 1, format!("{what}: {mark}")));
            }
        }
        if let Some(name) = home(&text) {
            found.push((number + 1, format!("a person's home directory: {name}")));
        }
    }
    if let Some(finding) = redactor.find(bytes) {
        let number = bytes[..finding.range.start].iter().filter(|byte| **byte == b'\n').count();
        found.push((number + 1, format!("what looks like a secret ({})", finding.name)));
    }
    found
}

/// The name in the first `/home/NAME/` of a line that is somebody's.
fn home(line: &str) -> Option<&str> {
    line.split("/home/").skip(1).find_map(|rest| {
        let name = rest.split_once('/')?.0;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        (is_name && !NOBODY.contains(&name)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_there_is_found() {
        let redactor = Redactor::builder().rules(&Rules::built_in()).build();
        let token = format!("gh{}_{}", "p", "0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0kPmN9");
        let text = format!("fine\n/root/x\n/home/me/x {{home}}/home/work\n/home/jane/x\n{token}\n");
        let lines: Vec<usize> = look(text.as_bytes(), &redactor).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }
}
