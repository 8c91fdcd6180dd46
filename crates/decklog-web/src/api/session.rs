//! One session: as the command line has it, and as the page shows it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use axum::http::header;
use axum::response::IntoResponse as _;
use decklog_journal::Session;
use decklog_journal::files::open_regular;
use decklog_journal::session::{self, JOURNAL_FILE};
use decklog_query::diff::{self, DiffError, DiffRange};
use decklog_query::network;
use decklog_query::show::shown;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Answer, ApiError, App, Asked, answer, attachment, json_of};
use crate::story::Story;
use crate::{changes, stream};

/// Steps, and events, in one answer.
const MOST: usize = 200;

/// Bytes of a line of a journal that are read.
const LINE: u64 = 1 << 20;

/// Bytes of lines after which no more are put into an answer.
const LINES: usize = 4 << 20;

fn unreadable(error: impl std::fmt::Display) -> ApiError {
    ApiError::missing(error).hint("`decklog verify` says what is wrong with it")
}

fn load(dir: &Path) -> Result<Session, ApiError> {
    session::load(dir).map_err(unreadable)
}

/// As `show --json`, or with `turn=N` that turn alone.
pub(super) fn show(app: &App, mut asked: Asked) -> Answer {
    let turn: Option<u32> = asked.number("turn")?;
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    let session = load(&dir)?;
    if let Some(turn) = turn.filter(|turn| !session.turns.iter().any(|known| known.turn == *turn)) {
        return Err(no_turn(turn));
    }
    answer(&shown(&dir, &session, turn).map_err(ApiError::failed)?)
}

/// Everything about a session but the steps of its turns.
pub(super) fn outline(app: &App, asked: Asked) -> Answer {
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    let json = |story: &mut Story| Ok(serde_json::to_vec(&story.outline()?)?);
    Ok(json_of(app.stories.ask(&dir, json).map_err(unreadable)?))
}

/// Steps of a turn, from `from` on.
pub(super) fn steps(app: &App, mut asked: Asked) -> Answer {
    let from = asked.number("from")?.unwrap_or(0);
    let limit = asked.number("limit")?.unwrap_or(MOST).min(MOST);
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    let turn: u32 = asked.part("turn").parse().map_err(|_| ApiError::bad("a turn is a number"))?;
    let steps = app.stories.ask(&dir, |story| story.steps(turn, from, limit)).map_err(unreadable)?;
    answer(&steps.ok_or_else(|| no_turn(turn))?)
}

fn no_turn(turn: u32) -> ApiError {
    ApiError::missing(format!("there is no turn {turn}"))
}

/// What of a session a diff is asked of: `turn=N`, `turn=N..M`, `iteration=N`, or all of it.
fn range(asked: &mut Asked, session: &Session) -> Result<DiffRange, ApiError> {
    if let Some(iteration) = asked.number("iteration")? {
        return diff::of_iteration(session, iteration).map_err(ApiError::missing);
    }
    let Some(text) = asked.take("turn") else { return Ok(DiffRange::All) };
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    let (first, last) = text.split_once("..").unwrap_or((&text, &text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(DiffRange::Turns(first, last)),
        _ => Err(ApiError::bad(format!("{text:?} is no turn and no range of turns: 2 and 1..3 are"))),
    }
}

/// Git, and files, may fail; all else is something that is not there.
fn undiffed(error: DiffError) -> ApiError {
    match error {
        DiffError::Snapshot(_) | DiffError::Io { .. } if !error.is_unknown() => ApiError::failed(error),
        error => ApiError::missing(error),
    }
}

/// As `diff --json`.
pub(super) fn diff(app: &App, mut asked: Asked) -> Answer {
    let (_, dir) = asked.session(app)?;
    let session = load(&dir)?;
    let range = range(&mut asked, &session)?;
    asked.nothing_more()?;
    let files = diff::find(&session, range).and_then(|found| diff::files(&dir, &session, &found));
    answer(&files.map_err(undiffed)?.files)
}

/// The lines of a diff, with `path` those of one file alone.
pub(super) fn changes(app: &App, mut asked: Asked) -> Answer {
    let (_, dir) = asked.session(app)?;
    let session = load(&dir)?;
    let range = range(&mut asked, &session)?;
    let path = asked.take("path");
    asked.nothing_more()?;
    let mut patch = Beginning(Vec::new(), false);
    let written = diff::find(&session, range).and_then(|found| diff::write_patch(&dir, &session, &found, &mut patch));
    match written {
        // Nothing that could be shown: what there is to say, the page says.
        Err(error) if error.is_unknown() => {
            return answer(&json!({ "files": [], "cut": false, "missing": error.to_string() }));
        }
        written => drop(written.map_err(undiffed)?),
    }
    answer(&json!({ "files": changes::files(&patch.0, path.as_deref()), "cut": patch.1 }))
}

/// Keeps the beginning of what is written to it, and whether there was more.
struct Beginning(Vec<u8>, bool);

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = changes::MOST.saturating_sub(self.0.len());
        self.1 |= bytes.len() > room;
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The patch, as `git apply` takes it.
pub(super) fn patch(app: &App, mut asked: Asked) -> Answer {
    let (id, dir) = asked.session(app)?;
    let session = load(&dir)?;
    let range = range(&mut asked, &session)?;
    asked.nothing_more()?;
    diff::find(&session, range).map_err(ApiError::missing)?;
    let headers = [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, attachment(&format!("{id}.patch"))),
        (header::CACHE_CONTROL, header::HeaderValue::from_static("no-store")),
    ];
    let body = stream::written_by(move |out| {
        let found = diff::find(&session, range).map_err(io::Error::other)?;
        diff::write_patch(&dir, &session, &found, out).map(drop).map_err(io::Error::other)
    });
    Ok((headers, body).into_response())
}

/// Lines of the journal as they stand there, from line `from` on; what is no JSON comes as a text.
pub(super) fn events(app: &App, mut asked: Asked) -> Answer {
    let from: u64 = asked.number("from")?.unwrap_or(0);
    let limit = asked.number("limit")?.unwrap_or(MOST).min(MOST);
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    let file = open_regular(&dir.join(JOURNAL_FILE)).map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    for _ in 0..from {
        if reader.skip_until(b'\n').map_err(unreadable)? == 0 {
            break;
        }
    }
    let mut lines: Vec<Box<RawValue>> = Vec::new();
    let mut bytes = 0;
    while lines.len() < limit && bytes < LINES {
        let mut line = Vec::new();
        if reader.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        if !line.ends_with(b"\n") {
            reader.skip_until(b'\n').map_err(unreadable)?;
        }
        bytes += line.len();
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let raw = RawValue::from_string(text.clone());
        lines.push(match raw {
            Ok(raw) => raw,
            Err(_) => serde_json::value::to_raw_value(&text).map_err(ApiError::failed)?,
        });
    }
    answer(&lines)
}

/// As `network --json`.
pub(super) fn network(app: &App, asked: Asked) -> Answer {
    asked.nothing_more()?;
    let (_, dir) = asked.session(app)?;
    answer(&network::read(&dir).map_err(unreadable)?.0)
}
