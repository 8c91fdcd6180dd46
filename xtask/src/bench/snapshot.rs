//! A snapshot of a large tree in which nothing has changed.

use std::path::Path;
use std::time::{Duration, Instant};

use decklog_snapshot::{Limits, NoSecrets, Snapshotter};

use crate::Result;

use super::SNAPSHOT;
use super::measure::{Bench, in_turn, time};
use super::report::Row;

/// The first snapshot of a session, and one after a turn, against `git status`.
pub(crate) fn unchanged(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.size(50_000, 500);
    let (tree, objects, report) = (bench.path("tree"), bench.path("tree-objects"), bench.path("tree-times"));
    for number in 0..files {
        let dir = tree.join(format!("area-{}/part-{}", number / 2500, number / 50 % 50));
        if number % 50 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        std::fs::write(
            dir.join(format!("file-{number}.rs")),
            format!("pub const NUMBER: usize = {number};\n").repeat(20),
        )?;
    }
    bench.commit_all(&tree)?;
    let times = || -> Result<[Duration; 2]> {
        let text = std::fs::read_to_string(&report)?;
        let (first, later) = text.trim().split_once(' ').ok_or("no times were reported")?;
        Ok([Duration::from_nanos(first.parse()?), Duration::from_nanos(later.parse()?)])
    };
    let [first, later, yardstick] = in_turn(bench.size(10, 1), |which| match which {
        0 => {
            let _ = std::fs::remove_dir_all(&objects);
            time(bench.this().arg(SNAPSHOT).args([&tree, &objects, &report]))?;
            Ok(times()?[0])
        }
        1 => Ok(times()?[1]),
        _ => time(bench.command("git").arg("status").current_dir(&tree)),
    })?;
    let yardstick = ("`git status`", yardstick);
    Ok(vec![
        Row::times(format!("first snapshot of an unchanged tree of {files} files"), first, yardstick, 1.5),
        Row::times("the same after a turn", later, yardstick, 1.5),
    ])
}

/// Takes two snapshots, and writes the nanoseconds of each into `report`.
pub(crate) fn report_times(tree: &str, objects: &str, report: &str) -> Result<()> {
    let start = Instant::now();
    let mut snapshotter =
        Snapshotter::open(Path::new(tree), Path::new(objects), Limits::default(), Box::new(NoSecrets))?;
    let first = snapshotter.take()?.tree;
    let after_first = start.elapsed();
    let start = Instant::now();
    let second = snapshotter.take()?.tree;
    let after_second = start.elapsed();
    if first != second {
        return Err("an unchanged tree was snapshotted as two".into());
    }
    std::fs::write(report, format!("{} {}\n", after_first.as_nanos(), after_second.as_nanos()))?;
    Ok(())
}
