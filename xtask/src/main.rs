//! What the project does with itself: `cargo xtask setup`, `test`, `docs`, `bench` and others.
//!
//! Must not know: how decklog works inside. It runs the program and the tests; only `bench` writes records, to
//! have something to measure on.

mod bench;
mod docs;
mod faults;
mod needs;
mod rules;
mod steps;
mod test;
mod tree;
mod ui;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Usage: cargo xtask <TASK>

  setup                   install what the tests need
  test                    do that, then run every check there is
  docs [--check]          write docs/cli.md from the program's own help; or compare
  tree                    look for machine paths, package hosts and secrets in the tracked files
  rules                   take the rules for secrets from the newest gitleaks that a package ships
  ui [--check]            build the page that `decklog ui` serves; or compare
  bench [--quick] [NAME…] measure against the yardsticks, and write docs/bench.md
                          --quick: only see that the measuring works
  faults [--quick] [--seed N] [--kills N] [--kinds KIND,…] [--minutes N] [--debug] [--only TRIAL] [VERB…]
                          run every verb under kills, failing calls, full disks, and write docs/faults.md
                          --quick: a sample in three minutes, on the debug build; writes nothing
                          --only: one trial by its name, such as run/kill/1000001";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["setup"] => needs::install().map(|_| ()),
        ["test"] => test::run(),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["tree"] => tree::check(),
        ["rules"] => rules::write(),
        ["ui"] => ui::write(),
        ["ui", "--check"] => ui::check(),
        ["bench", rest @ ..] => bench::build_and_run(rest),
        ["faults", rest @ ..] => faults::run(rest),
        [bench::MEASURE, rest @ ..] => bench::run(rest),
        [bench::PEAK, report, program, rest @ ..] => bench::measure::report_peak(report, program, rest),
        [bench::SQL, rest @ ..] => bench::query::sql(rest),
        [bench::SNAPSHOT, tree, objects, report] => bench::snapshot::report_times(tree, objects, report),
        [] | ["-h" | "--help" | "help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("no such task: {}\n\n{USAGE}", words.join(" ")).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo, at the top of the checkout.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Where cargo puts what it builds with `profile` (`debug`, `dist`): beside this program.
fn built(profile: &str) -> Result<PathBuf> {
    // A rebuild of this program unlinks it, and the link then names what is gone.
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(Path::parent).ok_or("this program stands in no target directory")?;
    Ok(target.join(profile))
}

/// Whether a program of this name is in `PATH`.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
