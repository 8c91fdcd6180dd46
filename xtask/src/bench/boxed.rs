//! What a container costs: a call of its tools through `decklog mcp`, and the time until the first.

pub(crate) mod network;
mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;

use super::measure::{Bench, in_turn, median};
use super::report::Row;
use world::{Client, SERVER, World};

/// A tool of the server that answers at once.
const TOOL: &str = "look";

/// Calls through `decklog mcp`, against the same calls straight to the same server over `podman exec`; and how soon the
/// first can be made, against `podman run` of that server.
pub(crate) fn tools(bench: &Bench) -> Result<Vec<Row>> {
    let world = World::new(bench, &[])?;
    let (mut rows, options) = calls(bench, &world)?;
    rows.extend(start(bench, &world, &options)?);
    Ok(rows)
}

/// Calls in turn, in one container. Also gives the options with which decklog made it.
fn calls(bench: &Bench, world: &World<'_>) -> Result<(Vec<Row>, Vec<String>)> {
    let count = bench.size(2000, 20);
    let mut ours = Client::new(world.mcp("default"))?;
    let published = format!("shell__{TOOL}");
    ours.call(&published, "")?;
    let (name, options) = world.container()?;
    let mut exec = vec!["exec", "--interactive", "--workdir", "/workspace", &name];
    exec.extend(SERVER);
    let mut straight = Client::new(world.podman(&exec))?;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..count + count / 10 {
        for (which, times) in times.iter_mut().enumerate() {
            let start = Instant::now();
            match which {
                0 => ours.call(&published, "")?,
                _ => straight.call(TOOL, "")?,
            };
            // Both servers' code is warm then.
            if round >= count / 10 {
                times.push(start.elapsed());
            }
        }
    }
    let [middle, middle_straight] = times.each_mut().map(|times| median(times));
    // Sorted now.
    let [late, late_straight] = times.each_ref().map(|times| times[times.len() * 99 / 100]);
    let over = "the same over `podman exec -i`";
    let what = format!("a tool call through `decklog mcp`, median of {count}");
    let rows = vec![
        Row::more(what, middle, (over, middle_straight), Duration::from_millis(1)),
        Row::beside("the same: 99 of 100 are faster", late, (over, late_straight)),
    ];
    Ok((rows, options))
}

/// From the start of a process to the result of a call, with an image that is there.
fn start(bench: &Bench, world: &World<'_>, options: &[String]) -> Result<Vec<Row>> {
    let [program, script] = SERVER;
    let mut words: Vec<&str> = vec!["run", "--rm", "--interactive"];
    words.extend(options.iter().map(String::as_str));
    words.extend(["--entrypoint", program, world.tag(), script]);
    let [ours, audited, run] = in_turn(bench.size(10, 1), |which| match which {
        0 => first_call(world.mcp("default"), &format!("shell__{TOOL}")),
        1 => first_call(world.mcp("audit"), &format!("shell__{TOOL}")),
        _ => first_call(world.podman(&words), TOOL),
    })?;
    let yardstick = ("`podman run -i` of its server", run);
    Ok(vec![
        Row::more("`decklog mcp` started → the first tool's result", ours, yardstick, Duration::from_millis(400)),
        Row::beside("the same with `--network audit`", audited, yardstick),
    ])
}

fn first_call(command: Command, tool: &str) -> Result<Duration> {
    let start = Instant::now();
    let mut client = Client::new(command)?;
    client.call(tool, "")?;
    let took = start.elapsed();
    client.leave()?;
    Ok(took)
}
