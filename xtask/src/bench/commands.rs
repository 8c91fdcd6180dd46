//! Commands that do next to nothing: what decklog costs at the least.

use std::time::Duration;

use crate::Result;

use super::measure::{Bench, in_turn, time};
use super::report::Row;

/// `run -- true` against `true` and `git status`.
pub(crate) fn run_true(bench: &Bench) -> Result<Vec<Row>> {
    let root = bench.path("run-root");
    let [ours, yardstick] = in_turn(bench.size(30, 2), |which| match which {
        0 => time(&mut bench.decklog(&root, &["run", "--", "true"])),
        _ => Ok(time(&mut bench.command("true"))? + time(bench.command("git").arg("status"))?),
    })?;
    let limit = Duration::from_millis(40);
    Ok(vec![Row::more("`run -- true` in a small repository", ours, ("`true` + `git status`", yardstick), limit)])
}

/// `--version` against `true`.
pub(crate) fn version(bench: &Bench) -> Result<Vec<Row>> {
    let root = bench.path("version-root");
    let [ours, yardstick] = in_turn(bench.size(200, 2), |which| match which {
        0 => time(&mut bench.decklog(&root, &["--version"])),
        _ => time(&mut bench.command("true")),
    })?;
    Ok(vec![Row::more("`--version`", ours, ("`true`", yardstick), Duration::from_millis(3))])
}
