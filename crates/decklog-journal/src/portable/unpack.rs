//! The way back: an archive that may come from anywhere, taken whole or not at all.
//!
//! Sessions are unpacked under staging names, as new ones are made, and renamed when every byte is what the manifest
//! says and every journal what its sums say. What dies on the way is swept up like any abandoned recording.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::bounded::{Bounded, check_ratio, check_total};
use super::{Limits, MANIFEST, Manifest, Packed, PackedFile, PortableError, VERSION, belongs};
use crate::artifacts::UNPACKED_FILE;
use crate::files::{self, Access, open_in};
use crate::id::SessionId;
use crate::lock::SessionLock;
use crate::read::{Item, JournalReader};
use crate::session::JOURNAL_FILE;
use crate::store::{SessionStore, current_head, leave_staging, make_staging};
use crate::verify::{ArtifactFile, find_artifact, verify};
use crate::wire::hex;

/// Bytes that may follow the last file: tar fills up its last block.
const MAX_PADDING: u64 = 1 << 20;

/// A session that came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unpacked {
    /// Its id.
    pub id: SessionId,
    /// Whether it is new.
    pub arrived: Arrived,
    /// How many things `verify` finds wrong with it, as it did when it was packed.
    pub faults: usize,
}

/// What unpacking a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrived {
    /// It is now in the store.
    New,
    /// It was there already.
    AlreadyThere,
}

/// A session that an archive says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its id.
    pub id: SessionId,
    /// Whether it was whole when it was packed.
    pub verified: bool,
}

/// The sessions that `archive` says it holds, in the order of their ids; nothing but its manifest is read.
///
/// # Errors
/// [`PortableError`].
pub fn contents(archive: impl Read, limits: Limits) -> Result<Vec<Content>, PortableError> {
    let (bounded, passed) = Bounded::new(archive, limits).map_err(broken)?;
    let mut archive = tar::Archive::new(bounded);
    let mut read = || {
        let first = archive.entries().map_err(broken)?.raw(true).next().transpose().map_err(broken)?;
        let manifest = read_manifest(&mut first.ok_or_else(|| refuse("it is empty"))?, limits)?;
        check_sizes(&manifest, limits)?;
        Ok(manifest)
    };
    let manifest = read().map_err(|error| passed.or(error))?;
    Ok(manifest.sessions.into_iter().map(|Packed { id, verified, .. }| Content { id, verified }).collect())
}

/// Unpacks the sessions of `archive` into `store`, in the order of their ids.
///
/// # Errors
/// [`PortableError`]; the store is then as it was, but for sessions that were whole when the disk refused to name the
/// next.
pub fn unpack(store: &SessionStore, archive: impl Read, limits: Limits) -> Result<Vec<Unpacked>, PortableError> {
    let (bounded, passed) = Bounded::new(archive, limits).map_err(broken)?;
    unpack_from(store, tar::Archive::new(bounded), limits).map_err(|error| passed.or(error))
}

fn unpack_from(
    store: &SessionStore,
    mut archive: tar::Archive<impl Read>,
    limits: Limits,
) -> Result<Vec<Unpacked>, PortableError> {
    // Raw: names that need more than a plain header are not ours, and not read into memory.
    let mut entries = archive.entries().map_err(broken)?.raw(true);
    let mut next = || entries.next().transpose().map_err(broken);
    let manifest = read_manifest(&mut next()?.ok_or_else(|| refuse("it is empty"))?, limits)?;
    check(&manifest, store, limits)?;
    files::make_private_dirs(store.root())
        .map_err(|error| PortableError::Io { path: store.root().to_owned(), error })?;
    let mut staged = Vec::new();
    let mut expanded = Expansion::default();
    for session in &manifest.sessions {
        let mut stage = Stage::new(store)?;
        for file in &session.files {
            let name = format!("{}/{}", session.id, file.path);
            let mut entry = next()?.ok_or_else(|| refuse(&format!("{name} is missing")))?;
            expect(&entry, &name, file.bytes)?;
            stage.write(file, &mut entry)?;
        }
        expanded.add(&stage.dir, limits)?;
        let faults = stage.verify(session)?;
        staged.push((session, stage, faults));
    }
    if next()?.is_some() {
        return Err(refuse("it holds more than it says"));
    }
    // What is left is padding; then comes the sum over all of it.
    let mut rest = archive.into_inner().take(MAX_PADDING + 1);
    if io::copy(&mut rest, &mut io::sink()).map_err(broken)? > MAX_PADDING {
        return Err(refuse("it holds more than it says"));
    }
    settle(store, staged)
}

fn refuse(what: &str) -> PortableError {
    PortableError::Archive(what.to_owned())
}

fn broken(error: io::Error) -> PortableError {
    PortableError::Archive(error.to_string())
}

fn expect<R: Read>(entry: &tar::Entry<'_, R>, name: &str, bytes: u64) -> Result<(), PortableError> {
    let header = entry.header();
    let found = header.path_bytes();
    if found.as_ref() != name.as_bytes() {
        let found = String::from_utf8_lossy(&found).into_owned();
        return Err(refuse(&format!("{found:?} comes where {name:?} is to come")));
    }
    if header.entry_type() != tar::EntryType::Regular {
        return Err(refuse(&format!("{name} is no file")));
    }
    if entry.size() != bytes {
        return Err(refuse(&format!("{name} has {} bytes instead of {bytes}", entry.size())));
    }
    Ok(())
}

fn read_manifest<R: Read>(entry: &mut tar::Entry<'_, R>, limits: Limits) -> Result<Manifest, PortableError> {
    expect(entry, MANIFEST, entry.size())?;
    if entry.size() > limits.manifest {
        return Err(refuse("its list of files is too long"));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(broken)?;
    #[derive(serde::Deserialize)]
    struct Version {
        archive: u32,
    }
    let wrong = |error: serde_json::Error| refuse(&format!("{MANIFEST}: {error}"));
    let version: Version = serde_json::from_slice(&text).map_err(wrong)?;
    if version.archive != VERSION {
        return Err(PortableError::Version(version.archive));
    }
    serde_json::from_slice(&text).map_err(wrong)
}

/// Sees, before a byte is written, that the manifest asks for nothing that no session has.
fn check(manifest: &Manifest, store: &SessionStore, limits: Limits) -> Result<(), PortableError> {
    let mut ids = HashSet::new();
    for session in &manifest.sessions {
        let id = &session.id;
        if !ids.insert(id) {
            return Err(refuse(&format!("session {id} is in it twice")));
        }
        if !session.files.iter().any(|file| file.path == JOURNAL_FILE) {
            return Err(refuse(&format!("session {id} has no journal")));
        }
        let mut paths = HashSet::new();
        for file in &session.files {
            if !belongs(&file.path) {
                return Err(refuse(&format!("{:?} is no file of a session", file.path)));
            }
            if !paths.insert(&file.path) {
                return Err(refuse(&format!("{id}/{} is in it twice", file.path)));
            }
        }
    }
    let bytes = check_sizes(manifest, limits)?;
    // The root may not be there yet: what is above it is on the same disk, or the disk will say.
    let there = store.root().ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if let Ok(disk) = rustix::fs::statvfs(there) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if bytes > free {
            return Err(refuse(&format!("it would unpack to {bytes} bytes, and the disk has room for {free}")));
        }
    }
    Ok(())
}

/// Sees that the files that the manifest lists are no more than may be unpacked. Gives how many bytes they have.
fn check_sizes(manifest: &Manifest, limits: Limits) -> Result<u64, PortableError> {
    let files = manifest.sessions.iter().flat_map(|session| &session.files);
    let bytes = files.fold(0_u64, |bytes, file| bytes.saturating_add(file.bytes));
    check_total(bytes, limits).map_err(PortableError::Limit)?;
    if let Some(packed) = limits.packed {
        check_ratio(bytes, packed, limits).map_err(PortableError::Limit)?;
    }
    Ok(bytes)
}

/// What files that are compressed themselves expand to, as the journals state: a reader takes no more.
#[derive(Debug, Default)]
struct Expansion {
    packed: u64,
    bytes: u64,
}

impl Expansion {
    /// Adds what is in the session in `dir`, and sees that it is not too much.
    fn add(&mut self, dir: &Path, limits: Limits) -> Result<(), PortableError> {
        let failed = |error| PortableError::Io { path: dir.join(JOURNAL_FILE), error };
        for item in JournalReader::open(&dir.join(JOURNAL_FILE)).map_err(failed)? {
            let Item::Event(event) = item.map_err(failed)? else { continue };
            for artifact in event.body.artifacts() {
                let Ok(ArtifactFile { file, compressed: true }) = find_artifact(dir, &artifact.path) else { continue };
                self.packed = self.packed.saturating_add(file.metadata().map_or(0, |meta| meta.len()));
                self.bytes = self.bytes.saturating_add(artifact.bytes);
            }
        }
        check_total(self.bytes, limits)
            .and_then(|()| check_ratio(self.bytes, self.packed, limits))
            .map_err(|why| PortableError::Limit(format!("what is compressed in it: {why}")))
    }
}

/// A session on its way in. Dropped before it has a name, it is removed.
struct Stage {
    dir: PathBuf,
    lock: Option<SessionLock>,
    named: bool,
}

impl Stage {
    fn new(store: &SessionStore) -> Result<Self, PortableError> {
        let dir =
            make_staging(store.root()).map_err(|error| PortableError::Io { path: store.root().to_owned(), error })?;
        let failed = |error| PortableError::Io { path: dir.clone(), error };
        let mut stage = Self { dir: dir.clone(), lock: None, named: false };
        // Held while it is written, so that nobody takes it for abandoned.
        stage.lock = Some(SessionLock::create(&dir).map_err(|error| failed(io::Error::other(error)))?);
        open_in(&dir, UNPACKED_FILE, Access::Create).map_err(failed)?;
        Ok(stage)
    }

    fn write<R: Read>(&self, file: &PackedFile, entry: &mut R) -> Result<(), PortableError> {
        let path = self.dir.join(&file.path);
        let failed = |error| PortableError::Io { path: path.clone(), error };
        let mut target = open_in(&self.dir, &file.path, Access::Create).map_err(failed)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut left = file.bytes;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = entry.read(&mut buffer[..most]).map_err(broken)?;
            if read == 0 {
                return Err(refuse("it is cut off"));
            }
            digest.update(&buffer[..read]);
            target.write_all(&buffer[..read]).map_err(failed)?;
            left -= read as u64;
        }
        if hex(&digest.finalize()) != file.sha256 {
            return Err(refuse(&format!("{} is not what was packed", file.path)));
        }
        Ok(())
    }

    /// Sees that what was unpacked is the session it is said to be. Gives the number of faults it had before.
    fn verify(&mut self, packed: &Packed) -> Result<usize, PortableError> {
        // A session that is held is looked at as one being recorded.
        self.lock = None;
        let id = &packed.id;
        let head = current_head(&self.dir).map_err(|why| refuse(&format!("session {id}: {why}")))?;
        if head.id != *id {
            return Err(refuse(&format!("session {id} says that it is session {}", head.id)));
        }
        let report = verify(&self.dir);
        match report.faults.first() {
            Some(fault) if packed.verified => Err(refuse(&format!("session {id}: {} {}", fault.place, fault.what))),
            _ => Ok(report.faults.len()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.named {
            drop(self.lock.take());
            let _ = crate::remove::remove(&self.dir);
            leave_staging(&self.dir);
        }
    }
}

/// Gives the staged sessions their names.
fn settle(store: &SessionStore, staged: Vec<(&Packed, Stage, usize)>) -> Result<Vec<Unpacked>, PortableError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let is_there = |id: &SessionId| store.entry(id).symlink_metadata().is_ok();
    let mut there = HashSet::new();
    for (packed, stage, _) in &staged {
        let id = &packed.id;
        if is_there(id) {
            let own = current_head(&stage.dir).map(|head| (head.events, head.sum));
            let other = current_head(&store.entry(id)).map(|head| (head.events, head.sum));
            if own.is_err() || own != other {
                return Err(PortableError::Other(id.clone()));
            }
            there.insert(id.clone());
        }
    }
    let root = store.root();
    let failed = |path: &Path, error| PortableError::Io { path: path.to_owned(), error };
    // Names come after content, whatever a power cut takes.
    let synced = std::fs::File::open(root).and_then(|root| Ok(rustix::fs::syncfs(root)?));
    synced.map_err(|error| failed(root, error))?;
    let mut unpacked = Vec::new();
    for (packed, mut stage, faults) in staged {
        let id = packed.id.clone();
        let arrived = if there.contains(&id) {
            Arrived::AlreadyThere
        } else {
            let entry = store.entry(&id);
            match renameat_with(CWD, &stage.dir, CWD, &entry, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    stage.named = true;
                    leave_staging(&stage.dir);
                }
                Err(rustix::io::Errno::EXIST) => return Err(PortableError::Other(id)),
                Err(error) => return Err(failed(&entry, error.into())),
            }
            Arrived::New
        };
        unpacked.push(Unpacked { id, arrived, faults });
    }
    files::sync_dir(root).map_err(|error| failed(root, error))?;
    Ok(unpacked)
}
