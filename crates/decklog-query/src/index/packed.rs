//! A row as one value of the index: decoding it costs a fraction of what a column each would.
//!
//! Must not know: SQL.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use decklog_journal::event::Tokens;
use decklog_journal::row::Share;
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
    shares: Cow<'a, [Share]>,
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

/// Lists of names that there may be: they are numbered from 1.
const MOST: usize = 1 << 24;

/// Bytes of the sum at the end of a packed row.
const SUM: usize = size_of::<u64>();

/// A checksum of `bytes` against faults of a disk, not against an attacker: FNV, eight bytes at a time.
pub(super) fn sum(bytes: &[u8], number: i64, started_at: i64) -> u64 {
    let mix = |sum: u64, more: u64| (sum ^ more).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let start = mix(mix(0xcbf2_9ce4_8422_2325, number.cast_unsigned()), started_at.cast_unsigned());
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(start, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(mix(sum, u64::from_le_bytes(last)), bytes.len() as u64)
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
    /// `None` when it is none.
    pub(crate) fn learn(&mut self, number: i64, list: &str) -> Option<()> {
        let names: Vec<String> = serde_json::from_str(list).ok()?;
        let place = usize::try_from(number).ok().filter(|place| *place < MOST)?;
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(names.into());
        Some(())
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
            shares: row.shares.clone(),
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
        let mut bytes = postcard::to_allocvec(&packed).unwrap_or_default();
        let sum = sum(&bytes, row.number, row.started_at.as_microsecond());
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The row in `bytes`, of the session with this number and start; `None` when it is not what was packed.
    pub(crate) fn read(bytes: &'a [u8], number: i64, started_at: i64) -> Option<Self> {
        let (packed, end) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        let is_whole = end == sum(packed, number, started_at).to_le_bytes();
        if is_whole { postcard::from_bytes(packed).ok() } else { None }
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
            shares: Cow::Borrowed(&self.shares),
            files_changed: self.files_changed,
            image: self.image,
            container: self.container,
            linked_to: self.linked_to.map(|path| Path::new(std::ffi::OsStr::from_bytes(path))),
        })
    }
}
