//! What is at a path of a working tree, by its metadata: whether it is still the same file, without reading it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use crate::beneath;

/// The file system and the mount a file is on: a rename works only within one.
pub(crate) type Mount = (u32, u32, u64);

/// The metadata of a file, a link or a directory.
#[derive(Clone, Debug)]
pub(crate) struct FileStat(Statx);

impl FileStat {
    /// What is called `name` in `directory`, itself and not where it leads; `None`: nothing.
    pub(crate) fn at(directory: BorrowedFd<'_>, name: &Path) -> io::Result<Option<Self>> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        match rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, mask) {
            Ok(stat) => Ok(Some(Self(stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The open directory itself.
    pub(crate) fn of(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        Ok(Self(rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, mask)?))
    }

    /// What is at `path` below `top`; `None`: nothing, or only by way of a link.
    pub(crate) fn below(top: BorrowedFd<'_>, path: &[u8]) -> io::Result<Option<Self>> {
        match beneath::parent(top, path) {
            Ok((parent, name)) => Self::at(parent.as_fd(), name),
            Err(error) if beneath::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()).is_dir()
    }

    pub(crate) fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()).is_symlink()
    }

    pub(crate) fn mode(&self) -> u32 {
        self.0.stx_mode.into()
    }

    pub(crate) fn owner(&self) -> u32 {
        self.0.stx_uid
    }

    pub(crate) fn group(&self) -> u32 {
        self.0.stx_gid
    }

    pub(crate) fn mount(&self) -> Mount {
        (self.0.stx_dev_major, self.0.stx_dev_minor, self.0.stx_mnt_id)
    }

    pub(crate) fn has(&self, attribute: StatxAttributes) -> bool {
        (self.0.stx_attributes & self.0.stx_attributes_mask).contains(attribute)
    }

    /// Whether it is the same file, whatever became of it.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        let file = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        file(&self.0) == file(&other.0)
    }

    /// Bytes that removing it sets free.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        if self.0.stx_nlink == 1 { self.0.stx_blocks.saturating_mul(512) } else { 0 }
    }

    /// Whether it is unchanged in between.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_same_content(other) && is_equal(self.0.stx_ctime, other.0.stx_ctime)
    }

    /// Whether it is the same file with the same content; it may have been moved.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        let shape = |stat: &Statx| (stat.stx_mode, stat.stx_size);
        self.is_same_file(other) && shape(&self.0) == shape(&other.0) && is_equal(self.0.stx_mtime, other.0.stx_mtime)
    }
}

fn is_equal(one: StatxTimestamp, other: StatxTimestamp) -> bool {
    (one.tv_sec, one.tv_nsec) == (other.tv_sec, other.tv_nsec)
}
