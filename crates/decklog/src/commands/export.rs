//! `export`: sessions in the formats of other tools, and in one archive.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use decklog_journal::lock::{self, Held};
use decklog_journal::portable;
use decklog_journal::{SessionId, SessionStore};
use decklog_query::export::{self, Whole, atif, jsonl, markdown, otlp};
use decklog_text::format::{counted, size};
use decklog_text::{visible, visible_lines};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde_json::json;

use super::otlp_client::Collector;
use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::filters::FilterArgs;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  decklog export @ --format markdown > session.md
  decklog export --format jsonl --project . --after 1w > week.jsonl
  decklog export --format atif --agent claude -o trajectories/
  decklog export --format otlp --all --endpoint http://localhost:4318
  decklog export --format tar.zst --all -o sessions.tar.zst

An export holds what the record holds: prompts, what agents said, tool calls and their output, patches, paths,
the machine's name. Secrets were left out when it was recorded. otlp alone has no texts. tar.zst also holds raw
streams and snapshots, and is what decklog can take back. Nothing is written over a file that is there.")]
pub(crate) struct Args {
    /// Sessions: ids, unique parts, @ for the newest; without any, and no filter, a terminal opens a picker
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// What to make of them
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The file to write, or for several sessions the directory (default: stdout)
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Send traces to this OpenTelemetry collector; OTEL_EXPORTER_OTLP_HEADERS may hold headers for it
    #[arg(long, value_name = "URL", conflicts_with = "output")]
    endpoint: Option<String>,
    /// Every session
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON line for the start, each turn or iteration, and the end
    Jsonl,
    /// A page to read
    Markdown,
    /// A page for a browser, as `show --html` makes it
    Html,
    /// Agent Trajectory Interchange Format 1.8, JSON
    Atif,
    /// OpenTelemetry traces, JSON
    Otlp,
    /// An archive of whole records
    #[value(name = "tar.zst")]
    TarZst,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Atif => "atif.json",
            Self::Otlp => "otlp.json",
            Self::TarZst => "tar.zst",
        }
    }

    /// Whether several sessions can follow each other in one stream.
    fn flows(self) -> bool {
        matches!(self, Self::Jsonl | Self::Otlp)
    }

    /// Writes one session. Gives the texts of it that could not be read, as sentences.
    fn write(
        self,
        id: &SessionId,
        store: &SessionStore,
        context: &Context,
        out: &mut dyn Write,
    ) -> Result<Vec<String>, CliError> {
        let whole = match self {
            Self::Jsonl => {
                let whole = read(store, id)?;
                jsonl::write(&whole, out)?;
                whole
            }
            Self::Markdown => {
                let whole = read(store, id)?;
                out.write_all(markdown::page(&whole).as_bytes())?;
                whole
            }
            Self::Html => {
                let page =
                    decklog_web::page::page(&store.entry(id), &store.load(id)?, context.clock.now(), &context.zone);
                out.write_all(page.as_bytes())?;
                return Ok(Vec::new());
            }
            Self::Atif => {
                let whole = read(store, id)?;
                serde_json::to_writer_pretty(&mut *out, &atif::document(&whole))?;
                out.write_all(b"\n")?;
                whole
            }
            // It has no texts.
            Self::Otlp => {
                serde_json::to_writer(&mut *out, &otlp::request(&read(store, id)?))?;
                out.write_all(b"\n")?;
                return Ok(Vec::new());
            }
            Self::TarZst => return Err(CliError::new("an archive is not written session by session")),
        };
        Ok(whole.unread)
    }
}

/// What became of a session.
#[derive(Debug, serde::Serialize)]
struct Exported {
    id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    bytes: u64,
    /// Texts that are not in it, as they could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    if args.endpoint.is_some() && args.format != Format::Otlp {
        return Err(CliError::new("--endpoint takes traces: give --format otlp with it"));
    }
    if context.json && args.output.is_none() && args.endpoint.is_none() {
        return Err(CliError::new("--json tells what was written where, and the export itself goes to stdout")
            .hint("give -o FILE or -o DIR with it"));
    }
    let store = context.store()?;
    let by_id = !args.ids.is_empty();
    let ids = chosen(&args, &store, context)?;
    match (&args.endpoint, args.format) {
        (Some(endpoint), _) => send(&Collector::new(endpoint, context)?, &ids, &store, context),
        (None, Format::TarZst) => pack(ids, by_id, args.output.as_deref(), &store, context),
        (None, format) => write(format, &ids, args.output.as_deref(), &store, context),
    }
}

/// The sessions named, or those that meet the filters; oldest first.
fn chosen(args: &Args, store: &SessionStore, context: &Context) -> Result<Vec<SessionId>, CliError> {
    let filter = args.filters.resolve(context, store)?;
    let is_filtered = !filter.takes_all();
    let mut ids = Vec::new();
    if !args.ids.is_empty() {
        if is_filtered {
            return Err(CliError::new("sessions are named by id or by filters, not by both"));
        }
        for id in &args.ids {
            ids.push(context.find(store, Some(id))?);
        }
    } else if is_filtered || args.all {
        let listing = store.list(&filter)?;
        for unreadable in &listing.unreadable {
            context.warn(&format!("session {} cannot be read and is left out: {}", unreadable.id, unreadable.reason));
        }
        ids.extend(listing.sessions.into_iter().map(|listed| listed.head.id));
    } else {
        ids.push(context.find(store, None)?);
    }
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        context.say("no session meets the filters: nothing was exported");
    }
    Ok(ids)
}

fn read(store: &SessionStore, id: &SessionId) -> Result<Whole, CliError> {
    export::read(&store.entry(id)).map_err(|error| {
        CliError::new(format!("session {id}: {error}")).hint("`decklog verify` says what is wrong with it")
    })
}

fn write(
    format: Format,
    ids: &[SessionId],
    output: Option<&Path>,
    store: &SessionStore,
    context: &Context,
) -> CliResult {
    let Some(output) = output else {
        if ids.len() > 1 && !format.flows() {
            return Err(CliError::new(format!("{} sessions do not go into one stream", ids.len()))
                .hint("give a directory for them: -o DIR"));
        }
        let mut all_unread = Vec::new();
        for id in ids {
            let mut bytes = Vec::new();
            let unread = format.write(id, store, context, &mut bytes)?;
            all_unread.extend(unread.into_iter().map(|unread| format!("session {id}: {unread}")));
            if context.out_is_terminal {
                context.page(&visible_lines(&String::from_utf8_lossy(&bytes)))?;
            } else {
                context.print(&bytes)?;
            }
        }
        all_unread.iter().for_each(|unread| context.warn(unread));
        return Ok(if all_unread.is_empty() { 0 } else { 2 });
    };
    let path = context.cwd.join(output);
    let is_dir = ids.len() > 1 || path.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_dir && !ids.is_empty() {
        std::fs::create_dir_all(&path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    }
    let target = |id: &SessionId| {
        if is_dir { path.join(format!("{id}.{}", format.extension())) } else { path.clone() }
    };
    // All are looked for before one is written.
    for id in ids {
        free(&target(id))?;
    }
    let mut written = Vec::new();
    for id in ids {
        let path = target(id);
        let mut unread = Vec::new();
        let bytes = new_file(&path, |out| {
            unread = format.write(id, store, context, out)?;
            Ok(())
        })?;
        written.push(Exported { id: id.clone(), path: Some(path.to_string_lossy().into_owned()), bytes, unread });
    }
    tell(&written, context)
}

fn pack(
    mut ids: Vec<SessionId>,
    by_id: bool,
    output: Option<&Path>,
    store: &SessionStore,
    context: &Context,
) -> CliResult {
    if !by_id {
        ids.retain(|id| {
            let live = lock::held(&store.entry(id)) == Held::Yes;
            if live {
                context.warn(&format!("session {id} is being recorded and is left out"));
            }
            !live
        });
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let sessions: Vec<_> = ids.iter().map(|id| (id.clone(), store.entry(id))).collect();
    let Some(output) = output else {
        if context.out_is_terminal {
            return Err(CliError::new("an archive is nothing for a terminal").hint("give -o FILE.tar.zst, or a pipe"));
        }
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        portable::pack(&sessions, &mut out)?;
        out.flush()?;
        return Ok(0);
    };
    let path = context.cwd.join(output);
    free(&path)?;
    let bytes = new_file(&path, |out| portable::pack(&sessions, out).map(drop).map_err(CliError::from))?;
    if context.json {
        let path = path.to_string_lossy();
        context.print_json(&json!([{ "ids": ids, "path": path, "bytes": bytes }]))?;
    } else {
        let count = counted(ids.len() as u64, "session");
        context.say(format!("{count} in {} ({})", visible(&path.to_string_lossy()), size(bytes)));
    }
    Ok(0)
}

fn send(collector: &Collector, ids: &[SessionId], store: &SessionStore, context: &Context) -> CliResult {
    let mut sent = Vec::new();
    for id in ids {
        let body = serde_json::to_vec(&otlp::request(&read(store, id)?))?;
        if let Some(words) = collector.send(&body).map_err(|error| error.hint(told_so_far(&sent)))? {
            context.warn(&format!("the collector took session {id} in part: {words}"));
        }
        sent.push(Exported { id: id.clone(), path: None, bytes: body.len() as u64, unread: Vec::new() });
    }
    tell(&sent, context)
}

fn told_so_far(sent: &[Exported]) -> String {
    let before = match sent {
        [] => "nothing was sent".to_owned(),
        some => format!("{} were sent before", counted(some.len() as u64, "session")),
    };
    format!("{before}; sending again is safe: the same session is the same trace")
}

fn tell(written: &[Exported], context: &Context) -> CliResult {
    if context.json {
        context.print_json(&written)?;
    }
    for one in written.iter().filter(|_| !context.json) {
        match &one.path {
            Some(path) => context.say(format!("{} ({})", visible(path), size(one.bytes))),
            None => context.say(format!("{} sent ({})", one.id, size(one.bytes))),
        }
    }
    for one in written {
        one.unread.iter().for_each(|unread| context.warn(&format!("session {}: {unread}", one.id)));
    }
    Ok(if written.iter().all(|one| one.unread.is_empty()) { 0 } else { 2 })
}

/// Refuses a path at which something stands.
fn free(path: &Path) -> Result<(), CliError> {
    match path.symlink_metadata() {
        Ok(_) => Err(CliError::new(format!("{} is there already: nothing was written", path.display()))
            .hint("remove it first, or give another name with -o")),
        Err(_) => Ok(()),
    }
}

/// Writes a file that is there whole or not at all, for its owner alone. Gives its length.
fn new_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<(), CliError>) -> Result<u64, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::new(format!("{}: {error}", path.display()));
    let parent = path.parent().unwrap_or(Path::new("/"));
    let write = |file: &mut File| {
        let mut out = std::io::BufWriter::with_capacity(1 << 18, file);
        fill(&mut out)?;
        out.flush().map_err(|error| failed(&error))
    };
    // Without a name until it is whole, so that a kill leaves nothing.
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(parent, flags, Mode::RUSR | Mode::WUSR) {
        let mut file = File::from(file);
        write(&mut file)?;
        let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, by_number, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(|error| failed(&error))?;
        return Ok(file.metadata()?.len());
    }
    // Not every file system has such files.
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(|error| failed(&error))?;
    write(file.as_file_mut())?;
    let bytes = file.as_file().metadata()?.len();
    file.persist_noclobber(path).map_err(|error| failed(&error.error))?;
    Ok(bytes)
}
