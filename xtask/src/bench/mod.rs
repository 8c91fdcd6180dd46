//! `cargo xtask bench`: decklog against its yardsticks, both measured in the same run.
//!
//! The numbers come from the `dist` build of decklog and of this program, which therefore starts itself anew.
//! With `--quick` everything is small and unoptimised: that only shows that the measuring works.

mod boxed;
mod commands;
mod corpus;
mod follow;
mod import;
pub(crate) mod measure;
mod picker;
pub(crate) mod query;
mod record;
mod relay;
mod report;
mod sessions;
pub(crate) mod snapshot;
mod web;

use std::process::Command;

use crate::{Result, built, cargo};
use measure::Bench;
use report::Row;

/// Arguments with which this program starts itself: to measure, to tell the memory a program took, to snapshot.
pub(crate) const MEASURE: &str = "__measure";
pub(crate) const PEAK: &str = "__peak";
pub(crate) const SNAPSHOT: &str = "__snapshot";
pub(crate) const SQL: &str = "__sql";

type Measure = fn(&Bench) -> Result<Vec<Row>>;

/// Every measure by the name that selects it.
const MEASURES: &[(&str, Measure)] = &[
    ("record", record::record),
    ("run", commands::run_true),
    ("loop", commands::loops),
    ("relay", relay::relay),
    ("snapshot", snapshot::unchanged),
    ("ls", sessions::ls),
    ("lists", query::lists),
    ("search", query::search),
    ("import", import::import),
    ("clean", sessions::clean),
    ("follow", follow::latency),
    ("mcp", boxed::tools),
    ("network", boxed::network::audit),
    ("web", web::web),
    ("version", commands::version),
];

/// Builds what is measured and measures it.
pub(crate) fn build_and_run(arguments: &[&str]) -> Result<()> {
    let quick = arguments.contains(&"--quick");
    let (profile, directory) = if quick { ("dev", "debug") } else { ("dist", "dist") };
    let status = cargo(&["build", "--profile", profile, "--package", "decklog", "--package", "xtask"]).status()?;
    if !status.success() {
        return Err("the build failed".into());
    }
    let status = Command::new(built(directory)?.join("xtask")).arg(MEASURE).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err("a measure could not be taken".into()) }
}

/// Measures with the programs as they are.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let quick = arguments.contains(&"--quick");
    let names: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--quick").collect();
    if let Some(unknown) = names.iter().find(|name| !MEASURES.iter().any(|(known, _)| known == *name)) {
        let known: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        return Err(format!("no measure {unknown:?}: there are {}", known.join(", ")).into());
    }
    let bench = Bench::new(quick)?;
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if names.is_empty() || names.contains(name) {
            eprintln!("measuring {name} …");
            let measured = measure(&bench).map_err(|error| format!("{name}: {error}"))?;
            eprintln!("{}", report::table(&measured));
            rows.extend(measured);
        }
    }
    println!("{}", report::table(&rows));
    if quick {
        println!("Small sizes, unoptimised build: these numbers say nothing.");
    } else if names.is_empty() {
        report::write(&rows, &bench)?;
    }
    Ok(())
}
