//! A pick that is broken off while it is applied: the tree is as it was, or as it is to be, and nothing between.

use super::{left, worktrees};
use crate::env::{TestEnv, eventually, kill};
use crate::relaying::world;
use crate::screen::Screen;

const MANY: &str = "echo more >>a.txt; echo more >>m.txt; echo more >>z.txt; echo done";

/// A world in which the user's own filter, through which git writes `m.txt`, stops half-way, once the agents are done. Then
/// new files are being written aside.
fn stopping() -> TestEnv {
    let env = world(&[("ada", "text", MANY), ("idle", "text", "echo done")]);
    let (mid, go) = (env.home().join("mid"), env.home().join("go"));
    let armed = env.home().join("armed");
    // It ends with this world, whatever comes of the test.
    let filter = format!(
        "cat; if test -e '{}'; then touch '{mid}'; while test -e '{mid}' && ! test -e '{}'; do sleep 0.01; done; fi",
        armed.display(),
        go.display(),
        mid = mid.display(),
    );
    env.git(&["config", "filter.slow.smudge", &filter]);
    env.git(&["config", "filter.slow.clean", "cat"]);
    env.write(".gitattributes", "m.txt filter=slow\n");
    env.write("m.txt", "one\n");
    env.write("z.txt", "one\n");
    env.git(&["add", "."]);
    env.git(&["commit", "--quiet", "-m", "second"]);
    env
}

/// The check is the last thing before the pick.
const RACE: [&str; 7] = ["race", "ada", "idle", "--check", "touch \"$HOME/armed\"", "--pick", "ada"];

fn wait_for_the_middle(env: &TestEnv) {
    eventually("the middle", || env.home().join("mid").exists().then_some(()));
    is(env, "one\n", "");
}

fn go_on(env: &TestEnv) {
    std::fs::write(env.home().join("go"), "").unwrap();
}

/// Sees that all files have this content, and that git sees nothing else.
fn is(env: &TestEnv, content: &str, status: &str) {
    for file in ["a.txt", "m.txt", "z.txt"] {
        assert_eq!(env.read(file), content, "{file}");
    }
    assert_eq!(env.git(&["status", "--porcelain"]), status);
}

fn is_whole(env: &TestEnv) {
    is(env, "one\nmore\n", " M a.txt\n M m.txt\n M z.txt\n");
}

#[test]
fn ctrl_c_waits_until_the_tree_is_whole() {
    let env = stopping();
    let arguments = format!("{} 'Add a line.'", RACE.map(|word| format!("'{word}'")).join(" "));
    let mut screen = Screen::new(&env, &arguments);
    wait_for_the_middle(&env);
    // To all that has the terminal.
    screen.press("\u{3}");
    screen.wait_for("^C");
    go_on(&env);
    let (text, code) = screen.end();
    is_whole(&env);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ada was picked"), "{text}");
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"success".into()));
    assert!(left(&env).is_empty(), "{:?}", left(&env));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn a_decklog_that_is_killed_meanwhile_leaves_no_half_of_it() {
    let env = stopping();
    let mut decklog = env.start(&[&RACE[..], &["Add a line."]].concat());
    wait_for_the_middle(&env);
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    go_on(&env);
    is(&env, "one\n", "");
    env.decklog(&["clean", "--older-than", "100d", "-y"]).expect(0);
    assert!(left(&env).is_empty(), "{:?}", left(&env));
    assert!(!worktrees(&env).exists() || worktrees(&env).read_dir().unwrap().next().is_none());
    let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
    assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"interrupted".into()));
    assert!(env.decklog(&["diff", "@", "--turn", "1"]).expect(0).stdout.contains("+more"));
    is(&env, "one\n", "");
    // The next one takes away what it had written aside.
    let ours = || {
        let names = env.work().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".decklog")).count()
    };
    assert_eq!(ours(), 1);
    env.decklog(&[&RACE[..], &["Add a line."]].concat()).expect(0);
    is_whole(&env);
    assert_eq!(ours(), 0);
}
