//! Every legal order of events, in one function.
//!
//! | status | event | status after |
//! | --- | --- | --- |
//! | none | `session_start` | active |
//! | active | `turn_start` of the next number | active, that turn open |
//! | active, turn open | any event of that turn; `turn_end` closes it | active |
//! | active | `notice`, `container`, `validation` of a turn there was, `iteration`, `handoff` | active |
//! | active, no turn open | `checkpoint` | checkpointed |
//! | active, no turn open | `session_end` | completed |
//! | active (its recorder died), checkpointed, completed | `resumed` | active, no turn open |
//! | checkpointed, completed | `notice` with the code `recording_failed` | the same |
//! | completed | `session_end` with another outcome than `success`, which corrects the one before | completed |
//!
//! Everything else is illegal. Must not know: files, clocks, what the events hold beyond their turn.

use crate::event::EventBody;
use crate::head::RECORDING_FAILED;
use crate::words::{Outcome, Status};

/// Where a session stands between two events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    status: Option<Status>,
    last_turn: u32,
    open: Vec<u32>,
}

/// An event that must not come here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {event} event is not allowed {place}")]
pub struct IllegalEvent {
    /// Its type.
    pub event: String,
    /// Where the session stands.
    pub place: String,
}

impl State {
    /// The status; `None` before `session_start`.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// Number of the last turn begun; 0 before the first.
    #[must_use]
    pub fn last_turn(&self) -> u32 {
        self.last_turn
    }

    /// Turns begun and not ended. More than one only in a race.
    #[must_use]
    pub fn open_turns(&self) -> &[u32] {
        &self.open
    }

    /// Moves on by one event.
    ///
    /// # Errors
    /// [`IllegalEvent`]; the state is then unchanged.
    pub fn advance(&mut self, body: &EventBody) -> Result<(), IllegalEvent> {
        let legal = match (self.status, body) {
            (None, EventBody::SessionStart(_)) => true,
            (None, _) | (_, EventBody::SessionStart(_)) => false,
            (Some(_), EventBody::Resumed(_)) => true,
            // What failed after the last line was written: whether the session is whole turned out later.
            (Some(Status::Checkpointed | Status::Completed), EventBody::Notice(notice)) => {
                notice.code == RECORDING_FAILED
            }
            (Some(Status::Completed), EventBody::SessionEnd(end)) => end.outcome != Some(Outcome::Success),
            (Some(Status::Checkpointed), EventBody::Checkpoint(again)) => again.exit_code.is_some_and(|code| code != 0),
            (Some(Status::Checkpointed | Status::Completed), _) => false,
            (Some(Status::Active), body) => match body {
                EventBody::TurnStart(start) => start.turn == self.last_turn.saturating_add(1),
                EventBody::Checkpoint(_) | EventBody::SessionEnd(_) => self.open.is_empty(),
                EventBody::Validation(check) => (1..=self.last_turn).contains(&check.turn),
                EventBody::Notice(notice) => notice.turn.is_none_or(|turn| turn <= self.last_turn),
                body => body.turn().is_none_or(|turn| self.open.contains(&turn)),
            },
        };
        if !legal {
            return Err(IllegalEvent { event: body.kind().to_owned(), place: self.place() });
        }
        self.apply(body);
        Ok(())
    }

    /// Moves on by an event that stands in a journal, legal or not: readers take what is there.
    pub(crate) fn apply(&mut self, body: &EventBody) {
        match body {
            EventBody::SessionStart(_) => self.status = Some(Status::Active),
            EventBody::Resumed(_) => {
                self.status = Some(Status::Active);
                self.open.clear();
            }
            EventBody::TurnStart(start) => {
                self.last_turn = self.last_turn.max(start.turn);
                self.open.push(start.turn);
            }
            EventBody::TurnEnd(end) => self.open.retain(|turn| *turn != end.turn),
            EventBody::Checkpoint(_) => self.status = Some(Status::Checkpointed),
            EventBody::SessionEnd(_) => self.status = Some(Status::Completed),
            _ => {}
        }
    }

    fn place(&self) -> String {
        match (self.status, self.open.as_slice()) {
            (None, _) => "before the session has started".into(),
            (Some(Status::Active), []) => format!("after turn {}, with none open", self.last_turn),
            (Some(Status::Active), open) => format!("while turn {open:?} is open"),
            (Some(status), _) => format!("in a session that is {status}"),
        }
    }
}
