//! The filters of `ls`, `clean` and `stats`, and what `stats` makes of them.

use crate::env::{TestEnv, eventually, kill};

/// Sessions of four days, by what `names` calls them; the last one crashed.
fn world() -> TestEnv {
    let mut env = TestEnv::new().fixed();
    std::fs::create_dir_all(env.work().join("src")).unwrap();
    let mut run = |day: &str, expected: i32, arguments: &[&str]| {
        env.set("DECKLOG_TEST_NOW", format!("2026-05-{day}T12:00:00Z"));
        env.decklog(&[&["run"], arguments].concat()).expect(expected);
    };
    run("01", 0, &["--", "sh", "-c", "echo Straße ПРИВЕТ; echo 1 > src/auth.rs"]);
    run("02", 2, &["--", "false"]);
    run("03", 0, &["--", "sh", "-c", "echo 2 > 'src/[id].tsx'"]);
    env.set("DECKLOG_TEST_NOW", "2026-05-04T12:00:00Z");
    let mut recorder = env.start(&["run", "--", "sleep", "1000"]);
    eventually("a turn", || {
        let journal = std::fs::read_to_string(env.sessions().get(3)?.join("journal.jsonl")).ok()?;
        journal.contains("turn_start").then_some(())
    });
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
    env.set("DECKLOG_TEST_NOW", "2026-05-05T12:00:00Z");
    env
}

/// The days of the sessions that `ls` lists with these filters.
fn days(env: &TestEnv, filters: &[&str]) -> String {
    let heads = env.decklog(&[&["ls", "--json"], filters].concat()).expect(0).json();
    let day = |head: &serde_json::Value| head["id"].as_str().unwrap()[6..8].trim_start_matches('0').to_owned();
    heads.as_array().unwrap().iter().map(day).collect()
}

#[test]
fn sessions_are_filtered_by_everything_a_head_or_a_journal_tells() {
    let env = world();
    let cwd = env.work().canonicalize().unwrap().to_string_lossy().into_owned();
    for (filters, expected) in [
        (&[][..], "4321"),
        (&["--outcome", "success"], "31"),
        (&["--outcome", "failed", "--outcome", "crashed"], "42"),
        (&["--status", "completed"], "321"),
        (&["--status", "crashed"], "4"),
        (&["--kind", "run"], "4321"),
        (&["--kind", "loop"], ""),
        (&["--agent", "SH"], "31"),
        (&["--agent", "s"], ""),
        (&["--model", "opus"], ""),
        (&["--project", "work"], "4321"),
        (&["--project", "wor"], ""),
        (&["--project", "."], "4321"),
        (&["--project", "../elsewhere"], ""),
        (&["--project", &cwd], "4321"),
        (&["--after", "2026-05-02"], "432"),
        (&["--after", "2026-05-02T12:00:01"], "43"),
        (&["--before", "2026-05-02"], "1"),
        (&["--after", "2d"], "43"),
        (&["--after", "3d", "--before", "yesterday"], "32"),
        (&["--search", "STRASSE привет"], "1"),
        (&["--search", "sleep 1000"], "4"),
        (&["--touched", "auth.rs"], "1"),
        (&["--touched", "src/auth.rs"], "1"),
        (&["--touched", "./src/"], "31"),
        (&["--touched", "src/[id].tsx"], "3"),
        (&["--touched", "**/*.tsx", "--touched", "auth.rs"], "31"),
        (&["--touched", "auth.rs", "--outcome", "failed"], ""),
        (&["--same-prompt", "@1"], "4"),
        (&["--min-cost", "0"], ""),
        (&["--longer-than", "1h"], ""),
        (&["--at-most", "1h"], "4321"),
        (&["--iterations", "1.."], ""),
        (&["--weekday", "fri"], "1"),
        (&["--weekday", "Sunday", "--weekday", "mon"], "43"),
        (&["--hour", "12"], "4321"),
        (&["--hour", "11", "--hour", "13"], ""),
        (&["--weekday", "sat", "--hour", "12"], "2"),
        (&["--outcome", "success", "-n", "1"], "3"),
        (&["--touched", "src", "-n", "1"], "3"),
    ] {
        assert_eq!(days(&env, filters), expected, "{filters:?}");
    }
}

#[test]
fn stats_count_what_is_over_and_name_the_rest() {
    let env = world();
    let all = &env.decklog(&["stats", "--json"]).expect(0).json()["all"];
    for (key, value) in [
        ("sessions", 4),
        ("completed", 3),
        ("success", 2),
        ("failed", 1),
        ("crashed", 1),
        ("active", 0),
        ("checkpointed", 0),
    ] {
        assert_eq!(all[key], value, "{key}");
    }
    assert!((all["success_rate"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let keys = |arguments: &[&str]| -> String {
        let json = env.decklog(&[&["stats", "--json"], arguments].concat()).expect(0).json();
        let groups = json["by"][arguments[1]].as_array().unwrap().clone();
        groups.iter().map(|group| format!("{} {}; ", group["key"].as_str().unwrap(), group["sessions"])).collect()
    };
    assert_eq!(keys(&["--by", "outcome"]), "success 2; crashed 1; failed 1; ");
    assert_eq!(keys(&["--by", "agent", "--outcome", "success"]), "sh 2; ");
    assert_eq!(keys(&["--by", "day", "--after", "2026-05-02"]), "2026-05-02 1; 2026-05-03 1; 2026-05-04 1; ");
    assert_eq!(keys(&["--by", "week"]), "2026-W18 3; 2026-W19 1; ");
    let csv = env.decklog(&["stats", "--csv", "--by", "month"]).expect(0).stdout;
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(lines.len() == 2 && lines[0].len() == lines[1].len(), "{csv}");
    assert_eq!(lines[1][..3], ["2026-05", "4", "3"]);
    assert_eq!([lines[0].last(), lines[1].last()], [Some(&"unknown"), Some(&"0")]);
    insta::assert_snapshot!(env.decklog(&["stats"]).expect(0).stdout);
    let none = env.decklog(&["stats", "--kind", "loop"]).expect(0);
    assert!(none.stderr.contains("no session meets the filters"), "{none:?}");
}

#[test]
fn what_cannot_be_filtered_by_says_what_can() {
    let env = TestEnv::new().fixed();
    for (arguments, words) in [
        (&["ls", "--outcome", "good"][..], "max_iterations_reached, crashed"),
        (&["ls", "--status", "done"], "checkpointed"),
        (&["ls", "--kind", "walk"], "import"),
        (&["ls", "--after", "soon"], "how long ago"),
        (&["clean", "--before", "2026-02-30"], "is no time"),
        (&["ls", "--touched", "a["], "is no glob"),
        (&["ls", "--min-cost", "much"], "write dollars"),
        (&["ls", "--longer-than", "1y"], "no age"),
        (&["ls", "--hour", "24"], "write 0 to 23"),
        (&["ls", "--weekday", "someday"], "write mon, "),
        (&["ls", "--iterations", "many"], "write 3, 2..4 or 20.."),
        (&["ls", "--same-prompt", "@"], "no session matches"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    env.decklog(&["run", "--", "true"]).expect(0);
    let ran = env.decklog(&["ls", "--kind", "loop"]).expect(0);
    assert!(ran.stderr.contains("no session meets the filters") && !ran.stdout.contains("run"), "{ran:?}");
}

#[test]
fn clean_takes_only_what_meets_the_filters() {
    let env = world();
    let old = ["clean", "-y", "--older-than", "1h"];
    env.decklog(&[&old[..], &["--outcome", "failed"]].concat()).expect(0);
    assert_eq!(days(&env, &[]), "431");
    env.decklog(&[&old[..], &["--touched", "auth.rs", "--before", "2026-05-02"]].concat()).expect(0);
    assert_eq!(days(&env, &[]), "43");
    env.decklog(&[&old[..], &["--agent", "nobody"]].concat()).expect(0);
    assert_eq!(days(&env, &[]), "43");
}
