//! A row as one value of the index: decoding it costs a fraction of what a column each would.
//!
//! Must not know: SQL.

use std::path::Path;
use std::sync::Arc;

use decklog_journal::event::Tokens;
use decklog_journal::words::{Outcome, SessionKind, ShownStatus};
use decklog_journal::{Row, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is kept of a [`Row`] besides its id and its start. Names are numbers in [`Names`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Packed<'a> {
    kind: SessionKind,
    status: ShownStatus,
    outcome: Option<Outcome>,
    ended_at: Option<i64>,
    last_event_at: i64,
    duration_secs: Option<f64>,
    exit_code: Option<i32>,
    turns: u32,
    iterations: Option<u32>,
    iterations_judged: Option<u32>,
    iterations_agreed: Option<u32>,
    tokens: Option<Tokens>,
    cost_usd: Option<f64>,
    files_changed: Option<u64>,
    agents: i64,
    models: i64,
    project: i64,
    working_dir: i64,
    /// In a loop: actor, and critic if there is one.
    pair: i64,
    prompt_hash: &'a str,
    prompt: &'a str,
    linked_to: Option<&'a [u8]>,
    image: Option<&'a str>,
    container: Option<&'a str>,
}

/// Lists of names by their number.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Option<Arc<[String]>>>);

impl Names {
    fn get(&self, number: i64) -> Option<&Arc<[String]>> {
        self.0.get(usize::try_from(number).ok()?)?.as_ref()
    }

    pub(crate) fn has(&self, number: i64) -> bool {
        self.get(number).is_some()
    }

    /// Learns the list with this number, given as a JSON array.
    pub(crate) fn learn(&mut self, number: i64, list: &str) {
        let names: Vec<String> = serde_json::from_str(list).unwrap_or_default();
        let Ok(place) = usize::try_from(number) else { return };
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(names.into());
    }

    fn list(&self, number: i64) -> &[String] {
        self.get(number).map(AsRef::as_ref).unwrap_or_default()
    }

    fn one(&self, number: i64) -> &str {
        self.list(number).first().map(String::as_str).unwrap_or_default()
    }
}

/// Numbers of the names of one row.
pub(crate) struct Numbers {
    pub(crate) agents: i64,
    pub(crate) models: i64,
    pub(crate) project: i64,
    pub(crate) working_dir: i64,
    pub(crate) pair: i64,
}

impl<'a> Packed<'a> {
    /// `row` as bytes.
    pub(crate) fn pack(row: &Row<'a>, numbers: &Numbers) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let packed = Self {
            kind: row.kind,
            status: row.status,
            outcome: row.outcome,
            ended_at: row.ended_at.map(Timestamp::as_microsecond),
            last_event_at: row.last_event_at.as_microsecond(),
            duration_secs: row.duration_secs,
            exit_code: row.exit_code,
            turns: row.turns,
            iterations: row.iterations,
            iterations_judged: row.iterations_judged,
            iterations_agreed: row.iterations_agreed,
            tokens: row.tokens,
            cost_usd: row.cost_usd,
            files_changed: row.files_changed,
            agents: numbers.agents,
            models: numbers.models,
            project: numbers.project,
            working_dir: numbers.working_dir,
            pair: numbers.pair,
            prompt_hash: row.prompt_hash,
            prompt: row.prompt,
            linked_to: row.linked_to.map(|path| path.as_os_str().as_bytes()),
            image: row.image,
            container: row.container,
        };
        postcard::to_allocvec(&packed).unwrap_or_default()
    }

    /// The packed row in `bytes`; `None` when they are none.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// Numbers of the names it needs.
    pub(crate) fn names(&self) -> [i64; 5] {
        [self.agents, self.models, self.project, self.working_dir, self.pair]
    }

    /// The row; `None` when what is kept makes none.
    pub(crate) fn row<'r>(&'r self, number: i64, started_at: i64, names: &'r Names) -> Option<Row<'r>> {
        use std::os::unix::ffi::OsStrExt;
        let time = |micros: i64| Timestamp::from_microsecond(micros).ok();
        Some(Row {
            number: Some(number).filter(|number| SessionId::is_number(*number))?,
            kind: self.kind,
            status: self.status,
            outcome: self.outcome,
            started_at: time(started_at)?,
            ended_at: self.ended_at.and_then(time),
            last_event_at: time(self.last_event_at)?,
            duration_secs: self.duration_secs,
            exit_code: self.exit_code,
            prompt: self.prompt,
            prompt_hash: self.prompt_hash,
            working_dir: names.one(self.working_dir),
            project: names.one(self.project),
            agents: names.list(self.agents),
            models: names.list(self.models),
            actor: names.list(self.pair).first().map(String::as_str),
            critic: names.list(self.pair).get(1).map(String::as_str),
            turns: self.turns,
            iterations: self.iterations,
            iterations_judged: self.iterations_judged,
            iterations_agreed: self.iterations_agreed,
            tokens: self.tokens,
            cost_usd: self.cost_usd,
            files_changed: self.files_changed,
            image: self.image,
            container: self.container,
            linked_to: self.linked_to.map(|path| Path::new(std::ffi::OsStr::from_bytes(path))),
        })
    }
}
