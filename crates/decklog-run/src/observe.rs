//! Who looks on while something is recorded.

use std::net::SocketAddr;
use std::path::Path;

use decklog_journal::{Event, SessionId};
use jiff::Timestamp;

use crate::agents::{Asking, Leave};

/// Where a text agent printed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentStream {
    /// On its stdout.
    Stdout,
    /// On its stderr.
    Stderr,
}

/// Is told what happens, after it has been recorded. All of it is hostile text: whoever shows it escapes it.
pub trait Observer {
    /// The session has been made.
    fn started(&mut self, id: &SessionId, dir: &Path) {
        let _ = (id, dir);
    }
    /// An image is being built or fetched.
    fn building(&mut self, image: &str) {
        let _ = image;
    }
    /// What the build says.
    fn build_line(&mut self, line: &str) {
        let _ = line;
    }
    /// MCP servers can be called: each by name, with what is wrong with it; and where HTTP is listened for.
    fn serving(&mut self, servers: &[(String, Option<String>)], address: Option<SocketAddr>) {
        let _ = (servers, address);
    }
    /// A check begins.
    fn checking(&mut self, command: &str) {
        let _ = command;
    }
    /// Everybody is limited: `agent` is waited for.
    fn waiting(&mut self, agent: &str, until: Timestamp) {
        let _ = (agent, until);
    }
    /// An event stands in the journal.
    fn event(&mut self, event: &Event);
    /// Bytes that a text agent printed, as they came.
    fn agent_bytes(&mut self, bytes: &[u8], from: AgentStream) {
        let _ = (bytes, from);
    }
    /// An agent asks leave for something that its permissions do not allow, and waits. Only called where somebody is there.
    fn asked(&mut self, asking: &Asking) -> Leave {
        let _ = asking;
        Leave::Never
    }
    /// Something is not being kept. Said once for each file and reason.
    fn trouble(&mut self, what: &str);
    /// Called several times a second.
    fn idle(&mut self) {}
}
