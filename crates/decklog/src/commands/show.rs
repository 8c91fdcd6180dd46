//! `show`: one session, replayed through the same rendering as a live one.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use decklog_journal::Session;
use decklog_journal::event::EventBody;
use decklog_journal::read::{Item, JournalReader};
use decklog_journal::session::{self as journal_session, JOURNAL_FILE};
use decklog_journal::words::{SessionKind, ShownStatus};
use decklog_query::network;
use decklog_query::show::{full_prompt, shown};
use decklog_text::format::size;
use decklog_text::visible;

use crate::cli::{Json, Which};
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::transcript::{Detail, Transcript};
use crate::render::{self, session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Show only turn N
    #[arg(long, value_name = "N")]
    turn: Option<u32>,
    /// Print the events of the journal, one a line, as they stand there
    #[arg(long)]
    events: bool,
    /// Write one HTML page that stands for itself: to FILE, or to stdout
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["turn", "events", "json"])]
    html: Option<Option<PathBuf>>,
    /// With --html FILE: replace a file that is there
    #[arg(long, requires = "html")]
    force: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let dir = context.session_dir(args.which.id.as_deref(), args.which.session_dir.as_deref())?;
    if args.events {
        return events(&dir, args.turn, context);
    }
    let session = journal_session::load(&dir).map_err(|error| {
        CliError::new(format!("{}: {error}", dir.display())).hint("`decklog verify` says what is wrong with it")
    })?;
    if let Some(turn) = args.turn
        && !session.turns.iter().any(|known| known.turn == turn)
    {
        return Err(CliError::new(format!("there is no turn {turn}: the session has {}", session.turns.len())));
    }
    if let Some(target) = &args.html {
        return html(&dir, &session, target.as_deref(), args.force, context);
    }
    if context.json {
        context.print_json(&shown(&dir, &session, args.turn)?)?;
        return Ok(0);
    }
    let listed = decklog_journal::store::listed(session.head.clone(), dir.clone());
    let paint = context.out_paint;
    let prompt = full_prompt(&dir, &session);
    let mut text = session::header(&session.head, &prompt, listed.status, context.clock.now(), &context.zone, paint);
    let (network, of_calls) = network::read(&dir)?;
    let mut transcript = Transcript::new(Detail::Full, paint, context.width()).with_network(of_calls);
    let mut racing = Vec::new();
    for item in JournalReader::open(&dir.join(JOURNAL_FILE))? {
        if let Item::Event(event) = item?
            && args.turn.is_none_or(|turn| event.body.turn() == Some(turn))
        {
            match session.head.kind {
                SessionKind::Race => racing.push(event),
                _ => text.push_str(&transcript.event(&event)),
            }
        }
    }
    // What happened at once is read one after the other.
    racing.sort_by_key(|event| match &event.body {
        EventBody::SessionEnd(_) => u32::MAX,
        body => body.turn().unwrap_or(0),
    });
    racing.iter().for_each(|event| text.push_str(&transcript.event(event)));
    text.push_str(&transcript.finish());
    if listed.status != ShownStatus::Active {
        let cut_off = session.turns.iter().filter(|turn| turn.outcome.is_none());
        for turn in cut_off.filter(|turn| args.turn.is_none_or(|wanted| wanted == turn.turn)) {
            let line = format!("  turn {} has no end: the last bytes of its streams may be missing\n", turn.turn);
            text.push_str(&paint.warn(&line));
        }
    }
    text.push('\n');
    text.push_str(&session::ending(&session.head, listed.status, paint));
    text.push_str(&session::totals(&session.head, paint));
    text.push_str(&render::network::totals(&network, paint));
    context.page(&text)?;
    for fault in &session.faults {
        context.warn(&format!("{JOURNAL_FILE} {fault}"));
    }
    Ok(0)
}

/// Writes the page of a session.
fn html(dir: &Path, session: &Session, target: Option<&Path>, force: bool, context: &Context) -> CliResult {
    let page = decklog_web::page::page(dir, session, context.clock.now(), &context.zone);
    let Some(target) = target else {
        context.print(page)?;
        return Ok(0);
    };
    let path = context.cwd.join(target);
    let cannot = |error: &dyn std::fmt::Display| CliError::new(format!("{}: {error}", path.display()));
    let parent = path.parent().unwrap_or(&path);
    // Whole or not at all: a page that was cut off looks like one.
    let mut file = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o644))
        .tempfile_in(parent)
        .map_err(|e| cannot(&e))?;
    file.write_all(page.as_bytes()).map_err(|e| cannot(&e))?;
    if force {
        file.persist(&path).map_err(|e| cannot(&e.error))?;
    } else {
        file.persist_noclobber(&path).map_err(|e| match e.error.kind() {
            ErrorKind::AlreadyExists => cannot(&"it is there already").hint("--force replaces it"),
            _ => cannot(&e.error),
        })?;
    }
    context.say(format!("wrote {} ({})", visible(&target.to_string_lossy()), size(page.len() as u64)));
    Ok(0)
}

fn events(dir: &Path, turn: Option<u32>, context: &Context) -> CliResult {
    use std::io::{BufRead, BufReader};
    // The bytes as they stand, so that what is piped on can be verified there.
    let file = decklog_journal::files::open_regular(&dir.join(JOURNAL_FILE))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if std::io::Read::take(&mut reader, 4 << 20).read_until(b'\n', &mut line)? == 0 {
            return Ok(0);
        }
        let wanted = turn.is_none_or(|turn| {
            decklog_journal::wire::decode(line.trim_ascii_end()).is_ok_and(|(_, event)| {
                event.body.turn() == Some(turn) || matches!(event.body, EventBody::SessionStart(_)) && turn == 0
            })
        });
        if !wanted {
            continue;
        }
        if context.out_is_terminal {
            let text = String::from_utf8_lossy(&line);
            context.print(format!("{}\n", visible(text.trim_end_matches('\n'))))?;
        } else {
            context.print(&line)?;
        }
    }
}
