//! Linked worktrees: the same files and the same dirt, and a repository that is as before but for their entries.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use decklog_snapshot::{
    FileScanner, Limits, LinkedWorktree, NoSecrets, SnapshotError, Snapshotter, Taken, Tree, WithheldReason,
};

use crate::files::read_files;
use crate::places::Place;
use crate::sandbox::{Sandbox, git_in, sandboxed, take_all};
use crate::turns::cases;
use crate::untouched::Fingerprint;

/// A repository, each file with its times, and apart from them its entries of worktrees.
pub(crate) struct Repository {
    git: PathBuf,
    parts: BTreeMap<OsString, Fingerprint>,
}

impl Repository {
    pub(crate) fn of(git: &Path) -> Self {
        Self { git: git.to_owned(), parts: Self::parts(git) }
    }

    fn parts(git: &Path) -> BTreeMap<OsString, Fingerprint> {
        let names = fs::read_dir(git).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter(|name| name != "worktrees");
        names.map(|name| (name.clone(), Fingerprint::of(&git.join(&name)))).collect()
    }

    /// Sees that nothing was touched but entries of worktrees, of which these are there.
    pub(crate) fn check(&self, entries: &[&str]) {
        for (name, part) in &self.parts {
            part.check(&self.git.join(name));
        }
        assert_eq!(Self::parts(&self.git).len(), self.parts.len());
        assert_eq!(worktrees(&self.git), entries);
    }
}

/// The entries of worktrees.
pub(crate) fn worktrees(git: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(git.join("worktrees")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) struct Finder;

impl FileScanner for Finder {
    fn secret_in(&mut self, _: &Path, content: &mut dyn Read) -> io::Result<Option<String>> {
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        Ok(all.windows(6).any(|six| six == b"SECRET").then(|| "test-key".to_owned()))
    }
}

fn take(sandbox: &Sandbox) -> Taken {
    let limits = Limits { max_file_bytes: 1000, ..Limits::default() };
    sandbox.open_with(limits, Finder).take().unwrap()
}

fn create_in(sandbox: &Sandbox, working_dir: &Path, name: &str) -> Result<LinkedWorktree, SnapshotError> {
    let taken = take(sandbox);
    let path = sandbox.spare.join(name);
    LinkedWorktree::create(working_dir, &path, &taken.tree, &sandbox.objects, &taken.withheld)
}

pub(crate) fn create(sandbox: &Sandbox, name: &str) -> LinkedWorktree {
    let linked = create_in(sandbox, &sandbox.work, name).unwrap();
    assert_eq!(linked.lacking, []);
    linked
}

/// What a session of its own takes it for.
fn tree_of(sandbox: &Sandbox, linked: &LinkedWorktree) -> Tree {
    let objects = tempfile::TempDir::new_in(&sandbox.spare).unwrap();
    let mut there = Snapshotter::open(&linked.root, objects.path(), Limits::default(), Box::new(NoSecrets)).unwrap();
    take_all(&mut there)
}

/// What git says differs from HEAD, staged or not.
fn dirt(directory: &Path) -> String {
    let diff = ["diff", "--raw", "--no-renames", "--no-abbrev", "HEAD"];
    git_in(directory, &diff) + &git_in(directory, &["ls-files", "--others", "--exclude-standard"])
}

fn names(paths: &[decklog_snapshot::Withheld]) -> Vec<&str> {
    paths.iter().map(|withheld| std::str::from_utf8(&withheld.path).unwrap()).collect()
}

sandboxed! {
    fn a_clean_tree(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write("dir/b", "b\n");
        sandbox.commit();
        sandbox.git(&["branch", "other"]);
        sandbox.git(&["stash", "list"]);
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let linked = create(sandbox, "racer");
        untouched.check(&["racer"]);
        assert_eq!(linked.root, sandbox.spare.join("racer"));
        assert_eq!(linked.working_dir, linked.root);
        assert_eq!(linked.common_dir, sandbox.work.join(".git"));
        assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false));
        // Nothing is dirty, nor would git have to read anything to see it.
        assert_eq!(git_in(&linked.root, &["diff-files"]), "");
        assert_eq!(git_in(&linked.root, &["-c", "status.branch=false", "status", "--porcelain", "-uall"]), "");
        assert_eq!(git_in(&linked.root, &["rev-parse", "HEAD"]), sandbox.git(&["rev-parse", "HEAD"]));
        assert_eq!(git_in(&linked.root, &["branch", "--show-current"]), "");
        assert_eq!(fs::metadata(&linked.root).unwrap().mode() & 0o777, 0o700);
        LinkedWorktree::remove(&linked.common_dir, &linked.root).unwrap();
        untouched.check(&[]);
        assert!(!sandbox.work.join(".git/worktrees").exists());
        assert!(!linked.root.exists());
    }

    /// Staged or not, it is the same files that differ in the same way.
    fn a_dirty_tree(sandbox) {
        sandbox.init();
        sandbox.write(".gitignore", "*.log\nbuilt/\n");
        for name in ["same", "changed", "staged", "both", "deleted", "deleted-staged", "renamed", "mode", "link", "dir/x"] {
            sandbox.write(name, format!("{name}\n"));
        }
        sandbox.commit();
        sandbox.write("changed", "2\n");
        sandbox.write("staged", "2\n");
        sandbox.write("both", "2\n");
        sandbox.write("new-staged", "new\n");
        sandbox.git(&["add", "staged", "both", "new-staged"]);
        sandbox.write("both", "3\n");
        sandbox.git(&["mv", "renamed", "renamed-now"]);
        sandbox.git(&["rm", "-q", "deleted-staged"]);
        fs::remove_file(sandbox.work.join("deleted")).unwrap();
        sandbox.write("dir/un tracked \u{e9}", "new\n");
        sandbox.write("x.log", "ignored\n");
        sandbox.write("built/x", "ignored\n");
        fs::set_permissions(sandbox.work.join("mode"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::remove_file(sandbox.work.join("link")).unwrap();
        symlink("../outside", sandbox.work.join("link")).unwrap();
        symlink("dir", sandbox.work.join("new-link")).unwrap();
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let files = read_files(&sandbox.work, &|_| false);
        let linked = create(sandbox, "racer");
        untouched.check(&["racer"]);
        assert_eq!(read_files(&sandbox.work, &|_| false), files);
        let ignored = |name: &[u8]| name.ends_with(b".log") || name.starts_with(b"built/");
        let there = read_files(&sandbox.work, &ignored);
        assert_eq!(read_files(&linked.root, &|_| false), there);
        // Untracked for one is staged for the other.
        let all = |directory: &Path| {
            git_in(directory, &["add", "-A"]);
            git_in(directory, &["status", "--porcelain", "-uall"])
        };
        assert_eq!(git_in(&linked.root, &["diff", "--cached", "HEAD"]), "");
        assert_eq!(
            git_in(&linked.root, &["ls-files", "--others", "--exclude-standard", "-z"]),
            "dir/un tracked \u{e9}\0new-link\0new-staged\0renamed-now\0"
        );
        assert_eq!(all(&linked.root), all(&sandbox.work));
    }

    /// Whatever is done to files, in every kind of repository, the worktree has them and the same dirt.
    fn every_case(_sandbox) {
        let places = [Place::Committed, Place::Linked, Place::Detached, Place::Sha256, Place::OddPath, Place::SplitIndex];
        for (n, case) in cases().into_iter().enumerate() {
            let place = places[n % places.len()];
            let context = format!("{:?}, {place:?}", case.name);
            let mut sandbox = Sandbox::new();
            place.prepare(&mut sandbox, &case.start);
            case.turn.iter().for_each(|step| step.run(&sandbox.work));
            let ignored = |name: &[u8]| {
                case.name == "ignored" && (name.ends_with(b".o") || name.starts_with(b"out/") || name == b"sub/c")
            };
            let git = crate::places::git_directory(&sandbox).unwrap();
            let before = worktrees(&git);
            let untouched = Repository::of(&git);
            let taken = sandbox.open().take().unwrap();
            let path = sandbox.spare.join("racer");
            let linked = LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &[])
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            let mut after: Vec<&str> = before.iter().map(String::as_str).collect();
            after.push("racer");
            after.sort_unstable();
            untouched.check(&after);
            assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &ignored), "{context}");
            assert_eq!(tree_of(&sandbox, &linked), taken.tree, "{context}");
            assert_eq!(dirt(&linked.root), dirt(&sandbox.work), "{context}");
            // Which refreshed the user's index.
            let untouched = Repository::of(&git);
            LinkedWorktree::remove(&linked.common_dir, &path).unwrap();
            untouched.check(&before.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn the_directory_within_is_the_users(sandbox) {
        sandbox.init();
        sandbox.write("sub/a", "1\n");
        sandbox.write(".gitignore", "/out\n");
        sandbox.commit();
        let linked = create_in(sandbox, &sandbox.work.join("sub"), "racer").unwrap();
        assert_eq!(linked.root, sandbox.spare.join("racer"));
        assert_eq!(linked.working_dir, linked.root.join("sub"));
        assert_eq!(fs::read_to_string(linked.working_dir.join("a")).unwrap(), "1\n");
        // One of which no snapshot knows.
        fs::create_dir_all(sandbox.work.join("out/deep")).unwrap();
        let linked = create_in(sandbox, &sandbox.work.join("out/deep"), "second").unwrap();
        assert_eq!(linked.working_dir, sandbox.spare.join("second/out/deep"));
        assert!(linked.working_dir.is_dir());
    }

    /// Whatever git makes of line ends, it is what stands in the user's tree.
    fn line_ends_are_the_users(_sandbox) {
        for (setting, attributes) in
            [("true", ""), ("input", ""), ("false", "*.t text eol=crlf\n"), ("false", "* text=auto eol=crlf\n"), ("true", "*.t -text\n")]
        {
            let sandbox = &Sandbox::new();
            sandbox.init();
            sandbox.git(&["config", "core.autocrlf", setting]);
            sandbox.git(&["config", "core.safecrlf", "false"]);
            sandbox.write(".gitattributes", attributes);
            for name in ["a.t", "b.u", "mixed.t"] {
                sandbox.write(name, if name == "mixed.t" { "1\n2\r\n" } else { "1\n2\n" });
            }
            sandbox.commit();
            // As git has them.
            for name in ["a.t", "b.u", "mixed.t", ".gitattributes"] {
                fs::remove_file(sandbox.work.join(name)).unwrap();
            }
            sandbox.git(&["checkout", "-q", "."]);
            let linked = create(sandbox, "racer");
            let context = format!("{setting} {attributes:?}");
            assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false), "{context}");
            assert_eq!(dirt(&linked.root), "", "{context}");
            assert_eq!(tree_of(sandbox, &linked), take(sandbox).tree, "{context}");
            // Changed since, and not staged.
            let content = fs::read_to_string(sandbox.work.join("a.t")).unwrap();
            sandbox.write("a.t", content.repeat(2));
            let linked = create(sandbox, "second");
            assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false), "{context}");
            assert_eq!(tree_of(sandbox, &linked), take(sandbox).tree, "{context}");
        }
    }

    /// Attributes and excludes that stand in the repository and nowhere else.
    fn the_repositorys_own_attributes_count(sandbox) {
        sandbox.init();
        sandbox.write(".git/info/attributes", "*.t text eol=crlf\n");
        sandbox.write(".git/info/exclude", "*.log\n");
        sandbox.write("a.t", "1\r\n2\r\n");
        sandbox.commit();
        sandbox.write("x.log", "ignored\n");
        let linked = create(sandbox, "racer");
        assert_eq!(fs::read(linked.root.join("a.t")).unwrap(), b"1\r\n2\r\n");
        assert!(!linked.root.join("x.log").exists());
        assert_eq!(dirt(&linked.root), "");
    }

    /// The user's filters make the user's files; git-lfs is not asked, its files are copied.
    fn filters_are_the_users(sandbox) {
        sandbox.init();
        let ran = sandbox.spare.join("ran");
        sandbox.git(&["config", "filter.up.clean", "tr a-z A-Z"]);
        sandbox.git(&["config", "filter.up.smudge", "tr A-Z a-z"]);
        sandbox.git(&["config", "filter.lfs.clean", "sed s/^content/pointer/"]);
        sandbox.git(&["config", "filter.lfs.smudge", &format!("echo ran >>'{}'; sed s/^pointer/content/", ran.display())]);
        sandbox.git(&["config", "filter.lfs.required", "true"]);
        sandbox.write(".gitattributes", "*.up filter=up\n*.bin filter=lfs -text\n");
        for name in ["a.up", "a.bin", "changed.bin", "gone.bin"] {
            sandbox.write(name, "content\n");
            // So long ago that git need not look whether they have changed since they were staged.
            let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            let file = fs::File::options().write(true).open(sandbox.work.join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        sandbox.commit();
        assert_eq!(sandbox.git(&["show", "HEAD:a.bin"]), "pointer\n");
        sandbox.write("changed.bin", "content two\n");
        fs::remove_file(sandbox.work.join("gone.bin")).unwrap();
        let linked = create(sandbox, "racer");
        assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false));
        assert_eq!(dirt(&linked.root), dirt(&sandbox.work));
        assert!(!ran.exists(), "git-lfs was asked");
        // A snapshot of it has the pointer of what is unchanged, as one of the user's tree has.
        assert_eq!(tree_of(sandbox, &linked), take(sandbox).tree);
    }

    /// What no snapshot may hold is the same for whoever works there.
    fn what_was_withheld_is_copied(sandbox) {
        sandbox.init();
        sandbox.write(".gitignore", "ignored\n");
        sandbox.write("key", "harmless\n");
        sandbox.write("link-now", "harmless\n");
        sandbox.write("fifo-now", "harmless\n");
        sandbox.commit();
        sandbox.write("key", "SECRET in place of something tracked\n");
        sandbox.write("deep/er/.env", "SECRET\n");
        fs::set_permissions(sandbox.work.join("deep/er/.env"), PermissionsExt::from_mode(0o640)).unwrap();
        sandbox.write("large", "x".repeat(5000));
        fs::set_permissions(sandbox.work.join("large"), PermissionsExt::from_mode(0o755)).unwrap();
        sandbox.write("ignored", "SECRET\n");
        fs::remove_file(sandbox.work.join("link-now")).unwrap();
        symlink("/nowhere/SECRET", sandbox.work.join("link-now")).unwrap();
        fs::create_dir(sandbox.work.join("nested")).unwrap();
        git_in(&sandbox.work.join("nested"), &["init", "-q"]);
        sandbox.write("nested/inside", "1\n");
        fs::remove_file(sandbox.work.join("fifo-now")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(sandbox.work.join("fifo-now")).status().unwrap().success());
        let withheld = take(sandbox).withheld;
        assert_eq!(names(&withheld), ["deep/er/.env", "fifo-now", "key", "large", "link-now", "nested"]);
        let linked = create_in(sandbox, &sandbox.work, "racer").unwrap();
        assert_eq!(names(&linked.lacking), ["fifo-now", "nested"]);
        assert_eq!(linked.lacking[1].reason, WithheldReason::NestedRepository);
        let other = |name: &[u8]| name == b"fifo-now" || name == b"ignored" || name.starts_with(b"nested");
        assert_eq!(read_files(&linked.root, &other), read_files(&sandbox.work, &other));
        let mode = |path: &str| fs::metadata(linked.root.join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("deep/er/.env"), mode("large")), (0o640, 0o755));
        assert!(!linked.root.join("nested").exists() && !linked.root.join("ignored").exists());
        assert!(fs::symlink_metadata(linked.root.join("fifo-now")).unwrap().is_file());
    }

    /// The user's tree can change between the snapshot and the copy.
    fn nothing_is_copied_through_a_link(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        sandbox.write("dir/.env", "SECRET\n");
        sandbox.write("one", "SECRET\n");
        let mut taken = take(sandbox);
        assert_eq!(taken.withheld.len(), 2);
        let outside = sandbox.spare.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join(".env"), "outside\n").unwrap();
        fs::remove_dir_all(sandbox.work.join("dir")).unwrap();
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        let odd = |path: &str| decklog_snapshot::Withheld { path: path.into(), reason: WithheldReason::Special };
        // Names that no snapshot would give.
        let odds = ["../outside/.env", ".git/config", "/etc/hostname", "", "a/../../outside/.env", "dir/"].map(odd);
        taken.withheld.extend(odds.clone());
        let path = sandbox.spare.join("racer");
        let linked =
            LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &taken.withheld).unwrap();
        let mut lacking: Vec<_> = odds.iter().map(|withheld| withheld.path.clone()).collect();
        lacking.push(b"dir/.env".to_vec());
        lacking.sort();
        assert_eq!(linked.lacking.iter().map(|withheld| withheld.path.clone()).collect::<Vec<_>>(), lacking);
        let there: Vec<_> = read_files(&linked.root, &|_| false).into_keys().collect();
        assert_eq!(there, [b"a".to_vec(), b"one".to_vec()]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    /// Nor into one that the snapshot has where a directory was since.
    fn nothing_is_copied_into_a_link(sandbox) {
        sandbox.init();
        let outside = sandbox.spare.join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, sandbox.work.join("dir")).unwrap();
        sandbox.commit();
        let mut taken = take(sandbox);
        fs::remove_file(sandbox.work.join("dir")).unwrap();
        sandbox.write("dir/.env", "SECRET\n");
        let reason = WithheldReason::Secret { rule: "test-key".to_owned() };
        taken.withheld.push(decklog_snapshot::Withheld { path: b"dir/.env".to_vec(), reason });
        let path = sandbox.spare.join("racer");
        let linked =
            LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &taken.withheld).unwrap();
        assert_eq!(linked.lacking, taken.withheld);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    fn at_an_odd_place(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        let untouched = Repository::of(&sandbox.work.join(".git"));
        for name in ["-", "a:b\"c\\ d\n-\u{e9}", "..x", "x.lock", "~"] {
            let linked = create(sandbox, name);
            assert_eq!(dirt(&linked.root), "");
            assert_eq!(worktrees(&sandbox.work.join(".git")).len(), 1);
            LinkedWorktree::remove(&linked.common_dir, &linked.root).unwrap();
            untouched.check(&[]);
        }
    }

    /// A sparse checkout stays sparse, with what stands in it although it was left out.
    fn what_is_left_out_stays_out(_sandbox) {
        for index in ["false", "true"] {
            let sandbox = &Sandbox::new();
            sandbox.init();
            for name in ["a/1", "a/2", "b/1", "b/c/2", "top"] {
                sandbox.write(name, format!("{name}\n"));
            }
            sandbox.commit();
            sandbox.git(&["config", "index.sparse", index]);
            sandbox.git(&["sparse-checkout", "set", "--cone", "a"]);
            sandbox.write("a/1", "changed\n");
            sandbox.write("b/1", "there again\n");
            let untouched = Repository::of(&sandbox.work.join(".git"));
            let linked = create(sandbox, "racer");
            untouched.check(&["racer"]);
            assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false));
            assert_eq!(tree_of(sandbox, &linked), take(sandbox).tree);
            assert_eq!(
                git_in(&linked.root, &["status", "--porcelain=v1", "--no-branch"]),
                " M a/1\n M b/1\n",
                "index.sparse={index}"
            );
        }
    }

    fn submodules_are_directories(sandbox) {
        crate::submodules::prepare(sandbox);
        sandbox.write("libs/one/file", "changed\n");
        let linked = create(sandbox, "racer");
        assert_eq!(read_files(&linked.root, &|_| false), read_files(&sandbox.work, &|_| false));
        assert_eq!(tree_of(sandbox, &linked), take(sandbox).tree);
    }

    /// Many at once, of the same name, come and go.
    fn several_at_once(sandbox) {
        sandbox.init();
        for n in 0..50 {
            sandbox.write(&format!("d{}/f{n}", n % 5), format!("{n}\n"));
        }
        sandbox.commit();
        sandbox.write("dirty", "1\n");
        let files = read_files(&sandbox.work, &|_| false);
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let taken = take(sandbox);
        for round in 0..3 {
            std::thread::scope(|scope| {
                for n in 0..6 {
                    let (taken, files) = (&taken, &files);
                    scope.spawn(move || {
                        let parent = sandbox.spare.join(format!("racer{round}-{n}"));
                        fs::create_dir(&parent).unwrap();
                        let path = parent.join("tree");
                        let linked =
                            LinkedWorktree::create(&sandbox.work, &path, &taken.tree, &sandbox.objects, &[]).unwrap();
                        assert_eq!(read_files(&path, &|_| false), *files);
                        assert_eq!(git_in(&path, &["status", "--porcelain", "--no-branch", "-uall"]), "?? dirty\n");
                        if n % 2 == 0 {
                            LinkedWorktree::remove(&linked.common_dir, &path).unwrap();
                        }
                    });
                }
            });
            for n in [1, 3, 5] {
                let path = sandbox.spare.join(format!("racer{round}-{n}/tree"));
                assert_eq!(git_in(&path, &["status", "--porcelain", "--no-branch", "-uall"]), "?? dirty\n");
                LinkedWorktree::remove(&sandbox.work.join(".git"), &path).unwrap();
            }
            untouched.check(&[]);
        }
    }

    /// A setting of newer gits would have them change the repository's configuration.
    fn settings_do_not_change_the_repository(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        sandbox.git(&["config", "worktree.useRelativePaths", "true"]);
        sandbox.git(&["config", "core.splitIndex", "true"]);
        sandbox.git(&["config", "extensions.worktreeConfig", "true"]);
        for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
            let hook = sandbox.work.join(".git/hooks").join(hook);
            fs::create_dir_all(hook.parent().unwrap()).unwrap();
            fs::write(&hook, format!("#!/bin/sh\ntouch '{}'\n", sandbox.spare.join("ran").display())).unwrap();
            fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let linked = create(sandbox, "racer");
        untouched.check(&["racer"]);
        assert!(!sandbox.spare.join("ran").exists());
        assert!(fs::read_to_string(linked.root.join(".git")).unwrap().starts_with("gitdir: /"));
    }

    fn where_none_can_be_made(sandbox) {
        let path = sandbox.spare.join("racer");
        let refused = |sandbox: &Sandbox, path: &Path| {
            let taken = take(sandbox);
            LinkedWorktree::create(&sandbox.work, path, &taken.tree, &sandbox.objects, &taken.withheld).unwrap_err()
        };
        let error = refused(sandbox, &path);
        assert!(matches!(error, SnapshotError::NoRepository { .. }) && error.to_string().contains("git init"), "{error}");
        sandbox.init();
        sandbox.write("a", "1\n");
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let error = refused(sandbox, &path);
        assert!(matches!(error, SnapshotError::NoCommit { .. }) && error.to_string().contains("commit"), "{error}");
        untouched.check(&[]);
        assert!(!path.exists());

        sandbox.commit();
        let untouched = Repository::of(&sandbox.work.join(".git"));
        for taken in ["file", "dir", "link", "dangling"] {
            let path = sandbox.spare.join(taken);
            match taken {
                "file" => fs::write(&path, "x").unwrap(),
                "dir" => fs::create_dir(&path).unwrap(),
                "link" => symlink(&sandbox.work, &path).unwrap(),
                _ => symlink("/nowhere", &path).unwrap(),
            }
            let error = refused(sandbox, &path);
            assert!(matches!(error, SnapshotError::AlreadyThere { .. }), "{error}");
            assert!(fs::symlink_metadata(&path).is_ok());
        }
        let error = refused(sandbox, &sandbox.spare.join("no/parent"));
        assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
        assert!(!sandbox.spare.join("no").exists());
        untouched.check(&[]);
    }

    /// Whatever fails on the way, nothing is left.
    fn half_made_is_unmade(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.write(".gitattributes", "*.f filter=fails\n");
        sandbox.write("b.f", "1\n");
        sandbox.commit();
        let path = sandbox.spare.join("racer");
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let gone = |untouched: &Repository| {
            untouched.check(&[]);
            assert!(fs::symlink_metadata(&path).is_err());
            assert!(!sandbox.work.join(".git/worktrees").is_dir());
        };
        // No such tree: before git has made anything.
        let nowhere = decklog_snapshot::Tree::parse(&"1".repeat(40)).unwrap();
        let taken = take(sandbox);
        let make = |tree| LinkedWorktree::create(&sandbox.work, &path, tree, &sandbox.objects, &[]).unwrap_err();
        let error = make(&nowhere);
        assert!(matches!(error, SnapshotError::Gone { .. }), "{error}");
        gone(&untouched);
        // git refuses.
        fs::write(sandbox.work.join(".git/worktrees"), "").unwrap();
        let error = make(&taken.tree);
        assert!(matches!(&error, SnapshotError::Git { command, .. } if command == "worktree"), "{error}");
        assert!(fs::symlink_metadata(&path).is_err());
        fs::remove_file(sandbox.work.join(".git/worktrees")).unwrap();
        untouched.check(&[]);
        // A filter fails, when some files are written.
        sandbox.git(&["config", "filter.fails.smudge", "false"]);
        sandbox.git(&["config", "filter.fails.required", "true"]);
        let untouched = Repository::of(&sandbox.work.join(".git"));
        let error = make(&taken.tree);
        assert!(matches!(&error, SnapshotError::Git { command, .. } if command == "checkout-index"), "{error}");
        gone(&untouched);
        sandbox.git(&["config", "--unset", "filter.fails.required"]);
        create(sandbox, "racer");
    }
}
