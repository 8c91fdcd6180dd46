//! Hostile records: nothing outside the session is read, changed or removed because of what stands in one.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use decklog_journal::wire;

use crate::env::{TestEnv, all_bytes, finish};

/// Changes a journal as somebody who knows the format would: all sums are right afterwards.
pub(crate) fn forge(session: &Path, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(session.join("journal.jsonl")).unwrap();
    let (mut sum, mut forged) = (String::new(), String::new());
    for line in text.lines() {
        let body = change(&line[..line.rfind(",\"sum\"").unwrap()]);
        sum = wire::chain(&sum, body.as_bytes());
        forged.push_str(&format!("{body},\"sum\":\"{sum}\"}}\n"));
    }
    std::fs::write(session.join("journal.jsonl"), forged).unwrap();
}

const PRECIOUS: &str = "precious: nobody but its owner may read this";

struct Scene {
    env: TestEnv,
    session: PathBuf,
    outside: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let env = TestEnv::new();
        env.decklog(&["run", "--", "sh", "-c", "echo said; echo more >> a.txt"]).expect(0);
        let (session, outside) = (env.session(), env.home().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        for name in [
            "001-prompt.md",
            "001-output.md",
            "001-stream.jsonl",
            "001-stderr.log",
            "001-state.json",
            "001.patch",
            "journal.jsonl",
            "session.json",
            "lock",
            "passwd",
            "container.log",
        ] {
            std::fs::write(outside.join(name), PRECIOUS).unwrap();
        }
        Self { env, session, outside }
    }

    /// Uses every verb; what they print must not hold what stands outside, which must be there afterwards.
    fn every_verb(&self, what: &str) {
        let before = all_bytes(&self.outside);
        let start = Instant::now();
        let logs = [
            "stream",
            "stderr",
            "prompt",
            "output",
            "state",
            "patch",
            "001-patch",
            "journal",
            "container",
            "passwd",
            "../../passwd",
            "/etc/passwd",
        ];
        let mut all: Vec<Vec<&str>> = logs.iter().map(|name| vec!["logs", "@", *name]).collect();
        for verb in [
            "show @",
            "show @ --json",
            "show @ --events",
            "diff @",
            "diff @ --stat",
            "diff @ --json",
            "logs @",
            "verify @",
            "verify --all",
            "ls",
            "ls --json",
            "watch @",
            "clean --older-than 1s --dry-run",
            "show ../x",
            "show ../../etc",
            "discard -y ../outside",
            "discard -y ../../outside",
            "discard -y /etc",
        ] {
            all.push(verb.split(' ').collect());
        }
        all.push(vec!["discard", "-y", "@"]);
        for arguments in all {
            let mut command = self.env.command("timeout");
            command.args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_decklog")]).args(&arguments);
            let ran = finish(command);
            assert!((0..=2).contains(&ran.code), "{what}: {arguments:?}: {} {}", ran.code, ran.stderr);
            let told = [ran.stdout.as_str(), &ran.stderr].concat();
            assert!(!told.contains("panicked") && !told.contains("precious"), "{what}: {arguments:?}: {told}");
            assert!(!told.contains("root:x:0"), "{what}: {arguments:?} reads /etc/passwd");
        }
        assert!(start.elapsed() < Duration::from_secs(90), "{what}: it takes too long");
        assert!(all_bytes(&self.outside) == before, "{what}: something outside was changed");
    }
}

#[test]
fn links_out_of_the_session() {
    for name in ["turns", "logs", "resume", "objects"] {
        let scene = Scene::new();
        let _ = std::fs::rename(scene.session.join(name), scene.env.home().join("aside"));
        symlink(&scene.outside, scene.session.join(name)).unwrap();
        scene.every_verb(&format!("{name} is a link"));
        assert!(scene.session.join(name).is_symlink(), "what is not ours is kept");
        assert!(!scene.session.join("journal.jsonl").exists(), "what is ours is not");
    }
    for name in [
        "turns/001-stream.jsonl",
        "turns/001-prompt.md",
        "turns/001.patch",
        "turns/001-state.json",
        "session.json",
        "journal.jsonl",
        "lock",
        "journal.torn",
    ] {
        let scene = Scene::new();
        let _ = std::fs::remove_file(scene.session.join(name));
        symlink(scene.outside.join("passwd"), scene.session.join(name)).unwrap();
        scene.every_verb(&format!("{name} is a link"));
    }
}

#[test]
fn artifacts_that_lead_elsewhere() {
    let depth = "../".repeat(20);
    for path in [
        "../../../../../../outside/passwd",
        &format!("{depth}etc/passwd"),
        "/etc/passwd",
        "turns/../../../passwd",
        "",
        ".",
        "..",
        "turns",
        "turns/001-x\\u0000y",
    ] {
        for key in ["turns/001-stream.jsonl", "turns/001-prompt.md", "turns/001.patch", "turns/001-output.md"] {
            let scene = Scene::new();
            forge(&scene.session, |body| body.replace(&format!("\"path\":\"{key}\""), &format!("\"path\":\"{path}\"")));
            let verified = scene.env.decklog(&["verify", "@"]).expect(1);
            assert!(!verified.stdout.contains("sum is"), "the sums are right: {}", verified.stdout);
            scene.every_verb(&format!("{key} leads to {path:?}"));
            assert!(scene.env.sessions().is_empty());
        }
    }
}

#[test]
fn long_prompts_that_stand_elsewhere() {
    let scene = Scene::new();
    let lure = format!(",\"prompt_artifact\":{{\"path\":\"{}etc/passwd\",\"bytes\":10}}", "../".repeat(20));
    forge(&scene.session, |body| {
        if body.contains("\"session_start\"") {
            body.replace(",\"prompt_hash\"", &format!("{lure},\"prompt_hash\""))
        } else {
            body.to_owned()
        }
    });
    scene.every_verb("the prompt leads to /etc/passwd");
}

#[test]
fn objects_that_lead_elsewhere() {
    // A snapshot's tree id is handed to git: it must be no option and no path.
    for id in ["--output=/tmp/decklog-hostile", "../../etc", "HEAD", "", "$(touch /tmp/decklog-hostile)"] {
        let scene = Scene::new();
        forge(&scene.session, |body| {
            let Some(at) = body.find("\"snapshot\":\"") else { return body.to_owned() };
            let (start, end) = (at + 12, at + 12 + body[at + 12..].find('"').unwrap());
            format!("{}{id}{}", &body[..start], &body[end..])
        });
        scene.every_verb(&format!("the snapshot is {id:?}"));
        assert!(!Path::new("/tmp/decklog-hostile").exists());
    }
}

#[test]
fn things_in_place_of_files() {
    for name in
        ["session.json", "journal.jsonl", "turns/001-stream.jsonl", "turns/001.patch", "turns/001-prompt.md", "lock"]
    {
        for (odd, make) in [("a directory", "mkdir"), ("a fifo", "mkfifo"), ("a gigabyte", "truncate -s 1G")] {
            let scene = Scene::new();
            let path = scene.session.join(name);
            std::fs::remove_file(&path).unwrap();
            let made =
                std::process::Command::new("sh").args(["-c", &format!("{make} \"$0\"")]).arg(&path).status().unwrap();
            assert!(made.success());
            if odd == "a gigabyte" && !matches!(name, "session.json" | "lock") {
                // To print it would be what is asked for.
                assert_eq!(scene.env.decklog(&["verify", "@"]).code, 1, "{name} is {odd}");
                scene.env.decklog(&["ls"]).expect(0);
                scene.env.decklog(&["discard", "-y", "@"]).expect(0);
            } else {
                scene.every_verb(&format!("{name} is {odd}"));
            }
        }
    }
}

#[test]
fn another_session_is_still_there() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "echo", "first"]).expect(0);
    let fine = env.session();
    env.decklog(&["run", "--", "echo", "second"]).expect(0);
    let broken = env.sessions().into_iter().find(|path| *path != fine).unwrap();
    std::fs::write(broken.join("journal.jsonl"), "{}\n").unwrap();
    let ran = env.decklog(&["ls", "--json"]).expect(0);
    assert_eq!(ran.json().as_array().unwrap().len(), 1);
    assert!(ran.stderr.contains(&*broken.file_name().unwrap().to_string_lossy()), "{}", ran.stderr);
    let id = broken.file_name().unwrap().to_string_lossy().into_owned();
    env.decklog(&["discard", "-y", &id]).expect(0);
    assert_eq!(env.sessions(), [fine]);
}
