//! Reading the snapshots of a session that is over, whatever became of its repository.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use decklog_snapshot::{FileScanner, SnapshotError, SnapshotReader, Tree};

use crate::sandbox::{Sandbox, patch, sandboxed, take_all};
use crate::untouched::Fingerprint;

/// A session of one turn: its trees, and its patch.
fn session(sandbox: &Sandbox) -> (Tree, Tree, Vec<u8>) {
    sandbox.init();
    sandbox.write("a", "1\n");
    sandbox.write("b", "unchanged\n");
    sandbox.commit();
    let mut snapshots = sandbox.open();
    let before = take_all(&mut snapshots);
    sandbox.write("a", "2\n");
    sandbox.write("c", "new\n");
    let after = take_all(&mut snapshots);
    let patch = patch(&snapshots, &before, &after);
    (before, after, patch)
}

fn read(reader: &SnapshotReader, from: &Tree, to: &Tree) -> Result<Vec<u8>, SnapshotError> {
    let mut patch = Vec::new();
    reader.patch(from, to, &mut patch).map(|_| patch)
}

sandboxed! {
    fn all_is_as_it_was_and_nothing_written(sandbox) {
        let (before, after, patch) = session(sandbox);
        let untouched = (Fingerprint::of(&sandbox.objects), Fingerprint::of(&sandbox.work));
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        assert_eq!(read(&reader, &before, &after).unwrap(), patch);
        assert_eq!(reader.changes(&before, &after).unwrap().len(), 2);
        assert_eq!(reader.changes(&before, &before).unwrap(), []);
        assert_eq!(read(&reader, &after, &after).unwrap(), b"");
        assert!(!reader.missing(&before).unwrap());
        assert!(!reader.missing(&after).unwrap());
        drop(reader);
        untouched.0.check(&sandbox.objects);
        untouched.1.check(&sandbox.work);
    }

    fn a_moved_session_is_as_good(sandbox) {
        let (before, after, patch) = session(sandbox);
        let moved = sandbox.spare.join("moved");
        fs::rename(&sandbox.objects, &moved).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &moved).unwrap();
        assert_eq!(read(&reader, &before, &after).unwrap(), patch);
    }

    fn what_is_gone_is_missed(sandbox) {
        let (before, after, _) = session(sandbox);
        let without = [
            SnapshotReader::open(None, &sandbox.objects).unwrap(),
            SnapshotReader::open(Some(&sandbox.work.join("nowhere")), &sandbox.objects).unwrap(),
            SnapshotReader::open(Some(&sandbox.spare), &sandbox.objects).unwrap(),
        ];
        for reader in without {
            assert!(reader.missing(&before).unwrap());
            assert!(reader.missing(&after).unwrap());
            assert!(matches!(read(&reader, &before, &after), Err(SnapshotError::Gone { .. })));
        }
        fs::remove_dir_all(sandbox.work.join(".git")).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        assert!(reader.missing(&after).unwrap());
    }

    /// Without a repository there is nothing to miss.
    fn a_plain_directory_needs_no_repository(sandbox) {
        sandbox.write("a", "1\n");
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.write("a", "2\n");
        let after = take_all(&mut snapshots);
        drop(snapshots);
        fs::remove_dir_all(&sandbox.work).unwrap();
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        assert!(!reader.missing(&before).unwrap() && !reader.missing(&after).unwrap());
        assert_eq!(reader.changes(&before, &after).unwrap().len(), 1);
    }

    fn a_scanner_keeps_secrets_out_here_too(sandbox) {
        struct All;
        impl FileScanner for All {
            fn secret_in(&mut self, path: &Path, _: &mut dyn Read) -> io::Result<Option<String>> {
                // Names are looked at without a path.
                Ok((path != Path::new("")).then(|| format!("rule for {}", path.display())))
            }
        }
        let (before, after, _) = session(sandbox);
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap().with_scanner(Box::new(All));
        let mut out = Vec::new();
        let patch = reader.patch(&before, &after, &mut out).unwrap();
        // What lies in the session was scanned when it was stored.
        assert_eq!(patch.withheld.len(), 1);
        assert_eq!(patch.withheld[0].path, b"a");
        assert!(String::from_utf8(out).unwrap().starts_with("diff --git a/c b/c"));
    }

    fn a_closed_output_is_told_from_a_broken_snapshot(sandbox) {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (before, after, _) = session(sandbox);
        let reader = SnapshotReader::open(Some(&sandbox.work), &sandbox.objects).unwrap();
        let error = reader.patch(&before, &after, &mut Closed).unwrap_err();
        assert!(matches!(error, SnapshotError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe));
    }
}

#[test]
fn a_tree_id_is_taken_by_its_shape() {
    for good in ["4b825dc642cb6eb9a060e54bf8d69288fbee4904", &"0f".repeat(32)] {
        assert_eq!(Tree::parse(good).unwrap().as_str(), good);
        assert_eq!(good.parse::<Tree>().unwrap().to_string(), good);
    }
    for bad in
        ["", "4b825dc", "HEAD", "--output=x", &"0F".repeat(20), &"g".repeat(40), &"0".repeat(41), &"é".repeat(20)]
    {
        assert!(matches!(Tree::parse(bad), Err(SnapshotError::BadTree(_))), "{bad}");
    }
}
