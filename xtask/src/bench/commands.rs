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

/// `loop` with agents that do next to nothing, several iterations of it: what is not theirs.
pub(crate) fn loops(bench: &Bench) -> Result<Vec<Row>> {
    const ITERATIONS: u32 = 10;
    let (root, home) = (bench.path("loop-root"), bench.path("loop-home"));
    let config = home.join(".config/decklog");
    std::fs::create_dir_all(&config)?;
    let (actor, critic) = (bench.path("actor.sh"), bench.path("critic.sh"));
    std::fs::write(&actor, "cat >/dev/null; echo x >>src/file-1.rs\n")?;
    std::fs::write(&critic, "cat >/dev/null; echo '{\"decision\": \"CONTINUE\", \"feedback\": \"more\"}'\n")?;
    let agent = |name: &str, script: &std::path::Path| {
        format!("[agents.{name}]\ncommand = [\"sh\", {:?}]\nprotocol = \"text\"\n", script.to_string_lossy())
    };
    std::fs::write(config.join("config.toml"), agent("act", &actor) + &agent("judge", &critic))?;
    let count = ITERATIONS.to_string();
    let [ours, agents] = in_turn(bench.size(10, 1), |which| {
        let start = std::time::Instant::now();
        if which == 0 {
            let words = ["loop", "--actor", "act", "--critic", "judge", "-n", &count, "--check", "true", "a task"];
            let code = bench.decklog(&root, &words).env("HOME", &home).status()?.code();
            if code != Some(1) {
                return Err(format!("a loop that reaches its limit exits with 1, not {code:?}").into());
            }
        } else {
            for script in [&actor, &critic].into_iter().cycle().take(2 * ITERATIONS as usize) {
                time(&mut bench.sh("exec sh \"$1\"", &[script]))?;
                time(&mut bench.command("true"))?;
            }
        }
        Ok(start.elapsed())
    })?;
    let each = |all: Duration| all / ITERATIONS;
    let limit = Duration::from_millis(50);
    let yardstick = ("agents and check alone", each(agents));
    Ok(vec![Row::more("an iteration of `loop` in a small repository", each(ours), yardstick, limit)])
}
