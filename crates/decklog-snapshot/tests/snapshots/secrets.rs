//! Secrets stay out of snapshots and patches, and never come to lie in the session's objects.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use decklog_snapshot::{FileScanner, Limits, Patch, Snapshotter, Taken, Withheld, WithheldReason};

use crate::files::read_files;
use crate::sandbox::{Sandbox, apply, sandboxed};

const SECRET: &str = "sk-THE-KEY-0123456789";

type Afterwards = Box<dyn FnMut(&Path) + Send>;

/// Finds the secret.
#[derive(Default)]
struct Finder {
    /// Does something to the file after it was scanned.
    afterwards: Option<Afterwards>,
}

impl FileScanner for Finder {
    fn secret_in(&mut self, path: &Path, content: &mut dyn Read) -> io::Result<Option<String>> {
        assert!(path.is_relative());
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        // Names are looked at with no path.
        if !path.as_os_str().is_empty()
            && let Some(afterwards) = &mut self.afterwards
        {
            afterwards(path);
        }
        let found = all.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        Ok(found.then(|| "test-key".to_owned()))
    }
}

fn open(sandbox: &Sandbox) -> Snapshotter {
    sandbox.open_with(Limits::default(), Finder::default())
}

fn withheld(path: &str) -> Withheld {
    Withheld { path: path.into(), reason: WithheldReason::Secret { rule: "test-key".to_owned() } }
}

fn withheld_name(path: &str) -> Withheld {
    Withheld { path: path.into(), reason: WithheldReason::SecretName { rule: "test-key".to_owned() } }
}

fn assert_no_secret(sandbox: &Sandbox) {
    let objects = sandbox.all_objects();
    assert!(!objects.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "an object holds the secret");
    for (path, file) in read_files(&sandbox.objects, &|_| false) {
        assert!(!format!("{file:?}").contains("sk-THE"), "{} holds the secret", path.escape_ascii());
    }
}

fn with_secret(text: &str) -> String {
    format!("{text}\nkey = {SECRET}\n{text}\n")
}

fn patch(snapshots: &Snapshotter, from: &Taken, to: &Taken) -> (Patch, String) {
    let mut patch = Vec::new();
    let written = snapshots.patch(&from.tree, &to.tree, &mut patch).unwrap();
    let patch = String::from_utf8(patch).unwrap();
    assert!(!patch.contains(SECRET));
    (written, patch)
}

sandboxed! {
    fn new_files_are_left_out(_sandbox) {
        for repository in [false, true] {
            let sandbox = &Sandbox::new();
            if repository {
                sandbox.init();
            }
            sandbox.write("a", "1\n");
            sandbox.write("d/.env", with_secret("x"));
            let mut snapshots = open(sandbox);
            let before = snapshots.take().unwrap();
            assert_eq!(before.withheld, [withheld("d/.env")]);
            sandbox.write("b", with_secret("y"));
            sandbox.write("c", "clean\n");
            symlink(SECRET, sandbox.work.join("link")).unwrap();
            let after = snapshots.take().unwrap();
            assert_eq!(after.withheld, [withheld("b"), withheld("d/.env"), withheld("link")]);
            assert_eq!(sandbox.files_of(&after.tree).into_keys().collect::<Vec<_>>(), [b"a", b"c"]);
            let (written, patch) = patch(&snapshots, &before, &after);
            assert_eq!(written.withheld, []);
            assert!(patch.contains("clean"));
            // Once the secret is gone, the file is there.
            sandbox.write("b", "y\n");
            let later = snapshots.take().unwrap();
            assert_eq!(later.withheld, [withheld("d/.env"), withheld("link")]);
            assert_eq!(sandbox.files_of(&later.tree).len(), 3);
            drop(snapshots);
            assert_no_secret(sandbox);
        }
    }

    /// Of files, directories and links; new, tracked, moved, in a submodule, and names that git quotes.
    fn names_that_hold_a_secret_are_left_out(sandbox) {
        sandbox.init();
        sandbox.write("kept", "1\n");
        sandbox.write(&format!("tracked-{SECRET}"), "1\n");
        sandbox.write(&format!("dir-{SECRET}/inside"), "1\n");
        sandbox.write(&format!("both-{SECRET}"), "moved\nwith\nsome\nlines\n");
        sandbox.commit();
        let mut snapshots = open(sandbox);
        let before = snapshots.take().unwrap();
        let paths = [format!("both-{SECRET}"), format!("dir-{SECRET}/inside"), format!("tracked-{SECRET}")];
        assert_eq!(before.withheld, paths.map(|path| withheld_name(&path)));
        assert_eq!(sandbox.files_of(&before.tree).into_keys().collect::<Vec<_>>(), [b"kept"]);
        fs::rename(sandbox.work.join(format!("both-{SECRET}")), sandbox.work.join("moved")).unwrap();
        fs::rename(sandbox.work.join("kept"), sandbox.work.join(format!("kept-{SECRET}"))).unwrap();
        sandbox.write(&format!("new-{SECRET}"), "2\n");
        sandbox.write(&format!("späť-{SECRET}\n\"x\""), "2\n");
        symlink("nowhere", sandbox.work.join(format!("link-{SECRET}"))).unwrap();
        let after = snapshots.take().unwrap();
        let names: Vec<_> = after.withheld.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        assert!(after.withheld.iter().all(|file| matches!(file.reason, WithheldReason::SecretName { .. })));
        assert_eq!(sandbox.files_of(&after.tree).into_keys().collect::<Vec<_>>(), [b"moved"]);
        patch(&snapshots, &before, &after);
        drop(snapshots);
        assert_no_secret(sandbox);
    }

    /// Trees of the repository, or of records that an older version made, may hold such names.
    fn a_patch_leaves_out_names_of_older_trees(sandbox) {
        sandbox.init();
        let lines: String = (0..40).map(|line| format!("line {line}\n")).collect();
        sandbox.write(&format!("was-{SECRET}"), &lines);
        sandbox.write("plain", "1\n");
        sandbox.commit();
        let from: decklog_snapshot::Tree = sandbox.git(&["rev-parse", "HEAD^{tree}"]).trim().parse().unwrap();
        sandbox.git(&["mv", &format!("was-{SECRET}"), "is"]);
        sandbox.write("plain", "2\n");
        sandbox.commit();
        let to: decklog_snapshot::Tree = sandbox.git(&["rev-parse", "HEAD^{tree}"]).trim().parse().unwrap();
        let snapshots = open(sandbox);
        let mut patch = Vec::new();
        let written = snapshots.patch(&from, &to, &mut patch).unwrap();
        let patch = String::from_utf8(patch).unwrap();
        assert!(patch.contains("plain") && !patch.contains(SECRET), "{patch}");
        assert_eq!(written.withheld, [withheld_name("is")]);
    }

    /// A tracked file stays as it was, whether that is in the repository or in a snapshot before.
    fn tracked_files_stay_as_they_were(sandbox) {
        sandbox.init();
        sandbox.write("committed", "1\n");
        sandbox.write("changed", "1\n");
        sandbox.commit();
        sandbox.write("changed", "2\n");
        sandbox.write("new", "1\n");
        let mut snapshots = open(sandbox);
        let before = snapshots.take().unwrap();
        for name in ["committed", "changed", "new"] {
            sandbox.write(name, with_secret("1"));
        }
        let after = snapshots.take().unwrap();
        assert_eq!(after.withheld, [withheld("changed"), withheld("committed"), withheld("new")]);
        assert_eq!(after.tree, before.tree);
        // Also when it was committed with it, and the snapshots begin anew.
        sandbox.commit();
        drop(snapshots);
        assert_no_secret(sandbox);
    }

    fn a_conflict_with_a_secret_is_left_out(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        sandbox.git(&["checkout", "-q", "-b", "topic"]);
        sandbox.write("a", "2\n");
        sandbox.commit();
        sandbox.git(&["checkout", "-q", "main"]);
        sandbox.write("a", with_secret("3"));
        sandbox.commit();
        let merge = std::process::Command::new("git").args(["merge", "-q", "topic"]).current_dir(&sandbox.work).output();
        assert!(!merge.unwrap().status.success());
        let taken = open(sandbox).take().unwrap();
        assert_eq!(taken.withheld, [withheld("a")]);
        assert_eq!(sandbox.files_of(&taken.tree).len(), 0);
        assert_no_secret(sandbox);
    }

    /// What the repository itself holds is in nobody's patch: here an agent cleans up.
    fn secrets_of_the_repository_stay_out_of_patches(sandbox) {
        sandbox.init();
        for name in ["removed", "deleted", "renamed", "-odd :(top)*\n", "kept"] {
            sandbox.write(name, with_secret(&name.repeat(30)));
        }
        sandbox.write("other", "1\n");
        sandbox.commit();
        let mut snapshots = open(sandbox);
        let before = snapshots.take().unwrap();
        assert_eq!(before.withheld, [], "the files are as they are in the repository");
        sandbox.write("removed", format!("{}\nkey = env\n", "removed".repeat(30)));
        sandbox.write("-odd :(top)*\n", "clean\n");
        fs::remove_file(sandbox.work.join("deleted")).unwrap();
        fs::remove_file(sandbox.work.join("renamed")).unwrap();
        sandbox.write("new-name", format!("{0}\nkey = env\n{0}\n", "renamed".repeat(30)));
        sandbox.write("other", "2\n");
        let after = snapshots.take().unwrap();
        assert_eq!(after.withheld, []);
        let (written, forth) = patch(&snapshots, &before, &after);
        let names: Vec<_> = written.withheld.iter().map(|withheld| withheld.path.escape_ascii().to_string()).collect();
        assert_eq!(names, ["-odd :(top)*\\n", "deleted", "new-name", "removed"]);
        assert!(forth.contains("a/other"));
        // And the way back.
        let (written, back) = patch(&snapshots, &after, &before);
        assert_eq!(written.withheld.len(), 4);
        assert!(back.contains("a/other"));
        assert_eq!(snapshots.changes(&before.tree, &after.tree).unwrap().len(), 5);
        // From here on the cleaned-up files are like any other.
        sandbox.write("removed", "second\n");
        let later = snapshots.take().unwrap();
        let (written, patch) = patch(&snapshots, &after, &later);
        assert_eq!(written.withheld, []);
        assert!(patch.contains("+second"));
        drop(snapshots);
        assert_no_secret(sandbox);
    }

    /// The secret comes between the scan and git's reading, in new files and in tracked ones.
    fn a_secret_written_behind_the_scan_is_taken_back(_sandbox) {
        for line_end in ["\n", "\r\n"] {
            let sandbox = &Sandbox::new();
            sandbox.init();
            sandbox.git(&["config", "core.autocrlf", "input"]);
            sandbox.write("tracked", "1\n");
            sandbox.write("clean", "1\n");
            sandbox.commit();
            sandbox.write("tracked", format!("2{line_end}"));
            sandbox.write("clean", format!("2{line_end}"));
            sandbox.write("new", format!("2{line_end}"));
            let work = sandbox.work.clone();
            let mut done: Vec<PathBuf> = Vec::new();
            let afterwards = move |path: &Path| {
                if !path.ends_with("clean") && !done.contains(&path.to_owned()) {
                    done.push(path.to_owned());
                    fs::write(work.join(path), with_secret("2").replace('\n', line_end)).unwrap();
                }
            };
            let finder = Finder { afterwards: Some(Box::new(afterwards)) };
            let mut snapshots = sandbox.open_with(Limits::default(), finder);
            let taken = snapshots.take().unwrap();
            assert_eq!(taken.withheld, [withheld("new"), withheld("tracked")]);
            let files = sandbox.files_of(&taken.tree);
            assert_eq!(format!("{files:?}"), r#"{[99, 108, 101, 97, 110]: file 2\n (2), [116, 114, 97, 99, 107, 101, 100]: file 1\n (2)}"#);
            drop(snapshots);
            assert_no_secret(sandbox);
        }
    }

    /// When the second look fails, nobody knows what was stored.
    fn what_cannot_be_scanned_again_is_taken_back(sandbox) {
        struct Once(std::path::PathBuf, bool);
        impl FileScanner for Once {
            fn secret_in(&mut self, path: &Path, _: &mut dyn Read) -> io::Result<Option<String>> {
                if std::mem::replace(&mut self.1, true) {
                    return Err(io::Error::other("cannot tell"));
                }
                fs::write(self.0.join(path), with_secret("1"))?;
                Ok(None)
            }
        }
        sandbox.init();
        sandbox.write("a", "1\n");
        let taken = sandbox.open_with(Limits::default(), Once(sandbox.work.clone(), false)).take().unwrap();
        let reason = WithheldReason::Unreadable { error: "cannot tell".to_owned() };
        assert_eq!(taken.withheld, [Withheld { path: b"a".to_vec(), reason }]);
        assert_eq!(sandbox.files_of(&taken.tree).len(), 0);
        assert_no_secret(sandbox);
    }

    /// The same for what only differs from the index: the repository has that content already,
    /// with the secret, but the session must not.
    fn a_secret_of_the_repository_is_not_copied(sandbox) {
        sandbox.init();
        sandbox.write("a", with_secret("1"));
        sandbox.commit();
        sandbox.write("a", "2\n");
        sandbox.git(&["add", "a"]);
        sandbox.write("a", "3\n");
        let work = sandbox.work.clone();
        let afterwards = move |path: &Path| fs::write(work.join(path), with_secret("1")).unwrap();
        let mut snapshots = sandbox.open_with(Limits::default(), Finder { afterwards: Some(Box::new(afterwards)) });
        assert_eq!(snapshots.take().unwrap().withheld, [withheld("a")]);
        drop(snapshots);
        assert_no_secret(sandbox);
    }

    fn a_scanner_that_fails_withholds_the_file(sandbox) {
        struct Failing;
        impl FileScanner for Failing {
            fn secret_in(&mut self, path: &Path, _: &mut dyn Read) -> io::Result<Option<String>> {
                if path.ends_with("bad") { Err(io::Error::other("cannot tell")) } else { Ok(None) }
            }
        }
        sandbox.write("bad", "1\n");
        sandbox.write("good", "1\n");
        let taken = sandbox.open_with(Limits::default(), Failing).take().unwrap();
        let reason = WithheldReason::Unreadable { error: "cannot tell".to_owned() };
        assert_eq!(taken.withheld, [Withheld { path: b"bad".to_vec(), reason }]);
        assert_eq!(sandbox.files_of(&taken.tree).len(), 1);
    }

    /// The rest of the turn still applies when a file was left out.
    fn the_patch_without_withheld_files_applies(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write("b", "1\n");
        sandbox.commit();
        let start = sandbox.spare.join("start");
        crate::files::copy_files(&sandbox.work, &start);
        let mut snapshots = open(sandbox);
        let before = snapshots.take().unwrap();
        sandbox.write("a", "2\n");
        sandbox.write("b", with_secret("2"));
        let after = snapshots.take().unwrap();
        let (_, patch) = patch(&snapshots, &before, &after);
        apply(&start, patch.as_bytes());
        assert_eq!(fs::read_to_string(start.join("a")).unwrap(), "2\n");
        assert_eq!(fs::read_to_string(start.join("b")).unwrap(), "1\n");
    }
}
