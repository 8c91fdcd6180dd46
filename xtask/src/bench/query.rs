//! Finding and counting over many sessions, from the index.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use decklog_journal::event::Message;
use decklog_journal::session::JOURNAL_FILE;

use crate::{Result, is_there};

use super::measure::{Bench, in_turn, time};
use super::report::Row;
use super::{SQL, corpus, picker, sessions};

/// Bytes of text of a session in the corpus that is searched, and in the one that is listed.
const SEARCHED: f64 = 46_000.0;
const LISTED: f64 = 700.0;

/// The sessions that are searched, recorded once.
fn searched(bench: &Bench, count: usize) -> Result<PathBuf> {
    recorded(bench, count, SEARCHED, "searched")
}

fn recorded(bench: &Bench, count: usize, bytes: f64, name: &str) -> Result<PathBuf> {
    let root = bench.path(format!("{name}-{count}"));
    if !root.exists() {
        corpus::record(&root, count, bytes)?;
    }
    Ok(root)
}

/// decklog with an index of its own.
fn with_index(bench: &Bench, root: &Path, cache: &str, arguments: &[&str]) -> Command {
    let mut command = bench.decklog(root, arguments);
    command.env("XDG_CACHE_HOME", bench.path(cache));
    command
}

/// Building the index of words from nothing: how fast, in how much memory, how large it becomes; then searches.
pub(crate) fn search(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.size(10_000, 50);
    let root = searched(bench, count)?;
    let bytes = journals(&root)?;
    let mut rows = Vec::new();
    let cat = time(&mut bench.sh("find \"$1\" -name journal.jsonl -exec cat {} +", &[&root]))?;
    let build = |cache: &str| with_index(bench, &root, cache, &["search", corpus::RARE]);
    let took = time(&mut build("index-a"))?;
    rows.push(Row::rate(format!("index {count} sessions from nothing"), bytes, took, ("`cat` of the same", cat), 40.0));
    let mut peak = build("index-b");
    peak.env_remove("XDG_CACHE_HOME").env("HOME", bench.path("index-b"));
    rows.push(Row::memory("the same: peak memory", bench.peak(&peak)?, 150));
    rows.push(Row::share("the same: size of the index", directory(&bench.path("index-a"))?, bytes, 0.6));
    for (what, word, limit) in [("a rare word", corpus::RARE, 30), ("a common word", corpus::COMMON, 60)] {
        rows.extend(one_search(bench, &root, count, what, word, limit)?);
    }
    let memory = bench.peak(&{
        let mut command = bench.decklog(&root, &["search", corpus::COMMON]);
        command.env("HOME", bench.path("index-b"));
        command
    })?;
    rows.push(Row::memory("`search` of a common word: peak memory", memory, 64));
    rows.push(fresh(bench, &root, count)?);
    Ok(rows)
}

fn one_search(bench: &Bench, root: &Path, count: usize, what: &str, word: &str, limit: u64) -> Result<Vec<Row>> {
    let rounds = bench.size(15, 1);
    let ours = |_| time(&mut with_index(bench, root, "index-a", &["search", word]));
    let name = format!("`search` {what}, {count} sessions");
    let limit = Duration::from_millis(limit);
    if !is_there("rg") {
        let [took] = in_turn(rounds, ours)?;
        return Ok(vec![Row::within(name, took, None, limit)]);
    }
    let [took, rg] = in_turn(rounds, |which| match which {
        0 => ours(0),
        // It finds nothing in no file: that is no failure here.
        _ => time(&mut bench.sh("rg --no-messages --word-regexp \"$2\" \"$1\" || true", &[root, Path::new(word)])),
    })?;
    Ok(vec![
        Row::within(name.clone(), took, Some(("`rg`", rg)), limit),
        Row::times(format!("{name}, against `rg`"), took, ("`rg`", rg), 0.33),
    ])
}

/// From an event's being written to its being found.
fn fresh(bench: &Bench, root: &Path, count: usize) -> Result<Row> {
    let mut writer = sessions::begin(root, 0, &sessions::Sizes::SMALL)?;
    let mut times = Vec::new();
    for number in 0..bench.size(9, 1) {
        let word = format!("freshword{number}");
        let (turn, text) = (1, format!("now {word} comes"));
        writer.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false })?;
        let mut search = with_index(bench, root, "index-a", &["search", &word, "--json"]);
        let start = std::time::Instant::now();
        let output = search.stdout(std::process::Stdio::piped()).output()?;
        times.push(start.elapsed());
        if !String::from_utf8_lossy(&output.stdout).contains(&word) {
            return Err(format!("{word} was written and not found").into());
        }
    }
    let took = super::measure::median(&mut times);
    let dir = writer.dir().to_owned();
    drop(writer);
    decklog_journal::remove::remove(&dir)?;
    let what = format!("an event written → found by `search`, {count} sessions");
    Ok(Row::within(what, took, None, Duration::from_millis(500)))
}

/// Listing and counting, warm, at several sizes.
pub(crate) fn lists(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in [bench.size(1000, 20), bench.size(10_000, 40), bench.size(100_000, 80)] {
        let root = recorded(bench, count, LISTED, "listed")?;
        rows.extend(list(bench, &root, count)?);
    }
    Ok(rows)
}

fn list(bench: &Bench, root: &Path, count: usize) -> Result<Vec<Row>> {
    let first = time(&mut with_index(bench, root, "index-l", &["ls"]))?;
    let heads = bench.path("twenty-kilobytes");
    std::fs::write(&heads, "a line of twenty bytes\n".repeat(900))?;
    let table = bench.path(format!("table-{count}.sqlite"));
    time(bench.this().arg(SQL).arg("make").arg(&table).arg(count.to_string()))?;
    let [newest, cat, all, names, stats, sql] = in_turn(bench.size(15, 1), |which| match which {
        0 => time(&mut with_index(bench, root, "index-l", &["ls"])),
        1 => time(bench.command("cat").arg(&heads)),
        2 => time(&mut with_index(bench, root, "index-l", &["ls", "--all"])),
        3 => time(&mut bench.sh("ls -U \"$1\" | wc -l", &[root])),
        4 => time(&mut with_index(bench, root, "index-l", &["stats"])),
        _ => time(bench.this().arg(SQL).arg("ask").arg(&table)),
    })?;
    let [rare, common] = in_turn(bench.size(15, 1), |which| {
        let word = if which == 0 { corpus::RARE } else { corpus::COMMON };
        time(&mut with_index(bench, root, "index-l", &["search", word]))
    })?;
    // An index of its own once more: whose memory is asked, or who types, has a home and no cache directory.
    let home = bench.path(format!("index-m{count}"));
    let memory = bench.peak(bench.decklog(root, &["ls"]).env("HOME", &home))?;
    let newest_limit = Duration::from_millis(15);
    let name = format!("`stats`, {count} sessions");
    let is_large = count >= bench.size(100_000, 80);
    let mut rows = vec![
        Row::within(format!("`ls`, {count} sessions"), newest, Some(("`cat` of 20 KB", cat)), newest_limit),
        Row::times(format!("`ls --all`, {count} sessions"), all, ("`ls -U` into `wc -l`", names), 3.0),
        Row::within(format!("`search` a rare word, {count} short sessions"), rare, None, Duration::from_millis(30)),
        Row::within(format!("`search` a common word, {count} short sessions"), common, None, Duration::from_millis(60)),
    ];
    if is_large {
        rows.push(Row::times(name, stats, ("an SQL aggregate", sql), 1.5));
        rows.push(Row::memory(format!("`ls`, {count} sessions: peak memory"), memory, 24));
        rows.extend(picker::keys(bench, root, &home, count)?);
    } else {
        // Of few, the program's start is most.
        rows.push(Row::told(name, stats));
    }
    rows.push(Row::told(format!("the first `ls` of {count} sessions: makes the index"), first));
    Ok(rows)
}

/// Makes a table of as many rows as sessions, or asks it what `stats` is asked.
pub(crate) fn sql(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["make", path, count] => {
            let db = rusqlite::Connection::open(path)?;
            db.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, agent TEXT, model TEXT, project TEXT, outcome TEXT,
                     started INTEGER, duration REAL, turns INTEGER, tokens INTEGER, cost REAL);
                 DELETE FROM sessions;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                 INSERT INTO sessions SELECT printf('20260501T%06d-%04x', i, i % 65536), 'agent' || (i * 7 % 4),
                     'model' || (i * 7 % 4), 'project-' || (i * 31 % 40), 'outcome' || (i * 13 % 4), i * 600,
                     i * 37 % 3000, 1 + i % 20, i * 97 % 60000, i * 17 % 2000 / 1000.0 FROM n;"
            ))?;
        }
        ["ask", path] => {
            let db = rusqlite::Connection::open(path)?;
            let mut select = db.prepare(
                "SELECT agent, outcome, count(*), avg(duration), avg(turns), sum(tokens), sum(cost), min(started), max(started)
                 FROM sessions GROUP BY agent, outcome",
            )?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                println!("{} {}", row.get::<_, String>(0)?, row.get::<_, i64>(2)?);
            }
        }
        _ => return Err("make or ask".into()),
    }
    Ok(())
}

/// Bytes of all journals under `root`.
fn journals(root: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(root)? {
        bytes += entry?.path().join(JOURNAL_FILE).metadata()?.len();
    }
    Ok(bytes)
}

/// Bytes of all files in a directory, whatever is below it.
fn directory(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { directory(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
