//! Replacing files where there is no room for new ones beside the old ones.

use super::super::disk::SmallDisk;
use super::{Files, WORK, files, newest, prepare, restore_is_refused, skipped, strings, with_git};
use crate::env::TestEnv;

/// A world whose working tree is on a disk of `size`; what unmounts it.
fn on_a_small_disk(size: &str) -> Option<(TestEnv, SmallDisk)> {
    let env = TestEnv::without_repository();
    std::fs::remove_dir(env.work()).unwrap();
    let Some(disk) = SmallDisk::mount(&env.work(), size) else {
        skipped("mounting a tmpfs");
        return None;
    };
    env.git(&["init", "--quiet", "--initial-branch=main"]);
    env.write("a.txt", "one\n");
    env.git(&["add", "."]);
    env.git(&["commit", "--quiet", "-m", "first"]);
    Some((env, disk))
}

/// Fills the disk to the last byte, with a file that git ignores.
fn fill(env: &TestEnv) {
    use std::io::Write;
    let mut file = std::fs::File::create(env.work().join("full.log")).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    drop(file);
    std::fs::write(env.work().join("rest.log"), [b'x'; 4096]).unwrap_err();
}

/// The same, beside the file that fills it already.
fn fill_up(env: &TestEnv) {
    std::fs::rename(env.work().join("full.log"), env.work().join("old.log")).unwrap();
    fill(env);
}

fn without_logs(mut files: Files) -> Files {
    files.retain(|path, _| !path.ends_with(".log"));
    files
}

#[test]
fn a_tree_that_has_no_room_changes_nothing() {
    let Some((env, _disk)) = on_a_small_disk("2m") else { return };
    env.write("b.txt", "b\n");
    env.write("big", vec![b'1'; 600 << 10]);
    env.write("large", vec![b'1'; 300 << 10]);
    env.decklog(&["run", "--", "sh", "-c", "rm big large; echo two >a.txt; rm b.txt; echo c >c.txt"]).expect(0);
    env.write(".gitignore", "*.log\n");
    fill(&env);
    let after = files(&env);
    restore_is_refused(
        &env,
        env.decklog(&["restore", "@@0", "--in-place", "-y"]),
        "there is not enough room: 929792 bytes are needed, 0 are free",
        &after,
    );
}

/// Old files make room for new ones, and going back does the same, when nothing is free.
#[test]
fn a_full_disk_goes_back_and_forth() {
    for size in ["1m", "3m"] {
        let Some((env, _disk)) = on_a_small_disk(size) else { return };
        prepare(&env);
        env.write("big", vec![b'1'; 400 << 10]);
        let before = files(&env);
        let script = format!("{WORK}; rm big; head -c 380000 /dev/zero | tr '\\0' 2 >other");
        env.decklog(&["run", "--", "sh", "-c", &script]).expect(0);
        let after = files(&env);
        // The tree before is a little larger than the one after.
        fill(&env);
        let room = 64 << 10;
        let full = std::fs::File::options().write(true).open(env.work().join("full.log")).unwrap();
        full.set_len(full.metadata().unwrap().len() - room).unwrap();
        let ran = env.decklog(&["restore", "@@0", "--in-place", "-y"]).expect(0);
        assert_eq!(without_logs(files(&env)), before, "{size}: {}", ran.stderr);
        fill_up(&env);
        let back = ran.stderr.lines().find_map(|line| line.strip_prefix("to go back: decklog ")).unwrap();
        let mut words: Vec<_> = back.split(' ').collect();
        words.push("-y");
        env.decklog(&words).expect(0);
        assert_eq!(without_logs(files(&env)), after, "{size}");
    }
}

/// Where old files went first, they come back when new ones cannot be written: at once, or later by the way back.
#[test]
fn a_full_disk_and_a_git_that_fails() {
    let once =
        "echo x >>\"$HOME/count\"; if [ \"$(wc -l <\"$HOME/count\")\" = 1 ]; then GIT \"$@\"; : >big; exit 1; fi";
    let always = format!("{once}; exit 1");
    for (what, is_taken_back) in [(once, true), (always.as_str(), false), ("kill -KILL $$", false)] {
        let Some((mut env, _disk)) = on_a_small_disk("1m") else { return };
        prepare(&env);
        env.write("big", vec![b'1'; 400 << 10]);
        let script = format!("{WORK}; rm big; head -c 400000 /dev/zero | tr '\\0' 2 >other");
        env.decklog(&["run", "--", "sh", "-c", &script]).expect(0);
        let after = files(&env);
        fill(&env);
        let full = std::fs::File::options().write(true).open(env.work().join("full.log")).unwrap();
        full.set_len(full.metadata().unwrap().len() - (64 << 10)).unwrap();
        with_git(&mut env, what);
        let ran = env.decklog(&["restore", "@@0", "--in-place", "-y", "--json"]).expect(2);
        std::fs::remove_dir_all(env.home().join("bin")).unwrap();
        assert_eq!(newest(&env)["outcome"], "failed", "{what}");
        if is_taken_back {
            assert!(ran.stdout.is_empty() && ran.stderr.contains("was changed: "), "{what}: {}", ran.stderr);
        } else {
            assert!(!ran.stderr.contains("was changed: "), "{what}: {}", ran.stderr);
            let told = ran.json();
            let damaged = strings(&told["damaged"]);
            assert!(damaged.contains(&"a.txt".to_owned()) && damaged.contains(&"dir/b.txt".to_owned()), "{told}");
            assert_eq!(strings(&told["changed"]), ["dir/new", "file/inside", "more/deep/c", "other", "tree"], "{told}");
            let back = told["go_back"].as_str().unwrap().strip_prefix("decklog ").unwrap();
            env.decklog(&back.split(' ').chain(["-y"]).collect::<Vec<_>>()).expect(0);
        }
        assert_eq!(without_logs(files(&env)), after, "{what}: {}", ran.stderr);
        env.decklog(&["verify", "--all"]).expect(0);
    }
}

/// Another program makes a file while the old ones are out of their places: it is neither overwritten nor removed.
#[test]
fn a_full_disk_and_a_file_made_meanwhile() {
    let Some((mut env, _disk)) = on_a_small_disk("1m") else { return };
    prepare(&env);
    env.write("big", vec![b'1'; 400 << 10]);
    let script = format!("{WORK}; rm big; head -c 400000 /dev/zero | tr '\\0' 2 >other");
    env.decklog(&["run", "--", "sh", "-c", &script]).expect(0);
    let mut after = files(&env);
    fill(&env);
    let full = std::fs::File::options().write(true).open(env.work().join("full.log")).unwrap();
    full.set_len(full.metadata().unwrap().len() - (64 << 10)).unwrap();
    let theirs = env.work().join("a.txt");
    with_git(&mut env, &format!("GIT \"$@\" || exit 1; [ -e '{0}' ] || echo theirs >'{0}'; exit 0", theirs.display()));
    let ran = env.decklog(&["restore", "@@0", "--in-place", "-y", "--json"]).expect(2);
    std::fs::remove_dir_all(env.home().join("bin")).unwrap();
    assert!(ran.stderr.contains("a.txt"), "{}", ran.stderr);
    assert_eq!(strings(&ran.json()["damaged"]), ["a.txt"], "{}", ran.stderr);
    after.insert("a.txt".into(), files(&env)["a.txt"].clone());
    assert_eq!(env.read("a.txt"), "theirs\n", "{}", ran.stderr);
    assert_eq!(without_logs(files(&env)), after, "{}", ran.stderr);
}
