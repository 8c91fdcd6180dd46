//! `export`: every format, from files to a collector, and the archive that comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use decklog_journal::SessionStore;
use serde_json::{Value, json};

use crate::env::{TestEnv, all_bytes, eventually, kill};
use crate::recipes::samples;

/// The session of an agent that says something and calls tools.
const SAMPLE: &str = "3f2a";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn jsonl_has_everything_in_its_lines() {
    let env = TestEnv::new().fixed();
    let prompt = format!("printf 'x%.0s' $(seq 70000) # {}", "p".repeat(70_000));
    env.decklog(&["run", "--", "sh", "-c", &prompt]).expect(0);
    env.decklog(&["run", "--check", "echo checked", "--", "sh", "-c", "seq 100000; seq 100000 > a.txt"]).expect(0);
    let of = lines(&env.decklog(&["export", "--format", "jsonl", "--all"]).expect(0).stdout);
    let kinds: Vec<_> = of.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session_start", "turn", "session_end", "session_start", "turn", "session_end"]);
    assert!(of[0]["prompt"].as_str().unwrap().contains(&"p".repeat(70_000)));
    assert_eq!(of[1]["steps"][0]["text"].as_str().unwrap().trim_end(), "x".repeat(70_000));
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(of[4]["steps"][0]["text"].as_str().unwrap(), numbers);
    assert!(of[4]["patch"].as_str().unwrap().contains("+100000\n"));
    assert_eq!(of[4]["validations"][0]["output"], "checked\n");
    assert_eq!(of[5]["outcome"], "success");
    assert!(!of.iter().any(|line| line.to_string().contains("_artifact")), "texts stand in the lines");
    // A text that is gone is said to be.
    let dir = env.sessions().into_iter().find(|dir| dir.join("turns/001.patch").exists()).unwrap();
    std::fs::remove_file(dir.join("turns/001.patch")).unwrap();
    let id = dir.file_name().unwrap().to_str().unwrap();
    for format in ["jsonl", "markdown", "atif"] {
        let said = env.decklog(&["export", "--format", format, id]).expect(2);
        assert!(said.stdout.contains("cannot be read"), "{format}");
        assert!(said.stderr.contains("turns/001.patch of "), "{}", said.stderr);
        let out = format!("out.{format}");
        let written = env.decklog(&["export", "--format", format, id, "-o", &out, "--json"]).expect(2).json();
        assert!(written[0]["unread"][0].as_str().unwrap().contains("turns/001.patch"), "{written}");
        assert!(env.work().join(&out).exists());
    }
    env.decklog(&["export", "--format", "otlp", id]).expect(0);
}

#[test]
fn a_loop_is_its_iterations() {
    let (env, _, in_loop) = samples();
    let id = in_loop.file_name().unwrap().to_str().unwrap();
    let of = lines(&env.decklog(&["export", id, "--format", "jsonl"]).expect(0).stdout);
    let kinds: Vec<_> = of.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session_start", "iteration", "iteration", "session_end"]);
    assert_eq!(of[2]["critic_decision"], "DONE");
}

#[test]
fn markdown_is_a_page() {
    let (env, ..) = samples();
    let page = env.plain(&env.decklog(&["export", SAMPLE, "--format", "markdown"]).expect(0).stdout);
    insta::assert_snapshot!(page);
}

#[test]
fn html_is_the_page_that_show_makes() {
    let (env, ..) = samples();
    let page = env.decklog(&["export", SAMPLE, "--format", "html"]).expect(0).stdout;
    assert!(page.starts_with("<!doctype html>"));
    assert_eq!(page, env.decklog(&["show", SAMPLE, "--html"]).expect(0).stdout);
    env.decklog(&["export", "--all", "--format", "html", "-o", "pages"]).expect(0);
    assert_eq!(std::fs::read_dir(env.work().join("pages")).unwrap().count(), 3);
}

#[test]
fn hostile_texts_do_not_break_the_page() {
    let env = TestEnv::new().fixed();
    env.decklog(&[
        "run",
        "--",
        "sh",
        "-c",
        r"printf '</details><script>alert(1)</script>\n![](http://x/y)\n# Turn 9\n```\n<b>\n'; echo '````' > a.txt",
    ])
    .expect(0);
    let page = env.decklog(&["export", "@", "--format", "markdown"]).expect(0).stdout;
    let said: Vec<_> = page.lines().filter(|line| line.starts_with("> ")).collect();
    assert_eq!(
        said,
        [
            "> &lt;/details>&lt;script>alert(1)&lt;/script>",
            "> !\\[](http://x/y)",
            "> # Turn 9",
            "> ````",
            "> <b>",
            "> ````"
        ]
    );
    assert!(page.contains("\n`````diff\n"), "{page}");
}

#[test]
fn atif_is_what_its_validator_takes() {
    let Some(python) = decklog_testkit::atif::installed() else {
        assert!(std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_none(), "the atif package is not installed");
        eprintln!("skipped: the atif package is not installed (cargo xtask test installs it)");
        return;
    };
    let (env, ..) = samples();
    env.decklog(&["run", "--check", "false", "--", "sh", "-c", "echo said; echo two >> a.txt"]).expect(1);
    env.decklog(&["run", "--", "/nonexistent"]).expect(2);
    let ran = env.decklog(&["export", "--all", "--format", "atif", "-o", "out"]).expect(0);
    assert_eq!(ran.stdout, "");
    let validator = "import json, sys\nfrom atif import Trajectory\nfor path in sys.argv[1:]:\n    Trajectory.model_validate(json.load(open(path)))\nprint('valid')";
    let mut command = env.command(&python);
    command.args(["-c", validator]);
    command.args(all_bytes(&env.work().join("out")).into_iter().map(|(path, _)| path));
    assert_eq!(crate::env::finish(command).expect(0).stdout, "valid\n");
    let documents: Vec<Value> =
        all_bytes(&env.work().join("out")).iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect();
    assert_eq!(documents.len(), 5);
    let demo = documents
        .iter()
        .find(|document| document["steps"].as_array().unwrap().iter().any(|step| step["tool_calls"].is_array()))
        .unwrap();
    assert_eq!(demo["schema_version"], "ATIF-v1.8");
    assert_eq!(demo["steps"][0]["source"], "user");
    let steps = demo["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["metrics"]["prompt_tokens"] == 1436), "{demo:#}");
    assert_eq!(demo["final_metrics"]["total_prompt_tokens"], 1436);
    // The validator does not take just anything.
    let mut wrong = demo.clone();
    wrong["steps"][0]["step_id"] = 7.into();
    env.write("wrong.json", wrong.to_string());
    let mut command = env.command(&python);
    command.args(["-c", validator, "wrong.json"]);
    crate::env::finish(command).expect(1);
}

/// A collector that answers each request as told; gives what it was sent.
fn collector(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<(String, Value)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .unwrap()
                .split("\r\n")
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            seen.push((head, serde_json::from_slice(&body).unwrap()));
        }
        seen
    });
    (address, thread)
}

const TAKEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\nconnection: close\r\n\r\nno \u{1b}[1";
const IN_PART: &str = "HTTP/1.1 200 OK\r\ncontent-length: 69\r\nconnection: close\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\",\"errorMessage\":\"too old....\"}}";
const MOVED: &str =
    "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[test]
fn traces_go_to_a_collector() {
    let (mut env, ..) = samples();
    let to_file = env.decklog(&["export", SAMPLE, "--format", "otlp"]).expect(0).stdout;
    env.set("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret");
    let (address, thread) = collector(vec![TAKEN, IN_PART, REFUSED, MOVED]);
    let ran = env.decklog(&["export", SAMPLE, "--format", "otlp", "--endpoint", &address]).expect(0);
    assert!(ran.stderr.contains("sent"), "{}", ran.stderr);
    let ran = env
        .decklog(&["export", SAMPLE, "--format", "otlp", "--endpoint", &format!("{address}/v1/traces"), "--json"])
        .expect(0);
    assert!(ran.stderr.contains("2 spans were rejected"), "{}", ran.stderr);
    assert!(ran.json()[0]["bytes"].as_u64().unwrap() > 100);
    let ran = env.decklog(&["export", SAMPLE, "--format", "otlp", "--endpoint", &address]).expect(2);
    assert!(ran.stderr.contains("403 Forbidden no ␛[1"), "{}", ran.stderr);
    // Nowhere but where the user said.
    env.decklog(&["export", SAMPLE, "--format", "otlp", "--endpoint", &address]).expect(2);
    let seen = thread.join().unwrap();
    assert!(seen[0].0.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", seen[0].0);
    assert!(seen[1].0.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", seen[1].0);
    assert!(
        seen[0].0.to_lowercase().contains("x-key: a secret\r\n")
            && seen[0].0.to_lowercase().contains("content-type: application/json")
    );
    let request = &seen[0].1;
    assert_eq!(request, &serde_json::from_str::<Value>(&to_file).unwrap(), "the same session is the same trace");
    let scope = &request["resourceSpans"][0]["scopeSpans"][0];
    let spans = scope["spans"].as_array().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "session run");
    assert!(names[1].starts_with("invoke_agent "), "{names:?}");
    assert!(names[2..].iter().all(|name| name.starts_with("execute_tool ")) && names.len() > 2, "{names:?}");
    let attribute = |span: &Value, key: &str| {
        let found = span["attributes"].as_array().unwrap().iter().find(|one| one["key"] == key).cloned();
        found.map(|one| one["value"].clone())
    };
    assert_eq!(attribute(&spans[1], "gen_ai.operation.name"), Some(json!({ "stringValue": "invoke_agent" })));
    assert_eq!(attribute(&spans[1], "gen_ai.usage.input_tokens"), Some(json!({ "intValue": "1436" })));
    assert_eq!(attribute(&spans[2], "gen_ai.operation.name"), Some(json!({ "stringValue": "execute_tool" })));
    for span in spans {
        let hex = |key: &str, digits: usize| {
            let id = span[key].as_str().unwrap();
            assert!(id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        };
        hex("traceId", 32);
        hex("spanId", 16);
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    }
    assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
    assert_eq!(spans[2]["parentSpanId"], spans[1]["spanId"]);
    assert!(!to_file.contains("greets nobody"), "no text is in it");
    for (arguments, words) in [
        (&["export", SAMPLE, "--format", "otlp", "--endpoint", "file:///etc"][..], "http://"),
        (&["export", SAMPLE, "--format", "atif", "--endpoint", "http://localhost"], "--format otlp"),
        (&["export", SAMPLE, "--format", "otlp", "--endpoint", "http://127.0.0.1:1"], "127.0.0.1:1"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn an_archive_comes_back_as_it_was() {
    let (env, ..) = samples();
    env.decklog(&["run", "--", "sh", "-c", "seq 30000; echo two >> a.txt"]).expect(0);
    let ran = env.decklog(&["export", "--all", "--format", "tar.zst", "-o", "all.tar.zst", "--json"]).expect(0);
    assert_eq!(ran.json()[0]["ids"].as_array().unwrap().len(), 4);
    let piped = {
        let output = env.decklog_command(&["export", "--all", "--format", "tar.zst"]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let archive = std::fs::read(env.work().join("all.tar.zst")).unwrap();
    assert_eq!(piped, archive, "the same sessions make the same bytes");
    // Tools that everyone has read it.
    let listed = env.command("sh").args(["-c", "zstd -dc all.tar.zst | tar -tf - | head -2"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("decklog.json\n2026") && listed.contains("/journal.jsonl\n"), "{listed}");
    let other = env.home().join("other");
    let other = other.to_str().unwrap();
    let import = |dry_run: bool| {
        let verb: &[&str] = if dry_run { &["import", "--dry-run"] } else { &["import"] };
        env.decklog(&[&["--session-root", other], verb, &["all.tar.zst"]].concat()).expect(0).stdout
    };
    assert_eq!(import(true), "all.tar.zst: 4 sessions would be imported, 0 there already\n");
    assert_eq!(import(false), "all.tar.zst: 4 sessions imported, 0 there already\n");
    assert_eq!(import(false), "all.tar.zst: 0 sessions imported, 4 there already\n");
    for verb in [
        &["ls", "--json"][..],
        &["show", "3f2c", "--json"],
        &["show", "3f2c", "--json"],
        &["diff", "3f2c"],
        &["verify", "--all"],
    ] {
        let elsewhere = [&["--session-root", other], verb].concat();
        assert_eq!(env.decklog(&elsewhere).expect(0).stdout, env.decklog(verb).expect(0).stdout, "{verb:?}");
    }
    let restored = env.decklog(&["--session-root", other, "restore", "3f2c", "--into", "restored"]).expect(0);
    assert!(restored.stderr.contains("written"), "{}", restored.stderr);
    assert_eq!(env.read("restored/a.txt"), "one\ntwo\n");
    // More than is wanted is refused before it is there, and taken when it is asked for.
    let limited = |limits: &[&str]| {
        let root = env.home().join("limited");
        let ran = env.decklog(&[&["--session-root", root.to_str().unwrap(), "import", "all.tar.zst"], limits].concat());
        (ran, SessionStore::open(&root).ids().unwrap().len())
    };
    for (limits, words) in [
        (&["--max-size", "10KiB"][..], "more than the 10240 that are taken"),
        (&["--max-size", "10KiB", "--dry-run"], "more than the 10240 that are taken"),
    ] {
        let (refused, there) = limited(limits);
        let refused = refused.expect(2);
        assert!(refused.stderr.contains(words) && refused.stderr.contains("--max-size"), "{}", refused.stderr);
        assert_eq!(there, 0);
    }
    assert!(limited(&["--max-size", "much"]).0.expect(2).stderr.contains("invalid size"));
    assert_eq!(limited(&["--max-size", "1.5 GiB", "--max-ratio", "1000"]).1, 4);
    // Half of it is refused, whole.
    env.write("half.tar.zst", &archive[..archive.len() / 2]);
    let third = env.home().join("third");
    let refused = env.decklog(&["--session-root", third.to_str().unwrap(), "import", "half.tar.zst"]).expect(2);
    assert!(refused.stderr.contains("nothing was taken"), "{}", refused.stderr);
    assert!(SessionStore::open(&third).ids().unwrap().is_empty());
}

#[test]
fn an_archive_of_what_is_not_whole_says_so() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let whole = env.session();
    env.decklog(&["run", "--", "echo", "two"]).expect(0);
    let spoiled = env.sessions().into_iter().find(|dir| *dir != whole).unwrap();
    let id = spoiled.file_name().unwrap().to_str().unwrap();
    std::fs::remove_file(spoiled.join("turns/001-output.md")).unwrap();
    env.decklog(&["verify", id]).expect(1);
    env.decklog(&["export", "--all", "--format", "tar.zst", "-o", "both.tar.zst"]).expect(0);
    let import = |root: &str, more: &[&str]| {
        let root = env.home().join(root);
        env.decklog(&[&["--session-root", root.to_str().unwrap(), "import", "both.tar.zst"], more].concat()).expect(0)
    };
    let ran = import("words", &[]);
    assert!(ran.stdout.contains("2 sessions imported"), "{}", ran.stdout);
    assert!(ran.stderr.contains(&format!("session {id} is not whole: 1 fault")), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("not whole").count(), 1, "{}", ran.stderr);
    let of = |told: Value, key: &str| {
        let sessions = told["archives"][0]["sessions"].as_array().unwrap().clone();
        let (with, without): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|one| one.get(key).is_some());
        assert_eq!((with.len(), without.len()), (1, 1), "{told}");
        assert_eq!(with[0]["id"], id);
        with[0][key].clone()
    };
    assert_eq!(of(import("json", &["--json"]).json(), "faults"), 1);
    assert_eq!(of(import("dry", &["--json", "--dry-run"]).json(), "verified"), false);
    assert!(import("dry", &["--dry-run"]).stderr.contains("was not whole when it was packed"));
}

#[test]
fn sessions_are_chosen_and_nothing_is_overwritten() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "first"]).expect(0);
    env.decklog(&["run", "--", "false"]).expect(2);
    env.decklog(&["export", "--outcome", "success", "--format", "markdown", "-o", "one.md"]).expect(0);
    assert!(env.read("one.md").contains("first"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(env.work().join("one.md").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let told = env.decklog(&["export", "@", "@2", "--format", "jsonl", "-o", "dir", "--json"]).expect(0).json();
    assert_eq!(told.as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(env.work().join("dir")).unwrap().count(), 2);
    for (arguments, words) in [
        (&["export", "--format", "jsonl"][..], "no session is named"),
        (&["export", "@"], "--format"),
        (&["export", "@", "--format", "pdf"], "pdf"),
        (&["export", "--all", "--format", "markdown"], "-o DIR"),
        (&["export", "@", "--all", "--format", "jsonl"], "cannot be used with"),
        (&["export", "@", "--outcome", "success", "--format", "jsonl"], "not by both"),
        (&["export", "@", "--format", "jsonl", "-o", "one.md"], "is there already"),
        (&["export", "@", "--format", "tar.zst", "-o", "one.md"], "is there already"),
        (&["export", "@", "@2", "--format", "jsonl", "-o", "dir"], "is there already"),
        (&["export", "@", "--format", "jsonl", "--json"], "give -o FILE"),
        (&["export", "@", "--format", "jsonl", "-o", "no/where"], "no/where"),
    ] {
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read_dir(env.work().join("dir")).unwrap().count(), 2);
    let ran = env.decklog(&["export", "--outcome", "interrupted", "--format", "jsonl"]).expect(0);
    assert!(ran.stderr.contains("nothing was exported") && ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn what_is_being_recorded_is_packed_later() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let mut decklog = env.start(&["run", "--", "sleep", "1000"]);
    eventually("the session", || (env.decklog(&["ls", "--json"]).json()[0]["status"] == "active").then_some(()));
    eventually("its turn", || env.decklog(&["show", "@", "--events"]).stdout.contains("turn_start").then_some(()));
    let ran = env.decklog(&["export", "@", "--format", "tar.zst", "-o", "x.tar.zst"]).expect(2);
    assert!(ran.stderr.contains("is being recorded"), "{}", ran.stderr);
    let ran = env.decklog(&["export", "--all", "--format", "tar.zst", "-o", "x.tar.zst"]).expect(0);
    assert!(ran.stderr.contains("is left out") && ran.stderr.contains("1 session in"), "{}", ran.stderr);
    // Text of what there is so far can be had.
    let of = lines(&env.decklog(&["export", "@", "--format", "jsonl"]).expect(0).stdout);
    assert_eq!(of.last().unwrap()["type"], "turn");
    kill(decklog.id(), "TERM");
    decklog.wait().unwrap();
}
