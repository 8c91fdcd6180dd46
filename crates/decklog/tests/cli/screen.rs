//! decklog on a terminal of its own.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::env::{TestEnv, eventually};

/// decklog on a terminal, with what it has printed so far.
pub(crate) struct Screen {
    script: Child,
    keys: Option<ChildStdin>,
    shown: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    pid: std::path::PathBuf,
}

impl Screen {
    pub(crate) fn new(env: &TestEnv, arguments: &str) -> Self {
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
        Self { script, keys, shown, reader: Some(reader), pid }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        eventually(words, || self.text().contains(words).then_some(()));
    }

    /// Waits for `then` behind the last of these words.
    #[track_caller]
    pub(crate) fn wait_for_after(&self, words: &str, then: &str) {
        let came = |text: String| text.rsplit_once(words).is_some_and(|(_, rest)| rest.contains(then));
        eventually(then, || came(self.text()).then_some(()));
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let stdin = self.keys.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The process that runs decklog.
    pub(crate) fn pid(&self) -> u32 {
        std::fs::read_to_string(&self.pid).unwrap().trim().parse().unwrap()
    }

    /// Forgets what was printed so far, so that the next words are waited for anew.
    pub(crate) fn forget(&self) {
        self.shown.lock().unwrap().clear();
    }

    /// All that was printed, and the exit code.
    pub(crate) fn end(mut self) -> (String, i32) {
        let code = self.script.wait().unwrap().code().unwrap_or(-1);
        self.reader.take().unwrap().join().unwrap();
        (self.text(), code)
    }

    /// What was printed after the picker gave the terminal back, and the exit code.
    pub(crate) fn end_of_picker(self) -> (String, i32) {
        let (text, code) = self.end();
        let (_, after) = text.split_once("\u{1b}[?1049l").unwrap_or_else(|| panic!("not given back: {text:?}"));
        (after.to_owned(), code)
    }
}
