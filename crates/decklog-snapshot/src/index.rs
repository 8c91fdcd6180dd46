//! Reading a git index file as far as a snapshot must know it: which entries are submodules,
//! which are marked "assume unchanged", and whether it leans on another file.
//!
//! See gitformat-index(5). Everything else about the index is left to git.

use crate::model::ObjectFormat;

/// What an index holds that a snapshot treats specially.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// All paths, each with a NUL behind it.
    pub(crate) paths: Vec<u8>,
    /// Paths of submodules.
    pub(crate) gitlinks: Vec<Vec<u8>>,
    /// Paths whose changes the user told git not to look for.
    pub(crate) assumed_unchanged: Vec<Vec<u8>>,
    /// The id of the shared index this one is a difference to.
    pub(crate) shared: Option<String>,
    /// The trees of directories that stand in place of the files in them.
    pub(crate) sparse: Vec<String>,
}

const GITLINK: u32 = 0o160_000;
const DIRECTORY: u32 = 0o040_000;
const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const NAME_LENGTH: u16 = 0x0fff;
/// Times, device, inode, mode, owner and size.
const STAT_LEN: usize = 40;
const MODE_AT: usize = 24;

/// Reads an index; `None` when it is none that this program knows.
pub(crate) fn survey(index: &[u8], format: ObjectFormat) -> Option<Survey> {
    let mut found = Survey::default();
    let version = number(index, 4)?;
    if index.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let count = number(index, 8)?;
    let mut at = 12;
    let mut name: Vec<u8> = Vec::new();
    for _ in 0..count {
        let flags_at = at + STAT_LEN + format.raw_len();
        let mode = number(index, at + MODE_AT)?;
        let flags = u16::from_be_bytes(index.get(flags_at..flags_at + 2)?.try_into().ok()?);
        let name_at = flags_at + if flags & EXTENDED == 0 { 2 } else { 4 };
        let special = mode & 0o170_000 == GITLINK || flags & ASSUME_VALID != 0;
        if version == 4 {
            let (strip, used) = offset_varint(index.get(name_at..)?)?;
            let rest = until_nul(index.get(name_at + used..)?)?;
            name.truncate(name.len().checked_sub(strip)?);
            name.extend_from_slice(rest);
            at = name_at + used + rest.len() + 1;
            found.paths.extend_from_slice(&name);
        } else {
            let known = usize::from(flags & NAME_LENGTH);
            let long = flags & NAME_LENGTH == NAME_LENGTH;
            let len = if long { until_nul(index.get(name_at..)?)?.len() } else { known };
            let here = index.get(name_at..name_at + len)?;
            found.paths.extend_from_slice(here);
            if special {
                name = here.to_vec();
            }
            // Padded with one to eight NULs to a multiple of eight.
            at += (name_at - at + len + 8) & !7;
        }
        found.paths.push(0);
        if mode & 0o170_000 == DIRECTORY {
            found.sparse.push(hex(index.get(flags_at - format.raw_len()..flags_at)?));
        }
        if mode & 0o170_000 == GITLINK {
            found.gitlinks.push(name.clone());
        }
        if flags & ASSUME_VALID != 0 {
            found.assumed_unchanged.push(name.clone());
        }
    }
    let end = index.len().checked_sub(format.raw_len())?;
    while at + 8 <= end {
        let len = usize::try_from(number(index, at + 4)?).ok()?;
        if index.get(at..at + 4)? == b"link" {
            found.shared = Some(hex(index.get(at + 8..at + 8 + format.raw_len())?));
        }
        at = at.checked_add(8)?.checked_add(len)?;
    }
    Some(found)
}

fn number(index: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?))
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    Some(&bytes[..bytes.iter().position(|byte| *byte == 0)?])
}

/// The number at the start of `bytes`, in the encoding of offsets in packs, and its length.
fn offset_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = usize::from(bytes.first()? & 0x7f);
    let mut used = 1;
    while bytes[used - 1] & 0x80 != 0 {
        value = value.checked_add(1)?.checked_mul(128)? | usize::from(bytes.get(used)? & 0x7f);
        used += 1;
    }
    Some((value, used))
}
