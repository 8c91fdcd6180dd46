//! Homes in which an agent talks to the scripted server only.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::installed;
use crate::ModelServer;

/// Writes an agent's configuration below a home directory, and returns the environment variables
/// with which the agent, run in that home, talks to the server and to nothing else.
///
/// The agents are `claude`, `codex`, `gemini`, `opencode`, `claude-agent-acp` and `codex-acp`. The
/// variables are to be added to the caller's environment; `HOME` and `PATH` are among them, and
/// `PATH` has the installed agents in front. Updates, telemetry and trust questions are off, keys
/// are made up, and a proxy that does not answer stands before everything but loopback.
///
/// `PWD` is the caller's to set, to the directory the agent is started in: opencode works in the
/// directory that it names.
///
/// # Errors
///
/// When a file cannot be written or the agent is none of those.
pub fn prepare(agent: &str, home: &Path, server: &ModelServer) -> io::Result<Vec<(String, String)>> {
    let base = server.base_url();
    let mut env = common(home)?;
    let mut set = |pairs: &[(&str, &str)]| {
        env.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    };
    match agent {
        "claude" | "claude-agent-acp" => {
            set(&[
                ("ANTHROPIC_BASE_URL", &base),
                ("ANTHROPIC_API_KEY", "made-up-anthropic-key"),
                ("CLAUDE_CONFIG_DIR", &text(&home.join(".claude"))?),
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                ("DISABLE_AUTOUPDATER", "1"),
                // Without it the program refuses to skip its permission questions as root.
                ("IS_SANDBOX", "1"),
            ]);
            if let Some(programs) = installed() {
                set(&[("CLAUDE_CODE_EXECUTABLE", &text(&programs.join("claude"))?)]);
            }
        }
        "codex" | "codex-acp" => {
            let dir = home.join(".codex");
            write(&dir.join("config.toml"), &codex_config(&base))?;
            set(&[("CODEX_HOME", &text(&dir)?), ("SCRIPTED_API_KEY", "made-up-openai-key")]);
            if agent == "codex-acp" {
                set(&[("NO_BROWSER", "1")]);
                if let Some(programs) = installed() {
                    set(&[("CODEX_PATH", &text(&programs.join("codex"))?)]);
                }
            }
        }
        "gemini" => {
            write(&home.join(".gemini/settings.json"), &gemini_settings().to_string())?;
            set(&[
                ("GOOGLE_GEMINI_BASE_URL", &base),
                ("GEMINI_API_KEY", "made-up-gemini-key"),
                ("GEMINI_MODEL", "gemini-2.5-pro"),
                ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
                ("GEMINI_TELEMETRY_ENABLED", "false"),
            ]);
        }
        "opencode" => {
            write(&home.join(".config/opencode/opencode.json"), &opencode_config(&base).to_string())?;
            set(&[
                ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
                ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
                ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
                ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
            ]);
        }
        other => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no agent `{other}` is known")));
        }
    }
    Ok(env)
}

/// What every agent gets.
fn common(home: &Path) -> io::Result<Vec<(String, String)>> {
    let mut env = vec![("HOME".to_owned(), text(home)?)];
    for (name, dir) in [
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_CACHE_HOME", ".cache"),
    ] {
        fs::create_dir_all(home.join(dir))?;
        env.push((name.to_owned(), text(&home.join(dir))?));
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        // Port 1: nothing listens there, so what should not leave fails at once.
        env.push((name.to_owned(), "http://127.0.0.1:1".to_owned()));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        env.push((name.to_owned(), "127.0.0.1,localhost,::1".to_owned()));
    }
    if let Some(programs) = installed() {
        let rest = std::env::var("PATH").unwrap_or_default();
        env.push(("PATH".to_owned(), format!("{}:{rest}", text(&programs)?)));
    }
    Ok(env)
}

fn codex_config(base: &str) -> String {
    format!(
        r#"model = "gpt-5-codex"
model_provider = "scripted"
check_for_update_on_startup = false

[model_providers.scripted]
name = "scripted"
base_url = "{base}/v1"
wire_api = "responses"
env_key = "SCRIPTED_API_KEY"
request_max_retries = 1
stream_max_retries = 1

[analytics]
enabled = false
"#
    )
}

fn gemini_settings() -> Value {
    json!({
        "general": { "enableAutoUpdate": false, "enableAutoUpdateNotification": false },
        "privacy": { "usageStatisticsEnabled": false },
        "telemetry": { "enabled": false },
        "security": {
            "auth": { "selectedType": "gemini-api-key" },
            "folderTrust": { "enabled": false },
        },
    })
}

fn opencode_config(base: &str) -> Value {
    json!({
        "autoupdate": false,
        "share": "disabled",
        "model": "scripted/scripted-model",
        "small_model": "scripted/scripted-small",
        "enabled_providers": ["scripted"],
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "scripted",
                "options": { "baseURL": format!("{base}/v1"), "apiKey": "made-up-openai-key" },
                "models": {
                    "scripted-model": {
                        "name": "scripted-model",
                        "reasoning": true,
                        "cost": { "input": 1.0, "output": 10.0, "cache_read": 0.1 },
                        "limit": { "context": 200_000, "output": 8_000 },
                    },
                    "scripted-small": { "name": "scripted-small" },
                },
            },
        },
    })
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other(format!("{}: not text", path.display())))
}
