//! The picker, on a terminal of its own.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::env::{TestEnv, eventually, kill};
use crate::faults::hostile_session;

/// decklog on a terminal, with what it has printed so far.
struct Screen {
    script: Child,
    keys: Option<ChildStdin>,
    shown: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Screen {
    fn new(env: &TestEnv, arguments: &str) -> Self {
        let pid = env.home().join("pid");
        let run = format!(
            "stty cols 100 rows 24; echo $$ > '{}'; exec timeout --foreground -s KILL 60 '{}' {arguments}",
            pid.display(),
            env!("CARGO_BIN_EXE_decklog")
        );
        let mut command: Command = env.command("script");
        command
            .args(["-qec", &run, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("PAGER", "cat")
            .env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let keys = script.stdin.take();
        let mut stdout = script.stdout.take().unwrap();
        let shown = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let all = shown.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                all.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { script, keys, shown, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        eventually(words, || self.text().contains(words).then_some(()));
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.keys.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// What was printed after the picker gave the terminal back, and the exit code.
    fn end(mut self) -> (String, i32) {
        let code = self.script.wait().unwrap().code().unwrap_or(-1);
        self.reader.take().unwrap().join().unwrap();
        let text = self.text();
        let (_, after) = text.split_once("\u{1b}[?1049l").unwrap_or_else(|| panic!("not given back: {text:?}"));
        (after.to_owned(), code)
    }
}

/// When the keys stand at the bottom, the terminal is raw and listens.
const READY: &str = "enter takes it";

fn three() -> TestEnv {
    let env = TestEnv::new();
    for word in ["one", "two", "three"] {
        env.decklog(&["run", "--", "echo", word]).expect(0);
    }
    env
}

#[test]
fn a_session_is_picked_by_typing() {
    let env = three();
    let mut screen = Screen::new(&env, "show");
    screen.wait_for(READY);
    screen.press("'two\r");
    let (after, code) = screen.end();
    assert_eq!(code, 0, "{after}");
    assert!(after.contains("echo two") && !after.contains("echo one"), "{after}");
}

#[test]
fn a_session_is_picked_by_arrows_and_stdout_is_data() {
    let env = three();
    let mut screen = Screen::new(&env, "show --events > ../home/events");
    screen.wait_for(READY);
    // Only what is not blank is written.
    screen.wait_for("one");
    screen.press("\u{1b}[B\u{1b}[B\u{1b}[A\r");
    let (_, code) = screen.end();
    assert_eq!(code, 0);
    let events = std::fs::read_to_string(env.home().join("events")).unwrap();
    assert!(events.starts_with("{\"seq\":0") && events.contains("echo two"), "{events}");
}

#[test]
fn leaving_picks_nothing() {
    let env = three();
    for key in ["\u{3}", "\u{7}", "\u{1b}"] {
        let mut screen = Screen::new(&env, "discard -y");
        screen.wait_for(READY);
        screen.press(key);
        let (after, code) = screen.end();
        assert_eq!(code, 130, "{after}");
    }
    assert_eq!(env.sessions().len(), 3);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let env = three();
    let screen = Screen::new(&env, "watch");
    screen.wait_for(READY);
    // `timeout` hands the signal on.
    let pid = std::fs::read_to_string(env.home().join("pid")).unwrap();
    kill(pid.trim().parse().unwrap(), "TERM");
    let (_, code) = screen.end();
    assert!(code == 143 || code == 124, "{code}");
}

#[test]
fn nothing_to_pick_from_and_nobody_to_ask() {
    let env = TestEnv::new();
    let screen = Screen::new(&env, "show");
    screen.wait_for("no sessions under");
    assert_eq!({ screen }.script.wait().unwrap().code(), Some(2));
    for verb in ["show", "diff", "watch", "logs", "discard"] {
        let ran = env.decklog(&[verb]).expect(2);
        assert!(ran.stderr.contains("no session is named"), "{verb}: {}", ran.stderr);
    }
}

#[test]
fn a_hostile_record_does_not_act_on_the_picker() {
    let env = TestEnv::new();
    hostile_session(&env, "\\u001b]0;title\\u0007\\u001b[2J\\u009b5A\\u202e");
    let mut screen = Screen::new(&env, "show");
    screen.wait_for(READY);
    // The preview is there.
    screen.wait_for("started");
    screen.press("\u{3}");
    let text = screen.text();
    for nasty in ["\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}"] {
        assert!(!text.contains(nasty), "{nasty:?} in {text:?}");
    }
    assert!(text.contains("␛]0;title"), "{text:?}");
    assert_eq!(screen.end().1, 130);
}
