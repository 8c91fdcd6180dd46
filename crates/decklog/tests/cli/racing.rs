//! `race`: agents that are shell scripts, each in a worktree of its own.

mod applying;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::env::{TestEnv, eventually, is_alive, kill};
use crate::relaying::{LIMITED, asked, world};
use crate::screen::Screen;

const SMALL: &str = "echo small >>a.txt; echo done";
const LARGE: &str = "printf 'one\\nof\\nmany\\nlines\\n' >>a.txt; echo more >b.txt; echo done";
const CRASHES: &str = "echo half >>a.txt; echo broken >&2; exit 3";

pub(crate) fn three() -> TestEnv {
    world(&[("ada", "text", SMALL), ("bob", "text", LARGE), ("bad", "text", CRASHES)])
}

fn worktrees(env: &TestEnv) -> PathBuf {
    env.home().join(".local/state/decklog/worktrees")
}

/// What is left of races: directories of ours, and entries in the repository.
pub(crate) fn left(env: &TestEnv) -> Vec<String> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let mut all = names(&worktrees(env));
    all.extend(names(&env.work().join(".git/worktrees")));
    all
}

fn head(env: &TestEnv) -> Value {
    env.decklog(&["ls", "--json"]).expect(0).json()[0].clone()
}

#[test]
fn each_begins_where_the_tree_stands_and_the_best_is_applied() {
    let env = three();
    env.write("a.txt", "one\ndirty\n");
    env.write("new.txt", "untracked\n");
    let before = env.git(&["status", "--porcelain"]);
    let check = "! grep -q many a.txt";
    let ran = env.decklog(&["race", "bob", "ada", "bad", "--check", check, "--pick", "best", "Add a line."]).expect(0);
    assert_eq!(ran.stdout, "ada was picked\n");
    assert_eq!(env.read("a.txt"), "one\ndirty\nsmall\n");
    assert!(!env.work().join("b.txt").exists());
    assert_eq!(env.git(&["status", "--porcelain"]), before, "the user's index is as it was");
    assert!(left(&env).is_empty(), "{:?}", left(&env));
    for told in ["bob", "failed", "broken", "+1 -0", "+5 -0", "passed"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let head = head(&env);
    assert_eq!((&head["kind"], &head["outcome"], &head["turns"]), (&"race".into(), &"success".into(), &3.into()));
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert_eq!(shown["picked"], 2);
    let turns: Vec<_> = shown["turns"].as_array().unwrap().iter().map(|turn| (&turn["agent"], &turn["role"])).collect();
    let role = Value::from("racer");
    assert_eq!(turns, [(&"bob".into(), &role), (&"ada".into(), &role), (&"bad".into(), &role)]);
    // Every racer's patch stays, and applies to where all began.
    let patches: Vec<String> =
        ["1", "2", "3"].iter().map(|turn| env.decklog(&["diff", "@", "--turn", turn]).expect(0).stdout).collect();
    assert!(patches[0].contains("+many") && patches[0].contains("b/b.txt") && patches[2].contains("+half"));
    assert!(patches.iter().all(|patch| !patch.contains("+dirty") && !patch.contains("new.txt")), "{patches:?}");
    assert_eq!(env.decklog(&["diff", "@"]).expect(0).stdout, patches[1]);
    let blamed = env.decklog(&["blame", "a.txt"]).expect(0).stdout;
    assert!(blamed.lines().any(|line| line.contains("ada") && line.ends_with("small")), "{blamed}");
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn without_a_pick_nothing_is_touched_and_a_name_is_picked_whatever_came_out() {
    let env = three();
    let ran = env.decklog(&["race", "ada", "bad", "Add a line."]).expect(0);
    assert_eq!(ran.stdout, "1 came through; nobody was picked\n");
    assert!(ran.stderr.contains("--turn N | git apply --3way"), "{}", ran.stderr);
    assert_eq!(env.read("a.txt"), "one\n");
    let refused = env.decklog(&["diff", "@"]).expect(2);
    assert!(refused.stderr.contains("nobody was picked"), "{}", refused.stderr);
    env.decklog(&["race", "ada", "bad", "--pick", "bad", "Add a line."]).expect(0);
    assert_eq!(env.read("a.txt"), "one\nhalf\n");
    // One that changed nothing is no best.
    let env = world(&[("idle", "text", "echo done"), ("bad", "text", CRASHES)]);
    env.decklog(&["race", "idle", "bad", "--pick", "best", "Add a line."]).expect(1);
    env.decklog(&["race", "bad", "bad", "--pick", "best", "Add a line."]).expect(2);
    assert_eq!(env.read("a.txt"), "one\n");
}

#[test]
fn they_work_at_the_same_time() {
    // Each waits for the other.
    let meets = |own: &str, other: &str| {
        format!("touch \"$HOME/{own}.here\"; while ! test -e \"$HOME/{other}.here\"; do :; done; echo {own} >>a.txt")
    };
    let env = world(&[("ada", "text", &meets("ada", "bob")), ("bob", "text", &meets("bob", "ada"))]);
    env.decklog(&["race", "ada", "bob", "--timeout", "60s", "--pick", "bob", "Meet."]).expect(0);
    assert_eq!(env.read("a.txt"), "one\nbob\n");
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn the_same_agent_races_against_itself() {
    let env =
        world(&[("ada", "text", "mkdir \"$HOME/first\" 2>/dev/null && echo first >>a.txt || echo second >>a.txt")]);
    let ran = env.decklog(&["race", "ada", "ada", "--pick", "ada#2", "Try."]).expect(0);
    assert_eq!(ran.stdout, "ada#2 was picked\n");
    assert_eq!(asked(&env, "ada"), 2);
    let refused = env.decklog(&["race", "ada", "ada", "--pick", "ada", "Try."]).expect(2);
    assert!(refused.stderr.contains("\"ada\" does not race: ada#1, ada#2 do"), "{}", refused.stderr);
}

#[test]
fn a_judge_chooses_among_those_that_pass() {
    let judge = "grep -q 'Entry B' \"$HOME/judge.prompt.$n\" && ! grep -q ada \"$HOME/judge.prompt.$n\"; \
                 echo '{\"winner\": \"A\", \"why\": \"it is whole\"}'";
    let env = world(&[
        ("ada", "text", SMALL),
        ("bob", "text", LARGE),
        ("bad", "text", CRASHES),
        ("judge", "text", judge),
        ("mute", "text", "echo hm"),
    ]);
    let ran = env.decklog(&["race", "bad", "bob", "ada", "--judge", "judge", "Add a line."]).expect(0);
    assert_eq!(ran.stdout, "bob was picked\n");
    assert!(ran.stderr.contains("the judge prefers bob: it is whole"), "{}", ran.stderr);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert_eq!((&shown["turns"][3]["role"], &shown["turns"][3]["agent"]), (&"judge".into(), &"judge".into()));
    env.git(&["checkout", "-q", "a.txt"]);
    std::fs::remove_file(env.work().join("b.txt")).unwrap();
    let ran = env.decklog(&["race", "bob", "ada", "--judge", "mute", "Add a line."]).expect(0);
    assert_eq!(ran.stdout, "ada was picked\n", "the smallest change, when the judge says nothing");
}

#[test]
fn what_changed_meanwhile_is_merged_and_conflicts_are_told() {
    let work = |line: &str| format!("echo {line} >>\"$WORK/b.txt\"; sed -i 's/^one/two/' a.txt; echo done");
    for (other, code) in [("meanwhile", 0), ("sed", 1)] {
        let script = match other {
            "sed" => format!("sed -i 's/^one/three/' \"$WORK/a.txt\"; {}", work("x")),
            _ => work("x"),
        };
        let mut env = world(&[("ada", "text", &script), ("idle", "text", "echo done")]);
        env.set("WORK", env.work());
        let ran = env.decklog(&["race", "ada", "idle", "--pick", "ada", "Change it."]).expect(code);
        let text = env.read("a.txt");
        if code == 0 {
            assert_eq!((text.as_str(), env.read("b.txt").as_str()), ("two\n", "x\n"));
        } else {
            assert!(text.contains("<<<<<<<") && text.contains("two") && text.contains("three"), "{text}");
            assert!(ran.stderr.contains("in conflict: a.txt"), "{}", ran.stderr);
            assert_eq!(ran.stdout, "ada was picked; in conflict: a.txt\n");
        }
        env.decklog(&["verify", "@"]).expect(0);
    }
}

#[test]
fn worktrees_are_made_ready_and_kept_if_wanted() {
    let needs = "cat node_modules/it >>a.txt && echo done";
    let env = world(&[("ada", "text", needs), ("bob", "text", needs)]);
    std::fs::write(env.work().join(".gitignore"), "node_modules\n").unwrap();
    let config = env.home().join(".config/decklog/config.toml");
    let agents = std::fs::read_to_string(&config).unwrap();
    let setup = "mkdir node_modules && echo dependency >node_modules/it";
    std::fs::write(&config, format!("{agents}[race]\nsetup = \"{setup}\"\n")).unwrap();
    let ran = env.decklog(&["race", "ada", "bob", "--pick", "ada", "--keep", "Use it."]).expect(0);
    assert_eq!(env.read("a.txt"), "one\ndependency\n");
    let kept: Vec<&str> = ran.stderr.lines().filter_map(|line| line.strip_prefix("kept: ada in ")).collect();
    assert!(Path::new(kept[0]).join("node_modules/it").exists(), "{}", ran.stderr);
    // They stay also when the next race clears away what others left.
    env.decklog(&["race", "ada", "bob", "Again."]).expect(0);
    assert!(Path::new(kept[0]).join("a.txt").exists());
    std::fs::write(&config, format!("{agents}[race]\nsetup = \"echo no network; false\"\n")).unwrap();
    let ran = env.decklog(&["race", "ada", "bob", "Use it."]).expect(2);
    assert!(ran.stderr.contains("no network") && ran.stderr.contains("not begun"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "nobody came through\n");
    // A repository that is not trusted runs nothing.
    std::fs::write(&config, &agents).unwrap();
    std::fs::create_dir(env.work().join(".decklog")).unwrap();
    env.write(".decklog/config.toml", "[race]\nsetup = \"touch ran\"\n");
    let ran = env.decklog(&["race", "ada", "bob", "Use it."]).expect(2);
    assert!(ran.stderr.contains("[race] setup runs a command: refused"), "{}", ran.stderr);
}

#[test]
fn a_race_that_was_killed_is_cleared_away_and_nothing_is_lost() {
    let waits = |name: &str| format!("echo {name} >>a.txt; echo $$ >\"$HOME/{name}.waits\"; exec sleep 1000");
    let env = world(&[("ada", "text", &waits("ada")), ("bob", "text", &waits("bob"))]);
    let mut decklog = env.start(&["race", "ada", "bob", "Wait."]);
    let pids: Vec<u32> = ["ada", "bob"]
        .iter()
        .map(|name| {
            let file = env.home().join(format!("{name}.waits"));
            eventually(name, || std::fs::read_to_string(&file).ok()?.trim().parse().ok())
        })
        .collect();
    // While it is at work, others leave it alone.
    env.decklog(&["clean", "--older-than", "100d", "-y"]).expect(0);
    assert_eq!(left(&env).len(), 3, "{:?}", left(&env));
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    for pid in pids {
        eventually("the agent's end", || (!is_alive(pid)).then_some(()));
    }
    assert_eq!(left(&env).len(), 3);
    let ran = env.decklog(&["clean", "--older-than", "100d", "-y"]).expect(0);
    assert!(ran.stderr.contains("a race that was cut off"), "{}", ran.stderr);
    assert!(left(&env).is_empty(), "{:?}", left(&env));
    let head = head(&env);
    assert_eq!((&head["status"], &head["outcome"]), (&"completed".into(), &"interrupted".into()));
    for (turn, name) in [("001", "ada"), ("002", "bob")] {
        let patch = std::fs::read_to_string(env.session().join(format!("turns/{turn}.patch"))).unwrap();
        assert!(patch.contains(&format!("+{name}")), "{patch}");
    }
    assert!(
        env.decklog(&["show", "@", "--events"]).expect(0).stdout.contains("what ada had changed is in turns/001.patch")
    );
    assert_eq!(env.read("a.txt"), "one\n");
    env.decklog(&["verify", "@"]).expect(0);
    let refused = env.decklog(&["resume", "@", "On."]).expect(2);
    assert!(refused.stderr.contains("is a race, which is not gone on with"), "{}", refused.stderr);
}

/// Begins a race, waits until each racer has written `NAME.waits`, and kills decklog.
fn killed(env: &TestEnv, arguments: &[&str], names: &[&str]) {
    let mut decklog = env.start(arguments);
    let pid = |name: &&str| {
        let file = env.home().join(format!("{name}.waits"));
        eventually(name, || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok())
    };
    let pids: Vec<u32> = names.iter().map(pid).collect();
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    for pid in pids {
        eventually("the agent's end", || (!is_alive(pid)).then_some(()));
    }
}

fn clean(env: &TestEnv) -> String {
    env.decklog(&["clean", "--older-than", "100d", "-y"]).expect(0).stderr
}

/// Put together by the shell, so that this file holds none.
const SECRET: &str = "printf 'token = \"ghp_%s\"\\n' abcdefghijklmnopqrstuvwxyz0123456789 >conf.toml";

#[test]
fn what_the_record_does_not_hold_keeps_its_worktree() {
    let env = world(&[("ada", "text", SMALL), ("sly", "text", SECRET)]);
    let ran = env.decklog(&["race", "ada", "sly", "--pick", "sly", "Go."]).expect(0);
    let kept = ran.stderr.lines().find_map(|line| line.strip_prefix("kept: sly in ")).unwrap();
    assert!(Path::new(kept).join("conf.toml").exists());
    assert!(ran.stderr.contains("conf.toml is not in the record"), "{}", ran.stderr);
    assert!(!Path::new(&kept.replace("2-sly", "1-ada")).exists(), "only what is needed is kept");
    // Also when nobody was there to tell of it.
    let waits = |name: &str| format!("{SECRET}; echo $$ >\"$HOME/{name}.waits\"; exec sleep 1000");
    let env =
        world(&[("ada", "text", &waits("ada")), ("bob", "text", "echo $$ >\"$HOME/bob.waits\"; exec sleep 1000")]);
    killed(&env, &["race", "ada", "bob", "Wait."], &["ada", "bob"]);
    let told = clean(&env);
    let kept = told.lines().find_map(|line| line.strip_prefix("kept, as it holds more than the record: ")).unwrap();
    assert!(Path::new(kept).join("conf.toml").exists());
    assert!(!clean(&env).contains("kept"), "it is told once");
    let events = env.decklog(&["show", "@", "--events"]).expect(0).stdout;
    assert!(events.contains("its worktree is kept for conf.toml") && !events.contains("ghp_"), "{events}");
    env.decklog(&["verify", "@"]).expect(0);
}

/// What `clean` says of worktrees that stay.
fn kept(told: &str) -> Vec<PathBuf> {
    let said = told.lines().filter_map(|line| line.strip_prefix("kept, as it holds more than the record: "));
    said.map(PathBuf::from).collect()
}

#[test]
fn the_only_copy_stays_however_far_the_race_had_come() {
    // One is through and left what the record does not hold, the other still works.
    let waits = "echo half >>a.txt; echo $$ >\"$HOME/bob.waits\"; exec sleep 1000";
    let env = world(&[("sly", "text", SECRET), ("bob", "text", waits)]);
    let mut decklog = env.start(&["race", "sly", "bob", "Go."]);
    let pid: u32 =
        eventually("bob", || std::fs::read_to_string(env.home().join("bob.waits")).ok()?.trim().parse().ok());
    let journal = env.session().join("journal.jsonl");
    eventually("sly's end", || std::fs::read_to_string(&journal).ok()?.contains("\"turn_end\"").then_some(()));
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    eventually("the agent's end", || (!is_alive(pid)).then_some(()));
    let stay = kept(&clean(&env));
    assert_eq!(stay.len(), 1);
    assert!(stay[0].ends_with("1-sly") && stay[0].join("conf.toml").exists());
    assert!(!stay[0].with_file_name("2-bob").exists(), "the record holds what it did");
    // The race is over on record, and nobody has noted yet what is to stay.
    let env = world(&[("ada", "text", SMALL), ("sly", "text", SECRET)]);
    env.decklog(&["race", "ada", "sly", "Go."]).expect(0);
    let place = worktrees(&env).read_dir().unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(place.join("kept")).unwrap();
    assert_eq!(kept(&clean(&env)), [place.join("2-sly")]);
    assert!(place.join("2-sly/conf.toml").exists());
    assert_eq!(kept(&clean(&env)).len(), 0, "it is told once");
}

/// A file that was withheld when the racers began is in no snapshot: what a racer makes of it is in its worktree alone.
#[test]
fn a_withheld_file_that_a_racer_changed_keeps_its_worktree() {
    let changes = "echo more >>conf.toml; echo done";
    let replaces = "cat conf.toml >new; echo more >>new; touch -d 2001-01-01 new; mv new conf.toml; echo done";
    let with_secret = |agents: &[(&str, &str, &str)]| {
        let env = world(agents);
        assert!(Command::new("sh").args(["-c", SECRET]).current_dir(env.work()).status().unwrap().success());
        env
    };
    let env = with_secret(&[
        ("ada", "text", SMALL),
        ("sly", "text", changes),
        ("bob", "text", replaces),
        ("bad", "text", "rm conf.toml; echo done"),
    ]);
    let ran = env.decklog(&["race", "ada", "sly", "bob", "bad", "--check", "echo >>a.txt", "Go."]).expect(0);
    let said: Vec<&str> =
        ran.stderr.lines().filter_map(|line| line.strip_prefix("kept: ")?.split(' ').next()).collect();
    assert_eq!(said, ["sly", "bob"], "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("conf.toml is not in the record").count(), 2, "{}", ran.stderr);
    // Also after a kill, of one racer that had finished and of one at work.
    let waits = |what: &str, name: &str| format!("{what}; echo $$ >\"$HOME/{name}.waits\"; exec sleep 1000");
    let env = with_secret(&[
        ("sly", "text", &waits(changes, "sly")),
        ("bob", "text", replaces),
        ("ada", "text", &waits(SMALL, "ada")),
    ]);
    let mut decklog = env.start(&["race", "sly", "bob", "ada", "Go."]);
    let pids = ["sly", "ada"].map(|name| -> u32 {
        let file = env.home().join(format!("{name}.waits"));
        eventually(name, || std::fs::read_to_string(&file).ok()?.trim().parse().ok())
    });
    let journal = env.session().join("journal.jsonl");
    eventually("bob's end", || std::fs::read_to_string(&journal).ok()?.contains("\"turn_end\"").then_some(()));
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    for pid in pids {
        eventually("the agent's end", || (!is_alive(pid)).then_some(()));
    }
    let stay = kept(&clean(&env));
    let names: Vec<_> = stay.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["1-sly", "2-bob"]);
    for path in &stay {
        assert!(std::fs::read_to_string(path.join("conf.toml")).unwrap().ends_with("more\n"));
    }
}

/// What of a racer's change cannot be brought is reported, is no success, and stays in the worktree.
#[test]
fn what_is_not_brought_is_told() {
    let changes = "echo b=2 >>conf.toml; echo mine >>a.txt; (cd \"$OLD\" && eval \"$MEANWHILE\"); echo done";
    let mut env = world(&[("ada", "text", changes), ("bob", "text", SMALL)]);
    env.write("conf.toml", "a=1\n");
    env.git(&["add", "."]);
    env.git(&["commit", "--quiet", "-m", "conf"]);
    env.set("OLD", env.work());
    env.set("MEANWHILE", SECRET);
    let ran = env.decklog(&["race", "ada", "bob", "--pick", "ada", "--json", "Go."]).expect(1);
    let result = ran.json();
    assert_eq!(result["applied"], serde_json::json!(["a.txt"]), "{result}");
    assert_eq!(result["left"][0]["path"], "conf.toml", "{result}");
    assert_eq!(result["outcome"], "failed");
    assert_eq!(result["summary"], "ada was picked; not brought: conf.toml");
    assert!(!env.read("conf.toml").contains("b=2"));
    let stays = Path::new(result["racers"][0]["worktree"].as_str().unwrap()).join("conf.toml");
    assert_eq!(std::fs::read_to_string(stays).unwrap(), "a=1\nb=2\n");
    assert!(result["racers"][1].get("worktree").is_none(), "{result}");
    assert_eq!(head(&env)["exit_code"], 1);
}

#[test]
fn what_is_left_of_claiming_a_place_goes() {
    let env = world(&[("ada", "text", SMALL), ("bob", "text", SMALL)]);
    let half_made = worktrees(&env).join("20260501T134412-3f2a.new");
    std::fs::create_dir_all(&half_made).unwrap();
    std::fs::write(half_made.join(".tmp1"), "{").unwrap();
    // It is being made while its lock is held.
    let lock = std::fs::File::open(&half_made).unwrap();
    lock.lock().unwrap();
    clean(&env);
    assert!(half_made.join(".tmp1").exists());
    drop(lock);
    let half_removed = worktrees(&env).join("20260501T134412-3f2b");
    std::fs::create_dir(&half_removed).unwrap();
    clean(&env);
    assert!(!half_made.exists() && !half_removed.exists());
    // A file that was being written when a kill came.
    let waits = "echo half >>a.txt; echo $$ >\"$HOME/ada.waits\"; exec sleep 1000";
    let cut_off = world(&[("ada", "text", waits), ("bob", "text", "echo done")]);
    killed(&cut_off, &["race", "ada", "bob", "Wait."], &["ada"]);
    let place = worktrees(&cut_off).read_dir().unwrap().next().unwrap().unwrap().path();
    std::fs::write(place.join(".tmp1"), "{").unwrap();
    clean(&cut_off);
    assert_eq!(left(&cut_off), [""; 0]);
    env.decklog(&["race", "ada", "bob", "Go."]).expect(0);
    assert_eq!(left(&env), [""; 0]);
}

#[test]
fn a_race_that_cannot_go_on_removes_nothing_that_is_wanted() {
    for arguments in [&["race", "ada", "bob", "--keep", "Go."][..], &["race", "ada", "bob", "Go."]] {
        let env = world(&[("ada", "text", SMALL), ("bob", "text", SMALL)]);
        let config = env.home().join(".config/decklog/config.toml");
        let agents = std::fs::read_to_string(&config).unwrap();
        // What says whose worktrees they are cannot be written any more.
        let setup = "cd .. && mv race.json was 2>/dev/null; mkdir -p race.json/in-the-way";
        std::fs::write(&config, format!("{agents}[race]\nsetup = \"{setup}\"\n")).unwrap();
        env.decklog(arguments).expect(2);
        assert_eq!(head(&env)["outcome"], "failed");
        let place = worktrees(&env).read_dir().unwrap().next().unwrap().unwrap().path();
        assert!(place.join("1-ada/a.txt").exists() && place.join("2-bob/a.txt").exists());
        std::fs::remove_dir_all(place.join("race.json")).unwrap();
        std::fs::rename(place.join("was"), place.join("race.json")).unwrap();
        clean(&env);
        let stays = arguments.contains(&"--keep");
        assert_eq!(place.join("1-ada/a.txt").exists(), stays);
        assert_eq!(left(&env).is_empty(), !stays, "{:?}", left(&env));
    }
}

#[test]
fn what_was_to_be_kept_is_kept_after_a_crash() {
    let waits = "echo half >>a.txt; echo $$ >\"$HOME/ada.waits\"; exec sleep 1000";
    let env = world(&[("ada", "text", waits), ("bob", "text", "echo done")]);
    killed(&env, &["race", "ada", "bob", "--keep", "Wait."], &["ada"]);
    assert!(clean(&env).contains("1-ada"));
    assert_eq!(head(&env)["outcome"], "interrupted");
    assert!(env.session().join("turns/001.patch").exists());
    assert_eq!(std::fs::read_dir(worktrees(&env)).unwrap().count(), 1);
}

#[test]
fn a_root_that_is_away_is_waited_for_and_a_broken_worktree_stays() {
    let waits = "echo half >>a.txt; echo $$ >\"$HOME/ada.waits\"; exec sleep 1000";
    let spoils = "echo half >>a.txt; rm -rf .git; echo $$ >\"$HOME/bob.waits\"; exec sleep 1000";
    let env = world(&[("ada", "text", waits), ("bob", "text", spoils)]);
    killed(&env, &["race", "ada", "bob", "Wait."], &["ada", "bob"]);
    let away = env.home().join("away");
    std::fs::rename(env.root(), &away).unwrap();
    let told = env.decklog(&["--session-root", "/nonexistent", "clean", "-y"]).stderr;
    assert!(told.contains("are still there"), "{told}");
    assert_eq!(left(&env).len(), 3);
    std::fs::rename(&away, env.root()).unwrap();
    let told = clean(&env);
    assert!(told.contains("turns/001.patch") && told.contains("2-bob"), "{told}");
    assert!(worktrees(&env).read_dir().unwrap().next().unwrap().unwrap().path().join("2-bob/a.txt").exists());
    assert_eq!(head(&env)["outcome"], "interrupted");
    assert_eq!(clean(&env).matches("worktrees").count(), 0, "it is told once");
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn secrets_of_agents_stay_out_of_what_is_salvaged() {
    let waits = |name: &str| format!("echo $CFG_API_TOKEN >tok.txt; echo $$ >\"$HOME/{name}.waits\"; exec sleep 1000");
    let env = world(&[("ada", "text", &waits("ada")), ("bob", "text", &waits("bob"))]);
    let config = env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let secret = "qq77-config-secret-value-1234";
    let with = format!("protocol = \"text\"\nenv = {{ CFG_API_TOKEN = \"{secret}\" }}\n");
    std::fs::write(&config, text.replace("protocol = \"text\"\n", &with)).unwrap();
    killed(&env, &["race", "ada", "bob", "Wait."], &["ada", "bob"]);
    clean(&env);
    for (path, bytes) in crate::env::all_bytes(&env.root()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{}", path.display());
    }
}

#[test]
fn a_judge_touches_nothing_of_the_users() {
    let judge = "echo x >judged.txt; rm -f a.txt; echo '{\"winner\": \"B\", \"why\": \"so\"}'";
    let env = world(&[("ada", "text", SMALL), ("bob", "text", LARGE), ("judge", "text", judge)]);
    let ran = env.decklog(&["race", "ada", "bob", "--judge", "judge", "Add a line."]).expect(0);
    assert_eq!(ran.stdout, "bob was picked\n");
    assert!(env.work().join("a.txt").exists() && !env.work().join("judged.txt").exists());
    assert!(left(&env).is_empty(), "{:?}", left(&env));
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn ctrl_c_stops_all_of_them() {
    let waits = |name: &str| format!("echo {name} >>a.txt; echo $$ >\"$HOME/{name}.waits\"; exec sleep 1000");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let env = world(&[("ada", "text", &waits("ada")), ("bob", "text", &waits("bob"))]);
        let mut decklog = env.start(&["race", "ada", "bob", "--pick", "best", "Wait."]);
        for name in ["ada", "bob"] {
            let file = env.home().join(format!("{name}.waits"));
            eventually(name, || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
        }
        kill(decklog.id(), signal);
        assert_eq!(decklog.wait().unwrap().code(), Some(code));
        assert!(left(&env).is_empty(), "{:?}", left(&env));
        assert_eq!((&head(&env)["outcome"], &head(&env)["exit_code"]), (&"interrupted".into(), &code.into()));
        assert!(env.decklog(&["diff", "@", "--turn", "2"]).expect(0).stdout.contains("+bob"));
        env.decklog(&["verify", "@"]).expect(0);
    }
}

#[test]
fn all_limited_is_told_as_such() {
    let env = world(&[("ada", "claude-stream", LIMITED), ("bob", "claude-stream", LIMITED)]);
    env.decklog(&["race", "ada", "bob", "Add a line."]).expect(75);
    let agents = env.decklog(&["agents", "--json"]).expect(0).json();
    let limited = agents.as_array().unwrap().iter().filter(|agent| !agent["limited_until"].is_null()).count();
    assert_eq!(limited, 2);
}

#[test]
fn what_makes_no_race_is_refused_before_anything_begins() {
    let env = three();
    for (arguments, told) in [
        (&["race", "ada", "Add."][..], "a race needs two agents or more"),
        (&["race", "ada", "bob"], "what is the task?"),
        (&["race", "ada", "nobody", "Add."], "there is no agent \"nobody\""),
        (&["race", "ada", "bob", "--pick", "ask", "Add."], "nobody is there to be asked"),
        (&["race", "ada", "bob", "--pick", "none", "--judge", "bad", "Add."], "--judge goes with --pick best"),
    ] {
        let refused = env.decklog(arguments).expect(2);
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    std::fs::remove_dir_all(env.work().join(".git")).unwrap();
    let refused = env.decklog(&["race", "ada", "bob", "Add."]).expect(2);
    assert!(
        refused.stderr.contains("needs a git repository") && refused.stderr.contains("git init"),
        "{}",
        refused.stderr
    );
    env.git(&["init", "-q"]);
    env.decklog(&["race", "ada", "bob", "Add."]).expect(2);
    assert!(env.sessions().is_empty() && left(&env).is_empty());
}

#[test]
fn on_a_terminal_the_user_picks_after_looking() {
    let env = three();
    let mut screen = Screen::new(&env, "race bob ada 'Add a line.'");
    screen.wait_for("which one? [1-2");
    assert!(screen.text().contains("success after"), "{}", screen.text());
    screen.forget();
    screen.press("d2\r");
    screen.wait_for("small");
    screen.wait_for("which one? [1-2");
    screen.press("x\r");
    screen.wait_for("write the number");
    screen.press("2\r");
    let (text, code) = screen.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ada was picked"), "{text}");
    assert_eq!(env.read("a.txt"), "one\nsmall\n");
    let mut screen = Screen::new(&env, "race bob ada 'Add a line.'");
    screen.wait_for("which one? [1-2");
    screen.press("\r");
    assert_eq!(screen.end().1, 0);
    assert_eq!(env.read("a.txt"), "one\nsmall\n");
}
