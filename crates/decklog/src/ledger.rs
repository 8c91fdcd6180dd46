//! What is known of agents' rate limits across sessions.
//!
//! One small file in the state directory. It only advises: one that is gone or cannot be read knows nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use decklog_run::orchestrate::{Limited, UNTOLD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// Limits by agent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    path: PathBuf,
    limits: BTreeMap<String, Limit>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Limit {
    seen_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resets_at: Option<Timestamp>,
}

impl Ledger {
    /// The ledger in the directory `state`.
    pub(crate) fn open(state: PathBuf) -> Self {
        let path = state.join("limits.json");
        let read = decklog_journal::files::read_limited(&path, 1 << 20).ok();
        let limits = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, limits }
    }

    /// Until when `agent` is limited, if it is.
    pub(crate) fn until(&self, agent: &str, now: Timestamp) -> Option<Timestamp> {
        let limit = self.limits.get(agent)?;
        let until = limit.resets_at.or_else(|| limit.seen_at.checked_add(UNTOLD).ok())?;
        (until > now).then_some(until)
    }

    /// Notes which agents met a limit, and that `well` did not.
    pub(crate) fn note(&mut self, limited: &[Limited], well: Option<&str>, now: Timestamp) -> Result<(), CliError> {
        let forgotten = well.and_then(|agent| self.limits.remove(agent)).is_some();
        if limited.is_empty() && !forgotten {
            return Ok(());
        }
        for limit in limited {
            self.limits.insert(limit.agent.clone(), Limit { seen_at: now, resets_at: limit.resets_at });
        }
        let dir = self.path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, &self.limits)?;
        file.persist(&self.path).map_err(|error| CliError::new(error.error))?;
        Ok(())
    }
}
