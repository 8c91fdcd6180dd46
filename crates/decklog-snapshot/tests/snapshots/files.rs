//! What lies in a directory, and things to do to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Files and links by their path; directories only as far as they hold some.
pub(crate) type Files = BTreeMap<Vec<u8>, Entry>;

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    File { executable: bool, content: Vec<u8> },
    Link(PathBuf),
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { executable, content } => {
                let start = content[..content.len().min(60)].escape_ascii();
                write!(f, "file{} {start} ({})", if *executable { "*" } else { "" }, content.len())
            }
            Self::Link(to) => write!(f, "-> {}", to.display()),
        }
    }
}

/// All files below `directory`, but for any `.git` and those for which `ignored` says so.
pub(crate) fn read_files(directory: &Path, ignored: &dyn Fn(&[u8]) -> bool) -> Files {
    let mut files = Files::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(here) = pending.pop() {
        for entry in fs::read_dir(&here).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().as_os_str().as_bytes().to_vec();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if path.file_name() == Some(OsStr::new(".git")) || ignored(&name) {
                continue;
            }
            if metadata.is_dir() {
                pending.push(path);
            } else if metadata.is_symlink() {
                files.insert(name, Entry::Link(fs::read_link(&path).unwrap()));
            } else if metadata.is_file() {
                let executable = metadata.mode() & 0o100 != 0;
                files.insert(name, Entry::File { executable, content: fs::read(&path).unwrap() });
            }
        }
    }
    files
}

/// Copies a directory with all in it but `.git`.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, entry) in read_files(from, &|_| false) {
        let path = to.join(OsStr::from_bytes(&name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry {
            Entry::File { executable, content } => {
                fs::write(&path, content).unwrap();
                let mode = if executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
            Entry::Link(target) => symlink(target, &path).unwrap(),
        }
    }
}

/// Something an agent does.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Write(&'static [u8], Vec<u8>),
    Executable(&'static [u8], bool),
    Link(&'static [u8], &'static [u8]),
    Delete(&'static [u8]),
    Rename(&'static [u8], &'static [u8]),
    EmptyDirectory(&'static [u8]),
}

impl Do {
    /// Does it below `directory`, making room where something else is in the way.
    pub(crate) fn run(&self, directory: &Path) {
        let at = |name: &[u8]| directory.join(OsStr::from_bytes(name));
        match self {
            Self::Write(name, content) => {
                make_room(directory, name);
                fs::write(at(name), content).unwrap();
            }
            Self::Executable(name, on) => {
                let path = at(name);
                if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                    let mode = if *on { 0o755 } else { 0o644 };
                    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
                }
            }
            Self::Link(name, target) => {
                make_room(directory, name);
                symlink(OsStr::from_bytes(target), at(name)).unwrap();
            }
            Self::Delete(name) => remove(&at(name)),
            Self::Rename(from, to) => {
                let inside = to.strip_prefix(*from).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
                if fs::symlink_metadata(at(from)).is_ok() && !inside && !reaches(directory, from, to) {
                    make_room(directory, to);
                    fs::rename(at(from), at(to)).unwrap();
                }
            }
            Self::EmptyDirectory(name) => {
                make_room(directory, name);
                fs::create_dir(at(name)).unwrap();
            }
        }
    }
}

/// Whether making room for `to` would take `from` away.
fn reaches(directory: &Path, from: &[u8], to: &[u8]) -> bool {
    let through_a_link = |name: &[u8]| {
        let mut path = directory.to_owned();
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
        parts[..parts.len() - 1].iter().any(|part| {
            path.push(OsStr::from_bytes(part));
            path.is_symlink()
        })
    };
    from.strip_prefix(to).is_some_and(|rest| rest.is_empty() || rest[0] == b'/') || through_a_link(from)
}

/// Makes the parents of `name` directories, and `name` absent.
fn make_room(directory: &Path, name: &[u8]) {
    let mut path = directory.to_owned();
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    for part in &parts[..parts.len() - 1] {
        path.push(OsStr::from_bytes(part));
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            remove(&path);
            fs::create_dir(&path).unwrap();
        }
    }
    remove(&directory.join(OsStr::from_bytes(name)));
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}
