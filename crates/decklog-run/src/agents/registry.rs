//! The agents decklog knows by name, and how each is started and installed.

use std::ffi::OsString;

use super::{
    Adapter, BUILTIN_ARGUMENT, BuiltinSetup, Needs, acp::Acp, builtin::Builtin, claude::Claude, codex::Codex,
    gemini::Gemini, opencode::Opencode, text::Text,
};

/// How decklog and an agent understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The built-in agent's own.
    Builtin,
    /// Agent Client Protocol on stdin and stdout.
    Acp,
    /// Claude Code's `stream-json`.
    ClaudeStream,
    /// Codex's `exec --json`.
    CodexStream,
    /// Gemini CLI's `stream-json`.
    GeminiStream,
    /// opencode's `run --format json`.
    OpencodeStream,
    /// Prompt on stdin, answer on stdout.
    Text,
}

impl Protocol {
    /// All of them, with their names in the configuration.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("acp", Self::Acp),
        ("builtin", Self::Builtin),
        ("claude-stream", Self::ClaudeStream),
        ("codex-stream", Self::CodexStream),
        ("gemini-stream", Self::GeminiStream),
        ("opencode-stream", Self::OpencodeStream),
        ("text", Self::Text),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, protocol)| *protocol == self).map_or("", |(name, _)| name)
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("unknown protocol {text:?}: use one of {}", names.join(", "))
        })
    }
}

/// An agent that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentDefinition {
    /// Its name, as typed.
    pub name: String,
    /// Program, and arguments that are always given.
    pub command: Vec<OsString>,
    /// How to talk to it.
    pub protocol: Protocol,
    /// Variables set for it.
    pub env: Vec<(String, String)>,
    /// How to install it, for people; empty for agents from the configuration.
    pub install: String,
    /// Whether a text agent gets the prompt on its stdin.
    pub prompt_on_stdin: bool,
    /// Whom the built-in agent can ask; none for the others.
    pub builtin: Option<BuiltinSetup>,
    /// What it needs of the host when it runs in a container.
    pub needs: Needs,
}

/// Name, command, protocol, and install command of each agent that needs no configuration, in the order in which
/// a default is looked for.
pub const BUILT_IN: [(&str, &[&str], Protocol, &str); 9] = [
    ("claude", &["claude"], Protocol::ClaudeStream, "npm install -g @anthropic-ai/claude-code"),
    ("codex", &["codex"], Protocol::CodexStream, "npm install -g @openai/codex"),
    ("gemini", &["gemini"], Protocol::GeminiStream, "npm install -g @google/gemini-cli"),
    ("opencode", &["opencode"], Protocol::OpencodeStream, "npm install -g opencode-ai"),
    ("claude-acp", &["claude-agent-acp"], Protocol::Acp, "npm install -g @agentclientprotocol/claude-agent-acp"),
    ("codex-acp", &["codex-acp"], Protocol::Acp, "npm install -g @agentclientprotocol/codex-acp"),
    ("gemini-acp", &["gemini", "--acp"], Protocol::Acp, "npm install -g @google/gemini-cli"),
    ("opencode-acp", &["opencode", "acp"], Protocol::Acp, "npm install -g opencode-ai"),
    // Of this program as it runs, also when the file it was started from has been replaced.
    (
        "builtin",
        &["/proc/self/exe", BUILTIN_ARGUMENT],
        Protocol::Builtin,
        "name a provider and a model in the configuration (docs/builtin.md)",
    ),
];

/// The agents that need no configuration.
#[must_use]
pub fn known_agents() -> Vec<AgentDefinition> {
    BUILT_IN
        .iter()
        .map(|(name, command, protocol, install)| AgentDefinition {
            name: (*name).to_owned(),
            command: command.iter().map(OsString::from).collect(),
            protocol: *protocol,
            env: Vec::new(),
            install: (*install).to_owned(),
            prompt_on_stdin: true,
            builtin: None,
            needs: command.first().map(|program| Needs::of_program(program.as_ref())).unwrap_or_default(),
        })
        .collect()
}

impl AgentDefinition {
    /// Any command as an agent, under the name of its program.
    #[must_use]
    pub fn command(command: Vec<OsString>) -> Self {
        let program = command.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
        let name = program.map_or_else(|| "command".into(), |name| name.to_string_lossy().into_owned());
        Self {
            name,
            needs: command.first().map(|program| Needs::of_program(program)).unwrap_or_default(),
            command,
            protocol: Protocol::Text,
            env: Vec::new(),
            install: String::new(),
            prompt_on_stdin: false,
            builtin: None,
        }
    }

    /// Whether it has all that it needs besides its program: the built-in agent needs a model.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.protocol != Protocol::Builtin || self.builtin.as_ref().is_some_and(|setup| !setup.models.is_empty())
    }

    /// A fresh adapter for one turn.
    #[must_use]
    pub fn adapter(&self) -> Box<dyn Adapter> {
        let command = self.command.clone();
        match self.protocol {
            Protocol::Acp => Box::new(Acp::new(command)),
            Protocol::Builtin => Box::new(Builtin::new(command, self.builtin.clone())),
            Protocol::ClaudeStream => Box::new(Claude::new(command)),
            Protocol::CodexStream => Box::new(Codex::new(command)),
            Protocol::GeminiStream => Box::new(Gemini::new(command)),
            Protocol::OpencodeStream => Box::new(Opencode::new(command)),
            Protocol::Text => Box::new(Text::new(command, self.prompt_on_stdin)),
        }
    }
}
