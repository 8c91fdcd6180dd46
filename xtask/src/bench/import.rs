//! Taking over agents' histories.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;

use super::corpus::Texts;
use super::measure::{Bench, time};
use super::report::Row;

/// Bytes of a history, on average.
const HISTORY: f64 = 88_000.0;

/// `import` of histories in Claude Code's form, and the same with the index of what was imported.
pub(crate) fn import(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.size(5000, 20);
    let histories = bench.path("histories/projects/-home-me-app");
    std::fs::create_dir_all(&histories)?;
    let bytes = write(&histories, count)?;
    let root = bench.path("imported");
    let cat = time(&mut bench.sh("find \"$1\" -type f -exec cat {} +", &[&histories]))?;
    let mut command = bench.decklog(&root, &["import", "claude"]);
    let took = time(command.arg(&histories))?;
    let mut search = bench.decklog(&root, &["search", super::corpus::RARE]);
    let indexed = time(&mut search)?;
    let again = time(bench.decklog(&root, &["import", "claude"]).arg(&histories))?;
    let cat = ("`cat` of the same", cat);
    Ok(vec![
        Row::rate(format!("import {count} histories"), bytes, took, cat, 60.0),
        Row::within("the same, with the index", took + indexed, Some(cat), Duration::from_secs(15)),
        Row::told("the same again: nothing is new", again),
    ])
}

/// Writes `count` histories; gives their bytes.
fn write(dir: &Path, count: usize) -> Result<u64> {
    let mut texts = Texts::new();
    let mut bytes = 0;
    for number in 0..count {
        let session = format!("00000000-0000-4000-8000-{number:012}");
        let path = dir.join(format!("{session}.jsonl"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        let mut history = History { session, lines: 0 };
        let prompt = texts.text(300);
        writeln!(file, "{}", history.line("user", &json!({ "role": "user", "content": prompt })))?;
        // Lines, ids and short texts around it are about as long again.
        let mut left = texts.size(HISTORY / 2.05 / 2.0, 1.2);
        while left > 0 {
            let piece = texts.size(1500.0, 1.0).min(40_000).min(left.max(200));
            left = left.saturating_sub(piece);
            let text = texts.text(piece);
            let id = format!("toolu_{}", history.lines);
            let tool = json!({ "type": "tool_use", "id": id, "name": "Bash", "input": { "command": "cargo test" } });
            writeln!(file, "{}", history.answer(&tool))?;
            let result = json!([{ "type": "tool_result", "tool_use_id": id, "content": text }]);
            writeln!(file, "{}", history.line("user", &json!({ "role": "user", "content": result })))?;
            writeln!(file, "{}", history.answer(&json!({ "type": "text", "text": texts.text(200) })))?;
        }
        file.flush()?;
        bytes += path.metadata()?.len();
    }
    Ok(bytes)
}

struct History {
    session: String,
    lines: usize,
}

impl History {
    fn line(&mut self, kind: &str, message: &Value) -> Value {
        let number = &self.session[24..];
        let uuid = |line: usize| format!("{line:08}-0000-4000-9000-{number}");
        let parent = (self.lines > 0).then(|| uuid(self.lines));
        self.lines += 1;
        let seconds = self.lines;
        json!({
            "parentUuid": parent, "isSidechain": false, "type": kind, "uuid": uuid(self.lines), "sessionId": self.session,
            "timestamp": format!("2026-05-01T{:02}:{:02}:{:02}.000Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60),
            "cwd": "/home/me/app", "version": "2.1.0", "gitBranch": "main", "message": message,
        })
    }

    fn answer(&mut self, block: &Value) -> Value {
        let usage = json!({ "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 7 });
        let id = format!("msg_{}", self.lines);
        let message =
            json!({ "id": id, "role": "assistant", "model": "claude-opus-4", "content": [block], "usage": usage });
        self.line("assistant", &message)
    }
}
