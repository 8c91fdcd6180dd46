//! Results that cannot be printed after the end is recorded: the exit code and the record still agree.

use std::fs::File;
use std::process::Stdio;

use crate::relaying::world;

const VERBS: [&[&str]; 11] = [
    &["run", "ada", "Work."],
    &["run", "--json", "ada", "Work."],
    &["run", "--json", "bad", "Work."],
    &["run", "--", "echo", "said"],
    &["chat", "ada", "ada", "--max-turns", "2", "Work."],
    &["loop", "--critic", "none", "--check", "true", "--actor", "ada", "Work."],
    &["race", "ada", "ada", "--pick", "none", "Work."],
    &["resume", "@", "Again."],
    &["handoff", "@", "--to", "ada"],
    &["handoff", "--json", "@", "--to", "ada"],
    &["restore", "--json", "@@0", "--in-place", "-y"],
];

#[test]
fn exit_code_and_record_agree_whatever_becomes_of_stdout() {
    for arguments in VERBS {
        for full in [true, false] {
            let env = world(&[("ada", "claude-stream", crate::relaying::SAYS), ("bad", "text", "exit 7")]);
            if ["resume", "restore", "handoff"].contains(&arguments[0]) {
                env.decklog(&["run", "ada", "Work."]).expect(0);
            }
            let what = format!("{arguments:?}, stdout full: {full}");
            let mut command = env.decklog_command(arguments);
            if full {
                command.stdout(File::create("/dev/full").unwrap());
            } else {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                command.stdout(Stdio::from(writer));
            }
            command.stderr(Stdio::piped());
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            let (code, stderr) = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
            let head = &env.decklog(&["ls", "--json"]).expect(0).json()[0];
            assert_eq!(head["exit_code"].as_i64(), code.map(i64::from), "{what}: {head} {stderr}");
            if head["status"] == "completed" {
                assert_eq!(head["outcome"] == "success", code == Some(0), "{what}: {head}");
            }
            if full && arguments[1] != "--" {
                assert_eq!(code, Some(if arguments[0] == "chat" { 1 } else { 2 }), "{what}: {stderr}");
                assert!(stderr.contains("No space left"), "{what}: {stderr}");
                let errors = stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                let errors: Vec<_> = errors.filter(|line| line["error"].is_string()).collect();
                assert_eq!(errors.len(), usize::from(arguments.contains(&"--json")), "{what}: {stderr}");
            }
            env.decklog(&["verify", "@"]).expect(0);
        }
    }
}
