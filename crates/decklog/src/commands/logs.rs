//! `logs`: what lies beside the journal.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use decklog_journal::lock::{self, Held};
use decklog_journal::store::current_head;
use decklog_query::follow::FileFollower;
use decklog_query::{logs, made};
use decklog_text::format::size;
use decklog_text::visible_lines;

use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::table::{Column, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A session (id, unique part, @; without one, a terminal opens a picker) and the name of a log; with --session-dir
    /// only the name
    #[arg(value_names = ["ID", "NAME"], num_args = 0..=2)]
    words: Vec<String>,
    /// A session directory, instead of an id
    #[arg(long, value_name = "DIR")]
    session_dir: Option<std::path::PathBuf>,
    /// Print what comes as it comes, until the session has ended
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// How often a followed file is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(15);

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let (id, name) = match (args.words.as_slice(), &args.session_dir) {
        ([], _) => (None, None),
        ([name], Some(_)) => (None, Some(name.as_str())),
        ([id], None) => (Some(id.as_str()), None),
        ([id, name], None) => (Some(id.as_str()), Some(name.as_str())),
        _ => return Err(CliError::new("with --session-dir, give only the name of a log")),
    };
    let dir = context.session_dir(id, args.session_dir.as_deref()).map_err(|error| match id {
        Some(word) if name.is_none() => error.hint(format!("for a log of the newest session: decklog logs @ {word}")),
        _ => error,
    })?;
    let Some(name) = name else {
        if args.follow {
            return Err(CliError::new("-f follows one log: give its name")
                .hint("`decklog logs ID` lists them; `decklog watch ID` follows the session"));
        }
        return list(&dir, context);
    };
    if args.follow {
        return follow(&dir, name, context);
    }
    let log = match logs::find(&dir, name) {
        Ok(log) => log,
        Err(missing) => return make(&dir, name, context)?.map_or_else(|| Err(missing.into()), Ok),
    };
    let mut source = logs::open(&dir, &log)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(0);
        }
        emit(&buffer[..count], context)?;
    }
}

/// To a pipe byte for byte; to a terminal without what acts on it.
fn emit(bytes: &[u8], context: &Context) -> Result<(), CliError> {
    if context.out_is_terminal {
        context.print(visible_lines(&String::from_utf8_lossy(bytes)).as_bytes())
    } else {
        context.print(bytes)
    }
}

/// A turn's file that an imported session does not have, made of its journal. `None` when there is no such thing.
fn make(dir: &Path, name: &str, context: &Context) -> Result<Option<i32>, CliError> {
    let Some((turn, kind)) = made::parse(name).filter(|_| is_imported(dir)) else { return Ok(None) };
    Ok(made::write(dir, turn, kind, &mut Emit(context))?.then_some(0))
}

/// [`emit`] as a place to write to.
struct Emit<'a>(&'a Context);

impl std::io::Write for Emit<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        emit(bytes, self.0).map_err(|error| std::io::Error::other(error.message))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_imported(dir: &Path) -> bool {
    current_head(dir).is_ok_and(|head| head.source.is_some())
}

fn list(dir: &Path, context: &Context) -> CliResult {
    let all = logs::list(dir);
    if context.json {
        context.print_json(&all)?;
        return Ok(0);
    }
    let columns = [
        Column { title: "NAME", priority: 0 },
        Column { title: "SIZE", priority: 1 },
        Column { title: "FILE", priority: 0 },
    ];
    let rows: Vec<_> = all.iter().map(|log| vec![log.name.clone(), size(log.bytes), log.path.clone()]).collect();
    context.print(table(&columns, rows, context.width(), context.out_paint, |_, _, cell| cell))?;
    if is_imported(dir) {
        context
            .say("an imported session's turns are made files when asked for: 001-prompt, 001-output, 001-patch, 002-…");
    }
    Ok(0)
}

fn follow(dir: &Path, name: &str, context: &Context) -> CliResult {
    // Where it cannot be told, nobody is waited for.
    let live = |dir: &Path| lock::held(dir) == Held::Yes;
    let log = loop {
        // A log that a running session has not begun yet may still come.
        let was_live = live(dir);
        match logs::find(dir, name) {
            Ok(log) => break log,
            Err(_) if was_live => context.wait(POLL)?,
            Err(error) => return Err(error.into()),
        }
    };
    if log.path.ends_with(".zst") {
        let mut source = logs::open(dir, &log)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(0),
                count => emit(&buffer[..count], context)?,
            }
        }
    }
    let mut follower = FileFollower::new(&logs::full_path(dir, &log));
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Asked before reading: what was written before the end is read after it.
        let was_live = live(dir);
        let mut idle = true;
        loop {
            let count = follower.poll(&mut buffer)?;
            if count == 0 {
                break;
            }
            idle = false;
            emit(&buffer[..count], context)?;
        }
        if !was_live && idle {
            return Ok(0);
        }
        if idle {
            context.wait(POLL)?;
        }
    }
}
