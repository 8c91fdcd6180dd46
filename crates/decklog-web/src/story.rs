//! A session as the page shows it: its outline (turns, marks on the timeline, what critics decided) and, step by step, its
//! transcript. Both are made of the journal's events as they come, so that a session that is over and one that is live are
//! the same thing.
//!
//! Must not know: HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::Head;
use decklog_journal::event::{EventBody, Validation};
use decklog_journal::read::{Follower, Item};
use decklog_journal::session::{Changed, JOURNAL_FILE, LoadError, SessionFold, SoFar, Turn};
use decklog_journal::store::listed;
use decklog_query::network::{self, OfCalls};
use decklog_query::show::shown_head;
use decklog_text::highlight::Highlighter;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ansi;
use crate::cards;
use crate::html::markdown;

/// Bytes of a check's output that are shown.
const OUTPUT: usize = 32 * 1024;

/// A session, read as far as its journal goes.
pub(crate) struct Story {
    dir: PathBuf,
    follower: Follower,
    fold: SessionFold,
    marks: Vec<Value>,
    /// What each call reached for, and how long the record was that says so; read when tools are shown.
    network: (u64, OfCalls),
}

/// What came since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Steps that came or changed: index of the turn, index of the step.
    pub(crate) steps: BTreeSet<(usize, usize)>,
    /// Whether anything else did.
    pub(crate) outline: bool,
}

impl Story {
    /// Begins to read the session in `dir`; see [`Story::read`].
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let follower = Follower::open(&dir.join(JOURNAL_FILE))?;
        Ok(Self {
            dir: dir.to_owned(),
            follower,
            fold: SessionFold::default(),
            marks: Vec::new(),
            network: (0, OfCalls::new()),
        })
    }

    /// Where in the journal reading stands, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.follower.offset()
    }

    /// Reads what is there now, until `until` bytes of it, and says what that changed.
    pub(crate) fn read(&mut self, until: u64) -> io::Result<News> {
        let mut news = News::default();
        while self.follower.offset() < until
            && let Some(item) = self.follower.poll()?
        {
            self.take(item, &mut news);
        }
        Ok(news)
    }

    /// Reads the rest of a journal that nobody writes any more: what is unfinished is told as torn.
    pub(crate) fn finish(&mut self) -> io::Result<News> {
        let mut news = self.read(u64::MAX)?;
        while let Some(item) = self.follower.finish()? {
            self.take(item, &mut news);
        }
        Ok(news)
    }

    fn take(&mut self, item: Item, news: &mut News) {
        if let Item::Event(event) = &item
            && let Some(mark) = mark(event.timestamp, &event.body)
        {
            self.marks.push(mark);
        }
        match self.fold.item(item) {
            Some(Changed { turn, step: Some(step) }) => {
                news.steps.insert((turn, step));
            }
            _ => news.outline = true,
        }
    }

    fn so_far(&self) -> io::Result<SoFar<'_>> {
        let invalid = |error: LoadError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let so_far = self.fold.so_far().ok_or_else(|| invalid(LoadError::Empty))?;
        let format = so_far.head.format;
        if format.is_readable() { Ok(so_far) } else { Err(invalid(LoadError::Format(format))) }
    }

    /// Everything but the steps.
    pub(crate) fn outline(&self) -> io::Result<Value> {
        let so_far = self.so_far()?;
        let mut highlighter = Highlighter::default();
        let head = Head {
            journal_bytes: self.position(),
            sum: self.follower.last_sum().unwrap_or_default().to_owned(),
            ..so_far.head.clone()
        };
        let head = shown_head(&listed(head, self.dir.clone()))?;
        let prompt = whole(&self.dir, so_far.prompt, so_far.prompt_artifact.map(|artifact| artifact.path.as_str()));
        let turns: Vec<Value> =
            so_far.turns.iter().map(|turn| outline_of_turn(&self.dir, turn)).collect::<Result<_, _>>()?;
        let mut iterations = serde_json::to_value(so_far.iterations)?;
        for (shown, iteration) in iterations.as_array_mut().into_iter().flatten().zip(so_far.iterations) {
            for long in ["actor_output", "actor_stderr", "git_diff"] {
                shown.as_object_mut().map(|shown| shown.remove(long));
            }
            shown["feedback_html"] =
                markdown(iteration.feedback.as_deref().unwrap_or_default(), &mut highlighter).into();
        }
        Ok(json!({
            "position": self.position(),
            "session": head,
            "prompt": prompt,
            "turns": turns,
            "marks": self.marks,
            "iterations": iterations,
            "handoffs": so_far.handoffs,
            "containers": so_far.containers,
            "picked": so_far.picked,
            "notices": so_far.notices,
            "faults": so_far.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))
    }

    /// Cards of a turn's steps, by the turn's number.
    pub(crate) fn steps(&mut self, number: u32, from: usize, count: usize) -> io::Result<Option<Vec<Value>>> {
        let Some(turn) = self.so_far()?.turns.iter().position(|turn| turn.turn == number) else { return Ok(None) };
        let steps = self.so_far()?.turns[turn].steps.len();
        let places: Vec<_> = (from..from.saturating_add(count).min(steps)).map(|step| (turn, step)).collect();
        Ok(Some(self.cards(places)?.into_iter().map(|(_, _, card)| card).collect()))
    }

    /// The cards at these places, each with the turn's number and the index of the step.
    pub(crate) fn cards(
        &mut self,
        places: impl IntoIterator<Item = (usize, usize)>,
    ) -> io::Result<Vec<(u32, usize, Value)>> {
        let recorded = self.dir.join(network::CONNECTIONS_FILE).symlink_metadata().map_or(0, |record| record.len());
        if recorded != self.network.0 {
            self.network = (recorded, network::read(&self.dir).map(|(_, calls)| calls).unwrap_or_default());
        }
        let calls = &self.network.1;
        let so_far = self.so_far()?;
        let mut highlighter = Highlighter::default();
        let mut cards = Vec::new();
        for (turn, step) in places {
            let Some(turn) = so_far.turns.get(turn) else { continue };
            let Some(found) = turn.steps.get(step) else { continue };
            cards.push((turn.turn, step, cards::card(turn, found, calls, &mut highlighter)?));
        }
        Ok(cards)
    }
}

/// A text, from its artifact where it is long, as far as a page holds it.
fn whole(dir: &Path, text: &str, artifact: Option<&str>) -> String {
    use std::io::Read as _;
    let Some(path) = artifact else { return text.to_owned() };
    let mut bytes = Vec::new();
    let read = decklog_journal::verify::find_artifact(dir, path)
        .and_then(|found| found.file.take(cards::MOST as u64).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { text.to_owned() }
}

fn outline_of_turn(dir: &Path, turn: &Turn) -> io::Result<Value> {
    let mut tools = 0_u64;
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for step in &turn.steps {
        if let decklog_journal::session::Step::Tool(tool) = step {
            tools += 1;
            *kinds.entry(tool.kind.as_str()).or_default() += 1;
        }
    }
    let prompt = whole(dir, &turn.prompt, turn.prompt_artifact.as_ref().map(|artifact| artifact.path.as_str()));
    Ok(json!({
        "turn": turn.turn,
        "agent": turn.agent,
        "role": turn.role,
        "model": turn.model,
        "permissions": turn.permissions,
        "command": turn.command,
        "boxed": turn.boxed,
        "started_at": turn.started_at,
        "ended_at": turn.ended_at,
        "outcome": turn.outcome,
        "duration_secs": turn.duration_secs,
        "exit_code": turn.exit_code,
        "signal": turn.signal,
        "error": turn.error,
        "agent_session_id": turn.agent_session_id,
        "steps": turn.steps.len(),
        "tools": tools,
        "tool_kinds": kinds,
        "tokens": turn.tokens,
        "cost_usd": turn.cost_usd,
        "rate_limits": turn.rate_limits,
        "validations": turn.validations.iter().map(check).collect::<Vec<_>>(),
        "files": turn.files,
        "files_changed": turn.files_changed,
        "prompt": prompt,
        "withheld": turn.withheld,
    }))
}

fn check(check: &Validation) -> Value {
    let shown = cards::beginning(&check.output, OUTPUT);
    json!({
        "command": check.command,
        "passed": check.passed,
        "exit_code": check.exit_code,
        "duration_secs": check.duration_secs,
        "output_html": ansi(shown),
        "cut": shown.len() < check.output.len() || check.output_artifact.is_some(),
        "output_artifact": check.output_artifact,
    })
}

/// What happened at a moment, for the timeline.
fn mark(at: Timestamp, body: &EventBody) -> Option<Value> {
    let (what, turn, label, good, secs) = match body {
        EventBody::Validation(check) => {
            ("check", Some(check.turn), check.command.clone(), Some(check.passed), Some(check.duration_secs))
        }
        EventBody::RateLimited(limit) => ("rate_limited", Some(limit.turn), limit.message.clone(), Some(false), None),
        EventBody::Handoff(handoff) => ("handoff", None, format!("{} → {}", handoff.from, handoff.to), None, None),
        EventBody::Checkpoint(checkpoint) => ("checkpoint", None, checkpoint.reason.clone(), None, None),
        EventBody::Resumed(_) => ("resumed", None, "resumed".to_owned(), None, None),
        EventBody::Iteration(iteration) => {
            let number = iteration.iteration_number;
            let label = format!("iteration {number}: {}", iteration.critic_decision);
            ("iteration", iteration.critic_turn.or(iteration.actor_turn), label, None, None)
        }
        EventBody::SessionEnd(end) => ("end", None, end.outcome.to_string(), None, None),
        _ => return None,
    };
    Some(json!({
        "at": at,
        "what": what,
        "turn": turn,
        "label": decklog_text::visible(cards::beginning(&label, 300)),
        "good": good,
        "duration_secs": secs,
    }))
}
