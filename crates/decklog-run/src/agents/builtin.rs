//! The built-in agent: this program under another name (`decklog-builtin`), a model over HTTP with the tools of MCP
//! servers. Its request goes to its stdin, as one line of JSON; what it prints stands in that crate.
//!
//! A model that is not there is found before anything runs ([`BuiltinSetup::choose`]); where nobody looked, the turn
//! fails with the same words.

use std::ffi::OsString;
use std::path::PathBuf;

use decklog_journal::event::Tokens;
use decklog_journal::words::{Permissions, ToolKind, ToolStatus};
use serde_json::{Value, json};

use super::common::{count, some_text, text, tool_kind, tool_title};
use super::limits::timestamp;
use super::{Adapter, AgentEvent, Launch, Output, TurnRequest};

/// The argument under which this program is the built-in agent.
pub const BUILTIN_ARGUMENT: &str = "__builtin";

/// What the built-in agent can ask, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuiltinSetup {
    /// The models, by the names that users gave them.
    pub models: Vec<BuiltinModel>,
    /// The one that is asked where nobody names one.
    pub default: Option<String>,
    /// Where conversations are kept, to go on with.
    pub state_dir: PathBuf,
}

/// A model, and who provides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinModel {
    /// What users call it.
    pub name: String,
    /// What users call its provider.
    pub provider: String,
    /// `openai` or `anthropic`.
    pub style: String,
    /// Where the provider is.
    pub base_url: String,
    /// Whether plain HTTP may leave this machine.
    pub allow_http: bool,
    /// The variable that holds the key. The key itself is known to nobody but the agent.
    pub api_key_env: Option<String>,
    /// What the provider calls it.
    pub model: String,
    /// Tokens of one answer, at most.
    pub max_tokens: Option<u64>,
    /// Tokens that its context holds.
    pub context_tokens: Option<u64>,
}

/// Why no model can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// None is configured.
    #[error("the built-in agent has no model: name a provider and a model in the configuration (see docs/builtin.md)")]
    NoModel,
    /// There is none of that name.
    #[error("there is no model {name:?}: the configuration has {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// There are several.
    #[error("which model? The configuration has {}: give --model, or set default-model", known.join(", "))]
    Several {
        /// Those there are.
        known: Vec<String>,
    },
}

impl BuiltinSetup {
    /// The model called `name`; without a name the default, or the only one.
    ///
    /// # Errors
    /// [`ChooseError`] when there is none of that name, or nothing says which.
    pub fn choose(&self, name: Option<&str>) -> Result<&BuiltinModel, ChooseError> {
        let known = || self.models.iter().map(|model| model.name.clone()).collect();
        match (name.or(self.default.as_deref()), self.models.as_slice()) {
            (_, []) => Err(ChooseError::NoModel),
            (Some(name), models) => models
                .iter()
                .find(|model| model.name == name)
                .ok_or_else(|| ChooseError::Unknown { name: name.to_owned(), known: known() }),
            (None, [only]) => Ok(only),
            (None, _) => Err(ChooseError::Several { known: known() }),
        }
    }
}

/// Drives the built-in agent.
#[derive(Debug)]
pub(super) struct Builtin {
    command: Vec<OsString>,
    setup: BuiltinSetup,
    /// Why nothing could be asked.
    trouble: Option<ChooseError>,
}

impl Builtin {
    pub(super) fn new(command: Vec<OsString>, setup: Option<BuiltinSetup>) -> Self {
        Self { command, setup: setup.unwrap_or_default(), trouble: None }
    }

    fn request(&self, model: &BuiltinModel, request: &TurnRequest) -> Value {
        let mut answers = json!({
            "provider": model.provider, "style": model.style, "base_url": model.base_url,
            "allow_http": model.allow_http, "model": model.model,
        });
        if let Some(var) = &model.api_key_env {
            answers["api_key_env"] = json!(var);
        }
        for (key, value) in [("max_tokens", model.max_tokens), ("context_tokens", model.context_tokens)] {
            if let Some(value) = value {
                answers[key] = json!(value);
            }
        }
        let server = |server: &super::McpServer| {
            let (program, mut command) = server.words();
            command.insert(0, program);
            json!({ "name": server.name, "command": command, "env": server.env_json() })
        };
        json!({
            "prompt": request.prompt,
            "system": system(request),
            "working_dir": request.working_dir.to_string_lossy(),
            "permissions": request.permissions.to_string(),
            "model": answers,
            "mcp": request.mcp.iter().map(server).collect::<Vec<_>>(),
            "state_dir": self.setup.state_dir.to_string_lossy(),
            "resume": request.resume,
            "begins_anew": request.begins_anew,
        })
    }
}

/// What the model is told of its place.
fn system(request: &TurnRequest) -> String {
    let tools = if request.mcp.is_empty() {
        "You have no tools: answer from what you are told, and say so where that is not enough."
    } else if request.permissions == Permissions::ReadOnly {
        "Your tools look and change nothing. Look before you answer, and report what you found."
    } else {
        "Use your tools to look and to change files, check what you changed, then say in short what you did."
    };
    format!(
        "You are a coding agent. You work in the directory {}. Nobody can answer questions while you work: where \
         something is open, decide, and say what you decided. {tools}",
        request.working_dir.display()
    )
}

impl Adapter for Builtin {
    fn launch(&self, request: &TurnRequest) -> Launch {
        let stdin = match self.setup.choose(request.model.as_deref()) {
            Ok(model) => format!("{}\n", self.request(model, request)).into_bytes(),
            // It then says that it was asked nothing, in whose place comes why.
            Err(_) => Vec::new(),
        };
        Launch { command: self.command.clone(), stdin, ..Launch::default() }
    }

    fn begin(&mut self, request: &TurnRequest, _: &mut Output) {
        self.trouble = self.setup.choose(request.model.as_deref()).err();
    }

    fn line(&mut self, raw: &[u8], out: &mut Output) {
        let Ok(line) = decklog_text::json::from_slice::<Value>(raw) else { return out.unknown_line(raw) };
        match text(&line, "type") {
            "session" => out.events.extend(some_text(&line, "id").map(AgentEvent::Session)),
            "model" => out.events.extend(some_text(&line, "model").map(AgentEvent::Model)),
            "text_delta" => out.push(AgentEvent::TextPiece(text(&line, "text").to_owned())),
            "thought_delta" => out.push(AgentEvent::ThoughtPiece(text(&line, "text").to_owned())),
            "tool_call" => {
                let (name, input) = (text(&line, "name"), line["input"].clone());
                out.push(AgentEvent::ToolCall {
                    id: text(&line, "id").to_owned(),
                    name: name.to_owned(),
                    kind: kind(name, line["read_only"] == true),
                    title: tool_title(&input),
                    input,
                    status: ToolStatus::InProgress,
                });
            }
            "tool_result" => out.push(AgentEvent::ToolResult {
                id: text(&line, "id").to_owned(),
                status: if line["is_error"] == true { ToolStatus::Failed } else { ToolStatus::Completed },
                output: text(&line, "output").to_owned(),
                exit_code: None,
                duration_secs: line["duration_secs"].as_f64(),
            }),
            "usage" => {
                let tokens = Tokens {
                    input: count(&line, "input"),
                    cached_input: count(&line, "cached_input"),
                    output: count(&line, "output"),
                    reasoning: count(&line, "reasoning"),
                };
                if !tokens.is_zero() {
                    out.push(AgentEvent::Usage { tokens, cost_usd: None, model: some_text(&line, "model") });
                }
            }
            "retry" => out.notice("retry", text(&line, "message")),
            "notice" => out.notice(notice_code(text(&line, "code")), text(&line, "text")),
            "rate_limited" => out.push(AgentEvent::RateLimited {
                message: text(&line, "message").to_owned(),
                resets_at: timestamp(&line["resets_at"]),
            }),
            "error" => {
                let message = match &self.trouble {
                    Some(trouble) => trouble.to_string(),
                    None => text(&line, "message").to_owned(),
                };
                out.push(AgentEvent::Failed(message));
            }
            "done" => {}
            _ => out.unknown_line(raw),
        }
    }

    fn end(&mut self, exit_code: i32, stderr: &str, out: &mut Output) {
        // Its own words come first, where there were any.
        if exit_code != 0 && !stderr.is_empty() {
            out.push(AgentEvent::Failed(stderr.to_owned()));
        }
    }
}

/// By the tool's own name, without that of its server.
fn kind(name: &str, read_only: bool) -> ToolKind {
    match tool_kind(name.split_once("__").map_or(name, |(_, tool)| tool)) {
        ToolKind::Other if read_only => ToolKind::Read,
        kind => kind,
    }
}

fn notice_code(code: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["trimmed", "cut_answer", "empty_answer", "conversation_lost", "tools_left_out"];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("agent_notice")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(names: &[&str], default: Option<&str>) -> BuiltinSetup {
        let model = |name: &&str| BuiltinModel {
            name: (*name).to_owned(),
            provider: "local".into(),
            style: "openai".into(),
            base_url: "http://127.0.0.1/v1".into(),
            allow_http: false,
            api_key_env: None,
            model: format!("{name}-v1"),
            max_tokens: None,
            context_tokens: None,
        };
        let models = names.iter().map(model).collect();
        BuiltinSetup { models, default: default.map(str::to_owned), state_dir: "/state".into() }
    }

    #[test]
    fn which_model_is_asked() {
        for (names, default, asked, expected) in [
            (&["fast"][..], None, None, Ok("fast")),
            (&["fast", "slow"], Some("slow"), None, Ok("slow")),
            (&["fast", "slow"], Some("slow"), Some("fast"), Ok("fast")),
            (&["fast", "slow"], None, None, Err("has fast, slow: give --model")),
            (&["fast", "slow"], None, Some("best"), Err("no model \"best\": the configuration has fast, slow")),
            (&["fast"], Some("gone"), None, Err("no model \"gone\"")),
            (&[], None, Some("fast"), Err("has no model")),
        ] {
            match (setup(names, default).choose(asked), expected) {
                (Ok(model), Ok(expected)) => assert_eq!(model.name, expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (result, _) => panic!("{names:?} {default:?} {asked:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn kinds_of_tools() {
        for (name, read_only, expected) in [
            ("files__write_file", false, ToolKind::Edit),
            ("shell__read_file", true, ToolKind::Read),
            ("mystery", true, ToolKind::Read),
            ("mystery", false, ToolKind::Other),
        ] {
            assert_eq!(kind(name, read_only), expected, "{name}");
        }
    }
}
