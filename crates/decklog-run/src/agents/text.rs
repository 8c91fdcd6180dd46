//! Any command as the agent: its stdout is its answer, its exit code its verdict.

use std::ffi::OsString;

use super::{Adapter, Launch, Output, TurnRequest};

/// Drives a command whose stdout is text.
#[derive(Debug)]
pub(super) struct Text {
    command: Vec<OsString>,
    prompt_on_stdin: bool,
}

impl Text {
    pub(super) fn new(command: Vec<OsString>, prompt_on_stdin: bool) -> Self {
        Self { command, prompt_on_stdin }
    }
}

impl Adapter for Text {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let stdin = if self.prompt_on_stdin { request.prompt.clone().into_bytes() } else { Vec::new() };
        Launch { command: self.command.clone(), stdin, ..Launch::default() }
    }

    fn is_text(&self) -> bool {
        true
    }

    fn takes_tools(&self) -> bool {
        false
    }

    fn line(&mut self, _: &[u8], _: &mut Output) {}
}
