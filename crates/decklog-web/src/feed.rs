//! A session as events for whoever listens: what was written since, each thing as it stands now.
//!
//! Must not know: who listens, and when more is asked for.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use decklog_journal::lock::{self, Held};
use decklog_journal::session::JOURNAL_FILE;
use serde_json::json;

use crate::story::Story;

/// Steps that are told at a time; the rest with the next.
const STEPS: usize = 200;

/// A server-sent event.
pub(crate) fn told(id: Option<u64>, kind: &str, json: &str) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks but in texts, where they are escaped.
    format!("{id}event: {kind}\ndata: {json}\n\n").into()
}

/// Whether somebody records in the session in `dir` now.
pub(crate) fn is_written(dir: &Path) -> bool {
    lock::held(dir) == Held::Yes
}

/// How long its journal is, in bytes.
pub(crate) fn length(dir: &Path) -> io::Result<u64> {
    Ok(dir.join(JOURNAL_FILE).symlink_metadata()?.len())
}

/// A session that is told as it is written, an event at a time.
pub(crate) struct Feed {
    story: Story,
    dir: PathBuf,
    /// Read, and yet to be told.
    steps: VecDeque<(usize, usize)>,
    outline: bool,
    over: bool,
    ended: bool,
    /// How long the journal was before what is there of it was read for the last time.
    rested: u64,
}

/// What there is to tell.
pub(crate) enum Next {
    /// This.
    Tell(Bytes),
    /// Nothing yet.
    Nothing,
    /// Nothing more.
    End,
}

impl Feed {
    /// What was written up to `after` is known to who asks.
    pub(crate) fn open(dir: PathBuf, after: u64) -> io::Result<Self> {
        let mut story = Story::open(&dir)?;
        story.read(after)?;
        Ok(Self { story, dir, steps: VecDeque::new(), outline: false, over: false, ended: false, rested: 0 })
    }

    /// How far in the journal everything has been told.
    pub(crate) fn position(&self) -> u64 {
        self.story.position()
    }

    /// How long the journal was when nobody wrote it any more. What is unfinished at its end counts here.
    pub(crate) fn rested(&self) -> u64 {
        self.rested
    }

    /// What there is to tell now.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if self.ended {
            return Ok(Next::End);
        }
        if self.steps.is_empty() && !self.outline && !self.over {
            // Asked before reading: what was written before the end is read after it.
            self.over = !is_written(&self.dir);
            let news = if self.over {
                self.rested = length(&self.dir)?;
                self.story.finish()?
            } else {
                self.story.read(u64::MAX)?
            };
            self.steps.extend(news.steps);
            self.outline = news.outline;
        }
        // Only with the last is all told that stands before the position.
        if !self.steps.is_empty() {
            let piece: Vec<_> = self.steps.drain(..self.steps.len().min(STEPS)).collect();
            let cards = self.story.cards(piece)?;
            let id = (self.steps.is_empty() && !self.outline).then(|| self.story.position());
            let (position, events) = (self.story.position(), self.story.events());
            let steps = json!({ "steps": cards, "position": position, "events": events });
            return Ok(Next::Tell(told(id, "steps", &steps.to_string())));
        }
        if self.over {
            // The head as it is now that nobody holds the lock.
            self.ended = true;
            return self.tell_outline("end");
        }
        if std::mem::take(&mut self.outline) {
            return self.tell_outline("outline");
        }
        Ok(Next::Nothing)
    }

    fn tell_outline(&self, kind: &str) -> io::Result<Next> {
        let outline = serde_json::to_string(&self.story.outline()?)?;
        Ok(Next::Tell(told(Some(self.story.position()), kind, &outline)))
    }
}
