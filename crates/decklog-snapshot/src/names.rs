//! Looking at names before they are recorded: a tree and a patch hold them as they are.

use std::path::Path;

use crate::{FileScanner, WithheldReason};

/// For each path, whether it holds a secret. `prefix` is put before the names that the scanner gets.
pub(crate) fn secrets_in_names<'a>(
    prefix: &[u8],
    paths: impl Iterator<Item = &'a [u8]> + Clone,
    scan: &mut dyn FileScanner,
) -> Vec<Option<WithheldReason>> {
    // No name holds a NUL: one look for all of them, since hardly ever one has a secret.
    let mut all = Vec::new();
    for path in paths.clone() {
        all.extend_from_slice(prefix);
        all.extend_from_slice(path);
        all.push(0);
    }
    if in_name(&all, scan).is_none() {
        return vec![None; paths.count()];
    }
    paths.map(|path| in_name(&[prefix, path].concat(), scan)).collect()
}

/// Whether a path holds a secret.
pub(crate) fn in_name(path: &[u8], scan: &mut dyn FileScanner) -> Option<WithheldReason> {
    match scan.secret_in(Path::new(""), &mut &*path) {
        Ok(rule) => rule.map(|rule| WithheldReason::SecretName { rule }),
        Err(error) => Some(WithheldReason::Unreadable { error: error.to_string() }),
    }
}
