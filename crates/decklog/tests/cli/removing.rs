//! `discard` and `clean`: only ours, only when asked, only when safe.

use crate::env::TestEnv;

#[test]
fn nothing_goes_without_a_yes() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    for arguments in [&["discard", "@"][..], &["clean", "--older-than", "1s"]] {
        if arguments[0] == "clean" {
            crate::env::eventually("a second", || {
                env.decklog(&["clean", "--older-than", "1s", "--dry-run"]).stdout.contains("PATH").then_some(())
            });
        }
        let ran = env.decklog(arguments).expect(2);
        assert!(ran.stderr.contains("nobody is there to confirm"), "{}", ran.stderr);
        assert_eq!(env.sessions().len(), 1);
    }
    env.decklog(&["clean", "--older-than", "1s", "-y"]).expect(0);
    assert!(env.sessions().is_empty());
}

#[test]
fn clean_takes_ages() {
    let env = TestEnv::new();
    for age in ["0", "0d", "1y", "-1d", "soon", ""] {
        let ran = env.decklog(&["clean", "--older-than", age, "--dry-run"]).expect(2);
        assert!(ran.stderr.contains("no age") || ran.stderr.contains("value is required"), "{age}: {}", ran.stderr);
    }
    env.decklog(&["run", "--", "true"]).expect(0);
    let ran = env.decklog(&["clean", "-y"]).expect(0);
    assert!(ran.stderr.contains("nothing to clean"), "{}", ran.stderr);
    assert_eq!(env.sessions().len(), 1);
}

#[test]
fn foreign_files_and_links_are_kept() {
    let env = TestEnv::new();
    env.decklog(&["run", "--", "true"]).expect(0);
    let session = env.session();
    let outside = env.home().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("001-prompt.md"), "precious").unwrap();
    std::fs::write(session.join("turns/mine.md"), "mine").unwrap();
    std::fs::remove_file(session.join("turns/001-stderr.log")).unwrap();
    std::os::unix::fs::symlink(outside.join("001-prompt.md"), session.join("turns/001-stderr.log")).unwrap();
    std::os::unix::fs::symlink(&outside, session.join("logs")).unwrap();
    let ran = env.decklog(&["discard", "-y", "@"]).expect(0);
    for kept in ["turns/mine.md", "turns/001-stderr.log", "logs"] {
        assert!(ran.stderr.contains(kept), "{kept}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read_to_string(outside.join("001-prompt.md")).unwrap(), "precious");
    assert!(session.join("turns/mine.md").exists() && !session.join("journal.jsonl").exists());
}
