//! Versions of the format on disk, and what this program may do with each.
//!
//! # Changelog
//!
//! - **1.0**: the first.
//! - **1.1**: `source` in `session_start` and head, `prompt` in `turn_start`, `patch` in `turn_end`, of imported sessions.
//! - **1.2**: `rules` in `session_start`; `actor_turn`, `critic_turn`, `checks_passed`, `critic_said`, `summary` and `confidence`
//!   in `iteration`; `actor_agent`, `critic_agent`, `iterations_judged` and `iterations_agreed` in
//!   the head: of loops.
//! - **1.3**: `speakers` and `max_turns` in `rules`, of chats; `picked` in `session_end`, of races.
//! - **1.4**: the `container` event; turns whose `agent` is empty, of `mcp` sessions.
//! - **1.5**: `boxed` in `container`, `turn_start` and head, of agents that run in the container themselves.
//! - **1.6**: `usage` in the head, of sessions with several agents or models. `outcome` and `exit_code` of `session_end` are
//!   absent in an imported session whose source does not report an outcome; before, such a session said `success` and 0.
//!
//! A reader takes any minor version of a major version it knows: unknown event types and keys are kept
//! and passed over. A writer adds only to sessions of its own minor version or an older one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A format version, written `"1.0"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FormatVersion {
    /// Raised when an older reader can no longer make sense of a record.
    pub major: u16,
    /// Raised when something is added that an older reader may pass over.
    pub minor: u16,
}

impl FormatVersion {
    /// What this crate writes.
    pub const CURRENT: Self = Self { major: 1, minor: 6 };

    /// Whether this crate can read a session of this version.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.major == Self::CURRENT.major
    }

    /// Whether this crate may add to a session of this version.
    #[must_use]
    pub fn is_writable(self) -> bool {
        self.is_readable() && self.minor <= Self::CURRENT.minor
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl TryFrom<String> for FormatVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        parse().ok_or_else(|| format!("{text:?} is not a format version such as \"1.0\""))
    }
}

impl From<FormatVersion> for String {
    fn from(version: FormatVersion) -> Self {
        version.to_string()
    }
}
