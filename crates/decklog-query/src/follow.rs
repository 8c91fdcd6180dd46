//! Following a file as `tail -F` does: through growth, truncation and replacement.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use decklog_journal::files::open_regular;

/// Reads a file that may grow, shrink or be replaced.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    position: u64,
    inode: u64,
}

impl FileFollower {
    /// Follows `path` from its beginning. It need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Reads what has come since, at most `buffer.len()` bytes; 0 when nothing has.
    ///
    /// # Errors
    /// When reading fails; a file that is not there is no error.
    pub fn poll(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(open) = &mut self.open {
            let count = open.file.read(buffer)?;
            if count > 0 {
                open.position += count as u64;
                return Ok(count);
            }
            // At the end: is it still the same file, and not shorter than what was read?
            let replaced = match self.path.symlink_metadata() {
                Ok(meta) => meta.ino() != open.inode,
                Err(_) => false,
            };
            if open.file.metadata()?.len() < open.position {
                open.file.seek(SeekFrom::Start(0))?;
                open.position = 0;
            } else if !replaced {
                return Ok(0);
            } else {
                self.open = None;
            }
        }
        if self.open.is_none() {
            match open_regular(&self.path) {
                Ok(file) => {
                    let inode = file.metadata()?.ino();
                    self.open = Some(Open { file, position: 0, inode });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        let Some(open) = &mut self.open else { return Ok(0) };
        let count = open.file.read(buffer)?;
        open.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(follower: &mut FileFollower) -> String {
        let mut buffer = [0; 4];
        let mut all = Vec::new();
        while let Ok(count @ 1..) = follower.poll(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(all).expect("text")
    }

    #[test]
    fn growth_truncation_and_replacement() -> io::Result<()> {
        use std::io::Write;
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("log");
        let mut follower = FileFollower::new(&path);
        assert_eq!(drain(&mut follower), "");
        std::fs::write(&path, "one\n")?;
        assert_eq!(drain(&mut follower), "one\n");
        let mut file = File::options().append(true).open(&path)?;
        file.write_all(b"two two\n")?;
        assert_eq!(drain(&mut follower), "two two\n");
        file.set_len(0)?;
        file.write_all(b"three\n")?;
        assert_eq!(drain(&mut follower), "three\n");
        std::fs::rename(&path, dir.path().join("log.1"))?;
        file.write_all(b"late\n")?;
        assert_eq!(drain(&mut follower), "late\n");
        std::fs::write(&path, "four\n")?;
        assert_eq!(drain(&mut follower), "four\n");
        Ok(())
    }
}
