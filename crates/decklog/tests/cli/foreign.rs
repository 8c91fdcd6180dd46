//! Going on with a session that came out of an archive: what its record says is another's word.

use crate::env::TestEnv;
use crate::relaying::{LIMITED, SAYS, asked, world};
use crate::screen::Screen;

const DONE: &str = r#"echo '{"decision": "DONE", "summary": "It greets.", "confidence": 0.9}'"#;

/// A loop that waits for its actor's limit to pass, and the root into which it came out of an archive.
fn unpacked(arguments: &[&str]) -> (TestEnv, String) {
    let actor = format!("if test $n = 1; then\n{LIMITED}\nfi\n{SAYS}\n");
    let env = world(&[("actor", "claude-stream", &actor), ("critic", "text", DONE)]);
    env.decklog(&[&["loop", "--actor", "actor", "--critic", "critic"], arguments].concat()).expect(75);
    env.decklog(&["export", "@", "--format", "tar.zst", "-o", "sent.tar.zst"]).expect(0);
    let root = env.home().join("other").to_str().unwrap().to_owned();
    env.decklog(&["--session-root", &root, "import", "sent.tar.zst"]).expect(0);
    (env, root)
}

#[test]
fn what_it_would_run_is_shown_first_and_asked() {
    let check = "touch \"$HOME/checked\"";
    let arguments = ["--check", check, "--permissions", "full", "Greet."];
    let (env, root) = unpacked(&arguments);
    let resume = ["--session-root", &root, "resume", "@"];
    let refused = env.decklog(&resume).expect(2);
    for told in ["came out of an archive", &format!("runs: {check}"), "more than you do: full", "give -y"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    assert_eq!(asked(&env, "actor"), 1);
    let words = format!("--session-root '{root}' resume @");
    let mut screen = Screen::new(&env, &words);
    screen.wait_for("Let it do what its record says?");
    screen.press("n\r");
    let (text, code) = screen.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
    assert!(asked(&env, "actor") == 1 && !env.home().join("checked").exists());
    env.decklog(&[&resume[..], &["-y"]].concat()).expect(0);
    assert!(env.home().join("checked").exists());
    // The mark is decklog's own, and one's own record has none.
    env.decklog(&["--session-root", &root, "verify", "@"]).expect(0);
    env.decklog(&["--session-root", &root, "discard", "@", "-y"]).expect(0);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    env.decklog(&["resume", "@"]).expect(0);
}

#[test]
fn what_asks_for_no_more_than_is_allowed_anyway_goes_on() {
    let (env, root) = unpacked(&["Greet."]);
    env.decklog(&["--session-root", &root, "resume", "@"]).expect(0);
    let env = world(&[("ada", "claude-stream", SAYS)]);
    env.decklog(&["run", "ada", "--permissions", "full", "Greet."]).expect(0);
    env.decklog(&["export", "@", "--format", "tar.zst", "-o", "sent.tar.zst"]).expect(0);
    let root = env.home().join("other").to_str().unwrap().to_owned();
    env.decklog(&["--session-root", &root, "import", "sent.tar.zst"]).expect(0);
    let resume = ["--session-root", &root, "resume", "@", "On."];
    assert!(env.decklog(&resume).expect(2).stderr.contains("more than you do: full"));
    env.decklog(&[&resume[..], &["--permissions", "edit"]].concat()).expect(0);
    assert_eq!(asked(&env, "ada"), 2);
}

#[test]
fn the_task_is_read_from_the_record_alone() {
    let task = "Greet. ".repeat(60_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, &task).unwrap();
    let (env, root) = unpacked(&["--prompt-file", file.path().to_str().unwrap()]);
    let session = std::path::Path::new(&root).read_dir().unwrap().next().unwrap().unwrap().path();
    let path = session.join("turns/000-prompt-0.txt");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), task);
    let secret = env.home().join("id_rsa");
    std::fs::write(&secret, "a key").unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    let resume = ["--session-root", &root, "resume", "@"];
    let refused = env.decklog(&resume).expect(2);
    assert!(refused.stderr.contains("000-prompt-0.txt"), "{}", refused.stderr);
    std::fs::remove_file(&path).unwrap();
    assert!(env.command("mkfifo").arg(&path).status().unwrap().success());
    env.decklog(&resume).expect(2);
    assert_eq!(asked(&env, "actor"), 1);
}
