//! Scanning stored content for secrets.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::git::{Git, Stdin};
use crate::{FileScanner, SnapshotError, WithheldReason};

/// For each object, why it is to be withheld: it holds a secret, or the scanner cannot tell.
/// `paths` are what the scanner is told. An object that is not there holds none.
pub(crate) fn secrets_in(
    git: &Git,
    ids: &[&str],
    paths: &[&Path],
    scan: &mut dyn FileScanner,
) -> Result<Vec<Option<WithheldReason>>, SnapshotError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let input = Stdin::records(ids.iter().map(|id| id.as_bytes()), b'\n')?;
    let mut running = git.start(&["cat-file", "--batch", "--buffer"], input)?;
    let mut reasons = Vec::new();
    let mut output = BufReader::with_capacity(64 << 10, running.stdout());
    for path in paths {
        let reason = next(&mut output, path, scan).map_err(SnapshotError::io("read the stored content of", path))?;
        reasons.push(reason);
    }
    drop(output);
    running.finish()?;
    Ok(reasons)
}

fn next(output: &mut impl BufRead, path: &Path, scan: &mut dyn FileScanner) -> io::Result<Option<WithheldReason>> {
    let mut header = String::new();
    output.read_line(&mut header)?;
    let mut words = header.split_whitespace().skip(1);
    let size = match (words.next(), words.next()) {
        (Some("missing"), None) => return Ok(None),
        (Some("blob"), Some(size)) => size.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other(format!("git cat-file said {header:?}"))),
    };
    let mut content = output.by_ref().take(size);
    let found = scan.secret_in(path, &mut content);
    io::copy(&mut content, &mut io::sink())?;
    output.read_exact(&mut [0])?;
    Ok(match found {
        Ok(rule) => rule.map(|rule| WithheldReason::Secret { rule }),
        Err(error) => Some(WithheldReason::Unreadable { error: error.to_string() }),
    })
}
