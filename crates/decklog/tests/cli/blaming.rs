//! `blame` on real records: turns, people, renames, and what cannot be told.

use serde_json::Value;

use crate::env::{TestEnv, eventually, kill};

/// For each line: `N` for the Nth session (from 1) that wrote it, `-` for nobody recorded, `?`.
fn origins(env: &TestEnv, file: &str) -> String {
    let found = env.decklog(&["blame", "--json", file]).expect(0).json();
    let ids: Vec<String> =
        env.sessions().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    // The ids of one second do not tell their order, the heads do.
    let order = |id: &str| -> String {
        let mut started: Vec<(String, &String)> = ids
            .iter()
            .map(|id| {
                let head = std::fs::read_to_string(env.root().join(id).join("session.json")).unwrap();
                let head: Value = serde_json::from_str(&head).unwrap();
                (head["started_at"].as_str().unwrap().to_owned(), id)
            })
            .collect();
        started.sort();
        (started.iter().position(|(_, known)| *known == id).unwrap() + 1).to_string()
    };
    let lines = found["lines"].as_array().unwrap().iter().map(|line| match line["origin"].as_str().unwrap() {
        "turn" => order(line["id"].as_str().unwrap()),
        "outside" => "-".to_owned(),
        "unknown" => "?".to_owned(),
        other => panic!("{other}"),
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn run(env: &TestEnv, script: &str) {
    env.decklog(&["run", "--", "sh", "-c", script]).expect(0);
}

#[test]
fn each_line_has_its_turn() {
    let env = TestEnv::new();
    run(&env, "printf 'two\\nthree\\n' >> a.txt");
    env.write("a.txt", "one\ntwo\nby hand\nthree\n");
    run(&env, "sed -i 's/three/THREE/' a.txt; echo other > b.txt");
    run(&env, "echo unrelated > c.txt");
    env.write("a.txt", "one\ntwo\nby hand\nTHREE\nlast\n");
    assert_eq!(origins(&env, "a.txt"), "- 1 - 2 -");
    assert_eq!(origins(&env, "b.txt"), "2");
    let found = env.decklog(&["blame", "--json", "a.txt:2-4"]).expect(0).json();
    let lines = found["lines"].as_array().unwrap();
    assert_eq!(lines.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(lines[1]["after"].is_string() && lines[1]["before"].is_string(), "{}", lines[1]);
    assert_eq!(found["turns"].as_array().unwrap().len(), 2);
    assert_eq!(found["turns"][0]["agent"], "sh");
    assert!(found["turns"][0]["prompt"].as_str().unwrap().contains("THREE"));
    // From below, and by another path.
    std::fs::create_dir(env.work().join("sub")).unwrap();
    let mut command = env.decklog_command(&["blame", "../a.txt:2", "--json"]);
    command.current_dir(env.work().join("sub"));
    let found = crate::env::finish(command).expect(0).json();
    assert_eq!(found["lines"][0]["origin"], "turn");
    for (arguments, words) in [
        (&["blame", "nothing"][..], "nothing: No such file"),
        (&["blame", "sub"], "is no file"),
        (&["blame", "a.txt:9"], "there is no line 9: the file has 5"),
        (&["blame", "a.txt:x"], "FILE:40-60"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    env.write("binary", b"\0\n");
    assert!(env.decklog(&["blame", "binary"]).expect(2).stderr.contains("binary"));
}

#[test]
fn it_is_told_in_a_table() {
    let env = TestEnv::new().fixed();
    env.write("a.txt", "one\n\ttwo \u{1b}[31m\n");
    run(&env, "printf '\\tthree\\n' >> a.txt");
    insta::assert_snapshot!(env.decklog(&["blame", "a.txt"]).expect(0).stdout);
}

#[test]
fn renames_by_turns_are_followed() {
    let env = TestEnv::new();
    run(&env, "printf 'two\\nthree\\nfour\\nfive\\n' >> a.txt");
    run(&env, "git mv a.txt moved.txt; echo six >> moved.txt");
    run(&env, "mkdir d; mv moved.txt d/again.txt");
    env.write("a.txt", "another file\n");
    assert_eq!(origins(&env, "d/again.txt"), "- 1 1 1 1 2");
    assert_eq!(origins(&env, "a.txt"), "-");
}

#[test]
fn a_name_is_a_name() {
    let env = TestEnv::new();
    run(&env, "echo one > 'odd [a]*?:1.txt'; echo one > 'odd a:1.txt'");
    run(&env, "echo two >> 'odd [a]*?:1.txt'");
    assert_eq!(origins(&env, "odd [a]*?:1.txt"), "1 2");
    assert_eq!(origins(&env, "odd a:1.txt"), "1");
    run(&env, "printf 'a\\nb\\n' > \"$(printf 'new\\nline')\"");
    assert_eq!(origins(&env, "new\nline"), "3 3");
}

#[test]
fn the_agents_own_commits_change_nothing() {
    let env = TestEnv::new();
    run(&env, "echo two >> a.txt; git commit -qam agent");
    env.git(&["commit", "-q", "--allow-empty", "-m", "user"]);
    run(&env, "echo three >> a.txt; git commit -qam agent");
    assert_eq!(origins(&env, "a.txt"), "- 1 2");
}

#[test]
fn a_session_from_below_and_one_without_repository() {
    let env = TestEnv::without_repository();
    env.write("a.txt", "one\n");
    run(&env, "echo two >> a.txt");
    std::fs::create_dir(env.work().join("sub")).unwrap();
    let mut command = env.decklog_command(&["run", "--", "sh", "-c", "echo x > b.txt"]);
    command.current_dir(env.work().join("sub"));
    crate::env::finish(command).expect(0);
    assert_eq!(origins(&env, "a.txt"), "- 1");
    assert_eq!(origins(&env, "sub/b.txt"), "2");
    // Both are now in a repository, and a third session sees it as such.
    env.git(&["init", "-q"]);
    let mut command = env.decklog_command(&["run", "--", "sh", "-c", "echo three >> ../a.txt; echo y >> b.txt"]);
    command.current_dir(env.work().join("sub"));
    crate::env::finish(command).expect(0);
    assert_eq!(origins(&env, "a.txt"), "- 1 3");
    assert_eq!(origins(&env, "sub/b.txt"), "2 3");
}

#[test]
fn what_cannot_be_told_is_said_so() {
    let mut env = TestEnv::new();
    env.set("SERVICE_TOKEN", "hunter2-hunter2-hunter2");
    run(&env, "echo two >> a.txt");
    // The file holds a secret for a while.
    run(&env, "echo hunter2-hunter2-hunter2 >> a.txt; echo three >> a.txt");
    run(&env, "sed -i /hunter2/d a.txt; echo four >> a.txt");
    assert_eq!(origins(&env, "a.txt"), "- 1 ? ?");
    run(&env, "echo five >> a.txt");
    assert_eq!(origins(&env, "a.txt"), "- 1 ? ? 4");
    let text = env.decklog(&["blame", "a.txt"]).expect(0).stdout;
    assert!(text.contains("cannot be told") && text.contains("withheld"), "{text}");
    // Snapshots that are gone.
    let objects = env.sessions();
    for session in &objects {
        let _ = std::fs::remove_dir_all(session.join("objects"));
    }
    assert_eq!(origins(&env, "a.txt"), "? ? ? ? ?");
}

#[test]
fn a_turn_that_was_cut_off_may_have_written() {
    let env = TestEnv::new();
    run(&env, "echo two >> a.txt");
    let mut decklog = env.start(&["run", "--", "sh", "-c", "echo three >> a.txt; echo ready; exec sleep 1000"]);
    eventually("the agent's word", || {
        let sessions = env.sessions();
        let newest = sessions
            .iter()
            .find(|dir| std::fs::read_to_string(dir.join("journal.jsonl")).is_ok_and(|text| text.contains("ready\\n")));
        newest.map(drop)
    });
    assert_eq!(origins(&env, "a.txt"), "- 1 ?");
    kill(decklog.id(), "KILL");
    decklog.wait().unwrap();
    assert_eq!(origins(&env, "a.txt"), "- 1 ?");
    run(&env, "echo four >> a.txt");
    assert_eq!(origins(&env, "a.txt"), "- 1 ? 3");
    // An unreadable session is named.
    std::fs::create_dir(env.root().join("20200101T000000-0000")).unwrap();
    std::fs::write(env.root().join("20200101T000000-0000/journal.jsonl"), "").unwrap();
    let ran = env.decklog(&["blame", "a.txt"]).expect(0);
    assert!(ran.stderr.contains("20200101T000000-0000 cannot be read"), "{}", ran.stderr);
}
