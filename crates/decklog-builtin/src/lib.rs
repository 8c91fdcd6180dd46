//! The built-in agent: a conversation with a model over HTTP, with the tools of MCP servers, until the model answers
//! without asking for a tool. It is a process like every other agent: `decklog __builtin`.
//!
//! # What it reads
//!
//! One line of JSON on stdin, then nothing more:
//!
//! ```json
//! {"prompt": "…", "system": "…", "working_dir": "/work", "permissions": "read-only|edit|full",
//!  "model": {"provider": "local", "style": "openai|anthropic", "base_url": "http://127.0.0.1:8080/v1",
//!            "allow_http": false, "api_key_env": "LOCAL_KEY", "model": "qwen3-coder", "max_tokens": 8192,
//!            "context_tokens": 128000},
//!  "mcp": [{"name": "files", "command": ["server", "arg"], "env": {"NAME": "value"}}],
//!  "state_dir": "/state", "resume": "id of a conversation", "begins_anew": false,
//!  "limits": {"tool_calls": 100, "requests": 50, "result_chars": 50000, "tries": 4, "first_wait_ms": 2000,
//!             "retry_secs": 60, "silence_secs": 900, "tool_secs": 1800}}
//! ```
//!
//! Needed are `prompt`, `working_dir`, `model` (`style`, `base_url`, `model`), `permissions` and `state_dir`. Without
//! `api_key_env` no key is sent. A key stands in the environment alone, is read when it is needed, and is replaced by
//! `[api key]` in whatever is printed or kept. Plain HTTP is for loopback only, unless `allow_http`.
//!
//! # What it prints
//!
//! One JSON object a line on stdout, each with a `type`:
//!
//! | type | keys |
//! | --- | --- |
//! | `session` | `id`: names the conversation, to `resume` it. The first line, unless the conversation cannot be had |
//! | `model` | `model`: who answers, as the provider says |
//! | `text_delta`, `thought_delta` | `text`: a piece of the answer, or of the reasoning. Pieces that follow each other belong together |
//! | `tool_call` | `id`, `name`, `input`, `read_only` (the tool says that it changes nothing) |
//! | `tool_result` | `id`, `is_error`, `output` (cut to the budget), `duration_secs` |
//! | `usage` | `input` (with what was cached), `cached_input`, `output` (with the reasoning), `reasoning`: tokens, once for each request; `model` |
//! | `retry` | `attempt` (that failed), `tries`, `wait_secs`, `message` |
//! | `notice` | `code` (`trimmed`, `cut_answer`, `empty_answer`, `conversation_lost`, `tools_left_out`), `text` |
//! | `rate_limited` | `message`, `resets_at` (RFC 3339) where it is known; an `error` follows |
//! | `error` | `code` (see [`TurnError::code`]), `message`: the turn has failed. The last line |
//! | `done` | `stop_reason`: `end_turn` or `max_tokens`. The last line |
//!
//! The exit code is 0 after `done`, 2 after `error`, 130 or 143 after a signal.
//!
//! # What it keeps
//!
//! The conversation, as `ID.jsonl` (mode 0600) under `state_dir`: one line each for a prompt, an answer and the results
//! of its calls. When it outgrows the context, the model is sent less of it; the file keeps all. Conversations that
//! nobody has gone on with for 30 days are removed when another one begins.
//!
//! Must not know: journals, sessions, the terminal, whoever runs it.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod context;
mod conversation;
mod error;
mod event;
mod model;
mod request;
mod secret;
mod tools;
mod turn;

use std::ffi::OsString;
use std::io::{Read, Write};

use tokio::signal::unix::{SignalKind, signal};

pub use error::TurnError;

use event::{Event, Teller};
use request::Request;
use tools::Servers;

/// Bytes of the request that are read.
const MAX_REQUEST: u64 = 64 * 1024 * 1024;

/// Runs one turn: reads the request from `input`, tells what happens on `output`, and gives the exit code. `env` looks
/// up a variable of the environment.
///
/// Signals end it: whoever calls this has the process to itself.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write, env: &dyn Fn(&str) -> Option<OsString>) -> i32 {
    let request = match read(input) {
        Ok(request) => request,
        Err(error) => return fail(&Teller::new(output, None), &error),
    };
    let key = match request.model.key(env) {
        Ok(key) => key,
        Err(error) => {
            let teller = Teller::new(output, None);
            // The conversation is not what is missing.
            if let Some(id) = request.resume {
                let _ = teller.tell(&Event::Session { id });
            }
            return fail(&teller, &error);
        }
    };
    let teller = Teller::new(output, key.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&teller, &TurnError::System(error)),
    };
    let result = runtime.block_on(async {
        let mut servers = Servers::default();
        let result = tokio::select! {
            result = turn::run(&request, key.as_ref(), &mut servers, &teller) => result,
            stopped = stopped() => Err(stopped),
        };
        servers.end().await;
        result
    });
    match result.and_then(|stop_reason| teller.tell(&Event::Done { stop_reason })) {
        Ok(()) => 0,
        Err(error) => fail(&teller, &error),
    }
}

fn read(input: &mut dyn Read) -> Result<Request, TurnError> {
    let mut bytes = Vec::new();
    input.take(MAX_REQUEST).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| TurnError::Request(error.to_string()))
}

fn fail(teller: &Teller<'_>, error: &TurnError) -> i32 {
    // Nobody may be reading any more; the exit code says it, too.
    if let TurnError::Limited { resets_at, .. } = error {
        let _ = teller.tell(&Event::RateLimited { message: error.to_string(), resets_at: *resets_at });
    }
    if let TurnError::Stopped(signal) = error {
        return 128 + signal;
    }
    let _ = teller.tell(&Event::Error { code: error.code(), message: error.to_string() });
    2
}

/// Waits for a signal that asks it to end.
async fn stopped() -> TurnError {
    let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = kinds else {
        // Then signals do what they do by themselves.
        return std::future::pending().await;
    };
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    TurnError::Stopped(kind.as_raw_value())
}
