//! The user's configuration counts where it is about content, and nowhere else.

use std::ffi::OsStr;
use std::fs;

use decklog_snapshot::Tree;

use crate::files::{copy_files, read_files};
use crate::sandbox::{Sandbox, apply, git_in, in_own_process, patch, sandboxed, take_all};
use crate::untouched::Fingerprint;

/// Takes a snapshot, which must be what `git add` would have made and leave git alone.
fn take_as_git_would(sandbox: &Sandbox) -> Tree {
    let untouched = Fingerprint::of(&sandbox.work.join(".git"));
    let tree = take_all(&mut sandbox.open());
    untouched.check(&sandbox.work.join(".git"));
    assert_eq!(tree.as_str(), sandbox.tree_by_git_add());
    tree
}

sandboxed! {
    /// Line ends, under every setting and attribute, of files tracked and not, with either kind
    /// stored before.
    fn line_ends_are_as_git_has_them(_sandbox) {
        for setting in ["false", "input", "true"] {
            for attributes in ["", "* text=auto\n", "* text=auto eol=crlf\n", "* text\n", "* -text\n", "*.t text eol=lf\n"] {
                let sandbox = &Sandbox::new();
                sandbox.init();
                for name in ["a.t", "b.u", "crlf.t", "crlf.u", "mixed.t"] {
                    let stored = if name.starts_with("crlf") { "1\r\n2\r\n" } else { "1\n2\n" };
                    sandbox.write(name, stored);
                }
                sandbox.commit();
                sandbox.git(&["config", "core.autocrlf", setting]);
                sandbox.git(&["config", "core.safecrlf", "true"]);
                sandbox.write(".gitattributes", attributes);
                for name in ["a.t", "b.u", "crlf.t", "crlf.u", "new.t", "new.u"] {
                    sandbox.write(name, "1\r\n2\r\n3\r\n");
                }
                sandbox.write("mixed.t", "1\r\n2\n3\r\n");
                sandbox.write("lf.t", "1\n");
                let untouched = Fingerprint::of(&sandbox.work.join(".git"));
                let mut snapshots = sandbox.open();
                let tree = take_all(&mut snapshots);
                assert_eq!(take_all(&mut snapshots), tree, "{setting} {attributes:?}: again");
                untouched.check(&sandbox.work.join(".git"));
                sandbox.git(&["config", "core.safecrlf", "false"]);
                assert_eq!(tree.as_str(), sandbox.tree_by_git_add(), "{setting} {attributes:?}");
            }
        }
    }

    fn filters_run_where_they_expect_to(sandbox) {
        sandbox.init();
        // Fails unless git finds its own repository.
        let clean = format!("test \"$(git rev-parse --absolute-git-dir)\" = '{}' && tr a-z A-Z", sandbox.work.join(".git").display());
        sandbox.git(&["config", "filter.upper.clean", &clean]);
        sandbox.git(&["config", "filter.upper.required", "true"]);
        sandbox.write(".gitattributes", "*.up filter=upper\n");
        sandbox.write("a.up", "some text\n");
        sandbox.commit();
        sandbox.write("a.up", "other text\n");
        sandbox.write("b.up", "new text\n");
        let tree = take_as_git_would(sandbox);
        assert!(format!("{:?}", sandbox.files_of(&tree)).contains("OTHER TEXT"));
    }

    fn other_settings_about_content_count(sandbox) {
        use std::os::unix::fs::PermissionsExt;
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        let attributes = sandbox.spare.join("attributes");
        fs::write(&attributes, "*.enc working-tree-encoding=UTF-16\n").unwrap();
        let excludes = sandbox.spare.join("excludes");
        fs::write(&excludes, "*.tmp\n").unwrap();
        sandbox.git(&["config", "core.fileMode", "false"]);
        sandbox.git(&["config", "core.attributesFile", attributes.to_str().unwrap()]);
        sandbox.git(&["config", "core.excludesFile", excludes.to_str().unwrap()]);
        fs::write(sandbox.work.join(".git/info/exclude"), "*.own\n").unwrap();
        fs::write(sandbox.work.join(".git/info/attributes"), "*.lf text\n").unwrap();
        fs::set_permissions(sandbox.work.join("a"), PermissionsExt::from_mode(0o755)).unwrap();
        sandbox.write("b.enc", b"\xff\xfeh\0i\0\n\0");
        sandbox.write("c.tmp", "1\n");
        sandbox.write("d.own", "1\n");
        sandbox.write("e.lf", "1\r\n");
        let tree = take_as_git_would(sandbox);
        assert_eq!(sandbox.files_of(&tree).into_keys().collect::<Vec<_>>(), [b"a".to_vec(), b"b.enc".to_vec(), b"e.lf".to_vec()]);
    }

    fn global_excludes_count_without_a_repository(sandbox) {
        let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap());
        fs::create_dir_all(home.join(".config/git")).unwrap();
        fs::write(home.join(".config/git/ignore"), "*.swp\n").unwrap();
        sandbox.write("a", "1\n");
        sandbox.write("a.swp", "1\n");
        let tree = take_all(&mut sandbox.open());
        assert_eq!(sandbox.files_of(&tree).len(), 1);
    }

    /// Names in an index of version 4 are told by what they add to the one before.
    fn hidden_files_are_found_in_every_version_of_the_index(_sandbox) {
        for version in ["2", "3", "4"] {
            let sandbox = &Sandbox::new();
            sandbox.init();
            for name in ["lib/a", "lib/ab", "lib/abc/d", "m", "mm"] {
                sandbox.write(name, "1\n");
            }
            sandbox.commit();
            sandbox.git(&["update-index", "--index-version", version]);
            sandbox.git(&["update-index", "--assume-unchanged", "lib/ab", "lib/abc/d", "mm"]);
            let mut snapshots = sandbox.open();
            let before = take_all(&mut snapshots);
            for name in ["lib/a", "lib/ab", "lib/abc/d", "m", "mm"] {
                sandbox.write(name, "2\n");
            }
            let after = take_all(&mut snapshots);
            assert_eq!(snapshots.changes(&before, &after).unwrap().len(), 5, "version {version}");
        }
    }

    /// Settings an agent makes while the session runs change nothing any more.
    fn the_configuration_is_that_of_the_beginning(sandbox) {
        sandbox.init();
        sandbox.write("a", "1\n");
        sandbox.commit();
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        sandbox.git(&["config", "core.worktree", "/"]);
        sandbox.git(&["config", "core.excludesFile", sandbox.spare.join("excludes").to_str().unwrap()]);
        fs::write(sandbox.spare.join("excludes"), "*\n").unwrap();
        fs::write(sandbox.work.join(".git/info/exclude"), "*\n").unwrap();
        sandbox.write("b", "1\n");
        let after = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&before, &after).unwrap()[0].path, b"b");
    }
}

/// Inside a hook or an alias git has set variables that point elsewhere.
#[test]
fn variables_do_not_redirect_it() {
    let name = concat!(module_path!(), "::", "variables_do_not_redirect_it");
    let env = |key: &'static str, value: &'static str| (key, OsStr::new(value));
    let env = [
        env("GIT_DIR", "/nowhere/git"),
        env("GIT_WORK_TREE", "/nowhere"),
        env("GIT_INDEX_FILE", "/nowhere/index"),
        env("GIT_OBJECT_DIRECTORY", "/nowhere/objects"),
        env("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/nowhere/objects"),
        env("GIT_COMMON_DIR", "/nowhere"),
        env("GIT_NAMESPACE", "x"),
        env("GIT_PREFIX", "x/"),
        env("GIT_DEFAULT_HASH", "sha256"),
        env("GIT_LITERAL_PATHSPECS", "1"),
        env("GIT_EXTERNAL_DIFF", "false"),
        env("GIT_DIFF_OPTS", "-u0"),
        env("GIT_OPTIONAL_LOCKS", "1"),
        env("GIT_TRACE", "1"),
        env("GIT_CONFIG", "/nowhere"),
        env("GIT_ATTR_SOURCE", "HEAD"),
        env("LC_ALL", "de_DE.UTF-8"),
        env("LANGUAGE", "de"),
    ];
    in_own_process(name, &env, |_| {
        for place in ["plain", "repository"] {
            let sandbox = &Sandbox::new();
            if place == "repository" {
                // The variables are for the snapshot alone.
                let mut git = std::process::Command::new("git");
                for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("GIT_")) {
                    git.env_remove(key);
                }
                assert!(git.args(["init", "-q"]).arg(&sandbox.work).status().unwrap().success());
            }
            sandbox.write("sub/a", "1\n2\n3\n4\n");
            let start = sandbox.spare.join("start");
            copy_files(&sandbox.work, &start);
            let mut snapshots = sandbox.open();
            assert_eq!(
                snapshots.repository().map(|found| found.root.clone()),
                (place == "repository").then(|| sandbox.work.clone())
            );
            let before = take_all(&mut snapshots);
            sandbox.write("sub/a", "1\n2\n3\n5\n");
            let after = take_all(&mut snapshots);
            let patch = patch(&snapshots, &before, &after);
            assert!(String::from_utf8(patch.clone()).unwrap().contains("\n 3\n"));
            let mut apply = std::process::Command::new("git");
            apply.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
            fs::write(sandbox.spare.join("patch"), patch).unwrap();
            assert!(
                apply.arg("apply").arg(sandbox.spare.join("patch")).current_dir(&start).status().unwrap().success()
            );
            assert_eq!(read_files(&start, &|_| false), read_files(&sandbox.work, &|_| false));
        }
    });
}

/// A user may point to another global configuration, and it is theirs.
#[test]
fn the_users_choice_of_configuration_is_kept() {
    let directory = tempfile::TempDir::new().unwrap();
    let config = directory.path().join("config");
    fs::write(&config, "[core]\n\texcludesFile = ~/own-excludes\n").unwrap();
    let name = concat!(module_path!(), "::", "the_users_choice_of_configuration_is_kept");
    in_own_process(name, &[("GIT_CONFIG_GLOBAL", config.as_os_str())], |sandbox| {
        let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap());
        fs::write(home.join("own-excludes"), "*.mine\n").unwrap();
        git_in(&sandbox.work, &["init", "-q"]);
        sandbox.write("a", "1\n");
        sandbox.write("a.mine", "1\n");
        let mut snapshots = sandbox.open();
        let before = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&before, &before).unwrap(), []);
        let start = sandbox.spare.join("start");
        copy_files(&sandbox.work, &start);
        fs::remove_file(sandbox.work.join("a")).unwrap();
        let after = take_all(&mut snapshots);
        assert_eq!(snapshots.changes(&before, &after).unwrap().len(), 1);
        apply(&start, &patch(&snapshots, &before, &after));
    });
}
