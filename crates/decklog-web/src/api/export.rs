//! Sessions in the formats of `export`, as one download.

use std::io;

use axum::http::header;
use axum::response::IntoResponse as _;
use decklog_journal::lock::{self, Held};
use decklog_journal::{SessionId, portable};
use decklog_query::export::{self, atif, jsonl, markdown, otlp};

use super::{Answer, ApiError, App, Asked, attachment, entry, parse_id};
use crate::{page, stream};

/// Sessions in one download.
const MOST: usize = 10_000;

pub(super) fn export(app: &App, mut asked: Asked) -> Answer {
    let format = asked.take("format").unwrap_or_default();
    let mut ids = asked.all("id").iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()?;
    // As the command line has them: oldest first, each once.
    ids.sort();
    ids.dedup();
    asked.nothing_more()?;
    if ids.is_empty() || ids.len() > MOST {
        return Err(ApiError::bad(format!("name between 1 and {MOST} sessions with id=")));
    }
    let (extension, flows) = match format.as_str() {
        "jsonl" => ("jsonl", true),
        "otlp" => ("otlp.json", true),
        "markdown" => ("md", false),
        "html" => ("html", false),
        "atif" => ("atif.json", false),
        "tar.zst" => ("tar.zst", true),
        other => {
            let known = "jsonl, markdown, html, atif, otlp, tar.zst";
            return Err(ApiError::bad(format!("{other:?} is no format")).hint(format!("there are: {known}")));
        }
    };
    // What is not there is said before anything is sent.
    let at_rest = ids.iter().map(|id| Ok((id.clone(), entry(app, id)?))).collect::<Result<Vec<_>, ApiError>>()?;
    let first = &ids[0];
    if ids.len() > 1 && !flows {
        return Err(ApiError::bad(format!("{} sessions do not go into one {extension} file", ids.len()))
            .hint("jsonl, otlp and tar.zst hold several"));
    }
    let name = if ids.len() == 1 { first.to_string() } else { format!("{}-sessions", ids.len()) };
    let headers = [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, header::HeaderValue::from_static("no-store")),
        (header::CONTENT_DISPOSITION, attachment(&format!("decklog-{name}.{extension}"))),
    ];
    if format == "tar.zst" {
        if let Some((live, _)) = at_rest.iter().find(|(_, dir)| lock::held(dir) == Held::Yes) {
            return Err(
                ApiError::bad(format!("session {live} is being recorded")).hint("leave it out, or wait for its end")
            );
        }
        let body = stream::written_by(move |out| portable::pack(&at_rest, out).map(drop).map_err(io::Error::other));
        return Ok((headers, body).into_response());
    }
    // The first is read before anything is sent, so that what is wrong with it can still be said.
    let whole = read(app, first)?;
    let app = app.clone();
    let body = stream::written_by(move |out| {
        let rest = ids[1..].iter().map(|id| read(&app, id).map_err(|error| io::Error::other(error.error)));
        for (at, whole) in std::iter::once(Ok(whole)).chain(rest).enumerate() {
            let whole = whole?;
            match format.as_str() {
                "jsonl" => jsonl::write(&whole, out)?,
                "otlp" => {
                    serde_json::to_writer(&mut *out, &otlp::request(&whole))?;
                    out.write_all(b"\n")?;
                }
                "markdown" => out.write_all(markdown::page(&whole).as_bytes())?,
                "atif" => {
                    serde_json::to_writer_pretty(&mut *out, &atif::document(&whole))?;
                    out.write_all(b"\n")?;
                }
                _ => {
                    let dir = app.store().entry(&ids[at]);
                    let session = decklog_journal::session::load(&dir).map_err(io::Error::other)?;
                    let setup = &app.setup;
                    out.write_all(page::page(&dir, &session, setup.clock.now(), &setup.zone).as_bytes())?;
                }
            }
        }
        Ok(())
    });
    Ok((headers, body).into_response())
}

fn read(app: &App, id: &SessionId) -> Result<export::Whole, ApiError> {
    export::read(&app.store().entry(id)).map_err(|error| {
        ApiError::missing(format!("session {id}: {error}")).hint("`decklog verify` says what is wrong with it")
    })
}
