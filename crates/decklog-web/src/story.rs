//! A session as the page shows it: its outline (turns, marks on the timeline, what critics decided) and, step by step, its
//! transcript. Both are made of the journal's events as they come, so that a session that is over and one that is live are
//! the same thing.
//!
//! Must not know: HTTP.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use decklog_journal::Head;
use decklog_journal::read::{Follower, Item};
use decklog_journal::session::{Changed, JOURNAL_FILE, LoadError, SessionFold, SoFar};
use decklog_query::network::{self, OfCalls};
use decklog_text::highlight::Highlighter;
use serde_json::Value;

use crate::cards;
use crate::outline::{Mark, Outline};

/// A session, read as far as its journal goes.
pub(crate) struct Story {
    dir: PathBuf,
    follower: Follower,
    fold: SessionFold,
    marks: Vec<Mark>,
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

    /// How many events it has.
    pub(crate) fn events(&self) -> u64 {
        self.fold.so_far().map_or(0, |so_far| so_far.head.events)
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
            && let Some(mark) = Mark::of(event.timestamp, &event.body)
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
    pub(crate) fn outline(&self) -> io::Result<Outline<'_>> {
        let so_far = self.so_far()?;
        let head = Head {
            journal_bytes: self.position(),
            sum: self.follower.last_sum().unwrap_or_default().to_owned(),
            ..so_far.head.clone()
        };
        Outline::of(&self.dir, head, &so_far, &self.marks)
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
