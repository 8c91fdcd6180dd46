//! The page over 100,000 sessions, in a browser: what it takes until something is to be seen.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use decklog_testkit::page;
use serde_json::Value;

use super::corpus;
use super::measure::{Bench, time};
use super::report::Row;
use crate::Result;

/// Bytes of text in a session of many.
const TEXT: f64 = 3_000.0;

/// Turns of the long session; each has ten events.
const TURNS: u32 = 1360;

/// What is typed: a word that is nowhere else, one that is everywhere, one in between.
const TYPED: &str = "xylographer,the,error";

/// How often something is said in the session that is live, and how long after what was said before.
const SAID: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(90);

pub(crate) fn web(bench: &Bench) -> Result<Vec<Row>> {
    let modules = page::install()?;
    let root = bench.path("web");
    let count = bench.size(100_000, 60);
    corpus::record(&root, count, TEXT)?;
    let long = u32::try_from(bench.size(TURNS as usize, 30))?;
    corpus::long(&root, &bench.repository(), long, 4_000)?;
    // The newest but for those of the future: there are none.
    let ids = decklog_journal::SessionStore::open(&root).ids()?;
    let newest = |id: &&decklog_journal::SessionId| {
        decklog_journal::store::current_head(&root.join(id.as_str())).is_ok_and(|head| head.prompt == "a long task")
    };
    let id = ids.iter().find(newest).ok_or("the long session is not there")?.to_string();
    let events = decklog_journal::store::current_head(&root.join(&id))?.events;
    // What is typed on is indexed; how long that takes is told elsewhere.
    time(&mut bench.decklog(&root, &["search", corpus::RARE]))?;
    let mut live = corpus::live(&root, &bench.repository())?;
    let mut ui = Ui(bench.decklog(&root, &["ui", "--no-open"]).stdout(Stdio::piped()).spawn()?);
    let mut link = String::new();
    BufReader::new(ui.0.stdout.take().ok_or("no output")?).read_line(&mut link)?;
    let mut node = bench.command("node");
    node.arg(page::sources().join("tests/measure.mjs")).args([
        link.trim(),
        &id,
        TYPED,
        live.id().as_str(),
        &SAID.to_string(),
    ]);
    node.env("DECKLOG_UI_MODULES", &modules).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut node = node.spawn()?;
    let mut told = BufReader::new(node.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    told.read_line(&mut line)?;
    if line.trim() == "live" {
        for _ in 0..SAID {
            std::thread::sleep(BETWEEN);
            let micros = jiff::Timestamp::now().as_microsecond();
            corpus::say(&mut live, 1, format!("written at {micros}"))?;
        }
        line.clear();
        told.read_line(&mut line)?;
    }
    let status = node.wait()?;
    if !status.success() {
        return Err(format!("the browser: {status}").into());
    }
    let told: Value = serde_json::from_str(&line)?;
    let memory = peak(ui.0.id())?;
    let ms = |name: &str| Duration::from_secs_f64(told[name].as_f64().unwrap_or(f64::MAX / 1e6) / 1e3);
    let within = |what: String, name: &str, limit| Row::within(what, ms(name), None, Duration::from_millis(limit));
    let bare = |name| ("the browser asks for nothing and shows it", ms(name));
    let late = told["late_frames"].as_u64().unwrap_or(u64::MAX);
    let script = told["script"].as_u64().unwrap_or(u64::MAX);
    Ok(vec![
        within(format!("the page: its list of {count} sessions is there"), "list", 500),
        Row::within(
            "the page: a key in the search box → rows, median",
            ms("key"),
            Some(bare("bare_key")),
            Duration::from_millis(50),
        ),
        Row::beside("the page: the same, the slowest", ms("slowest_key"), bare("slowest_bare_key")),
        within(format!("the page: a session of {events} events is opened"), "open", 300),
        within(
            format!(
                "the page: the slowest frame while the list is scrolled by 120 px in each, median ({late} of {} over 32 ms)",
                told["frames"]
            ),
            "slowest_frame",
            32,
        ),
        within("the page: an event written → shown, median".into(), "live", 50),
        within("the page: the same, the slowest".into(), "slowest_live", 50),
        Row::bytes("the page: its script, gzip", script, 120),
        Row::memory(format!("`ui`, {count} sessions: peak memory of the server"), memory, 64),
    ])
}

/// The server; it is ended when this goes.
struct Ui(Child);

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Peak memory of a process that runs, in bytes.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak is told")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
