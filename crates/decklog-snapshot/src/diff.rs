//! Telling two trees apart: the list of what changed, and the patch.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::git::{Git, Stdin};
use crate::names::secrets_in_names;
use crate::private::as_path;
use crate::{Change, ChangeStatus, FileScanner, Patch, SnapshotError, Tree, Withheld, blobs, restore};

/// Asked of every diff: whatever the configuration says, only this counts.
const DIFF: &[&str] = &["diff-tree", "-r", "-M", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color"];

/// Asks for the lines that were added and removed.
pub(crate) const COUNTS: &[&str] = &["--numstat"];

/// The objects of a change, in `Change`'s order.
pub(crate) struct Sides {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// What changed from `from` to `to`, in path order.
pub(crate) fn changes(git: &Git, from: &Tree, to: &Tree) -> Result<Vec<Change>, SnapshotError> {
    if from == to {
        return Ok(Vec::new());
    }
    let listed = list(git, from, to, COUNTS)?;
    Ok(listed.into_iter().map(|(change, _)| change).collect())
}

/// The same, with the objects, and without the counts unless `more` asks for them.
pub(crate) fn list(git: &Git, from: &Tree, to: &Tree, more: &[&str]) -> Result<Vec<(Change, Sides)>, SnapshotError> {
    let args = [DIFF, &["-z", "--raw"], more, &[from.as_str(), to.as_str()]].concat();
    let said = git.ask(&args, Stdin::none())?;
    if !said.status.success() {
        // That something is gone is told as such, and not in git's words.
        [from, to].into_iter().try_for_each(|tree| restore::check(git, tree))?;
        return Err(git.failure(&args, said.status, said.stderr));
    }
    parse(&said.stdout).ok_or_else(|| SnapshotError::unexpected("the output of git diff-tree"))
}

/// What changed from `from` to `to`, with the counts if `more` asks for them; and writes the patch, without files of which
/// either side holds a secret: one that was scanned when stored lies in `objects` and is not scanned again.
pub(crate) fn patch(
    git: &Git,
    objects: &Path,
    (from, to): (&Tree, &Tree),
    more: &[&str],
    scan: &mut dyn FileScanner,
    out: &mut dyn Write,
) -> Result<(Vec<Change>, Patch), SnapshotError> {
    if from == to {
        return Ok(Default::default());
    }
    let listed = list(git, from, to, more)?;
    let (withheld, excluded) = secrets(git, objects, &listed, scan)?;
    let bytes = write(git, from, to, &listed, &excluded, out)?;
    Ok((listed.into_iter().map(|(change, _)| change).collect(), Patch { bytes, withheld }))
}

/// The same of trees that were stored before, also without the files that `left_out` names. Nothing is written when
/// a file is gone.
pub(crate) fn patch_of_stored(
    git: &Git,
    objects: &Path,
    (from, to): (&Tree, &Tree),
    scan: Option<&mut dyn FileScanner>,
    left_out: &dyn Fn(&[u8]) -> bool,
    out: &mut dyn Write,
) -> Result<Patch, SnapshotError> {
    if from == to {
        return Ok(Patch::default());
    }
    let listed = list(git, from, to, &[])?;
    restore::see(git, files(&listed).map(|(_, id, path)| (id, path)))?;
    let (withheld, mut excluded) = match scan {
        Some(scan) => secrets(git, objects, &listed, scan)?,
        None => (Vec::new(), Vec::new()),
    };
    for (change, _) in &listed {
        let paths = || change.old_path.iter().chain([&change.path]);
        if paths().any(|path| left_out(path)) {
            // Both names of a file that was moved: its content stands under either.
            excluded.extend(paths().cloned());
        }
    }
    let bytes = write(git, from, to, &listed, &excluded, out)?;
    Ok(Patch { bytes, withheld })
}

/// The same, with everything in it but these paths.
pub(crate) fn patch_without(
    git: &Git,
    from: &Tree,
    to: &Tree,
    excluded: &[Vec<u8>],
    out: &mut dyn Write,
) -> Result<(), SnapshotError> {
    let listed = list(git, from, to, &[])?;
    write(git, from, to, &listed, excluded, out).map(drop)
}

/// Returns the size.
fn write(
    git: &Git,
    from: &Tree,
    to: &Tree,
    listed: &[(Change, Sides)],
    excluded: &[Vec<u8>],
    out: &mut dyn Write,
) -> Result<u64, SnapshotError> {
    let mut args: Vec<OsString> = DIFF.iter().map(OsString::from).collect();
    args.extend(["-p", "--binary", "--src-prefix=a/", "--dst-prefix=b/"].map(OsString::from));
    if moves_a_link_below_itself(listed) {
        args.push(OsString::from("--no-renames"));
    }
    args.extend([from.as_str(), to.as_str(), "--"].map(OsString::from));
    if !excluded.is_empty() {
        args.push(OsString::from(":(top)"));
        args.extend(excluded.iter().map(|path| OsString::from_vec([b":(top,exclude,literal)", &path[..]].concat())));
    }
    let mut running = git.start(&args, Stdin::none())?;
    let mut bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = running.stdout().read(&mut buffer).map_err(SnapshotError::io("read git diff-tree in", git.cwd()))?;
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read]).map_err(SnapshotError::Output)?;
        bytes += read as u64;
    }
    running.finish()?;
    Ok(bytes)
}

/// Whether a symbolic link has moved and a directory taken its place. `git apply` then takes what
/// is in the directory to lie beyond the link, unless the patch deletes the link outright.
fn moves_a_link_below_itself(listed: &[(Change, Sides)]) -> bool {
    let links = listed.iter().filter(|(change, _)| change.old_mode == 0o120_000);
    links.filter_map(|(change, _)| change.old_path.as_ref()).any(|link| {
        let below = |path: &[u8]| path.strip_prefix(&link[..]).is_some_and(|rest| rest.starts_with(b"/"));
        listed.iter().any(|(change, _)| below(&change.path))
    })
}

/// What stands on either side of each change, with its path there: files and links, no submodules.
fn files(listed: &[(Change, Sides)]) -> impl Iterator<Item = (&Change, &str, &[u8])> {
    listed
        .iter()
        .flat_map(|(change, Sides { old, new })| {
            let old_path = change.old_path.as_ref().unwrap_or(&change.path);
            [(change, old, old_path, change.old_mode), (change, new, &change.path, change.new_mode)]
        })
        .filter(|(.., mode)| !matches!(mode, 0 | 0o160_000))
        .map(|(change, id, path, _)| (change, id.as_str(), path.as_slice()))
}

/// The changed files that hold a secret on either side, and all paths to leave out for them.
fn secrets(
    git: &Git,
    objects: &Path,
    listed: &[(Change, Sides)],
    scan: &mut dyn FileScanner,
) -> Result<(Vec<Withheld>, Vec<Vec<u8>>), SnapshotError> {
    let unscanned = |id: &str| !objects.join(&id[..2]).join(&id[2..]).exists();
    let sides: Vec<(&Change, &str, &Path)> = files(listed)
        .filter(|(_, id, _)| unscanned(id))
        .map(|(change, id, path)| (change, id, as_path(path)))
        .collect();
    let ids: Vec<&str> = sides.iter().map(|(_, id, _)| *id).collect();
    let paths: Vec<&Path> = sides.iter().map(|(.., path)| *path).collect();
    let reasons = blobs::secrets_in(git, &ids, &paths, scan)?;
    let mut withheld: Vec<Withheld> = Vec::new();
    let mut excluded = Vec::new();
    let names: Vec<(&Change, &[u8])> = (listed.iter())
        .flat_map(|(change, _)| change.old_path.iter().chain([&change.path]).map(move |path| (change, path.as_slice())))
        .collect();
    let in_names = secrets_in_names(b"", names.iter().map(|(_, path)| *path), scan);
    let named = names.iter().zip(in_names).map(|((change, _), reason)| (*change, reason));
    let held = sides.into_iter().zip(reasons).map(|((change, ..), reason)| (change, reason));
    for (change, reason) in named.chain(held) {
        let Some(reason) = reason else { continue };
        if withheld.iter().any(|known| known.path == change.path) {
            continue;
        }
        excluded.extend(change.old_path.clone());
        excluded.push(change.path.clone());
        withheld.push(Withheld { path: change.path.clone(), reason });
    }
    withheld.sort();
    Ok((withheld, excluded))
}

/// Reads `--raw -z`, followed by `--numstat -z` or nothing.
fn parse(output: &[u8]) -> Option<Vec<(Change, Sides)>> {
    let mut fields = output.split(|byte| *byte == 0).peekable();
    let mut changes = Vec::new();
    while let Some(about) = fields.next_if(|field| field.starts_with(b":")) {
        let mut words = about[1..].split(|byte| *byte == b' ').map(|word| std::str::from_utf8(word).ok());
        let mut word = || words.next()?;
        let old_mode = u32::from_str_radix(word()?, 8).ok()?;
        let new_mode = u32::from_str_radix(word()?, 8).ok()?;
        let sides = Sides { old: word()?.to_owned(), new: word()?.to_owned() };
        let status = match word()?.as_bytes().first()? {
            b'A' => ChangeStatus::Added,
            b'M' => ChangeStatus::Modified,
            b'D' => ChangeStatus::Deleted,
            b'R' => ChangeStatus::Renamed,
            b'T' => ChangeStatus::TypeChanged,
            _ => return None,
        };
        let first = fields.next()?.to_vec();
        let (path, old_path) = match status {
            ChangeStatus::Renamed => (fields.next()?.to_vec(), Some(first)),
            _ => (first, None),
        };
        let change = Change { path, old_path, status, added: None, removed: None, old_mode, new_mode };
        changes.push((change, sides));
    }
    for (change, _) in &mut changes {
        let Some(counts) = fields.next().filter(|field| !field.is_empty()) else {
            break;
        };
        let mut parts = counts.splitn(3, |byte| *byte == b'\t');
        let count = |part: &[u8]| std::str::from_utf8(part).ok().and_then(|text| text.parse().ok());
        change.added = count(parts.next()?);
        change.removed = count(parts.next()?);
        let mut path = parts.next()?;
        if path.is_empty() {
            fields.next()?;
            path = fields.next()?;
        }
        if path != change.path {
            return None;
        }
    }
    Some(changes)
}

/// Whether a tree, or anything in it, is not to be found.
pub(crate) fn missing(git: &Git, tree: &Tree) -> Result<bool, SnapshotError> {
    let args: [&OsStr; 6] =
        ["rev-list", "--objects", "--no-object-names", "--missing=print", "--end-of-options", tree.as_str()]
            .map(OsStr::new);
    let said = git.ask(&args, Stdin::none())?;
    // A tree that is gone itself is a failure, not a line.
    Ok(!said.status.success() || said.stdout.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"?")))
}
