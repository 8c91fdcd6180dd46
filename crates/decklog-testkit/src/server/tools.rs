//! Turns a step into a call of a tool that the agent has.
//!
//! The choice is by the tools which the request declares. When none fits, as in an agent's
//! read-only modes, the call names the tool that the protocol's usual agent would have had: the
//! agent then refuses it, which is what such a test wants to see.

use serde_json::{Value, json};

use super::protocol::Protocol;
use super::turn::{Call, Input, Tool};

/// A call that writes a file.
pub(crate) fn write(protocol: Protocol, tools: &[Tool], id: String, path: &str, content: &str) -> Call {
    let json = |name: &str, input: Value| Call {
        id: id.clone(),
        name: name.to_owned(),
        input: Input::Json(input),
        namespace: None,
    };
    let has = |name: &str| tools.iter().find(|tool| tool.name == name);
    for name in ["Write", "write_file", "write"] {
        if let Some(tool) = has(name) {
            let key = key(tool, &["file_path", "filePath", "path"]);
            return json(name, json!({ key: path, "content": content }));
        }
    }
    let patch = add_file_patch(path, content);
    if let Some(tool) = has("apply_patch") {
        let input = if tool.freeform { Input::Freeform(patch) } else { Input::Json(json!({ "input": patch })) };
        return Call { id, name: tool.name.clone(), input, namespace: None };
    }
    if tools.iter().any(|tool| SHELLS.contains(&tool.name.as_str())) {
        let command = if protocol == Protocol::Responses {
            // Codex recognises this and treats it as its own edit tool.
            format!("apply_patch <<'END_OF_PATCH'\n{patch}\nEND_OF_PATCH\n")
        } else {
            let end = if content.ends_with('\n') { "" } else { "\n" };
            format!("cat > '{path}' <<'END_OF_FILE'\n{content}{end}END_OF_FILE\n")
        };
        return shell(protocol, tools, id, &command);
    }
    match protocol {
        Protocol::Anthropic => json("Write", json!({ "file_path": path, "content": content })),
        Protocol::Chat => json("write", json!({ "filePath": path, "content": content })),
        Protocol::Gemini => json("write_file", json!({ "file_path": path, "content": content })),
        Protocol::Responses => {
            Call { id, name: "apply_patch".to_owned(), input: Input::Freeform(patch), namespace: None }
        }
    }
}

/// The shell tools known, the preferred first.
const SHELLS: &[&str] = &["Bash", "run_shell_command", "exec_command", "shell_command", "shell", "local_shell", "bash"];

/// A call that runs a shell command.
pub(crate) fn shell(protocol: Protocol, tools: &[Tool], id: String, command: &str) -> Call {
    let tool = SHELLS.iter().find_map(|name| tools.iter().find(|tool| tool.name == *name));
    let name = tool.map_or(
        match protocol {
            Protocol::Anthropic => "Bash",
            Protocol::Chat => "bash",
            Protocol::Gemini => "run_shell_command",
            Protocol::Responses => "exec_command",
        },
        |tool| tool.name.as_str(),
    );
    let input = match name {
        "exec_command" => json!({ "cmd": command }),
        "shell" | "local_shell" => json!({ "command": ["bash", "-c", command] }),
        "shell_command" => json!({ "command": command }),
        _ => json!({ "command": command, "description": "Runs the scripted command" }),
    };
    Call { id, name: name.to_owned(), input: Input::Json(input), namespace: None }
}

/// A call of the tool whose name ends with `name`; of one that is not there when none does.
pub(crate) fn given(tools: &[Tool], id: String, name: &str, arguments: Value) -> Call {
    let tool = tools.iter().find(|tool| tool.name.ends_with(name));
    let namespace = tool.and_then(|tool| tool.namespace.clone());
    Call { id, name: tool.map_or(name, |tool| &tool.name).to_owned(), input: Input::Json(arguments), namespace }
}

/// The first of the keys which the tool takes, else the first.
fn key<'k>(tool: &Tool, keys: &[&'k str]) -> &'k str {
    let taken = keys.iter().find(|key| tool.takes.iter().any(|taken| taken == *key));
    taken.or(keys.first()).copied().unwrap_or("path")
}

/// The patch, in Codex's own format, that adds a file.
fn add_file_patch(path: &str, content: &str) -> String {
    let lines: String = content.lines().map(|line| format!("+{line}\n")).collect();
    format!("*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch")
}
