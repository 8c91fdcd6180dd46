//! The first index: a copy of the user's, so that git need not read files it knows unchanged.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use crate::git::{Git, Stdin};
use crate::index::{Survey, survey};
use crate::names::secrets_in_names;
use crate::private::PrivateDir;
use crate::repository::Found;
use crate::trees::Trees;
use crate::{FileScanner, SnapshotError};

/// Copies the index of `found` into `private`, for `reader` and `writer` to go on with, without entries whose
/// names hold a secret. Returns the paths of its submodules.
pub(crate) fn seed(
    found: &Found,
    private: &PrivateDir,
    (reader, writer): (&Git, &Git),
    trees: &mut Trees,
    prefix: &[u8],
    scan: &mut dyn FileScanner,
) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let Some((content, modified)) = read(&found.index)? else {
        return Ok(Vec::new());
    };
    let index = private.index();
    write(&index, &content, modified).map_err(SnapshotError::io("write", &index))?;
    let mut known = survey(&content, found.format);
    if let Some(Survey { shared: Some(id), .. }) = &known {
        copy_shared(&found.repository.git_dir, private, id)?;
    }
    if known.as_ref().is_none_or(|known| !known.sparse.is_empty() || known.shared.is_some()) {
        // Written whole: one file, with every path in it. For that git stores trees.
        trees.fill(reader, &found.repository.head_tree, known.iter().flat_map(|known| &known.sparse))?;
        writer.run(&["update-index", "--force-write-index"], Stdin::none())?;
        known = read(&index)?.and_then(|(content, _)| survey(&content, found.format));
    }
    let Some(mut known) = known else {
        return Err(SnapshotError::unexpected(format!("the index {}", found.index.display())));
    };
    if !known.assumed_unchanged.is_empty() {
        let paths = Stdin::records(known.assumed_unchanged.iter().map(Vec::as_slice), 0)?;
        writer.run(&["update-index", "--no-assume-unchanged", "-z", "--stdin"], paths)?;
    }
    let paths = || known.paths.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let named = secrets_in_names(prefix, paths(), scan);
    let named: Vec<&[u8]> = paths().zip(named).filter_map(|(path, reason)| reason.map(|_| path)).collect();
    if !named.is_empty() {
        let records = Stdin::records(named.iter().copied(), 0)?;
        reader.run(&["update-index", "--force-remove", "-z", "--stdin"], records)?;
        known.gitlinks.retain(|path| !named.contains(&path.as_slice()));
    }
    Ok(known.gitlinks)
}

/// A file's content with its time, of one and the same state; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<(Vec<u8>, SystemTime)>, SnapshotError> {
    let read = || -> io::Result<(Vec<u8>, SystemTime)> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut content)?;
        Ok((content, metadata.modified()?))
    };
    match read() {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SnapshotError::io("read", path)(error)),
    }
}

/// By the time of the index git tells which files may have changed unseen right after it was
/// written, so the copy must have the same.
fn write(path: &Path, content: &[u8], modified: SystemTime) -> io::Result<()> {
    fs::write(path, content)?;
    File::options().write(true).open(path)?.set_times(FileTimes::new().set_modified(modified))
}

fn copy_shared(git_dir: &Path, private: &PrivateDir, id: &str) -> Result<(), SnapshotError> {
    let name = format!("sharedindex.{id}");
    let from = git_dir.join(&name);
    let to = private.file(&name);
    fs::copy(&from, &to).map(drop).map_err(SnapshotError::io("copy", &from))
}
