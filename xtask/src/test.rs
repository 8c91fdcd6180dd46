//! `cargo xtask test`: every check there is, with nothing left out.

use std::path::Path;
use std::process::Command;

use crate::steps::Steps;
use crate::{Result, cargo, docs, needs, tree, ui};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    let mut agents = None;
    steps.run("what the tests need", || {
        agents = Some(needs::install()?);
        Ok(())
    });
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]));
    steps.command("clippy", &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    match &agents {
        Some(agents) => steps.command("tests", &mut tests(agents)),
        None => steps.run("tests", || Err("not run: what they need is not there".into())),
    }
    steps.command("doc tests", &mut cargo(&["test", "--doc", "--workspace"]));
    steps.command("rustdoc", cargo(&["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"));
    steps.run("docs/cli.md", docs::check);
    steps.run("the page is what its sources make", ui::check);
    steps.run("no machine paths, hosts or secrets", tree::check);
    steps.command("bench, to see that it works", &mut cargo(&["xtask", "bench", "--quick"]));
    // Failing calls and full disks are tried by `cargo xtask faults`: their places move with every build.
    let kinds = "kill,kill-at,kill-group,term,int,hup,clock";
    steps.command("faults, a sample", &mut cargo(&["xtask", "faults", "--quick", "--kinds", kinds]));
    steps.finish()
}

fn tests(agents: &Path) -> Command {
    let has_nextest = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut command = if has_nextest {
        cargo(&["nextest", "run", "--workspace"])
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    command
        .env("DECKLOG_TEST_REQUIRE_ALL", "1")
        .env("DECKLOG_TEST_FULL", "1")
        .env("DECKLOG_TEST_AGENTS", agents)
        .env("INSTA_UPDATE", "no")
        .env("CI", "1");
    command
}
