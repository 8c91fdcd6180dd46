//! `ui`: the record as a page, in the browser.

use std::io::{BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decklog_journal::SessionStore;
use decklog_text::format::counted;
use decklog_text::visible;
use decklog_web::{Server, Setup, page, site};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use crate::context::{Context, find_program};
use crate::error::{CliError, CliResult};
use crate::filters::FilterArgs;
use crate::listing;
use crate::terminal;

/// The program that opens a file in the user's browser.
const OPENER: &str = "xdg-open";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The link that is printed lets in whoever opens it first, and is good once; Enter prints another. Ctrl-C ends the server. What is
shown is what is recorded, as it is recorded. Nothing is changed but by discarding, which asks first.

Examples:
  decklog ui                    all sessions
  decklog ui @                  the newest session
  decklog ui --port 7070        at the same address each time
  ssh -t -L 7070:localhost:7070 box decklog ui --port 7070 --no-open
  decklog ui --export site --after 1w   pages that need no server: for a colleague, or a static host")]
pub(crate) struct Args {
    /// Begin at this session: an id, a unique part of it, or @ for the newest
    id: Option<String>,
    /// The port (default: one that is free)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Listen for other machines, too, under the name or address that they use: whoever gets hold of the link reads, and can
    /// discard, everything here, and it goes over the network as plain text
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Open the browser (default: on a terminal with a display)
    #[arg(long, conflicts_with = "no_open")]
    open: bool,
    /// Do not open the browser
    #[arg(long)]
    no_open: bool,
    /// Write a static site of all sessions, or of those that the filters take, to this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["id", "port", "host", "open", "no_open"])]
    export: Option<PathBuf>,
    #[command(flatten)]
    filters: FilterArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let store = context.store()?;
    if let Some(dir) = &args.export {
        return export(dir, &args.filters, &store, context);
    }
    if !args.filters.is_empty() {
        return Err(CliError::new("filters say what --export writes").hint("on the page, they stand above the list"));
    }
    let path = match &args.id {
        Some(id) => format!("/s/{}", context.find(&store, Some(id))?),
        None => "/".to_owned(),
    };
    share_heaps();
    let (address, name) = place(args)?;
    let cache = cache(context, &store);
    let setup = Setup {
        address,
        name,
        store,
        cache: cache.path(),
        cwd: context.cwd.clone(),
        zone: context.zone.clone(),
        clock: context.clock.clone(),
    };
    let server = Server::bind(setup).map_err(|error| {
        CliError::new(error).hint("give another port with --port, or none: then one that is free is taken")
    })?;
    if !address.ip().is_loopback() {
        let what = "whoever reaches this machine and gets hold of the link can read, and discard, everything here";
        context.warn(&format!("{} is not loopback: {what}", server.address()));
    }
    let mut signals = Signals::new(decklog_run::supervise::stop_signals())?;
    let links = server.links();
    let link = links.link(&path)?;
    context.print(format!("{link}\n"))?;
    let page = if args.open || (!args.no_open && opens(context)) { open(&link, context) } else { None };
    if context.in_is_terminal {
        context.say(context.err_paint.dim("Ctrl-C ends it, Enter prints another link"));
    }
    if context.in_is_terminal {
        std::thread::Builder::new().spawn(move || {
            for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
                if let Ok(link) = links.link(&path) {
                    let _ = writeln!(std::io::stdout().lock(), "{link}");
                }
            }
            // The system sends the signal only to the terminal's own session.
            if terminal::is_gone(std::io::stdin()) {
                let _ = signal_hook::low_level::raise(SIGHUP);
            }
        })?;
    }
    let signal = server.run(|| signals.forever().next());
    drop((page, cache));
    Ok(128 + signal.unwrap_or(SIGTERM))
}

/// What one thread gave back, another takes: the server reads with many, and the C library would let each pair of them keep
/// what they ever needed.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's settings have no safe form")]
fn share_heaps() {
    /// With one alone, threads that answer at once would wait for each other.
    const HEAPS: i32 = 2;
    // SAFETY: it takes two numbers, and sets one of the allocator's under its lock. Where it says no, more memory is used.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
}

/// Other allocators share as they are.
#[cfg(not(target_env = "gnu"))]
fn share_heaps() {}

/// Writes the list and a page for each session, to a directory that is new or empty.
fn export(dir: &Path, filters: &FilterArgs, store: &SessionStore, context: &Context) -> CliResult {
    let dir = context.cwd.join(dir);
    let failed = |path: &Path, error: &dyn std::fmt::Display| CliError::new(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
    if std::fs::read_dir(&dir).map_err(|error| failed(&dir, &error))?.next().is_some() {
        return Err(failed(&dir, &"it is not empty: nothing was written").hint("give a directory that is new or empty"));
    }
    let filter = filters.resolve(context, store)?;
    let mut ids = Vec::new();
    listing::rows(context, store, &filter, |row| ids.push(row.id()))?;
    let now = context.clock.now();
    let mut written = Vec::new();
    for id in &ids {
        let entry = store.entry(id);
        let session = match decklog_journal::session::load(&entry) {
            Ok(session) => session,
            Err(error) => {
                context.warn(&format!("session {id} cannot be read and is left out: {error}"));
                continue;
            }
        };
        let listed = decklog_journal::store::listed(session.head.clone(), entry.clone());
        let path = dir.join(site::name_of(&listed.head));
        let page = page::page(&entry, &session, now, &context.zone);
        std::fs::write(&path, page).map_err(|error| failed(&path, &error))?;
        written.push(listed);
        if context.err_is_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2Kwriting … {} of {}", written.len(), ids.len());
        }
    }
    if context.err_is_terminal {
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
    }
    // Last: a site that was cut off has no front page.
    let front = dir.join("index.html");
    std::fs::write(&front, site::index(&written, now, &context.zone)).map_err(|error| failed(&front, &error))?;
    let count = counted(written.len() as u64, "session");
    context.say(format!("{count} in {}", visible(&front.to_string_lossy())));
    Ok(0)
}

/// Where to listen, and the name under which others come.
fn place(args: &Args) -> Result<(SocketAddr, Option<String>), CliError> {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port);
    let Some(host) = &args.host else { return Ok((loopback, None)) };
    let mut found = (host.as_str(), args.port).to_socket_addrs().map_err(|error| {
        CliError::new(format!("--host {host}: {error}")).hint("give an address or a name of this machine")
    })?;
    let address = found.next().ok_or_else(|| CliError::new(format!("--host {host} has no address")))?;
    let is_name = host.parse::<IpAddr>().is_err();
    Ok((address, is_name.then(|| host.clone())))
}

/// Where indexes are kept.
enum Cache {
    Kept(PathBuf),
    /// The usual place cannot be written: they go with the server.
    Passing(tempfile::TempDir),
}

impl Cache {
    fn path(&self) -> PathBuf {
        match self {
            Self::Kept(path) => path.clone(),
            Self::Passing(dir) => dir.path().to_owned(),
        }
    }
}

/// The cache, with the index of rows up to date: reading all sessions for the first time is told on the terminal.
fn cache(context: &Context, store: &SessionStore) -> Cache {
    match listing::refresh(context, store) {
        Ok(()) => Cache::Kept(context.cache()),
        Err(error) => match tempfile::tempdir() {
            Ok(dir) => {
                context.warn(&format!("{error}; the index is made in {} instead", dir.path().display()));
                Cache::Passing(dir)
            }
            Err(_) => Cache::Kept(context.cache()),
        },
    }
}

fn opens(context: &Context) -> bool {
    let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    context.out_is_terminal && (has("DISPLAY") || has("WAYLAND_DISPLAY"))
}

/// Opens a page of the user's own that leads to the link: arguments of programs can be seen by everybody on the machine, and
/// the link is not for everybody. The page is there as long as what is returned.
fn open(link: &str, context: &Context) -> Option<tempfile::NamedTempFile> {
    let env: Vec<_> = std::env::vars_os().collect();
    let make = || -> std::io::Result<tempfile::NamedTempFile> {
        let mut page = tempfile::Builder::new()
            .prefix("decklog-")
            .suffix(".html")
            .permissions(PermissionsExt::from_mode(0o600))
            .tempfile()?;
        let link = decklog_web::html::escape(link);
        writeln!(
            page,
            "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0;url={link}\"><a href=\"{link}\">decklog</a>"
        )?;
        page.flush()?;
        Ok(page)
    };
    let opened = find_program(OPENER.as_ref(), &env)
        .ok_or_else(|| std::io::Error::other(format!("{OPENER} is not installed")))
        .and_then(|program| {
            let page = make()?;
            let quiet = || Stdio::null();
            Command::new(program).arg(page.path()).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn()?;
            Ok(page)
        });
    opened.map_err(|error| context.warn(&format!("the browser was not opened: {error}"))).ok()
}
