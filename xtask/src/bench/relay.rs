//! How long a session is without an agent when one is limited, and how long its packet takes to make.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

use super::corpus;
use super::measure::{Bench, in_turn, median, time};
use super::report::Row;

/// Turns of the long session.
const TURNS: usize = 500;
/// Bytes of text in each.
const BYTES: usize = 20_000;

/// From the limit's signal to the next agent's start, and `handoff` of a long session.
pub(crate) fn relay(bench: &Bench) -> Result<Vec<Row>> {
    let (root, home) = (bench.path("relay-root"), bench.path("relay-home"));
    let config = home.join(".config/decklog");
    std::fs::create_dir_all(&config)?;
    let limited = r#"cat >/dev/null
date +%s%N >"$HOME/limited"
cat <<'END'
{"type":"system","subtype":"init","session_id":"s","model":"m"}
{"type":"assistant","error":"rate_limit","message":{"id":"1","content":[{"type":"text","text":"limit reached"}]}}
{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached","usage":{},"session_id":"s"}
END
exit 1
"#;
    let next = "date +%s%N >\"$HOME/began\"; cat >/dev/null; echo done\n";
    let mut agents = String::new();
    for (name, protocol, script) in [("limited", "claude-stream", limited), ("next", "text", next)] {
        let path = bench.path(format!("{name}.sh"));
        std::fs::write(&path, script)?;
        let command = path.to_string_lossy().into_owned();
        agents.push_str(&format!("[agents.{name}]\ncommand = [\"sh\", {command:?}]\nprotocol = \"{protocol}\"\n"));
    }
    std::fs::write(config.join("config.toml"), agents)?;
    let (what, limit) = ("limit's signal → the next agent's start", Duration::from_millis(200));
    let mut times = gaps(bench, &root, &home, &["run", "limited", "--then", "next", "a task"], bench.size(20, 2))?;
    let middle = median(&mut times);
    let longest = times.last().copied().unwrap_or_default();
    let mut rows = vec![
        Row::within(format!("{what}, median of {}", times.len()), middle, None, limit),
        Row::within("the longest", longest, None, limit),
    ];
    // In a long session it is the packet that takes the time.
    let long = bench.path("packet-root");
    let turns = bench.size(TURNS, 5);
    corpus::long(&long, &bench.repository(), u32::try_from(turns)?, BYTES)?;
    let words = ["resume", "@", "--agent", "limited", "--then", "next", "go on"];
    let mut times = gaps(bench, &long, &home, &words, bench.size(10, 1))?;
    let journal = std::fs::read_dir(&long)?.next().ok_or("no session")??.path().join("journal.jsonl");
    let [whole, read] = in_turn(bench.size(10, 1), |which| {
        let start = Instant::now();
        if which == 0 {
            return time(bench.decklog(&long, &["handoff", "@", "--to", "next"]).env("HOME", &home));
        }
        std::fs::read(&journal)?;
        Ok(start.elapsed())
    })?;
    let megabytes = std::fs::metadata(&journal)?.len() / 1_000_000;
    let what = format!("the same with the packet of {turns} turns, {megabytes} MB");
    let yardstick = Some(("reading the journal", read));
    rows.push(Row::within(what, median(&mut times), yardstick, Duration::from_millis(100)));
    rows.push(Row::told("`handoff` of that session, the whole command", whole));
    Ok(rows)
}

/// The times from one agent's telling that it is limited to the next one's beginning.
fn gaps(bench: &Bench, root: &Path, home: &Path, words: &[&str], times: usize) -> Result<Vec<Duration>> {
    let gap = |_| {
        time(bench.decklog(root, words).env("HOME", home))?;
        let at = |name: &str| -> Result<u64> { Ok(std::fs::read_to_string(home.join(name))?.trim().parse()?) };
        Ok(Duration::from_nanos(at("began")?.saturating_sub(at("limited")?)))
    };
    (0..times).map(gap).collect()
}
