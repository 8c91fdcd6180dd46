//! Who looks on while something is recorded.

use std::path::Path;

use decklog_journal::{Event, SessionId};

/// Is told what happens, after it has been recorded. All of it is hostile text: whoever shows it escapes it.
pub trait Observer {
    /// The session has been made.
    fn started(&mut self, id: &SessionId, dir: &Path) {
        let _ = (id, dir);
    }
    /// A check begins.
    fn checking(&mut self, command: &str) {
        let _ = command;
    }
    /// An event stands in the journal.
    fn event(&mut self, event: &Event);
    /// Bytes that a text agent printed, as they came.
    fn agent_bytes(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }
    /// Something is not being kept. Said once for each file and reason.
    fn trouble(&mut self, what: &str);
    /// Called several times a second.
    fn idle(&mut self) {}
}
