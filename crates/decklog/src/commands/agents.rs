//! `agents`: which agents decklog knows, and which are installed.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use decklog_journal::parallel::each_on_a_thread;
use decklog_run::agents::{AgentDefinition, Protocol};
use decklog_text::format::time;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Json;
use crate::context::{Context, find_program};
use crate::error::CliResult;
use crate::render::table::{Column, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Serialize)]
struct Row {
    name: String,
    protocol: &'static str,
    installed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "String::is_empty")]
    install: String,
    /// Its provider refuses until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_until: Option<Timestamp>,
}

pub(crate) fn run(_: &Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let env = context.environment();
    // Agents take a second or so to tell their version: all are asked at once.
    let agents: Vec<_> = config.agents.iter().map(|agent| &agent.value).collect();
    let mut rows: Vec<Row> = each_on_a_thread(agents, |agent| look(agent, &env));
    let (ledger, now) = (context.ledger()?, context.clock.now());
    for row in &mut rows {
        row.limited_until = ledger.until(&row.name, now);
    }
    if context.json {
        context.print_json(&rows)?;
        return Ok(0);
    }
    let columns = [
        Column { title: "AGENT", priority: 0 },
        Column { title: "PROTOCOL", priority: 2 },
        Column { title: "VERSION", priority: 1 },
        Column { title: "PATH, OR HOW TO INSTALL", priority: 0 },
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let place = row.path.as_ref().map_or_else(|| row.install.clone(), |path| path.display().to_string());
            let version = if row.installed { row.version.clone().unwrap_or_default() } else { "not installed".into() };
            let limited = row.limited_until.map(|at| format!(" (limited until {})", time(at, &context.zone)));
            vec![row.name.clone(), row.protocol.to_owned(), version, place + &limited.unwrap_or_default()]
        })
        .collect();
    let paint = context.out_paint;
    context.print(table(&columns, cells, context.width(), paint, |at, whole, cell| {
        if at == 2 && whole == "not installed" { paint.dim(&cell) } else { cell }
    }))?;
    Ok(0)
}

fn look(agent: &AgentDefinition, env: &[(std::ffi::OsString, std::ffi::OsString)]) -> Row {
    let path = agent.command.first().and_then(|program| find_program(program, env));
    let (path, version) = match agent.protocol {
        // What a plain command does with --version nobody knows.
        Protocol::Text => (path, None),
        // This program, if it has whom to ask.
        Protocol::Builtin => {
            let path = path.filter(|_| agent.is_configured());
            let path = path.and_then(|path| path.canonicalize().ok());
            let version = path.is_some().then(|| env!("CARGO_PKG_VERSION").to_owned());
            (path, version)
        }
        _ => {
            let version = path.as_ref().and_then(|path| version(path));
            (path, version)
        }
    };
    Row {
        name: agent.name.clone(),
        protocol: agent.protocol.name(),
        installed: path.is_some(),
        version,
        path,
        install: agent.install.clone(),
        limited_until: None,
    }
}

/// The first line of `--version`, from a program that may say anything and may hang.
fn version(path: &std::path::Path) -> Option<String> {
    let mut child = Command::new("timeout")
        .args(["10"])
        .arg(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut text = Vec::new();
    child.stdout.take()?.take(4096).read_to_end(&mut text).ok()?;
    let status = child.wait().ok()?;
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
    (status.success() && !line.is_empty()).then_some(line)
}
