//! Many sessions at once: lists, searches, statistics.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue, header};
use decklog_journal::{Row, SessionFilter, SessionId};
use decklog_query::charts::Charts;
use decklog_query::query::Query;
use decklog_query::show::shown_head;
use decklog_query::stats::{By, StatsFold};
use serde_json::{Value, json};

use super::{Answer, ApiError, App, Asked, answer};
use crate::views::Sort;

/// Sessions in one answer, and how many where none are asked for.
const MOST: usize = 500;
const PAGE: usize = 100;

/// Hits of a search, in one answer.
const HITS: usize = 30;

/// As `ls --json`, a page at a time: `sort`, `order`, `offset`, `limit` and the filters of `ls`. The header
/// `X-Total-Count` says how many there are, `Link` where the next are, `X-Change` which change of `/live` they are of.
pub(super) fn sessions(app: &App, mut asked: Asked) -> Answer {
    let limit = asked.number("limit")?.unwrap_or(PAGE).min(MOST);
    let offset: usize = asked.number("offset")?.unwrap_or(0);
    let sort: Sort = asked.take("sort").as_deref().unwrap_or("started").parse().map_err(ApiError::bad)?;
    let descending = match asked.take("order").as_deref() {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(other) => return Err(ApiError::bad(format!("{other:?} is no order: asc and desc are"))),
    };
    let filter = asked.filters(app)?;
    let now = app.setup.clock.now();
    let (numbers, change) =
        app.views.list(now, (&question(&asked, &filter), &filter), sort, descending).map_err(ApiError::failed)?;
    let window = numbers.iter().skip(offset).take(limit);
    let heads: Vec<_> = window.filter_map(|number| head(app, &SessionId::from_number(*number)?)).collect();
    let mut response = answer(&heads)?;
    let headers = response.headers_mut();
    headers.insert("x-total-count", numbers.len().into());
    headers.extend(change.map(|change| (HeaderName::from_static("x-change"), change.1.into())));
    headers.insert("x-unreadable-count", app.views.unreadable().len().into());
    let next = offset.saturating_add(limit);
    if limit > 0 && next < numbers.len() {
        let order = if descending { "desc" } else { "asc" };
        let rest = asked.rest();
        let sort = format!("{sort:?}").to_lowercase();
        let link =
            format!("</api/v1/sessions?{rest}&sort={sort}&order={order}&limit={limit}&offset={next}>; rel=\"next\"");
        headers.extend(HeaderValue::from_str(&link).ok().map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// A filter as text. One that is relative to the present is another every minute.
fn question(asked: &Asked, filter: &SessionFilter) -> String {
    let minute = |at: Option<jiff::Timestamp>| at.map(|at| at.as_second() / 60);
    format!("{} {:?} {:?}", asked.rest(), minute(filter.after), minute(filter.before))
}

fn head(app: &App, id: &SessionId) -> Option<BTreeMap<String, Value>> {
    // What is gone or spoiled since it was found is left out.
    shown_head(&app.store().look(id).ok()??).ok()
}

/// The agents, models and projects that there are, the most used first, with the number of sessions; and what cannot be read.
pub(super) fn facets(app: &App, asked: Asked) -> Answer {
    asked.nothing_more()?;
    let mut facets = app.views.facets(app.setup.clock.now()).map_err(ApiError::failed)?;
    let unreadable = app.views.unreadable();
    facets.insert("unreadable", unreadable.iter().map(|one| json!({ "id": one.id, "reason": one.reason })).collect());
    answer(&facets)
}

/// Hands on the rows that `filter` takes.
fn each(app: &App, filter: &SessionFilter, take: impl FnMut(&Row<'_>)) -> Result<(), ApiError> {
    app.views.each(app.setup.clock.now(), filter, take).map_err(ApiError::failed)
}

/// As `stats --json`, of what the filters take, grouped by each `by`, or by everything. The header `X-Unreadable-Count` says
/// how many sessions are not counted.
pub(super) fn stats(app: &App, mut asked: Asked) -> Answer {
    let named: Vec<By> =
        asked.all("by").iter().map(|by| by.parse()).collect::<Result<_, _>>().map_err(ApiError::bad)?;
    let by = if named.is_empty() { &By::ALL[..] } else { &named };
    let mut fold = StatsFold::new(by, app.setup.zone.clone());
    each(app, &asked.filters(app)?, |row| fold.add(row))?;
    let mut response = answer(&fold.finish())?;
    response.headers_mut().insert("x-unreadable-count", app.views.unreadable().len().into());
    Ok(response)
}

/// How sessions are distributed: over durations, iterations, and the hours of the week.
pub(super) fn charts(app: &App, asked: Asked) -> Answer {
    let mut charts = Charts::new(app.setup.zone.clone());
    each(app, &asked.filters(app)?, |row| charts.add(row))?;
    answer(&charts)
}

/// As `search --json`: `q`, and the filters; with `typed=true` the last word may be the beginning of one. While texts are still being read, the header `X-Indexing` says how far that is.
pub(super) fn search(app: &App, mut asked: Asked) -> Answer {
    let text = asked.take("q").unwrap_or_default();
    let limit = asked.number("limit")?.unwrap_or(HITS).min(MOST);
    let is_typed = asked.flag("typed")?;
    let filter = SessionFilter { limit: Some(limit), ..asked.filters(app)? };
    let query = if is_typed { Query::parse_typed(&text) } else { Query::parse(&text) }.map_err(ApiError::bad)?;
    let found = app.views.search(app.setup.clock.now(), &query, &filter).map_err(ApiError::failed)?;
    // With each hit what a row says of its session.
    let hits: Vec<Value> = (found.hits.iter())
        .map(|hit| {
            let mut hit_json = hit.to_json();
            hit_json["session"] = json!(head(app, &hit.id));
            hit_json
        })
        .collect();
    let mut response = answer(&hits)?;
    let headers = response.headers_mut();
    headers.insert("x-total-count", found.matching.into());
    if let Some(progress) = app.root.borrow().indexing {
        headers.extend(
            HeaderValue::from_str(&format!("{}/{}", progress.0, progress.1))
                .ok()
                .map(|at| (HeaderName::from_static("x-indexing"), at)),
        );
    }
    Ok(response)
}
