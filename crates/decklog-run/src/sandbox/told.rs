//! What the gateway tells, into the record: calls as events, what servers print into their logs.
//!
//! Called from the gateway's threads. Must not know: containers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use decklog_journal::artifacts::{ArtifactWriter, LOGS_DIR};
use decklog_journal::event::{EventBody, Notice, ToolCall, ToolResult};
use decklog_journal::words::{ToolKind, ToolStatus};
use decklog_sandbox::gateway::{Answered, Call, CallKind, Tell};
use decklog_sandbox::network::Watch;

use crate::agents::common::{tool_kind, tool_title};
use crate::log::Log;
use crate::record::clip_safely;

/// Bytes of a server's stderr that are kept.
const STDERR: u64 = 64 * 1024 * 1024;
/// Bytes of names and titles that are kept.
const SHORT: usize = 1024;

/// Every connection out of the container.
const CONNECTIONS: &str = "logs/network.jsonl";

/// Takes down what the gateway and the network tell.
pub(crate) struct Told {
    log: Log,
    /// The turn that calls belong to; absent: an agent tells of its calls itself.
    turn: Option<u32>,
    stderr: Mutex<HashMap<String, Stderr>>,
    connections: Mutex<Option<ArtifactWriter>>,
    seen: Mutex<Seen>,
}

/// What is known of the session so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// How many calls came.
    pub(crate) calls: u64,
    /// How many of them failed.
    pub(crate) failed: u64,
    /// Who called, the last of them.
    pub(crate) client: Option<String>,
    troubles: Vec<String>,
    /// What could not be kept.
    lost: Vec<String>,
}

#[derive(Default)]
struct Stderr {
    file: Option<ArtifactWriter>,
    /// Bytes that were not kept.
    left_out: u64,
    failed: bool,
}

impl Told {
    pub(crate) fn new(log: Log, turn: Option<u32>) -> Self {
        Self { log, turn, stderr: Mutex::default(), connections: Mutex::default(), seen: Mutex::default() }
    }

    fn lock_seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock_seen().clone()
    }

    fn trouble(&self, what: String) {
        let mut seen = self.lock_seen();
        if !seen.troubles.contains(&what) {
            seen.troubles.push(what);
        }
    }

    fn lost(&self, what: String) {
        let mut seen = self.lock_seen();
        if !seen.lost.contains(&what) {
            seen.lost.push(what);
        }
    }

    fn append(&self, body: impl Into<EventBody>) {
        if let Err(error) = self.log.append(body) {
            self.trouble(error.to_string());
        }
    }

    fn short(&self, text: &str) -> String {
        clip_safely(text.to_owned(), SHORT, self.log.redactor())
    }

    /// Closes the logs. Gives what could not be kept, and what else went wrong.
    pub(crate) fn finish(&self) -> (Vec<String>, Vec<String>) {
        let logs = std::mem::take(&mut *self.stderr.lock().unwrap_or_else(PoisonError::into_inner));
        for (server, log) in logs {
            if log.left_out > 0 {
                let text = format!("{server}: {} more bytes of its stderr are not kept", log.left_out);
                self.append(Notice { turn: None, code: "stderr_cut".into(), text, text_artifact: None });
            }
            if let Some(Err(error)) = log.file.map(ArtifactWriter::finish) {
                self.lost(format!("the stderr of {server}: {error}"));
            }
        }
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = connections.map(ArtifactWriter::finish) {
            self.lost(format!("{CONNECTIONS}: {error}"));
        }
        let mut seen = self.lock_seen();
        (std::mem::take(&mut seen.lost), std::mem::take(&mut seen.troubles))
    }
}

impl Tell for Told {
    fn client(&self, name: &str, version: &str, protocol: &str) {
        let client = self.short(&format!("{name} {version}"));
        let text = format!("{client} is connected, and speaks MCP {protocol}");
        self.lock_seen().client = Some(client);
        self.append(Notice { turn: self.turn, code: "mcp_client".into(), text, text_artifact: None });
    }

    fn call(&self, call: &Call<'_>) {
        self.lock_seen().calls += 1;
        let Some(turn) = self.turn else { return };
        let own = call.name.split_once("__").map_or(call.name, |(_, own)| own);
        let kind = match call.kind {
            CallKind::Resource | CallKind::Prompt => ToolKind::Read,
            CallKind::Tool { reads_only } => match tool_kind(own) {
                ToolKind::Other if reads_only => ToolKind::Read,
                kind => kind,
            },
        };
        self.append(ToolCall {
            turn,
            call_id: call.id.to_owned(),
            name: self.short(call.name),
            kind,
            title: tool_title(call.arguments).map(|title| self.short(&title)),
            input: call.arguments.clone(),
            input_artifact: None,
            status: ToolStatus::InProgress,
        });
    }

    fn answered(&self, answered: &Answered<'_>) {
        if answered.failed {
            self.lock_seen().failed += 1;
        }
        let Some(turn) = self.turn else { return };
        self.append(ToolResult {
            turn,
            call_id: answered.id.to_owned(),
            status: if answered.failed { ToolStatus::Failed } else { ToolStatus::Completed },
            output: answered.text.to_owned(),
            output_artifact: None,
            exit_code: None,
            duration_secs: Some(answered.duration_secs),
        });
    }

    fn stderr(&self, server: &str, bytes: &[u8]) {
        let mut logs = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.entry(server.to_owned()).or_default();
        if log.failed {
            return;
        }
        let result = match &mut log.file {
            Some(file) if file.bytes() >= STDERR => {
                log.left_out += bytes.len() as u64;
                Ok(())
            }
            Some(file) => file.write(bytes).map_err(|error| error.to_string()),
            None => {
                let opened = self.log.log_file(&format!("{LOGS_DIR}/{server}.stderr"));
                opened.map_err(|error| error.to_string()).and_then(|mut file| {
                    let written = file.write(bytes).map_err(|error| error.to_string());
                    log.file = Some(file);
                    written
                })
            }
        };
        if let Err(error) = result {
            log.failed = true;
            log.file = None;
            drop(logs);
            self.lost(format!("the stderr of {server} is not kept: {error}"));
        }
    }

    fn notice(&self, code: &'static str, text: &str) {
        let text = clip_safely(text.to_owned(), 4 * SHORT, self.log.redactor());
        self.append(Notice { turn: self.turn, code: code.into(), text, text_artifact: None });
    }
}

impl Watch for Told {
    fn calls_in_progress(&self) -> Vec<String> {
        self.log.calls_in_progress()
    }

    fn record(&self, line: &[u8]) -> bool {
        let mut file = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match file.as_mut() {
            Some(file) => file.write_line(line).map_err(|error| format!("{CONNECTIONS}: {error}")),
            None => self.log.log_file(CONNECTIONS).map_err(|error| error.to_string()).and_then(|opened| {
                file.insert(opened).write_line(line).map_err(|error| format!("{CONNECTIONS}: {error}"))
            }),
        };
        drop(file);
        written.map_err(|error| self.lost(error)).is_ok()
    }

    fn trouble(&self, what: &str) {
        Told::trouble(self, what.to_owned());
        self.notice("network", what);
    }
}
