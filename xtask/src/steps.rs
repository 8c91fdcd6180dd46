//! Steps of a task: each with a heading and its time; a failure is told again at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;

/// Steps that were run.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Option<String>)>,
}

impl Steps {
    /// Runs a step, whatever became of those before it.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let failure = step().err().map(|error| error.to_string());
        let took = start.elapsed();
        match &failure {
            None => println!("=== {name}: ok, {}", seconds(took)),
            Some(why) => println!("=== {name}: FAILED after {}: {why}", seconds(took)),
        }
        self.done.push((name.to_owned(), took, failure));
    }

    /// Runs a program as a step; it fails unless it exits with 0.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) {
        self.run(name, || {
            let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
            if status.success() { Ok(()) } else { Err(status.to_string().into()) }
        });
    }

    /// Sums up.
    ///
    /// # Errors
    /// When a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n=== all steps");
        for (name, took, failure) in &self.done {
            let verdict = if failure.is_none() { "ok" } else { "FAILED" };
            println!("{verdict:>6}  {:>6}  {name}", seconds(*took));
        }
        let failed: Vec<&str> =
            self.done.iter().filter(|(.., failure)| failure.is_some()).map(|(name, ..)| name.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
