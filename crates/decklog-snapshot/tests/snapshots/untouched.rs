//! The repository is the same before and after, to the last byte and time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sandbox::{patch, sandboxed};

/// All there is in a directory, with its content and when it was last written or changed at all.
pub(crate) struct Fingerprint(BTreeMap<PathBuf, String>);

impl Fingerprint {
    pub(crate) fn of(directory: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                String::new()
            } else if metadata.is_symlink() {
                format!("{:?}", fs::read_link(&path).unwrap())
            } else {
                fs::read(&path).unwrap().escape_ascii().to_string()
            };
            let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
            found.insert(path, format!("{:o} {times:?} {content}", metadata.mode()));
        }
        Self(found)
    }

    pub(crate) fn check(&self, directory: &Path) {
        let now = Self::of(directory);
        for (path, was) in &self.0 {
            assert_eq!(Some(was), now.0.get(path), "{} was touched", path.display());
        }
        for path in now.0.keys() {
            assert!(self.0.contains_key(path), "{} is new", path.display());
        }
    }
}

sandboxed! {
    /// What would tempt git to write: files touched but unchanged, an index as old as they are, an
    /// untracked cache, a file system monitor, a split index.
    fn by_a_stale_index(sandbox) {
        sandbox.init();
        for n in 0..200 {
            sandbox.write(&format!("d{}/f{n}", n % 7), format!("{n}\n"));
        }
        sandbox.commit();
        sandbox.git(&["config", "core.untrackedCache", "true"]);
        sandbox.git(&["config", "core.splitIndex", "true"]);
        sandbox.git(&["update-index", "--split-index", "--untracked-cache"]);
        for n in 0..200 {
            sandbox.write(&format!("d{}/f{n}", n % 7), format!("{n}\n"));
        }
        sandbox.write("new", "new\n");
        let before = Fingerprint::of(&sandbox.work.join(".git"));
        let mut snapshots = sandbox.open();
        let first = snapshots.take().unwrap();
        sandbox.write("newer", "newer\n");
        let second = snapshots.take().unwrap();
        assert!(!patch(&snapshots, &first.tree, &second.tree).is_empty());
        drop(snapshots);
        before.check(&sandbox.work.join(".git"));
    }

    /// A change right after the index was written, of the same size and in the same second: git
    /// tells by the time of the index, which is therefore to be that of the user's.
    fn a_change_in_the_second_of_the_index_is_seen(sandbox) {
        use std::os::unix::fs::MetadataExt;
        sandbox.init();
        let file = sandbox.work.join("a");
        for attempt in 0.. {
            sandbox.write("a", format!("one {attempt}\n"));
            let then = fs::metadata(&file).unwrap().mtime();
            sandbox.commit();
            sandbox.write("a", format!("two {attempt}\n"));
            let index = fs::metadata(sandbox.work.join(".git/index")).unwrap();
            if then == fs::metadata(&file).unwrap().ctime() && then == index.mtime() {
                break;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let mut snapshots = sandbox.open();
        let tree = snapshots.take().unwrap().tree;
        assert!(format!("{:?}", sandbox.files_of(&tree)).contains("two"));
    }

    /// Whatever a repository can name to be run is not run, but for filters the user configured.
    fn by_programs_of_the_repository(sandbox) {
        use std::os::unix::fs::PermissionsExt;
        sandbox.init();
        let ran = sandbox.spare.join("ran");
        let program = sandbox.spare.join("program");
        fs::write(&program, format!("#!/bin/sh\necho \"$0 $@\" >>'{}'\ncat\n", ran.display())).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        sandbox.write("a.bin", "a\n");
        sandbox.write("a.late", "a\n");
        sandbox.commit();
        let program = program.to_str().unwrap();
        for key in ["core.fsmonitor", "filter.lfs.clean", "filter.lfs.process", "diff.external", "diff.d.textconv",
            "diff.d.command", "core.pager", "core.sshCommand", "core.editor", "core.alternateRefsCommand"] {
            sandbox.git(&["config", key, program]);
        }
        sandbox.git(&["config", "filter.lfs.required", "true"]);
        for hook in ["post-index-change", "pre-commit", "post-checkout", "reference-transaction", "fsmonitor-watchman"] {
            let hook = sandbox.work.join(".git/hooks").join(hook);
            fs::create_dir_all(hook.parent().unwrap()).unwrap();
            fs::copy(program, hook).unwrap();
        }
        sandbox.write(".gitattributes", "*.bin filter=lfs diff=d\n*.late filter=late diff=d\n");
        let mut snapshots = sandbox.open();
        let before = snapshots.take().unwrap().tree;
        // What an agent configures is not run either.
        sandbox.git(&["-c", "core.fsmonitor=false", "config", "filter.late.clean", program]);
        sandbox.write("a.bin", "b\n");
        sandbox.write("a.late", "b\n");
        sandbox.write("b.bin", "b\n");
        let after = snapshots.take().unwrap().tree;
        assert_eq!(snapshots.changes(&before, &after).unwrap().len(), 3);
        assert!(!patch(&snapshots, &before, &after).is_empty());
        assert_eq!(fs::read_to_string(&ran).unwrap_or_default(), "");
        assert!(!sandbox.work.join(".git/lfs").exists());
    }
}
