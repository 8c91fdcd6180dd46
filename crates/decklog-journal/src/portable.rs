//! Sessions in one file, and back: a tar archive, compressed with zstd.
//!
//! Its first entry, [`MANIFEST`], names every file that follows with its length and SHA-256, in the order in which
//! they follow: `ID/journal.jsonl`, `ID/turns/…`. Unpacking takes exactly that, or nothing: an archive may come from
//! anywhere. The same sessions make the same bytes.
//!
//! Packed is what a session directory holds of decklog's own names, as it stands; not its lock, nor what is foreign.
//! Must not know: where archives are kept, what is in the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::artifacts::{self, LOGS_DIR, OBJECTS_DIR, RESUME_DIR, TORN_FILE, TURNS_DIR};
use crate::expand;
use crate::files::{Access, open_in};
use crate::head::HEAD_FILE;
use crate::id::SessionId;
use crate::lock::{self, Held};
use crate::session::JOURNAL_FILE;
use crate::verify::verify;
use crate::wire::hex;

mod bounded;
mod unpack;

pub use unpack::{Arrived, Content, Unpacked, contents, unpack};

/// Name of an archive's first entry.
pub const MANIFEST: &str = "decklog.json";

/// Version of the archive's own shape.
const VERSION: u32 = 1;

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together, unpacked; and bytes that those of them which are compressed themselves expand to.
    pub bytes: u64,
    /// Bytes of the manifest.
    pub manifest: u64,
    /// Bytes of the archive itself, where that is known.
    pub packed: Option<u64>,
    /// How many times as many bytes may come out of what is compressed as went in, beyond [`expand::FREE`].
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, manifest: 256 << 20, packed: None, ratio: expand::RATIO }
    }
}

/// Why sessions were not packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PortableError {
    /// A file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A session is being recorded.
    #[error("session {0} is being recorded: it can be packed when that is over")]
    Live(SessionId),
    /// The archive cannot be written.
    #[error("the archive cannot be written: {0}")]
    Output(io::Error),
    /// It unpacks to more than the limits allow. Nothing was unpacked.
    #[error("nothing was unpacked: {0}")]
    Limit(String),
    /// It is no archive of sessions, or not a whole one. Nothing was unpacked.
    #[error("this is no whole archive of sessions, so nothing was unpacked: {0}")]
    Archive(String),
    /// A session of this id is there, with other content. Nothing was unpacked.
    #[error(
        "session {0} is there already and is another one, so nothing was unpacked: \
         unpack it under another session root, or discard the one that is there"
    )]
    Other(SessionId),
    /// It is from a newer version.
    #[error("the archive is of version {0}, which this decklog cannot read: use a newer decklog")]
    Version(u32),
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    archive: u32,
    sessions: Vec<Packed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    id: SessionId,
    /// Whether `verify` found nothing wrong with it.
    verified: bool,
    files: Vec<PackedFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PackedFile {
    path: String,
    bytes: u64,
    sha256: String,
}

/// Whether `file` begins as an archive does: with a manifest in a tar in zstd.
#[must_use]
pub fn is_archive(file: impl Read) -> bool {
    let mut block = [0; 512];
    let read = zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_exact(&mut block));
    read.is_ok() && block.starts_with(MANIFEST.as_bytes()) && block[MANIFEST.len()] == 0
}

/// Packs sessions, each an id and its directory, into `out`. The order given means nothing. Gives the bytes packed.
///
/// # Errors
/// [`PortableError`]; a part of the archive may have been written.
pub fn pack(sessions: &[(SessionId, PathBuf)], out: impl Write) -> Result<u64, PortableError> {
    let sessions: BTreeMap<&SessionId, &PathBuf> = sessions.iter().map(|(id, dir)| (id, dir)).collect();
    let mut manifest = Manifest { archive: VERSION, sessions: Vec::new() };
    for (id, dir) in &sessions {
        if lock::held(dir) == Held::Yes {
            return Err(PortableError::Live((*id).clone()));
        }
        manifest.sessions.push(describe(id, dir)?);
    }
    let mut encoder = zstd::Encoder::new(out, 3).map_err(PortableError::Output)?;
    encoder.include_checksum(true).map_err(PortableError::Output)?;
    let mut archive = tar::Builder::new(encoder);
    let listed = serde_json::to_vec(&manifest).map_err(|error| PortableError::Output(error.into()))?;
    archive
        .append(&header(MANIFEST, listed.len() as u64).map_err(PortableError::Output)?, listed.as_slice())
        .map_err(PortableError::Output)?;
    let mut bytes = 0;
    for session in &manifest.sessions {
        for file in &session.files {
            let path = sessions[&session.id].join(&file.path);
            let failed = |error| PortableError::Io { path: path.clone(), error };
            let header = header(&format!("{}/{}", session.id, file.path), file.bytes).map_err(failed)?;
            let opened = open_in(sessions[&session.id], &file.path, Access::Read);
            let mut source = Exact { file: opened.map_err(failed)?, left: file.bytes };
            archive.append(&header, &mut source).map_err(failed)?;
            bytes += file.bytes;
        }
    }
    archive.into_inner().and_then(zstd::Encoder::finish).map_err(PortableError::Output)?;
    Ok(bytes)
}

/// Nothing of a file but its content and length goes into an archive.
fn header(path: &str, bytes: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// A file of which so many bytes are read, and which must have them.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        self.left -= read as u64;
        if read == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was packed"));
        }
        Ok(read)
    }
}

fn describe(id: &SessionId, dir: &Path) -> Result<Packed, PortableError> {
    let mut paths = Vec::new();
    for path in [HEAD_FILE, JOURNAL_FILE, TORN_FILE] {
        if is_file(&dir.join(path))? {
            paths.push(path.to_owned());
        }
    }
    for sub in [TURNS_DIR, RESUME_DIR, LOGS_DIR] {
        list(dir, sub, &mut paths)?;
    }
    let mut fans = Vec::new();
    names(&dir.join(OBJECTS_DIR), &mut fans)?;
    for fan in fans {
        list(dir, &format!("{OBJECTS_DIR}/{fan}"), &mut paths)?;
    }
    paths.sort_unstable();
    let mut files = Vec::new();
    for path in paths {
        let (bytes, sha256) = digest(dir, &path).map_err(|error| PortableError::Io { path: dir.join(&path), error })?;
        files.push(PackedFile { path, bytes, sha256 });
    }
    Ok(Packed { id: id.clone(), verified: verify(dir).is_clean(), files })
}

fn digest(dir: &Path, path: &str) -> io::Result<(u64, String)> {
    let mut file = open_in(dir, path, Access::Read)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&digest.finalize()))),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Whether there is a regular file at `path`.
fn is_file(path: &Path) -> Result<bool, PortableError> {
    match path.symlink_metadata() {
        Ok(meta) => Ok(meta.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PortableError::Io { path: path.to_owned(), error }),
    }
}

/// Adds the files in `sub` that belong to a session.
fn list(dir: &Path, sub: &str, paths: &mut Vec<String>) -> Result<(), PortableError> {
    let mut found = Vec::new();
    names(&dir.join(sub), &mut found)?;
    for name in found {
        let path = format!("{sub}/{name}");
        if belongs(&path) && is_file(&dir.join(&path))? {
            paths.push(path);
        }
    }
    Ok(())
}

/// The names in a directory, which may be absent and must be no link.
fn names(dir: &Path, names: &mut Vec<String>) -> Result<(), PortableError> {
    let failed = |error| PortableError::Io { path: dir.to_owned(), error };
    match dir.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(())
}

/// Whether a session has a file of this path, relative to its directory. No other is packed or unpacked.
fn belongs(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [name] => [HEAD_FILE, JOURNAL_FILE, TORN_FILE].contains(name),
        [OBJECTS_DIR, fan, name] => {
            let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            fan.len() == 2 && hex(fan) && matches!(name.len(), 38 | 62) && hex(name)
        }
        [dir @ (TURNS_DIR | RESUME_DIR | LOGS_DIR), name] => {
            // What was being compressed when its recorder died.
            !name.ends_with(".part") && !name.contains('\0') && artifacts::is_ours(dir, name.as_bytes())
        }
        _ => false,
    }
}
