//! `verify`: whether a record is what was written.

use std::path::PathBuf;

use decklog_journal::redact::Redactor;
use decklog_journal::verify::{Finding, Report, secrets, verify};
use decklog_text::format::counted;
use decklog_text::visible;
use serde::Serialize;

use crate::cli::{Json, Which};
use crate::context::Context;
use crate::error::{CliError, CliResult};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Verify every session under the session root
    #[arg(long, conflicts_with_all = ["id", "session_dir"])]
    all: bool,
    /// Search for secrets too, by the rules of this version
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Serialize)]
struct Verified {
    id: String,
    ok: bool,
    #[serde(flatten)]
    report: Report,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let dirs: Vec<PathBuf> = if args.all {
        let store = context.store()?;
        store.ids()?.iter().map(|id| store.entry(id)).collect()
    } else {
        if args.which.id.is_none() && args.which.session_dir.is_none() {
            return Err(CliError::new("no session is named").hint("give an id, @ for the newest, or --all"));
        }
        vec![context.session_dir(args.which.id.as_deref(), args.which.session_dir.as_deref())?]
    };
    let redactor = args.secrets.then(|| Redactor::builder().build());
    let mut faulty = 0;
    let mut reports = Vec::new();
    for dir in &dirs {
        let mut report = verify(dir);
        report.secrets = redactor.as_ref().map(|redactor| secrets(dir, redactor));
        faulty += u64::from(!report.is_clean());
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if context.json {
            reports.push(Verified { id, ok: report.is_clean(), report });
        } else {
            tell(&id, &report, args.all, context)?;
        }
    }
    if context.json {
        context.print_json(&reports)?;
    } else if args.all {
        context.print(format!("{} verified, {faulty} faulty\n", counted(dirs.len() as u64, "session")))?;
    }
    Ok(i32::from(faulty > 0))
}

fn tell(id: &str, report: &Report, brief: bool, context: &Context) -> Result<(), CliError> {
    let paint = context.out_paint;
    let id = visible(id);
    let line = |finding: &Finding| format!("{}: {}", visible(&finding.place), visible(&finding.what));
    for finding in report.faults.iter().chain(report.secrets.iter().flatten()) {
        context.print(format!("{id}: {}\n", paint.bad(&line(finding))))?;
    }
    for finding in &report.remarks {
        context.print(format!("{id}: {}\n", line(finding)))?;
    }
    if report.is_clean() && !brief {
        let text = format!("{}, {}", counted(report.events, "event"), counted(report.artifacts, "artifact"));
        context.print(format!("{id}: {} ({text})\n", paint.good("as recorded")))?;
    }
    Ok(())
}
