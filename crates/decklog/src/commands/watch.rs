//! `watch`: a session as it happens, through the rendering of `show`.

use decklog_journal::event::EventBody;
use decklog_journal::lock::{self, Held};
use decklog_journal::read::{Follower, Item};
use decklog_journal::session::JOURNAL_FILE;

use super::logs::POLL;
use crate::cli::Which;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::session;
use crate::render::transcript::{Detail, Transcript};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    let dir = context.session_dir(args.which.id.as_deref(), args.which.session_dir.as_deref())?;
    let paint = context.out_paint;
    let journal = dir.join(JOURNAL_FILE);
    let mut follower = loop {
        // A session that is this moment being made is locked, and has no journal yet.
        let starting = lock::held(&dir) == Held::Yes;
        match Follower::open(&journal) {
            Err(error) if starting && error.kind() == std::io::ErrorKind::NotFound => context.wait(POLL)?,
            opened => break opened.map_err(|error| CliError::new(format!("{}: {error}", journal.display())))?,
        }
    };
    let mut transcript = Transcript::new(Detail::Full, paint, context.width());
    let mut begun = false;
    loop {
        // Asked before reading: what was written before the end is read after it.
        let over = lock::held(&dir) != Held::Yes;
        let mut last = if over { follower.finish()? } else { follower.poll()? };
        let idle = last.is_none();
        while let Some(item) = last {
            match item {
                Item::Event(event) => {
                    if !begun {
                        begun = true;
                        let listed = context.look(&dir)?;
                        let head = &listed.head;
                        let prompt = match &event.body {
                            EventBody::SessionStart(start) => start.prompt.as_str(),
                            _ => head.prompt.as_str(),
                        };
                        context.print(session::header(
                            head,
                            prompt,
                            listed.status,
                            context.clock.now(),
                            &context.zone,
                            paint,
                        ))?;
                    }
                    context.print(transcript.event(&event))?;
                }
                Item::Fault(fault) => context.warn(&format!("{JOURNAL_FILE} {fault}")),
            }
            last = follower.poll()?;
        }
        if over && idle {
            break;
        }
        if idle {
            context.print(transcript.pause())?;
            context.wait(POLL)?;
        }
    }
    let listed = context.look(&dir)?;
    context.print(format!(
        "{}\n{}{}",
        transcript.finish(),
        session::ending(&listed.head, listed.status, paint),
        session::totals(&listed.head, paint)
    ))?;
    Ok(0)
}
