//! How long the picker takes from a key to its rows, on a terminal of its own.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::Result;

use super::measure::{Bench, median};
use super::report::Row;

/// When nothing more is drawn for so long, all is drawn.
const QUIET: Duration = Duration::from_millis(250);

/// How long the rows are waited for when the picker starts.
const PATIENCE: Duration = Duration::from_secs(30);

const LIMIT: Duration = Duration::from_millis(16);

/// Hides the preview, which is not waited for by who types.
const HIDE_PREVIEW: &str = "\u{1f}";

const BACKSPACE: &str = "\u{7f}";

/// Types into the picker over the sessions under `root`, of which there is an index in the directory `home`.
pub(crate) fn keys(bench: &Bench, root: &Path, home: &Path, count: usize) -> Result<Vec<Row>> {
    let show = bench.decklog(root, &["show"]);
    let words = std::iter::once(show.get_program()).chain(show.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let mut script = bench
        .command("script")
        .args(["-qec", &format!("stty cols 120 rows 40; exec {quoted}"), "/dev/null"])
        .env("HOME", home)
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut keys = script.stdin.take().ok_or("no stdin")?;
    let drawn = listen(script.stdout.take().ok_or("no stdout")?);
    let mut press = |key: &str, patience: Duration| -> Result<Option<Duration>> {
        let pressed = Instant::now();
        keys.write_all(key.as_bytes())?;
        keys.flush()?;
        Ok(last(&drawn, patience)?.map(|at| at.saturating_duration_since(pressed)))
    };
    let first = press("", PATIENCE)?.ok_or("the picker showed nothing")?;
    press(HIDE_PREVIEW, QUIET)?;
    let mut times = Vec::new();
    for word in ["the", "fix", "e s t", "'ing", "zz"].into_iter().take(bench.size(5, 1)) {
        let erased = word.chars().map(|_| BACKSPACE.to_owned());
        for key in word.chars().map(String::from).chain(erased) {
            // A key that changes nothing on the screen has no time.
            times.extend(press(&key, QUIET)?);
        }
    }
    // It ends.
    let _ = press("\u{3}", QUIET);
    script.wait()?;
    let middle = median(&mut times);
    let longest = times.last().copied().unwrap_or_default();
    let of = format!("picker over {count} sessions");
    Ok(vec![
        Row::within(format!("{of}: key → rows, median of {} keys", times.len()), middle, None, LIMIT),
        Row::told(format!("{of}: the longest"), longest),
        Row::told(format!("{of}: started → all rows"), first),
    ])
}

/// The moments at which something is drawn.
fn listen(mut screen: impl Read + Send + 'static) -> Receiver<Instant> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(1..) = screen.read(&mut buffer) {
            if send.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    receive
}

/// When the last of what is now drawn came; `None` when nothing comes for as long as `patience`.
fn last(drawn: &Receiver<Instant>, patience: Duration) -> Result<Option<Instant>> {
    let mut last = None;
    loop {
        match drawn.recv_timeout(if last.is_none() { patience } else { QUIET }) {
            Ok(at) => last = Some(at),
            Err(RecvTimeoutError::Timeout) => return Ok(last),
            Err(RecvTimeoutError::Disconnected) => return Err("the picker ended".into()),
        }
    }
}
