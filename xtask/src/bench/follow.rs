//! How long it takes from an event written to an event shown.

use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use decklog_journal::event::{Message, SessionEnd};
use decklog_journal::words::Outcome;

use crate::Result;

use super::measure::{Bench, median};
use super::report::Row;
use super::sessions::{self, Sizes};

const LIMIT: Duration = Duration::from_millis(50);

/// `logs -f` and `watch` of a session to which this program writes.
pub(crate) fn latency(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.size(200, 10);
    let mut rows = Vec::new();
    for (shown, words) in [("logs -f", &["logs", "-f", "@", "journal"][..]), ("watch", &["watch", "@"])] {
        let mut times = follow(bench, words, events)?;
        let middle = median(&mut times);
        let longest = times.last().copied().unwrap_or_default();
        rows.push(Row::within(format!("`{shown}`: event written → shown, median of {events}"), middle, None, LIMIT));
        rows.push(Row::within(format!("`{shown}`: the longest"), longest, None, LIMIT));
    }
    Ok(rows)
}

fn follow(bench: &Bench, words: &[&str], events: usize) -> Result<Vec<Duration>> {
    let root = bench.path(format!("follow-{}", words[0]));
    let mut writer = sessions::begin(&root, 0, &Sizes::SMALL)?;
    let mut child = bench.decklog(&root, words).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("no stdout")?;
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || read(&mut out, events, &send));
    let mut written = Vec::new();
    for number in 0..=events {
        // Not in step with whoever polls.
        std::thread::sleep(Duration::from_micros(3_000 + (number as u64 * 7_919) % 40_000));
        let text = format!("{}\n", mark(number));
        writer.append(Message { turn: 1, text, text_artifact: None, cut_artifact: None, continued: false })?;
        written.push(Instant::now());
        // The first is shown when the program has started: nothing is measured before.
        if number == 0 {
            receive.recv_timeout(Duration::from_secs(20)).map_err(|_| "the first event was never shown")?;
        }
    }
    end(writer)?;
    let shown: Vec<Instant> = receive.iter().collect();
    let status = child.wait()?;
    reader.join().map_err(|_| "the reader failed")?;
    if !status.success() || shown.len() != events {
        return Err(format!("{words:?}: {status}, {} of {events} events shown", shown.len()).into());
    }
    Ok(shown.iter().zip(&written[1..]).map(|(shown, written)| shown.saturating_duration_since(*written)).collect())
}

/// Sends the moment at which each mark comes out, in order.
fn read(out: &mut impl Read, events: usize, send: &mpsc::Sender<Instant>) {
    let (mut seen, mut awaited, mut buffer) = (String::new(), 0, vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = out.read(&mut buffer) {
        let now = Instant::now();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        while awaited <= events
            && let Some(at) = seen.find(&mark(awaited))
        {
            seen.drain(..at);
            awaited += 1;
            let _ = send.send(now);
        }
    }
}

fn mark(number: usize) -> String {
    format!("mark-{number:06}")
}

fn end(mut writer: decklog_journal::SessionWriter) -> Result<()> {
    writer.append(sessions::turn_end())?;
    let outcome = Some(Outcome::Success);
    writer.append(SessionEnd {
        outcome,
        iterations: None,
        summary: None,
        confidence: None,
        picked: None,
        duration_secs: 1.0,
        exit_code: Some(0),
    })?;
    Ok(())
}
