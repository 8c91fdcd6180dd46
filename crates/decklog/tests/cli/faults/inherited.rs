//! What a child inherits when decklog is started by git: a hook or an alias binds its environment to a repository.

use crate::env::{Ran, TestEnv, finish};
use crate::relaying::world;

/// Commits in the directory it is started in, and says what git sees there.
const COMMITS: &str = "git rev-parse --show-toplevel >>\"$HOME/tops\"; echo work >made.txt; git add made.txt && \
                       git commit -qm made && echo done; env | grep '^GIT_' | grep -v -e AUTHOR -e COMMITTER -e EDITOR \
                       >>\"$HOME/inherited\" || true";

fn run_through(env: &TestEnv, dir: &std::path::Path, arguments: &[&str]) -> Ran {
    let mut command = env.command("git");
    command.args(arguments).current_dir(dir);
    finish(command)
}

fn head(env: &TestEnv, dir: &std::path::Path) -> String {
    run_through(env, dir, &["rev-parse", "HEAD"]).expect(0).stdout
}

/// A main and a linked worktree, from an alias and from a hook, with every verb that starts something.
#[test]
fn a_child_works_on_the_repository_around_its_own_directory() {
    for linked in [false, true] {
        for (verb, arguments) in [
            ("race", &["race", "ada", "ada", "--pick", "none", "Work."][..]),
            ("setup", &["race", "bob", "bob", "--pick", "none", "Work."]),
            ("run", &["run", "ada", "Work."]),
            ("check", &["run", "--check", "sh \"$HOME/ada.sh\" </dev/null", "--", "true"]),
            ("chat", &["chat", "ada", "ada", "--max-turns", "1", "Work."]),
            ("loop", &["loop", "--critic", "none", "--check", "true", "--actor", "ada", "Work."]),
            ("shell", &["shell", "ada"]),
            ("resume", &["resume", "@", "--agent", "ada", "Work."]),
        ] {
            let env = world(&[("ada", "text", COMMITS), ("bob", "text", "echo done")]);
            if verb == "setup" {
                let config = env.home().join(".config/decklog/config.toml");
                let text = std::fs::read_to_string(&config).unwrap();
                let command = "sh \"$HOME/ada.sh\" </dev/null";
                std::fs::write(&config, format!("{text}\n[race]\nsetup = {}\n", serde_json::json!(command))).unwrap();
            }
            let dir = if linked {
                env.git(&["worktree", "add", "-q", "../linked", "-b", "side"]);
                env.work().with_file_name("linked")
            } else {
                env.work()
            };
            if verb == "resume" {
                let mut command = env.decklog_command(&["run", "bob", "Begin."]);
                command.current_dir(&dir);
                finish(command).expect(0);
            }
            let (before, other) = (head(&env, &dir), head(&env, &env.work()));
            let decklog = env!("CARGO_BIN_EXE_decklog");
            let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
            let alias = format!("alias.ai=!printf 'Work.\\n' | '{decklog}' {}", words.join(" "));
            let what = format!("{verb}, linked: {linked}");
            let ran = run_through(&env, &dir, &["-c", &alias, "ai"]);
            // A chat of one turn is not agreed.
            assert_eq!(ran.code, i32::from(verb == "chat"), "{what}: {}{}", ran.stdout, ran.stderr);
            let tops = std::fs::read_to_string(env.home().join("tops")).unwrap();
            let expected = dir.canonicalize().unwrap().to_string_lossy().into_owned();
            let in_place = !matches!(verb, "race" | "setup");
            assert!(!tops.is_empty() && tops.lines().all(|top| (top == expected) == in_place), "{what}: {tops}");
            // A racer's commit is on no branch of the user's.
            assert_eq!(head(&env, &dir) != before, in_place, "{what}");
            assert!(!linked || head(&env, &env.work()) == other, "{what}: the other worktree is unchanged");
            assert_eq!(dir.join("made.txt").exists(), in_place, "{what}");
            let inherited = std::fs::read_to_string(env.home().join("inherited")).unwrap_or_default();
            for name in ["GIT_DIR=", "GIT_WORK_TREE=", "GIT_INDEX_FILE=", "GIT_PREFIX=", "GIT_COMMON_DIR="] {
                assert!(!inherited.contains(name), "{what}: {inherited}");
            }
        }
    }
}

#[test]
fn racers_of_a_hook_have_an_index_of_their_own() {
    for linked in [false, true] {
        let env = world(&[("ada", "text", COMMITS)]);
        let dir = if linked {
            env.git(&["worktree", "add", "-q", "../linked", "-b", "side"]);
            env.work().with_file_name("linked")
        } else {
            env.work()
        };
        let hook = format!(
            "#!/bin/sh\n[ -n \"$IN_HOOK\" ] && exit 0\nIN_HOOK=1 '{}' race ada ada --pick none Work. >\"$HOME/hook.out\" 2>&1\n",
            env!("CARGO_BIN_EXE_decklog")
        );
        let path = env.work().join(".git/hooks/pre-commit");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, hook).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(dir.join("a.txt"), "changed\n").unwrap();
        std::fs::write(dir.join("mine.txt"), "untracked\n").unwrap();
        let ran = run_through(&env, &dir, &["commit", "-qam", "mine"]);
        let out = std::fs::read_to_string(env.home().join("hook.out")).unwrap();
        assert_eq!(ran.code, 0, "{}{out}", ran.stderr);
        assert!(out.contains("2 came through"), "linked: {linked}: {out}");
        let names = run_through(&env, &dir, &["show", "--name-only", "--format=%s"]).expect(0).stdout;
        assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ["mine", "a.txt"], "linked: {linked}");
    }
}

/// What `git -c` passes on stays, but for a setting that names a working tree.
#[test]
fn configuration_is_passed_on() {
    let env = world(&[(
        "ada",
        "text",
        "git config user.wish >>\"$HOME/wish\"; git rev-parse --show-toplevel >>\"$HOME/tops\"",
    )]);
    let alias = format!("alias.ai=!'{}' run ada Work.", env!("CARGO_BIN_EXE_decklog"));
    run_through(&env, &env.work(), &["-c", "user.wish=granted", "-c", &alias, "ai"]).expect(0);
    assert_eq!(std::fs::read_to_string(env.home().join("wish")).unwrap(), "granted\n");
    let mut command = env.decklog_command(&["run", "ada", "Work."]);
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.workTree").env("GIT_CONFIG_VALUE_0", env.home());
    finish(command);
    let tops = std::fs::read_to_string(env.home().join("tops")).unwrap();
    let work = env.work().canonicalize().unwrap().to_string_lossy().into_owned();
    assert_eq!(tops.lines().collect::<Vec<_>>(), [&work, &work]);
}

#[test]
fn the_demo_makes_a_repository_of_its_own() {
    let env = TestEnv::new();
    let before = env.git(&["rev-parse", "HEAD"]);
    let mut command = env.decklog_command(&["demo"]);
    command.env("GIT_DIR", env.work().join(".git")).env("GIT_INDEX_FILE", env.work().join(".git/index"));
    command.env("TMPDIR", env.home());
    finish(command).expect(0);
    assert_eq!(env.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(env.git(&["status", "--porcelain"]), "");
}
