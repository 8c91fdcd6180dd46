//! The matrix: verb, fault, outcome, with counts; and violations with the command that repeats each.
//!
//! Must not know: how trials are run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use super::judge::Outcome;
use super::trial::{Fault, Trial};
use super::worker::Verdict;
use crate::{Result, root};

/// Examples that are listed for each kind of violation.
const EXAMPLES: usize = 4;

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    trials: usize,
    done: usize,
    refused: usize,
    recorded: usize,
    missed: usize,
    violations: usize,
}

/// What all trials gave.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: BTreeMap<(&'static str, String), Row>,
    /// By kind of violation: how many, and the first trials with what they showed.
    violations: BTreeMap<String, (usize, Vec<(String, String)>)>,
    skipped: Vec<String>,
    /// Options that a trial needs to be repeated on the same program.
    options: &'static str,
    trials: usize,
    kills: usize,
}

impl Report {
    pub(crate) fn new(skipped: Vec<String>, debug: bool) -> Self {
        Self { skipped, options: if debug { "--debug " } else { "" }, ..Self::default() }
    }

    pub(crate) fn trials(&self) -> usize {
        self.trials
    }

    pub(crate) fn add(&mut self, trial: &Trial, verdict: &Verdict) {
        self.trials += 1;
        self.kills += usize::from(trial.fault.is_kill() && !verdict.missed);
        let row = self.rows.entry((trial.scene.verb, family(&trial.fault))).or_default();
        row.trials += 1;
        row.violations += usize::from(!verdict.violations.is_empty());
        match verdict.outcome {
            _ if verdict.missed => row.missed += 1,
            Outcome::Done => row.done += 1,
            Outcome::Refused => row.refused += 1,
            Outcome::Recorded => row.recorded += 1,
        }
        for violation in &verdict.violations {
            let kind = format!("{}: {}", trial.scene.verb, violation.kind);
            let (count, examples) = self.violations.entry(kind).or_default();
            if *count == 0 {
                eprintln!("violation: {}: {}: {}", trial, violation.kind, short(&violation.detail));
            }
            *count += 1;
            if examples.len() < EXAMPLES {
                examples.push((trial.to_string(), short(&violation.detail)));
            }
        }
    }

    /// The matrix and the violations, as text that is markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| verb | fault | trials | done | refused | recorded | not reached | violations |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        );
        let mut sum = Row::default();
        for ((verb, fault), row) in &self.rows {
            let Row { trials, done, refused, recorded, missed, violations } = row;
            let _ = writeln!(
                text,
                "| {verb} | {fault} | {trials} | {done} | {refused} | {recorded} | {missed} | {violations} |"
            );
            sum.trials += trials;
            sum.done += done;
            sum.refused += refused;
            sum.recorded += recorded;
            sum.missed += missed;
            sum.violations += violations;
        }
        let Row { trials, done, refused, recorded, missed, violations } = sum;
        let _ = writeln!(
            text,
            "| all | | {trials} | {done} | {refused} | {recorded} | {missed} | {violations} |\n\n\
             {} kills with SIGKILL reached a running program.",
            self.kills
        );
        for reason in &self.skipped {
            let _ = writeln!(text, "Skipped: {reason}.");
        }
        for (kind, (count, examples)) in &self.violations {
            let _ = writeln!(text, "\n- {kind} ({count} ×)");
            for (trial, detail) in examples {
                let _ = writeln!(text, "  - `cargo xtask faults {}--only '{trial}'`: {detail}", self.options);
            }
        }
        text
    }

    /// # Errors
    /// When a promise was not kept.
    pub(crate) fn verdict(&self) -> Result<()> {
        let count: usize = self.violations.values().map(|(count, _)| count).sum();
        if count == 0 { Ok(()) } else { Err(format!("{count} violations; worlds are kept in target/faults").into()) }
    }

    /// Writes docs/faults.md.
    pub(crate) fn write(&self, seed: u64, took: Duration) -> Result<()> {
        let said = |program: &str, arguments: &[&str]| -> Result<String> {
            let output = Command::new(program).args(arguments).current_dir(root()).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let page = format!(
            "# Faults\n\n\
             What decklog's verbs do when something goes wrong, as `cargo xtask faults` tries it: the release build, two trials\n\
             at a time. *done*: the program exits with 0 and its promise holds. *refused*: it fails and leaves nothing.\n\
             *recorded*: it fails or is killed, and the record shows it. *not reached*: the program ended before the fault.\n\
             A violation is a false success, an exit code that differs from the record, a leftover after the next command,\n\
             an acknowledged event that is lost, a reader or a next command that fails, or a change outside the session.\n\n\
             Commit {}, {}, seed {seed}, kernel {}, {} minutes.\n\n{}",
            said("git", &["rev-parse", "--short=12", "HEAD"])?,
            jiff::Zoned::now().date(),
            said("uname", &["-r"])?,
            took.as_secs().div_ceil(60),
            self.text()
        );
        std::fs::write(root().join("docs/faults.md"), page)?;
        println!("wrote docs/faults.md");
        Ok(())
    }
}

/// What a fault is called in the matrix.
fn family(fault: &Fault) -> String {
    let (kind, rest) = fault.name();
    let first = rest.split(':').next().unwrap_or_default();
    match kind {
        "kill" => "kill -9".into(),
        "kill-group" => "kill -9 of the process group".into(),
        "kill-at" => "kill -9 in a system call".into(),
        "term" | "int" | "hup" => format!("SIG{}", kind.to_uppercase()),
        "call" => format!("{first} fails"),
        "git" => format!("git {first}"),
        "disk" if first == "none" => "TMPDIR absent".into(),
        "disk" => format!("full: {first}"),
        "clock" if first.starts_with('-') => "clock set back".into(),
        "clock" => "clock set forward".into(),
        "pair" => "two at once".into(),
        other => other.into(),
    }
}

/// One line of what was seen, without the places of this run.
fn short(detail: &str) -> String {
    let mut text = detail.split_whitespace().collect::<Vec<_>>().join(" ");
    for number in 0..2 {
        while let Some(at) = text.find(&format!("/s{number}/w/")) {
            let start =
                text[..at].rfind(|c: char| c.is_whitespace() || "\"'(<[".contains(c)).map_or(0, |space| space + 1);
            text.replace_range(start..at + 6, "");
        }
    }
    text.chars().take(300).collect()
}
